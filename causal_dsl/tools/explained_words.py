"""The pages of all words of the language, from the records: what a word means, how it is written, and what it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from causal_dsl.measures.names import FUNCTIONS
from causal_dsl.program.counts import COUNTS
from causal_dsl.program.positions import EDGES
from causal_dsl.report.word_pages import of_word
from causal_dsl.tools.lsp.keyword_pages import KEYWORDS, keyword_page
from causal_dsl.tools.lsp.settings_of_words import settings_of, told_count, told_feature, told_setting, told_value
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.called_words import CALLED, DRAW, FITTING
from causal_dsl.vocabulary.ceiling_rules import CEILINGS
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.plugins import Words
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values import VALUES
from causal_dsl.vocabulary.values import words as value_words

#: What the positions of any prompt are.
_POSITIONS = {
    "first": "the first token of the prompt",
    "last": "the last token of the prompt",
    "all": "all tokens of the prompt",
}


def _component(word: str) -> str:
    about = COMPONENTS[word]
    more = f" {about.more}" if about.more else ""
    return f"{about.shown} is {about.meaning}.{more}\n\n- networks: {' and '.join(about.kinds)} networks"


def _method(word: str) -> str:
    rows = [f"- `{form}`: {score}; passes: {passes}" for form, score, passes in METHODS[word].forms]
    return _with_settings("\n".join([f"`method={word}`: {METHODS[word].says}.", "", *rows]), settings_of(word))


def _feature(word: str) -> str:
    own = {name: one for name, one in settings_of(word, through=True).items() if name not in FITTING}
    text = _with_settings(told_feature(word), own)
    return f"{text}\n\nEvery feature also takes the settings of its fit: {', '.join(f'`{name}`' for name in FITTING)}."


def _architecture(word: str) -> str:
    record = ARCHITECTURES[word].of_config({})
    there = [name for name, one in COMPONENTS.items() if one.place is not None and one.place(record)]
    order = (
        "attention and MLP read the same residual stream"
        if record.parallel
        else "the MLP reads the residual stream after attention has added to it"
    )
    return (
        f"Networks of `hf(…)` whose `model_type` is `{word}`: the record of their layout says where these sites are.\n\n"
        f"- sites: {', '.join(f'`{name}`' for name in there)}\n- a layer: {order}\n\n"
        "Other sites are found from these. Every site is proved when a network is loaded; docs/architectures.md has all model types."
    )


def _function(word: str) -> str:
    return f"`{word}(m)` is {FUNCTIONS[word]}. docs/measures.md defines all else."


def _ceiling(word: str) -> str:
    counts = (
        "a verdict counts it"
        if CEILINGS[word].warning or CEILINGS[word].numbers
        else "it is shown, and no verdict counts it"
    )
    return f"`{word}` is a chance level: {CEILINGS[word].says}.\n\n- {counts}"


def _with_settings(text: str, settings: Mapping[str, Setting]) -> str:
    return "\n\n".join([text, *(["\n".join(map(_line, settings.items()))] if settings else [])])


def _line(named: tuple[str, Setting]) -> str:
    name, setting = named
    says = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", setting.says)  # without the links of the docs
    return f"- {told_setting(name, setting)}" + (f"\n  {says}" if says else "")


def _owners() -> Iterator[tuple[str, Mapping[str, Setting]]]:
    """Whatever takes settings, with what it takes."""
    yield "a draw", DRAW
    yield "the fit of any feature", FITTING
    for word in (*CALLED, *METHODS, *value_words()):
        yield f"`{word}`", settings_of(word)
    for word, family in ((family.name, family) for family in FEATURES.usable()):
        yield f"`{word}`", family.settings
    for word, reading in READINGS.items():
        yield f"`{word}`", reading.options


def _setting(word: str) -> str:
    found: dict[str, list[str]] = {}
    for owner, settings in _owners():
        if word in settings:
            found.setdefault(_line((word, settings[word])), []).append(owner)
    return "\n".join(f"{line}\n  in: {', '.join(owners)}" for line, owners in found.items())


def _setting_names() -> list[str]:
    return list(dict.fromkeys(name for _, settings in _owners() for name in settings))


#: Kinds of words beside measures, readings and findings: the plural, what a page calls one, the words, and the text of a page.
_KINDS: tuple[tuple[str, str, Callable[[], Iterable[str]], Callable[[str], str]], ...] = (
    ("sites", "a site", lambda: COMPONENTS, _component),
    ("positions", "a position", lambda: EDGES, lambda word: f"`{word}`: {_POSITIONS[word]}."),
    ("features", "a feature", lambda: FEATURES, _feature),
    (
        "written values",
        "a written value",
        value_words,
        lambda word: _with_settings(told_value(word), settings_of(word)),
    ),
    (
        "calls",
        "a word that is called",
        lambda: CALLED,
        lambda word: _with_settings(
            f"`{word}(…)`, {_article(CALLED[word].kind)}: {CALLED[word].says}.", settings_of(word)
        ),
    ),
    ("architectures", "an architecture", lambda: ARCHITECTURES, _architecture),
    ("methods that find circuits", "a method that finds circuits", lambda: METHODS, _method),
    ("functions of metrics and scores", "a function", lambda: FUNCTIONS, _function),
    ("ceilings", "a ceiling", lambda: CEILINGS, _ceiling),
    ("counts", "a number of the network", lambda: COUNTS, lambda word: f"`{word}`: {told_count(word, None)}."),
    ("keywords", "a keyword", lambda: KEYWORDS, keyword_page),
    ("settings", "a setting", _setting_names, _setting),
)


#: The kinds of words that packages add.
_ADDED: tuple[Words[Any], ...] = (MEASURES, FEATURES, VALUES, ARCHITECTURES)


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def explained(word: str) -> str:
    """The pages of all that a word is, one after the other; empty for what is no word of the language. Raises SpecError for a word of a
    package that has two meanings (E785), or cannot be loaded (E786)."""
    packages = [words.package(word) for words in _ADDED if word in words.added and words[word]]
    parts = [page] if (page := of_word(word)) else []
    if word in READINGS and READINGS[word].options:
        parts[-1] += "\n".join(["", *map(_line, READINGS[word].options.items()), ""])
    parts += [f"# `{word}`: {what}\n\n{page(word)}\n" for _, what, words, page in _KINDS if word in words()]
    if packages:
        parts.append(f"The package {' and '.join(dict.fromkeys(packages))} adds `{word}`.\n")
    return "\n".join(parts)


def words_by_kind() -> dict[str, tuple[str, ...]]:
    """Every word of the language, by what it is."""
    first = {"measures": MEASURES, "readings at places": READINGS, "verdicts and findings": FINDINGS}
    return {kind: tuple(words) for kind, words in first.items()} | {
        kind: tuple(words()) for kind, _, words, _ in _KINDS
    }


__all__ = ["explained", "words_by_kind"]
