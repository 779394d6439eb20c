"""The vectors that a write puts in place: a function of the vectors that are there, for both executors.

Each value names its function (``Value.function``). Those of words that need nothing but what is there stand with the
word; here are those of captured vectors, means, noise and given vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.counter import normals_at
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Span, SpecError, fail, shown_path
from causal_dsl.engine.activation_cache import Activations, Means
from causal_dsl.engine.attended_keys import as_wide, heads_of, keys_of, pick, put
from causal_dsl.features.base import Feature
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.network.sending import sent
from causal_dsl.planning import graph as g
from causal_dsl.planning.composed import Composed
from causal_dsl.planning.pass_layout import Family
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.store import reads
from causal_dsl.vocabulary.locations import Place, Site
from causal_dsl.vocabulary.values import VALUES
from causal_dsl.vocabulary.values.arithmetic import Combine
from causal_dsl.vocabulary.values.noise import Noise
from causal_dsl.vocabulary.values.vector import Vector
from causal_dsl.vocabulary.written import Value

#: From the vectors that are there [m, width] to those that are written, or one number.
Edit = Callable[[Tensor], Tensor | float]


@dataclass
class Values:
    """Makes the edits of the writes of a pass.

    Every index is made when an edit is, and lies where the edit will act; what it picks from is looked at when the
    edit is called, so that a vector may be captured earlier in the same pass. ``elsewhere`` holds vectors that a pass
    before kept.
    """

    kept: Activations
    means: Means
    elsewhere: Mapping[g.Capture, Activations]
    device: Callable[[Site], torch.device]
    heads: int = 1
    features: Mapping[FeatureRef, Feature] = field(default_factory=dict)
    #: hears of the vectors of an intervention that are there and of those that are written, where these come from no run
    watch: Callable[[g.Resume, Tensor, Tensor], None] | None = None
    #: the features of files in whose numbers sites are written
    given: GivenMaps = field(default_factory=GivenMaps)
    #: what was at places of interventions before anything was written there, with the numbers of its rows
    noted: dict[tuple[g.Resume, Place], tuple[np.ndarray | slice, Tensor]] = field(default_factory=dict)
    _devices: dict[Site, torch.device] = field(default_factory=dict)

    def device_at(self, site: Site) -> torch.device:
        """Where the vectors of a site are, asked once."""
        if site not in self._devices:
            self._devices[site] = self.device(site)
        return self._devices[site]

    def edit(
        self, write: g.WriteNode, family: Family, spot: int, alive: np.ndarray | slice
    ) -> Callable[[Tensor], Tensor]:
        """The function from the vectors that are there [m, width] to those that shall be, for the places of a spot
        that ``alive`` picks."""
        value = Here(self, write, family, spot, alive).edit(write.value)
        #: numbers of the spec's are in it, which may be too large for the network's
        stated = any(part.given for part in write.value.walk())

        def given(current: Tensor) -> Tensor:
            new = value(current)
            if not isinstance(new, Tensor):
                new = torch.full((1, 1), new, dtype=torch.float64)
            held = new.to(device=current.device, dtype=current.dtype).expand_as(current)
            if stated and not _finite(held) and (_finite(new) or (write.value.changes and _finite(current))):
                raise _not_held(held, write.value)
            return current + held if write.add else held

        change: Callable[[Tensor], Tensor] = given
        if write.feature is not None:
            change = (
                self._inside(change, write.feature)
                if write.inside
                else self._through(change, write.feature, family, spot, alive)
            )
        if write.place.key is not None:
            change = self._at_keys(change, write, family, spot, alive)
        watch = self.watch
        # a sum, or a mean, of vectors that runs have may be one that no run has
        if watch is None or not (stated or any(isinstance(one, Combine | g.Average) for one in write.value.walk())):
            return change

        def watched(current: Tensor) -> Tensor:
            new = change(current)
            watch(family.resume, current, new)
            return new

        return watched

    def _at_keys(
        self,
        change: Callable[[Tensor], Tensor],
        write: g.WriteNode,
        family: Family,
        spot: int,
        alive: np.ndarray | slice,
    ) -> Callable[[Tensor], Tensor]:
        """Of attention weights only those to the tokens that the place names: the others stay as they are there."""
        heads = heads_of(write.place, self.heads)
        here = Here(self, write, family, spot, alive)
        columns = here.index(
            keys_of(self.kept.layouts, write.place, family.resume.base, family.pairs)[here.which][alive]
        )

        def swapped(current: Tensor) -> Tensor:
            return put(current, heads, columns, change(pick(current, heads, columns)))

        return swapped

    def _inside(self, change: Callable[[Tensor], Tensor], ref: FeatureRef) -> Callable[[Tensor], Tensor]:
        """A change of the numbers of a feature: the rest of the vector stays as it is there."""
        return lambda current: self.given.of(ref, current).edit(current, change)

    def _through(
        self, change: Callable[[Tensor], Tensor], ref: FeatureRef, family: Family, spot: int, alive: np.ndarray | slice
    ) -> Callable[[Tensor], Tensor]:
        """Of what is written only a feature: the rest stays as it is there."""
        feature = self.features[ref.map]
        block = None if ref.block is None else slice(*ref.block)
        together = 1
        if ref.joined:
            which = family.spots[spot].which
            together = len(which) // max(1, len(family.pairs))
            if len(which[alive]) % together or (np.bincount(which[alive], minlength=1) % together).any():
                raise fail(
                    "E725",
                    "not all tokens that are joined to one vector can reach the read-out",
                    ref.span or NOWHERE,
                    help="leave out those that cannot: in the last layer, all but the one that is read",
                )

        def swapped(current: Tensor) -> Tensor:
            new = change(current)
            if together > 1:
                rows = len(current) // together
                return feature.swap(current.reshape(rows, -1), new.reshape(rows, -1), block).view_as(current)
            return feature.swap(current, new, block)

        return swapped


@dataclass(frozen=True)
class Here:
    """Where a value is written: the places of spot ``spot`` of a family that ``alive`` picks."""

    values: Values
    write: g.WriteNode
    family: Family
    spot: int
    alive: np.ndarray | slice

    def edit(self, value: Value) -> Edit:
        """The function of a value, made here."""
        return edit_of(value, self)

    @property
    def which(self) -> np.ndarray:
        """The pair of each token of the spot, alive or not."""
        return self.family.spots[self.spot].which

    def index(self, index: np.ndarray) -> Tensor:
        """An index, on the device of the written site."""
        return sent(index, self.values.device_at(self.write.place.site))


def edit_of(value: Value, here: Any) -> Edit:
    """The function of a value, made for where it is written (:class:`Here`). E786 where it is a package's, and it raises or gives no vectors
    of the width of those that are there."""
    word = word_of(type(value))
    if not word:
        made: Edit = function_of(type(value).function)(value, here)
        return made
    span = value.span or NOWHERE
    edit = VALUES.call(word, lambda: function_of(type(value).function)(value, here), span=span)

    def change(current: Tensor) -> Tensor | float:
        new: Tensor | float = VALUES.call(word, edit, current, span=span)
        if isinstance(new, Tensor):
            right = new.dim() == 2 and new.shape[1] == current.shape[1] and new.shape[0] in (1, len(current))
            given = f"a tensor of the shape {list(new.shape)}"
        else:
            right, given = isinstance(new, int | float), f"an object of the type {type(new).__name__}"
        if not right:
            needed = f"[{len(current)}, {current.shape[1]}] or [1, {current.shape[1]}], or one number"
            raise VALUES.fault(word, f"its function gives {given}, and {needed} is needed", span)
        return new

    return change


def word_of(kind: type[Value]) -> str:
    """The word of a kind of values that a package adds; empty for a kind of this package."""
    if kind.__module__.partition(".")[0] == "causal_dsl":
        return ""
    return next((word.name for word in VALUES.usable() if word.kind is kind and word.name in VALUES.added), "")


@cache
def function_of(dotted: str) -> Callable[[Any, Here], Edit]:
    module, _, name = dotted.partition(":")
    found: Callable[[Any, Here], Edit] = getattr(import_module(module), name)
    return found


def kept_rows(node: g.Capture, here: Here) -> Callable[[], Tensor]:
    """The vectors of a run at its place, pair by pair, as they were kept."""
    values = here.values
    kept = values.elsewhere.get(node, values.kept)
    # A pass before keeps a vector once for everyone; this pass may keep copies.
    of = None if node in values.elsewhere else here.family.resume
    slots = kept.slots(node, of, here.family.pairs)[here.alive]
    index = here.index(slots)

    def vectors() -> Tensor:
        every = kept.at(node.place.site, slots)
        return every.index_select(0, index.to(every.device))

    return vectors


def captured(node: g.Capture, here: Here) -> Edit:
    """The vectors of a run at its place, pair by pair."""
    values, site = here.values, node.place.site
    kept, rows = values.elsewhere.get(node, values.kept), kept_rows(node, here)
    columns = None
    if node.place.key is not None:
        columns = here.index(kept.keys_looked_at(node, here.family.pairs)[here.alive])

    def vectors(current: Tensor) -> Tensor:
        found, width = rows(), current.shape[1]
        if here.write.inside:
            assert here.write.feature is not None
            found, _ = values.given.of(here.write.feature, found).encode(found)
        if columns is not None:
            found = pick(found, heads_of(node.place, values.heads), columns.to(found.device))
        elif site.component == "pattern" and found.shape[1] != width and site.dims is None:
            # kept as wide as the longest prompt of the pass; what lies past the end of a prompt is zero
            heads = heads_of(node.place, values.heads)
            if width % heads == 0 and found.shape[1] % heads == 0:
                found = as_wide(found, heads, width // heads)
        if found.shape[1] != width:
            raise _unlike(node, found.shape[1], here.write, width)
        return found.to(current.device)

    return vectors


def averaged(node: g.Average, here: Here) -> Edit:
    """The mean of captured vectors, token after token of the span, or pooled over them; or for each row that of its template."""
    values, which = here.values, here.which
    first = np.searchsorted(which, np.arange(len(here.family.pairs)))
    order = here.index((np.arange(len(which)) - first[which])[here.alive])

    def mean_of(current: Tensor) -> Tensor:
        if node not in values.means:
            values.means.collect(node, values.kept, here.family.resume)
        if node.by_template:
            return by_template(current)
        mean = values.means.of(node)
        return (mean if node.pooled else mean.index_select(0, order.to(mean.device))).to(current.device)

    def by_template(current: Tensor) -> Tensor:
        numbers = values.means.templates(here.family.resume.base, here.family.pairs)[which[here.alive]]
        rows: Tensor | None = None
        for number in np.unique(numbers).tolist():
            mean, mine = values.means.of(node, number), here.index(np.flatnonzero(numbers == number)).to(order.device)
            at = torch.zeros_like(mine) if node.pooled else order.index_select(0, mine)
            rows = mean.new_zeros(len(numbers), mean.shape[1]) if rows is None else rows
            rows[mine.to(mean.device)] = mean.index_select(0, at.to(mean.device))
        return current if rows is None else rows.to(current.device)

    return mean_of


def combined(value: Combine, here: Here) -> Edit:
    """Both sides, put together."""
    one, other, together = here.edit(value.left), here.edit(value.right), _OPS[value.op]

    def both(current: Tensor) -> Tensor | float:
        a, b = one(current), other(current)
        if value.op == "/" and (bool((b == 0).any()) if isinstance(b, Tensor) else b == 0):
            spans = [part.span for part in value.right.walk() if part.span is not None]
            where = spans[0] if spans else NOWHERE
            raise fail("E686", "a written value is divided by zero", where, help="divide by something else")
        made = together(a, b)
        if not _finite(made) and _finite(a) and _finite(b):
            raise _not_held(made if isinstance(made, Tensor) else torch.tensor(made, dtype=torch.float64), value)
        return made

    return both


def composed(value: Composed, here: Here) -> Edit:
    """One value, made of the vectors that another gives instead of those that are there."""
    outer, inner = here.edit(value.outer), here.edit(value.inner)

    def made(current: Tensor) -> Tensor | float:
        found = inner(current)
        if not isinstance(found, Tensor):
            found = torch.full((1, 1), found, dtype=torch.float64)
        return outer(found.to(current.device, current.dtype).expand_as(current))

    return made


_OPS: dict[str, Callable[..., Tensor | float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


def noise(value: Noise, here: Here) -> Edit:
    """Standard normal numbers that depend on the seed, the pair and the token's number in the span alone, times ``std``."""
    which = here.which
    tokens = np.arange(len(which)) - np.searchsorted(which, which)  # of each, its number in its pair
    rows = (here.family.pairs[which].astype(np.uint64) << np.uint64(32)) + tokens.astype(np.uint64)
    rows = rows[here.alive, None]

    def made(current: Tensor) -> Tensor:
        numbers = normals_at(value.seed, "noise", rows, np.arange(current.shape[1]))
        return torch.from_numpy(numbers * value.std).float().to(current.device)

    return made


