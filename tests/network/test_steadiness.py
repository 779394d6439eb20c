"""Networks that are not a function of their input alone are refused where they are run, with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from causal_dsl import api
from causal_dsl.diagnostics import NOWHERE, Diagnostic, SpecError
from causal_dsl.engine import runner
from causal_dsl.inputs import PromptInputs, VectorInputs
from causal_dsl.network.load import CheckpointReference, load
from causal_dsl.network.steadiness import apart, enough, refuse_unsteady
from causal_dsl.network.wrapped import wrap
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.vocabulary.network_facts import Facts
from tests.network.families import LAYERS, VOCABULARY
from tests.thinning import spread

torch.set_num_threads(1)

SPEC = """
causal parity {
  a, b ~ 0..3
  same := a == b
  output y := same
}

network net = torch("net.py:make")

align at : parity -> net {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  same @ layer[0].out
  y @ logits
}

test swap on at {
  base, source ~ parity(n=40, seed=0)
  do(same <- source)
  report iia
}
"""
#: What stands before the class, what the class begins with, and what is done to the hidden vectors h [batch, 6].
NET = """
import os
import random
import numpy
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_features = 8
        self.layers = nn.ModuleList([nn.Linear(8, 6), nn.Linear(6, 6)])
        self.head = nn.Linear(6, 2)
        INIT
    def forward(self, x):
        h = self.layers[0](x)
        BODY
        return self.head(self.layers[1](h))

def make():
    torch.manual_seed(3)
    net = Net()
    END
    return net
