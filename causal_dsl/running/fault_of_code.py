"""Whose fault an exception is, where it came out of the user's code that makes a network."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path

from causal_dsl.base.faults import deciding_file
from causal_dsl.diagnostics import Diagnostic, real_path, shown_path
from causal_dsl.engine.budgets import out_of_memory
from causal_dsl.network.compare import told
from causal_dsl.program.program import NetworkRef
from causal_dsl.running.provenance import code_of


def fault_of_code(error: Exception, refs: Iterable[NetworkRef]) -> Diagnostic | None:
    """E639 for an exception that the code of one of some networks raised after it had been loaded; None for any other."""
    file = deciding_file(error)
    if not file or out_of_memory(error):
        return None
    for ref in refs:
        root = code_of(ref)
        if root is None or not real_path(file).is_relative_to(real_path(root)):
            continue
        line = next(f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == file)
        return Diagnostic(
            "E639",
            f"the code of `{ref.name}` raises an exception as the network is run",
            ref.span,
            notes=(told(error), f"raised at line {line} of {shown_path(Path(file))}"),
            help="let `forward` take any number of rows, and any values that the spec draws or an intervention writes",
        )
    return None


__all__ = ["fault_of_code"]
