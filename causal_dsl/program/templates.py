"""Prompts with placeholders: their text for given values, and the tokens that a position names.

A template is ``"When {first} and {second} met, {first} gave"``; ``{{`` and ``}}`` stand for the braces themselves. A
position is looked up row by row on the tokens of the unpadded prompt, the special tokens that the tokenizer adds
included: ``first`` is index 0, the beginning-of-sequence token where there is one, and ``last`` is index -1. The
tokens of a value (or of a literal) are all that cover any of its characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from causal_dsl.causal.domains import Finite
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, SpecError, did_you_mean, fail
from causal_dsl.program.tokens import MASK, Encoded, Tokens
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts

if TYPE_CHECKING:
    from causal_dsl.program.program import Alignment


@dataclass(frozen=True)
class Segment:
    """A stretch of a template: literal ``text``, or (``placeholder``) the name of the variable that stands there."""

    text: str
    placeholder: bool


@dataclass(frozen=True)
class Template:
    """A prompt with placeholders."""

    segments: tuple[Segment, ...]

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The names in the placeholders, in order, one for each use."""
        return tuple(segment.text for segment in self.segments if segment.placeholder)

    def __str__(self) -> str:
        parts = []
        for segment in self.segments:
            escaped = segment.text.replace("{", "{{").replace("}", "}}")
            parts.append("{" + segment.text + "}" if segment.placeholder else escaped)
        return "".join(parts)


@dataclass(frozen=True)
class Rendered:
    """A prompt for given values. ``spans``: (placeholder, its use from 1) -> characters; ``literals``: characters between."""

    text: str
    spans: Mapping[tuple[str, int], tuple[int, int]]
    literals: tuple[tuple[int, int], ...]


# ── templates ───────────────────────────────────────────────────────────────────────────────────

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def parse_template(text: str, span: Span, diagnostics: Diagnostics) -> Template | None:
    """The template that a prompt's text says, or None with E501 for a brace without its partner or an odd placeholder."""
    segments: list[Segment] = []
    literal, at, sound = "", 0, True
    for match in _PIECE.finditer(text):
        literal += text[at : match.start()]
        at = match.end()
        if match.group() in ("{{", "}}"):
            literal += match.group()[0]
            continue
        name = (match.group(1) or "").strip()
        if match.group(1) is None or not name.isidentifier():
            diagnostics.report(
                "E501",
                f"`{match.group()}` in a prompt is not a placeholder"
                if match.group(1) is not None
                else "a brace has no partner",
                _within(span, text, match.start(), match.end()),
                help="a placeholder is the name of a variable in braces, {subject}; for a brace itself write {{ or }}",
            )
            sound = False
            continue
        if literal:
            segments.append(Segment(literal, placeholder=False))
            literal = ""
        segments.append(Segment(name, placeholder=True))
    literal += text[at:]
    if literal:
        segments.append(Segment(literal, placeholder=False))
    if sound and not segments:
        diagnostics.report("E501", "the prompt is empty", span, help="write the text that the network is to read")
        return None
    return Template(tuple(segments)) if sound else None


def check_placeholders(template: Template, variables: Iterable[str], span: Span, diagnostics: Diagnostics) -> None:
    """Report E500 for every placeholder that names none of the model's variables."""
    known = list(variables)
    for placeholder in dict.fromkeys(template.placeholders):
        if placeholder not in known:
            place = _within_find(span, placeholder)
            diagnostics.report(
                "E500",
                f"the placeholder {{{placeholder}}} names no variable",
                place,
                help=did_you_mean(placeholder, known),
            )


def check_end(template: Template, prefix: str, span: Span, diagnostics: Diagnostics) -> None:
    """Report W514 where the prompt ends in a space and the answer would bring another."""
    last = template.segments[-1]
    if not last.placeholder and last.text[-1:].isspace() and prefix[:1].isspace():
        diagnostics.report(
            "W514",
            "the prompt ends in a space, and the answer begins with one",
            span,
            notes=("most tokenizers expect no second space, so the token of the answer would be unlikely",),
            help='end the prompt without the space, or read the answer with next_token(prefix="")',
        )


def check_mask(template: Template, span: Span, diagnostics: Diagnostics) -> bool:
    """Whether a prompt whose masked token is read says ``[MASK]`` once; else E742."""
    found = sum(segment.text.count(MASK) for segment in template.segments if not segment.placeholder)
    if found != 1:
        diagnostics.report(
            "E742",
            f"the prompt has {found} {MASK}" if found else f"the prompt has no {MASK}",
            span,
            notes=(f"`mask` reads what the network puts in the place of {MASK}",),
            help=f"write {MASK} once, where the answer belongs; it is the tokenizer's mask token, whatever that is called",
        )
    return found == 1


