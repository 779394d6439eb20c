"""The runs beside an intervention on a circuit: its ends, what tests it against itself, and random circuits of its size.

They are a test of their own in the plan, on the same rows: equal runs are one node, so that what is shared is run once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from causal_dsl.measures.beside_random import beside_random
from causal_dsl.measures.circuit_run_names import (
    CUT,
    EMPTY,
    FULL,
    HALVES,
    KEEP,
    MOST_NODES,
    RANDOM,
    cut_subset,
    half_without,
    inflated,
    kept_without,
    kept_without_node,
    of_random,
)
from causal_dsl.measures.of_circuits import OfCircuit
from causal_dsl.measures.quantities import Quantity
from causal_dsl.planning.random_circuits import half_of, nodes_tried, paths_beside, random_circuits, subsets_of
from causal_dsl.program.ablations import Ablation
from causal_dsl.program.circuit_actions import write
from causal_dsl.program.circuit_members import (
    Members,
    joined,
    less,
    some_of,
)
from causal_dsl.program.circuit_members import size as size_of
from causal_dsl.program.measured import without_lines
from causal_dsl.program.probed import CircuitRuns
from causal_dsl.program.program import Cell, Intervention, Test
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.noise import Noise
from causal_dsl.vocabulary.values.optimal import Optimal

#: What is compared where a test asks for no logit.
_LOGITS = Quantity("log_normalizer")


def circuit_runs(test: Test, whole: Test | None = None) -> Iterator[Test]:
    """The test that runs what stands beside the circuits of a test: what its scores of circuits are made from, random circuits in the
    place of each for all of its scores, and what its runs have to have in common. Where none of its scores are of circuits and it has no
    controls, nothing does. ``whole``: the test of several outputs of which it is one."""
    if test.control[0] or all(cell.circuit is None for cell in test.cells):
        return
    scores = [
        part for value in test.scores.cell_scores.values() for part in value.walk() if isinstance(part, OfCircuit)
    ]
    scores += [part for value in test.scores.values for part in value.walk() if isinstance(part, OfCircuit)]
    plain = list(beside_random((whole or test).scores).values()) if test.controls else []
    if not scores and not plain:
        return
    wanted = {run for score in scores for run in score.runs if run.startswith("@")}
    if test.controls:
        others = [score.of_random(i) for score in dict.fromkeys(scores) if score.beside for i in range(RANDOM)]
        wanted |= {run for score in others for run in score.runs if run.startswith("@")}
    quantities = {quantity for score in scores for _, quantity in score.needs()}
    asked = {quantity for score in plain for run, quantity in score.needs() if run == "patched"}
    quantities |= {replace(one, at="") for one in asked if one.at in ("", test.readout.variable)}
    if not compared(frozenset(quantities)):  # what has to be alike is compared in every test
        quantities.add(_LOGITS)
    cells: list[Cell] = []
    names: list[tuple[int, str]] = []
    sizes: list[tuple[float, ...]] = []
    drawn: list[tuple[Members, ...]] = []
    for number, cell in enumerate(test.cells):
        ablation = cell.circuit
        if ablation is None:
            sizes.append(())
            drawn.append(())
            continue
        random = random_circuits(ablation, test.network.facts) if test.controls else ()
        drawn.append(tuple(random))
        sizes.append(tuple(size_of(c, test.network.facts).weighted for c in (ablation.members, *random)))
        in_its_place = {of_random(i, patched_of(ablation)) for i in range(RANDOM if plain else 0)}
        looks = tuple(look for look in cell.looks if any(one.place == look.asked for one in quantities))
        for name, interventions in _runs(ablation, random, wanted | in_its_place).items():
            names.append((number, name))
            cells.append(Cell((*cell.values, ("run", name)), interventions, looks=looks))
    probe = CircuitRuns(tuple(names), tuple(sizes), tuple(drawn))
    made = without_lines(
        test, name=f"{test.name}: circuits", cells=tuple(cells), control=(test.name, "circuits"), probe=probe
    )
    roles = ["base", *dict.fromkeys(role for cell in test.cells if (role := source_of(cell.circuit)) is not None)]
    needed = frozenset((role, quantity) for role in roles for quantity in compared(frozenset(quantities)))
    yield replace(made, scores=replace(made.scores, also=frozenset(quantities), needed=needed))


def source_of(ablation: Ablation | None) -> str | None:
    """The run whose values an ablation writes as they are in it, whose like the empty circuit may be."""
    value = None if ablation is None else ablation.value
    return value.role if isinstance(value, FromRun) and not value.under else None


def patched_of(ablation: Ablation) -> str:
    """The run beside a circuit in which the same is done as in the patched run."""
    return KEEP if ablation.outside else CUT


def _runs(ablation: Ablation, random: Sequence[Members], wanted: set[str]) -> dict[str, tuple[Intervention, ...]]:
    """The interventions in each run beside one cell: those that have to be alike, and those that are wanted."""
    circuit, every = ablation.members, ablation.every
    rest = less(every, circuit)
    found: dict[str, tuple[Intervention, ...]] = {FULL: (write(ablation, every, FromRun("base", ())),)}
    # each set of constants is found by itself, and noise depends on which places are written together
    halves = not any(ablation.value.find(Optimal)) and not any(ablation.value.find(Noise))
    if halves or EMPTY in wanted:
        found[EMPTY] = (write(ablation, every),)
    if halves:
        found[HALVES] = tuple(write(ablation, part) for part in (circuit, rest) if part)
    found |= _of(ablation, circuit, wanted)
    for i, other in enumerate(random):
        asked = {name for name in wanted if name.startswith(of_random(i, "@"))}
        if asked:
            own = _of(ablation, other, {f"@{name.removeprefix(of_random(i, '@'))}" for name in asked})
            found |= {of_random(i, name): made for name, made in own.items()}
    return found


def _of(ablation: Ablation, circuit: Members, wanted: set[str]) -> dict[str, tuple[Intervention, ...]]:
    """The runs that are wanted of one circuit."""
    every = ablation.every

    def keep(members: Members) -> tuple[Intervention, ...]:
        """These alone are left as they are."""
        return (write(ablation, less(every, members)),)

    more: dict[str, Callable[[], tuple[Intervention, ...]]] = {
        KEEP: lambda: keep(circuit),
        CUT: lambda: (write(ablation, circuit),),
    }
    for k, subset in enumerate(subsets_of(circuit) if kept_without(0) in wanted else ()):
        more[kept_without(k)] = partial(lambda subset: keep(less(circuit, subset)), subset)
        more[cut_subset(k)] = partial(lambda subset: (write(ablation, subset),), subset)
    nodes = nodes_tried(circuit) if kept_without_node(0) in wanted else []
    for n, member in enumerate(nodes[i % len(nodes)] for i in range(MOST_NODES if nodes else 0)):
        one = some_of(circuit, (member,))
        more[kept_without_node(n)] = partial(lambda one: keep(less(circuit, one)), one)
        more[half_without(n, False)] = partial(lambda n, one: keep(_rest_of_half(circuit, n, one)), n, one)
        more[half_without(n, True)] = partial(
            lambda n, one: keep(less(_rest_of_half(circuit, n, one), one)),
            n,
            one,
        )
    if inflated(0, False) in wanted:
        for j, (path, one) in enumerate(paths_beside(ablation)):
            more[inflated(j, False)] = partial(lambda path: keep(joined(circuit, path)), path)
            more[inflated(j, True)] = partial(lambda path, one: keep(less(joined(circuit, path), one)), path, one)
    found = {name: make() for name, make in more.items() if name in wanted}
    if kept_without_node(0) in wanted and not nodes:  # a circuit without nodes has none to leave out
        found |= {
            name: keep(circuit) for name in sorted(wanted) if name.startswith("@keep without") and name not in found
        }
    return found


def _rest_of_half(circuit: Members, number: int, one: Members) -> Members:
    """A circuit without a random half that does not have one of its members."""
    return less(circuit, less(half_of(circuit, number), one))


def compared(quantities: frozenset[Quantity]) -> tuple[Quantity, ...]:
    """The quantities in which two runs that should be one are compared: numbers that a forward pass gives."""
    return tuple(sorted((q for q in quantities if q.kind in ("logit", "log_normalizer")), key=str))


__all__ = ["circuit_runs", "compared", "patched_of", "source_of"]
