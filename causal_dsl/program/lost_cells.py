"""Cells of a test that a loaded network cannot run: they are left out with their faults, and the others are run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Span
from causal_dsl.program.program import Alignment
from causal_dsl.vocabulary.network_facts import Facts

#: Faults of a place that show once the network is loaded, beside those of its own, and that a place in another cell need not have.
_OF_A_PLACE = ("E454", "E458")
#: So many other cells are told of.
_SHOWN = 4


@dataclass(frozen=True)
class Lost:
    """Gathers the faults of cells. Of a network that is not loaded every fault goes to ``found``: its spec is not run."""

    alignment: Alignment
    found: Diagnostics
    cells: list[tuple[Diagnostic, ...]] = field(default_factory=list)

    @property
    def _apart(self) -> bool:
        return self.alignment.network.facts.refused is not None

    def open(self) -> Diagnostics:
        """Where the faults of the next cell go."""
        return Diagnostics() if self._apart else self.found

    def close(self, here: Diagnostics, placed: Diagnostics) -> bool:
        """Whether the cell is left out: all of its faults are of places. ``placed``: those of places that the test does not write."""
        if not self._apart:
            return False
        facts = self.alignment.network.facts
        errors = (*here.errors, *(one for one in placed.errors if _of_place(one, facts)))
        if not errors or not all(_of_place(one, facts) for one in errors):
            self.found.extend(here)
            return False
        self.cells.append(tuple(dict.fromkeys(errors)))
        return True

    def tell(self) -> None:
        """Report the faults of all cells that were left out: there is no other."""
        self.found.extend(told_together(fault for cell in self.cells for fault in cell))


def told_together(faults: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The faults of cells: those of several at one place as that of the first, with what is otherwise in the others."""
    groups: dict[tuple[str, Span], dict[Diagnostic, None]] = {}
    for fault in faults:
        groups.setdefault((fault.code, fault.span), {})[fault] = None
    return [_of_cells(*group) for group in groups.values()]


def _of_cells(first: Diagnostic, *others: Diagnostic) -> Diagnostic:
    if not others:
        return first
    told = [", ".join(note for note in other.notes if note not in first.notes) or other.title for other in others]
    shown = "; ".join(one.replace(" in a cell of the sweep", "") for one in told[:_SHOWN])
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return replace(first, notes=(*first.notes, f"so it is in other cells: {shown}{more}"))


def of_places(told: Diagnostics, facts: Facts) -> bool:
    """Whether faults are such for which single cells of a loaded network are left out."""
    return facts.refused is not None and all(_of_place(one, facts) for one in told.errors)


def _of_place(fault: Diagnostic, facts: Facts) -> bool:
    return fault.code in _OF_A_PLACE or fault.code in {one.code for one in (facts.refused or {}).values()}


__all__ = ["Lost", "of_places", "told_together"]
