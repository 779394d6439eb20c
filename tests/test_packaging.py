"""What is installed: entry points, and the files that the code looks for beside itself."""

from __future__ import annotations

import importlib
import json
import os
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the build backend is not installed here")
    folder = tmp_path_factory.mktemp("wheel")
    script = (
        "import sys; from hatchling.builders.wheel import WheelBuilder; "
        "print(next(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=['standard'])))"
    )
    subprocess.run([sys.executable, "-c", script, str(ROOT), str(folder)], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_grammar_docs_specs_and_zoo(wheel: Path) -> None:
    files = {file.filename: file.file_size for file in zipfile.ZipFile(wheel).infolist()}
    assert {
        "causal_dsl/grammar/causal.lark",
        "causal_dsl/docs/features.md",
        "causal_dsl/docs/language.md",
        "causal_dsl/docs/llms.txt",
        "causal_dsl/docs/output.schema.json",
        "causal_dsl/docs/skill.md",
        "causal_dsl/families/found.py",
        "causal_dsl/features/instantiate.py",
        "causal_dsl/vocabulary/architectures/decoders.json",
        "causal_dsl/vocabulary/architectures/defaults.json",
        "causal_dsl/fitting/fit.py",
        "causal_dsl/planning/fit_plan.py",
        "causal_dsl/tools/cli.py",
        "causal_dsl/zoo/catalogue.json",
    } <= files.keys()
    assert any(name.startswith("causal_dsl/docs/diagnostics.d/") for name in files)
    assert any(name.startswith("causal_dsl/specs/") for name in files)
    assert not any("__pycache__" in name or name.startswith("tests/") for name in files)
    assert sum(size for name, size in files.items() if name.startswith("causal_dsl/zoo/")) < 2_000_000


@pytest.mark.slow
def test_the_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """A spec of the wheel run on networks of the wheel, from a folder in which there is nothing else."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert Path(python("-c", "import causal_dsl; print(causal_dsl.__file__)").strip()).is_relative_to(site)
    tool = ("-m", "causal_dsl.tools.cli")
    assert "E201" in python(*tool, "explain", "E201")
    for spec in ("equality_relu", "equality"):
        ran = python(*tool, "run", "--json", str(site / "causal_dsl" / "specs" / f"{spec}.causal"))
        (read,) = json.loads(ran)["specs"]
        assert all(passed["passed"] for test in read["tests"] for passed in test["expectations"])
