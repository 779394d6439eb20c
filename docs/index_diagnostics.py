"""Write ``docs/diagnostics.md``, the index of all codes, from the pages in ``docs/diagnostics.d``.

Run it after a page was added or its title changed: ``python docs/index_diagnostics.py``.
"""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parent
#: The first number of a stretch of codes, and what they are about.
CHAPTERS = (
    (100, "Syntax"),
    (200, "Names, settings and imports"),
    (300, "Causal models, domains and draws"),
    (340, "Tables and Python functions"),
    (400, "Networks and their sites"),
    (500, "Prompts, positions and tokens"),
    (514, "What files say of themselves"),
    (530, "Prompts and read-outs"),
    (600, "Metrics and expectations"),
    (630, "Networks and the machine"),
    (663, "Networks as they are loaded"),
    (670, "Alignments, tests and interventions"),
    (701, "Commands and verdicts"),
    (710, "Parts of the inputs, and fits"),
    (720, "Features"),
    (730, "Training towards a causal model"),
    (740, "Masked tokens"),
    (750, "Which network, and its tokens"),
    (760, "What a test can tell"),
    (765, "Output and revisions"),
    (785, "Words that packages add"),
    (790, "Written values"),
    (799, "Defects of causal_dsl"),
)


def index() -> str:
    """The text of the index: a chapter for each stretch of codes, a line for each code."""
    titles = {}
    for page in (DOCS / "diagnostics.d").glob("*.md"):
        code, title = page.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ").split(": ", 1)
        titles[code] = title
    parts = [
        "# Diagnostics",
        "Codes that begin with E are errors: nothing is run. W are warnings: look, and go on. F is an expectation that "
        "failed: the spec is right, and the network does not do what it says. `causal-dsl explain CODE` shows a page here.",
    ]
    stops = [number for number, _ in CHAPTERS[1:]] + [1000]
    for (start, name), stop in zip(CHAPTERS, stops, strict=True):
        codes = sorted((c for c in titles if start <= int(c[1:]) < stop), key=lambda c: (int(c[1:]), c))
        if codes:
            parts.append(f"## {name}")
            parts.append("\n".join(f"- [{code}](diagnostics.d/{code}.md): {titles[code]}" for code in codes))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (DOCS / "diagnostics.md").write_text(index(), encoding="utf-8")
