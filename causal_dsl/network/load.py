"""Networks into memory: a Hugging Face checkpoint, or what a user's Python function makes. Every failure is a
diagnostic.

Weights are read from safetensors; a pickle checkpoint and a user's Python file can run anything, so they need ``--trust``.
Code that a checkpoint brings with it, or names, is never run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from causal_dsl.base.faults import foreign
from causal_dsl.base.garbage import importing
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Span, SpecError, did_you_mean, fail, shown_path
from causal_dsl.network.adapted import PutOn, put_on
from causal_dsl.network.checkpoint_audit import audit_weights
from causal_dsl.network.checkpoints import check_memory, check_streamed, check_weights, note_files, weight_files
from causal_dsl.network.classifier import token_classifier
from causal_dsl.network.compare import told
from causal_dsl.network.factory import call_factory
from causal_dsl.network.factory_audit import drawn_weights, seeded
from causal_dsl.network.made import load_made, loaded_facts
from causal_dsl.network.network import Network
from causal_dsl.network.proof import Proof
from causal_dsl.network.prove import prove
from causal_dsl.network.quantised import check_library, unusable
from causal_dsl.network.quiet import quiet
from causal_dsl.network.shard_group import ShardedLayers, ShardGroup, shard_group
from causal_dsl.network.stream.streamed_model import open_sharded, open_streamed
from causal_dsl.network.stream.weight_stream import WeightStream
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.adapters import adapter_folder, judge_base, read_adapter, refuse_misfit
from causal_dsl.program.facts import cached_folder, facts_of_config, local_folder, read_config, refuse_adapter
from causal_dsl.program.tokens import Tokens
from causal_dsl.store.reading import check_own
from causal_dsl.vocabulary.network_facts import Facts

__all__ = ["CheckpointReference", "Network", "Proof", "load", "load_folder", "prove", "wrap"]

#: What ``dtype=`` may be.
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


#: What the files of a tokenizer are called, of whatever kind it is.
_TOKENIZER_FILES = ("*token*", "*vocab*", "merges.txt", "*.model", "*.tiktoken", "*.spm")


@dataclass(frozen=True)
class CheckpointReference:
    """The name in a network declaration. ``name`` is a folder or a hub name (``hf``), or ``file.py:factory``
    (``torch``); ``base`` the spec's folder, against which paths are taken; ``weights`` a safetensors file, ``tokenizer`` a file or
    folder (``torch``), ``arguments`` what the factory is called with, ``said`` its vocabulary and its layout."""

    kind: Literal["hf", "torch"]
    name: str
    base: Path = Path()
    revision: str | None = None
    weights: str | None = None
    tokenizer: str | None = None
    arguments: tuple[tuple[str, Any], ...] = ()
    said: tuple[tuple[str, Any], ...] = ()
    #: of a checkpoint: the folder or the repository of an adapter, whether it is merged, and whether another base is meant
    adapter: str | None = None
    merged: bool = True
    elsewhere: bool = False
    #: of a checkpoint: its weights stay in their files, and are read as they are needed
    stream: bool = False
    #: of a checkpoint: the processes of a group share its weights out
    shard: bool = False


def load(
    facts: Facts | None,
    reference: CheckpointReference,
    device: str | None = None,
    dtype: str | None = None,
    trust: bool = False,
    span: Span = NOWHERE,
    name: str = "",
) -> Network:
    """Load what ``reference`` names and prove its sites.

    ``device``: default a GPU where there is one, else the CPU. ``dtype``: default float32 on the CPU, else what the
    checkpoint says. ``facts`` as ``check`` knew them: what is loaded must agree. Raises :class:`SpecError` (E630 to
    E649) for whatever goes wrong.
    """
    where = device_of(device, span)
    kind = dtype_of(dtype, span)
    if kind is None and where.type == "cpu":
        kind = torch.float32
    with _memory(span):
        if reference.kind == "torch":
            with seeded() as draws:
                network = load_made(
                    reference.name,
                    reference.base,
                    reference.weights,
                    reference.tokenizer,
                    where,
                    kind,
                    trust,
                    span,
                    name,
                    dict(reference.arguments),
                    dict(reference.said),
                )
            if reference.weights is None:
                function = reference.name.rpartition(":")[2]

                def again() -> nn.Module:
                    return call_factory(reference.name, reference.base, span, dict(reference.arguments))[0]

                network = replace(network, warnings=drawn_weights(again, network.model, draws, function, span))
        else:
            network = _load_hub_or_folder(reference, where, kind, trust, span, name, spread=device == "auto")
    if facts is not None and facts.kind == network.facts.kind:
        _check_facts(facts, network, span)
    prove(network)
    return network


def device_of(device: str | None, span: Span) -> torch.device:
    """The device of a name (``cpu``, ``cuda``, ``cuda:1``, ``mps``); None: the first GPU, else the CPU. Raises E645.

    ``auto`` spreads the layers over what there is: its device is the first GPU, else the CPU.
    """
    if device in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except Exception as error:
        raise fail(
            "E645",
            f"there is no device `{device}` here",
            span,
            notes=(told(error),),
            help="this machine has `cpu`" + (" and `cuda`" if torch.cuda.is_available() else ""),
        ) from error
    if found.type == "meta":
        raise fail("E645", "`meta` is not a device to run on", span, help="this machine has `cpu`")
    return found


def dtype_of(dtype: str | None, span: Span) -> torch.dtype | None:
    """The dtype of a name; None for None and ``auto``. Raises E647."""
    if dtype in (None, "auto"):
        return None
    if dtype not in DTYPES:
        raise fail("E647", f"there is no dtype `{dtype}`", span, help=did_you_mean(str(dtype), [*DTYPES, "auto"]))
    return DTYPES[dtype]


# ── Hugging Face ────────────────────────────────────────────────────────────────────────────────


def _load_hub_or_folder(
    reference: CheckpointReference,
    device: torch.device,
    dtype: torch.dtype | None,
    trust: bool,
    span: Span,
    name: str,
    spread: bool,
) -> Network:
    folder = local_folder(reference.name, reference.base) or cached_folder(reference.name, reference.revision)
    if folder is None:
        folder = _fetch(reference.name, reference.revision, trust, span)
    put = None if reference.adapter is None else _adapter(reference, reference.adapter, folder, trust, span)
    return load_folder(folder, device, dtype, trust, span, name, spread, put, reference.stream, reference.shard)


def _adapter(reference: CheckpointReference, adapter: str, network: Path, trust: bool, span: Span) -> PutOn:
    """The adapter that a reference names, its base judged as `check` does it: here all files are at hand."""
    known = adapter_folder(adapter, reference.base, span)
    folder = known or _fetch(adapter, None, trust, span)
    facts = facts_of_config(read_config(network, span), network, span)
    settings = {"revision": reference.revision, "elsewhere": reference.elsewhere}
    config = read_adapter(folder, span)
    refuse_misfit(folder, facts, span)
    said = judge_base(config, folder, reference.name, settings, reference.base, facts, span)
    return PutOn(folder, reference.merged, () if known else tuple(said))  # of a known one `check` said it


def load_folder(
    folder: Path,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    trust: bool = False,
    span: Span = NOWHERE,
    name: str = "",
    spread: bool = False,
    adapter: PutOn | None = None,
    stream: bool = False,
    shard: bool = False,
) -> Network:
    """The checkpoint of a local folder, with an adapter on it; nothing is proved yet. ``dtype`` None: what the checkpoint says.

    ``spread``: its layers go where there is room, over several devices (``device_map="auto"`` of transformers).
    ``stream``: its weights stay in their files, and are read layer by layer as they are needed. ``shard``: the processes of a
    group (:func:`causal_dsl.network.shard_group.shard_group`) share them out; alone, this one has them whole.
    """
    device = device or torch.device("cpu")
    check_own(folder, span, trust)
    refuse_adapter(folder, span)
    config = read_config(folder, span)
    facts = facts_of_config(config, folder, span)
    _check_code(config, span)
    _refuse_parallel(config, span)
    method = check_library(config, span)
    held = "weights=stream" if stream else "shard=auto" if shard else ""
    check_weights(folder, trust, span, held)
    note_files(folder)
    group = shard_group(device.type) if shard else None
    if group is not None:
        device = group.device
    if held:
        check_streamed(folder, method, held, span)
    if shard:
        _refuse_alone(group, device, span)
    elif not spread and not stream:
        check_memory(folder, config, device, dtype, span)
    with quiet() as heard:
        import transformers
        from transformers import AutoConfig

        if (
            "transformers.modeling_utils" not in sys.modules
        ):  # so no network is there yet, which would be kept with them
            with importing():
                import transformers.modeling_utils
        settings: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        try:
            parsed = AutoConfig.from_pretrained(folder, **settings)
        except Exception as error:
            raise fail(
                "E632", f"transformers cannot read the config of {shown_path(folder)}", span, notes=(told(error),)
            ) from error
        if getattr(parsed, "is_encoder_decoder", False):
            raise _two_texts(str(parsed.model_type), span)
        which = "SequenceClassification" if facts.labels else "MaskedLM" if facts.masked else _reads(parsed, config)
        kind: Any = getattr(transformers, f"AutoModelFor{which}")
        if type(parsed) not in kind._model_mapping:
            raise fail(
                "E648",
                f"`{facts.architecture}` is not a language model that transformers can load",
                span,
                notes=("it has no class that maps token ids to the logits of the next token, or of a masked one",),
                help=_WRAP,
            )
        source: WeightStream | None = None
        sharded: ShardedLayers | None = None
        try:
            if stream:
                model, report, source = open_streamed(
                    kind, parsed, weight_files(folder), device, dtype, span, **settings
                )
            elif shard:
                model, report, sharded = open_sharded(
                    kind, parsed, weight_files(folder), group, device, dtype, span, **settings
                )
            else:
                loaded: Any = kind.from_pretrained(
                    folder,
                    config=parsed,
                    dtype=dtype or "auto",
                    use_safetensors=None if trust else True,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # the report below names them
                    device_map="auto" if spread else None,
                    **settings,
                )
                model, report = loaded[0] if spread else loaded[0].to(device), loaded[1]
        except (MemoryError, torch.OutOfMemoryError, SpecError):
            raise
        except Exception as error:
            if method is not None:
                raise unusable(method, told(error), span) from error
            raise _load_fault(error, folder, span) from error
    if which == "MultimodalLM":
        _refuse_without_pictures(model, facts.architecture, span)
    warnings = audit_weights(model, report, config, folder, heard, span)
    if adapter is not None:
        model, more = put_on(model, adapter, trust, span)
        warnings = (*warnings, *more)
    tokens = Tokens.from_folder(folder, span) or _converted_tokens(folder, span)
    known = loaded_facts(model, facts)
    if facts.labels:
        model, known = token_classifier(model, known, span)
    network = wrap(model, known, tokens, name or folder.name, span)
    notes = () if method is None else (f"its weights are quantised by {method}, and are run as its library runs them",)
    if source is not None:
        notes = (*notes, "its weights stay in their files, and are read layer by layer as they are needed")
    if group is not None:
        notes = (*notes, f"each layer's weights are shared out over {group.size} processes")
    elif shard:
        notes = (*notes, "there is one process, so nothing is shared out")
    return replace(network, warnings=warnings, notes=(*network.notes, *notes), stream=source, sharded=sharded)


def _refuse_alone(group: ShardGroup | None, device: torch.device, span: Span) -> None:
    """Raise E947 where weights are to be shared out over several GPUs, and there is one process."""
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if group is not None or count < 2:
        return
    raise fail(
        "E947",
        f"there are {count} GPUs, and one process to share weights out to",
        span,
        notes=("`shard=auto` takes one process a GPU, and `torchrun` starts them",),
        help=f"torchrun --nproc-per-node {count} -m causal_dsl.tools.cli run FILE; of one GPU alone, leave `shard=auto` out",
    )


def _reads(parsed: Any, config: dict[str, Any]) -> str:
    """Which of the classes of transformers a checkpoint is loaded as: of one that reads pictures or sound as well as text the
    whole, where that was saved or nothing smaller is there. It is given tokens alone."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MULTIMODAL_LM_MAPPING

    if type(parsed) not in MODEL_FOR_MULTIMODAL_LM_MAPPING:
        return "CausalLM"
    named, whole = config.get("architectures"), MODEL_FOR_MULTIMODAL_LM_MAPPING[type(parsed)]
    saved = isinstance(named, list) and getattr(whole, "__name__", "") in named
    return "MultimodalLM" if saved or type(parsed) not in MODEL_FOR_CAUSAL_LM_MAPPING else "CausalLM"


