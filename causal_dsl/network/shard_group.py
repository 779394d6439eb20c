"""Processes that share the weights of a network out among themselves, each layer in as many parts as there are processes.

A layer's weights are gathered (FSDP2's ``fully_shard``) when the layer runs, in all processes at once, and are whole there:
what is read and written in it are whole vectors. So the processes pass through the layers together. What they compute is
the same in each of them (a proof, a fit), or, in a *turn*, each one's own block of a plan. Then one has more passes than
another, or ends a pass early: the others gather with it, and compute nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import torch
from torch import nn

from causal_dsl.diagnostics import NOWHERE, Span, SpecError, fail

#: What a process says before a pass of its own, while it has none left, and where it failed.
_PASS, _IDLE, _FAILED = 1, 0, 1_000_000


@cache
def shard_group(kind: str) -> ShardGroup | None:
    """The group of the processes that ``torchrun`` started, on devices of a ``kind`` (``cpu``, ``cuda``); None where this process
    is the only one."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from torch import distributed

    own = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = kind == "cuda"
    if on_gpu:
        torch.cuda.set_device(own)
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    return ShardGroup(torch.device("cuda", own) if on_gpu else torch.device("cpu"))


class ShardGroup:
    """All processes of ``torch.distributed``; ``rank`` of ``size`` is this one, which computes on ``device``."""

    def __init__(self, device: torch.device):
        from torch import distributed
        from torch.distributed.device_mesh import init_device_mesh

        self.device = device
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self.mesh = init_device_mesh(device.type, (self.size,))
        self.in_turn = False

    # ── what all say ────────────────────────────────────────────────────────────────────────────

    def agree(self, value: Any) -> Any:
        """The message of the first process. Raises E946 where one of them is gone."""
        from torch import distributed

        said = [value]
        with _told():
            distributed.broadcast_object_list(said, src=0)
        return said[0]

    def gather(self, value: Any) -> list[Any]:
        """The messages of all processes, in their order. Raises E946 where one of them is gone."""
        from torch import distributed

        found: list[Any] = [None] * self.size
        with _told():
            distributed.all_gather_object(found, value)
        return found

    def vote(self, word: int) -> int:
        """The sum of what all say before a pass. Raises E946 where one of them failed."""
        from torch import distributed

        said = torch.tensor([word])
        with _told():
            distributed.all_reduce(said)
        found = int(said)
        if found >= _FAILED and word != _FAILED:
            raise _failed("it says why itself")
        return found

    @contextmanager
    def turn(self, passes: Sequence[ShardedLayers]) -> Iterator[None]:
        """Within it a process runs what is its own, and after it gathers with the others until all are done."""
        self.in_turn = True
        try:
            yield
            while self.vote(_IDLE):
                for layers in passes:
                    layers.gather_from(0)
        except BaseException as error:
            if is_lost(error):
                raise _failed(str(error)[:200]) from error
            if not _is_of_another(error):
                with suppress(SpecError):  # what failed here is told, whoever else is gone
                    self.vote(_FAILED)
            raise
        finally:
            self.in_turn = False


def _failed(why: str) -> SpecError:
    return fail(
        "E946",
        "another process of the group failed, or is gone",
        NOWHERE,
        notes=(why, "the processes of a group pass through the layers together, so none goes on alone"),
        help="its own message says more; run again once the cause is fixed",
    )


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process is not there any more."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if is_lost(error):
            raise _failed(str(error)[:200]) from error
        raise


def _is_of_another(error: BaseException) -> bool:
    return isinstance(error, SpecError) and error.diagnostics[0].code == "E946"


class ShardedLayers:
    """The layers of a network whose weights the processes of a ``group`` share out."""

    def __init__(self, group: ShardGroup):
        self.group = group
        self.layers: list[Any] = []
        self._next = 0

    def add(self, layer: nn.Module) -> None:
        """Share out the weights of a layer, which are whole before in every process; what is not this one's part is let go."""
        from torch.distributed.fsdp import fully_shard

        fully_shard(layer, mesh=self.group.mesh, reshard_after_forward=True)
        number = len(self.layers)
        self.layers.append(layer)
        layer.register_forward_pre_hook(lambda *_: self._met(number))
        for module in layer.modules():
            if any(True for _ in module.parameters(recurse=False)):
                self._whole_when_run(layer, module)

    def follow(self, model: nn.Module) -> None:
        """Let every pass through a model meet all layers, whatever ends it."""
        model.register_forward_pre_hook(lambda *_: self._begin(), prepend=True)
        model.register_forward_hook(lambda *_: self._end(), always_call=True)

    def gather_from(self, first: int) -> None:
        """Gather the layers from one on with the processes that run them."""
        with _told():
            for layer in self.layers[first:]:
                layer.unshard()
                layer.reshard()

    def _begin(self) -> None:
        self._next = 0
        if self.group.in_turn:
            self.group.vote(_PASS)

    def _met(self, number: int) -> None:
        self._next = max(self._next, number + 1)

    def _end(self) -> None:
        for layer in self.layers:
            layer.reshard()  # one in which the pass ended is whole still
        self.gather_from(self._next)
        self._next = len(self.layers)

    def _whole_when_run(self, layer: Any, module: nn.Module) -> None:
        """Gather a layer also where one of its modules is run by itself, as the proof at load does."""
        from torch.distributed.tensor import DTensor

        gathered: list[bool] = []

        def before(*_: Any) -> None:
            apart = any(isinstance(own, DTensor) for own in module.parameters(recurse=False))
            gathered.append(apart)
            if apart:
                layer.unshard()

        def after(*_: Any) -> None:
            if gathered.pop():
                layer.reshard()

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after, always_call=True)


def refuse_split(model: nn.Module, name: str, span: Span) -> None:
    """Raise E945 for a network that comes split over devices within its layers."""
    tensors = sys.modules.get("torch.distributed.tensor")
    if tensors is None:  # nothing has made any such tensor
        return
    split = next((path for path, own in model.named_parameters() if isinstance(own, tensors.DTensor)), None)
    if split is None:
        return
    raise fail(
        "E945",
        f"`{name}` is split over devices within its layers",
        span,
        notes=(
            f"`{split}` is a part of a matrix in each process",
            "half of a site looks like a whole one, so reads and writes there would mean something else",
        ),
        help='give the whole network, and let `shard=auto` share its weights out: hf("folder", shard=auto)',
    )


__all__ = ["ShardGroup", "ShardedLayers", "refuse_split", "shard_group"]
