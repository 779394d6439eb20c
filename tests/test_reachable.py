"""Every function, and every diagnostic with a page, is reached from the command line or the public API.

A call graph by names, from what a user calls: whatever name a reached function mentions, all functions and classes of that
name are reached. It errs on the side of reaching, so that what it misses is dead.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from causal_dsl.base import resources
from tests.package_trees import PACKAGE, tree_of

ROOT = Path(__file__).parents[1]
CODE = re.compile(r"[EWF]\d{3}")
PAGES = sorted(path.stem for path in Path(resources.resource("docs", "diagnostics.d")).glob("*.md"))
#: What users start: the command line, the plugin, and the names of the package (its own module runs when it is imported); and
#: what a notebook calls on what it shows.
ENTRIES = {
    "main",
    "pytest_collect_file",
    "runtest",
    "_repr_html_",
    "_render_traceback_",
    *re.findall(r"[A-Za-z_]\w*", (PACKAGE / "__init__.py").read_text("utf-8")),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Scope:
    """One function, or the top level of a module or class: the names it mentions and the codes that it writes."""

    def __init__(self, name: str, nodes: list[ast.stmt], decorated: bool):
        self.name = name
        self.names: set[str] = set()
        self.codes: set[str] = set()
        self.always = decorated or (name.startswith("__") and name.endswith("__"))
        for node in nodes:
            self._walk(node)

    def _walk(self, node: ast.AST) -> None:
        if isinstance(node, Function | ast.ClassDef):
            return  # a scope of its own
        if isinstance(node, ast.Import | ast.ImportFrom):
            return  # to import is not to call
        if isinstance(node, ast.Name):
            self.names.add(node.id)
        elif isinstance(node, ast.Attribute):
            self.names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.codes.update(CODE.findall(node.value) if CODE.fullmatch(node.value) else ())
            self.names.update([node.value] if node.value.isidentifier() else [])  # getattr, grammar rules, tables
            module, colon, function = node.value.partition(":")  # a dotted name of a record
            self.names.update([function] if colon and module.startswith("causal_dsl.") else [])
        for child in ast.iter_child_nodes(node):
            self._walk(child)


def scopes(tree: ast.Module) -> list[Scope]:
    top = Scope("", tree.body, True)
    found = [top]
    for node in ast.walk(tree):
        if isinstance(node, Function):
            found.append(Scope(node.name, node.body, bool(node.decorator_list)))
        elif isinstance(node, ast.ClassDef):
            found.append(Scope("", node.body, True))
    return found


def reachable(every: list[Scope]) -> list[Scope]:
    """The scopes that are reached."""
    by_name: dict[str, list[Scope]] = {}
    for scope in every:
        by_name.setdefault(scope.name, []).append(scope)
    waiting = [scope for scope in every if scope.always or scope.name in ENTRIES]
    seen = {id(scope) for scope in waiting}
    found = []
    while waiting:
        scope = waiting.pop()
        found.append(scope)
        for name in scope.names:
            for other in by_name.get(name, ()):
                if id(other) not in seen:
                    seen.add(id(other))
                    waiting.append(other)
    return found


def codes_of(found: list[Scope]) -> set[str]:
    return {code for scope in found for code in scope.codes}


@cache
def every_scope() -> list[Scope]:
    """The scopes of the package."""
    return [scope for path in sorted(PACKAGE.rglob("*.py")) for scope in scopes(tree_of(path))]


@cache
def reached() -> list[Scope]:
    """Those of them that a user reaches."""
    return reachable(every_scope())


#: Called by libraries, by their names: by the parser for each rule of the grammar, by pytest, sympy, argparse, pygls, Pygments, `logging` and `io`; and
#: what a user calls on an object that the package gave (docs/language.md).
BY_OTHERS = {
    *re.findall(r"[a-z_]\w*", (ROOT / "grammar" / "causal.lark").read_text(encoding="utf-8")),
    *(
        "pytest_addoption",
        "pytest_collection_finish",
        "pytest_configure",
        "pytest_ignore_collect",
        "pytest_runtest_makereport",
        "toterminal",
        "setup",
        "runtest",
        "repr_failure",
        "reportinfo",
        "print_help",
        "emit",
        "handle_message",  # pygls calls these two
        "structure_message",
        "_as_sent",  # called by the second
        "writable",
        "let",
        "apply_change",
        "get_tokens_unprocessed",
        "_create_text_document",
    ),
}


@pytest.mark.slow
def test_a_shipped_path_can_emit_every_code() -> None:
    lost = sorted(set(PAGES) - codes_of(reached()))
    assert not lost, (
        f"nothing that a user starts makes {', '.join(lost)}: call what makes it, or remove it with its page"
    )


def test_a_function_that_only_tests_call_is_seen() -> None:
    text = 'def main():\n    used()\n\ndef used():\n    report("E100")\n\ndef dead():\n    report("E200")\n    used()\n'
    found = reachable(scopes(ast.parse(text)))
    assert codes_of(found) == {"E100"} and "dead" not in {scope.name for scope in found}


@pytest.mark.slow
def test_no_function_is_there_for_tests_alone() -> None:
    alive = {id(scope) for scope in reached()}
    dead = sorted({scope.name for scope in every_scope() if id(scope) not in alive} - BY_OTHERS)
    dead = [name for name in dead if not name.startswith("_print_")]
    assert not dead, f"nothing that a user starts calls {', '.join(dead)}: call it, or remove it with its tests"
