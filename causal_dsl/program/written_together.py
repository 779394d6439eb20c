"""Interventions of one test that meet: those that write the same numbers, and those that change what others read."""

from __future__ import annotations

from collections.abc import Iterator

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.components import in_time
from causal_dsl.program.overlap import canonical, overlap
from causal_dsl.program.program import Alignment, Intervention
from causal_dsl.program.read_features import FeatureRef, family
from causal_dsl.vocabulary.locations import Place


def disjoint(interventions: list[Intervention], alignment: Alignment, diagnostics: Diagnostics) -> bool:
    """Report interventions of one `do` that write the same number; additions may meet."""
    edge = next((one for one in interventions if one.to), None)
    plain = next((one for one in interventions if not one.to), None)
    if edge is not None and plain is not None:
        assert edge.span is not None and plain.span is not None
        diagnostics.report(
            "E813",
            "an edge is not patched together with a whole site",
            edge.span,
            others=((plain.span, "this is written for all that read it"),),
            help="make two tests of it, or name the edges on which the site is written",
        )
        return False
    for i, one in enumerate(interventions):
        for other in interventions[:i]:
            if may_overlap(one, other):
                continue
            for here, a in enumerate(one.places):
                for there, b in enumerate(other.places):
                    if not one.apart(here, other, there) and overlap(a, b, alignment.network.facts):
                        assert one.span is not None and other.span is not None
                        diagnostics.report(
                            "E461",
                            f"`{other.text}` and `{one.text}` write the same place",
                            one.span,
                            others=((other.span, "already written here"),),
                            notes=(f"{b} and {a} overlap", *_hangs_on_order(one, other)),
                            help="give each variable coordinates, heads or tokens of its own",
                        )
                        return False
    return True


def untouched(interventions: list[Intervention], alignment: Alignment, diagnostics: Diagnostics) -> bool:
    """Report what a transcoder reads after another write of one `do` has changed it (E763): it reads the run as it was."""
    for one in interventions:
        if one.add and not one.value.changes:
            continue  # what is added is the same, whatever is read
        read = [(place, ref) for ref in one.inside for place in ref.reads]
        for other in interventions:
            if other is one:
                continue
            for place, ref in read:
                if any(
                    not in_time(place.site, w.site) or overlap(place, w, alignment.network.facts) for w in other.places
                ):
                    assert one.span is not None and other.span is not None
                    diagnostics.report(
                        "E763",
                        f"`{other.text}` changes what `{ref.chain[0].shown}` reads",
                        one.span,
                        others=((other.span, "written before it is read"),),
                        notes=(f"it reads {place}, in the run before anything is written",),
                        help="write them in two tests, or add a number with `+=`, for which nothing is read",
                    )
                    return False
    return True


def _hangs_on_order(one: Intervention, other: Intervention) -> tuple[str, ...]:
    if (one.adds or other.adds) and (one.changes or other.changes):
        return ("additions may overlap, but a value made from the current vector depends on the order of the writes",)
    return ()


def may_overlap(one: Intervention, other: Intervention) -> bool:
    """Whether two interventions may write at one place: additions, disjoint blocks of one feature, and subspaces of files, which
    are looked at when they are loaded (:mod:`causal_dsl.fitting.orthogonal`)."""
    if subspaces(one, other):
        return True
    if (one.adds or other.adds) and not (one.changes or other.changes):
        return True
    if one.to and other.to and not set(_edges(one)) & set(_edges(other)):
        return True  # other edges
    maps = {feature.map for feature in one.features}
    return bool(maps) and maps == {feature.map for feature in other.features} and one.variable != other.variable


def _edges(one: Intervention) -> Iterator[tuple[object, ...]]:
    """The edges that an intervention writes along, each at each of its tokens."""
    for number in range(len(one.places)):
        yield from edges_of(one, number)


def edges_of(one: Intervention, number: int) -> Iterator[tuple[object, ...]]:
    """The edges that it writes along at one of its places."""
    site, reach = one.places[number].site, one.to[number]
    for head, mask in zip(site.heads or (-1,), reach.masks, strict=True):
        for port in reach.ports.of(mask):
            yield site.component, site.layer, head, port


def subspaces(one: Intervention, other: Intervention) -> tuple[tuple[FeatureRef, FeatureRef], ...]:
    """The subspaces of files in which two interventions write at the same sites, pair by pair; none where one of them writes
    anything else, or a part of the other's site."""
    first, second = (intervention.features or intervention.inside for intervention in (one, other))
    pairs = [(a, b) for a in first for b in second if _one_site(a.place, b.place)]
    given = all(
        len(ref.chain) == 1 and family(ref.chain[0]).axes and not ref.joined and not ref.fitting.file
        for ref in (*first, *second)
    )
    apart = all(a.chain != b.chain and canonical(a.place).site == canonical(b.place).site for a, b in pairs)
    return tuple(pairs) if given and apart else ()


def _one_site(one: Place, other: Place) -> bool:
    a, b = canonical(one).site, canonical(other).site
    return (a.component, a.layer, a.module) == (b.component, b.layer, b.module)
