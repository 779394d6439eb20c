"""Language models that a user's Python function makes: with a tokenizer at hand they simply work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from causal_dsl.base.resources import resource
from causal_dsl.tools.cli import main
from tests.thinning import spread

SOURCE = resource("zoo", "equality-gpt2")
SPEC = """domain Shape = {"arrow", "circle", "cross", "diamond", "heart"}

causal same_pairs {
  a, b, c, d ~ Shape
  first         := a == b
  second        := c == d
  output answer := first == second
}
network net = NETWORK
align al : same_pairs -> net {
  prompt "{a} {b} {c} {d} ="
  first  @ layer[0].resid_post[b]
  answer @ next_token
}
test patched on al {
  base, source ~ same_pairs(n=64, seed=0)
  do(first <- source)
  report logit(answer)
}
"""
LOAD = (
    "from transformers import AutoModelForCausalLM as Auto\n\n\ndef make():\n    model = Auto.from_pretrained(PATH)\n"
)
BARE = LOAD + "    model.name_or_path = model.config._name_or_path = ''\n"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SOURCE, tmp_path / "model")
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(SOURCE / name, tmp_path / "bare" / name)
    return tmp_path


def ran(folder: Path, capsys: Captured, network: str, code: str = "") -> tuple[int, dict | None, str]:
    """Exit code, scores and all that was printed, of a spec on a network."""
    (folder / "net.py").write_text(code.replace("PATH", "'model'"), encoding="utf-8")
    (folder / "spec.causal").write_text(SPEC.replace("NETWORK", network), encoding="utf-8")
    rc = main(["run", "spec.causal", "--trust", "--json"])
    told = capsys.readouterr()
    spec = json.loads(told.out)["specs"][0]
    if not spec["tests"]:
        return rc, None, told.out
    return rc, {name: score["value"] for name, score in spec["tests"][0]["cells"][0]["scores"].items()}, told.out


FACTORIES = {
    "a model that knows its folder": ("", LOAD + "    return model\n"),
    "with the path of a file": ("", BARE + "    return model, 'model/tokenizer.json'\n"),
    "with the path of a folder": ("", BARE + "    return model, 'model'\n"),
    "as a list": ("", BARE + "    return [model, 'model']\n"),
    "with a Path": ("", BARE + "    from pathlib import Path\n    return model, Path(__file__).parent / 'model'\n"),
    "with a tokenizer of transformers": (
        "",
        BARE + "    from transformers import AutoTokenizer\n    return model, AutoTokenizer.from_pretrained('model')\n",
    ),
    "with a tokenizer of tokenizers": (
        "",
        BARE + "    from tokenizers import Tokenizer\n    return model, Tokenizer.from_file('model/tokenizer.json')\n",
    ),
    "the setting names a folder": (', tokenizer="model"', BARE + "    return model\n"),
    "the setting names a file": (', tokenizer="model/tokenizer.json"', BARE + "    return model\n"),
    "beside its weights": (', weights="model/model.safetensors"', BARE + "    return model\n"),
}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("how", spread(FACTORIES, 3))
def test_a_made_model_is_the_one_of_its_folder(folder: Path, capsys: Captured, how: str) -> None:
    more, code = FACTORIES[how]
    if "weights" in more:  # what transformers writes leaves tied weights out
        from safetensors.torch import load_file, save_file

        held = load_file("model/model.safetensors")
        import transformers

        whole = transformers.AutoModelForCausalLM.from_pretrained("model").state_dict()
        save_file({name: tensor.clone() for name, tensor in whole.items()}, "model/model.safetensors")
        assert held.keys() <= whole.keys()
    known = ran(folder, capsys, 'hf("model")')[1]
    rc, found, told = ran(folder, capsys, f'torch("net.py:make"{more})', code)
    assert rc == 0, told
    assert found == pytest.approx(known, abs=1e-6)


REFUSED = {
    "no tokenizer anywhere": ('torch("net.py:make")', BARE + "    return model\n", "E510"),
    "a folder without one": ('torch("net.py:make", tokenizer="bare")', BARE + "    return model\n", "E643"),
    "a file that is not there": ('torch("net.py:make", tokenizer="x.json")', BARE + "    return model\n", "E643"),
    "returned, and not there": ('torch("net.py:make")', BARE + "    return model, 'nowhere'\n", "E643"),
    "no tokenizer at all": ('torch("net.py:make")', BARE + "    return model, 7\n", "E643"),
    "a checkpoint without one": ('hf("bare")', "", "E643"),
    "a model without its head": (
        'torch("net.py:make")',
        "from transformers import AutoModel\n\n\ndef make():\n    return AutoModel.from_pretrained(PATH), 'model'\n",
        "E648",
    ),
    "without its head or a tokenizer": (
        'torch("net.py:make")',
        "from transformers import AutoModel\n\n\ndef make():\n    return AutoModel.from_pretrained(PATH)\n",
        "E648",
    ),
    "a classifier of texts": (
        'torch("net.py:make")',
        "from transformers import AutoModelForSequenceClassification as Auto\n\n\ndef make():\n"
        "    return Auto.from_pretrained(PATH)\n",
        "E648",
    ),
    "an encoder with a decoder": (
        'torch("net.py:make")',
        "from transformers import T5Config, T5ForConditionalGeneration\n\n\ndef make():\n"
        "    small = T5Config(vocab_size=20, d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2)\n"
        "    return T5ForConditionalGeneration(small), 'model'\n",
        "E648",
    ),
    "a vector network with one": (
        'torch("net.py:make")',
        "from torch import nn\n\n\ndef make():\n    return nn.Linear(4, 2), 'model'\n",
        "E752",
    ),
    "a vector network with the setting": (
        'torch("net.py:make", tokenizer="model")',
        "from torch import nn\n\n\ndef make():\n    return nn.Linear(4, 2)\n",
        "E752",
    ),
}


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_read_says_what_is_missing(folder: Path, capsys: Captured, how: str) -> None:
    network, code, expected = REFUSED[how]
    rc, found, told = ran(folder, capsys, network, code)
    assert rc == 2 and found is None
    diagnostics = json.loads(told)["specs"][0]["diagnostics"]
    assert [d["code"] for d in diagnostics] == [expected]
    (fault,) = diagnostics
    assert fault["line"] == 9 and fault["help"]


# ── tokens beyond the embedding ─────────────────────────────────────────────────────────────────


@pytest.fixture
def words(folder: Path) -> Path:
    """A tokenizer with two words more than the network has embeddings for: `beyond` and `after`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("model/tokenizer.json")
    assert tokenizer.add_tokens(["beyond", "after"]) == 2
    tokenizer.save("model/tokenizer.json")
    return folder


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("kind", ['hf("model")', 'torch("net.py:make")'])
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"heart"}', '"heart", "beyond"}', 11),  # in a prompt
        ("next_token", 'next_token(prefix=" beyond ")', 13),  # in an answer
        ("logit(answer)", 'logit("after")', 13),  # asked for by a metric
        ('{d} ="', '{d} = after"', 11),  # in the text of a prompt
    ],
)
def test_tokens_without_an_embedding_are_refused_where_they_stand(
    words: Path, capsys: Captured, kind: str, old: str, new: str, line: int
) -> None:
    (words / "net.py").write_text((LOAD + "    return model\n").replace("PATH", "'model'"), encoding="utf-8")
    assert old in SPEC
    (words / "spec.causal").write_text(SPEC.replace("NETWORK", kind).replace(old, new), encoding="utf-8")
    for command in ["check", "run"] if kind.startswith("hf") else ["run"]:
        assert main([command, "spec.causal", "--trust", "--json"]) == 2
        (fault,) = json.loads(capsys.readouterr().out)["specs"][0]["diagnostics"]
        assert (fault["code"], fault["line"]) == ("E751", line), fault


