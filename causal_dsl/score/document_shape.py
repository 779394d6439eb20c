"""Whether a document is of the shape that `causal_dsl/shapes.py` states: the first place at which it is not."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from causal_dsl import shapes

_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def misfit(document: Any, shape: Any = shapes.SpecJson) -> str:
    """What is wrong with a document, in a sentence; empty where it is of this shape. Fields beside those of the shape are let be."""
    return next(_misfits(document, shape, ""), "")


def _misfits(value: Any, shape: Any, where: str) -> Iterator[str]:
    origin = typing.get_origin(shape)
    if shape is Any:
        return
    if origin in (typing.Union, types.UnionType):
        parts = typing.get_args(shape)
        found = [next(_misfits(value, part, where), "") for part in parts]
        if all(found):
            yield max(found, key=lambda told: told.count("."))  # the part that fits furthest
    elif origin is typing.Literal:
        if value not in typing.get_args(shape):
            yield f"`{where}` is {_said(value)}, which is none of its values"
    elif typing.is_typeddict(shape):
        yield from _fields(value, shape, where)
    elif origin is list:
        if not isinstance(value, list):
            yield f"`{where}` is {_said(value)}, and a list belongs there"
            return
        for number, one in enumerate(value):
            yield from _misfits(one, typing.get_args(shape)[0], f"{where}[{number}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"`{where}` is {_said(value)}, and an object belongs there"
            return
        for name, one in value.items():
            yield from _misfits(one, typing.get_args(shape)[1], f"{where}.{name}" if where else str(name))
    elif not _is(value, shape):
        yield f"`{where}` is {_said(value)}, and {_WORDS.get(shape, str(shape))} belongs there"


def _fields(value: Any, shape: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"`{where or 'it'}` is {_said(value)}, and an object belongs there"
        return
    hints = typing.get_type_hints(shape)
    for name in shape.__annotations__:
        inner = f"{where}.{name}" if where else name
        if name in value:
            yield from _misfits(value[name], hints[name], inner)
        elif name not in _optional(shape):
            yield f"`{inner}` is missing"


def _optional(shape: Any) -> frozenset[str]:
    hints = typing.get_type_hints(shape, include_extras=True)
    return frozenset(name for name, hint in hints.items() if typing.get_origin(hint) is typing.NotRequired)


def _is(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _said(value: Any) -> str:
    for kind in (type(None), bool, int, float, str, list, dict):
        if isinstance(value, kind):
            return _WORDS[kind]
    return type(value).__name__


__all__ = ["misfit"]
