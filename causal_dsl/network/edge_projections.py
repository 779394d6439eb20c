"""The projections of attention in a pass of edges: the columns that one receiver is given, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, nn

from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tap import Tap
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import Port


@dataclass(eq=False)
class _Projected:
    """What a linear map gives [rows, tokens, columns], each receiver's columns from what it is given: ``own`` are those at hand,
    each with which of the ``sets`` that are run together it belongs to; ``full`` of how many columns are there."""

    out: Tensor | None = None
    own: list[tuple[int, slice | Tensor]] = field(default_factory=list)
    sets: int = 1
    full: int = 0


class EdgeProjections:
    """The linear maps that give queries, keys and values of the layers of a network, as the receivers of a pass read them."""

    def __init__(self, network: Network):
        self.network = network
        #: of a layer's projections what its receivers are given, put together
        self._projected: dict[nn.Module, _Projected] = {}
        self._linear: dict[int, list[nn.Module]] = {}

    def read_by(self, layer: int, ports: Sequence[Port]) -> nn.Module | None:
        """The projection that receivers of a layer read, where all read one."""
        read = {None if port.kind == "mlp" else self._tap(port).module for port in ports}
        module = read.pop() if len(read) == 1 else None
        return module if module in self._projections(layer) else None

    def _tap(self, port: Port) -> Tap:
        return find_tap(self.network, Site(port.kind, port.layer, (port.head,)))

    @contextmanager
    def narrowed(self, layer: int) -> Iterator[Callable[[Sequence[Sequence[Port]]], None]]:
        """Within, the projections compute the columns of some receivers alone; nothing else of this run is looked at."""
        modules = self._projections(layer)
        for module in modules:
            self._projected.setdefault(module, _Projected())

        def narrow(sets: Sequence[Sequence[Port]]) -> None:
            for module in modules:
                self._projected[module].own, self._projected[module].sets = [], len(sets)
            for number, port in ((number, port) for number, same in enumerate(sets) for port in same):
                tap = self._tap(port) if port.kind != "mlp" else None
                if tap is not None and tap.module in modules and tap.columns is not None:
                    self._projected[tap.module].own.append((number, tap.spot))
                    self._projected[tap.module].full += len(tap.columns)

        with ExitStack() as stack:
            for module in modules:
                module.forward = partial(_columns, module, self._projected[module])
                stack.callback(module.__dict__.pop, "forward")
            yield narrow

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
            for kind in ("q", "k", "v"):
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


def _columns(module: nn.Module, known: _Projected, given: Tensor) -> Tensor:
    """Some columns of what a linear map gives, beside those that are known; no one reads the others."""
    weight = weight_of(module)
    assert weight is not None
    each = given.unflatten(0, (known.sets, -1))
    if known.out is None:
        known.out = given.new_empty(*each.shape[1:-1], weight.shape[1])
    for number, own in known.own:
        bias = module.bias[own] if isinstance(module.bias, Tensor) else None
        # the columns of a Linear are rows in memory
        known.out[..., own] = nn.functional.linear(each[number], weight.T[own], bias)
    if known.own or known.sets == 1:
        return known.out
    return known.out.new_zeros(()).expand(*given.shape[:-1], weight.shape[1])  # on the way to what is read


def _known(out: Tensor, given: Tensor) -> Tensor:
    """What a linear map gives, known before."""
    return out


__all__ = ["EdgeProjections", "weight_of"]
