"""Parameters of networks, alignments and tests: what they stand for is what a person would have written in their place."""

from __future__ import annotations

import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from safetensors.torch import save_file

import causal_dsl as cd
from causal_dsl.tools.cli import main

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, seed, depth):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16 if l == 0 else 8, 8) for l in range(depth)])
        self.head = nn.Linear(8, 2)
        draw = torch.Generator().manual_seed(seed)
        for part in self.parameters():
            part.data = torch.randn(part.shape, generator=draw)

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


def build(seed=0, depth=2):
    return Net(seed, depth)
"""
MODEL = """domain Shape = 0..3

causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}

"""
INPUTS = """  a @ input[0:4]   via onehot()
  b @ input[4:8]   via onehot()
  c @ input[8:12]  via onehot()
  d @ input[12:16] via onehot()
  same @ logits
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: Path, text: str) -> cd.Results:
    path = folder / "spec.causal"
    path.write_text(text, encoding="utf-8")
    return cd.run(cd.load(path), cd.Options(trust=True))


def scores(test: cd.TestResult) -> list[tuple[dict[str, Any], dict[str, float | None]]]:
    return [(cell.cell, {name: one.value for name, one in cell.scores.items()}) for cell in test.cells]


def swap(name: str, on: str, variable: str, where: str = "", n: str = "64") -> str:
    return f"""test {name} on {on} {{
  base, source ~ equality(n={n}, seed=0){where}
  do({variable} <- source)
  report iia, kl
}}
"""


@pytest.mark.slow
def test_a_network_of_each_seed_is_the_one_that_is_written_out(folder: Path) -> None:
    align = "align NAME : equality -> NET {\n" + INPUTS + "  left @ layer[1].out[0:4]\n}\n"
    family = MODEL + 'network net(seed in 0:3) = torch("nets.py:build", seed=seed)\n'
    found = run(folder, family + align.replace("NAME", "tau").replace("NET", "net") + swap("t", "tau", "left"))
    assert [test.name for test in found.tests] == ["t(seed=0)", "t(seed=1)", "t(seed=2)"]
    assert [test.network for test in found.tests] == ["net(seed=0)", "net(seed=1)", "net(seed=2)"]
    by_hand = MODEL
    for seed in range(3):
        by_hand += f'network n{seed} = torch("nets.py:build", seed={seed})\n'
        by_hand += align.replace("NAME", f"on_{seed}").replace("NET", f"n{seed}") + swap(
            f"t{seed}", f"on_{seed}", "left"
        )
    alone = run(folder, by_hand)
    assert [scores(test) for test in found.tests] == [scores(test) for test in alone.tests]
    assert len({test.cells[0].scores["kl"].value for test in found.tests}) == 3

    values = [test.cells[0].scores["kl"].value for test in found.tests]
    spread = next(one for one in found.family("t").spreads if one.score == "kl")
    assert (spread.of, spread.mean, spread.sd) == (3, statistics.fmean(values), statistics.stdev(values))  # type: ignore[type-var]
    assert (spread.low, spread.high) == (min(values), max(values))  # type: ignore[type-var]
    assert spread.lowest == {"seed": values.index(spread.low)} and spread.highest == {"seed": values.index(spread.high)}