@pytest.mark.slow
def test_words_without_an_embedding_that_nothing_uses_do_no_harm(words: Path, capsys: Captured) -> None:
    rc, found, _ = ran(words, capsys, 'hf("model")')
    assert rc == 0
    assert found == pytest.approx(ran(words, capsys, 'zoo("equality-gpt2")')[1], abs=1e-6)


@pytest.mark.slow
def test_rows_without_a_token_are_no_answer(folder: Path, capsys: Captured) -> None:
    """An embedding padded to more rows than there are tokens: a padded row that wins is none of the answers."""
    import pandas
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("model")
    before = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(before + 24, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[before:] = 0.0
    model.save_pretrained("model")
    plain = ran(folder, capsys, 'zoo("equality-gpt2")')[1]
    found = ran(folder, capsys, 'hf("model")')[1]
    assert (
        found is not None
        and plain is not None
        and found["logit(answer)"] == pytest.approx(plain["logit(answer)"], abs=1e-5)
    )
    with torch.no_grad():  # now they win everywhere: they point where the last state points
        head = model.get_input_embeddings().weight
        model.transformer.ln_f.bias[0] += 1000.0
        head[:, 0] = 0.0
        head[before:, 0] = 1.0
    model.save_pretrained("model")
    (folder / "spec.causal").write_text(SPEC.replace("NETWORK", 'hf("model")').replace("logit(answer)", "iia"))
    assert main(["run", "spec.causal", "--json", "--out", "kept"]) == 0
    (test,) = json.loads(capsys.readouterr().out)["specs"][0]["tests"]
    assert test["cells"][0]["scores"]["iia"]["value"] == test["cells"][0]["scores"]["accuracy"]["value"] == 0
    assert pandas.read_parquet("kept/spec/pairs.parquet")["network_answer"].isna().all()


def test_bars_of_the_library_do_not_get_into_what_a_run_prints(folder: Path, capsys: Captured) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    (folder / "net.py").write_text(LOAD.replace("PATH", "'model'") + "    return model\n", encoding="utf-8")
    (folder / "spec.causal").write_text(
        SPEC.replace("NETWORK", 'torch("net.py:make", tokenizer="model")'), encoding="utf-8"
    )
    assert main(["run", "spec.causal", "--trust"]) == 0
    assert "Loading weights" not in capsys.readouterr().err
    assert logging.is_progress_bar_enabled() == before
