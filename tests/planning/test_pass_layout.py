"""Blocks of one step, laid out after each other: what their interventions have in common is found once, and changes no block."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.planning import pass_runs
from causal_dsl.planning.noise_floor import floors_of
from causal_dsl.planning.pass_layout import Layout
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import Block, Step
from causal_dsl.planning.switches import all_off
from tests.planning.test_plan import SPEC

BLOCKS = [Block(), Block(0, 1, 3), Block(2, 3, 3), Block(0, 1, 60), Block(0, 1, 1, 0, 2), Block(1, 2, 2, 2, None)]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return cd.plan(cd.parse(SPEC))


def told(value: Any) -> Any:
    """Arrays as lists, and dataclasses as their fields: to be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return [(str(key), told(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [told(one) for one in value]
    if is_dataclass(value) and type(value).__name__ in ("Family", "Spot", "Watch", "PassRows", "Accesses"):
        return [told(getattr(value, field.name)) for field in fields(value)]
    return str(value)


def seen(layout: Layout) -> Any:
    kept = (
        layout.inputs,
        layout.pairs,
        layout.prompt,
        layout.families,
        layout.kept,
        layout.keys,
        layout.watches,
        layout.rows,
    )
    return [told(part) for part in (*kept, layout.width, layout.most_rows)]


@pytest.mark.parametrize("way", ["switched", "plain", "ahead", "with floors"])
def test_a_block_is_what_it_is_whatever_was_laid_out_before(plan: Plan, way: str) -> None:
    steps = all_off(plan).steps[-3:] if way == "plain" else plan.steps
    held = Layouts(plan)
    for step in steps:
        for block in BLOCKS:
            more: dict[str, Any] = {"watch": True, "ahead": way == "ahead"}
            if way == "with floors":
                more["extra"] = tuple(
                    dict((floor, 2) for test in plan.tests for floor in floors_of(plan, test).values()).items()
                )
            found = seen(held.make(step, block, **more))
            assert found == seen(Layouts(plan).make(step, block, **more))
            assert found == seen(held.make(replace(step), block, **more))


def test_an_intervention_is_looked_at_once_and_not_in_every_block(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of a hundred thousand pairs has a hundred blocks of thousands of interventions."""
    (step,) = (step for step in plan.steps if step.resumes)
    assert len(step.resumes) > 3
    asked: list[object] = []
    plain = pass_runs.taken
    monkeypatch.setattr(pass_runs, "taken", lambda resume: asked.append(resume) or plain(resume))
    layouts = Layouts(plan)
    for part in range(20):
        layouts.make(cut(step, 20), Block(part, part + 1, 20), watch=True)
    assert len(asked) == len(step.resumes)


def cut(step: Step, parts: int) -> Step:
    return replace(step, blocks=tuple(Block(part, part + 1, parts) for part in range(parts)))
