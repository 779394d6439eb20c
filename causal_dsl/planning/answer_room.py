"""Whether prompts leave room in the context for the answers that are read behind them."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.planning.plan import Plan
from causal_dsl.program.answers import Answers
from causal_dsl.program.locate import clip


def check_room(plan: Plan, answers: Mapping[str, Answers], found: Diagnostics) -> None:
    """Report E508 for a test whose answers, written behind its longest prompt, go beyond the network's context. Only what is said is
    read, so the last token of an answer needs no place of its own."""
    for test in plan.tests:
        inputs, context = plan.inputs[test.network.key], test.network.facts.context
        more = answers[test.name].longest - 1 if test.name in answers else 0
        if context is None or more <= 0 or test.readout.position is not None:
            continue
        rows = {row for own in plan.rows_of(test).values() for row in own.tolist()}
        longest = max(rows, key=inputs.length, default=None)
        if longest is None or inputs.length(longest) + more <= context:
            continue
        found.report(
            "E508",
            f"a prompt of {inputs.length(longest)} tokens leaves no room for the answer",
            test.alignment.prompts[0].span,
            notes=(
                f"the context is {context} tokens, and up to {more} are written behind the prompt to read the answer",
                f'the prompt is "{clip(inputs.text(longest))}"',
            ),
            help="shorten the prompt, or read answers of one token",
        )


__all__ = ["check_room"]
