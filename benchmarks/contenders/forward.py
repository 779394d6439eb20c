"""One large plain forward: how many FLOPs a second this machine does on this network, in this very run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.contenders import FORWARD_PROMPTS
from benchmarks.contenders.plain import contiguous_unembedding, load_model
from benchmarks.workloads import Arrays


class Forward:
    """Whole forwards of 256 prompts, logits at the last token: large enough that overheads vanish."""

    def __init__(self, folder: Path):
        self.model = load_model(folder)
        contiguous_unembedding(self.model)

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        rows = np.resize(np.concatenate([arrays.base, arrays.source]), (FORWARD_PROMPTS, arrays.base.shape[1]))
        self.model(torch.from_numpy(rows), use_cache=False, logits_to_keep=1)
        return np.zeros((0, arrays.pairs, 2), np.float32)
