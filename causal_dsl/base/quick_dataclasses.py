"""``dataclass`` of the standard library, made in less time.

The library compiles each of up to six methods of a class by itself; 400 classes took a third of the time that
``check`` of a small spec takes. Here a class is compiled one method, its ``__init__``. The others are
functions over the names of its fields. ``fields``, ``replace`` and ``asdict`` of the library know these
classes, and either kind can be a base of the other.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


class _Unset:
    """In place of a value that is made anew for each instance; signatures show it."""

    def __repr__(self) -> str:
        return "<factory>"


_UNSET = _Unset()


@overload
def dataclass(cls: type[T], /) -> type[T]: ...
@overload
def dataclass(
    cls: None = None, /, *, frozen: bool = False, eq: bool = True, repr: bool = True
) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(dataclasses.field, Field))
def dataclass(cls: Any = None, /, *, frozen: bool = False, eq: bool = True, repr: bool = True) -> Any:
    """Make a class a dataclass; the settings mean what they mean in the library.

    For the settings ``order`` and ``slots``, and for fields of ``InitVar``, take the library's.
    """

    def made(cls: type) -> type:
        return _made(cls, frozen, eq, repr)

    return made if cls is None else made(cls)


def _made(cls: Any, frozen: bool, eq: bool, repr: bool) -> type:
    own = dict(cls.__dict__)
    bases = [base for base in cls.__mro__[:0:-1] if "__dataclass_fields__" in base.__dict__]
    if any(base.__dataclass_params__.frozen != frozen for base in bases):
        raise TypeError(f"{cls.__qualname__}: of a dataclass and its bases, all are frozen or none is")
    alone = _of_the_library(cls, own)
    for name, value in own.items():
        if isinstance(value, Field):
            if value.default is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, value.default)
    cls.__dataclass_fields__ = {}
    for base in [*bases, alone]:
        cls.__dataclass_fields__ |= base.__dataclass_fields__
    cls.__dataclass_params__ = alone.__dataclass_params__
    cls.__dataclass_params__.frozen, cls.__dataclass_params__.eq = frozen, eq
    fields = dataclasses.fields(cls)
    methods: dict[str, Any] = {
        "__init__": _init(cls, fields, frozen),
        "__match_args__": tuple(one.name for one in fields if one.init and not one.kw_only),
    }
    if repr:
        methods["__repr__"] = _repr([one.name for one in fields if one.repr])
    if eq:
        methods["__eq__"] = _eq([one.name for one in fields if one.compare])
        # a class that defines ``__eq__`` alone has the name with None in it
        if own.get("__hash__") is None:
            kept = [one.name for one in fields if (one.compare if one.hash is None else one.hash)]
            own.pop("__hash__", None)
            methods["__hash__"] = _hash(kept) if frozen else None
    if frozen:
        methods |= _frozen(cls, frozenset(one.name for one in fields))
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    abc.update_abstractmethods(cls)
    return cls


def _of_the_library(cls: type, own: Mapping[str, Any]) -> Any:
    """A class with the annotations of ``cls`` that the library made a dataclass: it has read the fields, and no method."""
    annotations = own.get("__annotations__", {})
    held = {name: value for name, value in own.items() if name in annotations or isinstance(value, Field)}
    # a class without a text gets one of the library, which takes long to make
    about = {"__module__": cls.__module__, "__doc__": "its fields", "__annotations__": annotations}
    made = type(cls.__name__, (), held | about)
    return dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(made)


def _init(cls: type, fields: Sequence[Field[Any]], frozen: bool) -> Any:
    """``__init__`` of a class, compiled: calls of it are many."""
    space: dict[str, Any] = {"__name__": cls.__module__, "_set": object.__setattr__, "_unset": _UNSET}
    taken, named, body = ["self"], list[str](), list[str]()
    for one in fields:
        name, value = one.name, one.name
        made = one.default_factory is not MISSING
        space[f"_of_{name}"] = one.default_factory if made else one.default
        has_default = made or one.default is not MISSING
        if made:
            value = f"_of_{name}() if {name} is _unset else {name}" if one.init else f"_of_{name}()"
        if one.init:
            default = f"={'_unset' if made else f'_of_{name}'}" if has_default else ""
            (named if one.kw_only else taken).append(name + default)
        elif not made:
            continue
        body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    arguments = ", ".join([*taken, "*", *named] if named else taken)
    exec("\n ".join([f"def __init__({arguments}):", *(body or ["pass"])]), space)
    init = space["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {one.name: one.type for one in fields if one.init} | {"return": None}
    return init


def _values(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that gives the values of fields as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    if names:
        one = attrgetter(names[0])
        return lambda self: (one(self),)
    return lambda self: ()


def _repr(names: Sequence[str]) -> Any:
    @recursive_repr()
    def __repr__(self: Any) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({told})"

    return __repr__


def _eq(names: Sequence[str]) -> Any:
    values = _values(names)

    def __eq__(self: Any, other: object) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(names: Sequence[str]) -> Any:
    values = _values(names)

    def __hash__(self: Any) -> int:
        return hash(values(self))

    return __hash__


def _frozen(cls: Any, names: frozenset[str]) -> dict[str, Any]:
    """Methods that refuse to set and to delete fields."""

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return {"__setattr__": __setattr__, "__delattr__": __delattr__}


__all__ = ["dataclass"]
