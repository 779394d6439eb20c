"""The reach of the parameters of an alignment or a test: a place in the network alone, or more than that.

A parameter that stands for a place is swept over in the cells of one test; one that decides more makes a test of each value
(:mod:`causal_dsl.program.variants`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from causal_dsl.syntax import tree
from causal_dsl.syntax.substitute import named_in
from causal_dsl.vocabulary.readings import READINGS

#: Read-outs and inputs are those of an alignment, not of a cell.
_OF_ALIGNMENT = ("next_token", "mask", "logits", "input")


def decides(declaration: tree.AlignDecl) -> frozenset[str]:
    """The names in an alignment that stand for more than a place in the network."""
    placed = {member.name.name for member in declaration.members if isinstance(member, tree.Placement)}
    return _beyond_places(declaration) | placed


def only_places(declaration: tree.AlignDecl) -> frozenset[str]:
    """The parameters that decide only where variables are."""
    return frozenset(parameter.name.name for parameter in declaration.parameters) - _beyond_places(declaration)


def _beyond_places(declaration: tree.AlignDecl) -> frozenset[str]:
    found = {declaration.model.name}
    if declaration.network is not None:
        found.add(declaration.network.name)
    for argument in (*declaration.model_fixed, *declaration.network_fixed):
        found |= named_in(argument.value)
    for member in declaration.members:
        if isinstance(member, tree.Prompt) or any(_head(site) in _OF_ALIGNMENT for site in member.sites):
            found |= named_in(member)
    return frozenset(found)


def drawn_by(declaration: tree.TestDecl | tree.FitDecl, metrics: Mapping[str, tree.Expr]) -> frozenset[str]:
    """The names in a test, and in the ``metrics`` that it names, that stand for more than a place or a number that is written."""
    found: set[str] = set()
    for metric in _named_metrics(declaration.members, metrics):
        found |= _beside_places(metrics[metric])
    for member in declaration.members:
        if not isinstance(member, tree.Do):
            found |= _beside_places(member)
            continue
        for action in member.actions:
            found |= {end.name for end in _runs_named(action) if isinstance(end, tree.Name)}
            if not isinstance(action, tree.PatchPath) and isinstance(action.target, tree.Name):
                paths = any(isinstance(other, tree.PatchPath) for other in member.actions)
                found |= {action.target.name} - (
                    {"mlp"} if paths else set()
                )  # `mlp = freeze` says how a path is patched
    return frozenset(found)


def _runs_named(action: tree.Node) -> Iterator[tree.Expr]:
    """Where an action names runs: those that vectors are taken from, and those that a mean is over."""
    if isinstance(action, tree.Interchange) or (isinstance(action, tree.PatchPath) and not action.sets):
        yield action.source
    for part in action.walk():
        if isinstance(part, tree.Under):
            yield part.run
        if isinstance(part, tree.Call) and isinstance(part.function, tree.Name) and part.function.name == "mean":
            yield from (argument.value for argument in part.arguments if argument.name is None)


def _named_metrics(members: Iterable[tree.Node], metrics: Mapping[str, tree.Expr]) -> frozenset[str]:
    """The metrics that the lines of a test name, and those that these are made of."""
    found: set[str] = set()
    open: list[tree.Node] = [member for member in members if isinstance(member, tree.Expect | tree.Report)]
    while open:
        new = {name for name in named_in(open.pop()) if name in metrics} - found
        found |= new
        open += [metrics[name] for name in new]
    return frozenset(found)


def _beside_places(node: tree.Node) -> frozenset[str]:
    """The names in a line of a test, and the words after the names of runs (`base.u`), but for those of the places that are read."""
    parts = list(node.walk())
    places = [part for part in parts if isinstance(part, tree.Located)]
    reads = [argument for place in places for argument in _of_reading(place.value)]
    inside = {id(part) for place in (*(p.site for p in places), *reads) for part in place.walk()}
    found: set[str] = set()
    for part in parts:
        if isinstance(part, tree.String):
            found |= named_in(part)
        elif isinstance(part, tree.Name) and id(part) not in inside:
            found.add(part.name)
        elif isinstance(part, tree.Attribute) and isinstance(part.value, tree.Name) and id(part) not in inside:
            found.add(part.name.name)
    return frozenset(found)


def _of_reading(value: tree.Expr) -> Iterator[tree.Expr]:
    """The tokens and the sites that are arguments of readings."""
    for part in value.walk():
        if isinstance(part, tree.Call) and isinstance(part.function, tree.Name) and part.function.name in READINGS:
            kinds = READINGS[part.function.name].arguments
            for kind, argument in zip(kinds, part.arguments, strict=False):
                if kind in ("position", "site"):
                    yield argument.value


def words_read_at(nodes: Iterable[tree.Node]) -> frozenset[str]:
    """The words of the places that are read."""
    return frozenset(
        part.name
        for node in nodes
        for place in node.walk()
        if isinstance(place, tree.Located)
        for part in place.walk()
        if isinstance(part, tree.Name | tree.Ident)
    )


def _head(site: tree.Expr) -> str:
    while not isinstance(site, tree.Name):
        if isinstance(site, tree.Attribute | tree.Subscript):
            site = site.value
        elif isinstance(site, tree.Call):
            site = site.function
        else:
            return ""
    return site.name


__all__ = ["decides", "drawn_by", "only_places", "words_read_at"]
