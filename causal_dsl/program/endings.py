"""How prompts end, against how the answer that is looked for begins."""

from __future__ import annotations

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.program import Alignment, Readout

#: What opens, and after which no space is written.
_OPENING = "([{<\u201c\u2018\u00ab\u00bf\u00a1"
#: What opens and closes alike: open where it stands an odd number of times.
_EITHER = "\"`'"


def check_endings(alignment: Alignment, readout: Readout, diagnostics: Diagnostics) -> None:
    """Report W519 for a prompt that ends in an opening quote or bracket, where the answer is looked for after a space."""
    if readout.kind != "next_token" or readout.position is not None:
        return
    for line in alignment.prompts:
        last = line.template.segments[-1]
        if not readout.before(line.template)[:1].isspace():
            continue
        if last.placeholder or not opens(
            "".join("x" if part.placeholder else part.text for part in line.template.segments)
        ):
            continue
        diagnostics.report(
            "W519",
            f"the prompt ends in an opening {last.text[-1]}, and the answer begins with a space",
            line.span,
            notes=(
                f"text after {last.text[-1]} is mostly written without a space, so a token with one is unlikely there",
            ),
            help='read the answer with next_token(prefix="")',
        )


def opens(text: str) -> bool:
    """Whether a text ends in a quote or bracket that opens."""
    end = text[-1:]
    if end in _OPENING:
        return bool(end)
    if end == "'":  # an apostrophe stands within or after a word
        return len(text) == 1 or text[-2].isspace()
    return end in _EITHER and text.count(end) % 2 == 1


__all__ = ["check_endings", "opens"]
