"""The tokens of prompts and of answers: which are read, and whether the network can read so many."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from causal_dsl.causal.domains import Finite
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, fail
from causal_dsl.program.locate import clip, locate
from causal_dsl.program.program import Alignment
from causal_dsl.program.templates import Template, render, show_value
from causal_dsl.program.tokens import MASK, Encoded, Tokens
from causal_dsl.vocabulary.network_facts import Facts


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
            notes=(f'the prompt is "{clip(text)}"',),
            help=f"write {MASK} once, and draw no value that holds one",
        )
    return found[0]


def first_prompt(alignment: Alignment, line: int = 0) -> str:
    """A prompt of one of an alignment's lines, with the first value of every placeholder: answers are tokenised after it."""
    if not alignment.prompts:
        return ""
    known, template = _FIRST.setdefault(alignment.model, {}), alignment.prompts[line].template
    if template not in known:
        values = {placeholder: _first_value(alignment, placeholder) for placeholder in template.placeholders}
        known[template] = render(template, values).text
    return known[template]


def answered_prompt(alignment: Alignment, tokens: Tokens | None, line: int = 0) -> str:
    """The part of :func:`first_prompt` that an answer follows: all of it, or the part up to the token at which it is read."""
    text, at = first_prompt(alignment, line), alignment.read_at
    if at is None or tokens is None:
        return text
    template = alignment.prompts[line].template
    values = {name: _first_value(alignment, name) for name in template.placeholders}
    encoded = tokens.encode(text)
    found = locate(at, render(template, values), encoded, alignment.span)
    return text[: encoded.offsets[found[-1]][1]]


def _first_value(alignment: Alignment, placeholder: str) -> str:
    domain = alignment.model.variables[placeholder].domain
    return show_value(domain.values[0]) if isinstance(domain, Finite) else "1"


#: Of a causal model, the prompts that :func:`first_prompt` made: thousands of tests ask for the same.
_FIRST: WeakKeyDictionary[CausalModel, dict[Template, str]] = WeakKeyDictionary()


def answer_tokens(
    tokens: Tokens, prompt_text: str, value_text: str, prefix: str = " ", span: Span = NOWHERE
) -> tuple[int, ...]:
    """The ids that a network must say after a prompt to answer with a value.

    The answer's text is ``prefix + value_text``. Raises E509 where the tokenizer does not split between prompt and
    answer, so that no token of the answer is "the next" one, and E507 where the answer has no token at all.
    """
    ids = tokens.continuation(prompt_text, prefix + value_text)
    if ids is None:
        ends = prompt_text.endswith(" ")
        raise fail(
            "E509",
            f'after the prompt, "{prefix}{value_text}" does not begin with a token of its own',
            span,
            notes=(
                f'the prompt is "{clip(prompt_text)}"',
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
            notes=(f'the prompt is "{clip(prompt_text)}"', "the tokenizer joins it with the text around it"),
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
            notes=(f'the prompt is "{clip(text)}"', "this tokenizer puts no token before a text"),
        )
        return False
    if facts.context is not None and len(encoded) > facts.context:
        diagnostics.report(
            "E508",
            f"a prompt of {len(encoded)} tokens is longer than the network can read",
            span,
            notes=(f"the context is {facts.context} tokens", f'the prompt is "{clip(text)}"'),
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
