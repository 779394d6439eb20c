"""A network is who its key says, never what it is called: every test runs on its own, and none is lost."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pandas
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

import causal_dsl as cd
from causal_dsl import api
from causal_dsl.base.resources import resource
from causal_dsl.network.network import Network
from causal_dsl.program.identity import NetworkKey
from causal_dsl.running import session
from causal_dsl.tools.cli import main

GOOD = resource("zoo", "equality-gpt2")
MODEL = """domain Shape = {"arrow", "circle", "cross", "diamond", "heart", "moon", "ring", "square", "star", "triangle"}

causal same_pairs {
  a, b, c, d ~ Shape
  first         := a == b
  second        := c == d
  output answer := first == second
}
"""
ALIGN = 'align NAME : same_pairs -> NETWORK {\n  prompt "{a} {b} {c} {d} ="\n  answer @ next_token\n}\n'
TEST = "test NAME on ON {\n  base ~ same_pairs(n=60, seed=SEED)\n  report accuracy\n}\n"
Captured = pytest.CaptureFixture[str]


def align(name: str, network: str) -> str:
    return ALIGN.replace("NAME", name).replace("NETWORK", network)


def judged(name: str, on: str, seed: int = 0) -> str:
    return TEST.replace("NAME", name).replace("ON", on).replace("SEED", str(seed))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that import each other, and `broken/`: random weights of the shape of a good network."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(7)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(GOOD)).save_pretrained(tmp_path / "broken")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GOOD / name, tmp_path / "broken" / name)
    take = 'from "model.causal" import same_pairs\n'
    files = {
        "model": MODEL,
        "good": take + 'network net = zoo("equality-gpt2")\n' + align("on_good", "net"),
        "bad": take + 'network net = hf("./broken")\n' + align("on_bad", "net"),
        "both": take
        + 'from "good.causal" import on_good\nfrom "bad.causal" import on_bad\n'
        + judged("good", "on_good")
        + judged("bad", "on_bad"),
        "turned": take
        + 'from "bad.causal" import on_bad\nfrom "good.causal" import on_good\n'
        + judged("bad", "on_bad")
        + judged("good", "on_good"),
        "own": take
        + 'from "bad.causal" import on_bad\nnetwork net = zoo("equality-gpt2")\n'
        + align("mine", "net")
        + judged("bad", "on_bad")
        + judged("good", "mine"),
        "one": take + 'network net = zoo("equality-gpt2")\n' + align("mine", "net") + judged("good", "mine"),
        "other": take + 'network net = hf("broken")\n' + align("mine", "net") + judged("bad", "mine"),
    }
    for name, text in files.items():
        (tmp_path / f"{name}.causal").write_text(text, encoding="utf-8")
    return tmp_path


def ran(capsys: Captured, *words: str) -> list[dict]:
    capsys.readouterr()
    assert main(["run", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)["specs"]


def accuracies(specs: list[dict]) -> dict[str, float]:
    return {t["name"]: t["cells"][0]["scores"]["accuracy"]["value"] for spec in specs for t in spec["tests"]}


def by_hand(folder: Path, pairs: pandas.DataFrame) -> float:
    """The share of prompts after which a model's likeliest token is the answer."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    right = 0
    for prompt, answer in zip(pairs["base"], pairs["base_answer"], strict=True):
        ids = tokenizer.encode(prompt).ids
        whole = tokenizer.encode(f"{prompt} {answer}").ids
        with torch.no_grad():
            right += int(model(torch.tensor([ids])).logits[0, -1].argmax()) == whole[len(ids)]
    return right / len(pairs)


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["both", "turned", "own"])
def test_two_networks_of_one_name_are_two(folder: Path, capsys: Captured, spec: str) -> None:
    specs = ran(capsys, f"{spec}.causal", "--out", "kept")
    pairs = pandas.read_parquet(folder / "kept" / spec / "pairs.parquet")
    for name, where in (("good", GOOD), ("bad", folder / "broken")):
        assert accuracies(specs)[name] == pytest.approx(by_hand(where, pairs[pairs["test"] == name]))
    networks = {test["name"]: test["network"] for test in specs[0]["tests"]}
    mine = "net" if spec == "own" else "net (good.causal)"
    assert networks == {"good": mine, "bad": "net (bad.causal)"}
    assert specs[0]["networks"].keys() == set(networks.values())
    told = specs[0]["networks"][networks["bad"]]["identity"]
    assert told["target"] == str((folder / "broken").resolve())


