"""The real pretrained model (`pytest -m real`): fetched once, then the specs' questions on a few cells."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd

SPECS = Path(__file__).parent.parent / "specs"

pytestmark = pytest.mark.real

FEW = """
from "ioi.causal" import ioi, smollm, tau

align few(l in [12, 22, 29], p in [last, subject]) : tau {
  recipient @ layer[l].resid_post[p]
}

test last_token on few(p=last) {
  base, source ~ ioi(n=16, seed=7) where base.answer != source.answer
  do(recipient <- source)
  report iia
}

test top_layer_elsewhere on few(l=29, p=subject) {
  base, source ~ ioi(n=16, seed=7) where base.answer != source.answer
  do(recipient <- source)
  expect moved <= 0%
}
"""


def test_the_task_is_solved_on_names_never_looked_at_and_the_control_moves_nothing() -> None:
    spec = cd.load(SPECS / "ioi.causal")
    results = cd.run(spec, cd.Options(tests=("solves_the_task", "place_is_unrelated")))
    assert results.passed, "\n".join(diagnostic.render() for diagnostic in results.diagnostics)
    assert results["solves_the_task"].cell().scores["accuracy"].value >= 0.95
    assert results["place_is_unrelated"].cell().noise_floor < 1e-3


def test_the_last_token_carries_the_answer_late_and_not_early(tmp_path: Path) -> None:
    for name in ("ioi.causal", "names.causal"):
        (tmp_path / name).write_text((SPECS / name).read_text())
    (tmp_path / "few.causal").write_text(FEW)
    results = cd.run(cd.load(tmp_path / "few.causal"))
    sweep = results["last_token"]
    # the last layer's last token is all that the unembedding reads: the source's own answer comes out
    assert sweep.cell(l=12).scores["iia"].value <= 0.1
    assert sweep.cell(l=29).scores["iia"].value >= 0.9
    # and above it nothing reads any other token
    assert results["top_layer_elsewhere"].passed


def test_left_and_right_padding_give_the_same_scores(tmp_path: Path) -> None:
    text = """
        from "ioi.causal" import ioi
        network right = zoo("smollm2-135m-instruct-q4")
        network left = zoo("smollm2-135m-instruct-q4", padding=left)
        align a : ioi -> right {
          prompt "{first} met {second}. {subject} gave a {thing} to"
          answer @ next_token
        }
        align b : ioi -> left {
          prompt "{first} met {second}. {subject} gave a {thing} to"
          answer @ next_token
        }
        metric m = logit(answer)
        test ta on a { base ~ ioi(n=24) report mean(m) }
        test tb on b { base ~ ioi(n=24) report mean(m) }
    """
    for name in ("ioi.causal", "names.causal"):
        (tmp_path / name).write_text((SPECS / name).read_text())
    (tmp_path / "t.causal").write_text(text)
    results = cd.run(cd.load(tmp_path / "t.causal"))
    means = [results[name].cell().scores["mean(m)"].value for name in ("ta", "tb")]
    assert means[0] == pytest.approx(means[1], abs=1e-4)


def test_a_subspace_of_the_last_token_is_fitted_from_prefixes(tmp_path: Path) -> None:
    text = """
        from "ioi.causal" import ioi, tau
        align found : tau {
          recipient @ layer[26].resid_post[last]
              via rotation(dim=32, n=48, batch=16, epochs=4, rate=0.003, controls=none)
        }
        test carried on found(l=26) {
          base, source ~ ioi(n=32, seed=5) where base.answer != source.answer
          do(recipient <- source)
          report iia
        }
    """
    for name in ("ioi.causal", "names.causal"):
        (tmp_path / name).write_text((SPECS / name).read_text())
    (tmp_path / "t.causal").write_text(text)
    cell = cd.run(cd.load(tmp_path / "t.causal"))["carried"].cell()
    (feature,) = cell.learned.features
    assert (feature.size, feature.width, feature.pairs) == (32, 576, 48)
    assert feature.losses[-1] < feature.losses[0]  # it learns
    assert feature.validation is not None and feature.validation[0] < feature.losses[0]
    assert cell.noise_floor is not None and cell.noise_floor < 1e-3
    assert cell.scores["iia"].n == 32
