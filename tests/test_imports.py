"""Imports go one way, and what runs on every keystroke does not load torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

from causal_dsl.tools.arguments import command_names
from tests.package_trees import PACKAGE, tree_of

#: Folders and single modules of the package, each before those that import it.
ORDER = [
    "shapes",
    "base",
    "diagnostics",
    "messages",
    "store",
    "syntax",
    "vocabulary",
    "building",
    "causal",
    "measures",
    "program",
    "features",
    "families",
    "inputs",
    "planning",
    "network",
    "engine",
    "discovery",
    "score",
    "checked",
    "controls",
    "report",
    "compare",
    "fitting",
    "checking",
    "training",
    "running",
    "units",
    "cluster",
    "api",
    "build",
    "tools",
    "__main__",
]
TORCH = {"torch", "transformers", "accelerate"}


@cache
def statements_of(path: Path) -> list[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    """Each import of a file, whether it is for annotations alone, and whether it is within a function."""
    found = []
    left: list[tuple[ast.AST, bool, bool]] = [(tree_of(path), False, False)]
    while left:
        node, typing, lazy = left.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append((node, typing, lazy))
        typing = typing or (isinstance(node, ast.If) and _asks_for_types(node.test))
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        left += [(inner, typing, lazy) for block in _BLOCKS for inner in getattr(node, block, ())]
    return found


#: The fields of a statement that hold other statements, or what these stand in.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def _asks_for_types(test: ast.expr) -> bool:
    return any(getattr(node, "id", getattr(node, "attr", "")) == "TYPE_CHECKING" for node in ast.walk(test))


def imports(path: Path, known: Collection[str] = (), types: bool = False) -> Iterator[tuple[str, bool]]:
    """Each module that a file imports when it is run, and whether at its top. ``known``: modules that may stand in place of a
    name in ``from package import name``. ``types``: also what it imports for its annotations alone."""
    for node, typing, lazy in statements_of(path):
        if typing and not types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, not lazy) for alias in node.names)
            continue
        assert node.level == 0, f"{path}: a relative import"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in known else str(node.module), not lazy


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_no_modules_import_each_other() -> None:
    """There is no circle, imports within functions and those for annotations counted: what a later module makes is described in an earlier
    one, as a value or as a protocol."""
    known, graph = modules(), nx.DiGraph()
    for name, path in known.items():
        for module, _ in imports(path, known, types=True):
            if module in known and module != "causal_dsl":
                graph.add_edge(name, module)
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert not circles and not list(nx.selfloop_edges(graph))


def test_the_order_names_every_stage() -> None:
    assert sorted(ORDER) == sorted({name.split(".")[1] for name in modules() if "." in name})


@pytest.mark.parametrize("stage", ORDER)
def test_stages_import_earlier_stages_only(stage: str) -> None:
    """Imports for annotations counted: what a stage is given by a later one is a protocol of its own, or data of an earlier one."""
    later = set(ORDER[ORDER.index(stage) + 1 :])
    known = modules()
    wrong = [
        f"{name} imports {module}"
        for name, path in known.items()
        if f"{name}.".startswith(f"causal_dsl.{stage}.")
        for module, _ in imports(path, known, types=True)
        if module.startswith("causal_dsl.") and module.split(".")[1] in later
    ]
    assert not wrong


def test_the_way_from_text_to_report_is_one_page() -> None:
    assert len((PACKAGE / "api.py").read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.parametrize(
    "stage", ["store", "vocabulary", "syntax", "causal", "measures", "program", "planning", "score", "report"]
)
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
            PACKAGE / "api.py",
        ]
        for module, top in imports(path)
        if top and (module.split(".")[0] in TORCH or module.startswith(("causal_dsl.network", "causal_dsl.running")))
    ]
    assert not wrong


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("command", ["check", "fmt", "explain"])
def test_torch_and_sympy_are_not_loaded(command: str, tmp_path: Path) -> None:
    spec = tmp_path / "s.causal"
    spec.write_text("causal m {\n  a ~ 0..3\n\n  output b := a == 1\n}\n", encoding="utf-8")
    argument = "E201" if command == "explain" else str(spec)
    script = (
        "import sys; from causal_dsl.tools.cli import main; main(sys.argv[1:]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sympy')))"
    )
    done = subprocess.run([sys.executable, "-c", script, command, argument], cwd=PACKAGE.parent, timeout=60)
    assert done.returncode == 0


def test_no_module_hides_a_public_name() -> None:
    """Importing ``causal_dsl.NAME`` would put the module in place of what the package calls NAME."""
    import causal_dsl

    assert not [name for name in causal_dsl.__all__ if f"causal_dsl.{name}" in modules()]


def test_no_class_name_is_defined_twice() -> None:
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    names = [name for text in texts for name in re.findall(r"(?m)^[ \t]*class (\w+)", text)]
    assert len(names) > 500
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_file_name_stands_twice() -> None:
    """The name of a file says what is in it, wherever the file is: a stack trace, a search or a talk needs no folder beside it.
    The files that hold one word of the language each (``vocabulary/``, ``families/``) have the word as their name."""
    names = [path.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_test_folders_are_packages() -> None:
    """So two of them may have files of one name, and a helper of another folder is imported by its full name."""
    folders = {path.parent for path in Path(__file__).parent.rglob("test_*.py")}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []


GUIDE = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_table_of_stages_is_in_the_order_of_imports() -> None:
    """Each row names its stages in its second cell."""
    rows = [line.split("|")[2] for line in GUIDE.splitlines() if line.startswith("| ")][1:]
    named = [name for row in rows for name in re.findall(r"`(\w+)(?:/|\.py)`", row.partition("(")[0])]
    assert named == ORDER


def test_the_guide_names_every_module_at_the_top_and_every_command() -> None:
    top = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert sorted(name for name in top if not re.search(rf"[`/]{re.escape(name)}`", GUIDE)) == []
    (entry,) = re.findall(r"^- \*\*a command\*\*.*?(?=^- )", GUIDE, re.MULTILINE | re.DOTALL)
    assert sorted(set(command_names()) - set(re.findall(r"`(\w+)`", entry))) == []
    own = re.findall(r"`(\w+)`", re.findall(r"NAME_command.py` \((.*?);", entry, re.DOTALL)[0])
    assert [name for name in own if not (PACKAGE / "tools" / f"{name}_command.py").exists()] == []


def test_the_guide_names_files_that_are_there() -> None:
    files = [
        name for name in re.findall(r"`([\w./-]+\.(?:py|md|lark|json))`", GUIDE) if not re.search("NAME|CODE", name)
    ]
    assert len(files) > 60
    bases = (PACKAGE.parent, PACKAGE, PACKAGE / "fitting", PACKAGE / "vocabulary", *(PACKAGE / "vocabulary").iterdir())
    assert [name for name in files if not any((base / name).exists() for base in bases)] == []


def test_docstrings_begin_with_their_subject() -> None:
    """A docstring names what it describes as a noun, or says what is done: none begins with a clause of `What`."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = [
        f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 1)}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, kinds) and (ast.get_docstring(node) or "").startswith("What ")
    ]
    assert found == []
