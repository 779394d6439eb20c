"""The context in which an action of a test is read in one cell, and the places that its target names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.circuit_files import SaidByFiles
from causal_dsl.program.circuits import CircuitReader
from causal_dsl.program.encodings import encodes
from causal_dsl.program.inside import across_in
from causal_dsl.program.named_circuits import Circuits
from causal_dsl.program.placed_sites import PlacedSites
from causal_dsl.program.program import Alignment, Intervention
from causal_dsl.program.read_features import FeatureRef, Via, check_width, join, read_via, share
from causal_dsl.program.read_sites import SITE_HEADS, SiteReader
from causal_dsl.program.written_values import ValueReader
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.locations import Place


@dataclass(frozen=True)
class InCell:
    """The context in which the actions of a test are read in one cell. ``implicit`` maps (variable, value) of `do(left = true)` to its role, ``cell``
    the parameters to what they stand for."""

    diagnostics: Diagnostics
    alignment: Alignment
    roles: tuple[str, ...]
    circuits: Circuits
    folder: Path
    implicit: Mapping[tuple[str, object], str]
    cell: Mapping[str, tree.Expr] = field(default_factory=dict)
    placed: PlacedSites = field(default_factory=PlacedSites)
    #: what is written in each run that the action at hand takes values from, by the identity of its node; None where that is at fault
    written: Mapping[int, tuple[Intervention, ...] | None] = field(default_factory=dict)

    @property
    def sites(self) -> SiteReader:
        about = self.alignment
        return SiteReader(about.network.facts, about.templates, self.diagnostics, self.cell, about.model)

    def circuit_reader(self, said: SaidByFiles | None = None) -> CircuitReader:
        """The reader of circuits in this cell. ``said``: where it is entered what files say beside members."""
        about, searches = self.alignment, self.circuits.searches
        found, model = self.diagnostics, about.model
        return CircuitReader(about.network, about.templates, found, self.cell, model, searches=searches, said=said)

    def values(self, target: tree.Expr) -> ValueReader:
        """The reader of the values that are written at ``target``."""
        over = None
        if variable_of(target, self) is None:
            quiet = replace(self.sites, diagnostics=Diagnostics())  # faults of it are reported where the target is read
            over = quiet.spread(target)
        return ValueReader(self.roles, self.folder, self.sites, self.diagnostics, over, written=self.written)


def variable_of(expr: tree.Expr, here: InCell) -> str | None:
    """The causal variable that a target names, if it is one."""
    if isinstance(expr, tree.Name) and expr.name in here.alignment.model.variables:
        return expr.name
    return None


def places_of_target(expr: tree.Expr, here: InCell) -> tuple[Place, ...] | None:
    """The places of a variable or a site; None where a fault was reported."""
    name, about = variable_of(expr, here), here.alignment
    if name is None:
        return _places_of_site(expr, here)
    placement = about.placements.get(name)
    if placement is None:
        placed = list(about.placements)
        read = name in about.readouts
        advice = (
            "intervene on the variables from which it is computed"
            if read
            else f"write `{name} @ site` in the alignment"
        )
        why = ("the answer is read there, and no intervention may write it",) if read else ()
        here.diagnostics.report(
            "E682",
            f"`{about.name}` does not place `{name}` at a site that can be written",
            expr.span,
            notes=why,
            help="; ".join(
                filter(None, (advice, f"it places {', '.join(f'`{p}`' for p in placed)}" if placed else ""))
            ),
        )
        return None
    found, faults = here.placed.places(about, name, here.cell)
    here.diagnostics.extend(faults)
    if found is None:
        return None
    via = via_of(name, here)
    joined = join(found) if via is not None and via[0].joined else None
    return found if joined is None else (joined,)


def _places_of_site(expr: tree.Expr, here: InCell) -> tuple[Place, ...] | None:
    model = here.alignment.model
    if isinstance(expr, tree.Name) and expr.name not in SITE_HEADS:
        known = [*here.alignment.placements, *here.roles]
        here.diagnostics.report(
            "E201",
            f"no variable `{expr.name}` in `{model.name}`",
            expr.span,
            label=f"not a variable of `{model.name}`",
            help=did_you_mean(expr.name, model.variables, "") or f"there is {', '.join(known)}",
        )
        return None
    spread = here.sites.spread(expr)
    if spread is not None and any(place.site.component == "logits" for place in spread.places):
        here.diagnostics.report(
            "E683",
            "the read-out cannot be written: the answer is read there",
            expr.span,
            help="intervene upstream of it, at a layer",
        )
        return None
    return None if spread is None else spread.places


# ── features ────────────────────────────────────────────────────────────────────────────────────


def via_of(name: str, here: InCell) -> tuple[Via, tuple[Place, ...]] | None:
    """The learned feature of a placed variable in this cell, and the places that are written through it."""
    placement = here.alignment.placements.get(name)
    if placement is None or placement.via is None or encodes(placement.via):
        return None
    via = read_via(placement.via, here.cell, here.alignment.folder, Diagnostics())
    places, _ = here.placed.places(here.alignment, name, here.cell)
    return None if via is None or places is None else (via, places)  # reported where the alignment was read


def crosses(name: str, here: InCell) -> bool:
    """Whether a placed variable is read at one place and written at another, through a transcoder or a crosscoder."""
    via = via_of(name, here)
    return via is not None and across_in(via[0]) is not None


def features_of(name: str | None, here: InCell) -> tuple[FeatureRef, ...]:
    """The features of a variable, one for each place that is written; none where whole vectors are."""
    if name is None or via_of(name, here) is None:
        return ()
    about = here.alignment
    vias = {other: via for other in about.placements if (via := via_of(other, here)) is not None}
    variables, shared, block = share(vias, name)
    places = vias[name][1]
    if across_in(shared) is not None:
        return ()  # nothing of it is fitted, and it is written as a site is
    if len(variables) > 1 and not check_width(shared, places, about.network.facts, here.diagnostics):
        return ()
    if shared.joined:
        joined = join(places)
        places = places if joined is None else (joined,)
    return tuple(
        FeatureRef(
            about.origin,
            about.network.key,
            variables,
            place,
            shared.chain,
            shared.fitting,
            block,
            joined=shared.joined,
            elsewhere=shared.elsewhere,
            span=shared.span,
        )
        for place in places
    )


__all__ = ["InCell", "crosses", "features_of", "places_of_target", "variable_of", "via_of"]
