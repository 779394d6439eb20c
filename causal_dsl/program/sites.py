"""Site expressions to places: `layer[l].head[6, 9].z[last]` in a cell of an alignment's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.components import head_count, missing, takes_position, width
from causal_dsl.program.facts import Facts
from causal_dsl.program.locations import Place, Position, Site
from causal_dsl.program.prompts import Template, check_position
from causal_dsl.program.settings import constant
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.components import COMPONENTS

_EDGES = {"first": Position("index", index=0), "last": Position("index", index=-1), "all": Position("all")}
_PARTS = ("first", "last", "all")
#: A path that begins with one of these is a place in the network.
SITE_HEADS = ("layer", "module", *(name for name, component in COMPONENTS.items() if not component.layer))
_MOST_DIMS = 1_000_000


@dataclass(frozen=True)
class SiteStep:
    """One part of a path: `head` with the indices `[6, 9]`."""

    name: str
    span: Span
    indices: tuple[tree.Expr | tree.Slice, ...] | None = None
    arguments: tuple[tree.Argument, ...] | None = None


def steps(expr: tree.Expr) -> list[SiteStep] | None:
    """A path as the list of its parts; None for an expression that is no path."""
    match expr:
        case tree.Name(name=name):
            return [SiteStep(name, expr.span)]
        case tree.Attribute(value=value, name=ident):
            before = steps(value)
            return None if before is None else [*before, SiteStep(ident.name, ident.span)]
        case tree.Subscript(value=value, indices=indices):
            before = steps(value)
            if before is None or before[-1].indices is not None:
                return None
            return [*before[:-1], replace(before[-1], indices=indices)]
        case tree.Call(function=function, arguments=arguments):
            before = steps(function)
            if before is None or before[-1].indices is not None or before[-1].arguments is not None:
                return None
            return [*before[:-1], replace(before[-1], arguments=arguments)]
    return None


@dataclass
class SiteReader:
    """Makes places of site expressions for one network and one cell.

    ``cell`` maps the alignment's parameters to what they stand for: a number, or the expression of a position.
    """

    facts: Facts
    templates: tuple[Template, ...]
    diagnostics: Diagnostics
    cell: Mapping[str, tree.Expr] = field(default_factory=dict)

    # ── the path ────────────────────────────────────────────────────────────────────────────────

    def place(self, expr: tree.Expr, *, whole: bool = False) -> Place | None:
        """The place that ``expr`` names; None and a diagnostic where there is none.

        ``whole`` allows a sequence site without a position, as circuits name them.
        """
        path = steps(expr)
        if path is None:
            self._report(
                "E450",
                f"`{format_expr(expr)[:60]}` is not a site",
                expr.span,
                help="a site is a path such as layer[3].resid_post[last]",
            )
            return None
        head, *rest = path
        rest = [self._word(step) for step in rest]
        if head.name == "layer":
            site, last = self._in_layer(head, rest, expr.span, whole)
        elif head.name == "module":
            site, last = self._module(head), head
            if rest:
                self._report(
                    "E450",
                    f"`module(…)` has no `{rest[0].name}`",
                    rest[0].span,
                    help='the path of the module stands inside the quotes: module("a.b")[last]',
                )
                return None
        elif head.name in COMPONENTS and not COMPONENTS[head.name].layer:
            site, last = Site(head.name), head
            if rest:
                self._report(
                    "E450", f"`{head.name}` has no `{rest[0].name}`", rest[0].span, help=f"write `{head.name}[…]`"
                )
                return None
        else:
            self._unknown_head(head)
            return None
        if site is None or last is None:
            return None
        if site.component != "module":
            reason = missing(site.component, self.facts)
            if reason is not None:
                self._report(
                    "E451",
                    f"this network has no `{site.component}`",
                    last.span,
                    notes=(reason,),
                    help=self._instead(site.component),
                )
                return None
        return self._subscript(site, last, whole, expr.span)

    def _word(self, step: SiteStep) -> SiteStep:
        """A part of a path, or the one that a parameter stands for: ``layer[l].s`` with ``s`` for ``mlp_out``."""
        value = self.cell.get(step.name)
        if step.name in COMPONENTS or step.name == "head" or not isinstance(value, tree.Name):
            return step
        return replace(step, name=value.name)

    def _unknown_head(self, head: SiteStep) -> None:
        inside = [name for name, component in COMPONENTS.items() if component.layer]
        if head.name in inside or head.name == "head":
            help = f"it is in a layer: write layer[…].{head.name}[…]"
        else:
            help = did_you_mean(
                head.name,
                SITE_HEADS,
                "a site begins with `layer[…]`, `module(…)` or "
                + ", ".join(f"`{name}`" for name in SITE_HEADS if name not in ("layer", "module")),
            )
        self._report("E452", f"no site or variable `{head.name}`", head.span, help=help)

    def _instead(self, component: str) -> str:
        layered = COMPONENTS[component].layer
        there = [n for n, c in COMPONENTS.items() if missing(n, self.facts) is None and c.layer == layered]
        return "this network has " + ", ".join(f"`{name}`" for name in there) if there else ""

    def _in_layer(
        self, head: SiteStep, rest: list[SiteStep], span: Span, whole: bool
    ) -> tuple[Site | None, SiteStep | None]:
        if head.indices is None or len(head.indices) != 1:
            self._report("E453", "`layer` needs one index", head.span, help="write layer[3].resid_post[last]")
            return None, None
        layer = self.integer(head.indices[0], "a layer")
        if layer is None:
            return None, None
        count = self.facts.layers
        if layer < 0 or (count is not None and layer >= count):
            self._report(
                "E454",
                f"there is no layer {layer}",
                head.indices[0].span,
                label="out of range",
                notes=self._swept(head.indices[0]),
                help=f"layers run from 0 to {count - 1}" if count is not None else "layers are counted from 0",
            )
            return None, None
        if not rest:
            self._report(
                "E453",
                "which vector of the layer?",
                span,
                help="write layer[…].resid_post[last], .attn_out, .mlp_out, …",
            )
            return None, None
        if rest[0].name == "head":
            return self._in_head(layer, rest, whole)
        step = rest[0]
        component = COMPONENTS.get(step.name)
        if component is None or not component.layer:
            inside = [name for name, c in COMPONENTS.items() if c.layer and missing(name, self.facts) is None]
            self._report(
                "E452",
                f"a layer has no site `{step.name}`",
                step.span,
                help=did_you_mean(step.name, [*inside, "head"], "a layer has " + ", ".join(inside)),
            )
            return None, None
        if len(rest) > 1:
            self._report(
                "E450", f"`{step.name}` has no `{rest[1].name}`", rest[1].span, help=f"end the site at `{step.name}[…]`"
            )
            return None, None
        heads: tuple[int, ...] = ()
        if component.heads:
            heads = tuple(range(head_count(step.name, self.facts) or 0))
        return Site(step.name, layer, heads), step

    def _in_head(self, layer: int, rest: list[SiteStep], whole: bool) -> tuple[Site | None, SiteStep | None]:
        head = rest[0]
        if not head.indices:
            self._report("E453", "`head` needs an index", head.span, help="write head[5], or head[6, 9] for two")
            return None, None
        named = [name for name, component in COMPONENTS.items() if component.heads]
        if len(rest) == 1 and whole:
            step = SiteStep("z", head.span)
        elif len(rest) == 1:
            self._report(
                "E453",
                "which vector of the head?",
                head.span,
                help="write head[…].z[last]; there is " + ", ".join(named),
            )
            return None, None
        else:
            step = rest[1]
        if step.name not in named:
            self._report(
                "E452",
                f"a head has no site `{step.name}`",
                step.span,
                help=did_you_mean(step.name, named, "a head has " + ", ".join(named)),
            )
            return None, None
        if len(rest) > 2:
            self._report(
                "E450", f"`{step.name}` has no `{rest[2].name}`", rest[2].span, help=f"end the site at `{step.name}[…]`"
            )
            return None, None
        count = head_count(step.name, self.facts)
        heads = self._integers(head.indices, count, "head", head.span)
        return (None, None) if heads is None else (Site(step.name, layer, heads), step)

    def _module(self, head: SiteStep) -> Site | None:
        arguments = head.arguments or ()
        if len(arguments) != 1 or not isinstance(arguments[0].value, tree.String) or arguments[0].name is not None:
            self._report(
                "E450", "`module` takes the path of a module in quotes", head.span, help='write module("a.b")[last]'
            )
            return None
        return Site("module", module=arguments[0].value.value)

    # ── what stands in the last brackets ────────────────────────────────────────────────────────

    def _subscript(self, site: Site, step: SiteStep, whole: bool, span: Span) -> Place | None:
        indices = list(step.indices or ())
        position: Position | None = None
        # Of a network that nothing is known of, a prompt in the alignment tells that it reads tokens.
        if takes_position(site.component, self.facts) and (self.facts.kind != "unknown" or self.templates):
            if not indices:
                if whole:
                    return Place(site, Position("all"))
                self._report(
                    "E455",
                    f"`{site}` says no position",
                    span,
                    notes=("a sequence network has this vector at every token",),
                    help=f"write `{site}[last]`, or the name of a placeholder of the prompt",
                )
                return None
            index = indices.pop(0)
            if isinstance(index, tree.Slice):
                self._report(
                    "E455",
                    f"`{step.name}` needs a position before its dims",
                    index.span,
                    help=f"write `{site}[last, {_slice_text(index)}]`",
                )
                return None
            position = self.position(index)
            if position is None:
                return None
        if indices:
            dims = self._integers(tuple(indices), width(site, self.facts), "coordinate", span)
            if dims is None:
                return None
            site = replace(site, dims=dims)
        return Place(site, position)

    def position(self, expr: tree.Expr) -> Position | None:
        """The position that an index names: a hole, an edge, a number, or a literal of the prompt."""
        if isinstance(expr, tree.Name) and expr.name in self.cell:
            return self.position_outside(self.cell[expr.name])
        return self.position_outside(expr)

    def position_outside(self, expr: tree.Expr) -> Position | None:
        """As :meth:`position`, for an expression in which the cell's parameters do not occur."""
        value = constant(expr)
        if isinstance(value, int) and not isinstance(value, bool):
            return Position("index", index=value)
        if isinstance(value, str):
            return self._text(value, expr.span)
        part = ""
        base = expr
        if isinstance(expr, tree.Attribute):
            part, base = expr.name.name, expr.value
            if part not in _PARTS:
                self._report(
                    "E532", f"a placeholder has no part `{part}`", expr.name.span, help=did_you_mean(part, _PARTS)
                )
                return None
        occurrence = 0
        if isinstance(base, tree.Call):
            number = constant(base.arguments[0].value) if len(base.arguments) == 1 else None
            if not isinstance(number, int) or not isinstance(base.function, (tree.Name, tree.String)) or number < 1:
                self._report(
                    "E532",
                    f"`{format_expr(base)[:60]}` is not a position",
                    base.span,
                    help="the second use of a placeholder is written `name(2)`",
                )
                return None
            base, occurrence = base.function, number
        if isinstance(base, tree.String):
            return self._text(base.value, base.span, part, occurrence)
        if not isinstance(base, tree.Name):
            self._report(
                "E532",
                f"`{format_expr(expr)[:60]}` is not a position",
                expr.span,
                help='write a placeholder of the prompt, first, last, all, a whole number, or ["a word of the prompt"]',
            )
            return None
        return self._hole(base, occurrence, part)

    def _text(self, literal: str, span: Span, part: str = "", occurrence: int = 0) -> Position | None:
        position = Position("text", literal, occurrence, part or "last")  # type: ignore[arg-type]
        return position if self._in_every_prompt(position, span) else None

    def _hole(self, name: tree.Name, occurrence: int, part: str) -> Position | None:
        holes = {hole for template in self.templates for hole in template.holes}
        if name.name in _EDGES and name.name not in holes:
            if part or occurrence:
                self._report(
                    "E532",
                    f"`{name.name}` is one token or all: it has no parts",
                    name.span,
                    help=f"write `{name.name}`",
                )
                return None
            return _EDGES[name.name]
        if name.name in _EDGES and not part:
            other = "another name for the placeholder" if name.name == "all" else str(_EDGES[name.name].index)
            self._report(
                "E535",
                f"`{name.name}` is both a placeholder of the prompt and a position",
                name.span,
                help=f"write `{name.name}.last` for the last token of the placeholder, or {other} for the position",
            )
            return None
        position = Position("hole", name.name, occurrence, part or "last")  # type: ignore[arg-type]
        return position if self._in_every_prompt(position, name.span) else None

    def _in_every_prompt(self, position: Position, span: Span) -> bool:
        if not self.templates:
            self._report(
                "E534",
                f"no position `{position}`: the alignment has no prompt",
                span,
                help='write prompt "…" in the alignment',
            )
            return False
        return all(check_position(position, template, span, self.diagnostics) for template in self.templates)

    # ── numbers ─────────────────────────────────────────────────────────────────────────────────

    def integer(self, expr: tree.Expr | tree.Slice, what: str) -> int | None:
        """A whole number from literals, the cell's parameters, and ``+ - *`` of them."""
        value = self._arithmetic(expr)
        if value is None:
            help = "write a whole number"
            if isinstance(expr, tree.Slice):
                help = f"name one, or make it a parameter: align name(l in {_slice_text(expr)}) : …"
            elif isinstance(expr, tree.Name) and expr.name not in self.cell:
                help = did_you_mean(
                    expr.name, self.cell, "write a whole number, or make it a parameter of the alignment"
                )
            text = _slice_text(expr) if isinstance(expr, tree.Slice) else format_expr(expr)
            self._report("E456", f"`{text[:60]}` does not name {what}", expr.span, notes=self._swept(expr), help=help)
        return value

    def _swept(self, expr: tree.Expr | tree.Slice) -> tuple[str, ...]:
        """What the parameters in an index are in this cell: the text at the place does not tell."""
        names = dict.fromkeys(
            node.name for node in expr.walk() if isinstance(node, tree.Name) and node.name in self.cell
        )
        return tuple(f"`{name}` is {format_expr(self.cell[name])} in a cell of the alignment" for name in names)

    def _arithmetic(self, expr: tree.Expr | tree.Slice) -> int | None:
        match expr:
            case tree.Name(name=name) if name in self.cell:
                value = constant(self.cell[name])
                return value if isinstance(value, int) and not isinstance(value, bool) else None
            case tree.Binary(op=op, left=left, right=right) if op in "+-*":
                a, b = self._arithmetic(left), self._arithmetic(right)
                if a is None or b is None or max(abs(a), abs(b)) > 2**40:
                    return None
                return a + b if op == "+" else a - b if op == "-" else a * b
            case tree.Unary(op="-", operand=operand):
                value = self._arithmetic(operand)
                return None if value is None else -value
            case tree.Number():
                value = constant(expr)
                return value if isinstance(value, int) else None
        return None

    def _integers(
        self, indices: tuple[tree.Expr | tree.Slice, ...], count: int | None, what: str, span: Span
    ) -> tuple[int, ...] | None:
        found: list[int] = []
        for index in indices:
            if isinstance(index, tree.List):
                inner = self._integers(index.items, count, what, index.span)
                if inner is None:
                    return None
                found += inner
                continue
            if isinstance(index, tree.Slice):
                start = 0 if index.start is None else self.integer(index.start, f"a {what}")
                stop = count if index.stop is None else self.integer(index.stop, f"a {what}")
                if index.stop is None and count is None:
                    self._report("E456", f"how many {what}s are there?", index.span, help="write the end of the slice")
                    return None
                if start is None or stop is None:
                    return None
                if start >= stop:
                    self._report(
                        "E457",
                        f"`{start}:{stop}` holds no {what}",
                        index.span,
                        help="the end of a slice is left out: 0:16 is 0 to 15",
                    )
                    return None
            else:
                number = self.integer(index, f"a {what}")
                if number is None:
                    return None
                start, stop = number, number + 1
            if start < 0 or (count is not None and stop > count) or stop - start > _MOST_DIMS:
                first = start if start < 0 else stop - 1
                self._report(
                    "E458",
                    f"there is no {what} {first}",
                    index.span,
                    label="out of range",
                    notes=self._swept(index),
                    help=f"{what}s run from 0 to {count - 1}" if count is not None else f"{what}s are counted from 0",
                )
                return None
            found += range(start, stop)
        if len(set(found)) < len(found):
            self._report("E459", f"the same {what} is named twice", span, help="name each once")
            return None
        return tuple(found)

    def _report(self, code: str, title: str, span: Span, **more: object) -> None:
        self.diagnostics.report(code, title, span, **more)


