"""The lines `variable @ site via feature` of an alignment: places, read-outs, and inputs of vector networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.encodings import ENCODINGS, encodes, inputs_fit, read_input
from causal_dsl.program.file_shapes import shapes_fit
from causal_dsl.program.identity import origin
from causal_dsl.program.inside import across_in
from causal_dsl.program.lost_cells import of_places
from causal_dsl.program.models import Terms
from causal_dsl.program.modules import Module
from causal_dsl.program.overlap import overlap
from causal_dsl.program.paths import steps
from causal_dsl.program.program import Aligned, Alignment, InputPlacement, Readout
from causal_dsl.program.read_features import FeatureRef, Fitting, check_width, family, join, read_via
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.program.readouts import READOUTS, read_number, read_readout
from causal_dsl.program.sae_metadata import check_sae
from causal_dsl.program.shared_inputs import separate
from causal_dsl.program.transcoders import read_across
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.components import COMPONENTS


@dataclass(frozen=True)
class Placements:
    """The lines of an alignment, those of its parent that are not restated included."""

    places: Mapping[str, tree.Placement]
    readouts: Mapping[str, Readout]
    inputs: tuple[InputPlacement, ...]


def read_placements(
    declaration: tree.AlignDecl,
    parent: Alignment | None,
    aligned: Aligned,
    terms: Terms,
    module: Module,
    found: Diagnostics,
) -> Placements | None:
    """The placements of an alignment; None where a fault was reported. ``terms`` are what read-outs may name."""
    placements = dict(parent.placements) if parent else {}
    readouts = dict(parent.readouts) if parent else {}
    inputs = {placement.variable: placement for placement in parent.inputs} if parent else {}
    own, good = _own_lines(declaration, aligned, found)
    for name, member in own.items():
        kind = _kind(member)
        number = _is_number(member, aligned)
        if kind in READOUTS or number:
            if number and kind not in READOUTS:
                readout = read_number(member, aligned, found)
            else:
                readout = read_readout(member, aligned, terms, module, found)
            placements.pop(name, None)
            if readout is None:
                good = False
            else:
                readouts[name] = readout
            continue
        if not _feature_fits(member, aligned, module.folder, found):
            good = False
            continue
        if encodes(member.via):
            placed = read_input(member, kind, aligned, found)
            if placed is None:
                good = False
                continue
            inputs[name] = placed
        elif kind == "input" and aligned.model.variables[name].kind == "exogenous":
            found.report(
                "E673",
                f"how does `{name}` enter the network?",
                member.span,
                help=f"write `{name} @ input[…] via onehot()`, via scalar() or via embedding(dim=4)",
            )
            good = False
            continue
        placements[name] = member
        good = _sites_fit(member, aligned, found) and good
    if parent is not None and parent.network is not aligned.network:
        taken, told = [line for name, line in placements.items() if name not in own], Diagnostics()
        good = all([_sites_fit(line, aligned, told) for line in taken]) and good
        here = declaration.network.span if declaration.network is not None else declaration.name.span
        for one in told:  # a fault in a line of the parent is one on the network of the child
            found.add(replace(one, others=(*one.others, (here, f"taken over to `{aligned.network.name}` here"))))
    if not good or not inputs_fit(inputs, placements, found):
        return None
    return Placements(placements, readouts, tuple(sorted(inputs.values(), key=lambda p: p.start)))


def _own_lines(
    declaration: tree.AlignDecl, aligned: Aligned, found: Diagnostics
) -> tuple[dict[str, tree.Placement], bool]:
    """The placements that an alignment restates or adds, each of a variable of the model, and whether all are."""
    own: dict[str, tree.Placement] = {}
    good = True
    for member in separate(declaration, aligned, found):
        if member is None:
            good = False
            continue
        name = member.name.name
        if name not in aligned.model.variables:
            found.report(
                "E201",
                f"no variable `{name}` in `{aligned.model.name}`",
                member.name.span,
                label=f"not a variable of `{aligned.model.name}`",
                others=((declaration.name.span, "aligned from here"),),
                help=did_you_mean(name, aligned.model.variables),
            )
            good = False
        elif name in own:
            found.report(
                "E672",
                f"`{name}` is placed twice",
                member.name.span,
                others=((own[name].name.span, "first placed here"),),
                help=f"name several sites on one line: {name} @ site, site",
            )
            good = False
        else:
            own[name] = member
    return own, good


def _kind(member: tree.Placement) -> str:
    """The site of a line, where it is one bare name."""
    path = steps(member.sites[0])
    head = path[0].name if path else ""
    # `logits` under an intervention is a site; as a placement it is where the output is read.
    return head if len(member.sites) == 1 and path and len(path) == 1 else ""


def _is_number(member: tree.Placement, aligned: Aligned) -> bool:
    """Whether a line says by which metric an output is read: it is a real number, and no site has such a name."""
    variable = aligned.model.variables[member.name.name]
    if not (variable.output and variable.type == "real"):
        return False
    site = member.sites[0]
    path = steps(site)
    if path is None:
        return True
    bare = isinstance(site, tree.Name) and site.name not in ("input", *COMPONENTS)
    return bare or (isinstance(site, tree.Call) and path[0].name not in ("module", *READOUTS))


def _sites_fit(member: tree.Placement, aligned: Aligned, found: Diagnostics) -> bool:
    """Judge the sites in the first and the last cell: the ends of every range. What a loaded network lacks in single cells is
    told by the tests that run these."""
    for cell in aligned.ends:
        told = Diagnostics()
        reader = SiteReader(aligned.network.facts, aligned.templates, told, cell, aligned.model)
        spreads = [(site, reader.spread(site)) for site in member.sites]
        if told.errors and cell and of_places(told, aligned.network.facts):
            continue
        found.extend(told)
        if any(spread is None for _, spread in spreads):
            return False
        places = [(site, place) for site, spread in spreads if spread is not None for place in spread.places]
        for (first, one), (second, other) in combinations(places, 2):
            if overlap(one, other, aligned.network.facts):
                found.report(
                    "E461",
                    f"`{member.name.name}` is placed at overlapping sites",
                    second.span,
                    others=((first.span, "shares numbers with this"),),
                    help="name each number once",
                )
                return False
    return True


def _feature_fits(member: tree.Placement, aligned: Aligned, folder: Path, found: Diagnostics) -> bool:
    """Judge the feature of a line, in the first and the last cell."""
    if member.via is None or encodes(member.via):
        return True
    for cell in aligned.ends:
        via = read_via(member.via, cell, folder, found, tuple(ENCODINGS))
        if via is None:
            return False
        reader = SiteReader(aligned.network.facts, aligned.templates, Diagnostics(), cell, aligned.model)
        places = reader.places(member.sites)
        if places is None:
            continue  # told where the sites are judged
        named = next((place for place in places if place.key is not None), None)
        if named is not None:
            found.report(
                "E468",
                "a feature is of vectors, not of attention weights to single tokens",
                member.via.span,
                notes=(f"{named} is one weight of each head for each token that is looked at",),
                help="leave `via` out, or place the variable at `z`, which the weights make",
            )
            return False
        facts = aligned.network.facts
        if (across := across_in(via)) is not None:
            own = origin(member.name.name, member.name.span)
            ref = FeatureRef(own, aligned.network.key, (), places[0], via.chain, Fitting(), elsewhere=via.elsewhere)
            if read_across(across, replace(ref, span=via.span), places, aligned.network, found) is None:
                return False
            continue
        if not (check_width(via, places, facts, found) and shapes_fit(via, places, facts, found)):
            return False
        first = via.chain[0]
        if (
            family(first).encoder
            and not via.elsewhere
            and not check_sae(Path(str(dict(first.settings)["path"])), places, aligned.network, via.span, found)
        ):
            return False
        if via.joined and join(places) is None:
            found.report(
                "E724",
                "only tokens at one site are joined to one vector",
                member.via.span,
                notes=("the value at a later site depends on the write at an earlier one",),
                help="name several tokens of one site, or leave `joined` out: then each site has a feature of its own",
            )
            return False
    return True
