"""Sequence classifiers of transformers: the class that is read under interchanges, against hooks on the classifier itself."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

import causal_dsl as cd
from tests.engine.tiny import marked_words, word_pieces, words
from tests.thinning import spread

LABELS = {0: "neg", 1: "mid", 2: "pos"}
_WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
_THIN = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 40}
#: the tokenizer, sizes, where the layers are, and whether the first token is read
KINDS: dict[str, tuple[Any, dict[str, Any], str, bool]] = {
    "Bert": (word_pieces, _WIDE, "bert.encoder.layer", True),
    "DistilBert": (word_pieces, _THIN, "distilbert.transformer.layer", True),
    "Roberta": (marked_words, {**_WIDE, "pad_token_id": 1}, "roberta.encoder.layer", True),
    "Llama": (words, {**_WIDE, "pad_token_id": 0}, "model.layers", False),
    "GPT2": (
        words,
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 40, "pad_token_id": 0},
        "transformer.h",
        False,
    ),
    "GPTNeoX": (words, {**_WIDE, "pad_token_id": 0}, "gpt_neox.layers", False),
    "Gemma2": (words, {**_WIDE, "pad_token_id": 0, "head_dim": 8}, "model.layers", False),
    "Qwen3": (words, {**_WIDE, "num_key_value_heads": 2, "pad_token_id": 0, "head_dim": 8}, "model.layers", False),
    "Mixtral": (
        words,
        {**_WIDE, "num_key_value_heads": 2, "pad_token_id": 0, "num_local_experts": 3},
        "model.layers",
        False,
    ),
    "StableLm": (
        words,
        {**_WIDE, "num_key_value_heads": 2, "pad_token_id": 0},
        "model.layers",
        False,
    ),  # no record describes it
}
SPEC = """
domain W = {"w10", "w11", "w12"}
causal m {
  x, y ~ W
  same := x == y
  output c := if same then YES else NO
}
network net = hf("FOLDER")
align at(l in 0:2) : m -> net {
  prompt "w1 {x} w2 {y} w3"
  prompt "{x} {y}"
  same @ layer[l].resid_post[PLACE]
  c    @ logits
}
test t on at {
  base, source ~ m(n=30, seed=1) where base.template == source.template
  do(same <- source)
  report iia, moved, kl, logit(c), prob(label)
}
"""


@cache
def made(kind: str) -> tuple[str, Any, Tokenizer]:
    tokenizer, sizes, _, _ = KINDS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=61, max_position_embeddings=64, num_labels=3, id2label=LABELS, **sizes
    )
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    folder = Path(mkdtemp(prefix="classifier-"))
    model.save_pretrained(folder)
    own = tokenizer()
    own.save(str(folder / "tokenizer.json"))
    return str(folder), model, own


def text_of(kind: str, place: str = "last", yes: str = '"pos"', no: str = '"neg"') -> str:
    told = {"FOLDER": made(kind)[0], "PLACE": place, "YES": yes, "NO": no}
    text = SPEC
    for word, value in told.items():
        text = text.replace(word, value)
    return text


CASES = [f"{kind} {side}" for kind in KINDS for side in ("right", "left") if side == "right" or not KINDS[kind][3]]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("case", spread(CASES, 3, slow_step=2))
@torch.no_grad()
def test_the_class_under_an_interchange_is_that_of_a_hook(case: str) -> None:
    kind, padding = case.split()
    first = KINDS[kind][3]
    text = text_of(kind, "first" if first else "last").replace('")\nalign', f'", padding={padding})\nalign')
    assert f"padding={padding}" in text
    result = cd.run(cd.parse(text)).tests[0]
    plan = cd.check(cd.parse(text)).plan
    assert plan is not None
    drawn, model = plan.draw_of(plan.tests[0]), plan.tests[0].model
    _, network, tokenizer = made(kind)

    def run(ids: list[int], layer: int, keep: dict[str, torch.Tensor], write: torch.Tensor | None) -> torch.Tensor:
        at = 0 if first else len(ids) - 1

        def hook(_: Any, __: Any, out: Any) -> Any:
            hidden = (out[0] if isinstance(out, tuple) else out).clone()
            keep["vector"] = hidden[0, at].clone()
            if write is not None:
                hidden[0, at] = write
            return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

        handle = network.get_submodule(f"{KINDS[kind][2]}.{layer}").register_forward_hook(hook)
        logits = network(input_ids=torch.tensor([ids])).logits[0].double()
        handle.remove()
        return logits

    for layer in range(2):
        numbers: dict[str, list[float]] = {}
        for row in range(drawn.n):
            ids, same = {}, {}
            for role in ("base", "source"):
                x, y = (model.decode(v, [drawn.values[role][v][row]])[0] for v in "xy")
                line = int(drawn.values[role]["template"][row])
                ids[role] = tokenizer.encode((f"w1 {x} w2 {y} w3", f"{x} {y}")[line]).ids
                same[role] = x == y
            keep: dict[str, torch.Tensor] = {}
            run(ids["source"], layer, keep, None)
            vector = keep["vector"]
            before, after = run(ids["base"], layer, {}, None), run(ids["base"], layer, {}, vector)
            own, label = (2 if same[role] else 0 for role in ("base", "source"))
            p, q = (torch.log_softmax(run_[[2, 0]], 0) for run_ in (before, after))
            said = [max((2, 0), key=lambda k, run_=run_: float(run_[k])) for run_ in (before, after)]
            found = {
                "iia": said[1] == label,
                "moved": said[0] != said[1],
                "kl": float((p.exp() * (p - q)).sum()),
                "logit(c)": float(after[own]),
                "prob(label)": float(q.exp()[[2, 0].index(label)]),
            }
            for measure, value in found.items():
                numbers.setdefault(measure, []).append(float(value))
        for measure, values in numbers.items():
            assert result.cells[layer].scores[measure].value == pytest.approx(np.mean(values), abs=2e-5), measure
    assert any(cell.scores["kl"].value > 1e-6 for cell in result.cells)  # type: ignore[operator]


def test_classes_are_named_or_in_order() -> None:
    named = cd.check(cd.parse(text_of("Bert"))).answers["t"]
    assert named.ids == {"neg": (0,), "pos": (2,)}
    numbered = text_of("Bert", yes="2", no="0").replace("output c :=", "output c : 0..2 :=")
    assert cd.check(cd.parse(numbered)).answers["t"].ids == {0: (0,), 1: (1,), 2: (2,)}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"pos"', '"good"', "E678"),
        ("c    @ logits", "c @ next_token", "E676"),
        ("c    @ logits", "c @ logits[0]", "E676"),
        ('  prompt "w1 {x} w2 {y} w3"\n  prompt "{x} {y}"\n', "", "E531"),
    ],
)
def test_a_class_that_is_not_there_is_refused(old: str, new: str, code: str) -> None:
    text = text_of("Bert").replace(old, new).replace("where base.template == source.template", "")
    assert code in {fault.code for fault in cd.check(cd.parse(text)).errors}


@pytest.mark.usefixtures("own_networks")
def test_a_head_that_reads_another_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the classifier itself says decides: here it reads its second token."""
    kind = transformers.BertForSequenceClassification
    own = kind.forward

    def other(self: Any, input_ids: torch.Tensor, **more: Any) -> Any:
        return own(self, input_ids=input_ids.flip(1), **more)

    monkeypatch.setattr(kind, "forward", other)
    with pytest.raises(cd.SpecError) as raised:
        cd.run(cd.parse(text_of("Bert")))
    assert {fault.code for fault in raised.value.diagnostics} == {"E648"}