@pytest.mark.slow
def test_what_a_parameter_of_each_kind_stands_for(folder: Path) -> None:
    """Components, dims, variables, models, where conditions, numbers of pairs and networks, in one product; half of it is
    written out: any two values stand together there."""
    text = (
        MODEL
        + MODEL[MODEL.index("causal") :].replace("equality", "shifted").replace("left == right", "left != right")
        + 'network net(depth in [2, 3]) = torch("nets.py:build", depth=depth, seed=1)\n'
        + "align tau(m in [equality, shifted], v in [left, right], w in 2:4) : m -> net {\n"
        + INPUTS
        + "  v @ layer[1].out[0:w]\n}\n"
        + """test t(k in [0, 3]) on tau {
  base, source ~ equality(n=64, seed=0) where base.a == k
  do(v <- source)
  report iia, kl
}
""".replace("equality(", "m(")
    )
    found = run(folder, text)
    by_hand = MODEL + MODEL[MODEL.index("causal") :].replace("equality", "shifted").replace(
        "left == right", "left != right"
    )
    kinds = list(itertools.product(("equality", "shifted"), ("left", "right"), (2, 3), (0, 3)))
    for depth in (2, 3):
        by_hand += f'network net{depth} = torch("nets.py:build", depth={depth}, seed=1)\n'
    written = [
        (number, kind)
        for number, kind in enumerate(kinds)
        if sum(value in ("shifted", "right", 3) for value in kind) % 2 == 0
    ]
    assert len(written) == len(kinds) / 2
    for number, (model, variable, depth, k) in written:
        by_hand += (
            f"align a{number}(w in 2:4) : {model} -> net{depth} {{\n{INPUTS}  {variable} @ layer[1].out[0:w]\n}}\n"
        )
        by_hand += swap(f"t{number}", f"a{number}", variable, f" where base.a == {k}").replace("equality(", f"{model}(")
    alone = run(folder, by_hand)
    assert len(found.tests) == len(kinds)
    for number, (model, variable, depth, k) in written:
        named = found[f"t(m={model}, v={variable}, depth={depth}, k={k})"]
        assert scores(named) == scores(alone[f"t{number}"]), named.name
        assert named.ceilings == alone[f"t{number}"].ceilings, named.name
    assert len({str(scores(test)) for test in found.tests}) == len(kinds)


@pytest.mark.slow
def test_coefficients_of_a_steering_curve(folder: Path) -> None:
    text = (
        MODEL
        + 'network net = torch("nets.py:build", seed=5)\nalign tau : equality -> net {\n'
        + INPUTS
        + """}
test steer(c in [-2, 0, 0.5, 3]) on tau {
  base, one, two ~ equality(n=32, seed=0)
  do(layer[0].out += c * (mean(one) - mean(two)))
  report kl
}
"""
    )
    found = run(folder, text)["steer"]
    assert [cell.cell for cell in found.cells] == [{"c": -2}, {"c": 0}, {"c": 0.5}, {"c": 3}]
    assert found.cells[1].scores["kl"].value == pytest.approx(0, abs=1e-9)
    for c in (-2, 0.5, 3):
        alone = run(folder, text.replace("steer(c in [-2, 0, 0.5, 3])", "steer").replace("c * (", f"{c} * ("))["steer"]
        assert alone.cells[0].scores["kl"].value == pytest.approx(found.cell(c=c).scores["kl"].value, rel=1e-12)


@pytest.mark.slow
def test_files_by_step_and_a_hook_by_hand(folder: Path) -> None:
    """`weights="w{step}.safetensors"`: each step has its own weights. A coefficient is held against a hook."""
    scope: dict[str, Any] = {}
    exec(NETS, scope)
    nets = {step: scope["build"](seed=step + 10) for step in (0, 512)}
    for step, net in nets.items():
        save_file(net.state_dict(), folder / f"w{step}.safetensors")
    text = (
        MODEL
        + 'network run(step in [0, 512]) = torch("nets.py:build", weights="w{step}.safetensors")\n'
        + "align tau(k in [0, 512]) : equality -> run(step=k) {\n"
        + INPUTS
        + "}\ntest t(c in [1, 4]) on tau {\n  base ~ equality(exhaustive=true)\n  do(layer[1].out[0:3] += c)\n"
        + "  report moved\n}\n"
    )
    found = run(folder, text)
    rows = torch.tensor(list(itertools.product(range(4), repeat=4)))
    inputs = torch.nn.functional.one_hot(rows, 4).float().flatten(1)
    for step, net in nets.items():
        for c in (1, 4):
            plain = net(inputs).argmax(-1)
            add = torch.zeros(8)
            add[:3] = c
            handle = net.layers[1].register_forward_hook(lambda *hooked, add=add: hooked[-1] + add)
            moved = (net(inputs).argmax(-1) != plain).double().mean().item()
            handle.remove()
            assert found[f"t(k={step})"].cell(c=c).scores["moved"].value == pytest.approx(moved)


