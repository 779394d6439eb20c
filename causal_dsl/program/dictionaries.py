"""Dictionaries in circuits: the numbers of a feature at a site as nodes, and what the feature leaves out as one more.

The vector at the site is what its latents decode to, each by itself, and an error term (Marks et al. 2025): each of these can be written
while the others stay.
"""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.vocabulary.locations import Place, Position, Site


@dataclass(frozen=True)
class Dictionary:
    """A feature of a file at a ``site``, all of it. ``name`` is how its nodes begin, ``layer[3].resid_post via sae("s"``; ``count`` is the number of its
    latents, of which each is a node; of another feature all numbers are one (None). ``feature`` is None in results that were read."""

    name: str
    site: Site
    feature: FeatureRef | None = None
    count: int | None = None

    def __hash__(self) -> int:
        """Remembered: thousands of nodes hold it."""
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = hash((self.name, self.site, self.feature, self.count))
            object.__setattr__(self, "_hash", found)
        return found

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}  # another process hashes anew

    def __lt__(self, other: Dictionary) -> bool:
        return (self.name, str(self.feature)) < (other.name, str(other.feature))

    @property
    def whole(self) -> NodeParts:
        """All of its nodes."""
        assert self.feature is not None, "results that were read are not run"
        return NodeParts(self.feature, (), True, True)

    @property
    def shown(self) -> str:
        """Its name in sentences."""
        return f"{self.name})"


@dataclass(frozen=True)
class NodeParts:
    """Some nodes of a dictionary: ``latents`` by their numbers (empty: none; of a dictionary that is one node, ``whole``), and with ``error``
    what it leaves out."""

    feature: FeatureRef
    latents: tuple[int, ...] = ()
    whole: bool = False
    error: bool = False

    @property
    def all(self) -> NodeParts:
        """All nodes of the dictionary."""
        return NodeParts(self.feature, (), True, True)

    def places(self, position: Position | None) -> tuple[Place, ...]:
        """Where vectors stand that these are computed from: those that the feature reads, and the one that is written."""
        own = replace(self.feature.place, position=position)
        read = tuple(replace(place, position=position) for place in self.feature.reads)
        return (*read, own) if read else (own,)

    def apart(self, other: NodeParts) -> bool:
        """Whether these and others are nodes of one dictionary, and none of them is both: they may be written at one token."""
        if self.feature != other.feature or (self.error and other.error):
            return False
        mine, theirs = (parts.whole or bool(parts.latents) for parts in (self, other))
        return not (mine and theirs and (self.whole or other.whole or set(self.latents) & set(other.latents)))

    @property
    def told(self) -> str:
        """The nodes in a few words."""
        count = "all" if self.whole else str(len(self.latents))
        return f"{self.feature.told}: {count}{' and the error' if self.error else ''}"


__all__ = ["Dictionary", "NodeParts"]