@pytest.mark.slow
def test_text_names_the_network_where_there_are_several(folder: Path, capsys: Captured) -> None:
    assert main(["run", "both.causal"]) == 0
    told = capsys.readouterr().out
    assert "on net (good.causal)" in told and "on net (bad.causal)" in told
    assert main(["run", "one.causal"]) == 0
    assert " on net" not in capsys.readouterr().out


@pytest.mark.slow
def test_specs_of_one_command_line_have_networks_of_their_own(folder: Path, capsys: Captured) -> None:
    for order in (("one.causal", "other.causal"), ("other.causal", "one.causal")):
        found = accuracies(ran(capsys, *order))
        assert found["good"] == 1 and found["bad"] < 0.9


@pytest.mark.slow
def test_one_network_under_two_names_is_run_for_both(folder: Path, capsys: Captured) -> None:
    """Of equal and of different sizes, read as it is and patched: no test is lost, and it is loaded once."""
    placed = align("NAME", "NETWORK").replace("answer @", "first @ layer[l].resid_post[b]\n  answer @")
    placed = placed.replace("NAME", "NAME(l in 0:3)")
    patched = (
        "test NAME on ON {\n  base, source ~ same_pairs(n=SIZE, seed=SEED)\n  do(first <- source)\n  report iia\n}\n"
    )
    text = 'from "model.causal" import same_pairs\nnetwork x = zoo("equality-gpt2")\nnetwork y = zoo("equality-gpt2")\n'
    for name, network in (("h", "x"), ("k", "y")):
        text += placed.replace("NAME", name).replace("NETWORK", network)
    for sizes in ((48, 48), (48, 200)):
        both = [
            patched.replace("ON", on).replace("SIZE", str(n)).replace("SEED", "3").replace("NAME", f"on_{on}")
            for on, n in zip("hk", sizes, strict=True)
        ]
        (folder / "two.causal").write_text(text + "".join(both), encoding="utf-8")
        (spec,) = ran(capsys, "two.causal")
        assert [(t["name"], t["network"], t["n"], len(t["cells"]), t["status"]) for t in spec["tests"]] == [
            ("on_h", "x", sizes[0], 3, "finished"),
            ("on_k", "y", sizes[1], 3, "finished"),
        ]
        assert set(spec["networks"]) == {"x", "y"}
        for number, test in enumerate(both):
            (folder / "alone.causal").write_text(text + test, encoding="utf-8")
            (alone,) = ran(capsys, "alone.causal")
            for mine, its in zip(spec["tests"][number]["cells"], alone["tests"][0]["cells"], strict=True):
                assert mine["scores"]["iia"]["value"] == its["scores"]["iia"]["value"]


def key_of(text: str, where: Path) -> NetworkKey:
    checked = api.check(api.parse(text, "s", where))
    checked.raise_errors()
    return checked.program.networks["net"].key


