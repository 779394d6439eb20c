"""Values that are made from the vector that is there, in a vector network and on the command line.

That of every site of language networks each is what a person would write is in ``test_matrix``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.written_there import written_there
from causal_dsl.network.zoo.equality_relu import build
from causal_dsl.tools.cli import main
from causal_dsl.vocabulary.values import VALUES, words
from tests.engine.test_execute import RELU, one_hot, relu_spec

INPUTS = list(itertools.product(range(4), repeat=4))
DIRECTION = torch.tensor([1.0, -2.0, 0.5, 1e-3], dtype=torch.float64)


def _without(hidden: Tensor, direction: Tensor) -> Tensor:
    return hidden - torch.outer(hidden @ direction, direction) / (direction @ direction)


BY_HAND: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("clamp(0.2, 0.5)", lambda h: torch.minimum(torch.maximum(h, torch.tensor(0.2)), torch.tensor(0.5))),
    ("clamp(low=0.75)", lambda h: torch.where(h < 0.75, 0.75, h)),
    ("clamp(high=0)", torch.zeros_like),  # what leaves a ReLU is not negative
    ("scale(-0.5)", lambda h: -h / 2),
    ("2 * current - mean", lambda h: 2 * h - h.mean(0)),
    ("-current / 4 + [0, 1, 0, 1]", lambda h: torch.tensor([0.0, 1, 0, 1]) - 0.25 * h),
    ("2 * clamp(0.2, 0.5) + scale(3)", lambda h: 2 * h.clip(0.2, 0.5) + 3 * h),
    ("project_out([1, -2, 0.5, 0.001])", lambda h: _without(h, DIRECTION)),
    ("project_out(-3e200 * [1, -2, 0.5, 0.001])", lambda h: _without(h, DIRECTION)),  # its square is no float64
    ('project_out(vector("d.safetensors", key="d"))', lambda h: _without(h, DIRECTION)),
    ("project_out(mean) + 0.5 * mean", lambda h: _without(h, h.mean(0)) + h.mean(0) / 2),
]


def _by_hand(change: Callable[[Tensor], Tensor], before: float = 1.0) -> float:
    """The mean logit of the right answer over all inputs, with what leaves layer 1 changed, and layer 0 scaled."""
    model = build()
    with torch.no_grad():
        hidden = model.layers[1](before * model.layers[0](torch.stack([one_hot(values) for values in INPUTS])))
        logits = model.logits(model.layers[2](change(hidden).double()))
    label = torch.tensor([int((a == b) == (c == d)) for a, b, c, d in INPUTS])
    return float(logits.gather(1, label[:, None]).mean())


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({"d": 3 * DIRECTION, "zero": 0 * DIRECTION}, tmp_path / "d.safetensors")


@pytest.mark.parametrize(("value", "change"), BY_HAND, ids=[value for value, _ in BY_HAND])
@pytest.mark.thinned(always=6)
def test_a_vector_network_gives_what_a_hook_by_hand_gives(value: str, change: Callable[[Tensor], Tensor]) -> None:
    spec = relu_spec(f"""
        test t on halves {{ base ~ equality(exhaustive=true) do(layer[1].out[0:4] = {value})
          report mean(logit(same)) }}
    """)
    expected = _by_hand(change)
    found = cd.run(spec)["t"].cell().scores["mean(logit(same))"].value
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_what_is_written_before_is_what_is_there() -> None:
    spec = relu_spec("""
        test t on halves { base ~ equality(exhaustive=true)
          do(layer[1].out[0:4] = 0.25 * current + 0.25, layer[0].out[0:16] = scale(4))
          report mean(logit(same)) }
    """)
    found = cd.run(spec)["t"].cell().scores["mean(logit(same))"].value
    assert found == pytest.approx(_by_hand(lambda h: (h + 1) / 4, before=4), rel=1e-9)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ('project_out(vector("d.safetensors", key="zero"))', "E791"),
        ("project_out(mean - mean)", "E791"),
        ('project_out(vector("d.safetensors", key="none"))', "E688"),
        ("1 / (current - current)", "E686"),
    ],
)
def test_a_fault_of_numbers_is_told_when_they_are_known(
    value: str, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = f"test t on halves {{ base ~ equality(n=8) do(layer[1].out[0:4] = {value}) report kl }}"
    (tmp_path / "t.causal").write_text(RELU.replace("SITE", "layer[1].out[0:2]") + test, encoding="utf-8")
    assert main(["run", "t.causal"]) == 2
    assert f"error[{code}]" in capsys.readouterr().err


def test_a_variable_has_values_of_its_own() -> None:
    for value in ("clamp(0, 1)", "scale(2)", "current", "mean", "noise(std=1)"):
        spec = relu_spec(f"test t on halves {{ base ~ equality(n=8) do(left = {value}) report kl }}")
        with pytest.raises(SpecError) as caught:
            cd.run(spec)
        assert [found.code for found in caught.value.diagnostics] == ["E689"]


def test_the_plan_says_what_becomes_of_what_is_there() -> None:
    spec = relu_spec("test t on halves { base ~ equality(n=8) do(layer[1].out[0:4] = 2 * clamp(0, 1)) report kl }")
    assert "write layer[1].out[0:4]: 2 * clamp(low=0, high=1)" in cd.plan(spec).text()


def test_a_run_may_be_called_as_a_word_is() -> None:
    draw = "base, current ~ equality(n=64, seed=1)"
    both = relu_spec(f"""
        test word on halves {{ {draw} do(layer[1].out[0:4] = current) report moved }}
        test run on halves {{ {draw} do(layer[1].out[0:4] <- current) report moved }}
    """)
    results = cd.run(both)
    assert results["word"].cell().scores["moved"].value == results["run"].cell().scores["moved"].value > 0


@pytest.mark.parametrize("name", words())
def test_every_word_is_a_name_of_the_builder(name: str) -> None:
    assert repr(getattr(cd, name)) == name
    assert name in dir(cd)


class _NoRun:
    """A row of which no run and no chance is at hand."""

    def __init__(self, current: Tensor):
        self.current = current

    def file(self) -> Tensor:
        return 3 * DIRECTION


@pytest.mark.parametrize("name", VALUES)
def test_what_needs_no_run_is_known_without_one(name: str) -> None:
    rows = torch.tensor([[-1.0, 0.5, 0.01, 2], [0.2, -0.3, 0, -0.04]], dtype=torch.float64)
    for example in VALUES[name].examples:
        text = example.text.replace("VECTORS", "d.safetensors").replace("wWIDTH", "d")
        spec = relu_spec(
            f"test t on halves {{ base, source ~ equality(n=8) do(layer[1].out[0:4] {text}) report accuracy }}"
        )
        written = cd.plan(spec).tests[0].cells[0].interventions[0].value
        try:
            expected = torch.stack([example.by_hand(_NoRun(row)) for row in rows])  # type: ignore[arg-type]
        except AttributeError:
            assert written_there(written, rows) is None
        else:
            found = written_there(written, rows)
            assert found is not None, text
            torch.testing.assert_close(found, expected)


def test_the_builder_makes_what_is_parsed() -> None:
    made = cd.set_to(cd.layer[1].out[0:4], 2 * cd.clamp(-1, high=1) - cd.project_out([1, 0, 0, 1]))
    text = "test t on a { base ~ m(n=1) do(layer[1].out[0:4] = 2 * clamp(-1, high=1) - project_out([1, 0, 0, 1])) }"
    (declared,) = cd.parse(text).tree.declarations
    assert made.node == declared.members[1].actions[0]


def test_every_kind_is_a_row_of_the_documentation() -> None:
    text = (Path(cd.__file__).parents[1] / "docs" / "language.md").read_text(encoding="utf-8")
    for kind in VALUES.values():
        assert f"| {kind.forms} | {kind.meaning} |" in text
        # what is fitted before it is written is no function of the current vector: its tests are in test_optimal.py
        assert kind.examples or kind.kind.function.endswith(":unfitted")
