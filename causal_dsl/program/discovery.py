"""`circuit found : net = discover(nodes, method=eap_ig(steps=5), keep=10%, by=absolute)`: circuits that a run finds.

A circuit is found on inputs of its own, the ``fit`` part of what the test draws that names it, and by the metric that the test's
score of a circuit is of; the test is judged on the other parts. Until a network has run no score is known: a check and a plan
take the first components in their place, as many as will be kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.measures.gradients import no_gradient
from causal_dsl.measures.of_circuits import OfCircuit
from causal_dsl.measures.per_pair import Pair
from causal_dsl.program.circuit_edges import refuse_edges
from causal_dsl.program.circuit_files import edge_of, node_of
from causal_dsl.program.circuit_members import Members
from causal_dsl.program.circuit_sites import CircuitSites
from causal_dsl.program.edge_sets import SENDERS, EdgeSet, edge_name, every_edge, nodes_at, ports_of
from causal_dsl.program.nodes import EVERYWHERE, OutputNode, Spot, kinds_named, kinds_of, stage_of, universe
from causal_dsl.program.program import Test
from causal_dsl.program.read_dictionaries import refuse_dictionaries
from causal_dsl.program.read_settings import EXAMPLES, call_name, holds, read_settings
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.program.searches import Discovery, Kept, Searches
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.called_words import CALLED
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.mean import Mean
from causal_dsl.vocabulary.values.number import Constant


@dataclass(frozen=True)
class AskedSearch:
    """The words of a `discover(…)`: its settings, and its method (None where that is at fault)."""

    call: tree.Call
    settings: Mapping[str, Any]
    method: tuple[str, tuple[tuple[str, Any], ...]] | None


def read_asked(call: tree.Call, found: Diagnostics) -> AskedSearch | None:
    """The settings of a discovery; None where a fault was reported."""
    settings = read_settings("discover", call.arguments, CALLED["discover"].settings, found, call.span)
    if settings is None:
        return None
    method = _method(settings["method"], found)
    lists = [(name, settings[name], example) for name, example in EXAMPLES.items() if settings[name] is not None]
    if not all(holds("discover", name, one, example, found) for name, one, example in lists):
        return None
    return AskedSearch(call, settings, method)


def read_discover(
    asked: AskedSearch, spots: tuple[Spot, ...] | Literal[False] | None, sites: CircuitSites, searches: Searches | None
) -> Members | None:
    """The nodes or the edges that a discovery keeps; None where a fault was reported. ``spots``: the nodes of the circuit that its
    `among` names, False where it names none."""
    call, settings, method, facts, found = asked.call, asked.settings, asked.method, sites.facts, sites.diagnostics
    kinds = () if spots or spots is None else _kinds(_items(settings["among"]), settings["what"], facts, found)
    at = _positions(settings["at"], sites.sites, found)
    if method is None or kinds is None or at is None or spots is None:
        return None
    some = tuple(sorted(dict.fromkeys(node for node, _ in spots or ()), key=stage_of))  # in the order of the network
    if some and not _scorable(some, settings["what"], method[0], call, found):
        return None
    rule = _rule(method, settings, call, found)
    if rule is None:
        return None
    if settings["what"] == "edges" and refuse_edges(facts, call.span, found, "discover nodes: discover(nodes, …)"):
        return None
    neurons = [OutputNode("neuron", n, 0) for n in range(facts.layers or 0)] * ("neuron" in kinds)
    every = some or universe(facts, kinds, neurons)
    if not (every or facts.traits.seen):
        return ()  # known once it is loaded
    if every is None:
        found.report(
            "E810",
            "the components of this network are not known",
            call.span,
            notes=("its layers are not known, or its heads cannot be told apart",),
            help="intervene on sites instead: do(layer[3].mlp_out[last] = mean)",
        )
        return None
    test = "" if searches is None else searches.test
    kept = Kept(
        Discovery(test, settings["what"], method[0], method[1], kinds, settings["n"], at, call.span, some),
        *rule,
    )
    if searches is not None:
        searches.asked.append(kept)
    scores = None if searches is None else searches.known.get(kept.discovery)
    edges = kept.discovery.what == "edges"
    if scores is None:  # nothing has run: as many of them as it will keep
        there = every_edge(facts, kinds) if edges else None
        parts = map(str, every) if there is None else (edge_name(node, port) for node, port, _ in there)
        names_at = placed_names(parts, at)
        every_name = dict.fromkeys(names_at, kept.keep if kept.by == "threshold" else 0.0)
        names = chosen(every_name, kept, call.span, found)
    else:
        names = chosen(scores, kept, call.span, found)
        names = pruned(names, facts, kinds, at) if edges and names is not None else names
    if names is None:
        return None
    parted = [parted_name(name, at) for name in names]
    if edges:
        ends = ((edge_of(name), where) for name, where in parted)
        return EdgeSet.of(ports_of(facts), [(*edge, where or EVERYWHERE) for edge, where in ends if edge is not None])
    place = facts.traits.everywhere
    own = {str(node): node for node in some}
    return tuple(
        (node, where or place)
        for name, where in parted
        for node in ([own[name]] if name in own else nodes_of(name, facts))
    )


def placed_names(names: Iterable[str], at: Sequence[Position]) -> list[str]:
    """The names of parts at each of some tokens: `layer[3].head[1][subject]`."""
    return [f"{name}[{position}]" for name in names for position in at] if at else list(names)


def parted_name(name: str, at: Sequence[Position]) -> tuple[str, Position | None]:
    """The name of a part, and the token at which it is."""
    ends = [position for position in at if name.endswith(f"[{position}]")]
    if not ends:
        return name, None
    own = max(ends, key=lambda position: len(str(position)))
    return name[: -len(f"[{own}]")], own


def chosen(scores: Mapping[str, float], kept: Kept, span: Span, found: Diagnostics) -> list[str] | None:
    """The names with the highest scores; None where there are not as many (E829)."""
    keep, every = kept.keep, len(scores)
    if kept.by == "threshold":
        return sorted((name for name in scores if scores[name] >= keep), key=lambda name: (-scores[name], name))
    count = math.ceil(keep * every - 1e-9) if isinstance(keep, float) and keep <= 1 else keep
    if count != int(count) or count > every:
        found.report(
            "E829",
            f"`keep` is {keep:g} of {every} {kept.discovery.what}",
            span,
            help=f"write a share, keep=10%, or a number of {kept.discovery.what} up to {every}",
        )
        return None
    size = abs if kept.by == "absolute" else float
    return sorted(scores, key=lambda name: (-size(scores[name]), name))[: int(count)]


def pruned(
    names: Iterable[str], facts: Facts, kinds: Iterable[str] = SENDERS, at: Sequence[Position] = ()
) -> list[str]:
    """The edges that lie on a path from the embedding to the logits: an edge from a component that no kept edge reaches, and one to
    a component that gives nothing on, is dropped, and so on until none is. Edges that begin at other ``kinds`` are all there."""
    kept = list(names)
    others = every_edge(facts, [kind for kind in SENDERS if kind not in kinds]) or ()
    there = [*kept, *(edge_name(node, port) for node, port, _ in others)]
    bare = {name: parted_name(name, at)[0] for name in there}
    edges = {name: (edge.partition(" -> ")[2], nodes_of(edge, facts)) for name, edge in bare.items()}
    while True:
        senders = {ends[0] for _, ends in edges.values()}
        reached = {node for _, ends in edges.values() for node in ends[1:]}
        left = {
            name: (receiver, ends)
            for name, (receiver, ends) in edges.items()
            if (receiver == "logits" or senders & set(ends[1:])) and (ends[0].kind == "embed" or ends[0] in reached)
        }
        if len(left) == len(edges):
            return [name for name in kept if name in left]
        edges = left


def nodes_of(name: str, facts: Facts) -> list[OutputNode]:
    """The node that a name is of; of an edge those at its ends."""
    edge, node = edge_of(name), node_of(name)
    if edge is not None:
        return [edge[0], *nodes_at(edge[1], ports_of(facts))]
    return [] if node is None else [node]


# ── what it needs of its test ───────────────────────────────────────────────────────────────────


def metric_of(test: Test) -> Pair | None:
    """The metric of the first score of a circuit in a test; None where there is none."""
    parts = (part for value in test.scores.asked.values() for part in value.walk())
    return next((part.pair for part in parts if isinstance(part, OfCircuit)), None)


@dataclass(frozen=True)
class Counterfactual:
    """The stand-in for a part that is taken away: what it gives in the run of its pair (``run``), its ``mean`` over the runs of
    ``role``, token by token or ``pooled`` over tokens, or ``zero``."""

    role: str
    kind: Literal["run", "mean", "pooled", "zero"] = "run"


def source_of(test: Test) -> Counterfactual | None:
    """The value that a test writes in the place of what is outside of a circuit; None where it is nothing of the kind."""
    circuits = [i.circuit for cell in test.cells for i in cell.interventions if i.circuit is not None]
    match circuits[0].value if circuits else None:
        case FromRun(role=role):
            return Counterfactual(role)
        case Mean(of=role, pooled=pooled, by=None):
            return Counterfactual(role, "pooled" if pooled else "mean")
        case Constant(value=0):
            return Counterfactual("base", "zero")
    return None


def check_discoveries(test: Test, found: Diagnostics) -> bool:
    """Refuse a test that cannot say by which metric and against what its circuits are found, or is judged on the same inputs."""
    for kept in test.discoveries:
        span, metric = kept.discovery.span, metric_of(test)
        if metric is None:
            found.report(
                "E824",
                f"`{test.name}` has no score of a circuit by which one could be found",
                test.span,
                others=((span, "found by the metric of such a score"),),
                help="report faithfulness(m): the circuit is found by m",
            )
            return False
        without = no_gradient(metric)
        if without is not None and METHODS[kept.discovery.method].gradient:
            found.report(
                "E823",
                f"`{without}` has no gradient",
                test.span,
                others=((span, "found by gradients"),),
                notes=("a count, a rank or a comparison stays as it is where the network changes a little",),
                help="find the circuit by logits or probabilities, say logit(answer) - logit(source.answer)",
            )
            return False
        if source_of(test) is None:
            found.report(
                "E826",
                f"`{test.name}` writes neither what another run has, nor a mean over all rows, nor 0",
                test.span,
                others=((span, "found by what these would change"),),
                help="take values from a counterfactual, do(outside(c) <- source), or write do(outside(c) = mean)",
            )
            return False
        same = next((s for s in test.design.statements if s.split in ("fit", "validation")), None)
        if same is not None:
            found.report(
                "E827",
                f"`{test.name}` is judged on inputs of the part on which its circuit is found",
                same.span,
                others=((span, "found on the `fit` part"),),
                help="write split=test, or leave it out",
            )
            return False
    return True


# ── settings ────────────────────────────────────────────────────────────────────────────────────


def _method(expr: tree.Expr, found: Diagnostics) -> tuple[str, tuple[tuple[str, Any], ...]] | None:
    called = call_name(expr) if isinstance(expr, tree.Call | tree.Name) else None
    if called is None or called[0] not in METHODS:
        name = format_expr(expr)[:60] if called is None else called[0]
        found.report(
            "E825",
            f"no method `{name}` finds a circuit",
            expr.span,
            help=did_you_mean(name, METHODS, "there is " + ", ".join(f"`{one}`" for one in METHODS)),
        )
        return None
    arguments = expr.arguments if isinstance(expr, tree.Call) else ()
    settings = read_settings(called[0], arguments, METHODS[called[0]].settings, found, expr.span)
    return None if settings is None else (called[0], tuple(settings.items()))


def _rule(
    method: tuple[str, tuple[tuple[str, Any], ...]], settings: Mapping[str, Any], call: tree.Call, found: Diagnostics
) -> tuple[float, str] | None:
    """How much is kept, and by what; None where it is not said, or said twice (E817)."""
    given = [name for name in ("keep", "by") if settings[name] is not None]
    if METHODS[method[0]].ranked and given == ["keep"]:
        settings = {**settings, "by": "signed"}  # its scores have no sign
        given = ["keep", "by"]
    elif METHODS[method[0]].decides and not (METHODS[method[0]].ranked and given):
        if not given:
            return dict(method[1])["threshold"], "threshold"
        place = next(a for a in call.arguments if a.name is not None and a.name.name == given[0])
        found.report(
            "E817",
            f"`{method[0]}` keeps by its threshold, and not by `{given[0]}`",
            place.span,
            help=f"leave {' and '.join(f'`{name}`' for name in given)} out",
        )
        return None
    if (keep := settings["keep"]) is not None and (keep == 0 or (isinstance(keep, float) and keep > 1)):
        place = next(a for a in call.arguments if a.name is not None and a.name.name == "keep")
        above = f"`keep` is a share of {100 * keep:g}%, above 100%"
        if keep != int(keep):
            above = f"`keep` is {keep:g}, neither a share of 100% or less nor a whole number"
        what = "`keep=0` keeps nothing" if keep == 0 else above
        found.report("E829", what, place.span, help="write a share up to 100%, keep=10%, or a number")
        return None
    for name, words in (("keep", "a share or a number, as in keep=10%"), ("by", "by=signed or by=absolute")):
        if name not in given:
            found.report("E214", f"`discover` needs `{name}`", call.span, help=f"write {words}")
    return (settings["keep"], settings["by"]) if len(given) == 2 else None


def _items(expr: tree.Expr | None) -> tuple[tree.Expr, ...] | None:
    return None if expr is None else tuple(expr.items) if isinstance(expr, tree.List) else (expr,)


def _scorable(nodes: Sequence[OutputNode], what: str, method: str, call: tree.Call, found: Diagnostics) -> bool:
    """Whether a method can score these nodes of a circuit (E952, E803)."""
    if what == "edges":
        if refuse_dictionaries(nodes, "send along no edge", call.span, found, search=True):
            return False
        found.report(
            "E803",
            "`among` of edges names kinds of components, and no circuit",
            call.span,
            help="name the kinds of senders, among=[head], or discover nodes",
        )
        return False
    whole_kinds = METHODS[method].whole_kinds
    if whole_kinds is not None:
        does, of_dictionaries = whole_kinds
        if refuse_dictionaries(nodes, of_dictionaries, call.span, found, search=True):
            return False
        found.report(
            "E803",
            f"`{method}` {does}, and not of a circuit",
            call.span,
            help="name kinds, among=[head], or find nodes by gradients: method=eap_ig(steps=5)",
        )
        return False
    return True


def _kinds(names: tuple[tree.Expr, ...] | None, what: str, facts: Facts, found: Diagnostics) -> tuple[str, ...] | None:
    there = kinds_of(facts)
    if names is None:
        return there
    every: tuple[str, ...] = kinds_named(facts) if what == "nodes" else there
    for item in names:
        if not isinstance(item, tree.Name) or item.name not in every:
            found.report(
                "E803",
                f"`{format_expr(item)[:60]}` is not a kind of component here",
                item.span,
                help=did_you_mean(format_expr(item), every, "there is " + ", ".join(f"`{k}`" for k in every)),
            )
            return None
    return tuple(dict.fromkeys(item.name for item in names if isinstance(item, tree.Name)))


def _positions(expr: tree.Expr | None, sites: SiteReader, found: Diagnostics) -> tuple[Position, ...] | None:
    """The tokens at which parts are scored by themselves; None where a fault was reported."""
    if expr is None:
        return ()
    if sites.facts.traits.no_tokens:
        found.report("E803", f"an input of {sites.facts.traits.no_tokens}", expr.span, help="leave `at` out")
        return None
    items = expr.items if isinstance(expr, tree.List) else (expr,)
    read = [sites.position(item) for item in items]
    known = tuple(dict.fromkeys(one for one in read if one is not None))
    return known if None not in read else None


__all__ = [
    "AskedSearch",
    "Counterfactual",
    "check_discoveries",
    "chosen",
    "metric_of",
    "nodes_at",
    "parted_name",
    "placed_names",
    "pruned",
    "read_asked",
    "read_discover",
    "source_of",
]
