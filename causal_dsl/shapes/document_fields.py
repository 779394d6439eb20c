"""The documents that `run --json`, `check --json` and `plan --json` print."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from causal_dsl.shapes.numbers_of_fields import Count
from causal_dsl.shapes.plan_fields import PlannedSpecJson, ShardSpecJson
from causal_dsl.shapes.spec_fields import CheckedSpecJson, SpecJson


class RunJson(TypedDict):
    """The document of `run --json`. `schema` is left out where no spec could be run."""

    schema: NotRequired[Count]
    "counts up when a field changes its meaning"
    specs: list[SpecJson | ShardSpecJson | CheckedSpecJson]
    "one entry a file"


class CheckJson(TypedDict):
    """The document of `check --json`."""

    specs: list[CheckedSpecJson]
    "one entry a file"


class PlanJson(TypedDict):
    """The document of `plan --json`."""

    specs: list[PlannedSpecJson | CheckedSpecJson]
    "one entry a file"
