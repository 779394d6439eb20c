"""The sites at which an alignment places its variables, read once for each setting of its parameters, however many tests are on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.program import Alignment
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.locations import Place

#: Places with the faults that were found; None where there are none.
Read = tuple["tuple[Place, ...] | None", Diagnostics]


@dataclass(frozen=True)
class PlacedSites:
    """Reads placements, and remembers them: by the objects of which they are made, which it keeps."""

    _known: dict[object, tuple[Read, object]] = field(default_factory=dict, repr=False)

    def places(self, alignment: Alignment, name: str, cell: Mapping[str, tree.Expr]) -> Read:
        """The places of a variable, where the parameters are those of a cell."""
        sites = alignment.placements[name].sites
        at = (id(alignment), id(sites), tuple((parameter, id(value)) for parameter, value in cell.items()))
        if at not in self._known:
            found = Diagnostics()
            reader = SiteReader(alignment.network.facts, alignment.templates, found, cell, alignment.model)
            self._known[at] = (reader.places(sites), found), (alignment, sites, dict(cell))
        return self._known[at][0]


__all__ = ["PlacedSites"]
