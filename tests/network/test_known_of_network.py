"""A network is a value; what is found out about it is kept beside it, as long as it is there."""

from __future__ import annotations

import copy
import gc
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from causal_dsl.diagnostics import NOWHERE
from causal_dsl.network.known_of_network import compiled_block, proof_of, proved, taps_of, unproved, used_as
from causal_dsl.network.network import Network
from causal_dsl.network.proof import Proof
from causal_dsl.network.prove import prove
from causal_dsl.network.site_tensors import tap
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.facts import facts_of_config
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef
from causal_dsl.vocabulary.locations import Site
from tests.network.families import model_of

PLACE = Site("resid_post", 1)


def own() -> Network:
    """A network whose module nothing else holds."""
    model: Any = copy.deepcopy(model_of("llama"))
    return wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))


def declared(network: Network, name: str, padding: str) -> NetworkRef:
    settings = (("padding", padding),)
    key = NetworkKey("torch", "made.py:build", settings=settings, name=name)
    return NetworkRef(name, "torch", "made.py:build", settings, Path(), network.facts, NOWHERE, key)


def test_no_field_of_a_network_is_assigned_to() -> None:
    network = own()
    for one in fields(network):
        with pytest.raises(FrozenInstanceError):
            setattr(network, one.name, getattr(network, one.name))
    assert not {"proof", "taps"} & {one.name for one in fields(network)}


def test_a_use_knows_what_its_network_does_until_it_is_proved_by_itself() -> None:
    network = own()
    proof = prove(network)
    use, twin = (
        used_as(network, declared(network, name, padding)) for name, padding in (("a", "left"), ("b", "right"))
    )
    assert (use.padding, twin.padding, use.model is network.model) == ("left", "right", True)
    assert proof_of(use) is proof_of(twin) is proof_of(network) is proof
    assert tap(use, PLACE) is tap(twin, PLACE) is tap(network, PLACE)
    block = network.layers[0].mlp
    assert compiled_block(use, block) is compiled_block(network, block)
    proved(use, replace(proof, refused={"resid_post": "it was found to be elsewhere"}))
    assert unproved(use) == ("resid_post",) and unproved(twin) == unproved(network) == ()
    assert not taps_of(use) and taps_of(twin), "places that were found under one proof hold under that one"
    assert proof_of(replace(network, layout=None)) is None, "another layout is another network"


@pytest.mark.slow
def test_what_is_known_goes_with_the_network() -> None:
    network = own()
    prove(network)
    use = used_as(network, declared(network, "a", "left"))
    tap(use, PLACE)
    compiled_block(use, use.layers[0].mlp)
    there = [ref(network), ref(use), ref(network.model), ref(proof_of(use)), ref(tap(use, PLACE))]
    del network
    gc.collect()
    assert proof_of(use) is not None and taps_of(use), "the other use of the module is there"
    assert there[0]() is None
    del use
    gc.collect()
    assert [one() for one in there] == [None] * len(there)


def test_a_network_without_a_proof_has_none_and_one_may_be_taken_away() -> None:
    network = own()
    assert proof_of(network) is None and unproved(network) == ()
    proved(network, Proof(ok=frozenset({"logits"})))
    proved(network, None)
    assert proof_of(network) is None
