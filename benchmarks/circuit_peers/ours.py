"""Our own part: what all peers run, written from a spec, and the same done by this package.

Timed is what a run does between the network and the columns of numbers: for scores of edges the search, for circuits and reads the
execution of a plan, the clean and the counterfactual forward included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.circuit_peers.task import ALONE, CIRCUITS, POINTS, RECEIVERS, SENDERS, Peer, Task, Work
from benchmarks.circuits import shares
from causal_dsl import api
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.part_scores import PartScorer, Way
from causal_dsl.engine.budgets import budget_of
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import Quantity, ValueRef
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import Plan
from causal_dsl.program.discovery import metric_of
from causal_dsl.program.edge_sets import EdgeSet, edge_name
from causal_dsl.score.targets import target_ids
from causal_dsl.session import Session

_MODEL = """\
domain Name  = {"Mary", "John", "Tom", "James", "Anna", "Alice", "Sarah", "David", "Emma", "Jack", "Paul", "Peter"}
domain Place = {"store", "park", "school", "office", "station", "garden"}

causal ioi {
  one, two ~ Name where one != two
  subject  ~ {one, two}
  place    ~ Place

  output answer := if subject == one then two else one
}

network net = zoo("NETWORK")

align sitesPARAMETERS : ioi -> net {
  prompt "Then, {one} and {two} went to the {place}. {subject} gave a ring to"

  answer @ next_token
}
"""
_SEARCH = """
circuit found : net = discover(edges, method=eap, keep=1%, by=absolute)

test judged on sites {
  base, source ~ ioi(n=PAIRS, seed=0) where base.answer != source.answer
  do(outside(found) <- source)
  report faithfulness(logit(answer) - logit(source.answer))
}
"""
_CIRCUITS = """
circuit found(k in [SHARES]) : net = json("scores.json", keep=k, by=absolute)

test judged on sites {
  base, source ~ ioi(n=PAIRS, seed=0, controls=none) where base.answer != source.answer
  do(outside(found) <- source)
  report change(logit(answer) - logit(source.answer))
}
"""
_READS = """
test judged on sites {
  base ~ ioi(n=PAIRS, seed=0)
  report logit(answer) @ layer[l].resid_post
  report attribution(logit(answer)) @ layer[l].head[h]
}
"""
TASK, SCORES, NETWORK = "task.npz", "scores.json", "network.json"
_NAMES = (Quantity("logit", ValueRef("base", "answer")), Quantity("logit", ValueRef("source", "answer")))


class Spec:
    """A spec of this benchmark, planned, and its network."""

    def __init__(self, text: str, folder: Path, network: str, pairs: int, session: Session):
        words = {"NETWORK": network, "PAIRS": str(pairs)}
        zoo = api.check(api.parse(f'network net = zoo("{network}")'), api.Options())
        assert zoo.program is not None
        (known,) = zoo.program.networks.values()
        words["PARAMETERS"] = "(l in 0:LAYERS, h in 0:HEADS)" if "[l]" in text else ""
        words |= {"LAYERS": str(known.facts.layers), "HEADS": str(known.facts.heads)}
        for word, value in words.items():
            text = text.replace(word, value)
        path = folder / "circuits.causal"
        path.write_text(text, encoding="utf-8")
        self.checked = api.check(api.load(path), api.Options())
        self.checked.raise_errors()
        plan = self.checked.plan or self.checked.searches
        assert plan is not None
        self.plan, self.networks = plan, session.networks(plan.networks.values())
        self.targets = target_ids(plan, self.checked.answers, self.networks)

    @property
    def network(self) -> Any:
        (found,) = self.networks.values()
        return found

    def drawn(self, plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the only test of a plan the prompts of base and source [pairs, tokens], and the ids of both answers [pairs, 2]; of a test
        without a source the base for both."""
        (test,), (inputs,) = plan.tests, plan.inputs.values()
        targets = target_ids(plan, self.checked.answers, self.networks)
        draw = plan.scores[test.name][0].label.draw
        runs = [g.Forward(test.network.key, draw, role) for role in ("base", "source")]
        rows = [plan.rows.get(run, plan.rows[runs[0]]) for run in runs]
        names = [name if run in plan.rows else _NAMES[0] for run, name in zip(runs, _NAMES, strict=True)]
        wanted = np.stack([targets(test, name) for name in names], axis=1)
        base, source = (np.array([inputs.ids(int(row)) for row in own], dtype=np.int64) for own in rows)
        return base, source, wanted

    def execute(self) -> Execution:
        """The plan executed to its columns."""
        execution = Execution(self.plan, self.networks, self.checked.answers, self.targets)
        for _ in execution.run():
            pass
        return execution


