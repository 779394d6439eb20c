"""An adapter of peft put on a checkpoint that was loaded: merged into its weights, or left as modules beside them.

Either way the model is one of transformers again, whose sites are proved as those of any other; and its logits are held
against those that peft gives before anything is merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Span, SpecError, fail, shown_path
from causal_dsl.network.checkpoints import tensors
from causal_dsl.network.compare import distance, told, tolerance_of
from causal_dsl.network.quiet import quiet, worth_telling
from causal_dsl.program.adapters import CONFIG, KINDS, PICKLE, WEIGHTS
from causal_dsl.store import reads
from causal_dsl.store.reading import check_own

#: The inputs on which the logits before and after a merge are compared: rows of token ids, each by itself.
_ROWS, _LENGTH = 3, 7


@dataclass(frozen=True)
class PutOn:
    """The ``folder`` of an adapter, whether it is ``merged`` into the weights, and what is to be said of it."""

    folder: Path
    merged: bool = True
    warnings: tuple[Diagnostic, ...] = ()


def put_on(model: nn.Module, adapter: PutOn, trust: bool, span: Span) -> tuple[nn.Module, tuple[Diagnostic, ...]]:
    """A model with an adapter on it, in place, and what is to be said of that.

    Raises E635 for weights in a pickle that is not trusted, E641 for damaged ones, E778 and E779 for an adapter that is not
    whole or does not fit, E782 without peft, E783 where what is merged gives other logits.
    """
    folder = adapter.folder
    _check_files(folder, trust, span)
    try:
        import peft
    except ImportError as error:
        raise fail(
            "E782",
            "an adapter needs peft, which is not installed",
            span,
            notes=(told(error),),
            help='pip install "causal-dsl[adapters]"',
        ) from error
    with quiet() as heard, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some kinds draw numbers as they are made, before the saved ones take their place
        try:
            made: Any = peft.PeftModel(
                model, peft.PeftConfig.from_pretrained(str(folder), inference_mode=True), "default"
            )
            report = made.load_adapter(str(folder), "default")
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise _fault(error, folder, span) from error
        _refuse_rest(report, folder, span)
        made.eval()
        before = _logits(made)
        try:
            if adapter.merged:
                whole: nn.Module = made.merge_and_unload(safe_merge=True)
            else:
                whole = _inside(made)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise _unlike(adapter, told(error), span) from error
    kind = next(p.dtype for p in whole.parameters() if p.is_floating_point())
    _refuse_unlike(before, _logits(whole), 10 * tolerance_of(kind), adapter, span)
    return whole, (*adapter.warnings, *_said(heard, span))


def _check_files(folder: Path, trust: bool, span: Span) -> None:
    """The weights of an adapter: safetensors where they are there, else a pickle that is trusted; what is read is noted."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        weights = folder / PICKLE
        if not trust:
            raise fail(
                "E635",
                f"the weights of the adapter in {shown_path(folder)} are a pickle, {PICKLE}",
                span,
                notes=("a pickle can run any code when it is read",),
                help="save it again with peft, which writes safetensors, or run with --trust",
            )
    check_own(folder, span, trust, [CONFIG, weights.name])
    if weights.suffix == ".safetensors":
        tensors(weights, span)
    for path in (folder / CONFIG, weights):
        reads.note(path)


def _fault(error: Exception, folder: Path, span: Span) -> SpecError:
    said = str(error)
    if "size mismatch" in said or "not found in the base model" in said:
        return fail(
            "E779",
            f"the adapter in {shown_path(folder)} belongs to another network",
            span,
            notes=(told(error) if "not found" in said else f"{type(error).__name__}: {_mismatch(said)}",),
            help="put it on the network that it was trained on",
        )
    return fail(
        "E778",
        f"peft cannot load the adapter in {shown_path(folder)}",
        span,
        notes=(told(error),),
        help="is the download whole, and is peft recent enough for the adapter?",
    )


def _mismatch(said: str) -> str:
    return next((line.strip() for line in said.splitlines() if "size mismatch" in line), said)[:200]


