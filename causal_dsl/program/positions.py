"""Positions as they are written: `last`, `subject`, `name(2).first`, `"a word of the prompt"`, `-3`, `subject + 1`, `3:7`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.indices import arithmetic, integer, swept
from causal_dsl.program.locate import check_position
from causal_dsl.program.read_settings import constant
from causal_dsl.program.templates import Template
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import substitute
from causal_dsl.vocabulary.locations import Position

#: Words that stand for tokens of any prompt.
EDGES = {"first": Position("index", index=0), "last": Position("index", index=-1), "all": Position("all")}
#: The parts of what has several tokens, as in `name.first`.
PARTS_OF_PLACES = ("first", "last", "all")


@dataclass(frozen=True)
class PositionReader:
    """Makes positions of what stands in the brackets of a site, in one cell of an alignment with these prompts.

    ``model``: whose variables conditions speak of; None where there can be none.
    """

    templates: tuple[Template, ...]
    diagnostics: Diagnostics
    cell: Mapping[str, tree.Expr] = field(default_factory=dict)
    model: CausalModel | None = None

    def read(self, expr: tree.Expr | tree.Slice) -> Position | None:
        """The position that an index names: a placeholder, an edge, a number, a literal of the prompt, a token so many behind
        one of these, a range from one to another, or one of two by a condition; None where a fault was reported."""
        if isinstance(expr, tree.Slice):
            start = Position("index") if expr.start is None else self._one(expr.start)
            stop = Position("end") if expr.stop is None else self._one(expr.stop)
            return None if start is None or stop is None else Position("range", parts=(start, stop))
        number = arithmetic(expr, self.cell)
        if number is not None:
            return Position("index", index=number)
        match expr:
            case tree.Name(name=name) if name in self.cell:
                return replace(self, cell={}).read(self.cell[name])
            case tree.Attribute(value=tree.Name(name=name), name=part) if (
                name in self.cell and part.name in PARTS_OF_PLACES
            ):
                return replace(self, cell={}).read(tree.Attribute(self.cell[name], part, span=expr.span))
            case tree.Binary(op="+" | "-" as op, left=left, right=right):
                behind = integer(right, "a number of tokens", self.cell, self.diagnostics)
                base = None if behind is None else self._one(left)
                return None if base is None or behind is None else _moved(base, behind if op == "+" else -behind)
            case tree.IfElse():
                return self._choice(expr)
        return self._token(expr)

    def _one(self, expr: tree.Expr) -> Position | None:
        """A position that is one token, from which others are counted."""
        position = self.read(expr)
        if position is None or position.single:
            return position
        self.diagnostics.report(
            "E464",
            f"`{position}` is not one token",
            expr.span,
            notes=("offsets and ranges are counted from single tokens", *swept(expr, self.cell)),
            help="write `name.first` or `name.last`",
        )
        return None

    def _choice(self, expr: tree.IfElse) -> Position | None:
        if self.model is None:
            self._no_position(expr)
            return None
        plain = {name: value for name, value in self.cell.items() if name not in self.model.variables}
        when = substitute(expr.condition, plain)
        then, otherwise = self.read(expr.then), self.read(expr.otherwise)
        found = compile_predicate(when, {"": self.model}, self.diagnostics, word="if")
        if found is None or then is None or otherwise is None:
            return None
        return Position("choice", format_expr(when), parts=(then, otherwise), when=when)

    def _token(self, expr: tree.Expr) -> Position | None:
        """As :meth:`read`, for an expression that is made from no other position."""
        value = constant(expr)
        if isinstance(value, str):
            return self._text(value, expr.span)
        part = ""
        base = expr
        if isinstance(expr, tree.Attribute):
            part, base = expr.name.name, expr.value
            if part not in PARTS_OF_PLACES:
                help = did_you_mean(part, PARTS_OF_PLACES)
                self.diagnostics.report("E532", f"a placeholder has no part `{part}`", expr.name.span, help=help)
                return None
        occurrence = 0
        if isinstance(base, tree.Call):
            number = constant(base.arguments[0].value) if len(base.arguments) == 1 else None
            if not isinstance(number, int) or not isinstance(base.function, (tree.Name, tree.String)) or number < 1:
                self.diagnostics.report(
                    "E532",
                    f"`{format_expr(base)[:60]}` is not a position",
                    base.span,
                    help="the second use of a placeholder is written `name(2)`",
                )
                return None
            base, occurrence = base.function, number
        if isinstance(base, tree.String):
            return self._text(base.value, base.span, part, occurrence)
        if not isinstance(base, tree.Name):
            self._no_position(expr)
            return None
        return self._placeholder(base, occurrence, part)

    def _no_position(self, expr: tree.Expr) -> None:
        self.diagnostics.report(
            "E532",
            f"`{format_expr(expr)[:60]}` is not a position",
            expr.span,
            help='write a placeholder of the prompt, first, last, all, a whole number, or ["a word of the prompt"]',
        )

    def _text(self, literal: str, span: Span, part: str = "", occurrence: int = 0) -> Position | None:
        position = Position("text", literal, occurrence, part or "last")  # type: ignore[arg-type]
        return position if self._in_a_prompt(position, span) else None

    def _placeholder(self, name: tree.Name, occurrence: int, part: str) -> Position | None:
        placeholders = {placeholder for template in self.templates for placeholder in template.placeholders}
        if name.name in EDGES and name.name not in placeholders:
            if part or occurrence:
                self.diagnostics.report(
                    "E532",
                    f"`{name.name}` is one token or all: it has no parts",
                    name.span,
                    help=f"write `{name.name}`",
                )
                return None
            return EDGES[name.name]
        if name.name in EDGES and not part:
            other = "another name for the placeholder" if name.name == "all" else str(EDGES[name.name].index)
            self.diagnostics.report(
                "E535",
                f"`{name.name}` is both a placeholder of the prompt and a position",
                name.span,
                help=f"write `{name.name}.last` for the last token of the placeholder, or {other} for the position",
            )
            return None
        position = Position("placeholder", name.name, occurrence, part or "last")  # type: ignore[arg-type]
        return position if self._in_a_prompt(position, name.span) else None

    def _in_a_prompt(self, position: Position, span: Span) -> bool:
        """Whether a position is in one of the prompts: in which of them a run is, its rows say."""
        if not self.templates:
            self.diagnostics.report(
                "E534",
                f"no position `{position}`: the alignment has no prompt",
                span,
                help='write prompt "…" in the alignment',
            )
            return False
        if any(check_position(position, template, span, Diagnostics()) for template in self.templates):
            return True
        return check_position(position, self.templates[0], span, self.diagnostics)


def _moved(position: Position, behind: int) -> Position:
    """The token so many behind another one."""
    if position.kind == "offset":
        return _moved(position.parts[0], position.index + behind)
    return position if behind == 0 else Position("offset", index=behind, parts=(position,))


__all__ = ["PositionReader"]
