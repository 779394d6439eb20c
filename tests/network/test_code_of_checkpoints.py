"""Nothing in a config makes transformers fetch or run code, `--trust` or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from causal_dsl.network.load import CheckpointReference, load
from tests.network.families import model_of

RUNS = (
    "from pathlib import Path\nPath(__file__).with_name('ran').write_text('x')\nfrom transformers import LlamaConfig\n"
)
CODE = RUNS + (
    "from transformers import LlamaForCausalLM, PreTrainedTokenizerFast\n"
    "class MyLlamaConfig(LlamaConfig):\n    pass\n"
    "class MyLlamaForCausalLM(LlamaForCausalLM):\n    config_class = MyLlamaConfig\n"
    "class MyPreTrainedTokenizerFast(PreTrainedTokenizerFast):\n    pass\n"
)
MAP = {
    "AutoConfig": "mine.MyLlamaConfig",
    "AutoModelForCausalLM": "mine.MyLlamaForCausalLM",
    "AutoTokenizer": [None, "mine.MyPreTrainedTokenizerFast"],
}
SPEC = """
domain Name = {"Ann", "Bob"}
causal saw { who ~ Name  output whom : Name := if who == "Ann" then "Bob" else "Ann" }
network net = hf("net")
align at : saw -> net { prompt "{who} saw" whom @ next_token(among=Name) }
test t on at { base, source ~ saw(exhaustive=true, controls=none) do(layer[0].resid_post[who] <- source) report kl }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    net = tmp_path / "net"
    model_of("llama").save_pretrained(net)
    words = {word: i for i, word in enumerate(["<unk>", "Ann", "Bob", "saw"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(net / "tokenizer.json"))
    (net / "mine.py").write_text(CODE)
    (net / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "MyPreTrainedTokenizerFast", "auto_map": {"AutoTokenizer": MAP["AutoTokenizer"]}}
        )
    )
    return net


def change(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("settings", [{"auto_map": MAP}, {}])
def test_a_run_that_is_trusted_runs_none_of_it(folder: Path, settings: dict[str, Any]) -> None:
    change(folder, **settings)
    path = folder.parent / "spec.causal"
    path.write_text(SPEC)
    results = cd.run(cd.load(path), cd.Options(trust=True))
    assert results["t"].cell().scores["kl"].value is not None
    assert not (folder / "ran").exists()
    assert not list(folder.rglob("__pycache__"))


@pytest.mark.parametrize(
    "settings",
    [
        {"auto_map": MAP, "model_type": "someones_own"},
        {"attn_implementation": "someone/kernel"},
        {"_attn_implementation": "someone/kernel"},
        {"text_config": {"deep": [{"experts_implementation": "someone/kernel"}]}},
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_what_cannot_be_run_without_is_refused(folder: Path, settings: dict[str, Any], trust: bool) -> None:
    change(folder, **settings)
    with pytest.raises(SpecError) as caught:
        load(None, CheckpointReference("hf", str(folder)), device="cpu", trust=trust)
    assert [d.code for d in caught.value.diagnostics] == ["E636"]
    assert not (folder / "ran").exists()


def test_code_that_the_spec_names_may(folder: Path) -> None:
    change(folder, auto_map=MAP)
    (folder.parent / "own.py").write_text(
        "import transformers as t\nfrom pathlib import Path\nHERE = str(Path(__file__).parent / 'net')\n"
        "def make():\n    return t.AutoModelForCausalLM.from_pretrained(HERE, trust_remote_code=True), HERE + '/tokenizer.json'\n"
    )
    made = load(None, CheckpointReference("torch", "own.py:make", folder.parent), device="cpu", trust=True)
    assert type(made.model).__name__ == "MyLlamaForCausalLM"
