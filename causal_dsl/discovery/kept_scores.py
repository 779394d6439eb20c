"""Keys of scores: by which circuits are found, and by gradients at places. Scores are kept under them, and computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from causal_dsl.causal.designs import Drawn
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.network.fingerprint import anywhere
from causal_dsl.network.network import Network
from causal_dsl.program.feature_files import files_of
from causal_dsl.program.searches import Discovery
from causal_dsl.store.hashes import of_file
from causal_dsl.store.keys import ScoreInputs, versions
from causal_dsl.vocabulary.locations import Position


def key_of_scores(
    asked: Sequence[object],
    network: Network,
    pairs: Pairs,
    objective: MetricGradient,
    positions: Iterable[Position | None],
    memory: int | None,
    beside: Iterable[np.ndarray] = (),
) -> ScoreInputs:
    """The key of scores on some ``pairs`` at ``positions``, by the metric of ``objective``; ``beside``: other numbers that decide them."""
    found = hashlib.sha256()
    inputs = pairs.inputs
    for rows in (pairs.base, pairs.source):
        for index in rows.tolist():
            found.update(inputs.content(index) + f" {inputs.read(index)}\0".encode())
        for position in positions:
            if position is not None:
                for numbers in inputs.spans(position, rows):
                    found.update(np.ascontiguousarray(numbers).tobytes() + b"\0")
    for run, quantity in dict.fromkeys(objective.metric.needs("patched")):
        found.update(f"{run} {quantity}\0".encode())
        if quantity.of is not None:
            found.update(np.ascontiguousarray(objective.targets(objective.test, quantity)).tobytes())
    for numbers in beside:
        found.update(np.ascontiguousarray(numbers).tobytes() + b"\0")
    told = (pairs.instead, objective.metric, objective.answers, objective.test.readout.kind)
    return ScoreInputs(
        tuple(map(str, (*asked, *map(repr, told)))), found.hexdigest(), anywhere(network), memory, versions()
    )


def key_of_search(
    discovery: Discovery,
    network: Network,
    pairs: Pairs,
    objective: MetricGradient,
    memory: int | None,
    solved: Sequence[str],
    drawn: Drawn,
    rows: Iterable[np.ndarray],
) -> ScoreInputs:
    """The key of a search on those of some ``pairs`` that the network solves in the runs that ``solved`` names, whose inputs are ``rows``."""
    asked = (discovery.what, discovery.text, discovery.kinds, discovery.at, solved, *_nodes(discovery))
    beside = [values for role in solved for _, values in sorted(drawn.values[role].items())]
    contents = [np.frombuffer(pairs.inputs.content(index), np.uint8) for own in rows for index in own.tolist()]
    return key_of_scores(asked, network, pairs, objective, discovery.at, memory, [*beside, *contents])


def _nodes(discovery: Discovery) -> list[object]:
    """The nodes that are scored, where they are named; of dictionaries also what their files hold."""
    found: list[object] = [str(node) for node in discovery.nodes]
    for ref in dict.fromkeys(n.dictionary.feature for n in discovery.nodes if n.dictionary is not None):
        assert ref is not None, "results that were read are not run"
        found += [[one.name, *((name, value) for name, value in one.settings if name != "path")] for one in ref.chain]
        files = [file for one in ref.chain for file in files_of(one.name, dict(one.settings))]
        kept = [Path(ref.fitting.file)] if ref.fitting.file else []
        found += [ref.number, *(of_file(file) for file in (*files, *kept))]
    return found


__all__ = ["key_of_scores", "key_of_search"]
