"""Measures of a whole alignment, against recursive loops of whole forwards with hooks, and against closed forms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.controls.beside_alignments import with_alignment
from causal_dsl.measures.quantities import Quantity, ValueRef
from causal_dsl.planning.lower import by_reference
from tests.engine.tiny import execution_of, folder_of

ROOT = Path(__file__).parents[2]
CHAIN = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  same := x == y
  pick := if same then x else z
  output o := pick
}
network net = hf("FOLDER", padding=PADDING)
align a : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  same @ layer[0].resid_post[y]
  pick @ SITE
  o @ next_token(among=W)
}
test t on a {
  base ~ m(n=130, seed=3)
  report scrubbed, carried, scrubbed(logit(o)), carried(logit(o)), local_consistency, abstraction_error,
    abstraction_error_resampled
}
"""
LOGIT = Quantity("logit", ValueRef("base", "o"))
#: The tokens of `y` and `z` in the prompt.
_Y, _Z = 2, 4


class ByHand:
    """A causal language model with the residual stream, or an MLP's output, replaced at single tokens."""

    def __init__(self, network: Any, site: str):
        self.model = network.model
        layout, layers = network.layout, network.layers
        #: of each variable: the module whose output it is in, and its token
        second = layers[1] if site.endswith("resid_post[z]") else layers[1].get_submodule(layout.mlp_out[:-1])
        self.modules = {"same": (layers[0], _Y), "pick": (second, _Z)}
        self._found: dict[Any, tuple[Tensor, dict[str, Tensor]]] = {}

    def run(self, ids: list[int], sets: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits at the end of a prompt, and what is at the places; each distinct forward is made once."""
        key = tuple(ids), tuple((name, vector.numpy().tobytes()) for name, vector in sorted(sets.items()))
        if key not in self._found:
            self._found[key] = self._run(ids, sets)
        return self._found[key]

    @torch.no_grad()
    def _run(self, ids: list[int], sets: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        seen: dict[str, Tensor] = {}
        handles = []
        for name, (module, token) in self.modules.items():

            def act(_: Any, args: Any, out: Any, name: str = name, token: int = token) -> Any:
                tensor = (out[0] if isinstance(out, tuple) else out).clone()
                if name in sets:
                    tensor[0, token] = sets[name]
                seen[name] = tensor[0, token].clone()
                return (tensor, *out[1:]) if isinstance(out, tuple) else tensor

            handles.append(module.register_forward_hook(act))
        try:
            return self.model(torch.tensor([ids])).logits[0, -1], seen
        finally:
            for handle in handles:
                handle.remove()


def scrubbed(hand: ByHand, prompts: dict[str, list[int]]) -> Tensor:
    """Causal scrubbing of `o <- pick <- same` (Chan et al. 2022), on the inputs of each run."""
    same = hand.run(prompts["rest of same of rest of pick of base"], {})[1]["same"]
    pick = hand.run(prompts["rest of pick of base"], {"same": same})[1]["pick"]
    return hand.run(prompts["base"], {"pick": pick})[0]


def beside(text: str, options: Options) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """The runs beside the test by their names, the prompts of each run, and the network."""
    checked = api.check(api.parse(text), options)
    assert not checked.errors, checked.text()
    execution, _ = execution_of(text, change=by_reference if options.reference else None)
    network = next(iter(execution.networks.values()))
    for _ in execution.run():
        pass
    run = with_alignment(execution.runs["t"], execution)
    prompts = {}
    for test in execution.plan.tests:
        if test.name == "t" or test.name.startswith("t: "):
            inputs = execution.plan.inputs[test.network.key]
            rows = {
                forward.role: [list(ids) for ids in inputs.rows(index)]
                for forward, index in execution.plan.rows.items()
                if forward.draw == execution.plan.scores[test.name][0].label.draw
            }
            prompts[test.name.removeprefix("t: ")] = (rows, execution.plan.draw_of(test))
    return run.cells[0].columns.beside, prompts, network


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "padding", "site", "reference"),
    [
        ("llama", "right", "layer[1].resid_post[z]", False),
        ("llama", "left", "layer[1].mlp_out[z]", True),
        ("gpt2", "right", "layer[1].resid_post[z]", True),
        ("gpt2", "right", "layer[1].mlp_out[z]", False),
    ],
)
def test_scrubbing_is_a_recursive_loop_by_hand(name: str, padding: str, site: str, reference: bool) -> None:
    text = CHAIN.replace("FOLDER", folder_of(name)).replace("PADDING", padding).replace("SITE", site)
    columns, prompts, network = beside(text, Options(reference=reference))
    hand = ByHand(network, site)
    rows, drawn = prompts["scrubbed"]
    asked = drawn.values["asked"]
    for role, of, same in (
        ("pick of base", "asked", ["pick"]),
        ("rest of pick of base", "pick of base", ["x", "z"]),
        ("same of rest of pick of base", "pick of base", ["same"]),
        ("rest of same of rest of pick of base", "same of rest of pick of base", ["x", "y"]),
    ):
        assert all((drawn.values[role][name] == drawn.values[of][name]).all() for name in same), role
    assert any((drawn.values["base"][name] != asked[name]).any() for name in ("x", "y", "z")), (
        "the rest is from any input"
    )
    token = 10 + asked["o"]  # the id of the answer, in the codes of the model
    by_hand = torch.stack([scrubbed(hand, {role: ids[row] for role, ids in rows.items()}) for row in range(drawn.n)])
    found = columns["scrubbed"].columns[LOGIT]
    assert found == pytest.approx(by_hand[np.arange(drawn.n), token].numpy(), rel=1e-4, abs=1e-4)

    plain = [hand.run(ids, {})[0] for ids in prompts["random"][0]["base"]]
    random = torch.stack(plain)[np.arange(drawn.n), 10 + prompts["random"][1].values["asked"]["o"]].mean()
    own = 10 + prompts["t"][1].values["base"]["o"]
    model = torch.stack([hand.run(ids, {})[0] for ids in prompts["t"][0]["base"]])[np.arange(len(own)), own].mean()
    scores = api.run(api.parse(text), Options(reference=reference)).tests[0].cells[0].scores
    wanted = (by_hand[np.arange(drawn.n), token].mean() - random) / (model - random)
    assert scores["scrubbed(logit(o))"].value == pytest.approx(float(wanted), rel=1e-3, abs=1e-3)
    answers = by_hand[:, 10:15].argmax(dim=1).numpy() == asked["o"]
    assert scores["scrubbed"].value == pytest.approx(answers.mean())


@pytest.mark.thinned(slow=1)
@pytest.mark.slow
@pytest.mark.parametrize(("name", "reference"), [("llama", False), ("gpt2", True)])
def test_consistency_and_abstraction_are_double_forwards_by_hand(name: str, reference: bool) -> None:
    site = "layer[1].resid_post[z]"
    text = CHAIN.replace("FOLDER", folder_of(name)).replace("PADDING", "right").replace("SITE", site)
    _, prompts, network = beside(text, Options(reference=reference))
    hand = ByHand(network, site)
    scores = api.run(api.parse(text), Options(reference=reference)).tests[0].cells[0].scores

    def at(ids: list[int], variable: str, sets: dict[str, Tensor] | None = None) -> Tensor:
        return hand.run(ids, sets or {})[1][variable]

    def share(run: str, made: Any, label: Any) -> float:
        rows, drawn = prompts[run]
        right = []
        for row in range(drawn.n):
            ids = {role: prompt[row] for role, prompt in rows.items()}
            values = {role: {k: int(v[row]) for k, v in columns.items()} for role, columns in drawn.values.items()}
            right.append(int(made(ids)[10:15].argmax()) == label(values))
        return float(np.mean(right))

    def o(values: dict[str, int], same: int | None = None) -> int:
        return values["x"] if (values["same"] if same is None else same) else values["z"]

    def own(ids: dict[str, list[int]], variable: str) -> Tensor:
        return at(ids[f"input of {variable}"], variable)

    consistent = [
        share(
            "consistent: same",
            lambda ids: at_end(hand, ids["base"], {"same": at(ids["source"], "same")}),
            lambda v: o(v["asked"], v["source"]["same"]),
        ),
        share(
            "consistent: pick",
            lambda ids: at_end(hand, ids["base"], {"pick": at(ids["source"], "pick", {"same": own(ids, "same")})}),
            lambda v: o(v["source"], v["input of same"]["same"]),
        ),
        share(
            "consistent: o",
            lambda ids: at_end(hand, ids["base"], {"pick": own(ids, "pick")}),
            lambda v: v["input of pick"]["pick"],
        ),
    ]
    assert scores["local_consistency"].value == pytest.approx(np.mean(consistent))
    wrong = [
        share(
            "abstract: o under same",
            lambda ids: at_end(hand, ids["base"], {"same": own(ids, "same")}),
            lambda v: o(v["asked"], v["input of same"]["same"]),
        ),
        share(
            "abstract: pick under same",
            lambda ids: at_end(hand, ids["base"], {"pick": at(ids["asked"], "pick", {"same": own(ids, "same")})}),
            lambda v: o(v["asked"], v["input of same"]["same"]),
        ),
        share(
            "abstract: o under pick",
            lambda ids: at_end(hand, ids["base"], {"pick": own(ids, "pick")}),
            lambda v: v["input of pick"]["pick"],
        ),
        share(
            "abstract: o under same, pick",
            lambda ids: at_end(hand, ids["base"], {"same": own(ids, "same"), "pick": own(ids, "pick")}),
            lambda v: v["input of pick"]["pick"],
        ),
    ]
    assert scores["abstraction_error"].value == pytest.approx(1 - np.mean(wrong))
    resampled = [
        share(
            "resampled: o under same",
            lambda ids: at_end(
                hand, ids["base"], {"pick": at(ids["pick of base"], "pick", {"same": own(ids, "same")})}
            ),
            lambda v: o(v["asked"], v["input of same"]["same"]),
        ),
        share(
            "resampled: pick under same",
            lambda ids: at_end(
                hand, ids["base"], {"pick": at(ids["pick of base"], "pick", {"same": own(ids, "same")})}
            ),
            lambda v: o(v["asked"], v["input of same"]["same"]),
        ),
        share(
            "resampled: o under pick",
            lambda ids: at_end(hand, ids["base"], {"pick": own(ids, "pick")}),
            lambda v: v["input of pick"]["pick"],
        ),
        share(
            "resampled: o under same, pick",
            lambda ids: at_end(hand, ids["base"], {"pick": own(ids, "pick")}),
            lambda v: v["input of pick"]["pick"],
        ),
    ]
    assert scores["abstraction_error_resampled"].value == pytest.approx(1 - np.mean(resampled))


def at_end(hand: ByHand, ids: list[int], sets: dict[str, Tensor]) -> Tensor:
    """The logits at the end of a prompt with places set."""
    return hand.run(ids, sets)[0]


# ── closed forms ────────────────────────────────────────────────────────────────────────────────

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    '''Bits x, y, w as one-hot codes; units x, y, w, 0; then units H, w; logits false, true of the answer.'''

    def __init__(self):
        super().__init__()
        self.in_features = 6
        first, second = nn.Linear(6, 3), nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        self.layers = nn.ModuleList([first, second])
        self.logits = nn.Linear(2, 2)
        with torch.no_grad():
            first.weight.copy_(torch.tensor([[0., 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]]))
            first.bias.zero_()
            second[0].weight.copy_(torch.tensor([WEIGHTS, [0., 0, 1]]))
            second[0].bias.copy_(torch.tensor([BIAS, 0.]))
            self.logits.weight.copy_(torch.tensor([[0., 0], [1, 1]]))
            self.logits.bias.copy_(torch.tensor([.5, 0]))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.logits(x)

def build():
    return Net()
"""
BITS = """
causal m {
  x, y, w ~ bool
  z := x and y
  output out := z or w
}
network net = torch("net.py:build")
align a : m -> net {
  x @ input[0:2] via onehot()
  y @ input[2:4] via onehot()
  w @ input[4:6] via onehot()
  z @ layer[1].out[0]
  out @ logits
}
test t on a {
  base ~ m(exhaustive=true)
  report scrubbed, carried, scrubbed(logit(out)), local_consistency, abstraction_error, abstraction_error_resampled
}
"""


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("weights", "bias", "right"), [("[1., 1, 0]", "-1.", True), ("[1., 0, 0]", "0.", False)])
def test_few_inputs_give_the_closed_form(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, weights: str, bias: str, right: bool
) -> None:
    """A network that computes `z = x and y`, and one whose unit holds x instead, where the rest holds w."""
    (tmp_path / "net.py").write_text(NETWORK.replace("WEIGHTS", weights).replace("BIAS", bias))
    (tmp_path / "t.causal").write_text(BITS)
    monkeypatch.chdir(tmp_path)
    scores = api.run(api.load("t.causal"), Options(trust=True)).tests[0].cells[0].scores
    if right:
        wanted = {"scrubbed": 1.0, "carried": 1.0, "local_consistency": 1.0}
        wanted |= {"abstraction_error": 0.0, "abstraction_error_resampled": 0.0}
    else:
        # With z true (1/4 of the inputs) any input of its class has x. Else one in three has, and then the run without w is wrong.
        # Where z comes from any input, the place says x there: wrong if that input has x and not y, and the run has no w.
        wanted = {"scrubbed": 1 - 0.5 * 0.75 / 3, "carried": 1 - 0.5 / 4}
        wanted |= {
            "local_consistency": 1 - 0.5 / 4,
            "abstraction_error": 0.5 / 4,
            "abstraction_error_resampled": 0.5 / 4,
        }
    for name, number in wanted.items():
        assert scores[name].value == pytest.approx(number, abs=1e-12), name
        assert scores[name].method == "exact"
    # The logit of the reference's answer is .5 if that is false; if it is true, the sum of what the unit and w hold.
    inputs = [(x, y, w) for x in (0, 1) for y in (0, 1) for w in (0, 1)]

    def held(x: int, y: int) -> int:
        return x and y if right else x

    def logit(reference: tuple[int, ...], unit: int, w: int) -> float:
        x, y, own = reference
        return unit + w if (x and y) or own else 0.5

    def mean(numbers: Any) -> float:
        return float(np.mean(list(numbers)))

    base = mean(logit(b, held(*b[:2]), b[2]) for b in inputs)
    random = mean(logit(b, held(*r[:2]), r[2]) for b in inputs for r in inputs)
    alike = {z: [i for i in inputs if (i[0] and i[1]) == z] for z in (0, 1)}
    scrub = mean(mean(logit(b, held(*r[:2]), b[2]) for r in alike[b[0] and b[1]]) for b in inputs)
    assert scores["scrubbed(logit(out))"].value == pytest.approx((scrub - random) / (base - random), abs=1e-9)


