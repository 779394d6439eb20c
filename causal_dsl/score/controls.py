"""Learned features beside their controls: what each scores on the same pairs, and what that says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.as_json import number
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show, show_estimate

if TYPE_CHECKING:
    from causal_dsl import shapes


@dataclass(frozen=True)
class Control:
    """One control of a learned feature: its iia on the test's pairs, and ``margin``, by how many logits it moves the
    counterfactual answer over the base's (mean over the pairs where the two differ). Of several draws the mean, and
    the least and the most of them as the interval; ``draws`` has each. ``difference``: the feature's iia less the
    control's over the same pairs (of several draws the highest one's), with the interval of that difference."""

    name: str
    iia: Estimate
    margin: float | None = None
    draws: tuple[float, ...] = ()
    difference: Estimate = field(default_factory=lambda: Estimate(None))

    def to_json(self) -> shapes.ControlJson:
        return {
            "iia": self.iia.to_json(),
            "margin": number(self.margin),
            "draws": [number(draw) for draw in self.draws],
            "difference": self.difference.to_json(),
        }


@dataclass(frozen=True)
class FeatureInfo:
    """How a feature of a cell was fitted. ``gates``: all, open, undecided; None where there are none."""

    text: str
    place: str
    variables: tuple[str, ...]
    size: int
    width: int
    pairs: int = 0
    inputs: int = 0
    steps: int = 0
    restarts: int = 1
    validation: tuple[float, float] | None = None
    losses: tuple[float, ...] = ()
    gates: tuple[int, int, int] | None = None
    nonlinear: bool = False
    trained: bool = True
    labelled: bool = True
    from_file: bool = False
    controls: bool = True
    #: read from a file as it is (`subspace`, `sae`): no input of the spec had a part in it
    given: bool = False
    path: str = ""
    #: False: the gradient of its loss was zero in every step
    moved: bool = True
    #: pairs that were drawn for the fit, and left out because nothing is known of what is right in them
    unanswered: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "feature": self.text,
            "place": self.place,
            "variables": list(self.variables),
            "size": self.size,
            "width": self.width,
            "fitted_on": {
                "pairs": self.pairs,
                "inputs": self.inputs,
                "steps": self.steps,
                "restarts": self.restarts,
                "unanswered": self.unanswered,
            },
            "validation": None
            if self.validation is None
            else {"loss": number(self.validation[0]), "iia": number(self.validation[1])},
            "losses": [number(loss) for loss in self.losses],
            "gates": None if self.gates is None else dict(zip(("total", "open", "undecided"), self.gates, strict=True)),
            "nonlinear": self.nonlinear,
            "file": self.path,
            "moved": self.moved,
        }


@dataclass(frozen=True)
class Beside:
    """A feature and its whole vector on ``n`` pairs: iia, and by how many logits each moves the answer (None: unknown)."""

    iia: float
    whole: float
    margin: float | None
    whole_margin: float | None
    n: int


@dataclass(frozen=True)
class Learned:
    """The record of the features of one cell: each as it was fitted, the cell's own margin, and the controls.

    ``outside``: of the written vectors, the share that has a number further out than three times what that number
    ever does naturally at the site, with the share of natural vectors beside; None where it was not looked at.
    """

    features: tuple[FeatureInfo, ...]
    margin: float | None = None
    controls: Mapping[str, Control] = field(default_factory=dict)
    outside: float | None = None
    #: of the pairs whose counterfactual answer is the source's own, where the whole vector should do as well as a part of it:
    #: the iia of the feature and of the whole vector, by how many logits each moves, and how many pairs there are
    beside: Beside | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "features": [feature.to_json() for feature in self.features],
            "margin": number(self.margin),
            "controls": {name: control.to_json() for name, control in self.controls.items()},
            "outside": number(self.outside),
        }


@dataclass(frozen=True)
class ControlPart:
    """One draw of a control: its iia, its margin, and how far the feature's iia is above it over the same pairs."""

    iia: Estimate
    margin: float | None
    difference: Estimate


def several(name: str, parts: Sequence[ControlPart]) -> Control:
    """One control out of its draws."""
    if len(parts) == 1:
        return Control(name, parts[0].iia, parts[0].margin, difference=parts[0].difference)
    known = [part.iia.value for part in parts if part.iia.value is not None]
    margins = [part.margin for part in parts if part.margin is not None]
    middle = float(np.mean(known)) if known else None
    estimate = Estimate(middle, min(known, default=None), max(known, default=None), parts[0].iia.n, "draws")
    apart = [part.difference for part in parts if part.difference.value is not None]
    least = min(apart, key=lambda one: one.value or 0.0, default=Estimate(None))
    return Control(name, estimate, float(np.mean(margins)) if margins else None, tuple(known), least)


