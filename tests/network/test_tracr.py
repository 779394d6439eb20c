"""Programs that Tracr compiled: their variables are where the compiler put them, and nowhere else."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import causal_dsl as cd
from causal_dsl.diagnostics import NOWHERE, Diagnostics
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.network import Network
from causal_dsl.network.prove import prove
from causal_dsl.network.wrapped import wrap
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.program.tokens import Tokens
from causal_dsl.program.zoo_entries import cached_folder, catalogue, facts_of_zoo, program_of
from causal_dsl.vocabulary.locations import Site

SPECS = sorted((Path(__file__).parents[2] / "specs" / "tracr").glob("*.causal"))
PROGRAMS = [name for name in catalogue() if name.startswith("tracr-")]


def program(name: str) -> dict[str, Any]:
    folder = cached_folder(name)
    assert folder is not None
    return program_of(folder)


def opened(name: str) -> Network:
    facts = facts_of_zoo(name, NOWHERE, Diagnostics())
    model = open_zoo(name)
    assert facts is not None and isinstance(model, torch.nn.Module)
    network = wrap(model, facts, Tokens.of_words(facts.words))
    prove(network)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_true_place_is_exact_and_no_other(path: Path) -> None:
    spec = cd.load(path)
    assert spec.source() == path.read_text(encoding="utf-8")
    results = cd.run(spec)
    assert results.passed, results.diagnostics


def test_there_is_a_spec_of_every_program() -> None:
    assert len(PROGRAMS) == len(SPECS) >= 6
    told = "".join(path.read_text(encoding="utf-8") for path in SPECS)
    assert all(f'zoo("{name}")' in told for name in PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.thinned(always=2)
def test_its_sites_are_proved(name: str) -> None:
    network = opened(name)
    proof = proof_of(network)
    assert proof is not None and proof.refused == {}
    assert {"resid_mid", "attn_out", "mlp_out", "z", "q", "k", "v", "pattern", "neurons"} <= proof.ok
    assert network.facts.both_ways and not network.facts.masked


ANSWERS = {
    "tracr-reverse": lambda row: row[0],
    "tracr-hist": lambda row: str(row.count(row[-1])),
    "tracr-sort": lambda row: max(row),
    "tracr-previous": lambda row: row[-2],
    "tracr-dyck": lambda row: str(
        row.count("(") == row.count(")") and all(row[:n].count("(") >= row[:n].count(")") for n in range(5))
    ).lower(),
    "tracr-frac-prevs": lambda row: {0: "0", 1: "1"}.get(row.count("a") / len(row), f"{row.count('a')}/{len(row)}"),
}


def inputs_of(name: str) -> list[tuple[str, ...]]:
    about = program(name)
    words = about["words"][1 : about["inputs"]]
    every = itertools.product(words, repeat=about["context"] - 1)
    return [row for row in every if name != "tracr-sort" or len(set(row)) == len(row)]


def ids_of(name: str, rows: list[tuple[str, ...]]) -> Tensor:
    words = program(name)["words"]
    return torch.tensor([[0, *map(words.index, row)] for row in rows])


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.thinned(always=2)
def test_it_computes_its_program(name: str) -> None:
    network, rows = opened(name), inputs_of(name)
    said = network.model(ids_of(name, rows))[:, -1].argmax(-1)
    words = program(name)["words"]
    shown = {"2/4": "1/2"}
    expected = [ANSWERS[name](row) for row in rows]
    assert [words[i] for i in said] == [shown.get(one, one) for one in expected]


def swapped(network: Network, base: Tensor, source: Tensor, site: Site, tokens: range) -> Tensor:
    """Logits of ``base`` with what ``source`` has at a site, at the same tokens."""
    rows = torch.arange(len(base))
    every = [(rows, torch.full_like(rows, token)) for token in tokens]
    values = forward(network, source, [SiteRead(site, *place) for place in every]).reads
    writes = [
        SiteWrite(site, *place, lambda old, value=value: value) for place, value in zip(every, values, strict=True)
    ]
    found = forward(network, base, (), writes, readout=rows).logits
    assert found is not None
    return found


def times(about: dict[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """When a variable is last written and last read, as (layer, 0 for attention and 1 for the MLP)."""

    def at(block: list[Any]) -> tuple[int, int]:
        return (block[1], {"embed": 1, "attention": 0, "mlp": 1, "unembed": 0}[block[0]])

    return max(map(at, about["written"])), max(map(at, about["read"]), default=(-1, 0))


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_compilers_table_is_where_the_variables_live(name: str) -> None:
    """Of each variable: before it is written and after it was last read its coordinates carry nothing; in between every
    place of the stream does to the answer the same as the block that wrote it; a block that does not write it has nothing."""
    network, about = opened(name), program(name)
    rows = inputs_of(name)
    base, source = ids_of(name, rows), ids_of(name, rows[7:] + rows[:7])
    clean, tokens = network.model(base)[:, -1], range(base.shape[1])
    alive = 0
    for variable in about["variables"].values():
        own = tuple(variable["coordinates"])
        written, read = times(variable)
        first_read = min(
            ((b[1], 0 if b[0] in ("attention", "unembed") else 1) for b in variable["read"]), default=(-1, 0)
        )
        effects = []
        for layer in range(about["layers"]):
            for number, component in enumerate(("resid_mid", "resid_post")):
                here = (layer, number)
                found = swapped(network, base, source, Site(component, layer, dims=own), tokens)
                if (
                    here < min((b[1], {"embed": -1, "attention": 0, "mlp": 1}[b[0]]) for b in variable["written"])
                    or read <= here
                ):
                    torch.testing.assert_close(found, clean)
                elif written <= here < first_read:
                    effects.append(found)
            for number, (component, block) in enumerate((("attn_out", "attention"), ("mlp_out", "mlp"))):
                found = swapped(network, base, source, Site(component, layer, dims=own), tokens)
                if [block, layer] not in variable["written"]:
                    torch.testing.assert_close(found, clean)
                elif variable["written"] == [[block, layer]]:
                    effects.append(found)
                del number
        for one in effects[1:]:
            torch.testing.assert_close(one, effects[0], atol=1e-4, rtol=1e-4)
        alive += bool(effects) and not torch.allclose(effects[0], clean)
    assert alive >= 1
    assert name != "tracr-dyck" or alive >= 8


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.thinned(always=2)
def test_a_head_carries_what_it_writes(name: str) -> None:
    """Of each head: swapping its z changes the stream in the coordinates that its output projection writes, and in no others."""
    network, about = opened(name), program(name)
    rows = inputs_of(name)
    base, source = ids_of(name, rows), ids_of(name, rows[7:] + rows[:7])
    last = base.shape[1] - 1
    places = torch.arange(len(base)), torch.full((len(base),), last)
    for layer, head in itertools.product(range(about["layers"]), range(about["heads"])):
        weight = network.model.blocks[layer].attn.out.weight  # type: ignore[index,union-attr]
        columns = weight[:, head * about["head"] : (head + 1) * about["head"]]
        site = Site("z", layer, heads=(head,))
        (value,) = forward(network, source, [SiteRead(site, *places)]).reads
        stream = SiteRead(Site("resid_mid", layer), *places)
        plain = forward(network, base, [stream]).reads[0]
        write = SiteWrite(site, *places, lambda old, value=value: value)
        moved = (forward(network, base, [stream], [write]).reads[0] - plain).abs().amax(0) > 1e-6
        assert not (moved & (columns == 0).all(1)).any()
