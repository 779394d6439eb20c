"""From the grammar's rules to the nodes of :mod:`causal_dsl.syntax.tree`, one method a rule.

The parser calls these while it reduces, so no intermediate tree is made. Every method gets all
tokens of its rule (None for an optional part that is absent), hence spans come from the first and
last child.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from lark import Token, Transformer

from causal_dsl.diagnostics import Span
from causal_dsl.syntax import tree


@dataclass(slots=True, eq=False)  # not frozen: that makes them, which are many, take twice as long
class Lexeme:
    """A token. ``type`` is its terminal; ``doc`` is the comment block right above it, if it begins its line."""

    type: str
    text: str
    span: Span
    doc: str = ""
    first: bool = False  # nothing but space before it on its line


ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


def unescape(text: str) -> str:
    """The value of a string token, its quotes included."""
    return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[0]), text[1:-1])


def _span(children: list[Any]) -> Span:
    present = [child for child in children if child is not None]
    return present[0].span.to(present[-1].span)


def _ident(token: Lexeme) -> tree.Ident:
    return tree.Ident(token.text, span=token.span)


def _nodes(children: list[Any]) -> tuple[Any, ...]:
    return tuple(child for child in children if isinstance(child, tree.Node))


def _left_to_right(_: Any, children: list[Any]) -> tree.Binary:
    left = children[0]
    for operator, right in zip(children[1::2], children[2::2], strict=True):
        left = tree.Binary(operator.text, left, right, span=left.span.to(right.span))
    return left


@dataclass(frozen=True, slots=True)
class _Several:
    """Names or sites, on their way into the node that holds them."""

    items: tuple[Any, ...]
    span: Span
    doc: str = ""


class BuildTree(Transformer[Token, Any]):
    """One method a rule of the grammar; each takes the rule's children and returns a node."""

    def start(self, children: list[Any]) -> tuple[Any, ...]:
        return tuple(children)

    # ── declarations ──

    def import_(self, c: list[Any]) -> tree.Import:
        return tree.Import(c[1], c[3].items, span=_span(c), doc=c[0].doc)

    def domain_decl(self, c: list[Any]) -> tree.DomainDecl:
        return tree.DomainDecl(_ident(c[1]), c[3], span=_span(c), doc=c[0].doc)

    def table(self, c: list[Any]) -> tree.TableDecl:
        return tree.TableDecl(_ident(c[1]), c[3], span=_span(c), doc=c[0].doc)

    def network(self, c: list[Any]) -> tree.NetworkDecl:
        return tree.NetworkDecl(_ident(c[1]), c[4], c[2] or (), span=_span(c), doc=c[0].doc)

    def metric(self, c: list[Any]) -> tree.MetricDecl:
        return tree.MetricDecl(_ident(c[1]), c[3], span=_span(c), doc=c[0].doc)

    def causal(self, c: list[Any]) -> tree.CausalDecl:
        return tree.CausalDecl(_ident(c[1]), c[3], span=_span(c[:3] + c[4:]), doc=c[0].doc)

    def align(self, c: list[Any]) -> tree.AlignDecl:
        _, name, parameters, _, model, model_fixed, _, network, network_fixed, _, members, _ = c
        return tree.AlignDecl(
            _ident(name),
            parameters or (),
            _ident(model),
            _ident(network) if network else None,
            members,
            model_fixed or (),
            network_fixed or (),
            span=c[0].span.to(c[-1].span),
            doc=c[0].doc,
        )

    def circuit(self, c: list[Any]) -> tree.CircuitDecl:
        _, name, parameters, _, network, fixed, _, members, _ = c
        span, given = c[0].span.to(c[-1].span), parameters or ()
        return tree.CircuitDecl(_ident(name), _ident(network), members, given, fixed or (), span=span, doc=c[0].doc)

    def circuit_as(self, c: list[Any]) -> tree.CircuitAs:
        _, name, parameters, _, network, fixed, _, value = c
        of = _ident(network) if network else None
        return tree.CircuitAs(_ident(name), value, of, parameters or (), fixed or (), span=_span(c), doc=c[0].doc)

    def test(self, c: list[Any]) -> tree.TestDecl:
        return tree.TestDecl(_ident(c[1]), c[4], c[6], c[2] or (), span=c[0].span.to(c[-1].span), doc=c[0].doc)

    def fit(self, c: list[Any]) -> tree.FitDecl:
        return tree.FitDecl(_ident(c[1]), c[3], c[5], span=c[0].span.to(c[-1].span), doc=c[0].doc)

    causal_body = align_body = circuit_body = fit_body = test_body = start

    # ── members ──

    def draw(self, c: list[Any]) -> tree.Draw:
        return tree.Draw(c[0].items, c[2], c[4], span=_span(c), doc=c[0].doc)

    def mechanism(self, c: list[Any]) -> tree.Mechanism:
        output, name, _, domain, _, value = c
        doc = (output or name).doc
        return tree.Mechanism(_ident(name), value, domain, output is not None, span=_span(c), doc=doc)

    def unstated(self, c: list[Any]) -> tree.Mechanism:
        return tree.Mechanism(_ident(c[1]), None, output=True, span=_span(c), doc=c[0].doc)

    def parameters(self, c: list[Any]) -> tuple[tree.Parameter, ...]:
        return _nodes(c)

    fixed = parameters

    def parameter(self, c: list[Any]) -> tree.Parameter:
        return tree.Parameter(_ident(c[0]), c[2], span=_span(c))

    def prompt(self, c: list[Any]) -> tree.Prompt:
        return tree.Prompt(c[1], c[3], span=_span(c), doc=c[0].doc)

    def placement(self, c: list[Any]) -> tree.Placement:
        last = None if c[2] is None else _ident(c[2])
        return tree.Placement(_ident(c[0]), c[4].items, c[6], last, span=_span(c), doc=c[0].doc)

    def group(self, c: list[Any]) -> tree.Group:
        return tree.Group(_ident(c[0]), c[2].items, span=_span(c), doc=c[0].doc)

    def edge(self, c: list[Any]) -> tree.Edge:
        return tree.Edge(tuple(tree.EdgeEnd(sites.items, span=sites.span) for sites in c[::2]), span=_span(c))

    def sites(self, c: list[Any]) -> _Several:
        return _Several(tuple(c[::2]), _span(c))

    def nodes(self, c: list[Any]) -> _Several:
        return _Several(tuple(c[::2]), _span(c))

    def through(self, c: list[Any]) -> tree.Through:
        return tree.Through(c[0], c[2], span=_span(c))

    def located(self, c: list[Any]) -> _Several:
        return _Several(tuple(c[::2]), _span(c))

    def do(self, c: list[Any]) -> tree.Do:
        return tree.Do(_nodes(c), span=_span(c), doc=c[0].doc)

    def interchange(self, c: list[Any]) -> tree.Interchange:
        return tree.Interchange(c[0], c[4], c[2], span=_span(c))

    def interchange_of(self, c: list[Any]) -> tree.Interchange:
        return tree.Interchange(self.name(c), c[2], span=_span(c))

    def patch_path(self, c: list[Any]) -> tree.PatchPath:
        sender, *through, receiver, source = c[::2]
        return tree.PatchPath(sender, receiver, source, through=tuple(through), span=_span(c))

    def set_path(self, c: list[Any]) -> tree.PatchPath:
        sender, *through, receiver, value = c[::2]
        return tree.PatchPath(sender, receiver, value, through=tuple(through), sets=True, span=_span(c))

    def set_to(self, c: list[Any]) -> tree.SetTo:
        return tree.SetTo(c[0], c[4], c[2], span=_span(c))

    def add_to(self, c: list[Any]) -> tree.AddTo:
        return tree.AddTo(c[0], c[4], c[2], span=_span(c))

    def expect(self, c: list[Any]) -> tree.Expect:
        return tree.Expect(c[1], span=_span(c), doc=c[0].doc)

    def report(self, c: list[Any]) -> tree.Report:
        return tree.Report(tuple(c[1::2]), span=_span(c), doc=c[0].doc)

    # ── domains ──

    def range_(self, c: list[Any]) -> tree.Range:
        return tree.Range(c[0], c[2], span=_span(c))

    def set_(self, c: list[Any]) -> tree.Set:
        return tree.Set(_nodes(c), span=_span(c))

    def mapping(self, c: list[Any]) -> tree.Mapping:
        return tree.Mapping(_nodes(c), span=_span(c))

    def pair(self, c: list[Any]) -> tree.MapEntry:
        return tree.MapEntry(c[0], c[2], span=_span(c))

    def chosen(self, c: list[Any]) -> tree.ChosenSet:
        return tree.ChosenSet(c[1], c[3], span=_span(c))

    # ── expressions ──

    def if_else(self, c: list[Any]) -> tree.IfElse:
        return tree.IfElse(c[1], c[3], c[5], span=_span(c))

    either = both = sum = product = _left_to_right

    def unary(self, c: list[Any]) -> tree.Unary:
        return tree.Unary(c[0].text, c[1], span=_span(c))

    def taken_at(self, c: list[Any]) -> tree.Located:
        return tree.Located(c[0], c[2], span=_span(c))

    def compare(self, c: list[Any]) -> tree.Compare:
        return tree.Compare(c[1].text, c[0], c[2], span=_span(c))

    def member(self, c: list[Any]) -> tree.Member:
        return tree.Member(c[0], c[2], span=_span(c))

    def parenthesized(self, c: list[Any]) -> tree.Expr:
        return replace(c[1], span=_span(c))

    def number(self, c: list[Any]) -> tree.Number:
        text, unit = c
        value = int(text.text) if text.text.isdigit() else float(text.text)
        return tree.Number(value, unit.text if unit else None, span=_span(c))

    def text(self, c: list[Any]) -> tree.String:
        return tree.String("".join(unescape(token.text) for token in c), span=_span(c))

    string = text

    def boolean(self, c: list[Any]) -> tree.Bool:
        return tree.Bool(c[0].type == "TRUE", span=c[0].span)

    def list_(self, c: list[Any]) -> tree.List:
        return tree.List(_nodes(c), span=_span(c))

    # ── paths ──

    def name(self, c: list[Any]) -> tree.Name:
        return tree.Name(c[0].text, span=c[0].span)

    def attribute(self, c: list[Any]) -> tree.Attribute:
        return tree.Attribute(c[0], _ident(c[2]), span=_span(c))

    def subscript(self, c: list[Any]) -> tree.Subscript:
        return tree.Subscript(c[0], _nodes(c[1:]), span=_span(c))

    def call(self, c: list[Any]) -> tree.Call | tree.Under:
        given = _nodes(c[1:])
        plain = all(isinstance(one, tree.Argument) for one in given)
        return (tree.Call if plain else tree.Under)(c[0], given, span=_span(c))

    def argument(self, c: list[Any]) -> tree.Argument:
        value = tree.Name(c[2].text, span=c[2].span) if isinstance(c[2], Lexeme) else c[2]
        return tree.Argument(_ident(c[0]) if c[0] else None, value, span=_span(c))

    def slice_(self, c: list[Any]) -> tree.Slice:
        return tree.Slice(c[0], c[2], span=_span(c))

    def names(self, c: list[Any]) -> _Several:
        return _Several(tuple(_ident(token) for token in c[::2]), _span(c), c[0].doc)
