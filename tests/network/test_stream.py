"""Networks whose weights are read layer by layer: they give the very numbers that networks in memory give."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.diagnostics import SpecError
from causal_dsl.network.fingerprint import content_of, fingerprint
from causal_dsl.network.forward import forward
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.network import Network
from causal_dsl.network.stream.weight_stream import WeightStream
from causal_dsl.program.program import NetworkRef
from causal_dsl.running.session import Session
from causal_dsl.tools.cli import main
from tests.engine.test_matrix import families, matrix_of, vectors
from tests.engine.tiny import execution_of, folder_of, network_of, spec_of
from tests.thinning import some

#: One family of each way in which weights are in files: as they are used, turned (gpt2), fused, as experts, tied.
ALWAYS = ["gpt2", "mixtral"]


def streamed(text: str) -> str:
    """A spec with its network's weights read as they are needed."""
    return text.replace('hf("', 'hf("', 1).replace(", padding=", ", weights=stream, padding=", 1)


def stream_of(network: Network) -> WeightStream:
    assert network.stream is not None
    return network.stream


@pytest.mark.thinned(always=1, values=True, slow=3)
@pytest.mark.parametrize("family", some(families(), ALWAYS, slow_step=3))
def test_every_site_of_the_table_has_the_numbers_of_a_network_in_memory(family: str) -> None:
    """Every site of every layer, written from itself: the proof and all logits are equal, bit for bit."""
    path, _ = vectors()
    chosen = [case for case in matrix_of(family) if case.text == "<- source"]
    tests = "\n".join(
        f"test t{number} on a(l=0, p=x) {{ {case.draw}\n do({case.action.replace('VECTORS', path)})\n report mean(kl) }}"
        for number, case in enumerate(chosen)
    )
    text = spec_of(family, tests, layers="[0]", positions="[x]")
    one, other = execution_of(text)[0], execution_of(streamed(text))[0]
    (mine,), (theirs,) = one.networks.values(), other.networks.values()
    assert mine.stream is None and stream_of(theirs).parts
    one_proof, other_proof = proof_of(mine), proof_of(theirs)
    assert one_proof is not None and other_proof is not None
    assert (one_proof.ok, one_proof.sweep, one_proof.errors) == (
        other_proof.ok,
        other_proof.sweep,
        other_proof.errors,
    )
    expected, found = list(one.logits().values()), list(other.logits().values())
    assert len(expected) == len(found) == len(chosen) and len(chosen) > 10
    for case, a, b in zip(chosen, expected, found, strict=True):
        assert torch.equal(a, b), case.action


FITTED = """
align turned : a {
  same @ layer[1].resid_post[x] via rotation(dim=2, n=16, epochs=2, batch=8, restarts=1)
}
test learned on turned(l=1, p=x) {
  base, source ~ m(n=40, seed=4)
  do(same <- source)
  report iia
}
"""


def ref_of(text: str) -> NetworkRef:
    checked = api.check(api.parse(text))
    assert checked.program is not None
    return next(iter(checked.program.networks.values()))


def results_of(text: str) -> dict[str, Any]:
    results = api.run(api.parse(text), Options(seed=0))
    found = results.to_json()
    (told,) = found["specs"][0]["tests"]
    return told


