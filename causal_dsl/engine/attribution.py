"""Direct logit attribution (Elhage et al. 2021): what each term of the residual stream adds to a logit.

The scale of the last norm is held as it is in the run, and so is the factor by which the network changes the logit after its
read-out: the terms, and the biases of the norm and of the read-out, then add up to the logit. A head's term goes through its part of
the output projection, as a product of directions, so that no vector of single heads is made; where a norm stands between attention and
the stream, its scale is held, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import fail
from causal_dsl.engine.looked_at import Looks
from causal_dsl.engine.place_readings import Run, vectors
from causal_dsl.measures.quantities import SUMS, Quantity, ValueRef
from causal_dsl.network.frozen_norm import FrozenNorm
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.planning import graph as g
from causal_dsl.program.program import PlaceRead, Test
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place, Site

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Direction:
    """For each pair: the ``vector`` [n, width] of the stream whose product with a term is what the term adds to a logit,
    the ``rest`` [n] that no term adds, and the ``logit`` [n] itself."""

    vector: Tensor
    rest: Tensor
    logit: Tensor


@dataclass(eq=False)
class Attribution:
    """The vectors that were read in one run of a pass, as terms of logits."""

    looks: Looks
    test: Test
    run: Run
    pairs: np.ndarray

    def numbers(self, looked: g.Looked) -> dict[Quantity, np.ndarray]:
        """The contribution of the look's site to each logit that is asked for, and the sums that it is held against."""
        look, found = looked.look, {}
        for quantity in looked.quantities:
            assert quantity.of is not None
            if quantity.kind == "heads_apart":
                values = self._once(
                    (quantity.kind, *look.places[:2], quantity.of), partial(self._apart, look, quantity.of)
                )
            elif quantity.kind in SUMS:
                values = self.sums(look, quantity.of)[quantity.kind]
            else:
                values = self.added(look, quantity.of)
            found[quantity] = values.cpu().numpy()
        return found

    # ── of one site ─────────────────────────────────────────────────────────────────────────────

    def added(self, look: PlaceRead, of: ValueRef) -> Tensor:
        """The contribution of the site of a look to a logit, [n]."""
        place = look.places[0]
        direction = self.direction(look.places[1], of, look)
        if COMPONENTS[place.site.component].logit == "head":
            heads, _ = self.heads(place, look.places[1], of, look)
            return heads[:, list(look.arguments)].sum(dim=1)
        return self.product(place, direction)

    def product(self, place: Place, direction: Direction) -> Tensor:
        """The contribution of the vector at a place, [n]."""
        return (self.read(place).to(direction.vector.device) * direction.vector).sum(dim=1)

    def read(self, place: Place) -> Tensor:
        """The vectors at a place, one for each of the pairs."""
        found = vectors(self.looks, self.run, place)
        return found[torch.from_numpy(self.looks.back(self.run, self.pairs)).to(found.device)]

    # ── of all terms ────────────────────────────────────────────────────────────────────────────

    def sums(self, look: PlaceRead, of: ValueRef) -> dict[str, Tensor]:
        """The contributions of the embeddings, all attention, all MLPs and the biases, their sum, and the logit that the network makes, each [n]."""
        return self._once(("sums", look.places[1], of), lambda: self._sums(look, of))

    def _sums(self, look: PlaceRead, of: ValueRef) -> dict[str, Tensor]:
        direction = self.direction(look.places[1], of, look)
        kinds = {"resid_pre": "of_embeddings", "attn_out": "of_attention", "mlp_out": "of_mlps"}
        found = {kind: torch.zeros_like(direction.rest) for kind in kinds.values()}
        for place in _terms(look.places):
            kind = kinds[place.site.component]
            found[kind] = found[kind] + self.product(place, direction)
        found["of_biases"] = direction.rest
        found["of_all"] = torch.stack(list(found.values())).sum(dim=0)
        found["own_logit"] = direction.logit
        return found

    def _apart(self, look: PlaceRead, of: ValueRef) -> Tensor:
        """How far the heads of the look's layer, with the biases behind them, are from what its attention adds, [n]."""
        place, direction = look.places[0], self.direction(look.places[1], of, look)
        if COMPONENTS[place.site.component].logit != "head":
            return torch.zeros_like(direction.rest)
        heads, rest = self.heads(place, look.places[1], of, look)
        whole = Place(Site("attn_out", place.site.layer), place.position)
        return (heads.sum(dim=1) + rest - self.product(whole, direction)).abs()

    # ── directions ──────────────────────────────────────────────────────────────────────────────

    def direction(self, end: Place, of: ValueRef, look: PlaceRead) -> Direction:
        """The direction of a logit in the stream whose end is at a place."""
        return self._once(("direction", end, of), lambda: self._direction(end, of, look))

    def _direction(self, end: Place, of: ValueRef, look: PlaceRead) -> Direction:
        ending, network = self.looks.ending, self.looks.context.network
        if not ending.narrow:
            raise fail(
                "E842",
                f"the read-out of `{network.name or 'the network'}` is not a linear map, so no term of the stream adds to a logit",
                look.span,
                help="read the stream itself: logit(…) @ layer[0].resid_post[…]",
            )
        device = network.device_of(ending.unembed)
        stream = self.read(end).to(device)
        ids = self.looks.ids(self.test, Quantity("logit", of), self.run, self.pairs)
        weights, biases = ending.weights(ids.clamp(min=0))
        weights, biases = weights.to(device), biases.to(device)
        raw = (ending.normed(stream).double() * weights).sum(dim=1) + biases
        finished = ending.finished(raw)
        factor = torch.where(raw == 0, torch.ones_like(raw), finished / raw)
        factor = torch.where(ids.to(device) >= 0, factor, torch.nan)
        vector, rest = weights, biases
        if ending.norm is not None:
            norm = self._frozen(ending.norm, stream.shape[1], device, look)
            rest = rest + weights @ norm.bias
            vector = norm.back(weights, norm.scales(stream))
        return Direction(vector * factor[:, None], rest * factor, torch.where(ids.to(device) >= 0, finished, torch.nan))

    def heads(self, place: Place, end: Place, of: ValueRef, look: PlaceRead) -> tuple[Tensor, Tensor]:
        """The contribution of each head of a layer [n, heads], and that of the output projection and a norm behind it [n]."""
        return self._once(("heads", place, end, of), lambda: self._heads(place, end, of, look))

    def _heads(self, place: Place, end: Place, of: ValueRef, look: PlaceRead) -> tuple[Tensor, Tensor]:
        network, layer = self.looks.context.network, place.site.layer or 0
        assert network.layout is not None
        own = network.layout.at(layer)
        project = network.layers[layer].get_submodule(own.z[:-1])
        term = find_tap(network, Site("attn_out", layer))
        device = network.device_of(project)
        direction = self.direction(end, of, look).vector.to(device) * term.scale
        heads, rest = self.read(place).to(device), torch.zeros(len(direction), dtype=torch.float64, device=device)
        given = heads.to(network.dtype)
        with torch.enable_grad():
            given.requires_grad_()
            out = project(given)
            out = out[0] if isinstance(out, tuple) else out
            behind = own.attn_out[:-1] not in (own.attention, own.z[:-1])
            if behind and not isinstance(term.module, nn.Dropout | nn.Identity):
                norm = self._frozen(term.module, out.shape[1], device, look)
                rest = rest + direction @ norm.bias
                direction = norm.back(direction, norm.scales(out.detach()))
            (back,) = torch.autograd.grad(out, given, direction.to(out.dtype))
        constant = project(torch.zeros_like(given[:1]))
        constant = (constant[0] if isinstance(constant, tuple) else constant).double()
        rest = rest + (direction * constant.detach()).sum(dim=1)
        each = (back.double() * heads).view(len(heads), len(place.site.heads), -1).sum(dim=2)
        where = self.direction(end, of, look).vector.device
        return each.to(where), rest.to(where)

    def _frozen(self, module: nn.Module, width: int, device: torch.device, look: PlaceRead) -> FrozenNorm:
        key = ("norm", module)
        if key not in self.looks.shared:
            dtype = self.looks.context.network.dtype
            self.looks.shared[key] = FrozenNorm(module, width, dtype, device, look.span)
        found: FrozenNorm = self.looks.shared[key]
        return found

    def _once(self, key: tuple[object, ...], make: Callable[[], Made]) -> Made:
        whole = ("attribution", self.test.name, self.run, *key)
        if whole not in self.looks.shared:
            self.looks.shared[whole] = make()
        found: Made = self.looks.shared[whole]
        return found


def _terms(places: Sequence[Place]) -> Sequence[Place]:
    """Behind the site and the end of the stream stand all of its terms."""
    return places[2:]


__all__ = ["Attribution", "Direction"]