def mask_position(tokens: Tokens, encoded: Encoded, text: str, span: Span) -> int:
    """Where the one mask token of a prompt is; raises E744 where the tokenizer has none, E742 unless there is one."""
    mask = tokens.mask_id
    if mask is None:
        raise fail(
            "E744",
            "this tokenizer has no mask token",
            span,
            notes=("looked for `mask_token` in its files, and for [MASK] and <mask> among its special tokens",),
            help='name it in tokenizer_config.json: "mask_token": "…"',
        )
    found = [place for place, token in enumerate(encoded.ids) if token == mask]
    if len(found) != 1:
        raise fail(
            "E742",
            f"a prompt has {len(found) or 'no'} mask token{'s' * (len(found) != 1)}",
            span,
            notes=(f'the prompt is "{_clip(text)}"',),
            help=f"write {MASK} once, and draw no value that holds one",
        )
    return found[0]


def check_position(position: Position, template: Template, span: Span, diagnostics: Diagnostics) -> bool:
    """Whether a position names one place of the template; else E502 to E505, with what to write."""
    if position.kind == "placeholder":
        return _check_placeholder(position, template, span, diagnostics)
    if position.kind == "text":
        found = sum(
            len(_occurrences(position.name, segment.text)) for segment in template.segments if not segment.placeholder
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
        words = {word for s in template.segments if not s.placeholder for word in re.findall(r"\w+|[^\w\s]", s.text)}
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


# ── texts ───────────────────────────────────────────────────────────────────────────────────────


def show_value(value: object) -> str:
    """A value as prompts and answers write it: ``true``, ``7``, ``0.5``, ``Mary``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def render(template: Template, values: Mapping[str, str]) -> Rendered:
    """The prompt with each placeholder filled; ``values`` has the text for every placeholder (see :func:`show_value`)."""
    parts: list[str] = []
    spans: dict[tuple[str, int], tuple[int, int]] = {}
    literals: list[tuple[int, int]] = []
    uses: Counter[str] = Counter()
    at = 0
    for segment in template.segments:
        text = values[segment.text] if segment.placeholder else segment.text
        parts.append(text)
        if segment.placeholder:
            uses[segment.text] += 1
            spans[segment.text, uses[segment.text]] = (at, at + len(text))
        else:
            literals.append((at, at + len(text)))
        at += len(text)
    return Rendered("".join(parts), spans, tuple(literals))


def first_prompt(alignment: Alignment) -> str:
    """A prompt of an alignment's first line, with the first value of every placeholder: answers are tokenised after it."""
    if not alignment.prompts:
        return ""
    known, template = _FIRST.setdefault(alignment.model, {}), alignment.prompts[0].template
    if template not in known:
        values = {placeholder: _first_value(alignment, placeholder) for placeholder in template.placeholders}
        known[template] = render(template, values).text
    return known[template]


def answered_prompt(alignment: Alignment, tokens: Tokens | None) -> str:
    """What of :func:`first_prompt` an answer follows: all of it, or the part up to the token at which it is read."""
    text, at = first_prompt(alignment), alignment.read_at
    if at is None or tokens is None:
        return text
    template = alignment.prompts[0].template
    values = {name: _first_value(alignment, name) for name in template.placeholders}
    encoded = tokens.encode(text)
    found = locate(at, render(template, values), encoded, alignment.span)
    return text[: encoded.offsets[found[-1]][1]]


def _first_value(alignment: Alignment, placeholder: str) -> str:
    domain = alignment.model.variables[placeholder].domain
    return show_value(domain.values[0]) if isinstance(domain, Finite) else "1"


#: Of a causal model, the prompts that :func:`first_prompt` made: thousands of tests ask for the same.
_FIRST: WeakKeyDictionary[CausalModel, dict[Template, str]] = WeakKeyDictionary()


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


def locate(position: Position, rendered: Rendered, encoded: Encoded, span: Span = NOWHERE) -> tuple[int, ...]:
    """The indices of the tokens that a position names, on the unpadded prompt, in rising order.

    Raises E502 to E505 as :func:`check_position`; E506 for a token outside the prompt; E465 for an empty range; E507 for a value that has no
    token; E513 where a token of the value also covers another placeholder's value.
    """
    if position.kind == "all":
        return tuple(range(len(encoded)))
    if position.kind == "several":
        found = tuple(token for part in position.parts for token in locate(part, rendered, encoded, span))
        if len(set(found)) < len(found):
            raise fail(
                "E724",
                "two of these positions are the same token",
                span,
                notes=(f'in the prompt "{_clip(rendered.text)}"',),
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
                f'the prompt is "{_clip(rendered.text)}"',
            ),
            help="the end of a range is left out: all tokens of a value are `name.all`",
        )
    return tuple(range(start, stop))


def _outside(title: str, rendered: Rendered, span: Span, help: str = "") -> SpecError:
    """E506."""
    return fail("E506", title, span, notes=(f'the prompt is "{_clip(rendered.text)}"',), help=help)


