"""The predicted peak against that of a process, on the networks of the benchmark's own table."""

from __future__ import annotations

import statistics
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.activations import ACT2CLS, ACT2FN

from benchmarks.peaks import SHAPES, row
from causal_dsl.planning.alive import inner_at_once
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.network_facts import Facts

#: What the process takes beside its tensors, in bytes: indices, buffers of matrix products, tensors below the threshold.
BESIDE = 12_000_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there can a process forget its peak so far")
@pytest.mark.parametrize("name", SHAPES)
def test_tensors_alive_at_the_peak_are_those_predicted(name: str) -> None:
    """Where the heap gives back every large tensor at once, a process holds what is alive and little more."""
    found = row(name, 64, MALLOC_MMAP_THRESHOLD_=str(2**20), MALLOC_TRIM_THRESHOLD_=str(2**20))
    assert found["blocks"] > 1
    assert 0.75 * found["tensors"] <= found["seen"] <= 1.1 * found["tensors"] + BESIDE
    assert found["seen"] <= found["predicted"] <= 64 * 10**6


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="only there can a process forget its peak so far")
@pytest.mark.parametrize("name", SHAPES)
def test_a_process_takes_what_is_predicted_to_within_a_quarter(name: str) -> None:
    """In the median of five processes: what the heap keeps differs from one to the next by up to a third."""
    ratios = [found["predicted"] / found["seen"] for found in (row(name, 64) for _ in range(5))]
    assert 0.75 <= statistics.median(ratios) <= 1.25


class Counted(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is on, and the most that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        storage = out.untyped_storage()
        if storage._cdata not in self.alive:
            self.alive[storage._cdata] = storage.nbytes()
            weakref.finalize(storage, self.alive.pop, storage._cdata, None)
        self.most = max(self.most, sum(self.alive.values()))
        return out


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
