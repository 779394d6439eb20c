"""What is installed: entry points, and the files that the code looks for beside itself."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_entry_points_exist() -> None:
    named = [*PROJECT["project"]["scripts"].values(), *PROJECT["project"]["entry-points"]["pytest11"].values()]
    for target in named:
        module, _, attribute = target.partition(":")
        loaded = importlib.import_module(module)
        assert not attribute or callable(getattr(loaded, attribute))


def test_what_is_shipped_exists() -> None:
    for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]:
        assert any((ROOT / folder).iterdir())


def test_every_requirement_has_a_pinned_version() -> None:
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    names = {name.lower().replace("_", "-") for name in pinned}
    extras = PROJECT["project"]["optional-dependencies"]
    for requirement in [*PROJECT["project"]["dependencies"], *extras["test"]]:
        assert re.split(r"[>=<\[]", requirement)[0] in names
    assert all("+" not in version for version in pinned.values())


def test_the_wheel_holds_grammar_docs_and_specs(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not installed here")
    script = (
        "import sys; from hatchling.builders.wheel import WheelBuilder; "
        "print(next(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=['standard'])))"
    )
    subprocess.run([sys.executable, "-c", script, str(ROOT), str(tmp_path)], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"causal_dsl/grammar/causal.lark", "causal_dsl/docs/language.md", "causal_dsl/tools/cli.py"} <= names
    assert any(name.startswith("causal_dsl/docs/diagnostics.d/") for name in names)
    assert any(name.startswith("causal_dsl/specs/") for name in names)
    assert not any("__pycache__" in name or name.startswith("tests/") for name in names)
