"""Answers with a stated end: which continuations count, against generating text by hand under hooks and reading it as text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.measures.quantities import NO_ANSWER, UNENDED, Quantity
from causal_dsl.program.stated_ends import End, StatedEnd
from causal_dsl.program.tokens import Tokens
from tests.engine.tiny import execution_of

PIECES = [*"0123456789", *(f" {digit}" for digit in "0123456789"), *".,\n_a", " a", "<end>"]
DIGIT, LETTER = "0123456789", "a"


def tokenizer() -> Tokenizer:
    """One character a token, or two where the first is a space; texts come back as they were."""
    made = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(PIECES)}, unk_token="<end>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[0-9a]|[.,\n_]"), "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens([AddedToken("<end>", special=True)])
    return made


#: What follows ` 12`, and whether the answer 12 ends there.
WORD = [
    ("", False),
    (".", False),  # a digit may follow
    (".\n", True),
    (". ", True),
    (".5", False),
    (",0", False),
    (",a", True),
    ("3", False),
    ("a", False),
    ("_", False),
    ("\n", True),
    (" 3", True),
    ("<end>", True),
    (".<end>", True),
    ("\N{REPLACEMENT CHARACTER}", False),
]


@pytest.mark.parametrize(("after", "ended"), WORD)
def test_a_number_is_whole(after: str, ended: bool) -> None:
    if "<end>" not in after:
        assert End().is_in("12", after) == ended
    pieces = re.findall(r"<end>| ?[0-9a]|[.,\n_]", after)
    if "".join(pieces) == after:
        ids = [PIECES.index(piece) for piece in pieces]
        assert StatedEnd(End(), Tokens(tokenizer())).is_after("12", (11, 2), ids) == ended


@pytest.mark.parametrize(("after", "ended"), [(".", True), (",", False), ("\n", True), ("", False), ("<end>", True)])
def test_texts_that_end(after: str, ended: bool) -> None:
    ids = [PIECES.index(after)] if after else []
    assert StatedEnd(End((".", "\n")), Tokens(tokenizer())).is_after("12", (11, 2), ids) == ended


def test_words_without_a_decoder() -> None:
    """A tokenizer that does not say where spaces were: digits that it splits are one number, words are apart."""
    made = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate([*"0123", "the", "."])}, unk_token="."))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    )
    ending = StatedEnd(End(), Tokens(made))
    assert not ending.is_after("12", (1, 2), (3, 0)) and ending.is_after("12", (1, 2), (4, 4))
    assert StatedEnd(End((".",)), Tokens(made)).is_after("12", (1, 2), (5,))


SPEC = """
causal sums {
  x, y ~ 0..9
  output total : 0..99 := x * y
}
network net = hf("FOLDER")
align at(l in 0:2) : sums -> net {
  prompt "{x},{y}."
  x     @ layer[l].resid_post[x]
  total @ next_token(end=END)
}
test moved on at {
  base, source ~ sums(n=100, seed=0)
  do(x <- source)
  report iia, moved
}
"""


def folder(path: Path, context: int = 32) -> GPT2LMHeadModel:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(PIECES),
        n_layer=2,
        n_embd=16,
        n_head=2,
        n_positions=context,
        initializer_range=0.9,
        bos_token_id=0,
    )
    config.eos_token_id = PIECES.index("<end>")
    model = GPT2LMHeadModel(config).eval()
    model.save_pretrained(path)
    tokenizer().save(str(path / "tokenizer.json"))
    return model


def goes_on(model: GPT2LMHeadModel, ids: list[int], steps: int, layer: int, vector: torch.Tensor | None) -> list[int]:
    """A greedy continuation; ``vector`` is at the first token, behind a layer."""

    def put(module: object, inputs: object, output: object) -> object:
        found = output[0] if isinstance(output, tuple) else output
        assert isinstance(found, torch.Tensor)
        if vector is not None:
            found = found.clone()
            found[0, 0] = vector
        return (found, *output[1:]) if isinstance(output, tuple) else found

    handle = model.transformer.h[layer].register_forward_hook(put)
    made = list(ids)
    with torch.no_grad():
        for _ in range(steps):
            made.append(int(model(torch.tensor([made])).logits[0, -1].argmax()))
    handle.remove()
    return made[len(ids) :]


def read(said: list[int], end: str) -> int:
    """What a continuation says, read as text: the longest number below 100 that ends."""
    text = "".join(PIECES[token] for token in said).split("<end>")[0]
    rest = {"word": r"(?![0-9a_]|[.,][0-9])", '{" 1", " 7"}': r"(?= 1| 7|$)"}[end]
    if "<end>" not in "".join(PIECES[token] for token in said):
        rest = rest.replace("|$", "")
    found, begun = NO_ANSWER, False
    for value in range(100):
        if re.match(rf" {value}", text):
            begun = True
            if re.match(rf" {value}{rest}", text):
                found = value
    return found if found != NO_ANSWER else UNENDED if begun else NO_ANSWER


@pytest.mark.slow
@pytest.mark.parametrize("end", ["word", '{" 1", " 7"}'])
def test_what_follows_an_answer_decides(end: str, tmp_path: Path) -> None:
    model = folder(tmp_path)
    text = SPEC.replace("FOLDER", str(tmp_path)).replace("END", end)
    execution, checked = execution_of(text)
    list(execution.run())
    assert checked.plan is not None and not checked.diagnostics
    drawn = checked.plan.draw_of(checked.plan.tests[0])
    seen = set()
    for layer, cell in enumerate(execution.runs["moved"].cells):
        columns = cell.columns
        mine: dict[str, list[int]] = {"base": [], "patched": []}
        for row in range(drawn.n):
            x, y, other, theirs = (int(drawn.values[r][v][row]) for r in ("base", "source") for v in "xy")
            ids = [x, PIECES.index(","), y, PIECES.index(".")]
            with torch.no_grad():
                source = torch.tensor([[other, ids[1], theirs, ids[3]]])
                vector = model(source, output_hidden_states=True).hidden_states[layer + 1][0, 0]
            if layer == 1:  # behind the last layer transformers keeps the normed vector
                vector = last_of(model, source)
            for run, put in (("base", None), ("patched", vector)):
                mine[run].append(read(goes_on(model, ids, 4, layer, put), end))
        answer = Quantity("answer")
        for run, values in (("base", columns.base), ("patched", columns.patched)):
            assert values[answer].tolist() == mine[run], (layer, run)
            seen |= {("value" if code >= 0 else code) for code in mine[run]}
    assert {"value", NO_ANSWER, UNENDED} <= seen
    results = [api.run(api.parse(text), Options(reference=reference)).tests[0].to_json() for reference in (False, True)]
    one, other = ([cell["scores"] for cell in result["cells"]] for result in results)
    assert one == other


def test_an_answer_that_goes_on_is_told(tmp_path: Path) -> None:
    model = folder(tmp_path)
    x, y = next(
        (x, y)
        for x in range(10)
        for y in range(10)
        if read(goes_on(model, [x, PIECES.index(","), y, PIECES.index(".")], 4, 0, None), "word") == UNENDED
    )
    text = SPEC.replace("FOLDER", str(tmp_path)).replace("END", "word").split("test moved")[0]
    text += f"test one on at(l=0) {{ base ~ sums(n=4) where base.x == {x} and base.y == {y} report accuracy }}"
    result = api.run(api.parse(text)).tests[0].to_json()
    assert "more than an answer (` " in str(result), result


def last_of(model: GPT2LMHeadModel, ids: torch.Tensor) -> torch.Tensor:
    kept: list[torch.Tensor] = []

    def look(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        kept.append(inputs[0][0, 0].clone())

    handle = model.transformer.ln_f.register_forward_pre_hook(look)
    model(ids)
    handle.remove()
    return kept[0].detach()


def test_an_end_silences_the_warning(tmp_path: Path) -> None:
    folder(tmp_path)
    text = SPEC.replace("FOLDER", str(tmp_path))
    with_end = api.check(api.parse(text.replace("END", "word"))).diagnostics
    without = api.check(api.parse(text.replace("(end=END)", ""))).diagnostics
    assert [d.code for d in with_end] == [] and [d.code for d in without] == ["W668"]
    assert np.all([d.help is not None and "end=word" in d.help for d in without])


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("end", "context", "fits"), [("(end=word)", 6, False), ("(end=word)", 7, True), ("", 4, False), ("", 5, True)]
)
def test_the_context_has_room_for_the_answer(end: str, context: int, fits: bool, tmp_path: Path) -> None:
    folder(tmp_path, context)
    text = SPEC.replace("FOLDER", str(tmp_path)).replace("(end=END)", end)
    found = [d.code for d in api.check(api.parse(text)).diagnostics if d.code != "W668"]
    assert found == ([] if fits else ["E508"])
    if fits:
        assert not api.run(api.parse(text)).faults
