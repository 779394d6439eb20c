"""Every setting of the language says what it decides, in its record: `explain` shows the sentence, and so do the tables of the docs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import causal_dsl
from causal_dsl.tools.explained_words import explained
from causal_dsl.vocabulary.called_words import CALLED, DRAW, FITTING
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values import VALUES

DOCS = Path(causal_dsl.__file__).parents[1] / "docs"
#: The page whose table has the settings of a kind of words.
PAGES = {"feature": "features.md", "value": "language.md", "reading": "measures.md", "method": "measures.md"}


def owners() -> Iterator[tuple[str, str, Mapping[str, Setting]]]:
    """Whatever takes settings: its kind, its word and its settings."""
    yield from (("feature", word, family.settings) for word, family in FEATURES.own.items())
    yield from (("value", word, value.settings) for word, value in VALUES.own.items())
    yield from (("reading", word, reading.options) for word, reading in READINGS.items())
    yield from (("method", word, method.settings) for word, method in METHODS.items())
    yield from (("call", word, called.settings) for word, called in CALLED.items())
    yield "draw", "", DRAW
    yield "fit", "", FITTING


def test_there_are_settings_of_every_kind() -> None:
    assert {kind for kind, _, settings in owners() if settings} == {*PAGES, "call", "draw", "fit"}


@pytest.mark.parametrize(("kind", "word", "settings"), [pytest.param(*one, id="-".join(one[:2])) for one in owners()])
def test_every_setting_has_a_sentence(kind: str, word: str, settings: Mapping[str, Setting]) -> None:
    assert [name for name, setting in settings.items() if not setting.says.strip()] == []
    page = explained(word)
    for name, setting in settings.items():
        said = page if word else explained(name)
        assert f"- `{name}`: " in said
        assert "](" in setting.says or setting.says in said, name
        if kind in PAGES:
            lines = (DOCS / PAGES[kind]).read_text(encoding="utf-8").splitlines()
            assert any(
                line.startswith((f"| `{name}`", f"| `{name}=")) and f"`{word}`" in line and setting.says in line
                for line in lines
            )
