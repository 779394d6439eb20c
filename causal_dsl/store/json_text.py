"""JSON that people hand over: read in any of its encodings, and what is wrong with it said in the words of this language."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

#: The faults that Python's reader names, and what messages call them.
_FAULTS = {
    "Expecting value": "a value is missing, or is none that JSON has",
    "Expecting property name enclosed in double quotes": "the name of a field in double quotes is missing",
    "Illegal trailing comma before end of object": "a comma is too many",
    "Illegal trailing comma before end of array": "a comma is too many",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting ',' delimiter": "a comma is missing",
    "Extra data": "the document has ended, and more follows",
    "Unterminated string starting at": "this text has no closing quote",
    "Invalid control character at": "a text holds a control character that is not escaped",
    "Invalid \\escape": "a text holds a backslash that escapes nothing",
    "Invalid \\uXXXX escape": "a text holds a \\u without four hexadecimal digits",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "it begins with two byte order marks",
}
#: Digits of a whole number that can still be a number of a file.
_LONGEST = 40


class NotJson(ValueError):
    """Bytes that are no JSON document; its text is a sentence without a full stop."""


def json_of(data: bytes) -> Any:
    """The document in UTF-8, UTF-16 or UTF-32, with a byte order mark or without. Raises NotJson; NaN and infinite numbers are
    refused, also those that are too large for a float."""
    if not data.strip():
        raise NotJson("it is empty")
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        told = encoding.removesuffix("-sig").upper()
        raise NotJson(f"it is not text: byte {error.start + 1} is not {told}") from error
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_whole, parse_float=_real, object_pairs_hook=_once)
    except RecursionError as error:
        raise NotJson("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        if not text[error.pos :].strip("\0 \t\r\n"):
            raise NotJson(f"it is cut off: it ends in line {error.lineno}, before the document does") from error
        why = _FAULTS.get(error.msg, "it is no JSON there")
        raise NotJson(f"it is no JSON: in line {error.lineno}, column {error.colno}, {why}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotJson(f"the field `{twice[:_LONGEST]}` stands twice in one object")
    return found


def _refuse(name: str) -> NoReturn:
    raise NotJson(f"it has the number {name}, which JSON does not have")


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST:
        raise NotJson(f"it has a whole number of {len(digits.lstrip('-'))} digits")
    return int(digits)


def _real(digits: str) -> float:
    found = float(digits)
    if not math.isfinite(found):
        raise NotJson(f"it has the number {digits[:_LONGEST]}, which is too large")
    return found


__all__ = ["NotJson", "json_of"]
