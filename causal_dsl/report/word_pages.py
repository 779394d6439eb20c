"""The pages of measures, verdicts and findings, as `explain` prints them and reports show them in place."""

from __future__ import annotations

from causal_dsl.measures.units import UNITS
from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS

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


def of_word(word: str) -> str:
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
        if finding.control:
            lines[-1] += f"\n- an example, how to read it, and its rules: docs/controls.md, {finding.control}"
        parts.append("\n\n".join(lines) + "\n")
    return "\n".join(parts)


__all__ = ["of_word"]
