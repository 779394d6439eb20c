"""Runs in blocks: kept within the budget, halved where memory runs out, taken up again after they were stopped."""

from __future__ import annotations

import json
import os
import signal
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import causal_dsl as cd
from causal_dsl.engine import readings as readings_module
from causal_dsl.engine import sweep as sweep_module
from causal_dsl.engine.stored_blocks import ChunkStore
from causal_dsl.planning.cost import cost_of
from causal_dsl.planning.memory import PROCESS, Budget, taken
from tests.engine.tiny import execution_of, numbers_of, same, spec_of
from tests.store.killing import Server
from tests.thinning import spread

torch.set_num_threads(1)
TESTS = """
test t on a { base, source ~ m(n=24, seed=1) do(same <- source) report mean(logit(o)) report mean(kl) }
test u on a { base, source ~ m(n=9, seed=2) do(layer[l].mlp_out[p] = mean, layer[0].resid_post[x] += noise(std=1)) report moved }
test v on a(0, x) { base ~ m(n=7, seed=3) report accuracy }
"""


def text() -> str:
    return spec_of("llama", TESTS)


def run(**more: Any) -> dict[Any, np.ndarray]:
    execution, _ = execution_of(text(), **more)
    list(execution.run())
    return numbers_of(execution)


class Held(TorchDispatchMode):
    """The most bytes that tensors made within hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                place = storage.data_ptr()
                if place and place not in self.known:
                    self.known[place] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._gone, place)
        return result

    def _gone(self, place: int) -> None:
        self.now -= self.known.pop(place, 0)


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize("budget", spread([2_000_000, 700_000, 10**9], 3))
def test_a_budget_is_kept(budget: int) -> None:
    execution, _ = execution_of(text(), memory=budget)
    held = Held()
    for parameter in next(iter(execution.networks.values())).model.parameters():
        held.known[parameter.untyped_storage().data_ptr()] = 0
    with held:
        list(execution.run())
    assert held.most <= budget
    blocks = len(execution.plan.steps[0].blocks)
    assert blocks > 1 if budget < 10**6 else blocks >= 1
    predicted = cost_of(execution.plan).peak_bytes
    assert predicted <= budget


@pytest.mark.slow
def test_the_number_of_blocks_follows_the_budget() -> None:
    counts = [len(execution_of(text(), memory=b)[0].plan.steps[0].blocks) for b in (150_000, 400_000, 10**9)]
    assert counts[0] > counts[1] > counts[2] == 1


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("most", [1, 50, 1000])
def test_logits_are_measured_some_rows_at_a_time(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings_module, "MOST_LOGITS_CPU", 2**40)
    whole = run()
    monkeypatch.setattr(readings_module, "MOST_LOGITS_CPU", most)
    same(run(), whole)


def test_a_budget_leaves_room_for_what_a_process_takes_beside_its_tensors() -> None:
    for megabytes in (64, 256, 1024):
        budget = Budget(megabytes * 10**6)
        assert taken(budget.tensors) + PROCESS == pytest.approx(budget.bytes, abs=2)
    assert 0 < Budget(1000).tensors < 1000


@pytest.mark.slow
def test_single_pairs_are_cut_between_interventions() -> None:
    execution, _ = execution_of(text(), memory=20_000)
    blocks = execution.plan.steps[0].blocks
    assert any(block.last is not None for block in blocks)
    list(execution.run())
    same(numbers_of(execution), run())


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_where_memory_runs_out_the_block_is_halved(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run()
    plain, sizes = sweep_module.sweep, []

    def short(network: Any, inputs: Any, plan: Any, *more: Any) -> Any:
        sizes.append(len(plan.home))
        if len(plan.home) > 60:
            raise error
        return plain(network, inputs, plan, *more)

    monkeypatch.setattr(sweep_module, "sweep", short)
    execution, _ = execution_of(text())
    list(execution.run())
    assert max(sizes) > 60
    assert execution.halved
    same(numbers_of(execution), expected)


def test_one_pair_that_does_not_fit_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(sweep_module, "sweep", never)
    execution, _ = execution_of(text())
    with pytest.raises(cd.SpecError) as caught:
        list(execution.run())
    assert caught.value.diagnostics[0].code == "E642"


def test_other_errors_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(sweep_module, "sweep", wrong)
    execution, _ = execution_of(text())
    with pytest.raises(RuntimeError, match="shapes"):
        list(execution.run())


# ── taken up again ──────────────────────────────────────────────────────────────────────────────

BUDGET = 800_000


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_finds_the_same_bit_for_bit(tmp_path: Path) -> None:
    whole = run(memory=BUDGET)
    first = ChunkStore(tmp_path, {"a": 1})
    execution, _ = execution_of(text(), memory=BUDGET, store=first)
    blocks = sum(len(step.blocks) for step in execution.plan.steps)
    assert blocks > 3
    steps = execution.run()
    for _ in range(2):
        next(steps)
    steps.close()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("step*.npz")}
    assert len(kept) == 2
    again = ChunkStore(tmp_path, {"a": 1})
    # how much memory is free must not matter: the blocks are those of the run before
    execution, _ = execution_of(text(), memory=10**9, store=again)
    list(execution.run())
    assert again.found == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    found = numbers_of(execution)
    assert found.keys() == whole.keys()
    for key, values in whole.items():
        assert values.tobytes() == found[key].tobytes(), key


@pytest.mark.slow
def test_blocks_of_another_run_are_not_taken(tmp_path: Path) -> None:
    for key in ({"a": 1}, {"a": 2}):
        store = ChunkStore(tmp_path, key)
        execution, _ = execution_of(text(), memory=BUDGET, store=store)
        list(execution.run())
        assert store.found == 0
    store = ChunkStore(tmp_path, {"a": 2})
    execution, _ = execution_of(text(), memory=BUDGET, store=store)
    list(execution.run())
    assert store.found == sum(len(step.blocks) for step in execution.plan.steps)


@pytest.mark.slow
def test_a_torn_block_is_run_again(tmp_path: Path) -> None:
    for attempt in range(2):
        store = ChunkStore(tmp_path, {})
        execution, _ = execution_of(text(), memory=BUDGET, store=store)
        list(execution.run())
        if not attempt:
            victim = sorted(tmp_path.glob("step*.npz"))[0]
            victim.write_bytes(victim.read_bytes()[:100])
    assert store.found == sum(len(step.blocks) for step in execution.plan.steps) - 1
    same(numbers_of(execution), run(memory=BUDGET))


@pytest.mark.slow
def test_halves_are_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sweep_module.sweep

    def short(network: Any, inputs: Any, plan: Any, *more: Any) -> Any:
        if len(plan.home) > 60:
            raise MemoryError
        return plain(network, inputs, plan, *more)

    monkeypatch.setattr(sweep_module, "sweep", short)
    execution, _ = execution_of(text(), store=ChunkStore(tmp_path, {}))
    list(execution.run())
    monkeypatch.setattr(sweep_module, "sweep", lambda *_: pytest.fail("run again"))
    again, _ = execution_of(text(), store=ChunkStore(tmp_path, {}))
    list(again.run())
    same(numbers_of(again), numbers_of(execution), close=0)


@pytest.mark.nightly  # of every kind of step: tests/store/test_kills.py
@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_killed_process_leaves_whole_blocks_that_the_next_takes(tmp_path: Path) -> None:
    """kill -9 in the middle, then the same command: what was finished is not run again, and nothing differs."""
    (tmp_path / "s.causal").write_text(text().replace("n=24", "n=400"), encoding="utf-8")
    words = ["run", "s.causal", "--batch-memory", "1MB"]
    with Server() as server:
        code, steps = server.run([*words, "--out", "out"], tmp_path, "sweep", 3)
        finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/s/blocks/step*.npz")}
        assert code == -signal.SIGKILL and len(finished) == 3
        again, more = server.run([*words, "--out", "out"], tmp_path)
        alone, whole = server.run([*words, "--out", "alone"], tmp_path)
    assert again == alone == 0
    assert 0 < more["sweep"] < whole["sweep"] and steps["sweep"] + more["sweep"] <= whole["sweep"] + 1
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    files = [tmp_path / name / "s" / "results.json" for name in ("out", "alone")]
    cells = [[test["cells"] for test in json.loads(file.read_text())["tests"]] for file in files]
    assert cells[0] == cells[1]