@pytest.mark.slow
def test_a_path_is_one_however_it_is_spelled(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    os.symlink(folder / "broken", folder / "link")
    (folder / "in").mkdir()
    spellings = ["broken", "./broken", "in/../broken", "link", str(folder / "broken")]
    keys = [key_of(f'network net = hf("{spelling}")', folder) for spelling in spellings]
    keys.append(key_of('network net = hf("../broken")', folder / "in"))
    assert len(set(keys)) == 1 and keys[0].target == str((folder / "broken").resolve())
    assert len({hash(key) for key in keys}) == 1
    assert 'hf("' in str(keys[0]) and "padding=right" in str(keys[0])
    loads = []
    plain = session.load
    monkeypatch.setattr(session, "load", lambda *given: loads.append(given) or plain(*given))
    (folder / "in" / "far.causal").write_text(
        'from "../model.causal" import same_pairs\nnetwork net = hf("../link")\n' + align("far", "net"),
        encoding="utf-8",
    )
    (folder / "near.causal").write_text(
        'from "model.causal" import same_pairs\nfrom "in/far.causal" import far\nnetwork net = hf("broken")\n'
        + align("near", "net")
        + judged("here", "near")
        + judged("there", "far"),
        encoding="utf-8",
    )
    found = accuracies(ran(capsys, "near.causal", "other.causal"))
    assert len(loads) == 1 and found["here"] == found["there"] == found["bad"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('hf("broken")', 'hf("broken", padding=left)'),
        ('hf("broken")', 'hf("broken", dtype=bfloat16)'),
        ('hf("broken")', 'hf("broken", device=cpu)'),
        ('hf("broken")', 'zoo("equality-gpt2")'),
        ('hf("nobody/nothing")', 'hf("nobody/nothing", revision="v2")'),
        ('torch("a.py:make")', 'torch("a.py:made")'),
        ('torch("a.py:make")', 'torch("b.py:make")'),
        ('torch("a.py:make", weights="x.safetensors")', 'torch("a.py:make", weights="y.safetensors")'),
        ('torch("a.py:make", tokenizer="x")', 'torch("a.py:make", tokenizer="y")'),
    ],
)
def test_what_decides_numbers_tells_networks_apart(folder: Path, one: str, other: str) -> None:
    for name in ("a.py", "b.py"):
        (folder / name).write_text("")  # `check` looks for the file, and runs nothing
    mine, its = (key_of(f"network net = {value}", folder) for value in (one, other))
    assert mine != its and str(mine) != str(its) and mine == key_of(f"network net = {one}", folder)


def test_the_main_revision_is_what_is_taken_without_one(folder: Path) -> None:
    assert key_of('network net = hf("a/b")', folder) == key_of('network net = hf("a/b", revision="main")', folder)
    with pytest.raises(cd.SpecError) as refused:
        key_of('network net = hf("broken", revision="v2")', folder)
    assert [d.code for d in refused.value.diagnostics] == ["E770"]


TRAINED = """causal both {
  p, q ~ bool
  output out := p and q
}
network blank = zoo("equality-mlp")
align al : both -> blank {
  p @ input[0:1] via scalar()
  q @ input[1:2] via scalar()
  out @ logits(false, true)
}
network net = train(al, steps=2, seed=SEED, interchange=0, task=TASK)
"""


def test_trainings_of_one_name_are_told_apart_by_all_that_decides_them(folder: Path) -> None:
    (folder / "net.py").write_text("")
    text = TRAINED.replace("SEED", "0").replace("TASK", "1")
    text = text.replace('zoo("equality-mlp")', 'torch("net.py:make")').replace("p and q", "p and q")
    first = key_of(text, folder)
    changes = [
        ("seed=0", "seed=1"),
        ("steps=2", "steps=3"),
        ("task=1", "task=2"),
        ("p and q", "p or q"),
        ("net.py:make", "net.py:made"),
        ('"net.py:make"', '"net.py:make", dtype=float64'),
        ("[1:2]", "[2:3]"),
    ]
    others = []
    for old, new in changes:
        assert old in text
        others.append(key_of(text.replace(old, new), folder))
    assert len({first, *others}) == len(changes) + 1
    assert key_of(text, folder) == first
    assert key_of(text.replace("network blank", "network white").replace("-> blank", "-> white"), folder) != first
    other = folder / "elsewhere"
    other.mkdir()
    (other / "net.py").write_text("")
    assert key_of(text, other) != first  # other files lie there


