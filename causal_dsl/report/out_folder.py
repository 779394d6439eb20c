"""Results on disk: the folder of a spec under ``--out DIR`` holds results.json, pairs.parquet and the spec as it was run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.ranks import different
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.per_pair import ANSWER
from causal_dsl.measures.quantities import NO_ANSWERS, SAID, Columns
from causal_dsl.program.templates import show_value
from causal_dsl.report.circuit_picture import circuit_svg
from causal_dsl.report.pair_table import CodedTexts, TableCell, write_table
from causal_dsl.score.results import TestResult
from causal_dsl.score.seal import sealed
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.score.truth import kept_of, unknown_of
from causal_dsl.score.wrong_answers import Speech
from causal_dsl.store.out import RESULTS, SPEC, SpecFolder

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Drawn
    from causal_dsl.planning.plan import Plan
    from causal_dsl.program.program import Test


@dataclass(frozen=True, eq=False)
class Computed:
    """The numbers of some tests of a spec, by their names: finished ``cells`` with their columns, the causal model's
    ``labels``, and the ``speech`` of what a network can say."""

    plan: Plan
    cells: Mapping[str, list[tuple[Any, Columns]]]
    labels: Mapping[str, np.ndarray | None]
    speech: Mapping[str, Speech]


def save(
    folder: SpecFolder, spec_text: str, result: SpecResult, computed: Sequence[Computed], interrupted: bool
) -> None:
    """Write what was computed of one spec.

    pairs.parquet has one row a pair and cell: test, cell, pair, the text of base and sources, the causal model's label,
    the network's answers, what it says of all that it can say (where it was looked at), whether the pair is ``kept`` (in a test
    with ``where solved(…)``), the ``weight`` of each pair where the draws include all rows that can be drawn, and every per-pair metric that the test speaks of. Raises OSError where it cannot be written.
    """
    folder.write(SPEC, spec_text.encode("utf-8", "surrogatepass"))
    with folder.writing("pairs.parquet") as part:
        write_table(list(_cells(result, computed)), part)
    for test in result.tests:
        for number, cell in enumerate(test.cells):
            if cell.circuit is not None:
                at = ", ".join(f"{name}={value}" for name, value in cell.cell.items())
                title = f"{test.name}{f' at {at}' if at else ''}: {cell.circuit.name}"
                own = cell.circuit
                drawn = circuit_svg(own.members, title, own.weights, own.choices.lines, own.parallel)
                folder.write(f"circuit-{test.name}-{number}.svg", drawn.encode())
    save_results(folder, result, interrupted)


def save_results(folder: SpecFolder, result: SpecResult, interrupted: bool) -> None:
    """Write results.json alone. Raises OSError where it cannot be written."""
    document = sealed({**result.to_json(), "interrupted": interrupted})
    with folder.writing(RESULTS) as part, part.open("w", encoding="ascii", newline="\n") as file:
        json.dump(document, file, indent=1)  # piece by piece, so that the whole text is never held


def _cells(result: SpecResult, computed: Sequence[Computed]) -> Iterator[TableCell]:
    """The rows of all tests, those that users declare in the order in which they stand."""
    parts = {
        part.name: (whole.name, part.readout.variable)
        for kept in computed
        for whole in kept.plan.program.tests
        for part in whole.parts
    }
    places = {test.name: place for place, test in enumerate(result.tests)}
    results = {test.name: test for test in result.tests}
    every = [(kept, test) for kept in computed for test in kept.plan.tests]
    every.sort(key=lambda one: places.get(parts.get(one[1].name, (one[1].name, ""))[0], len(places)))
    filters = {test.name: rows for one in computed for test, rows in _filters(one)}
    for kept, test in every:
        drawn, labels = kept.plan.draw_of(test), kept.labels[test.name]
        shared = dict(_pair_columns(test, kept.plan, drawn, labels))
        shared |= {"kept": filters[test.name]} if test.name in filters else {}
        whole, output = parts.get(test.name, (test.name, ""))
        told = results.get(whole)
        weights = _weights(told.outputs.get(output, told) if told else None, drawn.n, filters.get(test.name))
        shared |= {} if weights is None else {"weight": weights}
        speech = kept.speech.get(test.name)
        for cell, columns in kept.cells.get(test.name, []):
            own = partial(_own_columns, shared, test, drawn, columns, labels, speech)
            yield TableCell({**_named(test, parts), **cell}, drawn.n, own)


def _own_columns(
    shared: Mapping[str, Any],
    test: Test,
    drawn: Drawn,
    columns: Columns,
    labels: np.ndarray | None,
    speech: Speech | None,
) -> dict[str, Any]:
    measured = _measured(test, drawn, columns, labels)
    return {**shared, **measured, **_words(columns, speech, test.readout.stated)}


def _weights(result: TestResult | None, n: int, kept: np.ndarray | None) -> np.ndarray | None:
    """The weight of each pair in the scores, as a share [n], where the draws include every row that can be drawn; NaN for pairs
    that a filter leaves out. None where all pairs count alike."""
    if result is None or result.weights is None:
        return None
    found = np.full(n, np.nan)
    found[slice(None) if kept is None else kept] = result.weights / result.weights.sum()
    return found


def _filters(computed: Computed) -> Iterator[tuple[Test, np.ndarray]]:
    """Which pairs ``where solved(…)`` keeps, for the test of each output; nothing for tests without a filter."""
    for whole in computed.plan.program.tests:
        cells = {one.name: computed.cells.get(one.name, []) for one in whole.each}
        if whole.solved and all(cells.values()):
            kept = kept_of(whole, computed.plan, {name: found[0][1] for name, found in cells.items()})
            assert kept is not None
            yield from ((one, kept) for one in whole.each)


def _named(test: Test, parts: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """The owner of a row: its test, and the output that is read, where there are several."""
    name, output = parts.get(test.name, (test.name, ""))
    return {"test": name, **({"output": output} if output else {})}


def _pair_columns(test: Test, plan: Plan, drawn: Drawn, labels: np.ndarray | None) -> Iterator[tuple[str, Any]]:
    from causal_dsl.planning import graph as g

    inputs = plan.inputs[test.network.key]
    draw = plan.scores[test.name][0].label.draw
    ids = plan.ids_of(test)
    yield "pair", np.arange(drawn.n)
    for role in drawn.values:
        rows = plan.rows.get(g.Forward(test.network.key, draw, role))
        if rows is not None:
            own, codes = np.unique(rows, return_inverse=True)
            texts = inputs.texts(own)
            yield role, _settings(test, drawn, role) if texts is None else CodedTexts(codes.reshape(-1), texts)
        yield f"{role}_id", ids[role]
    output = test.readout.variable
    if not test.readout.stated:
        return
    yield "base_answer", _decoded(test, drawn.values["base"][output])
    if labels is not None:
        yield "label", _decoded(test, labels)
    assert output in test.model.variables


def _settings(test: Test, drawn: Drawn, role: str) -> CodedTexts:
    """The values of the variables that a row draws, as text."""
    names = list(test.model.exogenous)
    columns = [drawn.values[role][name] for name in names]
    if not columns:
        return CodedTexts(np.zeros(drawn.n, np.int64), ["{}"])
    first, codes = different(columns)
    decoded = [test.model.decode(name, column[first]) for name, column in zip(names, columns, strict=True)]
    texts = [str(dict(zip(names, row, strict=True))) for row in zip(*decoded, strict=True)]
    return CodedTexts(codes, texts)


def _decoded(test: Test, codes: np.ndarray) -> CodedTexts | list[float]:
    if test.model.variables[test.readout.variable].type == "real":
        return [float(code) for code in codes]
    kinds, own = np.unique(codes, return_inverse=True)
    place = np.full(len(kinds), -1)
    texts: list[str] = []
    for i, code in enumerate(kinds):
        if code not in NO_ANSWERS:
            for value in test.model.decode(test.readout.variable, np.array([code])):
                place[i] = len(texts)
                texts.append(show_value(value))
    return CodedTexts(place[own.reshape(-1)], texts)


def _words(columns: Columns, speech: Speech | None, stated: bool) -> dict[str, CodedTexts]:
    """The token or class that each run says, of all that it can say; None where it was not looked at. If the
    answer is not ``stated``, what is read is just that."""
    found = {}
    said = SAID if stated else ANSWER
    for name, run in (("network_base_said", columns.base), ("network_said", columns.patched)):
        if speech is not None and said in run:
            kinds, own = np.unique(np.nan_to_num(run[said], nan=-1).astype(np.int64), return_inverse=True)
            place = np.cumsum(kinds >= 0) - 1
            texts = [speech.token(int(i)) for i in kinds if i >= 0]
            found[name] = CodedTexts(np.where(kinds >= 0, place, -1)[own.reshape(-1)], texts)
    return found


def _measured(test: Test, drawn: Drawn, columns: Columns, labels: np.ndarray | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, run in (("network_base_answer", columns.base), ("network_answer", columns.patched)):
        answer = next((values for quantity, values in run.items() if quantity.kind == "answer"), None)
        if answer is not None and test.readout.stated:
            found[name] = _decoded(test, answer)
    output = test.readout.variable
    sources = {role: drawn.values[role][output] for role in dict.fromkeys(role for _, role in test.swaps)}
    accepted, unknown = test.model.accepted(output), unknown_of(test, drawn)
    frame = CellData(columns, drawn.values["base"][output], labels, sources, accepted=accepted, unknown=unknown)
    for name, values in test.scores.per_pair(frame).items():
        found[name] = np.asarray(values, dtype=np.float64)
    return found
