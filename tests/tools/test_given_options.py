"""Options of a run: each argument of a command ends in a field of ``Options``, or is known to be no option of a run."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from causal_dsl import api
from causal_dsl.base.options_shown import OPTIONS
from causal_dsl.store.keys import RunInputs
from causal_dsl.tools.arguments import parser
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.commands import inputs
from causal_dsl.tools.given_options import OTHERWISE, options_of
from causal_dsl.tools.mcp_tools import TOOLS
from causal_dsl.units.cutting import identity

#: Fields that no argument gives, each with what decides it.
BY_ITSELF = {
    "progress": "whether standard error is a terminal, and how much is told",
    "shared": "whether it is a shard, or a worker",
    "command": "the words that were typed",
}
#: Arguments that are no option of a run, each with what reads it.
APART = {
    "paths": "which specs are read",
    "json": "how results are printed",
    "quiet": "how much is printed",
    "verbose": "how much is printed",
    "github": "where faults are told of",
    "junit": "a file that is written of the results",
    "html": "a page that is written of the results",
    "figures": "figures that are drawn of the results",
    "mermaid": "how a plan is printed",
    "explain": "how a plan is printed",
    "shard": "which part of the work is run",
    "watch": "whether it is run again",
}
#: Words for the types of arguments.
WORDS = {
    "seed_number": "3",
    "memory_size": "1GB",
    "worker_count": "2",
    "cluster_address": "auto",
    "silent_seconds": "20",
    "folder_that_is_there": ".",
}
FIELDS = {one.name for one in fields(api.Options)}
SPEC = Path(__file__).parents[2] / "specs" / "equality.causal"


def actions(command: str) -> list[argparse.Action]:
    """The arguments of a command."""
    among = next(one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return [one for one in among.choices[command]._actions if one.dest != "help"]


def given(command: str, *words: str) -> api.Options:
    """The options of a command line."""
    typed = [command, str(SPEC), *words]
    return inputs(parser().parse_args(typed), CommandLine([command]))[1]


CASES = [
    (command, action)
    for command in ("check", "plan", "run")
    for action in actions(command)
    if action.option_strings and action.dest not in APART
]


@pytest.mark.parametrize(
    ("command", "action"), CASES, ids=[f"{command} {action.option_strings[-1]}" for command, action in CASES]
)
@pytest.mark.thinned(always=9)
def test_each_argument_ends_in_the_options(command: str, action: argparse.Action) -> None:
    word = "n=." if action.dest == "network" else WORDS.get(getattr(action.type, "__name__", ""), "word")
    values = [] if action.nargs == 0 else [next(iter(action.choices)) if action.choices else word]
    plain, other = given(command), given(command, action.option_strings[-1], *values)
    differ = [name for name in FIELDS if getattr(plain, name) != getattr(other, name)]
    named = {argument: name for name, argument in OTHERWISE.items()}
    assert differ == [named.get(action.dest, action.dest)]


def test_each_field_is_given_by_an_argument_or_known_to_be_by_itself() -> None:
    there = {action.dest for command in ("check", "plan", "run") for action in actions(command)}
    given_by = {name: OTHERWISE.get(name, name) for name in FIELDS}
    assert {name for name, argument in given_by.items() if argument not in there} == set(BY_ITSELF)
    assert not {argument for argument in APART if argument not in there}
    spoken = {option.strip("-").replace("-", "_"): name for option, name in OPTIONS.items()}
    assert all(given_by[name] == argument for argument, name in spoken.items())


def test_what_is_not_said_has_its_default() -> None:
    assert options_of({}) == api.Options() == options_of({"device": None, "silence": None, "paths": ["a"]})
    assert options_of({"test": ["t"], "batch_memory": 5}, seed=2) == api.Options(tests=("t",), memory=5, seed=2)


def test_pytest_and_an_agent_give_options_by_the_same_names(pytestconfig: pytest.Config) -> None:
    own = [name.removeprefix("causal_") for name in vars(pytestconfig.option) if name.startswith("causal_")]
    assert own and set(own) <= {OTHERWISE.get(name, name) for name in FIELDS}
    budget = {"max_seconds", "max_flops", "max_memory_mb"}
    for tool in ("check", "plan", "run"):
        assert set(TOOLS[tool].schema["properties"]) <= FIELDS | budget | {"path", "text", "full"}


def test_shards_are_merged_with_the_options_that_they_were_run_with() -> None:
    other: dict[str, Any] = {"seed": 4, "tests": ("a", "b"), "device": "cpu", "dtype": "float64", "memory": 7}
    other |= {"compiled": True, "reference": True, "without": ("share",)}
    checked = api.check(api.load(SPEC), beside=False)
    said = identity(checked, api.Options(**other, trust=True))
    assert said == {"spec": checked.digest, "networks": [], **other, "tests": ["a", "b"], "without": ["share"]}
    assert api.Options.of(said, networks={}) == api.Options(**other)
    decided = {one.name for one in fields(RunInputs)} & FIELDS
    assert decided <= said.keys()  # what decides the numbers of a run decides those of its units
