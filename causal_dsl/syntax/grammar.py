"""The compiled grammar: parse tables and terminals, made once a process from ``grammar/causal.lark``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from lark import Lark

from causal_dsl.resources import resource
from causal_dsl.syntax.transform import BuildTree

#: What can be parsed by itself. The bodies are there for recovery: members around a fault are parsed alone.
STARTS = ("start", "declaration", "causal_body", "align_body", "circuit_body", "fit_body", "test_body")


@dataclass(frozen=True)
class Grammar:
    """``tables`` parses tokens; ``keywords`` and ``symbols`` give the terminal of a word and of a sign.

    ``scanner`` matches the next token at a position: its ``lastgroup`` is the terminal, or ``SYMBOL``.
    """

    tables: Lark
    keywords: dict[str, str]
    symbols: dict[str, str]
    scanner: re.Pattern[str]


@cache
def load_grammar() -> Grammar:
    """Compile the grammar (about 0.15 s the first time, nothing afterwards)."""
    tables = Lark(
        resource("grammar", "causal.lark").read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        start=list(STARTS),
        keep_all_tokens=True,
        maybe_placeholders=True,
        transformer=BuildTree(),
    )
    keywords, symbols, patterns = {}, {}, []
    for terminal in tables.terminals:
        if terminal.pattern.type == "re":
            patterns.append(f"(?P<{terminal.name}>{terminal.pattern.value})")
        elif terminal.pattern.value.isalpha():
            keywords[terminal.pattern.value] = terminal.name
        else:
            symbols[terminal.pattern.value] = terminal.name
    signs = "|".join(re.escape(sign) for sign in sorted(symbols, key=len, reverse=True))
    scanner = re.compile("|".join([*patterns, f"(?P<SYMBOL>{signs})"]))
    return Grammar(tables, keywords, symbols, scanner)
