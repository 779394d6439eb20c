"""The methods of every feature: read a variable out of a vector, put another's back, and say how it was learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass

#: What ``encode`` sets aside so that ``decode`` gives the whole vector back; its form is the feature's own.
Rest: TypeAlias = tuple[Any, ...]

#: A gate whose soft value lies between these at the final temperature has not been decided by the fit.
UNDECIDED = (0.1, 0.9)
#: Gates are fitted at so many times the rate of maps (as Wu et al. 2023 fit boundaries).
GATE_RATE = 10.0


@dataclass(frozen=True)
class Gates:
    """The gates of a feature: how many, how many a judged feature opens, and how many the fit left undecided (their
    soft value at the final temperature lies within :data:`UNDECIDED`)."""

    total: int
    open: int
    undecided: int

    def __add__(self, other: Gates) -> Gates:
        return Gates(self.total + other.total, self.open + other.open, self.undecided + other.undecided)


class Feature(nn.Module):
    """How a causal variable sits in vectors of ``width`` numbers: f, ``size`` numbers, and the rest of the vector.

    A fit goes: :meth:`anneal`, :meth:`prepare` (with gradients), swaps and :meth:`penalty`, one backward, one step.
    What ``prepare`` keeps is one graph for all swaps of the step, so their losses are added up before ``backward``
    (or ``backward`` keeps the graph). A judgement goes: :meth:`harden`, :meth:`prepare`, swaps. Where ``prepare`` was
    left out after ``build``, ``load``, ``anneal``, ``harden`` or ``soften``, the first swap calls it; after a step of
    the optimiser nobody does.

    Vectors are [m, width] of any float type. Everything is computed in the wider of that type and the type of the
    feature's own numbers (float32, or float64); ``swap`` gives the type of its base, ``encode`` and ``decode`` the
    wider one.

    A family writes :meth:`_make`, :meth:`_encode` and :meth:`_decode`, and :meth:`_swap` or :meth:`_write` where it
    can do better than these three.
    """

    #: Whether the map bends: then the causal variable is found in far more networks than have it (Sutter et al. 2025).
    nonlinear: bool = False
    #: Whether its function asked for natural activations, or for the classes of these, when it was made.
    made_from_inputs: bool = False

    def __init__(self, name: str, width: int, size: int, dtype: torch.dtype):
        super().__init__()
        self.name, self.width, self.size = name, width, size
        self.hardened = False
        self._kept: Sequence[Tensor] | None = None
        #: Tells where the feature lies and what it computes in, also for a family that has no numbers.
        self._zero: Tensor
        self.register_buffer("_zero", torch.zeros((), dtype=dtype), persistent=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}  # part of a graph, which cannot be copied

    # ── use ─────────────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """Compute what is the same for all vectors (orthonormal maps, inverses, gates) and keep it."""
        self._kept = self._make()

    def swap(self, base: Tensor, source: Tensor, block: slice | None = None) -> Tensor:
        """Write the source's f into the base: [m, width] and [m, width] to [m, width], of the base's type.

        ``block`` picks the coordinates of f that are written (None: all). Gates are soft until :meth:`harden`.
        A base that is its own source stays as it is, bit by bit.
        """
        dtype = self._work(base)
        return self._swap(base.to(dtype), source.to(base.device, dtype), block).to(base.dtype)

    def edit(self, base: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """The base [m, width] with f changed: ``change`` takes f [m, size] to what is written. Gates are hard. What is
        changed into itself stays as it is, bit by bit."""
        x = base.to(self._work(base))
        with self._judged():
            f, rest = self._encode(x)
            return self._write(x, f, change(f).to(f.dtype), rest).to(base.dtype)

    def encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        """f [m, size] and the rest of the vectors [m, width]; with hard gates."""
        with self._judged():
            return self._encode(x.to(self._work(x)))

    def before(self, x: Tensor) -> Tensor | None:
        """The numbers [m, size] of which some f are cut off, as latents below 0 are; None where nothing is cut off."""
        return None

    def decode(self, f: Tensor, rest: Rest) -> Tensor:
        """The vectors [m, width] that have this f and this rest; with hard gates."""
        with self._judged():
            return self._decode(f, rest)

    def shift(self, f: Tensor, change: Tensor, rest: Rest) -> Tensor:
        """The sum that a change of f [m, size] adds to the vectors [m, width] that have this f and this rest; with hard gates."""
        return self.decode(f + change, rest) - self.decode(f, rest)

    # ── fitting ─────────────────────────────────────────────────────────────────────────────────

    def anneal(self, progress: float) -> None:
        """Set the temperature of gates for a stage of the fit, from 0 (the start) to 1 (the end)."""

    def harden(self) -> None:
        """Have gates open or shut from now on, as a feature is judged."""
        self._set_hardened(True)

    def soften(self) -> None:
        """Have gates between open and shut from now on, as a feature is fitted."""
        self._set_hardened(False)

    def penalty(self) -> Tensor:
        """The term of the loss for open gates: a scalar, the sum of the soft gates times the weight; 0 without gates."""
        return self._zero.clone()

    def gates(self) -> Gates | None:
        """The gates as they are now; None for a family that has none."""
        return None

    def effective_size(self) -> int:
        """How many numbers of f a judged swap moves: those of open gates, all of f where there are no gates."""
        return self.size

    def trainable(self) -> bool:
        """Whether any number of the feature is to be fitted."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """The parameters that are fitted, by how many times the rate of a fit they are fitted at."""
        return [(1.0, [parameter for parameter in self.parameters() if parameter.requires_grad])]

    # ── keeping ─────────────────────────────────────────────────────────────────────────────────

    def tensors(self) -> dict[str, Tensor]:
        """All that rebuilds the feature, as contiguous tensors on the CPU that nothing else changes."""
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self._slots().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what :meth:`tensors` gave. Raises ValueError, naming it, for a tensor that is missing, unknown or of
        another shape."""
        slots = self._slots()
        _check(self.describe(), tensors, {name: tuple(slot.shape) for name, slot in slots.items()})
        with torch.no_grad():
            for name, slot in slots.items():
                slot.copy_(tensors[name])
        self._loaded()
        self.forget()

    def describe(self) -> str:
        """The feature as a spec writes it."""
        return f"{self.name}()"

    def forget(self) -> None:
        """Drop what :meth:`prepare` kept, here and in every member."""
        for feature in self._members():
            feature._kept = None

    # ── what families write ─────────────────────────────────────────────────────────────────────

    def _make(self) -> Sequence[Tensor]:
        return ()

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        raise NotImplementedError

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        raise NotImplementedError

    def _write(self, x: Tensor, f: Tensor, new: Tensor, rest: Rest) -> Tensor:
        """``x``, which encodes to ``f`` and ``rest``, with ``new`` in place of ``f``; exactly ``x`` if they are equal."""
        return x + (self._decode(new, rest) - self._decode(f, rest))

    def _swap(self, base: Tensor, source: Tensor, block: slice | None) -> Tensor:
        f, rest = self._encode(base)
        new, _ = self._encode(source)
        return self._write(base, f, new if block is None else torch.where(self._picked(block), new, f), rest)

    def _slots(self) -> dict[str, Tensor]:
        """The tensors that are saved, and copied into when they are loaded."""
        return dict(self.state_dict())

    def _loaded(self) -> None:
        """Called when :meth:`_slots` have been filled."""

    # ── common ──────────────────────────────────────────────────────────────────────────────────

    @property
    def dtype(self) -> torch.dtype:
        return self._zero.dtype

    @property
    def device(self) -> torch.device:
        return self._zero.device

    @property
    def kept(self) -> Sequence[Tensor]:
        """The value that :meth:`prepare` kept."""
        if self._kept is None:
            self.prepare()
        assert self._kept is not None
        return self._kept

    def _work(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, self.dtype)

    def _picked(self, block: slice | None) -> Tensor:
        """Which coordinates of f a block picks [size]."""
        picked = torch.zeros(self.size, dtype=torch.bool, device=self.device)
        picked[slice(None) if block is None else block] = True
        return picked

    def _members(self) -> Iterator[Feature]:
        return (module for module in self.modules() if isinstance(module, Feature))

    def _set_hardened(self, hardened: bool) -> None:
        for feature in self._members():
            feature.hardened = hardened
        self.forget()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        before = [(feature, feature.hardened) for feature in self._members()]
        for feature, _ in before:
            feature.hardened = True
        try:
            yield
        finally:
            for feature, hardened in before:
                feature.hardened = hardened


def _check(name: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless there are these tensors of these shapes, and no others."""
    if missing := sorted(shapes.keys() - tensors.keys()):
        raise ValueError(f"{name} lacks its tensor {', '.join(missing)}")
    if unknown := sorted(tensors.keys() - shapes.keys()):
        raise ValueError(f"{name} has no tensor {', '.join(unknown)}")
    for key, shape in shapes.items():
        if tuple(tensors[key].shape) != shape:
            raise ValueError(f"the tensor {key} of {name} is {list(tensors[key].shape)}, not {list(shape)}")
