"""Imports go one way, and what runs on every keystroke does not load torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "causal_dsl"
ORDER = (
    "store",
    "vocabulary",
    "syntax",
    "causal",
    "program",
    "planning",
    "features",
    "families",
    "network",
    "engine",
    "score",
    "report",
    "fitting",
    "training",
    "tools",
)
#: Plain data that earlier stages may speak of, and score reads columns without the engine.
DATA = {"causal_dsl.engine.columns", "causal_dsl.run.columns"}
TORCH = {"torch", "transformers", "accelerate"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each module that a file imports when it is run, and whether at its top."""
    parsed = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(parsed)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    lazy = {
        id(inner)
        for node in ast.walk(parsed)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(parsed):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield str(node.module), id(node) not in lazy


@pytest.mark.parametrize("stage", ORDER)
def test_stages_import_earlier_stages_only(stage: str) -> None:
    later = set(ORDER[ORDER.index(stage) + 1 :])
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in (PACKAGE / stage).rglob("*.py")
        for module, _ in imports(path)
        if module.startswith("causal_dsl.") and module.split(".")[1] in later and module not in DATA
    ]
    assert not wrong


@pytest.mark.parametrize("stage", ["store", "vocabulary", "syntax", "causal", "program", "planning", "score", "report"])
def test_torch_stays_in_the_network_and_the_engine(stage: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in (PACKAGE / stage).rglob("*.py")
        for module, _ in imports(path)
        if module.split(".")[0] in TORCH
    ]
    assert not wrong


def test_the_tools_and_the_families_load_torch_late() -> None:
    wrong = [
        f"{path.name} imports {module}"
        for path in [
            *(PACKAGE / "tools").glob("*.py"),
            *(PACKAGE / "families").glob("*.py"),
            PACKAGE / "__init__.py",
            PACKAGE / "pipeline.py",
        ]
        for module, top in imports(path)
        if top and (module.split(".")[0] in TORCH or module.startswith(("causal_dsl.network", "causal_dsl.running")))
    ]
    assert not wrong


@pytest.mark.parametrize("command", ["check", "fmt", "explain"])
def test_torch_is_not_loaded(command: str, tmp_path: Path) -> None:
    spec = tmp_path / "s.causal"
    spec.write_text("causal m {\n  a ~ 0..3\n\n  output b := a == 1\n}\n", encoding="utf-8")
    argument = "E201" if command == "explain" else str(spec)
    script = (
        "import sys; from causal_dsl.tools.cli import main; main(sys.argv[1:]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", script, command, argument], cwd=PACKAGE.parent, timeout=60)
    assert done.returncode == 0
