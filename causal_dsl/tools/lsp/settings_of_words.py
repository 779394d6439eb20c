"""The settings of all that can be called in a spec, and what each word says of itself: from the records of the language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from causal_dsl.diagnostics import SpecError
from causal_dsl.program.counts import COUNTS
from causal_dsl.program.read_settings import wanted
from causal_dsl.program.zoo_entries import catalogue
from causal_dsl.tools.lsp.spec_summary import NetworkSummary
from causal_dsl.vocabulary.called_words import CALLED, DRAW, FITTING
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values import VALUES
from causal_dsl.vocabulary.values import words as value_words

#: A record of a word.
Entry = TypeVar("Entry")


def settings_of(word: str, through: bool = False) -> Mapping[str, Setting]:
    """The settings of a word that is called; empty where it is none. ``through``: it stands behind `via`."""
    if through:
        if word in CALLED and CALLED[word].kind == "encoding":
            return CALLED[word].settings
        feature = _record(FEATURES, word)
        return {} if feature is None else {**feature.settings, **FITTING}
    if word in CALLED:
        return CALLED[word].settings
    if word in METHODS:
        return METHODS[word].settings
    value = _record(VALUES, word) if word in value_words() else None
    if value is not None:
        return value.settings
    return settings_of(word, through=True) if word in FEATURES else {}


def draw_settings() -> Mapping[str, Setting]:
    """The settings of a draw of a test."""
    return DRAW


def _record(among: Mapping[str, Entry], word: str) -> Entry | None:
    try:
        return among[word]
    except (KeyError, SpecError):  # a word of a package that cannot be loaded: `check` tells
        return None


def told_setting(name: str, setting: Setting) -> str:
    """One setting in a line."""
    said = f"`{name}`: {wanted(setting)}"
    if setting.required:
        return f"{said}; required"
    default = str(setting.default).lower() if isinstance(setting.default, bool) else setting.default
    if default in (None, ""):
        return said
    shown = f'"{default}"' if isinstance(default, str) and not default.strip() else default
    return f"{said}; {shown} where it is not given"


def told_feature(word: str) -> str:
    """The meaning of a word behind `via`; empty where it is none."""
    feature = _record(FEATURES, word) if word in FEATURES else None
    if feature is None:
        return ""
    paper = f" ({feature.paper})" if feature.paper else ""
    meaning = f"`via {word}`: the variable is {feature.meaning}{paper}."
    if not feature.meaning:
        meaning = f"`via {word}`: a feature whose record does not say what the variable is{paper}."
    fitted = "it is fitted on counterfactual labels" if feature.trained else ""
    return "\n\n".join(part for part in (meaning, fitted) if part)


def told_value(word: str) -> str:
    """The meaning of a word that can be written at a site; empty where it is none."""
    value = _record(VALUES, word) if word in value_words() else None
    return "" if value is None else f"{value.forms}: {value.meaning}."


def told_component(word: str) -> str:
    """The meaning of a site; empty where it is none."""
    return f"`{word}`: {COMPONENTS[word].meaning}." if word in COMPONENTS else ""


def told_count(word: str, network: NetworkSummary | None) -> str:
    """The meaning of `layers` and `heads`, and in a network that is known, their number; empty for another word."""
    if word not in COUNTS:
        return ""
    count = getattr(network, word, None)
    return f"the number of {word} of the network" + (f": {count} in `{network.name}`" if count and network else "")


def told_readout(word: str) -> str:
    """The description of a site at which an answer is read; empty where it is none."""
    return f"`{word}`: {CALLED[word].says}." if word in CALLED and CALLED[word].kind == "read-out" else ""


def told_zoo(name: str) -> str:
    """The description of a network of the zoo: its task, its size, and how often it is right; empty where there is none."""
    entry = catalogue().get(name)
    if entry is None:
        return ""
    right = "" if entry.accuracy is None else f"  \naccuracy {entry.accuracy:.2%} of {entry.over}"
    comes = "" if entry.ships else f"; fetched once, {entry.fetch['bytes'] / 1e6:,.0f} MB"
    return f'`zoo("{name}")`: {entry.task}  \n{entry.parameters:,} parameters{comes}{right}'


def told_method(word: str) -> str:
    """How components are scored by a method; empty where it is none."""
    return f"`method={word}`: {METHODS[word].says}." if word in METHODS else ""


def told_reading(word: str) -> str:
    """How a reading is written, in a line; empty where it is none."""
    return f"`{READINGS[word].written} @ {READINGS[word].example}`" if word in READINGS else ""


__all__ = [
    "draw_settings",
    "settings_of",
    "told_component",
    "told_count",
    "told_feature",
    "told_method",
    "told_reading",
    "told_readout",
    "told_setting",
    "told_value",
    "told_zoo",
]
