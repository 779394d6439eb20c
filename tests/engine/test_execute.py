"""Runs of whole specs against numbers computed by hand: plain torch, plain Python, nothing of the engine."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import causal_dsl as cd
from causal_dsl.engine import sweep as sweep_module
from causal_dsl.network.zoo.equality_relu import build
from tests.equality import gpt2, relu

RELU = relu("left @ SITE", "right @ layer[1].out[2:4]")
WORDS = ["circle", "square"]


def relu_spec(test: str, site: str = "layer[1].out[0:2]") -> cd.Spec:
    return cd.parse(RELU.replace("SITE", site) + test)


def one_hot(values: tuple[int, ...]) -> torch.Tensor:
    return torch.cat([torch.eye(4, dtype=torch.float64)[value] for value in values])


def by_hand(columns: slice) -> float:
    """The share of all 65,536 pairs on which swapping these units of layer 1 does what swapping `left` should; where both
    logits are equal, nothing is said."""
    model = build()
    inputs = list(itertools.product(range(4), repeat=4))
    with torch.no_grad():
        x = torch.stack([one_hot(values) for values in inputs])
        hidden = model.layers[1](model.layers[0](x))
        right = 0
        left = np.array([a == b for a, b, _, _ in inputs])
        other = np.array([c == d for _, _, c, d in inputs])
        for base in range(len(inputs)):
            patched = hidden[base].repeat(len(inputs), 1)
            patched[:, columns] = hidden[:, columns]
            no, yes = model.logits(model.layers[2](patched)).numpy().T
            right += int(np.where(left == other[base], yes > no, no > yes).sum())
    return right / len(inputs) ** 2


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("site", "columns"),
    [("layer[1].out[0:2]", slice(0, 2)), ("layer[1].out[1:2]", slice(1, 2)), ("layer[1].out[0:3]", slice(0, 3))],
)
def test_every_pair_scores_what_enumeration_by_hand_scores(site: str, columns: slice) -> None:
    spec = relu_spec(
        "test t on halves { base, source ~ equality(exhaustive=true) do(left <- source) report iia }", site
    )
    found = cd.run(spec)["t"].cell().scores["iia"]
    assert found.value == by_hand(columns)
    assert found.method == "exact" and found.low is None


@pytest.mark.slow
def test_the_halves_are_exact_and_chance_is_one_half() -> None:
    spec = relu_spec("""
        test t on halves { base, one, two ~ equality(n=512, balance=[left, right]) do(left <- one, right <- two) report iia }
        test u on halves { base, source ~ equality(n=512, balance=[left, right]) do(right <- source) report iia }
    """)
    results = cd.run(spec)
    assert results["t"].cell().scores["iia"].value == 1.0
    assert results["u"].cell().scores["iia"].value == 1.0
    assert results["u"].ceilings["noop"].value == 0.5 and results["u"].ceilings["output_only"].exact
    assert results["u"].cell().noise_floor == 0.0


def test_set_to_a_value_takes_it_from_an_input_that_has_it() -> None:
    spec = relu_spec("test t on halves { base ~ equality(n=64, seed=3) do(left = true) report iia }")
    assert cd.run(spec)["t"].cell().scores["iia"].value == 1.0


def test_ablation_noise_and_arithmetic_write_what_they_say() -> None:
    spec = relu_spec("""
        test zero on halves { base ~ equality(exhaustive=true) do(layer[1].out[0:4] = 0) report moved }
        test nothing on halves { base ~ equality(n=64) do(layer[1].out[0:4] += 0 * noise(std=3)) report moved }
        test list on halves { base ~ equality(exhaustive=true) do(layer[1].out[0:4] = [1, 0, 1, 0]) report moved }
    """)
    results = cd.run(spec)
    # all zero: every unit of layer 2 is 0, the logits tie, and nothing is said, which is not an answer that the base run gave
    inputs = list(itertools.product(range(4), repeat=4))
    same = np.mean([(a == b) == (c == d) for a, b, c, d in inputs])
    assert results["zero"].cell().scores["moved"].value == 1.0
    codes = {f.code for f in results["zero"].cell().findings}
    # each pair lights one unit of its own two, so the place takes four vectors, and zero is none of them
    with torch.no_grad():
        model = build()
        taken = model.layers[1](model.layers[0](torch.stack([one_hot(values) for values in inputs])))[:, :4]
    assert len(taken.unique(dim=0)) == 4 and taken.norm(dim=1).min() > 1
    assert (
        {"ties", "outside"} <= codes <= {"ties", "outside", "replacement_matters"}
    )  # by the pairs that ride beside it
    assert results["nothing"].cell().scores["moved"].value == 0.0
    assert results["list"].cell().scores["moved"].value == pytest.approx(1 - same)


def _gpt(test: str) -> cd.Spec:
    from causal_dsl.program.zoo_entries import catalogue

    entry = catalogue()["equality-gpt2"]
    folder = Path(cd.__file__).parent / "zoo" / "equality-gpt2"
    import json

    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    config = json.loads((folder / "config.json").read_text())
    shapes = [word for word in vocabulary if word.isalpha() and word not in ("true", "false")]
    assert entry.kind == "language"
    align = f"at(l in 0:{config['n_layer']}, p in [b, last])"
    return cd.parse(gpt2("left @ layer[l].resid_post[p]", shapes=shapes, align=align, tests=test))


@pytest.mark.slow
def test_a_sweep_of_the_shipped_transformer_equals_hooks_written_by_hand() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = _gpt(
        "test t on at { base, source ~ equality(n=24, seed=5) do(left <- source) report mean(logit(label)) report entropy report iia }"
    )
    result = cd.run(spec)["t"]
    folder = Path(cd.__file__).parent / "zoo" / "equality-gpt2"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    checked = cd.check(spec)
    assert checked.plan is not None
    test = checked.plan.tests[0]
    drawn = checked.plan.draw_of(test)
    names = {
        role: list(zip(*[test.model.decode(v, drawn.values[role][v]) for v in "abcd"], strict=True))
        for role in ("base", "source")
    }
    for cell in result.cells:
        layer, position = cell.cell["l"], {"b": 1, "last": 4}[cell.cell["p"]]
        hits, logits_of_label, entropies = [], [], []
        for base, source in zip(names["base"], names["source"], strict=True):
            label = "true" if (source[0] == source[1]) == (base[2] == base[3]) else "false"
            texts = [" ".join(words) + " =" for words in (base, source)]
            ids = [tokenizer(text, return_tensors="pt").input_ids for text in texts]
            kept: list[torch.Tensor] = []
            block = model.transformer.h[layer]
            handle = block.register_forward_hook(
                lambda m, a, out, kept=kept, p=position: kept.append(
                    (out if isinstance(out, torch.Tensor) else out[0])[0, p].clone()
                )
            )
            with torch.no_grad():
                model(ids[1])
            handle.remove()

            def put(m, a, out, kept=kept, p=position):  # type: ignore[no-untyped-def]
                (out if isinstance(out, torch.Tensor) else out[0])[0, p] = kept[0]
                return out

            handle = block.register_forward_hook(put)
            with torch.no_grad():
                logits = model(ids[0]).logits[0, -1]
            handle.remove()
            wanted = tokenizer.convert_tokens_to_ids(label)
            hits.append(int(logits.argmax()) == wanted)
            logits_of_label.append(float(logits[wanted]))
            log_probs = logits.double().log_softmax(0)
            entropies.append(-float((log_probs.exp() * log_probs).sum()))
        assert cell.scores["iia"].value == pytest.approx(np.mean(hits))
        assert cell.scores["mean(logit(label))"].value == pytest.approx(np.mean(logits_of_label), abs=1e-4)
        assert cell.scores["entropy"].value == pytest.approx(np.mean(entropies), abs=1e-5)


def test_left_and_right_padding_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    test = "test t on at { base, source ~ equality(n=32, seed=1) do(left <- source) report mean(logit(label)) }"
    plain = _gpt(test)
    left = cd.parse(plain.source().replace('zoo("equality-gpt2")', 'zoo("equality-gpt2", padding=left)'))
    a, b = (cd.run(spec)["t"] for spec in (plain, left))
    for one, other in zip(a.cells, b.cells, strict=True):
        assert one.scores["mean(logit(label))"].value == pytest.approx(
            other.scores["mean(logit(label))"].value, abs=1e-4
        )


def test_a_prompt_runs_once_however_many_tests_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = "".join(
        f"test t{i} on at {{ base, source ~ equality(n=40, seed=2) do(left <- source) report iia }}\n" for i in range(3)
    )
    spec = _gpt(tests)
    rows: list[int] = []
    plain = sweep_module.sweep

    def counted(network, inputs, *args, **more):  # type: ignore[no-untyped-def]
        rows.append(len(inputs))
        return plain(network, inputs, *args, **more)

    monkeypatch.setattr(sweep_module, "sweep", counted)
    checked = cd.check(spec)
    assert checked.plan is not None
    inputs = next(iter(checked.plan.inputs.values()))
    cd.run(spec)
    assert sum(rows) == len({inputs.ids(i) for i in range(len(inputs))})


@pytest.mark.slow
def test_a_small_budget_changes_no_number() -> None:
    test = "test t on at { base, source ~ equality(n=40, seed=2) do(left <- source, layer[0].resid_pre[a] = mean) report iia report mean(kl) }"
    spec = _gpt(test)
    whole = cd.run(spec)["t"]
    small = cd.run(spec, cd.Options(memory=200_000))["t"]
    for one, other in zip(whole.cells, small.cells, strict=True):
        for name in one.scores:
            assert one.scores[name].value == pytest.approx(other.scores[name].value, abs=1e-5), name


def test_an_identity_patch_changes_nothing() -> None:
    spec = _gpt(
        "test t on at { base ~ equality(n=16) do(layer[l].resid_post[p] += 0) expect max(mean(kl)) <= 0.000001 nats report moved }"
    )
    result = cd.run(spec)["t"]
    assert all(cell.scores["moved"].value == 0 for cell in result.cells)
    assert result.passed


def test_solved_keeps_the_rows_that_the_network_gets_right() -> None:
    spec = _gpt(
        "test t on at(0, last) { base, source ~ equality(n=64) where solved(base) do(left <- source) report iia }"
    )
    result = cd.run(spec)["t"]
    accuracy = result.cell().scores["accuracy_unfiltered"]
    assert result.kept == round(accuracy.value * 64)
    assert result.cell().scores["accuracy"].value == 1.0
