"""Which tokens a position names in a rendered prompt.

A position is looked up row by row on the tokens of the unpadded prompt, the special tokens that the tokenizer adds
included: ``first`` is index 0, the beginning-of-sequence token where there is one, and ``last`` is index -1. The
tokens of a value (or of a literal) are all that cover any of its characters.
"""

from __future__ import annotations

import re
from collections import Counter

from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, SpecError, did_you_mean, fail
from causal_dsl.program.templates import Rendered, Segment, Template
from causal_dsl.program.tokens import Encoded
from causal_dsl.vocabulary.locations import Position

#: A word of a prompt: one of a tokenizer's own, such as `<s>`, `<|im_start|>` and `[CLS]`, is whole.
_WORD = re.compile(r"<[^\s<>]+>|\[\w+\]|\w+|[^\w\s]")


def check_position(position: Position, template: Template, span: Span, diagnostics: Diagnostics) -> bool:
    """Whether a position names one place of the template; else E502 to E505, with what to write."""
    if position.kind == "placeholder":
        return _check_placeholder(position, template, span, diagnostics)
    if position.kind == "text":
        found = sum(
            len(occurrences(position.name, segment.text)) for segment in template.segments if not segment.placeholder
        )
        return _check_text(position, found, template, span, diagnostics)
    return True


def _check_placeholder(position: Position, template: Template, span: Span, diagnostics: Diagnostics) -> bool:
    uses = Counter(template.placeholders)[position.name]
    if uses == 0:
        known = [*template.placeholders, "first", "last", "all"]
        diagnostics.report(
            "E502",
            f"the prompt has no placeholder {{{position.name}}}",
            span,
            notes=(f'the prompt is "{template}"',),
            help=did_you_mean(position.name, known),
        )
    elif uses > 1 and not position.occurrence:
        diagnostics.report(
            "E503",
            f"the prompt has {uses} placeholders {{{position.name}}}",
            span,
            help=f"say which one: {position.name}(1), … {position.name}({uses})",
        )
    elif position.occurrence > uses:
        times = "once" if uses == 1 else f"{uses} times"
        diagnostics.report(
            "E503", f"there is no {position.name}({position.occurrence}): the placeholder is used {times}", span
        )
    else:
        return True
    return False


def _check_text(position: Position, found: int, template: Template, span: Span, diagnostics: Diagnostics) -> bool:
    shown = f'"{position.name}"'
    if found == 0:
        literals = [segment.text for segment in template.segments if not segment.placeholder]
        words = [word for text in literals for word in _WORD.findall(text)]
        diagnostics.report(
            "E504",
            f"{shown} is not in the prompt",
            span,
            notes=(
                f'the prompt is "{template}"',
                "a literal matches whole words, and never the values of the placeholders",
            ),
            help=did_you_mean(position.name, words),
        )
    elif found > 1 and not position.occurrence:
        diagnostics.report(
            "E505",
            f"{shown} occurs {found} times in the prompt",
            span,
            help="quote more of the prompt, ending in the word that you mean, so that it occurs once",
        )
    elif position.occurrence > found:
        times = "once" if found == 1 else f"{found} times"
        diagnostics.report("E505", f"there is no {shown}({position.occurrence}): it occurs {times} in the prompt", span)
    else:
        return True
    return False


def locate(position: Position, rendered: Rendered, encoded: Encoded, span: Span = NOWHERE) -> tuple[int, ...]:
    """The indices of the tokens that a position names, on the unpadded prompt, in rising order.

    Raises E502 to E505 as :func:`check_position`; E506 for a token outside the prompt; E465 for an empty range; E507 for a value that has no
    token; E513 where a token of the value also covers another placeholder's value.
    """
    if position.kind == "all":
        return tuple(range(len(encoded)))
    if position.kind == "except":
        away = {token for part in position.parts for token in locate(part, rendered, encoded, span)}
        return tuple(token for token in range(len(encoded)) if token not in away)
    if position.kind == "several":
        found = tuple(token for part in position.parts for token in locate(part, rendered, encoded, span))
        if len(set(found)) < len(found):
            raise fail(
                "E724",
                "two of these positions are the same token",
                span,
                notes=(f'in the prompt "{clip(rendered.text)}"',),
                help="name each token once",
            )
        return found
    if position.kind == "range":
        return _between(position, rendered, encoded, span)
    if position.kind in ("index", "offset"):
        index = _token(position, rendered, encoded, span)
        if not 0 <= index < len(encoded):
            said = position.index if position.kind == "index" else f"`{position}`"
            raise _outside(f"there is no token {said}: the prompt has {len(encoded)}", rendered, span)
        return (index,)
    return _of_value(position, rendered, encoded, span)


