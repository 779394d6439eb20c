"""Does a network give the same numbers for the same input, whatever else is in the batch? Tried on the inputs at hand.

An intervention is told by what it changes. Where the numbers change by themselves, or with the other rows of a batch,
a score is of the dice, or of how rows were put together. A network is in eval mode by then; what still draws, remembers
or looks at its neighbours is refused, with the reason where it can be told.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.counter import Stream
from causal_dsl.diagnostics import Span, SpecError, fail
from causal_dsl.inputs.protocol import InputRows, pick
from causal_dsl.network.compare import told
from causal_dsl.network.forward import SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.program.components import leaving
from causal_dsl.vocabulary.locations import Site

#: The largest relative difference between two runs of one batch, and between a row alone and in a batch.
_AGAIN = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}
_BATCH = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 3e-1}
_ALONE = 8
#: How many rows a batch is filled up to: some networks look at their neighbours from a number of rows on. At least _LEAST
#: where a network has less than _SMALL parameters, and more as far as a run of them stays short.
_LEAST = 16
_SMALL, _WORK, _TOKENS = 50_000_000, 2e10, 16_384


@torch.no_grad()
def refuse_unsteady(network: Network, inputs: InputRows, span: Span) -> None:
    """Raise E663 where the same batch gives other numbers a second time, E664 where a row alone gives others than in it.

    ``inputs``: a few of those that will be run, token ids or vectors [rows, width]; they are repeated to fill a
    batch (:func:`enough`), and where memory does not suffice they are tried as they are, and then two of them.
    """
    few = inputs[:2]
    for some, rows in ((inputs, enough(network, inputs)), (inputs, 2), (few, 2)):
        with suppress(MemoryError, torch.OutOfMemoryError):  # the run itself goes on in halves, or tells of it
            _refuse_unsteady(network, some, rows, span)
            return


def enough(network: Network, inputs: InputRows) -> int:
    """How many rows a batch should have in which neighbours would show, given what a run of them takes."""
    longest = int(network.given.lengths_of(inputs).max(initial=1))
    size = max(1, sum(p.numel() for p in network.model.parameters()))
    if size >= _SMALL:
        return 2
    return max(_LEAST, min(network.given.filled, int(_WORK / (size * longest)), _TOKENS // longest))


def _refuse_unsteady(network: Network, inputs: InputRows, rows: int, span: Span) -> None:
    """``rows``: the number that the batch is filled up to, by taking its inputs again."""
    distinct = len(inputs)
    if not distinct:
        return
    own, fault = list(range(distinct)), ""
    filled = [row % distinct for row in range(max(distinct, rows, 2))]
    alone = _spread(distinct, _ALONE)
    before = None
    try:
        before = _logits(network, inputs[:1])  # before any longer prompt was seen
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        fault = told(error)
    for taken in (filled, own if distinct > 1 else [0, 0]):  # some take no more than so many rows
        batch = pick(inputs, np.array(taken))
        try:
            first, second = _logits(network, batch), _logits(network, batch)
            break
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception:
            continue
    else:
        return  # it is told where the sites are proved, and where they are run
    if before is None:
        raise _dependent(network, f"it cannot be run on one input alone: {fault}", span)
    far = apart(first, second)
    if far > _AGAIN.get(network.dtype, 1e-2):
        raise _unsteady(network, batch, f"twice the same batch: the logits differ by {far:.1e} of their size", span)
    for row in alone:
        got = before if row == alone[0] else _logits(network, inputs[row : row + 1])
        same = first[[place for place, source in enumerate(taken) if source == row]]
        far = apart(got.expand_as(same), same)
        if far > _BATCH.get(network.dtype, 3e-1):
            note = f"an input alone, and among {len(taken)}: the logits differ by {far:.1e} of their size"
            raise _dependent(network, note, span)
    _refuse_neighbours(network, inputs, taken, first, span)
    if rows >= _LEAST:
        _refuse_meddling(network, batch, first, span)


def _refuse_neighbours(network: Network, inputs: InputRows, taken: list[int], first: Tensor, span: Span) -> None:
    """Raise E664 where inputs in another order, and in batches of other sizes, give other logits than ``first``, those of the
    batch ``taken``. A network may look at its neighbours only where they are what it looks for, so each input has many.
    Where that batch itself now gives others, it was not the order: E663."""
    place = {row: number for number, row in reversed(list(enumerate(taken)))}
    rows = sorted(place)
    known = first[[place[row] for row in rows]]
    stream = Stream("orders")
    orders = network.given.orders
    for share in orders if len(taken) >= _LEAST else orders[:1]:
        size = max(2, round(share * len(taken)))
        order = stream.below(len(rows), size) if share < 1 else stream.shuffled(np.resize(np.arange(len(rows)), size))
        try:
            got = _logits(network, pick(inputs, np.array([rows[number] for number in order])))
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception:
            continue  # some take no other number of rows
        far = apart(got, known[torch.from_numpy(order).to(known.device)])
        if not far > _BATCH.get(network.dtype, 3e-1):
            continue
        again = apart(_logits(network, pick(inputs, np.array(taken))), first)
        if again > _AGAIN.get(network.dtype, 1e-2):
            note = f"the same batch again, some runs later: the logits differ by {again:.1e} of their size"
            raise _unsteady(network, pick(inputs, np.array(taken)), note, span)
        note = f"inputs in one order, and in another among {size}: the logits differ by {far:.1e} of their size"
        raise _dependent(network, note, span)


def _refuse_meddling(network: Network, batch: Any, clean: Tensor, span: Span) -> None:
    """Raise E664 where an intervention on every second row of a batch moves the rows between: a network may look at its
    neighbours only where they are not what they are by themselves."""
    odd = torch.arange(1, len(batch), 2)
    last = torch.from_numpy(network.given.lengths_of(batch))[odd] - 1
    component = leaving(network.facts)
    for layer in sorted({0, len(network.layers) // 2}) if len(network.layers) else ():
        write = SiteWrite(Site(component, layer), odd, last, lambda old: 1.5 * old.roll(1, -1) + 0.5)
        try:
            logits = forward(network, batch, (), [write], readout=torch.arange(len(batch))).logits
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception:
            continue  # it is told where the sites are proved
        assert logits is not None
        far = apart(logits[::2], clean[::2])
        if far > _BATCH.get(network.dtype, 3e-1):
            size = f"by {far:.1e} of their size" if far < float("inf") else "in which are finite"
            raise _dependent(
                network,
                f"with an intervention at `{write.site}` of other inputs of the batch, the logits of an input differ {size}",
                span,
            )


def most_of_batch(dtype: torch.dtype) -> float:
    """The largest relative difference of an input's logits, alone and among others, that rounding explains."""
    return _BATCH.get(dtype, 3e-1)


