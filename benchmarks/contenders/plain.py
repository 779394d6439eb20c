"""What the contenders on a plain transformers model share: loading it, and taking the wanted logits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.workloads import Arrays


def load_model(folder: Path) -> Any:
    """The network in float32, its weights without gradients; ready to run forwards only."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return model.eval().requires_grad_(False)


def contiguous_unembedding(model: nn.Module) -> None:
    """Let the unembedding read a contiguous tensor.

    What ``logits_to_keep=1`` cuts out is a strided view, and a linear layer runs on one as a batch of matrix-vector
    products: a quarter more time for the whole forward. A peer's users would not see it, but it is no fault of the peer.
    """

    def make_contiguous(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].contiguous(), *args[1:])

    model.get_submodule("lm_head").register_forward_pre_hook(make_contiguous)


class Once:
    """Adds up the seconds of work that is done once for all cells: ``with once:``. It is not scaled where cells are."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self.wall -= time.perf_counter()
        self.cpu -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


class Stopped(Exception):
    """Raised by a hook when a forward has given all that is wanted of it."""


def wanted_logits(logits: Tensor, wanted: np.ndarray) -> np.ndarray:
    """``logits`` [rows, vocabulary], where rows are pairs over and over, at the ids [pairs, 2]: [rows / pairs, pairs, 2]."""
    ids = torch.from_numpy(wanted).repeat(len(logits) // len(wanted), 1)
    return logits.gather(1, ids).reshape(-1, *wanted.shape).numpy()


def head_slice(model: Any, head: int) -> slice:
    """The columns of a head in what enters the output projection of attention."""
    width = model.config.head_dim
    return slice(head * width, (head + 1) * width)


def empty(arrays: Arrays) -> np.ndarray:
    """Room for the result."""
    return np.full((len(arrays.layers), arrays.pairs, 2), np.nan, np.float32)
