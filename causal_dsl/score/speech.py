"""How what a test's network says is put into words: values of the causal model, tokens, the bases of its pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.program.answers import Answers
from causal_dsl.program.templates import show_value
from causal_dsl.program.tokens import Tokens
from causal_dsl.score.wrong_answers import Speech

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan
    from causal_dsl.program.program import Test


def speech_of(test: Test, plan: Plan, answers: Answers, tokens: Tokens | None) -> Speech:
    """The words of a test: codes as values, ids as tokens or class numbers, pairs by the text of their base."""
    drawn, inputs = plan.draw_of(test), plan.inputs[test.network.key]
    model, variable = test.model, test.readout.variable
    classes = {ids[0]: value for value, ids in answers.ids.items()}
    draw = plan.scores[test.name][0].label.draw
    rows = {run.role: found for run, found in plan.rows.items() if (run.network, run.draw) == (test.network.key, draw)}

    def value(code: int) -> str:
        if not test.readout.stated:
            return token(code)
        if variable in model.sets and code in model.sets[variable].members:
            return model.sets[variable].short(code)
        return show_value(model.decode(variable, np.array([code]))[0])

    def token(number: int) -> str:
        if tokens is not None and test.readout.kind != "logits":
            return tokens.token(number)
        return show_value(classes[number]) if number in classes else f"class {number}"

    def role_text(role: str, pair: int) -> str:
        if role in rows and (text := inputs.text(int(rows[role][pair]))):
            return text
        names = list(model.exogenous)
        decoded = [model.decode(name, drawn.values[role][name][pair : pair + 1])[0] for name in names]
        return ", ".join(f"{name} = {show_value(value)}" for name, value in zip(names, decoded, strict=True))

    def base(pair: int) -> str:
        return role_text("base", pair)

    def inputs_of(pair: int) -> dict[str, str]:
        return {role: role_text(role, pair) for role in drawn.values}

    among = None
    if answers.among is not None:
        among = frozenset(ids[0] for own in answers.spellings for ids in own.ids.values())
    return Speech(value, token, base, among, variable in model.sets, inputs_of)
