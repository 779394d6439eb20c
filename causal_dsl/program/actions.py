"""What `do(…)` says: targets, sources and written values, in one cell of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path

from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.circuit_actions import Circuits, read_circuit_action
from causal_dsl.program.circuit_edges import with_port
from causal_dsl.program.circuit_files import SaidByFiles
from causal_dsl.program.circuits import CircuitReader
from causal_dsl.program.components import in_time
from causal_dsl.program.encodings import encodes
from causal_dsl.program.inside import across_in, read_inside, refuse_variable, size_of
from causal_dsl.program.overlap import canonical, overlap
from causal_dsl.program.path_patching import Mlps, read_path
from causal_dsl.program.placed_sites import PlacedSites
from causal_dsl.program.program import Alignment, Intervention
from causal_dsl.program.read_edges import read_edge
from causal_dsl.program.read_features import FeatureRef, Via, check_width, family, join, read_via, share
from causal_dsl.program.read_settings import constant
from causal_dsl.program.read_sites import SITE_HEADS, SiteReader
from causal_dsl.program.runs_under import refuse_argument, refuse_inside, refuse_taken
from causal_dsl.program.written_values import ValueReader
from causal_dsl.quick_dataclasses import dataclass
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.written import Value


@dataclass(frozen=True)
class ActionReader:
    """Makes :class:`Intervention` of actions. ``implicit`` maps (variable, value) of `do(left = true)` to its role."""

    diagnostics: Diagnostics
    alignment: Alignment
    roles: tuple[str, ...]
    circuits: Circuits
    folder: Path
    implicit: Mapping[tuple[str, object], str]
    cell: Mapping[str, tree.Expr] = field(default_factory=dict)
    placed: PlacedSites = field(default_factory=PlacedSites)

    def values(self, target: tree.Expr) -> ValueReader:
        """What reads the values that are written at ``target``."""
        over = None
        if self.variable(target) is None:
            over = replace(self.sites, diagnostics=Diagnostics()).spread(target)  # faults of it are told by `target`
        return ValueReader(self.roles, self.folder, self.sites, self.diagnostics, over, writes=self.written_in)

    @property
    def sites(self) -> SiteReader:
        about = self.alignment
        return SiteReader(about.network.facts, about.templates, self.diagnostics, self.cell, about.model)

    def circuit_reader(self, said: SaidByFiles | None = None) -> CircuitReader:
        """What reads circuits in this cell. ``said``: where it is entered what files say beside members."""
        about, searches = self.alignment, self.circuits.searches
        found, model = self.diagnostics, about.model
        return CircuitReader(about.network, about.templates, found, self.cell, model, searches=searches, said=said)

    def read(self, action: tree.Interchange | tree.PatchPath | tree.SetTo | tree.AddTo) -> Intervention | None:
        """The intervention of one action; None where a fault was reported."""
        if not isinstance(action, tree.PatchPath) and self.circuits.names(action.target):
            return read_circuit_action(action, self)
        match action:
            case tree.Interchange():
                return self._interchange(action)
            case tree.PatchPath():
                return read_edge(action, self)
            case tree.SetTo():
                return self._set(action, add=False)
            case tree.AddTo():
                return self._set(action, add=True)

    def read_all(
        self, action: tree.Interchange | tree.PatchPath | tree.SetTo | tree.AddTo, mlps: Mlps | None
    ) -> tuple[Intervention | None, ...]:
        """The interventions of an action, with None where a fault was reported. ``mlps``: what the MLPs along its path do."""
        if isinstance(action, tree.PatchPath):
            ends = (with_port(end, self.cell) for end in (*action.through, action.receiver))
            *through, receiver = ends
            action = replace(action, through=tuple(through), receiver=receiver)
        if not isinstance(action, tree.PatchPath) or (mlps != "recompute" and not action.through):
            return (self.read(action),)
        return read_path(action, self, mlps or "freeze") or (None,)

    def written_in(self, under: tree.Under) -> tuple[Intervention, ...] | None:
        """What is written in a run that values are taken from; None where a fault was reported."""
        made = []
        for action in under.given:
            if isinstance(action, tree.Argument):
                refuse_argument(action, under, self.diagnostics)
                return None
            if self.circuits.names(action.target):
                refuse_inside(action.target.span, "a circuit", self.diagnostics)
                return None
            one = self.read(action)
            if one is None:
                return None
            if one.features:
                refuse_inside(action.target.span, "a learned feature", self.diagnostics)
                return None
            made.append(one)
        apart = disjoint(made, self.alignment, self.diagnostics) and untouched(made, self.alignment, self.diagnostics)
        return tuple(made) if apart else None

    # ── targets ─────────────────────────────────────────────────────────────────────────────────

    def variable(self, expr: tree.Expr) -> str | None:
        """The causal variable that a target names, if it is one."""
        if isinstance(expr, tree.Name) and expr.name in self.alignment.model.variables:
            return expr.name
        return None

    def target(self, expr: tree.Expr) -> tuple[Place, ...] | None:
        """The places of a variable or a site."""
        name = self.variable(expr)
        if name is None:
            return self._site_target(expr)
        placement = self.alignment.placements.get(name)
        if placement is None:
            placed = list(self.alignment.placements)
            read = name in self.alignment.readouts
            advice = (
                "intervene on the variables from which it is computed"
                if read
                else f"write `{name} @ site` in the alignment"
            )
            why = ("the answer is read there, and no intervention may write it",) if read else ()
            self.diagnostics.report(
                "E682",
                f"`{self.alignment.name}` does not place `{name}` at a site that can be written",
                expr.span,
                notes=why,
                help="; ".join(
                    filter(None, (advice, f"it places {', '.join(f'`{p}`' for p in placed)}" if placed else ""))
                ),
            )
            return None
        found, faults = self.placed.places(self.alignment, name, self.cell)
        self.diagnostics.extend(faults)
        if found is None:
            return None
        via = self._via(name)
        joined = join(found) if via is not None and via[0].joined else None
        return found if joined is None else (joined,)

    def _via(self, name: str) -> tuple[Via, tuple[Place, ...]] | None:
        """The learned feature of a placed variable in this cell, and the places that are written through it."""
        placement = self.alignment.placements.get(name)
        if placement is None or placement.via is None or encodes(placement.via):
            return None
        via = read_via(placement.via, self.cell, self.alignment.folder, Diagnostics())
        places, _ = self.placed.places(self.alignment, name, self.cell)
        return None if via is None or places is None else (via, places)  # reported where the alignment was read

    def crosses(self, name: str) -> bool:
        """Whether a placed variable is read at one place and written at another, through a transcoder or a crosscoder."""
        via = self._via(name)
        return via is not None and across_in(via[0]) is not None

    def features(self, name: str | None) -> tuple[FeatureRef, ...]:
        """The features of a variable, one for each place that is written; none where whole vectors are."""
        if name is None or self._via(name) is None:
            return ()
        vias = {other: via for other in self.alignment.placements if (via := self._via(other)) is not None}
        variables, shared, block = share(vias, name)
        places = vias[name][1]
        if across_in(shared) is not None:
            return ()  # nothing of it is fitted, and it is written as a site is
        if len(variables) > 1 and not check_width(shared, places, self.alignment.network.facts, self.diagnostics):
            return ()
        if shared.joined:
            joined = join(places)
            places = places if joined is None else (joined,)
        return tuple(
            FeatureRef(
                self.alignment.origin,
                self.alignment.network.key,
                variables,
                place,
                shared.chain,
                shared.fitting,
                block,
                joined=shared.joined,
                elsewhere=shared.elsewhere,
                span=shared.span,
            )
            for place in places
        )

    def _site_target(self, expr: tree.Expr) -> tuple[Place, ...] | None:
        if isinstance(expr, tree.Name) and expr.name not in SITE_HEADS:
            known = [*self.alignment.placements, *self.roles]
            self.diagnostics.report(
                "E201",
                f"no variable `{expr.name}` in `{self.alignment.model.name}`",
                expr.span,
                label=f"not a variable of `{self.alignment.model.name}`",
                help=did_you_mean(expr.name, self.alignment.model.variables, "") or f"there is {', '.join(known)}",
            )
            return None
        spread = self.sites.spread(expr)
        if spread is not None and any(place.site.component == "logits" for place in spread.places):
            self.diagnostics.report(
                "E683",
                "the read-out cannot be written: the answer is read there",
                expr.span,
                help="intervene upstream of it, at a layer",
            )
            return None
        return None if spread is None else spread.places

    # ── actions ─────────────────────────────────────────────────────────────────────────────────

    def _interchange(self, action: tree.Interchange) -> Intervention | None:
        places = self.target(action.target)
        if places is None:
            self.values(action.target).source(action.source, ())
            return None
        value = self.values(action.target).source(action.source, places)
        inside = self._inside(action, places)
        if value is None or inside is None or not self._read_where_it_reads(value, places, inside):
            return None
        variable = self.variable(action.target)
        if value.under and (variable is not None or inside):
            what = "a variable" if variable is not None else "a feature"
            refuse_taken(what, action.source.span, value.role, self.diagnostics)
            return None
        if variable is not None and value.places != places:
            self.diagnostics.report(
                "E684",
                f"`{variable}` takes its value from a run, not from a site",
                action.source.span,
                notes=("the spec does not say what the causal model should then do",),
                help=f"write `{variable} <- {value.role}`, or patch the site itself",
            )
            return None
        return Intervention(
            places,
            value,
            variable=variable,
            text=format_expr_action(action),
            span=action.span,
            features=self.features(variable),
            inside=inside,
        )

    def _inside(
        self, action: tree.Interchange | tree.SetTo | tree.AddTo, places: tuple[Place, ...]
    ) -> tuple[FeatureRef, ...] | None:
        """The features in whose numbers a site is written: none without `via`; None where a fault was reported."""
        name = self.variable(action.target)
        if action.via is None:
            return self._across(name)
        if name is not None:
            refuse_variable(name, action.via.span, self.diagnostics)
            return None
        about = self.alignment
        return read_inside(action.via, places, about.origin, about.network, self.cell, self.folder, self.diagnostics)

    def _read_where_it_reads(self, value: Value, places: tuple[Place, ...], inside: tuple[FeatureRef, ...]) -> bool:
        """Whether other runs are read where a transcoder reads them, and not at a site that the spec names (E764)."""
        other = next((part for part in value.find(FromRun) if part.places != places), None)
        if other is None or not any(ref.reads for ref in inside):
            return True
        self.diagnostics.report(
            "E764",
            f"`{inside[0].chain[0].shown}` reads other runs where its file says, not at {other.places[0]}",
            other.span or inside[0].span,  # type: ignore[arg-type]
            help=f"write the run alone: `{other.role}`",
        )
        return False

    def _across(self, name: str | None) -> tuple[FeatureRef, ...] | None:
        """The transcoder or crosscoder of a variable, which reads elsewhere than it writes; none for all others."""
        placed = None if name is None else self._via(name)
        if placed is None or across_in(placed[0]) is None:
            return ()
        placement = self.alignment.placements[name or ""]
        assert placement.via is not None
        about = self.alignment
        return read_inside(
            placement.via, placed[1], about.origin, about.network, self.cell, about.folder, self.diagnostics
        )

    def _set(self, action: tree.SetTo | tree.AddTo, add: bool) -> Intervention | None:
        name = self.variable(action.target)
        if name is not None and action.via is not None:
            refuse_variable(name, action.via.span, self.diagnostics)
            return None
        if name is not None and not add:
            role = self.implicit.get((name, constant(action.value)))
            places = self.target(action.target)
            if role is None or places is None:
                return None
            return Intervention(
                places,
                FromRun(role, places),
                variable=name,
                text=format_expr_action(action),
                span=action.span,
                features=self.features(name),
                inside=self._across(name) or (),
            )
        if name is not None:
            self.diagnostics.report(
                "E685",
                f"`{name}` is a causal variable, and nothing can be added to it",
                action.span,
                help=f"write do({name} <- source), or add to a site",
            )
            return None
        places = self.target(action.target)
        inside = () if places is None else self._inside(action, places)
        reader = self.values(action.target)
        if inside:
            reader = replace(reader, size=size_of(inside[0]), through=".".join(part.name for part in inside[0].chain))
        value = reader.value(action.value, places or ())
        if places is None or value is None or inside is None or not self._read_where_it_reads(value, places, inside):
            return None
        taken = next((run for run in value.find(FromRun) if run.under), None)
        if inside and taken is not None:
            refuse_taken("a feature", action.value.span, taken.role, self.diagnostics)
            return None
        if add and value.changes:
            target, told = format_expr(action.target), format_expr(action.value)
            self.diagnostics.report(
                "E792",
                f"`+=` adds to the current vector, and `{told[:60]}` is made from it",
                action.span,
                help=f"write the whole value: {target[:60]} = current + …, or {target[:60]} = {told[:60]}",
            )
            return None
        return Intervention(places, value, add, text=format_expr_action(action), span=action.span, inside=inside)


def disjoint(interventions: list[Intervention], alignment: Alignment, diagnostics: Diagnostics) -> bool:
    """Report interventions of one `do` that write the same number; additions may meet."""
    edge = next((one for one in interventions if one.to), None)
    plain = next((one for one in interventions if not one.to), None)
    if edge is not None and plain is not None:
        assert edge.span is not None and plain.span is not None
        diagnostics.report(
            "E813",
            "an edge is not patched together with a whole site",
            edge.span,
            others=((plain.span, "this is written for all that read it"),),
            help="make two tests of it, or name the edges on which the site is written",
        )
        return False
    for i, one in enumerate(interventions):
        for other in interventions[:i]:
            if may_overlap(one, other):
                continue
            for here, a in enumerate(one.places):
                for there, b in enumerate(other.places):
                    if not one.apart(here, other, there) and overlap(a, b, alignment.network.facts):
                        assert one.span is not None and other.span is not None
                        diagnostics.report(
                            "E461",
                            f"`{other.text}` and `{one.text}` write the same place",
                            one.span,
                            others=((other.span, "already written here"),),
                            notes=(f"{b} and {a} overlap", *_hangs_on_order(one, other)),
                            help="give each variable coordinates, heads or tokens of its own",
                        )
                        return False
    return True


def untouched(interventions: list[Intervention], alignment: Alignment, diagnostics: Diagnostics) -> bool:
    """Report what a transcoder reads after another write of one `do` has changed it (E763): it reads the run as it was."""
    for one in interventions:
        if one.add and not one.value.changes:
            continue  # what is added is the same, whatever is read
        read = [(place, ref) for ref in one.inside for place in ref.reads]
        for other in interventions:
            if other is one:
                continue
            for place, ref in read:
                if any(
                    not in_time(place.site, w.site) or overlap(place, w, alignment.network.facts) for w in other.places
                ):
                    assert one.span is not None and other.span is not None
                    diagnostics.report(
                        "E763",
                        f"`{other.text}` changes what `{ref.chain[0].shown}` reads",
                        one.span,
                        others=((other.span, "written before it is read"),),
                        notes=(f"it reads {place}, in the run before anything is written",),
                        help="write them in two tests, or add a number with `+=`, for which nothing is read",
                    )
                    return False
    return True


def _hangs_on_order(one: Intervention, other: Intervention) -> tuple[str, ...]:
    if (one.adds or other.adds) and (one.changes or other.changes):
        return ("additions may overlap, but a value made from the current vector depends on the order of the writes",)
    return ()


def may_overlap(one: Intervention, other: Intervention) -> bool:
    """Whether two interventions may write at one place: additions, disjoint blocks of one feature, and subspaces of files, which
    are looked at when they are loaded (:mod:`causal_dsl.fitting.orthogonal`)."""
    if subspaces(one, other):
        return True
    if (one.adds or other.adds) and not (one.changes or other.changes):
        return True
    if one.to and other.to and not set(_edges(one)) & set(_edges(other)):
        return True  # other edges
    maps = {feature.map for feature in one.features}
    return bool(maps) and maps == {feature.map for feature in other.features} and one.variable != other.variable


def _edges(one: Intervention) -> Iterator[tuple[object, ...]]:
    """The edges that an intervention writes along, each at each of its tokens."""
    for number in range(len(one.places)):
        yield from edges_of(one, number)


def edges_of(one: Intervention, number: int) -> Iterator[tuple[object, ...]]:
    """The edges that it writes along at one of its places."""
    site, reach = one.places[number].site, one.to[number]
    for head, mask in zip(site.heads or (-1,), reach.masks, strict=True):
        for port in reach.ports.of(mask):
            yield site.component, site.layer, head, port


def subspaces(one: Intervention, other: Intervention) -> tuple[tuple[FeatureRef, FeatureRef], ...]:
    """The subspaces of files in which two interventions write at the same sites, pair by pair; none where one of them writes
    anything else, or a part of the other's site."""
    first, second = (intervention.features or intervention.inside for intervention in (one, other))
    pairs = [(a, b) for a in first for b in second if _one_site(a.place, b.place)]
    given = all(
        len(ref.chain) == 1 and family(ref.chain[0]).axes and not ref.joined and not ref.fitting.file
        for ref in (*first, *second)
    )
    apart = all(a.chain != b.chain and canonical(a.place).site == canonical(b.place).site for a, b in pairs)
    return tuple(pairs) if given and apart else ()


def _one_site(one: Place, other: Place) -> bool:
    a, b = canonical(one).site, canonical(other).site
    return (a.component, a.layer, a.module) == (b.component, b.layer, b.module)


def format_expr_action(action: tree.Interchange | tree.SetTo | tree.AddTo) -> str:
    """One action as it is written."""
    target = format_expr(action.target) + ("" if action.via is None else f" via {format_expr(action.via)}")
    if isinstance(action, tree.Interchange):
        return f"{target} <- {format_expr(action.source)}"
    return f"{target} {'+=' if isinstance(action, tree.AddTo) else '='} {format_expr(action.value)}"
