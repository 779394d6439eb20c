"""Specs as pytest items, in a pytest of their own."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

import causal_dsl.running  # noqa: F401  (numpy and torch load once a process: not anew in each inner run)
from tests.equality import relu

SPEC = relu(
    tests="""
test solves on halves {
  base ~ equality(n=64, seed=0)
  expect accuracy >= 99%
}

test fails on halves {
  base ~ equality(n=64, seed=0)
  expect accuracy <= 10%
}
"""
)


def run(inside: pytest.Pytester, *words: str) -> pytest.RunResult:
    # Installed, the plugin is there by its entry point, and pytest refuses it under a second name.
    installed = any(point.name == "causal_dsl" for point in entry_points(group="pytest11"))
    return inside.runpytest_inprocess(*([] if installed else ["-p", "causal_dsl.tools.pytest_plugin"]), *words)


def test_a_test_is_an_item_and_fails_with_its_diagnostic(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SPEC)
    result = run(pytester, "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["halves.causal::solves PASSED*", "halves.causal::fails FAILED*", "*failed*F7*"])
    assert "Traceback" not in result.stdout.str()
    run(pytester, "-k", "solves").assert_outcomes(passed=1, deselected=1)


def test_a_faulty_spec_is_a_collection_error(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", bad=SPEC.replace("a == b", "a == e"))
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*error?E*", "*bad.causal:5:*"])


def test_options_that_name_nothing_are_told(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SPEC)
    result = run(pytester, "--causal-network", "mlp=nowhere")
    result.stdout.fnmatch_lines(["*E706*"])


def test_results_are_not_collected_again(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SPEC)
    kept = pytester.path / "kept" / "halves"
    (kept / "source").mkdir(parents=True)
    (kept / "causal-dsl.json").write_text("{}", encoding="utf-8")
    (kept / "source" / "halves.causal").write_text(SPEC, encoding="utf-8")
    run(pytester).assert_outcomes(passed=1, failed=1)
    run(pytester, "kept/halves/source/halves.causal").assert_outcomes(passed=1, failed=1)
