"""From nodes to documents: how each part of a tree is spelt, and where its lines may break.

Parentheses are written where the grammar needs them and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from causal_dsl.syntax import tree
from causal_dsl.syntax.layout import Doc, LayoutGroup, Line, Nest, fill, join
from causal_dsl.syntax.transform import ESCAPES

#: How tightly an expression binds, as in the grammar's chain of rules.
EXPR, OR, AND, NOT, COMPARE, SUM, PRODUCT, FACTOR, ATOM = range(9)
_LEVELS = {"or": OR, "and": AND, "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "div": PRODUCT, "mod": PRODUCT}
_INDENT = 4
_ESCAPED = str.maketrans({value: "\\" + letter for letter, value in ESCAPES.items()})

#: Makes the document of a word that stands at an offset of the source: with the comments before it.
Leaf = Callable[[str, int | None], Doc]


def quoted(value: str) -> str:
    """A string as it is written."""
    return f'"{value.translate(_ESCAPED)}"'


def level(node: tree.Expr) -> int:
    """How tightly an expression binds."""
    match node:
        case tree.IfElse():
            return EXPR
        case tree.Binary():
            return _LEVELS[node.op]
        case tree.Unary():
            return NOT if node.op == "not" else FACTOR
        case tree.Compare() | tree.Member():
            return COMPARE
        case tree.Located():
            return FACTOR
        case tree.Number() if node.value < 0:
            return FACTOR
    return ATOM


class Phrases:
    """Spells nodes; ``leaf`` is told of every word in the order of the text."""

    def __init__(self, leaf: Leaf):
        self.leaf = leaf

    def word(self, node: tree.Node, text: str) -> Doc:
        return self.leaf(text, node.span.start if node.span.end > node.span.start else None)

    def close(self, node: tree.Node, text: str) -> Doc:
        return self.leaf(text, node.span.end - 1 if node.span.end > node.span.start else None)

    def ident(self, node: tree.Ident) -> Doc:
        return self.word(node, node.name)

    # ── expressions ──

    def expr(self, node: tree.Expr | tree.Slice, least: int = EXPR) -> Doc:
        """An expression where the grammar wants one that binds at least so tightly."""
        if not isinstance(node, tree.Slice) and level(node) < least:
            return LayoutGroup(("(", Nest(_INDENT, (Line(""), self.bare(node))), Line(""), ")"))
        return self.bare(node)

    def bare(self, node: tree.Expr | tree.Slice) -> Doc:
        match node:
            case tree.Number():
                return self.word(node, _number(node))
            case tree.String():
                return self.word(node, quoted(node.value))
            case tree.Bool():
                return self.word(node, "true" if node.value else "false")
            case tree.Name():
                return self.word(node, node.name)
            case tree.Attribute():
                return (self.expr(node.value, ATOM), ".", self.ident(node.name))
            case tree.Subscript():
                value = self.expr(node.value, ATOM)
                return self.bracketed((value, "["), [self.expr(i) for i in node.indices], node, "]")
            case tree.Call():
                function = self.expr(node.function, ATOM)
                return self.bracketed((function, "("), [self.argument(a) for a in node.arguments], node, ")")
            case tree.Under():
                written = [self.argument(a) if isinstance(a, tree.Argument) else self.action(a) for a in node.given]
                return self.bracketed((self.expr(node.run, ATOM), "("), written, node, ")")
            case tree.List():
                return self.bracketed("[", [self.expr(item) for item in node.items], node, "]")
            case tree.Slice():
                start = self.expr(node.start) if node.start else ""
                return (start, ":", self.expr(node.stop) if node.stop else "")
            case tree.Unary():
                if node.op == "not":
                    return ("not ", self.expr(node.operand, NOT))
                return ("-", self.expr(node.operand, FACTOR))
            case tree.Binary():
                return self.chain(node)
            case tree.Located():
                return LayoutGroup((self.expr(node.value, ATOM), Nest(_INDENT, (Line(), "@ ", self.expr(node.site)))))
            case tree.Compare():
                left = self.expr(node.left, SUM)
                return LayoutGroup((left, Nest(_INDENT, (Line(), f"{node.op} ", self.expr(node.right, SUM)))))
            case tree.Member():
                element = self.expr(node.element, SUM)
                return LayoutGroup((element, Nest(_INDENT, (Line(), "in ", self.domain(node.domain)))))
            case tree.IfElse():
                return self.if_else(node)
            case tree.Through():
                return LayoutGroup((self.expr(node.site), Nest(_INDENT, (Line(), "via ", self.expr(node.via)))))
            case tree.Range() | tree.Set():  # the value of a setting
                return self.domain(node)
        raise TypeError(f"no expression: {node!r}")

    def argument(self, node: tree.Argument) -> Doc:
        if node.name is None:
            return self.expr(node.value)
        return (self.ident(node.name), "=", self.expr(node.value))

    def chain(self, node: tree.Binary) -> Doc:
        """``a + b - c``: operands that bind alike, broken together or not at all."""
        binds = _LEVELS[node.op]
        links: list[tree.Binary] = []
        left: tree.Expr = node
        while isinstance(left, tree.Binary) and _LEVELS[left.op] == binds:
            links.append(left)
            left = left.left
        first = self.expr(left, binds)
        rest: list[Doc] = [(Line(), f"{link.op} ", self.expr(link.right, binds + 1)) for link in reversed(links)]
        return LayoutGroup((first, Nest(_INDENT, tuple(rest))))

    def if_else(self, node: tree.IfElse) -> Doc:
        """``if a then b else if …``: broken before every ``else``."""
        parts: list[Doc] = []
        last: tree.Expr = node
        lead = "if "
        while isinstance(last, tree.IfElse):
            condition = self.expr(last.condition)
            parts.append(LayoutGroup((lead, condition, Nest(_INDENT, (Line(), "then ", self.expr(last.then))))))
            parts.append(Line())
            lead = "else if "
            last = last.otherwise
        return LayoutGroup((*parts, "else ", self.expr(last)))

    def bracketed(self, opening: Doc, items: Sequence[Doc], node: tree.Node, closing: str) -> Doc:
        end = self.close(node, closing)
        if not items:
            return (opening, end)
        return LayoutGroup((opening, Nest(_INDENT, (Line(""), fill(list(items)))), Line(""), end))

    def table(self, node: tree.Call | tree.Mapping) -> Doc:
        if isinstance(node, tree.Call):
            return self.expr(node)
        pairs: list[Doc] = [(self.expr(pair.key), ": ", self.expr(pair.value)) for pair in node.pairs]
        return self.bracketed("{", pairs, node, "}")

    def domain(self, node: tree.DomainExpr | tree.Expr) -> Doc:
        match node:
            case tree.Range():
                low = self.expr(node.low, SUM)
                return (low, "..", self.expr(node.high, SUM))
            case tree.Set():
                return self.bracketed("{", [self.expr(item) for item in node.items], node, "}")
        return self.expr(node)

    def members(self, node: tree.Expr | tree.Set | tree.ChosenSet) -> Doc:
        """A mechanism: a value, or a set of them."""
        match node:
            case tree.Set():
                return self.domain(node)
            case tree.ChosenSet():
                where = (Line(), "where ", Nest(_INDENT, self.expr(node.where)))
                inside = (Line(""), self.expr(node.choice), where)
                return LayoutGroup(("{", Nest(_INDENT, inside), Line(""), self.close(node, "}")))
        return self.expr(node)

    # ── statements; each in columns that are aligned with those of the statements around it ──

    def names(self, names: Sequence[tree.Ident]) -> Doc:
        return fill([self.ident(name) for name in names])

    def sites(self, sites: Sequence[tree.Expr]) -> Doc:
        return fill([self.expr(site) for site in sites])

    def where(self, condition: tree.Expr | None) -> Doc:
        return Nest(_INDENT, (Line(), "where ", self.expr(condition))) if condition else ""

    def statement(self, node: tree.Declaration) -> tuple[Doc, ...]:
        """The columns of a statement that has no block."""
        match node:
            case tree.Import():
                path = self.expr(node.path)
                return (LayoutGroup(("from ", path, " import ", Nest(_INDENT, self.names(node.names)))),)
            case tree.DomainDecl():
                return (("domain ", self.ident(node.name)), ("= ", self.domain(node.domain)))
            case tree.TableDecl():
                return (("table ", self.ident(node.name)), ("= ", self.table(node.value)))
            case tree.NetworkDecl():
                return (
                    ("network ", self.ident(node.name), self.parameters(node.parameters)),
                    ("= ", self.expr(node.value)),
                )
            case tree.MetricDecl():
                return (("metric ", self.ident(node.name)), ("= ", self.expr(node.value)))
            case tree.CircuitAs():
                circuit: Doc = ("circuit ", self.ident(node.name), self.parameters(node.parameters))
                if node.network is not None:
                    circuit = (circuit, " : ", self.ident(node.network), self.fixed(node.network_fixed))
                return (circuit, ("= ", self.expr(node.value, SUM)))
            case tree.Draw():
                names = self.names(node.names)
                return (names, LayoutGroup(("~ ", self.domain(node.domain), self.where(node.where))))
            case tree.Mechanism():
                name: Doc = ("output " if node.output else "", self.ident(node.name))
                if node.domain is not None:
                    name = (name, " : ", self.domain(node.domain))
                if node.value is None:
                    return (name,)
                return (name, (":= ", Nest(_INDENT, self.members(node.value))))
            case tree.Prompt():
                text = self.prompt(node.text)
                return (("prompt ", text, LayoutGroup(self.where(node.where))),)
            case tree.Placement():
                name = self.ident(node.name)
                if node.last is not None:
                    name = (name, "..", self.ident(node.last))
                columns = (name, ("@ ", Nest(_INDENT, self.sites(node.sites))))
                return columns if node.via is None else (*columns, ("via ", self.expr(node.via)))
            case tree.Group():
                return (self.ident(node.name), ("= ", Nest(_INDENT, self.sites(node.sites))))
            case tree.Edge():
                first, *stages = [self.sites(stage.sites) for stage in node.stages]
                rest: list[Doc] = [("-> ", stage) for stage in stages]
                return (first, LayoutGroup(Nest(_INDENT, join(Line(), rest))))
            case tree.Do():
                actions = [self.action(action) for action in node.actions]
                return (self.bracketed("do(", actions, node, ")"),)
            case tree.Expect():
                return (("expect ", self.expr(node.value)),)
            case tree.Report():
                return (("report ", fill([self.expr(value) for value in node.values])),)
        raise TypeError(f"no statement: {node!r}")

    def action(self, node: tree.Interchange | tree.PatchPath | tree.SetTo | tree.AddTo) -> Doc:
        match node:
            case tree.Interchange():
                target = self.target(node)
                return (target, " <- ", self.expr(node.source))
            case tree.PatchPath():
                first, *more = (node.sender, *node.through, node.receiver)
                ends: Doc = (self.expr(first), *((" -> ", self.expr(end)) for end in more))
                return (ends, " = " if node.sets else " <- ", self.expr(node.source))
            case tree.SetTo():
                target = self.target(node)
                return (target, " = ", self.expr(node.value))
        target = self.target(node)
        return (target, " += ", self.expr(node.value))

    def target(self, node: tree.Interchange | tree.SetTo | tree.AddTo) -> Doc:
        """The target that is written: a variable or a site, or what a feature reads of it."""
        target = self.expr(node.target)
        return target if node.via is None else (target, " via ", self.expr(node.via))

    def prompt(self, node: tree.String | tree.Call) -> Doc:
        return Nest(len("prompt "), self.long_string(node)) if isinstance(node, tree.String) else self.expr(node)

    def long_string(self, node: tree.String, width: int = 84) -> Doc:
        """A text as one string, or as several below each other, cut at spaces."""
        pieces, piece = [], ""
        for word in _words(node.value):
            if piece and len(piece) + len(word) > width:
                pieces.append(piece)
                piece = ""
            piece += word
        pieces.append(piece)
        first = self.word(node, quoted(pieces[0]))
        return (first, *(part for piece in pieces[1:] for part in (Line(), quoted(piece))))

    def header(self, node: tree.Declaration) -> Doc:
        """The head of a declaration, before its braces."""
        match node:
            case tree.CausalDecl():
                return ("causal ", self.ident(node.name))
            case tree.AlignDecl():
                head: Doc = ("align ", self.ident(node.name), self.parameters(node.parameters))
                head = (head, " : ", self.ident(node.model), self.fixed(node.model_fixed))
                if node.network is None:
                    return head
                return (head, " -> ", self.ident(node.network), self.fixed(node.network_fixed))
            case tree.CircuitDecl():
                name: Doc = ("circuit ", self.ident(node.name), self.parameters(node.parameters))
                return (name, " : ", self.ident(node.network), self.fixed(node.network_fixed))
            case tree.FitDecl():
                return (("fit ", self.ident(node.name)), " on ", self.expr(node.on))
            case tree.TestDecl():
                return (("test ", self.ident(node.name), self.parameters(node.parameters)), " on ", self.expr(node.on))
        raise TypeError(f"no declaration with a block: {node!r}")

    def parameters(self, nodes: Sequence[tree.Parameter]) -> Doc:
        return ("(", fill([self.parameter(node) for node in nodes]), ")") if nodes else ""

    def fixed(self, nodes: Sequence[tree.Argument]) -> Doc:
        return ("(", fill([self.argument(node) for node in nodes]), ")") if nodes else ""

    def parameter(self, node: tree.Parameter) -> Doc:
        name = self.ident(node.name)
        return (name, " in ", self.expr(node.values))


def _number(node: tree.Number) -> str:
    if not math.isfinite(node.value):
        raise ValueError(f"{node.value} cannot be written in a spec")
    return f"{node.value!r}{'' if node.unit is None else '%' if node.unit == '%' else ' ' + node.unit}"


def _words(text: str) -> list[str]:
    """The words of a text, each with the spaces after it."""
    words, start = [], 0
    for i in range(1, len(text)):
        if text[i] != " " and text[i - 1] == " ":
            words.append(text[start:i])
            start = i
    return [*words, text[start:]]
