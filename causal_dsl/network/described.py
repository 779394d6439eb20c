"""A network as results tell of it."""

from __future__ import annotations

from typing import Any

from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.network import Network
from causal_dsl.program.program import NetworkRef


def described(ref: NetworkRef, network: Network) -> dict[str, Any]:
    """The description of a network that was run: who it is, its size, where and in which numbers it ran, and what was proved of it."""
    facts = network.facts
    said: dict[str, Any] = {
        "kind": ref.kind,
        "target": ref.target,
        "identity": ref.key.to_json(),
        "weights": network.inputs.weights if network.inputs else None,
        "architecture": facts.architecture,
        "layers": facts.layers,
        "device": str(network.device),
        "dtype": str(network.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in network.model.parameters()),
    }
    if ref.training is not None:
        settings = ("steps", "batch", "rate", "decay", "seed", "task", "interchange", "strict", "init")
        said["training"] = {name: getattr(ref.training, name) for name in settings}
    proof = proof_of(network)
    if proof is not None:
        said["refused_sites"] = dict(proof.refused)
        said["notes"] = [*network.notes, *proof.notes]
    return said
