"""Results of a spec that was not run to its end: each of its tests is there as not measured, with the fault that kept it from being run."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from causal_dsl.checked import Checked
from causal_dsl.checking.specs import Spec
from causal_dsl.diagnostics import Diagnostic, SpecError
from causal_dsl.report.out_folder import save
from causal_dsl.running.ran import in_order
from causal_dsl.score.missing import not_measured
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.store.hashes import of_file
from causal_dsl.store.keys import versions
from causal_dsl.store.out import SpecFolder, keep_source


def not_run(spec: Spec, checked: Checked, fault: str = "") -> SpecResult:
    """A spec that was not come to, or that a fault stopped: all of its tests stand there as not measured."""
    tests = checked.program.tests if checked.program is not None else []
    unrun = tuple(not_measured(test, checked.ceilings.get(test.name, {}), fault) for test in tests)
    return SpecResult(
        *(spec.name, checked.digest, in_order((*unrun, *checked.lost), checked), all_versions()),
        cost={"seconds": 0.0},
        warnings=tuple(checked.diagnostics),
        text=spec.source_text.text,
        imports=checked.imports,
    )


def stopped_by(spec: Spec, checked: Checked, faults: Sequence[Diagnostic]) -> SpecResult:
    """:func:`not_run` with the faults that stopped a spec among its diagnostics; the tests have the code of the first."""
    unrun = not_run(spec, checked, faults[0].code if faults else "")
    return replace(unrun, warnings=tuple(dict.fromkeys((*unrun.warnings, *faults))))


def keep_unrun(folder: SpecFolder, spec: Spec, checked: Checked, result: SpecResult) -> None:
    """Write into the folder of a spec that it was not run, in the place of the results of a run before. Blocks stay: a run that they belong
    to finds them. Raises OSError where it cannot be written."""
    save(folder, spec.source_text.text, result, (), True)
    if spec.path is not None:
        keep_source(folder, spec.path, _files(checked), [])


def _files(checked: Checked) -> dict[Path, str]:
    """The SHA-256 of the files that were read as the spec was checked, and of those with the functions that make its networks; none where one was
    changed since."""
    tests = checked.program.tests if checked.program is not None else []
    code = {ref.base / ref.target.rpartition(":")[0] for ref in (test.network for test in tests) if ref.kind == "torch"}
    try:
        found = dict(checked.reads.digests())
    except SpecError:
        return {}
    return {Path(os.path.abspath(path)): of_file(path) for path in code if path.is_file()} | found


def all_versions() -> dict[str, str]:
    """The versions of all that computes, Python's too."""
    return {**versions(), "python": platform.python_version()}


__all__ = ["all_versions", "keep_unrun", "not_run", "stopped_by"]
