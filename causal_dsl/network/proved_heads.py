"""Whether the columns that a layout takes for the heads of queries, keys and values are theirs: each is changed, and z tells."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from causal_dsl.network.forward import hook_tensor
from causal_dsl.network.token_run import TokenRun, passing, token_ids, token_noise
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.network_facts import Facts


def with_proved_heads(run: TokenRun, facts: Facts, longest: int) -> Architecture:
    """The record without what is no head: what is done to the columns of one head may show in the columns of z that are its
    own, or of the query heads that share it, and in no others. Queries, keys and values are told by the tokens that they reach."""
    layout = facts.record
    assert layout is not None
    if "z" in layout.absent or facts.heads == 1:
        return layout
    heads, shared, size = facts.heads or 1, facts.kv_heads or 1, facts.head_dim or 1
    absent = dict(layout.absent)
    ids = token_ids(4, longest, max(1, min(facts.vocabulary or 1, len(facts.words) or 10**9)))
    for layer in range(facts.layers or 0):
        path = f"{layout.layers}.{layer}"
        for name, place in (("v", layout.v), ("q", layout.q), ("k", layout.k)):
            if name in absent:
                continue
            why = _mixed(run, ids, f"{path}.{place}", f"{path}.{layout.z}", name, layout, (heads, shared, size))
            if not why and name == "v":
                why = _several(run, ids, f"{path}.{place}", f"{path}.{layout.z}", name, layout, (heads, shared, size))
            elif not why and longest > 1:
                why = _other_role(
                    run, ids, f"{path}.{place}", f"{path}.{layout.z}", name, layout, (heads, shared, size)
                )
            if why:
                absent[name] = f"in layer {layer} {why}"
                if name == "v":
                    absent.update(dict.fromkeys(("z", "pattern"), absent[name]))
    return replace(layout, absent=absent)


def _mixed(
    run: TokenRun, ids: Tensor, place: str, out: str, name: str, layout: Architecture, sizes: tuple[int, int, int]
) -> str:
    """Why the columns of q, k or v are not those of heads; empty where they are."""
    heads, shared, size = sizes
    count = heads if name == "q" else shared
    start = 0 if layout.split == "apart" else {"q": 0, "k": heads, "v": heads + shared}[name] * size
    side = "in" if place.endswith("<") else "out"
    with passing(run.model, {"z": out}) as seen:
        run(ids)
        clean = seen["z"].flatten(2)
        for head in range(count):
            columns = slice(start + head * size, start + (head + 1) * size)

            def shaken(tensor: Tensor, columns: slice = columns) -> Tensor:
                changed = tensor.flatten(2).clone()
                part = changed[..., columns]
                changed[..., columns] = part + (1 + part.abs().mean()) * token_noise(part)
                return changed.view(tensor.shape)

            handle = hook_tensor(run.model.get_submodule(place[:-1]), side, shaken)
            try:
                run(ids)
            finally:
                handle.remove()
            moved = (seen["z"].flatten(2) - clean).abs().amax((0, 1)).view(heads, size)
            floor = 1e-5 * float(clean.abs().max().clamp_min(1e-20))
            group = heads // count
            others = [h for h in range(heads) if h // group != head and float(moved[h].max()) > floor]
            if others:
                return f"what is done to head {head} of `{name}` shows in head {others[0]} of `z`"
    return ""


def _other_role(
    run: TokenRun, ids: Tensor, place: str, out: str, name: str, layout: Architecture, sizes: tuple[int, int, int]
) -> str:
    """Why q are no queries, or k no keys; empty where they are: a query shows in z at its own token alone, a key of the first
    token at later ones, and it is no sum of keys that z is made of."""
    heads, shared, size = sizes
    start = 0 if layout.split == "apart" or name == "q" else heads * size
    columns = slice(start, start + (heads if name == "q" else shared) * size)

    def moved(token: int) -> Tensor:
        """Whether each token of z changes with the columns of one token."""

        def shaken(tensor: Tensor) -> Tensor:
            changed = tensor.flatten(2).clone()
            part = changed[:, token, columns]
            changed[:, token, columns] = part + (1 + part.abs().mean()) * token_noise(part)
            return changed.view(tensor.shape)

        with passing(run.model, {"z": out}) as seen:
            run(ids)
            clean = seen["z"].flatten(2)
            side = "in" if place.endswith("<") else "out"
            handle = hook_tensor(run.model.get_submodule(place[:-1]), side, shaken)
            try:
                run(ids)
            finally:
                handle.remove()
        return (seen["z"].flatten(2) - clean).abs().amax((0, 2)) > 1e-5 * float(clean.abs().max().clamp_min(1e-20))

    later = bool(moved(0)[1:].any())
    if name == "q":
        if later:
            return "what is done to `q` at the first token shows in `z` at later ones: a query shows at its own token alone"
        return "" if moved(-1)[-1] else "what is done to `q` at the last token does not show in `z` there: a query does"
    if not later:
        return "what is done to `k` at the first token shows in `z` at no later one: a key does"
    if size > 1 and not _several(run, ids, place, out, name, layout, sizes):
        return "`k` with one number in all columns of a head gives a `z` that has one: these are values"
    return ""


def _several(
    run: TokenRun, ids: Tensor, place: str, out: str, name: str, layout: Architecture, sizes: tuple[int, int, int]
) -> str:
    """Why a head's columns of z are not one sum over its columns of v; empty where they are: of values with one number
    in all columns of a head they have one number, too."""
    heads, shared, size = sizes
    start = 0 if layout.split == "apart" else {"k": heads, "v": heads + shared}[name] * size
    every = slice(start, start + shared * size)

    def even(tensor: Tensor) -> Tensor:
        changed = tensor.flatten(2).clone()
        part = changed[..., every].view(*changed.shape[:2], shared, size)
        changed[..., every] = token_noise(part[..., :1]).expand_as(part).flatten(2)
        return changed.view(tensor.shape)

    handle = hook_tensor(run.model.get_submodule(place[:-1]), "in" if place.endswith("<") else "out", even)
    try:
        with passing(run.model, {"z": out}) as seen:
            run(ids)
    finally:
        handle.remove()
    z = seen["z"].flatten(2)
    z = z.view(*z.shape[:2], heads, size)
    wide = (z - z[..., :1]).abs().amax((0, 1, 3))
    head = int(wide.argmax())
    if float(wide[head]) > 1e-4 * float(z.abs().max().clamp_min(1e-20)):
        return f"the columns of head {head} of `z` are not one sum of `v` over tokens: is the number of heads right?"
    return ""
