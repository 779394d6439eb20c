"""A causal model as a value: variables in topological order, and one compiled function for all of them.

Codes: arrays hold numbers. A whole number is itself (int64), a real number too (float64), a truth value is 0 or 1, a
text is its number in the model's list of texts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.accepted import SINGLE, Accepted, AcceptedSets
from causal_dsl.causal.compiled import run
from causal_dsl.causal.condition_functions import Condition
from causal_dsl.causal.domain_of import compile_domain
from causal_dsl.causal.domains import Finite, Sets, Value, show, type_of
from causal_dsl.causal.evaluate import Equation, Evaluator, guard_fault
from causal_dsl.causal.functions import PythonFunction
from causal_dsl.causal.input_list import Support
from causal_dsl.causal.lookups import code_of, codes_of, value_of
from causal_dsl.causal.scope import Scope, Strings
from causal_dsl.causal.tables import load_table
from causal_dsl.causal.terms import Symbol
from causal_dsl.causal.together import Outputs, Together
from causal_dsl.causal.typed import Guard
from causal_dsl.causal.variables import Variable
from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, SpecError

if TYPE_CHECKING:
    import networkx as nx


def column_of(model: CausalModel, values: Mapping[str, np.ndarray], outputs: Outputs) -> np.ndarray:
    """The codes of an output, or of several together, ``[n]``."""
    if isinstance(outputs, str):
        return values[outputs]
    together = model.accepted(outputs)
    assert isinstance(together, Together)
    return together.codes([values[name] for name in outputs])


__all__ = ["CausalModel", "Scope", "column_of", "compile_domain", "load_table"]


class CausalModel:
    """A compiled causal model.

    ``variables`` are in topological order. ``choices[name]`` computes the values of a set that depends on other variables. ``wheres`` are the
    conditions on its inputs, ``scope`` what its expressions could name.
    """

    def __init__(self, name: str, span: Span, strings: Strings, scope: Scope):
        self.name = name
        self.scope = scope
        self.span = span
        self.strings = strings
        self.variables: dict[str, Variable] = {}
        self.outputs: tuple[str, ...] = ()
        #: the outputs of which the model does not say what they are; each is one value, the same in every row
        self.unstated: frozenset[str] = frozenset()
        self.symbols: dict[str, Symbol] = {}
        self.choices: dict[str, Choices] = {}
        #: of each variable that is a set of values: which values its codes hold
        self.sets: dict[str, AcceptedSets] = {}
        self.wheres: tuple[Condition, ...] = ()
        self.functions: tuple[PythonFunction, ...] = ()
        self._evaluator = Evaluator(name, self.variables, self.sets, strings, {}, self.symbols, {})
        #: the lists of its inputs that were made, by how long they might be (:func:`causal_dsl.causal.support.support_of`)
        self.supports: dict[int, Support | None] = {}
        #: where the hashes of its inputs are cut into parts (:func:`causal_dsl.causal.splits.cuts_of`); None: not known yet
        self.cuts: np.ndarray | None = None
        self._codes: dict[str, np.ndarray] = {}
        self._together: dict[tuple[str, ...], Together] = {}
        #: lists of its inputs as :func:`causal_dsl.causal.sampling.listed` makes them
        self.listed: dict[Any, Any] = {}
        #: What a network is shown, one entry a prompt line: the text around the values, and the variables in it.
        self.lines: tuple[tuple[str, tuple[str, ...]], ...] = ()
        #: The variables that say in which part an input is, where a draw names them; the variable that inputs are drawn in
        #: proportion to, where one does.
        self.by: tuple[str, ...] = ()
        self.weight = ""
        #: The model that this is a view of: itself, where it is none.
        self.origin = self
        self._views: dict[Any, CausalModel] = {}

    def __repr__(self) -> str:
        return f"<CausalModel {self.name}: {', '.join(self.variables)}>"

    @property
    def exogenous(self) -> tuple[str, ...]:
        """The drawn variables, in the order in which they are drawn."""
        return tuple(name for name, variable in self.variables.items() if variable.kind == "exogenous")

    @cached_property
    def expressions(self) -> dict[str, Any]:
        """The sympy expression of every mechanism, over symbols called as its parents. See
        :func:`causal_dsl.causal.symbolic.as_sympy` for what stands for texts, truth values and tables."""
        from causal_dsl.causal.symbolic import as_sympy  # sympy takes a quarter of a second to import

        names = {symbol: name for name, symbol in self.symbols.items()}
        return {name: as_sympy(equation.expr, names) for name, equation in self._evaluator.equations.items()}

    def mechanism(self, name: str) -> Any:
        """The expression of a mechanism over ``symbols``, a number (0 or 1 for a truth value); None for a drawn variable."""
        equation = self._evaluator.equations.get(name)
        return None if equation is None else equation.expr

    @property
    def needs_trust(self) -> tuple[PythonFunction, ...]:
        """Python functions that it calls and that may not be run; with any, it cannot be evaluated (E346)."""
        return tuple(function for function in self.functions if not function.trusted)

    @cached_property
    def graph(self) -> nx.DiGraph:
        """Parents to children. Edges from what a drawn set depends on are included."""
        import networkx as nx  # a fifth of a second that `check` need not pay

        graph = nx.DiGraph()
        graph.add_nodes_from(self.variables)
        graph.add_edges_from((parent, name) for name, variable in self.variables.items() for parent in variable.parents)
        return graph

    def ancestors(self, name: str, without: Collection[str] = ()) -> set[str]:
        """The variables from which a path leads to ``name``, none that passes through a variable of ``without``."""
        found, stack = set[str](), [name]
        while stack:
            new = {parent for parent in self.variables[stack.pop()].parents if parent not in without} - found
            found |= new
            stack += new
        return found - {name}

    def evaluate(
        self,
        settings: Mapping[str, np.ndarray],
        do: Mapping[str, np.ndarray] | None = None,
        wanted: Iterable[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute every variable (or only the ``wanted`` ones and nothing that they do not need).

        ``settings`` holds codes of the exogenous variables, ``do`` codes of the intervened ones, each ``[n]``; gives codes
        ``[n]`` by variable. Raises SpecError for a division by zero in a branch that is taken (E325), a number too
        large (E326), a value outside a declared domain (E324), a key that a table lacks (E349), and for Python
        functions that are not trusted or fail (E346 to E348).
        """
        return self._evaluator.evaluate(settings, do or {}, wanted)

    def encode(self, variable: str, value: Value) -> int | float:
        """The code of a value of a variable. Raises ValueError for a value that it never takes."""
        domain = self.variables[variable].domain
        widened = domain.type == "real" and type_of(value) == "int"
        if value not in domain or (type_of(value) != domain.type and not widened):
            raise ValueError(f"{show(value)} is not a value of {variable!r}: {domain}")
        code: int | float = float(value) if widened else code_of(value, self.strings)
        return code

    def accepted(self, variable: Outputs) -> Accepted:
        """Which answers a variable accepts: its value, or those that are in it; of several outputs, what all of them accept."""
        if isinstance(variable, str):
            return self.sets.get(variable, SINGLE)
        if variable not in self._together:
            self._together[variable] = Together(tuple(map(self.accepted, variable)))
        return self._together[variable]

    def answer(self, variable: str, value: Value) -> int | float:
        """The code of a value that a network gives where the variable is read out. Raises ValueError if it never accepts it."""
        return self.sets[variable].answer(value) if variable in self.sets else self.encode(variable, value)

    def answers(self, variable: str) -> tuple[Value, ...] | range | None:
        """The values that it can accept, in the order of its domain; None where there is no end of them."""
        domain = self.variables[variable].domain
        domain = domain.universe if isinstance(domain, Sets) else domain
        return domain.values if isinstance(domain, Finite) and domain.size < 2**62 else None

    def value(self, variable: str, code: Any) -> Value:
        """The value that one code of a variable stands for."""
        return value_of(code, self.variables[variable].type, self.strings)

    def decode(self, variable: str, codes: Iterable[Any]) -> list[Value]:
        """The values that codes of a variable stand for."""
        kind = self.variables[variable].type
        return [value_of(code, kind, self.strings) for code in np.asarray(codes).tolist()]

    def codes(self, variable: str) -> np.ndarray:
        """The codes of all values of a finite domain, in its order."""
        if variable not in self._codes:
            domain = self.variables[variable].domain
            assert isinstance(domain, Finite)
            self._codes[variable] = (
                np.arange(domain.values.start, domain.values.stop, dtype=np.int64)
                if isinstance(domain.values, range)
                else codes_of(domain.values, domain.type, self.strings)
            )
        return self._codes[variable]

    def shown(self, lines: tuple[tuple[str, tuple[str, ...]], ...]) -> CausalModel:
        """The same model whose inputs are told apart by what a network is shown of them: two settings that it cannot tell
        apart are one input. ``lines`` are as in the attribute."""
        return self._view(lines, self.by, self.weight)

    def parted(self, by: tuple[str, ...]) -> CausalModel:
        """The same model whose inputs lie in parts by the values of these variables; as many as there are tell for ``()``."""
        return self._view(self.lines, by, self.weight)

    def weighted(self, weight: str) -> CausalModel:
        """The same model whose inputs are drawn in proportion to a variable, beside what its draws say."""
        return self._view(self.lines, self.by, weight)

    def _view(self, lines: tuple[tuple[str, tuple[str, ...]], ...], by: tuple[str, ...], weight: str) -> CausalModel:
        asked = (lines, by, weight)
        if asked not in self._views:
            view = copy.copy(self)
            view.lines, view.by, view.weight, view.cuts = lines, by, weight, None
            if weight != self.weight:
                view.supports = {}
            self._views[asked] = view
        return self._views[asked]

    @property
    def telling(self) -> tuple[str, ...]:
        """The variables that say in which part an input is: those of ``by``; else those that every line shows, and the drawn
        ones if it shows them all."""
        if self.by:
            return self.by
        common = set.intersection(*(set(names) for _, names in self.lines)) if self.lines else set(self.exogenous)
        return self.exogenous if common >= set(self.exogenous) else tuple(sorted(common))