def test_equal_runs_are_one_row() -> None:
    """A tree that is written out has many more runs than are run; the plan says both."""
    text = (ROOT / "specs" / "equality_relu.causal").read_text()
    text = (
        text[: text.index("test ")]
        + """
test t on halves {
  base ~ equality(n=256, seed=0)
  report scrubbed
}
"""
    )
    plan = api.check(api.parse(text)).plan
    assert plan is not None
    found = re.search(
        r"whole alignment, ([\d,]+) runs, equal ones once: ([\d,]+) rows .* ([\d,]+) more inputs", plan.text()
    )
    assert found is not None
    written, rows, inputs = (int(number.replace(",", "")) for number in found.groups())
    drawn = next(plan.draw_of(test) for test in plan.tests if test.name == "t: scrubbed")
    assert written == 3 * drawn.n  # a run, and one for each of two places
    triples = np.stack(
        [
            plan.ids_of(test)[role]
            for test in plan.tests
            if test.name == "t: scrubbed"
            for role in ("base", "rest of left of base", "rest of right of base")
        ]
    )
    assert rows == len(np.unique(triples, axis=1).T)
    assert inputs <= 256


@pytest.mark.slow
def test_a_metric_may_be_made_of_measures_of_an_alignment() -> None:
    """A spec may name their difference, and name what is made of that name: it is the same number as written out."""
    lines = "metric gap = carried - scrubbed\nmetric half = gap / 2\n"
    text = CHAIN.replace("FOLDER", folder_of("gpt2")).replace("PADDING", "left").replace("SITE", "layer[1].mlp_out[z]")
    head, test = text[: text.index("test t on")], "test t on a {\n  base ~ m(n=20, seed=3)\n  report WHAT\n}\n"
    asked = ("half * 2", "carried - scrubbed")
    both = [api.run(api.parse(head + lines + test.replace("WHAT", what))) for what in asked]
    one, other = (next(iter(result["t"].cell().scores.values())).value for result in both)
    assert one == pytest.approx(other, abs=1e-12)


