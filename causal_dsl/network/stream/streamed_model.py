"""A checkpoint as a model whose matrices stay in its files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import NOWHERE, Span
from causal_dsl.network.shard_group import ShardedLayers, ShardGroup
from causal_dsl.network.stream.streamed_parameter import Streamed
from causal_dsl.network.stream.tensor_files import TensorFiles
from causal_dsl.network.stream.unread import Unread, filler, numbers
from causal_dsl.network.stream.weight_stream import StreamedPart, WeightStream

#: The layer that a parameter is of, as its name says.
_LAYER = re.compile(r"(.*?)\.(\d+)\.")


def open_streamed(
    kind: Any,
    config: Any,
    files: Iterable[Path],
    device: torch.device,
    dtype: torch.dtype | None,
    span: Span = NOWHERE,
    **settings: Any,
) -> tuple[nn.Module, Any, WeightStream]:
    """The model of a config with the weights of safetensors ``files``, transformers' report of the load, and what reads the
    weights. ``kind``: the auto class of transformers.

    Matrices stay in the files; vectors (norms, biases) and buffers are in memory.
    """
    model, report, read = _unread(kind, config, files, dtype, span, settings)
    return model, report, _sealed(model, read, device)


def open_sharded(
    kind: Any,
    config: Any,
    files: Iterable[Path],
    group: ShardGroup | None,
    device: torch.device,
    dtype: torch.dtype | None,
    span: Span = NOWHERE,
    **settings: Any,
) -> tuple[nn.Module, Any, ShardedLayers | None]:
    """The model of a config with the weights of safetensors ``files``, each layer of which the processes of a ``group`` share out
    among themselves, and transformers' report of the load. Layers are read one after another, so that no process ever has
    more than one whole. What lies outside of layers is whole in every process; of one process alone everything is.
    """
    model, report, _ = _unread(kind, config, files, dtype, span, settings)
    made: dict[int, nn.Parameter] = {}
    sharded = None if group is None else ShardedLayers(group)
    for layer in _layers(model) if sharded is not None else ():
        _fill(layer, device, made)
        made.clear()
        sharded.add(layer)  # type: ignore[union-attr]
    _fill(model, device, made)
    if sharded is not None:
        sharded.follow(model)
    return model, report, sharded


def _unread(
    kind: Any,
    config: Any,
    files: Iterable[Path],
    dtype: torch.dtype | None,
    span: Span,
    settings: Mapping[str, Any],
) -> tuple[nn.Module, Any, TensorFiles]:
    """A model whose parameters say where they are read from, and the report of transformers on it."""
    from transformers.models.auto.auto_factory import _get_model_class

    read = TensorFiles(files, span)
    state = {name: Unread.of(read, stored) for name, stored in read.tensors.items()}
    model_class: Any = _get_model_class(config, kind._model_mapping)
    model, report = model_class.from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=dtype or "auto",
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **settings,
    )
    return model, report, read


def _layers(model: nn.Module) -> list[nn.Module]:
    """The modules of which there are several by number, the outermost: the layers."""
    found: dict[str, nn.Module] = {}
    for name, _ in model.named_parameters():
        layer = _LAYER.match(name)
        if layer is not None:
            found.setdefault(f"{layer[1]}.{layer[2]}", model.get_submodule(f"{layer[1]}.{layer[2]}"))
    return list(found.values())


@torch.no_grad()
def _fill(model: nn.Module, device: torch.device, made: dict[int, nn.Parameter]) -> None:
    """Read what was not read of a module; ``made`` are the parameters that were read, for those that stand in two places."""
    for module in model.modules():
        for name, own in module._parameters.items():
            if isinstance(own, Unread):
                if id(own) not in made:
                    value = torch.empty(own.shape, dtype=own.dtype, device=device)
                    filler(own)(value, 0)
                    made[id(own)] = nn.Parameter(value, requires_grad=False)
                module._parameters[name] = made[id(own)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = numbers(buffer).to(device)


@torch.no_grad()
def _sealed(model: nn.Module, files: TensorFiles, device: torch.device) -> WeightStream:
    """Put a parameter that is read as it is needed in place of every matrix that was not read, and read everything else."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        found[id(parameter)] = name, parameter
    numbered: dict[tuple[str, int], int] = {}
    parts: dict[int, StreamedPart] = {}
    for which, (name, parameter) in found.items():
        if isinstance(parameter, Unread) and parameter.ndim > 1:
            layer = _LAYER.match(name)
            group = None if layer is None else numbered.setdefault((layer[1], int(layer[2])), len(numbered))
            stored = parameter.as_stored
            own = stored is not None and stored.dtype == parameter.dtype
            begin = stored.begin if own and stored.begin % stored.dtype.itemsize == 0 else 0  # type: ignore[union-attr]
            parts[which] = StreamedPart(name, tuple(parameter.shape), parameter.dtype, filler(parameter), group, begin)
    stream = WeightStream(files, list(parts.values()), device)
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, own in module._parameters.items():
            if own is None:
                continue
            if id(own) not in made:
                part = parts.get(id(own))
                value = numbers(own.data).to(device) if part is None else Streamed.of(stream, part)
                made[id(own)] = nn.Parameter(value, requires_grad=False)
            module._parameters[name] = made[id(own)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = numbers(buffer).to(device)
    return stream


__all__ = ["open_sharded", "open_streamed"]
