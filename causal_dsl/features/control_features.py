"""Features that say what a fitted one is worth: one drawn at random, and one that acts where the network lives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from causal_dsl.base.counter import key, normals, permutation
from causal_dsl.features.base import Feature, Gates, Rest
from causal_dsl.features.chain import Chain
from causal_dsl.features.elementwise import Mask
from causal_dsl.features.natural import principal_axes
from causal_dsl.features.orthonormal import Rotation, haar


def random_like(feature: Feature, seed: int) -> Feature:
    """A feature of the same size as ``feature`` is judged with, drawn at random, hardened and with nothing to fit.

    For a mask: as many open gates, drawn among the same gates. For a chain whose members before the last have nothing
    to fit: those, then a random one in place of the last. For anything else: a subspace of
    :meth:`~causal_dsl.features.base.Feature.effective_size` dimensions (at most the width), drawn evenly among all; in a
    narrow layer (:data:`NARROW`), among those that share at most ``SHARED`` with what ``feature`` writes.
    """
    found = _random(feature, seed)
    found.requires_grad_(False)
    found.harden()
    found.prepare()
    return found


def _random(feature: Feature, seed: int) -> Feature:
    if isinstance(feature, Chain):
        *before, last = feature.chained
        if not any(list(member.parameters()) for member in before):
            return _beside(feature, Chain([*before, _random(last, seed)]))
    if isinstance(feature, Mask):
        mask = Mask(
            feature.width, feature.heads, feature.start, feature.end, feature.weight, feature.dtype, feature.over
        )
        order = permutation(key(seed, "gates"), len(mask.logits))
        with torch.no_grad():
            mask.logits.fill_(-1)
            mask.logits[order[: feature.gates().open]] = 1
        return _beside(feature, mask)
    dim = min(feature.effective_size(), feature.width)
    return _beside(feature, Rotation(_apart(feature, dim, seed), feature.dtype, "random"))


#: In a layer of so few numbers a subspace drawn evenly often holds most of the one that a feature writes, and is no control of it. The share
#: of the feature's directions that one may hold, and how many are drawn until one does not hold more.
NARROW, SHARED = 32, 0.25
_DRAWN, _PAIRS = 64, 64


def _apart(feature: Feature, dim: int, seed: int) -> Tensor:
    """A random subspace [width, dim]; in a narrow layer the first of several that shares at most ``SHARED`` with what a feature writes, else the one
    that shares least."""
    first = haar(feature.width, dim, seed)
    written = _written(feature) if 0 < dim < feature.width <= NARROW else None
    if written is None:
        return first
    least, found = 1.0, first
    for number in range(_DRAWN):
        drawn = haar(feature.width, dim, int(key(seed, "apart", number))) if number else first
        shared = float((written.T @ drawn).square().sum()) / dim
        if shared < least:
            least, found = shared, drawn
        if least <= SHARED:
            break
    return found


@torch.no_grad()
def _written(feature: Feature) -> Tensor | None:
    """Orthonormal directions [width, r] in which a feature writes, found from what it writes into random vectors; None where it writes nothing
    there, or in every direction."""
    vectors = torch.from_numpy(normals(_PARTNERS, (2 * _PAIRS, feature.width), "written")).to(feature.dtype)
    base, source = vectors.to(feature.device).split(_PAIRS)
    change = (feature.swap(base, source) - base).double().cpu()
    size = float(change.abs().max())
    if not size or not torch.isfinite(change).all():
        return None
    _, spread, axes = torch.linalg.svd(change, full_matrices=False)
    found = axes[spread > 1e-4 * spread[0]].T
    return found if found.shape[1] < feature.width else None


def random_sites(features: Sequence[Feature], seed: int) -> list[Feature]:
    """For gates on whole sites, a gate a site: as many are open, drawn among these sites."""
    opened = sum(feature.effective_size() > 0 for feature in features)
    order = permutation(key(seed, "sites"), len(features)).tolist()
    found = []
    for number, feature in enumerate(features):
        like = random_like(feature, seed)
        (mask,) = [part for part in like.modules() if isinstance(part, Mask)]
        with torch.no_grad():
            mask.logits.fill_(1.0 if order.index(number) < opened else -1.0)
        like.forget()
        like.prepare()
        found.append(like)
    return found


def of_sites(feature: Feature) -> bool:
    """Whether a feature has one gate, on its whole site."""
    last = feature.chained[-1] if isinstance(feature, Chain) else feature
    return isinstance(last, Mask) and last.over == "sites"


def _beside(feature: Feature, found: Feature) -> Feature:
    found.to(feature.device)
    return found


#: How many times as far as two natural vectors differ along an axis a feature may write there.
REACH = 2.0
_PARTNERS = 41


@torch.no_grad()
def on_natural_axes(feature: Feature, data: Tensor) -> OnAxes:
    """``feature`` on the natural axes of its site: those principal axes of natural activations ``data`` [n, width] along which
    what it writes reaches at most ``REACH`` times as far as two of them differ (root mean squares, over random pairs).

    The rest is what the site never does, or does in a small part of what is written: a subspace can move the answer through it
    alone (Makelov et al. 2023, "Is this the subspace you are looking for?"). How much an axis varies is no ground to leave it
    out: a small axis within its reach is one that the network may well read (Wu et al. 2024).
    """
    feature.harden()
    _, axes, variance = principal_axes(data)
    order = torch.from_numpy(permutation(key(_PARTNERS), len(data))).to(data.device)
    change = (feature.swap(data, data[order]) - data).double()
    reach = (change @ axes).square().mean(dim=0)
    top = float(variance.max()) if len(variance) else 0.0
    kept = (reach <= REACH**2 * 2 * variance) & (variance > top * torch.finfo(data.dtype).eps)
    return OnAxes(feature, axes[:, kept])


class OnAxes(Feature):
    """``inner``, of whose change only the part on orthonormal ``axes`` [width, r] is written."""

    def __init__(self, inner: Feature, axes: Tensor):
        super().__init__(inner.name, inner.width, inner.size, inner.dtype)
        self.inner = inner
        self.nonlinear, self.hardened = inner.nonlinear, inner.hardened
        self.axes: Tensor
        self.register_buffer("axes", axes.to(inner.dtype))
        self.to(inner.device)

    def prepare(self) -> None:
        self.inner.prepare()

    def _on_axes(self, change: Tensor) -> Tensor:
        axes = self.axes.to(change.dtype)
        return (change @ axes) @ axes.T

    def _swap(self, base: Tensor, source: Tensor, block: slice | None) -> Tensor:
        return base + self._on_axes(self.inner._swap(base, source, block) - base)

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        f, rest = self.inner._encode(x)
        return f, (x, rest)

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        x, inner = rest
        return x + self._on_axes(self.inner._decode(f, inner) - x)

    def anneal(self, progress: float) -> None:
        self.inner.anneal(progress)

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        return self.inner.parameter_groups()

    def penalty(self) -> Tensor:
        return self.inner.penalty()

    def gates(self) -> Gates | None:
        return self.inner.gates()

    def effective_size(self) -> int:
        return self.inner.effective_size()

    def tensors(self) -> dict[str, Tensor]:
        inner = {f"inner.{name}": tensor for name, tensor in self.inner.tensors().items()}
        return inner | {"axes": self.axes.detach().cpu().clone().contiguous()}

    def _slots(self) -> dict[str, Tensor]:
        return {f"inner.{name}": tensor for name, tensor in self.inner._slots().items()} | {"axes": self.axes}

    def _loaded(self) -> None:
        self.inner._loaded()

    def describe(self) -> str:
        return f"{self.inner.describe()} on {self.axes.shape[1]} axes"
