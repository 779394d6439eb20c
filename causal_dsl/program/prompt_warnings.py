"""Warnings about how a network is shown its inputs, once a test, its prompts and its tokenizer are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from causal_dsl.diagnostics import Diagnostic, Diagnostics
from causal_dsl.program.endings import check_end, check_prefix
from causal_dsl.program.identity import Origin
from causal_dsl.program.program import Test
from causal_dsl.program.prompt_tokens import check_tokenizer
from causal_dsl.program.tokens import Tokens


def caution(test: Test, tokens: Tokens | None, diagnostics: Diagnostics) -> None:
    """Report W512 (a tokenizer that ends every prompt) and W514 (a prompt that ends in a space or a newline).

    Encoders end every text, and read at the mask: nothing is said of them.
    """
    if tokens is None or not test.alignment.prompts or test.readout.kind != "next_token" or test.readout.position:
        return
    check_tokenizer(tokens, test.network.span, diagnostics)
    for line in test.alignment.prompts:
        check_end(line, test.readout, diagnostics)
    check_prefix(test.readout, diagnostics)


def never_apart(tests: Sequence[Test]) -> Iterator[Diagnostic]:
    """A warning (W760) of each test that takes several variables from one run, where no test of the alignment takes one of
    them without the other: such pairs are right whichever of the places holds which variable."""
    taken: dict[Origin, set[tuple[tuple[str, str], ...]]] = {}
    for test in tests:
        taken.setdefault(test.alignment.origin, set()).add(test.swaps)
    for test in tests:
        if len(test.swaps) > 1:
            yield from _never_apart(test, [dict(swaps) for swaps in taken[test.alignment.origin]])


def _never_apart(test: Test, also: Sequence[Mapping[str, str]]) -> Iterator[Diagnostic]:
    for (one, role), (other, same) in combinations(test.swaps, 2):
        if role != same or any(swaps.get(one) != swaps.get(other) for swaps in also):
            continue
        yield Diagnostic(
            "W760",
            f"`{one}` and `{other}` always come from the same run",
            test.span,
            label=f"of `{role}`, both",
            notes=("iia is then the same if their places are exchanged, or if one place holds both",),
            help=f"take each from a separate run, `do({one} <- one, {other} <- two)`, or write a test of `{one}` alone",
        )
        return
