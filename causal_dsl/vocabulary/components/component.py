"""The record of a component of a network: how it is written, how wide it is, where it is, and what proves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.architectures.architecture import Architecture
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.network_kinds import NETWORK_KINDS

if TYPE_CHECKING:
    from torch import Tensor

#: The kinds of networks, but for those that have the components of another.
EVERY_KIND = tuple(dict.fromkeys(kind.components for kind in NETWORK_KINDS.values()))
#: what holds of a layer that was run: its text, both sides, and the components that are refused where it does not
Identity = tuple[str, "Tensor", "Tensor", tuple[str, ...]]


class Layer(Protocol):
    """A layer of a loaded network that was run on a few prompts: what identities are made from."""

    @property
    def read(self) -> Mapping[str, Tensor]:
        """The vectors that were read of each component, [tokens, width]."""

    @property
    def given(self) -> Mapping[str, Tensor]:
        """The outputs of its ``attention`` and ``mlp`` modules."""

    def through(self, component: str, vectors: Tensor, *more: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The output of the module that a component enters or leaves, which may be several tensors; ``more`` is what it is given beside."""

    def columns(self, component: str, vectors: Tensor) -> Tensor:
        """Of what that module gives, the component."""

    def ended(self, vectors: Tensor) -> Tensor:
        """The output of the MLP's last module on what its first one gives; the same where one module holds both."""


def stream_width(facts: Facts, site: Site) -> int | None:
    """As wide as the residual stream."""
    return facts.width


def head_width(facts: Facts, site: Site) -> int | None:
    """As wide as the heads that are named, or all of them."""
    return _of_heads(facts, len(site.heads) or facts.heads)


def key_width(facts: Facts, site: Site) -> int | None:
    """The same of heads of keys and values, which may be fewer."""
    return _of_heads(facts, len(site.heads) or facts.kv_heads)


def _of_heads(facts: Facts, heads: int | None) -> int | None:
    return heads * facts.head_dim if heads and facts.head_dim else None


@dataclass(frozen=True)
class Component:
    """``rank``: its place in the table, between 0 and 90; of sites of one tensor the smaller is touched first. ``meaning``: one line
    for messages and docs. ``kinds``: the kinds of networks that have it. ``layer``: written ``layer[l].…``. ``heads``: written
    ``head[h].…``. ``position``: one vector a token, for language networks.

    ``read`` and ``written``: where in its layer a pass reads it and where it writes it, as numbers that rise in the order in
    which a layer computes; reads come first where both are equal. ``read`` is proved on every network at load, and a pass
    is refused in which something is written earlier than what it is made from is read.

    ``acts``: what a write reaches. ``entry``: the stream as it enters the layer; ``exit``: as it leaves it; ``keys``: inside
    the layer, felt by later tokens in the same layer; ``point``: inside it, felt by its own token alone; ``bottom``: before
    the first layer; ``anywhere``: not known.

    ``logit``: what a logit is there. ``stream``: what the network would say if the residual stream were already this (the last
    norm and the read-out follow); ``normed``: the same after that norm; ``term``: what is added to the stream; ``head``: the same of
    a head's output, through the output projection. Empty where it is nothing.

    ``width``: from what is known of a network and the site to its width; None where that is not known. ``packed``: its turn where queries, keys and values come out of one module.

    ``place``: where it is in an architecture (``path<`` or ``path>``, see :class:`Architecture`), in a layer or, without
    one, in the model; None for what the engine finds by itself. ``scale``: the field of the architecture that names the
    factor. ``compared``: seen where attention is run apart. ``absent``: why an architecture does not have it, ``absent_in``: why
    one of its layers does not.
    ``module_input``: it is what a module is given.
    ``identity``: what must hold of it in each layer of a loaded network, beside those of the sums in
    :mod:`causal_dsl.network.prove`.
    ``end``: it is what a vector network is given, or what every network says: nothing goes on beside it.
    ``whole_at``: of a vector of which a layer is the whole, where in the network it is, counted in layers from the middle of its own
    layer (-0.5: as the layer begins, 0.5: as it ends); None for all else. ``node``: of which kind of nodes of circuits its vector is the
    output; empty where of none. ``named_by``: the settings of a `torch(…)` declaration that name the modules from which it is read (of
    `q`, `k` and `v` the one that holds all three may stand); without them a network of one's own does not have it.
    ``more``: what the docs and ``explain`` say beside its meaning; ``path``: how they write it, where that is not ``shown`` as others are.
    """

    name: str
    rank: float
    meaning: str
    read: int
    written: int
    kinds: tuple[str, ...] = ("language",)
    layer: bool = True
    heads: bool = False
    position: bool = True
    acts: Literal["entry", "exit", "keys", "point", "bottom", "anywhere"] = "point"
    width: Callable[[Facts, Site], int | None] = stream_width
    packed: int | None = None
    logit: Literal["", "stream", "normed", "term", "head"] = ""
    place: Callable[[Architecture], str | None] | None = None
    scale: str = ""
    compared: bool = False
    module_input: bool = False
    absent: Callable[[Facts, Architecture], str | None] = lambda facts, architecture: None
    absent_in: Callable[[Facts, int], str | None] = lambda facts, layer: None
    identity: Callable[[Layer], Iterator[Identity]] | None = None
    more: str = ""
    path: str = ""
    end: bool = False
    whole_at: float | None = None
    node: str = ""
    named_by: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """How a spec writes it, in layer l (of head h), at the position p."""
        layer, head = "layer[l]." * self.layer, "head[h]." * self.heads
        position = "[p]" * (self.position and self.kinds != EVERY_KIND)
        return self.path or f"`{layer}{head}{self.name}{position}`"

    def is_in(self, facts: Facts) -> bool:
        """Whether networks of this kind have it; of those that nothing is known of, none is said to lack it."""
        return not facts.traits.seen or facts.traits.components in self.kinds

    @property
    def by_heads(self) -> bool:
        """Whether its vector is that of its heads, one after the other."""
        return self.width in (head_width, key_width)

    @property
    def shared(self) -> bool:
        """Whether it has as many heads as keys have."""
        return self.width is key_width

    @property
    def inner(self) -> bool:
        """Whether it is made inside a layer: neither the stream, nor what a module is given, nor seen only where attention is
        run apart."""
        inside = self.layer and self.acts in ("keys", "point")
        return inside and not self.compared and not self.module_input and self.logit != "stream"

    @property
    def level(self) -> float:
        """The layer of what is in no layer: before the first one, or after the last."""
        return -1.0 if self.acts == "bottom" else float("inf")


__all__ = ["Component", "Identity", "Layer", "head_width", "key_width", "stream_width"]
