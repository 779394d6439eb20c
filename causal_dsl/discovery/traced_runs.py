"""Runs of a network in which what its components give is seen, with or without gradients, and may be replaced.

A stage is a tensor that components give: the embedding, the heads of a layer before their output projection, an MLP. A port is
what a component reads (:class:`~causal_dsl.vocabulary.ports.Port`); its gradient is that of the residual stream as this
component alone reads it. An MLP and the read-out are given the stream under another name, so that nothing else is in the
gradient. The heads of a layer read one norm of the stream: the gradients of their queries, keys and values are led
through the projections and that norm, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import fail
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.forward import forward, hook_tensor
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.program.components import head_count
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import HEAD_PORTS, Port

#: A component of sites, and its layer (-1: of none).
Stage = tuple[str, int]


@dataclass(eq=False)
class RunTrace:
    """The tensors of one run: ``logits`` [rows, vocabulary] at the read-out, ``given[stage]`` [rows, tokens, width] (of a
    vector network [rows, width]), and, with gradients, what components read."""

    logits: Tensor
    given: dict[Stage, Tensor]
    reads: _Reads | None = None


@dataclass(eq=False)
class _Reads:
    """Tensors on the way from the stream to what components read, as the run made them."""

    streams: dict[int, Tensor] = field(default_factory=dict)
    entered: dict[nn.Module, Tensor] = field(default_factory=dict)
    left: dict[nn.Module, Tensor] = field(default_factory=dict)
    mlps: dict[int, Tensor] = field(default_factory=dict)
    final: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Tracer:
    """Traces runs of ``network`` at some ``stages``, in the order in which it computes them."""

    network: Network
    stages: tuple[Stage, ...]
    padding: str

    def run(
        self,
        inputs: InputRows,
        positions: Tensor | None,
        *,
        start: Stage | None = None,
        instead: Mapping[Stage, Tensor] | None = None,
        ports: bool = False,
    ) -> RunTrace:
        """One run on ``inputs``, read at ``positions``. From the stage ``start`` on there are gradients; a stage of ``instead``
        is given this tensor; with ``ports`` what components read is kept."""
        given: dict[Stage, Tensor] = {}
        reads = _Reads() if ports else None
        with torch.set_grad_enabled(start is not None), self._hooked(given, start, instead or {}, reads):
            found = forward(
                self.network,
                inputs,
                readout=torch.arange(len(inputs)),
                positions=positions,
                stop=False,
                padding=self.padding,  # type: ignore[arg-type]
            )
        assert found.logits is not None
        return RunTrace(found.logits, given, reads)

    @contextmanager
    def _hooked(
        self,
        given: dict[Stage, Tensor],
        start: Stage | None,
        instead: Mapping[Stage, Tensor],
        reads: _Reads | None,
    ) -> Iterator[None]:
        handles = []

        def seen(stage: Stage) -> Callable[[Tensor], Tensor]:
            def act(tensor: Tensor) -> Tensor:
                if stage in instead:
                    tensor = instead[stage].to(tensor)
                if stage == start:
                    tensor = tensor.detach().requires_grad_()
                given[stage] = tensor
                return tensor

            return act

        for stage in self.stages:
            place = find_tap(self.network, site_of(stage))
            handles.append(hook_tensor(place.module, place.side, seen(stage)))
        if reads is not None:
            handles += self._reading(reads)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    # ── what components read ────────────────────────────────────────────────────────────────────

    def _reading(self, reads: _Reads) -> list[Any]:
        network, layout = self.network, self.network.layout
        assert layout is not None
        ends = [layout.norm[:-1]] if layout.norm is not None else [*layout.head[:1]]
        if not ends or (layout.norms is not None):
            raise self._unknown("norm before the logits")

        def into(name: str, key: Any) -> Callable[[Tensor], Tensor]:
            def act(tensor: Tensor) -> Tensor:
                getattr(reads, name)[key] = tensor
                return tensor

            return act

        def alias(key: int) -> Callable[[Tensor], Tensor]:
            def act(tensor: Tensor) -> Tensor:
                reads.mlps[key] = tensor.view_as(tensor)
                return reads.mlps[key]

            return act

        def last(tensor: Tensor) -> Tensor:
            reads.final = tensor.view_as(tensor)
            return reads.final

        handles = [hook_tensor(network.model.get_submodule(ends[0]), "in", last)]
        for number, layer in enumerate(network.layers):
            own = layout.at(number)
            handles.append(hook_tensor(layer, "in", into("streams", number)))
            if own.mid is None and not network.facts.parallel:
                raise self._unknown("norm before the MLP")
            handles.append(
                hook_tensor(layer.get_submodule(own.mlp if own.mid is None else own.mid[:-1]), "in", alias(number))
            )
            for kind in HEAD_PORTS:
                module = find_tap(network, Site(kind, number)).module
                if module not in reads.entered:
                    handles.append(hook_tensor(module, "in", into("entered", module)))
                    handles.append(hook_tensor(module, "out", into("left", module)))
        return handles

    def _unknown(self, what: str) -> Exception:
        return fail(
            "E814",
            f"the {what} of `{self.network.name}` is not known, so no edge to it can be patched",
            self.network.span,
            help="discover nodes: discover(nodes, …)",
        )

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """All that components read, in the order of :meth:`port_gradients`."""
        return tuple(port for layer in range(len(self.network.layers)) for port in self.ports_of(layer)) + (
            Port("logits"),
        )

    def ports_of(self, layer: int) -> tuple[Port, ...]:
        """The stream that the heads of a layer read, and its MLP."""
        facts = self.network.facts
        return (
            *(Port(kind, layer, head) for kind in HEAD_PORTS for head in range(head_count(kind, facts) or 0)),
            Port("mlp", layer),
        )

    def port_gradients(self, trace: RunTrace, objective: Tensor) -> Iterator[tuple[tuple[Port, ...], Tensor]]:
        """The gradient of a number by what each port reads of the stream, [ports, rows, tokens, width], layer by layer from the
        last; the read-out's is the first."""
        reads = trace.reads
        assert reads is not None and reads.final is not None
        modules = list(reads.left)
        mlps = list(reads.mlps)
        wanted = [reads.final, *(reads.left[m] for m in modules), *(reads.mlps[n] for n in mlps)]
        known = [tensor.requires_grad for tensor in wanted]
        found = iter(
            torch.autograd.grad(
                objective,
                [t for t, there in zip(wanted, known, strict=True) if there],
                retain_graph=True,
                allow_unused=True,
            )
        )
        grads = [next(found) if there else None for there in known]
        left = dict(zip(modules, grads[1 : 1 + len(modules)], strict=True))
        into = dict(zip(mlps, grads[1 + len(modules) :], strict=True))
        if grads[0] is not None:
            yield (Port("logits"),), grads[0][None]
        for layer in reversed(range(len(self.network.layers))):
            if not reads.streams[layer].requires_grad and not reads.mlps[layer].requires_grad:
                continue  # nothing before it has a gradient
            yield self.ports_of(layer), self._of_layer(layer, reads, left, into)

    def _of_layer(
        self,
        layer: int,
        reads: _Reads,
        left: Mapping[nn.Module, Tensor | None],
        into: Mapping[int, Tensor | None],
    ) -> Tensor:
        stream, layout = reads.streams[layer], self.network.layout
        assert layout is not None
        mlp = reads.mlps[layer]
        parts: list[Tensor] = []
        # of each tensor that projections read, the gradients by it
        through: dict[int, tuple[Tensor, list[tuple[int, Tensor]]]] = {}
        count = 0
        for port in self.ports_of(layer):
            if port.kind == "mlp":
                own = into[layer]
                own = torch.zeros_like(mlp) if own is None else own
                if layout.at(layer).mid is not None:
                    parts.append(own)
                    continue
                through.setdefault(id(mlp), (mlp, []))[1].append((count, own))
            else:
                place = find_tap(self.network, Site(port.kind, layer, (port.head,)))
                outer = left[place.module]
                tensor = reads.entered[place.module]
                columns = None if place.columns is None else place.columns.to(stream.device)
                if outer is None or not stream.requires_grad:
                    parts.append(torch.zeros_like(stream))
                    continue
                if place.side == "out" and (weight := _weight(place.module)) is not None:
                    picked = outer if columns is None else outer.index_select(-1, columns)
                    rows = weight if columns is None else weight.index_select(0, columns)
                    through.setdefault(id(tensor), (tensor, []))[1].append((count, picked @ rows))
                else:
                    tensor = reads.left[place.module] if place.side == "out" else tensor
                    chosen = torch.zeros_like(outer)
                    where = slice(None) if columns is None else columns
                    chosen[..., where] = outer[..., where]
                    through.setdefault(id(tensor), (tensor, []))[1].append((count, chosen))
            parts.append(stream)  # in its place for now
            count = len(parts)
        for tensor, own in through.values():
            pulled = _pulled(tensor, stream, torch.stack([grad for _, grad in own]))
            for (number, _), grad in zip(own, pulled, strict=True):
                parts[number] = grad
        return torch.stack(parts)


