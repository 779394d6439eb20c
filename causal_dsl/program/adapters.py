"""Adapters of peft on a checkpoint, `hf("base", adapter="folder")`: what their files say, before anything is loaded.

An adapter is a change to the weights of one network. Another network of the same sizes takes it without an error, and the
numbers are nobody's; so what the adapter says of its base is held against the base that the spec names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Diagnostic, Diagnostics, Span, SpecError, fail, real_path, shown_path
from causal_dsl.program.facts import cached_folder, local_folder
from causal_dsl.store import reads
from causal_dsl.store.reading import check_own, is_file, stranger
from causal_dsl.store.tensor_headers import header_of
from causal_dsl.vocabulary.network_facts import Facts

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
#: The kinds of peft that change weights and nothing else, so that they can be merged into them.
KINDS = (
    "LORA",
    "ADALORA",
    "IA3",
    "LOHA",
    "LOKR",
    "VERA",
    "OFT",
    "BOFT",
    "HRA",
    "FOURIERFT",
    "RANDLORA",
    "MISS",
    "LN_TUNING",
)
#: Kinds that put something before the prompt.
_OF_PROMPTS = (
    "PROMPT_TUNING",
    "P_TUNING",
    "PREFIX_TUNING",
    "MULTITASK_PROMPT_TUNING",
    "ADAPTION_PROMPT",
    "CPT",
    "CARTRIDGE",
)
#: Settings of a LoRA with which it is more than a change of weights, and how they are told.
_MORE = {
    "alora_invocation_tokens": "it changes only the tokens after an invocation sequence",
    "layer_replication": "it repeats layers of the network",
}
_LARGEST_FILE, _LARGEST_TOKENIZER = 20_000_000, 256 * 2**20
_LAYER = re.compile(r"\.(?:layers|h|layer|blocks)\.(\d+)\.")


def adapter_folder(name: str, base: Path, span: Span) -> Path | None:
    """The folder that `adapter="…"` names, from the folder of the spec, or the copy of a repository in the local cache.

    None for a repository of which there is no copy. Raises E778 for what can be neither.
    """
    folder = local_folder(name, base)
    if folder is not None:
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or ".." in name or len(name) > 200:
        raise fail(
            "E778",
            f"there is no folder `{name[:80]}`",
            span,
            notes=("paths are relative to the spec",),
            help='name the folder that peft saved: adapter="folder"',
        )
    return cached_folder(name, file=CONFIG)


def read_adapter(folder: Path, span: Span) -> dict[str, Any]:
    """The `adapter_config.json` of a folder. Raises E778 for a folder that holds no adapter which is a change of weights."""
    path = folder / CONFIG
    if not is_file(path):
        why = "there is no such folder" if not folder.exists() else f"it holds no {CONFIG}, which peft writes"
        if is_file(folder / "config.json"):
            why = f"it holds a network of its own, and no {CONFIG}"
        raise fail(
            "E778",
            f"{shown_path(folder)} holds no adapter",
            span,
            notes=(why,),
            help='name the folder that `save_pretrained` of peft wrote: hf("base", adapter="folder")',
        )
    check_own(folder, span)
    try:
        config = json.loads(reads.read_text(path, _LARGEST_FILE))
    except (OSError, ValueError, RecursionError) as error:
        raise _bad(
            folder, f"its {CONFIG} cannot be read: {(str(error) or type(error).__name__)[:160]}", span
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise _bad(folder, f"its {CONFIG} names no `peft_type`", span)
    kind = config["peft_type"]
    if kind not in KINDS:
        raise fail(
            "E778",
            f"an adapter of the kind {kind[:40]} cannot be merged into the weights"
            if kind in _OF_PROMPTS
            else f"adapters of the kind {kind[:40]} are not supported",
            span,
            notes=(
                "it puts vectors of its own before or beside the prompt, and positions in the prompt would not be those of "
                "the spec"
                if kind in _OF_PROMPTS
                else f"supported are {', '.join(KINDS)}",
            ),
            help="use an adapter that changes weights alone, such as a LoRA"
            if kind in _OF_PROMPTS
            else "if peft can merge it into the weights, save the result as a network of its own, and name that",
        )
    for setting, why in _MORE.items():
        if config.get(setting):
            raise fail(
                "E778",
                f"the adapter in {shown_path(folder)} is more than a change of weights",
                span,
                notes=(f"{why} (`{setting}`)",),
                help="use an adapter that changes weights alone",
            )
    if not is_file(folder / WEIGHTS) and not is_file(folder / PICKLE):
        raise _bad(folder, f"it holds no {WEIGHTS}", span)
    return config


def _bad(folder: Path, why: str, span: Span) -> SpecError:
    return fail(
        "E778", f"{shown_path(folder)} holds no whole adapter", span, notes=(why,), help="is the download whole?"
    )


def judge_adapter(
    settings: Mapping[str, Any], target: str, base: Path, facts: Facts, span: Span, found: Diagnostics
) -> bool:
    """Judge the adapter of a declaration by its files; False with E778 or E779, W780 where its base cannot be told."""
    name = settings.get("adapter")
    if name is None:
        for setting in ("merged", "elsewhere"):
            if settings.get(setting) is not None:
                found.report(
                    "E211",
                    f"`hf` has no setting `{setting}` without an adapter",
                    span,
                    help='leave it out, or name the adapter: adapter="folder"',
                )
                return False
        return True
    try:
        folder = adapter_folder(name, base, span)
        if folder is None:
            found.report(
                "W633",
                f"there is no local copy of the adapter `{name}`",
                span,
                notes=("`run` will try to fetch it from the hub",),
                help="fetch it elsewhere and name its folder",
            )
            return True
        config = read_adapter(folder, span)
        refuse_misfit(folder, facts, span)
        found.extend(judge_base(config, folder, target, settings, base, facts, span))
        found.extend(_tokenizers(folder, facts, span))
    except SpecError as error:
        found.extend(error.diagnostics)
        return False
    return True


def refuse_misfit(folder: Path, facts: Facts, span: Span) -> None:
    """Raise E779 where an adapter's tensors have no place in the base: a layer that it does not have, other widths."""
    header = header_of(folder / WEIGHTS)
    if header is None:
        return  # `run` tells what is wrong with it
    own = {name: tensor.shape for name, tensor in header.tensors.items()}
    for name in own:
        layer = _LAYER.search(name)
        if layer is not None and facts.layers is not None and int(layer[1]) >= facts.layers:
            raise _another(folder, f"it changes layer {int(layer[1])}, and the network has {facts.layers} layers", span)
    base = {} if facts.folder is None else _shapes(facts.folder)
    for name, shape in own.items():
        module, part, _ = name.removeprefix("base_model.model.").partition(".lora_")
        weight = base.get(f"{module}.weight")
        if not part or weight is None or len(weight) != 2 or len(shape) != 2:
            continue
        size = shape[1] if ".lora_A." in name else shape[0] if ".lora_B." in name else None
        if size is not None and size not in weight:
            raise _another(
                folder,
                f"`{name}` is of {size} numbers, and `{module}` of the network maps {weight[1]} to {weight[0]}",
                span,
            )


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    headers = (header_of(path) for path in sorted(folder.glob("*.safetensors")))
    return {name: tensor.shape for header in headers if header is not None for name, tensor in header.tensors.items()}


