"""The setting of a test as its plan has it, and the causal models of a program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_dsl.causal.domains import Finite, show
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import NOWHERE, Diagnostics, Source, SpecError
from causal_dsl.planning.plan import Plan
from causal_dsl.program.program import Cell, Intervention, Test
from causal_dsl.score.setting import ModelVariable, Occupied, RunSetting
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import parse
from causal_dsl.vocabulary.locations import Place, Position

if TYPE_CHECKING:
    from causal_dsl.inputs.protocol import Inputs
    from causal_dsl.vocabulary.locations import FeatureSite

#: Of a test that places more, the first ones are told; and so many values of a domain.
_MOST_PLACES, _MOST_VALUES = 4000, 8


def setting_of(test: Test, plan: Plan) -> RunSetting:
    """The setting in which a test was run."""
    one = test.each[0]
    inputs = plan.inputs.get(one.network.key)
    first = _first_base(one, plan)
    layers = one.network.facts.layers
    if inputs is None or first is None:
        return RunSetting(test.model.name, layers=layers)
    places = []
    for cell in one.cells:
        places += list(_occupied(cell, inputs, first))
        if len(places) >= _MOST_PLACES:
            break
    tokens = inputs.shown_tokens(first)
    read = inputs.read(first) if tokens else None
    return RunSetting(test.model.name, tokens, read, layers, tuple(places[:_MOST_PLACES]))


def _first_base(test: Test, plan: Plan) -> int | None:
    """The input of the base of the first pair."""
    own = test.network.key, plan.scores[test.name][0].label.draw, "base"
    found = [rows for run, rows in plan.rows.items() if (run.network, run.draw, run.role) == own]
    return int(found[0][0]) if found and len(found[0]) else None


def _occupied(cell: Cell, inputs: Inputs, index: int) -> Iterator[Occupied]:
    """The places of one cell: those that are written first, each once."""
    written: set[tuple[str, Place]] = set()
    for one in cell.interventions:
        if one.circuit is not None:
            continue  # a circuit has a picture of its own
        for number, place in enumerate(one.places):
            written.add((one.variable or "", place))
            yield _at(cell, one.variable or "", place, inputs, index, True, _via(one, number))
    for one in () if cell.placed else cell.held:  # of a test that does nothing, and measures the whole alignment
        for number, place in enumerate(one.places):
            yield _at(cell, one.variable or "", place, inputs, index, False, _via(one, number))
    for placed in cell.placed:
        for place in placed.places:
            if (placed.variable, place) not in written:
                yield _at(cell, placed.variable, place, inputs, index, False, "")


def _via(one: Intervention, number: int) -> str:
    return " then ".join(map(_told, one.features[number].chain)) if number < len(one.features) else ""


def _told(feature: FeatureSite) -> str:
    """A feature with its settings; a file by its name alone, wherever the spec lies."""
    told = []
    for name, value in feature.settings:
        if value not in ("", None):
            file = Path(value) if isinstance(value, str) else None
            told.append(f"{name}={file.name if file is not None and file.is_absolute() else value}")
    return f"{feature.name}({', '.join(told)})"


def _at(cell: Cell, variable: str, place: Place, inputs: Inputs, index: int, written: bool, via: str) -> Occupied:
    tokens = _where(place.position, inputs, index)
    return Occupied(dict(cell.values), variable, str(place), place.site.layer, tokens, written, via)


def _where(position: Position | None, inputs: Inputs, index: int) -> tuple[int, ...]:
    if position is None:
        return ()
    try:
        return tuple(inputs.where(position, index, NOWHERE))
    except SpecError:  # a place that this test does not write need not be in its prompts
        return ()


def models_of(tests: Iterable[Test]) -> dict[str, tuple[ModelVariable, ...]]:
    """The causal models of tests by their names."""
    return {model.name: _variables(model) for model in {id(t.model): t.model for t in tests}.values()}


def _variables(model: CausalModel) -> tuple[ModelVariable, ...]:
    texts = _statements(model)
    return tuple(
        ModelVariable(
            name,
            "input" if one.kind == "exogenous" else one.kind,
            one.output,
            _domain(one.domain, one.type),
            one.parents,
            texts.get(name, ""),
        )
        for name, one in model.variables.items()
    )


def _domain(domain: Any, type: str) -> str:
    if not isinstance(domain, Finite) or type == "bool":
        return str(domain)
    if isinstance(domain.values, range) or domain.size > _MOST_VALUES:
        shown = [show(value) for value, _ in zip(domain.values, range(_MOST_VALUES), strict=False)]
        return str(domain) if type in ("int", "real") else f"{{{', '.join(shown)}, …}}, {domain.size} values"
    return f"{{{', '.join(show(value) for value in domain.values)}}}"


def _statements(model: CausalModel) -> Mapping[str, str]:
    """The statement of each variable, as it is written."""
    source: Source = model.span.source
    if not source.text:
        return {}
    found: dict[str, str] = {}
    for declaration in parse(source, Diagnostics()).declarations:
        if isinstance(declaration, tree.CausalDecl) and declaration.name.name == model.name:
            for member in declaration.members:
                text = " ".join(source.text[member.span.start : member.span.end].split())
                names = [member.name] if isinstance(member, tree.Mechanism) else member.names
                found |= {one.name: text for one in names}
    return found


__all__ = ["models_of", "setting_of"]
