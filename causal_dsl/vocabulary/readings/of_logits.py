"""Other ways in which a metric is taken at a place: direct logit attribution, and tuned lenses."""

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
    Reading(
        "tuned_lens",
        "the metric at the place, once the vector there has gone through the map of its layer in a file: h becomes h + W h + b before the "
        "last norm and the read-out",
        None,
        'tuned_lens(logit(answer), "lens.safetensors")',
        "layer[5].resid_post[last]",
        "logits",
        arguments=("metric", "file"),
        paper="Belrose et al. 2023",
    ),
)
