"""The contribution of a place to a metric, from its gradients: of the base run, against what stands there otherwise."""

from __future__ import annotations

from causal_dsl.vocabulary.readings.place_reading import Reading
from causal_dsl.vocabulary.settings import Setting

_BASELINE = {
    "baseline": Setting(
        "value", required=True, says="the vector that stands for no effect: that of another run, the mean, or 0"
    )
}
_PLACE = "layer[5].resid_post[last]"

FAMILY = (
    Reading(
        "attribution_patching",
        "(a - a') times the gradient of the metric by a, in the base run (with `do(…)` in the run that is intervened on): a is what stands at the place, a' what stands there in the run "
        "that `baseline` names (or `0`, or the `mean` over the base runs). To first order it is how much the metric falls if a' "
        "stands there; it is summed over the numbers and the tokens of the place",
        None,
        "attribution_patching(logit(answer), baseline=source)",
        _PLACE,
        "gradients",
        arguments=("metric",),
        settings=("baseline",),
        paper="Nanda 2023",
        options=_BASELINE,
    ),
    Reading(
        "integrated_gradients",
        "the same, with the mean of the gradients at `steps` points on the straight line from a' to a at the place: the sum is how much the "
        "metric falls if a' stands there, up to the error of a finite number of steps",
        None,
        "integrated_gradients(logit(answer), baseline=source, steps=20)",
        _PLACE,
        "gradients",
        arguments=("metric",),
        settings=("baseline", "steps", "rule"),
        paper="Sundararajan et al. 2017",
        options={
            **_BASELINE,
            "steps": Setting(
                "int", default=20, low=1, says="the number of points on the way at which the gradient is taken"
            ),
            "rule": Setting(
                "word",
                default="midpoint",
                choices=("midpoint", "left"),
                says="where in each step of the way the gradient is taken",
            ),
        },
    ),
)
