"""The facts of a network before its weights are read: its shape, from ``config.json`` alone.

Neither torch nor transformers is imported. A key that a config file leaves out has the value that the
configuration class of transformers would give it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Diagnostics, Span, SpecError, fail, shown_path
from causal_dsl.store import reads
from causal_dsl.store.reading import check_own
from causal_dsl.vocabulary.architectures import ARCHITECTURES, Architecture
from causal_dsl.vocabulary.architectures.architecture import ACTIVATIONS, SIZES, decoders
from causal_dsl.vocabulary.network_facts import Facts

_LARGEST = {"layers": 10_000, "heads": 10_000, "kv": 10_000, "head": 100_000}
_LARGEST_OTHER = 1_000_000_000
_LARGEST_FILE = 20_000_000


def facts_of_folder(path: Path, span: Span, diagnostics: Diagnostics) -> Facts | None:
    """The facts of the checkpoint in a local folder, or None with a diagnostic (E630 to E632)."""
    try:
        return _read(Path(path), span)
    except SpecError as error:
        diagnostics.extend(error.diagnostics)
        return None


def facts_of_hub(name: str, revision: str | None, span: Span, diagnostics: Diagnostics) -> Facts | None:
    """The facts of ``org/name``, from the local Hugging Face cache; the network is never touched.

    Where the cache has no copy: facts of which nothing is known, and the warning W633, which says how to pass a folder.
    """
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in name or len(name) > 200:
        diagnostics.report(
            "E630",
            f"`{name}` is neither a folder nor the name of a repository",
            span,
            help="write a folder, or `organisation/name` as on the Hugging Face hub",
        )
        return None
    folder = cached_folder(name, revision)
    if folder is not None:
        return facts_of_folder(folder, span, diagnostics)
    diagnostics.report(
        "W633",
        f"there is no local copy of `{name}`",
        span,
        notes=(
            f"looked for a folder of that name and in {shown_path(hub_cache())}",
            "layers, heads and tokens of this network are not checked; `run` will try to fetch it from the hub",
        ),
        help="pass a folder that holds it: --network NAME=PATH",
    )
    return Facts("language")


def facts_of_reference(
    name: str, revision: str | None, base: Path, span: Span, diagnostics: Diagnostics
) -> Facts | None:
    """The facts of what ``hf("…")`` names: a folder (relative to ``base``, the spec's folder), else a hub name."""
    folder = local_folder(name, base)
    if folder is not None:
        return facts_of_folder(folder, span, diagnostics)
    return facts_of_hub(name, revision, span, diagnostics)


def local_folder(name: str, base: Path) -> Path | None:
    """The folder that ``name`` stands for, or None where it can only be a hub name.

    What is written like a path (``./x``, ``/x``, ``~/x``) is one, whether or not it is there.
    """
    try:
        path = Path(base, Path(name).expanduser())
        if name.startswith((".", "/", "~")) or Path(name).is_absolute() or path.exists():
            return path
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL in it, no home folder
        return None
    return None


def cached_folder(name: str, revision: str | None = None, file: str = "config.json") -> Path | None:
    """The snapshot of a repository in the local cache of the Hugging Face libraries, which holds a file; or None."""
    from huggingface_hub import try_to_load_from_cache  # only names of the hub need it

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except (OSError, ValueError):  # a name that no repository can have
        return None
    return Path(found).parent if isinstance(found, str) else None


def hub_cache() -> Path:
    """Where the Hugging Face libraries keep what they fetched."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def read_config(folder: Path, span: Span) -> dict[str, Any]:
    """``config.json`` of a folder as a dict; raises E630 (no folder or file) or E631 (not a JSON object)."""
    path = folder / "config.json"
    try:
        if not folder.is_dir():
            raise fail(
                "E630",
                f"there is no folder {shown_path(folder)}" if not folder.exists() else "the network is not a folder",
                span,
                notes=(f"looked for {folder}",),
                help="pass the folder that holds config.json and the weights: --network NAME=PATH",
            )
        if not path.is_file():
            raise fail(
                "E630",
                f"{shown_path(folder)} holds no config.json",
                span,
                help="pass the folder that holds config.json and the weights: --network NAME=PATH",
            )
        if path.stat().st_size > _LARGEST_FILE:
            raise fail("E631", f"{shown_path(path)} is not a network's config: it is too large", span)
        config = json.loads(reads.read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise fail(
            "E631", f"cannot read {shown_path(path)}", span, notes=(_first_line(error),), help="is the download whole?"
        ) from error
    if not isinstance(config, dict):
        raise fail("E631", f"{shown_path(path)} is not a JSON object", span)
    return config


def facts_of_config(config: Mapping[str, Any], folder: Path | None, span: Span) -> Facts:
    """The facts that a config says; raises E632 where it says something that cannot be."""
    model_type = config.get("model_type", "")
    if not isinstance(model_type, str):
        raise fail("E632", "`model_type` in config.json is not a name", span, notes=(f"it is {model_type!r:.80}",))
    outer = record_of(model_type, span)
    text = config.get("text_config")
    inner = model_type
    whole = outer.text if outer is not None else ""
    if whole or (isinstance(text, dict) and not any(key in config for key in SIZES["width"])):
        text = text if isinstance(text, dict) else {}
        inner = whole or str(text.get("model_type", ""))
        config = {**text, **{k: config[k] for k in ("architectures", "id2label") if k in config}}
    record = record_of(inner, span)
    if record is not None:
        record = record.of_config(config)
    sizes = {size: _size(config, size, record, inner, span) for size in SIZES}
    layers, heads, width, kv = sizes["layers"], sizes["heads"], sizes["width"], sizes["kv"]
    if kv is None or (record is not None and record.kv != "config"):
        kv = 1 if record is not None and record.kv == "one" else heads
    head = sizes["head"]
    if head is None and heads and width and (record is not None or not width % heads):
        if width % heads:
            raise fail("E632", f"config.json says {heads} heads for a width of {width}, which they do not divide", span)
        head = width // heads
    if kv and heads and heads % kv and record is not None:
        raise fail("E632", f"config.json says {heads} heads that share {kv} keys and values; {kv} must divide it", span)
    mlp, context = sizes["mlp"], sizes["context"]
    if mlp is None and width and record is not None and record.said.get(record.called("mlp") or "", 0) is None:
        mlp = 4 * width  # as the classes do whose default is not a number
    first = _first_position(config, record, span)
    tokenizer = folder / "tokenizer.json" if folder is not None else None
    return Facts(
        "language",
        architecture=model_type,
        layers=layers,
        heads=heads,
        kv_heads=kv,
        head_dim=head,
        width=width,
        mlp_width=None if record is not None and record.neurons is None else mlp,
        inner=_inner(config, record, span),
        experts=_experts(config, record, span),
        dense=_dense(config, record, layers),
        vocabulary=sizes["vocabulary"],
        context=context if context is None else max(1, context - first),
        parallel=record is not None and record.parallel,
        both_ways=record is not None and record.both_ways,
        first_position=first,
        embed_width=sizes["embed"],
        tokenizer=tokenizer if tokenizer is not None and tokenizer.is_file() else None,
        folder=folder,
        labels=_labels(config, span),
        activation=_activation(config, record),
    )


def _labels(config: Mapping[str, Any], span: Span) -> tuple[str, ...]:
    """The classes of a checkpoint that was saved as a sequence classifier; empty of any other. Raises E632."""
    named = config.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    if not any(name.endswith("ForSequenceClassification") for name in names):
        return ()
    told = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    try:
        labels = {int(number): str(label) for number, label in told.items()}
        found = tuple(labels[number] for number in range(len(labels)))
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise fail(
            "E632", "`id2label` in config.json is not a list of classes", span, notes=(f"it is {told!r:.80}",)
        ) from error
    if not found or len(set(found)) < len(found):
        raise fail(
            "E632", "`id2label` in config.json names a class twice, or none", span, notes=(f"it is {told!r:.80}",)
        )
    return found


def record_of(model_type: str, span: Span | None = None) -> Architecture | None:
    """The record of an architecture, or None. ``span``: a spec names a network of it there, and what its record says
    belongs to what the spec reads. Raises E785 and E786 where the package that adds it is at fault."""
    if span is None or model_type not in ARCHITECTURES:
        return ARCHITECTURES.get(model_type)
    return ARCHITECTURES.at(model_type, span)


def inferable(facts: Facts) -> bool:
    """Whether no record describes such networks, and their layout is inferred as they are loaded."""
    return record_of(facts.architecture) is None and facts.architecture in decoders()


def layout_of(facts: Facts) -> Architecture | None:
    """The layout of such networks, as far as it is known: that of this very one, or the record of its
    architecture."""
    return facts.record if facts.record is not None else record_of(facts.architecture)


def refuse_adapter(folder: Path, span: Span) -> None:
    """Raise E665 where a folder holds an adapter: it would be left out, or put on weights that are elsewhere."""
    try:
        found = (folder / "adapter_config.json").is_file()
    except OSError:
        found = False
    if found:
        alone = not (folder / "config.json").is_file()
        raise fail(
            "E665",
            f"{shown_path(folder)} holds an adapter" + (", and no network" if alone else " beside the network"),
            span,
            notes=(
                "it has an adapter_config.json, as peft writes it",
                "an adapter alone holds only a change to the weights of another checkpoint"
                if alone
                else "it is unclear whether the weights already include it",
            ),
            help='name the network that it was trained on, and the adapter: hf("base", adapter="folder")'
            if alone
            else 'keep the two apart, and name both: hf("base", adapter="folder")',
        )


#: How transformers calls classes that read no tokens.
_NO_TEXT = re.compile(r"For(?:Image|Object|Video|Audio|Semantic|Instance|Universal|Depth|MaskedImage|CTC|XVector)\w*$")


def _refuse_other_kinds(config: Mapping[str, Any], span: Span) -> None:
    """Raise E648 for a checkpoint whose class, by its name, reads pictures or sound."""
    named = config.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    if names and all(_NO_TEXT.search(name) for name in names):
        raise fail(
            "E648",
            f"`{names[0]}` is not a language model",
            span,
            notes=("config.json says that this class was saved",),
            help='a network from floats to logits can be given as torch("file.py:factory")',
        )


def _read(folder: Path, span: Span) -> Facts:
    check_own(folder, span)
    refuse_adapter(folder, span)
    config = read_config(folder, span)
    _refuse_other_kinds(config, span)
    return facts_of_config(config, folder, span)


def _size(config: Mapping[str, Any], size: str, record: Architecture | None, family: str, span: Span) -> int | None:
    if size == "head" and record is not None and record.computed_head:
        return None
    if size == "embed" and (record is None or record.called(size) is None):
        return None
    for key in SIZES[size]:
        if key not in config:
            continue
        value = config[key]
        if value is None and size in ("kv", "head", "mlp"):
            return None
        if record is None and isinstance(value, list):
            return None  # a size of each layer
        return _checked(key, value, 1, _LARGEST.get(size, _LARGEST_OTHER), span)
    if record is None:
        said = decoders().get(family, {})
        return next((said[name] for name in SIZES[size] if name in said), None)
    default: int | None = record.said.get(record.called(size) or "")
    return default


def _checked(key: str, value: Any, smallest: int, largest: int, span: Span) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
        raise fail(
            "E632",
            f"`{key}` in config.json cannot be {value!r:.60}",
            span,
            notes=(f"it must be a whole number from {smallest} to {largest}",),
        )
    return value


def _inner(config: Mapping[str, Any], record: Architecture | None, span: Span) -> int | None:
    """The inner numbers of the experts that a token goes through; E632 where the config has no such numbers."""
    if record is None or record.inner is None:
        return None

    reads = record.reads(config)

    def get(name: str) -> int:
        return _checked(name, reads(name), 1, _LARGEST_OTHER, span)

    found: int = record.inner(get)
    return found


def _activation(config: Mapping[str, Any], record: Architecture | None) -> str:
    """The activation of the MLP, by its name in transformers; empty where neither the config nor its class says one."""
    said = {} if record is None else record.said
    for names in (config, said):
        for name in ACTIVATIONS:
            if isinstance(found := names.get(name), str):
                return found
    return ""


def _experts(config: Mapping[str, Any], record: Architecture | None, span: Span) -> int | None:
    """How many experts a layer has; E632 where the config has no such number."""
    if record is None or record.count is None:
        return None
    count = record.count(record.reads(config))
    return None if count is None else _checked("num_experts", count, 1, _LARGEST_OTHER, span)


def _dense(config: Mapping[str, Any], record: Architecture | None, layers: int | None) -> tuple[int, ...]:
    """The layers of a mixture of experts that have none."""
    if record is None or record.dense is None or not layers:
        return ()
    try:
        return record.dense(record.reads(config))
    except (TypeError, ValueError):
        return ()  # transformers tells what is wrong as it reads the config


def _first_position(config: Mapping[str, Any], record: Architecture | None, span: Span) -> int:
    if record is None or not record.late:
        return 0
    padding = config.get("pad_token_id", record.said.get("pad_token_id"))
    return _checked("pad_token_id", padding, 0, _LARGEST_OTHER, span) + 1


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
