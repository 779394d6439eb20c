"""A network trained towards a causal model, found in the cache where it was trained before.

Interchange intervention training: Geiger, Wu, Lu, Rozner, Kreiss, Icard, Goodman and Potts 2022, "Inducing causal
structure for interpretable neural networks"; its strict variant: Gupta, Arcuschin, Kwa and Garriga-Alonso 2024,
"InterpBench".
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.network import Network
from causal_dsl.network.zoo.cache import locked, say, unwritable
from causal_dsl.program.program import NetworkRef, Training
from causal_dsl.report.progress import Progress as Bar
from causal_dsl.store import rooms, stopping_points
from causal_dsl.store.keys import key_of, told
from causal_dsl.store.stepwise import Checkpoint, kept_in
from causal_dsl.store.stored_only import refuse_making
from causal_dsl.store.tensors import take_tensors, write_tensors
from causal_dsl.training.objective import Objective
from causal_dsl.training.training_loop import Loop, Tick
from causal_dsl.training.weights import draw_weights, inputs_of, named_tensors, put

#: Batches over which the scores of a trained network are taken; they are none that it was trained on.
_SCORED = 8


@dataclass(eq=False)
class TrainedNetwork:
    """A trained network: ``module`` in eval mode, ``path`` of its weights, ``digest`` of all that decides about them.

    ``losses`` are by name (``task``, ``interchange``, ``strict``): (step, mean nats) now and then. ``accuracy``, ``iia``
    and ``inert`` are shares of right answers in runs drawn like those that it was trained on: as they are, with a random
    set of variables interchanged, and with all that is placed for no variable taken from another input; None for what
    was not trained. ``found``: it was trained before.
    """

    module: nn.Module
    losses: dict[str, list[tuple[int, float]]]
    path: Path
    digest: str
    accuracy: float | None
    iia: float | None
    inert: float | None
    found: bool = False
    network: Network | None = field(default=None, repr=False)


def start(network: Network, training: Training) -> Network:
    """The network with the weights that training starts from: drawn anew by the seed, or as they are (``init=keep``)."""
    if training.init == "fresh":
        draw_weights(network.model, training.seed, training.span)
    return network


def trained(ref: NetworkRef, blank: Network, bar: Bar | None = None) -> TrainedNetwork:
    """Train a declared network, or find it; ``blank`` is the alignment's own network, whose module is changed.

    A training that was interrupted goes on from its last checkpoint: on a CPU bit for bit. Raises E653 (the cache cannot
    be written), E736 to E739, and what drawing and tokenising raise.
    """
    training = ref.training
    assert training is not None
    start(blank, training)
    objective = Objective(blank, training)
    made_for = inputs_of(training, blank, objective.pool)
    digest = key_of(made_for)
    path = kept_in("trained") / f"{digest}.safetensors"
    there = rooms.found("trained", path.name, lambda place: _found(place, blank))
    path, found = there if there is not None else (path, None)
    if found is None:
        waiting = f"another process is training `{ref.name}`: waiting"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.parent / f".{digest}.lock", waiting, say):
                found = _found(path, blank)
                about = _train(objective, ref.name, path, told(made_for), bar) if found is None else found
        except OSError as error:
            raise unwritable(error, training.span) from error
        rooms.put("trained", path)
    else:
        about = found
    return TrainedNetwork(
        blank.model,
        {kind: [(int(s), float(v)) for s, v in values] for kind, values in about["losses"].items()},
        path,
        digest,
        about["task"],
        about["interchange"],
        about["strict"],
        found is not None,
        blank,
    )


def _found(path: Path, network: Network) -> dict[str, Any] | None:
    """The note on weights that were trained before, which are put into the network; None where there are none."""
    read = take_tensors(path, "a file of trained weights", path.stem)
    if read is None:
        return None
    try:
        put(network.model, read[0])
    except (KeyError, RuntimeError):
        return None
    return read[1] if read[1].keys() >= {"losses", "task", "interchange", "strict"} else None


def _train(objective: Objective, name: str, path: Path, made_for: dict[str, Any], bar: Bar | None) -> dict[str, Any]:
    """Train from the last checkpoint, or from the start; keeps the weights, and gives what is told of them."""
    training = objective.training
    refuse_making()
    loop = Loop(objective, _ticker(name, bar))
    checkpoint = Checkpoint(path.with_suffix(".part"), "training step", "the checkpoint of a training", path.stem)
    checkpoint.take(loop)
    if bar is not None:
        bar.begin(f"training {name}", training.steps)
        bar.advance(loop.progress.step)
    loop.run(checkpoint)
    about = {
        "steps": training.steps,
        "seed": training.seed,
        "losses": loop.progress.losses,
        "made_for": made_for,
        **scores(objective),
    }
    write_tensors(path, named_tensors(objective.network.model), about, path.stem)
    stopping_points.reached("training")
    checkpoint.path.unlink(missing_ok=True)
    return about


def _ticker(name: str, bar: Bar | None) -> Tick:
    def tick(step: int, steps: int, loss: float) -> None:
        if bar is not None:
            bar.advance()
            if step % 20 == 0:
                bar.say(f"training {name}, loss {loss:.4f}")

    return tick


@torch.no_grad()
def scores(objective: Objective) -> dict[str, float | None]:
    """The share of right answers of each part of the objective, over batches that training never drew."""
    found: dict[str, list[float]] = {}
    for number in range(_SCORED):
        for kind, share in objective.shares(objective.parts(objective.training.steps + number)).items():
            found.setdefault(kind, []).append(share)
    return {kind: sum(found[kind]) / _SCORED if kind in found else None for kind in ("task", "interchange", "strict")}


__all__ = ["TrainedNetwork", "scores", "start", "trained"]
