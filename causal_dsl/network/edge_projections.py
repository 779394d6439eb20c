"""The norm before attention and its projections in a pass of edges: the columns that one receiver is given, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from functools import partial

import torch
from torch import Tensor, nn

from causal_dsl.base.faults import OwnFault
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.edge_norms import RootMeanSquare, root_mean_square
from causal_dsl.network.edge_terms import Room
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tap import Tap
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import HEAD_PORTS, Port


@dataclass(eq=False)
class _Projected:
    """The output of a linear map [rows, tokens, columns], each receiver's columns from what it is given: ``own`` are those at hand,
    each with which of the ``sets`` that are run together it belongs to; ``full`` of how many columns are there."""

    out: Tensor | None = None
    own: list[tuple[int, slice | Tensor]] = field(default_factory=list)
    sets: int = 1
    full: int = 0


@dataclass(eq=False)
class _RunOn:
    """The input on which a layer is run for receivers that read one projection; None where others do. Where a norm before the projections leaves it
    as it is, ``formula`` and ``factor`` [rows, tokens, 1] are what they do with it themselves."""

    room: Room
    tensor: Tensor | None = None
    formula: RootMeanSquare | None = None
    factor: Tensor | None = None


class EdgeProjections:
    """The linear maps that give queries, keys and values of the layers of a network, as the receivers of a pass read them."""

    def __init__(self, network: Network, room: Room):
        self.network, self.room = network, room
        #: of a layer's projections what its receivers are given, put together
        self._projected: dict[nn.Module, _Projected] = {}
        self._linear: dict[int, list[nn.Module]] = {}
        #: the norms of a layer whose formula is known
        self._norms: dict[int, dict[nn.Module, RootMeanSquare]] = {}

    def read_by(self, layer: int, ports: Sequence[Port]) -> nn.Module | None:
        """The projection that receivers of a layer read, where all read one."""
        read = {None if port.kind == "mlp" else self._tap(port).module for port in ports}
        module = read.pop() if len(read) == 1 else None
        return module if module in self._projections(layer) else None

    def _tap(self, port: Port) -> Tap:
        return find_tap(self.network, Site(port.kind, port.layer, (port.head,)))

    @contextmanager
    def narrowed(self, layer: int) -> Iterator[Callable[[Sequence[Sequence[Port]], Tensor], None]]:
        """Within, the projections compute the columns of some receivers alone; nothing else of this run is looked at."""
        modules, norms, run = self._projections(layer), self._normed(layer), _RunOn(self.room)
        for module in modules:
            self._projected.setdefault(module, _Projected())

        def narrow(sets: Sequence[Sequence[Port]], given: Tensor) -> None:
            together = self.read_by(layer, [port for same in sets for port in same])
            run.tensor, run.formula, run.factor = None if together is None else given, None, None
            for module in modules:
                self._projected[module].own, self._projected[module].sets = [], len(sets)
            for number, port in ((number, port) for number, same in enumerate(sets) for port in same):
                tap = self._tap(port) if port.kind != "mlp" else None
                if tap is not None and tap.module in modules and tap.columns is not None:
                    self._projected[tap.module].own.append((number, tap.spot))
                    self._projected[tap.module].full += len(tap.columns)

        with ExitStack() as stack:
            for module in modules:
                module.forward = partial(_columns, module, self._projected[module], run)
                stack.callback(module.__dict__.pop, "forward")
            for norm, formula in norms.items():
                late = all(self._read.get(module) is norm for module in modules)
                norm.forward = partial(self._norm, formula, norm.forward, run, late)
                stack.callback(norm.__dict__.pop, "forward")
            yield narrow

    @property
    def _read(self) -> dict[nn.Module, nn.Module]:
        return self.room.read_as_it_is or {}

    def _norm(
        self,
        formula: RootMeanSquare,
        forward: Callable[[Tensor], Tensor],
        run: _RunOn,
        late: bool,
        given: Tensor,
    ) -> Tensor:
        """The output of a norm on which its layer is run; the projection that reads it is run before the memory is used again. ``late``:
        the projections read what it gives as it is, so they do what it does, on a few columns."""
        if run.tensor is None or given is not run.tensor or given.requires_grad:
            return forward(given)
        if late:
            run.formula, run.factor = formula, formula.factor(given)
            return given
        return formula(given, self.room.take("normed", 0, tuple(given.shape), given))

    def _normed(self, layer: int) -> dict[nn.Module, RootMeanSquare]:
        """The norms of a layer whose formula is known, and which no one else looks into."""
        if layer not in self._norms:
            own, known = self._norms.setdefault(layer, {}), self.room.norms
            for module in self.network.layers[layer].modules():
                if module not in known:
                    known[module] = root_mean_square(module, self.network.facts.width or 0)
                formula = known[module]
                looked_into = module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
                if formula is not None and not looked_into:
                    own[module] = formula
        return self._norms[layer]

    @contextmanager
    def known_whole(self, layer: int) -> Iterator[None]:
        """Where every column of a projection is one that receivers have computed, it is not run again."""
        with ExitStack() as stack:
            for module in self._projections(layer):
                known = self._projected.pop(module, None)
                if known is not None and known.out is not None and known.full == known.out.shape[-1]:
                    module.forward = partial(_known, known.out)
                    stack.callback(module.__dict__.pop, "forward")
            yield

    def _projections(self, layer: int) -> list[nn.Module]:
        """The linear maps that give the queries, keys and values of a layer."""
        if layer not in self._linear:
            found: dict[nn.Module, None] = {}
            for kind in HEAD_PORTS:
                every = find_tap(self.network, Site(kind, layer, (0,)))
                if (
                    every.side == "out"
                    and weight_of(every.module) is not None
                    and "forward" not in every.module.__dict__
                ):
                    found[every.module] = None
            self._linear[layer] = list(found)
        return self._linear[layer]


def weight_of(module: nn.Module) -> Tensor | None:
    """The matrix [in, out] of a module that is a linear map; None of any other."""
    if type(module) is nn.Linear:
        return module.weight.T
    if type(module).__name__ == "Conv1D" and isinstance(module.weight, Tensor):
        return module.weight
    return None


def _columns(module: nn.Module, known: _Projected, run: _RunOn, given: Tensor) -> Tensor:
    """Some columns of what a linear map gives, beside those that are known; no one reads the others."""
    weight = weight_of(module)
    assert weight is not None
    if run.factor is not None and given is not run.tensor:
        raise OwnFault("a projection reads something else than the norm before it gave")
    each = given.unflatten(0, (known.sets, -1))
    factors = None if run.factor is None else run.factor.unflatten(0, (known.sets, -1))
    if known.out is None:
        known.out = given.new_empty(*each.shape[1:-1], weight.shape[1])
    out = known.out
    matrix = weight.T  # the columns of a Linear are rows in memory
    weighted = None if run.formula is None else run.room.weighted(module, matrix, run.formula.weight)
    for number, own in known.own:
        columns = matrix[own] if weighted is None else weighted[own]
        if run.formula is not None and weighted is None:
            columns = columns * run.formula.weight
        plain = factors is not None or not isinstance(module.bias, Tensor)
        if isinstance(own, slice) and plain and not (given.requires_grad or out.requires_grad):
            there = out.flatten(0, -2)[:, own]
            torch.mm(each[number].flatten(0, -2), columns.T.detach(), out=there)
            if factors is not None:
                there.mul_(factors[number].flatten(0, -2))
                if isinstance(module.bias, Tensor):
                    there.add_(module.bias[own].detach())
            continue
        bias = module.bias[own] if isinstance(module.bias, Tensor) else None
        if factors is None:
            out[..., own] = nn.functional.linear(each[number], columns, bias)
        else:
            there = nn.functional.linear(each[number], columns) * factors[number]
            out[..., own] = there if bias is None else there + bias
    if known.own or known.sets == 1:
        return known.out
    return known.out.new_zeros(()).expand(*given.shape[:-1], weight.shape[1])  # on the way to what is read


def _known(out: Tensor, given: Tensor) -> Tensor:
    """The output of a linear map, known before."""
    return out


__all__ = ["EdgeProjections", "weight_of"]
