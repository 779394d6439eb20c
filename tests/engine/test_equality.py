"""The law of the executors: whatever the spec, the sweep finds what whole forward passes with plain hooks find.

Specs are drawn at random: architecture, sites, positions, prompts of two lengths, padding, several writes, several
tests, and which of the plan's rules are applied.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

import causal_dsl as cd
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.planning.lower import by_reference
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.switches import SWITCHES, all_off, turned_on
from causal_dsl.program.components import COMPONENTS
from causal_dsl.vocabulary.measures import MEASURES
from tests.engine.tiny import BOTH_WAYS, CONFIGS, PLACES, execution_of, network_of, numbers_of, same, spec_of
from tests.thinning import law, some

torch.set_num_threads(1)
FAMILIES = [name for name in CONFIGS if name not in BOTH_WAYS]
ENCODERS = list(BOTH_WAYS)
#: Sites of a layer, from the package's table; of those that have heads, one and two.
SITES = [
    head + name
    for name, about in COMPONENTS.items()
    if about.layer and "language" in about.kinds
    for head in (("head[0].", "head[0, 2].") if about.heads else ("",))
]
WRITES = [
    "same <- source",
    "layer[2].mlp_out[last] = mean",
    "layer[1].resid_post[x] = 0",
    "layer[1].resid_mid[y] <- source",
    "layer[2].resid_mid[last] += 0.5 * source - mean",
    "layer[1].head[0].q_rot[last] <- source",
    "layer[0].head[0].k_rot[y] = mean(source)",
    "layer[0].head[1].z[y] <- source",
    "layer[2].resid_pre[z] += 0.5 * (mean(source) - mean(base))",
    "layer[1].mlp_out[last] = noise(std=1)",
    "layer[1].mlp_out[y] = clamp(-0.1, 0.2)",
    "layer[2].resid_post[x] = project_out(source)",
    "layer[0].head[1].z[last] = 2 * current - mean(source)",
    "layer[0].resid_post[y] <- source.layer[2].resid_post[z]",
    "layer[1].attn_out[all] *",
    "layer[2].head[0].v[first] <- source",
    "layer[0].resid_post[-2] = mean(source)",
    'module("MODULE")[y] = 0',
]
#: What is read of logits, from the records: a new measure is in here by itself.
SCORES = [
    "mean(logit(source.o))",
    *(
        f"mean({name}{'(o)' if measure.of_token else ''})"
        for name, measure in MEASURES.items()
        if measure.of_token or measure.of_distribution
    ),
]


@st.composite
def specs(draw: st.DrawFn, families: list[str] = FAMILIES) -> tuple[str, str]:
    """A family, and a spec about it."""
    family = draw(st.sampled_from(families))
    tests = []
    for number in range(draw(st.integers(1, 3))):
        writes = draw(st.lists(st.sampled_from(WRITES), min_size=1, max_size=3, unique=True))
        told = []
        for write in writes:
            if write.endswith("*"):
                write = write[:-1] + f"+= {draw(st.sampled_from(['1', '-0.5']))}"
            told.append(write.replace("MODULE", PLACES[family]["mlp_out"][0].format(l=1)))
        n, seed = draw(st.integers(1, 9)), draw(st.integers(0, 2))
        scores = draw(
            st.lists(
                st.sampled_from(SCORES),
                min_size=1,
                max_size=2,
                unique=True,
            )
        )
        reports = "\n".join(f"report {score}" for score in scores)
        tests.append(
            f"test t{number} on a {{ base, source ~ m(n={n}, seed={seed})\n do({', '.join(told)})\n {reports} }}"
        )
    layers = draw(st.sampled_from(["0:3", "[1]", "[0, 2]"]))
    positions = draw(st.sampled_from(["[x, last]", "[y]", "[first, z, last]", "[-2, y]"]))
    text = spec_of(
        family,
        "\n".join(tests),
        draw(st.sampled_from(SITES)),
        layers,
        positions,
        draw(st.sampled_from(["right", "left"])),
    )
    refused = {diagnostic.code for diagnostic in cd.check(cd.parse(text)).errors}
    assume(not refused)  # two writes of one place (E461), attention weights that are not of one length
    return family, text


def run(text: str, change: Callable[[Plan], Plan] | None = None, **more: object) -> dict:
    network = network_of(text[: text.index("align ")])
    proof = proof_of(network)
    assert proof is not None and proof.sweep, proof
    execution, _ = execution_of(text, change=change, **more)
    list(execution.run())
    return numbers_of(execution)


@pytest.mark.thinned(slow=1)
@pytest.mark.slow
@law(specs(), few=6, many=25)
def test_the_sweep_finds_what_whole_forwards_find(drawn: tuple[str, str]) -> None:
    _, text = drawn
    same(run(text), run(text, by_reference))


@pytest.mark.thinned(slow=1)
@pytest.mark.slow
@law(specs(ENCODERS), few=6, many=25)
def test_the_sweep_finds_what_whole_forwards_of_encoders_find(drawn: tuple[str, str]) -> None:
    _, text = drawn
    same(run(text), run(text, by_reference))


@pytest.mark.thinned(slow=1)
@pytest.mark.slow
@law(specs(ENCODERS), st.sets(st.sampled_from(range(len(SWITCHES)))), st.integers(20_000, 400_000), few=3, many=8)
def test_no_rule_and_no_budget_changes_a_number_of_an_encoder(
    drawn: tuple[str, str], chosen: set[int], budget: int
) -> None:
    _, text = drawn
    rules = [rule for number, rule in enumerate(SWITCHES) if number in chosen]
    plainly = run(text)
    same(run(text, lambda plan: turned_on(all_off(plan), rules)), plainly)
    same(run(text, memory=budget), plainly)


@law(specs(), st.sets(st.sampled_from(range(len(SWITCHES)))), few=3, many=15)
def test_no_rule_changes_a_number(drawn: tuple[str, str], chosen: set[int]) -> None:
    _, text = drawn
    rules = [rule for number, rule in enumerate(SWITCHES) if number in chosen]
    same(run(text, lambda plan: turned_on(all_off(plan), rules)), run(text))


@pytest.mark.thinned(slow=1)
@pytest.mark.slow
@law(specs(), st.integers(20_000, 400_000), few=3, many=10)
def test_no_budget_changes_a_number(drawn: tuple[str, str], budget: int) -> None:
    _, text = drawn
    same(run(text, memory=budget), run(text))


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize("family", some(["gpt2", "llama", "gptj"], ["llama"]))
def test_answers_of_several_tokens(family: str) -> None:
    """The greedy continuation of a patched run goes on under the same writes."""
    text = spec_of(family, "test t on a { base, source ~ m(n=12) do(same <- source) report moved }", positions="[x, y]")
    network = network_of(text[: text.index("align ")])
    said: dict[str, int] = {}
    rng = np.random.default_rng(0)
    for _ in range(200):  # what such prompts are continued with, so that the answers are sometimes said
        x, y, z = rng.integers(10, 15, 3)
        ids = [x, 1, y, 2, z, 3]
        with torch.no_grad():
            for _ in range(2):
                ids.append(int(network.model(torch.tensor([ids])).logits[0, -1].argmax()))
        if max(ids[-2:]) < 60:
            words = f"w{ids[-2]} w{ids[-1]}"
            said[words] = said.get(words, 0) + 1
    often = sorted(said, key=lambda words: -said[words])[:4]
    assert len(often) > 1
    values = ", ".join(f'"{words}"' for words in often)
    text = text.replace("  output o := if same then x else z", "  output o : Long := if same then A else B")
    text = text.replace("if same then A else B", f'if same then "{often[0]}" else "{often[1]}"')
    text = text.replace("causal m", f"domain Long = {{{values}}}\ncausal m").replace(
        "next_token(among=W)", "next_token"
    )
    fast, plainly = run(text), run(text, by_reference)
    same(fast, plainly)
    answers = np.concatenate([array for key, array in fast.items() if "answer" in key[3]])
    assert len(set(answers.tolist())) > 1  # some were said, and not all the same


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("family", ["llama", "bert", "distilbert"])
def test_attention_weights_from_another_run(family: str) -> None:
    text = spec_of(
        family,
        """
        test t on a { base, source ~ m(n=8) where base.template == source.template and base.template == 0
          do(layer[l].head[1].pattern[p] <- source) report mean(kl) }
        test u on a { base, source ~ m(n=8) where base.template == source.template and base.template == 1
          do(layer[l].head[0, 2].pattern[p] = 0) report mean(kl) }
    """,
    )
    same(run(text), run(text, by_reference))
