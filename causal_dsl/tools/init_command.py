"""``causal-dsl init``: a spec from a table of facts, a network and a prompt. It is checked before it is written."""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from causal_dsl import api
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checked import Checked
from causal_dsl.diagnostics import SpecError, did_you_mean, fail, shown_path
from causal_dsl.program.zoo_entries import catalogue
from causal_dsl.score.format_numbers import counted
from causal_dsl.store.reads import LARGEST_SETTINGS, refuse_large
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.tools.command_line import CommandLine, folder_path
from causal_dsl.tools.output import say, tell

_KINDS = {".csv": "csv", ".jsonl": "jsonl"}
#: All pairs of rows are run where they are no more than this; else so many are drawn.
_MOST_PAIRS, _DRAWN = 1024, 256
#: Names that the spec has for other things.
_TAKEN = ("l", "p", "Facts", "task", "net", "places", "base", "source", "first", "last")
#: How the answer is read: the first that `check` takes. An answer of several tokens is no single next token.
_READOUTS = ("next_token", "next_token(end=word)", "next_token(among={domain})", "next_token(end=word, among={domain})")
Answer = TypeVar("Answer")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def add_init(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file", nargs="?", type=folder_path, metavar="FILE", help="the spec; default: named as the table"
    )
    command.add_argument("--task", metavar="TABLE", help="a .csv or .jsonl of facts, one a row, its columns named")
    command.add_argument("--network", metavar="NAME", help="a network of `causal-dsl zoo`, a folder, or a repository")
    command.add_argument(
        "--prompt", metavar="TEXT", help='the question, with a column in braces: "The capital of {country} is"'
    )
    command.add_argument(
        "--answer", metavar="COLUMN", help="the column of answers; default: the first that is not asked about"
    )
    command.add_argument("--force", action="store_true", help="replace a file that is there")


@dataclass(frozen=True)
class _Facts:
    """A table: its file, the names of its columns, and how many rows it has."""

    path: Path
    columns: tuple[str, ...]
    rows: int

    @property
    def kind(self) -> str:
        return _KINDS[self.path.suffix.lower()]


def init(arguments: Namespace, line: CommandLine) -> int:
    """Ask for what is not given, write the spec, and say how to go on. Raises SpecError for what cannot be a spec."""
    table = _asked(arguments.task, "Table of facts (.csv or .jsonl)", "--task", line, lambda text: _table(text, line))
    network = _asked(
        arguments.network,
        "Network (zoo name, folder or repository)",
        "--network",
        line,
        lambda text: _network(text, line),
    )
    shown = ", ".join(table.columns)
    prompt = _asked(
        arguments.prompt,
        f"Prompt, with one of {{{shown}}} in braces",
        "--prompt",
        line,
        lambda text: _prompt(text, table, line),
    )
    key = _PLACEHOLDER.findall(prompt)[0]
    answer = _answer(arguments.answer, table, key, line)
    file = arguments.file if arguments.file is not None else Path(f"{table.path.stem}.causal")
    if file.exists() and not arguments.force:
        raise fail(
            "E874",
            f"`{shown_path(file)}` is there already",
            line.place(str(arguments.file) if arguments.file is not None else "init"),
            help="name another file, or replace it with `--force`",
        )
    try:
        with _folder(file.parent):
            text, checked = _checked(
                lambda layers, readout: _spec(table, network, prompt, key, answer, file, layers, readout), file
            )
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        why = error.strerror or str(error)
        raise fail("E708", f"cannot write {shown_path(file)}", line.place("init"), notes=(why,)) from error
    for diagnostic in checked.diagnostics:
        tell(diagnostic.render())
    say(f"wrote {shown_path(file)}; next:\n  causal-dsl check {shown_path(file)}\n  causal-dsl run {shown_path(file)}")
    return 0


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """The folder of the spec is there while the spec is checked; what was made for it goes if nothing is written."""
    made = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for above in made:
            above.rmdir()
        raise


