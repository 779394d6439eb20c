"""From a site to the tensor that holds it: a module, what enters or leaves it, and which of its columns.

Where they are in each architecture is in :mod:`causal_dsl.vocabulary.architectures`.
"""

from __future__ import annotations

import re

import torch

from causal_dsl.diagnostics import did_you_mean, fail
from causal_dsl.network.expert_modules import side_of
from causal_dsl.network.known_of_network import proof_of, taps_of
from causal_dsl.network.network import Network
from causal_dsl.network.proof import PADDED
from causal_dsl.network.tap import Tap
from causal_dsl.program.components import full_width, head_count, lacking, missing, suggestion
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.layout_settings import PATHS
from causal_dsl.vocabulary.locations import Site

#: A named module is written before any site of the same tensor is touched, and read after all of them.
FIRST_WRITE, LAST_READ = -1, 99
#: In a pass of many rows what is read belongs to rows that nothing writes: it is read before anything of the tensor is
#: written, and so is there for the writes.
READ_FIRST = -2
#: What is in braces in the path of a module.
_BRACES = re.compile(r"\{([^{}]*)\}")


def tap(network: Network, site: Site) -> Tap:
    """Where a site is in a loaded network.

    Raises E420 where it has no such site, E425 where the site failed its proof, E426 for a layer, head or coordinate
    out of range, E422 for a module that is not there.
    """
    taps = taps_of(network)
    found = taps.get(site)
    if found is None:
        found = _find(network, site)
        if found.columns is not None:
            found = found.with_columns(found.columns, network.device_of(found.module))
        taps[site] = found
    return found


def _find(network: Network, site: Site) -> Tap:
    refuse(network, site)
    if site.component == "module":
        return _module(network, site)
    if site.component == "logits":
        return Tap(network.model, "", "logits", COMPONENTS["logits"].rank, _dims(network, site))
    if site.component == "input":
        return Tap(network.model, "", "in", 0, _dims(network, site))
    if site.component == "out":
        return Tap(network.layers[site.layer or 0], f"layer[{site.layer}]", "out", 0, _dims(network, site))
    if network.layout is None:
        raise fail("E420", f"the place of `{site.component}` in this network is not known", network.span)
    return _language(network, site, network.layout)


def refuse(network: Network, site: Site) -> None:
    """Raise for a site that the network does not have, or that is not where the table says."""
    reason = missing(site.component, network.facts)
    if reason is not None:
        raise fail(
            "E420",
            f"`{network.name or 'the network'}` has no `{site.component}`",
            network.span,
            notes=(reason,),
            help=suggestion(site.component, network.facts),
        )
    proof = proof_of(network)
    if proof is not None and proof.raised and site.component in proof.refused:
        raise fail(
            "E425",
            f"`{network.name or 'the network'}` raises an exception when it is run, so none of its sites can be tested",
            network.span,
            notes=proof.raised,
            help="correct its forward: it has to take every input that the spec encodes, "
            f"as {network.facts.traits.given}"
            if network.key.kind == "torch"
            else "the model cannot be run with these weights and packages: try its plain forward under torch.no_grad()",
        )
    if proof is not None and site.component in proof.refused:
        if network.key.kind == "torch" and PADDED in proof.refused[site.component]:
            raise fail(
                "E425",
                f"padding in a batch changes the logits of `{network.name or 'the network'}`, so none of its sites can be used",
                network.span,
                notes=(proof.refused[site.component], "this was tested on the loaded model itself"),
                help="let `forward` take an `attention_mask` (1 for tokens, 0 for padding at the right), and let no token read padding",
            )
        reason = proof.refused[site.component]
        notes: tuple[str, ...] = (reason, "this was tested on the loaded model itself")
        help = 'name a module instead: module("…")'
        own = network.layout.at(site.layer) if network.layout is not None and network.key.kind == "torch" else None
        if own is not None and own.mid and "resid_mid" in reason and own.mid == f"{own.mlp}<":
            notes += (f"without `middle` the stream between attention and MLP is taken to be what `{own.mlp}` reads",)
            help = (
                'say in torch(…) which module reads the stream there, mostly a norm before the MLP: middle="…"; or correct '
                'attention= and mlp=; or name a module instead: module("…")'
            )
        elif network.key.kind == "torch":
            help += "; or say in torch(…) where its parts are: " + ", ".join(f"{path}=" for path in PATHS)
        raise fail(
            "E425",
            f"`{site.component}` is not where it should be in `{network.name or 'the network'}`",
            network.span,
            notes=notes,
            help=help,
        )
    if COMPONENTS[site.component].layer and not 0 <= (-1 if site.layer is None else site.layer) < len(network.layers):
        count = len(network.layers)
        raise fail("E426", f"there is no layer {site.layer}: the network has layers 0 to {count - 1}", network.span)
    experts = network.facts.experts
    if site.component == "expert_out" and site.heads and experts is not None and site.heads[0] >= experts:
        raise fail("E426", f"there is no expert {site.heads[0]}: there are experts 0 to {experts - 1}", network.span)
    why = lacking(site, network.facts)
    if why is not None:
        raise fail("E420", f"layer {site.layer} has no `{site.component}`", network.span, notes=(why,))


