"""The values that are written at a site: a record for each kind of value, and what all values have in common.

A written value is a function of the vector that is there and of other runs. Each kind is one module of
:mod:`causal_dsl.vocabulary.values`: a frozen class with what one value is made from, the function that computes it, and
the record ``FAMILY`` that says how it stands in a spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span
from causal_dsl.vocabulary.settings import Setting

if TYPE_CHECKING:
    from torch import Tensor

V = TypeVar("V", bound="Value")


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(part.name for part in fields(kind) if part.name != "span")


@dataclass(frozen=True)
class Value:
    """A written value, as a test says it and, once runs are known, as the plan computes it.

    ``function`` names the function (``module:function``) that both executors call: given a value and where it is written
    (:class:`causal_dsl.engine.values.Here`), it gives a function from the vectors that are there [m, width] to those that
    are written, [m, width] or [1, width], or one number.
    """

    function: ClassVar[str]
    #: made from the vector that is there
    current: ClassVar[bool] = False
    #: other numbers in rows that are alike
    random: ClassVar[bool] = False
    #: comes from no run: the network may never be where it is written
    given: ClassVar[bool] = True
    #: each of its numbers is made from the numbers at its own place: it may be as wide as each row has it
    one_by_one: ClassVar[bool] = False
    #: made from nothing but itself, its parts and the vector that is there: from no run, and not by chance. Its function asks for no
    #: more of where it is written than the functions of its parts. Each kind that has a record says it.
    runless: ClassVar[bool] = False

    #: the record of its word, which sets it
    record: ClassVar[Written | None] = None

    #: where it is written in a spec
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)

    @property
    def parts(self) -> tuple[Value, ...]:
        """The values that it is made from."""
        kind: Any = type(self)
        every = [getattr(self, name) for name in _names(kind)]
        return tuple([value for value in every if isinstance(value, Value)])

    def walk(self) -> Iterator[Value]:
        """The value and all that it is made from."""
        stack: list[Value] = [self]
        while stack:
            value = stack.pop()
            yield value
            stack += value.parts[::-1]

    def find(self, kind: type[V]) -> Iterator[V]:
        """Itself and what it is made from, where that is of a kind."""
        return (value for value in self.walk() if isinstance(value, kind))

    def each(self, change: Callable[[Value], Value]) -> Self:
        """The same with each of its parts changed."""
        parts: dict[str, Any] = {
            f.name: change(part) for f in fields(self) if isinstance(part := getattr(self, f.name), Value)
        }
        return replace(self, **parts) if parts else self

    @property
    def changes(self) -> bool:
        """Whether it, or a part of it, is made from the vector that is there."""
        return any(part.current for part in self.walk())

    @property
    def planned(self) -> bool:
        """Whether it is a node of the plan: what is made from other values, or from runs."""
        return bool(self.parts)

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The nodes of the plan that it is made from."""
        return tuple(part for part in self.parts if part.planned)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is read from."""
        return ()

    @property
    def ablates(self) -> str:
        """The word for what is left of a place where it is written, ``zero`` or ``mean``; empty for all but ablations."""
        return ""

    @property
    def removes(self) -> bool:
        """Whether it takes away all of what is there or a part, and puts nothing of a file, or of chance, in its place."""
        if any(part.random or part.files for part in self.walk()):
            return False
        return not self.changes or self.lessens

    @property
    def lessens(self) -> bool:
        """Of a value that is made from what is there: whether it is that with a part of it taken away."""
        return False

    def told(self) -> str:
        """All that decides it, as text: what is read from files and from runs is told beside it."""
        known = ((f.name, getattr(self, f.name)) for f in fields(self) if f.compare)
        said = (f"{name}={value.told() if isinstance(value, Value) else repr(value)}" for name, value in known)
        return f"{type(self).__name__}({', '.join(said)})"

    def order(self, site: Any) -> object:
        """The key of the right order of a write at ``site``: of values that are alike in it one is tried."""
        return (type(self).__name__, *(part.order(site) for part in self.parts))

    def __str__(self) -> str:
        if self.record is None:
            return repr(self)
        said, bare = [], True
        for name, setting in self.record.settings.items():
            value = getattr(self, name)
            if value == setting.default and not setting.required:
                bare = False  # those that follow need their names
            elif setting.positional and bare:
                said.append(_shown(value))
            else:
                said.append(f"{name}={_shown(value)}")
        return f"{self.record.name}({', '.join(said)})" if said else self.record.name

    @property
    def text(self) -> str:
        """As it is written in a spec: its word with the settings that are not those it has anyway, where it does not say more."""
        return str(self)


def _shown(value: object) -> str:
    """A setting as a spec writes it."""
    match value:
        case Value():
            return value.text
        case bool():
            return str(value).lower()
        case float() | int():
            return f"{value:g}"
        case tuple():
            return ", ".join(map(_shown, value))
    return f'"{value}"'


class Hand(Protocol):
    """One row of an intervention, as a person would work it out with hooks: what the tests hold examples against."""

    current: Tensor

    def of(self, role: str) -> Tensor:
        """The vector of the run of ``role`` at the written place, in this row."""

    def mean(self, role: str) -> Tensor:
        """The mean of that over the rows."""

    def noise(self, seed: int) -> Tensor:
        """The standard normal numbers of a seed in this row."""

    def file(self) -> Tensor:
        """The vector that ``vector("VECTORS", key="wWIDTH")`` names."""


@dataclass(frozen=True)
class Example:
    """A form of a value, as it is written after a site, and what it is by hand. ``unequal``: not of attention weights,
    whose width is that of the prompt. ``current``: made from the vector that is there, so that it is not added to it."""

    text: str
    by_hand: Callable[[Hand], Tensor]
    unequal: bool = False
    current: bool = False


@dataclass(frozen=True)
class Written:
    """A kind of value that can be written at a site.

    ``name``: its word, called as ``name(settings)`` (or standing alone where none is required), or the sign that makes it
    where it is not a word (``word`` False). ``forms``: as the table of the documentation shows it; ``meaning``: what it says
    there. ``kind``: its class, whose fields are the settings. ``check``: from a value to a fault (a title and help); None
    where it is sound. ``code`` is the diagnostic of such faults.
    """

    name: str
    kind: type[Value]
    forms: str
    meaning: str
    examples: tuple[Example, ...]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    check: Callable[[Any], tuple[str, str] | None] = lambda value: None
    code: str = ""
    word: bool = True

    def __post_init__(self) -> None:
        if "runless" not in vars(self.kind):
            raise TypeError(
                f"{self.kind.__name__} does not say whether it is `runless`: made from no run, and not by chance"
            )
        if self.word and "record" not in vars(self.kind):
            self.kind.record = self


__all__ = ["Example", "Hand", "Value", "Written"]
