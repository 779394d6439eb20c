"""`layer[3].resid_post via sae("…", latents=[5])` in a circuit: the nodes of a dictionary at a site."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from causal_dsl.diagnostics import NOWHERE, Diagnostics, Source, Span, real_path
from causal_dsl.program.dictionaries import Dictionary
from causal_dsl.program.file_shapes import tensor_shapes
from causal_dsl.program.fitted_files import fitted_refs
from causal_dsl.program.identity import Origin
from causal_dsl.program.inside import across_in, read_inside
from causal_dsl.program.nodes import OUTPUTS, OutputNode, Spot, of_dictionary
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_features import FeatureRef, Via, family, read_via
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.program.transcoders import CROSSCODER
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.parse import parse
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.network_facts import Facts

#: No alignment declares the dictionaries of circuits: one that two circuits name is one.
_NOWHERE = Origin("", 0, "")


def read_through(
    through: tree.Through, sites: SiteReader, network: NetworkRef, cell: Mapping[str, tree.Expr], folder: Path
) -> tuple[Spot, ...] | None:
    """The nodes of a dictionary that a member of a circuit names, at its tokens; None where a fault was reported."""
    found = sites.diagnostics
    via, error = _without_error(through.via)
    spread = sites.spread(through.site, whole=True)
    if spread is None:
        return None
    bare = tuple(dict.fromkeys(replace(place, position=None) for place in spread.places))
    read = _one(via, cell, folder, found)
    if read is None:
        return None
    if read.fitting.file:
        refs = fitted_refs(read, bare, network, found)
    else:
        refs = read_inside(via, bare, _NOWHERE, network, cell, folder, found)
    if refs is None:
        return None
    spots: list[Spot] = []
    for place in spread.places:
        ref = refs[bare.index(replace(place, position=None))]
        dictionary = _dictionary(ref, folder, found)
        if dictionary is None:
            return None
        position = place.position or network.facts.traits.everywhere
        spots += [(node, position) for node in _named(ref, dictionary, error)]
    return tuple(spots)


def _named(ref: FeatureRef, dictionary: Dictionary, error: bool) -> Iterable[OutputNode]:
    """The nodes that are meant: some latents or all, or the error term."""
    every = of_dictionary(dictionary)
    if error:
        return every[-1:]
    latents = dict(ref.chain[0].settings).get("latents")
    return [every[number] for number in latents] if isinstance(latents, tuple) and latents else every[:-1]


def _without_error(via: tree.Call) -> tuple[tree.Call, bool]:
    """The feature, and whether what it leaves out is meant: `sae("…").error()`."""
    function = via.function
    if isinstance(function, tree.Attribute) and function.name.name == "error" and isinstance(function.value, tree.Call):
        return function.value, True
    return via, False


def _one(via: tree.Call, cell: Mapping[str, tree.Expr], folder: Path, found: Diagnostics) -> Via | None:
    """The one feature that nodes are to be of; None where they cannot be (E950)."""
    read = read_via(via, cell, folder, found)
    if read is None:
        return None
    across = across_in(read)
    why = ""
    if len(read.chain) > 1:
        why = "the numbers of a chain of features are not nodes"
    elif across is not None and across.kind == CROSSCODER:
        why = "a crosscoder reads layers after one that it writes, so its latents are known after they would be written"
    elif family(read.chain[0]).bends:
        why = "a feature that bends leaves no term out"
    elif read.joined:
        why = "its vectors are those of all tokens together"
    elif family(read.chain[0]).file is None and not read.fitting.file:
        why = "it is fitted, and no file says how it was: a circuit fits nothing"
    if not why:
        return read
    found.report(
        "E950",
        f"`{format_expr(via)[:60]}` has no nodes of a circuit",
        via.span,
        notes=(why,),
        help='name one dictionary, via sae("…"), directions, via subspace("…"), or a fit that was kept, via rotation(dim=4, file="…")',
    )
    return None


def _dictionary(ref: FeatureRef, folder: Path, found: Diagnostics) -> Dictionary | None:
    """The whole of a feature at a place; None where its file does not say how large it is."""
    (feature,) = ref.chain
    settings, about = dict(feature.settings), family(feature)
    path = Path(ref.fitting.file or str(settings["path"]))
    file = f'"{Path(os.path.relpath(path, real_path(folder))).as_posix()}"'
    shown = [] if ref.fitting.file else [file]
    shown += [
        f"{name}={_value(value)}" for name, value in settings.items() if value and name not in ("path", "latents")
    ]
    shown += [f"file={file}"] if ref.fitting.file else []
    name = f"{Place(ref.place.site)} via {feature.name}({', '.join(shown)}"
    count = None
    if about.encoder:
        shape = (tensor_shapes(path) or {}).get("W_enc", ())
        if len(shape) < 2:
            found.report(
                "E721",
                f"cannot read how many latents `{feature.shown}` has",
                ref.span or NOWHERE,
                help="name a folder that SAELens wrote: cfg.json beside sae_weights.safetensors",
            )
            return None
        count = shape[-1]
        feature = replace(feature, settings=tuple((k, () if k == "latents" else v) for k, v in feature.settings))
    return Dictionary(
        name, ref.place.site, replace(ref, chain=(feature,), elsewhere=ref.elsewhere and bool(ref.fitting.file)), count
    )


def _value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def parsed(text: str, path: str) -> tree.Through | None:
    """A member of a circuit as files write it; None where it is none."""
    quiet = Diagnostics()
    read = parse(Source(path, f"circuit c : n {{\n  g = {text}\n}}"), quiet)
    if quiet.errors:
        return None
    return next((node for node in read.walk() if isinstance(node, tree.Through)), None)


# ── nodes that do not stand together ────────────────────────────────────────────────────────────


def refuse_meeting_nodes(nodes: Iterable[OutputNode], facts: Facts, span: Span, found: Diagnostics) -> bool:
    """Report nodes of two dictionaries at one site, and a component beside the nodes of what it gives (E951)."""
    known: dict[tuple[object, ...], str] = {}
    for node in dict.fromkeys(nodes):
        key: tuple[object, ...] = (node.kind, node.layer)
        name = str(node)
        if node.dictionary is not None:
            site, name = node.dictionary.site, node.dictionary.shown
            layer = -1 if site.layer is None else site.layer
            kind = OUTPUTS.get(site.component)
            key = (kind, layer) if kind else (site.component, layer, site.module)
        other = known.setdefault(key, name)
        if other != name and (node.dictionary is not None or " via " in other):
            found.report(
                "E951",
                f"{other} and {name} are nodes of one vector",
                span,
                notes=("when both are written, the result depends on the order",),
                help="leave one of them out of the circuit, or of what is looked at: outside(c, among=…)",
            )
            return True
    return False


def refuse_dictionaries(
    nodes: Iterable[OutputNode], what: str, span: Span, found: Diagnostics, search: bool = False
) -> bool:
    """Report nodes of dictionaries where there can be none (E952): along edges, or in a ``search`` of another kind."""
    node = next((node for node in nodes if node.dictionary is not None), None)
    if node is None:
        return False
    assert node.dictionary is not None
    found.report(
        "E952",
        f"nodes of {node.dictionary.shown} {what}",
        span,
        notes=("edges begin at heads, MLPs and the embedding, each as a whole",),
        help="find nodes by gradients or one by one: discover(nodes, method=eap_ig(steps=5), among=…, keep=10%, by=absolute)"
        if search
        else "let the edge begin and end at whole components, or write the nodes themselves: do(c.a <- source)",
    )
    return True


__all__ = ["parsed", "read_through", "refuse_dictionaries", "refuse_meeting_nodes"]
