"""Where the variables of a test are: layers upwards, the tokens of a prompt across."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.report.html.environment import made_of
from causal_dsl.score.format_numbers import counted, show_cell
from causal_dsl.score.results import TestResult
from causal_dsl.score.setting import Occupied, RunSetting

#: More tokens are not drawn as columns.
_MOST_COLUMNS = 80


@dataclass(frozen=True)
class _Grid:
    """Tests that share a grid: their names, and what is at each layer and column."""

    names: list[str]
    network: str
    setting: RunSetting
    columns: list[str]
    #: at each layer and column the variables, in parentheses those that none of the tests writes there
    rows: list[tuple[str, list[tuple[list[str], str]]]]
    listed: list[tuple[str, str, str, str]]

    @property
    def unwritten(self) -> bool:
        return any(name.startswith("(") for _, cells in self.rows for names, _ in cells for name in names)


def places_grids(tests: Sequence[TestResult]) -> Markup:
    """A grid for each set of places; tests that place their variables alike in one network share one. Empty where no test has a place."""
    kept: list[tuple[str, list[tuple[str, RunSetting]]]] = []
    networks = {test.network for test in tests if test.network}
    for test in tests:
        if test.setting is None or not test.setting.places:
            continue
        network = test.network if len(networks) > 1 else ""
        same = next((group for of, group in kept if of == network and _alike(group[0][1], test.setting)), None)
        if same is None:
            kept.append((network, [(test.name, test.setting)]))
        else:
            same.append((test.name, test.setting))
    drawn = [made_of("places.html.j2", grid=_grid(network, group)) for network, group in kept]
    return Markup("\n").join(drawn[:2]) + _folded(drawn[2:])


def _folded(grids: Sequence[Markup]) -> Markup:
    if not grids:
        return Markup()
    told = counted(len(grids), "more grid")
    return Markup("<details><summary>{}, of tests that place their variables elsewhere</summary>{}</details>").format(
        told, Markup().join(grids)
    )


def _alike(one: RunSetting, other: RunSetting) -> bool:
    def told(setting: RunSetting) -> set[tuple[object, ...]]:
        return {(p.variable, p.place, p.tokens) for p in setting.places}

    return (one.model, one.tokens, one.layers) == (other.model, other.tokens, other.layers) and told(one) == told(other)


def _grid(network: str, group: Sequence[tuple[str, RunSetting]]) -> _Grid:
    setting = group[0][1]
    places = [place for _, one in group for place in one.places]
    tokens = list(setting.tokens)[:_MOST_COLUMNS]
    there = {place.layer for place in places if place.layer is not None}
    layers: list[int | None] = [*(range(setting.layers) if setting.layers else sorted(there))]
    if any(place.layer is None for place in places):
        layers.insert(0, None)
    columns = [_shown(token) for token in tokens] or ["the vector"]
    rows = []
    for layer in reversed(layers):
        here = []
        for column in range(len(columns)):
            found = [p for p in places if p.layer == layer and (column in p.tokens or not tokens)]
            written = {_label(p, tokens) for p in found if p.written}
            labels = dict.fromkeys(_label(p, tokens) for p in found)
            names = [name if name in written else f"({name})" for name in labels]
            here.append((names, "; ".join(dict.fromkeys(map(_told, found)))))
        rows.append(("no layer" if layer is None else str(layer), here))
    return _Grid([name for name, _ in group], network, setting, columns, rows, list(_listed(group)))


def _shown(token: str) -> str:
    """A token as a column's head: its spaces can be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎") or "∅"


def _label(place: Occupied, tokens: Sequence[str]) -> str:
    return (place.variable or "written") if tokens else _named(place)


def _named(place: Occupied) -> str:
    """A variable of a network of vectors, with the numbers of the vector in which it is."""
    dims = re.search(r"\[[^\[\]]*\]$", place.place.partition(".")[2] or place.place)
    return (place.variable or "written") + (f" {dims[0]}" if dims else "")


def _told(place: Occupied) -> str:
    at = show_cell(dict(place.cell))
    what = place.variable or "a site that the test writes"
    return f"{what} at {place.place}" + (f" via {place.via}" if place.via else "") + (f" ({at})" if at else "")


def _listed(group: Sequence[tuple[str, RunSetting]]) -> Iterator[tuple[str, str, str, str]]:
    """Each variable with its places, those of a sweep counted, how it is written, and by which tests."""
    found: dict[str, list[tuple[str, Occupied]]] = {}
    for name, setting in group:
        for place in setting.places:
            found.setdefault(place.variable, []).append((name, place))
    for variable, places in found.items():
        where = list(dict.fromkeys(place.place for _, place in places))
        shown = where[0] if len(where) == 1 else f"{where[0]} … {where[-1]} ({counted(len(where), 'place')})"
        written = [(name, place.via or "the whole vector") for name, place in places if place.written]
        via = ", ".join(dict.fromkeys(via for _, via in written))
        by = list(dict.fromkeys(name for name, _ in written))
        told = ", ".join(by[:4]) + (f" and {len(by) - 4} more" if len(by) > 4 else "")
        yield variable or "(a site)", shown, via, told or "no test here"


__all__ = ["places_grids"]
