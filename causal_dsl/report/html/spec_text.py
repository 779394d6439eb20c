"""A spec with what came out in its margin."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from causal_dsl.report.html.environment import made_of, safe
from causal_dsl.report.html.fragments import mood
from causal_dsl.score.format_numbers import show_cell
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.syntax.grammar import load_grammar

#: The classes of what has a colour, by its terminal in the grammar; words have theirs as well.
_COLOURED = {"COMMENT": "comment", "STRING": "text"}


def annotated(spec: SpecResult, links: Mapping[str, str]) -> Markup:
    """The text of a spec, line by line, with the verdict of each test and the outcome of each expectation beside it, and the
    texts that it imports, folded."""
    margin: dict[int, list[tuple[str, str, str]]] = {}
    for test in spec.tests:
        own = margin.setdefault(test.line, [])
        where = f"{show_cell(dict(test.variant))}: " if test.variant else ""
        if test.status == "interrupted":
            own.append(("warn", f"{where}{test.cut}", links[test.name]))
        elif test.verdict is not None:
            own.append((mood(test.verdict.code), f"{where}{test.verdict.code}", links[test.name]))
        elif not test.variant:
            own.append(("info", "measured", links[test.name]))
        for expectation in test.expectations:
            told = "pass" if expectation.passed else "FAIL"
            kind = "good" if expectation.passed else "bad"
            margin.setdefault(expectation.line, []).append((kind, f"{where}{told}", links[test.name]))
    lines = [
        (number, highlighted(line), _few(margin.get(number, [])))
        for number, line in enumerate(spec.text.splitlines(), 1)
    ]
    imported: list[tuple[str, list[tuple[int, Markup, list[tuple[str, str, str]]]]]] = [
        (path, [(number, highlighted(line), []) for number, line in enumerate(text.splitlines(), 1)])
        for path, text in spec.imports.items()
    ]
    return made_of("spec.html.j2", lines=lines, imported=imported)


def _few(notes: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The part that a margin has room for: of a family its first tests."""
    if len(notes) <= 3:
        return notes
    return [*notes[:2], ("info", f"and {len(notes) - 2} more", notes[2][2])]


def highlighted(line: str) -> Markup:
    """A line of a spec with its comments, texts and words in colour."""
    grammar = load_grammar()
    found, last = Markup(), 0
    for part in grammar.scanner.finditer(line):
        word = part.lastgroup == "NAME" and part[0] in grammar.keywords
        colour = "word" if word else _COLOURED.get(part.lastgroup or "")
        if colour:
            found += safe(line[last : part.start()])
            found += Markup('<span class="{}">{}</span>').format(colour, safe(part[0]))
            last = part.end()
    return found + safe(line[last:])


__all__ = ["annotated", "highlighted"]