def vector(value: Vector, here: Here) -> Edit:
    """The numbers that are written out, or lie in a file."""
    return lambda current: load_vector(value, current.shape[1]).to(current.device)


def _finite(value: Tensor | float) -> bool:
    return bool(torch.isfinite(value).all()) if isinstance(value, Tensor) else math.isfinite(value)


def _unlike(node: g.Capture, given: int, write: g.WriteNode, there: int) -> SpecError:
    """E460, where a width is known only as the network runs, as that of a module."""
    return fail(
        "E460",
        f"{node.place} has {given} numbers, and {write.place} has {there}",
        node.span or NOWHERE,
        help="patch from a site of the same width",
    )


def _not_held(made: Tensor, written: Value) -> SpecError:
    """E687: the numbers that a spec states make one that is not a number, or that the dtype does not hold."""
    spans = [part.span for part in written.walk() if part.span is not None]
    where = spans[0] if spans else NOWHERE
    if bool(made.isnan().any()):
        return fail(
            "E687",
            "a value that is written here is not a number (NaN)",
            where,
            notes=("it comes of arithmetic without a result, such as 0 / 0",),
            help="write a value that is a number for every vector that may be there",
        )
    kind = str(made.dtype).removeprefix("torch.")
    return fail(
        "E687",
        "a number that is written here is too large",
        where,
        notes=(f"the largest number that {kind} holds is {torch.finfo(made.dtype).max:.4g}",),
        help="write a smaller number",
    )


