"""From tree to text: the one layout of a spec, with every comment kept.

Statements that follow each other are aligned in columns; blank lines between groups are kept, at most one;
lines are broken at 100 characters where that is possible. Formatting twice gives the same text, and parsing
the text gives the same tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.syntax import tree
from causal_dsl.syntax.layout import ENDLESS, Doc, Remark, on_one_line, render
from causal_dsl.syntax.phrases import Phrases

WIDTH = 100
#: A first column wider than this does not push the others away.
WIDEST_COLUMN = 30
_BLOCKS = (tree.CausalDecl, tree.AlignDecl, tree.CircuitDecl, tree.FitDecl, tree.TestDecl)
Statement = tree.Declaration


def format_tree(spec: tree.Tree, comments: bool = True) -> str:
    """The text of a spec. ``comments=False`` leaves out comments, but not documentation."""
    kept = spec.comments if comments else ()
    lines = _Formatter().region(spec.declarations, list(kept), 0)
    return "".join(f"{line}\n" for line in lines)


def format_expr(node: tree.Expr | tree.DomainExpr | tree.Slice) -> str:
    """An expression or a domain on one line."""
    phrases = Phrases(lambda text, _: text)
    doc = (
        phrases.domain(node)
        if isinstance(node, tree.Range | tree.Set)
        else phrases.members(node)
        if isinstance(node, tree.ChosenSet)
        else phrases.expr(node)
    )
    return on_one_line(doc)


@dataclass
class _Row:
    """One statement or declaration of a region, and the comments around it."""

    node: Statement
    above: list[tree.Comment] = field(default_factory=list)
    inside: list[tree.Comment] = field(default_factory=list)
    behind: tree.Comment | None = None
    columns: tuple[Doc, ...] = ()
    gap: bool = False  # a blank line before it and what is above it


def _placed(node: tree.Node) -> bool:
    return node.span.end > node.span.start


def _start(comment: tree.Comment) -> int:
    return comment.span.start


class _Formatter:
    """Lays out regions: the whole file, and the inside of every block."""

    def region(self, nodes: Sequence[Statement], comments: list[tree.Comment], indent: int) -> list[str]:
        """The lines of statements with the comments that stand among them."""
        rows, rest = _distribute(nodes, comments)
        for before, row in zip([None, *rows], rows, strict=False):
            row.gap = before is not None and _gap(before, row, indent == 0)
        for row in rows:
            if not isinstance(row.node, _BLOCKS):
                row.columns = self.columns(row)
        widths = _widths(rows, indent)
        lines: list[str] = []
        for row in rows:
            if row.gap:
                lines.append("")
            lines += _above(row, indent)
            own = self.block(row, indent) if isinstance(row.node, _BLOCKS) else _statement(row, widths, indent)
            if row.behind is not None:
                own[-1] += f"  #{row.behind.text}"
            lines += own
        if rest:
            last = rows[-1] if rows else None
            end = last.behind or last.node if last else None
            if end is not None and (_line(rest[0]) - _end_line(end) > 1 or not _placed(end)):
                lines.append("")
            lines += _comment_lines(rest, indent)
        return lines

    def columns(self, row: _Row) -> tuple[Doc, ...]:
        """The columns of a statement, comments in the middle of it included."""
        return _Weaver(row.inside).weave(lambda phrases: phrases.statement(row.node))

    def block(self, row: _Row, indent: int) -> list[str]:
        """A declaration with braces."""
        node = row.node
        members: Sequence[Statement] = node.members  # type: ignore[attr-defined]
        first = next((member.span.start for member in members if _placed(member)), ENDLESS)
        ahead = [comment for comment in row.inside if _start(comment) < first]
        weaver = _Weaver(ahead)
        weaver.measure(lambda phrases: phrases.header(node))
        within = [comment for comment in ahead if _start(comment) < weaver.last]
        # Of the comments around the brace, the last one that is not on a line of its own stands after it.
        around = [comment for comment in ahead if _start(comment) >= weaver.last]
        last = max((i for i, comment in enumerate(around) if not comment.alone), default=-1)
        header = _Weaver(within + around[: max(last, 0)]).weave(lambda phrases: (phrases.header(node),))
        body = around[last + 1 :] + row.inside[len(ahead) :]
        opening = render((header[0], " {"), WIDTH, indent)
        if last >= 0:
            opening += f"  #{around[last].text}"
        inner = self.region(members, body, indent + 2)
        if not inner and last < 0:
            return (" " * indent + opening + "}").split("\n")
        return [*(" " * indent + opening).split("\n"), *inner, " " * indent + "}"]


class _Weaver:
    """Puts comments before the first word that stands behind them."""

    def __init__(self, comments: Sequence[tree.Comment]):
        self.comments = list(comments)
        self.last = -1

    def measure(self, spell: object) -> None:
        """Find the offset of the last word."""

        def leaf(text: str, offset: int | None) -> Doc:
            self.last = max(self.last, -1 if offset is None else offset)
            return text

        spell(Phrases(leaf))  # type: ignore[operator]

    def weave(self, spell: object) -> tuple[Doc, ...]:
        if not self.comments:
            return spell(Phrases(lambda text, _: text))  # type: ignore[operator]
        self.measure(spell)
        # A comment behind the last word, as within parentheses that are not needed, goes before that word.
        waiting = [(min(_start(comment), self.last - 0.5), comment) for comment in self.comments]

        def leaf(text: str, offset: int | None) -> Doc:
            remarks: list[Doc] = []
            while waiting and offset is not None and waiting[0][0] < offset:
                comment = waiting.pop(0)[1]
                remarks.append(Remark(comment.text, comment.alone))
            return (*remarks, text) if remarks else text

        return spell(Phrases(leaf))  # type: ignore[operator]


# ── comments ────────────────────────────────────────────────────────────────────────────────────


def _distribute(nodes: Sequence[Statement], comments: list[tree.Comment]) -> tuple[list[_Row], list[tree.Comment]]:
    """A row for each node with its comments, and the comments after the last."""
    rows: list[_Row] = []
    waiting = list(comments)
    for node in nodes:
        row = _Row(node)
        if _placed(node):
            while waiting and _start(waiting[0]) < node.span.start:
                comment = waiting.pop(0)
                if not comment.alone and rows and rows[-1].behind is None and not row.above:
                    rows[-1].behind = comment
                else:
                    row.above.append(comment)
            while waiting and _start(waiting[0]) < node.span.end:
                row.inside.append(waiting.pop(0))
        rows.append(row)
    if waiting and rows and not waiting[0].alone:
        rows[-1].behind = waiting.pop(0)
    return rows, waiting


def _doc_lines(node: Statement) -> list[str]:
    return node.doc.split("\n") if node.doc else []


def _above(row: _Row, indent: int) -> list[str]:
    """The comments above a statement, the last of which are its documentation, and no others."""
    doc = _doc_lines(row.node)
    tail = [comment.text.removeprefix(" ") for comment in row.above[len(row.above) - len(doc) :]]
    if doc and tail == doc:
        return _comment_lines(row.above, indent)
    lines = _comment_lines(row.above, indent)
    if lines:
        lines.append("")
    return lines + [" " * indent + f"# {line}".rstrip() for line in doc]


def _comment_lines(comments: Sequence[tree.Comment], indent: int) -> list[str]:
    lines: list[str] = []
    for before, comment in zip([None, *comments], comments, strict=False):
        if before is not None and _line(comment) - _line(before) > 1:
            lines.append("")
        lines.append(f"{' ' * indent}#{comment.text}")
    return lines


# ── blank lines ─────────────────────────────────────────────────────────────────────────────────


def _line(node: tree.Node) -> int:
    return node.span.line


def _end_line(node: tree.Node) -> int:
    return node.span.end_line


def _gap(before: _Row, row: _Row, top: bool) -> bool:
    """Whether a blank line goes between two rows."""
    if top and (isinstance(before.node, _BLOCKS) or isinstance(row.node, _BLOCKS)):
        return True
    if _placed(before.node) and _placed(row.node) and before.node.span.source is row.node.span.source:
        first = row.above[0] if row.above else row.node
        return _line(first) - _end_line(before.behind or before.node) > 1
    if row.node.doc and not before.node.doc:
        return top
    if isinstance(before.node, tree.Draw | tree.Mechanism) and isinstance(row.node, tree.Draw | tree.Mechanism):
        return isinstance(before.node, tree.Draw) and isinstance(row.node, tree.Mechanism)
    return type(before.node) is not type(row.node) and (top or isinstance(before.node, tree.Prompt | tree.Group))


# ── columns ─────────────────────────────────────────────────────────────────────────────────────


def _aligned(before: _Row, row: _Row) -> bool:
    """Whether two rows that follow each other share their columns."""
    same = type(before.node) is type(row.node)
    if isinstance(before.node, tree.Mechanism) and isinstance(row.node, tree.Mechanism):
        same = before.node.output == row.node.output
    return same and not row.gap and not row.above and not row.node.doc


def _flat(doc: Doc) -> str | None:
    """A column on one line, or None where a comment breaks it."""
    text = render(doc, ENDLESS)
    return None if "\n" in text else text


def _widths(rows: list[_Row], indent: int) -> dict[int, tuple[int, int]]:
    """The widths of the first and second column of each row, by the row's identity."""
    widths: dict[int, tuple[int, int]] = {}
    group: list[_Row] = []
    for row in [*rows, None]:
        if row is not None and (not group or _aligned(group[-1], row)):
            group.append(row)
            continue
        firsts = [len(text) for r in group if len(r.columns) > 1 and (text := _flat(r.columns[0])) is not None]
        first = max((width for width in firsts if width <= WIDEST_COLUMN), default=0)
        seconds = [len(text) for r in group if len(r.columns) > 2 and (text := _flat(r.columns[1])) is not None]
        second = max((width for width in seconds if width <= WIDEST_COLUMN), default=0)
        widths.update((id(r), (first, second)) for r in group)
        group = [row] if row is not None else []
    return widths


def _statement(row: _Row, widths: dict[int, tuple[int, int]], indent: int) -> list[str]:
    """A statement with its columns padded."""
    parts: list[Doc] = []
    for i, column in enumerate(row.columns):
        text = _flat(column) if len(row.columns) > 1 else None
        last = i == len(row.columns) - 1
        if last or text is None:
            parts += [column, "" if last else " "]
        else:
            wide = len(text) > WIDEST_COLUMN
            parts += [column if wide else text, " " * (max(0, widths[id(row)][i] - len(text)) + 1)]
    return (" " * indent + render(tuple(parts), WIDTH, indent)).split("\n")