def refused_change(network: Network, share: float) -> SpecError:
    """E663 after a run: the inputs that were run before it now give other logits, by ``share`` of their size."""
    size = f"differ by {share:.1e} of their size" if share < float("inf") else "are finite in one of the two alone"
    return fail(
        "E663",
        "the network gives different numbers for the same input",
        network.span,
        notes=(
            f"the same inputs before the run and after it: the logits {size}",
            "no number of this run can be trusted, and none is kept: a forward pass leaves state that a later one reads",
            *_left_on(network.model),
        ),
        help="make the forward a function of its input alone: no state from one call to the next",
    )


def refused_noise(network: Network, share: float, test: str) -> SpecError:
    """E664 of a run: an input that was run again gave other logits, by ``share`` of their size."""
    size = f"by {share:.1e} of their size" if share < float("inf") else "in which are finite"
    note = f"in the test `{test}` the base was patched into itself, and its logits differ {size}"
    why = "the network gives other results among other inputs, or some runs later: no number of this run can be trusted"
    return _dependent(network, note, network.span, why)


def apart(got: Tensor, expected: Tensor) -> float:
    """The largest difference of a row, relative to its size. What is not finite in both, and the same, does not count."""
    got, expected = got.double().cpu(), expected.double().cpu()
    same = (got == expected) | (got.isnan() & expected.isnan())
    finite = got.isfinite() & expected.isfinite()
    if bool((~same & ~finite).any()):
        return float("inf")
    change = torch.where(same | ~finite, 0.0, got - expected).norm(dim=-1)
    size = torch.where(finite, expected, 0.0).norm(dim=-1)
    size = size.clamp_min(max(1e-3 * float(size.max()), 1e-20)) if size.numel() else size
    return float((change / size).max()) if change.numel() else 0.0


