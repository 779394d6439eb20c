"""The files of a sparse autoencoder, in the layout that SAELens writes: ``cfg.json`` beside ``sae_weights.safetensors``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causal_dsl.diagnostics import Span, SpecError, fail, shown_path
from causal_dsl.features.sae import KINDS, NORMS
from causal_dsl.store import reads

WEIGHTS, CONFIG, SCALER = "sae_weights.safetensors", "cfg.json", "activation_scaler.json"
#: What each architecture is called in ``cfg.json``, and the tensors that its encoder has beside ``W_enc``.
_NEEDED = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "r_mag", "b_mag"),
    "transcoder": ("b_enc",),
    "skip_transcoder": ("b_enc",),
    "jumprelu_transcoder": ("b_enc", "threshold"),
    "crosscoder": ("b_enc",),
}
#: How the latents of those come about that write other sites than they read.
_ALIKE = {
    "transcoder": "standard",
    "skip_transcoder": "standard",  # what goes past the latents does not change with them
    "jumprelu_transcoder": "jumprelu",
    "crosscoder": "standard",
}
_AVERAGE = "expected_average_only_in"
_ACTIVATIONS = ("relu", "tanh-relu", "topk")


def read_sae(path: Path, latents: Sequence[int], width: int, span: Span) -> dict[str, Tensor]:
    """The numbers of :class:`~causal_dsl.features.sae.Sae`, float64, for chosen latents (none: all) of a file or folder.

    A file without ``cfg.json`` beside it is told by its tensors: jumprelu has ``threshold``, gated has ``r_mag``,
    otherwise it is standard, and the decoder's bias is taken off the input, as SAELens does where nothing is said.
    Raises E720 for vectors of another width, E721 for files that cannot be read or are not understood, E723 for a
    latent that there is not.
    """
    file = _weights(path, span)
    config = _config(file.parent / CONFIG, span)
    stored = _tensors(file, span)
    try:
        return _numbers(stored, config, _factor(file.parent, config), latents, width, span)
    except SpecError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _unread(file, str(error.args[0] if error.args else error), span) from error


def _unread(path: Path, why: str, span: Span) -> SpecError:
    return fail(
        "E721",
        f"cannot read the sparse autoencoder `{shown_path(path)}`",
        span,
        notes=(why[:300],),
        help=f"name a folder that SAELens wrote: {CONFIG} beside {WEIGHTS}",
    )


def _weights(path: Path, span: Span) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise _unread(path, "there is no such file or folder", span)
    found = sorted(path.glob("*.safetensors"))
    named = [file for file in found if file.name == WEIGHTS]
    if not named and len(found) != 1:
        raise _unread(path, f"the folder holds {len(found)} safetensors files, and none is {WEIGHTS}", span)
    return named[0] if named else found[0]


def _config(path: Path, span: Span) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        config = json.loads(reads.read_bytes(path, reads.LARGEST_SETTINGS))
        if not isinstance(config, dict):
            raise TypeError("it is not an object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unread(path, str(error), span) from error
    inner = config.get("architecture_params")
    return {**config, **inner} if isinstance(inner, dict) else config


def _tensors(path: Path, span: Span) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    reads.note(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unread(path, str(error), span) from error


def _numbers(
    stored: Mapping[str, Tensor],
    config: dict[str, Any] | None,
    factor: float,
    latents: Sequence[int],
    width: int,
    span: Span,
) -> dict[str, Tensor]:
    said = config or {}
    architecture = said.get("architecture", "standard") if config is not None else _guessed(stored)
    if architecture not in _NEEDED:
        raise ValueError(f"its architecture is `{architecture}`; supported are {', '.join(_NEEDED)}")
    across = architecture in _ALIKE
    kind = _kind(_ALIKE.get(architecture, architecture), said)
    norm = said.get("normalize_activations") or "none"
    if architecture in _ALIKE and norm != "none":
        raise ValueError(f"a {architecture} normalises activations by `{norm}`: only `none` is supported")
    if norm == _AVERAGE:
        norm = "none"  # one number for all vectors: `factor`
    if norm not in NORMS:
        raise ValueError(f"it normalises activations by `{norm}`; supported are {', '.join((*NORMS, _AVERAGE))}")
    if missing := [name for name in ("W_enc", "W_dec", "b_dec", *_NEEDED[architecture]) if name not in stored]:
        raise ValueError(f"it lacks the tensor {', '.join(missing)}")

    def take(name: str, *shape: int) -> Tensor:
        tensor = stored[name].double()
        if tuple(tensor.shape) != shape:
            raise ValueError(f"its tensor {name} is {list(tensor.shape)}, not {list(shape)}")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"its tensor {name} holds numbers that are not finite")
        return tensor

    each = stored["W_enc"].shape[-2] if stored["W_enc"].dim() > 1 else 0
    if architecture == "crosscoder":
        stored = _side_by_side(stored, said)
    if stored["W_enc"].dim() != 2:
        raise ValueError(f"its tensor W_enc is {list(stored['W_enc'].shape)}, not a matrix")
    inside, count = stored["W_enc"].shape
    outside = stored["W_dec"].shape[-1] if across else width
    for name, known in (("d_in", each), ("d_sae", count), *([("d_out", outside)] if across and each == inside else [])):
        if said.get(name, known) != known:
            raise ValueError(f"{CONFIG} says {name} = {said[name]}, and the weights have {known}")
    if inside != width:
        raise fail(
            "E720",
            f"the sparse autoencoder reads vectors of {inside} numbers, and the vector here has {width}",
            span,
            help="use one that was made for this site of this network",
        )
    chosen = _chosen(latents, count, span)
    into, out, bias = take("W_enc", width, count), take("W_dec", count, outside), take("b_dec", outside)
    numbers = {"bias": take("b_mag" if kind == "gated" else "b_enc", count)}
    if kind == "jumprelu":
        numbers["threshold"] = take("threshold", count)
    if kind == "gated":
        numbers |= {"gate": take("b_gate", count), "magnitude": take("r_mag", count)}
    k = _k(said, count) if kind == "topk" else 0
    if said.get("rescale_acts_by_decoder_norm"):
        norms = out.norm(dim=1)
        into, out, numbers["bias"] = into * norms, out / norms[:, None], numbers["bias"] * norms
    if said.get("finetuning_scaling_factor"):
        out = (
            out * take("scaling_factor" if "scaling_factor" in stored else "finetuning_scaling_factor", count)[:, None]
        )
    into, out, bias = into * factor, out / factor, bias / factor
    if kind != "topk":  # a latent does not depend on the others
        into = into[:, chosen]
        numbers = {name: tensor[chosen] for name, tensor in numbers.items()}
    centred = bool(said.get("apply_b_dec_to_input", not across))
    if centred and outside != width:
        raise ValueError(f"{CONFIG} says apply_b_dec_to_input, and b_dec has {outside} numbers where {width} are read")
    code = torch.tensor([KINDS.index(kind), NORMS.index(norm), k])
    if "W_skip" in stored and architecture == "skip_transcoder":
        numbers["skip"] = take("W_skip", outside, width).T
    return numbers | {
        "offset": bias,
        "code": code,
        "into": into,
        "out": out[chosen],
        "latents": chosen,
        "centre": bias if centred else torch.zeros(width, dtype=bias.dtype),
    }


def _side_by_side(stored: Mapping[str, Tensor], said: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a crosscoder, a site after the other: W_enc [sites, width, latents], W_dec [latents, sites, width] and
    b_dec [sites, width] as those of one autoencoder of all vectors together."""
    encoder, decoder, bias = stored["W_enc"], stored["W_dec"], stored["b_dec"]
    about = said.get("metadata")
    names = {**said, **(about if isinstance(about, dict) else {})}.get("hook_names")
    sites = len(names) if isinstance(names, list) else 0
    if encoder.dim() != 3 or len(encoder) != sites:
        raise ValueError(f"its tensor W_enc is {list(encoder.shape)}, and {CONFIG} names {sites} hooks")
    _, wide, count = encoder.shape
    for name, tensor, shape in (("W_dec", decoder, (count, sites, wide)), ("b_dec", bias, (sites, wide))):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"its tensor {name} is {list(tensor.shape)}, not {list(shape)}")
    return {
        **stored,
        "W_enc": encoder.reshape(sites * wide, count),
        "W_dec": decoder.reshape(count, sites * wide),
        "b_dec": bias.reshape(-1),
    }