def margin(
    before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray], differ: np.ndarray
) -> float | None:
    """By how many logits the counterfactual answer gains on the base's: each (logit of the label, logit of the base's
    answer) [n], before and after; over the pairs where they ``differ`` [n]."""
    gained = (after[0] - after[1] - before[0] + before[1])[differ]
    return float(gained.mean()) if len(gained) and np.isfinite(gained).all() else None


# ── what it says ────────────────────────────────────────────────────────────────────────────────

#: Of a feature's effect, what must be left when only the site's natural axes are written.
NATURAL_SHARE = 1 / 3
#: How many times further than the whole vector a feature may move the logits.
BEYOND = 1.1
#: From this share of off-manifold written vectors on, that is a reason.
OUTSIDE = 0.05


def learned_findings(iia: Estimate, noop: float | None, learned: Learned) -> list[Finding]:
    """The findings of a cell with learned features."""
    found = list(dict.fromkeys(_fitted(each[0], _open(each)) for each in _together(learned.features)))
    for feature in learned.features:
        if feature.gates is not None and feature.gates[2]:
            found.append(
                Finding(
                    "undecided_gates",
                    f"{feature.gates[2]} of {feature.gates[0]} gates of {feature.text} are undecided, so which of them open is not settled.",
                )
            )
        if not feature.moved:
            found.append(_unmoved(feature))
        if feature.nonlinear:
            found.append(
                Finding(
                    "nonlinear",
                    f"{feature.text} is not a linear map. A flexible enough map finds any variable in any network (Sutter et al. 2025), so the "
                    f"score shows the capacity of the map, not what the network holds.{_capacity(iia, learned)}",
                )
            )
        if not feature.controls:
            found.append(
                Finding(
                    "controls_off",
                    f"{feature.text} has no controls, so its score cannot be distinguished from the effect of fitting alone.",
                )
            )
    if iia.value is None or not learned.controls:
        return found
    return [*found, *_against(iia, learned), *_illusion(iia, noop, learned)]


def _capacity(iia: Estimate, learned: Learned) -> str:
    """How the score grows with the layers of the map, on the network and on an untrained one."""
    fewer = [name for name in learned.controls if name.endswith(" layers")]
    blank = learned.controls.get("untrained network")
    if not fewer or blank is None:
        return ""
    told = [
        f"{show(learned.controls[n].iia.value)} ({show(learned.controls[f'{n}, untrained'].iia.value)})" for n in fewer
    ]
    numbers = ", ".join(name.removesuffix(" layers") for name in fewer)
    return (
        f" With {numbers} layers and with all layers it scores {', '.join(told)}, {show(iia.value)} ({show(blank.iia.value)}); the "
        "scores in parentheses are those of the same maps on an untrained network."
    )


def _together(features: Sequence[FeatureInfo]) -> list[list[FeatureInfo]]:
    """The features of a cell, those whose gates are whole sites together: they are parts of one fit."""
    found: dict[Any, list[FeatureInfo]] = {}
    for place, feature in enumerate(features):
        sites = feature.gates is not None and feature.gates[0] == 1
        found.setdefault((feature.text, feature.variables, feature.validation) if sites else place, []).append(feature)
    return list(found.values())


def _open(features: Sequence[FeatureInfo]) -> str:
    """How much of the vectors the features are; of several whole sites, which of them."""
    if len(features) == 1:
        return f"{features[0].size} of {features[0].width} dimensions"
    sites = [feature.place for feature in features if feature.size]
    named = f" ({', '.join(sites)})" if sites else ""
    return f"open at {len(sites)} of {len(features)} sites{named}"


def _fitted(feature: FeatureInfo, size: str) -> Finding:
    if feature.from_file:
        return Finding(
            "fitted",
            f"{feature.text} comes from a file; none of the inputs on which it was fitted is among the inputs of this test.",
        )
    if feature.given:
        return Finding(
            "fitted",
            f"{feature.text}, {size}, is read from a file; nothing was fitted.",
        )
    left = (
        f"; {counted(feature.unanswered, 'pair')} drawn beside these have no expected answer and took no part"
        if feature.unanswered
        else ""
    )
    if not feature.trained and not feature.inputs:
        return Finding("fitted", f"{feature.text}, {size}, is made from its settings alone; nothing was fitted.")
    if not feature.trained and feature.labelled:
        return Finding(
            "fitted",
            f"{feature.text}, {size}, was made from {feature.inputs} other inputs and the variable's value in each{left}.",
        )
    if not feature.trained:
        return Finding(
            "fitted",
            f"{feature.text}, {size}, was made from {feature.inputs} other inputs, without labels{left}.",
        )
    best = f" the best of {feature.restarts} starts," if feature.restarts > 1 else ""
    text = f"{feature.text}, {size},{best} was fitted on {counted(feature.pairs)} of {counted(feature.inputs, 'input')}, none of which is among the inputs of this test"
    if feature.validation is not None:
        text += f"; on the validation inputs it scored {show(feature.validation[1])}"
    return Finding("fitted", f"{text}{left}.")


