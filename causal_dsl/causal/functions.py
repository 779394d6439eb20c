"""Python functions in a causal model: ``from "tasks.py" import plural``.

What a function takes and gives is read from its annotations with :mod:`ast`. Its file is executed only when the user
trusts it, and then the function is called once for each distinct tuple of arguments.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any

from causal_dsl.base.faults import foreign
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.domains import BOOL, LIMIT, Domain, Finite, Real, Text, Value, show, type_of
from causal_dsl.causal.named_files import read_text
from causal_dsl.diagnostics import Diagnostics, Span, SpecError, did_you_mean, fail, shown_path
from causal_dsl.store.code import opening, run_file, watching

_PLAIN: dict[str, Domain] = {"bool": BOOL, "int": Finite(range(1 - LIMIT, LIMIT)), "float": Real(), "str": Text()}
_SAYS = "annotate with bool, int, float, str or Literal[…]"


@dataclass
class PythonFunction:
    """A function that a spec imports, known by its annotations.

    ``parameters`` are (name, domain) in order, ``result`` is the domain of what it returns. Before it has been run,
    ``int`` is any whole number and ``str`` is any text.
    """

    name: str
    path: Path
    parameters: tuple[tuple[str, Domain], ...]
    result: Domain
    span: Span
    trusted: bool = False
    _loaded: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    _known: dict[tuple[tuple[str, Value], ...], Value] = field(default_factory=dict, repr=False, compare=False)

    def refusal(self) -> SpecError:
        """E346, which is raised where it would be called without trust."""
        return fail(
            "E346",
            f"`{self.name}` is Python code, which runs only if it is trusted",
            self.span,
            label=f"from {shown_path(self.path)}",
            notes=("`check` reads its annotations and never runs it",),
            help="read the file, then pass --trust",
        )

    def load(self) -> Callable[..., Any]:
        """The function itself. Raises SpecError if it is not trusted (E346) or its file fails (E347)."""
        if not self.trusted:
            raise self.refusal()
        if self._loaded is None:
            self._loaded = self._execute()
        return self._loaded

    def _execute(self) -> Callable[..., Any]:
        name = f"causal_dsl_trusted_{self.path.stem}"
        if self.path.suffix != ".py":
            raise fail("E344", f"`{self.path.name}` is not a Python file", self.span, help="give it the suffix .py")
        before = sys.modules.get(name)
        try:
            with foreign, watching(self.path.parent):
                found = getattr(run_file(self.path, name), self.name)
        except Exception as error:
            raise fail("E347", f"`{self.path.name}` fails when it is run", self.span, label=_told(error)) from error
        finally:
            if before is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = before
        if not callable(found):
            raise fail(
                "E347", f"`{self.name}` of `{self.path.name}` is not a function once the file has run", self.span
            )
        result: Callable[..., Any] = found
        return result

    def __call__(self, *arguments: Value) -> Value:
        """The value for these arguments, checked against the annotations. Raises SpecError (E346, E347, E348)."""
        # 1 == True == 1.0, so types are part of the key
        key = tuple((type_of(a), a) for a in arguments)
        if key not in self._known:
            self._known[key] = self._checked(arguments)
        return self._known[key]

    def _checked(self, arguments: tuple[Value, ...]) -> Value:
        function = self.load()
        called = f"{self.name}({', '.join(map(show, arguments))})"
        try:
            with foreign, opening(self.path.parent):
                value = function(*arguments)
        except Exception as error:
            raise fail("E347", f"`{called}` raises {type(error).__name__}", self.span, label=_told(error)) from error
        if self.result.type == "real" and type(value) is int and abs(value) < 2**53:
            value = float(value)
        good = type(value) in (bool, int, float, str) and type_of(value) == self.result.type and value in self.result
        if not good or value != value or value in (float("inf"), -float("inf")):
            raise fail(
                "E348",
                f"`{called}` gives {_shown(value)}, which is not in {_domain(self.result)}",
                self.span,
                label=f"from {shown_path(self.path)}",
                help="correct the function or its annotation",
            )
        result: Value = value
        return result


def _domain(domain: Domain) -> str:
    return next((name for name, plain in _PLAIN.items() if plain == domain), str(domain))


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    return text if len(text) <= 60 else text[:57] + "…"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"[:160]


def read_function(
    path: Path, name: str, span: Span, diagnostics: Diagnostics, trust: bool = False
) -> PythonFunction | None:
    """Find ``def name`` in a Python file without running it; None with a diagnostic (E344, E345) if it cannot serve."""
    text = read_text(path.name, path.parent, span, diagnostics, "E344")
    if text is None:
        return None
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        diagnostics.report("E344", f"`{path.name}` is not valid Python", span, label=where)
        return None
    defined = [node for node in module.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    found = next((node for node in reversed(defined) if node.name == name), None)
    if found is None:
        help = did_you_mean(name, (node.name for node in defined), "the file must have it as a `def` at its top level")
        diagnostics.report("E344", f"`{path.name}` defines no function `{name}`", span, help=help)
        return None
    a = found.args
    if isinstance(found, ast.AsyncFunctionDef) or a.vararg or a.kwarg or a.kwonlyargs or a.defaults:
        help = "write it as def name(first: str, second: int) -> str"
        diagnostics.report(
            "E345", f"`{name}` takes more than plain arguments", span, label=f"line {found.lineno}", help=help
        )
        return None
    parameters = []
    for argument in [*a.posonlyargs, *a.args]:
        domain = _annotated(argument.annotation)
        if domain is None:
            _unknown(
                f"the argument `{argument.arg}` of `{name}`", argument.annotation, argument.lineno, span, diagnostics
            )
            return None
        parameters.append((argument.arg, domain))
    result = _annotated(found.returns)
    if result is None:
        _unknown(f"what `{name}` returns", found.returns, found.lineno, span, diagnostics)
        return None
    return PythonFunction(name, path, tuple(parameters), result, span, trust)


def _unknown(what: str, annotation: ast.expr | None, line: int, span: Span, diagnostics: Diagnostics) -> None:
    title = (
        f"{what} has no annotation" if annotation is None else f"{what} is annotated `{ast.unparse(annotation)[:60]}`"
    )
    note = "the annotation says which values there are, and `check` reads it without running anything"
    diagnostics.report("E345", title, span, label=f"line {line} of the file", notes=(note,), help=_SAYS)


def _annotated(node: ast.expr | None) -> Domain | None:
    match node:
        case ast.Constant(value=str(text)):
            try:
                return _annotated(ast.parse(text, mode="eval").body)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return None
        case ast.Name(id=name):
            return _PLAIN.get(name)
        case ast.Subscript(value=ast.Name(id="Literal") | ast.Attribute(attr="Literal"), slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            try:
                values = [ast.literal_eval(item) for item in items]
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                return None
            if (
                not all(type(value) in (bool, int, str) for value in values)
                or len({type(value) for value in values}) != 1
            ):
                return None
            if isinstance(values[0], int) and max(map(abs, values)) >= LIMIT:
                return None
            return Finite(tuple(dict.fromkeys(values)))
    return None