@pytest.mark.slow
def test_rows_that_are_all_there_are_share_their_runs() -> None:
    """Where equal rows count once, each has runs of its own beside it: all of them count, and the interval is about these."""
    text = (
        CHAIN.replace("FOLDER", str(folder_of("llama")))
        .replace("PADDING", "right")
        .replace("SITE", "layer[1].mlp_out[z]")
    )
    text = text.replace("n=130", "n=1200")
    (test,) = api.run(api.parse(text)).tests
    columns, _, _ = beside(text, Options())
    execution, _ = execution_of(text)
    names = [
        np.asarray(v) for k, v in execution.plan.draw_of(execution.plan.tests[0]).values["base"].items() if k in "xyz"
    ]
    _, group = np.unique(np.stack(names, axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    assert test.covered and group.max() + 1 == 125
    for name in ("scrubbed", "carried"):
        one = columns[name]
        (said,) = (v for q, v in one.columns.items() if q.kind == "answer")
        right = one.over_rows((said == one.expected).astype(float))
        expected = (np.bincount(group, right) / np.bincount(group)).mean()
        score = test.cells[0].scores[name]
        assert score.value == pytest.approx(expected, abs=1e-12)
        assert score.low is not None and score.high is not None and score.low <= score.value <= score.high


@pytest.mark.slow
def test_what_holds_in_every_run_is_exactly_one() -> None:
    """Weights that are no whole numbers take nothing from it, and no interval lies beyond 1."""
    text = (ROOT / "specs" / "tracr" / "frac_prevs.causal").read_text()
    text = (
        text[: text.index("\ntest ")]
        + """
test whole on there {
  base ~ share(n=43, seed=5)
  expect scrubbed >= 100% and carried >= 100% and abstraction_error <= 0%
}
"""
    )
    (test,) = api.run(api.parse(text)).tests
    assert test.expectations[0].passed
    for name, value in (("scrubbed", 1.0), ("carried", 1.0), ("abstraction_error", 0.0)):
        score = test.cells[0].scores[name]
        assert score.value == value and (score.low is None or 0 <= score.low <= value <= score.high <= 1)
