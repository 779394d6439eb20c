"""gpt_neo: of its layers every second looks back a few tokens only."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.vocabulary.architectures.gpt2 import GPT2


def _windows(layers: int) -> list[list[object]]:
    """As many layers, every second with a window."""
    return [[["local" if layer % 2 == 0 else "global"], 1] for layer in range(layers)]


FAMILY = (
    replace(
        GPT2,
        name="gpt_neo",
        obeyed=False,
        checkpoints=("gpt-?neo",),
        same={},
        q="attn.attention.q_proj>",
        k="attn.attention.k_proj>",
        v="attn.attention.v_proj>",
        split="apart",
        z="attn.attention.out_proj<",
        interface=False,
        tiny={"attention_types": _windows, "window_size": 4},
    ),
)
