"""Specs in Pygments, and so in Sphinx, MkDocs, Jupyter and LaTeX: the language is called `causal`."""

from __future__ import annotations

from collections.abc import Iterator

from pygments.lexer import Lexer
from pygments.token import (
    Comment,
    Error,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Whitespace,
    _TokenType,
)

from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.tools.word_classes import class_of

_TOKENS = {
    "declaration": Keyword.Declaration,
    "statement": Keyword,
    "joining": Operator.Word,
    "constant": Keyword.Constant,
    "unit": Keyword.Type,
    "bracket": Punctuation,
    "separator": Punctuation,
    "operator": Operator,
    "name": Name,
    "number": Number,
    "string": String.Double,
    "comment": Comment.Single,
}


class CausalLexer(Lexer):
    """Cuts a spec as the language itself does."""

    name = "causal"
    aliases = ["causal", "causal-dsl"]  # noqa: RUF012 - read by Pygments
    filenames = ["*.causal"]  # noqa: RUF012
    url = ""

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """The tokens of a text, with their offsets; what is none is an error of one character."""
        grammar = load_grammar()
        declared = False  # the token before begins a declaration, whose name follows
        at = 0
        while at < len(text):
            found = grammar.scanner.match(text, at)
            if found is None:
                yield at, Error, text[at]
                at += 1
                continue
            kind, word = found.lastgroup or "", found[0]
            if kind == "SPACE":
                yield at, Whitespace, word
                at = found.end()
                continue
            terminal = grammar.symbols[word] if kind == "SYMBOL" else kind
            terminal = grammar.keywords.get(word, terminal) if kind == "NAME" else terminal
            told = _TOKENS[class_of(terminal)]
            yield at, Name.Class if declared and terminal == "NAME" else told, word
            declared = told is Keyword.Declaration and word not in ("from", "import")
            at = found.end()


__all__ = ["CausalLexer"]
