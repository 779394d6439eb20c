"""The router and the experts of a layer whose MLP is a mixture of them, by the shapes of their weights."""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.inferred.added_terms import Ran


@dataclass(frozen=True)
class Mixture:
    """``router`` and ``experts`` are paths in the layer, ``count`` how many experts there are."""

    router: str
    experts: str
    count: int


def mixture_of(run: Ran, mlp: str) -> Mixture | None:
    """The mixture that an MLP is; None where it is none, or not one whose experts are in one module.

    The experts are the module whose weights lie in stacks, one for each expert; the router is the one beside them whose
    weight has a row for each expert. Both give one vector for each token.
    """
    block = run.layer.get_submodule(mlp)
    stacks = {
        path: {int(p.shape[0]) for p in module.parameters(recurse=False) if p.ndim == 3}
        for path, module in block.named_modules()
    }
    experts = [(path, counts) for path, counts in stacks.items() if path and len(counts) == 1]
    if len(experts) != 1:
        return None
    path, counts = experts[0]
    (count,) = counts
    routers = [
        name
        for name, module in block.named_modules()
        if name
        and not name.startswith(f"{path}.")
        and name != path
        and [p.shape[0] for p in module.parameters(recurse=False) if p.ndim == 2] == [count]
    ]
    if len(routers) != 1:
        return None
    found = Mixture(f"{mlp}.{routers[0]}", f"{mlp}.{path}", count)
    events = (run.event(found.router), run.event(found.experts))
    return found if all(event is not None and event.gave is not None for event in events) else None


__all__ = ["Mixture", "mixture_of"]
