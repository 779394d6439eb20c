"""A circuit as a picture: layers upwards, tokens across, and a line for each edge, as SVG without further programs.

A circuit of nodes has no edges of its own. It has pale lines from each node to those that can read what it gives: no one found them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from causal_dsl.program.circuit_members import Members
from causal_dsl.program.edge_sets import EdgeSet, edge_name, nodes_at
from causal_dsl.program.nodes import EVERYWHERE, OutputNode, Spot, stage_of

#: The colour of an edge by what reads it.
COLOURS = {"q": "#3b6fb6", "k": "#c2562d", "v": "#3f8f4f", "mlp": "#7a5aa6", "logits": "#555555"}
_WIDE, _HIGH, _BOX = 58, 92, 46
#: More edges than these are drawn as thin lines.
_MANY = 200
#: More pale lines than these are not drawn.
_MOST_PALE = 400


def circuit_svg(
    members: Members,
    title: str = "",
    weights: Mapping[str, float] | None = None,
    choices: Sequence[str] = (),
    parallel: bool = False,
) -> str:
    """The picture of a circuit. ``weights``: of edges, by their names (``embed -> layer[1].mlp_in``); a line is as thick as the
    absolute weight, and dashed where it is negative. Without weights all are alike. ``choices``: lines below the title, on which
    its numbers stand. ``parallel``: the MLP of a layer reads the same stream as its heads."""
    spots = _spots(members)
    columns = list(dict.fromkeys(position for _, position in spots))
    columns.sort(key=lambda position: (position != EVERYWHERE, str(position)))
    slots = {column: _slots([node for node, at in spots if at == column]) for column in columns}
    start, left = {}, 70
    for column in columns:
        start[column] = left
        left += (max((slot for slot in slots[column].values()), default=0) + 1) * _WIDE + 36
    stages = sorted({stage_of(node) for node, _ in spots})
    rows = {stage: [node for node, _ in spots if stage_of(node) == stage] for stage in stages}
    head = 16 * len(choices)
    height = (len(stages) + 1) * _HIGH + 90 + head
    level = {stage: height - 60 - n * _HIGH for n, stage in enumerate(stages)}
    middle, top = (left - 36 + 70) / 2, height - 60 - len(stages) * _HIGH
    at = {
        (node, column): (start[column] + slots[column][node] * _WIDE + _BOX / 2, level[stage_of(node)])
        for node, column in spots
    }
    edged = isinstance(members, EdgeSet)
    lines = _lines(members, at, (middle, top), weights or {}) if isinstance(members, EdgeSet) else _reach(at, parallel)
    boxes = [_box(_label(node), *at[node, column], _full(node, column)) for node, column in spots]
    if isinstance(members, EdgeSet) and any(port.kind == "logits" for _, port, _ in members):
        boxes.append(_box("logits", middle, top, "logits"))
    marks = [
        f'<text x="12" y="{level[stage] + 4:.0f}" class="words">{escape(_told(rows[stage]))}</text>' for stage in stages
    ] + [
        f'<text x="{start[column]:.0f}" y="{height - 14}" class="words">{escape(str(column))}</text>'
        for column in columns
        if column is not None
    ]
    keys = [
        f'<text x="{70 + 62 * n}" y="{40 + head}" class="words" fill="{colour}">to {kind}</text>'
        for n, (kind, colour) in enumerate(COLOURS.items())
        if lines and edged
    ]
    if lines and not edged:
        keys.append(
            f'<text x="70" y="{40 + head}" class="words" fill="#777">pale lines: can reach, not edges found</text>'
        )
    if weights and edged and lines:
        keys.append(f'<text x="12" y="{40 + head + 14}" class="words">width: abs(score), dashed: negative</text>')
    keys += [
        f'<text x="12" y="{36 + 16 * n}" class="words" fill="#555">{escape(line)}</text>'
        for n, line in enumerate(choices)
    ]
    width = max(left, 420, *(7 * len(line) for line in choices), 0)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
            f'viewBox="0 0 {width:.0f} {height}" font-family="sans-serif">',
            "<style>.words{font-size:11px}.box{font-size:10px;text-anchor:middle}</style>",
            f'<rect width="{width:.0f}" height="{height}" fill="white"/>',
            f'<text x="12" y="20" font-size="13">{escape(title)}</text>',
            *keys,
            *lines,
            *boxes,
            *marks,
            "</svg>",
        ]
    )


def _reach(at: Mapping[Spot, tuple[float, float]], parallel: bool) -> list[str]:
    """A pale line from each node to each that can read what it gives at its token; none where these are too many to be seen."""
    found = []
    for (node, position), (x, y) in at.items():
        for (reader, there), (far, high) in at.items():
            if position == there and _reads(reader, node, parallel):
                told = f"{node} can reach {reader}"
                found.append(
                    f'<path d="M {x:.1f} {y - 11:.1f} L {far:.1f} {high + 11:.1f}" fill="none" stroke="#bbb" '
                    f'stroke-width="0.7" stroke-opacity="0.6"><title>{escape(told)}</title></path>'
                )
    return found if len(found) <= _MOST_PALE else []


def _reads(reader: OutputNode, node: OutputNode, parallel: bool) -> bool:
    """Whether a component reads the stream after another has added to it; in a vector network, the layer above."""
    if reader.kind in ("input", "unit"):
        return reader.layer == node.layer + 1
    if reader.kind == "embed":
        return False
    beside = parallel and node.layer == reader.layer and reader.dictionary is None
    return stage_of(node) < stage_of(reader) and not beside


def _spots(members: Members) -> list[Spot]:
    """The nodes that are drawn, each at each of its tokens."""
    if not isinstance(members, EdgeSet):
        return list(dict.fromkeys(members))
    found: dict[Spot, None] = {}
    for node, port, at in members:
        found[node, at] = None
        found |= dict.fromkeys((reader, at) for reader in nodes_at(port, members.ports))
    return sorted(found, key=lambda spot: (spot[0].layer, stage_of(spot[0]), spot[0].index))


def _slots(nodes: list[OutputNode]) -> dict[OutputNode, int]:
    """The place of each node among those that stand beside it: MLPs are to the right of all heads, so that lines pass by them."""
    found: dict[OutputNode, int] = {}
    heads = Counter(stage_of(node) for node in nodes if node.kind == "head")
    right = max(heads.values(), default=0)
    beside: dict[tuple[float, float], int] = {}
    for node in nodes:
        first = right if node.kind in ("mlp", "neuron") else 0
        found[node] = beside.setdefault(stage_of(node), first)
        beside[stage_of(node)] += 1
    return found


def _told(nodes: Sequence[OutputNode]) -> str:
    """The name of a row of nodes."""
    first = nodes[0]
    if first.dictionary is not None:
        sites = dict.fromkeys(node.dictionary.site.component for node in nodes if node.dictionary is not None)
        return " ".join(([str(first.layer)] if first.layer >= 0 else []) + list(sites))
    return "inputs" if first.layer < 0 else f"{first.layer} {'MLP' if stage_of(first)[1] else 'heads'}"


def _label(node: OutputNode) -> str:
    if node.kind in ("embed", "error", "feature"):
        return node.kind
    if node.kind == "latent":
        return f"f{node.index}"
    return f"{node.layer}.{node.index}" if node.kind in ("head", "unit") else f"{node.kind} {node.layer}"


def _full(node: OutputNode, position: object) -> str:
    return f"{node}" + ("" if position in (None, EVERYWHERE) else f" [{position}]")


def _box(label: str, x: float, y: float, told: str) -> str:
    return (
        f'<g><title>{escape(told)}</title><rect x="{x - _BOX / 2:.1f}" y="{y - 11:.1f}" width="{_BOX}" height="22" rx="5" '
        f'fill="#f4f1ea" stroke="#444"/><text x="{x:.1f}" y="{y + 4:.1f}" class="box">{escape(label)}</text></g>'
    )


def _lines(
    edges: EdgeSet, at: Mapping[Spot, tuple[float, float]], logits: tuple[float, float], weights: Mapping[str, float]
) -> list[str]:
    largest = max((abs(weight) for weight in weights.values() if math.isfinite(weight)), default=0.0)
    plain = 0.6 if len(edges) > _MANY else 1.3
    found = []
    for node, port, position in edges:
        x, y = at[node, position]
        name = edge_name(node, port)
        weight = weights.get(name)
        wide = plain if weight is None or not largest else 0.4 + 5 * abs(weight) / largest
        dashed = ' stroke-dasharray="5 3"' if weight is not None and weight < 0 else ""
        ends = [at[reader, position] for reader in nodes_at(port, edges.ports)] or [logits]
        for far, high in ends:
            bend = (y - 11 + high + 11) / 2
            side = _BOX * 0.8 if far == x and y - high > _HIGH else 0.0  # past what stands between the two
            told = name if weight is None else f"{name}: {weight:.3g}"
            found.append(
                f'<path d="M {x:.1f} {y - 11:.1f} C {x + side:.1f} {bend:.1f}, {far + side:.1f} {bend:.1f}, {far:.1f} {high + 11:.1f}" '
                f'fill="none" stroke="{COLOURS[port.kind]}" stroke-width="{wide:.2f}" stroke-opacity="0.75"{dashed}>'
                f"<title>{escape(told)}</title></path>"
            )
    return found


__all__ = ["COLOURS", "circuit_svg"]
