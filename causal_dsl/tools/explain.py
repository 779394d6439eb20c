"""``causal-dsl explain WORD``: the page of a diagnostic, a measure or a finding."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from causal_dsl.diagnostics import did_you_mean, fail
from causal_dsl.measures.units import UNITS
from causal_dsl.resources import resource
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.output import say
from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS


def codes() -> dict[str, Path]:
    """The page of each code that has one, sorted."""
    return {path.stem: path for path in sorted(resource("docs", "diagnostics.d").glob("*.md"))}


def title(page: Path) -> str:
    """The first line of a page, without its code."""
    with page.open(encoding="utf-8") as file:
        return re.sub(r"^# \w+: ", "", file.readline().strip())


def page_of(written: str, line: CommandLine) -> str:
    """The Markdown of the page of a code, however it is spelt: ``e201``, ``E201``, ``error[E201]``.

    A warning shares its number with an error, and its page too where it has none of its own. A measure and a finding have
    a page by their name. Raises SpecError (E707).
    """
    found = _of_word(written)
    if found:
        return found
    pages = codes()
    match = re.search(r"[EWF]\d{3}", written.upper())
    code = match[0] if match else written.upper()
    for candidate in (code, *(kind + code[1:] for kind in "EWF" if match)):
        if candidate in pages:
            return pages[candidate].read_text(encoding="utf-8")
    near = [name for name in pages if name[1:3] == code[1:3]] if match else []
    raise fail(
        "E707",
        f"there is no diagnostic `{written}`, no measure and no finding",
        line.place(written),
        help=did_you_mean(
            code if match else written,
            near or [*pages, *MEASURES, *READINGS, *FINDINGS],
            "`causal-dsl explain` without a code lists them all",
        ),
    )


_NEEDS = {
    "token": "a token: `NAME(answer)`",
    "distribution": "all logits that are read",
    "order": "all logits that are read",
    "patched": "an intervention",
    "label": "a variable that is interchanged",
    "answer": "",
    "number": "an output that is a number",
    "placed": "an alignment that places variables which lead to the output",
}
_INTERVALS = {
    "share": "that of a share",
    "mean": "that of a mean",
    "resampled": "by the bootstrap",
    "runs": "by the bootstrap over the references",
}


def _of_word(word: str) -> str:
    """The pages of a measure and of a finding of this name; empty where there is neither."""
    parts = []
    if word in MEASURES:
        measure = MEASURES[word]
        needs = [text.replace("NAME", word) for need in measure.needs if (text := _NEEDS[need])]
        lines = [
            f"# `{measure.written}`: a measure of a {measure.per}",
            f"`{measure.written}` is {measure.says}. H is the causal model, L the network, b a base input, s a source, X what is "
            "interchanged, x a value; docs/measures.md defines all else.",
            f"- unit: {UNITS[measure.unit].words}",
            *([f"- needs: {'; '.join(needs)}"] if needs else []),
            f"- interval of its score: {_INTERVALS[measure.interval]}",
            *([f"- better for the hypothesis: {measure.better}"] if measure.better else []),
        ]
        parts.append("\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:]) + "\n")
    if word in READINGS:
        reading = READINGS[word]
        paper = f" ({reading.paper})" if reading.paper else ""
        unit = UNITS[reading.unit].words if reading.unit else "that of the metric"
        text = (
            f"# `{word}`: a reading at a place\n\n`{reading.written} @ {reading.example}` is {reading.says}{paper}.\n\n"
        )
        parts.append(f"{text}- unit: {unit}\n- interval of its score: that of a mean\n")
    if word in FINDINGS:
        finding = FINDINGS[word]
        lines = [
            f"# `{word}`: {'a verdict' if finding.about == 'verdict' else 'a finding'}",
            f"`{word}` says: {finding.says}.",
            f"- severity: {finding.graded or finding.severity}",
        ]
        if finding.about != "verdict":
            lines[-1] += (
                f"\n- forbids a full verdict: {finding.forbids_when or ('always' if finding.forbids else 'never')}"
            )
        parts.append("\n\n".join(lines) + "\n")
    return "\n".join(parts)


def list_of_all() -> list[str]:
    """A line for each code, and the names of measures, readings and findings."""
    return [
        *(f"{code}  {title(page)}" for code, page in codes().items()),
        "measures: " + ", ".join(MEASURES),
        "readings at places: " + ", ".join(READINGS),
        "verdicts and findings: " + ", ".join(FINDINGS),
    ]


def explain(written: list[str], line: CommandLine) -> int:
    """Print the pages of the codes, or the list of all codes where none is given."""
    if not written:
        for one in list_of_all():
            say(one)
        return 0
    text = "\n".join(page_of(code, line) for code in written)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        console = Console()
        console.print(Markdown(text, code_theme="ansi_dark"), width=min(console.width, 110))
    else:
        say(text, end="" if text.endswith("\n") else "\n")
    return 0
