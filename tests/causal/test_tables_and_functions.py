"""Tables of facts and Python functions in causal models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from causal_dsl.causal.domains import Finite, Real, Text
from causal_dsl.causal.draw import draw
from causal_dsl.causal.lookup_table import LookupTable
from causal_dsl.causal.tables import load_table
from causal_dsl.diagnostics import Diagnostics, SpecError, render_all
from causal_dsl.syntax import tree
from tests.causal import causal_models as plain

CITIES = "city,country,population,old,share\nParis,France,2100000,true,1\nLyon,France,500000,true,0.5\nRome,Italy,2700000,false,2\n"


def read(
    folder: Path, kind: str, text: str | bytes, key: str | None = "city"
) -> tuple[LookupTable | None, Diagnostics]:
    (folder / f"t.{kind}").write_bytes(text if isinstance(text, bytes) else text.encode())
    diagnostics = Diagnostics()
    arguments = [tree.Argument(None, tree.String(f"t.{kind}"))]
    arguments += [tree.Argument(tree.Ident("key"), tree.Name(key))] if key else []
    call = tree.Call(tree.Name(kind), tuple(arguments))
    return load_table(tree.TableDecl(tree.Ident("T"), call), folder, diagnostics), diagnostics


def test_csv_columns_have_types(tmp_path: Path) -> None:
    table, diagnostics = read(tmp_path, "csv", "\ufeff" + CITIES)
    assert table is not None, render_all(diagnostics)
    assert table.keys == Finite(("Paris", "Lyon", "Rome"))
    assert table.columns["population"] == (2100000, 500000, 2700000)
    assert table.columns["old"] == (True, True, False) and table.columns["share"] == (1.0, 0.5, 2.0)
    assert table.domain("country") == Finite(("France", "Italy"))
    table, _ = read(tmp_path, "csv", 'city,code\n"a, b",007\nc,012\n')
    assert table is not None and table.columns == {"city": ("a, b", "c"), "code": ("007", "012")}


def test_long_csv_has_its_lines(tmp_path: Path) -> None:
    """Rows are read some at a time: blank lines, cells of several lines and wrong rows are where they are in the file."""
    first = "city,n\n" + "".join(f"a{i},{i}\n" for i in range(1500))
    text = first + "\n" * 3000 + '"two\nlines",7\n' + "".join(f"b{i},{i}\n" for i in range(1500))
    table, diagnostics = read(tmp_path, "csv", text)
    assert table is not None, render_all(diagnostics)
    assert table.columns["n"] == (*range(1500), 7, *range(1500))
    assert table.keys.values[1499:1502] == ("a1499", "two\nlines", "b0")
    line = len(text.split("\n"))
    table, diagnostics = read(tmp_path, "csv", text + "c,1,2\n" + "d\n")
    assert table is None and f"line {line} of `t.csv` has 3 values" in render_all(diagnostics)
    table, diagnostics = read(tmp_path, "csv", text + "b7,1\n")
    assert table is None and f"lines {line - 1493} and {line} of" in next(iter(diagnostics)).label


def test_jsonl_is_read_like_csv(tmp_path: Path) -> None:
    table, _ = read(tmp_path, "csv", CITIES)
    assert table is not None
    lines = [json.dumps({name: column[i] for name, column in table.columns.items()}) for i in range(3)]
    again, diagnostics = read(tmp_path, "jsonl", "\n".join(lines) + "\n\n")
    assert again is not None, render_all(diagnostics)
    assert again.columns == table.columns and again.keys == table.keys


@pytest.mark.parametrize(
    ("kind", "text", "key", "code"),
    [
        ("csv", CITIES, "cty", "E341"),
        ("csv", CITIES, None, "E341"),
        ("csv", CITIES, "country", "E342"),
        ("csv", "city,x\n,1\n", "city", "E342"),
        ("csv", "city,x\na,1,2\n", "city", "E343"),
        ("csv", "city,x\na\n", "city", "E343"),
        ("csv", 'city,x\n"a,1\n', "city", "E343"),
        ("csv", "city,city\na,b\n", "city", "E343"),
        ("csv", "city,x\n", "city", "E343"),
        ("csv", "", "city", "E343"),
        ("csv", "city,x\na,99999999999999999999\n", "city", "E343"),
        ("csv", b"city,x\n\xff\xfe\x00,1\n", "city", "E340"),
        ("jsonl", '{"city": "a"}\n{"town": "b"}\n', "city", "E343"),
        ("jsonl", '{"city": "a", "x": [1]}\n', "city", "E343"),
        ("jsonl", "[1]\n", "city", "E343"),
        ("jsonl", "{" * 100_000, "city", "E343"),
        ("jsonl", '{"city": "a", "x": 1}\n{"city": "b", "x": "2"}\n', "city", "E343"),
        ("jsonl", '{"city": "a", "x": NaN}\n', "city", "E343"),
        ("tsv", CITIES, "city", "E340"),
    ],
)
def test_faults_of_tables(tmp_path: Path, kind: str, text: str | bytes, key: str | None, code: str) -> None:
    table, diagnostics = read(tmp_path, kind, text, key)
    assert table is None and [d.code for d in diagnostics] == [code], render_all(diagnostics)


@pytest.mark.parametrize(
    ("kind", "text", "cells"),
    [
        ("csv", "city,x\na,1\nb,\nc,+2.50\n", ("1", "", "2.5")),
        ("csv", "city,x\na,\nb,True\nc,false\n", ("", "true", "false")),
        ("jsonl", '{"city": "a", "x": 1}\n{"city": "b", "x": null}\n{"city": "c", "x": 2.0}\n', ("1", "", "2")),
        ("jsonl", '{"city": "a", "x": true}\n{"city": "b", "x": null}\n', ("true", "")),
    ],
)
def test_a_column_of_numbers_with_a_gap_is_one_of_texts(
    tmp_path: Path, kind: str, text: str, cells: tuple[str, ...]
) -> None:
    table, diagnostics = read(tmp_path, kind, text, "city")
    assert table is not None and not diagnostics.errors
    assert table.columns["x"] == cells
    line = cells.index("") + (2 if kind == "csv" else 1)
    assert f"`x` has no value in line {line}" in table.domain("x").gap and not table.domain("city").gap


SPEC = """
table Cities = csv("cities.csv", key=city)
causal facts {
  city ~ Cities
  country := Cities[city].country
  output big := Cities[city].population > 1000000 and Cities[city].old
}
"""


def test_tables_in_models(tmp_path: Path) -> None:
    (tmp_path / "cities.csv").write_text(CITIES)
    model = plain.model(SPEC, folder=tmp_path)
    assert model.variables["country"].domain == Finite(("France", "Italy"))
    found = model.evaluate({"city": model.codes("city")})
    assert model.decode("country", found["country"]) == ["France", "France", "Italy"]
    assert model.decode("big", found["big"]) == [True, False, False]


def test_faults_of_cells(tmp_path: Path) -> None:
    (tmp_path / "cities.csv").write_text(CITIES)
    for change, codes in [
        (("].country", "].contry"), ["E349"]),
        (("Cities[city].country", "Citys[city].country"), ["E305"]),
        (("Cities[city].country", "Cities[1].country"), ["E300"]),
        (("Cities[city].country", "Cities[city]"), ["E306"]),
        (("Cities[city].country", 'Cities["Bonn"].country'), ["E349"]),
        (("Cities[city].country", 'if city == "Rome" then Cities["Bonn"].country else "x"'), ["E349"]),
        (("Cities[city].country", 'if city == "Bonn" then Cities["Bonn"].country else "x"'), ["W300"]),
    ]:
        _, diagnostics = plain.compile_text(SPEC.replace(*change), folder=tmp_path)
        assert [d.code for d in diagnostics] == codes, render_all(diagnostics)
    _, diagnostics = plain.compile_text(SPEC.replace("cities.csv", "citis.csv"), folder=tmp_path)
    assert [d.code for d in diagnostics] == ["E340"] and "cities.csv" in diagnostics.errors[0].help


TASKS = """
from typing import Literal
calls = []
def plural(noun: str) -> str:
    calls.append(noun)
    return noun + "s"
