"""Tables from parquet, from folders of `datasets`, and written out; their columns as domains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import causal_dsl as cd
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.lookup_table import LookupTable
from causal_dsl.causal.support import support_of
from causal_dsl.diagnostics import Diagnostics, render_all
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import Source, parse
from tests.causal import causal_models as plain

COLUMNS = {
    "city": ["Paris", "Lyon", "Rome", "Bari"],
    "country": ["France", "France", "Italy", "Italy"],
    "people": [21, 5, 27, 3],
    "share": [0.5, 1.5, 2.5, -1.0],
    "old": [True, False, True, False],
}
ODD = {
    "tags": [["a"], [], ["b"], []],
    "huge": [1, 2, 3, 2**63 - 1],
    "none": [1.0, float("nan"), 2.0, 3.0],
}


def table(rows: dict[str, list[Any]]) -> pa.Table:
    made = pa.table(rows)
    if "country" not in rows:
        return made
    # texts that are kept once each are texts
    return made.set_column(made.column_names.index("country"), "country", made.column("country").dictionary_encode())


def saved(folder: Path, rows: dict[str, list[Any]], shards: int = 1) -> Path:
    """A folder as `Dataset.save_to_disk` leaves it: streams of Arrow, and what it says of them."""
    folder.mkdir(parents=True)
    made = table(rows)
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    step = -(-made.num_rows // shards)
    for i, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, made.schema) as stream:
            stream.write_table(made.slice(i * step, step))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def load(text: str, folder: Path) -> tuple[LookupTable | None, Diagnostics]:
    from causal_dsl.causal.tables import load_table

    diagnostics = Diagnostics()
    parsed = parse(Source(str(folder / "s.causal"), text), diagnostics)
    (declaration,) = parsed.declarations
    assert isinstance(declaration, tree.TableDecl)
    return load_table(declaration, folder, diagnostics), diagnostics


def of(folder: Path, kind: str, key: str = "city", rows: dict[str, list[Any]] = COLUMNS) -> LookupTable:
    if kind == "parquet":
        pq.write_table(table(rows), folder / "t.parquet")
        text = f'table T = parquet("t.parquet", key={key})'
    elif kind == "dataset":
        saved(folder / "kept", rows, shards=2)
        text = f'table T = dataset("kept", key={key})'
    else:
        saved(folder / "kept" / "train", rows)
        (folder / "kept" / "dataset_dict.json").write_text('{"splits": ["train"]}')
        text = f'table T = dataset("kept", split=train, key={key})'
    found, diagnostics = load(text, folder)
    assert found is not None, render_all(diagnostics)
    return found


KINDS = ["parquet", "dataset", "split"]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_those_of_the_file(kind: str, tmp_path: Path) -> None:
    found = of(tmp_path, kind)
    assert found.columns == {name: tuple(cells) for name, cells in COLUMNS.items()}
    assert found.keys == Finite(tuple(COLUMNS["city"])) and found.key == "city"
    assert found.domain("country") == Finite(("France", "Italy"))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_named_by_their_number(kind: str, tmp_path: Path) -> None:
    found = of(tmp_path, kind, "row")
    assert found.keys == Finite((0, 1, 2, 3)) and found.columns["row"] == (0, 1, 2, 3)
    assert found.columns["city"] == tuple(COLUMNS["city"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_is_missing_is_the_empty_one(kind: str, tmp_path: Path) -> None:
    gaps = {"answer": ["x", None, "y", None], "many": [None, 2, 30, None], "said": [True, None, False, None]}
    found = of(tmp_path, kind, rows=COLUMNS | gaps)
    assert found.columns["answer"] == ("x", "", "y", "") and not found.unusable
    assert found.columns["many"] == ("", "2", "30", "") and found.columns["said"] == ("true", "", "false", "")
    assert found.gaps == {"many": "`many` has no value in row 0", "said": "`said` has no value in row 1"}


def test_a_column_that_is_called_row_is_the_key(tmp_path: Path) -> None:
    found = of(tmp_path, "parquet", "row", {"row": [7, 5], "x": [1, 2]})
    assert found.keys == Finite((7, 5))


def test_rows_of_a_csv_may_have_no_key_either(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("clean,corrupt\na b,c d\na b,e f\n")
    found, _ = load('table T = csv("t.csv", key=row)', tmp_path)
    assert found is not None and found.columns["row"] == (0, 1) and found.columns["clean"] == ("a b", "a b")


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_cannot_be_used_are_no_fault_until_they_are_asked_for(kind: str, tmp_path: Path) -> None:
    found = of(tmp_path, kind, rows=COLUMNS | ODD)
    assert set(found.columns) == set(COLUMNS) and set(found.unusable) == set(ODD)
    scope = {"T": found}
    for name in ODD:
        diagnostics = Diagnostics()
        from causal_dsl.causal.domain_of import compile_domain
        from causal_dsl.causal.scope import Scope

        path = tree.Attribute(tree.Name("T"), tree.Ident(name))
        assert compile_domain(path, Scope({}, scope, {}), tmp_path, diagnostics) is None
        (fault,) = diagnostics
        assert fault.code == "E349" and found.unusable[name] == fault.label
    _, diagnostics = load('table T = parquet("t.parquet", key=tags)', tmp_path)
    if kind == "parquet":
        assert [fault.code for fault in diagnostics] == ["E341"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('table T = parquet("gone.parquet", key=city)', "E340"),
        ('table T = parquet("bad.parquet", key=city)', "E343"),
        ('table T = parquet("t.parquet", key=cty)', "E341"),
        ('table T = parquet("t.parquet")', "E341"),
        ('table T = parquet("t.parquet", key=country)', "E342"),
        ('table T = parquet("t.parquet", split=train, key=city)', "E340"),
        ('table T = parquet("empty.parquet", key=city)', "E343"),
        ('table T = dataset("gone", key=city)', "E340"),
        ('table T = dataset("kept", split=train, key=city)', "E340"),
        ('table T = dataset("many", key=city)', "E340"),
        ('table T = dataset("many", split=tran, key=city)', "E340"),
        ('table T = dataset("indexed", key=city)', "E343"),
        ('table T = dataset("outside", key=city)', "E343"),
        ('table T = dataset("cut", key=city)', "E343"),
        ('table T = dataset("lost", key=city)', "E340"),
        ('table T = dataset("words", key=city)', "E343"),
        ("table T = dataset(key=city)", "E340"),
        ('table T = parqet("t.parquet", key=city)', "E340"),
        ("table T = {}", "E343"),
        ('table T = {"a": 1, "a": 2}', "E311"),
        ('table T = {"a": 1, 2: 2}', "E312"),
        ('table T = {"a": 1, "b": "c"}', "E312"),
        ('table T = {"a": b}', "E314"),
        ('table T = {a: "b"}', "E314"),
        ('table T = {"a": 900000000000000000 * 9}', "E308"),
    ],
)
def test_faults(text: str, code: str, tmp_path: Path) -> None:
    pq.write_table(table(COLUMNS), tmp_path / "t.parquet")
    pq.write_table(table(COLUMNS).slice(0, 0), tmp_path / "empty.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing more")
    saved(tmp_path / "kept", COLUMNS)
    saved(tmp_path / "many" / "train", COLUMNS)
    (tmp_path / "many" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    for name, more in (
        ("indexed", state | {"_indices_data_files": [{"filename": "i.arrow"}]}),
        ("outside", {"_data_files": [{"filename": "../kept/data-00000-of-00001.arrow"}]}),
        ("cut", state),
        ("lost", {"_data_files": [{"filename": "gone.arrow"}]}),
    ):
        (saved(tmp_path / name, COLUMNS) / "state.json").write_text(json.dumps(more))
    (tmp_path / "cut" / "data-00000-of-00001.arrow").write_bytes(b"\0\0")
    (saved(tmp_path / "words", COLUMNS) / "state.json").write_text("{")
    found, diagnostics = load(text, tmp_path)
    assert found is None and [fault.code for fault in diagnostics] == [code], render_all(diagnostics)


MODEL = """
table Next = {"Monday": "Tuesday", "Tuesday": "Wednesday", "Wednesday": "Thursday"}
table Size = {1: 10, 2: 20.5}

