"""A spec of several networks, of which some are at fault: what can be run is run, and the faults are those of the tests on the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from causal_dsl.causal.memo import Memo
from causal_dsl.checked import Checked
from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.diagnostics import Diagnostic
from causal_dsl.program.modules import Definition
from causal_dsl.score.results import TestResult


def check_to_run(spec: Spec, options: Options) -> Checked:
    """:func:`check`, as a run begins with it. Where the tests of one declaration are on several networks, and every fault is one of
    some of them, it is that of the tests on the others: ``lost`` are the tests that cannot be run, ``faults`` has why."""
    memo = Memo()
    checked = check(spec, options, memo=memo)
    if not checked.errors or len(checked.by_network) < 2:
        return checked
    good: list[str] = []
    faults: list[tuple[str, Diagnostic]] = []
    lost: list[TestResult] = []
    for network, tests in checked.by_network.items():
        names = tuple(test.name for test in tests)
        errors = check(spec, replace(options, tests=names), memo=memo).errors
        faults += ((network, error) for error in errors)
        if errors:
            lost += (_unrun(test, network, errors) for test in tests)
        else:
            good += names
    places = {_place(error) for _, error in faults}
    if not good or any(_place(error) not in places for error in checked.errors):
        return checked
    told = check(spec, replace(options, tests=tuple(good)), memo=memo)
    if told.errors:
        return checked
    return replace(told, by_network=checked.by_network, faults=tuple(faults), lost=tuple(lost))


def _place(error: Diagnostic) -> tuple[str, str, int]:
    return error.code, error.span.source.path, error.span.start


def _unrun(test: Definition, network: str, errors: Iterable[Diagnostic]) -> TestResult:
    """A test that a fault of its network keeps from being run. It has no cells: what they are is at fault."""
    span, fault = test.span, next(iter(errors)).code
    line = span.line if span.source.text else 0
    return TestResult(
        *(test.name, line, 0, 0, {}, ()),
        network=network,
        cell_count=0,
        fault=fault,
        family=test.family,
        variant=test.variant,
        who=network,
    )


__all__ = ["check_to_run"]
