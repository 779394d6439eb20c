"""The additional lines of ``-v``, and the diff of ``fmt --diff``."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from causal_dsl.diagnostics import printable, shown_path

if TYPE_CHECKING:
    from causal_dsl.checked import Checked
    from causal_dsl.score.spec_results import Results, SpecResult


def add_voice(command: argparse.ArgumentParser, quiet: str, verbose: str = "") -> None:
    """``-q`` and ``-v``, of which one may be given."""
    voice = command.add_mutually_exclusive_group() if verbose else command
    voice.add_argument("-q", "--quiet", action="store_true", help=quiet)
    if verbose:
        voice.add_argument("-v", "--verbose", action="store_true", help=verbose)


def files_read(checked: Checked) -> str:
    """The files that were read to check a spec, or that its run will read."""
    paths = sorted(shown_path(path) for path in checked.reads.paths)
    return printable("\n".join([f"{checked.path}: {len(paths)} files", *(f"  {path}" for path in paths)]))


def what_ran(results: Results) -> str:
    """The identity of each run, on what it ran, and what it took."""
    return printable("\n".join(line for spec in results.specs for line in _ran(spec)))


def _ran(spec: SpecResult) -> Iterator[str]:
    yield f"{spec.path}: key {spec.identity.get('key', 'none: nothing was run')}"
    for name, network in spec.networks.items():
        weights = f", weights {network['weights'][:12]}" if network.get("weights") else ""
        yield (
            f"  {name}: {network['architecture']}, {network['parameters']:,} parameters, {network['dtype']} on "
            f"{network['device']}{weights}"
        )
        if "executor" in network:
            yield f"    {network['executor']}"
    cost = spec.cost
    if "passes" in cost:
        yield (
            f"  {cost['seconds']:.1f} s; {_taken(cost)}{cost['passes']:,} pass{'es' * (cost['passes'] != 1)}, {cost['layer_tokens']:,} layer-tokens "
            f"({cost['naive_layer_tokens']:,} as written by hand), {cost['flops']:.3g} FLOP"
        )
    versions = ", ".join(f"{name} {known}" for name, known in spec.versions.items() if len(known) < 40)
    yield f"  {versions}"


def _taken(cost: Mapping[str, Any]) -> str:
    """How many blocks this process did not run because they were stored; what follows is the cost of all of them."""
    blocks, stored = cost.get("blocks", 0), cost.get("stored_blocks", 0)
    if not stored:
        return ""
    of = "its only block was" if blocks == 1 else f"{stored} of {blocks} blocks {'was' if stored == 1 else 'were'}"
    return f"{of} taken from the store, not run by this process; the whole plan: "


def layout_diff(before: str, after: str, name: str) -> str:
    """The changes that ``fmt`` would make in a file, as a unified diff."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name} (formatted)"
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in map(printable, lines)
    )


__all__ = ["add_voice", "files_read", "layout_diff", "what_ran"]