"""
#: What is in the network, the code it is refused with ("": it runs), and a word of the reason.
CASES = {
    "plain": ("", "h = torch.tanh(h)", "", "", ""),
    "dropout in eval mode": ("self.drop = nn.Dropout(0.5)", "h = self.drop(h)", "", "", ""),
    "dropout left on": ("", "h = F.dropout(h, 0.3)", "", "E663", "random numbers"),
    "noise": ("", "h = h + 0.1 * torch.randn_like(h)", "", "E663", "random numbers"),
    "noise from elsewhere": ("", "h = h + random.random()", "", "E663", "`torch.manual_seed` does not control"),
    "a counter": (
        "self.calls = 0",
        "self.calls += 1; h = h + 0.01 * self.calls",
        "",
        "E663",
        "leaves state",
    ),
    "a running sum": (
        "self.register_buffer('sum', torch.zeros(6))",
        "self.sum += h.mean(0); h = h + self.sum",
        "",
        "E663",
        "leaves",
    ),
    "held in training mode": (
        "self.drop = nn.Dropout(0.5); self.drop.train = lambda mode=True: self.drop",
        "h = self.drop(h)",
        "",
        "E663",
        "`drop` is in training mode",
    ),
    "the mean of the batch": ("", "h = h - h.mean(0, keepdim=True)", "", "E664", "alone, and among"),
    "attention over rows": ("", "h = torch.softmax(h @ h.T, -1) @ h", "", "E664", "alone, and among"),
    "the rank in the batch": ("", "h = h + h.argsort(0).argsort(0).to(h.dtype)", "", "E664", "alone, and among"),
    "the mean of many": ("", "h = h - h.mean(0) if len(h) > 40 else h", "", "E664", "among 1024"),
    "the mean of very many": ("", "h = h - h.mean(0) if len(h) > 700 else h", "", "E664", "among 1024"),
    "no more than so many": ("", "h = h if len(h) <= 100 else 1 / 0", "", "", ""),
    "the mean of some, no more than so many": (
        "",
        "h = (h - h.mean(0) if len(h) > 8 else h) if len(h) <= 100 else 1 / 0",
        "",
        "E664",
        "alone, and among",
    ),
    "neighbours that are intervened on": (
        "",
        "h = h + (h - F.linear(x, self.layers[0].weight, self.layers[0].bias)).mean(0)",
        "",
        "E664",
        "`layer[0].out` of other inputs",
    ),
    "a neighbour that is like this": (
        "",
        "p = x.roll(1, 0); h = h + (p[:, 3] * p[:, 7] * x[:, 1] * x[:, 5])[:, None]",
        "",
        "E664",
        "in another among",
    ),
    "no row alone": ("", "h = h / h.std(0) if len(h) > 1 else 1 / 0", "", "E664", "cannot be run on one input alone"),
    "batch norm, learned": ("self.norm = nn.BatchNorm1d(6)", "h = self.norm(h)", "", "", ""),
    "batch norm of the batch": (
        "self.norm = nn.BatchNorm1d(6, track_running_stats=False)",
        "h = self.norm(h)",
        "",
        "E664",
        "`norm` keeps no running",
    ),
}


def run(folder: Path, init: str = "", body: str = "", end: str = "") -> SpecResult:
    text = NET.replace("INIT", init or "pass").replace("BODY", body or "pass").replace("END", end or "pass")
    (folder / "net.py").write_text(text, encoding="utf-8")
    (folder / "spec.causal").write_text(SPEC, encoding="utf-8")
    results = api.run(api.load(folder / "spec.causal"), api.Options(trust=True))
    (found,) = results.specs
    return found


def fault(folder: Path, *parts: str) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        run(folder, *parts)
    (told,) = caught.value.diagnostics
    assert told.help and "torch(" in told.span.text, "the place is the network's declaration"
    return told


@pytest.mark.thinned(always=2, values=True)
@pytest.mark.parametrize("name", spread(CASES, 4))
def test_what_is_no_function_of_its_input_is_refused(name: str, tmp_path: Path) -> None:
    init, body, end, code, word = CASES[name]
    if not code:
        assert not [d for d in run(tmp_path, init, body, end).warnings if d.code.startswith("W66")]
        return
    told = fault(tmp_path, init, body, end)
    assert told.code == code
    assert word in " ".join(told.notes)


@pytest.mark.parametrize(
    "body", ["h = h + (h - F.linear(x, self.layers[0].weight, self.layers[0].bias))", "h = h * x[:, :6]"]
)
def test_a_network_that_looks_at_its_input_again_rides_in_one_pass(body: str, tmp_path: Path) -> None:
    found = run(tmp_path, "", body)
    assert not [d for d in found.warnings if d.code in ("W655", "W657")]
    assert "all rows from the input" in found.networks["net"]["executor"]
    assert found.tests[0].cells[0].scores["iia"].n == 40


#: What is in front of the layers and what comes of a threshold; none of them may be run by whole forward passes.
THRESHOLDS = {
    "a step": "h = (h > 0).to(h.dtype)",
    "whole numbers": "h = h.round()",
    "far away": "h = (h > 50).to(h.dtype)",
    "one-hot": "h = h + F.one_hot((4 * x[:, 0] + 2 * x[:, 1]).round().long(), 6)",
}


@pytest.mark.thinned(always=2, values=True)
@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds_are_no_reason_for_whole_forwards(name: str, tmp_path: Path) -> None:
    found = run(tmp_path, "", THRESHOLDS[name])
    assert not [d for d in found.warnings if d.code in ("W655", "W657")]
    assert found.tests[0].cells[0].scores["iia"].n == 40


def test_a_network_that_takes_no_input_of_the_spec_says_which_and_why(tmp_path: Path) -> None:
    told = fault(tmp_path, "", "h = h + 0 * F.one_hot(-x.sum(1).long()).sum()")
    assert told.code == "E425"
    assert "inputs of the spec, [" in told.notes[0] and "RuntimeError" in told.notes[1]
    assert "module(" not in told.help


@pytest.mark.parametrize(("share", "refused"), [(1e-6, False), (0.05, True), (float("inf"), True)])
def test_noise_that_is_no_rounding_ends_the_run(
    share: float, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "apart", lambda *_: share)
    if not refused:
        run(tmp_path)
        return
    told = fault(tmp_path)
    assert told.code == "E664" and "patched into itself" in told.notes[0]


@pytest.mark.slow
def test_the_mode_of_a_network_is_told(tmp_path: Path) -> None:
    def notes(init: str, end: str) -> list[str]:
        return run(tmp_path, init, "h = self.drop(h)" if init else "", end).networks["net"]["notes"]

    assert "training mode" in notes("self.drop = nn.Dropout(0.5)", "")[0]
    assert notes("self.drop = nn.Dropout(0.5)", "net.eval()") == []
    assert notes("", "") == []


# ── functions that draw ─────────────────────────────────────────────────────────────────────────

#: What replaces the seeding in `make`; whether a warning is given; whether two runs give the same numbers.
DRAWS = {
    "seeded": ("torch.manual_seed(3)", False, True),
    "seeded as the engine does": ("torch.manual_seed(0)", False, True),
    "not seeded": ("pass", True, True),
    "not seeded, then loaded": ("net = Net(); [p.data.fill_(0.5) for p in net.parameters()]; return net", False, True),
    "numpy": ("torch.manual_seed(int(numpy.random.randint(1000)))", True, True),
    "the machine's dice": ("torch.manual_seed(int.from_bytes(os.urandom(4), 'big'))", True, False),
}


@pytest.mark.thinned(always=1, values=True, slow=4)
@pytest.mark.parametrize("name", spread(DRAWS, 4))
def test_a_function_that_draws_its_weights(name: str, tmp_path: Path) -> None:
    start, warned, same = DRAWS[name]
    text = NET.replace("INIT", "pass").replace("BODY", "h = torch.tanh(h)").replace("END", "pass")
    (tmp_path / "net.py").write_text(text.replace("torch.manual_seed(3)", start), encoding="utf-8")
    (tmp_path / "spec.causal").write_text(SPEC.replace("report iia", "report kl"), encoding="utf-8")
    state = torch.get_rng_state()

    def once() -> tuple[float, list[str]]:
        torch.manual_seed(np.random.default_rng().integers(1 << 30))  # what a session did before must not matter
        spec = api.run(api.load(tmp_path / "spec.causal"), api.Options(trust=True)).specs[0]
        return spec.tests[0].cells[0].scores["kl"].value, [d.title for d in spec.warnings if d.code == "W667"]

    (first, told), (second, _) = once(), once()
    torch.set_rng_state(state)
    assert bool(told) == warned
    assert (first == second) == same
    assert not told or ("each time" in told[0]) == (not same)


def test_the_random_numbers_of_the_caller_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    run(tmp_path)
    assert torch.equal(torch.rand(3), expected)


# ── language networks ───────────────────────────────────────────────────────────────────────────

ROPES = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    "longrope": {
        "rope_type": "longrope",
        "factor": 4.0,
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 8,
        "short_factor": [1.0] * 4,
        "long_factor": [3.0, 5.0, 7.0, 9.0],
    },
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
}
START = {"dynamic": 8, "longrope": 8}
WORDS = ["now", "then", "red", "blue", "said", "is", "it", "=", "a", "b"]


def save_llama(folder: Path, rope: str) -> None:
    longest = 8 if rope == "dynamic" else 64
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": longest,
        "rope_parameters": ROPES[rope],
    }
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING["llama"](**settings))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="it"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


LINES = {
    "short": "{x} is said =",
    "long": "it is a b it is a b it is a b {x} is said =",
    "longer": "it " * 16 + "{x} =",
}


def rope_spec(folder: Path, *lines: str) -> api.Spec:
    sweep = "kind ~ {" + ", ".join(f'"{line}"' for line in lines) + "}"
    prompts = "\n  ".join(f'prompt "{LINES[line]}" where kind == "{line}"' for line in lines)
    text = f"""
