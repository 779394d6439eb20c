"""The cautions that a user should know of how a plan was run."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.diagnostics import Diagnostic
from causal_dsl.engine.execute import Execution
from causal_dsl.network.network import Network
from causal_dsl.planning.steps import ASKED, EDGES
from causal_dsl.program.identity import NetworkKey


def cautions(networks: Mapping[NetworkKey, Network], execution: Execution) -> tuple[Diagnostic, ...]:
    """One intervention at a time (W655), in halves (W656), or around a mistake
    of this package (W657)."""
    found = []
    for key in dict.fromkeys(step.network for step in execution.plan.steps):
        mine = [step for step in execution.plan.steps if step.network == key and step.resumes]
        slow = [step for step in mine if step.why and step.why not in (ASKED, EDGES)]
        if slow:
            every = sum(len(step.resumes) for step in mine)
            some = sum(len(step.resumes) for step in slow)
            which = f"{some} of {every}" if some < every else "the"
            found.append(
                Diagnostic(
                    "W655",
                    f"{which} interventions on `{networks[key].name}` are run one by one",
                    networks[key].span,
                    notes=tuple(dict.fromkeys(step.why for step in slow)),
                    help="each cell is run by whole forward passes of the network itself, which takes longer",
                )
            )
    for key, reason in execution.refused.items():
        found.append(
            Diagnostic(
                "W655",
                f"interventions on `{networks[key].name}` are run one by one",
                networks[key].span,
                notes=(reason,),
                help="each cell is run by whole forward passes of the network itself, which takes longer",
            )
        )
    for key, fault in execution.faults.items():
        found.append(
            Diagnostic(
                "W657",
                f"a mistake of causal_dsl occurred while `{networks[key].name}` was run or tested",
                networks[key].span,
                notes=(
                    fault,
                    "the affected part was run in another way, or by whole forward passes if there is no other",
                ),
                help="what went wrong may lie deeper: run the test in a spec of its own and compare; please report it with the spec and this message",
            )
        )
    for key in dict.fromkeys(execution.halved):
        found.append(
            Diagnostic(
                "W656",
                f"memory ran out while `{networks[key].name}` was run",
                networks[key].span,
                notes=(
                    "the run continued with half as many rows at once, and halved them again if that was not enough",
                ),
                help="pass a smaller --batch-memory to avoid the lost time",
            )
        )
    return tuple(found)