def _another(folder: Path, why: str, span: Span) -> SpecError:
    return fail(
        "E779",
        f"the adapter in {shown_path(folder)} belongs to another network",
        span,
        notes=(why,),
        help="put it on the network that it was trained on",
    )


def judge_base(
    config: Mapping[str, Any],
    folder: Path,
    target: str,
    settings: Mapping[str, Any],
    base: Path,
    facts: Facts,
    span: Span,
) -> list[Diagnostic]:
    """W780 where it cannot be told whether an adapter was trained on the base; raises E779 where it was not.

    `elsewhere=true` says that the transfer to another network is meant.
    """
    if settings.get("elsewhere"):
        return []
    told = config.get("base_model_name_or_path")
    told = told if isinstance(told, str) else ""
    same = _same_network(told, folder, target, base, facts) if told else None
    revision = config.get("revision")
    of_hub = same and isinstance(revision, str) and local_folder(target, base) is None
    if of_hub and revision != (settings.get("revision") or "main"):
        told, same = f"{told}` at the revision `{revision}", False
    if same:
        return []
    if same is None:
        return [
            Diagnostic(
                "W780",
                f"it cannot be told whether the adapter in {shown_path(folder)} belongs to this network",
                span,
                notes=(
                    f"it was trained on `{told[:120]}`, as its {CONFIG} says"
                    if told
                    else f"its {CONFIG} names no base",
                ),
                help="make sure that it does, and write elsewhere=true",
            )
        ]
    raise fail(
        "E779",
        f"the adapter in {shown_path(folder)} belongs to another network",
        span,
        notes=(f"it was trained on `{told[:120]}`, as its {CONFIG} says",),
        help="put it on that network, or write elsewhere=true if the transfer is what you study",
    )


