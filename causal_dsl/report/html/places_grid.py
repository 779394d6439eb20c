"""Where the variables of a test are: layers upwards, the tokens of a prompt across."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from causal_dsl.report.html.environment import made_of
from causal_dsl.score.format_numbers import counted, show_cell
from causal_dsl.score.results import TestResult
from causal_dsl.score.setting import Occupied, Setting

#: More tokens are not drawn as columns.
_MOST_COLUMNS = 80


@dataclass(frozen=True)
class _Grid:
    """Tests that share a grid: their names, and what is at each layer and column."""

    names: list[str]
    setting: Setting
    columns: list[str]
    rows: list[tuple[str, list[tuple[list[str], str]]]]
    listed: list[tuple[str, str, str, str]]


def places_grids(tests: Sequence[TestResult]) -> Markup:
    """A grid for each setting of the tests; tests of one setting share it. Empty where no test has one."""
    kept: list[tuple[Setting, list[str]]] = []
    for test in tests:
        if test.setting is None or not test.setting.places:
            continue
        same = next((names for setting, names in kept if _alike(setting, test.setting)), None)
        if same is None:
            kept.append((test.setting, [test.name]))
        else:
            same.append(test.name)
    return Markup("\n").join(made_of("places.html.j2", grid=_grid(setting, names)) for setting, names in kept)


def _alike(one: Setting, other: Setting) -> bool:
    def told(setting: Setting) -> set[tuple[object, ...]]:
        return {(p.variable, p.place, p.tokens, p.written, p.via) for p in setting.places}

    return (one.model, one.tokens, one.layers) == (other.model, other.tokens, other.layers) and told(one) == told(other)


def _grid(setting: Setting, names: list[str]) -> _Grid:
    tokens = list(setting.tokens)[:_MOST_COLUMNS]
    there = {place.layer for place in setting.places if place.layer is not None}
    layers: list[int | None] = [*(range(setting.layers) if setting.layers else sorted(there))]
    if any(place.layer is None for place in setting.places):
        layers.insert(0, None)
    columns = [_shown(token) for token in tokens] or ["the vector"]
    rows = []
    for layer in reversed(layers):
        here = []
        for column in range(len(columns)):
            found = [p for p in setting.places if p.layer == layer and (column in p.tokens or not tokens)]
            here.append(
                (
                    list(dict.fromkeys(p.variable or "written" for p in found)),
                    "; ".join(dict.fromkeys(map(_told, found))),
                )
            )
        rows.append(("no layer" if layer is None else str(layer), here))
    return _Grid(names, setting, columns, rows, list(_listed(setting)))


def _shown(token: str) -> str:
    """A token as a column's head: its spaces can be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎") or "∅"


def _told(place: Occupied) -> str:
    at = show_cell(dict(place.cell))
    what = place.variable or "a site that the test writes"
    return f"{what} at {place.place}" + (f" via {place.via}" if place.via else "") + (f" ({at})" if at else "")


def _listed(setting: Setting) -> Iterator[tuple[str, str, str, str]]:
    """Each variable with its places, those of a sweep counted."""
    found: dict[tuple[str, bool, str], list[Occupied]] = {}
    for place in setting.places:
        found.setdefault((place.variable, place.written, place.via), []).append(place)
    for (variable, written, via), places in found.items():
        where = list(dict.fromkeys(place.place for place in places))
        shown = where[0] if len(where) == 1 else f"{where[0]} … {where[-1]} ({counted(len(where), 'place')})"
        yield variable or "(a site)", shown, via or "the whole vector" if written else via, "yes" if written else "no"


__all__ = ["places_grids"]
