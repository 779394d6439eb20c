"""Direct logit attribution: what a term of the residual stream adds to the logits."""

from __future__ import annotations

from causal_dsl.vocabulary.readings.place_reading import Reading

FAMILY = (
    Reading(
        "attribution",
        "what the vector adds to a metric that is a sum of logits, along the residual stream alone: the scale of the last norm (and of a "
        "norm between the vector and the stream) is held as it is in the run, and so is the factor by which the network "
        "changes each logit after its read-out",
        None,
        "attribution(logit(answer))",
        "layer[5].head[1]",
        "logits",
        arguments=("metric",),
        paper="Elhage et al. 2021",
    ),
)
