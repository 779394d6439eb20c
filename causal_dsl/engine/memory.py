"""How many rows of a forward fit a budget: predicted, so that running out of memory is the exception."""

from __future__ import annotations

import torch

from causal_dsl.diagnostics import NOWHERE, Span, fail
from causal_dsl.network.network import Network

#: Beyond this, larger batches of short prompts gain nothing on a CPU and cost memory.
MOST_TOKENS_CPU = 4096
MOST_TOKENS_DEVICE = 65536
_UNITS = {
    "": 1,
    "B": 1,
    "K": 10**3,
    "KB": 10**3,
    "M": 10**6,
    "MB": 10**6,
    "G": 10**9,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}


def parse_bytes(text: str, span: Span = NOWHERE) -> int:
    """``8GB``, ``500 MB`` or a number of bytes; E640 for anything else."""
    number = text.strip().upper().rstrip("BKMGI ")
    unit = text.strip().upper()[len(number) :].strip()
    try:
        count = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        count = -1
    if not 1 <= count < 2**63:
        raise fail("E704", f"`{text}` is no amount of memory", span, help="write it as 8GB or 500MB")
    return int(count)


def default_budget(network: Network) -> int:
    """Half of what is free on the network's device, in bytes."""
    if network.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(network.device)
        return free // 2
    return min(_free_memory() // 2, 8 * 10**9)


def _free_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 4 * 10**9  # not Linux: a machine that runs such models has this much
    return 4 * 10**9


def row_bytes(network: Network, tokens: int, logits: bool) -> int:
    """The bytes that one row of a forward needs at its peak, weights aside: live activations of a layer, and logits."""
    facts = network.facts
    size = torch.empty((), dtype=network.dtype).element_size()
    if network.is_vector:
        return 4 * size * max([*facts.widths, 1])
    width, heads = facts.width or 1, facts.heads or 1
    hidden = 8 * width + 3 * (facts.mlp_width or 4 * width)
    # sdpa on a CPU with a mask holds the attention weights of a row; the mask itself is float and [T, T]
    attention = (heads + 1) * tokens
    read = 3 * (facts.vocabulary or 0) if logits else 0
    return size * (tokens * (hidden + attention) + read)


def rows_that_fit(network: Network, tokens: int, memory: int, logits: bool) -> int:
    """How many rows of so many tokens run in one batch; at least 1."""
    most = MOST_TOKENS_CPU if network.device.type == "cpu" else MOST_TOKENS_DEVICE
    if network.is_vector:
        most = 65536
    return max(1, min(memory // max(1, row_bytes(network, tokens, logits)), most // max(1, tokens)))
