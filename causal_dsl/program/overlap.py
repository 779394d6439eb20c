"""Whether two places of a network share a number."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.program.components import width
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.network_facts import Facts


def overlap(a: Place, b: Place, facts: Facts) -> bool:
    """Whether two places share a number, as far as can be told without a prompt."""
    a, b = canonical(a), canonical(b)
    if (a.site.component, a.site.layer, a.site.module) != (b.site.component, b.site.layer, b.site.module):
        return False
    if not _positions_meet(a.position, b.position):
        return False
    if bool(a.site.heads) != bool(b.site.heads):
        return True  # the sum of all experts, and one of its terms
    if a.site.heads and b.site.heads and not set(a.site.heads) & set(b.site.heads):
        return False
    if a.key is not None and b.key is not None and not _positions_meet(a.key, b.key):
        return False
    return bool(_coordinates(a.site, facts) & _coordinates(b.site, facts)) if _comparable(a, b, facts) else True


def canonical(place: Place) -> Place:
    """The residual stream after a layer is the stream before the next: one name for both."""
    if place.site.component == "resid_pre" and place.site.layer:
        return Place(replace(place.site, component="resid_post", layer=place.site.layer - 1), place.position)
    return place


def _positions_meet(a: Position | None, b: Position | None) -> bool:
    for one, other in ((a, b), (b, a)):
        if one is not None and one.kind == "several":
            return any(_positions_meet(part, other) for part in one.parts)
    if a is None or b is None or "all" in (a.kind, b.kind):
        return True
    if "except" in (a.kind, b.kind):
        return False  # in which prompts they meet, their rows say
    if (a.kind, a.name, a.occurrence, a.index, a.parts) != (b.kind, b.name, b.occurrence, b.index, b.parts):
        return False
    return a.part == b.part or "all" in (a.part, b.part)


def _comparable(a: Place, b: Place, facts: Facts) -> bool:
    return width(replace(a.site, dims=None), facts) is not None or (a.site.dims is not None and b.site.dims is not None)


def _coordinates(site: Site, facts: Facts) -> set[tuple[int, int]]:
    """The (head, coordinate) pairs that a site covers; head is -1 outside attention heads."""
    if not site.heads:
        total = site.dims if site.dims is not None else range(width(site, facts) or 0)
        return {(-1, d) for d in total}
    each = (width(replace(site, dims=None), facts) or 0) // len(site.heads)
    everything = [(head, d) for head in site.heads for d in range(each)]
    return set(everything) if site.dims is None else {everything[d] for d in site.dims}