def _token(position: Position, rendered: Rendered, encoded: Encoded, span: Span) -> int:
    """The number of the one token that a position names, which may lie outside the prompt."""
    match position.kind:
        case "index":
            return position.index if position.index >= 0 else len(encoded) + position.index
        case "offset":
            return _token(position.parts[0], rendered, encoded, span) + position.index
        case "end":
            return len(encoded)
    return locate(position, rendered, encoded, span)[0]


def _between(position: Position, rendered: Rendered, encoded: Encoded, span: Span) -> tuple[int, ...]:
    """The tokens of a range; E506 where an end is outside the prompt, E465 where it holds none."""
    start, stop = (_token(part, rendered, encoded, span) for part in position.parts)
    if start < 0 or stop < 0 or max(start, stop - 1) >= len(encoded):
        numbers = all(part.kind in ("index", "end") for part in position.parts)
        raise _outside(
            f"`{position}` leaves the prompt, which has {len(encoded)} tokens",
            rendered,
            span,
            "coordinates stand behind the position, as in [last, 0:4]" if numbers else "",
        )
    if start >= stop:
        raise fail(
            "E465",
            f"`{position}` holds no token",
            span,
            notes=(
                f"it begins at token {start} and ends before token {stop}",
                f'the prompt is "{clip(rendered.text)}"',
            ),
            help="the end of a range is left out: all tokens of a value are `name.all`",
        )
    return tuple(range(start, stop))


def _outside(title: str, rendered: Rendered, span: Span, help: str = "") -> SpecError:
    """E506."""
    return fail("E506", title, span, notes=(f'the prompt is "{clip(rendered.text)}"',), help=help)


def _of_value(position: Position, rendered: Rendered, encoded: Encoded, span: Span) -> tuple[int, ...]:
    """The tokens of a placeholder's value, or of a literal."""
    start, end = _characters(position, rendered, span)
    tokens = tuple(i for i, (left, right) in enumerate(encoded.offsets) if left < end and right > start)
    if not tokens:
        raise fail(
            "E507", f"`{position}` has no token of its own", span, notes=(f'in the prompt "{clip(rendered.text)}"',)
        )
    _refuse_shared(position, (start, end), rendered, encoded, tokens, span)
    return {"first": tokens[:1], "last": tokens[-1:], "all": tokens}[position.part]


def _characters(position: Position, rendered: Rendered, span: Span) -> tuple[int, int]:
    if position.kind == "placeholder":
        found = [spot for (placeholder, _), spot in rendered.spans.items() if placeholder == position.name]
    else:
        found = [
            (left + start, left + end)
            for left, right in rendered.literals
            for start, end in occurrences(position.name, rendered.text[left:right])
        ]
    if not found or position.occurrence > len(found) or (len(found) > 1 and not position.occurrence):
        faults = Diagnostics()
        check_position(position, _template_of(rendered), span, faults)
        faults.raise_errors()
    return found[max(position.occurrence, 1) - 1]


def _template_of(rendered: Rendered) -> Template:
    """The template back from a rendered prompt, for messages."""
    pieces = [(left, Segment(rendered.text[left:right], placeholder=False)) for left, right in rendered.literals]
    pieces += [(left, Segment(placeholder, placeholder=True)) for (placeholder, _), (left, _) in rendered.spans.items()]
    return Template(
        tuple(segment for _, segment in sorted(pieces, key=lambda piece: (piece[0], not piece[1].placeholder)))
    )


def _refuse_shared(
    position: Position,
    own: tuple[int, int],
    rendered: Rendered,
    encoded: Encoded,
    tokens: tuple[int, ...],
    span: Span,
) -> None:
    """A token that covers two values is in neither place: what is patched there would carry both."""
    low, high = encoded.offsets[tokens[0]][0], encoded.offsets[tokens[-1]][1]
    for (placeholder, _), (start, end) in rendered.spans.items():
        if (start, end) != own and start < high and end > low and start < end:
            raise fail(
                "E513",
                f"`{position}` and {{{placeholder}}} share a token",
                span,
                notes=(f'in the prompt "{clip(rendered.text)}"',),
                help="put something between the two placeholders that this tokenizer splits at, a space or a comma",
            )


def occurrences(literal: str, text: str) -> list[tuple[int, int]]:
    """Where a literal stands in a text as whole words: no letter or digit goes on at its ends."""
    if not literal:
        return []
    before = r"(?<!\w)" if re.match(r"\w", literal) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", literal) else ""
    return [match.span() for match in re.finditer(before + re.escape(literal) + after, text)]


def clip(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "…"