def load_vector(vector: Vector, width: int) -> Tensor:
    """A written-out vector, or the tensor of a safetensors file, as [1, width]; E460 and E688 where it does not fit."""
    span: Span = vector.span or NOWHERE
    if vector.path is None:
        values = torch.tensor(vector.values, dtype=torch.float64)
    else:
        values = _from_file(vector.path, vector.key, span)
    if values.numel() != width:
        raise fail(
            "E460",
            f"the vector has {values.numel()} numbers, and the site {width}",
            span,
            help="name a vector as wide as the site",
        )
    if not bool(torch.isfinite(values).all()):
        raise fail("E688", "the vector holds numbers that are not finite", span, help="mend the file")
    return values.reshape(1, width)


def _from_file(path: Path, key: str, span: Span) -> Tensor:
    from safetensors import SafetensorError, safe_open

    reads.note(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if not key and len(names) == 1:
                key = names[0]
            if key not in names:
                raise fail(
                    "E688",
                    f"`{shown_path(path)}` holds no tensor `{key}`",
                    span,
                    help="write key=…, one of " + ", ".join(names[:12]),
                )
            return file.get_tensor(key).double().reshape(-1)
    except (SafetensorError, OSError) as error:
        raise fail(
            "E688",
            f"cannot read `{shown_path(path)}`",
            span,
            notes=(str(error)[:200],),
            help="save it with safetensors.torch.save_file",
        ) from error