@pytest.mark.slow
def test_two_trainings_of_one_name_in_two_files_are_two(folder: Path, capsys: Captured) -> None:
    (folder / "net.py").write_text(
        "import torch\n\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(2, 2))\n", encoding="utf-8"
    )
    text = TRAINED.replace('zoo("equality-mlp")', 'torch("net.py:make")').replace("TASK", "1")
    text += "align on_SEED : al -> net { }\n"
    for seed in "01":
        (folder / f"t{seed}.causal").write_text(text.replace("SEED", seed), encoding="utf-8")
    judge = "".join(
        f"test t{s} on on_{s} {{\n  base ~ both(exhaustive=true)\n  report mean(logit(out))\n}}\n" for s in "01"
    )
    (folder / "trained.causal").write_text(
        'from "t0.causal" import on_0\nfrom "t1.causal" import on_1\n' + judge, encoding="utf-8"
    )
    (spec,) = ran(capsys, "trained.causal", "--trust")
    values = [t["cells"][0]["scores"]["mean(logit(out))"]["value"] for t in spec["tests"]]
    assert values[0] != values[1]
    for seed, value in zip("01", values, strict=True):
        alone = f'from "t{seed}.causal" import on_{seed}\n' + judge.split("test ")[int(seed) + 1].join(["test ", ""])
        (folder / "alone.causal").write_text(alone, encoding="utf-8")
        (found,) = ran(capsys, "alone.causal", "--trust")
        assert found["tests"][0]["cells"][0]["scores"]["mean(logit(out))"]["value"] == value


@pytest.mark.slow
def test_models_of_one_name_in_two_files_are_two(folder: Path, capsys: Captured) -> None:
    """They are drawn from in the same words, and read the same prompts: one is right and the other wrong throughout."""
    (folder / "wrong.causal").write_text(
        MODEL.replace("first == second", "first != second")
        + 'network net = zoo("equality-gpt2")\n'
        + align("on_wrong", "net"),
        encoding="utf-8",
    )
    for order in (("good", "wrong"), ("wrong", "good")):
        tests = {"good": judged("good", "on_good"), "wrong": judged("wrong", "on_wrong")}
        (folder / "models.causal").write_text(
            'from "good.causal" import on_good\nfrom "wrong.causal" import on_wrong\n'
            + "".join(tests[name] for name in order),
            encoding="utf-8",
        )
        assert accuracies(ran(capsys, "models.causal")) == {"good": 1.0, "wrong": 0.0}


def test_a_fit_is_of_the_alignment_that_it_names(folder: Path) -> None:
    """Another file's alignment of that name is another one, and so is what is derived from it."""
    placed = align("al", "net").replace(
        "answer @", "first @ layer[0].resid_post[b] via rotation(dim=1, n=40)\n  answer @"
    )
    take = 'from "model.causal" import same_pairs\nnetwork net = zoo("equality-gpt2")\n'
    (folder / "a.causal").write_text(take + placed, encoding="utf-8")
    (folder / "b.causal").write_text(take + placed + "align derived : al { }\n", encoding="utf-8")
    fit = "fit f on al {\n  base, source ~ same_pairs(n=24, seed=5)\n  do(first <- source)\n}\n"
    test = "test t on WHICH {\n  base, source ~ same_pairs(n=30, seed=1)\n  do(first <- source)\n  report iia\n}\n"
    for which, size in (("al", 24), ("derived", 40)):
        text = 'from "a.causal" import al\nfrom "b.causal" import derived\nfrom "model.causal" import same_pairs\n'
        (folder / "fits.causal").write_text(text + fit + test.replace("WHICH", which), encoding="utf-8")
        checked = api.check(api.load("fits.causal"))
        checked.raise_errors()
        assert checked.fits is not None
        drawn = {checked.fits.plan.drawn[e.fit.base.draw].n for unit in checked.fits.units for e in unit.experiments}
        assert drawn == {size}
        for unit in checked.fits.units:
            for ref in unit.maps:
                assert ref.network == unit.network
        assert {unit.network.untrained for unit in checked.fits.units} == {False, True}


# ── other checkpoints in their place ────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_another_checkpoint_takes_the_place_of_the_network_that_is_named(folder: Path, capsys: Captured) -> None:
    assert accuracies(ran(capsys, "one.causal", "--network", "net=broken"))["good"] < 0.9
    # the spec's own `net`, and not the one of the file that it imports
    found = ran(capsys, "own.causal", "--network", f"net={folder / 'broken'}")
    assert accuracies(found)["good"] == accuracies(found)["bad"] < 0.9
    found = ran(capsys, "own.causal", "--network", f"net={GOOD}")
    assert accuracies(found)["good"] == 1 and accuracies(found)["bad"] < 0.9
    # one that an imported file alone knows, by its only name
    (folder / "far.causal").write_text(
        'from "model.causal" import same_pairs\nfrom "bad.causal" import on_bad\n' + judged("bad", "on_bad"),
        encoding="utf-8",
    )
    assert accuracies(ran(capsys, "far.causal", "--network", f"net={GOOD}"))["bad"] == 1