#: How a network that is no language model of transformers is run all the same.
_WRAP = 'wrap it in a module from token ids to logits, torch("file.py:build", tokenizer="folder"), and name its sites as module("…")'


@torch.no_grad()
def _refuse_without_pictures(model: nn.Module, architecture: str, span: Span) -> None:
    """Raise E648 for a network that cannot be run on a text alone."""
    getter: Any = model.get_input_embeddings
    try:
        weight = getter().weight
        with foreign:
            model(input_ids=torch.arange(4, 8, device=weight.device)[None])
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise fail(
            "E648",
            f"`{architecture}` cannot be run on text alone",
            span,
            notes=(told(error),),
            help=_WRAP,
        ) from error


def _two_texts(model_type: str, span: Span) -> SpecError:
    return fail(
        "E648",
        f"`{model_type}` has an encoder and a decoder: it reads one text and writes another",
        span,
        notes=("causal_dsl runs networks that read one sequence of tokens and predict the next one, or a masked one",),
        help="give a network that predicts the next token from token ids alone",
    )


def _fetch(name: str, revision: str | None, trust: bool, span: Span) -> Path:
    """A repository from the hub into the local cache; raises E634 where that cannot be."""
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    if trust:
        patterns += ["*.bin"]
    try:
        from huggingface_hub import snapshot_download

        with quiet():
            found = snapshot_download(name, revision=revision, allow_patterns=patterns)
        return Path(found)
    except Exception as error:
        raise fail(
            "E634",
            f"cannot get `{name}` from the Hugging Face hub",
            span,
            notes=(told(error), "there is no folder of that name, and no copy in the local cache"),
            help="fetch it elsewhere and pass the folder: --network NAME=PATH",
        ) from error


