"""Measures that are taken at a place, in each cell of a test: what is read there, at which token, and of how many places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Span, did_you_mean
from causal_dsl.measures.context import TestScores
from causal_dsl.measures.quantities import Asked, Quantity
from causal_dsl.program.components import missing, usable, width
from causal_dsl.program.facts import layout_of
from causal_dsl.program.lost_cells import Lost
from causal_dsl.program.paths import steps
from causal_dsl.program.positions import PositionReader
from causal_dsl.program.program import Alignment, Cell, GradientWay, PlaceRead
from causal_dsl.program.read_settings import read_settings
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.program.tuned_lens_files import translator_of
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import substitute
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.readings import READINGS, Reading

#: What `cell` stands for: the values of the parameters in one cell, as expressions.
Environment = Mapping[str, tree.Expr]


def nodes_read(members: Sequence[tree.Node], metrics: Mapping[str, tree.Expr]) -> Iterator[tree.Node]:
    """Every node of the lines of a test that are measured, and of the metrics that they name, each metric once."""
    seen: set[str] = set()
    stack: list[tree.Node] = [m for m in members if isinstance(m, tree.Expect | tree.Report)]
    while stack:
        for node in stack.pop().walk():
            yield node
            if isinstance(node, tree.Name) and node.name in metrics and node.name not in seen:
                seen.add(node.name)
                stack.append(metrics[node.name])


def located(members: Sequence[tree.Node], metrics: Mapping[str, tree.Expr]) -> Iterator[tree.Located]:
    """The measures at places in the lines of a test, and in the metrics that they name."""
    return (node for node in nodes_read(members, metrics) if isinstance(node, tree.Located))


def words_of(members: Sequence[tree.Node], metrics: Mapping[str, tree.Expr]) -> frozenset[str]:
    """The words of the places that are read, and of what is read there: parameters may be among them."""
    words: set[str] = set()
    for node in located(members, metrics):
        for part in node.walk():
            words |= {part.name} if isinstance(part, tree.Name | tree.Ident) else set()
    return frozenset(words)


def with_looks(
    cells: Sequence[Cell],
    environments: Sequence[Environment],
    scores: TestScores,
    alignment: Alignment,
    found: Diagnostics,
    left_out: list[tuple[Diagnostic, ...]],
) -> tuple[Cell, ...] | None:
    """The cells with what is read at places in each; None where a fault was reported. ``left_out`` gets the faults of cells that a
    loaded network cannot run."""
    asked: dict[Asked, dict[Quantity, None]] = {}
    for quantities in scores.quantities.values():
        for quantity in sorted(quantities, key=str):
            if quantity.place is not None:
                asked.setdefault(quantity.place, {})[quantity] = None
    if not asked:
        return tuple(cells)
    made, lost = [], Lost(alignment, found, left_out)
    known: dict[Place, Place] = {}
    for cell, environment in zip(cells, environments, strict=True):
        here = lost.open()
        reader = LookReader(alignment, environment, here)
        looks = [reader.read(what, tuple(of)) for what, of in asked.items()]
        if lost.close(here, Diagnostics()):
            continue
        if any(look is None for look in looks):
            return None
        own = [
            replace(look, places=tuple(known.setdefault(place, place) for place in look.places))
            for look in looks
            if look is not None
        ]
        made.append(replace(cell, looks=tuple(own)))
    if not made and lost.cells:
        lost.tell()
        return None
    return tuple(made)


@dataclass(frozen=True)
class LookReader:
    """Makes :class:`PlaceRead` of what a test reads at a place, in one cell."""

    alignment: Alignment
    cell: Environment
    found: Diagnostics = field(repr=False)

    def read(self, asked: Asked, quantities: tuple[Quantity, ...]) -> PlaceRead | None:
        """The places and arguments of a reading; None where a fault was reported."""
        places = self._places(asked.site)
        if places is None:
            return None
        if asked.reading is not None:
            call = asked.reading if isinstance(asked.reading, tree.Call) else None
            name = asked.reading if call is None else call.function
            assert isinstance(name, tree.Name)
            arguments = () if call is None else call.arguments
            given = tuple(argument.value for argument in arguments if argument.name is None)
            return self._reading(asked, READINGS[name.name], places, given, quantities)
        return self._lens(asked, places)

    def _lens(self, asked: Asked, places: tuple[Place, ...], file: tree.Expr | None = None) -> PlaceRead | None:
        """Logits of the stream at a place; through the map of a ``file``, where there is one."""
        span, kind = asked.site.span, COMPONENTS[places[0].site.component].logit
        if kind not in ("stream", "normed"):
            facts = self.alignment.network.facts
            read = ("stream", "normed")
            there = [name for name in usable(facts) if COMPONENTS[name].logit in read]
            self._report(
                "E833",
                f"`{places[0].site}` gives no logits",
                span,
                "logits are read from the residual stream",
                "this network has " + ", ".join(f"`{name}`" for name in there)
                if there
                else "read the logits at the read-out",
            )
            return None
        if any(place.site.dims is not None for place in places):
            self._report(
                "E835",
                "a logit is made of the whole vector, not of some coordinates",
                span,
                "",
                "leave the coordinates out",
            )
            return None
        if not self._single(places, span) or not self._alone(places, span):
            return None
        if file is None:
            return PlaceRead(asked, kind, places, span=span)
        translator = translator_of(file, places[0].site, self.alignment.network.facts, self.found)
        return None if translator is None else PlaceRead(asked, "tuned_lens", places, translator, span)

    def _places(self, site: tree.Expr) -> tuple[Place, ...] | None:
        """The places of a site; without a token that is named, at that at which the answer is read."""
        about = self.alignment
        sites = SiteReader(about.network.facts, about.templates, self.found, self.cell, about.model)
        spread = sites.spread(site, whole=True)
        if spread is None:
            return None
        places = spread.places
        if _without_position(site, places[0]):
            places = tuple(replace(place, position=None) for place in places)
        return places

    # ── readings ────────────────────────────────────────────────────────────────────────────────

    def _reading(
        self,
        asked: Asked,
        record: Reading,
        places: tuple[Place, ...],
        given: tuple[tree.Expr, ...],
        quantities: tuple[Quantity, ...],
    ) -> PlaceRead | None:
        site, span = asked.site, asked.site.span
        if "file" in record.arguments:
            return self._lens(asked, places, given[0])
        if places[0].site.component == "logits":
            help = "read what leads to it: a site of a layer, or a measure of the logits without a place"
            self._report("E842", "the logits are the read-out, and no place on the way to it", span, "", help)
            return None
        if not self._alone(places, span):
            return None
        if record.of in ("weights", "pattern"):
            return self._of_head(asked, record, places[0], given)
        if record.of == "gradients":
            return self._gradients(asked, record, places)
        if record.name == "save":
            return self._saved(asked, record, places)
        if not self._single(places, span):
            return None
        if record.of == "logits":
            return self._attribution(asked, record, places[0], quantities)
        if record.of == "pairs":
            assert isinstance(asked.reading, tree.Call)
            by = next((format_expr(a.value) for a in asked.reading.arguments if a.name is not None), "")
            return PlaceRead(asked, record.name, places, (format_expr(given[0]), by), span)
        for other in given:
            more = self._places(other)
            if more is None or not self._alone(more, other.span) or not self._single(more, other.span):
                return None
            facts = self.alignment.network.facts
            sizes = [width(place.site, facts) for place in (places[0], more[0])]
            if None not in sizes and sizes[0] != sizes[1]:
                title = f"a vector of {sizes[0]} numbers has no angle with one of {sizes[1]}"
                self._report("E842", title, other.span, "", "name two sites that are as wide as each other")
                return None
            places = (*places, *more)
        return PlaceRead(asked, record.name, places, span=site.span)

    def _saved(self, asked: Asked, record: Reading, places: tuple[Place, ...]) -> PlaceRead | None:
        """Vectors that are kept, of one token or of several, in a file of a format."""
        named = tuple(a for a in getattr(asked.reading, "arguments", ()) if a.name is not None)
        settings = read_settings(record.name, named, record.options, self.found, asked.site.span)
        return (
            None if settings is None else PlaceRead(asked, record.name, places, (settings["format"],), asked.site.span)
        )

    def _gradients(self, asked: Asked, record: Reading, places: tuple[Place, ...]) -> PlaceRead | None:
        """A reading of gradients, at one token or several."""
        assert asked.gradient is not None
        call = substitute(asked.reading, self.cell) if asked.reading is not None else None
        named = tuple(a for a in getattr(call, "arguments", ()) if a.name is not None)
        span = asked.site.span if asked.reading is None else asked.reading.span
        settings = read_settings(record.name, named, record.options, self.found, span)
        if settings is None:
            return None
        if places[0].site.component == "pattern":
            help = "name what the head gives: layer[5].head[1].z[last]"
            self._report("E895", "no gradients are taken by attention weights", asked.site.span, "", help)
            return None
        told, sources = format_expr(settings["baseline"]), asked.gradient.sources
        if told not in (*sources, "0", "mean"):
            known = [*sources, "mean", "0"]
            why = "a baseline is another run of this test, `0`, or `mean`, the mean over the base runs"
            help = did_you_mean(told, known, "write " + " or ".join(f"baseline={name}" for name in known))
            self._report("E896", f"`{told[:60]}` is not a baseline", settings["baseline"].span, why, help)
            return None
        position = places[0].position
        if told == "mean" and position is not None and not position.single:
            why = "the mean is that of the vectors at one token"
            help = "name one token, or take another run as the baseline"
            self._report("E896", f"`{position}` is not one token in every prompt", asked.site.span, why, help)
            return None
        way = GradientWay(asked.gradient.metric, told, settings.get("steps", 0), settings.get("rule", "midpoint"))
        return PlaceRead(asked, record.name, places, (way,), asked.site.span)

    def _of_head(self, asked: Asked, record: Reading, place: Place, given: tuple[tree.Expr, ...]) -> PlaceRead | None:
        """A reading of the attention weights of the one head that is named (else E844)."""
        facts, span = self.alignment.network.facts, asked.site.span
        path = steps(asked.site) or []
        bare = path[-1].name == "head" or (path[-1].name == "pattern" and path[-1].indices is None)
        if not bare or len(place.site.heads) != 1:
            self._report(
                "E844",
                f"`{record.name}` is that of one head",
                span,
                f"`{format_expr(asked.site)}` is not one head by itself",
                f"write `{record.written} @ {record.example}`",
            )
            return None
        reason = missing("pattern", facts)
        if reason is not None:
            self._report("E451", "this network has no `pattern`", span, reason, "")
            return None
        site = Site("pattern", place.site.layer, tuple(range(facts.heads or place.site.heads[0] + 1)))
        if record.of == "pattern":
            return PlaceRead(asked, record.name, (Place(site, Position("all")),), place.site.heads, span)
        about = self.alignment
        positions = PositionReader(about.templates, self.found, self.cell, about.model)
        one, other = (positions.read(argument) for argument in given)
        if one is None or other is None:
            return None
        if not one.single:
            title = f"`{one}` is not one token in every prompt"
            self._report("E836", title, given[0].span, "attention is that of one token", "name one token that looks")
            return None
        return PlaceRead(asked, record.name, (Place(site, one, other),), place.site.heads, span)

    def _attribution(
        self, asked: Asked, record: Reading, place: Place, quantities: tuple[Quantity, ...]
    ) -> PlaceRead | None:
        """The places of a site's contribution to logits: the site, the end of the stream, and all terms of the stream, which are its sum."""
        facts, span, component = self.alignment.network.facts, asked.site.span, place.site.component
        kind, layout = COMPONENTS[component].logit, layout_of(facts)
        needed = ("resid_pre", "attn_out", "mlp_out", "resid_post")
        unknown = next((name for name in needed if missing(name, facts) is not None), None)
        why = ""
        if kind in ("", "normed"):
            why = "what adds to logits is the residual stream, its terms (`embed`, `attn_out`, `mlp_out`), and heads (`z`)"
        elif place.site.dims is not None:
            why = "what adds to logits is the whole vector, not some coordinates"
        elif layout is not None and layout.norms is not None:
            why = "this network norms the stream after each addition, so the stream is not a sum of terms"
        elif unknown is not None:
            why = f"the terms of the stream have to be known, and `{unknown}` is not: {missing(unknown, facts)}"
        elif component == "embed" and layout is not None and layout.enter:
            why = "this network changes the embeddings before they enter the stream: name `layer[0].resid_pre`"
        elif any(self._is_set(quantity) for quantity in quantities):
            why = "the logit of a set of values is not a sum over terms: name one value"
        if why:
            title = f"`{place.site}` adds to no logit that is a sum of terms"
            self._report("E842", title, span, why, f"write `{record.written} @ {record.example}`")
            return None
        heads: tuple[int, ...] = ()
        if kind == "head":
            heads = place.site.heads
            place = replace(place, site=replace(place.site, heads=tuple(range(facts.heads or len(heads)))))
        layers = range(facts.layers or 0)
        sites = [Site("resid_pre", 0), *(Site(name, at) for at in layers for name in ("attn_out", "mlp_out"))]
        end = Site("resid_post", max(0, len(layers) - 1))
        terms = tuple(Place(site, place.position) for site in (end, *sites))
        return PlaceRead(asked, record.name, (place, *terms), heads, span)

    def _is_set(self, quantity: Quantity) -> bool:
        of, model = quantity.of, self.alignment.model
        return of is not None and bool(of.role) and (of.variable or next(iter(model.outputs), "")) in model.sets

    # ── faults ──────────────────────────────────────────────────────────────────────────────────

    def _single(self, places: tuple[Place, ...], span: Span) -> bool:
        position = next((p.position for p in places if p.position is not None and not p.position.single), None)
        if position is None:
            return True
        self._report(
            "E836",
            f"`{position}` is not one token in every prompt",
            span,
            "a measure at a place is of the vector at one token",
            "name one token",
        )
        return False

    def _alone(self, places: tuple[Place, ...], span: Span) -> bool:
        if len(places) == 1:
            return True
        self._report(
            "E837",
            f"{len(places)} places are named",
            span,
            "a logit is read at one place",
            "name one place, or sweep over a parameter",
        )
        return False

    def _report(self, code: str, title: str, span: Span, note: str, help: str) -> None:
        self.found.report(code, title, span, notes=(note,) if note else (), help=help)


def _without_position(site: tree.Expr, place: Place) -> bool:
    """Whether no token is named: then the one is meant at which the answer is read."""
    path = steps(site)
    if place.position is None or not path:
        return False
    last = path[-1]
    return last.name == "head" or last.indices is None


__all__ = ["LookReader", "located", "nodes_read", "with_looks", "words_of"]
