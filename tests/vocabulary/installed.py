"""Packages as an installer leaves them: a module, and beside it a dist-info that names its entry points."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, package: str, points: Mapping[str, Mapping[str, str]], code: str = "") -> Path:
    """Install ``package`` 0.1 with entry points (group -> name -> value) into a folder that is on ``sys.path``."""
    module = package.replace("-", "_")
    about = folder / f"{module}-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in points.items()]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    return folder


def packages_of_page() -> dict[str, tuple[str, str]]:
    """The packages of docs/extending.md: by their modules, the code and the ``pyproject.toml``, as they are printed."""
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n# (\w+)\.py\n(.*?)```\n+```toml\n(.*?)```", page, re.DOTALL)
    assert len(found) == page.count("```python") == page.count("```toml")
    return {name: (code, project) for name, code, project in found}


def build_and_install(folder: Path, module: str) -> None:
    """Build a package of the page from its two files alone, by the backend that it names, and unpack the wheel into ``folder``."""
    from hatchling.builders.wheel import WheelBuilder

    code, project = packages_of_page()[module]
    source = folder / f"source-of-{module}"
    source.mkdir()
    (source / f"{module}.py").write_text(code, encoding="utf-8")
    (source / "pyproject.toml").write_text(project, encoding="utf-8")
    (wheel,) = WheelBuilder(str(source)).build(directory=str(source / "dist"), versions=["standard"])
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)


__all__ = ["build_and_install", "install", "packages_of_page"]
