"""Write the table of ``architectures.md``: a tiny network of every causal language model of transformers, and of every one that
also reads pictures or sound, is loaded, its sites are proved, and what is patched in it is held against hooks by hand (``tests/network/decoders.py``).

``python docs/architectures.py`` takes some minutes. The nightly tests make the same rows and compare them with the page.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- made by docs/architectures.py -->", "<!-- end -->"
WAYS = {"ragged": "tokens", "whole": "rows", "": "no"}
#: The columns of sites, and the components that must all be there.
COLUMNS = {
    "stream": ("resid_pre", "resid_post"),
    "terms": ("attn_out", "mlp_out"),
    "`z`": ("z",),
    "`q k v`": ("q", "k", "v"),
    "`pattern`": ("pattern",),
    "`neurons`": ("neurons",),
    "experts": ("router", "expert_out"),
}


def _refused(row: Any) -> str:
    """What is refused, by the reason."""
    if row.why:
        return row.why.replace("|", "\\|")
    by: dict[str, list[str]] = {}
    for name, why in row.absent.items():
        by.setdefault(why, []).append(name)
    said = [f"{', '.join(f'`{name}`' for name in names)}: {why}" for why, names in by.items()]
    return "; ".join(said).replace("|", "\\|")


def table(rows: list[Any], recorded: set[str]) -> str:
    """The table, and how many there are of each kind."""
    heads = ["model type", "layout", *COLUMNS, "one pass", "what is refused, and why"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    counts: Counter[str] = Counter()
    for row in rows:
        has = {name: row.stream and all(part in row.there for part in parts) for name, parts in COLUMNS.items()}
        counts.update(name for name, there in has.items() if there)
        layout = "" if not row.stream else "record" if row.family in recorded else "inferred"
        marks = ["yes" if there else "" for there in has.values()]
        way = WAYS[row.way] if row.stream else ""
        lines.append(f"| `{row.family}` | {layout} | {' | '.join(marks)} | {way} | {_refused(row)} |")
    told = ", ".join(f"{counts[name]} with {name}" for name in COLUMNS)
    return f"Of {len(rows)} model types: {told}.\n\n" + "\n".join(lines)


def page(there: str, rows: list[Any], recorded: set[str]) -> str:
    """The page with the table of these rows."""
    before, _, rest = there.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{table(rows, recorded)}\n\n{END}{after}"


def main() -> None:
    """Run every network and write the page."""
    sys.path.insert(0, str(PAGE.parents[1]))
    from causal_dsl.vocabulary.architectures import ARCHITECTURES
    from tests.network.decoders import FAMILIES, row_of

    rows = [row_of(family) for family in FAMILIES]
    text = page(PAGE.read_text(encoding="utf-8"), rows, set(ARCHITECTURES.own))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
