"""How components are scored where a circuit is discovered: one record a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Method:
    """``says`` is how it scores, ``gradient``: whether it needs that the metric has one. One that ``decides`` keeps what scores at least
    its ``threshold``."""

    name: str
    says: str
    gradient: bool = True
    settings: Mapping[str, Setting] = field(default_factory=dict)
    decides: bool = False


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
    )
}

__all__ = ["METHODS", "Method"]
