"""Recurrent modules, step by step: a module continues at the next token from the vector that was written.

There are two kinds. A cell runs once for each token, and its n-th run is token n. An ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM`` runs
once for all tokens; where something is written at its output it is run token by token, and the written vector is its hidden
state there (the cell state of an LSTM stays its own).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import Span, fail
from causal_dsl.inputs.batches import Batch
from causal_dsl.network.tape import Tape, TapeJob, run_jobs


def a_step(tensor: Any, rows: int, tokens: int) -> bool:
    """Whether a tensor is what a module gives for one token of each row: [rows, width] or [rows, 1, width]."""
    if tokens < 2 or not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return False
    return (tensor.ndim == 2 and tensor.shape[0] == rows) or (tensor.ndim == 3 and tuple(tensor.shape[:2]) == (rows, 1))


@contextmanager
def stepping(model: nn.Module, rows: int, tokens: int) -> Iterator[set[str]]:
    """The paths of the modules that run once for each token within, filled at the end."""
    counts: Counter[str] = Counter()
    found: set[str] = set()

    def watch(name: str, module: nn.Module) -> Any:
        def look(_: nn.Module, args: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            counts.update((name,) if a_step(first, rows, tokens) else ())

        return module.register_forward_hook(look)

    handles = [watch(name, module) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    found |= {name for name, count in counts.items() if count == tokens}


class Steps:
    """Jobs on what a recurrent module gives, token by token. At each step they act on all tokens so far; what they make of the
    last of these is what counts, so that an edit of a later token finds what the edits of earlier ones have led to."""

    def __init__(self, jobs: list[TapeJob], tape: Tape, batch: Batch, path: Callable[[], str], span: Span):
        self.jobs, self.tape, self.batch, self.path, self.span = jobs, tape, batch, path, span
        self.whole: Tensor | None = None
        self.count = 0

    def step(self, tensor: Tensor) -> Tensor:
        """The state that goes on in the place of one step's vectors [rows, width]."""
        tokens = self.batch.longest
        if self.count >= tokens:
            raise self._other(self.count + 1)
        flat = tensor.reshape(len(tensor), -1)
        if self.whole is None:
            self.whole = flat.new_zeros(len(flat), tokens, flat.shape[1])
        before, after = self.whole[:, : self.count], self.whole[:, self.count + 1 :]
        self.whole = torch.cat([before, flat[:, None], after], dim=1)
        changed = run_jobs(self.jobs, self.whole)
        self.count += 1
        if self.count == tokens:
            self.tape.check_done()
        return changed[:, self.count - 1].reshape(tensor.shape)

    def check(self) -> None:
        """Raise E424 where a module stopped before the last token."""
        if 0 < self.count < self.batch.longest:
            raise self._other(self.count)

    def _other(self, count: int) -> Exception:
        return fail(
            "E424",
            f"module {self.path()} runs {count} times or more on prompts of {self.batch.longest} tokens"
            if count > self.batch.longest
            else f"module {self.path()} runs {count} times on prompts of {self.batch.longest} tokens",
            self.span,
            notes=("a module that runs once for each token has a position for each run",),
            help="name a module that runs once, or once for each token",
        )


@contextmanager
def by_step(module: nn.RNNBase, steps: Steps) -> Iterator[None]:
    """Within, a recurrent module runs token by token, and goes on with what :class:`Steps` makes of its hidden state.
    Raises E777 for one that has no such state."""
    if module.bidirectional or not module.batch_first:
        raise _refused("it reads in both directions" if module.bidirectional else "batch_first is False", steps)
    own, had = module.forward, "forward" in module.__dict__

    def forward(x: Any, hx: Any = None) -> tuple[Tensor, Any]:
        if not isinstance(x, Tensor):
            raise _refused(f"it is given a {type(x).__name__}", steps)
        state, given = hx, []
        for token in range(x.shape[1]):
            out, state = own(x[:, token : token + 1], state)
            given.append(steps.step(out[:, 0]))
            hidden, *rest = state if isinstance(state, tuple) else (state,)
            hidden = torch.cat([hidden[:-1], given[-1][None]])
            state = (hidden, *rest) if rest else hidden
        return torch.stack(given, dim=1), state

    module.forward = forward
    try:
        yield
    finally:
        if had:
            module.forward = own
        else:
            del module.forward


def _refused(why: str, steps: Steps) -> Exception:
    return refuse_steps(why, steps.path(), steps.span)


def refuse_steps(why: str, path: str, span: Span) -> Exception:
    """E777: a recurrent module whose tokens cannot be read and written one by one."""
    return fail(
        "E777",
        f"module {path} cannot be read or written token by token: {why}",
        span,
        notes=("what is written at a token is the hidden state that the next token finds",),
        help="call nn.GRU(…, batch_first=True) and its like, in one direction, on a tensor [rows, tokens, width]",
    )


__all__ = ["Steps", "a_step", "by_step", "refuse_steps", "stepping"]
