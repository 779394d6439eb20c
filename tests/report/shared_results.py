"""Results that the tests of pages and figures share, run once: a map, a curve, single cells, failing pairs, values that are hostile."""

from __future__ import annotations

from functools import cache

import causal_dsl as cd
from tests.equality import gpt2, relu

#: Values that would leave their place if a page took them as they are: markup, quotes, a mark that reorders a line, a control character.
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "\"'><img src=x onerror=window.hacked=2>",
    "\u202eright",
    "a\u0007&amp;{{7*7}}",
)

SWEEPS = """
test mapped on at {
  base, source ~ equality(n=32, seed=0)
  do(left <- source)
  expect max(iia) >= 99.99%
  report iia
}
test fails on at(l=1, p=last) {
  base, source ~ equality(n=64, seed=1)
  do(left <- source)
  expect iia >= 99%
  report accuracy
}
"""
ONE = """
test one on halves {
  base, source ~ equality(n=64, seed=0)
  do(left <- source)
  expect iia >= 99%
}
"""


@cache
def results() -> cd.Results:
    """A map over layers and tokens, a curve over layers, and a spec whose values are hostile."""
    mapped = gpt2(
        "left @ layer[l].resid_post[p]",
        align="at(l in 0:3, p in [a, b, last])",
        tests=SWEEPS + SWEEPS.split("test fails")[0].replace("test mapped on at", "test along on at(p=b)"),
    )
    values = ", ".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in HOSTILE)
    hostile = relu("left @ layer[1].out[2:4]", tests=ONE).replace("domain Shape = 0..3", f"domain Shape = {{{values}}}")
    runs = [
        cd.run(cd.parse(text, name)) for text, name in ((mapped, "sweeps.causal"), (hostile, "<b>hostile</b>.causal"))
    ]
    return cd.Results(tuple(spec for run in runs for spec in run.specs))
