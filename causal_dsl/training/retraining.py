"""The two networks for logic of the zoo, made again: ``causal-dsl zoo train logic-or-of-ands --out DIR``.

Each is the outcome of a ``train(…)`` that could as well stand in ``specs/logic.causal``, of whose alignments it speaks.
"""

from __future__ import annotations

from pathlib import Path

import torch

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.base.resources import resource
from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, parse
from causal_dsl.diagnostics import NOWHERE, Span, fail, shown_path
from causal_dsl.network.wrapped import wrap
from causal_dsl.network.zoo.perceptrons import blank_logic
from causal_dsl.program.program import Training
from causal_dsl.training.objective import Objective
from causal_dsl.training.train import scores, start
from causal_dsl.training.training_loop import Loop, Tick
from causal_dsl.training.weights import named_tensors

TRAININGS = {
    "logic-or-of-ands": "train(ands_in_first, balance=[a, b, c], steps={steps}, rate=0.003, decay=cosine, seed={seed})",
    "logic-and-of-or": "train(or_in_second, balance=[a, b, c], steps={steps}, rate=0.003, decay=cosine, seed={seed})",
}
STEPS = 4000


@dataclass(frozen=True)
class Retrained:
    """Where the network was written; the shares of right answers (0 to 1) as it is, and under interchanges."""

    folder: Path
    accuracy: float
    iia: float


def training_of(name: str, steps: int | None = None, seed: int = 0) -> Training:
    """The call that makes a network, as it would stand in the spec."""
    text = resource("specs", "logic.causal").read_text(encoding="utf-8")
    text += f"\nnetwork again = {TRAININGS[name].format(steps=steps or STEPS, seed=seed)}\n"
    checked = check(parse(text, "logic.causal"), Options(tests=("first_solves_the_task",)))
    checked.raise_errors()
    assert checked.program is not None
    training = checked.program.networks["again"].training
    assert training is not None
    return training


def train_logic(
    name: str, out: Path, steps: int | None = None, seed: int = 0, tick: Tick | None = None, span: Span = NOWHERE
) -> Retrained:
    """Train a network of ``TRAININGS`` and write it to the folder ``out``, always on one thread: sums in another order
    are other weights. ``tick(step, steps, loss)`` is called after every step. Raises E651 and E653.
    """
    from safetensors.torch import save_file

    if steps is not None and steps < 1:
        raise fail("E651", f"cannot train for {steps} steps", span, help="leave out --steps, or give at least 1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        out.mkdir(parents=True, exist_ok=True)  # before the minute of training, not after
        training = training_of(name, steps, seed)
        network = start(wrap(blank_logic(), training.alignment.network.facts, None, name, span), training)
        objective = Objective(network, training)
        Loop(objective, tick).run()
        found = scores(objective)
        save_file(named_tensors(network.model), out / "model.safetensors")
        (out / "model.safetensors").chmod(0o644)
    except OSError as error:
        raise fail("E653", f"cannot write {shown_path(out)}", span, notes=(str(error),)) from error
    finally:
        torch.set_num_threads(threads)
    return Retrained(out, found["task"] or 0.0, found["interchange"] or 0.0)


__all__ = ["TRAININGS", "Retrained", "train_logic", "training_of"]
