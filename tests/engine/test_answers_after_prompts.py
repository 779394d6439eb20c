"""The space before an answer follows from the prompt that is run: not from another line of the alignment, nor from a parent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from causal_dsl.tools.cli import main

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPEC = """domain L = {"A", "B", "C", "D"}
causal m {
  x, y ~ L where x != y
  q ~ 1..2
  w := if q == 1 then "one" else "two"
  output ans : L := if q == 1 then x else y
}
network net = hf("lm")
align line : m -> net {
  prompt chat(user="{x} and {y} {w}?")
  q @ layer[0].resid_post[w]
  ans @ next_token
}
align begun : line { prompt chat(user="{x} and {y} {w}?", assistant="the user is") }
align back : begun { prompt chat(user="{x} and {y} {w}?") }
align both : begun {
  prompt chat(user="{x} and {y} {w}?")
  prompt chat(user="{x} and {y} {w}?", assistant="the user is")
}
align plain : line {
  prompt "{x} and {y} {w} is\\n"
  prompt "{x} and {y} {w} is"
  ans @ next_token(among=L)
}
align learned : plain { q @ layer[0].resid_post[w] via rotation(dim=2, n=12, epochs=1) }
align said : plain { ans @ next_token(prefix="") }
"""
TEST = """test of_ALIGN on ALIGN {
  base, source ~ m(n=12, seed=3)
  do(q <- source)
  report iia, kl, logit(base.ans), logit(label)
}
"""
ALIGNMENTS = ("line", "begun", "back", "both", "plain", "said")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the user is one and two, A B C D assistant"] * 5, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
    made.chat_template = CHAT
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(made), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, bos_token_id=None, eos_token_id=0, initializer_range=0.4,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
    made.save_pretrained(tmp_path / "lm")
    return tmp_path


def rows_of(folder: Path, text: str) -> list[dict[str, Any]]:
    (folder / "spec.causal").write_text(text, encoding="utf-8")
    main(["run", "spec.causal", "--out", "out"])
    return [row for row in pq.read_table(next((folder / "out").rglob("pairs.parquet"))).to_pylist()]


def by_hand(tokens: Any, model: Any, row: dict[str, Any], among: bool, before: str | None) -> dict[str, float]:
    """The numbers of a pair by torch's own hooks: the stream behind layer 0 at the last token of `w` is taken from the source."""

    def run(text: str, put: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        coded = tokens(text, add_special_tokens=False, return_offsets_mapping=True)
        end = max(text.rfind("one"), text.rfind("two")) + 3
        place = next(i for i, (_, stop) in enumerate(coded["offset_mapping"]) if stop == end)
        seen = []

        def hook(_: Any, __: Any, out: Any) -> Any:
            stream = out[0] if isinstance(out, tuple) else out
            seen.append(stream[0, place].clone())
            if put is not None:
                stream = stream.clone()
                stream[0, place] = put
            return (stream, *out[1:]) if isinstance(out, tuple) else stream

        handle = model.model.layers[0].register_forward_hook(hook)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([coded["input_ids"]])).logits[0, -1]
        handle.remove()
        return logits, seen[0]

    space = before if before is not None else "" if row["base"].endswith("\n") else " "
    ids = {letter: tokens(space + letter, add_special_tokens=False)["input_ids"][0] for letter in "ABCD"}
    patched, base = run(row["base"], run(row["source"])[1])[0], run(row["base"])[0]
    some = list(ids.values()) if among else range(len(base))
    said = max(some, key=lambda i: float(patched[i]))
    return {
        "iia": float(said == ids[row["label"]]),
        "logit(base.ans)": float(patched[ids[row["base_answer"]]]),
        "logit(label)": float(patched[ids[row["label"]]]),
    }


@pytest.mark.slow
def test_the_space_follows_from_each_prompt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(folder, SPEC + "".join(TEST.replace("ALIGN", name) for name in (*ALIGNMENTS, "learned")))
    learned = capsys.readouterr().out.partition("test of_learned")[2]
    assert (
        "wrong_answers" in learned and "_start|>" not in learned
    )  # of its own prompts, though its controls run on another network
    tokens = PreTrainedTokenizerFast.from_pretrained(folder / "lm")
    model = LlamaForCausalLM.from_pretrained(folder / "lm").eval()
    ends: dict[str, set[str]] = {}
    for row in (row for row in rows if ":" not in row["test"]):  # no controls
        name = row["test"].removeprefix("of_")
        ends.setdefault(name, set()).add(row["base"][-3:])
        if name == "learned":  # what it writes is not known here; what answers it can give is
            assert row["iia"] in (0.0, 1.0)
            continue
        wanted = by_hand(tokens, model, row, name == "plain", "" if name == "said" else None)
        for column, value in wanted.items():
            assert row[column] == pytest.approx(value, abs=1e-4), (name, row["base"], column)
    assert {name: len(found) for name, found in ends.items()} == {
        **dict.fromkeys(("line", "begun", "back"), 1),
        **dict.fromkeys(("both", "plain", "said", "learned"), 2),
    }
