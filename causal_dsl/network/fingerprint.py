"""The parts of a loaded network: which weights, which other files, and how it computes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causal_dsl.diagnostics import NOWHERE, fail, shown_path
from causal_dsl.network.behaviour import behaviour, of_code
from causal_dsl.network.checkpoints import weight_files
from causal_dsl.network.network import Network
from causal_dsl.network.quantised import versions_of
from causal_dsl.program import adapters
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.keys import NetworkInputs, version_of
from causal_dsl.store.reads import Reads
from causal_dsl.vocabulary.called_words import HELD

#: Bytes of a tensor that are hashed at once: those of another device are brought over piece by piece.
_PIECE = 1 << 26
#: The files beside the weights of a checkpoint that decide its numbers.
_OF_NUMBERS = frozenset({"config.json", adapters.CONFIG, adapters.WEIGHTS, adapters.PICKLE})


@torch.no_grad()
def content_of(model: nn.Module) -> str:
    """SHA-256 in hex of the names, shapes and all numbers of every parameter and buffer."""
    found = hashlib.sha256()
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()], key=lambda item: item[0]):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.device.type != "meta" and tensor.numel():
            flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            for start in range(0, len(flat), _PIECE):
                piece = flat[start : start + _PIECE]
                piece = piece if type(piece) is torch.Tensor else piece.clone()  # streamed weights are read here
                found.update(piece.cpu().numpy())
    return found.hexdigest()


def made_of(ref: NetworkRef, network: Network, reads: Reads) -> NetworkInputs:
    """The parts that a network was made of as it was loaded; ``reads`` is what was read then.

    The weights of a checkpoint are hashed as files, each once: the hash is remembered. Those of a network that code makes, or
    that is trained, are hashed in memory.
    """
    files = reads.digests()
    weights = _weight_files(network, files) if ref.training is None and not ref.setting("untrained") else []
    digest = of_bytes("\n".join(f"{path.name} {files[path]}" for path in weights).encode()) if weights else ""
    left = {"device", "dtype", "padding", *(HELD if ref.kind == "hf" else ())}  # where weights are decides no number
    settings = {name: _plain(value) for name, value in ref.settings if name not in left}
    return NetworkInputs(
        kind=ref.kind,
        target=ref.target,
        revision=ref.setting("revision"),
        settings=settings,
        training="" if ref.training is None else ref.training.alignment.name,
        weights=digest or content_of(network.model),
        files={shown(path, ref.base): known for path, known in sorted(files.items()) if path not in weights},
        architecture=str(network.facts.architecture),
        dtype=str(network.dtype),
        device=network.device.type,
        padding=network.padding,
        behaviour=behaviour(network) if of_code(ref) else "",
        libraries=_libraries(ref, network),
    )


def _libraries(ref: NetworkRef, network: Network) -> dict[str, str]:
    """The versions of libraries that only some networks need: to put an adapter on, to run quantised weights."""
    config: Any = getattr(network.model, "config", None)
    found = versions_of(config.to_dict()) if hasattr(config, "to_dict") else {}
    return {**found, "peft": version_of("peft")} if ref.setting("adapter") else found


def _weight_files(network: Network, files: dict[Path, str]) -> list[Path]:
    """The files that hold all weights of a network; none where its weights do not come from files alone."""
    folder = network.facts.folder
    if folder is None:
        return []
    named = [Path(os.path.abspath(path)) for path in weight_files(folder)]
    return named if named and all(path in files for path in named) else []


def shown(path: Path, base: Path) -> str:
    """A file's path from the folder of the spec, where it lies below it: so both can be moved together."""
    home = Path(os.path.abspath(base))
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else path.as_posix()


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def same_network(networks: Mapping[NetworkKey, Network]) -> Callable[[FeatureRef, Mapping[str, Any]], None]:
    """A judge that refuses a feature of a file that was fitted on another network than the one whose vectors it reads (E729)."""

    def judge(ref: FeatureRef, about: Mapping[str, Any]) -> None:
        network = networks.get(ref.network)
        if network is None or ref.elsewhere or about.get("fingerprint") == fingerprint(network):
            return
        raise fail(
            "E729",
            f"`{shown_path(Path(ref.fitting.file))}` was fitted on another network, or on other weights of it",
            ref.span or NOWHERE,
            notes=(f"it was fitted on `{about.get('network', '')}`",),
            help="fit it on this network, or write elsewhere=true if the transfer is what you study",
        )

    return judge


def fingerprint(network: Network) -> str:
    """SHA-256 in hex of a network's weights, numbers and configuration: what a file of features says it was fitted on."""
    made = network.inputs
    if made is None:
        return of_bytes(f"{content_of(network.model)} {network.dtype}".encode())
    config = [known for path, known in made.files.items() if Path(path).name in _OF_NUMBERS]
    return of_bytes(" ".join([made.weights, made.dtype, *sorted(config)]).encode())


def anywhere(network: Network) -> NetworkInputs | str:
    """The key of the numbers of a network, wherever its files lie: a fit on it is found from any spec. Of a network made
    in Python these are its weights and modules."""
    made = network.inputs
    if made is None:
        return f"{fingerprint(network)} {network.device.type} {network.padding} {network.model!r}"
    by_name: dict[str, list[str]] = {}
    for path, known in made.files.items():
        by_name.setdefault(Path(path).name, []).append(known)
    settings = {name: value for name, value in made.settings.items() if name not in ("adapter", "elsewhere")}
    # two functions of one file may make networks of the same weights and answers that differ inside
    function = made.target.rpartition(":")[2] if made.kind == "torch" else ""
    return replace(
        made,
        target=function,
        settings=settings,
        files={name: " ".join(sorted(known)) for name, known in by_name.items()},
    )


__all__ = ["anywhere", "content_of", "fingerprint", "made_of", "shown"]
