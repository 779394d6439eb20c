"""Warnings about how a network is shown its inputs, once a test, its prompts and its tokenizer are known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from causal_dsl.diagnostics import Diagnostic, Diagnostics
from causal_dsl.program.program import Test
from causal_dsl.program.prompts import check_end, check_tokenizer
from causal_dsl.program.tokens import Tokens


def caution(test: Test, tokens: Tokens | None, diagnostics: Diagnostics) -> None:
    """Report W512 (a tokenizer that ends every prompt) and W514 (a prompt that ends in a space).

    Encoders end every text, and read at the mask: nothing is said of them.
    """
    if tokens is None or not test.alignment.prompts or test.readout.kind != "next_token":
        return
    check_tokenizer(tokens, test.network.span, diagnostics)
    for line in test.alignment.prompts:
        check_end(line.template, test.readout.prefix, line.span, diagnostics)


def never_apart(test: Test, tests: Sequence[Test]) -> Diagnostic | None:
    """A warning (W760) of a test that takes several variables from one run, where no test of the alignment takes one of them
    without the other: such pairs are right whichever of the places holds which variable."""
    also = [dict(other.swaps) for other in tests if other.alignment.origin == test.alignment.origin]
    for (one, role), (other, same) in combinations(test.swaps, 2):
        if role != same or any(swaps.get(one) != swaps.get(other) for swaps in also):
            continue
        return Diagnostic(
            "W760",
            f"`{one}` and `{other}` are taken from one run only",
            test.span,
            label=f"of `{role}`, both",
            notes=("iia is then the same whichever of their places holds which of them, or one of them both",),
            help=f"take each from a run of its own, `do({one} <- one, {other} <- two)`, or write a test of `{one}` alone",
        )
    return None
