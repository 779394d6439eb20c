"""A causal model as a graph: inputs at the top, each variable below those that it is computed from, outputs at the bottom."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from markupsafe import Markup

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.report.html.environment import made_of, safe
from causal_dsl.score.setting import ModelVariable

_HIGH, _GAP, _ROW, _EDGE = 26, 26, 68, 8
#: The room of a line that passes between the boxes of a row.
_LINE = 4.0

#: A variable, and a row that it is in or that a line from it passes.
_Key = tuple[str, int]


@dataclass(frozen=True)
class _RowSlot:
    """A place in a row: of a variable, or of a line from one that is ``passing``; ``above`` are the slots that lead into it."""

    key: _Key
    wide: float
    above: tuple[_Key, ...]
    passing: bool = False


def model_graph(name: str, model: Sequence[ModelVariable], placed: Collection[str], own: str) -> Markup:
    """The graph and the table of a model; ``own`` tells models of one name apart on a page. Variables that an alignment has ``placed`` in the network are filled."""
    ranks = _ranks(model)
    widths = {one.name: 18 + 7.6 * len(one.name) for one in model}
    rows = _rows(model, ranks, widths)
    spans = [sum(slot.wide + _GAP for slot in row) - _GAP for row in rows]
    wide = max([*spans, 120]) + 2 * _EDGE
    at: dict[_Key, float] = {}
    parts: list[Markup] = []
    for level, (row, span) in enumerate(zip(rows, spans, strict=True)):
        left = (wide - span) / 2
        for slot in sorted(row, key=lambda slot: _middle(slot, at)):
            at[slot.key] = left + slot.wide / 2
            left += slot.wide + _GAP
        parts += [part for slot in row for part in _edges(slot, at, level)]
    parts += [
        _box(one, at[one.name, ranks[one.name]], _height(ranks[one.name]), widths[one.name], one.name in placed)
        for one in model
    ]
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


def _rows(
    model: Sequence[ModelVariable], ranks: Mapping[str, int], widths: Mapping[str, float]
) -> list[list[_RowSlot]]:
    """The slots of each row: a variable has one, and where it is needed further down than in the next row, what leads from it
    has one in each row between, so that it passes under no box (Sugiyama, Tagawa and Toda 1981)."""
    rows: list[list[_RowSlot]] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
    deepest = dict(ranks)
    for one in model:
        level = ranks[one.name]
        known = [parent for parent in dict.fromkeys(one.parents) if parent in ranks]
        rows[level].append(
            _RowSlot((one.name, level), widths[one.name], tuple((parent, level - 1) for parent in known))
        )
        for parent in known:
            deepest[parent] = max(deepest[parent], level)
    for one in model:
        for level in range(ranks[one.name] + 1, deepest[one.name]):
            rows[level].append(_RowSlot((one.name, level), _LINE, ((one.name, level - 1),), True))
    return rows


def _middle(slot: _RowSlot, at: Mapping[_Key, float]) -> float:
    return sum(at[key] for key in slot.above) / len(slot.above) if slot.above else 0.0


def _height(level: int) -> float:
    """The middle of a row."""
    return _EDGE + _HIGH / 2 + level * _ROW


def _edges(slot: _RowSlot, at: Mapping[_Key, float], level: int) -> Iterator[Markup]:
    """The marks that lead into a slot from the row above, with an arrow where a variable is there, and else on through the row."""
    y, low = _height(level - 1) + _HIGH / 2, _height(level) - _HIGH / 2
    far, half = at[slot.key], (y + low) / 2
    for key in slot.above:
        x = at[key]
        ends = Markup("V{:.1f}").format(low + _HIGH) if slot.passing else ""
        arrow = "" if slot.passing else Markup(' marker-end="url(#arrow)"')
        yield Markup(
            '<path d="M{:.1f},{:.1f}C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}{}" fill="none" stroke="var(--soft)"{}/>'
        ).format(x, y, x, half, far, half, far, low, ends, arrow)


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
