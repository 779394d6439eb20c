"""A plan's own kinds of interventions are held against whole forward passes before they are run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import causal_dsl as cd
from causal_dsl.base import faults
from causal_dsl.engine import trial
from causal_dsl.engine.activation_cache import PassActivations
from causal_dsl.engine.sweep import Sweep
from causal_dsl.engine.trial import kind_of
from causal_dsl.network.known_of_network import proof_of, proved
from causal_dsl.network.network import Network
from causal_dsl.network.sweep import acts
from causal_dsl.planning import graph as g
from causal_dsl.planning.lower import unfit_networks
from causal_dsl.program.identity import NetworkKey
from causal_dsl.vocabulary.locations import Site
from tests.engine.tiny import execution_of, network_of, numbers_of, same, spec_of

torch.set_num_threads(1)
TESTS = """
test streams on a { base, source ~ m(n=6) do(same <- source) report mean(kl) }
test between on a(l=0, p=x) { base, source ~ m(n=6) do(layer[1].resid_mid[x] <- source) report mean(kl) }
test sums on a(l=0, p=x) { base, source ~ m(n=6) do(layer[1].z[x] += 2 * source - mean) report mean(kl) }
"""


def only(networks: Mapping[NetworkKey, Network]) -> NetworkKey:
    """The key of the one network of a plan."""
    (key,) = networks
    return key


@pytest.fixture
def network() -> Iterator[Network]:
    """A network on which no kind of intervention was tried yet."""
    found = network_of(spec_of("llama", "").split("align ")[0])
    before = proof_of(found)
    assert before is not None
    proved(found, replace(before, kinds={}, fault="", exchanged=frozenset()))
    yield found
    proved(found, before)


def text() -> str:
    return spec_of("llama", TESTS)


def test_each_kind_is_tried_once(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[g.Resume] = []
    plain = Sweep.logits

    def counted(self: Sweep, step: Any, block: Any) -> Any:
        tried.extend(step.resumes)
        return plain(self, step, block)

    monkeypatch.setattr(Sweep, "logits", counted)
    execution, _ = execution_of(text())
    proof = proof_of(network)
    assert proof is not None
    assert len(tried) == len(proof.kinds) == 3
    assert {kind_of(resume) for resume in tried} == set(proof.kinds)
    assert not any(step.why for step in execution.plan.steps)
    execution_of(text())
    assert len(tried) == 3


def test_what_the_proof_at_load_held_is_not_tried_again() -> None:
    """One whole vector for that of another run, at the same site: of every site of the table."""
    network = network_of(spec_of("llama", "").split("align ")[0])
    proof = proof_of(network)
    assert proof is not None
    there = {n for n in proof.ok if n not in ("module", "logits")}
    assert proof.exchanged == there
    before = dict(proof.kinds)
    execution_of(spec_of("llama", "test t on a { base, source ~ m(n=6) do(same <- source) report mean(kl) }"))
    assert proof.kinds == before


@pytest.mark.slow
def test_what_differs_is_run_by_whole_forwards_and_nothing_else_is(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that is wrong about sums of vectors, and about nothing else."""
    right = numbers_of(_finished(text()))
    proof = proof_of(network)
    assert proof is not None
    proof.kinds.clear()
    plain = Sweep.logits

    def wrong(self: Sweep, step: Any, block: Any) -> dict[g.Resume, Tensor]:
        found = plain(self, step, block)
        return {r: f * 1.01 if any(w.add for w in r.writes) else f for r, f in found.items()}

    monkeypatch.setattr(Sweep, "logits", wrong)
    execution = _finished(text())
    slow = [step for step in execution.plan.steps if step.why]
    assert [write.add for step in slow for resume in step.resumes for write in resume.writes] == [True]
    assert "z[x]`" in slow[0].why
    assert "differs from whole forward passes by 1.0e-02" in slow[0].why
    same(numbers_of(execution), right)
    assert "for some interventions reference" in execution.executor(only(execution.networks))
    found = cd.run(cd.parse(text()))
    assert not [d for d in found.specs[0].warnings if d.code == "W657"]