def test_a_name_that_several_imported_networks_have_is_refused(folder: Path, capsys: Captured) -> None:
    assert main(["run", "both.causal", "--network", "net=broken"]) == 2
    told = capsys.readouterr().err + capsys.readouterr().out
    assert "[E750]" in told and "good.causal" in told and "bad.causal" in told
    assert main(["run", "both.causal", "--network", "nett=broken"]) == 2
    told = capsys.readouterr()
    assert "[E702]" in told.err + told.out


# ── a loaded network ────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_loaded_network_is_not_changed_by_who_uses_it(folder: Path) -> None:
    text = 'network net = hf("broken")\nnetwork left = hf("broken", padding=left)\nnetwork half = hf("broken", dtype=bfloat16)\n'
    checked = api.check(api.parse(text, "s", folder))
    refs, known = checked.program.networks, session.Session()
    net, left, half = (known.network(refs[name]) for name in ("net", "left", "half"))
    assert (net.name, net.padding, left.name, left.padding) == ("net", "right", "left", "left")
    assert net.model is left.model and half.model is not net.model and half.dtype == torch.bfloat16
    assert len(known) == 2
    for name, value in (("name", "x"), ("padding", "left"), ("key", left.key), ("facts", None), ("model", None)):
        with pytest.raises(AttributeError):
            setattr(net, name, value)
    assert isinstance(net, Network) and net.key == refs["net"].key


CACHED = "import torch\n\ntorch.manual_seed(0)\nMADE = torch.nn.Sequential(torch.nn.Linear(2, 2))\n\n\ndef make():\n    return MADE\n"
READ = (
    "align on_NAME : both -> NAME {\n  p @ input[0:1] via scalar()\n  q @ input[1:2] via scalar()\n  out @ logits\n}\n"
)
ASK = "test of_NAME on on_NAME {\n  base ~ both(exhaustive=true)\n  report mean(logit(out))\n}\n"


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("kind", ["weights", "dtype", "training", "the same"])
def test_a_function_that_gives_one_module_twice_changes_no_numbers(folder: Path, capsys: Captured, kind: str) -> None:
    """Other weights, another dtype or a training of one network never reach the other: the second is refused."""
    from safetensors.torch import save_file

    for name, value in (("x", 1.0), ("y", 2.0)):
        save_file({"0.weight": torch.full((2, 2), value), "0.bias": torch.zeros(2)}, f"{name}.safetensors")
    (folder / "kept_module.py").write_text(CACHED, encoding="utf-8")
    (folder / "net.py").write_text("from kept_module import make\n", encoding="utf-8")
    sys.modules.pop("kept_module", None)
    more = {
        "weights": [', weights="x.safetensors"', ', weights="y.safetensors"'],
        "dtype": ["", ", dtype=float64"],
        "training": ["", ""],
        "the same": ["", ", padding=left"],
    }[kind]
    text = "causal both {\n  p, q ~ bool\n  output out := p and q\n}\n"
    for name, setting in zip(("one", "two"), more, strict=True):
        text += f'network {name} = torch("net.py:make"{setting})\n' + READ.replace("NAME", name)
        text += ASK.replace("NAME", name)
    if kind == "training":
        text += "network taught = train(on_one, steps=2, interchange=0)\n" + READ.replace("NAME", "taught")
        text += ASK.replace("NAME", "taught")
    (folder / "shared.causal").write_text(text, encoding="utf-8")
    try:
        rc = main(["run", "shared.causal", "--trust", "--json"])
    finally:
        sys.modules.pop("kept_module", None)
    (spec,) = json.loads(capsys.readouterr().out)["specs"]
    if kind == "the same":
        assert rc == 0 and len(spec["tests"]) == 2
    else:
        assert rc == 2 and [d["code"] for d in spec["diagnostics"]] == ["E753"]
