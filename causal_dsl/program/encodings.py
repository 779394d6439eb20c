"""`a @ input[0:4] via onehot()`: how the values of a variable enter a network that reads vectors."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from causal_dsl.causal.domains import Finite
from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.program.program import Aligned, InputPlacement
from causal_dsl.program.read_settings import call_name, read_settings
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.called_words import called

ENCODINGS = called("encoding")
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
    if kind != "input" or aligned.network.facts.traits.enters:
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
    asked = numbers_of(name, encoding, settings, aligned, member.via.span, found)
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


def numbers_of(
    name: str, encoding: str, settings: Mapping[str, Any], aligned: Aligned, span: Span, found: Diagnostics
) -> tuple[int, str] | None:
    """How many numbers of the input a variable takes, and why; None where a fault was reported."""
    domain = aligned.model.variables[name].domain
    if encoding == "scalar":
        needed, why = 1, "a scalar is one number"
        if aligned.model.variables[name].type == "string":
            found.report("E679", f"`{name}` has text values, which are not scalars", span, help="write via onehot()")
            return None
    elif encoding == "onehot":
        if not isinstance(domain, Finite) or len(domain.values) > _MOST_VALUES:
            found.report("E679", f"`{name}` has too many values for `onehot`", span, help="write via scalar()")
            return None
        needed, why = len(domain.values), f"`{name}` has {len(domain.values)} values"
    else:
        if not isinstance(domain, Finite) or len(domain.values) > _MOST_VALUES:
            found.report("E679", f"`{name}` has too many values for `embedding`", span, help="write via scalar()")
            return None
        needed, why = settings["dim"], f"the embedding has {settings['dim']} dimensions"
    return needed, why


def _not_an_input(name: str, encoding: str, aligned: Aligned) -> str:
    if aligned.network.facts.traits.enters:
        return aligned.network.facts.traits.enters.format(name=name)
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
