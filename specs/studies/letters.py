"""Make what `lora.causal` and `sae_clamping.causal` run on, in `letters/`: a Llama of two layers that tells equal letters from
unequal ones, a LoRA that turns its answers around, and a sparse autoencoder of its residual stream.

``python letters.py [FOLDER]`` takes half a minute. It needs peft.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

LETTERS = "ABCDEFGH"
WORDS = [*LETTERS, "=", "yes", "no", "?"]
PAIRS = list(product(range(len(LETTERS)), repeat=2))
IDS = torch.tensor([[a, b, WORDS.index("=")] for a, b in PAIRS])
SAME = torch.tensor([a == b for a, b in PAIRS])
LATENTS, WIDTH = 64, 32


def taught(model: Any, yes: str, no: str, steps: int, rate: float) -> None:
    """Teach a model to say ``yes`` of equal letters, and ``no`` of others, both being as frequent."""
    target = torch.where(SAME, WORDS.index(yes), WORDS.index(no))
    weight = torch.where(SAME, 1 / SAME.sum(), 1 / (~SAME).sum())
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(IDS).logits[:, -1], target, reduction="none")
        optimizer.zero_grad()
        (loss * weight).sum().backward()
        optimizer.step()
    right = model(IDS).logits[:, -1].argmax(-1) == target
    print(f"{yes}/{no}: {int(right.sum())} of {len(right)} right")


def base() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=8,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    taught(model, "yes", "no", 600, 3e-3)
    return model


def sae(streams: Tensor) -> dict[str, Tensor]:
    """A sparse autoencoder of vectors [n, width]: 64 latents, an L1 penalty, decoder directions of length 1."""
    torch.manual_seed(0)
    decoder = torch.randn(LATENTS, WIDTH)
    decoder = nn.Parameter(decoder / decoder.norm(dim=1, keepdim=True))
    encoder = nn.Parameter(decoder.detach().T.clone())
    inner, outer = nn.Parameter(torch.zeros(LATENTS)), nn.Parameter(streams.mean(0).clone())
    optimizer = torch.optim.Adam([decoder, encoder, inner, outer], lr=3e-3)
    for _ in range(3000):
        latents = torch.relu((streams - outer) @ encoder + inner)
        loss = (latents @ decoder + outer - streams).pow(2).sum(-1).mean() + 0.03 * latents.sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            decoder /= decoder.norm(dim=1, keepdim=True)
    latents = torch.relu((streams - outer) @ encoder + inner)
    kept = 1 - (latents @ decoder + outer - streams).pow(2).sum() / (streams - streams.mean(0)).pow(2).sum()
    print(f"{float((latents > 0).float().sum(-1).mean()):.1f} latents fire, {float(kept):.3f} of the variance is kept")
    equal, other = latents[SAME].mean(0), latents[~SAME].mean(0)
    for latent in (equal - other).abs().argsort(descending=True)[:6].tolist():
        print(f"latent {latent}: {float(equal[latent]):.2f} of equal letters, {float(other[latent]):.2f} of others")
    found = {"W_enc": encoder, "W_dec": decoder, "b_enc": inner, "b_dec": outer}
    return {name: tensor.detach().contiguous() for name, tensor in found.items()}


def main(folder: Path) -> None:
    """Write the three folders."""
    from peft import LoraConfig, get_peft_model

    model = base()
    model.save_pretrained(folder / "base")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "base" / "tokenizer.json"))
    (folder / "sae").mkdir(parents=True, exist_ok=True)
    streams = model(IDS, output_hidden_states=True).hidden_states[1][:, -1].detach()
    save_file(sae(streams), folder / "sae" / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": WIDTH, "d_sae": LATENTS, "hook_name": "blocks.0.hook_resid_post"}
    (folder / "sae" / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    tuned = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]))
    taught(tuned, "no", "yes", 400, 1e-2)
    tuned.peft_config["default"].base_model_name_or_path = "../base"
    tuned.save_pretrained(folder / "lora")
    (folder / "lora" / "README.md").unlink(missing_ok=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "letters")
