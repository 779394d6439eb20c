"""The tensors that a checkpoint's files name against those that were loaded: weights left over, weights that were made up.

transformers loads what fits and mentions the rest in a log. Here each is told: what would make the numbers those of
another network is refused, what is beside the network is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from causal_dsl.diagnostics import Diagnostic, Span, fail, shown_path
from causal_dsl.network.quiet import worth_telling

#: Tensors of older checkpoints that hold no learned number: masks, frequencies, counters.
_NO_WEIGHTS = re.compile(
    r"(?:^|\.)(?:inv_freq|position_ids|token_type_ids|num_batches_tracked|masked_bias|(?:attn|attention)\.bias)$"
)
_ADAPTER = re.compile(r"\.(?:lora_|ia3_|prompt_encoder\.|adapter)|_adapter\.")


def audit_weights(
    model: nn.Module, report: Any, config: dict[str, Any], folder: Path, heard: Iterable[str], span: Span
) -> tuple[Diagnostic, ...]:
    """Judge the report of a load (``output_loading_info``) and what the library said meanwhile.

    Raises E640 for weights that the checkpoint lacks or has in another shape, E666 for weights within the network that
    it has no room for. Gives W664 for weights of parts that this network lacks, W663 for what the library warned of, W671 for a class of its own
    that is not run.
    """
    _refuse_made_up(model, report, config, folder, span)
    left = sorted(key for key in map(str, report.get("unexpected_keys", ())) if not _NO_WEIGHTS.search(key))
    modules = dict(model.named_modules())
    prefix = getattr(model, "base_model_prefix", "")
    inside = [key for key in left if _inside(modules, prefix, key)]
    if inside:
        raise fail(
            "E666",
            f"the network has no parameters for some of the weights in {shown_path(folder)}",
            span,
            notes=(
                f"{_counted(inside)}: {_few(inside)}",
                f"loaded as its config.json says, as a {type(model).__name__}, it leaves them out, so it is "
                "not the network that was saved",
            ),
            help="merge the adapter into the weights (`merge_and_unload` of peft) and save the result"
            if any(_ADAPTER.search(key) for key in inside)
            else "take the config.json that belongs to the weights: its number of layers, biases and norms",
        )
    said = _another_class(model, config, folder, span)
    if left:
        parts = list(dict.fromkeys(_part(key) for key in left))
        said.append(
            Diagnostic(
                "W664",
                f"some weights in {shown_path(folder)} are not part of the network that is run",
                span,
                notes=(f"{_counted(left)} of {_few(parts)}", f"it is run as a {type(model).__name__}"),
                help="nothing needs to be done if that part is not needed, such as a head for another task",
            )
        )
    for text in worth_telling(list(heard)):
        said.append(
            Diagnostic(
                "W663",
                "transformers gives a warning when it loads this network",
                span,
                notes=(text,),
                help="fix the cause, or make sure that it does not affect the measurement",
            )
        )
    return tuple(said)


def _another_class(model: nn.Module, config: dict[str, Any], folder: Path, span: Span) -> list[Diagnostic]:
    """W671 where the checkpoint was saved as a class of its own, which is not the one that is run."""
    named = config.get("architectures")
    kinds = [str(name) for name in named] if isinstance(named, list) else []
    if "auto_map" not in config or not kinds or type(model).__name__ in kinds:
        return []
    return [
        Diagnostic(
            "W671",
            f"{shown_path(folder)} brings code of its own, which is not run",
            span,
            notes=(f"its config.json says that a {kinds[0]} was saved; it is run as a {type(model).__name__}",),
            help="make sure that the two compute the same, or read that code and return the network from torch(…)",
        )
    ]


def _refuse_made_up(model: nn.Module, report: Any, config: dict[str, Any], folder: Path, span: Span) -> None:
    """Weights that a checkpoint lacks are drawn at random: a score of such a network means nothing."""
    missing = sorted(map(str, report.get("missing_keys", ())))
    mismatched = sorted(str(item[0]) for item in report.get("mismatched_keys", ()))
    broken = sorted(map(str, report.get("conversion_errors", ())))
    odd = missing or mismatched or broken
    if not odd:
        return
    what = "missing" if missing else "of another shape" if mismatched else "not convertible"
    notes = [f"{len(odd)} {'is' if len(odd) == 1 else 'are'} {what}: {_few(odd)}"]
    named = config.get("architectures")
    kinds = [str(name) for name in named] if isinstance(named, list) else []
    if kinds and type(model).__name__ not in kinds:
        notes.append(f"its config.json says that a {kinds[0]} was saved, and it is run as a {type(model).__name__}")
    raise fail(
        "E640",
        f"the weights in {shown_path(folder)} do not fit its config",
        span,
        notes=tuple(notes),
        help="run a checkpoint of a language model, with its head"
        if len(notes) > 1
        else "is the download whole? Are config.json and the weights of one checkpoint?",
    )


def _inside(modules: dict[str, nn.Module], prefix: str, key: str) -> bool:
    """Whether a tensor belongs to a part of the network that is run: to one of its modules or within one of its layers."""
    if _ADAPTER.search(key):
        return True
    for name in (key, f"{prefix}.{key}") if prefix else (key,):
        owner = name.rpartition(".")[0]
        if owner in modules and any(True for _ in modules[owner].parameters(recurse=False)):
            return True
        parts = name.split(".")
        above = (".".join(parts[:count]) for count in range(1, len(parts)))
        if any(isinstance(modules.get(path), nn.ModuleList) for path in above):
            return True
    return False


def _part(key: str) -> str:
    """The part of a network that a tensor is of: its path without the names of tensors and linear maps."""
    return key.rpartition(".")[0].removesuffix(".dense") or key


def _few(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:3]) + (", …" if len(names) > 3 else "")


def _counted(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) != 1 else ''}"


__all__ = ["audit_weights"]
