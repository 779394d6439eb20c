"""From the residual stream to logits: the last norm and the read-out of a network, by themselves.

What a model does to logits after its unembedding (a scale, a soft cap) it does to each number alone, which is proved at load.
It is not looked up: the model is run on one input with numbers of ours in place of its logits.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span, fail
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.forward import unembedding
from causal_dsl.network.network import Network

#: Numbers on which it is tried what a model does to its logits.
_TRIED = torch.linspace(-60, 60, 241, dtype=torch.float64)


@dataclass(eq=False)
class Ending:
    """The end of ``network``; ``sample`` is one input that it can be run on. Raises E840 where the end is not known."""

    network: Network
    sample: InputRows
    span: Span
    norm: nn.Module | None = field(init=False)
    head: tuple[nn.Module, ...] = field(init=False)
    unembed: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        layout, model = self.network.layout, self.network.model
        module = unembedding(self.network)
        if layout is None or module is None or not layout.head:
            raise fail(
                "E840",
                f"the last norm and the read-out of `{self.network.name or 'the network'}` are not known",
                self.span,
                notes=("logits inside of a network are what its last norm and its unembedding make of a vector there",),
                help='name them where the network is declared: norm="…", unembed="…"',
            )
        self.unembed = module
        self.norm = model.get_submodule(layout.norm[:-1]) if layout.norm else None
        self.head = tuple(model.get_submodule(path) for path in layout.head)
        self.factor = self._finish()

    @property
    def narrow(self) -> bool:
        """Whether single logits can be computed: the read-out is one linear map."""
        return self.head == (self.unembed,) and type(self.unembed) is nn.Linear

    def normed(self, vectors: Tensor) -> Tensor:
        """The output of the last norm on vectors [m, width]."""
        if self.norm is None:
            return vectors
        found: Tensor = self.norm(vectors[None].to(self.network.dtype))
        return found[0]

    def logits(self, normed: Tensor) -> Tensor:
        """All logits [m, vocabulary] of vectors that come out of the last norm [m, width]."""
        found = normed[None]
        for module in self.head:
            found = module(found)
        return self.finished(found[0])

    def weights(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of the unembedding [m, width] of some ids [m], and their biases [m], in float64."""
        weight, bias = self.unembed.weight, self.unembed.bias
        assert isinstance(weight, Tensor)
        index = ids.to(weight.device)
        rows = weight.index_select(0, index).double()
        return rows, (rows.new_zeros(len(rows)) if bias is None else bias.index_select(0, index).double())

    def finished(self, logits: Tensor) -> Tensor:
        """The logits that the model makes of numbers that its unembedding gives."""
        if self.factor is not None:
            return logits if self.factor == 1 else logits * self.factor
        return self._through(logits.reshape(-1)).view(logits.shape).to(logits.dtype)

    def _finish(self) -> float | None:
        """The factor by which a model multiplies its logits, None where it does more than that."""
        size = torch.finfo(self.network.dtype).eps
        tried = _TRIED.to(self.network.dtype)
        found = self._through(tried).double().cpu()
        factor = float(found[-1] / tried[-1].double())
        if bool(((found - factor * tried.double()).abs() <= 8 * size * (factor * tried.double()).abs() + 1e-12).all()):
            return 1.0 if abs(factor - 1) <= 8 * size else factor
        return None

    @torch.no_grad()
    def _through(self, line: Tensor) -> Tensor:
        """A line of numbers in place of the logits, and what comes out of the model."""
        network = self.network
        batch = network.given.batch(network, self.sample, "right")
        numbers = line.to(device=network.device_of(self.unembed), dtype=network.dtype)

        def instead(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            return numbers.reshape(1, 1, -1)

        handle = self.unembed.register_forward_hook(instead)
        try:
            result = network.run(*batch.arguments, **batch.named)
        finally:
            handle.remove()
        found = getattr(result, "logits", result)
        found = found[0] if isinstance(found, tuple) else found
        if found.numel() != numbers.numel():
            raise fail(
                "E840",
                f"what `{network.name or 'the network'}` does to its logits is not done to each alone",
                self.span,
                help="read the logits at the read-out",
            )
        return found.reshape(-1)


__all__ = ["Ending"]
