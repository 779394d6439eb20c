"""Prompts by roles: the text is what transformers writes for the same messages, and positions keep their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import causal_dsl as cd

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Begins with the mark that the tokenizer writes as well, trims what is said, and knows no system.
TURNS = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
WORDS = [
    "red",
    "blue",
    "green",
    "Which",
    "colour",
    "is",
    "it",
    "?",
    "The",
    "answer",
    ":",
    "Be",
    "brief",
    ".",
    "system",
    "user",
    "assistant",
    "model",
]
MARKS = ["<s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "\n"]
MODEL = """domain Colour = {"red", "blue", "green"}

causal copy {
  seen ~ Colour
  output said := seen
}

network net = hf("lm")

align at : copy -> net {
  prompt CHAT
  seen @ layer[0].resid_post[seen]
  said @ next_token
}

test t on at {
  base, source ~ copy(exhaustive=true)
  do(seen <- source)
  report kl
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    words = {word: i for i, word in enumerate([*MARKS, "[UNK]", *dict.fromkeys(WORDS)])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    tokenizer.add_special_tokens(MARKS[:-1])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
    tokenizer.save(str(tmp_path / "lm" / "tokenizer.json"))
    return tmp_path


def with_template(folder: Path, template: str, inside: bool) -> PreTrainedTokenizerFast:
    settings: dict[str, Any] = {"bos_token": "<s>", "eos_token": "<|im_end|>"}
    (folder / "lm" / "chat_template.jinja").unlink(missing_ok=True)
    if inside:
        settings["chat_template"] = template
    else:
        (folder / "lm" / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "lm" / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    made = PreTrainedTokenizerFast(tokenizer_file=str(folder / "lm" / "tokenizer.json"), bos_token="<s>")
    made.chat_template = template
    return made


def checked(chat: str) -> Any:
    return cd.check(cd.parse(MODEL.replace("CHAT", chat)))


@pytest.mark.parametrize("inside", [True, False], ids=["in the settings", "a file of its own"])
@pytest.mark.parametrize("template", [CHATML, TURNS], ids=["chatml", "turns"])
@pytest.mark.parametrize(
    "said",
    [
        [("user", "Which colour is it ? {seen}")],
        [("system", "Be brief ."), ("user", "{seen} : Which colour is it ?")],
        [("user", "{seen} : Which colour ?"), ("assistant", "The answer :")],
        [("user", "Which ?"), ("assistant", "red"), ("user", "{seen} ?"), ("assistant", "The answer : it is")],
    ],
    ids=["user", "system", "begun", "shots"],
)
@pytest.mark.thinned(always=5)
def test_the_text_is_that_of_the_library(
    folder: Path, template: str, said: list[tuple[str, str]], inside: bool
) -> None:
    library = with_template(folder, template, inside)
    chat = "chat(" + ", ".join(f'{role}="{text}"' for role, text in said) + ")"
    found = checked(chat)
    if template is TURNS and said[0][0] == "system":
        assert [d.code for d in found.errors] == ["E577"] and "System role" in found.errors[0].notes[0]
        return
    found.raise_errors()
    (inputs,) = found.plan.inputs.values()
    begun = said[-1][0] == "assistant"
    for colour in ("red", "blue", "green"):
        messages = [{"role": role, "content": text.replace("{seen}", colour)} for role, text in said]
        text = library.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not begun, continue_final_message=begun
        )
        (prompt,) = [p for p in inputs.prompts if p.text[slice(*p.rendered.spans["seen", 1])] == colour]
        assert prompt.text == text.removeprefix("<s>")
        ids = library(text, add_special_tokens=not text.startswith("<s>"))["input_ids"]
        assert list(prompt.encoded.ids) == ids


def test_an_answer_begins_a_line_or_follows_a_space(folder: Path) -> None:
    with_template(folder, CHATML, False)
    for chat, prefix in (('chat(user="{seen} ?")', ""), ('chat(user="{seen} ?", assistant="The answer :")', " ")):
        test = checked(chat).program.tests[0]
        (line,) = test.alignment.prompts
        assert test.readout.before(line.template) == prefix


@pytest.mark.slow
def test_a_swap_runs_and_equals_the_text_written_out(folder: Path) -> None:
    with_template(folder, CHATML, False)
    by_roles = cd.run(cd.parse(MODEL.replace("CHAT", 'chat(system="Be brief .", user="{seen} ?")')))
    whole = (
        '"<|im_start|>system\\nBe brief .<|im_end|>\\n<|im_start|>user\\n{seen} ?<|im_end|>\\n<|im_start|>assistant\\n"'
    )
    by_hand = cd.run(cd.parse(MODEL.replace("CHAT", whole).replace("next_token", 'next_token(prefix="")')))
    value = by_roles["t"].cells[0].scores["kl"].value
    assert value and value == by_hand["t"].cells[0].scores["kl"].value


@pytest.mark.parametrize(
    ("chat", "code"),
    [
        ('chat(users="{seen}")', "E575"),
        ('chat("{seen}")', "E575"),
        ("chat()", "E575"),
        ("chat(user=seen)", "E575"),
        ("chat(user=3)", "E575"),
        ('talk(user="{seen}")', "E575"),
        ('chat(user="{seem}")', "E500"),
        ('chat(user="{seen}", user="{seen}")', "E577"),
    ],
)
def test_faults(folder: Path, chat: str, code: str) -> None:
    with_template(folder, TURNS, False)
    assert [d.code for d in checked(chat).errors] == [code]


def test_a_network_without_a_template_is_told(folder: Path) -> None:
    (fault,) = checked('chat(user="{seen}")').errors
    assert fault.code == "E576"


def test_a_template_that_leaves_something_out_is_told(folder: Path) -> None:
    with_template(folder, "{{ messages[0]['content'] | upper }}", False)
    assert [d.code for d in checked('chat(user="{seen} ?")').errors] == ["E577"]
    with_template(folder, "{{ messages[-1]['content'] }}", False)
    assert [d.code for d in checked('chat(system="{seen}", user="?")').errors] == ["E577"]
    assert [d.code for d in checked('chat(system="Be brief .", user="{seen}")').errors] == [
        "E577"
    ]  # no placeholder in it
    with_template(folder, CHATML + "{{ strftime_now('%Y') }}", False)
    (fault,) = checked('chat(user="{seen} ?")').errors
    assert fault.code == "E577" and "date" in fault.notes[0]


#: As those of networks that read pictures: a turn has parts. What the assistant says is marked for training.
PARTS = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}
{%- for part in message['content'] if part['type'] == 'text' %}
{%- if message['role'] == 'assistant' %}{% generation %}{{ part['text'] }}{% endgeneration %}{% else %}{{ part['text'] }}{% endif %}
{%- endfor %}{{ '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""


def test_turns_in_parts_and_marks_for_training(folder: Path) -> None:
    library = with_template(folder, PARTS, False)
    said = [("user", "Which ?"), ("assistant", "it is red"), ("user", "{seen} ?")]
    found = checked("chat(" + ", ".join(f'{role}="{text}"' for role, text in said) + ")")
    found.raise_errors()
    (inputs,) = found.plan.inputs.values()
    for prompt in inputs.prompts:
        colour = prompt.text[slice(*prompt.rendered.spans["seen", 1])]
        messages = [
            {"role": role, "content": [{"type": "text", "text": text.replace("{seen}", colour)}]} for role, text in said
        ]
        assert prompt.text == library.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