def _of_value(position: Position, rendered: Rendered, encoded: Encoded, span: Span) -> tuple[int, ...]:
    """The tokens of a placeholder's value, or of a literal."""
    start, end = _characters(position, rendered, span)
    tokens = tuple(i for i, (left, right) in enumerate(encoded.offsets) if left < end and right > start)
    if not tokens:
        raise fail(
            "E507", f"`{position}` has no token of its own", span, notes=(f'in the prompt "{_clip(rendered.text)}"',)
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
            for start, end in _occurrences(position.name, rendered.text[left:right])
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
                notes=(f'in the prompt "{_clip(rendered.text)}"',),
                help="put something between the two placeholders that this tokenizer splits at, a space or a comma",
            )


def _occurrences(literal: str, text: str) -> list[tuple[int, int]]:
    """Where a literal stands in a text as whole words: no letter or digit goes on at its ends."""
    if not literal:
        return []
    before = r"(?<!\w)" if re.match(r"\w", literal) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", literal) else ""
    return [match.span() for match in re.finditer(before + re.escape(literal) + after, text)]


def answer_tokens(
    tokens: Tokens, prompt_text: str, value_text: str, prefix: str = " ", span: Span = NOWHERE
) -> tuple[int, ...]:
    """The ids that a network must say after a prompt to answer with a value.

    The answer's text is ``prefix + value_text``. Raises E509 where the tokenizer does not split between prompt and
    answer, so that no token of the answer is "the next" one, and E507 where the answer has no token at all.
    """
    ids = tokens.continuation(prompt_text, prefix + value_text)
    if ids is None:
        ends = prompt_text[-1:].isspace()
        raise fail(
            "E509",
            f'after the prompt, "{prefix}{value_text}" does not begin with a token of its own',
            span,
            notes=(
                f'the prompt is "{_clip(prompt_text)}"',
                "the tokenizer joins the end of the prompt and the start of the answer into other tokens",
            ),
            help="end the prompt without the space"
            if ends
            else 'try another end of the prompt, or next_token(prefix="…")',
        )
    if not ids:
        raise fail("E507", f'the answer "{prefix}{value_text}" has no token', span)
    return ids


def mask_tokens(
    tokens: Tokens, prompt_text: str, value_text: str, prefix: str = "", span: Span = NOWHERE
) -> tuple[int, ...]:
    """The ids that stand in the place of a prompt's mask token where ``prefix + value_text`` is written there.

    Raises E743 where the tokenizer does not keep them apart from what is around them.
    """
    masked = tokens.encode(prompt_text)
    place = mask_position(tokens, masked, prompt_text, span)
    filled = tokens.encode(prompt_text.replace(MASK, prefix + value_text)).ids
    behind = len(masked) - place - 1
    apart = filled[:place] == masked.ids[:place] and filled[len(filled) - behind :] == masked.ids[place + 1 :]
    if not apart or len(filled) <= place + behind:
        raise fail(
            "E743",
            f'"{prefix}{value_text}" has no tokens of its own in the place of {MASK}',
            span,
            notes=(f'the prompt is "{_clip(prompt_text)}"', "the tokenizer joins it with the text around it"),
            help=f"put something around {MASK} that this tokenizer splits at, a space or a full stop",
        )
    return filled[place : len(filled) - behind]


def check_length(encoded: Encoded, text: str, facts: Facts, span: Span, diagnostics: Diagnostics) -> bool:
    """Whether a prompt fits the network's context; else E508 (nothing is ever cut off). E511: it has no token."""
    if len(encoded) == 0:
        diagnostics.report(
            "E511",
            "the prompt has no token",
            span,
            notes=(f'the prompt is "{_clip(text)}"', "this tokenizer puts no token before a text"),
        )
        return False
    if facts.context is not None and len(encoded) > facts.context:
        diagnostics.report(
            "E508",
            f"a prompt of {len(encoded)} tokens is longer than the network can read",
            span,
            notes=(f"the context is {facts.context} tokens", f'the prompt is "{_clip(text)}"'),
            help="shorten the prompt: nothing is ever cut off",
        )
        return False
    return True


def check_tokenizer(tokens: Tokens, span: Span, diagnostics: Diagnostics) -> None:
    """Report W512 where the tokenizer ends every text with a special token: ``last`` and the read-out are then there."""
    if tokens.appended():
        ending = tokens.token(tokens.encode("a").ids[-1])
        diagnostics.report(
            "W512",
            f"this tokenizer puts `{ending}` after every prompt",
            span,
            notes=("`last` and the read-out are at that token, not at the end of the text",),
            help="take that token out of the post_processor of its tokenizer.json",
        )


def _clip(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "…"


def _within(span: Span, text: str, start: int, end: int) -> Span:
    """The part of a string's span that holds these characters, where the source writes the string without escapes."""
    offset = span.text.find(text) if text else -1
    return span if offset < 0 else Span(span.source, span.start + offset + start, span.start + offset + end)


def _within_find(span: Span, placeholder: str) -> Span:
    match = re.search(r"\{\s*(" + re.escape(placeholder) + r")\s*\}", span.text)
    return span if match is None else Span(span.source, span.start + match.start(1), span.start + match.end(1))
