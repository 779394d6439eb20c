"""The advice on a token that does not fit: (found, what could have stood there) -> a sentence.

The table in :mod:`causal_dsl.syntax.advice` holds what is decided by those two alone; the functions below it look at the tokens
around. All of them get a :class:`Stuck`, and the first that has something to say is heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Span, nearest
from causal_dsl.syntax.advice import ADVICE
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.transform import Lexeme

DECLARATIONS = ("FROM", "DOMAIN", "TABLE", "NETWORK", "METRIC", "CAUSAL", "ALIGN", "CIRCUIT", "FIT", "TEST")
#: Where a statement belongs that begins with a keyword; the word of every block that may hold it is in quotes.
HOME = {
    "DO": "a `test` or a `fit`",
    "EXPECT": "a `test`",
    "REPORT": "a `test`",
    "PROMPT": "an `align`",
    "OUTPUT": "a `causal`",
}
OPENING = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
_SIGNS = {"LPAR": "(", "RPAR": ")", "LSQB": "[", "RSQB": "]", "LBRACE": "{", "RBRACE": "}"}
END = "$END"


@dataclass(frozen=True)
class Stuck:
    """The parser at a token that does not fit. ``accepts`` are the terminals that would."""

    tokens: list[Lexeme]  # of what was parsed: one declaration, or one statement inside its braces
    at: int  # index of the token; len(tokens) for the end
    accepts: frozenset[str]
    inside: str = ""  # "causal", "align", "circuit", "test": the kind of block, or "" outside of any
    after: Lexeme | None = None  # the token that follows the last one

    @property
    def found(self) -> str:
        return self.tokens[self.at].type if self.at < len(self.tokens) else END

    @property
    def text(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    @property
    def span(self) -> Span:
        if self.at < len(self.tokens):
            return self.tokens[self.at].span
        last = self.tokens[-1].span
        return Span(last.source, last.end, last.end)

    def type(self, offset: int) -> str:
        """The type of a token near this one, "" beyond the ends."""
        index = self.at + offset
        return self.tokens[index].type if 0 <= index < len(self.tokens) else ""

    @property
    def opened(self) -> list[Lexeme]:
        """The brackets that are open here, outermost first."""
        stack: list[Lexeme] = []
        for token in self.tokens[: self.at]:
            if token.type in OPENING:
                stack.append(token)
            elif token.type in OPENING.values() and stack:
                stack.pop()
        return stack

    def fault(self, code: str, title: str, **more: object) -> Diagnostic:
        return Diagnostic(code, title, self.span, **more)  # type: ignore[arg-type]


# ── the table ───────────────────────────────────────────────────────────────────────────────────


def from_table(stuck: Stuck) -> Diagnostic | None:
    # Behind a value `@` names the place of a measure: there it does not tell that a variable was to be placed.
    due = stuck.accepts - {"AT"} if "STAR" in stuck.accepts else stuck.accepts
    for found, expected, code, title, help in ADVICE:
        if stuck.text == found and expected in due:
            return stuck.fault(code, title, help=help)
    return None


# ── looking around ──────────────────────────────────────────────────────────────────────────────


def chained(stuck: Stuck) -> Diagnostic | None:
    """``a == b == c``"""
    if stuck.found not in ("COMPARE", "IN") or "AND" not in stuck.accepts or "COMPARE" in stuck.accepts:
        return None
    depth, first = 0, None
    for token in reversed(stuck.tokens[: stuck.at]):
        depth += (token.type in OPENING.values()) - (token.type in OPENING)
        if depth == 0 and token.type in ("COMPARE", "IN"):
            first = token
            break
    return stuck.fault(
        "E108",
        "comparisons do not chain",
        label="a second comparison",
        others=((first.span, "the first one"),) if first else (),
        help="write `a == b and b == c`, or put parentheses around the one that comes first",
    )


def percent(stuck: Stuck) -> Diagnostic | None:
    """``7 % 2``: percent, then something that cannot follow."""
    if stuck.type(-1) == "PERCENT" and stuck.found not in ("NUMBER", "NAME", "LPAR"):
        return None
    for back in (-1, -2):
        if stuck.type(back) == "PERCENT" and (back == -1 or stuck.type(-1) == "NAME"):
            sign = stuck.tokens[stuck.at + back]
            return Diagnostic(
                "E107", "`%` is percent, after a number", sign.span, help="for the remainder write `mod`: `a mod 2`"
            )
    return None


def arrow_in_do(stuck: Stuck) -> Diagnostic | None:
    """``do(left -> source)``: fine so far, but it says no source."""
    if stuck.found not in ("RPAR", "COMMA", END) or "LARROW" not in stuck.accepts:
        return None
    own = takewhile(lambda token: token.type not in ("LPAR", "COMMA"), reversed(stuck.tokens[: stuck.at]))
    arrows = [token for token in own if token.type == "RARROW"]
    if not arrows:
        return None
    return Diagnostic(
        "E107",
        "`->` says where a value flows, not where it is taken from",
        arrows[0].span,
        help="write `left <- source`; one path is `sender -> receiver <- source`",
    )


def two_arrows_missing_target(stuck: Stuck) -> Diagnostic | None:
    """``do(left)``, ``do(left <-)``"""
    if stuck.found in ("RPAR", "COMMA") and {"LARROW", "EQUAL"} <= stuck.accepts:
        return stuck.fault(
            "E101", "`do( )` must say what is done", help="write `left <- source`, `site = 0` or `site += x`"
        )
    return None


def spaced_define(stuck: Stuck) -> Diagnostic | None:
    """``left : = a``"""
    if stuck.text in ("=", "==") and stuck.type(-1) == "COLON":
        return stuck.fault("E107", "`:=` is one sign", help="leave out the space: `left := a == b`")
    return None


_NAMING = ("DEFINE", "TILDE", "AT", "EQUAL", "COLON", "DOT")


def keyword_as_name(stuck: Stuck) -> Diagnostic | None:
    """``test := a == b``"""
    keyword, at, named = stuck.text, stuck.at, stuck.type(1) in _NAMING
    if stuck.type(-1) == "OUTPUT" and stuck.found in ("DEFINE", "TILDE", "COLON"):
        keyword, at = stuck.tokens[stuck.at - 1].text, stuck.at - 1
    elif keyword not in load_grammar().keywords or "NAME" not in stuck.accepts:
        return None
    elif "AND" in stuck.accepts:  # behind a whole value
        if not (named and stuck.tokens[at].first):
            return None
    elif "NUMBER" in stuck.accepts:  # where a value could stand
        closing = (*OPENING.values(), "COMMA", "DOT", "COMPARE", "PLUS", "MINUS", "STAR", "SLASH", "AND", "OR", "")
        if stuck.type(1) not in closing or stuck.found in ("THEN", "ELSE", "AND", "OR", "IN", "WHERE"):
            return None
    return Diagnostic(
        "E106",
        f"`{keyword}` is a word of the language and cannot be a name",
        stuck.tokens[at].span,
        help=f"choose another name, such as `{keyword}_` or `the_{keyword}`",
    )


def misplaced(stuck: Stuck) -> Diagnostic | None:
    """``expect`` inside a causal model"""
    home = HOME.get(stuck.found)
    if home is None or f"`{stuck.inside}`" in home or stuck.type(1) in (*_NAMING, "COMMA"):
        return None
    where = f"does not belong inside `{stuck.inside}`" if stuck.inside else "is outside any block"
    return stuck.fault("E112", f"`{stuck.text}` {where}", help=f"it belongs inside {home} block")


def missing_before(stuck: Stuck) -> Diagnostic | None:
    """``a ~`` and on the next line ``b ~ 0..3``: the name was read as what is missing."""
    hanging = ("TILDE", "DEFINE", "AT", "EQUAL", "LARROW", "RARROW", "COMPARE", "PLUS", "MINUS", "AND", "OR", "COMMA")
    if stuck.found not in ("TILDE", "DEFINE", "AT", "EQUAL") or stuck.at < 2 or stuck.opened:
        return None
    name = stuck.tokens[stuck.at - 1]
    if name.type != "NAME" or not name.first or stuck.type(-2) not in hanging:
        return None
    before = stuck.tokens[stuck.at - 2].span
    what = "a domain" if stuck.type(-2) == "TILDE" else "a site" if stuck.type(-2) == "AT" else "a value"
    place = Span(before.source, before.end, before.end)
    return Diagnostic("E101", f"{what} is missing here before `{name.text}`", place, help=f"write {what}")


def no_domain(stuck: Stuck) -> Diagnostic | None:
    """``domain A = ["a", "b"]``: a value where a domain is due."""
    if "DOTS" not in stuck.accepts or stuck.text == ":":
        return None
    return stuck.fault(
        "E101",
        "this must be a domain, not a value",
        help='write `{"a", "b"}`, `0..9`, `bool`, `real(-1, 1)`, `lines("file.txt")` or the name of a domain',
    )


def left_over(stuck: Stuck) -> Diagnostic | None:
    """``95 percent``: a name behind a whole value begins a statement, which then comes to nothing."""
    if stuck.at < 2 or stuck.type(-1) != "NAME" or stuck.opened or "NUMBER" in stuck.accepts or "AND" in stuck.accepts:
        return None
    name = stuck.tokens[stuck.at - 1]
    ends = ("NUMBER", "STRING", "NAME", "TRUE", "FALSE", "PERCENT", "NATS", "BITS", *OPENING.values())
    if name.first or stuck.type(-2) not in ends or not stuck.accepts & {"TILDE", "DEFINE", "AT", "EQUAL"}:
        return None
    return Diagnostic("E101", f"`{name.text}` does not fit here", name.span, help="expected an operator")


def nearly_keyword(stuck: Stuck) -> Diagnostic | None:
    """``expct iia``, ``a ~ Shape wher …``: the word itself, or the one before it, is nearly a keyword."""
    words = {text for text, terminal in load_grammar().keywords.items() if terminal in stuck.accepts}
    if stuck.found == "NAME":
        if stuck.text.lower() in ("elif", "elseif") and "ELSE" in stuck.accepts:
            return stuck.fault("E105", f"there is no `{stuck.text}`", help="write `else if … then …`")
        if stuck.text == "is" and "COMPARE" in stuck.accepts:
            return stuck.fault("E105", "there is no `is`", help="write `==`")
        close = nearest(stuck.text, words)
        if close is not None:
            return stuck.fault("E105", f"`{stuck.text}` does not fit here", help=f"did you mean `{close}`?")
    if stuck.found == "THEN":
        for token in reversed(stuck.tokens[: stuck.at]):
            if token.type == "NAME" and nearest(token.text, ["if"]):
                return Diagnostic(
                    "E105", f"`{token.text}` is not a word of the language", token.span, help="did you mean `if`?"
                )
    return _word_before(stuck)


_BEGINNING = ("output", "prompt", "expect", "report", "do")
_WITHIN = ("and", "or", "not", "in", "div", "mod", "where", "via", "on", "then", "else", "if", "nats", "bits", "import")


def _word_before(stuck: Stuck) -> Diagnostic | None:
    """``a ~ Shape wher a != b``: it was read as a name, and the next token does not fit."""
    if stuck.type(-1) != "NAME" or stuck.found not in ("NAME", "STRING", "NUMBER", "LPAR", "IF", "NOT", "LBRACE"):
        return None
    before = stuck.tokens[stuck.at - 1]
    if before.text in ("elif", "elseif"):
        return Diagnostic("E105", f"there is no `{before.text}`", before.span, help="write `else if … then …`")
    if before.text == "is":
        return Diagnostic("E105", "there is no `is`", before.span, help="write `==`")
    if before.text in ("f", "r", "b", "rb", "u") and stuck.found == "STRING":
        return Diagnostic("E103", "a string has no prefix", before.span, help='write `"…"`')
    close = nearest(before.text, _BEGINNING if before.first or stuck.at == 1 else _WITHIN)
    if close is None:
        return None
    return Diagnostic(
        "E105", f"`{before.text}` is not a word of the language", before.span, help=f"did you mean `{close}`?"
    )


def dotted_number(stuck: Stuck) -> Diagnostic | None:
    """``.5`` and ``1.``"""
    if stuck.found == "DOT" and stuck.type(1) == "NUMBER" and "NUMBER" in stuck.accepts:
        text = stuck.tokens[stuck.at + 1].text
        return stuck.fault("E114", "a number begins with a digit", help=f"write `0.{text}`")
    if stuck.found == "DOT" and stuck.type(-1) == "NUMBER":
        text = stuck.tokens[stuck.at - 1].text
        return stuck.fault(
            "E114", "a digit follows the dot of a number", help=f"write `{text}.0`, or `{text}..9` for a range"
        )
    return None


def brackets(stuck: Stuck) -> Diagnostic | None:
    """A bracket that is never closed, or closed by another kind."""
    opened = stuck.opened
    if stuck.found in OPENING.values():
        if not opened:
            return stuck.fault("E102", f"this `{stuck.text}` closes nothing", help="leave it out")
        if OPENING[opened[-1].type] != stuck.found:
            return stuck.fault(
                "E102",
                f"`{stuck.text}` cannot close `{opened[-1].text}`",
                others=((opened[-1].span, "opened here"),),
                help=f"write `{_SIGNS[OPENING[opened[-1].type]]}`",
            )
        return None
    if not opened or not (
        stuck.found == END or stuck.tokens[stuck.at].first or stuck.found in ("DEFINE", "TILDE", "AT")
    ):
        return None
    closing = OPENING[opened[-1].type]
    if closing not in stuck.accepts and stuck.found != END:
        return None
    return Diagnostic(
        "E102",
        f"this `{opened[-1].text}` is never closed",
        opened[-1].span,
        others=((stuck.span, f"`{_SIGNS[closing]}` is missing before here"),),
        help=f"write `{_SIGNS[closing]}`",
    )


def comma(stuck: Stuck) -> Diagnostic | None:
    values = ("NAME", "NUMBER", "STRING", "TRUE", "FALSE", "LPAR", "LSQB")
    if stuck.opened and "COMMA" in stuck.accepts and stuck.found in values:
        return stuck.fault("E101", f"`{stuck.text}` does not fit here", help="put a `,` between two values")
    if stuck.found in ("COMMA", *OPENING.values()) and stuck.type(-1) == "COMMA":
        return stuck.fault("E101", "a value is missing after the comma", help="write one, or leave the comma out")
    return None


def nameless_member(stuck: Stuck) -> Diagnostic | None:
    """``circuit c : net { layer[0].head[1] }``: neither a set of a circuit nor an edge."""
    if stuck.inside != "circuit" or stuck.found != END or "RARROW" not in stuck.accepts or stuck.opened:
        return None
    title = "members of a circuit stand in a named set, or are edges"
    if any(token.type == "EQUAL" for token in stuck.tokens):
        return stuck.fault("E101", title, help="put a `,` between two members of a set")
    text = "".join(token.text for token in stuck.tokens).replace(",", ", ")
    edge = "" if ", " in text else f", or an edge `{text} -> receiver`"
    return stuck.fault("E101", title, help=f"write `name = {text}`{edge}")


def declarations(stuck: Stuck) -> Diagnostic | None:
    """``import "x"``, ``network n = "gpt2"``"""
    if stuck.found == "IMPORT" and not stuck.inside:
        return stuck.fault("E101", "an import begins with `from`", help='write `from "file.causal" import name`')
    if stuck.found == "STRING" and stuck.type(-1) == "EQUAL" and stuck.tokens[0].type in ("NETWORK", "TABLE"):
        makers = {"NETWORK": f"hf({stuck.text})`, `zoo({stuck.text})", "TABLE": f"csv({stuck.text}, key=column)"}
        help = f"write `{makers[stuck.tokens[0].type]}`"
        return stuck.fault("E101", "this must be a call, which says what the text names", help=help)
    return None


_LOOKS: tuple[Callable[[Stuck], Diagnostic | None], ...] = (
    chained,
    percent,
    arrow_in_do,
    two_arrows_missing_target,
    spaced_define,
    dotted_number,
    declarations,
    misplaced,
    keyword_as_name,
    missing_before,
    from_table,
    nearly_keyword,
    brackets,
    nameless_member,
    comma,
    left_over,
    no_domain,
)


def explain(stuck: Stuck) -> Diagnostic:
    """The most useful thing that can be said of a token that does not fit."""
    for look in _LOOKS:
        found = look(stuck)
        if found is not None:
            return found
    help = expectation(stuck.accepts)
    if stuck.found == END:
        follows = f" before `{stuck.after.text}`" if stuck.after else ""
        return stuck.fault("E101", f"something is missing here{follows}", help=help)
    shown = stuck.text if len(stuck.text) <= 40 else stuck.text[:37] + "…"
    return stuck.fault("E101", f"{_quoted(shown)} does not fit here", help=help)


def _quoted(text: str) -> str:
    return f"`{text}`" if "`" not in text else text


_VALUE = frozenset(("NUMBER", "STRING", "LSQB", "TRUE", "FALSE", "MINUS", "NOT", "IF", "LPAR", "NAME"))
_OPERATORS = frozenset(
    ("PLUS", "MINUS", "STAR", "SLASH", "DIV", "MOD", "COMPARE", "AND", "OR", "IN", "DOT", "LPAR", "LSQB", "PERCENT")
    + ("NATS", "BITS", "AT")
)


def expectation(accepts: Iterable[str]) -> str:
    """``expected a name or `{` ``: what could have stood there, in a few words."""
    left = set(accepts) - {END}
    said: list[str] = []
    if "NUMBER" in left:
        said.append("a value")
        left -= _VALUE
    elif {"AND", "OR"} <= left or {"STAR", "SLASH"} <= left:
        said.append("an operator")
        left -= _OPERATORS
        left.discard("STRING")
    if "NAME" in left:
        said.append("a name")
    if "STRING" in left:
        said.append("a string in double quotes")
    if set(DECLARATIONS) <= left:
        said.append("a declaration")
        left -= set(DECLARATIONS)
    grammar = load_grammar()
    spelt = {terminal: text for text, terminal in (grammar.keywords | grammar.symbols).items()}
    said += [f"`{spelt[terminal]}`" for terminal in sorted(left) if terminal in spelt]
    if not said or len(said) > 7:
        return ""
    return "expected " + (said[0] if len(said) == 1 else ", ".join(said[:-1]) + " or " + said[-1])
