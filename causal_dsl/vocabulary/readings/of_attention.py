"""Readings of attention weights: from a token to a token, and the scores by which heads are told apart."""

from __future__ import annotations

from causal_dsl.vocabulary.readings.place_reading import Reading

_HEAD = "layer[5].head[1]"
_FUNCTION = "causal_dsl.engine.place_readings:of_pattern"

FAMILY = (
    Reading(
        "attention",
        "the attention weight from one token to another; to several tokens, the sum of the weights",
        "share",
        "attention(last, subject)",
        _HEAD,
        "weights",
        "causal_dsl.engine.place_readings:attention",
        ("position", "position"),
    ),
    Reading(
        "previous_token",
        "the mean, over the tokens of the prompt but the first, of the attention weight to the token before",
        "share",
        "previous_token",
        _HEAD,
        "pattern",
        _FUNCTION,
        paper="Olsson et al. 2022",
    ),
    Reading(
        "duplicate_token",
        "the mean, over the tokens that occurred before, of the sum of attention weights to their earlier occurrences",
        "share",
        "duplicate_token",
        _HEAD,
        "pattern",
        _FUNCTION,
        paper="Wang et al. 2023",
    ),
    Reading(
        "induction",
        "the mean, over the tokens that occurred before, of the sum of attention weights to the tokens that followed "
        "their earlier occurrences (prefix matching); a token that would be looked at by itself is left out",
        "share",
        "induction",
        _HEAD,
        "pattern",
        _FUNCTION,
        paper="Olsson et al. 2022",
    ),
)
