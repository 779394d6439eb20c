"""A class made by ``quick_dataclasses`` behaves as the same class made by the library."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from functools import cached_property
from typing import Any, ClassVar

import pytest

from causal_dsl.base.quick_dataclasses import dataclass

Maker = Callable[..., Any]


def classes(make: Maker, **settings: Any) -> dict[str, Any]:
    """Classes with every kind of field and method, each made by ``make``."""

    @make(**settings)
    class Base:
        span: int = field(default=7, compare=False, repr=False, kw_only=True)
        kinds: ClassVar[int] = 3

    @make(**settings)
    class Below(Base):
        first: str
        items: list[int] = field(default_factory=list, hash=False)
        counted: int = field(init=False, default=5)
        fresh: dict[str, int] = field(init=False, default_factory=dict, compare=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "after", self.first * 2)

        @cached_property
        def length(self) -> int:
            return len(self.first)

    @make(**settings)
    class One:
        only: Any

    @make(**settings)
    class Nothing:
        pass

    @make(**settings)
    class Own:
        a: int
        b: int = 2

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

    @make(**settings)
    class OwnHash:
        a: int

        def __hash__(self) -> int:
            return 11

    class Part(ABC):
        @property
        @abstractmethod
        def name(self) -> str: ...

    @make(**settings)
    class Whole(Part):
        name: str = "n"

    class Plain(One):
        """No dataclass itself."""

    return {one.__name__: one for one in (Base, Below, One, Nothing, Own, OwnHash, Whole, Plain)}


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Base", (), {}),
    ("Base", (), {"span": 1}),
    ("Below", ("x",), {}),
    ("Below", ("x", [1]), {"span": 2}),
    ("Below", (), {"first": "y", "items": [1, 2]}),
    ("One", (3,), {}),
    ("One", ((1, 2),), {}),
    ("Nothing", (), {}),
    ("Own", (1,), {}),
    ("Own", (1, 3), {}),
    ("OwnHash", (1,), {}),
    ("Whole", (), {}),
    ("Plain", (1,), {}),
]


def seen(act: Callable[[], Any]) -> Any:
    """What an action gives, or the kind and the text of what it raises."""
    try:
        return act()
    except Exception as error:
        return type(error), str(error)


def told(kinds: dict[str, Any]) -> list[Any]:
    """All that can be seen of the classes and of what they make."""
    found: list[Any] = []
    made = [kinds[name](*given, **named) for name, given, named in CALLS]
    for name, kind in kinds.items():
        own = kind.__init__.__qualname__, kind.__match_args__
        fields = [(one.name, one.type, one.init, one.compare, one.kw_only) for one in dataclasses.fields(kind)]
        found += [name, own, fields, str(inspect.signature(kind)), kind.__hash__ is None, kind.__dict__.get("items")]
        found += [seen(kind), seen(lambda kind=kind: kind(1, 2, 3, 4, 5)), seen(lambda kind=kind: kind(nothing=1))]
    for one in made:
        found += [
            repr(one),
            vars(one),
            seen(lambda one=one: type(one).__hash__ is object.__hash__ or hash(one)),
            dataclasses.asdict(one),
        ]
        found += [[seen(lambda one=one, other=other: one == other) for other in made]]
        found += [copy.deepcopy(one) == one, repr(copy.copy(one)), seen(lambda one=one: dataclasses.replace(one))]
        for name in ("span", "only", "new"):
            found += [
                seen(lambda one=one, name=name: setattr(one, name, 9)),
                seen(lambda one=one, name=name: delattr(one, name)),
            ]
            found += [vars(one)]
    return [re.sub(" at 0x[0-9a-f]+", "", repr(part)) for part in found]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("eq", [True, False])
def test_it_is_as_the_librarys(frozen: bool, eq: bool) -> None:
    settings = {"frozen": frozen, "eq": eq}
    ours, theirs = told(classes(dataclass, **settings)), told(classes(dataclasses.dataclass, **settings))
    assert len(ours) > 200
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == []


@pytest.mark.parametrize(("base", "below"), [(dataclass, dataclasses.dataclass), (dataclasses.dataclass, dataclass)])
def test_either_kind_can_be_a_base_of_the_other(base: Maker, below: Maker) -> None:
    """Packages that add words make classes of their own from ours."""

    class Given:
        a: int
        b: list[int] = field(default_factory=list)

    class More(base(frozen=True)(Given)):  # type: ignore[misc]
        c: int = 3

    made = below(frozen=True)(More)
    one = made(1, [2])
    assert one == made(a=1, b=[2], c=3) != dataclasses.replace(one, c=4)
    assert repr(one).endswith("More(a=1, b=[2], c=3)")
    with pytest.raises(FrozenInstanceError):
        one.a = 2
    with pytest.raises(TypeError):
        below(frozen=False)(type("Loose", (made,), {"__annotations__": {}}))


@dataclass(frozen=True)
class Held:
    a: int
    below: Held | None = None


def test_what_is_made_can_be_pickled_and_may_hold_itself() -> None:
    one = Held(1, Held(2))
    assert pickle.loads(pickle.dumps(one)) == one
    object.__setattr__(one.below, "below", one)
    assert repr(one) == "Held(a=1, below=Held(a=2, below=...))"


def test_a_wrong_class_is_refused() -> None:
    with pytest.raises(ValueError, match="mutable default"):
        dataclass(type("Mutable", (), {"__annotations__": {"a": "list"}, "a": []}))
    with pytest.raises(TypeError, match="no type annotation"):
        dataclass(type("Bare", (), {"a": field()}))
