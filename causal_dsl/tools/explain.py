"""``causal-dsl explain WORD``: the page of a diagnostic, or of a word of the language."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import SpecError, did_you_mean, fail
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.output import say
from causal_dsl.tools.terminal import for_terminal

if TYPE_CHECKING:
    from rich.console import Console


def codes() -> dict[str, Path]:
    """The page of each code that has one, sorted."""
    return {path.stem: path for path in sorted(resource("docs", "diagnostics.d").glob("*.md"))}


def title(page: Path) -> str:
    """The first line of a page, without its code."""
    with page.open(encoding="utf-8") as file:
        return re.sub(r"^# \w+: ", "", file.readline().strip())


def page_of(written: str, line: CommandLine, listed: str = "`causal-dsl explain` without a code lists them all") -> str:
    """The Markdown of the page of a code, however it is spelt: ``e201``, ``E201``, ``error[E201]``.

    A warning shares its number with an error, and its page too where it has none of its own. A word of the language has a page by its
    name. Raises SpecError (E707), whose help is ``listed`` where nothing is near.
    """
    from causal_dsl.tools.explained_words import explained, words_by_kind

    try:
        found = explained(written)
    except SpecError as error:  # of a package: the place is where the word is written
        raise SpecError([replace(fault, span=line.place(written)) for fault in error.diagnostics]) from error
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
        f"there is no diagnostic `{written}`, and no such word of the language",
        line.place(written),
        help=did_you_mean(
            code if match else written,
            near or [*pages, *(word for words in words_by_kind().values() for word in words)],
            listed,
        ),
    )


def list_of_all() -> list[str]:
    """A line for each code, and for each kind of words of the language."""
    from causal_dsl.tools.explained_words import words_by_kind

    return [
        *(f"{code}  {title(page)}" for code, page in codes().items()),
        *(f"{kind}: {', '.join(words)}" for kind, words in words_by_kind().items()),
    ]


def explain(written: list[str], line: CommandLine) -> int:
    """Print the pages of the codes, or the list of all codes where none is given."""
    if not written:
        for one in list_of_all():
            say(one)
        return 0
    text = "\n".join(page_of(code, line) for code in written)
    shown = for_terminal(sys.stdout, lambda console: _print_page(text, console))
    say(text if shown is None else shown, end="" if (shown or text).endswith("\n") else "\n")
    return 0


def _print_page(text: str, console: Console) -> None:
    from rich.markdown import Markdown

    console.print(Markdown(text, code_theme="ansi_dark"), width=min(console.width, 110))
