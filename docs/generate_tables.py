"""Write what the pages take from the package's records: the tables of docs/measures.md, and the index of diagnostics.

Run it after a measure, a finding or a page of a diagnostic was added or changed: ``python docs/generate_tables.py``.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterable
from pathlib import Path

from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.measures import MEASURES

DOCS = Path(__file__).parent
_NEEDS = {"label": "an interchange", "patched": "an intervention"}
_UNITS = {"share": "a share", "ratio": "a ratio", "nats": "nats", "logits": ""}


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|---" * columns + "|", *(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)])


def of_answers() -> str:
    """The measures that are shares of right or of other answers."""
    rows = [
        (f"`{m.name}`", m.says, next((_NEEDS[need] for need in m.needs if need in _NEEDS), ""))
        for m in MEASURES.own.values()
        if "answer" in m.needs
    ]
    return _table("| name | estimand | needs |", rows)


def of_logits() -> str:
    """The measures of logits."""
    rows = [(f"`{m.written}`", m.says, _UNITS[m.unit]) for m in MEASURES.own.values() if "answer" not in m.needs]
    return _table("| name | is | unit |", rows)


def findings() -> str:
    """The findings, but for those of learned features."""
    rows = [
        (f"`{f.code}`", f.says, f.graded or f.severity, f.forbids_when or ("yes" if f.forbids else ""))
        for f in FINDINGS.values()
        if f.about != "feature"
    ]
    return _table("| code | says | severity | forbids |", rows)


def findings_of_features() -> str:
    """The findings of learned features."""
    rows = [
        (f"`{f.code}`", f.says, f.severity, "yes" if f.forbids else "")
        for f in FINDINGS.values()
        if f.about == "feature"
    ]
    return _table("| code | when | severity | forbids |", rows)


TABLES = {
    "measures of answers": of_answers,
    "measures of logits": of_logits,
    "findings": findings,
    "findings of features": findings_of_features,
}


def page(text: str) -> str:
    """A page with the tables between its marks ``<!-- NAME -->`` and ``<!-- end -->`` written anew."""
    for name, table in TABLES.items():
        mark = rf"(<!-- {name} -->\n\n).*?(\n\n<!-- end -->)"
        text = re.sub(mark, lambda found, table=table: found[1] + table() + found[2], text, flags=re.DOTALL)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    measures = DOCS / "measures.md"
    measures.write_text(page(measures.read_text(encoding="utf-8")), encoding="utf-8")
    runpy.run_path(str(DOCS / "index_diagnostics.py"), run_name="__main__")
