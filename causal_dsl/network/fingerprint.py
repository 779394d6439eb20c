"""Is this the network of the run before? A digest of its configuration and of some of every tensor's numbers."""

from __future__ import annotations

import hashlib

import torch

from causal_dsl.network.network import Network

#: Numbers of each tensor that are looked at, spread over it.
_SOME = 512


@torch.no_grad()
def fingerprint(network: Network) -> str:
    """SHA-256 in hex of the names, shapes and a sample of the numbers of every parameter and buffer."""
    found = hashlib.sha256()
    for name, tensor in sorted([*network.model.named_parameters(), *network.model.named_buffers()]):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.device.type != "meta" and tensor.numel():
            flat = tensor.detach().reshape(-1)
            some = flat[:: max(1, flat.numel() // _SOME)][:_SOME]
            found.update(some.double().cpu().numpy().tobytes())
    return found.hexdigest()
