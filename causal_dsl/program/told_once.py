"""A fault that several members of a family have, such as the networks of a sweep, as one message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from causal_dsl.diagnostics import Diagnostic

#: So many other members are named.
_NAMED = 4


def told_once(found: Iterable[tuple[str, Diagnostic]], families: Mapping[str, str]) -> list[Diagnostic]:
    """Faults at one place that are the same but for the member that has them, told once, with the others named.

    Each comes with the member whose fault it is (empty: the one that it names); ``families`` says of each member what its family is called.
    """
    pattern = re.compile(
        "|".join(f"`{re.escape(name)}`" for name in sorted(families, key=len, reverse=True)) or r"(?!)"
    )
    groups: dict[object, list[tuple[str, Diagnostic]]] = {}
    for member, one in dict.fromkeys(found):
        named = pattern.search(" ".join((one.title, one.label, *one.notes, one.help)))
        member = member or (named[0].strip("`") if named else "")
        title = pattern.sub(lambda match: families[match[0].strip("`")], one.title)
        place = (one.span.source.path, one.span.start, one.span.end)
        own = families.get(member, one)  # a fault of no member is itself
        groups.setdefault((one.code, place, title, own), []).append((member, one))
    return [_one(group, pattern) for group in groups.values()]


def _one(group: Sequence[tuple[str, Diagnostic]], pattern: re.Pattern[str]) -> Diagnostic:
    first = group[0][1]
    others: dict[tuple[str, ...], list[str]] = {}
    own = _told(first, pattern)
    for member, one in group[1:]:
        more = tuple(text for text, plain in zip(_texts(one), _told(one, pattern), strict=False) if plain not in own)
        others.setdefault(more, []).append(member)
    notes = list(first.notes)
    for more, members in others.items():
        shown = [f"`{name}`" for name in members[:_NAMED]]
        left = len(members) - len(shown)
        *some, last = [*shown, *([f"{left} more"] if left else [])]
        names = f"{', '.join(some)} and {last}" if some else last
        notes.append(f"the same in {names}" + (f": {'; '.join(more)}" if more else ""))
    return replace(first, notes=tuple(notes))


def _texts(one: Diagnostic) -> tuple[str, ...]:
    return tuple(text for text in (one.label, *one.notes, one.help) if text)


def _told(one: Diagnostic, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Its texts, no matter of which member."""
    return tuple(pattern.sub("", text) for text in _texts(one))


__all__ = ["told_once"]
