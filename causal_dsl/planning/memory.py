"""How much memory a run may take: asked for, or half of what is free."""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass

#: Tokens of one layer beyond which a larger batch gains nothing: on a CPU, on a GPU.
MOST_TOKENS_CPU, MOST_TOKENS_DEVICE = 16_384, 262_144
#: Vectors narrower than this are so cheap on a CPU that the interventions of a block cost more than their rows: there may be more rows.
NARROW = 512
#: Numbers of keys (and as many of values) that one call of the attention is given, on a CPU and on a GPU.
MOST_KEYS_CPU, MOST_KEYS_DEVICE = 2**19, 2**27
#: Tokens that go through a feed-forward block at a time on a CPU, so that its inner vectors fit a cache; a GPU takes all.
SLICE_CPU, SLICE_DEVICE = 2048, 2**62
#: What a process takes of memory for what its tensors hold: the C library's heap does not give back all that is freed
#: between tensors that grow from layer to layer (`python -m benchmarks.peaks` measures it), a GPU's allocator nearly all.
HEAP_CPU, HEAP_DEVICE = 1.2, 1.15
#: What a process on a CPU takes beside that, however small the pass: indices, the buffers of matrix products, pools.
PROCESS = 10_000_000
#: Numbers of logits that are looked at at once: they are looked at in float64, and on a CPU should stay in its cache.
MOST_LOGITS_CPU, MOST_LOGITS_DEVICE = 2**18, 2**28
#: The most that is taken unasked on a CPU.
MOST_UNASKED = 8 * 10**9


_SHARERS = [1]


@dataclass(frozen=True)
class Budget:
    """``bytes`` that a pass may take beside the weights; ``size`` of one number in bytes; ``most_tokens`` of a layer."""

    bytes: int
    size: int = 4
    most_tokens: int = MOST_TOKENS_CPU

    @property
    def most_keys(self) -> int:
        return MOST_KEYS_CPU if self.on_cpu else MOST_KEYS_DEVICE

    @property
    def slice(self) -> int:
        return SLICE_CPU if self.on_cpu else SLICE_DEVICE

    @property
    def room(self) -> float:
        """The bytes that a process may take for tensors (:func:`taken`)."""
        return self.bytes - min(PROCESS, self.bytes / 2) if self.on_cpu else self.bytes

    @property
    def tensors(self) -> float:
        """The bytes that tensors may hold at once."""
        return self.room / taken(1.0, self.on_cpu)

    @property
    def on_cpu(self) -> bool:
        return self.most_tokens == MOST_TOKENS_CPU


def taken(tensors: float, on_cpu: bool = True) -> float:
    """The growth of a process's resident memory with tensors that hold so many bytes."""
    return tensors * (HEAP_CPU if on_cpu else HEAP_DEVICE)


def default_bytes() -> int:
    """Half of what is free in main memory, and at most 8 GB; where processes share it, a process's part of that."""
    return min(free_memory() // 2 // _SHARERS[0], MOST_UNASKED)


def share_memory(processes: int) -> None:
    """From now on so many processes like this one share the memory of the machine."""
    _SHARERS[0] = max(1, processes)


def free_memory() -> int:
    """Bytes that are free in main memory."""
    import psutil  # no check needs it

    return int(psutil.virtual_memory().available)