def _unmoved(feature: FeatureInfo) -> Finding:
    gates = " (the penalty of its gates left out)" if feature.gates is not None else ""
    why = f"The fit of {feature.text} never moved, because the gradient of its loss{gates} is zero in every step"
    if feature.validation is not None and feature.validation[1] == 1:
        return Finding("unmoved_fit", f"{why}. Every validation pair has its right answer.", "info")
    left = (
        "The map is the one that it started from"
        if feature.gates is None
        else "Only the penalty of its gates was fitted"
    )
    return Finding("unmoved_fit", f"{why}, as behind a rounding, a sign or a comparison. {left}.")


_FITTED_CONTROLS = ("random subspace", "shuffled labels", "untrained network")


def _against(iia: Estimate, learned: Learned) -> list[Finding]:
    """Whether the feature is above its controls: by the interval of the difference over the same pairs."""
    assert iia.value is not None
    known = {n: c for n, c in learned.controls.items() if n in _FITTED_CONTROLS and c.difference.value is not None}
    if not known:
        return []
    told = ", ".join(f"{_named(name)} {_scored(control)}" for name, control in known.items())
    beaten = [name for name, control in known.items() if _above(control.difference)]
    if len(beaten) == len(known):
        near = min((c.difference for c in known.values()), key=lambda d: d.value or 0.0)
        return [
            Finding(
                "above_controls",
                f"iia {show(iia.value)} is above every control: {told}; the smallest difference over the same pairs is {show_estimate(near)}.",
            )
        ]
    short = ", ".join(
        f"{_named(name)} (difference {show_estimate(c.difference)})" for name, c in known.items() if name not in beaten
    )
    return [
        Finding(
            "not_above_controls", f"iia {show(iia.value)} is not clearly above {short}. The controls score: {told}."
        )
    ]


def _scored(control: Control) -> str:
    """The score of a control; of several draws that differ also the highest, from which its difference is."""
    mean, most = show(control.iia.value), show(max(control.draws, default=control.iia.value))
    return mean if mean == most else f"{mean} on average and {most} at most in {len(control.draws)} draws"


def _above(difference: Estimate) -> bool:
    low = difference.value if difference.method == "exact" else difference.low
    return low is not None and low > 0


def _named(name: str) -> str:
    return {
        "random subspace": "a random subspace of its size",
        "shuffled labels": "the same fit on shuffled labels",
        "untrained network": "the same fit on an untrained network",
    }[name]


def _illusion(iia: Estimate, noop: float | None, learned: Learned) -> list[Finding]:
    """Whether the score may come from where the network never is (Makelov, Lange and Nanda, 2023)."""
    reasons = []
    natural = learned.controls.get("natural axes")
    assert iia.value is not None
    beside = learned.beside
    if beside is not None and beside.n:
        more, far = (
            f"the whole vector at the site does, on pairs where both should move it ({counted(beside.n)})",
            beside.whole_margin,
        )
        if beside.iia - beside.whole > max(0.05, 2 * (0.25 / beside.n) ** 0.5):
            reasons.append(f"it moves the answer more than {more}: {show(beside.iia)} against {show(beside.whole)}")
        elif beside.margin is not None and far is not None and beside.margin > max(0.0, far) * BEYOND + 1e-6:
            reasons.append(f"it moves the logits more than {more}: by {show(beside.margin)} against {show(far)}")
    if natural is not None and natural.iia.value is not None:
        floor = noop if noop is not None else 0.0
        score, kept = iia.value - floor, natural.iia.value - floor
        lost = score > 0.05 and kept < NATURAL_SHARE * score
        moved = learned.margin is not None and natural.margin is not None and learned.margin > 1e-6
        if (
            moved
        ):  # half of an effect may be too little for any other answer: how far the logits move says how much is left
            assert learned.margin is not None and natural.margin is not None
            lost = natural.margin < NATURAL_SHARE * learned.margin
        if lost:
            told = f"along the axes on which the site varies naturally it scores {show(natural.iia.value)}"
            if moved:
                told += f" and moves the logits by {show(natural.margin)} of {show(learned.margin)}"
            reasons.append(told)
    if learned.outside is not None and learned.outside > OUTSIDE:
        reasons.append(
            f"{show(learned.outside)} of the written vectors are off-manifold: they have numbers that the site never comes near"
        )
    if not reasons:
        return []
    return [Finding("illusion_risk", "The feature may be an illusion: " + "; ".join(reasons) + ".")]


__all__ = ["Beside", "Control", "ControlPart", "FeatureInfo", "Learned", "learned_findings", "margin", "several"]
