"""From text to tokens and comments; what is not a token is reported here, and replaced by what was meant.

Signs of other languages (``&&``, ``;``, ``'…'``, ``//``) are known, so that one slip costs one message and
the rest of the declaration is still read.
"""

from __future__ import annotations

import re
from dataclasses import field

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Source, Span
from causal_dsl.syntax import tree
from causal_dsl.syntax.grammar import Grammar, load_grammar
from causal_dsl.syntax.transform import ESCAPES, Lexeme

#: Longer texts are refused: values by the thousand belong in a file of their own.
LONGEST_TEXT = 1_000_000
#: Faults in one text after which the rest is not told.
MOST_FAULTS = 40
#: Whole numbers are held in 64 bits.
LONGEST_NUMBER = 18


@dataclass(frozen=True)
class Foreign:
    """A sign of another language: what is wrong, what to write, and the token that was meant."""

    title: str
    help: str
    meant: str = ""


_QUOTE = "a string is written in double quotes"
FOREIGN = {
    ";": Foreign("there are no semicolons", "leave it out: a statement ends where the next begins"),
    "&&": Foreign("`&&` is spelt `and`", "write `and`", "and"),
    "&": Foreign("`&` is spelt `and`", "write `and`", "and"),
    "||": Foreign("`||` is spelt `or`", "write `or`", "or"),
    "|": Foreign("`|` is spelt `or`", "write `or`", "or"),
    "!": Foreign("`!` is spelt `not`", "write `not`", "not"),
    "=<": Foreign("`=<` is written the other way round", "write `<=`", "<="),
    "=>": Foreign("`=>` is not a sign of this language", "write `>=` to compare, `->` for what maps or flows to"),
    "<>": Foreign("`<>` is spelt `!=`", "write `!=`", "!="),
    "===": Foreign("`===` is spelt `==`", "write `==`", "=="),
    "!==": Foreign("`!==` is spelt `!=`", "write `!=`", "!="),
    "**": Foreign("there is no power operator", "multiply: `x * x`", "*"),
    "^": Foreign("`^` is not a sign of this language", "write `x != y` for exclusive or, `x * x` for a square"),
    "...": Foreign("`...` has one dot too many", "write `..`, as in `0..9` (its end is included)", ".."),
    "++": Foreign("`++` is not a sign of this language", "write `+ 1`"),
    "-=": Foreign("there is no `-=`", "write `+=` and a minus: `site += -4 * direction`", "+="),
    "*=": Foreign("there is no `*=`", "write `=` to set a value, `+=` to add to it"),
    "?": Foreign("`?` is not a sign of this language", "write `if condition then a else b`"),
    "$": Foreign("`$` is not a sign of this language", "write the name by itself"),
    "≠": Foreign("`≠` is written with two characters", "write `!=`", "!="),
    "≤": Foreign("`≤` is written with two characters", "write `<=`", "<="),
    "≥": Foreign("`≥` is written with two characters", "write `>=`", ">="),
    "→": Foreign("`→` is written with two characters", "write `->`", "->"),
    "←": Foreign("`←` is written with two characters", "write `<-`", "<-"),
    "×": Foreign("`×` is written `*`", "write `*`", "*"),
    "−": Foreign("this minus sign is not the one on the keyboard", "write `-`", "-"),
    "–": Foreign("this is a dash, not a minus sign", "write `-`", "-"),
    "¬": Foreign("`¬` is spelt `not`", "write `not`", "not"),
    "∧": Foreign("`∧` is spelt `and`", "write `and`", "and"),
    "∨": Foreign("`∨` is spelt `or`", "write `or`", "or"),
    "∈": Foreign("`∈` is spelt `in`", "write `in`", "in"),
}
_FOREIGN = re.compile(
    r"(?P<COMMENT>//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?)"
    r"|(?P<TRIPLE>\"\"\"(?:[^\"]|\"(?!\"\"))*(?:\"\"\")?)"
    r"|(?P<QUOTED>'(?:\\.|[^'\\\n])*'|[“”](?:\\.|[^“”\"\\\n])*[“”\"]|‘[^‘’\n]*’)"
    r"|(?P<OPEN>\"(?:\\.|[^\"\\\n])*(?=\n|\\?\Z|\\\n))"
    r"|(?P<NUMBER>[0-9]+(?:\.[0-9]+)?(?!(?:nats|bits)\b)(?:_[0-9_]*|[^\W\d_])\w*)"
    r"|(?P<SIGN>" + "|".join(re.escape(sign) for sign in sorted(FOREIGN, key=len, reverse=True)) + ")"
)
_STARTS = frozenset("/\"'“”‘0123456789" + "".join(sign[0] for sign in FOREIGN))
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass
class Lexemes:
    """All tokens and comments of a text, and the offsets of what was no token."""

    tokens: list[Lexeme] = field(default_factory=list)
    comments: list[tree.Comment] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)


