"""Readings of the vectors of all pairs together: they are saved, or a linear probe reads them."""

from __future__ import annotations

from causal_dsl.vocabulary.readings.place_reading import Reading
from causal_dsl.vocabulary.settings import Setting

_PLACE = "layer[5].resid_post[last]"
_PAPER = "Hewitt and Liang 2019"

FAMILY = (
    Reading(
        "save",
        "the Euclidean norm of the vector, of several tokens the mean of theirs; the vectors themselves are kept: with `--out DIR`, in "
        "`activations/TEST.safetensors` of the folder of the spec, with the pairs and tokens that they belong to; with `format=zarr` in "
        "`activations/TEST.zarr.zip`",
        "number",
        "save",
        _PLACE,
        "pairs",
        settings=("format",),
        options={
            "format": Setting(
                "word",
                default="safetensors",
                choices=("safetensors", "zarr"),
                says="the format of the file with the vectors",
            )
        },
        least=0.0,
    ),
    Reading(
        "probe_accuracy",
        "whether a linear probe reads the value of a variable of the base off the vector. The distinct inputs are split in halves at "
        "random, and each half is judged by a probe that was fitted on the other one",
        "share",
        "probe_accuracy(subject)",
        _PLACE,
        "pairs",
        arguments=("variable",),
        paper="Alain and Bengio 2016",
        binary=True,
    ),
    Reading(
        "probe_selectivity",
        "`probe_accuracy`, less the same of the control task: each word at the place (or each value of the variable `by`) "
        "has a value of its own, drawn at random from those of the variable, and the probe has to tell that",
        "ratio",
        "probe_selectivity(subject, by=place)",
        _PLACE,
        "pairs",
        arguments=("variable",),
        settings=("by",),
        paper=_PAPER,
        least=-1.0,
        most=1.0,
    ),
)
