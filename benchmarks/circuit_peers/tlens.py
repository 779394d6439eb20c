"""TransformerLens 4.3: ``TransformerBridge``, with its hook points and its cache.

It has no circuits of its own. Scores of edges and circuits are written here on its hook points, in the usual way: what all senders change
is one tensor [pairs, tokens, senders, width], each receiver's input has a head of its own, and a hook contracts the two. The lens and the
attributions are methods of its ``ActivationCache``, which holds what all hook points gave at all tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from benchmarks.circuit_peers.task import ALONE, EVERY, POINTS, Peer, Task, Work
from benchmarks.contenders.plain import load_model

Hooks = list[tuple[str, Callable[..., Any]]]


def peer(folder: Path, task: Task) -> Peer:
    """The network of a folder in this package."""
    plain = load_model(folder)
    circuits = Circuits(folder, task)
    base = torch.from_numpy(task.base[0])

    @torch.no_grad()
    def usual() -> None:
        plain(base, logits_to_keep=1)

    some = list(range(0, len(task.circuits), EVERY))
    return Peer(
        {"own": partial(circuits.forward, False), "own, split": partial(circuits.forward, True), "transformers": usual},
        {
            "eap": Work(circuits.eap, once=True),
            "eap_ig": Work(circuits.eap_ig, once=True),
            "circuit": Work(lambda: circuits.judged([ALONE]), once=True),
            "circuits": Work(lambda: circuits.judged(some), len(task.circuits) / len(some), once=True),
            "reads": Work(circuits.reads),
        },
    )


class Circuits:
    """Edges on the hook points of the bridge. A sender's row is that of the embedding, then of each layer's heads and its MLP."""

    def __init__(self, folder: Path, task: Task):
        self.task = task
        self.model = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
        self._use(0)
        self.senders = 1 + task.layers * (task.heads + 1)

    def _use(self, number: int) -> None:
        """Take the pairs on which edges are scored (0), those on which circuits are judged (1), or those that are read (2)."""
        self.base, self.source, self.wanted = (
            torch.from_numpy(own[number]) for own in (self.task.base, self.task.source, self.task.wanted)
        )

    def _flags(self, on: bool) -> None:
        self.model.set_use_attn_result(on)
        self.model.set_use_split_qkv_input(on)
        self.model.set_use_hook_mlp_in(on)

    @torch.no_grad()
    def forward(self, on: bool) -> None:
        """A plain forward, with or without inputs and results of their own for heads."""
        self._flags(on)
        self.model(torch.from_numpy(self.task.base[0]))

    def _metric(self, logits: Tensor) -> Tensor:
        picked = logits[:, -1].gather(1, self.wanted)
        return picked[:, 0] - picked[:, 1]

    def _row(self, kind: str, layer: int, head: int) -> int:
        return (
            0 if kind == "embed" else 1 + layer * (self.task.heads + 1) + (self.task.heads if kind == "mlp" else head)
        )

    def _outputs(self) -> Iterator[tuple[str, slice]]:
        """Where senders give what they give, and their rows."""
        yield "hook_embed", slice(0, 1)
        for layer in range(self.task.layers):
            first, last = self._row("head", layer, 0), self._row("mlp", layer, 0)
            yield f"blocks.{layer}.attn.hook_result", slice(first, last)
            yield f"blocks.{layer}.hook_mlp_out", slice(last, last + 1)

    def _inputs(self) -> Iterator[tuple[str, tuple[str, int], int]]:
        """Where receivers read, what they are, and how many senders come before them."""
        for layer in range(self.task.layers):
            for port in "qkv":
                yield f"blocks.{layer}.hook_{port}_input", (port, layer), self._row("head", layer, 0)
            yield f"blocks.{layer}.hook_mlp_in", ("mlp", layer), self._row("mlp", layer, 0)
        yield f"blocks.{self.task.layers - 1}.hook_resid_post", ("logits", -1), self.senders

    def _taking(self, taken: Tensor, sign: float) -> Hooks:
        def take(values: Tensor, hook: Any, rows: slice) -> None:
            own = values.detach()
            taken[:, :, rows] += sign * (own if own.dim() == 4 else own[:, :, None])

        return [(name, partial(take, rows=rows)) for name, rows in self._outputs()]

    @torch.no_grad()
    def _corrupt(self) -> Tensor:
        """What all senders give in the counterfactual run [pairs, tokens, senders, width]."""
        self._flags(True)
        taken = torch.zeros(*self.base.shape, self.senders, self.model.cfg.d_model)
        self.model.run_with_hooks(self.source, fwd_hooks=self._taking(taken, 1.0))
        return taken

    def _scoring(self, change: Tensor, found: dict[tuple[str, int], Tensor]) -> Hooks:
        def score(grad: Tensor, hook: Any, receiver: tuple[str, int], before: int) -> None:
            own = grad.detach()
            own = own if own.dim() == 4 else own[:, :, None]
            product = torch.einsum("btsd,btrd->sr", change[:, :, :before], own)
            found[receiver] = found.get(receiver, 0) + product

        return [(name, partial(score, receiver=receiver, before=before)) for name, receiver, before in self._inputs()]

    def _edges(self, found: dict[tuple[str, int], Tensor], passes: int) -> np.ndarray:
        scores = []
        for *sender, kind, layer, head in self.task.edges():
            scores.append(-float(found[kind, layer][self._row(*sender), max(head, 0)]) / len(self.base) / passes)  # type: ignore[arg-type]
        return np.array(scores)

    def eap(self) -> np.ndarray:
        self._use(0)
        change = self._corrupt()
        found: dict[tuple[str, int], Tensor] = {}
        with self.model.hooks(fwd_hooks=self._taking(change, -1.0), bwd_hooks=self._scoring(change, found)):
            self._metric(self.model(self.base)).sum().backward()
        self.model.zero_grad()
        return self._edges(found, 1)

    def eap_ig(self) -> np.ndarray:
        self._use(0)
        change = self._corrupt()
        other = change[:, :, 0].clone()
        with torch.no_grad():
            self.model.run_with_hooks(self.base, fwd_hooks=self._taking(change, -1.0))
        own = other - change[:, :, 0]
        found: dict[tuple[str, int], Tensor] = {}

        def between(values: Tensor, hook: Any, point: float) -> Tensor:
            return (other + point * (own - other)).requires_grad_()

        for step in range(POINTS):
            writing = [("hook_embed", partial(between, point=step / POINTS))]
            with self.model.hooks(fwd_hooks=writing, bwd_hooks=self._scoring(change, found)):
                self._metric(self.model(self.base)).sum().backward()
            self.model.zero_grad()
        return self._edges(found, POINTS)

    @torch.no_grad()
    def judged(self, numbers: list[int]) -> np.ndarray:
        """The metric of each circuit and pair: each receiver's input has what the senders change along the edges that are not in it."""
        self._use(1)
        found = []
        for number in numbers:
            change = self._corrupt()
            cut = self._cut(self.task.circuits[number])

            def write(values: Tensor, hook: Any, mask: Tensor, change: Tensor = change) -> Tensor:
                added = torch.einsum("btsd,sr->btrd", change[:, :, : len(mask)], mask)
                return values + (added if values.dim() == 4 else added[:, :, 0])

            writing = [
                (name, partial(write, mask=cut[r][:before])) for name, r, before in self._inputs() if cut[r].any()
            ]
            logits = self.model.run_with_hooks(self.base, fwd_hooks=[*self._taking(change, -1.0), *writing])
            found.append(self._metric(logits).numpy())
        return np.stack(found)

    def _cut(self, kept: np.ndarray) -> dict[tuple[str, int], Tensor]:
        """For each place of receivers which edges are not in a circuit [senders, receivers]."""
        counts = {
            "q": self.task.heads,
            "k": self.task.heads // self.task.shared,
            "v": self.task.heads // self.task.shared,
        }
        found = {receiver: torch.zeros(self.senders, counts.get(receiver[0], 1)) for _, receiver, _ in self._inputs()}
        for inside, (*sender, kind, layer, head) in zip(kept, self.task.edges(), strict=True):
            if not inside:
                found[kind, layer][self._row(*sender), max(head, 0)] = 1.0  # type: ignore[arg-type]
        return found

    @torch.no_grad()
    def reads(self) -> np.ndarray:
        """For each pair the logit of the base's answer after each layer, then what each head adds to it."""
        self._use(2)
        self._flags(False)
        _, cache = self.model.run_with_cache(self.base)
        answer = self.wanted[:, 0]
        streams = cache.accumulated_resid(layer=-1, pos_slice=-1)[1:]
        normed = torch.stack([self.model.ln_final(one[:, None])[:, 0] for one in streams])
        lens = torch.einsum("lbd,bd->bl", normed, self.model.W_U.T[answer])
        heads = cache.stack_head_results(layer=-1, pos_slice=-1) * self.model.ln_final.weight
        return torch.cat([lens, cache.logit_attrs(heads, answer, pos_slice=-1).T], 1).numpy()