def is_binary(text: str) -> int | None:
    """The offset of the first character that says that this is not a text, or None."""
    found = [m.start() for m in re.finditer(r"[\x00-\x08\x0e-\x1b\x7f\ufffd\ud800-\udfff]", text[:100_000])]
    if found and ("\0" in text or len(found) > max(8, len(text[:100_000]) // 50)):
        return found[0]
    return text.find("\0") if "\0" in text else None


def scan(source: Source, diagnostics: Diagnostics) -> Lexemes:
    """Cut a source into tokens; faults are reported, and a token that was likely meant stands in."""
    return _Scanner(source, diagnostics, load_grammar()).run()


class _Scanner:
    def __init__(self, source: Source, diagnostics: Diagnostics, grammar: Grammar):
        self.source = source
        self.diagnostics = diagnostics
        self.grammar = grammar
        self.out = Lexemes()
        self.first = True  # nothing but space before, on this line
        self.block: list[str] = []  # the comment lines right above

    def run(self) -> Lexemes:
        text, match, foreign_at = self.source.text, self.grammar.scanner.match, _FOREIGN.match
        at, last = 1 if text.startswith("\N{ZERO WIDTH NO-BREAK SPACE}") else 0, len(text)
        while at < last:
            if text[at] in _STARTS and (foreign := foreign_at(text, at)) and self.is_foreign(foreign):
                self.replace(foreign)
                at = foreign.end()
                continue
            found = match(text, at)
            if found is None:
                at = self.skip(at)
                continue
            end, kind = found.end(), found.lastgroup or ""
            if kind == "SPACE":
                if end > at + 1 or text[at] == "\n":
                    self.space(found[0])
            elif kind == "COMMENT":
                self.comment(at, end)
            else:
                self.token(kind, found[0], at, end)
            at = end
        return self.out

    def span(self, start: int, end: int) -> Span:
        return Span(self.source, start, end)

    def space(self, text: str) -> None:
        newlines = text.count("\n")
        self.first = self.first or newlines > 0
        if newlines > 1:
            self.block = []

    def comment(self, start: int, end: int) -> None:
        text = self.source.text[start + 1 : end].rstrip()
        self.out.comments.append(tree.Comment(text, self.first, span=self.span(start, start + 1 + len(text))))
        self.block = [*self.block, text.removeprefix(" ")] if self.first else []

    def token(self, kind: str, text: str, start: int, end: int) -> None:
        span, doc = Span(self.source, start, end), ""
        if kind == "NAME":
            kind = self.grammar.keywords.get(text, kind)
        elif kind == "SYMBOL":
            kind = self.grammar.symbols[text]
        elif kind == "STRING":
            self.check_escapes(text, start)
        elif kind == "NUMBER":
            text = self.checked_number(text, span)
        if self.block:
            doc = "\n".join(self.block) if self.first else ""
            self.block = []
        self.out.tokens.append(Lexeme(kind, text, span, doc, self.first))
        self.first = False

    # ── faults ──

    def report(self, code: str, title: str, span: Span, **more: str) -> None:
        self.out.faults.append(span.start)
        if len(self.out.faults) <= MOST_FAULTS:
            self.diagnostics.report(code, title, span, **more)
        elif len(self.out.faults) == MOST_FAULTS + 1:
            self.diagnostics.report(
                "E110", "there is more that is not part of the language", span, label="the rest is not reported"
            )

    def is_foreign(self, found: re.Match[str]) -> bool:
        """Whether it is a fault: `1e5` looks like a number with letters, `!=` begins with `!`, `"a"` with a quote."""
        if found.lastgroup == "NUMBER":
            number = _NUMBER.match(self.source.text, found.start())
            rest = self.source.text[number.end() : found.end()] if number else found[0]
            return bool(rest) and rest not in self.grammar.keywords
        if found.lastgroup == "SIGN":
            here = self.grammar.scanner.match(self.source.text, found.start())
            return here is None or here.end() < found.end()
        return True

    def replace(self, found: re.Match[str]) -> None:
        """Report a sign of another language, and go on as if the right one stood there."""
        start, end, text = found.start(), found.end(), found[0]
        span = self.span(start, end)
        kind = found.lastgroup
        if kind == "COMMENT":
            first = self.span(start, start + 2)
            self.report("E104", f"`{text[:2]}` does not begin a comment here", first, help="a comment begins with `#`")
        elif kind == "TRIPLE":
            self.report(
                "E103", "a string is written in one pair of quotes", self.span(start, start + 3), help='write `"…"`'
            )
            self.token("STRING", '""', start, end)
        elif kind == "QUOTED":
            self.report("E103", _QUOTE, span, help=f'write `"{text[1:-1]}"`')
            self.token("STRING", '""', start, end)
        elif kind == "OPEN":
            self.report(
                "E103",
                "this string is never closed",
                self.span(start, end),
                label='no `"` before the end of the line',
                help='close it with `"`; a long text is several strings, one after the other',
            )
            self.token("STRING", '""', start, end)
        elif kind == "NUMBER":
            self.bad_number(text, span)
            self.token("NUMBER", "0", start, end)
        else:
            foreign = FOREIGN[text]
            self.report("E104", foreign.title, span, help=foreign.help)
            if foreign.meant:
                meant = foreign.meant
                kind = (self.grammar.keywords | self.grammar.symbols).get(meant, "COMPARE")
                self.out.tokens.append(Lexeme(kind, meant, span, "", self.first))
                self.first = False

    def bad_number(self, text: str, span: Span) -> None:
        plain = text.replace("_", "")
        if plain.isdigit():
            help = f"write `{plain}`"
        elif text[:2].lower() in ("0x", "0b", "0o"):
            help = "write it in decimal"
        else:
            help = "a name begins with a letter; a number is followed by a space, `%`, `nats` or `bits`"
        self.report("E114", f"`{text}` is neither a number nor a name", span, help=help)

    def checked_number(self, text: str, span: Span) -> str:
        if (text.isdigit() and len(text.lstrip("0")) > LONGEST_NUMBER) or (
            not text.isdigit() and float(text) == float("inf")
        ):
            shown = text if len(text) < 30 else text[:27] + "…"
            self.report("E114", f"`{shown}` is too large a number", span, help="numbers are held in 64 bits")
            return "0"
        return text

    def check_escapes(self, text: str, start: int) -> None:
        for escape in re.finditer(r"\\(.)", text[1:-1]) if "\\" in text else ():
            if escape[1] not in ESCAPES:
                at = start + 1 + escape.start()
                self.report(
                    "E103",
                    f"`{escape[0]}` has no meaning in a string",
                    self.span(at, at + 2),
                    help='there are `\\"`, `\\\\`, `\\n`, `\\t` and `\\r`; for a backslash itself write `\\\\`',
                )

    def skip(self, at: int) -> int:
        """Report a run of characters that no token begins with, and return where it ends."""
        text, end = self.source.text, at + 1
        while end < len(text) and text[end] not in _STARTS and self.grammar.scanner.match(text, end) is None:
            end += 1
        run = text[at:end]
        shown = "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in run[:12]) + ("…" if len(run) > 12 else "")
        self.report("E104", f"`{shown}` is not part of the language", self.span(at, end), help="leave it out")
        self.first = False
        return end
