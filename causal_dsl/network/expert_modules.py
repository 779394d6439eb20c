"""Sites in a mixture of experts, which no module gives as a tensor of its own: a router's scores, and the term of one expert.

A router chooses by its scores and gives what it chose beside them, so that scores which are written are chosen by again.
The experts add up their terms where they are computed, so the term of one is what they give with the weights of the others
at 0; written, it takes the place of that in the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

ROUTER, EXPERT = "router", "expert"
Act = Callable[[Tensor], Tensor]


def side_of(component: str, heads: tuple[int, ...]) -> str | None:
    """The side of a module at which such a site is touched; None for what simply leaves it."""
    if component == "router":
        return ROUTER
    return f"{EXPERT} {heads[0]}" if component == "expert_out" and heads else None


def hook_experts(module: nn.Module, side: str, act: Act) -> torch.utils.hooks.RemovableHandle:
    """A hook that puts ``act`` of a router's scores, or of one expert's term, in its place."""
    if side == ROUTER:
        return module.register_forward_hook(lambda *told: _scores(act, *told), with_kwargs=True)
    expert = int(side.partition(" ")[2])
    return module.register_forward_hook(lambda *told: _term(act, expert, *told), with_kwargs=True)


def _scores(act: Act, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    scores = output[0] if isinstance(output, tuple) else output
    changed = act(scores)
    if changed is scores or not isinstance(output, tuple):
        return changed if not isinstance(output, tuple) else output
    with _Instead(scores, changed) as mode:
        found = module.forward(*args, **kwargs)
    if not mode.done:
        raise ValueError("the scores of the router are not made by one function of torch")
    return found


class _Instead(TorchFunctionMode):
    """While it holds, the first tensor that some function gives and that is ``old`` is ``new``."""

    def __init__(self, old: Tensor, new: Tensor):
        super().__init__()
        self.old, self.new, self.done = old, new, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        same = not self.done and isinstance(found, Tensor) and found.shape == self.old.shape
        if same and found.dtype == self.old.dtype and torch.equal(found, self.old):
            self.done = True
            return self.new
        return found


def _term(act: Act, expert: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    given = [*args, *kwargs.values()]
    chosen = next(value for value in given if isinstance(value, Tensor) and not value.is_floating_point())
    weights = next(v for v in given if isinstance(v, Tensor) and v.is_floating_point() and v.shape == chosen.shape)
    own = weights * (chosen == expert)
    term = module.forward(
        *(own if value is weights else value for value in args),
        **{name: own if value is weights else value for name, value in kwargs.items()},
    )
    changed = act(term)
    return output if changed is term else output + (changed - term)


__all__ = ["EXPERT", "ROUTER", "hook_experts", "side_of"]
