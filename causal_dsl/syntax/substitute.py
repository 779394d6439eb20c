"""Names in a tree replaced by what they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr

Some = TypeVar("Some", bound=tree.Node)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def substitute(node: Some, values: Mapping[str, tree.Expr], words: bool = False) -> Some:
    """The tree with each name among ``values`` replaced: a name that stands as an expression, and a placeholder in a text.

    ``words``: also the words of a path, where a name stands for a name (``layer[l].s`` with ``s`` for ``mlp_out``). What
    is put in has the place of the name that it stands for, so that a fault is shown where it was written.
    """
    if not values:
        return node
    made: Some = _substituted(node, values, words)
    return made


def as_text(value: tree.Expr) -> str:
    """A value as it is put into a text: without quotes, where it is one."""
    return value.value if isinstance(value, tree.String) else format_expr(value)


def _substituted(node: tree.Node, values: Mapping[str, tree.Expr], words: bool) -> Any:
    match node:
        case tree.Name(name=name) if name in values:
            return replace(values[name], span=node.span)
        case tree.String(value=text):
            return replace(node, value=_filled(text, values)) if "{" in text else node
        case tree.Located():
            site = _substituted(node.site, values, True)
            return replace(node, value=_substituted(node.value, values, words), site=site)
    made = node.with_children(lambda below: _substituted(below, values, words))
    return replace(made, name=word(made.name, values)) if words and isinstance(made, tree.Attribute) else made


def word(ident: tree.Ident, values: Mapping[str, tree.Expr]) -> tree.Ident:
    """A word, or the name that it stands for."""
    value = values.get(ident.name)
    return replace(ident, name=value.name) if isinstance(value, tree.Name) else ident


def _filled(text: str, values: Mapping[str, tree.Expr]) -> str:
    return _PLACEHOLDER.sub(lambda m: as_text(values[m[1]]) if m[1] in values else m[0], text)


def named_in(node: tree.Node) -> frozenset[str]:
    """The names that stand as expressions in a tree, and the placeholders in its texts."""
    found: set[str] = set()
    for part in node.walk():
        if isinstance(part, tree.Name):
            found.add(part.name)
        elif isinstance(part, tree.String):
            found.update(_PLACEHOLDER.findall(part.value))
    return frozenset(found)


__all__ = ["as_text", "named_in", "substitute", "word"]