def size(noun: str, n: int) -> int:
    return len(noun) * n
def kind(noun: "str") -> Literal["long", "short"]:
    if noun == "x":
        raise KeyError(noun)
    return "long" if len(noun) > 3 else "short"
def half(n: float) -> float:
    return n / 2
def wrong(n: int) -> bool:
    return n
def bare(n) -> int:
    return 1
def listy(n: list[int]) -> int:
    return 1
def many(*n: int) -> int:
    return 1
def leaves(n: int) -> Literal[1, 2]:
    return n
"""
WORDS = """
from "tasks.py" import plural, size, kind, half
causal words {
  noun ~ {"cat", "horse"}
  n ~ 0..2
  many := plural(noun)
  letters := size(noun, n + 1)
  half_n := half(n)
  output answer := if n == 1 then noun else many
  sort := kind(noun)
}
"""


def test_functions_are_read_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit('run!')\n" + TASKS)
    model = plain.model(WORDS, folder=tmp_path)
    assert [function.name for function in model.needs_trust] == ["plural", "size", "kind", "half"]
    domains = {name: v.domain for name, v in model.variables.items()}
    assert domains["many"] == domains["answer"] == Text() and domains["half_n"] == Real()
    assert domains["sort"] == Finite(("long", "short")) and domains["letters"].type == "int"
    diagnostics = Diagnostics()
    assert draw(plain.design(model), diagnostics) is None
    (fault, *_) = diagnostics.errors
    assert fault.code == "E346" and "--trust" in fault.help
    with pytest.raises(SpecError, match="E346"):
        model.evaluate({"noun": np.array([0]), "n": np.array([0])})
    _, diagnostics = plain.compile_text(WORDS, folder=tmp_path, trust=True)
    assert {d.code for d in diagnostics} == {"E347"} and "SystemExit: run!" in diagnostics.errors[0].label


def test_trusted_functions_are_called_once_for_each_argument(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    model = plain.model(WORDS, folder=tmp_path, trust=True)
    assert not model.needs_trust
    assert model.variables["answer"].domain.type == "string" and "cats" in model.variables["answer"].domain
    found = model.evaluate({"noun": np.repeat(model.codes("noun"), 3), "n": np.tile([0, 1, 2], 2)})
    assert model.decode("answer", found["answer"]) == ["cats", "cat", "cats", "horses", "horse", "horses"]
    assert found["letters"].tolist() == [3, 6, 9, 5, 10, 15] and found["half_n"].tolist() == [0, 0.5, 1] * 2
    calls = model.functions[0].load().__globals__["calls"]
    assert sorted(calls) == ["cat", "horse"]


def test_a_function_is_called_only_where_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    text = 'from "tasks.py" import kind\ncausal m { noun ~ {"x", "cat"}  output y := if noun == "x" then "none" else kind(noun) }'
    model = plain.model(text, folder=tmp_path, trust=True)
    assert model.decode("y", model.evaluate({"noun": model.codes("noun")})["y"]) == ["none", "short"]
    _, diagnostics = plain.compile_text(
        text.replace('if noun == "x" then "none" else ', ""), folder=tmp_path, trust=True
    )
    assert [d.code for d in diagnostics] == ["E347"] and 'kind("x")' in diagnostics.errors[0].title


@pytest.mark.parametrize(
    ("imported", "call", "code"),
    [
        ("plurl", "plurl(noun)", "E344"),
        ("bare", "bare(n)", "E345"),
        ("listy", "listy(n)", "E345"),
        ("many", "many(n)", "E345"),
        ("plural", "plural(n)", "E304"),
        ("plural", "plural(noun, n)", "E304"),
        ("plural", "plural(noun=noun)", "E304"),
        ("plural", "plurals(noun)", "E304"),
        ("wrong", "wrong(n)", "E348"),
        ("leaves", "leaves(n)", "E348"),
    ],
)
def test_faults_of_functions(tmp_path: Path, imported: str, call: str, code: str) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    text = f'from "tasks.py" import {imported}\ncausal m {{ noun ~ {{"cat", "dog"}}  n ~ 0..3  output y := {call} }}'
    _, diagnostics = plain.compile_text(text, folder=tmp_path, trust=True)
    assert [d.code for d in diagnostics] == [code], render_all(diagnostics)


@pytest.mark.parametrize("end", ["SystemExit(0)", "GeneratorExit()", "BaseException('gone')", "KeyError(1)"])
def test_a_function_that_would_end_the_process_is_at_fault(tmp_path: Path, end: str) -> None:
    (tmp_path / "tasks.py").write_text(f"def f(n: int) -> int:\n    raise {end}\n")
    text = 'from "tasks.py" import f\ncausal m { n ~ 0..3  output y := f(n) }'
    _, diagnostics = plain.compile_text(text, folder=tmp_path, trust=True)
    assert [d.code for d in diagnostics] == ["E347"]
    assert f"raises {end.partition('(')[0]}" in diagnostics.errors[0].title


def test_files_that_are_no_python(tmp_path: Path) -> None:
    text = 'from "tasks.py" import f\ncausal m { n ~ 0..3  output y := f(n) }'
    for content in (b"def f(:", b"\x00\xff", b"(" * 10_000, b""):
        (tmp_path / "tasks.py").write_bytes(content)
        _, diagnostics = plain.compile_text(text, folder=tmp_path)
        assert [d.code for d in diagnostics] == ["E344"]
    (tmp_path / "tasks.py").unlink()
    _, diagnostics = plain.compile_text(text, folder=tmp_path)
    assert [d.code for d in diagnostics] == ["E344"]


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Mary\n John \n\nTom\r\n")
    model = plain.model(
        'domain Name = lines("names.txt")\ncausal m { x ~ Name  output y := x == "Tom" }', folder=tmp_path
    )
    assert model.variables["x"].domain == Finite(("Mary", "John", "Tom"))
    for content, code in ((b"a\nb\na\n", "E311"), (b"\n\n", "E310"), (b"\xff", "E315")):
        (tmp_path / "names.txt").write_bytes(content)
        _, diagnostics = plain.compile_text('domain Name = lines("names.txt")', folder=tmp_path)
        assert [d.code for d in diagnostics] == [code]
    for name in (".", "nowhere/x.txt", "a\\u0000b", "x" * 5000):
        _, diagnostics = plain.compile_text(f'domain Name = lines("{name}")', folder=tmp_path)
        assert diagnostics.errors
