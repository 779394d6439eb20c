"""The places that measures of a whole alignment are made from: where it holds each variable, and from which of them each is computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.measures.names import OF_ALIGNMENTS
from causal_dsl.program.components import depth
from causal_dsl.program.encodings import encodes
from causal_dsl.program.places_read import nodes_read
from causal_dsl.program.program import Alignment, Intervention
from causal_dsl.program.target_places import InCell, crosses, features_of, places_of_target
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.values.from_run import FromRun


@dataclass(frozen=True)
class HeldParents:
    """From what a variable is computed, as an alignment sees it: ``placed`` variables, which have places of their own, and
    ``free`` inputs of the causal model, which have none. Variables between them that have no place are left out."""

    placed: tuple[str, ...]
    free: tuple[str, ...]


def held_parents(model: CausalModel, placed: Iterable[str], name: str) -> HeldParents:
    """The nearest placed ancestors of a variable, and the inputs that reach it past them. An input that is placed is
    computed from itself."""
    known, variables = set(placed), model.variables
    if variables[name].kind != "mechanism":
        return HeldParents((), (name,))
    found: dict[str, None] = {}
    free: dict[str, None] = {}
    seen = set[str]()
    stack = list(reversed(variables[name].parents))
    while stack:
        parent = stack.pop()
        if parent in seen:
            continue
        seen.add(parent)
        if parent in known:
            found[parent] = None
        elif variables[parent].kind == "mechanism":
            stack += reversed(variables[parent].parents)
        else:
            free[parent] = None
    return HeldParents(tuple(found), tuple(free))


def held_order(model: CausalModel, placed: Iterable[str], output: str) -> tuple[str, ...]:
    """The placed variables from which a path of placed variables leads to the output, parents first."""
    known = set(placed)
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for parent in held_parents(model, known, name).placed:
            if parent not in found:
                visit(parent)
                found[parent] = None

    visit(output)
    return tuple(found)


def asks_of_alignment(members: Sequence[tree.Node], metrics: Mapping[str, tree.Expr]) -> bool:
    """Whether the lines of a test, or the metrics that they name, ask for a measure of its whole alignment."""
    return any(isinstance(node, tree.Name) and node.name in OF_ALIGNMENTS for node in nodes_read(members, metrics))


def read_held(here: InCell, span: Span) -> tuple[Intervention, ...] | None:
    """For each placed variable of an alignment, in one cell, what writes it; None where a fault was reported (E851, E852)."""
    about, found = here.alignment, list[Intervention]()
    for name, placement in about.placements.items():
        if encodes(placement.via):
            continue
        if crosses(name, here):
            _refuse_across(name, placement.span, here.diagnostics)
            return None
        places = places_of_target(tree.Name(name, span=placement.span), here)
        if places is None:
            return None
        found.append(
            Intervention(
                places,
                FromRun("base", places),
                variable=name,
                text=name,
                span=placement.span,
                features=features_of(name, here),
            )
        )
    return tuple(found) if _in_order(found, about, span, here.diagnostics) else None


def _refuse_across(name: str, span: Span, diagnostics: Diagnostics) -> None:
    diagnostics.report(
        "E852",
        f"`{name}` is read at one place and written at another",
        span,
        notes=("measures of a whole alignment take what is at a place of one run and put it there in another",),
        help="place it at a site, or at dimensions or a feature of one",
    )


def _in_order(found: Sequence[Intervention], about: Alignment, span: Span, diagnostics: Diagnostics) -> bool:
    """Whether each variable is held before those that are computed from it (else E851)."""
    by_name = {one.variable: one for one in found}
    for name, later in by_name.items():
        assert name is not None
        for parent in held_parents(about.model, [n for n in by_name if n], name).placed:
            if not all(_before(parent, name, by_name)):
                earlier = by_name[parent]
                diagnostics.report(
                    "E851",
                    f"`{name}` is computed from `{parent}`, and its place does not come after that of `{parent}`",
                    later.span or span,
                    others=((earlier.span or span, f"`{parent}` is at {earlier.places[0]}"),),
                    notes=(
                        f"`{name}` is at {later.places[0]}: the network cannot compute what is there from {earlier.places[0]}",
                        "the measure sets the place of each variable and looks at the places of those that are computed from it",
                    ),
                    help=f"place `{parent}` in an earlier layer, or `{name}` in a later one",
                )
                return False
    return True


def _before(parent: str, name: str, by_name: Mapping[str | None, Intervention]) -> Iterator[bool]:
    for one in by_name[parent].places:
        for other in by_name[name].places:
            here, there = depth(one.site), depth(other.site)
            if here is not None and there is not None:
                yield here < there


__all__ = ["HeldParents", "asks_of_alignment", "held_order", "held_parents", "read_held"]