class Searched:
    """What scores all edges of the network of a spec."""

    def __init__(self, spec: Spec):
        checked = spec.checked
        assert checked.program is not None and checked.searches is not None
        (test,), (search,), plan = checked.program.tests, checked.searches.tests, checked.searches
        metric, draw = metric_of(test), plan.scores[search.name][0].label.draw
        assert metric is not None
        rows = [plan.rows[g.Forward(search.network.key, draw, role)] for role in ("base", "source")]
        self.spec, self.network = spec, spec.network
        self.pairs = Pairs(plan.inputs[search.network.key], *rows)
        targets = target_ids(plan, checked.answers, spec.networks)
        self.objective = MetricGradient(metric, search, checked.answers[search.name], targets)

    def scorer(self) -> PartScorer:
        """A new one: none of what it has computed is kept."""
        budget = budget_of(self.network, None)
        return PartScorer(self.network, self.pairs, self.objective, budget, ("embed", "head", "mlp"), "right")


def prepare(folder: Path, network: str, pairs: int) -> None:
    """Write the task: the prompts, all edges, and circuits of several sizes of those with the largest scores."""
    session = Session(api.Options())
    searched = Searched(Spec(_MODEL + _SEARCH, folder, network, pairs, session))
    scorer = searched.scorer()
    scores = scorer.score_edges(Way()).means
    edges = scorer.edges
    named = {edge_name(node, port): float(score) for (node, port), score in zip(edges, scores, strict=True)}
    (folder / SCORES).write_text(json.dumps({"edges": named}), encoding="utf-8")
    judged = Spec(_MODEL + _circuits(range(CIRCUITS)), folder, network, pairs, session)
    numbers = {edge: number for number, edge in enumerate(edges)}
    kept = np.zeros((CIRCUITS, len(edges)), bool)
    for row, cell in zip(kept, judged.plan.tests[0].cells, strict=True):
        ablation = cell.interventions[0].circuit
        assert ablation is not None and isinstance(ablation.members, EdgeSet)
        row[[numbers[node, port] for node, port, _ in ablation.members]] = True
    facts = searched.network.facts
    told = {"network": network, "folder": str(open_zoo(network))}
    (folder / NETWORK).write_text(json.dumps(told), encoding="utf-8")
    assert searched.spec.checked.searches is not None
    read = Spec(_MODEL + _READS, folder, network, pairs, session)
    draws = (searched.spec.drawn(searched.spec.checked.searches), judged.drawn(judged.plan), read.drawn(read.plan))
    base, source, wanted = (np.stack(all_three) for all_three in zip(*draws, strict=True))
    Task(
        base,
        source,
        wanted,
        np.array([[SENDERS.index(node.kind), node.layer, node.index or 0] for node, _ in edges]),
        np.array([[RECEIVERS.index(port.kind), port.layer, port.head] for _, port in edges]),
        kept,
        np.array([facts.layers, facts.heads, facts.kv_heads or facts.heads]),
    ).save(folder / TASK)


def peer(folder: Path, task: Task) -> Peer:
    """The network of the task's spec in this package."""
    told = json.loads((folder / NETWORK).read_text(encoding="utf-8"))
    session = Session(api.Options())

    def spec(text: str) -> Spec:
        return Spec(_MODEL + text, folder, told["network"], task.pairs, session)

    searched = Searched(spec(_SEARCH))
    one, every, reads = (spec(text) for text in (_circuits([ALONE]), _circuits(range(CIRCUITS)), _READS))
    network = searched.network
    batch = network.given.batch(network, searched.pairs.inputs.rows(searched.pairs.base), "right")

    @torch.no_grad()
    def forward() -> None:
        network.model(*batch.arguments, **batch.named, logits_to_keep=1)

    return Peer(
        {"transformers": forward},
        {
            "eap": Work(lambda: searched.scorer().score_edges(Way()).means),
            "eap_ig": Work(lambda: searched.scorer().score_edges(Way(POINTS, rule="left")).means),
            "circuit": Work(lambda: _metric(one)),
            "circuits": Work(lambda: _metric(every)),
            "reads": Work(lambda: _read(reads)),
        },
    )


def _circuits(which: Iterable[int]) -> str:
    sizes = shares(CIRCUITS)
    return _CIRCUITS.replace("SHARES", ", ".join(str(sizes[number]) for number in which))


def _metric(spec: Spec) -> np.ndarray:
    """The metric of each circuit and pair [circuits, pairs]."""
    (run,) = spec.execute().runs.values()
    one, other = _NAMES
    return np.stack([cell.columns.patched[one] - cell.columns.patched[other] for cell in run.cells])


def _read(spec: Spec) -> np.ndarray:
    """For each pair the logit after each layer, then what each head adds to it [pairs, layers + heads of all layers]."""
    (run,) = spec.execute().runs.values()
    lens: dict[int, np.ndarray] = {}
    heads: dict[tuple[int, int], np.ndarray] = {}
    for named, cell in zip(run.test.cells, run.cells, strict=True):
        at = dict(named.values)
        for quantity, values in cell.columns.base.items():
            if quantity.place is None or quantity.kind != "logit":
                continue
            if quantity.place.reading is None:
                lens[at["l"]] = values
            else:
                heads[at["l"], at["h"]] = values
    return np.stack([*(lens[layer] for layer in sorted(lens)), *(heads[one] for one in sorted(heads))], axis=1)