def _check_code(config: dict[str, Any], span: Span) -> None:
    """A model type of its own comes with code, and a kernel is fetched. Nothing in a config makes such code run: that a spec is trusted
    says of its own Python that it may, and nothing of what a checkpoint names."""
    parts = [config]
    while parts:
        part = parts.pop()
        for key, value in part.items():
            parts += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
            if key.endswith("_implementation") and isinstance(value, str) and "/" in value:
                raise fail(
                    "E636",
                    f"config.json takes code from `{value[:80]}`",
                    span,
                    notes=(f"`{key}` names a repository whose kernel would be fetched and run",),
                    help=f"take `{key}` out of config.json",
                )
    if "auto_map" not in config:
        return
    from transformers import CONFIG_MAPPING

    if config.get("model_type") not in CONFIG_MAPPING:
        raise fail(
            "E636",
            f"`{config.get('model_type', 'this network')}` is code that comes with the checkpoint",
            span,
            notes=("such code can do anything on this machine, so a config alone never makes it run",),
            help="read the .py files of the checkpoint, then return the network from a function of your own: "
            'torch("file.py:function") with --trust',
        )


def _refuse_parallel(config: dict[str, Any], span: Span) -> None:
    """Raise E945 for a config that splits the network within its layers."""
    said = config.get("distributed_config")
    if said:
        raise fail(
            "E945",
            "config.json splits the network over devices within its layers",
            span,
            notes=("half of a site looks like a whole one, so reads and writes there would mean something else",),
            help="take `distributed_config` out of config.json; `shard=auto` shares the weights out and keeps sites whole",
        )


