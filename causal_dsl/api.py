"""The whole way from text to report, on one page.

    text --parse--> tree --check--> program and plan --load, execute--> columns --score--> results --> report

``check`` and ``plan`` need no torch; ``run`` and ``train`` import it when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from causal_dsl.building.declarations import collect
from causal_dsl.checked import Checked
from causal_dsl.checking.asked_workers import refuse_unasked
from causal_dsl.checking.checking import check, planned
from causal_dsl.checking.specs import Options, Spec, Workers, load, load_all, of_tree, opened, parse, with_workers
from causal_dsl.planning.show import PrintedPlan

if TYPE_CHECKING:
    from causal_dsl.engine.execute import Execution
    from causal_dsl.network.network import Network
    from causal_dsl.score.spec_results import Results
    from causal_dsl.training.train import TrainedNetwork

__all__ = [
    "Checked",
    "Options",
    "Spec",
    "check",
    "execute",
    "load",
    "networks",
    "parse",
    "plan",
    "run",
    "run_files",
    "spec",
    "train",
]


def spec(*objects: Any) -> Spec:
    """A spec of things made with the builder; what they need comes with them."""
    return of_tree(collect(objects))


def plan(spec: Spec | str | Path, options: Options = Options()) -> PrintedPlan:
    """The intervention graph of a spec, or of a file's, with its cost; raises :class:`SpecError` for a fault.

    With ``options.load`` the networks are loaded, and the plan is the one that they are run by.
    """
    checked = check(spec := opened(spec, options), options)
    checked.raise_errors()
    if not options.load:
        return planned(checked, options)
    from causal_dsl.running.running import loaded_plan

    return loaded_plan(spec, checked, options)


def run(
    spec: Spec | str | Path, options: Options = Options(), *, workers: Workers = None, cluster: str | None = None
) -> Results:
    """Run every test of a spec, or of a file's, on its network and score it; raises :class:`SpecError` for a fault of spec or environment.

    ``workers`` and ``cluster`` stand for those of the options.
    """
    return _run([opened(spec, options)], with_workers(options, workers, cluster))


def run_files(
    paths: Iterable[str | Path], options: Options = Options(), *, workers: Workers = None, cluster: str | None = None
) -> Results:
    """:func:`run` of several files; a network that they share is loaded once."""
    return _run(load_all(paths), with_workers(options, workers, cluster))


def _run(specs: Sequence[Spec], options: Options) -> Results:
    refuse_unasked(options)
    if options.distributed:
        from causal_dsl.cluster.over_workers import run_on_workers

        return run_on_workers(specs, options)
    from causal_dsl.running.running import run_specs

    return run_specs(specs, options)


def train(spec: Spec | str | Path, options: Options = Options()) -> dict[str, TrainedNetwork]:
    """Train every ``network … = train(…)`` of a spec, or find it in the cache; raises :class:`SpecError` for a fault."""
    from causal_dsl.running.session import train_spec

    return train_spec(opened(spec, options), options)


def networks(spec: Spec | str | Path, options: Options = Options()) -> dict[str, Network]:
    """Every network that a spec declares, loaded (or trained) and proved, by name; raises :class:`SpecError` for a fault."""
    from causal_dsl.running.executing import networks_of

    return networks_of(opened(spec, options), options)


def execute(
    plan: PrintedPlan,
    networks: Mapping[str, Network] | None = None,
    *,
    executor: Literal["planned", "reference"] = "planned",
    options: Options = Options(),
) -> Execution:
    """Run a plan to its end, without scoring it. ``runs[test].cells[i].columns`` of the result has the numbers of each pair.

    ``networks`` are those of :func:`networks`; what is not there is loaded. ``executor``: ``"planned"`` runs each step in the way that the plan says,
    ``"reference"`` each intervention by whole forward passes. Raises :class:`SpecError` (E863) for a plan with features, circuits or constants to find.
    """
    from causal_dsl.running import executing

    return executing.execute(plan, networks, executor, options)
