"""Weights of a network as numbers: drawn anew by a seed, named, and what decides about them as one digest."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import Span, fail
from causal_dsl.network.fingerprint import anywhere, content_of
from causal_dsl.network.network import Network
from causal_dsl.network.untrained import drawn_anew
from causal_dsl.program.program import Alignment, Training
from causal_dsl.store import reads
from causal_dsl.store.keys import TrainingInputs, versions
from causal_dsl.training.pool import Pool


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, each once."""
    return {name: tensor.detach() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}


@torch.no_grad()
def put(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy numbers into the parameters and buffers of their names. Raises KeyError or RuntimeError where they do not fit."""
    own = named_tensors(model)
    if own.keys() != tensors.keys():
        raise KeyError("other names")
    if any((t.shape, t.dtype) != (tensors[name].shape, tensors[name].dtype) for name, t in own.items()):
        raise RuntimeError("other shapes")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


# ── drawn anew ──────────────────────────────────────────────────────────────────────────────────


def draw_weights(model: nn.Module, seed: int, span: Span) -> None:
    """Draw all parameters of a module anew, in place. Raises E738 for one that nothing draws."""
    made = drawn_anew(model, seed)
    if isinstance(made, str):
        owner = type(model.get_submodule(made.rpartition(".")[0])).__name__
        raise fail(
            "E738",
            f"`{made}` cannot be reinitialised",
            span,
            notes=(f"{owner} has no `reset_parameters`, which modules of torch.nn have",),
            help="give it one, or train from the weights that are there: init=keep",
        )
    put(model, named_tensors(made))


# ── what decides ────────────────────────────────────────────────────────────────────────────────


def inputs_of(training: Training, network: Network, pool: Pool) -> TrainingInputs:
    """All that decides about the trained weights: the causal model and the inputs drawn from it, the alignment, the
    settings, the network's code, files and the weights that it starts from, the kind of device, the versions."""
    data = hashlib.sha256()
    for name, codes in sorted(pool.values.items()):
        data.update(name.encode("utf-8", "surrogatepass") + codes.tobytes())
    data.update(pool.sums.tobytes())
    data.update(pool.lengths.tobytes())
    for row in pool.rows.tolist():
        data.update(pool.inputs.content(row))
    made = anywhere(network)
    return TrainingInputs(
        model=_model(training.alignment.model),
        alignment=_alignment(training.alignment),
        places=tuple([name, [_place(place) for place in places]] for name, places in training.places),
        rest=tuple(repr(site) for site in training.rest),
        settings={
            name: _setting(getattr(training, name))
            for name in (
                "n",
                "balance",
                "steps",
                "batch",
                "rate",
                "decay",
                "seed",
                "task",
                "interchange",
                "strict",
                "init",
            )
        },
        data=data.hexdigest(),
        start=content_of(network.model),
        code=tuple(_code(network.model)),
        behaviour="" if isinstance(made, str) else made.behaviour,
        files={} if isinstance(made, str) else made.files,
        dtype=str(network.dtype),
        device=network.device.type,
        padding=network.padding,
        versions=versions(),
    )


def _setting(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _place(place: Any) -> list[str]:
    return [repr(place.site), repr(place.position)]


def _model(model: CausalModel) -> dict[str, Any]:
    """A causal model as text: what each variable is, however its declaration was laid out."""
    variables = {
        name: [v.kind, repr(v.domain), v.output, str(model.expressions.get(name, ""))]
        for name, v in model.variables.items()
    }
    scope = model.scope
    tables = {name: [t.key, repr(t.keys), t.columns] for name, t in scope.tables.items() if t is not None}
    functions = {function.name: reads.read_text(function.path) for function in model.functions}
    return {
        "variables": variables,
        "wheres": [w.span.text for w in model.wheres],
        "tables": tables,
        "functions": functions,
    }


def _alignment(alignment: Alignment) -> dict[str, Any]:
    ends = alignment.templates or (None,)
    before = {name: list(dict.fromkeys(map(r.before, ends))) for name, r in alignment.readouts.items()}
    readouts = [
        [
            r.kind,
            r.variable,
            repr(r.values),
            r.among,
            before[name][0] if len(before[name]) == 1 else before[name],
            r.dims,
        ]
        for name, r in alignment.readouts.items()
    ]
    inputs = [[p.variable, p.start, p.stop, p.encoding, repr(p.settings)] for p in alignment.inputs]
    return {"prompts": [str(line.template) for line in alignment.prompts], "readouts": readouts, "inputs": inputs}


def _code(model: nn.Module) -> list[str]:
    """The tree of modules, and the source of those classes that are neither torch's nor of transformers."""
    sources = {}
    for module in model.modules():
        kind = type(module)
        if kind.__module__.split(".")[0] in ("torch", "transformers"):
            continue
        try:
            sources[kind.__qualname__] = inspect.getsource(kind)
        except (OSError, TypeError):
            sources[kind.__qualname__] = ""
    return [repr(model), *(text for _, text in sorted(sources.items()))]
