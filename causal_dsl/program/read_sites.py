"""Site expressions to places: `layer[l].head[6, 9].z[last]` in a cell of an alignment's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.components import head_count, lacking, missing, shared_heads, takes_position, usable, width
from causal_dsl.program.counts import loaded, numbers_of
from causal_dsl.program.indices import arithmetic, integer, integers, swept
from causal_dsl.program.paths import SiteStep, steps
from causal_dsl.program.positions import PositionReader
from causal_dsl.program.ranges import SiteRange, inside, layer_range, layers_told
from causal_dsl.program.templates import Template
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import named_in, substitute
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.network_facts import Facts

#: A path that begins with one of these is a place in the network.
SITE_HEADS = ("layer", "module", *(name for name, component in COMPONENTS.items() if not component.layer))


@dataclass(frozen=True)
class SiteReader:
    """Makes places of site expressions for one network and one cell.

    ``cell`` maps the alignment's parameters to what they stand for: a number, or the expression of a position.
    """

    facts: Facts
    templates: tuple[Template, ...]
    diagnostics: Diagnostics
    cell: Mapping[str, tree.Expr] = field(default_factory=dict)
    #: whose variables positions may depend on
    model: CausalModel | None = None
    #: no prompt is known yet, in which positions are looked for: each stands for all tokens
    free: bool = False

    @property
    def numbers(self) -> Mapping[str, tree.Expr]:
        """The meanings of names in an index: parameters, `layers` and `heads`."""
        return {**numbers_of(self.facts), **self.cell}

    # ── the path ────────────────────────────────────────────────────────────────────────────────

    def places(self, exprs: Sequence[tree.Expr], *, whole: bool = False) -> tuple[Place, ...] | None:
        """The places of several sites, one after the other; None and a diagnostic where one has none."""
        spreads = [self.spread(expr, whole=whole) for expr in exprs]
        if any(spread is None for spread in spreads):
            return None
        return tuple(place for spread in spreads if spread is not None for place in spread.places)

    def spread(self, expr: tree.Expr, *, whole: bool = False) -> SiteRange | None:
        """The places that a site names, one in each layer of a range; None and a diagnostic where there is none.

        ``whole`` allows a sequence site without a position, as circuits name them.
        """
        path = steps(expr)
        if path and path[0].name == "layer" and path[0].indices and _every(path[0].indices, self.cell):
            path[0] = replace(path[0], indices=(tree.Slice(None, None, span=path[0].indices[0].span),))
        indices = path[0].indices if path and path[0].name == "layer" else None
        if not path or indices is None or len(indices) != 1 or not isinstance(indices[0], tree.Slice):
            place = self._place(path, expr, whole)
            return None if place is None else SiteRange({0: place})
        layers = layer_range(indices[0], self.facts, self.numbers, self.diagnostics)
        if layers is None:
            return None
        found: dict[int, Place] = {}
        for layer in inside(layers, self.facts):
            head = replace(path[0], indices=(tree.Number(layer, span=indices[0].span),))
            place = self._place([head, *path[1:]], expr, whole)
            if place is None:
                return None
            found[layer - layers.start] = place
        return SiteRange(found, len(layers))

    def place(self, expr: tree.Expr) -> Place | None:
        """The place that ``expr`` names, which is in no range of layers; None and a diagnostic where there is none."""
        return self._place(steps(expr), expr, whole=False)

    def _place(self, path: list[SiteStep] | None, expr: tree.Expr, whole: bool) -> Place | None:
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
                    help='the path of the module is written inside the quotes: module("a.b")[last]',
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
            here = lacking(site, self.facts) if reason is None else None
            if reason is not None or here is not None:
                self._report(
                    "E451",
                    f"this network has no `{site.component}`"
                    if here is None
                    else f"layer {site.layer} has no `{site.component}`",
                    last.span,
                    notes=(reason or here,),
                    help=self._instead(site.component) if here is None else self._layers_with(site.component),
                )
                return None
        return self._subscript(site, last, whole, expr)

    def _word(self, step: SiteStep) -> SiteStep:
        """A part of a path, or the one that a parameter stands for: ``layer[l].s`` with ``s`` for ``mlp_out``."""
        value = self.cell.get(step.name)
        if step.name in COMPONENTS or step.name in ("head", "expert") or not isinstance(value, tree.Name):
            return step
        return replace(step, name=value.name)

    def _unknown_head(self, head: SiteStep) -> None:
        inside = [name for name, component in COMPONENTS.items() if component.layer]
        if head.name in inside or head.name in ("head", "expert"):
            help = f"it is in a layer: write layer[…].{head.name}[…]"
        else:
            help = did_you_mean(
                head.name,
                SITE_HEADS,
                "a site begins with `layer[…]`, `module(…)` or "
                + ", ".join(f"`{name}`" for name in SITE_HEADS if name not in ("layer", "module")),
            )
        self._report("E452", f"no site or variable `{head.name}`", head.span, help=help)

    def _layers_with(self, component: str) -> str:
        every = range(self.facts.layers or 0)
        there = [number for number in every if lacking(Site(component, number), self.facts) is None]
        return f"it is in layer{'s' if len(there) > 1 else ''} {', '.join(map(str, there))}"

    def _instead(self, component: str) -> str:
        layered = COMPONENTS[component].layer
        there = [name for name in usable(self.facts) if COMPONENTS[name].layer == layered]
        return "this network has " + ", ".join(f"`{name}`" for name in there) if there else ""

    def _in_layer(
        self, head: SiteStep, rest: list[SiteStep], span: Span, whole: bool
    ) -> tuple[Site | None, SiteStep | None]:
        if head.indices is None or len(head.indices) != 1:
            self._report("E453", "`layer` needs one index", head.span, help="write layer[3].resid_post[last]")
            return None, None
        layer = integer(head.indices[0], "a layer", self.numbers, self.diagnostics)
        if layer is None:
            return None, None
        count = self.facts.layers
        if layer < 0 or (count is not None and layer >= count):
            self._report(
                "E454",
                f"there is no layer {layer}",
                head.indices[0].span,
                label="out of range",
                notes=swept(head.indices[0], self.numbers),
                help=layers_told(count)
                + ("; a parameter is in all of them by `l in 0:layers`" if swept(head.indices[0], self.cell) else ""),
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
        if rest[0].name == "expert":
            return self._in_expert(layer, rest)
        step = rest[0]
        component = COMPONENTS.get(step.name)
        if component is None or not component.layer:
            inside = [name for name in usable(self.facts) if COMPONENTS[name].layer]
            inside += ["head"] if any(COMPONENTS[name].heads for name in inside) else []
            self._report(
                "E452",
                f"a layer has no site `{step.name}`",
                step.span,
                help=did_you_mean(step.name, inside, "a layer has " + ", ".join(inside)),
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
        there = [name for name in usable(self.facts) if name in named] or named
        first = "z" if "z" in there else there[0]
        if len(rest) == 1 and whole:
            step = SiteStep("z", head.span)
        elif len(rest) == 1:
            self._report(
                "E453",
                "which vector of the head?",
                head.span,
                help=f"write head[…].{first}[last]; there is " + ", ".join(there),
            )
            return None, None
        else:
            step = rest[1]
        if step.name not in named:
            self._report(
                "E452",
                f"a head has no site `{step.name}`",
                step.span,
                help=did_you_mean(step.name, there, "a head has " + ", ".join(there)),
            )
            return None, None
        if len(rest) > 2:
            self._report(
                "E450", f"`{step.name}` has no `{rest[2].name}`", rest[2].span, help=f"end the site at `{step.name}[…]`"
            )
            return None, None
        count = head_count(step.name, self.facts)
        indices = head.indices
        if _every(indices, self.cell):
            indices = (tree.Slice(None, None, span=indices[0].span),)
        notes = shared_heads(step.name, self.facts)
        waits = not loaded(self.facts)
        heads = integers(indices, count, "head", head.span, self.numbers, self.diagnostics, waits, notes)
        return (None, None) if heads is None else (Site(step.name, layer, heads), step)

    def _in_expert(self, layer: int, rest: list[SiteStep]) -> tuple[Site | None, SiteStep | None]:
        expert = rest[0]
        reason = missing("expert_out", self.facts)
        if reason is not None:
            self._report("E451", "this network has no `expert`", expert.span, notes=(reason,))
            return None, None
        if expert.indices is None or len(expert.indices) != 1:
            self._one_expert(expert)
            return None, None
        if len(rest) != 2 or rest[1].name != "out":
            named = rest[1] if len(rest) > 1 and rest[1].name != "out" else rest[-1]
            self._report(
                "E452",
                f"an expert has no site `{named.name}`" if len(rest) > 1 else "which vector of the expert?",
                named.span,
                help="write expert[…].out[last]: the term that it adds",
            )
            return None, None
        experts = integers(
            expert.indices,
            self.facts.experts,
            "expert",
            expert.span,
            self.numbers,
            self.diagnostics,
            not loaded(self.facts),
        )
        if experts is not None and len(experts) > 1:
            self._one_expert(expert)
            return None, None
        return (None, None) if experts is None else (Site("expert_out", layer, experts), rest[1])

    def _one_expert(self, expert: SiteStep) -> None:
        help = "write expert[5].out[last]"
        if expert.indices:
            help = "several experts are several sites: expert[0].out[last], layer[…].expert[1].out[last]"
        self._report("E453", "`expert` needs one index", expert.span, help=help)

    def _module(self, head: SiteStep) -> Site | None:
        arguments = head.arguments or ()
        if len(arguments) != 1 or not isinstance(arguments[0].value, tree.String) or arguments[0].name is not None:
            self._report(
                "E450", "`module` takes the path of a module in quotes", head.span, help='write module("a.b")[last]'
            )
            return None
        return Site("module", module=substitute(arguments[0].value, self.cell).value)

    # ── what stands in the last brackets ────────────────────────────────────────────────────────

    def _subscript(self, site: Site, step: SiteStep, whole: bool, expr: tree.Expr) -> Place | None:
        span = expr.span
        indices = list(step.indices or ())
        position: Position | None = None
        # Of a network that nothing is known of, a prompt in the alignment tells that it reads tokens.
        if takes_position(site.component, self.facts) and (self.facts.traits.seen or self.templates):
            if not indices:
                if whole:
                    return Place(site, Position("all"))
                self._report(
                    "E455",
                    f"`{site}` has no position",
                    span,
                    notes=("a sequence network has this vector at every token",),
                    help=f"write `{site}[last]`, or the name of a placeholder of the prompt",
                )
                return None
            index = indices.pop(0)
            position = self.position(index)
            if position is None:
                return None
        if site.component == "pattern" and len(indices) == 1 and not self._numbers(indices[0]):
            key = self._positions.read(indices[0])
            return None if key is None else Place(site, position, key)
        if indices:
            dims = integers(
                tuple(indices),
                width(site, self.facts),
                "coordinate",
                span,
                self.numbers,
                self.diagnostics,
                not loaded(self.facts),
            )
            if dims is None:
                return None
            site = replace(site, dims=dims)
        fault = (self.facts.refused or {}).get(site)
        if fault is not None:
            at = step.arguments[0].value.span if step.arguments else step.span
            words = named_in(expr) | {step.name for step in steps(expr) or ()}
            names = sorted(name for name in words if name in self.cell)
            notes = [f"`{name}` is {format_expr(self.cell[name])} in a cell of the sweep" for name in names]
            self.diagnostics.add(replace(fault, span=at, notes=(*notes, *fault.notes)))
            return None
        return Place(site, position)

    def position(self, index: tree.Expr | tree.Slice) -> Position | None:
        """The position that an index names; None where a fault was reported."""
        return Position("all") if self.free else self._positions.read(index)

    @property
    def _positions(self) -> PositionReader:
        return PositionReader(self.templates, self.diagnostics, self.cell, self.model)

    def _numbers(self, index: tree.Expr | tree.Slice) -> bool:
        """Whether an index is made of numbers alone: it then counts keys, and names no token."""
        if isinstance(index, tree.Slice):
            return all(end is None or arithmetic(end, self.numbers) is not None for end in (index.start, index.stop))
        return isinstance(index, tree.List) or arithmetic(index, self.numbers) is not None

    def _report(self, code: str, title: str, span: Span, **more: object) -> None:
        self.diagnostics.report(code, title, span, **more)


def _every(indices: Sequence[tree.Expr | tree.Slice], cell: Mapping[str, tree.Expr]) -> bool:
    """Whether an index is `all`: every layer, or every head."""
    only = indices[0] if len(indices) == 1 else None
    return isinstance(only, tree.Name) and only.name == "all" and "all" not in cell
