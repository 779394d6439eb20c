"""Changes that a caller makes of a spec without touching its text, as far as its names are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.searches import Scores
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts

#: The tokenizer of a network; None where it has none, or where it is not known without loading. Raises :class:`SpecError`.
Tokenizers = Callable[[NetworkRef], Tokens | None]

#: Of networks that are loaded to be run, why sites of theirs cannot be used.
Refused = Mapping[NetworkKey, Mapping[Site, Diagnostic]]


@dataclass(frozen=True)
class ReadOptions:
    """The changes that a caller makes of a spec without touching its text."""

    trust: bool = False
    #: the folder of another checkpoint for a network, by the id of its declaration
    networks: Mapping[int, Path] = field(default_factory=dict)
    #: facts read from the loaded network, where its file could not tell
    facts: Mapping[NetworkKey, Facts] = field(default_factory=dict)
    #: what each network is called, by the id of its declaration, where not as it is declared
    names: Mapping[int, str] = field(default_factory=dict)
    #: added to the seed of every draw
    seed: int = 0
    #: the tokenizer of a network, where it is known
    tokens: Tokenizers = lambda network: None
    #: the scores of what was discovered, once a network has run
    discovered: Scores = field(default_factory=dict)