def _language(network: Network, site: Site, layout: Architecture) -> Tap:
    about = COMPONENTS[site.component]
    columns = _heads(network, site, layout) if about.by_heads else None
    if about.compared:
        attention = layout.at(site.layer).attention
        module = network.layers[site.layer or 0].get_submodule(attention)
        return Tap(module, attention, "attention", about.rank, columns)
    place = about.place(layout.at(site.layer)) if about.place is not None else None
    if place is None:
        raise fail("E420", f"the place of `{site.component}` in this network is not known", network.span)
    root = network.layers[site.layer or 0] if about.layer else network.model
    path = place[:-1]
    factor: str | float | None = getattr(layout.at(site.layer), about.scale) if about.scale else None
    if isinstance(factor, str):
        factor = float(getattr(root if about.layer else network.model.get_submodule(layout.base), factor))
    return Tap(
        root.get_submodule(path),
        path or f"{layout.layers}.{site.layer}",
        side_of(site.component, site.heads) or ("in" if place.endswith("<") else "out"),
        about.rank,
        columns if about.by_heads else _dims(network, site),
        1.0 if factor is None else factor,
    )


def _left(path: str) -> tuple[str, ...]:
    """A note on braces that are left in the path of a module."""
    found = _BRACES.search(path)
    if found is None:
        return ()
    if found[1].isidentifier():
        return (f"`{found[1]}` is not a parameter here, so {found[0]} is part of the path as it stands",)
    return (
        f"nothing is computed in a text, so {found[0]} is part of the path as it stands: braces take the name of a parameter",
    )


def _module(network: Network, site: Site) -> Tap:
    path = site.module or ""
    modules = dict(network.model.named_modules())
    if not path or path not in modules:
        near = did_you_mean(path, [name for name in modules if name])
        title = f'there is no module "{path}" in `{network.name or "the network"}`'
        raise fail("E422", title, network.span, notes=_left(path), help=near)
    proof = proof_of(network)
    times = proof.runs.get(path, 1) if proof is not None else 1
    if times != 1 and not (proof is not None and path in proof.steps):
        raise fail(
            "E424",
            f'module "{path}" runs {"never" if times == 0 else f"{times} times"} in a forward pass',
            network.span,
            notes=("it is unclear which of its runs is meant",) if times else ("its output never exists",),
            help="name a module that runs once, the one around it say",
        )
    columns = None if site.dims is None else torch.tensor(site.dims, dtype=torch.long)
    return Tap(modules[path], path, "out", LAST_READ, columns)


def _dims(network: Network, site: Site) -> torch.Tensor | None:
    """The coordinates that a site takes of its vector."""
    if site.dims is None:
        return None
    width = full_width(site, network.facts)
    if width is not None and not all(0 <= dim < width for dim in site.dims):
        raise fail("E426", f"`{site}` has {width} coordinates, 0 to {width - 1}", network.span)
    return torch.tensor(site.dims, dtype=torch.long)


def _heads(network: Network, site: Site, layout: Architecture) -> torch.Tensor:
    """The columns of the heads of a site, head after head, and of these the coordinates that it takes."""
    count, size = head_count(site.component, network.facts), network.facts.head_dim
    if count is None or size is None:
        raise fail("E420", f"cannot tell how many heads `{network.name}` has", network.span)
    for head in site.heads:
        if not 0 <= head < count:
            raise fail("E426", f"`{site.component}` has heads 0 to {count - 1}, not {head}", network.span)
    starts = [_start(site.component, head, network, layout.at(site.layer)) for head in site.heads or range(count)]
    columns = (torch.tensor(starts)[:, None] + torch.arange(size)[None, :]).reshape(-1)
    dims = _dims(network, site)
    return columns if dims is None else columns[dims]


def _start(component: str, head: int, network: Network, layout: Architecture) -> int:
    """The first column of a head in the tensor that holds it."""
    size, heads, kv = network.facts.head_dim or 0, network.facts.heads or 0, network.facts.kv_heads or 0
    turn = COMPONENTS[component].packed
    if turn is None or layout.split == "apart":
        return head * size
    if layout.split == "blocks":
        return (head + (0, heads, heads + kv)[turn]) * size
    if layout.split == "heads":
        return (3 * head + turn) * size
    group = heads // kv
    if turn == 0:
        return ((head // group) * (group + 2) + head % group) * size
    return (head * (group + 2) + group + turn - 1) * size
