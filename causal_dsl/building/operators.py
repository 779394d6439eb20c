"""Expressions with Python's operators: thin, immutable wrappers over nodes of the tree.

``left == right`` on them makes the node of the comparison, so no expression has a truth value of its own, and
``if left == right:`` is an error that says what to write.
"""

from __future__ import annotations

import keyword
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.grammar import load_grammar


class Declared:
    """A declaration in a spec: it has a name, makes its declaration, and knows what that refers to."""

    def declaration(self) -> tree.AnyDeclaration:
        raise NotImplementedError

    def needs(self) -> tuple[Declared, ...]:
        """The declarations that must come before this, in the order in which it mentions them."""
        raise NotImplementedError


class Expression:
    """A value, a site or a domain of a spec. Operators make larger ones; see :func:`node_of` for the tree's node.

    ``measure @ site`` is taken at a place. ``==  !=  <  <=  >  >=`` compare, ``&  |  ~`` are ``and``, ``or``, ``not``; ``//`` and ``%`` are ``div`` and
    ``mod``; attributes, subscripts and calls make paths (``layer[8].resid_post[last]``).
    """

    __slots__ = ("_needs", "_node")
    _needs: tuple[Declared, ...]
    _node: Any

    def __init__(self, node: Any, needs: Iterable[Declared] = ()):
        object.__setattr__(self, "_node", node)
        object.__setattr__(self, "_needs", tuple(dict.fromkeys(needs)))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TypeError(f"expressions are immutable: cannot set `{name}` of `{self!r}`")

    def __setitem__(self, index: object, value: object) -> NoReturn:
        raise TypeError(f"expressions are immutable; to write to a site, do set_to({self!r}[…], value)")

    def __repr__(self) -> str:
        return format_expr(self._node)

    __hash__ = object.__hash__

    # ── what has no meaning before the spec runs ──

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"`{self!r}` has no truth value before the spec runs: write & | ~ for and, or, not (each side in "
            "parentheses), if_(condition, a, b) for if, and (a < b) & (b < c) for a < b < c"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(f"`{self!r}` cannot be iterated over")

    def __contains__(self, value: object) -> NoReturn:
        raise TypeError(f"write x.isin({self!r}), not x in {self!r}")

    def __len__(self) -> NoReturn:
        raise TypeError(f"`{self!r}` has no length before the spec runs")

    def __float__(self) -> NoReturn:
        raise TypeError(f"`{self!r}` is not a number before the spec runs")

    __int__ = __index__ = __float__

    # ── operators ──

    def _binary(self, op: str, left: Any, right: Any) -> Expression:
        return combine(lambda a, b: tree.Binary(op, a, b), left, right)

    def _compare(self, op: str, other: Any) -> Expression:
        return combine(lambda a, b: tree.Compare(op, a, b), self, other)

    def __add__(self, other: Any) -> Expression:
        return self._binary("+", self, other)

    def __radd__(self, other: Any) -> Expression:
        return self._binary("+", other, self)

    def __sub__(self, other: Any) -> Expression:
        return self._binary("-", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return self._binary("-", other, self)

    def __mul__(self, other: Any) -> Expression:
        return self._binary("*", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return self._binary("*", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return self._binary("/", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return self._binary("/", other, self)

    def __floordiv__(self, other: Any) -> Expression:
        return self._binary("div", self, other)

    def __rfloordiv__(self, other: Any) -> Expression:
        return self._binary("div", other, self)

    def __mod__(self, other: Any) -> Expression:
        return self._binary("mod", self, other)

    def __rmod__(self, other: Any) -> Expression:
        return self._binary("mod", other, self)

    def __matmul__(self, site: Any) -> Expression:
        """``self @ site``: a measure that is taken at a place."""
        if not isinstance(node_of(site), tree.Name | tree.Attribute | tree.Subscript | tree.Call):
            raise TypeError(f"`{site!r}` is not a site: write cd.logit(answer) @ cd.layer[8].resid_post[cd.last]")
        return combine(tree.Located, self, site)

    def __and__(self, other: Any) -> Expression:
        return self._binary("and", self, other)

    def __rand__(self, other: Any) -> Expression:
        return self._binary("and", other, self)

    def __or__(self, other: Any) -> Expression:
        return self._binary("or", self, other)

    def __ror__(self, other: Any) -> Expression:
        return self._binary("or", other, self)

    def __invert__(self) -> Expression:
        return combine(lambda a: tree.Unary("not", a), self)

    def __neg__(self) -> Expression:
        return combine(lambda a: tree.Unary("-", a), self)

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: Any) -> Expression:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Expression:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Expression:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Expression:
        return self._compare(">=", other)

    def __pow__(self, other: Any) -> NoReturn:
        raise TypeError("there is no power operator: multiply")

    def __xor__(self, other: Any) -> NoReturn:
        raise TypeError("there is no exclusive or: write a != b")

    def isin(self, domain: Any) -> Expression:
        """``self in domain``: a list of values, a range, or a domain."""
        inner, needs = domain_node(domain)
        return Expression(tree.Member(self._node, inner), (*self._needs, *needs))

    # ── paths ──

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_"):
            raise AttributeError(name)
        return Expression(tree.Attribute(self._path(), tree.Ident(checked(name))), self._needs)

    def __getitem__(self, index: Any) -> Expression:
        indices = index if isinstance(index, tuple) else (index,)
        if not indices:
            raise TypeError(f"`{self!r}[]` selects nothing")
        parts = [_index(part) for part in indices]
        needs = [need for _, needs in parts for need in needs]
        return Expression(tree.Subscript(self._path(), tuple(node for node, _ in parts)), (*self._needs, *needs))

    def __call__(self, *positional: Any, **named: Any) -> Expression:
        return called(Expression(self._path(), self._needs), *positional, **named)

    def _path(self) -> Any:
        if not isinstance(self._node, tree.Name | tree.Attribute | tree.Subscript | tree.Call | tree.Under):
            raise TypeError(f"`{self!r}` is a value: it has no parts and cannot be called")
        return self._node


class Action:
    """Something that ``do( )`` does; made by :func:`swap`, :func:`set_to`, :func:`add_to`, :func:`path`."""

    def __init__(self, node: Any, needs: Iterable[Declared]):
        self.node, self.needs = node, tuple(needs)


def called(function: Expression, *positional: Any, **named: Any) -> Expression:
    """A call of a path; keyword arguments are its settings."""
    arguments: list[Any] = []
    needs: list[Declared] = list(function._needs)
    for name, value in [*((None, value) for value in positional), *named.items()]:
        if name is None and isinstance(value, Action):
            arguments.append(_done_in(function, value.node))
            needs += value.needs
            continue
        # A setting may take a domain: among=between(0, 9), among=values("is", "are").
        plain = name and isinstance(value, Expression) and isinstance(value._node, tree.Range | tree.Set)
        node, more = (value._node, value._needs) if plain else value_node(value)
        arguments.append(tree.Argument(tree.Ident(checked(name)) if name else None, node))
        needs += more
    plain = all(isinstance(argument, tree.Argument) for argument in arguments)
    return Expression((tree.Call if plain else tree.Under)(function._node, tuple(arguments)), needs)


def _done_in(run: Expression, action: Any) -> Any:
    """A run in which something is written, and that values are taken from: ``source(patch(site, other))``."""
    if isinstance(action, tree.PatchPath):
        raise TypeError(f"no edge is patched in `{run!r}`: name the site that is written there")
    if isinstance(action.target, tree.Name) and not (isinstance(action, tree.Interchange) and action.via is None):
        raise TypeError(f"name the part of `{action.target.name}` that is written in `{run!r}`, as in embed[all]")
    return action


def combine(make: Callable[..., Any], *parts: Any) -> Expression:
    """An expression made of the nodes of others."""
    nodes: list[Any] = []
    needs: list[Declared] = []
    for part in parts:
        node, more = value_node(part)
        nodes.append(node)
        needs += more
    return Expression(make(*nodes), needs)


def name(text: str, *needs: Declared) -> Expression:
    """A bare name: what is declared elsewhere under it, or a word of the language's library."""
    return Expression(tree.Name(checked(text)), needs)


def node_of(value: Any) -> Any:
    """The tree's node of an expression, a number, a string, a truth value or a list of those."""
    return value_node(value)[0]


def checked(text: str) -> str:
    """The name itself if it can stand in a spec.

    Raises
    ------
    ValueError
        If it is not an identifier, or a word of the language.
    """
    if not isinstance(text, str):
        raise TypeError(f"a name is a str, not {text!r}")
    if not text.isidentifier():
        raise ValueError(f"{text!r} is not a name: letters, digits and _, not beginning with a digit")
    if text in load_grammar().keywords:
        raise ValueError(f"{text!r} is a word of the language; choose another name, such as {text}_")
    return text


def value_node(value: Any) -> tuple[Any, tuple[Declared, ...]]:
    """The node of what a user wrote for a value, and what it refers to."""
    if isinstance(value, Expression):
        if isinstance(value._node, tree.ChosenSet):
            raise TypeError(f"`{value!r}` is a set of values: it stands as a mechanism alone")
        if isinstance(value._node, tree.Range | tree.Set):
            raise TypeError(f"`{value!r}` is a domain, not a value")
        return value._node, value._needs
    if isinstance(value, Nameable):
        return value.reference._node, value.reference._needs
    if isinstance(value, bool):
        return tree.Bool(value), ()
    if isinstance(value, str):
        return tree.String(value), ()
    if isinstance(value, numbers.Real):
        return _number(value), ()
    if isinstance(value, list | tuple):
        parts = [value_node(item) for item in value]
        return tree.List(tuple(node for node, _ in parts)), tuple(need for _, needs in parts for need in needs)
    if callable(value) and getattr(value, "__module__", "") == "builtins":
        word = getattr(value, "__name__", "it")
        raise TypeError(f"`{word}` is Python's own; write cd.{word}{'_' if keyword.iskeyword(word) else ''}")
    raise TypeError(f"{value!r} cannot be written in a spec: write a number, a str, a bool, a list or an expression")


def mechanism_node(value: Any) -> tuple[Any, tuple[Declared, ...]]:
    """The node of a mechanism: a value, or the set of values that a list or :func:`causal_dsl.chosen` says."""
    if isinstance(value, list | tuple):
        items, needs = value_node(list(value))
        return tree.Set(items.items), needs
    if isinstance(value, Expression) and isinstance(value._node, tree.ChosenSet):
        return value._node, value._needs
    return value_node(value)


def _number(value: Any) -> Any:
    plain: int | float = int(value) if isinstance(value, numbers.Integral) else float(value)
    if not math.isfinite(plain):
        raise ValueError(f"{plain} cannot be written in a spec")
    if math.copysign(1, plain) < 0:
        return tree.Unary("-", tree.Number(-plain))
    return tree.Number(plain)


def _index(part: Any) -> tuple[Any, tuple[Declared, ...]]:
    if not isinstance(part, slice):
        return value_node(part)
    if part.step is not None:
        raise TypeError("a slice of a site has no step; list the dimensions instead")
    start, needs = (None, ()) if part.start is None else value_node(part.start)
    stop, more = (None, ()) if part.stop is None else value_node(part.stop)
    return tree.Slice(start, stop), (*needs, *more)


def domain_node(domain: Any) -> tuple[Any, tuple[Declared, ...]]:
    """The node of what a user wrote for a domain: a list, a range, a domain, a table, a call."""
    if isinstance(domain, Nameable):
        domain = domain.reference
    if isinstance(domain, Expression):
        if not isinstance(
            domain._node, tree.Range | tree.Set | tree.Name | tree.Attribute | tree.Subscript | tree.Call
        ):
            raise TypeError(f"`{domain!r}` is not a domain")
        return domain._node, domain._needs
    if isinstance(domain, range):
        if domain.step != 1 or not domain:
            raise ValueError(f"{domain} is not a domain: its step is 1, and it is not empty")
        return tree.Range(_number(domain[0]), _number(domain[-1])), ()
    if isinstance(domain, set | frozenset):
        raise TypeError("give the values as a list: a Python set has no order, and the order is the order of classes")
    if isinstance(domain, list | tuple):
        values, needs = value_node(list(domain))
        return tree.Set(values.items), needs
    if domain is bool:
        raise TypeError("write cd.bool_ for the domain of true and false")
    raise TypeError(
        f"{domain!r} is not a domain: write a list of values, between(0, 9), bool_, real(-1, 1) or lines(path)"
    )


class Nameable(Declared):
    """Something declared that stands as its name in expressions."""

    def __init__(self, name: str, doc: str = ""):
        self.name = checked(name)
        self.doc = doc

    @property
    def reference(self) -> Expression:
        """The name, as an expression."""
        return Expression(tree.Name(self.name), (self,))

    @property
    def ident(self) -> tree.Ident:
        return tree.Ident(self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __bool__(self) -> bool:
        return True
