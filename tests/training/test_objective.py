"""What is minimised, against loops written by hand; and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causal_dsl import api
from causal_dsl.diagnostics import NOWHERE
from causal_dsl.inputs import PromptInputs
from causal_dsl.network.load import load_folder
from causal_dsl.network.network import Network
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.program.program import Training
from causal_dsl.training.objective import Objective
from causal_dsl.training.pool import pool_of
from tests.training.taught import by_hand, network, training


@pytest.mark.parametrize("step", [0, 1, 2])
def test_losses_and_gradients_are_those_of_a_loop_over_rows(step: int) -> None:
    objective = Objective(network(), training("batch=16, strict=0.5, task=2"))
    model = objective.network.model.requires_grad_(True)
    losses = objective.losses(objective.parts(step))
    objective.total(losses).backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    expected = by_hand(objective, step)
    (2 * expected["task"] + expected["interchange"] + 0.5 * expected["strict"]).backward()
    for kind, loss in losses.items():
        assert loss.item() == pytest.approx(expected[kind].item(), rel=1e-12)
    for one, parameter in zip(found, model.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, rtol=1e-9, atol=1e-14)


def test_gradients_flow_through_the_sources() -> None:
    """A source's run alone decides about what is written: its gradient is that of the finite difference."""
    objective = Objective(network(), training("batch=8, task=0"))
    model = objective.network.model.requires_grad_(True)
    weight = model[0][0].weight
    (gradient,) = torch.autograd.grad(objective.total(objective.losses(objective.parts(3))), weight)
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            weight[2, 1] += sign * 1e-5
            ends.append(objective.total(objective.losses(objective.parts(3))).item())
            weight[2, 1] -= sign * 1e-5
    assert gradient[2, 1].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_draws_depend_on_the_seed_and_the_step_alone() -> None:
    one, other = (Objective(network(seed), training("batch=64, seed=3, strict=1")) for seed in (0, 1))
    sets = []
    for step in range(40):
        mine, theirs = one.draws(step), other.draws(step)
        assert np.array_equal(mine.base, theirs.base) and np.array_equal(mine.rest, theirs.rest)
        assert all(np.array_equal(rows, theirs.sources[name]) for name, rows in mine.sources.items())
        sets.append(tuple(mine.sources))
    counts = {chosen: sets.count(chosen) for chosen in set(sets)}
    assert counts.keys() == {("first",), ("second",), ("first", "second")} and min(counts.values()) > 5
    assert not np.array_equal(one.draws(0).base, one.draws(1).base)
    again = Objective(network(), training("batch=64, seed=4, strict=1"))
    assert not np.array_equal(one.draws(0).base, again.draws(0).base)


def equality(settings: str, alignment: str = "  left @ layer[0].resid_post[b, 0:16]\n") -> Training:
    text = f"""
domain Shape = {{"arrow", "circle", "cross", "diamond"}}
causal equality {{
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}}
network blank = zoo("equality-gpt2")
align tau : equality -> blank {{
  prompt "{{a}} {{b}} {{c}} {{d}} ="
  prompt "{{a}} {{b}} {{c}} {{c}} {{d}} ="
{alignment}  same @ next_token
}}
network net = train(tau, {settings})
"""
    checked = api.check(api.parse(text))
    checked.raise_errors()
    found = checked.program.networks["net"].training
    assert found is not None
    return found


@pytest.fixture(scope="module")
def gpt2() -> Network:
    return load_folder(open_zoo("equality-gpt2"), dtype=torch.float64, span=NOWHERE)  # type: ignore[arg-type]