def _spread(count: int, most: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most)).tolist()}) if count else []


def _logits(network: Network, inputs: InputRows) -> Tensor:
    logits = forward(network, inputs, readout=torch.arange(len(inputs))).logits
    assert logits is not None
    return logits


def _unsteady(network: Network, inputs: InputRows, note: str, span: Span) -> SpecError:
    """Dice or memory? With the random numbers set back, dice fall the same."""
    helps = "make the forward a function of its input alone: no random numbers, and no state from one call to the next"
    why = "a forward pass leaves state that the next one reads, or draws random numbers that `torch.manual_seed` does not control"
    if apart(_seeded(network, inputs), _seeded(network, inputs)) <= _AGAIN.get(network.dtype, 1e-2):
        why = "it draws random numbers in its forward, though `eval()` was called: with their generator reset, the logits agree"
        helps = "draw only `if self.training`, as torch.nn.Dropout does: F.dropout(x, p, training=self.training)"
    return fail(
        "E663",
        "the network gives different numbers for the same input",
        span,
        notes=(note, why, *_left_on(network.model)),
        help=helps,
    )


def _seeded(network: Network, inputs: InputRows) -> Tensor:
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        return _logits(network, inputs)


def _dependent(network: Network, note: str, span: Span, *more: str) -> SpecError:
    helps = network.given.alone
    notes = [note, *more, *_left_on(network.model)]
    norms = [name for name, module in network.model.named_modules() if _norms_by_batch(module)]
    scaled = [module for module in network.model.modules() if scales_by_length(module)]
    if norms:
        notes.append(f"`{norms[0]}` keeps no running mean, so it normalises by the current batch")
        helps = (
            "build the norm with track_running_stats=True, so that in eval mode it normalises by its running statistics"
        )
    elif scaled:
        start = _scaled_from(scaled[0])
        beyond = f" than {start} tokens" if start else ""
        notes.append(
            "its rotary angles are scaled by the longest prompt of a batch"
            + (f" where that has more{beyond}" if start else "")
        )
        helps = f"keep the prompts no longer{beyond}" if start else "keep the prompts shorter"
        helps += ", or run prompts of one length in a spec of their own"
    return fail(
        "E664",
        "the network's output for an input depends on the other inputs in the batch",
        span,
        notes=tuple(notes),
        help=helps,
    )


def _left_on(model: nn.Module) -> tuple[str, ...]:
    """Modules that are in training mode after ``eval()``: their own ``train`` holds them there."""
    names = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    return (f"`{names[0]}` is in training mode though `eval()` was called",) if names else ()


def _norms_by_batch(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is None


def scales_by_length(module: nn.Module) -> bool:
    kind = getattr(module, "rope_type", "")
    return bool({"dynamic", "longrope"} & set(kind.values() if isinstance(kind, dict) else (kind,)))


def _scaled_from(module: nn.Module) -> int | None:
    """The number of tokens beyond which rotary angles are scaled; None where it is not known."""
    said = getattr(getattr(module, "config", None), "rope_parameters", None)
    start = said.get("original_max_position_embeddings") if isinstance(said, dict) else None
    start = start if start is not None else getattr(module, "original_max_seq_len", None)
    return start if isinstance(start, int) else None


__all__ = [
    "apart",
    "enough",
    "most_of_batch",
    "refuse_unsteady",
    "refused_change",
    "refused_noise",
    "scales_by_length",
]
