"""Records by their words. A word of two records is refused: the second would silently take the place of the first."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, TypeVar

from causal_dsl.base.faults import OwnFault

R = TypeVar("R")
#: How much of a record a message shows.
_SHOWN = 100


def records_in(package: str) -> Iterator[Any]:
    """The records of a folder: those of the tuple ``FAMILY``, or the one of ``MEASURE``, of each of its modules that has them."""
    for module in pkgutil.iter_modules(import_module(package).__path__):
        held = vars(import_module(f"{package}.{module.name}"))
        yield from held.get("FAMILY", (held["MEASURE"],) if "MEASURE" in held else ())


def table(of: str, records: Iterable[R], word: str = "name") -> dict[str, R]:
    """The records by their words, which are in the field ``word``. ``of``: what they are, in the plural. Raises OwnFault for a word of
    two records."""
    found: dict[str, R] = {}
    for record in records:
        own = getattr(record, word)
        if own in found:
            raise OwnFault(f"two {of} have the {word} `{own}`: {_shown(found[own])} and {_shown(record)}")
        found[own] = record
    return found


def _shown(record: object) -> str:
    text = repr(record)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


__all__ = ["records_in", "table"]