def _pulled(tensor: Tensor, stream: Tensor, grads: Tensor) -> Tensor:
    """Gradients [k, …] by a tensor as gradients by the stream that it is made of."""
    if tensor is stream:
        return grads
    try:
        (found,) = torch.autograd.grad(tensor, stream, grads, retain_graph=True, is_grads_batched=True)
    except RuntimeError:  # an operation that cannot be derived for many at once
        found = torch.stack([torch.autograd.grad(tensor, stream, one, retain_graph=True)[0] for one in grads])
    return found


def _weight(module: nn.Module) -> Tensor | None:
    """The matrix [out, in] of a linear map; None of another module."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2:
        return None
    if type(module) is nn.Linear:
        return weight
    return weight.T if type(module).__name__ == "Conv1D" else None


def site_of(stage: Stage) -> Site:
    """The site of a stage."""
    return Site(stage[0], stage[1] if stage[1] >= 0 else None)


# ── what senders give ───────────────────────────────────────────────────────────────────────────


def sent(network: Network, stage: Stage, base: Tensor, other: Tensor) -> Tensor:
    """How much more each sender of a stage would give to the stream, were it as in another run [rows, tokens, senders, width].

    The heads of a layer are told apart in one contraction with the output projection; a norm behind it is given what each head
    alone would change."""
    if stage[0] != "z":
        return ((other - base) * find_tap(network, site_of(stage)).scale)[:, :, None]
    layout, layer = network.layout, stage[1]
    assert layout is not None
    own = layout.at(layer)
    module = network.layers[layer].get_submodule(own.z[:-1])
    term = find_tap(network, Site("attn_out", layer))
    after = term.module if own.attn_out[:-1] not in (own.attention, own.z[:-1]) else None
    heads = network.facts.heads or 1
    columns = torch.stack(
        [
            torch.arange(base.shape[-1]) if found is None else found.cpu()
            for found in (find_tap(network, Site("z", layer, (head,))).columns for head in range(heads))
        ]
    ).to(base.device)
    weight = _weight(module)
    if weight is not None:
        change = (other - base)[..., columns]  # [rows, tokens, heads, size]
        each = torch.einsum("bths,whs->bthw", change, weight[:, columns])
        if after is not None:
            plain = module(base)
            each = _normed(after, plain, each)
    else:
        plain = _first(module(base))
        each = torch.stack(
            [_first(module(base.index_copy(-1, c, other.index_select(-1, c)))) - plain for c in columns], dim=2
        )
        if after is not None:
            each = _normed(after, plain, each)
    return each * term.scale


def _normed(norm: nn.Module, plain: Tensor, each: Tensor) -> Tensor:
    """The norm of a sum with each of some terms more, less the norm of the sum."""
    rows, tokens, count, width = each.shape
    given: Tensor = norm((plain[:, :, None] + each).reshape(rows, tokens * count, width))
    before: Tensor = norm(plain)
    return given.reshape(each.shape) - before[:, :, None]


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


__all__ = ["RunTrace", "Stage", "Tracer", "sent", "site_of"]
