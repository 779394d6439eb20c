"""What a write puts in place: captured vectors, means, noise, numbers, and arithmetic of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from causal_dsl.diagnostics import NOWHERE, Span, fail, shown_path
from causal_dsl.engine.clean import Clean
from causal_dsl.planning import graph as g
from causal_dsl.planning.inputs import Inputs
from causal_dsl.program.locations import Place
from causal_dsl.program.program import Constant, Noise, Vector


@dataclass
class Means:
    """Running means of captured vectors: over rows, token by token of the span, or ``pooled`` over its tokens."""

    sums: dict[g.Average, Tensor] = field(default_factory=dict)
    counts: dict[g.Average, int] = field(default_factory=dict)

    def collect(self, node: g.Average, clean: Clean, rows: np.ndarray) -> None:
        """Add the rows (indices of inputs) of one run to the sums."""
        inputs, place = clean.demand.inputs, node.capture.place
        spans = [inputs.where(place.position, index) for index in rows.tolist()]
        keys = [(inputs.run_of(i), token) for i, span in zip(rows.tolist(), spans, strict=True) for token in span]
        values = clean.rows_of(place.site, keys).double()
        if node.pooled:
            total, count = values.sum(0, keepdim=True), len(keys)
        else:
            lengths = {len(span) for span in spans}
            known = self.sums.get(node)
            if len(lengths | ({len(known)} if known is not None else set())) > 1:
                shortest = min(range(len(spans)), key=lambda i: len(spans[i]))
                raise fail(
                    "E538", f"the mean over `{place.position}`: it is not as many tokens in every row", NOWHERE,
                    notes=(f"{min(lengths)} to {max(lengths)} tokens, as in {inputs.prompts[int(rows[shortest])].text!r}",),
                    help="write mean(pooled=true), the mean over rows and tokens, or name one token",
                )  # fmt: skip
            total, count = values.view(len(rows), -1, values.shape[1]).sum(0), len(rows)
        self.sums[node] = self.sums[node] + total if node in self.sums else total
        self.counts[node] = self.counts.get(node, 0) + count

    def of(self, node: g.Average) -> Tensor:
        """The mean [tokens of the span, width], or [1, width] where pooled."""
        return self.sums[node] / self.counts[node]


@dataclass
class Written:
    """Evaluates the values of writes for a batch of rows.

    ``rows[forward]`` are the inputs of every row of the test; a batch is a list of row numbers. Values come as
    [m, width] for the m (row, token) pairs of the batch, in the order of :meth:`targets`.
    """

    inputs: Inputs
    clean: Clean
    means: Means
    rows: dict[g.Forward, np.ndarray]

    def targets(self, place: Place, base: g.Forward, batch: np.ndarray) -> tuple[Tensor, Tensor]:
        """The rows of the batch and the tokens that a place names in them, flattened: two tensors [m]."""
        spans = [self.inputs.where(place.position, int(index)) for index in self.rows[base][batch]]
        rows = [row for row, span in enumerate(spans) for _ in span]
        tokens = [token for span in spans for token in span]
        return torch.tensor(rows, dtype=torch.long), torch.tensor(tokens, dtype=torch.long)

    def value(self, node: g.Written, counts: list[int], batch: np.ndarray, width: int) -> Tensor | float:
        """The vectors [m, width] that a write puts; ``counts`` are the tokens that it touches in each row."""
        match node:
            case g.Capture(run=run, place=place):
                runs = [int(index) for index in self.rows[run][batch]]
                keys = [(self.inputs.run_of(i), token) for i in runs for token in self.inputs.where(place.position, i)]
                return self.clean.rows_of(place.site, keys)
            case g.Average():
                mean = self.means.of(node)
                if node.pooled:
                    return mean.expand(sum(counts), -1)
                return mean.repeat(len(counts), 1)
            case g.Combine(op=op, left=left, right=right):
                return _OPS[op](self.value(left, counts, batch, width), self.value(right, counts, batch, width))
            case Constant(value=value):
                return value
            case Noise(std=std, seed=seed):
                return (
                    torch.cat([_noise(seed, int(row), count, width) for row, count in zip(batch, counts, strict=True)])
                    * std
                )
            case Vector():
                return load_vector(node, width)
        raise AssertionError(node)

    def edit(self, write: g.Write, counts: list[int], batch: np.ndarray) -> Callable[[Tensor], Tensor]:
        """The function from the vectors that are there [m, width] to those that shall be."""

        def change(current: Tensor) -> Tensor:
            value = self.value(write.value, counts, batch, current.shape[1])
            if isinstance(value, Tensor):
                value = value.to(device=current.device, dtype=current.dtype).expand_as(current)
            else:
                value = torch.full_like(current, value)
            return current + value if write.add else value

        return change


def _quotient(a: Tensor | float, b: Tensor | float) -> Tensor | float:
    quotient = a / b
    if isinstance(quotient, Tensor) and not bool(torch.isfinite(quotient).all()):
        raise fail("E686", "a written value is divided by zero", NOWHERE, help="divide by something else")
    return quotient


_OPS: dict[str, Callable[..., Tensor | float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _quotient,
}


def _noise(seed: int, row: int, tokens: int, width: int) -> Tensor:
    """Standard normal numbers [tokens, width] that depend on the seed and the row alone, not on the batch."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + row) % 2**63)
    return torch.randn((tokens, width), generator=generator)


def load_vector(vector: Vector, width: int) -> Tensor:
    """A written-out vector, or the tensor of a safetensors file, as [1, width]; E460 and E688 where it does not fit."""
    span: Span = vector.span or NOWHERE
    if vector.path is None:
        values = torch.tensor(vector.values, dtype=torch.float64)
    else:
        values = _from_file(vector.path, vector.key, span)
    if values.numel() != width:
        raise fail("E460", f"the vector has {values.numel()} numbers, and the site {width}", span,
                   help="name a vector as wide as the site")  # fmt: skip
    if not bool(torch.isfinite(values).all()):
        raise fail("E688", "the vector holds numbers that are not finite", span, help="mend the file")
    return values.reshape(1, width)


def _from_file(path: Path, key: str, span: Span) -> Tensor:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if not key and len(names) == 1:
                key = names[0]
            if key not in names:
                raise fail("E688", f"`{shown_path(path)}` holds no tensor `{key}`", span,
                           help="write key=…, one of " + ", ".join(names[:12]))  # fmt: skip
            return file.get_tensor(key).double().reshape(-1)
    except (SafetensorError, OSError) as error:
        raise fail("E688", f"cannot read `{shown_path(path)}`", span, notes=(str(error)[:200],),
                   help="save it with safetensors.torch.save_file") from error  # fmt: skip
