"""Our own part: what all peers run, written from a spec, and the same done by this package.

Timed is what a run does between the network and the columns of numbers: for scores of edges the search, for circuits and reads the
execution of a plan, the clean and the counterfactual forward included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from benchmarks.circuit_peers.task import ALONE, CIRCUITS, POINTS, RECEIVERS, SENDERS, Peer, Task, Work
from benchmarks.circuits import shares
from benchmarks.ioi_search import SEARCH, Searched, spec
from causal_dsl import api
from causal_dsl.discovery.part_scores import Way
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import Quantity, ValueRef
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import Plan
from causal_dsl.program.edge_sets import EdgeSet, edge_name
from causal_dsl.running.session import Session
from causal_dsl.score.targets import target_ids

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
        zoo = api.check(api.parse(f'network net = zoo("{network}")'), api.Options())
        assert zoo.program is not None
        (known,) = zoo.program.networks.values()
        heads = (known.facts.layers or 0, known.facts.heads or 0) if "[l]" in text else None
        path = folder / "circuits.causal"
        path.write_text(spec(text, network, pairs, heads), encoding="utf-8")
        self.checked = api.check(api.load(path), api.Options())
        self.checked.raise_errors()
        plan = self.checked.plan or self.checked.searches
        assert plan is not None
        self.plan, self.networks = plan, session.networks(plan.networks.values())
        self.targets = target_ids(plan, self.checked.answers, self.networks)

    def searched(self) -> Searched:
        """What scores all edges of its network."""
        return Searched(self.checked, self.networks)

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


def prepare(folder: Path, network: str, pairs: int) -> None:
    """Write the task: the prompts, all edges, and circuits of several sizes of those with the largest scores."""
    session = Session(api.Options())
    search = Spec(SEARCH, folder, network, pairs, session)
    searched = search.searched()
    scorer = searched.scorer()
    scores = scorer.score_edges(Way()).means
    edges = scorer.edges
    named = {edge_name(node, port): float(score) for (node, port), score in zip(edges, scores, strict=True)}
    (folder / SCORES).write_text(json.dumps({"edges": named}), encoding="utf-8")
    judged = Spec(_circuits(range(CIRCUITS)), folder, network, pairs, session)
    numbers = {edge: number for number, edge in enumerate(edges)}
    kept = np.zeros((CIRCUITS, len(edges)), bool)
    for row, cell in zip(kept, judged.plan.tests[0].cells, strict=True):
        ablation = cell.circuit
        assert ablation is not None and isinstance(ablation.members, EdgeSet)
        row[[numbers[node, port] for node, port, _ in ablation.members]] = True
    facts = searched.network.facts
    told = {"network": network, "folder": str(open_zoo(network))}
    (folder / NETWORK).write_text(json.dumps(told), encoding="utf-8")
    assert search.checked.searches is not None
    read = Spec(_READS, folder, network, pairs, session)
    draws = (search.drawn(search.checked.searches), judged.drawn(judged.plan), read.drawn(read.plan))
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

    def planned(text: str) -> Spec:
        return Spec(text, folder, told["network"], task.pairs, session)

    searched = planned(SEARCH).searched()
    one, every, reads = (planned(text) for text in (_circuits([ALONE]), _circuits(range(CIRCUITS)), _READS))
    network, batch = searched.network, searched.batch

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