causal say {{
  x ~ {{"red", "blue"}}
  {sweep}
  output y := x
}}
network net = hf("{folder}")
align at : say -> net {{
  {prompts}
  x @ layer[1].resid_post[x]
  y @ next_token
}}
test swap on at {{
  base, source ~ say(n=16, seed=0) where base.kind == source.kind
  do(x <- source)
  report logit(y)
}}
"""
    return api.parse(text)


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("rope", ROPES)
def test_rotary_angles_that_depend_on_the_longest_prompt(rope: str, tmp_path: Path) -> None:
    save_llama(tmp_path, rope)
    network = load(None, CheckpointReference("hf", str(tmp_path)), device="cpu")
    prompts = {length: [(3 * i) % 9 for i in range(length)] for length in (5, 20, 21)}

    def told(*lengths: int) -> Diagnostic | None:
        try:
            refuse_unsteady(network, [prompts[length] for length in lengths], NOWHERE)
        except SpecError as error:
            return error.diagnostics[0]
        return None

    assert told(5) is None
    found = told(5, 20)
    assert (found is not None) == (rope in START)
    if found is not None:
        assert found.code == "E664"
        assert f"more than {START[rope]} tokens" in " ".join(found.notes)
        assert f"no longer than {START[rope]} tokens" in found.help
    assert (told(20, 21) is not None) == (rope == "dynamic"), "longrope has one set of angles beyond its start"


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("rope", ["longrope", "default"])
def test_prompts_on_both_sides_of_where_angles_are_scaled(rope: str, tmp_path: Path) -> None:
    save_llama(tmp_path, rope)
    api.run(rope_spec(tmp_path, "short"))
    api.run(rope_spec(tmp_path, "long", "longer"))
    if rope == "default":
        api.run(rope_spec(tmp_path, "short", "long"))
        return
    with pytest.raises(SpecError) as caught:
        api.run(rope_spec(tmp_path, "short", "long"))
    (told,) = caught.value.diagnostics
    assert told.code == "E664" and "hf(" in told.span.text


# ── the parts ───────────────────────────────────────────────────────────────────────────────────


def test_the_distance_of_logits() -> None:
    one = torch.tensor([[1.0, 2.0], [3.0, float("nan")]])
    assert apart(one, one) == 0
    assert apart(one, torch.tensor([[1.0, 2.0], [3.0, 4.0]])) == float("inf")
    assert apart(torch.tensor([[1.1, 0.0]]), torch.tensor([[1.0, 0.0]])) == pytest.approx(0.1)
    assert apart(torch.tensor([[float("inf"), 0.0]]), torch.tensor([[float("inf"), 0.0]])) == 0
    assert apart(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(broken: float, tmp_path: Path) -> None:
    save_llama(tmp_path, "default")
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"][5] = broken
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError) as caught:
        api.run(rope_spec(tmp_path, "short"))
    (told,) = caught.value.diagnostics
    assert told.code == "E746" and "32 of the" in told.notes[0] and "lm_head.weight" in told.notes[0]


def test_which_inputs_are_tried() -> None:
    def vectors(count: int) -> list[int]:
        inputs = VectorInputs(Facts("vector"))
        inputs.vectors = [np.zeros(1)] * count
        return inputs.some().tolist()

    assert vectors(0) == [] and vectors(1) == [0]
    assert vectors(1000)[0] == 0 and vectors(1000)[-1] == 999 and len(vectors(1000)) == 32

    class Prompts(PromptInputs):
        lengths = np.array([7, 3, 9, 3])

    assert Prompts(Facts("language")).some().tolist() == [1, 2]


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("start", [2, 5, 16])
@pytest.mark.parametrize("lengths", [(4, 6), (6, 6), (3, 4, 5)])
def test_prompts_that_are_mixed_from_a_number_of_rows_on(start: int, lengths: tuple[int, ...], tmp_path: Path) -> None:
    save_llama(tmp_path, "default")
    network = load(None, CheckpointReference("hf", str(tmp_path)), device="cpu")
    prompts = [[(3 * i + 2 * row) % 9 for i in range(length)] for row, length in enumerate(lengths)]
    refuse_unsteady(network, prompts, NOWHERE)

    def mix(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + 0.5 * output.roll(1, 0) if len(output) >= start else output

    network.model.get_input_embeddings().register_forward_hook(mix)
    with pytest.raises(SpecError) as caught:
        refuse_unsteady(network, prompts, NOWHERE)
    assert caught.value.diagnostics[0].code == "E664"


def test_prompts_that_are_mixed_where_they_are_intervened_on(tmp_path: Path) -> None:
    save_llama(tmp_path, "default")
    network = load(None, CheckpointReference("hf", str(tmp_path)), device="cpu")
    prompts, clean = [[1, 2, 3, 4], [4, 5, 6]], {}

    def mix(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        vectors = inputs[0]  # what was written shows here; what the layer gives by itself does not
        return output + (vectors - clean.setdefault(vectors.shape, vectors.clone())).mean(0)

    network.model.model.layers[-1].mlp.register_forward_hook(mix)
    with pytest.raises(SpecError) as caught:
        refuse_unsteady(network, prompts, NOWHERE)
    assert caught.value.diagnostics[0].code == "E664" and "of other inputs" in caught.value.diagnostics[0].notes[0]


def test_how_many_rows_are_tried() -> None:
    class Sized(torch.nn.Module):
        def __init__(self, size: int):
            super().__init__()
            self.weights = torch.nn.Parameter(torch.empty(size, device="meta"))

    def rows(size: int, inputs: object) -> int:
        kind = "vector" if isinstance(inputs, torch.Tensor) else "language"
        network = wrap(torch.nn.Linear(1, 1), Facts(kind, widths=(1,), classes=1))  # type: ignore[arg-type]
        return enough(replace(network, model=Sized(size)), inputs)  # type: ignore[arg-type]

    assert rows(1000, torch.zeros(3, 4)) == 1024
    assert rows(1000, [[1] * 8] * 2) == 256 and rows(1000, [[1] * 500] * 2) == 32
    assert rows(49_000_000, [[1] * 200] * 2) == 16, "a small network, however long its prompts are"
    assert rows(50_000_000, [[1] * 8] * 2) == 2


def test_one_input_is_tried_twice() -> None:
    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + len(x)

    network = wrap(Sum(), Facts("vector", widths=(3,), classes=3))
    with pytest.raises(SpecError) as caught:
        refuse_unsteady(network, torch.ones(1, 3), NOWHERE)
    assert caught.value.diagnostics[0].code == "E664"


# ── what changes in the middle of a run ─────────────────────────────────────────────────────────

LATER = ("self.calls = 0", "self.calls += 1; h = h if self.calls <= {} else -h")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How often a network is called in a run."""
    folder = tmp_path_factory.mktemp("calls")
    body = f"self.calls += 1; open(r'{folder / 'calls'}', 'a').write('x')"
    run(folder, LATER[0], body)
    return len((folder / "calls").read_text())


