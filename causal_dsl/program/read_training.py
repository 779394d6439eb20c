"""``network net = train(ALIGNMENT, …)``: what is trained, on what, towards what; read and judged without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from causal_dsl.diagnostics import Diagnostics, Span, SpecError, did_you_mean, fail
from causal_dsl.program.components import full_width
from causal_dsl.program.encodings import encodes
from causal_dsl.program.overlap import overlap
from causal_dsl.program.program import Alignment, Training
from causal_dsl.program.ranges import layers_told
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.called_words import CALLED
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place, Site
from causal_dsl.vocabulary.network_facts import Facts

#: The settings of ``train(…)``, in the order in which they are told.
#: What two networks must have alike for one's placements to hold in the other.
_ALIKE = {
    "layers": "layers",
    "widths": "widths",
    "classes": "classes",
    "width": "numbers in the residual stream",
    "heads": "heads",
    "kv_heads": "heads of keys and values",
    "head_dim": "numbers in a head",
    "mlp_width": "neurons in a layer",
    "vocabulary": "tokens in the vocabulary",
}


class TrainingReader:
    """Reads one ``train(…)``: faults are reported (E732 to E735, E201, E454, E461), and ``read`` then gives None."""

    def __init__(
        self, name: str, alignment: Alignment, settings: Mapping[str, Any], diagnostics: Diagnostics, span: Span
    ):
        self.name, self.alignment, self.settings = name, alignment, settings
        self.diagnostics, self.span = diagnostics, span

    def read(self) -> Training | None:
        alignment, settings = self.alignment, self.settings
        balance = self._balance()
        if balance is None or not self._has_aim() or not self._one_cell():
            return None
        places = self._places()
        if places is None:
            return None
        intervenes = settings["interchange"] > 0 or settings["strict"] > 0
        if intervenes and not places:
            self._report(
                "E732",
                f"`{alignment.name}` places no variable to intervene on",
                others=((alignment.span, "aligned here"),),
                notes=("only variables between the inputs and the outputs are interchanged",),
                help="write `variable @ layer[1].out[0:8]` there, or train on the task alone: interchange=0",
            )
            return None
        rest = rest_of(
            [place for _, several in places for place in several], settings["layers"], alignment.network.facts
        )
        if settings["strict"] > 0 and not (self._layers_exist() and self._has_rest(rest)):
            return None
        kept = {
            name: settings[name] for name in CALLED["train"].settings if name not in ("alignment", "balance", "layers")
        }
        return Training(alignment, tuple(places), rest, balance=balance, span=self.span, **kept)

    def _report(self, code: str, title: str, span: Span | None = None, **more: Any) -> None:
        self.diagnostics.report(code, title, span or self.span, **more)

    def _balance(self) -> tuple[str, ...] | None:
        model = self.alignment.model
        found = []
        for name in self.settings["balance"] or ():
            if not isinstance(name, tree.Name) or name.name not in model.variables:
                shown = format_expr(name)
                self._report(
                    "E201",
                    f"no variable `{shown}` in `{model.name}`",
                    name.span,
                    help=did_you_mean(shown, model.variables),
                )
                return None
            found.append(name.name)
        return tuple(found)

    def _has_aim(self) -> bool:
        alignment = self.alignment
        if not any(self.settings[name] > 0 for name in ("task", "interchange", "strict")):
            self._report(
                "E735",
                "there is nothing to be learned: every loss has the weight 0",
                help="leave out task=0, or interchange=0",
            )
            return False
        if not alignment.readouts:
            output = next(iter(alignment.model.outputs), "answer")
            where = alignment.network.facts.traits.readout
            self._report(
                "E735",
                f"`{alignment.name}` does not say where the answer is read",
                others=((alignment.span, "aligned here"),),
                help=f"write `{output} @ {where}` there",
            )
            return False
        if alignment.read_at is not None:
            self._report(
                "E564",
                "`train` teaches the answer at the end of the prompt",
                others=((alignment.span, "aligned here"),),
                help="read it at `next_token` without a position",
            )
            return False
        number = next((name for name, readout in alignment.readouts.items() if readout.metric is not None), None)
        if number is not None:
            self._report(
                "E561",
                f"`{number}` is a number, and `train` teaches an answer",
                others=((alignment.span, "aligned here"),),
                help="train on an output with values that can be listed",
            )
            return False
        unstated = next((name for name, readout in alignment.readouts.items() if not readout.stated), None)
        if unstated is not None:
            self._report(
                "E561",
                f"the causal model does not say what `{unstated}` is, and `train` teaches an answer",
                others=((alignment.span, "aligned here"),),
                help=f"write `output {unstated} := …`",
            )
            return False
        gaps = next((name for name, readout in alignment.readouts.items() if readout.gaps), None)
        if gaps is not None:
            self._report(
                "E561",
                f"the causal model does not say in every row what `{gaps}` is, and `train` teaches an answer",
                others=((alignment.span, "aligned here"),),
                help="train on rows that all have an answer",
            )
            return False
        sets = next((name for name in alignment.readouts if name in alignment.model.sets), None)
        if sets is not None:
            self._report(
                "E561",
                f"`{sets}` accepts several answers, and `train` teaches one",
                others=((alignment.span, "aligned here"),),
                help="train on an output that is one value, and test with the set",
            )
            return False
        return True

    def _one_cell(self) -> bool:
        swept = [name for name, values in self.alignment.parameters.items() if len(values) > 1]
        if swept:
            values = self.alignment.parameters[swept[0]]
            one = format_expr(values[0])
            written = f"{swept[0]} in {one}:{int(one) + 1}" if one.isdigit() else f"{swept[0]} in [{one}]"
            self._report(
                "E734",
                f"`{self.alignment.name}` is a sweep: a network is trained towards one placement",
                notes=(f"`{swept[0]}` has {len(values)} values",),
                help=f"fix it: align one({written}) : {self.alignment.name} {{ }}, and train(one, …)",
            )
        return not swept

    # ── places ──────────────────────────────────────────────────────────────────────────────────

    def _places(self) -> list[tuple[str, tuple[Place, ...]]] | None:
        """Where the variables that can be interchanged are held; None where a fault was reported."""
        alignment = self.alignment
        cell = {name: values[0] for name, values in alignment.parameters.items()}
        reader = SiteReader(alignment.network.facts, alignment.templates, self.diagnostics, cell, alignment.model)
        found: list[tuple[str, tuple[Place, ...]]] = []
        for name, variable in alignment.model.variables.items():
            placement = alignment.placements.get(name)
            if placement is None or variable.output:
                continue
            if encodes(placement.via):
                continue
            if placement.via is not None:
                self._report(
                    "E733",
                    f"`{name}` is placed by a learned feature: its coordinates must be named",
                    others=((placement.via.span, "placed here"),),
                    notes=("training puts the variable where the alignment says, so there is nothing to find",),
                    help=f"write `{name} @ {format_expr(placement.sites[0])}` with coordinates, without `via`",
                )
                return None
            places = reader.places(placement.sites)
            if places is None:
                return None
            if any(place.key is not None for place in places):
                self._report(
                    "E468",
                    f"nothing is trained into single attention weights, as those of `{name}`",
                    others=((placement.span, "placed here"),),
                    help="place the variable at `z`, which the weights make, or in the residual stream",
                )
                return None
            found.append((name, places))
        return found if self._apart(found) else None

    def _apart(self, found: Sequence[tuple[str, tuple[Place, ...]]]) -> bool:
        for (one, mine), (other, theirs) in combinations(found, 2):
            for a in mine:
                for b in theirs:
                    if overlap(a, b, self.alignment.network.facts):
                        first, second = (self.alignment.placements[name].sites[0].span for name in (one, other))
                        self._report(
                            "E461",
                            f"`{one}` and `{other}` are placed at overlapping sites",
                            second,
                            others=((first, "shares numbers with this"),),
                            notes=(f"{a} and {b} overlap",),
                            help="give each variable coordinates, heads or tokens of its own",
                        )
                        return False
        return True

    def _layers_exist(self) -> bool:
        count = self.alignment.network.facts.layers
        for layer in self.settings["layers"] or ():
            if count is not None and layer >= count:
                self._report("E454", f"there is no layer {layer}", label="out of range", help=layers_told(count))
                return False
        return True

    def _has_rest(self, rest: Sequence[Site]) -> bool:
        if not rest:
            self.diagnostics.extend(nothing_left(self.alignment, self.span).diagnostics)
        return bool(rest)


def nothing_left(alignment: Alignment, span: Span) -> SpecError:
    """E732 for strict training where nothing is placed for no variable."""
    return fail(
        "E732",
        f"in the layers of `{alignment.name}` every coordinate is placed",
        span,
        others=((alignment.span, "aligned here"),),
        notes=("`strict` demands that coordinates without a variable do not matter, and there are none here",),
        help="leave out `strict`, or name other layers: layers=[1, 2]",
    )


def training_settings(training: Training) -> tuple[tuple[str, Any], ...]:
    """The task of a training, as data: beside the alignment and the network, it decides the trained weights."""
    names = ("n", "balance", "steps", "batch", "rate", "decay", "seed", "task", "interchange", "strict", "init")
    return (*((name, getattr(training, name)) for name in names), ("rest", tuple(map(repr, training.rest))))


# ── what is placed for no variable ──────────────────────────────────────────────────────────────


def rest_of(places: Sequence[Place], layers: Sequence[int] | None, facts: Facts) -> tuple[Site, ...]:
    """The whole sites in which something is placed (or the same sites in ``layers``), less those all of which is."""
    found: dict[Site, None] = {}
    for place in places:
        site = whole_site(place.site)
        if site.component == "pattern":
            continue
        several = layers if layers is not None and COMPONENTS[site.component].layer else [site.layer]
        for layer in several:
            found[whole_site(replace(site, layer=layer))] = None
    return not_full(list(found), places, facts)


def not_full(sites: Sequence[Site], places: Sequence[Place], facts: Facts) -> tuple[Site, ...]:
    """The whole sites of which some coordinate is placed for no variable, as far as the facts tell."""
    return tuple(site for site in sites if not _full(site, places, facts))


def whole_site(site: Site) -> Site:
    """All of the vector that a site is part of; the stream before a layer is the stream after the one before."""
    if site.component == "resid_pre" and site.layer:
        return Site("resid_post", site.layer - 1)
    return Site(site.component, site.layer, (), site.module)


def columns_of(site: Site, facts: Facts) -> tuple[int, ...] | None:
    """The coordinates that a site takes of its whole vector; None for all of them."""
    if not site.heads:
        return site.dims
    size = facts.head_dim or 0
    every = [head * size + number for head in site.heads for number in range(size)]
    return tuple(every) if site.dims is None else tuple(every[dim] for dim in site.dims)


def _full(site: Site, places: Sequence[Place], facts: Facts) -> bool:
    """Whether every coordinate is placed, as far as can be told without a prompt."""
    width = full_width(site, facts)
    taken: set[int] = set()
    for place in places:
        if whole_site(place.site) == site:
            columns = columns_of(place.site, facts)
            if place.position is not None and place.position.kind != "all":
                continue  # other tokens have all of theirs
            if columns is None:
                return True
            taken |= set(columns)
    return width is not None and len(taken) >= width


def unlike(mine: Facts, theirs: Facts) -> str | None:
    """How two networks differ so that the placements of one say nothing of the other; None where they do not."""
    if mine.traits.seen and theirs.traits.seen and mine.kind != theirs.kind:
        return f"one is a {mine.kind} network, the other a {theirs.kind} network"
    for size, said in _ALIKE.items():
        one, other = getattr(mine, size), getattr(theirs, size)
        if one and other and one != other:
            shown = [
                " → ".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}" for value in (one, other)
            ]
            return (
                f"one has the {said} {shown[0]}, the other {shown[1]}"
                if size == "widths"
                else f"one has {shown[0]} {said}, the other {shown[1]}"
            )
    return None
