"""Networks that a user's Python function makes: ``torch("file.py:factory", weights="x.safetensors")``.

The factory takes the arguments that the declaration gives it by name, and returns a module from floats [batch, width] to logits [batch, classes], or a language
model of transformers, alone or as ``(model, tokenizer)``: the tokenizer is one of transformers or tokenizers, or the path
of a ``tokenizer.json`` or of a folder that holds one (:mod:`causal_dsl.network.beside`).
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from causal_dsl.base.faults import foreign
from causal_dsl.diagnostics import Span, SpecError, did_you_mean, fail, real_path, shown_path
from causal_dsl.network.beside import given_tokens
from causal_dsl.network.compare import told
from causal_dsl.network.quiet import without_bars
from causal_dsl.network.wrapped import in_eval_mode, vector_layers
from causal_dsl.program.tokens import Tokens
from causal_dsl.store import reads
from causal_dsl.store.code import importing, run_file, watching
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.tensor_headers import header_fault
from causal_dsl.vocabulary.network_facts import Facts


def call_factory(
    name: str, base: Path, span: Span, arguments: Mapping[str, Any] | None = None
) -> tuple[nn.Module, Tokens | None]:
    """Import the file and call the function of ``file.py:function`` with the ``arguments``; the caller has asked for trust.

    Raises E637 (no such file), E638 (no such function), E639 (it raises, or what it returns is not a network).
    """
    file, _, function = name.rpartition(":")
    path = base / file
    if not file or not function:
        raise fail("E637", f'"{name}" does not name a function', span, help='write torch("file.py:function")')
    if not path.is_file():
        raise fail("E637", f"there is no file {shown_path(path)}", span, notes=("paths are relative to the spec",))
    # as far as it can be told before: the library takes seconds to import, and many networks do without
    loads = "transformers" in sys.modules or b"transformers" in path.read_bytes()
    with watching(path.parent), without_bars() if loads else nullcontext():
        module = _import(path, span)
        factory = getattr(module, function, None)
        if not callable(factory):
            own = [key for key, value in vars(module).items() if inspect.isfunction(value) or inspect.isclass(value)]
            help = did_you_mean(function, own)
            raise fail("E638", f"{shown_path(path)} has no function `{function}`", span, help=help)
        made = _call(partial(factory, **(arguments or {})), path, span, f"`{function}` of {shown_path(path)}")
    model, tokenizer = made if isinstance(made, tuple | list) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise _no_network(made, function, span)
    return model, given_tokens(tokenizer, (base, path.parent), span)


def _no_network(made: Any, function: str, span: Span) -> SpecError:
    """E639: what a function gives is neither a network nor a network with its tokenizer beside it."""
    help = "return a torch.nn.Module from floats [batch, width] to logits [batch, classes]"
    name = type(made).__name__
    what, parts = f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}", []
    if isinstance(made, tuple | list):
        parts, what = list(made), f"a {name} of {len(made)}"
    elif isinstance(made, Mapping):
        parts = list(made.values())
    if any(isinstance(part, nn.Module) for part in parts):
        help = "write `return model, tokenizer`, these two in this order and nothing else, or `return model`"
    else:
        help += ", or a language model of transformers: `return model, tokenizer`"
    notes = (f"it holds {', '.join(type(part).__name__ for part in parts[:6])}",) if parts else ()
    return fail("E639", f"`{function}` returns {what}, not a network", span, notes=notes, help=help)


def load_weights(model: nn.Module, path: Path, span: Span) -> None:
    """Read a safetensors file into a module. Raises E641 (missing or damaged), E640 (they do not fit)."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise fail("E641", f"there is no file {shown_path(path)}", span, notes=("paths are relative to the spec",))
    if why := header_fault(path):
        raise fail("E641", f"cannot read {shown_path(path)}", span, notes=(why,))
    try:
        reads.note(path)
        weights = load_file(path)
    except Exception as error:
        raise fail(
            "E641", f"{shown_path(path)} is damaged, or no safetensors file", span, notes=(told(error),)
        ) from error
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise fail(
            "E640", f"the weights in {shown_path(path)} do not fit the network", span, notes=tuple(lines[:3])
        ) from error


