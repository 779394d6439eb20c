"""One action of `do(…)`: its target, its source or its written value, in one cell of a sweep.

What is written in the runs that an action takes values from is read first (:func:`_written_in`), and handed on as a value.
"""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.program.circuit_actions import read_circuit_action
from causal_dsl.program.circuit_edges import with_port
from causal_dsl.program.inside import across_in, read_inside, refuse_variable, size_of
from causal_dsl.program.path_patching import Mlps, read_path
from causal_dsl.program.program import Intervention
from causal_dsl.program.read_edges import read_edge
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.program.read_settings import constant
from causal_dsl.program.runs_under import refuse_argument, refuse_inside, refuse_taken, taken_by
from causal_dsl.program.target_places import InCell, features_of, places_of_target, variable_of, via_of
from causal_dsl.program.written_together import disjoint, untouched
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.written import Value

Action = tree.Interchange | tree.PatchPath | tree.SetTo | tree.AddTo


def read_action(action: Action, mlps: Mlps | None, here: InCell) -> tuple[Intervention | None, ...]:
    """The interventions of an action, with None where a fault was reported. ``mlps``: what the MLPs along its path do."""
    if not isinstance(action, tree.PatchPath):
        return (_read_one(action, here),)
    *through, receiver = (with_port(end, here.cell) for end in (*action.through, action.receiver))
    action = replace(action, through=tuple(through), receiver=receiver)
    here = _with_written(action, here)
    if mlps != "recompute" and not action.through:
        return (read_edge(action, here),)
    return read_path(action, here, mlps or "freeze") or (None,)


def _read_one(action: tree.Interchange | tree.SetTo | tree.AddTo, here: InCell) -> Intervention | None:
    here = _with_written(action, here)
    if here.circuits.names(action.target):
        return read_circuit_action(action, here)
    if isinstance(action, tree.Interchange):
        return _interchange(action, here)
    return _set(action, isinstance(action, tree.AddTo), here)


def _with_written(action: Action, here: InCell) -> InCell:
    """The cell with what is written in the runs that an action takes values from."""
    return replace(here, written={id(under): _written_in(under, here) for under in taken_by(action)})


def _written_in(under: tree.Under, here: InCell) -> tuple[Intervention, ...] | None:
    """The interventions in a run that values are taken from; None where a fault was reported."""
    made = []
    for action in under.given:
        if isinstance(action, tree.Argument):
            refuse_argument(action, under, here.diagnostics)
            return None
        if here.circuits.names(action.target):
            refuse_inside(action.target.span, "a circuit", here.diagnostics)
            return None
        one = _read_one(action, here)
        if one is None:
            return None
        if one.features:
            refuse_inside(action.target.span, "a learned feature", here.diagnostics)
            return None
        made.append(one)
    apart = disjoint(made, here.alignment, here.diagnostics) and untouched(made, here.alignment, here.diagnostics)
    return tuple(made) if apart else None


def _interchange(action: tree.Interchange, here: InCell) -> Intervention | None:
    places = places_of_target(action.target, here)
    if places is None:
        here.values(action.target).source(action.source, ())
        return None
    value = here.values(action.target).source(action.source, places)
    inside = _inside(action, places, here)
    if value is None or inside is None or not _read_where_it_reads(value, places, inside, here):
        return None
    variable = variable_of(action.target, here)
    if value.under and (variable is not None or inside):
        what = "a variable" if variable is not None else "a feature"
        refuse_taken(what, action.source.span, value.role, here.diagnostics)
        return None
    if variable is not None and value.places != places:
        here.diagnostics.report(
            "E684",
            f"`{variable}` takes its value from a run, not from a site",
            action.source.span,
            notes=("the spec does not say what the causal model should then do",),
            help=f"write `{variable} <- {value.role}`, or patch the site itself",
        )
        return None
    return Intervention(
        places,
        value,
        variable=variable,
        text=format_expr_action(action),
        span=action.span,
        features=features_of(variable, here),
        inside=inside,
    )


