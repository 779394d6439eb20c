"""How prompts end, against how the answer that is looked for begins."""

from __future__ import annotations

from causal_dsl.diagnostics import NOWHERE, Diagnostics
from causal_dsl.program.program import Alignment, PromptLine, Readout
from causal_dsl.program.templates import Template, show_value

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
        if spaced(readout, line.template) is None:
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
            help='read the answer with next_token(prefix="")'
            if spaced(readout, line.template) == ""
            else 'write the values without the white space that they begin with, and next_token(prefix="")',
        )


def check_end(line: PromptLine, readout: Readout, diagnostics: Diagnostics) -> None:
    """Report W514 where a prompt ends in white space and the answer brings more."""
    last = line.template.segments[-1]
    if last.placeholder or not last.text[-1:].isspace():
        return
    own = spaced(readout, line.template)
    if own is None:
        return
    answer = f"the answer `{own}`" if own else "the answer"
    if last.text.endswith("\n"):
        title = f"the prompt ends in a newline, and {answer} begins with a space"
        note = "no space is expected at the beginning of a line, so the token of the answer would be unlikely"
        help = 'read the answer with next_token(prefix=""), or leave `prefix` out: at the beginning of a line no space is put before an answer'
    else:
        title = f"the prompt ends in a space, and {answer} begins with one"
        note = "most tokenizers expect no second space, so the token of the answer would be unlikely"
        help = 'read the answer with next_token(prefix="")'
        if not line.chat:
            help += ", or end the prompt without the space"
    if own:
        help = "write the values without the white space that they begin with" + (
            ""
            if last.text.endswith("\n")
            else f", and {help}"
            if line.chat
            else ", or end the prompt without the space"
        )
    wrote = ["the chat template writes this end"] if line.chat else []
    diagnostics.report("W514", title, line.span, notes=(note, *wrote), help=help)


def check_prefix(readout: Readout, diagnostics: Diagnostics) -> None:
    """Report W514 where `prefix` ends in white space and an answer begins with more."""
    own = next((text for text in map(show_value, readout.values) if text[:1].isspace()), None)
    if own is None or not (readout.prefix or "")[-1:].isspace():
        return
    diagnostics.report(
        "W514",
        f"`prefix` ends in white space, and the answer `{own}` begins with some",
        readout.span or NOWHERE,
        notes=("most tokenizers expect no second space, so the token of the answer would be unlikely",),
        help="leave `prefix` out: a space is put before an answer only where it does not begin with white space",
    )


def spaced(readout: Readout, template: Template) -> str | None:
    """The first answer that begins with white space of its own after the prompts of a line, as it is written; the empty text
    where all of them are read after a space that is put before them. None where no answer begins with white space."""
    if readout.prefix and readout.prefix[:1].isspace():
        return ""
    own = (
        None if readout.prefix else next((text for text in map(show_value, readout.values) if text[:1].isspace()), None)
    )
    return own or ("" if readout.before(template)[:1].isspace() else None)


def opens(text: str) -> bool:
    """Whether a text ends in a quote or bracket that opens."""
    end = text[-1:]
    if end in _OPENING:
        return bool(end)
    if end == "'":  # an apostrophe stands within or after a word
        return len(text) == 1 or text[-2].isspace()
    return end in _EITHER and text.count(end) % 2 == 1


__all__ = ["check_end", "check_endings", "check_prefix", "opens", "spaced"]
