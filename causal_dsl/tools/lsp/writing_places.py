"""Where in a spec the cursor is: read from the tokens before it, for what is being written cannot be parsed yet."""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.syntax.cut import cut_declarations
from causal_dsl.syntax.hints import DECLARATIONS, OPENING
from causal_dsl.syntax.transform import Lexeme
from causal_dsl.tools.lsp.parsed_texts import ParsedText

#: Declarations that may end without a block, each with the token behind which it says something.
_WHOLE = {
    **dict.fromkeys(("DOMAIN", "TABLE", "NETWORK", "METRIC", "CIRCUIT"), "EQUAL"),
    "FROM": "IMPORT",
}
#: Tokens that a whole expression ends with.
_ENDS = ("NAME", "NUMBER", "STRING", "TRUE", "FALSE", "PERCENT", "NATS", "BITS", "RPAR", "RSQB", "RBRACE")
_CLOSE = {close: start for start, close in OPENING.items()}


@dataclass(frozen=True)
class Bracket:
    """An open bracket before the cursor: its token, the path before it, and the tokens in it since the last comma."""

    token: Lexeme
    path: tuple[str, ...]
    #: whether the path stands behind `via`, `~`, `@` or `=`
    behind: str
    inside: tuple[Lexeme, ...]

    @property
    def called(self) -> str:
        return self.path[-1] if self.path else ""


@dataclass(frozen=True)
class Writing:
    """The text before the cursor, but for the word that is being written.

    ``kind`` and ``name`` are of the declaration that it is in (empty outside of any), ``in_block`` whether it is between its
    braces; ``brackets`` are the open ones of it, the innermost last; ``last`` are the tokens before, the nearest last.
    ``text``: what was written of a string so far, None outside of strings.
    """

    word: str
    start: int
    kind: str
    name: str
    in_block: bool
    header: tuple[Lexeme, ...]
    brackets: tuple[Bracket, ...]
    last: tuple[Lexeme, ...]
    text: str | None = None
    #: whether the cursor is on a line below that of the token before it
    fresh: bool = False

    def before(self, back: int = 1) -> str:
        """The kind of the token so many before the cursor."""
        return self.last[-back].type if len(self.last) >= back else ""

    @property
    def done(self) -> bool:
        """Whether the cursor is on a line of its own behind a declaration without a block, which is whole as it stands."""
        if self.in_block or self.brackets or not self.fresh or self.before() not in _ENDS:
            return False
        return any(one.type == _WHOLE.get(self.kind) for one in self.header)

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the path that a `.` before the cursor goes on with, without what stands in its brackets."""
        return path_before(self.last[:-1]) if self.before() == "DOT" else ()

    @property
    def bracket(self) -> Bracket | None:
        return self.brackets[-1] if self.brackets else None


def writing_at(parsed: ParsedText, offset: int) -> Writing:
    """Where an offset of a text is."""
    tokens = list(parsed.before(offset))
    word, start = "", offset
    current = parsed.token_at(offset)
    inside: str | None = None
    if current is not None and current.type == "STRING" and current.span.start < offset < current.span.end:
        inside, start = parsed.text[current.span.start + 1 : offset], current.span.start + 1
    elif tokens and tokens[-1].span.end == offset and (tokens[-1].type == "NAME" or tokens[-1].text.isidentifier()):
        word, start = tokens[-1].text, tokens[-1].span.start
        tokens.pop()
    elif tokens and tokens[-1].type == "STRING" and tokens[-1].span.end == offset and _open(tokens[-1]):
        inside, start = tokens[-1].span.text[1:], tokens[-1].span.start + 1
        tokens.pop()
    elif current is not None and current.span.start < offset < current.span.end and current.text.isidentifier():
        word, start = parsed.text[current.span.start : offset], current.span.start
    cut = [declaration for declaration, _ in cut_declarations(tokens)]
    declaration = cut[-1] if cut else []
    kind = declaration[0].type if declaration and declaration[0].type in DECLARATIONS else ""
    brackets = open_brackets(declaration)
    in_block = any(one.token.type == "LBRACE" and _is_block(declaration, one.token) for one in brackets)
    opening = next((i for i, one in enumerate(declaration) if one.type == "LBRACE"), len(declaration))
    if kind and not brackets and any(_is_block(declaration, one) for one in declaration if one.type == "LBRACE"):
        kind = ""  # its block is closed
    name = declaration[1].text if kind and len(declaration) > 1 else ""
    own = tuple(one for one in brackets if not _is_block(declaration, one.token))
    header = tuple(declaration[:opening])
    fresh = bool(tokens) and "\n" in parsed.text[tokens[-1].span.end : start]
    return Writing(word, start, kind, name, in_block, header, own, tuple(declaration[-8:]), inside, fresh)


def _open(token: Lexeme) -> bool:
    """Whether a string has no closing quote."""
    text = token.span.text
    return len(text) < 2 or not text.endswith('"')


def _is_block(declaration: Sequence[Lexeme], brace: Lexeme) -> bool:
    """Whether a brace begins the block of a declaration: not that of a set of values, nor of a table."""
    blocks = ("CAUSAL", "ALIGN", "CIRCUIT", "FIT", "TEST")
    first = next((one for one in declaration if one.type == "LBRACE"), None)
    return bool(declaration) and declaration[0].type in blocks and first is not None and first.span == brace.span


def open_brackets(tokens: Sequence[Lexeme]) -> tuple[Bracket, ...]:
    """The brackets that are open behind tokens, the innermost last."""
    stack: list[int] = []
    for number, token in enumerate(tokens):
        if token.type in OPENING:
            stack.append(number)
        elif token.type in _CLOSE and stack and tokens[stack[-1]].type == _CLOSE[token.type]:
            stack.pop()
    found = []
    for number in stack:
        path = path_before(tokens[:number])
        at = number - 1
        depth = 0
        while at >= 0 and (depth or tokens[at].type in ("NAME", "DOT", "RPAR", "RSQB")):
            depth += (tokens[at].type in _CLOSE) - (tokens[at].type in OPENING)
            at -= 1
        behind = tokens[at].type if at >= 0 else ""
        found.append(Bracket(tokens[number], path, behind, _since_comma(tokens[number + 1 :])))
    return tuple(found)


def _since_comma(tokens: Sequence[Lexeme]) -> tuple[Lexeme, ...]:
    depth, start = 0, 0
    for number, token in enumerate(tokens):
        depth += (token.type in OPENING) - (token.type in _CLOSE)
        if token.type == "COMMA" and depth == 0:
            start = number + 1
    return tuple(tokens[start:])


def path_before(tokens: Sequence[Lexeme]) -> tuple[str, ...]:
    """The names of the path that tokens end with: `layer[3].head[1]` is `layer`, `head`."""
    names: list[str] = []
    at, expected = len(tokens) - 1, True
    while at >= 0:
        token = tokens[at]
        if token.type in ("RSQB", "RPAR") and expected:
            depth = 1
            while depth and at > 0:
                at -= 1
                depth += (tokens[at].type in _CLOSE) - (tokens[at].type in OPENING)
            at -= 1
        elif expected and token.text.isidentifier():
            names.append(token.text)
            at, expected = at - 1, False
        elif not expected and token.type == "DOT":
            at, expected = at - 1, True
        else:
            break
    return tuple(reversed(names))


__all__ = ["Bracket", "Writing", "writing_at"]
