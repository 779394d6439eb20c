"""One forward of an untouched model in which rows enter, are written and leave, layer by layer.

The model itself drives: hooks on its layers replace the padded prompts that it hands from layer to layer by whatever
rows are alive there (:mod:`causal_dsl.planning.liveness`), and on its unembedding let through only what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import fail
from causal_dsl.inputs.batches import Batch
from causal_dsl.inputs.protocol import InputRows, pick
from causal_dsl.network.attention_weights import attending, on_heads, patterns
from causal_dsl.network.forward import hook_tensor
from causal_dsl.network.network import Network
from causal_dsl.network.sweep.acts import Acts
from causal_dsl.network.sweep.feed_forward import sliced
from causal_dsl.network.sweep.head import Head, ReadRows
from causal_dsl.network.sweep.ragged_batch import (
    KeysOnly,
    attend,
    look,
    per_row,
    per_token,
)
from causal_dsl.network.tape import Done, SiteRead, SiteWrite, Tape, TapeJob, WriteCount, run_jobs
from causal_dsl.planning.liveness import Schedule

__all__ = ["PassOutcome", "ReadRows", "SiteRead", "SiteWrite", "sweep"]


@dataclass(eq=False)
class PassOutcome:
    """``logits`` of each :class:`ReadRows` in order; ``written`` of each write, in order."""

    logits: list[Tensor]
    written: list[WriteCount]


def sweep(
    network: Network,
    inputs: InputRows,
    plan: Schedule,
    reads: Sequence[SiteRead] = (),
    writes: Sequence[SiteWrite] = (),
    asked: Sequence[ReadRows] = (),
    keep: Callable[[int, Tensor], None] | None = None,
    passed: Callable[[int], None] | None = None,
    compiled: bool = False,
) -> PassOutcome:
    """Run all rows of a schedule through a network once.

    ``inputs`` are the distinct prompts (or vectors), rows 0 and up of the schedule; ``reads`` are of these. ``writes``
    are of rows that enter later; each row and position must be alive where it is written (``Schedule``), and each
    ``edit`` is called when the pass comes by, so that it may use what ``keep(number of the read, values [m, width])``
    was told before. ``asked``: rows whose logits are wanted, and which columns of them. ``passed`` hears of the tokens
    of each layer as it is done. ``compiled``: the feed-forward blocks go through ``torch.compile``.

    Raises E421 for a read or write that never happened, and what :func:`causal_dsl.network.forward.forward` raises.
    Gradients are as the caller sets them.
    """
    return Pass(network, inputs, plan, list(reads), list(writes), list(asked), keep, passed, compiled).run()


@dataclass(eq=False)
class _Handing(Tape):
    """A tape that hands on what is read at once, and keeps nothing of it but that it was."""

    keep: Callable[[int, Tensor], None] | None = None
    seen: set[int] = field(default_factory=set)

    def store(self, number: int, value: Tensor) -> None:
        self.seen.add(number)
        if self.keep is not None:
            self.keep(number, value)


class Pass:
    """One pass: the hooks that stand in for what the model hands from layer to layer."""

    def __init__(
        self,
        network: Network,
        inputs: InputRows,
        plan: Schedule,
        reads: list[SiteRead],
        writes: list[SiteWrite],
        asked: list[ReadRows],
        keep: Callable[[int, Tensor], None] | None,
        passed: Callable[[int], None] | None,
        compiled: bool,
    ):
        self.network, self.plan, self.passed, self.compiled = network, plan, passed, compiled
        self.batch: Batch = network.given.batch(network, pick(inputs, plan.home[plan.batch]), "right")
        self.tape = _Handing(reads, writes, False, keep=keep)
        self.layers = list(network.layers)
        self.ragged = not plan.whole
        #: the first layer that runs
        self.lowest = 0
        self.keys_pass = False
        self.extra: Tensor | None = None
        self.extra_keys: tuple[Tensor, Tensor] | None = None
        self.head = Head(network, plan, asked, self.tape)
        self.acts = Acts(network, plan, self.tape, self.head)

    # ── the pass ────────────────────────────────────────────────────────────────────────────────

    def run(self) -> PassOutcome:
        with ExitStack() as stack:
            self._hook(stack)
            try:
                result = self.network.run(*self.batch.arguments, **self.batch.named)
                logits = self.head.logits(result)
            except Done:
                logits = []
        self._check()
        return PassOutcome(logits, [self.tape.fired[number] for number in range(len(self.tape.writes))])

    def _hook(self, stack: ExitStack) -> None:
        running = self.layers[self.lowest :]
        for level, layer in enumerate(running, self.lowest):
            stack.callback(layer.register_forward_pre_hook(self._before(level), with_kwargs=True).remove)
            stack.callback(layer.register_forward_hook(self._after(level)).remove)
        for (module, side), own in self.acts.jobs.items():
            stack.callback(hook_tensor(module, side, self._acting(own)).remove)
        if self.ragged:
            sliced(self.network, {module for module, _ in self.acts.jobs}, stack, self.compiled)
        inner = set(self.head.module.modules()) if self.head.module is not None else set()
        self.head.hook(stack, watched=any(module in inner for module, _ in self.acts.jobs))
        if self.ragged and self.layers:
            modules = [
                layer.get_submodule(self.network.layout.at(level).attention)  # type: ignore[union-attr]
                for level, layer in enumerate(running, self.lowest)
            ]
            stack.enter_context(attending(self.network, modules, self._attention, sdpa=True))
        elif self.acts.wanted:
            raise fail(
                "E425",
                "attention is read or written, and this network's attention is not run separately",
                self.network.span,
            )

    def _acting(self, jobs: list[TapeJob]) -> Callable[[Tensor], Tensor]:
        def act(tensor: Tensor) -> Tensor:
            if self.keys_pass:
                return tensor
            flat = self._flat(tensor)
            changed = run_jobs(jobs, flat)
            return tensor if changed is flat else changed.reshape(tensor.shape)

        return act

    def _flat(self, tensor: Tensor) -> Tensor:
        """A module's tensor with a vector for each token that is live at the level that is running."""
        tokens = self._tokens()
        for axes in (1, 2):
            if tensor.ndim > axes and int(np.prod(tensor.shape[:axes])) == tokens:
                return tensor.reshape(tokens, -1)
        raise fail(
            "E423",
            "a module does not give one vector for each token",
            self.network.span,
            notes=(f"it is {list(tensor.shape)}, but {tokens} vectors were expected",),
        )

    def _tokens(self) -> int:
        if self.acts.level < 0:
            return len(self.plan.batch) * self.plan.width
        if self.acts.level == len(self.layers) and self.ragged:
            return self.head.rows
        return self.plan.levels[self.acts.level].tokens

    def _before(self, level: int) -> Callable[..., Any]:
        layer = self.layers[level]

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self.keys_pass:
                return None
            hidden = args[0] if args else kwargs["hidden_states"]
            if level == self.lowest:
                hidden = self._entered(hidden, level)
            self.acts.level = level
            more = self._more(kwargs, level, False)
            rest = tuple(self._more({"": value}, level, False)[""] for value in args[1:])
            if self.extra is not None:
                self._keys(layer, self.extra, args[1:], kwargs, level)
            if args:
                return (hidden, *rest), more
            return args, {**more, "hidden_states": hidden}

        return before

    def _keys(self, layer: nn.Module, extra: Tensor, rest: tuple[Any, ...], kwargs: dict[str, Any], level: int) -> None:
        """Keys and values of tokens of which nothing else is wanted."""
        more = {k: v for k, v in self._more(kwargs, level, True).items() if k != "hidden_states"}
        self.keys_pass = True
        try:
            layer(extra[None], *(self._more({"": value}, level, True)[""] for value in rest), **more)
            raise AssertionError("a layer ended without asking for attention")
        except KeysOnly as found:
            self.extra_keys = (found.k, found.v)
        finally:
            self.keys_pass = False
            self.extra = None

    def _more(self, kwargs: dict[str, Any], level: int, keys: bool) -> dict[str, Any]:
        count = len(self.plan.batch)
        if not self.ragged:
            return {key: per_row(value, count, self.acts.homes[level]) for key, value in kwargs.items()}
        rows, positions = self.acts.homes[level][2:] if keys else self.acts.homes[level][:2]
        return {key: per_token(value, count, self.plan.width, rows, positions, key) for key, value in kwargs.items()}

    def _after(self, level: int) -> Callable[..., Any]:
        def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple | list) else output
            self.extra_keys = None
            if self.passed is not None:
                self.passed(self.plan.levels[level].tokens)
            shaped = self._entered(hidden, level + 1)
            if level + 1 == len(self.layers):
                self.acts.level = level + 1
            return (shaped, *output[1:]) if isinstance(output, tuple | list) else shaped

        return after

    def _enter(self, hidden: Tensor, level: int) -> Tensor:
        """From what left a layer to what the next is given: read, moved, written."""
        for job in self.acts.leaving[level]:
            job.act(hidden)
        live = self.plan.levels[level]
        if not live.tokens + live.keys_only and not self.head.asked:
            raise Done
        source = self.acts.sources[level]
        if source is not None:
            hidden = hidden.index_select(0, source)
        elif self.acts.entering[level]:
            hidden = hidden.clone()
        for job in sorted(self.acts.entering[level], key=lambda job: (-job.order[0], job.order[2])):
            job.act(hidden)
        for job in self.acts.given[level]:
            job.act(hidden)
        if live.keys_only:
            hidden, self.extra = hidden[: live.tokens], hidden[live.tokens :]
        return hidden

    def _entered(self, hidden: Tensor, level: int) -> Tensor:
        """:meth:`_enter` on a tensor as the model shapes it."""
        shaped, hidden = hidden, self._enter(self.batch.flat(hidden), level)
        if not self.ragged:
            return self.batch.shaped(hidden, shaped, self.plan.width)
        if level < len(self.layers):
            return hidden[None]
        # Some models give what leaves the last layer the shape of their input again.
        width = self.batch.longest
        short = -len(hidden) % width
        self.head.rows = len(hidden) + short
        if short:
            hidden = torch.cat([hidden, hidden.new_zeros(short, hidden.shape[-1])])
        return hidden.view(-1, width, hidden.shape[-1])

    def _attention(self, own: Callable[[nn.Module], Callable[..., Any]]) -> Callable[..., Any]:
        def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **more: Any) -> Any:
            if self.keys_pass:
                raise KeysOnly(k, v)
            if mask is None and self.network.facts.both_ways:  # prompts of one length: nothing is hidden from anyone
                mask = q.new_zeros(1, 1, self.plan.width, self.plan.width)
            there, level = self.acts.wanted.get(module), self.acts.level
            if there is not None:
                q, k = on_heads(there.query, q), on_heads(there.key, k)
            k, v = self._all_keys(level, k, v)
            out = attend(own(module), module, q, k, v, mask, self.acts.attention[level], more)
            if there is not None and (there.pattern_reads or there.pattern_after or there.pattern_writes):

                def looked(number: int, writing: bool) -> Any:
                    access = (self.tape.writes if writing else self.tape.reads)[number]
                    rows, places = np.asarray(access.rows), np.asarray(access.positions)
                    if not writing and access.after:  # type: ignore[union-attr]
                        own = self.plan.levels[level].at(rows, places) >= 0
                        rows = np.where(own, rows, self.plan.home[rows])
                    return look(self.plan, level, rows, places, q, k, v, mask)

                out = patterns(there, self.tape, looked, out, more, reads_first=True)
            return out, None

        return attention

    def _all_keys(self, level: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of the live tokens, those of tokens that give nothing else at the end."""
        if self.extra_keys is None:
            return k, v
        return torch.cat([k, self.extra_keys[0]], dim=2), torch.cat([v, self.extra_keys[1]], dim=2)

    def _check(self) -> None:
        """Nothing that was asked for may have been left out in silence."""
        for number, read in enumerate(self.tape.reads):
            if number not in self.tape.seen and len(read.rows):
                raise fail("E421", f"`{read.site}` was never computed, so it could not be read", self.network.span)
        for number, write in enumerate(self.tape.writes):
            if number not in self.tape.fired:
                raise fail("E421", f"the intervention on `{write.site}` never happened", self.network.span)
