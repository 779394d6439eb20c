"""`a..d @ input via onehot()`: several variables in one line, side by side in the order of their declaration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.encodings import ENCODINGS, encodes, numbers_of
from causal_dsl.program.paths import steps
from causal_dsl.program.program import Aligned
from causal_dsl.program.read_settings import call_name, read_settings
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.syntax import tree


def separate(declaration: tree.AlignDecl, aligned: Aligned, found: Diagnostics) -> Iterator[tree.Placement | None]:
    """The placements of an alignment, each of one variable; None for a line at fault (E201, E679, E680)."""
    for member in declaration.members:
        if isinstance(member, tree.Placement) and member.last is not None:
            yield from _each(member, member.last, aligned, found) or (None,)
        elif isinstance(member, tree.Placement):
            yield member


def _each(member: tree.Placement, last: tree.Ident, aligned: Aligned, found: Diagnostics) -> list[tree.Placement]:
    variables = aligned.model.variables
    names = [name for name, variable in variables.items() if variable.kind == "exogenous"]
    for ident in (member.name, last):
        if ident.name not in names:
            there = ident.name in variables
            found.report(
                "E679" if there else "E201",
                f"`{ident.name}` is computed by `{aligned.model.name}`, and does not enter the network"
                if there
                else f"no variable `{ident.name}` in `{aligned.model.name}`",
                ident.span,
                help=did_you_mean(ident.name, names),
            )
            return []
    shown = f"{member.name.name}..{last.name}"
    chosen = names[names.index(member.name.name) : names.index(last.name) + 1]
    if not chosen:
        found.report(
            "E679",
            f"`{shown}` contains no variables: `{last.name}` is declared before `{member.name.name}`",
            member.name.span,
            notes=("variables share the input in the order in which they are declared",),
            help=f"write `{last.name}..{member.name.name}`",
        )
        return []
    path = steps(member.sites[0])
    if len(member.sites) != 1 or not path or len(path) != 1 or path[0].name != "input" or not encodes(member.via):
        found.report(
            "E679",
            f"`{shown}` says how several variables enter at `input`",
            member.sites[0].span,
            help=f"write `{shown} @ input via onehot()`",
        )
        return []
    return _side_by_side(member, chosen, shown, aligned, found)


def _side_by_side(
    member: tree.Placement, chosen: list[str], shown: str, aligned: Aligned, found: Diagnostics
) -> list[tree.Placement]:
    """A placement of each variable; none where they do not take all that is named."""
    called = call_name(member.via) if member.via is not None else None
    assert member.via is not None and called is not None
    settings = read_settings(called[0], member.via.arguments, ENCODINGS[called[0]], found, member.via.span)
    place = SiteReader(aligned.network.facts, (), found).place(member.sites[0])
    if settings is None or place is None:
        return []
    made, dims, span = [], place.site.dims, member.sites[0].span
    start = at = dims[0] if dims else 0
    for name in chosen:
        asked = numbers_of(name, called[0], settings, aligned, member.via.span, found)
        if asked is None:
            return []
        ends = (tree.Number(at, span=span), tree.Number(at + asked[0], span=span))
        site = tree.Subscript(tree.Name("input", span=span), (tree.Slice(*ends, span=span),), span=span)
        made.append(replace(member, name=tree.Ident(name, span=member.name.span), sites=(site,), last=None))
        at += asked[0]
    given = len(dims) if dims is not None else next(iter(aligned.network.facts.widths), None)
    if given is not None and at - start != given:
        found.report(
            "E680",
            f"`{shown}` need {at - start} numbers of the input, and have {given}",
            span,
            notes=(f"they are {', '.join(chosen)}",),
            help=f"write input[{start}:{at}]",
        )
        return []
    return made


__all__ = ["separate"]
