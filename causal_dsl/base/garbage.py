"""How often Python looks for cycles of garbage while much is made that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects after which the youngest are looked through, and how many such rounds go before older ones are.
_RARE = (500_000, 20, 100)
#: The same in a process that ends with its one command: little of it has come to an end by then.
_RARER = (5_000_000, 20, 100)


class _Process:
    """``alone``: whether this process runs one command of ours, and ends with it."""

    alone = False


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look for cycles rarely inside: a large spec is a million objects that stay, each looked through again and again."""
    before = gc.get_threshold()
    gc.set_threshold(*(_RARER if _Process.alone else _RARE))
    try:
        yield
    finally:
        gc.set_threshold(*before)


def one_command() -> None:
    """Say that this process runs one command, and ends with it."""
    _Process.alone = True


@contextmanager
def importing() -> Iterator[None]:
    """Import modules inside: they stay for as long as the process does. One that is ours alone never looks through them again."""
    with rarely_collected():
        yield
        if _Process.alone:
            gc.freeze()


__all__ = ["importing", "one_command", "rarely_collected"]