@pytest.mark.slow
def test_a_mistake_of_ours_is_told_and_gone_around(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream between attention and MLP read too late: raised here, and elsewhere the reference executor takes over."""
    right = numbers_of(_finished(text()))
    proof = proof_of(network)
    assert proof is not None
    proof.kinds.clear()
    monkeypatch.setattr(acts, "add_sum_read", lambda *_: False)
    with pytest.raises(faults.OwnFault, match="used before it is computed"):
        execution_of(text())
    monkeypatch.setattr(faults, "fall_back", True)
    execution = _finished(text())
    assert "used before it is computed" in execution.faults[only(execution.networks)]
    same(numbers_of(execution), right)


def test_a_mistake_in_the_run_itself_is_told_and_gone_around(monkeypatch: pytest.MonkeyPatch) -> None:
    right = numbers_of(_finished(text()))

    def broken(self: Sweep, step: Any, block: Any) -> Any:
        raise faults.OwnFault("a pass that is broken")

    monkeypatch.setattr(Sweep, "run", broken)
    with pytest.raises(faults.OwnFault):
        _finished(text())
    monkeypatch.setattr(faults, "fall_back", True)
    execution = _finished(text())
    same(numbers_of(execution), right)
    assert execution.faults[only(execution.networks)].startswith("OwnFault: a pass that is broken")


def test_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Sweep, step: Any, block: Any) -> Any:
        raise faults.OwnFault("a pass that is broken")

    monkeypatch.setattr(Sweep, "run", broken)
    monkeypatch.setattr(faults, "fall_back", True)
    results = cd.run(cd.parse(text()))
    told = [d for d in results.specs[0].warnings if d.code == "W657"]
    assert len(told) == 1
    assert "a pass that is broken" in told[0].notes[0]
    assert len(results["streams"].cells) == 6


def test_a_fault_of_the_model_or_the_machine_is_not_ours() -> None:
    def raised(make: Any) -> BaseException:
        try:
            make()
        except BaseException as error:
            return error
        raise AssertionError

    assert faults.is_ours(faults.OwnFault("x"))
    assert not faults.is_ours(raised(lambda: [][1]))  # this file stands for a model's own
    assert not faults.is_ours(raised(lambda: torch.zeros(2) @ torch.zeros(3)))
    assert not faults.is_ours(MemoryError())
    assert faults.is_ours(raised(lambda: trial.kind_of(None)))  # type: ignore[arg-type]


def test_a_vector_that_is_not_there_yet_is_an_error(network: Network) -> None:
    execution, _ = execution_of(text())
    context = execution.contexts[only(execution.networks)]
    layout = context.layouts.make(execution.plan.steps[0], execution.plan.steps[0].blocks[0])
    kept = PassActivations(context.layouts, layout)
    site = Site("resid_mid", 1)
    with pytest.raises(faults.OwnFault):
        kept.at(site)
    count = len(layout.kept[site][0])
    kept.put(site, torch.arange(count - 1), torch.zeros(count - 1, 32))
    assert bool(kept.vectors[site][-1].isnan().all())
    with pytest.raises(faults.OwnFault):
        kept.at(site)
    kept.put(site, torch.tensor([count - 1]), torch.zeros(1, 32))
    assert kept.at(site).shape == (count, 32)


@pytest.mark.parametrize("by_forwards", [False, True])
def test_a_base_patched_into_itself_is_its_own_noise_floor(by_forwards: bool) -> None:
    """More pairs than a floor asks for: the intervention and its floor are one."""
    spec = spec_of(
        "llama",
        """
        test itself on a(l=0, p=x) { base ~ m(n=9) do(layer[1].resid_mid[x] <- base) report moved report mean(kl) }
    """,
    )
    change = (lambda plan: unfit_networks(plan, {"net": "it is compared with"})) if by_forwards else None
    execution, _ = execution_of(spec, change=change)
    list(execution.run())
    (cell,) = execution.runs["itself"].cells
    assert cell.done.all()
    assert cell.noise_floor is not None and cell.noise_floor < 1e-5
    kl = next(array for quantity, array in cell.columns.patched.items() if quantity.kind == "kl")
    assert len(kl) == 9
    assert abs(kl).max() < 1e-9
    (result,) = cd.run(cd.parse(spec))["itself"].cells
    assert result.scores["moved"].value == 0
    assert result.scores["moved"].n == 9


def _finished(spec: str) -> Any:
    execution, _ = execution_of(spec)
    list(execution.run())
    return execution
