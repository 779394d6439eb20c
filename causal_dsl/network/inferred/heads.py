"""Which columns of which modules are the queries, keys, values and outputs of a head: found by what a change there reaches.

The columns of one head are turned round by one, which leaves every norm of the whole as it is. Then

    a query  changes the output of its own head, at its own token;
    a key    changes those of the heads that share it, at later tokens, and not at a token that sees itself alone;
    a value  changes those of the heads that share it, from its own token on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.attention_weights import Attend, attending
from causal_dsl.network.inferred.added_terms import Ran
from causal_dsl.network.inferred.trace import Event, alike, matrix
from causal_dsl.network.network import Network

Split = Literal["apart", "blocks", "heads", "groups"]
_STILL, _MOVED = 1e-5, 1e-4


@dataclass(frozen=True)
class Heads:
    """``places`` of q, k and v among the modules of the layer; how many heads there are, how many of keys, and their size."""

    heads: int
    kv: int
    size: int
    split: Split = "apart"
    places: dict[str, str] = field(default_factory=dict)
    proved: bool = False


@dataclass(eq=False)
class Probe:
    """A layer in which the columns of heads are turned round, and ``z`` [rows, tokens, width] is read."""

    found: Ran
    z: Event
    heads: int
    size: int

    def __post_init__(self) -> None:
        self.rows, self.tokens = self.found.stream.shape[:2]
        self.clean = self._run(None, [], 0)
        self.scale = float(self.clean.abs().max())

    def turned(self, module: Any, blocks: Sequence[Sequence[int]], token: int) -> Tensor:
        """How much the output of each head changes [blocks, tokens, heads] where the columns of a block are turned round at a
        token, in shares of the largest output; a block is a row of the batch."""
        return torch.cat(
            [
                self._change(self._run(module, part, token)[: len(part)] - self.clean[: len(part)])
                for part in self._parts(blocks)
            ]
        )

    def straight(self, module: Any, blocks: Sequence[Sequence[int]], token: int) -> bool:
        """Whether the outputs change as what is written does: half way where it is half way."""
        for part in self._parts(blocks):
            whole = self._run(module, part, token) - self.clean
            half = self._run(module, part, token, 0.5) - self.clean
            if float(self._change(whole - 2 * half).max()) > _MOVED * max(1.0, float(self._change(whole).max())):
                return False
        return True

    def _parts(self, blocks: Sequence[Sequence[int]]) -> list[Sequence[Sequence[int]]]:
        return [blocks[begin : begin + self.rows] for begin in range(0, len(blocks), self.rows)]

    def _change(self, difference: Tensor) -> Tensor:
        shaped = difference.abs().reshape(len(difference), self.tokens, self.heads, self.size)
        return shaped.amax(-1) / max(self.scale, 1e-20)

    def _run(self, module: Any, blocks: Sequence[Sequence[int]], token: int, share: float = 1.0) -> Tensor:
        kept: list[Tensor] = []

        def keep(_: Any, args: tuple[Any, ...]) -> None:
            kept.append(args[0].detach().reshape(self.rows, self.tokens, -1).float())

        def turn(_: Any, __: Any, output: Tensor) -> Tensor:
            whole = output.reshape(self.rows, self.tokens, -1).clone()
            for row, block in enumerate(blocks):
                columns = torch.as_tensor(block, device=whole.device)
                here = whole[row, token, columns]
                whole[row, token, columns] = here + share * (here.roll(1) - here)
            return whole.reshape(output.shape)

        handles = [self.z.module.register_forward_pre_hook(keep)]
        if module is not None:
            handles.append(module.register_forward_hook(turn))
        try:
            self.found.call.on(self.found.layer, self.found.stream)
        finally:
            for handle in handles:
                handle.remove()
        return kept[-1]

    def is_query(self, module: Any, start: Callable[[int], int]) -> bool:
        """Whether the columns from ``start(head)`` on are the queries of heads."""
        sample, token = _sample(self.heads), self.tokens - 2
        changes = self.turned(module, [self._block(start(head)) for head in sample], token)
        return all(self._alone(change, [head], [token]) for change, head in zip(changes, sample, strict=True))

    def shared(self, module: Any, start: Callable[[int], int], kv: int) -> str:
        """``k`` where they are the keys of the heads that share them, ``v`` where they are the values, else nothing."""
        sample, group = _sample(kv), self.heads // kv
        blocks = [self._block(start(head)) for head in sample]
        changes = self.turned(module, blocks, 0)
        for change, head in zip(changes, sample, strict=True):
            if not self._alone(change, list(range(head * group, (head + 1) * group)), list(range(self.tokens))):
                return ""
        # A token that sees itself alone weighs itself by 1 whatever its key is, but for a sink, and then not evenly.
        if float(changes[:, 0].max()) < _STILL:
            return "k"
        own = min(
            float(change[0, head * group : (head + 1) * group].min())
            for change, head in zip(changes, sample, strict=True)
        )
        if own > _STILL and self.straight(module, blocks, 0):
            return "v"
        return "k?"

    def gives(self, network: Network) -> bool:
        """Whether what the attention function of transformers gives for a head enters ``z`` as that head, and nothing else."""
        sample, token, shape = _sample(self.heads), 1, (self.rows, self.tokens, self.heads, self.size)
        seen: list[tuple[int, ...]] = []

        def make(own: Callable[[nn.Module], Attend]) -> Attend:
            def attention(module: nn.Module, *args: Any, **more: Any) -> Any:
                out, weights = own(module)(module, *args, **more)
                seen.append(tuple(out.shape))
                if seen == [shape]:
                    out = out.clone()
                    for row, head in enumerate(sample):
                        out[row, token, head] = out[row, token, head].roll(1)
                return out, weights

            return attention

        with attending(network, list(self.found.layer.modules()), make):
            changes = self._change(self._run(None, [], 0) - self.clean)
        return seen == [shape] and all(self._alone(changes[row], [head], [token]) for row, head in enumerate(sample))

    def _block(self, start: int) -> list[int]:
        return list(range(start, start + self.size))

    def _alone(self, change: Tensor, heads: list[int], tokens: list[int]) -> bool:
        """Whether each of these heads changes at some of these tokens, and nothing else changes."""
        rest = change.clone()
        rest[torch.tensor(tokens)[:, None], torch.tensor(heads)[None]] = 0
        moved = change[tokens][:, heads].amax(0)
        return float(moved.max()) > _MOVED and float(moved.min()) > _STILL and float(rest.max()) < _STILL


def _sample(count: int) -> list[int]:
    return sorted({0, 1 % count, count - 1})


def heads_of(network: Network, found: Ran, attention: str, z: str, heads: int, kv: int | None) -> Heads | None:
    """The heads of an attention module whose outputs enter ``z``, of which the config says how many there are; None where
    its width is no multiple of them. What was not found of q, k and v is not in ``places``."""
    event = found.event(z)
    reads = found.event(attention)
    if event is None or event.given is None or reads is None or not heads or event.given.shape[-1] % heads:
        return None
    size = event.given.shape[-1] // heads
    probe = Probe(found, event, heads, size)
    maps = [
        one
        for one in found.events
        if one.path.startswith(f"{attention}.")
        and one.path != z
        and one.gave is not None
        and matrix(one.module)
        and alike(one.given, reads.given, 1e-6)
    ]
    counts = [count for count in range(1, heads + 1) if heads % count == 0]
    best = _apart(probe, maps, kv or heads)
    if len(best.places) < 3:
        best = max([best, *_packed(probe, maps, counts)], key=lambda one: len(one.places))
    if not best.proved and hasattr(network.model, "config") and probe.gives(network):
        best = replace(best, proved=True)
    return best


#: What an attention module calls its number of heads.
HEADS = ("heads", "n_heads", "num_heads", "n_head", "nheads", "nhead", "num_attention_heads")


def told_heads(attention: nn.Module) -> int | None:
    """The number of heads that a module says it has."""
    for name in HEADS:
        value = getattr(attention, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _apart(probe: Probe, maps: list[Event], kv: int) -> Heads:
    """Queries, keys and values that come out of modules of their own; what two modules could be is neither."""
    heads, size = probe.heads, probe.size
    could: dict[str, list[tuple[str, int]]] = {"q": [], "k": [], "k?": [], "v": []}
    for one in maps:
        shared = one.gave.shape[-1] // size  # type: ignore[union-attr]
        if one.gave.shape[-1] % size or not shared or heads % shared:  # type: ignore[union-attr]
            continue
        if shared == heads and probe.is_query(one.module, lambda head: head * size):
            could["q"].append((one.path, heads))
            continue
        role = probe.shared(one.module, lambda head: head * size, shared)
        if role:
            could[role].append((one.path, shared))
    if not could["k"] and could["v"]:
        could["k"] = could["k?"]  # keys beside a sink
    elif not could["v"]:
        could["v"] = could["k?"]  # values that are normed
    sure = {part: found[0] for part, found in could.items() if len(found) == 1 and part != "k?"}
    counts = {sure[part][1] for part in ("k", "v") if part in sure}
    if len(counts) > 1:
        sure = {part: found for part, found in sure.items() if part == "q"}
    places = {part: path for part, (path, _) in sure.items()}
    return Heads(heads, max(counts, default=kv), size, "apart", places, {"k", "v"} <= places.keys())


def starts(split: Split, heads: int, kv: int, size: int) -> dict[str, Callable[[int], int]]:
    """Where the columns of a head begin in the output of the module that gives q, k and v."""
    group = heads // kv
    if split == "blocks":
        return {
            "q": lambda head: head * size,
            "k": lambda head: (heads + head) * size,
            "v": lambda head: (heads + kv + head) * size,
        }
    if split == "heads":
        return {
            "q": lambda head: 3 * head * size,
            "k": lambda head: (3 * head + 1) * size,
            "v": lambda head: (3 * head + 2) * size,
        }
    return {
        "q": lambda head: ((head // group) * (group + 2) + head % group) * size,
        "k": lambda head: (head * (group + 2) + group) * size,
        "v": lambda head: (head * (group + 2) + group + 1) * size,
    }


def _packed(probe: Probe, maps: list[Event], counts: list[int]) -> list[Heads]:
    found = []
    for one in maps:
        for kv in counts:
            if one.gave.shape[-1] != (probe.heads + 2 * kv) * probe.size:  # type: ignore[union-attr]
                continue
            splits: tuple[Split, ...] = ("blocks", "heads") if kv == probe.heads else ("blocks", "groups")
            for split in splits:
                at = starts(split, probe.heads, kv, probe.size)
                if (
                    probe.is_query(one.module, at["q"])
                    and probe.shared(one.module, at["k"], kv) in ("k", "k?")
                    and probe.shared(one.module, at["v"], kv) == "v"
                ):
                    found.append(
                        Heads(probe.heads, kv, probe.size, split, dict.fromkeys(("q", "k", "v"), one.path), True)
                    )
    return found


__all__ = ["HEADS", "Heads", "Probe", "heads_of", "starts", "told_heads"]
