"""The units of a spec, from its plan: no network is loaded for it, unless too little is known of one without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from causal_dsl.checked import Checked
from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.network.network import Network
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.work_units import WorkUnit, units_of_plan
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.trust import refuse_untrusted
from causal_dsl.running.session import Session


def units_of(
    spec: Spec, options: Options = Options(), checked: Checked | None = None, session: Session | None = None
) -> tuple[WorkUnit, ...]:
    """The units of a spec, each before those that need it; the same, with the same keys, in every process that reads the same
    spec with the same options. Raises :class:`SpecError` for a fault of the spec. ``checked``: what :func:`check` found.

    A spec whose plan needs what is known of a loaded network has its networks loaded for it, into ``session``; of one that is
    trained the network that it is trained from, which has its shape.
    """
    if checked is None:
        checked = check(spec, options)
        checked.raise_errors()
    plan = checked.plan
    if plan is None:
        refuse_untrusted(checked.program.tests if checked.program is not None else ())
        plan = _with_shapes(spec, options, checked, session or Session(options))
    if plan is None:
        return ()
    return units_of_plan(plan, spec.name, identity(checked, options), options.memory)


def _with_shapes(spec: Spec, options: Options, checked: Checked, session: Session) -> Plan | None:
    """The plan, given the shapes of all networks."""
    assert checked.program is not None
    shapes: dict[NetworkKey, Network] = {}
    for ref in {test.network.key: test.network for test in checked.program.tests}.values():
        blank = ref
        while blank.training is not None:
            blank = blank.training.alignment.network
            shapes[blank.key] = session.network(blank)
        shapes[ref.key] = session.network(blank)
    again = check(spec, options, shapes)
    again.raise_errors()
    return again.plan


#: Options by which neither the units of a plan nor their numbers are others.
_APART = ("trust", "out", "progress", "load", "allow", "rehash", "shared", "command", "workers", "cluster", "silence")


def identity(checked: Checked, options: Options) -> dict[str, Any]:
    """The identity of the run that units belong to, as plain data: the same on every machine. ``networks`` are their names alone."""
    said = {one.name: getattr(options, one.name) for one in fields(options) if one.name not in _APART}
    plain = {name: sorted(value) if isinstance(value, Mapping | tuple) else value for name, value in said.items()}
    return {"spec": checked.digest, **plain}


__all__ = ["identity", "units_of"]