@dataclass
class Choices:
    """The values of a set that depends on other variables, as in ``subject ~ {first, second}``."""

    parents: tuple[str, ...]
    function: Callable[..., list[Any]]
    count: int
    dtype: Any
    guards: tuple[Guard, ...] = ()

    def __call__(self, columns: Mapping[str, np.ndarray], n: int) -> np.ndarray:
        """The codes of the set's items, ``[n, count]``; items may be equal."""
        given = [np.asarray(columns[name]) for name in self.parents]
        found = run(self.function, given, [self.dtype] * self.count + [np.bool_] * len(self.guards), n)
        for guard, rows in zip(self.guards, found[self.count :], strict=True):
            if rows.any():
                raise SpecError([guard_fault(guard, "this set", "", "", ())])
        return np.stack(found[: self.count], axis=1)


def equation(symbol: Symbol, expr: Any, guards: Iterable[Guard], span: Span = NOWHERE) -> Equation:
    """A mechanism for :class:`~causal_dsl.causal.evaluate.Evaluator`."""
    return Equation(symbol, expr, tuple(guards), span)


def refuse_unstated(name: str, span: Span, found: Diagnostics) -> None:
    """Report E772: something asks for the value of an output that has none."""
    found.report(
        "E772",
        f"the causal model does not say what `{name}` is",
        span,
        notes=(f"it declares `output {name}` without a value",),
        help=f"write `output {name} := …`, or leave this out",
    )