def _slice_text(index: tree.Slice) -> str:
    return ":".join("" if end is None else format_expr(end) for end in (index.start, index.stop))


def overlap(a: Place, b: Place, facts: Facts) -> bool:
    """Whether two places share a number, as far as can be told without a prompt."""
    a, b = _canonical(a), _canonical(b)
    if (a.site.component, a.site.layer, a.site.module) != (b.site.component, b.site.layer, b.site.module):
        return False
    if not _positions_meet(a.position, b.position):
        return False
    return bool(_coordinates(a.site, facts) & _coordinates(b.site, facts)) if _comparable(a, b, facts) else True


def _canonical(place: Place) -> Place:
    """The residual stream after a layer is the stream before the next: one name for both."""
    if place.site.component == "resid_pre" and place.site.layer:
        return Place(replace(place.site, component="resid_post", layer=place.site.layer - 1), place.position)
    return place


def _positions_meet(a: Position | None, b: Position | None) -> bool:
    for one, other in ((a, b), (b, a)):
        if one is not None and one.kind == "several":
            return any(_positions_meet(part, other) for part in one.parts)
    if a is None or b is None or "all" in (a.kind, b.kind):
        return True
    if a.kind != b.kind or (a.name, a.occurrence, a.index) != (b.name, b.occurrence, b.index):
        return False
    return a.part == b.part or "all" in (a.part, b.part)


def _comparable(a: Place, b: Place, facts: Facts) -> bool:
    return width(replace(a.site, dims=None), facts) is not None or (a.site.dims is not None and b.site.dims is not None)


def _coordinates(site: Site, facts: Facts) -> set[tuple[int, int]]:
    """The (head, coordinate) pairs that a site covers; head is -1 outside attention heads."""
    if not site.heads:
        total = site.dims if site.dims is not None else range(width(site, facts) or 0)
        return {(-1, d) for d in total}
    each = (width(replace(site, dims=None), facts) or 0) // len(site.heads)
    everything = [(head, d) for head in site.heads for d in range(each)]
    return set(everything) if site.dims is None else {everything[d] for d in site.dims}
