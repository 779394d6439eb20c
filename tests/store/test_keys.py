"""A key is of every input that is declared, and says which is another."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from causal_dsl.store.keys import (
    OPTIONS,
    FitInputs,
    Inputs,
    NetworkInputs,
    RunInputs,
    ScoreInputs,
    TrainingInputs,
    changes,
    key_of,
    told,
    versions,
)

NETWORK = NetworkInputs(
    "hf",
    "model",
    None,
    {"padding": "left"},
    "",
    "0" * 64,
    {"config.json": "1" * 64},
    "llama",
    "torch.float32",
    "cpu",
    "left",
    "a" * 64,
    {"peft": "0.17"},
)
INPUTS: list[Inputs] = [
    RunInputs(
        "2" * 64,
        ("t",),
        0,
        None,
        None,
        False,
        False,
        None,
        {"names.txt": "3" * 64},
        {"net": NETWORK},
        "",
        "",
        {},
        {"torch": "2"},
    ),
    FitInputs({"n": 3}, (["left"],), {}, "4" * 64, 0, NETWORK, "", {"torch": "2"}),
    ScoreInputs(("nodes", "eap"), "c" * 64, NETWORK, None, {"torch": "2"}),
    TrainingInputs(
        {}, {}, (), (), {"steps": 3}, "5" * 64, "6" * 64, ("code",), "b" * 64, {}, "float32", "cpu", "right", {}
    ),
]


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if value is None:
        return "something"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return "7" * 64
    if isinstance(value, tuple):
        return (*value, "more")
    if isinstance(value, NetworkInputs):
        return replace(value, weights="8" * 64)
    assert isinstance(value, dict)
    return {**value, "more": "9" * 64}


def cases() -> list[Any]:
    return [pytest.param(i, f.name, id=f"{type(i).__name__}-{f.name}") for i in INPUTS for f in fields(i)]


@pytest.mark.parametrize(("inputs", "name"), cases())
def test_every_declared_input_is_in_the_key(inputs: Inputs, name: str) -> None:
    changed = replace(inputs, **{name: other(getattr(inputs, name))})
    assert key_of(changed) != key_of(inputs)
    (said,) = changes(told(inputs), told(changed))
    assert said.startswith("other tests were run: " if name == "tests" else OPTIONS.get(name, name))


@pytest.mark.parametrize("name", [f.name for f in fields(NetworkInputs)])
def test_every_part_of_a_network_is_in_the_key(name: str) -> None:
    run = INPUTS[0]
    assert isinstance(run, RunInputs)
    changed = replace(run, networks={"net": replace(NETWORK, **{name: other(getattr(NETWORK, name))})})
    assert key_of(changed) != key_of(run)
    (said,) = changes(told(run), told(changed))
    assert said.startswith(f"networks: net: {name}")


def test_the_kinds_of_inputs_share_no_key_and_the_order_of_names_is_no_part() -> None:
    assert len({key_of(inputs) for inputs in INPUTS}) == len(INPUTS)
    run = INPUTS[0]
    assert isinstance(run, RunInputs)
    one, two = (replace(run, files=dict(order)) for order in ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]))
    assert key_of(one) == key_of(two)


def test_what_is_no_plain_data_is_no_input() -> None:
    with pytest.raises(TypeError):
        key_of(replace(INPUTS[1], fitting={"n": object()}))  # type: ignore[arg-type]


def test_what_changed_is_said_in_words() -> None:
    before = {"seed": 0, "files": {"a.txt": "0" * 64, "b.txt": "1" * 64}, "versions": {"torch": "2.1"}}
    now = {"seed": 1, "files": {"a.txt": "2" * 64, "c.txt": "3" * 64}, "versions": {"torch": "2.2"}}
    assert changes(before, now) == [
        "seed was 0, and is 1",
        "files: a.txt has another content",
        "files: b.txt is gone",
        "files: c.txt is new",
        'versions: torch was "2.1", and is "2.2"',
    ]


def test_the_versions_of_all_that_computes_are_known() -> None:
    found = versions()
    assert {"causal_dsl", "causal_dsl source", "torch", "transformers", "tokenizers", "numpy"} <= found.keys()
    assert len(found["causal_dsl source"]) == 64
