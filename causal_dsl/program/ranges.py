"""A site in a range of layers, `layer[l:l + 10].mlp_out[p]`: which layers of the network it is in."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.counts import layer_count, loaded
from causal_dsl.program.indices import integer, swept
from causal_dsl.program.paths import slice_text
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.network_facts import Facts

#: Of a network whose layers are not counted yet, how many a range may name.
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class SiteRange:
    """The places of a site in a range of ``length`` layers, by their number in that range: layers that the network does not
    have are left out. ``length`` is None for a site in one layer, or in none."""

    at: Mapping[int, Place]
    length: int | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(self.at.values())


def layer_range(index: tree.Slice, facts: Facts, cell: Mapping[str, tree.Expr], found: Diagnostics) -> range | None:
    """The layers that a slice names, those outside the network included; None and a diagnostic where it names none of it."""
    count = layer_count(facts)
    start = 0 if index.start is None else integer(index.start, "a layer", cell, found)
    stop = count if index.stop is None else integer(index.stop, "a layer", cell, found)
    if index.stop is None and count is None and not loaded(facts):  # at least one layer, as is known once it is loaded
        stop = None if start is None else max(start, 0) + 1
    elif index.stop is None and count is None:
        found.report("E456", "how many layers are there?", index.span, help="write the end of the range")
        return None
    if start is None or stop is None:
        return None
    if start >= stop or stop <= 0 or (count is not None and start >= count):
        found.report(
            "E457",
            f"`{slice_text(index)}` holds no layer of the network",
            index.span,
            notes=swept(index, cell),
            help="a range does not include its end: 2:5 is layers 2, 3 and 4" if start >= stop else layers_told(count),
        )
        return None
    if count is None and stop > _MOST_LAYERS:
        found.report(
            "E458",
            f"there is no layer {stop - 1}",
            index.span,
            notes=swept(index, cell),
            help=f"the end of a range of layers is at most {_MOST_LAYERS}",
        )
        return None
    return range(start, stop)


def layers_told(count: int | None) -> str:
    """Which layers there are, as advice."""
    if count == 0:
        return 'the network has no layers that are counted: name a module by its path, module("…")'
    return f"layers run from 0 to {count - 1}" if count is not None else "layers are counted from 0"


def inside(layers: range, facts: Facts) -> range:
    """Those of a range that the network has."""
    count = layer_count(facts)
    return range(max(layers.start, 0), layers.stop if count is None else min(layers.stop, count))


__all__ = ["SiteRange", "inside", "layer_count", "layer_range"]
