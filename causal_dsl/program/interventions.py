"""The cells of a test, one for each setting of its alignment's parameters: what is done in it, and where variables are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from causal_dsl.diagnostics import Diagnostic, Diagnostics
from causal_dsl.program.actions import Action, read_action
from causal_dsl.program.draws import Draws
from causal_dsl.program.encodings import encodes
from causal_dsl.program.held_places import asks_of_alignment, read_held
from causal_dsl.program.lost_cells import Lost
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.named_circuits import Circuits
from causal_dsl.program.parameters import read_parameters
from causal_dsl.program.path_patching import is_setting, read_setting, stands_alone
from causal_dsl.program.placed_sites import PlacedSites
from causal_dsl.program.positions import PositionReader
from causal_dsl.program.program import Alignment, Cell, Intervention, NetworkRef, Placed
from causal_dsl.program.read_features import read_via
from causal_dsl.program.read_settings import call_name, constant
from causal_dsl.program.searches import Searches
from causal_dsl.program.target_places import InCell
from causal_dsl.program.written_together import disjoint, untouched
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import substitute
from causal_dsl.vocabulary.values import is_word


def read_cells(
    declaration: tree.TestDecl | tree.FitDecl,
    module: Module,
    alignment: Alignment,
    fixed: Mapping[str, tree.Expr],
    draws: Draws,
    good: bool,
    words: frozenset[str],
    found: Diagnostics,
    networks: Mapping[Definition, NetworkRef],
    metrics: Mapping[str, tree.Expr],
    sites: PlacedSites,
    searches: Searches | None = None,
) -> tuple[tuple[Cell, ...], list[dict[str, tree.Expr]], list[tuple[Diagnostic, ...]]] | None:
    """Every cell of a test, ``fixed`` parameters left out of the sweep; None where a fault was reported. ``words``: those of the
    places that are read, ``metrics`` the spec's own. Beside the cells stands what all parameters are in each, and the faults of
    each cell that is left out: of a loaded network some may have a site that it turned out not to have.

    Where the test is at fault already (not ``good``) only the first cell is looked at: the others would tell the same.
    """
    actions = actions_of(declaration)
    likened = frozenset(role for s in draws.statements if s.like for role in s.roles if role != s.like)
    circuits = Circuits(module, networks, likened, searches)
    whole = asks_of_alignment(declaration.members, metrics)
    if whole:  # every parameter decides where a variable is
        words = words | frozenset(alignment.parameters)
    settings = settings_of(declaration, alignment, fixed, words, circuits, found)
    if settings is None:
        return None
    swept = settings[0]
    cells, environments, lost = [], [], Lost(alignment, found)
    for environment in settings[1]:
        values = [environment[name] for name in swept]
        here = lost.open()
        cell = InCell(here, alignment, draws.roles, circuits, module.folder, draws.implicit, environment, sites)
        interventions: list[Intervention] = []
        written = [_written_out(action, environment) for action in actions]
        said = [action for action in written if isinstance(action, tree.SetTo) and is_setting(action, cell)]
        fine, mlps = read_setting(said, written, cell)
        others = [action for action in written if not any(action is one for one in said)]
        fine = fine and stands_alone(others, mlps, cell)
        for action in others if fine else ():
            for made in read_action(action, mlps, cell):
                if made is not None:
                    fine = not _set_twice(made, interventions, here) and fine
                    interventions.append(made)
                else:
                    fine = False
        fine = fine and good and disjoint(interventions, alignment, here) and untouched(interventions, alignment, here)
        quiet = Diagnostics()
        shown = tuple((name, _shown(value, alignment)) for name, value in zip(swept, values, strict=True))
        placed = _placed(alignment, sites, environment, quiet) if actions else ()
        held = read_held(cell, declaration.name.span) if whole and fine else ()
        if lost.close(here, quiet):
            continue
        if not good or not fine or held is None:
            return None
        cells.append(Cell(shown, tuple(interventions), placed, held=held))
        environments.append(environment)
    if not cells and lost.cells:
        lost.tell()
        return None
    return tuple(cells), environments, lost.cells


def actions_of(declaration: tree.TestDecl | tree.FitDecl) -> list[Action]:
    """All that a test does."""
    return [a for member in declaration.members if isinstance(member, tree.Do) for a in member.actions]


def settings_of(
    declaration: tree.TestDecl | tree.FitDecl,
    alignment: Alignment,
    fixed: Mapping[str, tree.Expr],
    words: frozenset[str],
    circuits: Circuits,
    found: Diagnostics,
) -> tuple[list[str], list[dict[str, tree.Expr]]] | None:
    """The parameters that a test is swept over, and what all of its parameters stand for in each cell; None where a fault
    was reported. A test that does nothing is swept over the parameters among the ``words`` of the places that it reads."""
    parameters: Mapping[str, tuple[tree.Expr, ...]] | None = alignment.parameters
    acts = bool(actions_of(declaration))
    if isinstance(declaration, tree.TestDecl) and declaration.parameters and (acts or words):
        parameters = read_parameters(declaration, alignment, alignment.network, found)
    if parameters is None:
        return None
    own = [p.name.name for p in getattr(declaration, "parameters", ())]
    swept = [name for name in parameters if name not in fixed or name in own]
    if acts:
        parameters = {**parameters, **circuits.parameters(actions_of(declaration), parameters)}
        swept += [name for name in parameters if name not in swept and name not in alignment.parameters]
    else:
        swept = [name for name in swept if name in words]
    every = itertools.product(*(parameters[name] for name in swept))
    return swept, [{**fixed, **dict(zip(swept, values, strict=True))} for values in every]


def _written_out(action: Action, cell: Mapping[str, tree.Expr]) -> Action:
    """An action with the numbers, texts and words of values that parameters stand for in the value that it writes."""
    taken = isinstance(action, tree.Interchange) or (isinstance(action, tree.PatchPath) and not action.sets)
    if taken and isinstance(action, tree.Interchange | tree.PatchPath):
        if not any(isinstance(part, tree.Under) for part in action.source.walk()):
            return action
        numbers = {name: value for name, value in cell.items() if constant(value) is not None}
        return replace(action, source=substitute(action.source, numbers))
    value = action.source if isinstance(action, tree.Interchange | tree.PatchPath) else action.value
    alone = value.name if isinstance(value, tree.Name) else None
    plain = {n: own for n, own in cell.items() if n == alone or constant(own) is not None or _is_word(own)}
    written = substitute(value, plain)
    if isinstance(action, tree.Interchange | tree.PatchPath):
        return replace(action, source=written)
    return replace(action, value=written)


def _is_word(value: tree.Expr) -> bool:
    called = call_name(value) if isinstance(value, tree.Call | tree.Name) else None
    return called is not None and is_word(called[0])


def _placed(
    alignment: Alignment, sites: PlacedSites, cell: Mapping[str, tree.Expr], quiet: Diagnostics
) -> tuple[Placed, ...]:
    """Where the variables of the alignment are in one cell; those whose sites are faulty are reported elsewhere."""
    found = []
    for name, placement in alignment.placements.items():
        if encodes(placement.via):
            continue
        places, faults = sites.places(alignment, name, cell)
        quiet.extend(faults)
        if places is not None:
            swept = bool(alignment.parameters) and any(
                isinstance(node, tree.Name) and node.name in alignment.parameters
                for site in placement.sites
                for node in site.walk()
            )
            via = None if placement.via is None else read_via(placement.via, cell, alignment.folder, quiet)
            if via is not None or placement.via is None:
                found.append(Placed(name, places, via, not swept))
    return tuple(found)


def _set_twice(made: Intervention, before: list[Intervention], found: Diagnostics) -> bool:
    """Whether an intervention sets the variable of an earlier one (E695)."""
    earlier = next((i for i in before if made.variable and i.variable == made.variable), None)
    if earlier is None:
        return False
    assert earlier.span is not None and made.span is not None
    found.report(
        "E695",
        f"`{made.variable}` is set twice in one `do`",
        made.span,
        others=((earlier.span, "already set here"),),
        help="keep one of them",
    )
    return True


def _shown(value: tree.Expr, alignment: Alignment) -> int | float | str:
    """A parameter's value as results name it."""
    number = constant(value)
    if isinstance(number, int | float) and not isinstance(number, bool):
        return number
    position = PositionReader(alignment.templates, Diagnostics(), model=alignment.model).read(value)
    return str(position) if position is not None else format_expr(value)
