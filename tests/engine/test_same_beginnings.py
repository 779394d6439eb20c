"""Passes of edges that go on behind the tokens that base and source begin alike with, held against whole forward passes."""

from __future__ import annotations

from itertools import product

import pytest

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.engine import edges_stacked
from causal_dsl.network import continued
from causal_dsl.network.continued import Beginnings
from tests.engine.test_edge_circuits import CIRCUIT
from tests.engine.test_edges import FAMILIES
from tests.engine.tiny import folder_of, network_of
from tests.network.test_stream import results_of, streamed
from tests.thinning import spread

#: Prompts of two lengths that begin with the same three tokens.
SPEC = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y ~ W
  output o := x
}
network net = hf("FOLDER", padding=PADDING)
align a : m -> net {
  prompt "w1 w2 w3 {x} w4 {y} w5"
  prompt "w1 w2 w3 {x} w6 {y} w4 w5 w7"
  o @ next_token(among=W)
}
metric gap = logit(o) - logit(source.o)
"""
WRITES = (
    "outside(c) <- source",
    "outside(c, at=[x, last]) <- source",
    "outside(c, at=[last - 1]) = 0",
    "outside(c) = 0",
)


def spec(name: str, padding: str, test: str) -> str:
    return SPEC.replace("FOLDER", folder_of(name)).replace("PADDING", padding) + CIRCUIT + test


@pytest.mark.slow
@pytest.mark.thinned(slow=2)
@pytest.mark.parametrize(("name", "padding"), spread(list(product(FAMILIES, ("right", "left"))), 3))
def test_what_is_run_behind_a_beginning_is_what_whole_passes_give(
    name: str, padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = "".join(
        f"""
test t{number} on a {{
  base, source ~ m(n=6, seed=3) where base.template == source.template and base.x != source.x
  do({write})
  report kl, change(gap)
}}
"""
        for number, write in enumerate(WRITES)
    )
    behind: list[int] = []
    goes_on = Beginnings.goes_on

    def counted(self: Beginnings, batch: object, count: int) -> object:
        behind.append(count)
        return goes_on(self, batch, count)  # type: ignore[arg-type]

    monkeypatch.setattr(Beginnings, "goes_on", counted)
    monkeypatch.setattr(edges_stacked, "WORTH_LEAVING_OUT", 1)
    continued.TRIED.clear()
    text = spec(name, padding, tests)
    fast = api.run(api.parse(text))
    counts = set(behind[1:])  # the first is the trial
    slow = api.run(api.parse(text), Options(reference=True))
    for one, other in zip(fast.tests, slow.tests, strict=True):
        for score, estimate in one.cells[0].scores.items():
            assert estimate.value == pytest.approx(other.cells[0].scores[score].value, abs=1e-5), (one.name, score)
        assert (one.cells[0].scores["kl"].value or 0) > 1e-6, one.name
    if network_of(text[: text.index("align ")]).facts.parallel or name == "gemma2":
        assert not behind, "attention of a part of the tokens, or beside the MLP, is run whole"
    else:
        assert counts == {3}  # in columns: padded left, the longer prompts begin in the first one


@pytest.mark.slow
def test_weights_that_are_streamed_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges_stacked, "WORTH_LEAVING_OUT", 1)
    text = spec(
        "llama",
        "right",
        """
test t on a {
  base, source ~ m(n=6, seed=3) where base.template == source.template and base.x != source.x
  do(outside(c) <- source)
  report kl, change(gap)
}
""",
    )
    one, other = (results_of(written) for written in (text, streamed(text)))
    assert one["cells"] == other["cells"] and one["cells"]