def _same_network(told: str, folder: Path, target: str, base: Path, facts: Facts) -> bool | None:
    """Whether the base that an adapter names is the network of a declaration; None where that cannot be told."""
    places = [path for path in (Path(told).expanduser(), folder / told, base / told) if is_file(path / "config.json")]
    of_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", told) is not None
    named = next(iter(places), None) or (cached_folder(told) if of_hub else None)
    if named is not None and facts.folder is not None:
        if real_path(named) == real_path(facts.folder):
            return True
        if stranger(named) is None:
            return _sizes(named) == _sizes(facts.folder) and _same_bytes(named, facts.folder)
    if told == target or _last(told) == _last(target):
        return True
    return False if of_hub and local_folder(target, base) is None else None


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.safetensors")) if path.is_file()}


#: Bytes of each file that are compared: two networks differ from their first weights on.
_COMPARED = 1 << 20


def _same_bytes(one: Path, other: Path) -> bool:
    """Whether the weights of two folders, of the same names and sizes, begin and end alike."""
    for name, size in _sizes(one).items():
        with (one / name).open("rb") as first, (other / name).open("rb") as second:
            for start in {0, max(0, size // 2 - _COMPARED // 2), max(0, size - _COMPARED)}:
                first.seek(start)
                second.seek(start)
                if first.read(_COMPARED) != second.read(_COMPARED):
                    return False
    return True


def _tokenizers(folder: Path, facts: Facts, span: Span) -> list[Diagnostic]:
    """W781 where an adapter brings a tokenizer that makes other tokens than that of the base, or another template of chats."""
    if facts.folder is None:
        return []
    for name in ("tokenizer.json", "chat_template.jinja"):
        own, other = folder / name, facts.folder / name
        if is_file(own) and is_file(other) and _of_tokens(own) != _of_tokens(other):
            return [
                Diagnostic(
                    "W781",
                    f"the adapter in {shown_path(folder)} brings a {name} that is not used",
                    span,
                    notes=("it is another than that of the network, which is used",),
                    help="if it was trained with its own, merge it into the weights and save both to a folder of their own",
                )
            ]
    return []


def _of_tokens(path: Path) -> Any:
    """The entries of a file that decide about tokens: padding and truncation are those of a training."""
    text = reads.read_text(path, _LARGEST_TOKENIZER)
    if path.suffix != ".json":
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return {k: v for k, v in found.items() if k not in ("padding", "truncation")} if isinstance(found, dict) else found


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()


__all__ = [
    "CONFIG",
    "KINDS",
    "PICKLE",
    "WEIGHTS",
    "adapter_folder",
    "judge_adapter",
    "judge_base",
    "read_adapter",
    "refuse_misfit",
]
