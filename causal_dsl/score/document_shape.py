"""Whether a document is of the shape that `causal_dsl/shapes/` states: the first place at which it is not."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator
from functools import cache
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
#: Characters of a text that messages repeat.
_SHOWN = 40


def misfit(document: Any, shape: Any = shapes.SpecJson) -> str:
    """The fault of a document, in a sentence; empty where it is of this shape. Fields beside those of the shape are let be."""
    return next(_misfits(document, shape, ""), "")


def _misfits(value: Any, shape: Any, where: str) -> Iterator[str]:
    origin = typing.get_origin(shape)
    if shape is Any:
        yield from _plain(value, where)
    elif origin in (typing.Union, types.UnionType):
        yield from _of_none(value, shape, where)
    elif origin is typing.NotRequired:
        yield from _misfits(value, typing.get_args(shape)[0], where)
    elif origin is typing.Annotated:
        kind, (low, high) = typing.get_args(shape)
        told = next(_misfits(value, kind, where), "")
        if told or not low <= value <= high:
            yield told or f"`{where}` is {value:g}, and {_range(low, high)}"
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
            yield from _broken(name, where)
            yield from _misfits(one, typing.get_args(shape)[1], f"{where}.{name}" if where else str(name))
    elif not _is(value, shape):
        yield f"`{where}` is {_said(value)}, and {_WORDS.get(shape, str(shape))} belongs there"
    elif isinstance(value, str):
        yield from _broken(value, where)


def _of_none(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Of a union: nothing if one of its types fits, else what is wrong with the type that fits furthest."""
    parts = typing.get_args(shape)
    found = [next(_misfits(value, part, where), "") for part in parts]
    if not all(found):
        return
    inner = [told for told in found if not told.endswith("belongs there") or not told.startswith(f"`{where}` is")]
    if inner:
        yield max(inner, key=lambda told: told.count("."))
    else:
        kinds = [typing.get_args(part)[0] if typing.get_origin(part) is typing.Annotated else part for part in parts]
        yield f"`{where}` is {_said(value)}, and {' or '.join(map(_kind, kinds))} belongs there"


def _kind(shape: Any) -> str:
    return _WORDS.get(shape) or _WORDS.get(typing.get_origin(shape), "an object")


def _plain(value: Any, where: str) -> Iterator[str]:
    """The fault of a value that may be anything: its texts and numbers."""
    if isinstance(value, str):
        yield from _broken(value, where)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"`{where}` is not a finite number"
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _plain(one, f"{where}[{number}]")
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _broken(name, where)
            yield from _plain(one, f"{where}.{name}")


def _fields(value: Any, shape: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"`{where or 'it'}` is {_said(value)}, and an object belongs there"
        return
    if value and not _kinds(shape):
        yield f"`{where}` has fields, and an empty object belongs there"
    for name, (kind, needed) in _kinds(shape).items():
        inner = f"{where}.{name}" if where else name
        if name in value:
            yield from _misfits(value[name], kind, inner)
        elif needed:
            yield f"`{inner}` is missing"


@cache
def _kinds(shape: Any) -> dict[str, tuple[Any, bool]]:
    """The type of each field, and whether it must be there."""
    hints = typing.get_type_hints(shape, include_extras=True)
    return {name: (hint, typing.get_origin(hint) is not typing.NotRequired) for name, hint in hints.items()}


def _is(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _broken(text: str, where: str) -> Iterator[str]:
    """A text with half of a character, which no file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        yield f"`{where.encode('utf-8', 'replace').decode()}` holds half of a character (a lone surrogate)"


def _range(low: float, high: float) -> str:
    return f"it lies between {low:g} and {high:g}" if high < 2**53 else f"it is at least {low:g}"


def _said(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{value[:_SHOWN]}"'.encode("utf-8", "replace").decode() if value else "an empty text"
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    for kind in (type(None), bool, list, dict):
        if isinstance(value, kind):
            return _WORDS[kind]
    return type(value).__name__


__all__ = ["misfit"]
