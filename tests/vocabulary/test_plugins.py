"""Words that installed packages add: found by name, imported late, never with two meanings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from causal_dsl.diagnostics import NOWHERE, Diagnostics, SpecError
from causal_dsl.store import reads
from causal_dsl.vocabulary.plugins import Words, made
from tests.vocabulary.installed import install

GROUP = "causal_dsl.tests"


@dataclass(frozen=True)
class Colour:
    name: str


CODE = "from tests.vocabulary.test_plugins import Colour\nRED, NAMED, NUMBER = Colour('red'), Colour('other'), 3\n"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words[Colour]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Words(GROUP, Colour, [Colour("blue")])


def code_of(words: Words[Colour], name: str) -> tuple[str, str]:
    with pytest.raises(SpecError) as caught:
        words[name]
    diagnostic = caught.value.diagnostics[0]
    return diagnostic.code, " ".join(diagnostic.notes)


def test_a_word_is_found_by_name_and_imported_when_it_is_used(words: Words[Colour], tmp_path: Path) -> None:
    assert list(words) == ["blue"]
    install(tmp_path, "late-red", {GROUP: {"red": "late_red:RED"}}, CODE)
    sys.path.append(str(tmp_path / "elsewhere"))  # packages are looked for again where the path is another
    try:
        assert list(words) == ["blue", "red"]
        assert "red" in words and "late_red" not in sys.modules
        assert words["red"] == Colour("red")
        assert words.package("red") == "late-red 0.1"
        assert words.package("blue") == ""
        assert "late_red" in sys.modules
        with reads.recording() as heard:
            words.at("red", NOWHERE)
        assert heard.paths == (tmp_path / "late_red.py",)
    finally:
        sys.path.remove(str(tmp_path / "elsewhere"))


def test_a_word_with_two_meanings_is_refused_and_others_are_not(words: Words[Colour], tmp_path: Path) -> None:
    install(tmp_path, "twice-one", {GROUP: {"red": "twice_one:RED", "blue": "twice_one:RED"}}, CODE)
    install(tmp_path, "twice-two", {GROUP: {"red": "twice_two:RED"}}, CODE)
    code, notes = code_of(words, "red")
    assert code == "E785"
    assert "twice-one 0.1" in notes
    assert "twice-two 0.1" in notes
    code, notes = code_of(words, "blue")
    assert (code, "causal_dsl" in notes) == ("E785", True)
    assert words.usable() == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("broken_one:RED", "ZeroDivisionError"),
        ("broken_two:GREEN", "AttributeError"),
        ("broken_two:NUMBER", "has to be Colour"),
        ("broken_two:NAMED", "calls itself `other`"),
        ("nowhere_at_all:RED", "ModuleNotFoundError"),
        ("broken_three:RED", "SystemExit"),
    ],
)
def test_a_package_that_cannot_be_loaded(words: Words[Colour], tmp_path: Path, value: str, said: str) -> None:
    install(tmp_path, "broken-one", {}, "1 / 0")
    install(tmp_path, "broken-three", {}, "raise SystemExit(0)")
    install(tmp_path, "broken-two", {GROUP: {"red": value}}, CODE)
    sys.modules.pop("broken_two", None)
    code, notes = code_of(words, "red")
    assert code == "E786"
    assert said in notes
    assert words.usable() == (Colour("blue"),)
    found = Diagnostics()
    assert words.find("red", NOWHERE, found) is None
    assert [diagnostic.code for diagnostic in found] == ["E786"]
    assert words.find("green", NOWHERE, found) is None
    assert len(list(found)) == 1


@pytest.mark.parametrize("end", [SystemExit(0), GeneratorExit(), ValueError("no")])
def test_a_word_that_would_end_the_process_is_at_fault(
    words: Words[Colour], tmp_path: Path, end: BaseException
) -> None:
    install(tmp_path, "ends", {GROUP: {"red": "ends:RED"}}, CODE)

    def function() -> None:
        raise end

    with pytest.raises(SpecError) as caught:
        words.call("red", function)
    assert caught.value.code == "E786" and type(end).__name__ in " ".join(caught.value.diagnostics[0].notes)


def test_a_dotted_name() -> None:
    assert made("pathlib:Path.home") == Path.home
