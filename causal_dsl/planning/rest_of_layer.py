"""Which layers a cell interchanges parts of, and where no control of the rest of a layer can be run, why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.program.facts import record_of
from causal_dsl.program.overlap import canonical
from causal_dsl.program.program import Cell, Intervention, Placed, Test
from causal_dsl.program.whole_maps import takes_all, writes_all
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place, Site
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.plugins import made
from causal_dsl.vocabulary.values.current import Current
from causal_dsl.vocabulary.values.from_run import FromRun

#: The sites of which a layer is the whole: what is not claimed there is all that goes on beside.
WHOLE = tuple(name for name, component in COMPONENTS.items() if component.whole_at is not None)
#: Places at which there is nothing beside that the model would not say itself: the two ends of every network.
_ENDS = tuple(name for name, component in COMPONENTS.items() if component.end)


@dataclass(frozen=True)
class WrittenLayer:
    """A layer of which a cell interchanges a part. ``site``: its whole vector. ``placed``: the variables that the alignment puts there,
    each with its places there; ``other``: places there that are no claim of this layer's; ``beside``: those that are written beside
    its variables, with the number of the intervention. ``early``: the variables have places at a later layer, too, so what they
    have here is all of them only if it is enough by itself."""

    site: Site
    placed: tuple[Placed, ...]
    other: tuple[Place, ...]
    beside: tuple[tuple[int, Place], ...] = ()
    early: bool = False


def layers_of(test: Test, cell: Cell) -> tuple[list[WrittenLayer], str]:
    """The layers whose rest can be held against a cell, from the first up; or none, and the reason."""
    facts = test.network.facts
    mine = [i for i in cell.interventions if i.variable]
    reason = _unfit(mine, facts)
    if reason or not mine:
        return [], reason
    places = [named(place, facts) for i in mine for place in i.places]
    if all(place.site.component in _ENDS for place in places):
        return [], ""
    odd = next((place for place in places if whole_of(place.site) is None), None)
    if odd is not None:
        return [], f"{odd} is not a part of what a layer hands on"
    # Of a variable at several layers the last has what goes on from there.
    deepest = {i.variable: max(_depth(named(place, facts).site) for place in i.places) for i in mine}
    roles = {"base", *(i.value.role for i in mine if isinstance(i.value, FromRun))}
    found = []
    for depth in sorted({_depth(place.site) for place in places}):
        early = depth not in deepest.values()
        site = next(whole_of(place.site) for place in places if _depth(place.site) == depth)
        assert site is not None
        passing = set() if early else {name for name, last in deepest.items() if name and last != depth}
        placed, other = _there(cell, depth, facts, passing)
        why = _undecided(test, site, placed)
        if why and not early:
            return [], why
        if why:
            continue
        beside = [
            (number, place)
            for number, i in enumerate(cell.interventions)
            if not i.variable
            for place in _beside(i, depth, facts, roles)
        ]
        if facts.traits.positions:  # which of its tokens are free is seen before it is run
            other += [place for _, place in beside]
            beside = []
        found.append(WrittenLayer(site, tuple(placed), tuple(other), tuple(beside), early))
    return found, ""


def _undecided(test: Test, site: Site, placed: Sequence[Placed]) -> str:
    """Why the rest of a layer cannot be held against what is placed there."""
    facts = test.network.facts
    featured = next(
        (p for p in placed if p.via and not all(takes_all(p.via.chain, at, facts, p.via.joined) for at in p.places)),
        None,
    )
    if featured is not None:
        return f"`{featured.variable}` is placed at {Place(site)} through a feature"
    if test.readout.variable in {p.variable for p in placed}:
        return f"`{test.readout.variable}` itself is placed at {Place(site)}"
    return ""


def _unfit(mine: Sequence[Intervention], facts: Facts) -> str:
    for intervention in mine:
        if not writes_all(intervention, facts):
            return f"`{intervention.variable}` is written through a feature"
        if intervention.add:
            return f"`{intervention.variable}` is added to what is there"
        if not isinstance(intervention.value, FromRun):
            return f"`{intervention.variable}` is not taken from a run"
    return ""


def _there(cell: Cell, depth: float, facts: Facts, passing: set[str]) -> tuple[list[Placed], list[Place]]:
    """The variables of a layer, with their places there, and the places of those that a later layer has."""
    placed, other = [], []
    for p in cell.placed:
        places = [named(place, facts) for place in p.places]
        here = tuple(place for place in places if whole_of(place.site) is not None and _depth(place.site) == depth)
        if not here:
            continue
        later = any(whole_of(place.site) is not None and _depth(place.site) > depth for place in places)
        if p.variable in passing or (later and p.variable not in {i.variable for i in cell.interventions}):
            other += list(here)
        else:
            placed.append(replace(p, places=here))
    return placed, other


def _beside(intervention: Intervention, depth: float, facts: Facts, roles: Collection[str]) -> list[Place]:
    """The places of a layer that a test writes beside its variables: what is there is the test's own.

    What is there already, and what comes from the run from which its variables come (``roles``), takes nothing away.
    """
    value = intervention.value
    if isinstance(value, Current) and not intervention.add:
        return []
    if (
        isinstance(value, FromRun)
        and not intervention.add
        and value.role in roles
        and value.places == intervention.places
    ):
        return []
    places = (named(place, facts) for place in intervention.places)
    return [place for place in places if whole_of(place.site) is not None and _depth(place.site) == depth]


def named(place: Place, facts: Facts) -> Place:
    """The place under the name of its site, where it is written as a module that is one."""
    site = place.site
    if site.component != "module":
        return place
    home = module_site(site.module or "", facts)
    return place if home is None else Place(replace(home, dims=site.dims), place.position)


def module_site(path: str, facts: Facts) -> Site | None:
    """The site that the output of a module is; None where it is none, or that is not known."""
    found: Site | None = made(facts.traits.modules)(path, facts)
    return found


def site_of_layers(path: str, facts: Facts) -> Site | None:
    """The same of a network whose layers are all that it is made of."""
    at = dict(facts.same)
    for layer in range(facts.layers or max(0, len(facts.widths) - 1)):
        at.setdefault(f"layers.{layer}", layer)
    return Site("out", at[path]) if path in at else None


def site_of_record(path: str, facts: Facts) -> Site | None:
    """The same of a network whose sites are where a record says."""
    record = facts.record or record_of(facts.architecture)
    if record is None:
        return None
    if path + ">" == record.embed:
        return Site("embed")
    before, _, last = path.rpartition(".")
    if before == record.layers and last.isdigit() and (facts.layers is None or int(last) < facts.layers):
        return Site("resid_post", int(last))
    return None


def same_layer(site: Site, other: Site) -> bool:
    """Whether two sites are parts of one vector."""
    return whole_of(site) is not None and _key(site) == _key(other)


def _key(site: Site) -> tuple[str, int | None]:
    site = canonical(Place(site)).site
    return (site.component, site.layer)


def whole_of(site: Site) -> Site | None:
    """The vector of the layer that a site is a part of; None where it is of none."""
    if site.component not in WHOLE or site.layer is None or site.heads:
        return None
    return Site(site.component, site.layer)


def _depth(site: Site) -> float:
    """Which layer a site is of, counted by the vectors that layers hand on."""
    component, layer = _key(site)
    after = COMPONENTS[component].whole_at
    return (layer or 0) + (0.5 if after is None else after)


def ends_its_layer(site: Site) -> bool:
    """Whether a site is in what its layer hands on."""
    return COMPONENTS[site.component].whole_at == 0.5


__all__ = ["WHOLE", "WrittenLayer", "ends_its_layer", "layers_of", "module_site", "named", "same_layer", "whole_of"]
