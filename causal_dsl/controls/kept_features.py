"""The part that features take of a layer, which stays as it is while the rest of the layer is taken from other inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.execute import Execution
from causal_dsl.features.base import Feature
from causal_dsl.planning.claims import idle_claims
from causal_dsl.planning.probe_rows import in_tokens, prompts_of
from causal_dsl.planning.rest_of_layer import named, same_layer, whole_of
from causal_dsl.program.components import width
from causal_dsl.program.inside import across_in
from causal_dsl.program.overlap import overlap
from causal_dsl.program.program import Intervention, Placed, Test
from causal_dsl.program.read_features import FeatureRef, Via, family
from causal_dsl.program.whole_maps import writes_all
from causal_dsl.vocabulary.locations import Place, Site
from causal_dsl.vocabulary.values.from_run import FromRun

#: How often what is claimed is written, and what is rounding, of the size of the largest number.
_WRITTEN, _ROUNDED = 24, 1e-4


@dataclass(frozen=True, eq=False)
class KeptPart:
    """A part of a layer that is kept, in some ``columns`` of its vector: what a feature takes there, or all of it."""

    columns: tuple[int, ...]
    ref: FeatureRef | None = None
    feature: Feature | None = None

    def put(self, mixed: torch.Tensor, own: torch.Tensor) -> None:
        """Write what is kept of the vectors ``own`` [n, width] into ``mixed`` [n, width]."""
        at = list(self.columns)
        new = own[:, at]
        if self.feature is not None and self.ref is not None:
            block = None if self.ref.block is None else slice(*self.ref.block)
            new = self.feature.swap(mixed[:, at].to(self.feature.device), new.to(self.feature.device), block)
        mixed[:, at] = new.to(mixed)

    def before(self, vectors: torch.Tensor) -> torch.Tensor | None:
        """The numbers [n, size] of which the feature cuts some off, in vectors [n, width]; None where it cuts nothing off."""
        return None if self.feature is None else self.feature.before(vectors[:, list(self.columns)])


@dataclass(frozen=True, eq=False)
class FeatureClaim:
    """The variables that are claimed to be in a layer, some of them through features, and the ``parts`` that they have there. ``given``: no
    feature was fitted."""

    placed: tuple[str, ...]
    parts: tuple[KeptPart, ...]

    @property
    def given(self) -> bool:
        return all(part.ref is None or are_given(part.ref) for part in self.parts)

    @property
    def through(self) -> str:
        """The features, in words."""
        return " and ".join(dict.fromkeys(part.ref.map.told for part in self.parts if part.ref is not None))

    def keep(self, mixed: torch.Tensor, own: torch.Tensor, natural: torch.Tensor) -> torch.Tensor:
        """Mixed vectors [n, width] with what is claimed as the vectors ``own`` [n, width] have it.

        A latent that is 0 may stand for numbers far below 0, and to write one variable may change another. So it is written until nothing changes;
        where that does not come about, the vector is the own one. So it is where such a number is further below than in any of the ``natural``
        vectors [m, width]: what the latent cuts off there is no rest of the layer, and the network may read it.
        """
        rounded = max(_ROUNDED, 4 * torch.finfo(own.dtype).eps) * own.abs().max()
        for _ in range(_WRITTEN):
            before = mixed.clone()
            for part in self.parts:
                part.put(mixed, own)
            changing = (mixed - before).abs().amax(dim=1) > rounded
            if not changing.any():
                break
        for part in self.parts:
            there, known = part.before(mixed), part.before(natural)
            if there is not None and known is not None and len(known):
                low = known.amin(dim=0)
                below = there < low - max(_ROUNDED, 4 * torch.finfo(low.dtype).eps) * (1 + low.abs())
                changing |= below.any(dim=1).to(changing.device)
        return torch.where(changing[:, None], own, mixed)


def are_given(ref: FeatureRef) -> bool:
    """Whether a feature is read from a file as it is."""
    return all(family(member).file is not None for member in ref.chain)


def layer_of_features(test: Test, number: int) -> Site | None:
    """The layer at which all variables of a cell are written, some of them through features that have not all of their places; else None."""
    mine = [i for i in test.cells[number].interventions if i.variable]
    facts = test.network.facts
    if not mine or all(writes_all(i, facts) for i in mine):
        return None
    for i in mine:
        value = i.value
        plain = isinstance(value, FromRun) and value.places == i.places and not (i.add or i.to or i.inside)
        if not plain or any(ref.joined or ref.reads for ref in i.features):
            return None
    sites = {whole_of(named(place, facts).site) for i in mine for place in i.places}
    return next(iter(sites)) if len(sites) == 1 else None


def claims_at(test: Test, number: int, site: Site, execution: Execution) -> list[FeatureClaim]:
    """The claims of a cell on a layer: with all variables that the alignment puts there, and with those alone that it writes. None where the
    tokens of a place differ from prompt to prompt."""
    mine = {i.variable: (i.places, i.features) for i in test.cells[number].interventions if i.variable}
    others = dict(_others(test, number, site, execution))
    claims = [{**mine, **others}, mine] if others else [mine]
    found = []
    for claim in claims:
        parts = [
            _parts(test, place, ref, execution)
            for places, refs in claim.values()
            for place, ref in zip(places, refs or (None,) * len(places), strict=True)
        ]
        if None not in parts:
            found.append(FeatureClaim(tuple(claim), tuple(part for some in parts for part in some or ())))
    return found


def _others(
    test: Test, number: int, site: Site, execution: Execution
) -> Iterator[tuple[str, tuple[tuple[Place, ...], tuple[FeatureRef, ...]]]]:
    """The variables that are placed in a layer and not written, each with its places and its features there."""
    facts, cell = test.network.facts, test.cells[number]
    mine = [i for i in cell.interventions if i.variable]
    written = {i.variable for i in mine if i.variable}
    some = [p for p in cell.placed if p.variable not in written and p.variable != test.readout.variable and p.fixed]
    some = [p for p in some if p.places and all(same_layer(named(place, facts).site, site) for place in p.places)]
    idle = idle_claims(test, execution.plan.draw_of(test), some, written)
    for p in some:
        refs = _refs(p, mine, execution)
        if p.variable in idle or refs is None or _shares_numbers(p, mine, test):
            continue
        yield p.variable, (p.places, refs)


def _shares_numbers(p: Placed, mine: Sequence[Intervention], test: Test) -> bool:
    """Whether a variable has numbers of a place that is written, other than through a feature of its own beside another feature there."""
    facts = test.network.facts
    return any(
        overlap(one, other, facts) and (p.via is None or not i.features)
        for i in mine
        for one in p.places
        for other in i.places
    )


def _refs(p: Placed, mine: Sequence[Intervention], execution: Execution) -> tuple[FeatureRef, ...] | None:
    """The features through which a variable is placed; None where they are not at hand: not fitted in this run, nor read from a file."""
    if p.via is None:
        return ()
    own = next((ref for i in mine for ref in i.features), None)
    if own is None or p.via.joined or across_in(p.via) is not None:
        return None
    for test in execution.plan.tests:
        for i in (i for cell in test.cells for i in cell.interventions if not test.control[0]):
            if i.variable == p.variable and i.places == p.places and i.features:
                alike = all(_is_of(ref, p.via, own) and ref.map in execution.features for ref in i.features)
                if alike:
                    return i.features
    if not all(family(member).file is not None for member in p.via.chain):
        return None
    refs = tuple(
        replace(own, variables=(p.variable,), place=place, chain=p.via.chain, fitting=p.via.fitting, block=None)
        for place in p.places
    )
    return None if any(ref.reads for ref in refs) else refs


def _is_of(ref: FeatureRef, via: Via, own: FeatureRef) -> bool:
    """Whether a feature is the one of a placement in the alignment of ``own``, by itself or as a block of a map that several variables share."""
    shared = len(ref.variables) > 1 and ref.chain[:-1] == via.chain[:-1] and ref.chain[-1].name == via.chain[-1].name
    return ref.alignment == own.alignment and (ref.chain == via.chain or shared) and not ref.reads


def _parts(test: Test, place: Place, ref: FeatureRef | None, execution: Execution) -> list[KeptPart] | None:
    """The parts that are kept at a place, token by token; None where its tokens differ from prompt to prompt, or its feature cannot be made."""
    site = named(place, test.network.facts).site
    whole = width(replace(site, dims=None), test.network.facts)
    tokens = _tokens(test, place, execution)
    if whole is None or tokens is None:
        return None
    numbers = range(whole) if site.dims is None else site.dims
    columns = [tuple(token * whole + number for number in numbers) for token in tokens]
    if ref is None:
        return [KeptPart(some) for some in columns]
    feature = execution.features.get(ref.map)
    if feature is None:
        like = torch.empty((1, len(numbers)), dtype=execution.networks[test.network.key].dtype)
        try:
            feature = execution.given.of(ref, like)
        except (SpecError, ValueError):
            return None
    return [KeptPart(some, ref, feature) for some in columns]


def _tokens(test: Test, place: Place, execution: Execution) -> tuple[int, ...] | None:
    """The tokens of a place, if they are the same in all prompts of a test."""
    inputs = execution.plan.inputs[test.network.key]
    if not in_tokens(inputs):
        return (0,)
    try:
        there = {inputs.where(place.position, index) for index in prompts_of(execution.plan, test).tolist()}
    except SpecError:
        return None  # a prompt of another shape, in which the place is not
    return next(iter(there)) if len(there) == 1 else None


def same_tokens(test: Test, execution: Execution) -> bool:
    """Whether all prompts of a test have as many tokens; vectors have one place each."""
    inputs = execution.plan.inputs[test.network.key]
    return not in_tokens(inputs) or len(set(inputs.lengths[prompts_of(execution.plan, test)].tolist())) == 1


__all__ = ["FeatureClaim", "KeptPart", "are_given", "claims_at", "layer_of_features", "same_tokens"]
