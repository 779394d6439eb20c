"""The faults of a document that should be the result of a spec: its shape, its numbers, and what stands in it twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from causal_dsl.score.document_shape import misfit
from causal_dsl.vocabulary.ceiling_rules import NUMBER_RULES
from causal_dsl.vocabulary.measures import MEASURES

#: No number that a network gives, and no ratio of two of them, is as large.
_LARGEST = 1e100
#: What rounding leaves beyond the end of a range.
_ROUNDING = 1e-4
_ONE_CALL = re.compile(r"(\w+?)(?:_unfiltered)?(?:\([^()]*\))?")


def fault_in(document: Any) -> str:
    """The first fault of it, in a sentence without a full stop that names the place; empty where it is a result."""
    return misfit(document) or next(_faults(document), "")


def _faults(document: Mapping[str, Any]) -> Iterator[str]:
    names: set[str] = set()
    for number, test in enumerate(document["tests"]):
        if test["name"] in names:
            yield f"the test `{test['name']}` is in it twice"
        names.add(test["name"])
        if test["network"] and test["cells"] and test["network"] not in document["networks"]:
            yield f"`tests[{number}].network` is `{test['network']}`, which is none of its networks"
        yield from _of_test(test, f"tests[{number}]")


def _of_test(test: Mapping[str, Any], where: str) -> Iterator[str]:
    if test["kept"] > test["n"]:
        yield f"`{where}.kept` is {test['kept']}, and only {test['n']} pairs were drawn"
    for kind, rule, ceiling in _ceilings(test):
        least = -_LARGEST if rule in NUMBER_RULES else 0.0
        for name in ("value", "low", "high"):
            one = ceiling[name]
            if one is not None and not least <= one <= 1:
                told = "it is at most 1" if rule in NUMBER_RULES else "it lies between 0 and 1"
                yield f"`{where}.{kind}.{rule}.{name}` is {one:g}, and {told}"
    seen: set[str] = set()
    for number, cell in enumerate(test["cells"]):
        told = json.dumps(cell["cell"], sort_keys=True)
        if told in seen:
            yield f"a cell of `{test['name']}` is in it twice"
        seen.add(told)
        if set(cell["cell"]) != set(test["parameters"]):
            yield f"`{where}.cells[{number}].cell` has not the parameters of the test, {', '.join(test['parameters']) or 'none'}"
        for name, value in cell["cell"].items():
            if not isinstance(value, int | float | str):
                yield f"`{where}.cells[{number}].cell.{name}` is neither a number nor a text"
        for score, estimate in cell["scores"].items():
            yield from _of_score(score, estimate, f"{where}.cells[{number}].scores.{score}")
    if len(test["cells"]) > test["cell_count"]:
        yield f"`{where}.cell_count` is {test['cell_count']}, and it has {len(test['cells'])} cells"
    for name, output in test.get("outputs", {}).items():
        yield from _of_test(output, f"{where}.outputs.{name}")


def _ceilings(test: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for kind in ("ceilings", "ceilings_kept"):
        for rule, ceiling in test[kind].items():
            yield kind, rule, ceiling


def _of_score(score: str, estimate: Mapping[str, Any], where: str) -> Iterator[str]:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    for name, one in (("value", value), ("low", low), ("high", high)):
        if one is not None and abs(one) > _LARGEST:
            yield f"`{where}.{name}` is {one:g}, and no measure is as large"
    if low is not None and high is not None and low > high:
        yield f"`{where}.low` is {low:g}, which is above `high`, {high:g}"
    one_call = _ONE_CALL.fullmatch(score)
    measure = MEASURES.get(one_call[1]) if one_call else None
    if measure is None:
        return
    least, most = measure.ends
    # The interval of a mean is as wide to both sides, and may leave the range of the measure.
    checked = {"value": value} if measure.interval == "mean" else {"value": value, "low": low, "high": high}
    for name, one in checked.items():
        if one is not None and not least - _ROUNDING <= one <= most + _ROUNDING:
            told = f"at least {least:g}" if one < least else f"at most {most:g}"
            yield f"`{where}.{name}` is {one:g}, and `{measure.written}` is {told}"


__all__ = ["fault_in"]
