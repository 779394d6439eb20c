"""What is alive in each layer, against a slow account of what depends on what, token by token."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_dsl.planning.liveness import ENTRY, KEYS, POINT, Accesses, PassRows, Rules, Schedule, schedule

LAYERS = 3


@st.composite
def passes(draw: st.DrawFn) -> PassRows:
    lengths = np.array(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    home = np.array(draw(st.lists(st.integers(0, len(lengths) - 1), max_size=4)), dtype=np.int64)
    every = np.concatenate([lengths, lengths[home]])
    read = np.array(
        [draw(st.sampled_from([-1, int(length) - 1])) for length in lengths]
        + [int(length) - 1 for length in lengths[home]],
        dtype=np.int64,
    )
    writes, reads = [], []
    for row in range(len(lengths), len(every)):
        for _ in range(draw(st.integers(0, 3))):
            level = draw(st.integers(0, LAYERS))
            phase = ENTRY if level == LAYERS else draw(st.sampled_from([ENTRY, POINT, KEYS]))
            position = draw(st.integers(0, int(every[row]) - 1))
            writes.append((np.array([row]), np.array([position]), level, phase))
    for row in range(len(lengths)):
        for _ in range(draw(st.integers(0, 2))):
            level = draw(st.integers(0, LAYERS))
            phase = ENTRY if level == LAYERS else draw(st.sampled_from([ENTRY, POINT, KEYS]))
            reads.append((np.array([row]), np.array([draw(st.integers(0, int(every[row]) - 1))]), level, phase))
    return PassRows(lengths, home, read, Accesses.join(writes), Accesses.join(reads))


class Account:
    """A network in which each token is a formula: two are equal exactly if they are computed from the same things."""

    def __init__(self, rows: PassRows):
        self.rows = rows
        self.home = np.concatenate([np.arange(len(rows.lengths)), rows.home])
        self.lengths = rows.lengths[self.home]
        self.written = {
            (int(r), int(p), int(level), int(phase))
            for r, p, level, phase in zip(
                rows.writes.rows, rows.writes.positions, rows.writes.levels, rows.writes.phases, strict=True
            )
        }

    def whole(self) -> dict[tuple[int, int, int], object]:
        """What every token holds as it enters each level, by running every row whole."""
        value: dict[tuple[int, int, int], object] = {}
        for row, length in enumerate(self.lengths):
            for position in range(length):
                value[row, position, 0] = self._write(("token", self.home[row], position), row, position, 0, ENTRY)
        for level in range(LAYERS):
            for row, length in enumerate(self.lengths):
                keys = [self._write(("key", value[row, p, level]), row, p, level, KEYS) for p in range(length)]
                for position in range(length):
                    inner = ("out", value[row, position, level], tuple(keys[: position + 1]))
                    inner = self._write(inner, row, position, level, POINT)
                    value[row, position, level + 1] = self._write(inner, row, position, level + 1, ENTRY)
        return value

    def live(self, plan: Schedule) -> dict[tuple[int, int], object]:
        """What the live tokens compute, by following their indices."""
        flat = [
            ("token", self.home[row], position) if position < self.lengths[row] else None
            for row, position in product(plan.batch.tolist(), range(plan.width))
        ]
        for level, live in enumerate(plan.levels):
            every = range(len(live.rows) + len(live.keys_rows))
            source = live.source if live.source is not None else np.arange(len(every))
            rows = np.concatenate([live.rows, live.keys_rows]).tolist()
            positions = np.concatenate([live.positions, live.keys_positions]).tolist()
            entered = [self._write(flat[source[i]], rows[i], positions[i], level, ENTRY) for i in every]
            if level == LAYERS:
                break
            keys = [self._write(("key", entered[i]), rows[i], positions[i], level, KEYS) for i in every]
            flat = []
            for i in range(len(live.rows)):
                index = plan.keys(level, np.array([rows[i]]), positions[i] + 1)[0]
                out = ("out", entered[i], tuple(keys[at] for at in index))
                flat.append(self._write(out, rows[i], positions[i], level, POINT))
        return {(row, position): entered[i] for i, (row, position) in enumerate(zip(rows, positions, strict=True))}

    def _write(self, value: object, row: int, position: int, level: int, phase: int) -> object:
        return ("written", row, position, level, phase) if (row, position, level, phase) in self.written else value


@settings(max_examples=150, deadline=None)
@given(passes(), st.tuples(*[st.booleans()] * 4))
def test_live_tokens_compute_what_whole_rows_compute(rows: PassRows, chosen: tuple[bool, bool, bool, bool]) -> None:
    plan = schedule(rows, LAYERS, Rules(*chosen))
    account = Account(rows)
    whole, final = account.whole(), account.live(plan)
    for row, position in enumerate(rows.read.tolist()):
        if position < 0:
            continue
        home = int(account.home[row])
        found = final.get((row, position), final.get((home, position)))
        assert found == whole[row, position, LAYERS]
    for row, position, level, phase in zip(
        rows.reads.rows, rows.reads.positions, rows.reads.levels, rows.reads.phases, strict=True
    ):
        if level == 0 and phase == ENTRY:
            continue  # the batch itself
        at = level - 1 if phase == ENTRY else level
        assert plan.levels[at].at(np.array([row]), np.array([position]))[0] >= 0


@settings(max_examples=50, deadline=None)
@given(passes())
def test_each_rule_leaves_out_more_and_none_less(rows: PassRows) -> None:
    """Where every prompt's answer is read, as in a plan it is: else a row may come cheaper than its prompt and a part."""
    read = np.concatenate([rows.lengths, rows.lengths[rows.home]]) - 1
    rows = replace(rows, read=read)
    plain = schedule(rows, LAYERS, Rules(False, False, False, False))
    for step in (Rules(True, False, False, False), Rules(True, True, False, False), Rules(True, True, True, False)):
        now = schedule(rows, LAYERS, step)
        assert now.layer_tokens <= plain.layer_tokens
        plain = now
    thin = schedule(rows, LAYERS)
    assert thin.layer_tokens + thin.key_tokens <= plain.layer_tokens


def test_by_hand() -> None:
    """Two prompts of 4 tokens; one row on the first, written after layer 0 at token 2; the source's vector is read there."""
    writes = Accesses.join([(np.array([2]), np.array([2]), 1, ENTRY)])
    reads = Accesses.join([(np.array([1]), np.array([2]), 1, ENTRY)])
    plan = schedule(PassRows(np.array([4, 4]), np.array([0]), np.array([3, -1, 3]), writes, reads), LAYERS)
    full = [list(zip(f.rows.tolist(), f.positions.tolist(), strict=True)) for f in plan.levels]
    keys = [list(zip(f.keys_rows.tolist(), f.keys_positions.tolist(), strict=True)) for f in plan.levels]
    base = [(0, t) for t in range(4)]
    assert full[0] == [*base, (1, 2)] and keys[0] == [(1, 0), (1, 1)]
    assert full[1] == [*base, (2, 2), (2, 3)] and keys[1] == []
    assert full[2] == [(0, 3), (2, 3)] and keys[2] == [(0, 0), (0, 1), (0, 2), (2, 2)]
    assert full[3] == [(0, 3), (2, 3)]
    assert (plan.layer_tokens, plan.key_tokens) == (5 + 6 + 2, 2 + 0 + 4)
