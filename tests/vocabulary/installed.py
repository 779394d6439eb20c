"""Packages as an installer leaves them: a module, and beside it a dist-info that names its entry points."""

from __future__ import annotations

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


__all__ = ["install"]
