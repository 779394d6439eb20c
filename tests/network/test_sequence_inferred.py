"""One's own networks of tokens without a layout in the spec: it is inferred, proved, and equal to hooks by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from causal_dsl.network.known_of_network import proof_of
from tests.network import test_sequence
from tests.network.test_sequence import EVERY, LAYOUT, PLACES, hold_against_a_hook, own, ran, written

NOTHING = dict.fromkeys(LAYOUT)
TIED = """

class Tied(Own):
    def forward(self, ids):
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.last(x) @ self.tokens.weight.T


def tied():
    return build(of=Tied)


class Twice(Own):
    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in [*self.blocks, *self.blocks]:
            x = block(x)
        return self.head(self.last(x))


def twice():
    return build(of=Twice)
"""


@pytest.fixture(autouse=True)
def more_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_sequence, "CODE", test_sequence.CODE + TIED)


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("function", ["build", "fused", "tied"])
def test_a_layout_is_found_and_proved(tmp_path: Path, function: str) -> None:
    network = own(tmp_path, function, **NOTHING)
    proof, facts = proof_of(network), network.facts
    # Without positions, and with the embedding for an unembedding, what attention looks at hardly matters to the logits.
    lost = {"final_norm", "q", "k"} if function == "tied" else set()
    assert proof is not None and proof.refused.keys() == lost - {"final_norm"}
    assert proof.ok == EVERY - {"pattern"} - lost
    assert (facts.layers, facts.heads, facts.head_dim, facts.width, facts.mlp_width) == (3, 4, 4, 16, 48)
    assert facts.record is not None and "it is not a transformers model" in facts.record.absent["pattern"]


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("component", PLACES)
def test_what_is_written_is_what_a_hook_writes(tmp_path: Path, component: str) -> None:
    network = own(tmp_path, **NOTHING)
    hold_against_a_hook(network, component)


#: Networks without a layout that can be found, and the words of the message that says why.
UNCLEAR = {"ahead": "tokens look at later ones", "twice": "no list of its modules was found"}


@pytest.mark.parametrize("function", UNCLEAR)
def test_why_none_is_found_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], function: str) -> None:
    spec = test_sequence.SPEC.format(
        function=function, said=written({"vocabulary": test_sequence.WORDS}), site="resid_post"
    )
    rc, _, told = ran(tmp_path, capsys, spec)
    assert rc == 2 and "the spec does not say where its layers are" in told and UNCLEAR[function] in told


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("site", ["resid_mid", "head[1].z"])
def test_a_spec_without_a_layout_has_the_scores_of_one_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], site: str
) -> None:
    scores = []
    for layout in ({}, LAYOUT):
        said = written({"vocabulary": test_sequence.WORDS, **layout})
        rc, one, told = ran(tmp_path, capsys, test_sequence.SPEC.format(function="build", said=said, site=site))
        assert rc == 0, told
        scores.append([cell["scores"]["kl"]["value"] for cell in one["tests"][0]["cells"]])
    assert scores[0] == pytest.approx(scores[1], abs=1e-9) and max(scores[0]) > 1e-4
