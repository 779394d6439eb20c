"""Words of one kind: those of this package, and those that installed packages add through entry points.

A package adds a word with a line in its ``pyproject.toml``; the record is imported when the word is first used::

    [project.entry-points."causal_dsl.features"]
    leading = "my_package:LEADING"
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from causal_dsl.base.faults import OwnFault, foreign, raise_if_stopped
from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, SpecError, fail
from causal_dsl.store import reads
from causal_dsl.vocabulary.record_tables import records_in, table

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: A group of ours in the entry points of a package.
_GROUP = re.compile(rb"\[\s*causal_dsl\.")


class Record(Protocol):
    """The one thing that every record has: the word that it stands for."""

    @property
    def name(self) -> str: ...


Word = TypeVar("Word", bound=Record)


class Words(Mapping[str, Word], Generic[Word]):
    """The records of one kind by their words: ``own`` ones first, then those of the entry points of ``group``.

    ``own`` are records, or the name of a package of ours, each module of which holds a tuple of them in ``FAMILY``.

    Iterating and ``in`` import no package. Looking up a word raises KeyError where there is none, and SpecError where it
    has two meanings (E785) or its package gives no record of ``kind`` (E786).
    """

    def __init__(self, group: str, kind: type[Word], own: Iterable[Word] | str):
        self.group, self.kind, self._own = group, kind, own
        self._path: list[str] | None = None
        self._added: dict[str, list[EntryPoint]] = {}
        self._loaded: dict[EntryPoint, Word] = {}

    @cached_property
    def own(self) -> Mapping[str, Word]:
        """The records of this package by their words."""
        own = records_in(self._own) if isinstance(self._own, str) else self._own
        return table(f"{self.group.rpartition('.')[2]} of this package", own)

    def __getitem__(self, name: str) -> Word:
        return self._record(name, NOWHERE)

    def at(self, name: str, span: Span) -> Word:
        """The record of a word that a spec writes at ``span``; the code that adds it belongs to what the spec reads."""
        if name not in self.added:
            return self.own[name]
        record = self._record(name, span)
        for file in self.files(name):
            reads.note(file)
        return record

    def _record(self, name: str, span: Span) -> Word:
        added = self.added.get(name)
        if added is None:
            return self.own[name]
        if len(added) + (name in self.own) > 1:
            raise self._twice(name, added, span)
        if added[0] not in self._loaded:
            self._loaded[added[0]] = self._load(added[0], span)
        return self._loaded[added[0]]

    def find(self, name: str, span: Span, diagnostics: Diagnostics) -> Word | None:
        """:meth:`at`; None, with the fault among ``diagnostics``, where it raises, and None for what is not a word."""
        try:
            return self.at(name, span)
        except SpecError as error:
            diagnostics.extend(error.diagnostics)
        except KeyError:
            pass
        return None

    def usable(self) -> tuple[Word, ...]:
        """Every record, except those of words that have two meanings or cannot be loaded."""
        found = []
        for name in self:
            try:
                found.append(self[name])
            except SpecError:
                continue
        return tuple(found)

    def package(self, name: str) -> str:
        """The package that adds a word, with its version; empty for a word of this package."""
        added = self.added.get(name)
        return _package(added[0]) if added else ""

    def files(self, name: str) -> list[Path]:
        """The code of the package that adds a word: numbers depend on it. Empty for a word of this package."""
        found = []
        for entry in self.added.get(name, ()):
            file = getattr(sys.modules.get(entry.module), "__file__", None)
            if isinstance(file, str):
                path = Path(file)
                found += sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
        return found

    def fault(self, name: str, why: str, span: Span = NOWHERE) -> SpecError:
        """E786 for a word whose package does not do what its record says, as a spec is checked or run."""
        entry = self.added[name][0]
        return fail(
            "E786",
            f"`{name}` fails in the package that adds it",
            span,
            notes=(f"{_package(entry)} adds it as `{entry.value}`", why),
            help="ask the authors of the package, or leave the word out",
        )

    def call(self, name: str, function: Callable[..., Any], *given: Any, span: Span = NOWHERE) -> Any:
        """The value that a function of a word gives; E786 where the word is a package's and its function raises."""
        if name not in self.added:
            return function(*given)
        try:
            with foreign:
                return function(*given)
        except (SpecError, OwnFault, MemoryError):
            raise
        except Exception as error:
            raise_if_stopped()
            if type(error).__name__ == "OutOfMemoryError":  # torch's: smaller batches are tried
                raise
            raise self.fault(name, raised(error), span) from error

    @property
    def added(self) -> Mapping[str, list[EntryPoint]]:
        """The entry points of the group by their words. They are looked for again once ``sys.path`` is another."""
        if self._path != sys.path:
            self._path = list(sys.path)
            self._added, self._loaded = {}, {}
            for entry in _entry_points(tuple(self._path), self.group):
                there = self._added.setdefault(entry.name, [])
                if all((other.value, _package(other)) != (entry.value, _package(entry)) for other in there):
                    there.append(entry)
        return self._added

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.added

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *sorted(self.added)]))

    def __len__(self) -> int:
        return len(self.own.keys() | self.added.keys())

    def _twice(self, name: str, added: list[EntryPoint], span: Span) -> SpecError:
        who = [_package(entry) for entry in added]
        return fail(
            "E785",
            f"`{name}` has two meanings",
            span,
            notes=(f"it is a word of {', of '.join((['causal_dsl'] if name in self.own else []) + who)}",),
            help=f"uninstall {who[-1].split()[0]}, or ask its authors for another name",
        )

    def _load(self, entry: EntryPoint, span: Span) -> Word:
        try:
            with foreign:
                record: Any = entry.load()
        except Exception as error:
            raise self._broken(entry, raised(error), span) from error
        if not isinstance(record, self.kind):
            why = f"`{entry.value}` is {type(record).__name__}, and it has to be {self.kind.__name__}"
            raise self._broken(entry, why, span)
        if record.name != entry.name:
            raise self._broken(entry, f"its record calls itself `{record.name}`", span)
        return record

    def _broken(self, entry: EntryPoint, why: str, span: Span) -> SpecError:
        return fail(
            "E786",
            f"`{entry.name}` cannot be loaded from the package that adds it",
            span,
            notes=(f"{_package(entry)} says that it is `{entry.value}`", why),
            help="reinstall the package, or ask its authors",
        )


