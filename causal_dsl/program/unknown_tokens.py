"""Tokens that a network has no embedding for: a tokenizer can know more of them than the network does."""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.diagnostics import Span, did_you_mean, fail
from causal_dsl.program.tokens import Tokens


def refuse_beyond(tokens: Tokens, ids: Sequence[int], text: str, span: Span) -> None:
    """Refuse token ids of ``text`` that the network has no row for (E751; ``tokens.rows`` None: that is not known), and words
    that are not in the vocabulary that the spec gives (E793)."""
    if tokens.words and max(ids, default=-1) >= len(tokens.words):
        lacking = next(word for word in text.split() if word not in tokens.words)
        known = " ".join(tokens.words[:12]) + (" …" if len(tokens.words) > 12 else "")
        raise fail(
            "E793",
            f'the vocabulary of the network has no word "{lacking[:40]}"',
            span,
            notes=(f"it is needed for {text[-60:]!r}", f"the words are: {known}"),
            help=did_you_mean(lacking, tokens.words, "words are parted by white space: write `a b`, not `a,b`"),
        )
    if tokens.rows is None or max(ids, default=-1) < tokens.rows:
        return
    beyond = next(index for index in ids if index >= tokens.rows)
    raise fail(
        "E751",
        f"`{tokens.token(beyond)}` is token {beyond}, and the network has embeddings for {tokens.rows:,} tokens",
        span,
        notes=(f"it is needed for {text[-60:]!r}", f"the tokenizer knows {tokens.size:,} tokens"),
        help="leave such words out, or take the tokenizer that belongs to these weights",
    )


__all__ = ["refuse_beyond"]
