"""The whole way from text to report, on one page.

    text --parse--> tree --check--> program and plan --load, execute--> columns --score--> results --> report

``check`` and ``plan`` need no torch; ``run`` and ``train`` import it when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from causal_dsl.asked_workers import refuse_unasked
from causal_dsl.building.declarations import collect
from causal_dsl.checked import Checked
from causal_dsl.checking import check, planned
from causal_dsl.planning.plan import Plan
from causal_dsl.specs import Options, Spec, load, of_tree, opened, parse

if TYPE_CHECKING:
    from causal_dsl.score.spec_results import Results
    from causal_dsl.training.train import TrainedNetwork

__all__ = ["Checked", "Options", "Spec", "check", "load", "parse", "plan", "run", "run_files", "spec", "train"]


def spec(*objects: Any) -> Spec:
    """A spec of things made with the builder; what they need comes with them."""
    return of_tree(collect(objects))


def plan(spec: Spec | str | Path, options: Options = Options()) -> Plan:
    """The intervention graph of a spec, or of a file's, with its cost; raises :class:`SpecError` for a fault.

    With ``options.load`` the networks are loaded, and the plan is the one that they are run by.
    """
    spec = opened(spec)
    checked = check(spec, options)
    checked.raise_errors()
    if not options.load:
        return planned(checked, options)
    from causal_dsl.running import loaded_plan

    return loaded_plan(spec, checked, options)


def run(
    spec: Spec | str | Path,
    options: Options = Options(),
    *,
    workers: int | Literal["auto"] | None = None,
    cluster: str | None = None,
) -> Results:
    """Run every test of a spec, or of a file's, on its network and score it; raises :class:`SpecError` for a fault of spec or environment.

    ``workers`` and ``cluster`` stand for those of the options.
    """
    return _run([opened(spec)], _with_workers(options, workers, cluster))


def run_files(
    paths: Iterable[str | Path],
    options: Options = Options(),
    *,
    workers: int | Literal["auto"] | None = None,
    cluster: str | None = None,
) -> Results:
    """:func:`run` of several files; a network that they share is loaded once."""
    return _run([load(path) for path in paths], _with_workers(options, workers, cluster))


def _run(specs: Sequence[Spec], options: Options) -> Results:
    refuse_unasked(options)
    if options.distributed:
        from causal_dsl.cluster.over_workers import run_on_workers

        return run_on_workers(specs, options)
    from causal_dsl.running import run_specs

    return run_specs(specs, options)


def _with_workers(options: Options, workers: int | Literal["auto"] | None, cluster: str | None) -> Options:
    asked = {name: value for name, value in (("workers", workers), ("cluster", cluster)) if value is not None}
    return replace(options, **asked) if asked else options  # type: ignore[arg-type]


def train(spec: Spec | str | Path, options: Options = Options()) -> dict[str, TrainedNetwork]:
    """Train every ``network … = train(…)`` of a spec, or find it in the cache; raises :class:`SpecError` for a fault."""
    from causal_dsl.session import train_spec

    return train_spec(opened(spec), options)
