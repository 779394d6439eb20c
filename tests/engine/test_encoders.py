"""Specs about encoders, from text to scores: what fills the mask, held against transformers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import causal_dsl as cd
from causal_dsl import api
from causal_dsl.diagnostics import SpecError
from causal_dsl.fitting.precomputed import fill
from causal_dsl.fitting.step_rows import Part, Stepper
from causal_dsl.planning.memory import Budget
from tests.engine.tiny import folder_of, network_of, spec_of
from tests.thinning import spread

torch.set_num_threads(1)
TESTS = """
test solved on a(l=0, p=x) { base ~ m(n=40, seed=3) report accuracy }
test patched on a {
  base, source ~ m(n=12, seed=5)
  do(same <- source)
  report iia
  report mean(logit(o))
}
"""


def tokenizer_of(folder: str, mask: str) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(f"{folder}/tokenizer.json"), mask_token=mask)


class ByHand:
    """A model of transformers, asked what stands at the mask."""

    def __init__(self, family: str):
        from tests.network.families import CONFIGS, model_of

        self.model: Any = model_of(family)
        self.mask = "<mask>" if CONFIGS[family].late else "[MASK]"
        self.tokenizer = tokenizer_of(folder_of(family), self.mask)
        self.words = [self.tokenizer(f"w0 w{i}")["input_ids"][-2] for i in range(10, 15)]
        self.layers = next(
            m for n, m in self.model.named_modules() if n.endswith((".encoder.layer", "transformer.layer"))
        )

    def ids(self, text: str) -> tuple[list[int], int]:
        ids = self.tokenizer(text.replace("[MASK]", self.mask))["input_ids"]
        assert ids.count(self.tokenizer.mask_token_id) == 1
        return ids, ids.index(self.tokenizer.mask_token_id)

    @torch.no_grad()
    def logits(self, text: str, layer: int = 0, at: int = 0, vector: torch.Tensor | None = None) -> torch.Tensor:
        """The logits at the mask; with ``vector``, when a layer leaves it at a token."""
        ids, place = self.ids(text)

        def put(_: Any, args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden.clone()
            hidden[0, at] = vector
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = self.layers[layer].register_forward_hook(put) if vector is not None else None
        try:
            return self.model(input_ids=torch.tensor([ids])).logits[0, place]
        finally:
            if handle is not None:
                handle.remove()

    @torch.no_grad()
    def vector(self, text: str, layer: int, at: int) -> torch.Tensor:
        ids, _ = self.ids(text)
        found = self.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        return found.hidden_states[layer + 1][0, at]

    def answer(self, logits: torch.Tensor) -> str:
        return f"w{10 + int(logits[self.words].argmax())}"


def drawn(text: str, name: str) -> Any:
    """The plan of a spec, and the draw of one of its tests."""
    plan = cd.check(cd.parse(text)).plan
    assert plan is not None
    test = next(t for t in plan.tests if t.name == name)
    return plan, plan.draw_of(test), test


def prompts(plan: Any, role: str, name: str) -> list[str]:
    nodes = [f for f in plan.rows if f.role == role and f.draw == plan.scores[name][0].label.draw]
    inputs = next(iter(plan.inputs.values()))
    return [inputs.prompts[index].text for index in plan.rows[nodes[0]].tolist()]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("family", "padding"),
    spread(
        [("bert", "right"), ("bert", "left"), ("electra narrow", "right"), ("roberta", "left"), ("distilbert", "left")],
        3,
    ),
)
def test_a_spec_from_text_to_scores(family: str, padding: str) -> None:
    text = spec_of(family, TESTS, layers="[0, 1]", positions='[x, z, "[MASK]", last]', padding=padding)
    results = cd.run(cd.parse(text))
    hand = ByHand(family)
    plan, draw, test = drawn(text, "solved")
    labels = test.model.decode("o", draw.values["base"]["o"])
    said = [hand.answer(hand.logits(prompt)) for prompt in prompts(plan, "base", "solved")]
    expected = np.mean([a == b for a, b in zip(said, labels, strict=True)])
    (cell,) = results["solved"].cells
    assert cell.scores["accuracy"].value == pytest.approx(expected)
    assert 0 < expected < 1
    plan, draw, test = drawn(text, "patched")
    bases, sources = (prompts(plan, role, "patched") for role in ("base", "source"))
    seen = set()
    for cell in results["patched"].cells:
        at, right, wanted = dict(cell.cell), [], []
        for row, (base, source) in enumerate(zip(bases, sources, strict=True)):
            values = {name: test.model.decode(name, draw.values["base"][name])[row] for name in ("x", "y", "z")}
            theirs = {name: test.model.decode(name, draw.values["source"][name])[row] for name in ("x", "y")}
            own = test.model.decode("o", draw.values["base"]["o"])[row]
            label = values["x"] if theirs["x"] == theirs["y"] else values["z"]
            places = [place_of(hand, prompt, at["p"]) for prompt in (base, source)]
            logits = hand.logits(base, at["l"], places[0], hand.vector(source, at["l"], places[1]))
            right.append(hand.answer(logits) == label)
            wanted.append(float(logits[hand.words[int(own[1:]) - 10]]))
        assert cell.scores["iia"].value == pytest.approx(np.mean(right))
        assert cell.scores["mean(logit(o))"].value == pytest.approx(np.mean(wanted), abs=1e-4)
        seen.add(round(np.mean(wanted), 5))
    assert len(seen) == len(results["patched"].cells)  # every cell is another intervention


def place_of(hand: ByHand, prompt: str, position: str) -> int:
    """The token of a position, found from the words of the prompt."""
    ids, mask = hand.ids(prompt)
    words = prompt.split()
    if position in ("last", '"[MASK]"'):
        return len(ids) - 1 if position == "last" else mask
    offset = 0 if words[0] != "w4" else 1
    place = {"x": offset, "z": len(words) - (2 if words[-1] == "w3" else 1)}[position]
    assert words[place] in {f"w{i}" for i in range(10, 15)}
    return place + 1  # behind the token that begins every text


def test_without_a_domain_the_whole_vocabulary_is_asked() -> None:
    text = spec_of(
        "bert", "test solved on a(l=0, p=x) { base ~ m(n=60, seed=3) report accuracy report mean(log_prob(o)) }"
    )
    text = text.replace("mask(among=W)", "mask")
    hand = ByHand("bert")
    plan, draw, test = drawn(text, "solved")
    labels = test.model.decode("o", draw.values["base"]["o"])
    logits = [hand.logits(prompt) for prompt in prompts(plan, "base", "solved")]
    ids = [hand.words[int(label[1:]) - 10] for label in labels]
    (cell,) = cd.run(cd.parse(text))["solved"].cells
    assert cell.scores["accuracy"].value == pytest.approx(
        np.mean([int(row.argmax()) == i for row, i in zip(logits, ids, strict=True)])
    )
    told = np.mean([float(torch.log_softmax(row.double(), 0)[i]) for row, i in zip(logits, ids, strict=True)])
    assert cell.scores["mean(log_prob(o))"].value == pytest.approx(told, abs=1e-4)


@pytest.mark.slow
def test_a_network_of_a_python_file(tmp_path: Path) -> None:
    """Nothing is known of it before it is loaded: then `mask` is what it is read at, and `next_token` is refused."""
    folder = folder_of("bert")
    (tmp_path / "net.py").write_text(
        "from transformers import AutoModelForMaskedLM\n\n\ndef make():\n"
        f"    return AutoModelForMaskedLM.from_pretrained({folder!r}), {folder + '/tokenizer.json'!r}\n"
    )
    text = spec_of("bert", TESTS, layers="[0]", positions="[x]")
    declared = text.replace(f'hf("{folder}", padding=right)', f'torch("{tmp_path / "net.py"}:make", padding=right)')
    assert declared != text
    ran = api.run(cd.parse(declared), api.Options(trust=True))
    known = cd.run(cd.parse(text))
    assert ran["patched"].cells[0].scores["iia"].value == known["patched"].cells[0].scores["iia"].value
    with pytest.raises(SpecError) as caught:
        api.run(cd.parse(declared.replace("mask(among=W)", "next_token(among=W)")), api.Options(trust=True))
    assert [d.code for d in caught.value.diagnostics if d.is_error] == ["E740"]


def test_what_leaves_the_last_layer_beside_the_mask_reaches_nothing() -> None:
    text = spec_of(
        "bert",
        "test t on a { base, source ~ m(n=6) do(same <- source) report mean(kl) }",
        layers="[1, 2]",
        positions='[x, "[MASK]"]',
    )
    found = {(c.cell["l"], c.cell["p"]): c for c in cd.run(cd.parse(text))["t"].cells}
    dead = [key for key, cell in found.items() if any(f.code == "unreachable" for f in cell.findings)]
    assert dead == [(2, "x")]


@pytest.mark.parametrize("padding", ["right", "left"])
def test_what_a_fit_compares_is_read_at_the_mask(padding: str) -> None:
    """Rows of a fit, here without a feature: of prompts of two lengths, the logits where their masks are."""
    text = spec_of(
        "bert",
        "test patched on a { base, source ~ m(n=8, seed=5) do(same <- source) report iia }",
        layers="[1]",
        positions="[x]",
        padding=padding,
    )
    plan, _, _ = drawn(text, "patched")
    network = network_of(text[: text.index("align ")])
    read = plan.scores["patched"][0].read("patched")
    assert read is not None
    cache = fill(plan, network, [read.run], [], Budget(10**9))
    assert "attend in both directions" in cache.why
    (logits,) = Stepper(cache).logits([Part(read.run, np.arange(8), {}, None)])
    hand = ByHand("bert")
    pairs = zip(prompts(plan, "base", "patched"), prompts(plan, "source", "patched"), strict=True)
    for mine, (base, source) in zip(logits, pairs, strict=True):
        here, there = place_of(hand, base, "x"), place_of(hand, source, "x")
        assert torch.allclose(mine, hand.logits(base, 1, here, hand.vector(source, 1, there)), atol=1e-5)


def test_the_read_out_in_python() -> None:
    """`cd.mask` is the word of the read-out, as it is of the feature."""
    text = cd.parse(spec_of("bert", "")).source()
    name = cd.domain("Name", ["w10", "w11"])
    model = cd.Causal("m")
    x = model.draw("x", domain=name)
    o = model.output("o", x)
    made = cd.align("a", model, cd.hf(folder_of("bert"), name="net"))
    made.prompt("{x} w1 [MASK]")
    made.place(o, cd.mask(among=name))
    test = cd.test("t", made)
    test.draw("base", model(n=4))
    test.report(cd.accuracy)
    assert "o @ mask(among=Name)" in cd.spec(test).source()
    assert not cd.check(cd.spec(test)).errors
    assert "@ mask(among=W)" in text