@pytest.mark.thinned(slow=1)
@pytest.mark.slow
@pytest.mark.parametrize("family", some(["llama", "gpt2", "qwen3_moe", "gemma2"], ["gpt2"]))
def test_a_fit_is_the_same(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients go through layers that are read again on the way back. No untrained copy is made, and the result says so."""
    text = spec_of(family, FITTED, layers="[1]", positions="[x]")
    found = []
    for place, told in (("memory", text), ("files", streamed(text))):
        monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / place))  # a fit that is kept is not made again
        found.append(results_of(told))
        assert list((tmp_path / place / "features").iterdir())
    one, other = found
    assert other["cells"][0]["scores"] == one["cells"][0]["scores"]
    mine, theirs = (told["cells"][0]["learned"] for told in (one, other))
    assert [f["losses"] for f in theirs["features"]] == [f["losses"] for f in mine["features"]]
    assert [f["validation"] for f in theirs["features"]] == [f["validation"] for f in mine["features"]]
    assert set(mine["controls"]) - set(theirs["controls"]) == {"untrained network"}
    assert {name: mine["controls"][name] for name in theirs["controls"]} == theirs["controls"]
    assert any("untrained copy" in finding["text"] for finding in other["findings"])


@pytest.mark.slow
def test_each_layer_is_read_once_a_block() -> None:
    network = network_of(streamed(spec_of("llama", "")).split("align ")[0])
    stream = stream_of(network)
    tests = "\ntest t on a { base, source ~ m(n=24, seed=1)\n do(same <- source)\n report iia }"
    text = streamed(spec_of("llama", tests, layers="0:3"))
    for memory in (None, 600_000):
        execution, _ = execution_of(text, memory)
        blocks = sum(len(step.blocks) for step in execution.plan.steps)
        before = dict(stream.reads)
        list(execution.run())
        assert memory is None or blocks > 1
        assert all(0 <= stream.reads[group] - before[group] <= blocks for group in stream.groups)
        assert sum(stream.reads.values()) - sum(before.values()) >= blocks * (len(stream.groups) - 2)


def test_weights_are_one_by_digest_and_are_told_apart_in_what_was_run() -> None:
    text = spec_of("llama", "").split("align ")[0]
    one, other = network_of(text), network_of(streamed(text))
    assert one.inputs is not None and one.inputs == other.inputs
    assert fingerprint(one) == fingerprint(other) and content_of(one.model) == content_of(other.model)
    assert one.key != other.key and any("stay in their files" in note for note in other.notes)


def test_a_file_that_becomes_shorter_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    copytree(folder_of("llama"), folder)
    text = streamed(spec_of("llama", "")).split("align ")[0].replace(folder_of("llama"), str(folder))
    network = network_of(text)
    file = folder / "model.safetensors"
    os.truncate(file, file.stat().st_size // 3)
    with pytest.raises(SpecError) as error:
        for _ in range(2):
            forward(network, [[1, 2, 3]], readout=torch.tensor([0]))
    assert error.value.diagnostics[0].code == "E943"


def test_streamed_weights_are_not_changed_and_not_copied() -> None:
    network = network_of(streamed(spec_of("llama", "")).split("align ")[0])
    weight = next(p for p in network.model.parameters() if p.ndim > 1)
    with pytest.raises(TypeError), torch.no_grad():
        weight.add_(1)
    with pytest.raises(TypeError):
        deepcopy(network.model)


def test_what_needs_all_weights_is_refused() -> None:
    tests = "\ntest t on a { base, source ~ m(n=4, seed=1)\n do(same <- source)\n report iia }"
    with pytest.raises(SpecError) as error:
        execution_of(streamed(spec_of("llama", tests)), compiled=True)
    assert error.value.diagnostics[0].code == "E942"


def test_the_plan_says_what_is_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tests = "\ntest t on a { base, source ~ m(n=24, seed=1)\n do(same <- source)\n report iia }\n"
    spec = tmp_path / "s.causal"
    spec.write_text(streamed(spec_of("llama", tests, layers="0:3")), encoding="utf-8")
    assert main(["plan", str(spec), "--json"]) == 0
    (read,) = json.loads(capsys.readouterr().out)["specs"][0]["streamed"]
    layer = sum(part.size for part in stream_of(network_of(spec.read_text().split("align ")[0])).groups[0])
    assert (read["layer_bytes"], read["blocks"], read["bytes"]) == (layer, 1, 3 * layer)
    assert read["seconds"] == pytest.approx(read["bytes"] / read["bandwidth"])
    assert main(["plan", str(spec)]) == 0
    assert "each layer at most once a block" in capsys.readouterr().out


#: What a run does beside sweeps and fits, each with a circuit or measures of its own.
OTHERS = {
    "readings": "\ntest t on a { base, source ~ m(n=12, seed=1)\n do(same <- source)\n"
    " report logit(o) @ layer[1].resid_post[last], norm @ layer[1].attn_out[last]\n"
    " report attention(last, x) @ layer[1].head[1], attribution(logit(o)) @ layer[1].head[1] }",
    "gradients of a place": "\ntest t on a(l=0, p=x) { base, source ~ m(n=12, seed=1)\n"
    " report attribution_patching(logit(o), baseline=source) @ layer[1].mlp_out[last] }",
    "discovery by gradients": "\ncircuit found : net = discover(nodes, method=eap_ig(steps=3), keep=0.5, by=absolute)\n"
    "metric gained = logit(o) - logit(source.o)\n"
    "test t on a(l=0, p=x) { base, source ~ m(n=12, seed=1) where base.o != source.o and base.template == source.template\n"
    " do(outside(found) <- source)\n report faithfulness(gained) }",
    "discovery of edges": "\ncircuit found : net = discover(edges, method=exact, keep=0.2, by=absolute)\n"
    "metric gained = logit(o) - logit(source.o)\n"
    "test t on a(l=0, p=x) { base, source ~ m(n=6, seed=1) where base.o != source.o and base.template == source.template\n"
    " do(outside(found) <- source)\n report faithfulness(gained) }",
}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("what", OTHERS)
def test_what_else_a_run_does_is_the_same(what: str) -> None:
    text = spec_of("llama", OTHERS[what], layers="0:3")
    one, other = results_of(text), results_of(streamed(text))
    assert other["cells"] == one["cells"] and one["cells"]
    assert other["reports"] == one["reports"]


def test_an_unembedding_larger_than_a_layer_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its products are those of the whole but for their last bits, and its rows and its gradients are exact."""
    monkeypatch.setattr("causal_dsl.network.stream.weight_stream.LEAST", 1000)
    tokens = [list(range(1, 9)), list(range(3, 11))]
    text = spec_of("llama", "").split("align ")[0]
    one, other = network_of(text), Session().network(ref_of(streamed(text)))
    stream = stream_of(other)
    monkeypatch.setattr(stream, "slot_bytes", 61 * 32 * 4 // 5)
    head: Any = other.model.get_output_embeddings()  # type: ignore[operator]
    assert len(list(stream.pieces(head.weight.part))) == 6
    rows = torch.tensor([0, 1, 1])
    a, b = (forward(net, tokens, readout=rows, positions=torch.tensor([3, 3, 7])).logits for net in (one, other))
    assert a is not None and b is not None and torch.allclose(a, b, atol=1e-6)
    wanted = torch.tensor([60, 2, 2, 3])
    weight: Any = one.model.get_output_embeddings().weight  # type: ignore[operator]
    assert torch.equal(head.weight.index_select(0, wanted), weight.index_select(0, wanted))
    assert torch.equal(head.weight[wanted], weight[wanted])
    found = []
    for own in (head, one.model.get_output_embeddings()):  # type: ignore[operator]
        given = torch.linspace(-1, 1, 32)[None].requires_grad_()
        own(given)[0, 7].backward()
        found.append(given.grad)
    assert torch.equal(found[0], found[1])