def _entry_points(path: tuple[str, ...], group: str) -> Iterable[EntryPoint]:
    """The entry points of a group on a ``sys.path``."""
    every = _every_entry_point(path)
    return () if every is None else every.select(group=group)


@lru_cache(maxsize=1)
def _every_entry_point(path: tuple[str, ...]) -> Any:
    """The entry points of all groups on a ``sys.path``, which is searched once for all kinds of words; None where no package has one
    of ours. The library that knows all ways of installing takes long to import, and is asked only where there may be one."""
    others = any(hasattr(one, "find_distributions") and one is not PathFinder for one in sys.meta_path)
    if not others and not any(map(_may_add, path)):
        return None
    from importlib.metadata import entry_points

    return entry_points()


def _may_add(folder: str) -> bool:
    """Whether an entry of ``sys.path`` may hold a package with words of ours: false only of a folder in which each package says so."""
    try:
        names = os.listdir(folder or ".")
    except NotADirectoryError:
        return True  # an archive
    except OSError:
        return False
    if folder.lower().endswith(".egg"):
        return True
    for name in names:
        if name.lower().endswith((".dist-info", ".egg-info")):
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:
                    if _GROUP.search(file.read()):
                        return True
            except OSError:
                continue  # it has none
    return False


def raised(error: BaseException) -> str:
    """An exception of the code of a package in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def made(dotted: str) -> Any:
    """The object that a dotted name ``module:attribute`` of a record stands for: imported now, so that the record itself is light."""
    module, _, attribute = dotted.partition(":")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _package(entry: EntryPoint) -> str:
    about = entry.dist
    return f"{about.name} {about.version}" if about is not None else entry.module


__all__ = ["Record", "Words", "made", "raised"]
