"""Training to the end: what it reaches, that it is the same every time, that what was trained is found again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import causal_dsl as cd
from causal_dsl.diagnostics import NOWHERE, SpecError
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.store.stepwise import Checkpoint
from causal_dsl.store.tensors import take_tensors
from causal_dsl.training.objective import Objective
from causal_dsl.training.retraining import train_logic
from causal_dsl.training.training_loop import Loop
from causal_dsl.training.weights import draw_weights, named_tensors
from tests.training.taught import FACTORY, MODEL, build, network, spec, training

TRUST = cd.Options(trust=True)
ERRORS = Path(__file__).parent / "errors"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache in a folder of its own, the spec in the working directory."""
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.mark.slow
def test_training_puts_the_variables_where_they_are_to_be(tmp_path: Path) -> None:
    """On the task alone the places hold nothing; trained towards the model they hold all, and the rest is inert."""
    scores = {}
    for name, settings in {
        "plain": "interchange=0, steps=250, batch=64, rate=0.02",
        "taught": "strict=1, steps=500, batch=64, rate=0.02, seed=1",
    }.items():
        made = spec(settings, tmp_path)
        assert not cd.check(made).errors
        results, trained = cd.run(made, TRUST), cd.train(made, TRUST)["net"]
        assert trained.found and trained.accuracy == 1 and results["solves"].passed
        held = [results[f"holds_{which}"].cell().scores["iia"].value for which in ("first", "second")]
        scores[name] = (max(held), min(held), moved_by_the_rest(trained.module))
    assert scores["plain"][0] <= 0.8 and scores["plain"][2] > 0.1
    assert scores["taught"][1] >= 0.99 and scores["taught"][2] == 0
    assert trained.iia == 1 and trained.inert == 1


@torch.no_grad()
def moved_by_the_rest(model: torch.nn.Module) -> float:
    """The share of all pairs of inputs whose answer another input's unplaced half of the layer turns over."""
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    base, source = torch.arange(8).repeat_interleave(8), torch.arange(8).repeat(8)
    hidden = model[1](model[0](x))
    mixed = hidden[base].clone()
    mixed[:, [2, 3, 6, 7]] = hidden[source][:, [2, 3, 6, 7]]
    return (model[2:](mixed).argmax(1) != model[2:](hidden[base]).argmax(1)).double().mean().item()


