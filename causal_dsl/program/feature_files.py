"""The files that features are made from, and whether they are what they are read as: no tensor is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Diagnostics, Span, shown_path
from causal_dsl.store.reading import LARGEST_TENSORS, may_read
from causal_dsl.store.reads import LARGEST_SETTINGS
from causal_dsl.store.tensor_headers import header_fault
from causal_dsl.vocabulary.features import FEATURES

_WEIGHTS = "sae_weights.safetensors"
#: What is read beside the weights of an autoencoder.
_BESIDE = ("cfg.json", "activation_scaler.json")


def files_of(name: str, settings: Mapping[str, Any]) -> list[Path]:
    """The files that a feature with these settings is made from: a sparse autoencoder may be a folder, with its settings. Of
    a family that another package adds, its code, too."""
    about, code = FEATURES[name], FEATURES.files(name)
    if about.file is None:
        return code
    path = Path(str(settings["path"]))
    folder = path if path.is_dir() else path.parent
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if about.encoder and not code and path.is_dir():  # others beside these are not read
        found = [file for file in found if file.name == _WEIGHTS] or found
    beside = [folder / name for name in _BESIDE] if about.encoder else []
    return [*found, *(file for file in beside if file.exists() and not file.is_dir()), *code]


def are_whole(name: str, path: Path, span: Span, written: str, diagnostics: Diagnostics) -> bool:
    """Whether the files of a feature are what they are read as, by their first bytes and their sizes; E225 or E721 where not.
    What a family of another package reads, its code judges."""
    if FEATURES.files(name):
        return True
    for file in files_of(name, {"path": path}):
        shown = f"{written.rstrip('/')}/{file.name}" if path.is_dir() else file.name if file != path else written
        is_settings = file != path and file.suffix == ".json"
        if not may_read(file, shown, span, diagnostics, LARGEST_SETTINGS if is_settings else LARGEST_TENSORS):
            return False
        why = "" if is_settings else header_fault(file)
        if why:
            help = "is the download whole? Directions are saved with safetensors.torch.save_file"
            diagnostics.report("E721", f"cannot read `{shown_path(file)}`", span, notes=(why,), help=help)
            return False
    return True


__all__ = ["are_whole", "files_of"]