@torch.no_grad()
def vector_facts(model: nn.Module, span: Span, kind: str = "vector", dtype: torch.dtype | None = None) -> Facts:
    """The shape of a vector network, or of one of another ``kind`` that is given one row of numbers for each input, found by running
    it on zeros. Raises E639 where it cannot be run so.

    The width of its input is its attribute ``in_features``, else that of its first linear layer; the zeros are of ``dtype``, else of
    that of its weights.
    """
    with in_eval_mode(model):
        return _vector_facts(model, span, kind, dtype)


def _vector_facts(model: nn.Module, span: Span, kind: str, dtype: torch.dtype | None) -> Facts:
    linear = next((module for module in model.modules() if isinstance(module, nn.Linear)), None)
    width = getattr(model, "in_features", None) or (linear.in_features if linear is not None else None)
    if not isinstance(width, int) or width < 1:
        raise fail(
            "E639",
            "the width of the network's input is not known",
            span,
            notes=("it has no linear layer from which to infer it",),
            help="set `self.in_features` in the module",
        )
    layers = vector_layers(model)
    widths: dict[int, int] = {}

    def hook(number: int) -> Callable[..., None]:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim >= 1 and len(output):
                widths[number] = output[0].numel()  # of a row: an encoder's layer gives it several vectors

        return keep

    given: dict[str, tuple[int, Any]] = {}  # what each module gives, and how often it ran

    def see(path: str) -> Callable[..., None]:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            given[path] = (given.get(path, (0, None))[0] + 1, output)

        return keep

    handles = [layer.register_forward_hook(hook(number)) for number, layer in enumerate(layers)]
    handles += [module.register_forward_hook(see(path)) for path, module in model.named_modules() if path]
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(1))
    try:
        with foreign:
            output = model(torch.zeros(2, width, dtype=dtype or first.dtype, device=first.device))
    except Exception as error:
        raise fail(
            "E639",
            f"the network cannot be run on floats [batch, {width}]",
            span,
            notes=(told(error),),
            help="a vector network takes one float tensor [batch, width] and gives logits [batch, classes]; for a network of "
            'tokens say which they are: vocabulary=["a", "b", …], or tokenizer="…"',
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or output.shape[0] != 2:
        found = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise fail("E639", "the network does not give logits [batch, classes]", span, notes=(f"it gives {found}",))
    known = tuple(widths[number] for number in range(len(layers)) if number in widths)
    complete = len(known) == len(layers)
    paths = {id(module): path for path, module in model.named_modules()}
    layer_of = {
        id(given[path][1]): n
        for n, layer in enumerate(layers)
        if given.get(path := paths.get(id(layer), ""), (0,))[0] == 1
    }
    same = tuple(
        (path, layer_of[id(found)]) for path, (times, found) in given.items() if times == 1 and id(found) in layer_of
    )
    return Facts(
        kind,
        architecture=type(model).__name__,
        layers=len(layers),
        widths=(width, *known) if complete else (width,),
        classes=int(output.shape[1]),
        same=same,
    )


def _import(path: Path, span: Span) -> ModuleType:
    name = f"causal_dsl_user_{of_bytes(str(real_path(path)).encode('utf-8', 'surrogatepass'))[:16]}"
    if path.suffix != ".py":
        raise fail("E637", f"{shown_path(path)} is not a Python file", span)
    with importing([path.parent]):
        module: ModuleType = _call(lambda: run_file(path, name), path, span, shown_path(path))
    return module


def _call(function: Callable[[], Any], path: Path, span: Span, what: str) -> Any:
    try:
        with foreign:
            return function()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
        line = line or (frames[-1].lineno if frames else None)
        where = f" at line {line}" if line else ""
        raise fail("E639", f"{what} raises an exception{where}", span, notes=(told(error),)) from error