@pytest.mark.slow
def test_two_trainings_are_one_and_what_is_damaged_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = spec("steps=30, batch=16", tmp_path)
    first = cd.train(made, TRUST)["net"]
    whole = first.path.read_bytes()
    assert not first.found and first.path.name == f"{first.digest}.safetensors"
    assert [step for step, _ in first.losses["task"]] == list(range(30)) and set(first.losses) == {
        "task",
        "interchange",
    }
    found = cd.train(made, TRUST)["net"]
    assert found.found and found.losses == first.losses and (found.accuracy, found.iia) == (first.accuracy, first.iia)
    assert all(torch.equal(a, b) for a, b in zip(found.module.parameters(), first.module.parameters(), strict=True))
    for damaged in (whole[: len(whole) // 2], whole[:-4] + bytes(4), b"", whole.replace(b"sha256", b"sha255")):
        first.path.write_bytes(damaged)
        capsys.readouterr()
        again = cd.train(made, TRUST)["net"]
        assert not again.found and again.path.read_bytes() == whole
        assert "warning[W659]: a file of trained weights cannot be used" in capsys.readouterr().err
    left = [p.name for p in first.path.parent.iterdir() if not p.name.endswith(".lock") and ".damaged" not in p.name]
    assert left == [first.path.name]


@pytest.mark.slow
def test_what_decides_about_the_weights_decides_about_the_file(tmp_path: Path) -> None:
    def digest(settings: str = "", change: tuple[str, str] = ("", ""), factory: str = FACTORY) -> str:
        made = spec("steps=1, batch=4" + settings, tmp_path, factory)
        made = cd.parse(made.source_text.text.replace(*change)) if change[0] else made
        return cd.train(made, TRUST)["net"].digest

    own = digest()
    assert digest(change=("causal parity", "# A doc.\ncausal parity")) == own, "comments decide about nothing"
    assert digest(", rate=0.001, decay=linear") == own, "nor do settings that are as they were"
    others = [
        digest(", seed=1"),
        digest(", rate=0.002"),
        digest(", n=8"),
        digest(", balance=[first]"),
        digest(", strict=1"),
        digest(change=("out[0:2]", "out[0:4]")),
        digest(change=("first != second", "first == second")),
        digest(change=("second := c", "second := not c")),
        digest(factory=FACTORY.replace("nn.Tanh", "nn.ReLU")),
        digest(factory=FACTORY.replace("12", "13")),
    ]
    assert len({own, *others}) == 1 + len(others)


@pytest.mark.slow
def test_resuming_is_bit_for_bit(tmp_path: Path) -> None:
    """Stopped after any step and taken up by another loop, training goes on as if nothing had happened."""
    asked = training("steps=40, batch=16, strict=1, decay=cosine")

    def steps(begin: Loop, until: int) -> Loop:
        begin.model.requires_grad_(True)
        while begin.progress.step < until:
            begin.step()
        return begin

    straight = steps(Loop(Objective(network(dtype=torch.float32), asked)), 40)
    for stop in (1, 17):
        before = steps(Loop(Objective(network(dtype=torch.float32), asked)), stop)
        part = Checkpoint(tmp_path / "part", "training step", "a test", "its key")
        part.keep(before)
        after = Loop(Objective(network(seed=9, dtype=torch.float32), asked))
        part.take(after)
        assert after.progress.step == stop
        steps(after, 40)
        assert all(
            torch.equal(a, b)
            for a, b in zip(*(named_tensors(x.model).values() for x in (after, straight)), strict=True)
        )
        assert after.progress == straight.progress


@pytest.mark.slow
def test_a_killed_training_goes_on(tmp_path: Path, cache: Path) -> None:
    made = spec("steps=30, batch=16, seed=5", tmp_path)
    script = """
import os, signal
import causal_dsl as cd
from causal_dsl.store import stepwise, stopping_points

def reached(kind, kept=[]):
    kept += [kind] * (kind == "training step")
    if len(kept) == 7:
        os.kill(os.getpid(), signal.SIGKILL)

stepwise.EVERY = 0.0  # a checkpoint after every step
stopping_points.reached = reached
cd.train(cd.load("taught.causal"), cd.Options(trust=True))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CAUSAL_DSL_CACHE": str(cache)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -signal.SIGKILL
    (part,) = (cache / "trained").glob("*.part")
    assert not list((cache / "trained").glob("*.safetensors"))
    read = take_tensors(part, "a test", part.stem)
    assert read is not None and read[1]["step"] == 7
    begun: list[int] = []
    run = Loop.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run", lambda self, *more: begun.append(self.progress.step) or run(self, *more))
        resumed = cd.train(made, TRUST)["net"]
        os.environ["CAUSAL_DSL_CACHE"] = str(cache / "another")
        straight = cd.train(made, TRUST)["net"]
    assert begun == [read[1]["step"], 0] and not part.exists()
    assert resumed.digest == straight.digest and resumed.path.read_bytes() == straight.path.read_bytes()


@pytest.mark.slow
def test_an_interrupted_training_keeps_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec("steps=20, batch=16", tmp_path)
    step = Loop.step

    def stopped(self: Loop) -> None:
        if self.progress.step == 7:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Loop, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        cd.train(made, TRUST)
    (part,) = (tmp_path / "cache" / "trained").glob("*.part")
    read = take_tensors(part, "a test", part.stem)
    assert read is not None and read[1]["step"] == 7
    part.write_bytes(part.read_bytes()[:-8])  # a torn checkpoint is none
    monkeypatch.setattr(Loop, "step", step)
    assert not cd.train(made, TRUST)["net"].found and not part.exists()


def test_weights_are_drawn_by_the_seed_alone() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    nets = [torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)) for _ in "ab"]
    gpts = [GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=8, n_head=2, n_layer=1, n_positions=4)) for _ in "ab"]
    state = torch.random.get_rng_state()
    for one, other in (nets, gpts):
        for model, seed in ((one, 3), (other, 3)):
            draw_weights(model, seed, NOWHERE)
        tensors = [named_tensors(model) for model in (one, other)]
        assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
        draw_weights(other, 4, NOWHERE)
        assert any(not torch.equal(tensors[0][name], new) for name, new in named_tensors(other).items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert gpts[0].lm_head.weight is gpts[0].transformer.wte.weight


def test_kept_weights_start_from_where_they_are(tmp_path: Path) -> None:
    made = spec(
        "steps=1, batch=4, rate=1e-9, init=keep", tmp_path, FACTORY + "\n\nimport torch\ntorch.manual_seed(0)\n"
    )
    module = cd.train(made, TRUST)["net"].module
    torch.manual_seed(0)
    expected = build()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(module.parameters(), expected.parameters(), strict=True))


@pytest.mark.slow
def test_a_language_network_is_taught(tmp_path: Path) -> None:
    """A transformer with random weights, prompts of two lengths: a variable in 16 of 64 numbers at the first word."""
    made = cd.parse("""
domain Shape = {"arrow", "circle", "cross"}
causal choice {
  a, b ~ Shape
  held := a == "circle"
  output same := not held
}
network blank = zoo("equality-gpt2")
align tau : choice -> blank {
  prompt "{a} {b} ="
  prompt "{a} {b} = ="
  held @ layer[0].resid_post[a, 0:16]
  same @ next_token
}
network net = train(tau, balance=[held], steps=100, batch=32, strict=1, rate=0.003)
align again : tau -> net {
}
test holds on again {
  base, source ~ choice(n=64, seed=1, balance=[base.held, source.held])
  do(held <- source)
  expect iia >= 99%
}
""")
    results = cd.run(made)
    assert results.passed, results.diagnostics
    told = results.to_json()["specs"][0]["networks"]["net"]
    assert told["kind"] == "train" and told["training"]["steps"] == 100
    trained = cd.train(made)["net"]
    assert trained.found and (trained.accuracy, trained.iia, trained.inert) == (1, 1, 1)


@pytest.mark.slow
def test_in_the_other_commands_and_dtypes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from causal_dsl.tools.cli import main

    spec("steps=400, batch=64, rate=0.02", tmp_path)
    assert main(["check", "taught.causal"]) == 0 and not (tmp_path / "cache").exists()
    assert main(["run", "taught.causal"]) == 2 and "E646" in capsys.readouterr().err
    assert main(["plan", "--load", "--trust", "taught.causal"]) == 0
    (path,) = (tmp_path / "cache" / "trained").glob("*.safetensors")
    assert main(["run", "--trust", "--dtype", "bfloat16", "taught.causal"]) == 0
    assert list((tmp_path / "cache" / "trained").glob("*.safetensors")) == [path], "trained once, in its own dtype"


# ── faults ──────────────────────────────────────────────────────────────────────────────────────

FAULTS = {
    "diverging": ("steps=200, batch=16, rate=1000", FACTORY),
    "not_a_number": (
        "steps=5, batch=16",
        FACTORY.replace("nn.Linear(8, 2)", "Odd()")
        + "\n\nclass Odd(nn.Module):\n    def forward(self, x):\n        return x[:, :2] * float('nan')\n",
    ),
    "not_drawn_anew": (
        "steps=5",
        FACTORY.replace("nn.Linear(8, 2)", "Own()")
        + "\n\nimport torch\n\n\nclass Own(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.w = nn.Parameter(torch.ones(2))\n\n    def forward(self, x):\n        return x[:, :2] * self.w\n",
    ),
    "no_parameters": (
        "steps=5",
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.in_features = 3\n        self.layers = nn.ModuleList([nn.Identity(), nn.ZeroPad1d((0, 5))])\n\n    def forward(self, x):\n        return self.layers[1](self.layers[0](x))[:, :2]\n\n\ndef build():\n    return Net()\n",
    ),
}


def golden(name: str, error: SpecError) -> None:
    path = ERRORS / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(f"{error}\n", encoding="utf-8")
    assert f"{error}\n" == path.read_text(encoding="utf-8")


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_a_training(name: str, tmp_path: Path) -> None:
    settings, factory = FAULTS[name]
    with pytest.raises(SpecError) as caught:
        cd.train(spec(settings, tmp_path, factory), TRUST)
    golden(name, caught.value)
    assert not list((tmp_path / "cache" / "trained").glob("*.[ps]a*"))


def test_half_precision_and_long_answers_are_refused(tmp_path: Path) -> None:
    text = MODEL.replace("SETTINGS", "steps=5").replace('"net.py:build"', '"net.py:build", dtype=float16')
    (tmp_path / "net.py").write_text(FACTORY, encoding="utf-8")
    (tmp_path / "taught.causal").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        cd.train(cd.load("taught.causal"), TRUST)
    golden("half_precision", caught.value)
    (tmp_path / "long.causal").write_text("""causal m {
  a ~ {"circle", "moon"}
  output same := if a == "moon" then "true true" else "false"
}

network blank = zoo("equality-gpt2")

align tau : m -> blank {
  prompt "{a} ="
  same @ next_token
}

network net = train(tau, interchange=0)
""")
    with pytest.raises(SpecError) as caught:
        cd.train(cd.load("long.causal"))
    golden("several_tokens", caught.value)


def test_spans_of_other_lengths_are_refused(tmp_path: Path) -> None:
    made = cd.parse("""causal m {
  a ~ {"circle", "moon moon"}
  held := a == "circle"
  output same := held
}
network blank = zoo("equality-gpt2")
align tau : m -> blank {
  prompt "{a} ="
  held @ layer[0].resid_post[a.all]
  same @ next_token
}
network net = train(tau)
""")
    with pytest.raises(SpecError) as caught:
        cd.train(made)
    assert [d.code for d in caught.value.diagnostics] == ["E539"]


def test_shapes_that_are_known_when_the_networks_are(tmp_path: Path) -> None:
    """What `check` cannot know of a Python factory is judged at the run: the layer that is there, and the width."""
    for change in (
        ("out[0:2]", "out[0:9]"),
        ("layer[1].out[0:2]", "layer[4].out[0:2]"),
        ("out[4:6]", "out[3:8], layer[1].out[1]"),
    ):
        made = spec("steps=1, strict=1", tmp_path)
        faulty = cd.parse(made.source_text.text.replace(*change))
        with pytest.raises(SpecError) as caught:
            cd.run(faulty, TRUST)
        assert caught.value.diagnostics[0].code in ("E426", "E461"), change


# ── the zoo ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_the_networks_for_logic_are_made_again(tmp_path: Path) -> None:
    for name, steps in (("logic-or-of-ands", 3), ("logic-and-of-or", 3)):
        made = [train_logic(name, tmp_path / f"{name}{i}", steps) for i in range(2)]
        one, other = ((m.folder / "model.safetensors").read_bytes() for m in made)
        assert one == other
        shipped = open_zoo(name)
        assert isinstance(shipped, torch.nn.Module)
        assert load_file(tmp_path / f"{name}0" / "model.safetensors").keys() == named_tensors(shipped).keys()
    with pytest.raises(SpecError) as caught:
        train_logic("logic-and-of-or", tmp_path, 0)
    assert caught.value.diagnostics[0].code == "E651"
