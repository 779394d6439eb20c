"""From text to tree, with recovery: one run tells of every independent fault.

Every keyword that begins a declaration is reserved, so the tokens are cut there and each declaration is
parsed by itself. Where one fails that has a block, the statements of the block are parsed one by one.
A fault costs the statement it stands in, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Source, Span, nearest
from causal_dsl.syntax import tree
from causal_dsl.syntax.cut import (
    CONTINUES,
    DEEPEST_BRACKETS,
    DEEPEST_TREE,
    closing_brace,
    cut_declarations,
    declared_names,
    deep_node,
    end_token,
    resume,
    statement_end,
    too_deep,
)
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.hints import DECLARATIONS, HOME, Stuck, explain
from causal_dsl.syntax.lex import LONGEST_TEXT, Lexemes, is_binary, scan
from causal_dsl.syntax.transform import Lexeme

#: Syntax faults in one file after which the rest is not told.
MOST_FAULTS = 60

#: How many tokens are looked through for whole statements before a faulty one on the same line.
_LONGEST_LOOK = 100
_BLOCKS = {
    "CAUSAL": "causal_body",
    "ALIGN": "align_body",
    "CIRCUIT": "circuit_body",
    "FIT": "fit_body",
    "TEST": "test_body",
}


def parse(source: Source, diagnostics: Diagnostics) -> tree.Tree:
    """The tree of a text: of all of it, or of what could be read, faults reported.

    Never raises, whatever the text. A tree is whole exactly if no error was reported.
    """
    whole = Span(source, 0, len(source.text))
    refused = _refused(source)
    if refused is not None:
        diagnostics.add(refused)
        return tree.Tree((), span=whole)
    scanned = scan(source, diagnostics)
    parser = _Parser(diagnostics, scanned.tokens, scanned.faults)
    declarations = tuple(parser.run())
    if not scanned.tokens and not scanned.faults:
        diagnostics.add(_empty(source))
    return tree.Tree(declarations, tuple(scanned.comments), broken=tuple(parser.broken), span=whole)


def find_faults(source: Source, diagnostics: Diagnostics, sound: set[str]) -> Lexemes:
    """The tokens of a text and the faults that :func:`parse` reports, without the tree.

    ``sound`` holds the texts of declarations without a fault, which are not parsed again; those that are found are added.
    """
    refused = _refused(source)
    if refused is not None:
        diagnostics.add(refused)
        return Lexemes()
    scanned = scan(source, diagnostics)
    parser = _Parser(diagnostics, scanned.tokens, scanned.faults)
    for tokens, after in cut_declarations(scanned.tokens):
        if parser.told > MOST_FAULTS:
            break
        text = source.text[tokens[0].span.start : tokens[-1].span.end]
        if text in sound and not parser.already(tokens):
            continue
        told = parser.told
        for _ in parser.declaration(tokens, after):
            pass
        if parser.told == told and not parser.already(tokens):
            sound.add(text)
    if not scanned.tokens and not scanned.faults:
        diagnostics.add(_empty(source))
    return scanned


def _empty(source: Source) -> Diagnostic:
    help = "`causal-dsl explain E113` shows a first spec"
    return Diagnostic("E113", "nothing is declared here", Span(source, 0, 0), help=help)


def _refused(source: Source) -> Diagnostic | None:
    if len(source.text) > LONGEST_TEXT:
        return Diagnostic(
            "E110",
            "this file is too large for a spec",
            Span(source, 0, 0),
            notes=(f"it has {len(source.text):,} characters; at most {LONGEST_TEXT:,} are read",),
            help='keep long lists of values in a file of their own: `domain Name = lines("names.txt")`',
        )
    junk = is_binary(source.text)
    if junk is not None:
        return Diagnostic("E115", "this is not a text", Span(source, junk, junk + 1), help="a spec is UTF-8 text")
    return None


@dataclass(frozen=True)
class _Failure:
    at: int
    accepts: frozenset[str]


class _Parser:
    def __init__(self, diagnostics: Diagnostics, tokens: list[Lexeme], faults: list[int]):
        self.diagnostics = diagnostics
        self.tokens = tokens
        self.faults = set(faults)  # offsets of what the scanner reported
        self.told = 0
        self.broken: list[str] = []

    def run(self) -> Iterator[tree.AnyDeclaration]:
        for tokens, after in cut_declarations(self.tokens):
            if self.told > MOST_FAULTS:
                return
            yield from self.declaration(tokens, after)

    # ── one declaration ──

    def declaration(self, tokens: list[Lexeme], after: Lexeme | None) -> Iterator[tree.AnyDeclaration]:
        """The declarations that can be read of the tokens from one declaration keyword to the next (``after``)."""
        if tokens[0].type not in DECLARATIONS:
            yield from self.stray(tokens, after)
            return
        parsed = self.attempt(tokens, "declaration")
        if not isinstance(parsed, _Failure):
            yield _with_docs(parsed, tokens)
            return
        if tokens[0].type in _BLOCKS:
            yield from self.block(tokens, after)
            return
        if "$END" in parsed.accepts and parsed.at < len(tokens) and tokens[parsed.at].first:
            yield from self.declaration(tokens[: parsed.at], None)
            yield from self.stray(tokens[parsed.at :], after)
            return
        self.lose(tokens[1:2])
        self.stuck(Stuck(tokens, parsed.at, parsed.accepts, "", after))

    def block(self, tokens: list[Lexeme], after: Lexeme | None) -> Iterator[tree.AnyDeclaration]:
        """A declaration with braces in which something is wrong."""
        inside = tokens[0].text
        opening = next((i for i, token in enumerate(tokens) if token.type == "LBRACE"), None)
        if opening is None:
            failure = self.attempt(tokens, "declaration")
            assert isinstance(failure, _Failure)
            self.lose(tokens[1:2])
            self.stuck(Stuck(tokens, failure.at, failure.accepts, "", after))
            return
        closing = closing_brace(tokens, opening)
        end = len(tokens) if closing is None else closing
        before = self.told
        brace = tokens[opening].span
        head = tokens[: opening + 1]
        header = self.attempt([*head, Lexeme("RBRACE", "}", Span(brace.source, brace.end, brace.end))], "declaration")
        if isinstance(header, _Failure):
            self.lose(tokens[1:2])
            self.stuck(Stuck(head, header.at, header.accepts, "", tokens[end] if end < len(tokens) else None))
        members = tuple(self.members(tokens[opening + 1 : end], _BLOCKS[tokens[0].type], inside, closing is None))
        if closing is None and self.told == before and not self.already(tokens):
            title = f"this `{{` of `{' '.join(token.text for token in tokens[:2])}` is never closed"
            where = after.span if after else Span(brace.source, tokens[-1].span.end, tokens[-1].span.end)
            self.tell(
                Diagnostic("E102", title, brace, others=((where, "`}` is missing before here"),), help="write `}`")
            )
        if not isinstance(header, _Failure):
            yield replace(header, members=members, span=tokens[0].span.to(tokens[end if closing else -1].span))
        if closing is not None and closing + 1 < len(tokens):
            ended = (tokens[closing].span, f"`{' '.join(token.text for token in tokens[:2])}` ends here")
            yield from self.stray(tokens[closing + 1 :], after, ended)

    def members(self, tokens: list[Lexeme], start: str, inside: str, unclosed: bool) -> Iterator[Any]:
        """The statements of a block, each parsed by itself."""
        at = 0
        while at < len(tokens) and self.told <= MOST_FAULTS:
            end = statement_end(tokens, at)
            statement = tokens[at:end]
            parsed = self.attempt(statement, start)
            if not isinstance(parsed, _Failure):
                for member in parsed:
                    yield _with_doc(member, statement)
                at = end
                continue
            # A fault inside an unclosed bracket shows at the next statement: go on from there.
            following_at = resume(tokens, at + max(1, parsed.at))
            statement = tokens[at : max(end, following_at)]
            if unclosed and statement and following_at == len(tokens) and statement[-1].type == "RBRACE":
                statement = statement[:-1] or statement
            if parsed.at > 0 and tokens[at + parsed.at - 1 : at + parsed.at] and parsed.at < len(statement):
                yield from self.whole_ones(statement[: parsed.at], start)
            self.lose(declared_names(statement))
            following = tokens[following_at] if following_at < len(tokens) else None
            self.stuck(Stuck(statement, min(parsed.at, len(statement)), parsed.accepts, inside, following))
            at = max(following_at, at + 1)

    def whole_ones(self, tokens: list[Lexeme], start: str) -> Iterator[Any]:
        """Statements that are whole before the faulty one, where several share a line."""
        for cut in range(len(tokens) - 1, 0, -1):
            if tokens[cut].type in ("NAME", *HOME) and tokens[cut - 1].type not in CONTINUES:
                parsed = self.attempt(tokens[:cut], start)
                if not isinstance(parsed, _Failure):
                    yield from (_with_doc(member, tokens) for member in parsed)
                    return
            if len(tokens) - cut > _LONGEST_LOOK:
                return

    def stray(
        self, tokens: list[Lexeme], after: Lexeme | None, ended: tuple[Span, str] | None = None
    ) -> Iterator[tree.AnyDeclaration]:
        """Tokens that begin with no declaration keyword, behind a block that has ended."""
        first = tokens[0]
        keywords = [text for text, terminal in load_grammar().keywords.items() if terminal in DECLARATIONS]
        meant = nearest(first.text, keywords) if first.type == "NAME" else None
        if meant is not None and len(tokens) > 1 and tokens[1].type in ("NAME", "STRING"):
            self.tell(
                Diagnostic(
                    "E105", f"no declaration begins with `{first.text}`", first.span, help=f"did you mean `{meant}`?"
                )
            )
            kind = load_grammar().keywords[meant]
            yield from self.declaration([replace(first, type=kind, text=meant), *tokens[1:]], after)
            return
        self.lose(declared_names(tokens))
        if not self.already(tokens):
            fault = self.outside(tokens, after)
            self.tell(replace(fault, others=(*fault.others, ended)) if ended else fault)

    def outside(self, tokens: list[Lexeme], after: Lexeme | None) -> Diagnostic:
        """The fault of tokens that stand outside of any declaration."""
        first = tokens[0]
        second = tokens[1].type if len(tokens) > 1 else ""
        if first.type == "NAME" and second in ("DEFINE", "TILDE", "AT"):
            home = {"DEFINE": "a `causal` block", "TILDE": "a `causal` or `test` block", "AT": "an `align` block"}[
                second
            ]
            title = f"`{first.text}` is outside any block"
            return Diagnostic("E112", title, first.span, help=f"it belongs inside {home}")
        if first.type == "NAME" and second == "EQUAL":
            help = (
                f"say what it names: `domain {first.text} = …`, `network {first.text} = …`, `metric {first.text} = …`"
            )
            return Diagnostic("E101", f"no declaration begins with `{first.text}`", first.span, help=help)
        return explain(Stuck(tokens, 0, frozenset((*DECLARATIONS, "$END")), "", after))

    # ── parsing and telling ──

    def attempt(self, tokens: list[Lexeme], start: str) -> Any:
        """The node that the tokens are, or a :class:`_Failure`. Too deep a nesting is reported, and what holds it left out."""
        deep = too_deep(tokens)
        if deep is not None:
            return _Failure(deep, frozenset(("DEEP",)))
        parsed, at = load_grammar().drive([*tokens, end_token(tokens)], start)
        if at <= len(tokens):
            return _Failure(at, self.acceptable(tokens[:at], start))
        deep = deep_node(parsed, tokens)
        return parsed if deep is None else _Failure(deep, frozenset(("DEEP",)))

    def acceptable(self, tokens: list[Lexeme], start: str) -> frozenset[str]:
        """The terminals that could follow. Fed anew, for a failed token may have reduced too much already."""
        interactive = load_grammar().tables.parse_interactive(None, start=start)
        for token in tokens:
            interactive.feed_token(token)  # type: ignore[arg-type]
        return frozenset(interactive.accepts())

    def stuck(self, stuck: Stuck) -> None:
        if "DEEP" in stuck.accepts:
            self.tell(
                Diagnostic(
                    "E109",
                    "this is nested too deeply",
                    stuck.span,
                    notes=(f"at most {DEEPEST_BRACKETS} brackets, and {DEEPEST_TREE} operators in a row",),
                    help="give parts of it names: a mechanism or a `metric` of their own, or a table of values",
                )
            )
        elif not self.already(stuck.tokens):
            self.tell(explain(stuck))

    def already(self, tokens: list[Lexeme]) -> bool:
        """Whether the scanner has reported something within these tokens: what follows from it is not told."""
        if not self.faults or not tokens:
            return False
        start, end = tokens[0].span.start, tokens[-1].span.end
        return any(start <= fault <= end for fault in self.faults)

    def tell(self, diagnostic: Diagnostic) -> None:
        self.told += 1
        if self.told <= MOST_FAULTS:
            self.diagnostics.add(diagnostic)
        elif self.told == MOST_FAULTS + 1:
            self.diagnostics.report("E110", "there are more faults than can be reported at once", diagnostic.span)

    def lose(self, tokens: list[Lexeme]) -> None:
        """Remember the names that a faulty declaration would have declared."""
        self.broken += [token.text for token in tokens if token.type == "NAME"]


# ── documentation ───────────────────────────────────────────────────────────────────────────────


def _with_docs(declaration: Any, tokens: list[Lexeme]) -> Any:
    if isinstance(declaration, tree.CircuitDecl):
        return replace(declaration, members=tuple(_with_doc(member, tokens) for member in declaration.members))
    return declaration


def _with_doc(member: Any, tokens: list[Lexeme]) -> Any:
    """An edge with the comment above it: it begins with an expression, which has no place for one."""
    if not isinstance(member, tree.Edge):
        return member
    doc = next((token.doc for token in tokens if token.span.start == member.span.start), "")
    return replace(member, doc=doc) if doc else member
