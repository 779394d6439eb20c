"""Rows of a table of which some have no expected answer (an empty cell): they are run, and scores that need one rest on the others."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.diagnostics import SpecError
from tests.engine.byhand import ByHand
from tests.engine.tiny import folder_of
from tests.thinning import spread

ANSWERS = ["w7", "w8", "w9"]
#: clean text, corrupt text, answer, wrong answer; an empty text where there is none
ROWS = [
    (f"w{3 + n} w1 w{20 + n}", f"w{3 + n} w2 w{30 + n}", ANSWERS[n % 3] * (n % 4 > 0), ANSWERS[n % 2] * (n % 3 > 0))
    for n in range(12)
]
SPEC = """
table Pairs = TABLE
causal pairs {
  row  ~ Pairs
  side ~ {"clean", "corrupt"}
  text := if side == "clean" then Pairs[row].clean else Pairs[row].corrupt
  output said := if side == "clean" then Pairs[row].answer else Pairs[row].wrong
}
network net = hf("FOLDER")
align texts(l in 0:3) : pairs -> net {
  prompt "{text} w5"
  side @ layer[l].resid_post[last - 1]
  said @ next_token(among={"w7", "w8", "w9"})
}
test restores on texts {
  base, source ~ pairs(DRAW, like=base, vary=[side]) where base.side == "corrupt"
  do(side <- source)
  report kl, moved, prob(label), logit(source.said) - logit(said)
}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    named = [dict(zip(("clean", "corrupt", "answer", "wrong"), row, strict=True)) for row in ROWS]
    (tmp_path / "pairs.csv").write_text("clean,corrupt,answer,wrong\n" + "".join(f"{','.join(row)}\n" for row in ROWS))
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({name: cell or None for name, cell in row.items()}) + "\n" for row in named)
    )
    monkeypatch.chdir(tmp_path)
    return SPEC.replace("FOLDER", folder_of("llama"))


@cache
def by_hand(layer: int) -> dict[str, list[float]]:
    """The numbers of each row at a layer; NaN where the row has no such value."""
    hand, found = ByHand("llama"), dict[str, list[float]]()
    for texts in ROWS:
        clean, corrupt = (tuple(int(word[1:]) for word in f"{side} w5".split()) for side in texts[:2])
        answer, wrong = (int(text[1:]) if text else None for text in texts[2:])
        vector = hand.vector(clean, "resid_post", layer)[-2]
        before = hand.logits(corrupt)[-1].double()
        after = hand.patched(corrupt, "resid_post", layer, 2, vector)[-1].double()
        p, q = torch.log_softmax(before, 0), torch.log_softmax(after, 0)
        base, patched = (7 + int(run[7:10].argmax()) for run in (before, after))
        nan = float("nan")
        for name, value in (
            ("kl", float((p.exp() * (p - q)).sum())),
            ("moved", float(base != patched)),
            ("accuracy", nan if wrong is None else float(base == wrong)),
            ("iia", nan if answer is None else float(patched == answer)),
            ("prob(label)", nan if answer is None else float(q[answer].exp())),
            (
                "logit(source.said) - logit(said)",
                nan if answer is None or wrong is None else float(after[answer] - after[wrong]),
            ),
            (
                "iia_informative",
                nan if answer is None or wrong is None or answer == wrong else float(patched == answer),
            ),
        ):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("table", spread(['csv("pairs.csv", key=row)', 'jsonl("pairs.jsonl", key=row)'], 2))
@pytest.mark.parametrize("draw", ["exhaustive=true", "n=12, seed=3"])
def test_scores_rest_on_the_rows_that_have_an_answer(spec: str, table: str, draw: str, tmp_path: Path) -> None:
    text = spec.replace("TABLE", table).replace("DRAW", draw)
    plan = api.check(api.parse(text)).plan
    assert plan is not None
    test = plan.tests[0]
    drawn = plan.draw_of(test)
    rows = [int(value) for value in test.model.decode("row", drawn.values["base"]["row"])]
    result = api.run(api.parse(text)).tests[0]
    whole = api.run(api.parse(text), Options(reference=True)).tests[0]
    for one, other in zip(result.cells, whole.cells, strict=True):
        for name, score in one.scores.items():
            assert score.n == other.scores[name].n
            assert (score.value or 0) == pytest.approx(other.scores[name].value or 0, abs=1e-4)
    for layer, cell in enumerate(result.cells):
        for name, numbers in by_hand(layer).items():
            own = np.array(numbers)[rows]
            known = own[~np.isnan(own)]
            found = cell.scores[name]
            assert found.n == len(known), (layer, name)
            assert found.value == pytest.approx(known.mean(), abs=1e-4), (layer, name)
    codes = [finding for finding in result.findings if finding.code == "unanswered"]
    answered = sum(bool(ROWS[row][3]) for row in rows)
    assert len(codes) == 1 and re.search(rf"rests? on {answered} of 12", codes[0].text)
    assert "`kl`" in codes[0].text.split(";")[-1] and "are over all pairs" in codes[0].text


