"""The files of a checkpoint, looked at before anything is loaded: are the weights there, whole, and will they fit?"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from causal_dsl.diagnostics import Span, fail, shown_path
from causal_dsl.planning import memory
from causal_dsl.store import reads
from causal_dsl.store.reading import check_own

_LARGEST_HEADER = 100_000_000


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads: those of the index where there is one, else the single file."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(map(str, listed)))]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []


#: What transformers reads of a folder beside weights: settings and tokenizers; and what code lies there.
_BESIDE = frozenset({".json", ".txt", ".model", ".jinja", ".py"})


def note_files(folder: Path) -> None:
    """Note every file of a checkpoint that loading it may read."""
    inside = sorted(path for path in folder.iterdir() if path.is_file())
    weights = set(weight_files(folder)) or {p for p in inside if p.suffix in (".bin", ".pt", ".pth")}
    weights |= {p for p in inside if p.name.startswith("adapter_model.")}
    for path in [*sorted(weights), *(path for path in inside if path.suffix in _BESIDE and path not in weights)]:
        reads.note(path)


def check_weights(folder: Path, trust: bool, span: Span, held: str = "") -> None:
    """Raise E635 for a pickle checkpoint that is not trusted, E641 for weights that are missing or broken, E941 for a pickle where the
    setting that is ``held`` needs files of another kind, whether or not it is trusted."""
    try:
        files = weight_files(folder)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise fail(
            "E641", f"cannot read the index of the weights in {shown_path(folder)}", span, notes=(str(error)[:200],)
        ) from error
    check_own(folder, span, trust, [os.path.relpath(path, folder) for path in files])
    pickles = sorted(path.name for suffix in ("bin", "pt", "pth") for path in folder.glob(f"*.{suffix}"))
    if not files and pickles:
        if held:
            check_streamed(folder, None, held, span)
        if trust:
            return
        raise fail(
            "E635",
            f"the weights in {shown_path(folder)} are a pickle, {pickles[0]}",
            span,
            notes=("a pickle can run any code when it is read",),
            help="convert it to safetensors (`save_pretrained` does), or run with --trust",
        )
    if not files:
        raise fail(
            "E641",
            f"{shown_path(folder)} holds no weights",
            span,
            notes=("looked for model.safetensors and model.safetensors.index.json",),
            help="is the download whole?",
        )
    for path in files:
        tensors(path, span)
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file() and index.is_file() and single not in files:
        raise fail(
            "E667",
            f"{shown_path(folder)} holds two sets of weights",
            span,
            notes=(f"{single.name}, and the {len(files)} files that {index.name} names",),
            help="keep the right set, and move the other away",
        )


def tensors(path: Path, span: Span) -> dict[str, tuple[str, list[int]]]:
    """The dtype (``BF16``) and shape of each tensor of a safetensors file. Raises E641 where the file is not whole."""
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            return {name: (slice.get_dtype(), slice.get_shape()) for name, slice in slices.items()}
    except FileNotFoundError as error:
        raise fail("E641", f"there is no {shown_path(path)}, which the index of the weights names", span) from error
    except (OSError, SafetensorError) as error:
        raise fail(
            "E641",
            f"{shown_path(path)} is damaged",
            span,
            notes=(str(error)[:200] or type(error).__name__,),
            help="fetch it again: an interrupted download looks like this",
        ) from error


_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}


def check_memory(
    folder: Path, config: dict[str, Any], device: torch.device, dtype: torch.dtype | None, span: Span
) -> None:
    """Raise E642 where the weights alone are larger than the memory that is free: waiting would end in a kill."""
    if "quantization_config" in config:
        return  # what is stored is not what is held
    needed = 0
    for path in weight_files(folder):
        for kind, shape in tensors(path, span).values():
            stored = _BYTES.get(kind, 1)
            count = math.prod(shape)
            needed += count * (dtype.itemsize if dtype is not None and stored > 1 else stored)
    free = free_memory(device)
    if free is not None and needed > free:
        raise fail(
            "E642",
            "there is not enough memory for the network",
            span,
            notes=(f"its weights take {needed / 1e9:.1f} GB on {device}, where {free / 1e9:.1f} GB are free",),
            help="use a smaller dtype (dtype=bfloat16), another device, or a smaller network",
        )


def check_streamed(folder: Path, method: str | None, setting: str, span: Span) -> None:
    """Raise E941 for weights that cannot be read layer by layer, as a ``setting`` asks: quantised ones, and those of a pickle."""
    if method is not None:
        why = f"they are quantised by {method}, whose library holds the weights itself"
    elif not weight_files(folder):
        why = "they are a pickle, which is read as a whole"
    else:
        return
    raise fail(
        "E941",
        f"the weights in {shown_path(folder)} cannot be read layer by layer",
        span,
        notes=(why,),
        help=f"leave `{setting}` out, or name a folder with plain safetensors files (`save_pretrained` writes them)",
    )


def free_memory(device: torch.device) -> int | None:
    """Bytes that could be allocated on a device now; None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory.free_memory() if device.type == "cpu" else None