def _refuse_rest(report: Any, folder: Path, span: Span) -> None:
    """Raise E779 for tensors of an adapter that the network has no place for, E778 for those that it lacks."""
    left = sorted(map(str, getattr(report, "unexpected_keys", ())))
    if left:
        raise fail(
            "E779",
            f"the adapter in {shown_path(folder)} belongs to another network",
            span,
            notes=(f"{_counted(left)} no place in the network: {_few(left)}",),
            help="put it on the network that it was trained on, saved with the same head",
        )
    missing = sorted(map(str, getattr(report, "missing_keys", ())))
    if missing:
        raise fail(
            "E778",
            f"{shown_path(folder)} holds no whole adapter",
            span,
            notes=(f"its {CONFIG} asks for tensors that it lacks: {_few(missing)}",),
            help="is the download whole?",
        )


def inside_of(model: nn.Module, span: Span) -> nn.Module:
    """The model of transformers in one of peft that code made, its adapters left as modules; itself, of any other model.

    Raises E778 where its adapter is no change of weights.
    """
    made: Any = model
    if type(made).__module__.partition(".")[0] != "peft" or not hasattr(made, "get_base_model"):
        return model
    kinds = sorted({str(getattr(config.peft_type, "value", "")) for config in made.peft_config.values()})
    strange = [kind for kind in kinds if kind not in KINDS]
    if strange:
        raise fail(
            "E778",
            f"the model has an adapter of the kind {strange[0]}, which cannot be merged into the weights",
            span,
            notes=(f"supported are {', '.join(KINDS)}",),
            help="return the model without it",
        )
    made.eval()
    with quiet():
        return _inside(made)


def _inside(made: Any) -> nn.Module:
    """The model of transformers, its adapters as modules in it; but copies of whole modules are put in the place of the modules,
    and what stands on the embeddings and the unembedding is merged: their weights are read by themselves, too."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    model: Any = made.get_base_model()
    getters = (getattr(model, name, None) for name in ("get_input_embeddings", "get_output_embeddings"))
    ends = {id(getter()) for getter in getters if getter is not None}
    for path, module in list(model.named_modules()):
        if isinstance(module, AuxiliaryTrainingWrapper):
            plain: Any = module.unload_and_optionally_merge_module(True, True, list(made.active_adapters))
        elif isinstance(module, BaseTunerLayer) and id(module) in ends:
            module.merge(safe_merge=True)
            plain = module.get_base_layer()
        else:
            continue
        model.set_submodule(path, plain)
    return model


@torch.no_grad()
def _logits(model: nn.Module) -> list[Tensor]:
    """The logits of a few rows of tokens, drawn from nothing but their number."""
    embedding: Any = model.get_input_embeddings()
    rows = (torch.arange(_ROWS * _LENGTH) * 7919 + 11) % int(embedding.weight.shape[0])
    device = embedding.weight.device
    where = next(model.parameters()).device if device.type == "meta" else device
    return [model(input_ids=row[None].to(where)).logits.float().cpu() for row in rows.view(_ROWS, _LENGTH)]


def _refuse_unlike(
    before: Iterable[Tensor], after: Iterable[Tensor], tolerance: float, adapter: PutOn, span: Span
) -> None:
    for one, other in zip(before, after, strict=True):
        apart = distance(other.flatten(0, -2), one.flatten(0, -2))
        if apart > tolerance:
            raise _unlike(adapter, f"logits for a few tokens differ by {apart:.2g} of their size", span)


def _unlike(adapter: PutOn, why: str, span: Span) -> SpecError:
    return fail(
        "E783",
        f"merged into the weights, the adapter in {shown_path(adapter.folder)} gives other numbers than beside them",
        span,
        notes=(why,),
        help="leave it beside them, merged=false, or run it in a wider dtype (dtype=float32)"
        if adapter.merged
        else "an adapter of embeddings that are also the unembedding cannot be told apart from them: leave it out",
    )


def _said(heard: list[str], span: Span) -> list[Diagnostic]:
    return [
        Diagnostic(
            "W663",
            "peft gives a warning when it loads this adapter",
            span,
            notes=(text,),
            help="fix the cause, or make sure that it does not affect the measurement",
        )
        for text in worth_telling(heard)
    ]


def _few(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:3]) + (", …" if len(names) > 3 else "")


def _counted(names: list[str]) -> str:
    return f"{len(names)} of its tensors {'has' if len(names) == 1 else 'have'}"


__all__ = ["PutOn", "inside_of", "put_on"]
