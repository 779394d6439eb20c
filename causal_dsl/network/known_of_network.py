"""The findings about a network since it was made: the proof of its sites, where they are, and its compiled modules.

A :class:`~causal_dsl.network.network.Network` is a value and holds none of it. It is kept here by the network itself, as long as
the network is there. What is kept refers to its modules and never to the network, which would keep it there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.network import Network
from causal_dsl.network.proof import Proof
from causal_dsl.network.tap import Tap
from causal_dsl.program.identity import PADDING
from causal_dsl.program.program import NetworkRef
from causal_dsl.vocabulary.locations import Site


@dataclass(frozen=True, eq=False)
class _Known:
    """``taps`` are those that were looked for under this ``proof``, which decides which of them are refused."""

    proof: Proof | None = None
    taps: dict[Site, Tap] = field(default_factory=dict)
    compiled: dict[nn.Module, Callable[..., Any]] = field(default_factory=dict)


_KNOWN: WeakKeyDictionary[Network, _Known] = WeakKeyDictionary()


def _known(network: Network) -> _Known:
    found = _KNOWN.get(network)
    return _KNOWN.setdefault(network, _Known()) if found is None else found


def proof_of(network: Network) -> Proof | None:
    """Which sites were found where the table says (:func:`causal_dsl.network.prove.prove`); None before that was tested."""
    return _known(network).proof


def proved(network: Network, proof: Proof | None) -> None:
    """Keep the proof of a network, in place of the one before. Other uses of its module keep theirs."""
    _KNOWN[network] = replace(_known(network), proof=proof, taps={})


def unproved(network: Network) -> tuple[str, ...]:
    """The components that are not where its layout says, of a network that was proved."""
    proof = proof_of(network)
    return () if proof is None else tuple(proof.refused)


def taps_of(network: Network) -> dict[Site, Tap]:
    """Where its sites are, as far as they were looked for: a site that is found is put in."""
    return _known(network).taps


def compiled_block(network: Network, block: nn.Module) -> Callable[..., Any]:
    """A module's forward through ``torch.compile``, for any number of tokens; compiled once."""
    compiled = compiled_blocks(network)
    if block not in compiled:
        compiled[block] = torch.compile(block.forward, dynamic=True)
    return compiled[block]


def compiled_blocks(network: Network) -> dict[nn.Module, Callable[..., Any]]:
    """Its modules that were compiled."""
    return _known(network).compiled


def with_changes(network: Network, **changes: Any) -> Network:
    """A network with other values of fields that say nothing of its sites, such as its name: what is known of it stays known."""
    changed = replace(network, **changes)
    _KNOWN[changed] = _known(network)
    return changed


def used_as(network: Network, ref: NetworkRef) -> Network:
    """The same module, as a declaration uses it."""
    if network.key == ref.key and network.name == ref.name:
        return network
    padding = dict(ref.key.settings).get("padding", PADDING)
    return with_changes(network, key=ref.key, name=ref.name, span=ref.span, padding=padding)


__all__ = [
    "compiled_block",
    "compiled_blocks",
    "proof_of",
    "proved",
    "taps_of",
    "unproved",
    "used_as",
    "with_changes",
]
