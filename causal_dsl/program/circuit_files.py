"""Circuits of files: `json("found.json", keep=10%, by=absolute)`, of nodes or of edges."""

from __future__ import annotations

import json
import math
import re
from dataclasses import field
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Source, Span, did_you_mean, shown_path
from causal_dsl.program.circuit_edges import refuse_edges
from causal_dsl.program.circuit_members import Members
from causal_dsl.program.circuit_sites import CircuitSites
from causal_dsl.program.edge_sets import SENDERS, EdgeSet, EdgeSpot, edge_name, every_edge, ports_of
from causal_dsl.program.file_networks import warn_of_another, weights_said
from causal_dsl.program.nodes import EVERYWHERE, OutputNode, Spot, kinds_of, universe
from causal_dsl.program.read_dictionaries import parsed
from causal_dsl.program.read_settings import read_settings
from causal_dsl.store.json_text import json_of
from causal_dsl.store.reading import is_file, may_read, no_file
from causal_dsl.store.reads import LARGEST_SETTINGS, read_bytes
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import parse
from causal_dsl.vocabulary.called_words import CALLED
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import Port

#: What a file may say: its members, and how and where they were found.
_ENTRIES = ("nodes", "edges", "method", "metric", "pairs", "network")
_PORT = re.compile(r"logits|layer\[(\d+)\]\.(?:head\[(\d+)\]\.([qkv])|mlp(?:_in)?)")
_NODE = re.compile(r"embed|layer\[(\d+)\]\.(?:head\[(\d+)\]|(mlp_out)|neurons\[(\d+)\]|out\[(\d+)\])|input\[(\d+)\]")


@dataclass
class SaidByFiles:
    """The entries of the files of the circuits of an action beside their members: the ``scores`` of edges by their names, and by the path of
    each file the SHA-256 of the ``weights`` that the circuit was found on."""

    scores: dict[str, float] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)


def read_file(call: tree.Call, folder: Path, sites: CircuitSites, said: SaidByFiles | None = None) -> Members | None:
    """The nodes of a file ``{"nodes": ["layer[3].head[1]", …]}``, or of ``{"nodes": {"layer[3].head[1]": 0.7, …}}`` the
    ``keep`` with the highest scores (a share of them, or a number from 1 on), ``by`` signed or absolute score; in the same way the
    edges of ``{"edges": {"embed -> layer[3].head[1].q": 0.7, …}}``. A name may end with tokens, `embed[subject]`.
    The scores of the edges that are kept, and the weights that they were found on, are entered into ``said``. A node of a dictionary, `layer[3].resid_post via sae("…", latents=[5])`, is
    read as in a circuit that is written out. A file of another network than that of ``sites`` is warned of (W805), and so are entries that decide nothing (W806)."""
    network, facts, found = sites.network, sites.facts, sites.diagnostics
    settings = read_settings("json", call.arguments, CALLED["json"].settings, found, call.span)
    if settings is None:
        return None
    path = folder / settings["path"]
    if not may_read(path, settings["path"], call.span, found, LARGEST_SETTINGS, folder=False):
        return None
    if not is_file(path):
        _refuse(no_file(path, settings["path"]), "name a JSON file, relative to this spec", call.span, found)
        return None
    try:
        held: Any = json_of(read_bytes(path, LARGEST_SETTINGS))
    except (OSError, ValueError) as error:
        _refuse(f"cannot read `{shown_path(path)}`", str(error)[:120], call.span, found)
        return None
    there = held if isinstance(held, dict) else {}
    if "edges" in there and "nodes" in there:
        help = "a circuit is its nodes, or its edges: leave one of them out, or make a file of each"
        _refuse(f"`{shown_path(path)}` names nodes and edges", help, call.span, found)
        return None
    if "network" in there:
        warn_of_another(there["network"], network, shown_path(path), call.span, found)
        if said is not None and (digest := weights_said(there["network"])):
            said.weights[shown_path(path)] = digest
    unread = [name for name in there if name not in _ENTRIES]
    if unread:
        found.report(
            "W806",
            f"`{unread[0][:60]}` of `{shown_path(path)}` is not read",
            call.span,
            help=did_you_mean(unread[0], _ENTRIES, "leave it out, or name it in a file of its own"),
        )
    what = "edges" if "edges" in there else "nodes"
    nodes = there.get(what)
    if isinstance(nodes, list) and all(isinstance(name, str) for name in nodes):
        if settings["keep"] is not None or settings["by"] is not None:
            _refuse(f"the {what} of `{shown_path(path)}` have no scores", "leave `keep` and `by` out", call.span, found)
            return None
        chosen = nodes
    elif isinstance(nodes, dict) and _no_score(nodes) is None:
        ranked = _ranked(nodes, what, settings, call.span, found)
        if ranked is None:
            return None
        chosen = ranked
        if what == "edges" and said is not None:
            known = ((_at_tokens(name, call.span, sites)[0], nodes[name]) for name in ranked)
            edges = ((edge_of(name), score) for name, score in known)
            said.scores |= {edge_name(*edge): float(score) for edge, score in edges if edge is not None}
    else:
        one = "embed -> layer[3].head[1].q" if what == "edges" else "layer[3].head[1]"
        help = f'write {{"{what}": ["{one}", …]}}, or a score for each: {{"{what}": {{"{one}": 0.7}}}}'
        odd = _no_score(nodes) if isinstance(nodes, dict) else None
        title = (
            "names no nodes and no edges"
            if nodes is None or odd is None
            else f"has no number as the score of `{odd[:60]}`"
        )
        if isinstance(nodes, list):
            place, entry = next((i, entry) for i, entry in enumerate(nodes) if not isinstance(entry, str))
            title = f"has `{json.dumps(entry)[:60]}` as entry {place + 1} of `{what}`, which is not a name"
        elif nodes is not None and not isinstance(nodes, dict):
            title = f"has `{what}` that are neither a list of names nor a score for each"
        _refuse(f"`{shown_path(path)}` {title}", help, call.span, found)
        return None
    if not facts.traits.seen:  # whether it has them is known once it is loaded
        return _named(chosen, what, path, facts, call.span, found, sites)
    if what == "edges":
        return None if refuse_edges(facts, call.span, found) else _edges(chosen, path, facts, call.span, found, sites)
    own = [name for name in chosen if " via " not in name]
    inside = _through(chosen, path, facts, call.span, found, sites)
    spots = _known(own, path, facts, call.span, found, sites)
    return None if spots is None or inside is None else (*spots, *inside)


