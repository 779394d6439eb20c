"""Write the pages of `docs/gallery/reports/`: reports of specs that ship with the package, as `run --html` makes them.

``python docs/reports.py`` runs all of them; ``python docs/reports.py NAME`` runs one. What differs from machine to machine and from
run to run (times, the machine, versions, digests) is left out, so that a page changes only where what it shows does.
``tests/report/test_gallery_reports.py`` runs the specs again and holds the pages against what comes out.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout that it stands in, and no installed package

import causal_dsl as cd
from causal_dsl.report.html.results_page import results_page
from causal_dsl.score.spec_results import SpecResult

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "gallery" / "reports"
#: Each page by its name: its spec and the tests that are run (all, where none is named).
PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "equality": ("specs/equality.causal", ()),
    "equality_mlp_das": ("specs/equality_mlp_das.causal", ()),
    "ioi": ("specs/ioi.causal", ("last_token", "other_place", "place_is_unrelated")),
}


def made(name: str) -> str:
    """A page, from a run of its spec."""
    path, tests = PAGES[name]
    found = cd.run(ROOT / path, cd.Options(tests=tests))
    return page_of(cd.Results(tuple(replace(spec, path=path) for spec in found.specs)))


def page_of(results: cd.Results) -> str:
    return results_page(cd.Results(tuple(map(_lasting, results.specs))))


def _placeless(told: Any) -> Any:
    """What is told of a network, without the digest that hangs on the folder that its spec lies in."""
    if isinstance(told, dict):
        return {key: _placeless(value) for key, value in told.items() if key != "files"}
    return re.sub(r", files=[0-9a-f]{64}", "", told) if isinstance(told, str) else told


def _lasting(spec: SpecResult) -> SpecResult:
    """A result without what another run of the same spec has otherwise."""
    networks = {
        name: {k: _placeless(v) for k, v in one.items() if k not in ("device", "weights")}
        for name, one in spec.networks.items()
    }
    return replace(
        spec,
        tests=tuple(replace(test, seconds=0.0) for test in spec.tests),
        cost={
            name: value
            for name, value in spec.cost.items()
            if name not in ("seconds", "bytes", "peak_bytes", "process_bytes")
        },
        networks=networks,
        versions={},
        machine={},
        finished="",
        identity={"seed": spec.identity["seed"]} if spec.identity else {},
        warnings=(),
    )


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for wanted in sys.argv[1:] or PAGES:
        (FOLDER / f"{wanted}.html").write_text(made(wanted), encoding="utf-8")
        print(f"docs/gallery/reports/{wanted}.html")