def test_chance_levels_are_those_of_the_rows_that_have_an_answer(spec: str) -> None:
    pairs = spec.replace("TABLE", 'csv("pairs.csv", key=row)')
    crossed = pairs.replace('DRAW, like=base, vary=[side]) where base.side == "corrupt"', "n=64, seed=2)")
    checked = api.check(api.parse(crossed))
    ceilings = next(iter(checked.ceilings.values()))
    sides = {"clean": 2, "corrupt": 3}
    counted: Counter[tuple[str, str, str]] = Counter()
    for base in ROWS:
        for own in sides.values():
            for source in ROWS:
                for theirs in sides.values():
                    if base[theirs]:  # the side is the source's, the row the base's
                        counted[base[theirs], base[own], source[theirs]] += 1
    whole = sum(counted.values())
    assert ceilings["noop"].exact and ceilings["noop"].n == whole
    assert ceilings["noop"].value == pytest.approx(sum(n for (a, b, _), n in counted.items() if a == b) / whole)
    assert ceilings["source"].value == pytest.approx(sum(n for (a, _, s), n in counted.items() if a == s) / whole)
    best: dict[tuple[str, str], int] = {}
    for (_, b, s), _n in counted.items():
        best[b, s] = max(n for (_, b2, s2), n in counted.items() if (b2, s2) == (b, s))
    assert ceilings["output_only"].value == pytest.approx(sum(best.values()) / whole)


@pytest.mark.parametrize(
    ("line", "by"),
    [
        ("report kl, moved, prob(label)", "report scrubbed, prob(label)"),
    ],
)
def test_what_needs_an_answer_in_every_row_is_refused(spec: str, line: str, by: str) -> None:
    text = spec.replace("TABLE", 'csv("pairs.csv", key=row)').replace("DRAW", "n=40, seed=3").replace(line, by)
    checked = api.check(api.parse(text))
    assert [found.code for found in checked.diagnostics if found.code[0] == "E"] == ["E787"]
    with pytest.raises(SpecError):
        api.run(api.parse(text))


LEARNED = SPEC.replace("align texts(l in 0:3)", "align texts").replace(
    "layer[l].resid_post[last - 1]", "layer[1].resid_post[last - 1] via rotation(dim=8, epochs=3, rate=0.03)"
)
ONE, OTHER = 'and source.said != "" and base.said != ""', 'and source.said != ""'


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("feature", ["rotation(dim=8, epochs=3, rate=0.03)", "linear_probe()"])
def test_a_feature_is_fitted_on_the_rows_that_have_an_answer(
    feature: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        f"w{3 + n % 4} w1 w{12 + n},w{3 + n % 4} w2 w{54 - n},{ANSWERS[n % 3] * (n % 4 > 0)},{ANSWERS[n % 2]}\n"
        for n in range(36)
    ]
    (tmp_path / "pairs.csv").write_text("clean,corrupt,answer,wrong\n" + "".join(rows))
    monkeypatch.chdir(tmp_path)
    text = LEARNED.replace("FOLDER", folder_of("llama")).replace("TABLE", 'csv("pairs.csv", key=row)')
    text = text.replace("rotation(dim=8, epochs=3, rate=0.03)", feature).replace("DRAW, like", "exhaustive=true, like")
    gaps = api.run(api.parse(text))
    whole = api.run(api.parse(text.replace('where base.side == "corrupt"', f'where base.side == "corrupt" {OTHER}')))
    (mine,), (theirs,) = gaps.tests[0].cells, whole.tests[0].cells
    assert mine.learned is not None and theirs.learned is not None
    own, other = mine.learned.features[0], theirs.learned.features[0]
    assert own.unanswered > 0 and other.unanswered == 0
    assert (own.pairs, own.inputs, own.losses, own.validation) == (
        other.pairs,
        other.inputs,
        other.losses,
        other.validation,
    )
    assert mine.scores["iia"].value == theirs.scores["iia"].value and mine.scores["iia"].n == theirs.scores["iia"].n
    assert mine.learned.margin == pytest.approx(theirs.learned.margin)
    for name, control in mine.learned.controls.items():
        assert control.iia.value == theirs.learned.controls[name].iia.value, name
        assert control.iia.n == mine.scores["iia"].n
    fitted = next(finding.text for finding in mine.findings if finding.code == "fitted")
    assert f"{own.unanswered} pairs drawn beside these have no expected answer" in fitted
