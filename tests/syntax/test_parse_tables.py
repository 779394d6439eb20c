"""Parse tables from the cache: as those that were just made, and made anew where the cache is of no use."""

from __future__ import annotations

from pathlib import Path

import pytest
from lark import Lark

from causal_dsl.store import notices
from causal_dsl.syntax.parse_tables import parse_tables

SUM = 'start: NUMBER ("+" NUMBER)*\nNUMBER: /[0-9]+/\n%ignore " "\n'


def made(grammar: str = SUM) -> tuple[Lark, list[str]]:
    """The tables of a grammar, and the codes of what was told."""
    with notices.collecting() as told:
        found = parse_tables(grammar, ["start"], lambda: None)
    return found, [one.code for one in told]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "grammar"


def parsed(tables: Lark) -> str:
    return tables.parse("1 + 23 + 4").pretty()


def test_second_is_read_and_parses_alike(cache: Path) -> None:
    first, _ = made()
    (kept,) = cache.iterdir()
    before = kept.stat().st_mtime_ns
    second, told = made()
    assert parsed(second) == parsed(first) and not told
    assert second.source_path == "<deserialized>" and kept.stat().st_mtime_ns == before


def test_another_grammar_has_tables_of_its_own(cache: Path) -> None:
    made()
    other, told = made(SUM.replace('"+"', '"-"'))
    assert len(list(cache.iterdir())) == 2 and not told
    assert other.parse("1 - 2")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"tables": "{}"}'])
def test_damaged_one_is_made_anew(cache: Path, content: bytes) -> None:
    first, _ = made()
    (kept,) = cache.iterdir()
    kept.write_bytes(content)
    again, told = made()
    assert told == ["W659"] and parsed(again) == parsed(first)
    assert made()[1] == []


def test_flipped_digit_is_noticed(cache: Path) -> None:
    first, _ = made()
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    at = whole.index(b"start_states")
    at = next(i for i in range(at, len(whole)) if whole[i : i + 1].isdigit())
    kept.write_bytes(whole[:at] + (b"7" if whole[at : at + 1] != b"7" else b"6") + whole[at + 1 :])
    again, told = made()
    assert told == ["W659"] and parsed(again) == parsed(first)


def test_without_room_for_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "file"))
    found, told = made()
    assert parsed(found) and not told
