"""Noise that is written: of one pair the same numbers, whatever else is in the batch and whoever executes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from causal_dsl.engine.values import noise
from causal_dsl.planning.lower import by_reference
from causal_dsl.vocabulary.values.noise import Noise
from tests.engine.matrix import normal
from tests.engine.tiny import execution_of, numbers_of, same, spec_of

torch.set_num_threads(1)
NOISY = "test t on a { base, source ~ m(n=24, seed=1) do(layer[l].mlp_out[p] += noise(std=2, seed=4)) report mean(kl) }"
LONG = "test u on a { base, source ~ m(n=9, seed=2) where base.template == 1 do(same <- source) report mean(kl) }"
PATTERN = """test t on a { base, source ~ m(n=8) where base.template == 0
  do(layer[l].head[0, 2].pattern[p] = noise(std=1)) report mean(kl) }
"""


def run(text: str, slow: bool = False, **more: Any) -> dict[Any, np.ndarray]:
    """The numbers of the test `t`; ``slow``: of whole forward passes."""
    execution, _ = execution_of(text, change=by_reference if slow else None, **more)
    list(execution.run())
    return {key: values for key, values in numbers_of(execution).items() if key[0] == "t"}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("test", [NOISY, PATTERN], ids=["vectors", "pattern"])
def test_noise_is_the_pairs_own(test: str) -> None:
    """In blocks, beside longer prompts, and in whole forward passes."""
    text = spec_of("llama", test)
    alone = run(text)
    same(run(text, memory=300_000), alone)
    same(run(text + LONG), alone)
    same(run(text + LONG, slow=True), alone)


@pytest.mark.parametrize("alive", [slice(None), np.array([0, 3, 4])], ids=["all", "some"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_noise_is_the_formula_of_seed_pair_token_and_number(alive: Any, dtype: torch.dtype) -> None:
    """Of the pairs 70, 3 and 5, of which two tokens, one and two are written."""
    which, pairs = np.array([0, 0, 1, 2, 2]), np.array([70, 3, 5])
    rows = [(70, 0), (70, 1), (3, 0), (5, 0), (5, 1)]
    here: Any = SimpleNamespace(family=SimpleNamespace(pairs=pairs), which=which, alive=alive)
    here.write = SimpleNamespace(place=SimpleNamespace(site=SimpleNamespace(component="mlp_out", heads=(), dims=None)))
    picked = rows if isinstance(alive, slice) else [rows[i] for i in alive]
    made = noise(Noise(2.0, 4), here)(torch.zeros(len(picked), 6, dtype=dtype))
    by_hand = [[2 * normal(4, "noise", (pair << 32) + token, i) for i in range(6)] for pair, token in picked]
    assert torch.equal(made, torch.tensor(by_hand, dtype=torch.float64).round(decimals=12).float())
    elsewhere = noise(Noise(2.0, 4), here)(torch.zeros(len(picked), 6, dtype=dtype, device="meta"))
    assert elsewhere.device.type == "meta" and elsewhere.shape == made.shape
