"""The table of components: what exists where, how wide it is, and what is said of what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.diagnostics import NOWHERE, SpecError
from causal_dsl.program.components import (
    COMPONENTS,
    depth,
    head_count,
    in_time,
    missing,
    pads,
    suggestion,
    takes_position,
    trims,
    width,
)
from causal_dsl.program.facts import facts_of_config
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts

SMOLLM = facts_of_config(
    {
        "model_type": "llama",
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
    },
    None,
    NOWHERE,
)
VECTOR = Facts("vector", architecture="Net", layers=2, widths=(8, 16, 4), classes=2)


def test_the_components_of_the_language() -> None:
    assert set(COMPONENTS) == set(
        [
            "embed",
            "resid_pre",
            "resid_mid",
            "resid_post",
            "attn_in",
            "attn_out",
            "mlp_in",
            "mlp_out",
            "neurons",
            "router",
            "expert_out",
            "q",
            "k",
            "v",
            "z",
            "pattern",
            "q_rot",
            "k_rot",
            "final_norm",
            "logits",
            "input",
            "out",
            "module",
        ]
    )


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (Site("resid_post", 3), 576),
        (Site("embed"), 576),
        (Site("neurons", 0), 1536),
        (Site("logits"), 49152),
        (Site("q", 0, heads=(1,)), 64),
        (Site("q", 0), 576),
        (Site("k", 0), 192),
        (Site("v", 0, heads=(0, 2)), 128),
        (Site("z", 0, heads=(0, 1, 8)), 192),
        (Site("resid_post", 3, dims=(4, 5)), 2),
        (Site("pattern", 3, heads=(1,)), None),
        (Site("module", module="x"), None),
    ],
)
def test_widths(site: Site, expected: int | None) -> None:
    assert width(site, SMOLLM) == expected


def test_widths_of_vector_networks() -> None:
    sites = [Site("input"), Site("out", 0), Site("out", 1), Site("out", 2), Site("logits")]
    assert [width(site, VECTOR) for site in sites] == [8, 16, 4, None, 2]


def test_widths_of_narrow_embeddings() -> None:
    facts = facts_of_config({"model_type": "electra", "embedding_size": 128, "hidden_size": 256}, None, NOWHERE)
    assert (width(Site("embed"), facts), width(Site("resid_pre", 0), facts)) == (128, 256)


def test_which_rows_carry_all_their_tokens() -> None:
    def facts(model_type: str, **more: object) -> Facts:
        return facts_of_config({"model_type": model_type, **more}, None, NOWHERE)

    assert trims(facts("gpt2")) is None
    assert "attend in both directions" in (trims(facts("roberta")) or "")
    assert pads(facts("roberta")) is None  # and yet no token of them is padding
    assert trims(facts("bert", is_decoder=True)) is None
    assert trims(facts("gptj")) == pads(facts("gptj")) != None  # noqa: E711
    assert trims(VECTOR) == pads(VECTOR) == "a vector network has no tokens"


def test_heads() -> None:
    assert [head_count(name, SMOLLM) for name in ("q", "z", "pattern", "k", "v", "k_rot")] == [9, 9, 9, 3, 3, 3]


def test_positions() -> None:
    assert takes_position("logits", SMOLLM)
    assert takes_position("module", SMOLLM)
    assert not takes_position("logits", VECTOR)
    assert not takes_position("out", VECTOR)


@pytest.mark.parametrize(
    ("component", "model_type", "word"),
    [
        ("resid_mid", "gptj", "parallel"),
        ("resid_mid", "phi", "parallel"),
        ("resid_mid", "cohere", "parallel"),
        ("resid_mid", "falcon", "parallel"),
        ("resid_mid", "gpt_neox", "parallel"),
        ("neurons", "mixtral", "experts"),
        ("neurons", "olmoe", "experts"),
        ("pattern", "gptj", "its own code"),
        ("q_rot", "falcon", "its own code"),
        ("final_norm", "bert", "end in a norm"),
        ("final_norm", "distilbert", "end in a norm"),
        ("resid_pre", "albert", "not known"),
        ("resid_pre", "someones_own", "not known"),
        ("input", "llama", "no `input`"),
        ("nonesuch", "llama", "nonesuch"),
    ],
)
def test_what_is_missing_and_why(component: str, model_type: str, word: str) -> None:
    assert word in (missing(component, facts_of_config({"model_type": model_type}, None, NOWHERE)) or "")


def test_what_is_there() -> None:
    for architecture in ARCHITECTURES:
        facts = facts_of_config({"model_type": architecture}, None, NOWHERE)
        assert all(missing(name, facts) is None for name in ("resid_post", "z", "attn_out", "mlp_out", "module"))
    assert missing("resid_mid", Facts("unknown")) is None
    assert missing("resid_mid", Facts("language")) is None
    assert missing("resid_post", VECTOR)
    assert missing("out", VECTOR) is None


def test_suggestions() -> None:
    assert "resid_post" in suggestion("resid_pst", SMOLLM)
    assert "input" in suggestion("resid_post", VECTOR)


def test_depth_follows_the_computation() -> None:
    names = ["resid_pre", "attn_in", "q", "q_rot", "pattern", "z", "attn_out", "resid_mid", "mlp_in", "neurons"]
    order = [depth(Site(name, 1)) for name in [*names, "mlp_out", "resid_post"]]
    order = [depth(Site("embed")), depth(Site("resid_post", 0)), *order, depth(Site("final_norm"))]
    order.append(depth(Site("logits")))
    assert order == sorted(order)
    assert len(set(order)) == len(order)
    assert depth(Site("module", module="a")) is None


def test_what_is_read_before_it_is_written_is_in_time() -> None:
    """By the numbers of the table: earlier layers, earlier in the layer, and a site itself."""
    inner = [name for name, about in COMPONENTS.items() if about.layer]
    for name in inner:
        assert in_time(Site(name, 1), Site(name, 1))
        for other in inner:
            about, theirs = COMPONENTS[name], COMPONENTS[other]
            assert in_time(Site(name, 0), Site(other, 1))
            assert not in_time(Site(name, 1), Site(other, 0))
            assert in_time(Site(name, 1), Site(other, 1)) == (about.read <= theirs.written)
    assert not in_time(Site("module", module="a"), Site("resid_post", 2))
    assert in_time(Site("module", module="a"), Site("module", module="a"))


OWN = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn, self.mlp, self.ln = nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x):
        x = x + self.attn(x.cumsum(1))
        return x + self.mlp(self.ln(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.blocks, self.unembed = nn.Embedding(6, 8), nn.ModuleList([Block(), Block()]), nn.Linear(8, 6)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.unembed(x)
"""
OWN_SPEC = """
causal m {
  a, b ~ 0..1
  output o := a == b
}
network n = torch(
    "own.py:Net", vocabulary=["BOS", "0", "1", "true", "false", "x"], layers="blocks", embed="embed", unembed="unembed", LAYOUT
)
align t : m -> n {
  prompt "BOS {a} {b}"
  o @ next_token
  a @ layer[1].SITE[a]
}
test w on t {
  base, source ~ m(n=16, seed=0)
  do(a <- source)
  report iia
}
"""


@pytest.mark.parametrize(
    ("layout", "site", "code", "help"),
    [
        # once it is loaded: without `middle` the stream between the two is not where the layout says
        (
            'attention="attn", mlp="mlp"',
            "neurons",
            "E451",
            "this network has `resid_pre`, `attn_in`, `mlp_in`, `resid_post`",
        ),
        (
            'attention="attn", mlp="mlp", middle="ln"',
            "neurons",
            "E451",
            "this network has `resid_pre`, `attn_in`, `attn_out`, `resid_mid`, `mlp_in`, `mlp_out`, `resid_post`",
        ),
        # before it is loaded
        ('attention="attn"', "zz", "E452", "there is `resid_pre`, `attn_in`, `attn_out`, `resid_post`"),
    ],
)
def test_messages_list_the_sites_that_a_layout_gives(
    layout: str, site: str, code: str, help: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(OWN_SPEC.replace("LAYOUT", layout).replace("SITE", site)), cd.Options(trust=True))
    assert [(one.code, one.help) for one in caught.value.diagnostics] == [(code, help)]
