"""`check` does work in proportion to a spec: counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from causal_dsl import api

SHAPES = '{"arrow", "circle", "cross", "diamond"}'
HEAD = f"""
domain Shape = {SHAPES}
causal m {{ a, b, c, d ~ Shape  left := a == b  right := c == d  output same := left == right }}
network net = zoo("equality-gpt2")
align al : m -> net {{
  prompt "{{a}} {{b}} {{c}} {{d}} ="
  left @ layer[0].resid_post[b]
  same @ next_token
}}
"""


def calls(work: Callable[[], object]) -> int:
    """How many functions of Python are called."""
    count = 0

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def checked(text: str, folder: Path) -> Callable[[], object]:
    (folder / "spec.causal").write_text(text)

    def work() -> object:
        found = api.check(api.load(folder / "spec.causal"))
        assert not found.errors
        return found

    return work


def grows(texts: Callable[[int], str], small: int, folder: Path) -> float:
    """How many times the calls are for four times as much, beyond what an empty one takes."""
    checked(texts(small), folder)()  # what is made once
    least, one, four = (calls(checked(texts(n), folder)) for n in (1, small, 4 * small))
    return (four - least) / (one - least)


@pytest.mark.slow
def test_tests(tmp_path: Path) -> None:
    def text(n: int) -> str:
        tests = [
            f"test t{i} on al {{ base, source ~ m(n=4, seed={i})  do(left <- source)  report iia }}" for i in range(n)
        ]
        return HEAD + "\n".join(test.replace("  ", "\n  ") for test in tests) + "\n"

    assert grows(text, 40, tmp_path) < 4.8


@pytest.mark.slow
def test_tests_of_one_feature(tmp_path: Path) -> None:
    """Whether a test reads what a feature is fitted on is asked of all its fits at once."""

    def text(n: int) -> str:
        spec = HEAD.replace("resid_post[b]", "resid_post[b] via rotation(dim=1, n=64)")
        return spec + "".join(
            f"test t{i} on al {{\n  base, source ~ m(n=4, seed={i})\n  do(left <- source)\n  report iia\n}}\n"
            for i in range(n)
        )

    assert grows(text, 12, tmp_path) < 4.8


def test_variables_in_a_chain(tmp_path: Path) -> None:
    def text(n: int) -> str:
        lines = [f"  v{i} := (v{i - 1} + {i % 7}) mod 10" for i in range(1, n + 1)]
        return "\n".join(["causal m {", "  v0 ~ 0..9", *lines, f"  output o := v{n} > 4", "}", ""])

    assert grows(text, 100, tmp_path) < 4.8


def test_a_chain_in_which_each_has_two_parents(tmp_path: Path) -> None:
    """A placed variable behind it is found by one visit to each, not one to each path."""

    def text(n: int) -> str:
        lines = [f"  v{i} := (v{i - 1} + v{i - 2}) mod 4" for i in range(2, n + 1)]
        model = ["causal m {", "  a ~ 0..3", "  v0 := a", "  v1 := v0", *lines, f"  output o := v{n} > 1", "}"]
        places = ["  a @ input[0:1] via scalar()", "  v1 @ layer[0].out[0]", "  o @ logits"]
        test = ["test t on al {", "  base, source ~ m(n=16)", "  do(v1 <- source)", "  report iia", "}", ""]
        network = 'network net = torch("n.py:f")'
        return "\n".join([*model, network, "align al : m -> net {", *places, "}", *test])

    (tmp_path / "n.py").write_text("def f(): pass\n")
    assert grows(text, 60, tmp_path) < 4.8


@pytest.mark.slow
def test_a_chain_of_thousands_is_no_recursion(tmp_path: Path) -> None:
    lines = [f"  v{i} := (v{i - 1} + 1) mod 10" for i in range(1, 3001)]
    checked("\n".join(["causal m {", "  v0 ~ 0..9", *lines, "  output o := v3000 > 4", "}", ""]), tmp_path)()


def test_rows_of_a_table(tmp_path: Path) -> None:
    def text(n: int) -> str:
        rows = "".join(f"c{i},k{i % 7},{i % 100}\n" for i in range(n))
        (tmp_path / "t.csv").write_text("city,country,people\n" + rows)
        return 'table T = csv("t.csv", key=city)\ncausal m {\n  x ~ {"c0"}\n  output o := T[x].country\n}\n'

    small, large = (calls(checked(text(n), tmp_path)) for n in (2000, 8000))
    assert large - small < 2000, "no function is called for each row"


def test_rows_of_a_draw(tmp_path: Path) -> None:
    def text(n: int) -> str:
        return HEAD + f"test t on al {{\n  base, source ~ m(n={n})\n  do(left <- source)\n  report iia\n}}\n"

    checked(text(10), tmp_path)()
    small, large = (calls(checked(text(n), tmp_path)) for n in (20_000, 200_000))
    assert large - small < 20_000, "no function is called for each row"
