"""How the prompts that are run end, where a value ends them, against how the answer begins."""

from __future__ import annotations

import numpy as np

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.inputs import Inputs
from causal_dsl.planning.plan import Plan
from causal_dsl.program.endings import opens, spaced
from causal_dsl.program.locate import clip
from causal_dsl.program.program import PromptLine, Readout, Test


def check_starts(plan: Plan, found: Diagnostics) -> None:
    """Report W514 and W519 for prompts that end in white space or in an opening quote or bracket because the value of their last
    placeholder does, where the answer is looked for after a space. Of a line that ends in a text of its own, this is told before."""
    texts: dict[tuple[PromptLine, Readout], dict[str, None]] = {}
    for test in plan.tests:
        inputs = plan.inputs[test.network.key]
        if test.control[0] or test.probe is not None:
            continue
        if test.readout.kind != "next_token" or test.readout.position is not None:
            continue
        for number, line in enumerate(test.alignment.prompts):
            if line.template.segments[-1].placeholder and spaced(test.readout, line.template) is not None:
                texts.setdefault((line, test.readout), {}).update(dict.fromkeys(_texts(test, number, plan, inputs)))
    for (line, readout), own in texts.items():
        _check(line, readout, list(own), found)


def _texts(test: Test, line: int, plan: Plan, inputs: Inputs) -> list[str]:
    """The prompts of a line that the test reads, each once."""
    drawn = plan.draw_of(test)
    rows: list[np.ndarray] = []
    for role, mine in plan.rows_of(test).items():
        lines = drawn.values[role].get("template")
        rows.append(mine if lines is None else mine[lines == line])
    return [inputs.text(row) for row in np.unique(np.concatenate(rows)).tolist()] if rows else []


def _check(line: PromptLine, readout: Readout, texts: list[str], found: Diagnostics) -> None:
    last = line.template.segments[-1].text
    kinds = {
        "a newline": ("W514", [text for text in texts if text.endswith("\n")]),
        "a space": ("W514", [text for text in texts if text[-1:].isspace() and not text.endswith("\n")]),
        "an opening quote or bracket": ("W519", [text for text in texts if opens(text)]),
    }
    for end, (code, own) in kinds.items():
        if not own:
            continue
        help = 'read the answer with next_token(prefix="")'
        brought = spaced(readout, line.template)
        answer = f"the answer `{brought}`" if brought else "the answer"
        if brought:
            help = f"write `{brought}` and the like without the white space that it begins with, and {help}"
        elif len(own) < len(texts):
            help = f"let no value of `{last}` end so, or {help} in an alignment of these values"
        elif end == "a newline":
            help = "write the newline in the text of the prompt, not in the value"
        found.report(
            code,
            f"{len(own)} of the {len(texts)} prompts of this line end in {end}, and {answer} begins with a space",
            line.span,
            notes=(
                f'the value of `{last}` ends them, as in "{clip(own[0])}"',
                *(
                    ()
                    if brought
                    else ("whether a space stands before the answer is decided by the text of the line, not by values",)
                ),
            ),
            help=help,
        )


__all__ = ["check_starts"]
