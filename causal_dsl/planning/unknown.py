"""Words of prompts that a tokenizer does not know: all of them enter as one token."""

from __future__ import annotations

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.inputs.prompts import PromptInputs
from causal_dsl.planning.plan import Plan

_SHOWN = 6


def warn_of_unknown_words(plan: Plan, found: Diagnostics) -> None:
    """Report W520 for each network whose prompts hold words that its tokenizer does not know."""
    for key, inputs in plan.inputs.items():
        if not isinstance(inputs, PromptInputs) or inputs.tokens is None or inputs.tokens.unknown_id is None:
            continue
        unknown = inputs.tokens.unknown_id
        words: dict[str, None] = {}
        held = 0
        for prompt in inputs.prompts:
            at = [place for place, one in enumerate(prompt.encoded.ids) if one == unknown]
            held += bool(at)
            words |= dict.fromkeys(prompt.text[slice(*prompt.encoded.offsets[place])].strip() for place in at)
        test = next((test for test in plan.tests if test.network.key == key and test.alignment.prompts), None)
        if not held or test is None:
            continue
        shown = ", ".join(f"`{word}`" for word in list(words)[:_SHOWN]) + (", …" if len(words) > _SHOWN else "")
        several = "; it cannot tell them apart" if len(words) > 1 else ""
        found.report(
            "W520",
            f"{held} of {len(inputs.prompts)} prompts hold what the tokenizer of `{test.network.name}` does not know",
            test.alignment.prompts[0].span,
            notes=(
                f"to the network {shown} {'are all' if len(words) > 1 else 'is'} `{inputs.tokens.token(unknown)}`{several}",
            ),
            help="use words of its vocabulary, or the tokenizer that belongs to the network",
        )


__all__ = ["warn_of_unknown_words"]
