"""Networks whose weights are read layer by layer: they give the very numbers that networks in memory give."""

from __future__ import annotations

import pytest
import torch

from causal_dsl.network.network import Network
from causal_dsl.network.stream.weight_stream import WeightStream
from tests.engine.test_matrix import families, matrix_of, vectors
from tests.engine.tiny import execution_of, spec_of
from tests.thinning import some

#: One family of each way in which weights are in files: as they are used, turned (gpt2), fused, as experts, tied.
ALWAYS = ["gpt2", "mixtral"]


def streamed(text: str) -> str:
    """A spec with its network's weights read as they are needed."""
    return text.replace('hf("', 'hf("', 1).replace(", padding=", ", weights=stream, padding=", 1)


def stream_of(network: Network) -> WeightStream:
    assert network.stream is not None
    return network.stream


@pytest.mark.parametrize("family", some(families(), ALWAYS))
def test_every_site_of_the_table_has_the_numbers_of_a_network_in_memory(family: str) -> None:
    """Every site of every layer, written from itself: the proof and all logits are equal, bit for bit."""
    path, _ = vectors()
    chosen = [case for case in matrix_of(family) if case.text == "<- source"]
    tests = "\n".join(
        f"test t{number} on a(l=0, p=x) {{ {case.draw}\n do({case.action.replace('VECTORS', path)})\n report mean(kl) }}"
        for number, case in enumerate(chosen)
    )
    text = spec_of(family, tests, layers="[0]", positions="[x]")
    one, other = execution_of(text)[0], execution_of(streamed(text))[0]
    (mine,), (theirs,) = one.networks.values(), other.networks.values()
    assert mine.stream is None and stream_of(theirs).parts
    assert mine.proof is not None and theirs.proof is not None
    assert (mine.proof.ok, mine.proof.sweep, mine.proof.errors) == (
        theirs.proof.ok,
        theirs.proof.sweep,
        theirs.proof.errors,
    )
    expected, found = list(one.logits().values()), list(other.logits().values())
    assert len(expected) == len(found) == len(chosen) and len(chosen) > 10
    for case, a, b in zip(chosen, expected, found, strict=True):
        assert torch.equal(a, b), case.action
