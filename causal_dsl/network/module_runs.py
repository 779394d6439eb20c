"""Which modules run within a block, how often and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def counting(model: nn.Module) -> Iterator[Counter[str]]:
    """Counts how often each module runs."""
    counts: Counter[str] = Counter()

    def hook(name: str) -> Callable[..., None]:
        return lambda *_: counts.update((name,))

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in model.named_modules()]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def following(layers: Sequence[nn.Module]) -> Iterator[list[int]]:
    """The numbers of the layers in the order in which they are run within."""
    order: list[int] = []
    handles = [
        layer.register_forward_hook(lambda *_, number=number: order.append(number))
        for number, layer in enumerate(layers)
    ]
    try:
        yield order
    finally:
        for handle in handles:
            handle.remove()
