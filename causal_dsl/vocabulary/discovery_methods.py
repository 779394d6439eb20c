"""How components are scored where a circuit is discovered: one record a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.record_tables import table
from causal_dsl.vocabulary.settings import Setting

Settings = Mapping[str, Any]
#: Of how many nodes, edges or places scores are held against exact effects.
SAMPLED = 24
#: Multiplications and additions of a pass forwards and back, in passes forwards.
BOTH_WAYS = 3.0

_STEPS = {
    "steps": Setting("int", default=5, low=1, says="the number of points at which gradients are taken"),
    "path": Setting(
        "word",
        default="inputs",
        choices=("inputs", "activations"),
        says="the way between the two runs: that of the embedding, or that of each layer's outputs",
    ),
    "rule": Setting(
        "word",
        default="midpoint",
        choices=("midpoint", "left"),
        says="where in each step of the way the gradient is taken",
    ),
}


_SEARCH = {
    "threshold": Setting(
        "number", required=True, low=0, says="a part is kept if the loss rises by this or more without it"
    ),
    "loss": Setting(
        "word",
        default="kl",
        choices=("kl", "fall"),
        says="the loss: the mean KL(base run ‖ run with the dropped parts), or the fall of the metric",
    ),
}


_MASKS = {
    "steps": Setting("int", default=200, low=1, says="the number of steps of the fit"),
    "rate": Setting("number", default=0.1, low=1e-9, says="the rate of Adam"),
    "sparsity": Setting("number", default=1.0, low=0, says="the loss grows by this times the share of open gates"),
    "batch": Setting("int", default=16, low=1, says="the number of pairs in each step"),
    "seed": Setting("int", default=0, low=0, says="another seed draws other gates and batches"),
    "threshold": Setting(
        "number", default=0.5, low=0, high=1, says="a part is kept if its gate is open with this probability or more"
    ),
}


@dataclass(frozen=True)
class Method:
    """``says`` is in one line how it scores, ``make`` the dotted name (``module:function``) of what searches: from a
    :class:`causal_dsl.discovery.search_methods.CircuitSearch` to what is found. ``forms`` are rows of docs/measures.md: how it is written,
    what its score is, and how often it runs all pairs.

    ``passes``: how often it runs all pairs, in words, from its settings. ``work``: the same as passes forwards, from the number of nodes or
    edges that are scored and its settings.

    ``gradient``: whether it needs that the metric has one. ``effects``: its scores are effects on the metric, and not gates, or rises of
    another loss. One that ``decides`` keeps what scores at least its ``threshold``, and ``left`` says so of what is kept, in which KEEP is
    the threshold; one that is ``ranked`` as well keeps the highest where the spec says how many. ``whole_kinds``: why it cannot score the
    nodes of a circuit, and why not those of dictionaries; None where it can.
    """

    name: str
    says: str
    make: str
    forms: tuple[tuple[str, str, str], ...]
    passes: Callable[[Settings], str]
    work: Callable[[float, Settings], float]
    gradient: bool = False
    effects: bool = True
    settings: Mapping[str, Setting] = field(default_factory=dict)
    decides: bool = False
    ranked: bool = False
    left: str = "score KEEP or more"
    whole_kinds: tuple[str, str] | None = None


def points_of(steps: int, rule: str) -> tuple[float, ...]:
    """Where on a way from 0 to 1 gradients are taken: in the middle of ``steps`` equal parts (``midpoint``), or at the beginning of each."""
    shift = 0.5 if rule == "midpoint" else 0.0
    return tuple((k + shift) / steps for k in range(steps))


def _sampled(passes: str) -> str:
    return f"{passes}, and {SAMPLED} at most for exact effects,"


def _along(settings: Settings) -> str:
    steps = settings["steps"]
    if settings["path"] == "activations":
        return _sampled(f"2 forward passes and {steps} forward and backward for the heads and the MLP of each layer")
    return _sampled(f"{2 + steps} forward and {steps} backward passes")


def _gradients(parts: float, settings: Settings) -> float:
    return min(parts, SAMPLED) + BOTH_WAYS * max(1, settings.get("steps", 1))


METHODS: Mapping[str, Method] = table(
    "methods that find circuits",
    (
        Method(
            "eap",
            "what the counterfactual would change, times the gradient at the base run (Syed et al. 2023)",
            "causal_dsl.discovery.search_methods:by_gradients",
            (
                (
                    "eap",
                    "(a - a') times the gradient of m in the base run: by a, for nodes (attribution patching, Nanda 2023), or by the receiver's input from the stream, for edges (Syed et al. 2023)",
                    "2 forward, 1 backward",
                ),
            ),
            lambda settings: _sampled("2 forward and 1 backward passes"),
            _gradients,
            gradient=True,
        ),
        Method(
            "eap_ig",
            "as `eap`, with the mean gradient along a path between the runs (Hanna et al. 2024)",
            "causal_dsl.discovery.search_methods:by_gradients",
            (
                (
                    "eap_ig(steps=k)",
                    "as `eap`, with the mean of the gradients at k points between the counterfactual and the base embedding (Hanna et al. 2024)",
                    "2 + k forward, k backward",
                ),
                (
                    "eap_ig(steps=k, path=activations)",
                    "the same, with the output of each layer's heads, or of its MLP, between the two. For nodes these are integrated gradients (Sundararajan et al. 2017): the scores of a layer's heads add up to the fall of m if all of them are as in the counterfactual run",
                    "2 + k for each layer's heads and MLP, forward and backward",
                ),
            ),
            _along,
            _gradients,
            gradient=True,
            settings=_STEPS,
        ),
        Method(
            "exact",
            "a forward pass for each, with it alone taken from the counterfactual run",
            "causal_dsl.discovery.search_methods:one_by_one",
            (("exact", "the fall of m if it alone is as in the counterfactual run", "1 forward for each"),),
            lambda settings: "2 forward passes, and 1 for each node or edge,",
            lambda parts, settings: parts,
        ),
        Method(
            "acdc",
            "dropped one by one from the logits backwards (Conmy et al. 2023)",
            "causal_dsl.discovery.search_methods:greedily",
            (
                (
                    "acdc(threshold=t, loss=kl)",
                    "how much the loss rises when it is dropped beside those that were dropped before it (Conmy et al. 2023)",
                    "2 forward, and at most 1 for each",
                ),
            ),
            lambda settings: "2 forward passes, and 1 at most for each node or edge,",
            lambda parts, settings: parts,
            effects=False,
            settings=_SEARCH,
            decides=True,
            left="were not dropped",
        ),
        Method(
            "masks",
            "gates between the two runs, learned with a penalty on those that are open (Cao et al. 2021; Bhaskar et al. 2024)",
            "causal_dsl.discovery.search_methods:by_gates",
            (
                (
                    "masks(steps=k, sparsity=s)",
                    "the probability that its learned gate is open (Cao et al. 2021 of nodes, Bhaskar et al. 2024 of edges)",
                    "k forward and k backward of a batch",
                ),
            ),
            lambda settings: f"{settings['steps']} forward and backward passes of batches of {settings['batch']}",
            lambda parts, settings: BOTH_WAYS * settings["steps"],
            effects=False,
            settings=_MASKS,
            decides=True,
            ranked=True,
            left="have gates that are open with KEEP or more",
            whole_kinds=("learns gates of all components of some kinds", "have no gates that could be learned"),
        ),
    ),
)

__all__ = ["BOTH_WAYS", "METHODS", "SAMPLED", "Method", "points_of"]
