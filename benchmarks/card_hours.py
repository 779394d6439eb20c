"""What a sweep of a model of 70 billion weights costs in card-hours, from the plan of its spec: nothing is run and no weight is loaded.

``python -m benchmarks.card_hours`` prints the table of ``docs/scale.md``. The multiplications and additions are those that ``plan`` counts; the
rates of cards and links are assumptions, which options change.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from causal_dsl import Options, parse, plan
from causal_dsl.planning.cost import Cost, cost_of

#: The sizes of a Llama 3 of 70 billion weights.
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
_NAMES = ("Mary", "John", "Tom", "James", "Anna", "Alice", "Sarah", "David", "Emma", "Jack", "Paul", "Peter")
_PLACES = ("store", "park", "school", "office", "station", "garden")
_THINGS = ("ring", "book", "drink", "gift", "letter", "ball")
_WORDS = ("Then", ",", "and", "went", "to", "the", ".", "gave", "a")

SPEC = """\
domain Name  = {{{names}}}
domain Place = {{{places}}}
domain Thing = {{{things}}}

causal ioi {{
  one, two ~ Name where one != two
  subject  ~ {{one, two}}
  place    ~ Place
  thing    ~ Thing

  output answer := if subject == one then two else one
}}

network net = hf("model", dtype=bfloat16)

align sites(l in 0:80, p in [{positions}]) : ioi -> net {{
  prompt "Then , {{one}} and {{two}} went to the {{place}} . {{subject}} gave a {{thing}} to"

  answer @ next_token(among=Name)
}}

test sweep on sites {{
  base, source ~ ioi(n={pairs}, seed=0)
  do(layer[l].resid_post[p] <- source)
  report moved
}}
"""


@dataclass(frozen=True)
class Card:
    """A card and its links: ``peak`` multiplications and additions a second in bfloat16, of which matrix products reach ``share``; bytes of
    ``memory``; bytes a second from main memory, from a disk, and from the other cards of its machine."""

    peak: float = 989e12
    share: float = 0.4
    memory: float = 80e9
    host: float = 50e9
    disk: float = 6e9
    cards: float = 300e9

    @property
    def rate(self) -> float:
        return self.peak * self.share


def weights() -> tuple[int, int]:
    """The weights of one layer, and of the whole model."""
    width, inner, heads = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_attention_heads"]
    shared, each = CONFIG["num_key_value_heads"], CONFIG["head_dim"]
    layer = 2 * width * heads * each + 2 * width * shared * each + 3 * width * inner + 2 * width
    return layer, CONFIG["num_hidden_layers"] * layer + 2 * CONFIG["vocab_size"] * width + width


def cost(pairs: int, positions: tuple[str, ...]) -> Cost:
    """What ``plan`` says of the sweep over all layers and some positions."""
    words = [*_NAMES, *_PLACES, *_THINGS, *_WORDS]
    listed = {
        name: ", ".join(f'"{word}"' for word in which)
        for name, which in (("names", _NAMES), ("places", _PLACES), ("things", _THINGS))
    }
    with tempfile.TemporaryDirectory() as made:
        model = Path(made) / "model"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(CONFIG))
        vocabulary = {word: number for number, word in enumerate(["[UNK]", *words])}
        tokenizer = {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        }
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        text = SPEC.format(pairs=pairs, positions=", ".join(positions), **listed)
        return cost_of(plan(parse(text, "sweep.causal", Path(made)), Options(memory=20 * 10**9)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.card_hours", description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--positions", default="one,two,subject,last")
    given = parser.parse_args(arguments)
    card = Card()
    layer, every = weights()
    positions = tuple(given.positions.split(","))
    said = cost(given.pairs, positions)
    layers = CONFIG["num_hidden_layers"]
    print(f"weights: {every / 1e9:.2f} billion, {2 * every / 1e9:.0f} GB in bfloat16; a layer {2 * layer / 1e9:.2f} GB")
    print(f"sweep: {layers} layers x {len(positions)} positions x {given.pairs:,} pairs of prompts")
    print(
        f"  {said.layer_tokens:,} layer-tokens, {said.flops:.3g} multiplications and additions, {said.ratio:.1f} times fewer than naive"
    )
    computing = said.flops / card.rate
    print(f"computing at {card.share:.0%} of the card's peak: {computing:,.0f} s = {computing / 3600:.2f} card-hours")
    for name, link in (("main memory", card.host), ("a disk", card.disk)):
        seconds = 2 * layer / link
        tokens = card.rate * seconds / (2 * layer)
        blocks = max(1.0, said.layer_tokens / layers / tokens)
        print(
            f"streamed from {name}: {seconds:.3f} s a layer, hidden from {tokens:,.0f} tokens a layer on: at most {blocks:,.0f} blocks"
        )
        print(
            f"  in blocks of half that size: {2 * blocks * layers * seconds / 3600:.2f} h of reading\n  one block more: {layers * seconds:,.1f} s of reading; all blocks of that size: {blocks * layers * seconds / 3600:.2f} h of reading beside the computing"
        )
    for number in (2, 4, 8):
        held = 2 * every / number
        gather = layers * 2 * layer * (number - 1) / number / card.cards
        fits = "fits" if held < 0.7 * card.memory else "does not fit"
        print(
            f"sharded on {number} cards: {held / 1e9:.0f} GB each ({fits} with a pass); {gather:.2f} s of gathering a pass"
        )
        for blocks in (18, 24) if fits == "fits" else ():
            rounds = -(-blocks // number)
            wall = rounds * (computing / blocks + gather)
            print(f"  {blocks} blocks: {rounds} rounds, {wall:.0f} s, {wall * number / 3600:.2f} card-hours")
    for name, rate in (("a disk", card.disk), ("a network file system", 0.5e9)):
        print(f"loading from {name}: {2 * every / rate:,.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
