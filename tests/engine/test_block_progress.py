"""A bar ends at its total and never goes beyond it, however a run is made."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.report.progress import Progress
from causal_dsl.report.which_progress import progress_shown_by
from tests.engine.tiny import folder_of

SPEC = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  same := x == y
  output o := if same then x else z
}
network net = hf("FOLDER")
align at(l in 0:2, p in [x, y]) : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  same @ layer[l].resid_post[p]
  o @ next_token(among=W)
}
test t on at { base, source ~ m(n=40, seed=2) do(same <- source) report iia }
"""


class Heard(Progress):
    def __init__(self) -> None:
        self.total, self.done = 0, 0
        self.ran: list[tuple[int, int]] = []

    def begin(self, text: str, total: int) -> None:
        self.total, self.done = total, 0

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        self.ran.append((self.done, self.total))


@pytest.mark.slow
def test_a_bar_ends_at_its_total(tmp_path: Path) -> None:
    """Where the noise floor's rows come with the pairs, and where all is found in the store."""
    text = SPEC.replace("FOLDER", folder_of("gpt2"))
    for _ in range(2):
        heard = Heard()
        with progress_shown_by(lambda heard=heard: heard):  # type: ignore[misc]
            cd.run(cd.parse(text, str(tmp_path / "s.causal")), cd.Options(out=tmp_path / "kept", progress=True))
        assert heard.ran[-1][0] == heard.total > 0
        assert all(done <= total for done, total in heard.ran)
