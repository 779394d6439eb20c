"""What goes wrong in silence is found at load: each trap is sprung on purpose, and the proof must refuse the pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from causal_dsl.base import faults
from causal_dsl.diagnostics import NOWHERE
from causal_dsl.network.factory import vector_facts
from causal_dsl.network.network import Network
from causal_dsl.network.prove import prove
from causal_dsl.network.sweep import acts, drive, fitness, ragged_batch
from causal_dsl.network.wrapped import wrap
from causal_dsl.planning.liveness import Schedule
from causal_dsl.program.components import COMPONENTS, pads
from causal_dsl.program.facts import facts_of_config
from tests.network.families import BOTH_WAYS, CONFIGS, model_of
from tests.network.test_sweep import Layered
from tests.thinning import spread

torch.set_num_threads(1)


def network_of(name: str) -> Network:
    model = model_of(name)
    return wrap(model, facts_of_config(model.config.to_dict(), None, NOWHERE))


@pytest.mark.parametrize("name", spread(CONFIGS, 3, slow_step=2))
@pytest.mark.thinned(always=5)
def test_every_family_is_fit(name: str) -> None:
    proof = prove(network_of(name))
    assert proof.sweep == ("whole" if pads(network_of(name).facts) else "ragged")
    assert not proof.unfit
    assert proof.errors["interventions in one pass = whole forward passes"] < 1e-5


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", spread(CONFIGS, 5, slow_step=4))
@pytest.mark.thinned(always=6)
def test_networks_of_few_layers_are_as_fit(name: str, layers: int) -> None:
    """What cannot reach the read-out is not there to be written: in the last layer, at all tokens but one."""
    network = network_of(f"{name}:{layers}")
    assert len(network.layers) == layers
    proof = prove(network)
    assert proof.sweep == ("whole" if pads(network.facts) else "ragged")
    assert not proof.fault


def read_where_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream between attention and MLP is read at the next norm, after it was written."""
    monkeypatch.setattr(acts, "add_sum_read", lambda *_: False)


def read_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """What attention compares is written first and read then."""
    plain = acts.want
    monkeypatch.setattr(acts, "want", lambda *given, reads_first: plain(*given))