def _asked(given: str | None, question: str, option: str, line: CommandLine, read: Callable[[str], Answer]) -> Answer:
    """An answer from an option, or from whoever sits at the terminal, who is asked again where it will not do."""
    if given is not None:
        return read(given)
    if not sys.stdin.isatty():
        raise fail(
            "E873",
            f"`init` needs {option}: there is no terminal on which it could ask",
            line.place("init"),
            help='`causal-dsl init --task capitals.csv --network smollm2-135m-instruct-q4 --prompt "The capital of {country} is"`',
        )
    while True:
        tell(f"{question}: ", end="")
        typed = sys.stdin.readline()
        if not typed:
            raise KeyboardInterrupt
        try:
            return read(typed.strip())
        except SpecError as error:
            tell(str(error))


def _table(text: str, line: CommandLine) -> _Facts:
    path = Path(text).expanduser()
    if path.suffix.lower() not in _KINDS:
        raise fail(
            "E873",
            f"`{text}` is no .csv and no .jsonl file",
            line.place(text),
            help="name a table whose first line names its columns",
        )
    try:
        refuse_large(path, LARGEST_SETTINGS)
        rows = list(_rows(path))
    except (OSError, ValueError, csv.Error) as error:
        near = [entry.name for entry in path.parent.glob("*")] if path.parent.is_dir() and not path.exists() else []
        why = getattr(error, "strerror", None) or str(error)
        raise fail(
            "E873",
            f"cannot read the table `{text}`",
            line.place(text),
            notes=(why,),
            help=did_you_mean(path.name, near),
        ) from error
    columns = tuple(str(name) for name in rows[0]) if rows else ()
    if len(columns) < 2 or len(rows) < 3:
        raise fail(
            "E873",
            f"`{text}` has too little in it: {counted(max(0, len(rows) - 1), 'row')} of {counted(len(columns), 'column')}",
            line.place(text),
            help="a task needs a column to ask about, a column of answers, and at least two rows",
        )
    twice = next((name for name, count in Counter(columns).items() if count > 1), "")
    if twice:
        raise fail(
            "E873",
            f"`{text}` has the column `{twice}` twice",
            line.place(text),
            notes=("a column is a variable of the spec, and has to have a name of its own",),
            help="give one of them another name",
        )
    taken = {*load_grammar().keywords, *_TAKEN}
    odd = [name for name in columns if not name.isidentifier() or name in taken]
    columns = tuple(name for name in columns if name not in odd)
    if len(columns) < 2:  # the others are not used
        wrong = odd[0]
        why = "it has a meaning of its own in specs" if wrong in taken else "letters, digits and `_` make a name"
        told = f"the column `{wrong}` of `{text}` cannot name a variable"
        raise fail("E873", told, line.place(text), notes=(why,), help="give the column another name")
    return _Facts(path, columns, len(rows) - 1)