def test_classes_that_a_config_names_twice_are_refused(tmp_path: Path) -> None:
    folder = Path(made("Bert")[0])
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "id2label": {"0": "neg", "1": "neg"}}))
    text = text_of("Bert").replace(str(folder), str(tmp_path))
    assert {fault.code for fault in cd.check(cd.parse(text)).errors} == {"E632"}


@pytest.mark.slow
def test_one_logit_is_a_number_and_no_class(tmp_path: Path) -> None:
    """A head of one logit, as of reward models: read as a real output it has the mean squared error of hooks."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=61, pad_token_id=0, num_labels=1, id2label={0: "good"}, **_WIDE)
    model = transformers.LlamaForSequenceClassification(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path)
    words().save(str(tmp_path / "tokenizer.json"))
    text = text_of("Llama", yes='"good"', no='"good"').replace(made("Llama")[0], str(tmp_path))
    (told,) = cd.check(cd.parse(text)).errors
    assert told.code == "E676" and "number" in told.title
    number = text.replace(
        'output c := if same then "good" else "good"', "output c : real(-9, 9) := if same then 1.0 else -1.0"
    )
    number = number.replace("report iia, moved, kl, logit(c), prob(label)", "report mse")
    assert "c    @ logits\n" in number
    number = number.replace("c    @ logits\n", "c    @ logits[0]\n")  # the same as without brackets
    plan, (result,) = cd.check(cd.parse(number)).plan, cd.run(cd.parse(number)).tests
    assert plan is not None
    drawn, causal = plan.draw_of(plan.tests[0]), plan.tests[0].model
    for layer, cell in enumerate(result.cells):
        errors = []
        for row in range(drawn.n):
            ids, same = {}, {}
            for role in ("base", "source"):
                x, y = (causal.decode(v, [drawn.values[role][v][row]])[0] for v in "xy")
                line = (f"w1 {x} w2 {y} w3", f"{x} {y}")[int(drawn.values[role]["template"][row])]
                ids[role], same[role] = torch.tensor([words().encode(line).ids]), x == y
            with torch.no_grad():
                vector = model.model(ids["source"], output_hidden_states=True).hidden_states[layer + 1][0, -1]
                vector = vector if layer == 0 else _last(model, ids["source"])
                handle = model.model.layers[layer].register_forward_hook(lambda m, a, out, v=vector: _put(out, v))
                said = float(model(input_ids=ids["base"]).logits[0, 0])
                handle.remove()
            errors.append((said - (1 if same["source"] else -1)) ** 2)
        assert cell.scores["mse"].value == pytest.approx(np.mean(errors), rel=1e-4)


def _put(out: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    out = out.clone()
    out[0, -1] = vector
    return out


def _last(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """What leaves the last layer, before the norm."""
    seen: list[torch.Tensor] = []
    handle = model.model.layers[-1].register_forward_hook(lambda m, a, out: seen.append(out[0, -1].clone()))
    model(input_ids=ids)
    handle.remove()
    return seen[0]
