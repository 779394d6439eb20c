"""A causal model as a graph: inputs at the top, each variable below those that it is computed from, outputs at the bottom."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from markupsafe import Markup

from causal_dsl.report.html.environment import made_of, safe
from causal_dsl.score.setting import ModelVariable

_HIGH, _GAP, _ROW, _EDGE = 26, 26, 68, 8


def model_graph(name: str, model: Sequence[ModelVariable], placed: Collection[str], own: str) -> Markup:
    """The graph and the table of a model; ``own`` tells models of one name apart on a page. Variables that an alignment has ``placed`` in the network are filled."""
    ranks = _ranks(model)
    rows: list[list[ModelVariable]] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
    for one in model:
        rows[ranks[one.name]].append(one)
    widths = {one.name: 18 + 7.6 * len(one.name) for one in model}
    spans = [sum(widths[one.name] + _GAP for one in row) - _GAP for row in rows]
    wide = max([*spans, 120]) + 2 * _EDGE
    at: dict[str, tuple[float, float]] = {}
    for level, (row, span) in enumerate(zip(rows, spans, strict=True)):
        left = (wide - span) / 2
        for one in sorted(row, key=lambda v: _middle(v, at, wide)):
            at[one.name] = (left + widths[one.name] / 2, _EDGE + _HIGH / 2 + level * _ROW)
            left += widths[one.name] + _GAP
    parts = [_edge(at[parent], at[one.name]) for one in model for parent in one.parents if parent in at]
    parts += [_box(one, *at[one.name], widths[one.name], one.name in placed) for one in model]
    high = len(rows) * _ROW - _ROW + _HIGH + 2 * _EDGE
    svg = Markup(
        '<svg width="{w:.0f}" height="{h:.0f}" viewBox="0 0 {w:.0f} {h:.0f}" font-size="13" text-anchor="middle" role="img" aria-label="{label}">'
        '<defs><marker id="arrow-{own}-{id}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0L8,4L0,8z" fill="var(--soft)"/></marker></defs>{parts}</svg>'
    ).format(
        w=wide,
        h=high,
        label=safe(f"the causal model {name}"),
        own=own,
        id=_id(name),
        parts=Markup().join(parts).replace("#arrow)", f"#arrow-{own}-{_id(name)})"),
    )
    return made_of("model.html.j2", name=name, svg=svg, model=model, placed=placed)


def _id(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


def _ranks(model: Sequence[ModelVariable]) -> Mapping[str, int]:
    """How far below the inputs each variable is."""
    found: dict[str, int] = {}
    for one in model:
        found[one.name] = max((found[parent] + 1 for parent in one.parents if parent in found), default=0)
    return found


def _middle(one: ModelVariable, at: Mapping[str, tuple[float, float]], wide: float) -> float:
    above = [at[parent][0] for parent in one.parents if parent in at]
    return sum(above) / len(above) if above else 0.0


def _edge(above: tuple[float, float], below: tuple[float, float]) -> Markup:
    (x, y), (far, low) = above, below
    y, low = y + _HIGH / 2, low - _HIGH / 2
    return Markup(
        '<path d="M{:.1f},{:.1f}C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}" fill="none" stroke="var(--soft)" marker-end="url(#arrow)"/>'
    ).format(x, y, x, (y + low) / 2, far, (y + low) / 2, far, low)


def _box(one: ModelVariable, x: float, y: float, wide: float, placed: bool) -> Markup:
    told = f"{one.name}: {one.text or one.domain}" + (", placed in the network" if placed else "")
    return Markup(
        '<g><title>{told}</title><rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h}" rx="{r}" fill="{fill}" stroke="{stroke}" stroke-width="{line}"/>'
        '<text x="{mid:.1f}" y="{base:.1f}" fill="{ink}">{name}</text></g>'
    ).format(
        told=safe(told),
        x=x - wide / 2,
        y=y - _HIGH / 2,
        w=wide,
        h=_HIGH,
        r=13 if one.kind != "mechanism" else 5,
        fill="var(--info-paper)" if placed else "var(--panel)",
        stroke="var(--info)" if placed else "var(--soft)",
        line=2 if one.output else 1,
        mid=x,
        base=y + 4.5,
        ink="var(--info)" if placed else "var(--ink)",
        name=safe(one.name),
    )


__all__ = ["model_graph"]
