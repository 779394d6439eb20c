"""Tests to a plan: what is drawn, run, kept, written, read and scored, with equal work named once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import singledispatchmethod
from types import MappingProxyType

import numpy as np

from causal_dsl.base.faults import strict
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.causal.draw import draw
from causal_dsl.diagnostics import Diagnostics, SpecError, fail
from causal_dsl.inputs import Inputs, inputs_of, lengths_agree
from causal_dsl.inputs.conditions import conditions_of, judged
from causal_dsl.measures.quantities import SAID, SUMS, TRACE, Quantity, margin_quantities
from causal_dsl.planning import graph as g
from causal_dsl.planning.head_scores import looked_for
from causal_dsl.planning.overlapping_writes import refuse_overlapping_writes
from causal_dsl.planning.plain_steps import plain_steps
from causal_dsl.planning.plan import CellScores, Plan
from causal_dsl.planning.probe_splits import control_task, halves, tasks_of, unlearnable
from causal_dsl.planning.show import PrintedPlan
from causal_dsl.planning.steps import ASKED, EDGES, Step
from causal_dsl.planning.token_counts import Rows, as_many_in_rows, one_token
from causal_dsl.planning.verify import verify
from causal_dsl.program.components import depth, unfit
from causal_dsl.program.derived_tests import learned
from causal_dsl.program.dictionaries import NodeParts
from causal_dsl.program.identity import NetworkKey, origin
from causal_dsl.program.options import Tokenizers
from causal_dsl.program.probed import AlignmentRuns
from causal_dsl.program.program import Alignment, Cell, Intervention, PlaceRead, Program, Test
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.vocabulary.locations import Place, Position
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.mean import Mean
from causal_dsl.vocabulary.written import Value

#: Read of every base and every patched run, asked for or not: what it says of all that it can say, and whether it moved.
OF_ALL = (SAID, TRACE)
#: Faults of a position in a prompt that has it not, or not as often.
UNPLACED = {"E465", "E502", "E503", "E504", "E505", "E506", "E507", "E513", "E538", "E539"}
#: Draws the settings of a design; None where a fault was reported.
Drawer = Callable[[Design, Diagnostics], Drawn | None]


def make_plan(
    program: Program,
    tests: Sequence[Test],
    tokenizers: Tokenizers,
    diagnostics: Diagnostics,
    drawer: Drawer = draw,
    beside: Callable[[Plan], Iterable[Test]] = lambda plan: (),
) -> Plan:
    """The plan of ``tests``, and of those that ride ``beside`` them; faults of prompts and draws raise :class:`SpecError`.
    ``drawer`` may know some draws already."""
    lowered = _Lowered(program)
    for test in tests:
        _Lowering(lowered, test, tokenizers, diagnostics, drawer).lower()
    for test in list(beside(lowered.plan())):
        try:
            _Lowering(lowered, test, tokenizers, diagnostics, drawer).lower()
        except SpecError as error:
            if not {fault.code for fault in error.diagnostics} <= UNPLACED or isinstance(test.probe, AlignmentRuns):
                raise
            lowered.unplaced.append(test)  # its runs are of prompts in which the test's places are not
    plan = lowered.plan()
    plan = replace(plan, steps=plain_steps(plan))
    return verify(plan, "lowered") if strict() else plan


def unfit_networks(plan: Plan, found: Mapping[NetworkKey, str] = MappingProxyType({})) -> Plan:
    """The plan whose steps say which networks the reference executor runs: by what is known of them, and by what
    ``found`` says of loaded ones. What was asked for stays."""

    def why(step: Step) -> str:
        if step.why in (ASKED, EDGES):
            return step.why
        return found.get(step.network) or unfit(plan.inputs[step.network].facts) or ""

    whys = [(step, why(step)) for step in plan.steps]
    return replace(plan, steps=tuple(step if step.why == own else replace(step, why=own) for step, own in whys))


def by_reference(plan: Plan) -> Plan:
    """The plan whose every step is run by the reference executor, since that was asked for."""
    return replace(plan, steps=tuple(replace(step, why=ASKED) for step in plan.steps))


def whole_batches(plan: Plan, networks: Collection[NetworkKey]) -> Plan:
    """The plan whose steps on some networks run all rows from the input to the logits: those look at their input again."""
    return replace(
        plan,
        steps=tuple(
            replace(step, rules=replace(step.rules, late=False, stop=False)) if step.network in networks else step
            for step in plan.steps
        ),
    )


@dataclass(eq=False)
class _Lowered:
    """A plan in the making: the draws, inputs and scores of the tests that were lowered so far."""

    program: Program
    tests: list[Test] = field(default_factory=list)
    unplaced: list[Test] = field(default_factory=list)
    drawn: dict[g.DrawNode, Drawn] = field(default_factory=dict)
    inputs: dict[NetworkKey, Inputs] = field(default_factory=dict)
    rows: dict[g.Forward, np.ndarray] = field(default_factory=dict)
    scores: dict[str, list[g.ScoreNode]] = field(default_factory=dict)
    shown: dict[int, tuple[Alignment, tuple[str, ...]]] = field(default_factory=dict)

    def shown_by(self, alignment: Alignment) -> tuple[str, ...]:
        """The words for that which shows inputs to the network: the prompts of an alignment, or where it enters variables."""
        if id(alignment) not in self.shown:
            lines = tuple(
                f"{line.template}{'' if line.where is None else f' where {line.where.said}'}"
                for line in alignment.prompts
            )
            entries = (f"{p.variable} @ {p.start}:{p.stop} via {p.encoding} {p.settings}" for p in alignment.inputs)
            self.shown[id(alignment)] = alignment, lines or tuple(entries)
        return self.shown[id(alignment)][1]

    def plan(self) -> PrintedPlan:
        """The plan of these tests, without steps."""
        return PrintedPlan(
            self.program,
            tuple(self.tests),
            dict(self.drawn),
            dict(self.inputs),
            dict(self.rows),
            CellScores(self.scores),
            unplaced=tuple(self.unplaced),
        )


class _Lowering:
    def __init__(self, plan: _Lowered, test: Test, tokenizers: Tokenizers, diagnostics: Diagnostics, drawer: Drawer):
        self.plan = plan
        self.drawer = drawer
        self.test = test
        self.diagnostics = diagnostics
        #: the means, token by token, whose rows are known to have as many tokens
        self.averaged: set[tuple[Position | None, str | None, g.Forward, g.Forward]] = set()
        network = test.network
        if network.key not in plan.inputs:
            plan.inputs[network.key] = inputs_of(network.facts, tokenizers(network), test.alignment)
        self.inputs = plan.inputs[network.key]
        lines = plan.shown_by(test.alignment)
        if test.readout.position is not None:  # where it is read tells which of its tokens matter
            lines += (f"read at {test.readout.position}",)
        self.conditions = conditions_of(_places(test))
        source = test.span.source.path
        self.draw = g.DrawNode(test.draws, (*lines, *self.conditions), origin(test.model.name, test.model.span), source)

    def lower(self) -> None:
        drawn = self._drawn()
        test = self.test
        quantities: Mapping[str, set[Quantity]] = test.scores.quantities
        label = g.Label(self.draw, test.readout.variable, test.swaps)
        base = self._forward("base", drawn)
        readout = test.readout.kind
        quantities = self._with_margins(quantities)
        if not test.control[0]:
            quantities = {
                run: {*read, *OF_ALL} if run in ("base", "patched") else read for run, read in quantities.items()
            }
        wanted: dict[str, tuple[g.Forward, set[Quantity]]] = {"base": (base, set(quantities.get("base", set())))}
        for role in test.roles:
            mine = set(quantities.get(role, set()))
            if role in test.solved:
                mine.add(Quantity("answer"))
            if role != "base" and mine:
                wanted[role] = (self._forward(role, drawn), mine)
        if isinstance(test.probe, AlignmentRuns) and test.intervenes:
            del wanted["base"]  # what the rest of a run comes from is looked at in the run alone
        nodes = []
        for cell in test.cells:
            reads = [(role, self._read(run, readout, mine, base, cell)) for role, (run, mine) in wanted.items()]
            if cell.interventions:
                resume = self._resume(base, cell.interventions, drawn)
                reads.append(("patched", self._read(resume, readout, quantities.get("patched", set()), base, cell)))
            node = g.ScoreNode(test.name, cell.values, label, tuple(reads))
            nodes.append(node)
        self.plan.scores[test.name] = nodes
        self.plan.tests.append(test)

    def _with_margins(self, quantities: Mapping[str, set[Quantity]]) -> Mapping[str, set[Quantity]]:
        """Where features are learned, what they and their controls move the logits by is read as well."""
        if not (self.test.control[0] or learned(self.test)) or not self.test.swaps:
            return quantities
        margins = margin_quantities(self.test.readout.variable)
        return {**quantities, **{run: {*quantities.get(run, set()), *margins} for run in ("base", "patched")}}

    def _drawn(self) -> Drawn:
        if self.draw not in self.plan.drawn:
            found = self.test.given or self.drawer(self.test.design, self.diagnostics)
            self.diagnostics.raise_errors()
            assert found is not None
            self.plan.drawn[self.draw] = found
        return self.plan.drawn[self.draw]

    def _forward(self, role: str, drawn: Drawn) -> g.Forward:
        node = g.Forward(self.test.network.key, self.draw, role)
        if node not in self.plan.rows:
            choices = judged(self.conditions, self.test.model, drawn.values[role], drawn.n)
            self.plan.rows[node] = self.inputs.add(self.test.alignment, drawn, role, self.test.span, choices)
        return node

    def _read(
        self, run: g.Forward | g.Resume, readout: str, quantities: set[Quantity], base: g.Forward, cell: Cell
    ) -> g.ReadNode:
        ordered = sorted(quantities, key=str)
        at_end = tuple(q for q in ordered if q.place is None)
        against = base if any(q.against_base for q in at_end) else None
        looks = []
        for look in cell.looks:
            mine = tuple(q for q in ordered if q.place == look.asked)
            if mine and look.kind in READINGS and READINGS[look.kind].of == "gradients":
                self._by_gradients(look, base, run)  # it takes passes of its own
            elif mine:
                self._located(look, run.base if isinstance(run, g.Resume) else run)
                if look.kind == "attribution":
                    mine += tuple(replace(q, kind=kind) for q in mine for kind in SUMS)
                looks.append(g.Looked(look, mine))
        return g.ReadNode(run, self.test.readout.variable, readout, at_end, against, tuple(looks))

    def _located(self, look: PlaceRead, run: g.Forward) -> None:
        """Find the tokens of what is read in every prompt; faults are shown where they are read."""
        for place in look.places:
            for position in (place.position, place.key):
                if position is not None:
                    self.inputs.sizes(position, self.plan.rows[run], look.span)
        of = READINGS[look.kind].of if look.kind in READINGS else ""
        if of == "pattern":
            self._scored(look, run)
        if of == "weights":
            self._seen(look, run)
        if of == "pairs" and look.kind != "save":
            self._probed(look, run)

    def _seen(self, look: PlaceRead, run: g.Forward) -> None:
        """W839 where no token that is looked at comes before the one that looks, in a network in which each token sees those before it."""
        (place,), rows = look.places, self.plan.rows[run]
        if self.inputs.facts.both_ways or place.position is None or place.key is None:
            return
        which, tokens = self.inputs.spans(place.position, rows)
        of, keys = self.inputs.spans(place.key, rows)
        own = np.zeros(len(rows), dtype=np.int64)
        own[which] = tokens
        if len(keys) and (keys > own[of]).all():
            self.diagnostics.report(
                "W839",
                f"`{place.key}` comes after `{place.position}` in every prompt, so the attention weight is 0",
                look.span,
                notes=("each token of this network sees itself and those before it",),
                help=f"name the token that looks first: attention({place.key}, {place.position})",
            )

    def _by_gradients(self, look: PlaceRead, base: g.Forward, run: g.Forward | g.Resume) -> None:
        """Find the tokens of what gradients are taken by, in the base run and in the baseline's: as many in each (E539)."""
        if isinstance(run, g.Resume) and any(write.to is not None for write in run.writes):
            raise fail(
                "E895",
                "no gradients are taken in a run in which edges are patched",
                look.span,
                notes=("what flows along an edge is computed beside the stream",),
                help="write what the sender gives as a whole, or find edges by gradients: discover(edges, method=eap, …)",
            )
        (way,), (place,) = look.arguments, look.places
        rows, source = self.plan.rows[base], None
        if way.baseline in self.test.roles:
            source = self._forward(way.baseline, self._drawn())
        if place.position is None:
            return
        self.inputs.sizes(place.position, rows, look.span)
        if source is not None:
            lengths_agree(self.inputs, place.position, rows, place.position, self.plan.rows[source], look.span)
        which, tokens = self.inputs.spans(place.position, rows)
        if not self.inputs.facts.both_ways and (tokens > self.inputs.reads[rows[which]]).all():
            raise fail(
                "E899",
                f"`{place}` comes after the token at which the answer is read, so it adds nothing to it",
                look.span,
                help="name a token that comes before it, or that token itself",
            )

    def _probed(self, look: PlaceRead, run: g.Forward) -> None:
        """Refuse a probe that cannot be fitted (E846), and a control task that asks nothing (E847)."""
        variable, by = look.arguments
        if self.test.model.variables[variable].type == "real":
            why = "a probe tells the values of a variable apart, and this one is a real number"
        else:
            values = self._drawn().values["base"]
            classes, types = tasks_of(self.inputs, self.plan.rows[run], values, look)
            why = unlearnable(classes, halves(self.inputs.runs[self.plan.rows[run]]))
        if why:
            help = "draw more inputs, or probe a variable that differs between them"
            raise fail("E846", f"no probe can read `{variable}`", look.span, notes=(why,), help=help)
        if look.kind == "probe_selectivity" and control_task(types, classes) is None:
            what = f"`{by}` has one value" if by else "the token there is the same"
            raise fail(
                "E847",
                f"a control task for `{variable}` asks nothing: {what} in all pairs",
                look.span,
                notes=(
                    "each type of a control task has a value of its own, and the types are the tokens at the place",
                ),
                help=f"name a variable whose values are the types: probe_selectivity({variable}, by=…)",
            )

    def _scored(self, look: PlaceRead, run: g.Forward) -> None:
        """Refuse the score of a head in a prompt in which there are no weights for it (E845)."""
        for index in np.unique(self.plan.rows[run]).tolist():
            (ids,) = self.inputs.rows(np.array([index]))
            if not looked_for(look.kind, [int(token) for token in ids]).any():
                between = ", with another token between" if look.kind == "induction" else ""
                twice = f"no token of {self.inputs.text(index)!r} occurs twice{between}"
                alone = f"{self.inputs.text(index)!r} has only one token"
                raise fail(
                    "E845",
                    f"`{look.kind}` is undefined in a prompt",
                    look.span,
                    notes=(alone if look.kind == "previous_token" else twice,),
                    help='test on prompts in which tokens occur again: repeat the prompt, `prompt "{x} {y} {x} {y}"`',
                )

    # ── interventions ───────────────────────────────────────────────────────────────────────────

    def _resume(self, base: g.Forward, interventions: Sequence[Intervention], drawn: Drawn) -> g.Resume:
        writes: list[g.WriteNode] = list(_notes(interventions))
        for intervention in interventions:
            for i, place in enumerate(intervention.places):
                self.inputs.sizes(place.position, self.plan.rows[base], intervention.span or self.test.span)
                self._as_many_keys(place, intervention, base)
                value = self._value(intervention.value, intervention, i, drawn, base)
                if (nodes := _nodes_at(intervention, i)) is not None:
                    seen = nodes.places(place.position)
                    moved = g.NodesMoved(value, nodes, seen, intervention.add)
                    writes.append(g.WriteNode(place, moved, True))
                    continue
                inside = bool(intervention.inside)
                through = intervention.inside or intervention.features
                feature = through[i] if through else None
                if feature is not None and feature.joined:
                    self._as_many_tokens(place, intervention, base)
                if inside and feature is not None and feature.reads:
                    now = self._read_across(base, feature)
                    writes.append(g.WriteNode(place, g.Decoded(value, now, intervention.add), True))
                    continue
                to = intervention.to[i] if intervention.to else None
                writes.append(g.WriteNode(place, value, intervention.add, feature, inside, to))
        refuse_overlapping_writes(interventions, self.inputs, self.plan.rows[base], self.test.span)
        return g.Resume(base, tuple(writes))

    def _read_across(self, run: g.Forward, ref: FeatureRef) -> g.ReadAcross:
        """The vectors that a transcoder or a crosscoder reads of a run."""
        return g.ReadAcross(tuple(g.Capture(run, place) for place in ref.reads), ref)

    def _as_many_keys(self, place: Place, intervention: Intervention, base: g.Forward) -> None:
        """Values that are made from all weights at once need as many keys in every row (E467)."""
        if place.key is None:
            return
        counts = set(self.inputs.sizes(place.key, self.plan.rows[base], intervention.span or self.test.span).tolist())
        if len(counts) > 1 and not all(part.one_by_one for part in intervention.value.walk()):
            raise fail(
                "E467",
                f"`{place.key}` is {min(counts)} to {max(counts)} tokens, and what is written is made from all of them",
                intervention.span or self.test.span,
                help="name one token that is looked at, or write a number, what another run has, or `scale(…)`",
            )

    def _as_many_tokens(self, place: Place, intervention: Intervention, base: g.Forward) -> None:
        """Tokens that are joined to one vector are as many in every row (E725)."""
        counts = set(self.inputs.sizes(place.position, self.plan.rows[base]).tolist())
        if len(counts) > 1:
            raise fail(
                "E725",
                f"`{place.position}` is {min(counts)} to {max(counts)} tokens, which do not join to one vector",
                intervention.span or self.test.span,
                help="name single tokens, draw values with the same number of tokens, or leave `joined` out",
            )

    @singledispatchmethod
    def _value(self, value: Value, intervention: Intervention, i: int, drawn: Drawn, base: g.Forward) -> Value:
        """The value that is written at one place of an intervention on ``base``, made from runs where it is made from roles."""
        return value.each(lambda part: self._value(part, intervention, i, drawn, base))

    @_value.register
    def _of_run(self, value: FromRun, intervention: Intervention, i: int, drawn: Drawn, base: g.Forward) -> Value:
        source = self._forward(value.role, drawn)
        lengths_agree(
            self.inputs,
            intervention.places[i].position,
            self.plan.rows[base],
            value.places[i].position,
            self.plan.rows[source],
            intervention.span,
            f"{one_token(intervention.places[i].position, intervention)}, or draw values with the same number of tokens",
        )
        if intervention.places[i].key is not None:
            lengths_agree(
                self.inputs,
                intervention.places[i].key,
                self.plan.rows[base],
                value.places[i].key,
                self.plan.rows[source],
                intervention.span,
            )
        self._equal_lengths(value.places[i], intervention, (base, source))
        if intervention.inside and intervention.inside[i].reads:
            return self._read_across(source, intervention.inside[i])
        nodes = _nodes_at(intervention, i)
        taken = (value.places[i],) if nodes is None else nodes.places(value.places[i].position)
        under = () if all(_before(place, value.under) for place in taken) else value.under
        run = self._resume(source, under, drawn) if under else source
        if nodes is not None:
            return g.NodesRead(tuple(g.Capture(run, place, span=intervention.span) for place in taken), nodes)
        return g.Capture(run, value.places[i], span=value.span or intervention.span)

    @_value.register
    def _of_rows(self, value: Mean, intervention: Intervention, i: int, drawn: Drawn, base: g.Forward) -> Value:
        run, place = self._forward(value.of, drawn), intervention.places[i]
        if place.key is not None:
            rows = self.plan.rows[base]
            lengths_agree(self.inputs, place.key, rows, place.key, self.plan.rows[run], intervention.span)
        self._equal_lengths(place, intervention, (run,))
        by = value.by is not None
        if by:
            self._same_templates(value, drawn, base)
        if not value.pooled and (asked := (place.position, value.by, run, base)) not in self.averaged:
            self.averaged.add(asked)
            runs = [Rows(one.role, self.plan.rows[one], drawn.templates(one.role)) for one in (run, base)]
            as_many_in_rows(self.inputs, value, place.position, intervention, runs, self.test.span)
        inside = intervention.inside[i] if intervention.inside else None
        if (nodes := _nodes_at(intervention, i)) is not None:
            first, *beside = (g.Capture(run, one) for one in nodes.places(place.position))
            return g.NodesAveraged(g.Average(first, value.pooled, None, tuple(beside), nodes.all, by), nodes)
        if inside is not None and inside.reads:
            first, *beside = self._read_across(run, inside).captures
            return g.Average(first, value.pooled, inside, tuple(beside), by_template=by)
        return g.Average(g.Capture(run, place), value.pooled, inside, by_template=by)

    def _same_templates(self, value: Mean, drawn: Drawn, base: g.Forward) -> None:
        """A mean over the rows of one prompt template has at least one (E544)."""
        own, theirs = (set(drawn.templates(role).tolist()) for role in (base.role, value.of))
        for number in sorted(own - theirs):
            raise fail(
                "E544",
                f"no prompt of `{value.of}` is of the template of prompts of `{base.role}`, so there is no mean over its rows",
                value.span or self.test.span,
                notes=(f"the template is {str(self.test.alignment.prompts[number].template)!r}",),
                help=f"draw `{value.of}` with more rows, or with template == {number}",
            )

    def _equal_lengths(self, place: Place, intervention: Intervention, runs: tuple[g.Forward, ...]) -> None:
        """Attention weights have a number for every token of a prompt, and a pass puts pairs together: all prompts that they
        go between must have one length (E543)."""
        if place.site.component != "pattern" or place.key is not None:
            return
        lengths = {self.inputs.length(int(i)) for run in runs for i in np.unique(self.plan.rows[run])}
        if len(lengths) > 1:
            raise fail(
                "E543",
                "attention weights are patched in prompts of one length only",
                intervention.span or self.test.span,
                notes=(
                    f"the prompts that they connect are {min(lengths)} to {max(lengths)} tokens long",
                    "all of them must have the same length, even if the two prompts of each pair do",
                ),
                help="use templates and values that give every such prompt the same number of tokens, or patch `z`, the result of the weights",
            )


