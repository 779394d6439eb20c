"""How components are scored where a circuit is discovered: one record a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from causal_dsl.quick_dataclasses import dataclass
from causal_dsl.vocabulary.settings import Setting

_STEPS = {
    "steps": Setting("int", default=5, low=1),
    "path": Setting("word", default="inputs", choices=("inputs", "activations")),
    "rule": Setting("word", default="midpoint", choices=("midpoint", "left")),
}


_SEARCH = {
    "threshold": Setting("number", required=True, low=0),
    "loss": Setting("word", default="kl", choices=("kl", "fall")),
}


_MASKS = {
    "steps": Setting("int", default=200, low=1),
    "rate": Setting("number", default=0.1, low=1e-9),
    "sparsity": Setting("number", default=1.0, low=0),
    "batch": Setting("int", default=16, low=1),
    "seed": Setting("int", default=0, low=0),
    "threshold": Setting("number", default=0.5, low=0, high=1),
}


@dataclass(frozen=True)
class Method:
    """``says`` is how it scores, ``gradient``: whether it needs that the metric has one. One that ``decides`` keeps what scores at least
    its ``threshold``; one that is ``ranked`` as well keeps the highest where the spec says how many."""

    name: str
    says: str
    gradient: bool = True
    settings: Mapping[str, Setting] = field(default_factory=dict)
    decides: bool = False
    ranked: bool = False


METHODS = {
    method.name: method
    for method in (
        Method("eap", "what the counterfactual would change, times the gradient at the base run (Syed et al. 2023)"),
        Method(
            "eap_ig", "the same with the mean gradient along a path between the runs (Hanna et al. 2024)", True, _STEPS
        ),
        Method("exact", "a forward pass for each, with it alone taken from the counterfactual run", False),
        Method(
            "acdc", "dropped one by one from the logits backwards (Conmy et al. 2023)", False, _SEARCH, decides=True
        ),
        Method(
            "masks",
            "gates between the two runs, learned with a penalty on those that are open (Cao et al. 2021; Bhaskar et al. 2024)",
            False,
            _MASKS,
            decides=True,
            ranked=True,
        ),
    )
}

#: Of how many nodes, edges or places scores are held against exact effects.
SAMPLED = 24


def passes_of(method: str, settings: Mapping[str, Any]) -> str:
    """How often a method runs all pairs, in words, beside the exact effects of those that are sampled."""
    steps = settings.get("steps", 0)
    match method:
        case "eap":
            return f"2 forward and 1 backward passes, and {SAMPLED} at most for exact effects,"
        case "eap_ig" if settings.get("path") == "activations":
            return f"2 forward passes and {steps} forward and backward for the heads and the MLP of each layer, and {SAMPLED} at most for exact effects,"
        case "eap_ig":
            return f"{2 + steps} forward and {steps} backward passes, and {SAMPLED} at most for exact effects,"
        case "masks":
            return f"{steps} forward and backward passes of batches of {settings.get('batch')}"
        case "acdc":
            return "2 forward passes, and 1 at most for each node or edge,"
    return "2 forward passes, and 1 for each node or edge,"


__all__ = ["METHODS", "SAMPLED", "Method", "passes_of"]