@pytest.mark.parametrize(
    ("name", "trap"),
    [
        ("llama", read_where_it_is_shown),
        ("gpt2", read_where_it_is_shown),
        ("granite", read_where_it_is_shown),
        ("llama", read_last),
        ("bert", read_last),
    ],
)
@pytest.mark.thinned(always=1)
def test_what_is_written_before_it_was_read_is_a_mistake_of_ours(
    name: str, trap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised here; a user is told of it, and nothing is run in that way."""
    trap(monkeypatch)
    with pytest.raises(faults.OwnFault, match="written before it was read"):
        prove(network_of(name))
    monkeypatch.setattr(faults, "fall_back", True)
    proof = prove(network_of(name))
    assert proof.sweep != "ragged"
    assert "written before it was read" in proof.fault


def test_a_mistake_of_ours_is_no_unfitness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is: here our attention is handed nothing to look at."""
    monkeypatch.setattr(ragged_batch, "visible", lambda *_: None)
    with pytest.raises(TypeError):
        prove(network_of("llama"))
    monkeypatch.setattr(faults, "fall_back", True)
    proof = prove(network_of("llama"))
    assert proof.sweep == "whole"
    assert proof.fault.startswith("TypeError")
    assert "ragged_batch.py" in proof.fault


def test_sites_in_another_order_than_the_table_are_not_run_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = {"q": replace(COMPONENTS["q"], read=4), "v": replace(COMPONENTS["v"], read=2)}
    for name, component in swapped.items():
        monkeypatch.setitem(COMPONENTS, name, component)  # type: ignore[arg-type]
    proof = prove(network_of("llama"))
    assert not proof.sweep
    assert "is computed before" in proof.unfit


def without_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer queries than keys and no mask: some attention functions then cut the keys, others look ahead."""
    plain = ragged_batch.visible
    monkeypatch.setattr(ragged_batch, "visible", lambda *a: torch.ones_like(plain(*a), dtype=torch.bool))


def angles_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotary angles counted from the first token that is carried."""
    plain = ragged_batch.per_token

    def wrong(value: Any, prompts: int, width: int, rows: Tensor, positions: Tensor, name: str = "") -> Any:
        return plain(value, prompts, width, rows, (positions - 1).clamp(min=0), name)

    monkeypatch.setattr(drive, "per_token", wrong)


def no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the prompt's earlier tokens are left out."""

    def wrong(self: Schedule, level: int, rows: np.ndarray, width: int) -> np.ndarray:
        return np.maximum(self.levels[level].slots[rows, :width], 0)

    monkeypatch.setattr(Schedule, "keys", wrong)


def another_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of the right positions, of the wrong prompt."""
    plain = Schedule.keys

    def wrong(self: Schedule, level: int, rows: np.ndarray, width: int) -> np.ndarray:
        return plain(self, level, np.zeros_like(rows), width)

    monkeypatch.setattr(Schedule, "keys", wrong)


def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that came before is seen, whatever the layer's own mask says."""
    plain = ragged_batch.visible
    monkeypatch.setattr(ragged_batch, "visible", lambda mask, *rest: plain(None, *rest))


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize(
    ("name", "trap"),
    [
        ("llama", without_mask),
        ("gpt2", without_mask),
        ("llama", angles_from_zero),
        ("gpt_neox", angles_from_zero),
        ("llama", no_prefix),
        ("gpt2", no_prefix),
        ("olmo2", another_prompt),
        ("mistral", no_window),
        ("gemma2", no_window),
        ("olmo3", no_window),
    ],
)
def test_a_pass_that_is_wrong_is_not_used(name: str, trap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(name)
    assert prove(network).sweep == "ragged"
    trap(monkeypatch)
    proof = prove(network)
    # rows with all their tokens go through the model's own attention, which the trap does not touch
    assert proof.sweep == "whole"
    assert "differs from whole forward passes" in proof.slow


@pytest.mark.parametrize("name", ["gptj", "falcon", "falcon alibi"])
def test_attention_of_its_own_is_not_run_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """These never call the function that is registered: taken for the others, they would mix all rows up, in silence."""
    monkeypatch.setattr(fitness, "pads", lambda facts: None)
    proof = prove(network_of(name))
    assert proof.sweep == "whole"
    assert proof.slow


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("name", BOTH_WAYS)
def test_rows_of_an_encoder_that_carry_some_of_their_tokens_are_not_used(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks both ways changes the tokens before the written one too: taken from the prompt they would be stale."""
    assert "attend in both directions" in prove(network_of(name)).slow
    monkeypatch.setattr(fitness, "trims", lambda facts: None)
    proof = prove(network_of(name))
    assert proof.sweep == "whole"
    assert "differs from whole forward passes" in proof.slow


@pytest.mark.thinned(always=4)
@pytest.mark.parametrize("name", BOTH_WAYS)
@pytest.mark.parametrize("trap", ["backwards alone", "another prompt"])
def test_an_encoder_whose_tokens_see_the_wrong_ones_is_not_ragged(
    name: str, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trap == "another prompt":
        another_prompt(monkeypatch)
    else:
        no_window(monkeypatch)  # without the mask that the model made, tokens see those before them
    proof = prove(network_of(name))
    assert proof.sweep == "whole"
    assert "differs from whole forward passes" in proof.slow


def test_layers_between_which_rows_meet_are_run_one_by_one() -> None:
    class Mixing(Layered):
        """Takes each row against the mean of its batch: what other rows there are matters."""

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(torch.tanh(x - x.mean(0)))
            return self.out(x)

    model = Mixing()
    network = wrap(model, vector_facts(model, NOWHERE))
    proof = prove(network)
    assert not proof.sweep
    assert "differs from whole forward passes" in proof.unfit


def test_rows_around_whose_layers_something_goes_are_there_from_the_input_on() -> None:
    model = Layered(skip=True)
    proof = prove(wrap(model, vector_facts(model, NOWHERE)))
    assert proof.sweep == "fixed" and not proof.unfit
    assert "one pass" in proof.slow and proof.exchanged == {"input", "out"}


def test_networks_without_layers_are_run_one_by_one() -> None:
    model = nn.Linear(4, 2)
    proof = prove(wrap(model, vector_facts(model, NOWHERE)))
    assert not proof.sweep
    assert "not known" in proof.unfit
