"""The state of each open text in the server: its tree at once, and what a check found, of this text or of the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Source, Span, real_path
from causal_dsl.syntax import tree
from causal_dsl.tools.lsp.check_messages import CheckAnswer
from causal_dsl.tools.lsp.parsed_texts import MovedPlaces, ParsedText
from causal_dsl.tools.lsp.spec_summary import Summary

#: Seconds a check took from which on only the tests that were changed are checked first.
SLOW = 0.4
#: Texts of declarations that are remembered: each is kept as it was at every stop of the typing.
MOST_SOUND = 2000


@dataclass(frozen=True)
class ChangedPart:
    """The tests that an edit decides, and the places of these and of what was edited."""

    tests: tuple[str, ...]
    places: tuple[Span, ...]


@dataclass(eq=False)
class SpecState:
    """One open text. ``found`` and ``summary`` are of the last check, ``found`` at the places of the text as it is now;
    ``checked`` is the text that was checked, None where the check did not come to an end."""

    parsed: ParsedText
    found: tuple[Diagnostic, ...] = ()
    summary: Summary = field(default_factory=Summary)
    checked: ParsedText | None = None
    reads: frozenset[Path] = frozenset()
    seconds: float = 0.0
    task: asyncio.Task[None] | None = None
    #: counts the states of the text and of all that it imports: what was kept of an older one is not used
    changes: int = 0
    costs: dict[str, str] = field(default_factory=dict)
    #: the texts of declarations that were found to have no fault of syntax
    sound: set[str] = field(default_factory=set)

    def edit(self, parsed: ParsedText) -> bool:
        """The text is now another; whether it has to be checked again."""
        moved = MovedPlaces(self.parsed, parsed)
        self.found = tuple(new for old in self.found if (new := moved.diagnostic(old)) is not None)
        self.parsed = parsed
        if len(self.sound) > MOST_SOUND:
            self.sound.clear()
        self.changes += 1
        if not moved.same:
            self.costs.clear()
        if moved.same and self.task is None and self.checked is not None:
            self.checked = parsed
            return False
        return True

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """Faults of syntax, and what a check found; each once."""
        return list(dict.fromkeys((*self.parsed.faults, *self.found)))

    def changed_part(self) -> ChangedPart | None:
        """The tests that what was edited since the last check decides, where that check was slow; None where all of them are, or where
        faults and features make tests depend on each other."""
        old, new = self.checked, self.parsed
        if old is None or self.seconds < SLOW or old.faults or new.faults or any(one.is_error for one in self.found):
            return None
        before, after = old.tree.declarations, new.tree.declarations
        alike = len(before) == len(after) and all(
            type(a) is type(b) and _name(a) == _name(b) for a, b in zip(before, after, strict=True)
        )
        if not alike or any(isinstance(one, tree.FitDecl) or _learns(one) for one in after):
            return None
        changed = [b for a, b in zip(before, after, strict=True) if a != b]
        tests = _decided(after, {_name(one) for one in changed})
        every = sum(isinstance(one, tree.TestDecl) for one in after)
        if not 0 < len(tests) < every or any(isinstance(one, tree.Import) for one in changed):
            return None
        return ChangedPart(tuple(_name(one) for one in tests), tuple(one.span for one in (*tests, *changed)))

    def take_part(self, answer: CheckAnswer, part: ChangedPart) -> None:
        """The findings on some tests, beside what is known of all others."""
        own = self.parsed.source
        kept = [
            one
            for one in self.found
            if one.span.source != own or not any(p.start <= one.span.start < p.end for p in part.places)
        ]
        self.found = tuple(dict.fromkeys((*kept, *answer.diagnostics)))
        if answer.summary is not None:
            self.summary = self.summary.updated(answer.summary)

    def take(self, answer: CheckAnswer) -> None:
        """The findings on the whole text as it is now."""
        self.found, self.checked, self.seconds = answer.diagnostics, self.parsed, answer.seconds
        self.reads = frozenset(map(real_path, answer.reads))
        if answer.summary is not None:
            self.summary = self.summary.updated(answer.summary)

    def imports(self, folder: Path) -> dict[str, Span]:
        """Where each file is imported, by its real path."""
        found: dict[str, Span] = {}
        for one in self.parsed.tree.declarations:
            if isinstance(one, tree.Import) and "\0" not in one.path.value:
                found.setdefault(str(real_path(folder / one.path.value)), one.path.span)
        return found


def _name(one: tree.AnyDeclaration) -> str:
    return "" if isinstance(one, tree.Import) else one.name.name


def _decided(declarations: Sequence[tree.AnyDeclaration], changed: set[str]) -> list[tree.TestDecl]:
    """The tests that are among the changed names, or speak of them, directly or through what they speak of."""
    declared = {_name(one) for one in declarations}
    spoken = {_name(one): _names(one) & declared for one in declarations}
    reached = set(changed)
    while more := {name for name, names in spoken.items() if names & reached} - reached:
        reached |= more
    return [one for one in declarations if isinstance(one, tree.TestDecl) and _name(one) in reached]


def _names(one: tree.AnyDeclaration) -> set[str]:
    return {node.name for node in one.walk() if isinstance(node, tree.Name | tree.Ident)}


def _learns(one: tree.AnyDeclaration) -> bool:
    return any(isinstance(node, tree.Placement | tree.Interchange) and node.via is not None for node in one.walk())


def nowhere(source: Source) -> Span:
    """The beginning of a text."""
    return Span(source, 0, 0)


__all__ = ["SpecState", "nowhere"]
