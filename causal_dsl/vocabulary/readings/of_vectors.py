"""Readings of the vector at a token."""

from __future__ import annotations

from causal_dsl.vocabulary.readings.place_reading import Reading

FAMILY = (
    Reading(
        "norm",
        "the Euclidean norm of the vector",
        "number",
        "norm",
        "layer[5].resid_post[last]",
        "vector",
        "causal_dsl.engine.place_readings:norm",
        least=0.0,
    ),
    Reading(
        "cosine",
        "the cosine of the angle between the vector and the one at another site of the same run; undefined where one is zero",
        "ratio",
        "cosine(layer[4].resid_post[last])",
        "layer[5].resid_post[last]",
        "vector",
        "causal_dsl.engine.place_readings:cosine",
        ("site",),
        least=-1.0,
        most=1.0,
    ),
)
