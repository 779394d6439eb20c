"""Where declarations and statements begin and end in a row of tokens, and how deep they are nested.

For texts without faults the cuts are exact where keywords make them; in others they are guesses, for recovery only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from causal_dsl.diagnostics import Span
from causal_dsl.syntax.hints import DECLARATIONS, HOME, OPENING
from causal_dsl.syntax.transform import Lexeme

#: How deep brackets may be nested, and how deep the tree of a declaration may be: what walks it may then recurse.
DEEPEST_BRACKETS = 64
DEEPEST_TREE = 128
#: After these a statement goes on.
CONTINUES = frozenset(
    ("COMMA", "TILDE", "DEFINE", "AT", "RARROW", "LARROW", "EQUAL", "PLUS_EQUAL", "COMPARE", "PLUS", "MINUS", "STAR")
    + ("SLASH", "DIV", "MOD", "AND", "OR", "NOT", "IN", "IF", "THEN", "ELSE", "WHERE", "VIA", "DOT", "DOTS", "COLON")
    + ("LPAR", "LSQB", "OUTPUT", "PROMPT", "EXPECT", "REPORT", "DO")
)


def cut_declarations(tokens: list[Lexeme]) -> Iterator[tuple[list[Lexeme], Lexeme | None]]:
    """The tokens of each declaration, and the token that follows it.

    In a text without faults every declaration keyword begins a declaration. In others one may stand
    where a name should: then it is followed by what follows a name. `test` may be the value of a setting, too.
    """
    starts, depth = [0], 0
    for i, token in enumerate(tokens):
        if token.type in DECLARATIONS:
            following = tokens[i + 1].type if i + 1 < len(tokens) else ""
            named = following in ("DEFINE", "TILDE", "AT", "EQUAL", "COLON", "COMMA", "DOT")
            expected = following == ("STRING" if token.type == "FROM" else "NAME")
            value = i > 0 and tokens[i - 1].type == "EQUAL" and following in ("COMMA", "RPAR")
            if expected or (token.first and not value and not (named and depth > 0)):
                depth = 0
                if i > 0:
                    starts.append(i)
        elif token.type == "LBRACE":
            depth += 1
        elif token.type == "RBRACE":
            depth -= 1
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        if start < end:
            yield tokens[start:end], tokens[end] if end < len(tokens) else None


def closing_brace(tokens: list[Lexeme], opening: int) -> int | None:
    """The index of the brace that closes the one at ``opening``."""
    depth = 0
    for i in range(opening, len(tokens)):
        depth += (tokens[i].type == "LBRACE") - (tokens[i].type == "RBRACE")
        if depth == 0:
            return i
    return None


def begins(tokens: list[Lexeme], at: int) -> bool:
    """Whether a statement likely begins here: on a new line, and the last one was not left hanging."""
    token = tokens[at]
    if not token.first:
        return False
    if token.type in HOME:
        return True
    return token.type in ("NAME", *DECLARATIONS) and (at == 0 or tokens[at - 1].type not in CONTINUES)


def resume(tokens: list[Lexeme], start: int) -> int:
    """Where the next statement likely begins, behind a token that did not fit."""
    for i in range(start, len(tokens)):
        if begins(tokens, i) or (i == start + 1 and tokens[i].first and tokens[i].type == "NAME"):
            return i
    return len(tokens)


def statement_end(tokens: list[Lexeme], start: int) -> int:
    """Where the statement that begins at ``start`` likely ends: at the next that begins outside of brackets."""
    depth = 0
    for i in range(start, len(tokens)):
        if i > start and depth <= 0 and begins(tokens, i):
            return i
        depth += (tokens[i].type in OPENING) - (tokens[i].type in OPENING.values())
    return len(tokens)


def declared_names(tokens: list[Lexeme]) -> list[Lexeme]:
    """The names at the head of a statement, before what is said of them."""
    head = []
    for token in tokens:
        if token.type not in ("NAME", "COMMA", "OUTPUT"):
            break
        head.append(token)
    return head


def end_token(tokens: list[Lexeme]) -> Lexeme:
    span = tokens[-1].span
    return Lexeme("$END", "", Span(span.source, span.end, span.end))


# ── depth ───────────────────────────────────────────────────────────────────────────────────────


def too_deep(tokens: list[Lexeme]) -> int | None:
    """The index of the first bracket that is nested too deep."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.type in OPENING) - (token.type in OPENING.values())
        if depth > DEEPEST_BRACKETS:
            return i
    return None


def deep_node(parsed: Any, tokens: list[Lexeme]) -> int | None:
    """The index of the token where a node too deep for recursion begins: long chains of operators make those."""
    if len(tokens) <= DEEPEST_TREE:
        return None
    stack = [(node, 0) for node in (parsed if isinstance(parsed, tuple) else (parsed,))]
    while stack:
        node, depth = stack.pop()
        if depth > DEEPEST_TREE:
            return next((i for i, token in enumerate(tokens) if token.span.end > node.span.start), 0)
        stack.extend((child, depth + 1) for child in node.children())
    return None