@pytest.mark.thinned(always=1, values=True, slow=4)
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.7, 0.8, 0.9])
def test_a_network_that_is_another_one_later(share: float, calls: int, tmp_path: Path) -> None:
    plain = run(tmp_path, LATER[0], "self.calls += 1").tests[0].cell().scores
    try:
        found = run(tmp_path, LATER[0], LATER[1].format(round(share * calls)))
    except SpecError as error:
        codes = {d.code for d in error.diagnostics}
    else:
        codes = set()
    if codes:
        assert codes <= {"E663", "E664"}
        return
    changed = run(tmp_path, LATER[0], LATER[1].format(0)).tests[0].cell().scores
    assert found.tests[0].cell().scores in (plain, changed)


def test_a_change_after_the_first_block_is_told_and_nothing_is_kept(calls: int, tmp_path: Path) -> None:
    text = NET.replace("INIT", LATER[0]).replace("END", "pass")
    (tmp_path / "spec.causal").write_text(SPEC, encoding="utf-8")
    codes: list[str] = []
    for number in range(calls, 0, -1):
        (tmp_path / "net.py").write_text(text.replace("BODY", LATER[1].format(number)), encoding="utf-8")
        out = tmp_path / f"out{number}"
        try:
            api.run(api.load(tmp_path / "spec.causal"), api.Options(trust=True, out=out))
        except SpecError as error:
            (told,) = error.diagnostics
            codes.append(told.code)
            if "after it" in told.notes[0]:
                assert "leaves state" in told.notes[1]
                assert not list(out.rglob("step*.npz"))
                return
    raise AssertionError(f"no change showed after the run: {codes}")
