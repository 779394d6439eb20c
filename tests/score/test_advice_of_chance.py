"""What a warning about chance advises is such that whoever follows it is warned no more."""

from __future__ import annotations

import re

import pytest

import causal_dsl as cd

SPEC = """
causal equality {
  a, b, c, d ~ 0..3

  left  := a == b
  right := c == d
  output same := left == right
}

network mlp = zoo("equality-relu")

align halves : equality -> mlp {
  a..d @ input via onehot()

  left @ layer[1].out[0:2]
  same @ logits
}

test left_is_localised on halves {
  base, source ~ equality(n=256, seed=0)WHERE
  do(left <- source)
  expect BOUND
}
"""
RULE = "a rule that sees only the answers of base and source then scores"
EVEN = "balance=[base.left, base.right, source.left, source.right]"
APART = " where base.left != source.left"
#: draws, expectation, the warning, and what it advises
ADVICE = [
    (APART, "iia >= 95%", "W622", f"draw with `{EVEN}` in place of the `where`: {RULE} 0.500"),
    (APART, "iia >= 55%", "W621", f"draw with `{EVEN}` in place of the `where`: {RULE} 0.500"),
    ("", "iia >= 55%", "W620", f"draw with `{EVEN}`: {RULE} 0.500"),
    (" where solved(base) and base.left != source.left", "iia >= 95%", "W622", "draw pairs in which the same answers"),
    ("", "iia >= 45%", "W620", "above 0.625, or an `iia_star` above 0"),
    ("", "iia > 62.5%", None, ""),
    ("", "iia_star > 0", None, ""),
]


def warned(where: str, bound: str, settings: str = "") -> dict[str, str]:
    text = SPEC.replace("WHERE", where).replace("BOUND", bound).replace("seed=0", f"seed=0{settings}")
    return {found.code: found.help for found in cd.check(cd.parse(text)).diagnostics if found.code.startswith("W62")}


@pytest.mark.parametrize(("where", "bound", "code", "advice"), ADVICE)
def test_what_a_warning_advises_mends_it(where: str, bound: str, code: str | None, advice: str) -> None:
    told = warned(where, bound)
    assert set(told) == ({code} if code else set())
    assert all(advice in help for help in told.values()), told
    balance = re.search(r"`(balance=.*?)`", "".join(told.values()))
    if balance is not None:
        assert warned("", bound, f", {balance[1]}") == {}
