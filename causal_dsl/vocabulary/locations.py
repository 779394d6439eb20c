"""Places in a network, as values: which vector (a site), at which tokens (a position)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from causal_dsl.syntax import tree


@dataclass(frozen=True, order=True)
class Site:
    """A vector that a network computes for each token (or each row), without the token.

    ``component`` is one of the names in :mod:`causal_dsl.program.components`. ``heads`` are given
    for ``q k v z q_rot k_rot pattern`` only, and the expert of ``expert_out``, whose term alone is then meant. ``dims`` selects coordinates of the vector
    (for several heads: of their concatenation); None is all of them.
    """

    component: str
    layer: int | None = None
    heads: tuple[int, ...] = ()
    module: str | None = None
    dims: tuple[int, ...] | None = None

    @property
    def form(self) -> tuple[object, ...]:
        """The place without its layer, heads and coordinates."""
        return (self.component, self.module, bool(self.heads), self.dims is not None)

    def __str__(self) -> str:
        parts = []
        if self.layer is not None:
            parts.append(f"layer[{self.layer}]")
        if self.heads and self.component == "expert_out":
            return ".".join([*parts, f"expert[{self.heads[0]}]", "out"])
        if self.heads:
            parts.append(f"head[{', '.join(map(str, self.heads))}]")
        parts.append(f'module("{self.module}")' if self.component == "module" else self.component)
        return ".".join(parts)


@dataclass(frozen=True)
class Position:
    """Tokens of a prompt, still to be looked up row by row.

    ``kind`` is ``placeholder`` (the tokens of a placeholder's value; ``name``, and ``occurrence`` from 1 for a placeholder used more
    than once), ``text`` (a literal of the prompt; ``name`` is the literal), ``index`` (``index``, negative from
    the end), ``all``, ``several`` (those of ``parts``, one after the other), ``except`` (all but those of ``parts``), ``offset`` (the token ``index`` behind the one
    of ``parts``), ``range`` (from the first of ``parts`` to the second, which is left out), ``end`` (behind the last token:
    where a range ends), or ``choice`` (the first of ``parts`` where the condition ``when``, in words ``name``, holds of the row's
    variables, else the second). ``part`` is ``last``, ``first`` or ``all`` of a placeholder's or literal's tokens.
    """

    kind: Literal["placeholder", "text", "index", "all", "several", "except", "offset", "range", "end", "choice"]
    name: str = ""
    occurrence: int = 0
    part: Literal["first", "last", "all"] = "last"
    index: int = 0
    parts: tuple[Position, ...] = ()
    when: tree.Expr | None = field(default=None, compare=False, repr=False)

    @property
    def single(self) -> bool:
        """Whether it is one token in every prompt."""
        if self.kind == "choice":
            return all(part.single for part in self.parts)
        return self.kind in ("index", "offset") or (self.kind in ("placeholder", "text") and self.part != "all")

    def walk(self) -> Iterator[Position]:
        """The position and all that it is made from."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def settled(self, choices: Mapping[str, bool]) -> Position:
        """The position in a row in which the conditions are so."""
        if self.kind == "choice":
            return self.parts[0 if choices[self.name] else 1].settled(choices)
        return replace(self, parts=tuple(part.settled(choices) for part in self.parts)) if self.parts else self

    def __str__(self) -> str:
        if self.kind == "index":
            return {0: "first", -1: "last"}.get(self.index, str(self.index))
        if self.kind == "all":
            return "all"
        if self.kind == "except":
            return f"all but {', '.join(map(str, self.parts))}"
        if self.kind == "several":
            return " and ".join(map(str, self.parts))
        if self.kind == "offset":
            return f"{self.parts[0]} {'-' if self.index < 0 else '+'} {abs(self.index)}"
        if self.kind == "range":
            return ":".join(str(part.index) if part.kind == "index" else str(part) for part in self.parts)
        if self.kind == "end":
            return ""
        if self.kind == "choice":
            return f"if {self.name} then {self.parts[0]} else {self.parts[1]}"
        name = f'"{self.name}"' if self.kind == "text" else self.name
        if self.occurrence:
            name += f"({self.occurrence})"
        elif name in ("first", "last", "all"):  # a placeholder of such a name is told from the token by its part
            return f"{name}.{self.part}"
        return name if self.part == "last" else f"{name}.{self.part}"


@dataclass(frozen=True)
class FeatureSite:
    """``via name(settings)``: how a variable sits in the vector at its sites."""

    name: str
    settings: tuple[tuple[str, object], ...] = ()

    @property
    def shown(self) -> str:
        """As it is in messages: its file by its last name, its settings left out."""
        path = dict(self.settings).get("path")
        return f'{self.name}("{Path(path).name}")' if isinstance(path, str) else f"{self.name}()"

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.settings)})"


@dataclass(frozen=True)
class Place:
    """One site at one position; ``position`` is None for vector networks. ``key``: of attention weights only those to the
    tokens of that position, head after head."""

    site: Site
    position: Position | None = None
    key: Position | None = None

    def __hash__(self) -> int:
        """Remembered: a sweep that reads all terms of the stream looks places up by the hundred thousand."""
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = hash((self.site, self.position, self.key))
            object.__setattr__(self, "_hash", found)
        return found

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}  # another process hashes anew

    def __str__(self) -> str:
        inside = [str(position) for position in (self.position, self.key) if position is not None]
        if self.site.dims is not None:
            inside.append(_dims(self.site.dims))
        return f"{self.site}[{', '.join(inside)}]" if inside else str(self.site)


def _dims(dims: tuple[int, ...]) -> str:
    if len(dims) > 1 and dims == tuple(range(dims[0], dims[-1] + 1)):
        return f"{dims[0]}:{dims[-1] + 1}"
    return ", ".join(map(str, dims))
