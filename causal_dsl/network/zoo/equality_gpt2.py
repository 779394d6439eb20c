"""``zoo("equality-gpt2")``: a small GPT-2 trained on ``"circle circle star moon ="``, whose next word is ``true`` where
both pairs are equal or neither is, else ``false``.

A fifth of all quadruples of each kind (both pairs equal, only the first, only the second, neither) is held out from
training. Quadruples are drawn kind first, so either pair is equal half the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

SHAPES = (
    "arrow",
    "circle",
    "cross",
    "diamond",
    "heart",
    "moon",
    "ring",
    "square",
    "star",
    "triangle",
)
WORDS = (*SHAPES, "=", "false", "true", "[UNK]")
LAYERS, WIDTH, HEADS, CONTEXT = 3, 64, 4, 8
STEPS, BATCH, RATE, WARMUP, DECAY = 3000, 256, 2e-3, 200, 0.1
#: Training runs on this many threads wherever it runs: sums in another order are other weights.
THREADS = 2
HELD_OUT_SEED = 20_000

Tick = Callable[[int, int, float], None]


class Quadruples(NamedTuple):
    """Shapes as token ids, int64 [n, 4], by kind: both pairs equal, only the first, only the second, neither."""

    kinds: tuple[Tensor, ...]

    def prompts(self) -> tuple[Tensor, Tensor]:
        """All of them as prompts [n, 5] and the ids of the next word [n]."""
        return prompts(torch.cat(self.kinds))


def tokenizer() -> Tokenizer:
    """One token a word, split at white space."""
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def quadruples() -> tuple[Quadruples, Quadruples]:
    """The quadruples to train on, and those held out: 8000 and 2000 of 10 000, the same at every seed."""
    shapes = torch.arange(len(SHAPES))
    every = torch.cartesian_prod(shapes, shapes, shapes, shapes)
    left, right = every[:, 0] == every[:, 1], every[:, 2] == every[:, 3]
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    seen, held = [], []
    for kind in (left & right, left & ~right, ~left & right, ~left & ~right):
        members = every[kind]
        members = members[torch.randperm(len(members), generator=generator)]
        cut = len(members) // 5
        held.append(members[:cut])
        seen.append(members[cut:])
    return Quadruples(tuple(seen)), Quadruples(tuple(held))


def prompts(quads: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes [n, 4] as prompts [n, 5] that end in ``=``, and the ids of ``true`` or ``false`` [n]."""
    equals = torch.full((len(quads), 1), WORDS.index("="))
    same = (quads[:, 0] == quads[:, 1]) == (quads[:, 2] == quads[:, 3])
    return torch.cat([quads, equals], 1), torch.where(same, WORDS.index("true"), WORDS.index("false"))


def untrained(seed: int) -> Any:
    """A GPT2LMHeadModel with the weights that training starts from; the global generator is left as it was."""
    from transformers import GPT2Config, GPT2LMHeadModel

    unknown = WORDS.index("[UNK]")
    config = GPT2Config(
        vocab_size=len(WORDS),
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=unknown,
        eos_token_id=unknown,
        pad_token_id=unknown,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def train(steps: int | None = None, seed: int = 0, tick: Tick | None = None) -> Any:
    """A trained GPT2LMHeadModel; ``tick(step, steps, loss)`` is called after every step.

    The same steps and seed give the same weights on the same machine and version of torch.
    """
    total = STEPS if steps is None else steps
    seen, _ = quadruples()
    model = untrained(seed)
    model.train()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=DECAY)
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        for step in range(total):
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, total)
            tokens, answers = _batch(seen, generator)
            loss = nn.functional.cross_entropy(model(input_ids=tokens).logits[:, -1], answers)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if tick is not None:
                tick(step + 1, total, loss.item())
    finally:
        torch.set_num_threads(threads)
    return model.eval()


@torch.no_grad()
def accuracy(model: Any, quads: Quadruples) -> float:
    """How often the likeliest next word is right, over all quadruples, either pair being equal half the time."""
    shares = []
    for kind in quads.kinds:
        tokens, answers = prompts(kind)
        shares.append((model(input_ids=tokens).logits[:, -1].argmax(-1) == answers).double().mean().item())
    return sum(shares) / len(shares)


def save(model: Any, folder: Path) -> None:
    """Write ``config.json``, ``model.safetensors`` and the tokenizer, as transformers reads them."""
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), unk_token="[UNK]").save_pretrained(folder)


def _batch(quads: Quadruples, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    share = BATCH // len(quads.kinds)
    rows = [kind[torch.randint(len(kind), (share,), generator=generator)] for kind in quads.kinds]
    return prompts(torch.cat(rows))


def _rate(step: int, total: int) -> float:
    """Up in a line, down in half a cosine."""
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, total - WARMUP)))
