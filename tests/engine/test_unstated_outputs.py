"""Pairs of texts without an expected answer: an output that the causal model does not state, against hooks written out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from causal_dsl import api
from causal_dsl.api import Options
from tests.engine.byhand import ByHand
from tests.engine.tiny import folder_of
from tests.thinning import spread

ROWS = [(f"w{3 + n} w1 w{20 + n}", f"w{3 + n} w2 w{30 + n}") for n in range(12)]
SPEC = """
table Pairs = csv("pairs.csv", key=row)
causal pairs {
  row  ~ Pairs
  side ~ {"clean", "corrupt"}
  text := if side == "clean" then Pairs[row].clean else Pairs[row].corrupt
  output said
}
network net = hf("FOLDER")
align texts(l in 0:3) : pairs -> net {
  prompt "{text} w5"
  side @ layer[l].resid_post[last - 1]
  said @ next_tokenREAD
}
metric difference = logit("w7") - logit("w8")
test restores on texts {
  base   ~ pairs(n=12, seed=1) where base.side == "corrupt"
  source ~ pairs(like=base, vary=[side])
  do(WRITE <- source)
  report kl, moved, recovered(difference), change(difference), entropy
}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "pairs.csv").write_text("clean,corrupt\n" + "".join(f"{a},{b}\n" for a, b in ROWS))
    monkeypatch.chdir(tmp_path)
    return SPEC.replace("FOLDER", folder_of("llama"))


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("write", spread(["side", "layer[l].resid_post[last - 1]"], 2))
@pytest.mark.parametrize("among", [False, True])
def test_pairs_without_an_answer(spec: str, write: str, among: bool, tmp_path: Path) -> None:
    text = spec.replace("WRITE", write).replace("READ", '(among={"w7", "w8", "w9"})' if among else "")
    plan = api.check(api.parse(text)).plan
    assert plan is not None
    drawn, model = plan.draw_of(plan.tests[0]), plan.tests[0].model
    rows = [int(value) for value in model.decode("row", drawn.values["base"]["row"])]
    hand = ByHand("llama")
    results = [api.run(api.parse(text), Options(reference=reference)).tests[0] for reference in (False, True)]
    for result in results:
        assert set(result.cells[0].scores) == {
            "kl",
            "moved",
            "recovered(difference)",
            "change(difference)",
            "entropy",
            "recovered_per_pair(difference)",
            "recovered_median(difference)",
            "median(change(difference))",
        }
        assert result.to_json()["ceilings"] == {}
        for layer, cell in enumerate(result.cells):
            numbers: dict[str, list[float]] = {"kl": [], "moved": [], "change": [], "clean": [], "entropy": []}
            for row in rows:
                clean, corrupt = (tuple(int(word[1:]) for word in f"{side} w5".split()) for side in ROWS[row])
                vector = hand.vector(clean, "resid_post", layer)[-2]
                before, source = hand.logits(corrupt)[-1].double(), hand.logits(clean)[-1].double()
                after = hand.patched(corrupt, "resid_post", layer, 2, vector)[-1].double()
                p, q = torch.log_softmax(before, 0), torch.log_softmax(after, 0)
                numbers["kl"].append(float((p.exp() * (p - q)).sum()))
                said = [int(run[7:10].argmax() if among else run.argmax()) for run in (before, after)]
                numbers["moved"].append(said[0] != said[1])
                numbers["change"].append(float((after[7] - after[8]) - (before[7] - before[8])))
                numbers["clean"].append(float((source[7] - source[8]) - (before[7] - before[8])))
                numbers["entropy"].append(float(-(q.exp() * q).sum()))
            for name, wanted in (
                ("kl", "kl"),
                ("moved", "moved"),
                ("change(difference)", "change"),
                ("entropy", "entropy"),
            ):
                found = cell.scores[name].value
                assert found is not None and abs(found - np.mean(numbers[wanted])) < 1e-4, (layer, name)
            middle = cell.scores["median(change(difference))"].value
            assert middle is not None and abs(middle - np.median(numbers["change"])) < 1e-4
            share = np.mean(numbers["change"]) / np.mean(numbers["clean"])
            assert abs((cell.scores["recovered(difference)"].value or 0) - share) < 1e-3 * max(1, abs(share))


#: What asks for an answer that is not there: (what is replaced, what by, the code).
ASKED = [
    ("report kl,", "report iia,", "E607"),
    ("report kl,", "report accuracy,", "E607"),
    ("report kl,", "report logit(said),", "E607"),
    ("report kl,", "report logit(source.said),", "E607"),
    ("report kl,", "report logit(label),", "E607"),
    ("report kl,", "report rank,", "E607"),
    ('where base.side == "corrupt"', "where base.said", "E772"),
    ("n=12, seed=1", "n=12, balance=[said]", "E772"),
    ('where base.side == "corrupt"', "where solved(base)", "E773"),
    ("{text} w5", "{text} {said}", "E772"),
    ("output said", "output said\n  again := said", "E772"),
    ("resid_post[last - 1]\n", "resid_post[last - 1] via rotation(dim=2)\n", "E773"),
    ("next_tokenREAD", "next_token(end=word)", "E772"),
]


@pytest.mark.parametrize(("old", "new", "code"), ASKED)
def test_what_asks_for_the_answer(spec: str, old: str, new: str, code: str) -> None:
    assert old in spec
    text = spec.replace("WRITE", "side").replace(old, new).replace("READ", "")
    assert {d.code for d in api.check(api.parse(text)).errors} == {code}


def test_a_run_by_itself(spec: str, tmp_path: Path) -> None:
    """Nothing is right or wrong, and the table of pairs has what was said."""
    import pandas

    text = spec.replace("WRITE", "side").replace("READ", "").replace("restores on texts", "restores on texts(l=1)")
    result = api.run(api.parse(text), Options(out=tmp_path / "out")).tests[0]
    assert not result.wrong and "wrong" not in str(result.findings)
    (table,) = (tmp_path / "out").rglob("pairs.parquet")
    pairs = pandas.read_parquet(table)
    assert "label" not in pairs and "base_answer" not in pairs
    assert pairs["network_said"].str.match(r"w\d+").all()
    assert (pairs["network_said"] != pairs["network_base_said"]).mean() == result.cells[0].scores["moved"].value