def _rows(path: Path) -> Iterator[list[str]]:
    """The names of the columns, then the rows."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() == ".csv":
            yield from csv.reader(file)
            return
        found = [json.loads(one) for one in file if one.strip()]
    if not all(isinstance(one, dict) for one in found):
        raise ValueError("a line is not an object")
    if found:
        yield list(found[0])
    yield from ([str(value) for value in one.values()] for one in found)


def _network(text: str, line: CommandLine) -> str:
    """The network as a spec declares it."""
    name = text.removeprefix('zoo("').removeprefix('hf("').removesuffix('")')
    if not name or '"' in name or "\\" in name:
        raise fail(
            "E873",
            "a network is needed",
            line.place(text or "init"),
            help="`causal-dsl zoo` lists those that come with the package",
        )
    if name in catalogue():
        return f'zoo("{name}")'
    if "/" not in name and not Path(name).expanduser().is_dir():
        raise fail(
            "E873",
            f"`{name}` is not a network of the zoo, a folder or a repository",
            line.place(text),
            help=did_you_mean(name, catalogue(), "`causal-dsl zoo` lists those that come with the package"),
        )
    return f'hf("{name}")'


def _prompt(text: str, table: _Facts, line: CommandLine) -> str:
    named = _PLACEHOLDER.findall(text)
    wrong = [name for name in named if name not in table.columns]
    if len(set(named)) != 1 or wrong:
        shown = ", ".join(f"`{{{name}}}`" for name in table.columns)
        what = (
            f"no column is called `{wrong[0]}`"
            if wrong
            else f"a prompt names one column in braces, and this one names {len(set(named)) or 'none'}"
        )
        raise fail("E873", what, line.place(text or "init"), help=f"there is {shown}")
    return text


def _answer(given: str | None, table: _Facts, key: str, line: CommandLine) -> str:
    others = [name for name in table.columns if name != key]
    if given is not None and given not in others:
        raise fail(
            "E873",
            f"`{given}` is not a column of answers in `{shown_path(table.path)}`",
            line.place(given),
            help=did_you_mean(given, others),
        )
    return given if given is not None else others[0]


def _checked(made: Callable[[str, str], str], file: Path) -> tuple[str, Checked]:
    """The spec in the first form that `check` takes, and what `check` says of it. Raises the faults of the plainest form where it takes none."""
    first: SpecError | None = None
    for readout in _READOUTS:
        try:
            layers = _layers(_check(made("0", readout), file))
            text = api.parse(made(layers, readout), str(file), file.resolve().parent).source()
            return text, _check(text, file)
        except SpecError as error:
            first = first or error
    assert first is not None
    raise first


def _check(text: str, file: Path) -> Checked:
    checked = api.check(
        api.parse(text, shown_path(file), Path(os.path.abspath(file)).parent), api.Options(), beside=False
    )
    checked.raise_errors()
    return checked


def _layers(checked: Checked) -> str:
    """The layers of a sweep: about eight of them."""
    assert checked.program is not None
    (network,) = {test.network.key: test.network for test in checked.program.tests}.values()
    count = network.facts.layers or 1
    if count <= 8:
        return f"0:{count}" if count > 1 else "[0]"
    step = max(1, round((count - 1) / 8))
    return f"[{', '.join(map(str, sorted({*range(0, count, step), count - 1})))}]"


def _spec(
    table: _Facts, network: str, prompt: str, key: str, answer: str, file: Path, layers: str, readout: str
) -> str:
    """The text of the spec; ``layers`` is what the sweep runs over."""
    path = os.path.relpath(table.path, Path(os.path.abspath(file)).parent)
    draw = "exhaustive=true" if table.rows**2 <= _MOST_PAIRS else f"n={_DRAWN}, seed=0"
    alone = "exhaustive=true" if table.rows <= _MOST_PAIRS else f"n={_DRAWN}, seed=0"
    over = layers if ":" in layers or layers.startswith("[") else f"[{layers}]"
    readout = readout.format(domain=f"Facts.{answer}")
    return f"""\
# Where does the network hold `{key}` while it answers with `{answer}`?

table Facts = {table.kind}({json.dumps(Path(path).as_posix(), ensure_ascii=False)}, key={key})

causal task {{
  {key} ~ Facts

  output {answer} := Facts[{key}].{answer}
}}

network net = {network}

align places(l in {over}, p in [{key}, last]) : task -> net {{
  prompt {json.dumps(prompt, ensure_ascii=False)}

  {key} @ layer[l].resid_post[p]
  {answer} @ {readout}
}}

# Does it know the answers at all?
test solves on places(l=0, p=last) {{
  base ~ task({alone})
  report accuracy
}}

# Patch `{key}` in from another prompt: where does the answer change as the table says? The expected answer is that of the
# source, so a copy of the source's answer is right, too, and no score is above chance: read off where iia rises.
test where_is_it on places {{
  base, source ~ task({draw}) where base.{answer} != source.{answer}
  do({key} <- source)
  report iia
}}
"""


__all__ = ["add_init", "init"]