def test_balanced_chances_and_lengths(gpt2: Network) -> None:
    pool = pool_of(equality("balance=[left, right]"), PromptInputs(gpt2.facts, gpt2.tokens))
    assert pool.n == 2 * 4**4 and sorted(set(pool.lengths.tolist())) == [5, 6]
    picked = pool.draw("base", 0, 20_000)
    for name in ("left", "right", "template"):
        assert pool.values[name][picked].mean() == pytest.approx(0.5, abs=0.02)
    like = pool.draw("rest", 0, 20_000, like=picked)
    assert np.array_equal(pool.lengths[like], pool.lengths[picked])
    assert pool.values["left"][like].mean() == pytest.approx(0.5, abs=0.02)
    assert (pool.rows[like] != pool.rows[picked]).mean() > 0.9
    few = pool_of(equality("n=100, balance=[left]"), PromptInputs(gpt2.facts, gpt2.tokens))
    assert few.n == 100 and few.values["left"].mean() == 0.5


@pytest.mark.slow
def test_a_language_network_prompt_by_prompt(gpt2: Network) -> None:
    """Two variables at tokens of their own, prompts of two lengths; by hand with one forward a row."""
    alignment = "  left @ layer[0].resid_post[b, 0:16]\n  right @ layer[1].head[1, 3].z[last]\n"
    objective = Objective(gpt2, equality("batch=6, strict=1", alignment))
    model, pool = gpt2.model, objective.pool
    assert {str(site) for site in objective.rest} == {"layer[0].resid_post", "layer[1].z"}
    blocks = model.transformer.h

    def run(index: int, change: dict[int, torch.Tensor] | None = None) -> tuple[torch.Tensor, ...]:
        """Logits at the end, the stream after layer 0 and the heads' outputs of layer 1; ``change`` puts others."""
        kept: dict[int, torch.Tensor] = {}

        def stream(_: object, __: object, output: object) -> object:
            kept[0] = output[0] if isinstance(output, tuple) else output  # type: ignore[assignment]
            if change is None:
                return None
            return (change[0], *output[1:]) if isinstance(output, tuple) else change[0]

        def heads(_: object, args: tuple[torch.Tensor, ...]) -> object:
            kept[1] = args[0]
            return None if change is None or 1 not in change else (change[1],)

        handles = [blocks[0].register_forward_hook(stream), blocks[1].attn.c_proj.register_forward_pre_hook(heads)]
        ids = torch.tensor([list(pool.inputs.ids(int(pool.rows[index])))])
        logits = model(input_ids=ids, use_cache=False).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits, kept[0], kept[1]

    own = list(range(16, 32)) + list(range(48, 64))  # heads 1 and 3 of width 16
    words = {value: gpt2.tokens.encode(f"x {value}").ids[-1] for value in ("false", "true")}
    for step in range(4):
        drawn = objective.draws(step)
        losses = objective.losses(objective.parts(step))
        for kind in ("interchange", "strict"):
            found = []
            for row, base in enumerate(drawn.base.tolist()):
                _, stream, heads = run(base)
                stream, heads = stream.clone(), heads.clone()
                left, right = bool(pool.values["left"][base]), bool(pool.values["right"][base])
                if kind == "interchange":
                    if "left" in drawn.sources:
                        source = int(drawn.sources["left"][row])
                        stream[0, 1, 0:16] = run(source)[1][0, 1, 0:16]
                        left = bool(pool.values["left"][source])
                    change = {0: stream}
                    if "right" in drawn.sources:
                        source = int(drawn.sources["right"][row])
                        mine, theirs = run(base, {0: stream})[2].clone(), run(source)[2]
                        mine[0, -1, own] = theirs[0, -1, own]
                        change, right = {0: stream, 1: mine}, bool(pool.values["right"][source])
                else:
                    assert drawn.rest is not None
                    _, other, others = run(int(drawn.rest[row]))
                    other, others = other.clone(), others.clone()
                    other[0, 1, 0:16] = stream[0, 1, 0:16]
                    mine = run(base, {0: other})[2]
                    others[0, -1, own] = mine[0, -1, own]
                    change = {0: other, 1: others}
                logits = run(base, change)[0]
                found.append(-torch.log_softmax(logits, 0)[words["true" if left == right else "false"]])
            assert losses[kind].item() == pytest.approx(torch.stack(found).mean().item(), rel=1e-9), (step, kind)
