"""The predicted peak against that of a process, on the networks of the benchmark's own table."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import pytest
import torch
from transformers.activations import ACT2CLS, ACT2FN

from benchmarks.memory import Counted
from benchmarks.peaks import SHAPES, row
from causal_dsl.planning.alive import inner_at_once
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.network_facts import Facts

#: One on which no constant was chosen; the others take their turn at night.
OFTEN = ("held-out qwen2",)


@pytest.mark.skipif(sys.platform != "linux", reason="only there can a process forget its peak so far")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in OFTEN else pytest.mark.nightly) for n in SHAPES]
)
def test_tensors_alive_at_the_peak_are_those_predicted(name: str) -> None:
    """Those that are made, seen one by one; and the process where the heap gives back every large tensor at once."""
    found = row(name, 64, MALLOC_MMAP_THRESHOLD_=str(2**20), MALLOC_TRIM_THRESHOLD_=str(2**20))
    assert found["blocks"] > 1
    assert 0.75 * found["tensors"] <= found["counted"] <= 1.2 * found["tensors"]
    assert found["seen"] <= found["predicted"] <= 64 * 10**6


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="only there can a process forget its peak so far")
@pytest.mark.parametrize("name", SHAPES)
def test_a_process_takes_what_is_predicted_to_within_a_quarter(name: str) -> None:
    """In the median of five processes: what the heap keeps differs from one to the next by up to a third."""
    ratios = [found["predicted"] / found["seen"] for found in (row(name, 64) for _ in range(5))]
    assert 0.75 <= statistics.median(ratios) <= 1.25


def most_alive(block: Callable[[torch.Tensor], torch.Tensor], given: torch.Tensor) -> int:
    with torch.no_grad(), Counted() as counted:
        block(given)
    return counted.most


@pytest.mark.parametrize("name", sorted(set(ACT2CLS) - {"linear"}))  # which gives back what it is given
def test_the_inner_vectors_of_a_block_are_counted_by_its_activation(name: str) -> None:
    """Blocks as the classes of transformers write them, with a gate and without."""
    width, inner, tokens = 2, 64, 100
    given, activation = torch.randn(tokens, width), ACT2FN[name]
    first, gate, last = torch.nn.Linear(width, inner), torch.nn.Linear(width, inner), torch.nn.Linear(inner, width)

    def plain(hidden: torch.Tensor) -> torch.Tensor:
        hidden = first(hidden)
        hidden = activation(hidden)
        return last(hidden)

    for family, block in (
        ("llama", lambda hidden: last(activation(gate(hidden)) * first(hidden))),
        ("gpt_neox", plain),
    ):
        facts = Facts("language", architecture=family, activation=name)
        assert ARCHITECTURES[family].gated == (family == "llama")
        assert round(most_alive(block, given) / (4 * tokens * inner)) == inner_at_once(facts)