def _no_score(nodes: dict[str, Any]) -> str | None:
    """The first of some nodes or edges whose score is no number."""
    numbers = (name for name, s in nodes.items() if isinstance(s, int | float) and not isinstance(s, bool))
    good = {name for name in numbers if math.isfinite(nodes[name])}
    return next((name for name in nodes if name not in good), None)


def _ranked(
    nodes: dict[str, float], what: str, settings: dict[str, Any], span: Span, found: Diagnostics
) -> list[str] | None:
    """The nodes or edges that are kept, by score. How they are ranked is said, not taken for granted."""
    keep, by = settings["keep"], settings["by"]
    if keep is None:
        return list(nodes)
    if by is None:
        _refuse(
            f"the order of the {what} is not stated",
            "write by=signed or by=absolute: they give other circuits",
            span,
            found,
        )
        return None
    if isinstance(keep, float) and keep > 1:
        above = (
            f"a share of {100 * keep:g}%, above 100%"
            if keep == int(keep)
            else f"{keep:g}, neither a share of 100% or less nor a whole number"
        )
        _refuse(f"`keep` is {above}", f"write a share up to 100%, keep=10%, or a number of {what}", span, found)
        return None
    count = math.ceil(keep * len(nodes) - 1e-9) if isinstance(keep, float) else keep
    if keep <= 0 or count != int(count) or count > len(nodes):
        _refuse(
            f"`keep` is {keep:g} of {len(nodes)} {what}",
            f"write a share, keep=10%, or a number of {what} from 1 on",
            span,
            found,
        )
        return None
    size = abs if by == "absolute" else float
    return sorted(nodes, key=lambda name: (-size(nodes[name]), name))[: int(count)]


def _named(
    names: list[str],
    what: str,
    path: Path,
    facts: Facts,
    span: Span,
    found: Diagnostics,
    sites: CircuitSites,
) -> Members | None:
    """No members yet: what the names of a network's components are is not known. Names that no network has are refused."""
    reads = edge_of if what == "edges" else node_of
    names = [name for name in names if not (what == "nodes" and " via " in name)]
    wrong = next((name for name in names if reads(_at_tokens(name, span, sites)[0]) is None), None)
    if wrong is not None:
        help = "an edge is embed -> layer[3].head[1].q, say" if what == "edges" else "a node is layer[3].head[1], say"
        _refuse(f"`{shown_path(path)}` names `{wrong[:60]}`, which no network has", help, span, found)
        return None
    return EdgeSet(ports_of(facts)) if what == "edges" else ()


def _known(
    names: list[str],
    path: Path,
    facts: Facts,
    span: Span,
    found: Diagnostics,
    sites: CircuitSites,
) -> tuple[Spot, ...] | None:
    spots: dict[Spot, None] = {}
    every: set[OutputNode] | None = None
    for whole in names:
        name, at, good = _at_tokens(whole, span, sites)
        node = node_of(name) if good else None
        if every is None:
            every = set(universe(facts, kinds_of(facts)) or ())
        inside = node is not None and (
            node in every
            or (
                node.kind == "neuron" and OutputNode("mlp", node.layer) in every and node.index < (facts.mlp_width or 0)
            )
        )
        if node is None or not inside:
            close = did_you_mean(name, [str(one) for one in sorted(every)[:2000]], "a node is layer[3].head[1], say")
            _refuse(f"`{shown_path(path)}` names `{whole[:60]}`, which this network does not have", close, span, found)
            return None
        spots[node, at or facts.traits.everywhere] = None
    return tuple(spots)