def _factor(folder: Path, config: dict[str, Any] | None) -> float:
    """The factor of vectors before they are encoded: a number that SAELens keeps beside the weights.

    Weights into which it was folded say ``none``. Where it is asked for and kept nowhere, all latents would be off by it.
    """
    if (config or {}).get("normalize_activations") != _AVERAGE:
        return 1.0
    try:
        said = json.loads(reads.read_bytes(folder / SCALER, reads.LARGEST_SETTINGS))
    except FileNotFoundError:
        said = {}
    except (OSError, RecursionError) as error:
        raise ValueError(f"{SCALER}: {error}") from error
    found = said.get("scaling_factor") if isinstance(said, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < float("inf"):
        raise ValueError(
            f"its vectors are to be multiplied by a number first ({_AVERAGE}), and no {SCALER} says by which: "
            "fold it into the weights with `fold_activation_norm_scaling_factor` of SAELens, and save them"
        )
    return float(found)


def _guessed(stored: Mapping[str, Tensor]) -> str:
    return "jumprelu" if "threshold" in stored else "gated" if "r_mag" in stored else "standard"


def _kind(architecture: str, said: Mapping[str, Any]) -> str:
    activation = said.get("activation_fn") or said.get("activation_fn_str") or "relu"
    if activation not in _ACTIVATIONS or (architecture in ("jumprelu", "gated") and activation != "relu"):
        raise ValueError(f"its activation function is `{activation}` with the architecture `{architecture}`")
    return activation if architecture == "standard" else architecture


def _k(said: Mapping[str, Any], count: int) -> int:
    more = said.get("activation_fn_kwargs")
    k = said.get("k", more.get("k") if isinstance(more, dict) else None)
    if isinstance(k, bool) or not isinstance(k, int | float) or k != int(k) or not 1 <= k <= count:
        raise ValueError(f"{CONFIG} says k = {k}, which is not a number of latents from 1 to {count}")
    return int(k)


def _chosen(latents: Sequence[int], count: int, span: Span) -> Tensor:
    wrong = [latent for latent in latents if not 0 <= latent < count]
    if wrong or len(set(latents)) < len(latents):
        told = f"names latent {wrong[0]}, and there are {count}" if wrong else "names a latent twice"
        raise fail("E723", f"`sae` {told}", span, help=f"name each once, from 0 to {count - 1}")
    return torch.tensor(latents, dtype=torch.int64) if latents else torch.arange(count)
