"""The runner of a block of a step for both executors: the plan, the network, what is read, and where it goes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.block_results import BlockResult, BlockResults
from causal_dsl.engine.looked_at import Looks
from causal_dsl.engine.looks import numbers_at
from causal_dsl.engine.network_share import Context
from causal_dsl.measures.quantities import SAID, TRACE, Quantity
from causal_dsl.network.steadiness import apart
from causal_dsl.planning import graph as g
from causal_dsl.planning.pass_layout import Family, Layout
from causal_dsl.planning.steps import Block, Step
from causal_dsl.program.program import Test

#: Where only the answers' logits are computed: of so many prompts of a role, and patched runs, all logits are looked at.
WHOLE_PROMPTS, WHOLE_PATCHED = 16, 64


@dataclass(eq=False)
class Logits:
    """The logits of a pass for one test: ``values`` [rows, columns], ``prompt_row`` [prompts] the row of each prompt
    (-1: none), ``family_row[intervention]`` [its rows], ``said`` [rows, steps] the tokens that each says where answers have several.
    ``overall`` [rows] is the id of the largest of all logits, where only some of them are among the values (-1: not looked at)."""

    values: Tensor
    prompt_row: np.ndarray
    family_row: dict[g.Resume, np.ndarray]
    said: np.ndarray | None = None
    overall: np.ndarray | None = None


class Gather:
    """Turns the logits of a block into the results of its tests."""

    def __init__(self, context: Context, step: Step, block: Block, layout: Layout):
        self.context, self.step, self.layout, self.block = context, step, layout, block
        context.off_manifold.clear()
        self.families: dict[g.Resume, Family] = {family.resume: family for family in layout.families}
        self.asked = frozenset(step.resumes[block.first : block.last])

    def tests(self) -> list[Test]:
        """The tests that read something of this block."""
        return [test for test in self.context.tests() if self._cells(test) or self._roles(test)]

    def _cells(self, test: Test) -> list[int]:
        found = []
        for number, node in enumerate(self.context.plan.scores[test.name]):
            read = node.read("patched")
            # what runs here as the noise floor of another may be read in another step, on all of its pairs
            if read is not None and read.run in self.families and read.run in self.asked:
                found.append(number)
        return found

    def _roles(self, test: Test) -> list[tuple[str, g.ReadNode]]:
        node = self.context.plan.scores[test.name][0]
        read = set(self.layout.read_forwards)
        return [(role, r) for role, r in node.reads if isinstance(r.run, g.Forward) and r.run in read]

    def wanted(self, test: Test) -> tuple[list[g.Forward], list[Family]]:
        """The runs and the families whose logits a test reads."""
        forwards = [r.run for _, r in self._roles(test) if isinstance(r.run, g.Forward)]
        families = []
        for number in self._cells(test):
            read = self.context.plan.scores[test.name][number].read("patched")
            assert read is not None and isinstance(read.run, g.Resume)
            families.append(self.families[read.run])
            if read.against is not None:
                forwards.append(read.against)
            if (floor := self._floor_family(read.run)) is not None:
                families.append(floor)
                forwards.append(read.run.base)
        return list(dict.fromkeys(forwards)), list(dict.fromkeys(families))

    def sample(self, test: Test) -> np.ndarray:
        """Rows whose logits are looked at whole, where a test reads its answers alone: some prompts, and some
        patched runs, of as many interventions as there are."""
        forwards, families = self.wanted(test)
        floors = set(self.context.noise_floors.values())
        rows = [
            np.unique(self.layout.prompt[None, f])[:WHOLE_PROMPTS] for f in forwards if (None, f) in self.layout.prompt
        ]
        own = [family for family in families if family.resume not in floors]
        some = np.unique(np.linspace(0, len(own) - 1, WHOLE_PATCHED).astype(int)) if own else ()
        rows += [own[number].rows[: WHOLE_PATCHED // len(some)] for number in some]
        return np.unique(np.concatenate(rows)) if rows else np.zeros(0, np.int64)

    def block_result(
        self, test: Test, logits: Logits, fired: dict[g.Resume, np.ndarray], pruned: bool, looks: Looks | None = None
    ) -> BlockResult:
        """The numbers of one test; ``looks`` has what was read at places."""
        numbers, plan = self.context.numbers[test.name], self.context.plan
        draw = plan.scores[test.name][0].label.draw
        pairs = np.asarray(self.block.pairs(plan.drawn[draw].n), dtype=np.int64)
        block_result = BlockResult(pairs)
        if logits.said is None:
            logits.said = numbers.spoken(logits.values, pruned).cpu().numpy()
        if logits.overall is None:
            partly = pruned and numbers.columns is not None
            logits.overall = np.full(len(logits.values), -1) if partly else numbers.overall(logits.values)
        whole = {SAID: logits.overall, TRACE: numbers.trace(logits.values, pruned).cpu().numpy()}
        for role, read in self._roles(test):
            assert isinstance(read.run, g.Forward)
            against = self._against(read, logits, pairs)
            rows = self._prompts(read.run, logits, pairs)
            block_result.unpatched[role] = numbers.read(
                read.quantities, logits.values, rows, pairs, logits.said, against, pruned, whole, role
            )
        block_result.cells = self._cells(test)
        patched: dict[Quantity, list[np.ndarray]] = {}
        for number in block_result.cells:
            read = plan.scores[test.name][number].read("patched")  # type: ignore[assignment]
            assert isinstance(read.run, g.Resume)
            family = self.families[read.run]
            rows = self._tensor(logits.family_row[read.run][family.back], logits)
            against = self._against(read, logits, pairs)
            found = numbers.read(
                read.quantities, logits.values, rows, pairs, logits.said, against, pruned, whole, read.run.base.role
            )
            for quantity, values in found.items():
                patched.setdefault(quantity, []).append(values)
            block_result.fired[number] = fired[read.run]
            block_result.off_manifold[number] = self.context.off_manifold.take(read.run)
            if (floor := self._floor_family(read.run)) is not None:
                block_result.noise_floors[number] = self._floor(floor, logits)
        block_result.patched = {quantity: np.stack(values) for quantity, values in patched.items()}
        if looks is not None:
            block_result.looked = numbers_at(looks, test, pairs)
        return block_result

    def _floor_family(self, resume: g.Resume) -> Family | None:
        """The floor of an intervention, where this block reads both it and its base. A floor that is an intervention of
        its own is in later blocks, too, whose prompts need not be read."""
        floor = self.context.noise_floors.get(resume)
        family = None if floor is None else self.families.get(floor)
        if family is None or family.inner or (None, resume.base) not in self.layout.prompt:
            return None
        rows = self.layout.prompt_rows(resume.base, None, family.pairs)
        return family if (self.layout.rows.read[rows] >= 0).all() else None

    def _floor(self, family: Family, logits: Logits) -> tuple[float, float]:
        """The largest change of a logit when the base is patched into itself at the written places, and that of a row
        relative to the row's size."""
        mine = logits.values.index_select(0, self._tensor(logits.family_row[family.resume], logits))
        rows = self._prompts(family.resume.base, logits, family.pairs)
        plain = logits.values.index_select(0, rows)
        if not mine.numel():
            return 0.0, 0.0
        same = (mine == plain) | (mine.isnan() & plain.isnan())
        return float(torch.where(same, 0, (mine - plain).abs()).max()), apart(mine, plain)

    def _prompts(self, run: g.Forward, logits: Logits, pairs: np.ndarray) -> Tensor:
        rows = self.layout.prompt_rows(run, None, pairs)
        return self._tensor(logits.prompt_row[rows], logits)

    def _against(self, read: g.ReadNode, logits: Logits, pairs: np.ndarray) -> tuple[Tensor, Tensor] | None:
        if read.against is None:
            return None
        return logits.values, self._prompts(read.against, logits, pairs)

    @staticmethod
    def _tensor(index: np.ndarray, logits: Logits) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(index, dtype=np.int64)).to(logits.values.device)


__all__ = ["WHOLE_PATCHED", "WHOLE_PROMPTS", "BlockResults", "Gather", "Logits"]
