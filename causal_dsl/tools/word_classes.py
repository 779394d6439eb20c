"""The class of each token of the language for a reader, and so its colour: one table for all editors, from the grammar.

``docs/editor_files.py`` writes the TextMate grammar, the Vim syntax file and the Emacs mode from it; the Pygments lexer uses it as
it is.
"""

from __future__ import annotations

from functools import cache

from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.hints import DECLARATIONS

#: Words that join values, words that stand for one, and units of numbers. All other words that begin no declaration say what a
#: statement is.
JOINING = frozenset(("IF", "THEN", "ELSE", "OR", "AND", "NOT", "IN", "DIV", "MOD"))
CONSTANTS = frozenset(("TRUE", "FALSE"))
UNITS = frozenset(("NATS", "BITS", "PERCENT"))
IMPORTS = frozenset(("FROM", "IMPORT"))
BRACKETS = frozenset(("LPAR", "RPAR", "LSQB", "RSQB", "LBRACE", "RBRACE"))
SEPARATORS = frozenset(("COMMA", "DOT", "COLON"))
#: The tokens that no word and no sign is.
OTHERS = {"NAME": "name", "NUMBER": "number", "STRING": "string", "COMMENT": "comment"}


def class_of(terminal: str) -> str:
    """The class of a terminal of the grammar: ``declaration``, ``statement``, ``joining``, ``constant``, ``unit``, ``bracket``,
    ``separator``, ``operator``, ``name``, ``number``, ``string`` or ``comment``."""
    grammar = load_grammar()
    if terminal in OTHERS:
        return OTHERS[terminal]
    for kind, terminals in (
        ("declaration", IMPORTS | frozenset(DECLARATIONS)),
        ("joining", JOINING),
        ("constant", CONSTANTS),
        ("unit", UNITS),
        ("bracket", BRACKETS),
        ("separator", SEPARATORS),
    ):
        if terminal in terminals:
            return kind
    return "statement" if terminal in grammar.keywords.values() else "operator"


@cache
def words_of(kind: str) -> tuple[str, ...]:
    """The words of a class, in the order of the grammar."""
    return tuple(word for word, terminal in load_grammar().keywords.items() if class_of(terminal) == kind)


@cache
def signs_of(kind: str) -> tuple[str, ...]:
    """The signs of a class, the longest first."""
    signs = [sign for sign, terminal in load_grammar().symbols.items() if class_of(terminal) == kind]
    return tuple(sorted(signs, key=lambda sign: (-len(sign), sign)))


@cache
def pattern_of(terminal: str) -> str:
    """The regular expression of a terminal that is none of these, as the grammar writes it."""
    found = {one.name: one.pattern.value for one in load_grammar().tables.terminals if one.pattern.type == "re"}
    return str(found[terminal])


__all__ = ["class_of", "pattern_of", "signs_of", "words_of"]