@pytest.mark.slow
def test_components_in_a_path(folder: Path) -> None:
    align = """align tau(l in 0:2, s in [attn_out, mlp_out], p in [a, last]) : same_pairs -> net {
  prompt "{a} {b} {c} {d} ="
  first @ layer[l].s[p]
  answer @ next_token
}
"""
    text = """domain Shape = {"arrow", "circle", "cross", "diamond", "heart", "moon", "ring", "square", "star", "triangle"}
causal same_pairs {
  a, b, c, d ~ Shape
  first         := a == b
  second        := c == d
  output answer := first == second
}
network net = zoo("equality-gpt2")
ALIGN
test t on tau {
  base, source ~ same_pairs(n=32, seed=0)
  do(first <- source)
  report kl
}
"""
    swept = run(folder, text.replace("ALIGN", align))["t"]
    assert len(swept.cells) == 8 and {cell.cell["s"] for cell in swept.cells} == {"attn_out", "mlp_out"}
    for part in ("attn_out", "mlp_out"):
        alone = run(
            folder, text.replace("ALIGN", align.replace("s in [attn_out, mlp_out], ", "").replace(".s[", f".{part}["))
        )
        for cell in alone["t"].cells:
            assert swept.cell(s=part, **cell.cell).scores["kl"].value == pytest.approx(
                cell.scores["kl"].value, abs=1e-6
            )


@pytest.mark.slow
def test_one_member_and_a_chosen_part_of_a_family(folder: Path) -> None:
    text = (
        MODEL
        + 'network net(seed in 0:4) = torch("nets.py:build", seed=seed)\n'
        + "align tau : equality -> net {\n"
        + INPUTS
        + "  left @ layer[1].out[0:4]\n}\nalign few(seed in [1, 3]) : equality -> net {\n"
        + INPUTS
        + "  left @ layer[1].out[0:4]\n}\nalign late : tau(seed=2) {\n  left @ layer[0].out[0:4]\n}\n"
        + swap("one", "tau(seed=2)", "left")
        + swap("some", "few", "left")
        + swap("later", "late", "left")
    )
    found = run(folder, text)
    assert [test.name for test in found.tests] == ["one", "some(seed=1)", "some(seed=3)", "later"]
    assert [test.network for test in found.tests] == ["net(seed=2)", "net(seed=1)", "net(seed=3)", "net(seed=2)"]


@pytest.mark.slow
def test_learned_features_are_fitted_for_each_network(folder: Path) -> None:
    text = (
        MODEL
        + 'network net(seed in 0:2) = torch("nets.py:build", seed=seed)\nalign tau(k in [1, 2]) : equality -> net {\n'
        + INPUTS
        + "  left @ layer[1].out via rotation(dim=k, epochs=1, n=32, batch=16)\n}\n"
        + swap("t", "tau", "left")
    )
    found = run(folder, text)
    assert [(test.name, [cell.cell for cell in test.cells]) for test in found.tests] == [
        ("t(seed=0)", [{"k": 1}, {"k": 2}]),
        ("t(seed=1)", [{"k": 1}, {"k": 2}]),
    ]
    alone = run(folder, text.replace("net(seed in 0:2)", "net").replace("seed=seed", "seed=1"))
    assert scores(found["t(seed=1)"]) == scores(alone["t"])


