"""From what leaves the last layer of a pass to logits: of the rows and columns that are asked for, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import fail
from causal_dsl.network.forward import unembedding
from causal_dsl.network.network import Network
from causal_dsl.network.sending import sent
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.sweep.thin import linear
from causal_dsl.network.tape import Tape
from causal_dsl.planning.liveness import Schedule


@dataclass(frozen=True, eq=False)
class ReadRows:
    """Rows whose logits are wanted at ``positions``, both [m], and of the vocabulary which ``columns`` (None: all)."""

    rows: np.ndarray
    positions: np.ndarray
    columns: np.ndarray | None = None


class Head:
    """Takes the unembedding of a model apart: what it is given is replaced by the tokens that are asked for.

    What a model does to logits (a scale, a soft cap) it does to each number alone, so ours pass through it as one line
    of numbers, whichever columns they are of; that this is so is proved at load.
    """

    def __init__(self, network: Network, plan: Schedule, asked: list[ReadRows], tape: Tape):
        self.network, self.plan, self.asked, self.tape = network, plan, asked, tape
        self.late: list[tuple[bool, int, np.ndarray, np.ndarray]] = []
        self.rows = 0
        self.module = unembedding(network)
        self.given: list[Tensor] = []
        self.shapes: list[tuple[int, int]] = []
        self.every: np.ndarray | None = None

    def hook(self, stack: ExitStack, watched: bool) -> None:
        """Let the unembedding see only what is asked for, unless something is read or written in it (``watched``)."""
        if self.module is None or watched:
            return
        stack.callback(self.module.register_forward_pre_hook(self._before).remove)
        stack.callback(self.module.register_forward_hook(self._after).remove)

    def _places(self) -> list[np.ndarray]:
        level = len(self.plan.levels) - 1
        found = [self.plan.find(level, a.rows, a.positions) for a in self.asked]
        found += [self.plan.find(level, rows, places) for _, _, rows, places in self.late]
        assert all((f >= 0).all() for f in found), "a row is asked for that does not reach the end"
        return found

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        hidden = args[0].reshape(-1, args[0].shape[-1])
        if self._narrow(module):
            self.given = [hidden]
            return (hidden[None, :0], *args[1:])
        every = np.unique(np.concatenate([*self._places(), np.zeros(1, np.int64)]))
        self.every = every
        return (hidden.index_select(0, _on(every, hidden))[None], *args[1:])

    def _narrow(self, module: nn.Module) -> bool:
        """Whether the unembedding can be asked for some of its columns."""
        plain = type(module) is nn.Linear and module.weight.device.type != "meta"
        only = len(module._forward_hooks) == 1 and len(module._forward_pre_hooks) == 1
        return plain and only and not self.late

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Any:
        if not self.given:
            return None
        hidden, weight, bias = self.given[0], module.weight, module.bias
        parts: list[Tensor] = []
        self.shapes = []
        for columns, places in _together(self.asked, self._places()):
            rows = hidden.index_select(0, _on(np.concatenate(places), hidden))
            if columns is None:
                parts.append(linear(rows, weight, bias))
            else:
                index = _on(columns, weight)
                part = None if bias is None else bias.index_select(0, index)
                parts.append(functional.linear(rows, weight.index_select(0, index), part))
            self.shapes += [(len(place), parts[-1].shape[1]) for place in places]
        if len(parts) == 1:
            return parts[0].reshape(1, 1, -1)
        return torch.cat([part.reshape(-1) for part in parts])[None, None] if parts else output

    def logits(self, result: object) -> list[Tensor]:
        """The logits of everything that was asked for, after the reads and writes of logits themselves."""
        given = getattr(result, "logits", result)
        found: Tensor = given[0] if isinstance(given, tuple) else given
        if self.given:
            if not self.asked:
                return []
            flat = found.reshape(-1)
            sizes = [rows * columns for rows, columns in self.shapes]
            return [part.view(shape) for part, shape in zip(flat.split(sizes), self.shapes, strict=True)]
        places = self._places()
        if self.every is None:
            flat = found.reshape(-1, found.shape[-1])
        else:
            flat = found[0]
            places = [np.searchsorted(self.every, place) for place in places]
        self._refuse_fewer(len(flat), places)
        own, late = places[: len(self.asked)], places[len(self.asked) :]
        flat = self._late(flat, late)
        picked = [flat.index_select(0, _on(place, flat)) for place in own]
        return [
            rows if asked.columns is None else rows.index_select(1, _on(asked.columns, rows))
            for rows, asked in zip(picked, self.asked, strict=True)
        ]

    def _refuse_fewer(self, rows: int, places: list[np.ndarray]) -> None:
        """Refuse a network whose logits are not of the rows that left its last layer: another way leads around it."""
        needed = max((int(place.max(initial=-1)) for place in places), default=-1)
        if needed >= rows:
            raise fail(
                "E423",
                "the logits are not those of the rows that leave the last layer",
                self.network.span,
                notes=(f"there are {rows}, and more left the layer",),
            )

    def _late(self, flat: Tensor, places: list[np.ndarray]) -> Tensor:
        """Reads of prompts' logits first, then writes."""
        order = sorted(range(len(self.late)), key=lambda i: (self.late[i][0], i))
        for i in order:
            writing, number, _, _ = self.late[i]
            access = (self.tape.writes if writing else self.tape.reads)[number]
            tap = find_tap(self.network, access.site)
            index = _on(places[i], flat)
            columns = slice(None) if tap.columns is None else tap.columns.to(flat.device)
            rows = flat.index_select(0, index)
            if not writing:
                self.tape.store(number, rows[:, columns])
                continue
            rows = rows.clone()
            rows[:, columns] = self.tape.edited(number, rows[:, columns])
            flat = flat.index_put((index,), rows)
        return flat


def _together(asked: list[ReadRows], places: list[np.ndarray]) -> Iterator[tuple[np.ndarray | None, list[np.ndarray]]]:
    """The questions at the read-out, those after one another that want all columns as one: the unembedding is read once for them."""
    kept: list[np.ndarray] = []
    for one, place in zip(asked, places, strict=True):
        if one.columns is None:
            kept.append(place)
            continue
        if kept:
            yield None, kept
            kept = []
        yield one.columns, [place]
    if kept:
        yield None, kept


def _on(array: np.ndarray, like: Tensor) -> Tensor:
    return sent(np.ascontiguousarray(array, dtype=np.int64), like.device)
