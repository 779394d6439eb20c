"""The tests of one vector network."""

from __future__ import annotations

import torch
from torch import Tensor

from causal_dsl.diagnostics import SpecError
from causal_dsl.network.compare import differences, no_numbers, shake, told
from causal_dsl.network.forward import SiteWrite, forward
from causal_dsl.network.module_runs import counting, following
from causal_dsl.network.network import Network
from causal_dsl.network.proof import Proof
from causal_dsl.network.sweep.fitness import enlarged
from causal_dsl.vocabulary.locations import Site


def prove_vector(network: Network, given: Tensor | None) -> tuple[Proof, Tensor]:
    """Vector networks: how often modules run, and which layers were not seen to reach the logits; and the inputs of it."""
    raised: tuple[str, ...] = ()
    for inputs in network.given.standard(network.facts) if given is None else [given]:
        rows = torch.arange(len(inputs))
        try:
            with counting(network.model) as counts, following(network.layers) as order:
                clean = forward(network, inputs, readout=rows).logits
            break
        except Exception as error:
            raised = raised or (f"it was given {_shown(inputs, given is not None)}", f"it raised {told(error)}")
    else:
        reason = f"a forward pass fails: {raised[1]}"
        return Proof(refused=dict.fromkeys(("input", "out", "logits", "module"), reason), raised=raised), inputs
    assert clean is not None
    runs = {name: counts[name] for name, _ in network.model.named_modules() if counts[name] != 1}
    notes: list[str] = []
    for site in [Site("input"), *(Site("out", layer) for layer in range(len(network.layers)))]:
        try:
            moved = _stirs(network, site, inputs, clean)
        except SpecError as error:
            notes.append(f"`{site}` cannot be written: {error.diagnostics[0].title}")
            continue
        if not moved:
            notes.append(f"neither noise nor another input's vector at `{site}` was seen to move the logits")
    ok = frozenset(("input", "out", "logits", "module"))
    slow = "" if order == sorted(order) else f"its layers run in the order {', '.join(map(str, order))}"
    return Proof(ok, {}, tuple(notes), {}, runs, slow=slow, no_numbers=no_numbers(network, clean)), inputs


def _stirs(network: Network, site: Site, inputs: Tensor, clean: Tensor) -> bool:
    """Whether another input's vector at a site, or noise there, moves a logit. What the network's own code raises of such a
    vector is not an answer."""
    rows = torch.arange(len(inputs))
    for edit in (lambda old: old.roll(1, 0), shake(1), enlarged(shake)(2)):
        try:
            moved = forward(network, inputs, (), [SiteWrite(site, rows, None, edit)], readout=rows).logits
        except SpecError:
            raise
        except Exception:
            continue
        if moved is not None and bool((differences(moved, clean) != 0).any()):
            return True
    return False


def _shown(inputs: Tensor, at_hand: bool) -> str:
    """The first of some vectors, and where they come from."""
    numbers = [f"{number:.4g}" for number in inputs[0].tolist()[:8]]
    more = ", …" if inputs.shape[1] > 8 else ""
    what = "inputs of the spec" if at_hand else "numbers that were drawn"
    return f"{what}, [{', '.join(numbers)}{more}] among {len(inputs)}"
