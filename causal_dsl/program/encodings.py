"""`a @ input[0:4] via onehot()`: how the values of a variable enter a network that reads vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from causal_dsl.causal.domains import Finite
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.paths import steps
from causal_dsl.program.program import Aligned, InputPlacement
from causal_dsl.program.settings import Setting, call_name, read_settings
from causal_dsl.program.sites import SiteReader
from causal_dsl.syntax import tree

ENCODINGS: dict[str, dict[str, Setting]] = {
    "onehot": {},
    "scalar": {},
    "embedding": {"dim": Setting("int", required=True, low=1), "seed": Setting("int", 0)},
}
_MOST_VALUES = 10_000


def encodes(via: tree.Expr | None) -> bool:
    """Whether what stands after `via` says how a value enters the network: no feature of a vector is meant."""
    return via is not None and (call_name(via) or ("",))[0] in ENCODINGS


def read_input(member: tree.Placement, kind: str, aligned: Aligned, found: Diagnostics) -> InputPlacement | None:
    """How a variable enters a vector network; None where a fault was reported. ``kind``: the site, where it is a bare name."""
    name = member.name.name
    assert member.via is not None
    called = call_name(member.via)
    assert called is not None
    encoding = called[0]
    arguments = member.via.arguments if isinstance(member.via, tree.Call) else ()
    settings = read_settings(encoding, arguments, ENCODINGS[encoding], found, member.via.span)
    if settings is None:
        return None
    if kind != "input" or aligned.network.facts.kind == "language":
        found.report(
            "E679",
            f"`{encoding}()` says how a value enters at `input`",
            member.via.span,
            help=_not_an_input(name, encoding, aligned),
        )
        return None
    place = SiteReader(aligned.network.facts, (), found).place(member.sites[0])
    if place is None:
        return None
    dims = place.site.dims
    if dims is None and aligned.network.facts.widths:
        dims = tuple(range(aligned.network.facts.widths[0]))
    if dims is None or dims != tuple(range(dims[0], dims[-1] + 1)):
        found.report(
            "E679",
            f"`{name}` needs a slice of the input",
            member.sites[0].span,
            help=f"write `{name} @ input[0:4] via …`",
        )
        return None
    asked = _needed(name, encoding, settings, aligned, member.via.span, found)
    if asked is None:
        return None
    needed, why = asked
    if needed != len(dims):
        found.report(
            "E680",
            f"`{name}` needs {needed} numbers of the input, and has {len(dims)}",
            member.sites[0].span,
            notes=(why,),
            help=f"write input[{dims[0]}:{dims[0] + needed}]",
        )
        return None
    return InputPlacement(name, dims[0], dims[-1] + 1, encoding, tuple(settings.items()))  # type: ignore[arg-type]


def _needed(
    name: str, encoding: str, settings: Mapping[str, Any], aligned: Aligned, span: Span, found: Diagnostics
) -> tuple[int, str] | None:
    """How many numbers of the input a variable takes, and why; None where a fault was reported."""
    variable = aligned.model.variables[name]
    if encoding == "scalar":
        if variable.type == "string":
            found.report("E679", f"`{name}` has text values, which are not scalars", span, help="write via onehot()")
            return None
        return 1, "a scalar is one number"
    if not isinstance(variable.domain, Finite) or len(variable.domain.values) > _MOST_VALUES:
        found.report("E679", f"`{name}` has too many values for `{encoding}`", span, help="write via scalar()")
        return None
    if encoding == "onehot":
        return len(variable.domain.values), f"`{name}` has {len(variable.domain.values)} values"
    return settings["dim"], f"the embedding has {settings['dim']} dimensions"


def side_by_side(member: tree.Placement, aligned: Aligned, found: Diagnostics) -> tuple[tree.Placement, ...]:
    """``a..d @ input via onehot()`` as one line of each variable; none, with a diagnostic, where they are at fault."""
    assert member.last is not None
    last, variables = member.last, aligned.model.variables
    names = [name for name, variable in variables.items() if variable.kind == "exogenous"]
    for ident in (member.name, last):
        if ident.name not in names:
            unknown = ident.name not in variables
            found.report(
                "E201" if unknown else "E679",
                f"no variable `{ident.name}` in `{aligned.model.name}`"
                if unknown
                else f"`{ident.name}` is computed by `{aligned.model.name}`, and enters nowhere",
                ident.span,
                help=did_you_mean(ident.name, names),
            )
            return ()
    shown = f"{member.name.name}..{last.name}"
    chosen = names[names.index(member.name.name) : names.index(last.name) + 1]
    if not chosen:
        found.report(
            "E679",
            f"`{shown}` stands for no variables: `{last.name}` is declared before `{member.name.name}`",
            member.name.span,
            notes=("they share the input in the order in which they are declared",),
            help=f"write `{last.name}..{member.name.name}`",
        )
        return ()
    called = call_name(member.via) if member.via is not None else None
    path = steps(member.sites[0])
    at_input = path is not None and len(path) == 1 == len(member.sites) and path[0].name == "input"
    if called is None or called[0] not in ENCODINGS or not at_input:
        found.report(
            "E679",
            f"`{shown}` says how several variables enter at `input`",
            member.sites[0].span,
            notes=("they share the input in the order in which they are declared",),
            help=f"write `{shown} @ input via onehot()`",
        )
        return ()
    assert member.via is not None
    settings = read_settings(called[0], member.via.arguments, ENCODINGS[called[0]], found, member.via.span)
    place = SiteReader(aligned.network.facts, (), found).place(member.sites[0])
    if settings is None or place is None:
        return ()
    made, dims = [], place.site.dims
    start = at = dims[0] if dims else 0
    for name in chosen:
        asked = _needed(name, called[0], settings, aligned, member.via.span, found)
        if asked is None:
            return ()
        ends = (tree.Number(at, span=member.span), tree.Number(at + asked[0], span=member.span))
        site = tree.Subscript(
            tree.Name("input"), (tree.Slice(*ends, span=member.sites[0].span),), span=member.sites[0].span
        )
        made.append(replace(member, name=tree.Ident(name, span=member.name.span), sites=(site,), last=None))
        at += asked[0]
    given = len(dims) if dims is not None else (aligned.network.facts.widths or (None,))[0]
    if given is not None and at - start != given:
        found.report(
            "E680",
            f"`{shown}` need {at - start} numbers of the input, and have {given}",
            member.sites[0].span,
            notes=(f"they are {', '.join(chosen)}",),
            help=f"write input[{start}:{at}]",
        )
        return ()
    return tuple(made)


def _not_an_input(name: str, encoding: str, aligned: Aligned) -> str:
    if aligned.network.facts.kind == "language":
        return f"put {{{name}}} in the prompt, and leave this out"
    if aligned.model.variables[name].kind != "exogenous":
        return "leave the `via` out: the network computes this variable itself"
    return f"write `{name} @ input[0:4] via {encoding}(…)`"


def inputs_fit(
    inputs: Mapping[str, InputPlacement], placements: Mapping[str, tree.Placement], found: Diagnostics
) -> bool:
    """Whether no two variables share numbers of the input; else E681."""
    ordered = sorted(inputs.values(), key=lambda placement: placement.start)
    for before, after in pairwise(ordered):
        if after.start < before.stop:
            one, other = (placements[p.variable].sites[0].span for p in (after, before))
            found.report(
                "E681",
                f"`{before.variable}` and `{after.variable}` share numbers of the input",
                one,
                others=((other, f"taken by `{before.variable}`"),),
                help="give each variable its own slice",
            )
            return False
    return True
