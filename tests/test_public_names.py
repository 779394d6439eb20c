"""Tests use what the package offers: none of them takes a private name of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.package_trees import PACKAGE, tree_of

ROOT = Path(__file__).parents[1]
#: What IPython calls by name (``_repr_html_``) is public: it ends in an underscore, too.
PRIVATE = re.compile(r"_(?!_)\w*[^\W_]")
#: A private name at the end of a path, as `monkeypatch.setattr` takes it.
DOTTED = re.compile(r"causal_dsl(\.\w+)*\._(?!_)\w+")
#: Calls that take the name of an attribute.
BY_NAME = {"setattr", "getattr", "delattr", "hasattr", "object", "attrgetter"}


def own(tree: ast.AST) -> Iterator[str]:
    """The private names that a file gives to functions, classes, variables, and attributes of its objects."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


#: Some, as the package may have them.
SOME = {"_Lowering", "_odd", "_go_around", "_added"}


def private_names() -> set[str]:
    """All private names of the package."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        found.update(own(tree_of(path)))
    return {name for name in found if PRIVATE.fullmatch(name)}


def taken(text: str, private: set[str]) -> list[str]:
    """Where a test takes a private name: imported, read from an object, or named to a call that finds it by name."""
    tree = ast.parse(text)
    mine, found = set(own(tree)), []
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "causal_dsl":
                parts = [*module.split("."), *(alias.name for alias in node.names)]
                found += [(node.lineno, part) for part in parts if PRIVATE.fullmatch(part)]
            case ast.Import():
                parts = [part for alias in node.names for part in alias.name.split(".") if "causal_dsl" in alias.name]
                found += [(node.lineno, part) for part in parts if PRIVATE.fullmatch(part)]
            case ast.Attribute(attr=name, value=value) if name in private and ast.unparse(value) not in ("self", "cls"):
                if name not in mine:
                    found.append((node.lineno, name))
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[_, ast.Constant(value=str(name)), *_]
            ):
                if called in BY_NAME and name in private:
                    found.append((node.lineno, name))
            case ast.Constant(value=str(name)) if DOTTED.fullmatch(name):
                found.append((node.lineno, name))
    return [f"{line}: {name}" for line, name in found]


@pytest.mark.slow
def test_no_test_takes_a_private_name() -> None:
    private = private_names()
    assert len(private) > 500
    every = sorted((ROOT / "tests").rglob("*.py"))
    found = {path.relative_to(ROOT).as_posix(): taken(path.read_text(encoding="utf-8"), private) for path in every}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        "from causal_dsl.planning.lower import _Lowering",
        "import causal_dsl._odd",
        "from causal_dsl.engine import execute\nexecute.run(x)._go_around(1)",
        "x._go_around = 1",
        'monkeypatch.setattr(Execution, "_go_around", 1)',
        'monkeypatch.setattr("causal_dsl.engine.execute._added", 1)',
        'getattr(x, "_go_around")',
    ],
)
def test_what_is_found(text: str) -> None:
    assert taken(text, SOME)


@pytest.mark.parametrize(
    "text",
    [
        "from torch.utils._python_dispatch import TorchDispatchMode",
        "model.config._attn_implementation",
        "def _go_around(): ...\nthis._go_around()",
        "class A:\n    def f(self): return self._go_around",
        "from causal_dsl.engine.execute import Execution\nExecution.__init__",
    ],
)
def test_what_is_not(text: str) -> None:
    assert not taken(text, SOME)
