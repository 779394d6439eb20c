"""The pages of E6xx and W6xx faults: the first block has the fault, the second has not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from causal_dsl import check
from causal_dsl import parse as parsed
from causal_dsl.base.resources import resource
from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.diagnostics import Diagnostics, Source
from causal_dsl.measures.compile import compile_metrics
from causal_dsl.measures.context import TestContext
from causal_dsl.score.make_findings import vacuous_expectation
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import parse
from tests.score.scoring import NAMES

#: What the page's test of a whole alignment speaks of.
EQUALITY = """
domain Shape = 0..3
causal equality { a, b, c, d ~ Shape left := a == b right := c == d output same := left == right }
network net = zoo("equality-relu")
align halves : equality -> net {
  a @ input[0:4] via embedding(dim=4, seed=0) b @ input[4:8] via embedding(dim=4, seed=0)
  c @ input[8:12] via embedding(dim=4, seed=0) d @ input[12:16] via embedding(dim=4, seed=0)
  left @ layer[0].out[0:8] right @ layer[0].out[8:16]
  same @ logits
}
"""
CODES = [f"E{number}" for number in (*range(600, 611), 612)] + ["W600", "W620", "W621", "W622", "F701", "F702"]
#: What the pages' expectation of 40% is passed by.
CEILINGS = {"W620": ("noop",), "W621": ("source",), "W622": ("output_only",)}


def faults(text: str, ceilings: tuple[str, ...]) -> set[str]:
    found = Diagnostics()
    spec = parse(Source("page.causal", text), found)
    for test in spec.declarations:
        if not isinstance(test, tree.TestDecl):
            continue
        roles = tuple(n.name for member in test.members if isinstance(member, tree.Draw) for n in member.names)
        actions = [action for member in test.members if isinstance(member, tree.Do) for action in member.actions]
        context: dict[str, Any] = {
            "variables": {"answer": NAMES, "subject": NAMES},
            "output": "answer",
            "members": test.members,
            "metrics": {d.name.name: d.value for d in spec.declarations if isinstance(d, tree.MetricDecl)},
            "interchange": any(isinstance(action.target, tree.Name) for action in actions),
            "intervened": bool(actions),
            "parameters": {"l": tuple(range(12))} if isinstance(test.on, tree.Name) else {},
            "answers": NAMES,
        }
        scores = compile_metrics(TestContext(test.name.name, roles, **context), found)
        for expectation in scores.expectations:
            passed = {name: Ceiling(0.5, True, 16) for name in ceilings}
            warning = vacuous_expectation({"noop": Ceiling(0.25, True, 16), **passed}, expectation)
            found.extend([warning] if warning else [])
    return {diagnostic.code for diagnostic in found}


@pytest.mark.parametrize("code", CODES)
def test_page(code: str) -> None:
    text = resource("docs", "diagnostics.d", f"{code}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {code}: ")
    faulty, mended = re.findall(r"```causal\n(.*?)```", text, re.DOTALL)
    ceilings = CEILINGS.get(code, ())
    assert faults(faulty, ceilings) == (set() if code.startswith("F") else {code})
    assert faults(mended, ceilings) == set()


def test_the_page_of_measures() -> None:
    text = resource("docs", "measures.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```causal\n(.*?)```", text, re.DOTALL)
    names, whole = [block for block in blocks if "ioi(" in block], [block for block in blocks if "equality(" in block]
    assert len(names) == 2 and len(whole) == 1 and len(blocks) == 3
    for block in names:
        assert faults(block, ()) == set()
    found = check(parsed(EQUALITY + whole[0])).diagnostics
    assert not [diagnostic for diagnostic in found if diagnostic.code.startswith("E")], found


def test_the_page_of_measures_names_them_all() -> None:
    from causal_dsl.measures.names import RESERVED

    text = resource("docs", "measures.md").read_text(encoding="utf-8")
    for name in RESERVED:
        assert f"`{name}`" in text or f"`{name}(" in text, name
