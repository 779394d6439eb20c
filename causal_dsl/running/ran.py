"""The results of a spec: of all of its networks at once, or of one after another; put together, and kept in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checked import Checked
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.diagnostics import Diagnostic
from causal_dsl.measures.quantities import Columns
from causal_dsl.planning.plan import Plan
from causal_dsl.report.out_folder import Computed, save
from causal_dsl.running.provenance import identity_of
from causal_dsl.score.missing import not_measured
from causal_dsl.score.results import TestResult
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.score.wrong_answers import Speech
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.keys import RunInputs
from causal_dsl.store.out import SpecFolder, keep_source


@dataclass(frozen=True, eq=False)
class RanPart:
    """The tests of a spec that were run together. It holds no network."""

    result: SpecResult
    inputs: RunInputs
    plan: Plan | None = None
    #: finished cells with their columns, by test
    cells: Mapping[str, list[tuple[Any, Columns]]] | None = None
    labels: Mapping[str, np.ndarray | None] | None = None
    speech: Mapping[str, Speech] | None = None
    #: SHA-256 of what was read, and the folders of checkpoints, which are not copied
    files: Mapping[Path, str] | None = None
    folders: tuple[Path, ...] = ()
    interrupted: bool = False
    #: the faults of cells that were left out, each with the name of its network
    faults: tuple[tuple[str, Diagnostic], ...] = ()


def joined(
    spec: Spec, checked: Checked, parts: Sequence[RanPart], options: Options, failed: Mapping[str, str]
) -> SpecResult:
    """The result of a spec of those of its parts, in the order of its tests; those of no part were not run. ``failed``
    has the code of the fault that kept a test from being run."""
    assert checked.program is not None
    if len(parts) == 1 and len(parts[0].result.tests) == len(checked.program.tests) and not checked.lost:
        return parts[0].result
    found = {test.name: test for part in parts for test in part.result.tests}
    tests = [
        found.get(test.name) or not_measured(test, checked.ceilings.get(test.name, {}), failed.get(test.name, ""))
        for test in checked.program.tests
    ]
    networks = {name: told for part in parts for name, told in part.result.networks.items()}
    warnings = dict.fromkeys([*checked.diagnostics, *(one for part in parts for one in part.result.warnings)])
    identity = identity_of(_inputs([part.inputs for part in parts]), options) if parts else {}
    versions = parts[0].result.versions if parts else {}
    cost = _cost([part.result.cost for part in parts])
    machine = parts[0].result.machine if parts else {}
    if parts:
        used = dict.fromkeys(name for part in parts for name in part.result.machine["accelerators"])
        machine = {**machine, "accelerators": list(used)}
    finished = max((part.result.finished for part in parts), default="")
    return SpecResult(
        *(
            spec.name,
            checked.digest,
            in_order((*tests, *checked.lost), checked),
            versions,
            networks,
            cost,
            tuple(warnings),
            identity,
            machine,
            finished,
        ),
        text=spec.source_text.text,
        imports=checked.imports,
        models={name: model for part in parts for name, model in part.result.models.items()},
    )


def with_faults(result: SpecResult, faults: Sequence[Diagnostic]) -> SpecResult:
    """The result of a spec some of whose work was not done for ``faults``: they stand among its diagnostics, and the code of the first in each
    test that lacks a cell."""
    code = faults[0].code
    tests = [replace(t, fault=t.fault or code) if t.status == "interrupted" else t for t in result.tests]
    return replace(result, tests=tuple(tests), warnings=tuple(dict.fromkeys((*result.warnings, *faults))))


def in_order(tests: Sequence[TestResult], checked: Checked) -> tuple[TestResult, ...]:
    """Tests in the order of the spec, in which those that a fault keeps from being run have their places."""
    if not checked.lost:
        return tuple(tests)
    groups = enumerate(checked.by_network.values())
    order = {
        test.name: (test.span.start, network, number) for network, own in groups for number, test in enumerate(own)
    }
    return tuple(sorted(tests, key=lambda test: order[test.name]))


def _inputs(parts: Sequence[RunInputs]) -> RunInputs:
    """The inputs that decide the numbers of all parts, as one."""
    features = [part.features for part in parts if part.features]
    return replace(
        parts[0],
        tests=tuple(name for part in parts for name in part.tests),
        files={path: known for part in parts for path, known in part.files.items()},
        networks={name: made for part in parts for name, made in part.networks.items()},
        features=of_bytes("\n".join(features).encode()) if len(features) > 1 else "".join(features),
        behaviour={name: told for part in parts for name, told in part.behaviour.items()},
    )


#: What parts take one after another: the most that one of them takes. Everything else of their cost is added up.
_MOST = frozenset({"bytes", "peak_bytes", "process_bytes"})


def _cost(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if name in part]
        found[name] = all(values) if name == "exact" else max(values) if name in _MOST else sum(values)
    return found


def keep(folder: SpecFolder, spec: Spec, result: SpecResult, parts: Sequence[RanPart], interrupted: bool) -> None:
    """Write what was computed of a spec into its folder. Raises OSError where it cannot be written."""
    ran = [part for part in parts if part.plan is not None]
    kept = [Computed(part.plan, part.cells or {}, part.labels or {}, part.speech or {}) for part in ran if part.plan]
    save(folder, spec.source_text.text, result, kept, interrupted)
    if spec.path is not None:
        files = {path: known for part in ran for path, known in (part.files or {}).items()}
        keep_source(folder, spec.path, files, [path for part in ran for path in part.folders])


__all__ = ["RanPart", "in_order", "joined", "keep", "with_faults"]
