"""The whole vectors of a layer, read in plain runs and put in place as they were or mixed, beside what a plan runs.

A unit is a coordinate of a vector network, or a token of a language network with all of its numbers that no variable claims.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.readout import greedy
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.planning.probe_rows import rows_of_tokens
from causal_dsl.planning.rest_of_layer import named, same_layer
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test

#: Rows that are run in one pass: of a vector network, prompts, and prompts of a network whose rows cost next to nothing.
_AT_ONCE, _PROMPTS, _SHORT = 2**14, 32, 512


@dataclass
class LayerVectors:
    """The vectors of the layer that a probe speaks of; ``test`` is the probe's own. All prompts have one length, and ``width`` is that
    of one token."""

    execution: Execution
    test: Test
    probe: Unmapped
    width: int = 0

    def __post_init__(self) -> None:
        key = self.test.network.key
        self.inputs, self.network = self.execution.plan.inputs[key], self.execution.networks[key]
        self.site = replace(self.probe.site, dims=None)

    @property
    def unfit(self) -> str:
        """Why it cannot be read and written beside the plan; empty where it can."""
        if self.network.stream is not None or self.network.sharded is not None:
            return "the weights of the network are not all in one place"
        if self.execution.answers[self.test.name].longest > 1:
            return "an answer has several tokens"
        return ""

    def read(self, index: np.ndarray) -> torch.Tensor:
        """The vectors of some inputs [n], those of all tokens side by side: [n, tokens x width]."""
        found = []
        for some in self._parts(index):
            rows, positions = self._places(some)
            read = SiteRead(self.site, rows, positions)
            kept = forward(self.network, self.inputs.rows(some), [read], padding=self.network.padding).reads[0]
            self.width = kept.shape[1]
            found.append(kept.reshape(len(some), -1))
        return torch.cat(found)

    def said(
        self,
        index: np.ndarray,
        lines: np.ndarray | None,
        vectors: torch.Tensor | Callable[[slice], torch.Tensor] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The codes of the answers [n] to some inputs, with these ``vectors`` [n, tokens x width] in place (a function: of a slice of the
        rows), and by how much the largest logit lies above the next one [n], of several outputs the least."""
        codes, gaps, start = [], [], 0
        for some in self._parts(index):
            mine = slice(start, start + len(some))
            start += len(some)
            writes = []
            if vectors is not None:
                rows, positions = self._places(some)
                new = vectors[mine] if isinstance(vectors, torch.Tensor) else vectors(mine)
                new = new.reshape(len(rows), -1)
                writes = [SiteWrite(self.site, rows, positions, partial(_given, new))]
            read = None
            if self.probe.tokens:
                read = torch.tensor([self.inputs.read(number) for number in some.tolist()])
            logits = forward(
                self.network,
                self.inputs.rows(some),
                writes=writes,
                readout=torch.arange(len(some)),
                positions=read,
                padding=self.network.padding,
            ).logits
            assert logits is not None
            codes.append(codes_of(self.execution, self.test, logits, None if lines is None else lines[mine]))
            gaps.append(self._gaps(logits).cpu().numpy())
        return np.concatenate(codes), np.concatenate(gaps)

    def columns(self, units: Sequence[int]) -> list[int]:
        """Where the numbers of some units are among those of :meth:`read`."""
        if not self.probe.tokens or self.probe.numbers:
            return list(units)
        claimed = dict(self.probe.claimed)
        return [
            unit * self.width + number
            for unit in units
            for number in range(self.width)
            if number not in claimed.get(unit, ())
        ]

    def placed(self, test: Test, index: int) -> list[int]:
        """Where the numbers are at which ``test`` has the variables that the probe speaks of; ``index``: of an input."""
        return sorted({column for columns in self.blocks(test, index).values() for column in columns})

    def blocks(self, test: Test, index: int) -> dict[str, list[int]]:
        """The same of each variable by itself."""
        facts, found = test.network.facts, dict[str, set[int]]()
        for one in test.cells[self.probe.cell].placed:
            for place in one.places if one.variable in self.probe.placed else ():
                at = named(place, facts)
                if not same_layer(at.site, self.probe.site):
                    continue
                tokens = self.inputs.where(at.position, index) if self.probe.tokens else (0,)
                numbers = range(self.width) if at.site.dims is None else at.site.dims
                found.setdefault(one.variable, set()).update(
                    token * self.width + number for token in tokens for number in numbers
                )
        return {name: sorted(columns) for name, columns in found.items()}

    def _parts(self, index: np.ndarray) -> list[np.ndarray]:
        step = _AT_ONCE
        if self.probe.tokens:
            step = _SHORT if rows_of_tokens(self.inputs) else _PROMPTS
        return [index[start : start + step] for start in range(0, len(index), step)]

    def _places(self, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The row and the token of each vector of some inputs, of all of which each has as many."""
        if not self.probe.tokens:
            return torch.arange(len(index)), None
        count = self.inputs.length(int(index[0]))
        return torch.arange(len(index)).repeat_interleave(count), torch.arange(count).repeat(len(index))

    def _gaps(self, logits: torch.Tensor) -> torch.Tensor:
        answers = self.execution.answers[self.test.name]
        every = [None] if answers.among is None else [own.among for own in answers.spellings]
        gaps = []
        for among in every:
            seen = logits if among is None else logits[:, torch.tensor(among, device=logits.device)]
            two = seen.double().topk(min(2, seen.shape[1]), dim=1).values
            gaps.append(two[:, 0] - two[:, -1])
        return torch.stack(gaps).amin(dim=0)


def _given(new: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    return new.to(there)


def codes_of(
    execution: Execution, test: Test, logits: torch.Tensor | None, lines: np.ndarray | None = None
) -> np.ndarray:
    """The codes of the answers [n] that logits [n, classes] give in a test, after prompts of these lines [n]."""
    answers = execution.answers[test.name]
    assert logits is not None
    some = [None if own.among is None else torch.tensor(own.among, device=logits.device) for own in answers.spellings]
    said = [greedy(logits, among) for among in (some if answers.among is not None else some[:1])]
    return answers.codes_of(torch.stack(said, dim=1).cpu().numpy(), lines)


def unwritten_at(probe: Unmapped, test: Test, units: Sequence[int]) -> tuple[str, ...]:
    """The variables that a cell of ``test`` has at some of the units beside those that the probe speaks of."""
    facts = test.network.facts
    found = []
    for p in test.cells[probe.cell].placed if not probe.tokens else ():
        sites = [named(place, facts).site for place in p.places]
        here = [site for site in sites if same_layer(site, probe.site)]
        if p.variable not in probe.placed and any(s.dims is None or set(s.dims) & set(units) for s in here):
            found.append(p.variable)
    return tuple(found)


__all__ = ["LayerVectors", "codes_of", "unwritten_at"]
