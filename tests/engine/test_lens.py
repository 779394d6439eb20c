"""Logits at places on the way, against hooks by hand: the vector that is there is put in place of what leaves the last layer,
and the model goes on from it. In runs that nothing is done to, and in runs that are intervened on; by both executors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from causal_dsl.planning.lower import by_reference
from tests.engine.tiny import execution_of, spec_of
from tests.network.families import PLACES, layer_path, model_of
from tests.thinning import spread

torch.set_num_threads(1)
FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2", "qwen3", "granite", "bert")
TESTS = """
test plain on a {
  base ~ m(n=4, seed=1)
  report logit(o) @ layer[l].resid_post[p], prob(o) @ layer[l].resid_post[p], rank(o) @ layer[l].resid_post[p]
  report entropy @ layer[l].resid_pre, logit(o) @ layer[l].resid_post[p] - logit("w10") @ layer[l].resid_post[p]
}
test patched on a {
  base, source ~ m(n=4, seed=1)
  do(layer[1].resid_post[x] <- source)
  report logit(o) @ layer[l].resid_post[p], change(log_prob(o) @ layer[l].resid_post[p])
}
"""


def hooked(module: nn.Module, side: str, act: Callable[[Tensor], Tensor | None]) -> Any:
    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            found = act(args[0])
            return None if found is None else ((found, *args[1:]), kwargs)
        found = act(kwargs["hidden_states"])
        return None if found is None else (args, {**kwargs, "hidden_states": found})

    def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        found = act(output[0] if isinstance(output, tuple) else output)
        return None if found is None else ((found, *output[1:]) if isinstance(output, tuple) else found)

    if side == "in":
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def run(name: str, ids: list[int], layer: int, side: str, write: tuple[int, Tensor] | None) -> tuple[Tensor, Tensor]:
    """What stands at a layer [tokens, width] and the logits, with a vector of layer 1's end written."""
    model: Any = model_of(name)
    seen: list[Tensor] = []
    handles = []
    if write is not None:

        def put(hidden: Tensor) -> Tensor:
            hidden = hidden.clone()
            hidden[0, write[0]] = write[1]
            return hidden

        handles.append(hooked(model.get_submodule(layer_path(name, 1)), "out", put))
    handles.append(hooked(model.get_submodule(layer_path(name, layer)), side, lambda h: seen.append(h[0].clone())))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    for handle in handles:
        handle.remove()
    return seen[0], logits


def lens(name: str, ids: list[int], vector: Tensor) -> Tensor:
    """The logits at the last token where a vector leaves the last layer there."""
    model: Any = model_of(name)

    def put(hidden: Tensor) -> Tensor:
        hidden = hidden.clone()
        hidden[0, -1] = vector
        return hidden

    handle = hooked(model.get_submodule(layer_path(name, 2)), "out", put)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    handle.remove()
    return logits.double()


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("name", "reference", "padding"), spread(list(product(FAMILIES, (False, True), ("right", "left"))), 8, slow_step=3)
)
def test_the_lens_is_what_the_network_makes_of_the_vector(name: str, reference: bool, padding: str) -> None:
    assert "resid_post" in PLACES[name]
    text = spec_of(name, TESTS, padding=padding)
    execution, checked = execution_of(text, **({"change": by_reference} if reference else {}))
    for _ in execution.run():
        pass
    plan = execution.plan
    (inputs,) = plan.inputs.values()
    for test in checked.program.tests:
        draw = plan.scores[test.name][0].label.draw
        rows = {run_.role: plan.rows[run_] for run_ in plan.rows if run_.draw == draw}
        for number, cell in enumerate(test.cells):
            settings = cell.settings
            columns = execution.runs[test.name].cells[number].columns
            for pair in range(4):
                base = inputs.rows(rows["base"][pair : pair + 1])[0]
                p = next(look.places[0].position for look in cell.looks if look.places[0].position is not None)
                token = inputs.where(p, int(rows["base"][pair]))[0]
                end = int(inputs.reads[rows["base"][pair]])
                write = None
                if test.name == "patched":
                    x = next(i.places[0].position for i in cell.interventions)
                    source = inputs.rows(rows["source"][pair : pair + 1])[0]
                    vector = run(name, source, 1, "out", None)[0][inputs.where(x, int(rows["source"][pair]))[0]]
                    write = (inputs.where(x, int(rows["base"][pair]))[0], vector)
                for role, here in (("base", None), ("patched", write)):
                    own = columns.base if role == "base" else columns.patched
                    there = run(name, base, int(settings["l"]), "out", here)[0][token]
                    before = run(name, base, int(settings["l"]), "in", here)[0][end]
                    for quantity, values in own.items():
                        if quantity.place is None:
                            continue
                        side = "resid_pre" in str(quantity.place)
                        logits = lens(name, base, before if side else there)
                        expected: float
                        if quantity.kind == "entropy":
                            p_ = torch.softmax(logits, 0)
                            expected = float(-(p_ * p_.clamp_min(1e-300).log()).sum())
                        elif quantity.kind == "log_normalizer":
                            expected = float(torch.logsumexp(logits, 0))
                        else:
                            id_ = int(execution.targets(test, type(quantity)("logit", quantity.of))[pair])
                            expected = float(logits[id_])
                            if quantity.kind == "order":
                                expected = float((logits > logits[id_]).sum())
                        close = 0.5 if quantity.kind == "order" else 2e-4
                        assert abs(values[pair] - expected) < close, (test.name, settings, role, str(quantity))