causal days {
  day ~ Next
  late ~ Next.value where late != "Wednesday"
  n ~ 1..2
  output said := Next[day]
  twice := if said in Next then Next[said] else "none"
  size := Size[n] + 1
  known := late in Next.key
}
"""


def test_a_table_that_is_written_out() -> None:
    m = plain.model(MODEL)
    assert m.variables["late"].domain == Finite(("Tuesday", "Wednesday", "Thursday"))
    support = support_of(m, 1000)
    assert support is not None and support.n == 3 * 2 * 2
    following = {"Monday": "Tuesday", "Tuesday": "Wednesday", "Wednesday": "Thursday"}
    rows = {name: m.decode(name, codes) for name, codes in support.values.items()}
    for i in range(support.n):
        assert rows["said"][i] == following[rows["day"][i]]
        assert rows["twice"][i] == following.get(rows["said"][i], "none")
        assert rows["size"][i] == {1: 11.0, 2: 21.5}[rows["n"][i]]
        assert rows["known"][i] == (rows["late"][i] in following)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("Next[day]", "Next[n]", "E300"),
        ("Next[day]", "Next[day].value", "E306"),
        ("Next[day]", "Next[late]", "E349"),
        ("Next[day]", "Next", "E305"),
        ("Next.value where", "Next.values where", "E349"),
        ("Next.value where", "Nxt.value where", "E313"),
        ("Next.value where", "Next.value.more where", "E314"),
        ("Next.value where", "Next[0] where", "E314"),
        ("Next.key", "day.key", "E313"),
    ],
)
def test_faults_of_its_use(old: str, new: str, code: str) -> None:
    _, diagnostics = plain.compile_text(MODEL.replace(old, new))
    assert [fault.code for fault in diagnostics.errors] == [code], render_all(diagnostics)


def test_of_a_file_the_column_must_be_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    text = 'table T = csv("t.csv", key=a)\ncausal m { x ~ T\n output y := T[x] }'
    _, diagnostics = plain.compile_text(text, tmp_path)
    assert [fault.code for fault in diagnostics.errors] == ["E306"]


def test_the_same_in_python() -> None:
    following = cd.table("Next", {"Monday": "Tuesday", "Tuesday": "Wednesday"})
    places = cd.table("Places", cd.parquet("p.parquet", key="row"))
    texts = cd.table("Texts", cd.dataset("kept", key="row", split="test"))
    model = cd.Causal("days")
    day = model.draw("day", domain=following)
    model.draw("other", domain=following.value)
    model.draw("row", domain=texts)
    model.draw("place", domain=places.country)
    model.output("said", following[day])
    align = cd.align("at", model, cd.hf("m", name="net"))
    align.prompt("{day}")
    align.place("said", cd.next_token(among=cd.values("Tuesday", "Wednesday")))
    text = cd.spec(align).source()
    assert '{"Monday": "Tuesday", "Tuesday": "Wednesday"}' in text and "other ~ Next.value" in text
    assert 'among={"Tuesday", "Wednesday"}' in text and 'parquet("p.parquet", key=row)' in text
    assert cd.parse(text).source() == text