def _inside(
    action: tree.Interchange | tree.SetTo | tree.AddTo, places: tuple[Place, ...], here: InCell
) -> tuple[FeatureRef, ...] | None:
    """The features in whose numbers a site is written: none without `via`; None where a fault was reported."""
    name = variable_of(action.target, here)
    if action.via is None:
        return _across(name, here)
    if name is not None:
        refuse_variable(name, action.via.span, here.diagnostics)
        return None
    about = here.alignment
    return read_inside(action.via, places, about.origin, about.network, here.cell, here.folder, here.diagnostics)


def _read_where_it_reads(value: Value, places: tuple[Place, ...], inside: tuple[FeatureRef, ...], here: InCell) -> bool:
    """Whether other runs are read where a transcoder reads them, and not at a site that the spec names (E764)."""
    other = next((part for part in value.find(FromRun) if part.places != places), None)
    if other is None or not any(ref.reads for ref in inside):
        return True
    here.diagnostics.report(
        "E764",
        f"`{inside[0].chain[0].shown}` reads other runs where its file says, not at {other.places[0]}",
        other.span or inside[0].span,  # type: ignore[arg-type]
        help=f"write the run alone: `{other.role}`",
    )
    return False


def _across(name: str | None, here: InCell) -> tuple[FeatureRef, ...] | None:
    """The transcoder or crosscoder of a variable, which reads elsewhere than it writes; none for all others."""
    placed = None if name is None else via_of(name, here)
    if placed is None or across_in(placed[0]) is None:
        return ()
    about = here.alignment
    placement = about.placements[name or ""]
    assert placement.via is not None
    return read_inside(placement.via, placed[1], about.origin, about.network, here.cell, about.folder, here.diagnostics)


def _set(action: tree.SetTo | tree.AddTo, add: bool, here: InCell) -> Intervention | None:
    name, found = variable_of(action.target, here), here.diagnostics
    if name is not None and action.via is not None:
        refuse_variable(name, action.via.span, found)
        return None
    if name is not None and not add:
        role = here.implicit.get((name, constant(action.value)))
        places = places_of_target(action.target, here)
        if role is None or places is None:
            return None
        return Intervention(
            places,
            FromRun(role, places),
            variable=name,
            text=format_expr_action(action),
            span=action.span,
            features=features_of(name, here),
            inside=_across(name, here) or (),
        )
    if name is not None:
        found.report(
            "E685",
            f"`{name}` is a causal variable, and nothing can be added to it",
            action.span,
            help=f"write do({name} <- source), or add to a site",
        )
        return None
    places = places_of_target(action.target, here)
    inside = () if places is None else _inside(action, places, here)
    reader = here.values(action.target)
    if inside:
        reader = replace(reader, size=size_of(inside[0]), through=".".join(part.name for part in inside[0].chain))
    value = reader.value(action.value, places or ())
    if places is None or value is None or inside is None or not _read_where_it_reads(value, places, inside, here):
        return None
    taken = next((run for run in value.find(FromRun) if run.under), None)
    if inside and taken is not None:
        refuse_taken("a feature", action.value.span, taken.role, found)
        return None
    if add and value.changes:
        target, told = format_expr(action.target), format_expr(action.value)
        found.report(
            "E792",
            f"`+=` adds to the current vector, and `{told[:60]}` is made from it",
            action.span,
            help=f"write the whole value: {target[:60]} = current + …, or {target[:60]} = {told[:60]}",
        )
        return None
    return Intervention(places, value, add, text=format_expr_action(action), span=action.span, inside=inside)


def format_expr_action(action: tree.Interchange | tree.SetTo | tree.AddTo) -> str:
    """One action as it is written."""
    target = format_expr(action.target) + ("" if action.via is None else f" via {format_expr(action.via)}")
    if isinstance(action, tree.Interchange):
        return f"{target} <- {format_expr(action.source)}"
    return f"{target} {'+=' if isinstance(action, tree.AddTo) else '='} {format_expr(action.value)}"


__all__ = ["Action", "format_expr_action", "read_action"]
