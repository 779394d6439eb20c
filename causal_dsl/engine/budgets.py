"""How much memory a pass on a network may take, and whether an error says that it was not enough."""

from __future__ import annotations

import torch

from causal_dsl.network.network import Network
from causal_dsl.planning.memory import MOST_TOKENS_CPU, MOST_TOKENS_DEVICE, Budget, default_bytes


def budget_of(network: Network, given: int | None = None) -> Budget:
    """The memory that a run on a network may take: ``given`` bytes, else half of what is free where the network is."""
    size = torch.empty((), dtype=network.dtype).element_size()
    if network.sharded is not None:  # processes that cut their work otherwise would wait for each other
        given = network.sharded.group.agree(given or _free(network))
    if network.device.type == "cuda":
        return Budget(given or _free(network), size, MOST_TOKENS_DEVICE)
    return Budget(given or _free(network), size, MOST_TOKENS_CPU)


def _free(network: Network) -> int:
    if network.device.type == "cuda":
        return int(torch.cuda.mem_get_info(network.device)[0]) // 2
    return default_bytes()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch says it of a GPU by a class, of a CPU in words."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


__all__ = ["budget_of", "out_of_memory"]
