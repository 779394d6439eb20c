"""Our contender: a spec through ``check``, then its plan executed. Also the arrays that all others read, from that plan.

Timed is ``Execution(…)`` and its ``run()`` to the end: unpatched runs, every cell, columns. Check with plan, and
the scores with their intervals, are timed beside it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads import TEST, Arrays
from causal_dsl import api
from causal_dsl.api import Checked, Options
from causal_dsl.running.session import Session


def check(spec: str) -> Checked:
    """The spec checked and planned; needs no torch."""
    checked = api.check(api.parse(spec), Options())
    checked.raise_errors()
    assert checked.plan is not None, "the network's tokenizer is not here"
    return checked


def arrays_of(spec: str) -> Arrays:
    """What the plan of a spec draws and writes, as numbers."""
    checked = check(spec)
    plan = checked.plan
    assert plan is not None
    nodes = plan.scores[TEST]
    resume: Any = nodes[0].read("patched").run  # type: ignore[union-attr]
    inputs = next(iter(plan.inputs.values()))
    bases = plan.rows[resume.base]
    sources = plan.rows[resume.writes[0].value.run]
    cells = []
    for node in nodes:
        read: Any = node.read("patched")
        (write,) = read.run.writes
        site, taken = write.place.site, write.value.place
        target = {inputs.where(write.place.position, int(row)) for row in bases}
        origin = {inputs.where(taken.position, int(row)) for row in sources}
        assert len(target) == len(origin) == 1, "peers write all pairs at one token"
        cells.append((site.layer, target.pop()[0], origin.pop()[0], site.heads[0] if site.heads else -1))
    layers, targets, origins, heads = np.array(cells, dtype=np.int64).T
    base, source = (np.array([inputs.ids(int(row)) for row in rows], dtype=np.int64) for rows in (bases, sources))
    return Arrays(spec, site.component, base, source, _wanted(checked), layers, targets, origins, heads)


def _wanted(checked: Checked) -> np.ndarray:
    """The ids [pairs, 2] of the base's answer and subject: a name is one token, the same in the prompt and after it."""
    plan = checked.plan
    assert plan is not None
    test = plan.tests[0]
    drawn, tokens = plan.draw_of(test), next(iter(plan.inputs.values())).tokens
    columns = []
    for variable in ("answer", "subject"):
        names = test.model.decode(variable, drawn.values["base"][variable])
        ids = [tokens.encode(f"to {name}").ids for name in names]  # type: ignore[union-attr]
        assert {len(found) for found in ids} == {2}, "every name is one token"
        columns.append([found[-1] for found in ids])
    return np.array(columns, dtype=np.int64).T


class Ours:
    """The spec of a workload, run by this package. ``beside`` holds the seconds of what is not timed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.network: Any = None
        self.checked: dict[str, Checked] = {}
        self.beside: dict[str, float] = {}
        self.predicted: int | None = None

    def prepare(self, arrays: Arrays) -> None:
        """Everything before the timed part: the spec checked and planned; the network loaded and proved, once."""

        started = time.perf_counter()
        checked = self.checked[arrays.spec] = check(arrays.spec)
        self.beside["check and plan"] = time.perf_counter() - started
        if self.network is None:
            assert checked.plan is not None
            self.network = Session(Options()).network(next(iter(checked.plan.networks.values())))

    def run(self, arrays: Arrays) -> np.ndarray:
        """The timed part; its columns as the other contenders give them, [cells, pairs, 2]."""
        self.execution = self.execute(self.checked[arrays.spec])
        found = []
        for cell in self.execution.runs[TEST].cells:
            named = {str(q.of): values for q, values in cell.columns.patched.items() if q.kind == "logit"}
            found.append(np.stack([named["answer"], named["subject"]], axis=1))
        return np.stack(found).astype(np.float32)

    def execute(self, checked: Checked) -> Any:
        """As :mod:`causal_dsl.running.running` does it."""
        from causal_dsl.engine.execute import Execution
        from causal_dsl.score.targets import target_ids

        plan = checked.plan
        assert plan is not None
        networks = {self.network.key: self.network}
        targets = target_ids(plan, checked.answers, networks)
        execution = Execution(plan, networks, checked.answers, targets)
        for _ in execution.run():
            pass
        return execution

    def score(self, arrays: Arrays) -> None:
        """The scores of the last run, timed in ``beside``."""
        from causal_dsl.score.of_run import score_run

        checked = self.checked[arrays.spec]
        assert checked.plan is not None
        started = time.perf_counter()
        self.predicted = predicted_peak_bytes(self.execution)
        run = self.execution.runs[TEST]
        ceilings = checked.ceilings.get(TEST, {})
        score_run(run, run.cells, checked.plan, ceilings, checked.answers[TEST], self.network.tokens, None)
        self.beside["scores"] = time.perf_counter() - started


def predicted_peak_bytes(execution: Any) -> int:
    """The bytes that the plan says a run needs at its peak, beyond the weights."""
    from causal_dsl.planning.cost import cost_of

    return cost_of(execution.plan).peak_bytes
