"""Prompts with placeholders, and their text for given values.

A template is ``"When {first} and {second} met, {first} gave"``; ``{{`` and ``}}`` stand for the braces themselves.
:mod:`causal_dsl.program.locate` finds the tokens that a position names in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.tokens import MASK


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

    @cached_property
    def uses(self) -> tuple[tuple[str, int], ...]:
        """For each segment the placeholder there with the number of its use, from 1; 0 for literal text."""
        counts: Counter[str] = Counter()
        found = []
        for segment in self.segments:
            counts[segment.text] += segment.placeholder
            found.append((segment.text, counts[segment.text] if segment.placeholder else 0))
        return tuple(found)

    @cached_property
    def _text(self) -> str:
        parts = []
        for segment in self.segments:
            escaped = segment.text.replace("{", "{{").replace("}", "}}")
            parts.append("{" + segment.text + "}" if segment.placeholder else escaped)
        return "".join(parts)

    def __str__(self) -> str:
        return self._text


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
    at = 0
    for use in template.uses:
        name, number = use
        text = values[name] if number else name
        parts.append(text)
        end = at + len(text)
        if number:
            spans[use] = (at, end)
        else:
            literals.append((at, end))
        at = end
    return Rendered("".join(parts), spans, tuple(literals))


def _within(span: Span, text: str, start: int, end: int) -> Span:
    """The part of a string's span that holds these characters, where the source writes the string without escapes."""
    offset = span.text.find(text) if text else -1
    return span if offset < 0 else Span(span.source, span.start + offset + start, span.start + offset + end)


def _within_find(span: Span, placeholder: str) -> Span:
    match = re.search(r"\{\s*(" + re.escape(placeholder) + r")\s*\}", span.text)
    return span if match is None else Span(span.source, span.start + match.start(1), span.start + match.end(1))