@pytest.mark.slow
def test_what_is_printed_and_selected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        MODEL
        + 'network net(seed in 0:3) = torch("nets.py:build", seed=seed)\nalign tau : equality -> net {\n'
        + INPUTS
        + "  left @ layer[1].out[0:4]\n}\n"
        + swap("t", "tau", "left")
        + swap("u", "tau", "left")
    )
    (folder / "spec.causal").write_text(text, encoding="utf-8")
    assert main(["run", "spec.causal", "--trust", "--test", "t", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    schema = json.loads((Path(__file__).parents[2] / "docs" / "output.schema.json").read_text(encoding="utf-8"))
    whole = {"$defs": schema["$defs"], "$ref": "#/$defs/Run"}
    jsonschema.Draft202012Validator(whole).validate(document)
    (spec,) = document["specs"]
    assert [test["variant"] for test in spec["tests"]] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert [family["over_networks"] for family in spec["families"]] == [["seed"]]
    assert main(["run", "spec.causal", "--trust", "--test", "u(seed=1)"]) == 0
    shown = capsys.readouterr().out
    assert "test u(seed=1)" in shown and "seed=0" not in shown
    assert main(["run", "spec.causal", "--trust"]) == 0
    shown = capsys.readouterr().out
    assert "family t  3 tests over seed" in shown and "each network counts once" in shown


def test_the_same_in_python(folder: Path) -> None:
    text = """network net(seed in 0:3, deep in [2, 3]) = torch("nets.py:build", seed=seed, depth=deep)

causal equal {
  a, b ~ 0..3
  output same := a == b
}

align tau(l in 0:2) : equal -> net(deep=2) {
  a    @ input[0:4] via onehot()
  b    @ input[4:8] via onehot()
  same @ logits
}

test t(c in [0.5, 2]) on tau(l=1) {
  base ~ equal(n=8)
  do(layer[1].out += c)
  report moved, kl
}
"""
    net = cd.torch(
        "nets.py:build",
        name="net",
        seed=cd.param("seed"),
        depth=cd.param("deep"),
        sweep={"seed": range(3), "deep": [2, 3]},
    )
    equal = cd.Causal("equal")
    a, b = equal.draw("a", "b", domain=cd.between(0, 3))
    same = equal.output("same", a == b)
    tau = cd.align("tau", equal, net(deep=2), l=range(2))
    tau.place(a, cd.input[0:4], via=cd.onehot())
    tau.place(b, cd.input[4:8], via=cd.onehot())
    tau.place(same, cd.logits)
    t = cd.test("t", tau(l=1), c=[0.5, 2])
    t.draw("base", equal(n=8))
    t.do(cd.add_to(cd.layer[1].out, cd.param("c")))
    t.report(cd.moved, cd.kl)
    made = cd.spec(net, equal, tau, t)
    assert made.tree == cd.parse(text).tree
    assert cd.parse(made.source()).tree == made.tree


def test_large_families_are_told_of(folder: Path) -> None:
    for step in (0, 1, 2):
        (folder / f"lm{step}").mkdir()
        (folder / f"lm{step}" / "config.json").write_text(
            '{"model_type": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": 8, "vocab_size": 16}', encoding="utf-8"
        )
        with (folder / f"lm{step}" / "model.safetensors").open("wb") as file:
            file.truncate(2 * 2**30)  # a hole: no room is taken
    text = 'network lm(step in 0:3) = hf("./lm{step}")\nnetwork few(step in 0:2) = hf("./lm{step}")\n'
    found = cd.check(cd.parse(text))
    assert [d.code for d in found.diagnostics if d.code == "W231"] == ["W231"]


@pytest.mark.slow
def test_one_network_under_two_values_counts_once(folder: Path) -> None:
    """Who a network is decides what differs, not what its member is called."""
    text = (
        MODEL
        + 'network net(name in [a, b], seed in 0:2) = torch("nets.py:build", seed=seed)\nalign tau : equality -> net {\n'
        + INPUTS
        + "}\ntest t on tau {\n  base ~ equality(n=32, seed=0)\n  report accuracy\n}\n"
    )
    family = run(folder, text).family("t")
    assert len(family.tests) == 4 and family.over == ("seed",)
    assert {spread.of for spread in family.spreads} == {2}
    assert [d.code for d in cd.check(cd.parse(text)).diagnostics] == ["W775"]
    same = run(folder, text.replace("seed in 0:2", "seed in 1:2")).family("t")
    assert same.over == () and same.spreads == ()


@pytest.mark.slow
def test_what_an_alignment_fixes_of_another_is_fixed_for_all_that_take_it_over(tmp_path: Path) -> None:
    path = tmp_path / "s.causal"
    path.write_text(
        MODEL
        + """network net = zoo("equality-relu")

align tau(l in 0:2, k in [0, 2]) : equality -> net {
"""
        + INPUTS
        + """  left @ layer[l].out[k:k + 2]
}

align one : tau(l=1) {}

align two : one(k=0) {}

test one_cell on two {
  base, source ~ equality(n=64, seed=0)
  do(left <- source)
  expect iia >= 100%
}

test of_one on one {
  base, source ~ equality(n=64, seed=0)
  do(left <- source)
  report iia
}
"""
    )
    results = cd.run(cd.load(path))
    assert results.passed and [cell.cell for cell in results["one_cell"].cells] == [{"l": 1, "k": 0}]
    assert [cell.cell for cell in results["of_one"].cells] == [{"l": 1, "k": 0}, {"l": 1, "k": 2}]
    text = path.read_text()
    for wrong, code in (
        (text.replace("tau(l=1)", "tau(l=2)"), "E696"),
        (text.replace("tau(l=1)", "tau(m=1)"), "E211"),
        (text.replace("equality -> net {", "equality -> net(seed=1) {"), "E211"),
        (text.replace(": equality -> net {", ": equality(n=1) -> net {"), "E211"),
    ):
        path.write_text(wrong)
        assert code in [found.code for found in cd.check(cd.load(path)).diagnostics]


PROMPTED = """domain Shape = {"arrow", "circle", "cross", "diamond"}
causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}
network net = zoo("equality-gpt2")
align at : equality -> net {
  prompt "{a} {b} {c} {d} ="
  a @ layer[0].resid_post[a]
  b @ layer[0].resid_post[b]
  same @ next_token
}
"""


@pytest.mark.parametrize(
    "draws",
    [
        "base ~ equality(n=12, seed=3) source ~ equality(like=base, vary=[V])",
        "base, source ~ equality(n=12, seed=3) where base.V != source.V",
    ],
)
@pytest.mark.thinned(always=1)
def test_a_parameter_stands_for_a_variable_in_what_is_measured(folder: Path, draws: str) -> None:
    """`logit(base.u)`, where the draws name the parameter, too: the same as with the variable in its place."""
    body = f" on at {{ {draws} do(V <- source) report logit(base.V), prob(source.V) expect mean(logit(base.V)) > -1000 }}\n"
    family = run(folder, PROMPTED + "test t(u in [a, b])" + body.replace("V", "u"))
    alone = run(folder, PROMPTED + "".join(f"test {v}" + body.replace("V", v) for v in "ab"))
    assert [scores(test)[0][1] for test in family.tests] == [scores(test)[0][1] for test in alone.tests]
    assert len(family.tests) == 2 and family.passed


@pytest.mark.slow
def test_a_parameter_stands_for_a_variable_that_is_only_measured(folder: Path) -> None:
    """It is a position in `do`, and a variable in `base.u`, in a metric, and in a metric that is made of that one."""
    metrics = "metric of_it = logit(base.u) - logit(source.u)\nmetric twice = 2 * of_it\n"
    body = " on at { base, source ~ equality(n=12, seed=3) do(layer[0].resid_post[U] <- source) report logit(base.U), twice }\n"
    family = run(folder, PROMPTED + metrics + "test t(u in [a, b])" + body.replace("U", "u"))
    alone = [
        run(folder, PROMPTED + metrics.replace(".u", f".{v}") + f"test {v}" + body.replace("U", v)).tests[0]
        for v in "ab"
    ]
    for one, other in zip(family.tests, alone, strict=True):
        assert scores(one)[0][1] == pytest.approx(scores(other)[0][1], rel=1e-5)


@pytest.mark.slow
def test_what_a_test_is_on_takes_parameters_of_the_test_and_numbers_that_are_computed(folder: Path) -> None:
    spec = PROMPTED.replace("align at :", "align at(l in 0:layers, k in [1, 2 * 1]) :").replace("layer[0]", "layer[l]")
    spec += "circuit early(j in 0:layers) : net { it = layer[j].mlp_out }\n"
    body = " { base, source ~ equality(n=12, seed=3) do(A) report kl }\n"
    one, two, three = "a <- source", "early(j=layers - 1) <- source", "early(j=2) <- source"
    family = run(folder, spec + "test t(i in [0, 1]) on at(l=1 - i, k=2)" + body.replace("A", one))
    alone = run(folder, spec + "".join(f"test t{i} on at(l={1 - i}, k=2)" + body.replace("A", one) for i in (0, 1)))
    assert [scores(test)[0][1] for test in family.tests] == [scores(test)[0][1] for test in alone.tests]
    assert scores(family.tests[0]) != scores(family.tests[1])
    made = run(
        folder, spec + "".join(f"test t{i} on at(0, k=2)" + body.replace("A", a) for i, a in enumerate((two, three)))
    )
    assert scores(made.tests[0]) == scores(made.tests[1])