def _before(place: Place, written: Sequence[Intervention]) -> bool:
    """Whether a place is computed before anything that is written in a run, so that it is what it is in the plain run."""
    own = depth(place.site)
    others = [depth(other.site) for one in written for other in one.places]
    summed = {other.site.layer for one in written for other in one.places if other.site.component == "resid_mid"}
    if own is None or place.site.layer in summed:  # a sum is written where what is added to it is
        return False
    return all(other is not None and own < other for other in others)


def _nodes_at(intervention: Intervention, number: int) -> NodeParts | None:
    """The nodes of a dictionary that are written at one of the places of an intervention."""
    return intervention.nodes[number] if intervention.nodes else None


def _notes(interventions: Sequence[Intervention]) -> Iterator[g.WriteNode]:
    """Writes that note the vectors from which nodes of dictionaries are computed, each once, before anything is written there."""
    seen: dict[Place, None] = {}
    for intervention in interventions:
        for place, nodes in zip(intervention.places, intervention.nodes, strict=False):
            seen |= dict.fromkeys(nodes.places(place.position) if nodes is not None else ())
    return (g.WriteNode(place, g.Noted(), False) for place in seen)


def _written(intervention: Intervention) -> Iterator[Place]:
    """The places that an intervention writes, and those that it takes from."""
    yield from intervention.places
    for value in intervention.value.find(FromRun):
        yield from value.places
        for under in value.under:
            yield from _written(under)


def _places(test: Test) -> Iterator[Place]:
    """Every place that a test reads, writes, or knows a variable at."""
    for cell in test.cells:
        for intervention in cell.interventions:
            yield from _written(intervention)
        for placed in cell.placed:
            yield from placed.places
        for look in cell.looks:
            yield from look.places
