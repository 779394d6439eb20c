"""Networks of a spec, and a plan run on them by an executor that the caller names: for numbers of single pairs, without scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec, WrongType
from causal_dsl.diagnostics import NOWHERE, Diagnostic, did_you_mean, fail
from causal_dsl.discovery.place_gradients import with_gradients
from causal_dsl.engine.execute import Execution
from causal_dsl.network.at_hand import prove_at_hand
from causal_dsl.network.network import Network
from causal_dsl.planning.lower import by_reference
from causal_dsl.planning.plan import Plan
from causal_dsl.program.identity import NetworkKey
from causal_dsl.running.preparing import memory_of
from causal_dsl.running.session import Session
from causal_dsl.score.targets import target_ids

Executor = Literal["planned", "reference"]


def networks_of(spec: Spec, options: Options) -> dict[str, Network]:
    """Every network that a spec declares, by name: :func:`causal_dsl.networks`."""
    checked = check(spec, options)
    checked.raise_errors()
    assert checked.program is not None
    session = Session(options)
    return {ref.name: session.network(ref) for ref in checked.program.networks.values()}


def execution_of(
    plan: Plan,
    networks: Mapping[str, Network] | None = None,
    executor: Executor = "planned",
    options: Options = Options(),
    **more: Any,
) -> Execution:
    """A plan ready to be run, block by block; ``more`` goes to :class:`Execution`.

    ``networks`` are loaded ones by their names, those of :func:`networks_of`; the others that the plan needs are loaded.
    """
    if not isinstance(plan, Plan):
        raise WrongType([_no_plan(plan)])
    if executor not in ("planned", "reference"):
        raise fail("E863", f"there is no executor {executor!r}", NOWHERE, help='write "planned" or "reference"')
    held = _held(plan, networks or {}, options)
    plan = by_reference(plan) if executor == "reference" else plan
    memory = memory_of(options, held)
    given: dict[str, Any] = {"memory": memory, "compiled": options.compiled, **more}
    return Execution(plan, held, plan.answers, target_ids(plan, plan.answers, held), **given)


def execute(
    plan: Plan,
    networks: Mapping[str, Network] | None = None,
    executor: Executor = "planned",
    options: Options = Options(),
) -> Execution:
    """A plan run to its end: :func:`causal_dsl.execute`."""
    if isinstance(plan, Plan):
        _refuse_unfinished(plan)
    execution = execution_of(plan, networks, executor, options)
    for key, inputs in execution.plan.inputs.items():
        prove_at_hand(execution.networks[key], inputs)
    for _ in execution.run():
        pass
    with_gradients(execution, lambda said: None, options.memory)
    return execution


def _held(plan: Plan, networks: Mapping[str, Network], options: Options) -> dict[NetworkKey, Network]:
    """The networks of a plan by who they are: those at hand, and the others loaded."""
    session, declared = Session(options), {ref.name: ref for ref in plan.program.networks.values()}
    for name, network in networks.items():
        if name not in declared:
            raise fail("E863", f"the plan has no network `{name}`", NOWHERE, help=did_you_mean(name, declared))
        if not isinstance(network, Network):
            what = f"`{name}` is of the type {type(network).__name__}, not a loaded network"
            raise WrongType([Diagnostic("E863", what, NOWHERE, help="take the networks that cd.networks(spec) gives")])
        if network.key.loaded != declared[name].key.loaded:
            title = f"`{name}` is another network than the plan's"
            notes = (f'the plan was made for {declared[name].kind}("{declared[name].target}") with its settings',)
            raise fail(
                "E863", title, NOWHERE, notes=notes, help="load the networks of the same spec: cd.networks(spec)"
            )
        session.hold(network)
    return session.networks(plan.networks.values())


def _refuse_unfinished(plan: Plan) -> None:
    """Raise E863 for a plan that needs other work before it: its features, circuits or constants are results of a run."""
    before = plan.before
    what = "features that are fitted" if plan.fits is not None else ""
    what = what or ("circuits that are found" if before.searches is not None else "")
    what = what or ("constants that are found" if before.constants is not None else "")
    if what:
        raise fail(
            "E863",
            f"this plan needs {what} before it is run",
            NOWHERE,
            notes=("cd.execute runs the passes of a plan alone",),
            help="run the spec: cd.run(spec), or cd.run(spec, cd.Options(reference=True))",
        )


def _no_plan(given: object) -> Diagnostic:
    return Diagnostic(
        "E863",
        f"a plan is needed, and this is of the type {type(given).__name__}",
        NOWHERE,
        help="make one: cd.plan(spec)",
    )


__all__ = ["Executor", "execute", "execution_of", "networks_of"]