#: How the name of a node of a dictionary ends: with the latent, as the error term, or of a feature that is one node; and its tokens.
_OF_DICTIONARY = re.compile(r"(.+ via .+?)(?:(?:, |\()latents=\[(\d+)\]\)|\)(\.error\(\))|\))(\[.*\])?")


def _through(
    names: list[str],
    path: Path,
    facts: Facts,
    span: Span,
    found: Diagnostics,
    sites: CircuitSites,
) -> tuple[Spot, ...] | None:
    """The nodes of dictionaries among some names. A dictionary is read once."""
    known: dict[str, dict[object, OutputNode]] = {}
    spots: list[Spot] = []
    for name in names:
        if " via " not in name:
            continue
        match = _OF_DICTIONARY.fullmatch(name)
        head, latent, error, tokens = match.groups() if match is not None else ("", None, None, None)
        if head and head not in known:
            own: dict[object, OutputNode] = {}
            for end in (")", ").error()"):
                member = parsed(head + end, span.source.path)
                read = sites.through(member) if member is not None else ()
                if read is None:
                    return None
                own |= {node.index if node.kind == "latent" else node.kind: node for node, _ in read}
            known[head] = own
        key = int(latent) if latent is not None else "error" if error else "feature"
        node = known.get(head, {}).get(key)
        at = None if tokens is None else _at_tokens(f"embed{tokens}", span, sites)[1]
        if node is None or (tokens is not None and at is None):
            help = 'a node of a dictionary is layer[3].resid_post via sae("folder", latents=[5])'
            _refuse(f"`{shown_path(path)}` names `{name[:90]}`, which is not a node here", help, span, found)
            return None
        spots.append((node, at or facts.traits.everywhere))
    return tuple(spots)


def _at_tokens(name: str, span: Span, sites: CircuitSites) -> tuple[str, Position | None, bool]:
    """A name without the tokens that it ends with, these, and whether they can be read."""
    if node_of(name) is not None or edge_of(name) is not None:
        return name, None, True
    start = next((i for i, sign in enumerate(name) if sign == "[" and _whole(name[:i])), None)
    if start is None or not name.endswith("]"):
        return name, None, False
    quiet = Diagnostics()
    read = parse(Source(span.source.path, f"circuit c : n {{\n  g = embed{name[start:]}\n}}"), quiet)
    site = next((node for node in read.walk() if isinstance(node, tree.Subscript)), None)
    index = site.indices[0] if site is not None and not quiet.errors and len(site.indices) == 1 else None
    found = None if index is None or isinstance(index, tree.Slice) else sites.sites.position(index)
    return name[:start], found, found is not None


def _whole(name: str) -> bool:
    return node_of(name) is not None or edge_of(name) is not None


def _edges(
    names: list[str],
    path: Path,
    facts: Facts,
    span: Span,
    found: Diagnostics,
    sites: CircuitSites,
) -> EdgeSet | None:
    every, ports = every_edge(facts, SENDERS), ports_of(facts)
    masks = {} if every is None else {node: mask for (node, _), mask in every.senders}
    made: list[EdgeSpot] = []
    for whole in names:
        name, at, good = _at_tokens(whole, span, sites)
        edge = edge_of(name) if good else None
        bit = 0 if edge is None or not ports.has(edge[1]) else 1 << ports.number(edge[1])
        if edge is None or not masks.get(edge[0], 0) & bit:
            close = [edge_name(node, port) for node, port, _ in every or ()][:20_000]
            help = did_you_mean(name, close, "an edge is embed -> layer[3].head[1].q, say")
            _refuse(
                f"`{shown_path(path)}` names `{whole[:60]}`, which is not an edge of this network", help, span, found
            )
            return None
        made.append((*edge, at or EVERYWHERE))
    return EdgeSet.of(ports, made)


def edge_of(name: str) -> tuple[OutputNode, Port] | None:
    """The edge that a text names, as :func:`edge_name` writes it; None where it names none."""
    sender, _, receiver = name.replace(" ", "").partition("->")
    node, match = node_of(sender), _PORT.fullmatch(receiver)
    if node is None or match is None:
        return None
    layer, head, port = match.groups()
    if layer is None:
        return node, Port("logits")
    return node, Port("mlp", int(layer)) if head is None else Port(port, int(layer), int(head))  # type: ignore[arg-type]


def node_of(name: str) -> OutputNode | None:
    """The node that a text names, as ``str(node)`` writes it; None where it names none."""
    match = _NODE.fullmatch(name.replace(" ", ""))
    if match is None:
        return None
    layer, head, mlp, neuron, unit, entry = match.groups()
    if entry is not None:
        return OutputNode("input", -1, int(entry))
    if layer is None:
        return OutputNode("embed")
    if head is not None:
        return OutputNode("head", int(layer), int(head))
    if mlp is not None:
        return OutputNode("mlp", int(layer))
    return (
        OutputNode("neuron", int(layer), int(neuron))
        if neuron is not None
        else OutputNode("unit", int(layer), int(unit))
    )


def _refuse(title: str, help: str, span: Span, found: Diagnostics) -> None:
    found.report("E805", title, span, help=help)


__all__ = ["edge_of", "node_of", "read_file"]
