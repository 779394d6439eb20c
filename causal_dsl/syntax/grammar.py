"""The compiled grammar of ``grammar/causal.lark``: parse tables and terminals, once a process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from lark import Lark
from lark.parsers.lalr_analysis import Shift

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.base.resources import resource
from causal_dsl.syntax.parse_tables import parse_tables
from causal_dsl.syntax.transform import BuildTree

#: What can be parsed by itself. The bodies are there for recovery: members around a fault are parsed alone.
STARTS = ("start", "declaration", "causal_body", "align_body", "circuit_body", "fit_body", "test_body")


@dataclass(frozen=True)
class Grammar:
    """``tables`` parses tokens; ``keywords`` and ``symbols`` give the terminal of a word and of a sign.

    ``scanner`` matches the next token at a position: its ``lastgroup`` is the terminal, or ``SYMBOL``. ``actions`` are the
    tables by state and symbol: the state to go to, or the rule to reduce by with its size and what it makes (None: it is its one part).
    """

    tables: Lark
    keywords: dict[str, str]
    symbols: dict[str, str]
    scanner: re.Pattern[str]
    actions: dict[Any, dict[str, Any]]
    begins: dict[str, Any]
    ends: dict[str, Any]

    def drive(self, tokens: Sequence[Any], start: str) -> tuple[Any, int]:
        """The node that tokens (the last one the end) reduce to, and their number; or None, and which of them fits nowhere.

        As lark's own loop over the same tables, which takes one token at a time and twice as long.
        """
        actions, end = self.actions, self.ends[start]
        states, values = [self.begins[start]], list[Any]()
        for at, token in enumerate(tokens):
            kind = token.type
            while True:
                action = actions[states[-1]].get(kind)
                if action is None:
                    return None, at
                if type(action) is not tuple:
                    states.append(action)
                    values.append(token)
                    break
                origin, size, made = action
                if made is None:  # what it stands for is its one part
                    states[-1] = actions[states[-2]][origin]
                else:
                    parts = []
                    if size:
                        parts = values[-size:]
                        del states[-size:], values[-size:]
                    states.append(actions[states[-1]][origin])
                    values.append(made(parts))
                if states[-1] == end and kind == "$END":
                    return values[-1], len(tokens)
        raise ValueError("the last token is the end")


def _single(rule: Any) -> bool:
    """Whether a rule makes nothing of its own, as a sum of one term: in its place stands its one part."""
    parts = rule.expansion
    alone = len(parts) == 1 and not parts[0].is_term and not parts[0].name.startswith("_")
    return alone and rule.options.expand1 and not rule.alias


@cache
def load_grammar() -> Grammar:
    """The grammar, its tables from the cache."""
    tables = parse_tables(resource("grammar", "causal.lark").read_text(encoding="utf-8"), STARTS, BuildTree)
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
    table: Any = tables.parser.parser._parse_table
    callbacks = tables._callbacks
    actions = {
        state: {
            kind: argument
            if action is Shift
            else (argument.origin.name, len(argument.expansion), None if _single(argument) else callbacks[argument])
            for kind, (action, argument) in row.items()
        }
        for state, row in table.states.items()
    }
    return Grammar(tables, keywords, symbols, scanner, actions, table.start_states, table.end_states)
