"""Words of prompts that a tokenizer does not know: all of them enter as one token."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.causal.designs import Drawn
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.inputs import inputs_of
from causal_dsl.planning.plan import Plan
from causal_dsl.program.answers import answers_of
from causal_dsl.program.program import Test
from causal_dsl.program.tokens import Tokens

_SHOWN = 6


def warn_of_unknown_words(plan: Plan, found: Diagnostics) -> None:
    """Report W520 for each network whose prompts hold words that its tokenizer does not know."""
    for key, inputs in plan.inputs.items():
        if inputs.tokens is None or inputs.tokens.unknown_id is None:
            continue
        held, words = inputs.unknown_words()
        test = next((test for test in plan.tests if test.network.key == key and test.alignment.prompts), None)
        if not held or test is None:
            continue
        shown = ", ".join(f"`{word}`" for word in words[:_SHOWN]) + (", …" if len(words) > _SHOWN else "")
        several = "; it cannot tell them apart" if len(words) > 1 else ""
        found.report(
            "W520",
            f"{held} of {len(inputs)} prompts hold what the tokenizer of `{test.network.name}` does not know",
            test.alignment.prompts[0].span,
            notes=(
                f"to the network {shown} {'are all' if len(words) > 1 else 'is'} `{inputs.tokens.token(inputs.tokens.unknown_id)}`{several}",
            ),
            help="use words of its vocabulary, or the tokenizer that belongs to the network",
        )


def refuse_other_words(test: Test, drawn: Drawn, tokens: Tokens) -> None:
    """Raise E793 for a word of a test's prompts or answers that is not in the vocabulary which the declaration of its network
    gives. All else of such a network is known when it is loaded."""
    if not test.alignment.prompts:
        return
    alignment = replace(test.alignment, readouts={})
    inputs = inputs_of(test.network.facts, tokens, alignment)
    for role in drawn.values:
        inputs.add(alignment, drawn, role, test.span)
    readout = test.readout
    if readout.kind == "next_token":
        answers_of(readout, test.alignment, tokens, readout.span or test.span)


__all__ = ["refuse_other_words", "warn_of_unknown_words"]