def _load_fault(error: Exception, folder: Path, span: Span) -> SpecError:
    said = told(error)
    if "shape" in str(error) or "size mismatch" in str(error):
        return fail("E640", f"the weights in {shown_path(folder)} do not fit its config", span, notes=(said,))
    if type(error).__name__ == "SafetensorError" or "safetensors" in str(error).lower():
        return fail("E641", f"cannot read the weights in {shown_path(folder)}", span, notes=(said,))
    return fail(
        "E644",
        f"cannot load the network in {shown_path(folder)}",
        span,
        notes=(said,),
        help="is transformers recent enough for the network, and is everything installed that it needs?",
    )


def _converted_tokens(folder: Path, span: Span) -> Tokens:
    """The tokenizer as transformers makes it of older files; raises E643 where there is none."""
    if not any(path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
        raise fail(
            "E643",
            f"{shown_path(folder)} holds no tokenizer",
            span,  # transformers makes an empty one for some types
            notes=("positions are found by the tokenizer.json of a fast tokenizer",),
            help="put the checkpoint's tokenizer.json beside its config.json",
        )
    try:
        with quiet():
            from transformers import AutoTokenizer

            made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return Tokens(made.backend_tokenizer, made.mask_token)
    except Exception as error:
        raise fail(
            "E643",
            f"{shown_path(folder)} holds no tokenizer that can be read",
            span,
            notes=(told(error), "positions are found by the tokenizer.json of a fast tokenizer"),
            help="put the checkpoint's tokenizer.json beside its config.json",
        ) from error


def _check_facts(expected: Facts, network: Network, span: Span) -> None:
    """Whatever ``check`` relied on must be what was loaded."""
    inferred = (
        network.facts.record is not None
    )  # a config of which little is known may call other things by these names
    for size in ("layers", "width") if inferred else ("layers", "heads", "kv_heads", "head_dim", "width", "mlp_width"):
        before, now = getattr(expected, size), getattr(network.facts, size)
        if before is not None and now is not None and before != now:
            raise fail(
                "E640", f"the network has {now} {size.replace('_', ' ')}, not {before} as its config.json says", span
            )
    if network.layout is not None and network.facts.layers != len(network.layers):
        raise fail("E640", f"the network has {len(network.layers)} layers, not {network.facts.layers}", span)


@contextmanager
def _memory(span: Span) -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise fail(
            "E642",
            "there is not enough memory for the network",
            span,
            notes=(told(error),),
            help="use a smaller dtype (dtype=bfloat16), another device, or a smaller network",
        ) from error
