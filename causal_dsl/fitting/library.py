"""Fitted maps by what names them, how each was fitted, and what is made from them as controls."""

from __future__ import annotations

import hashlib
from dataclasses import field, replace
from pathlib import Path

import numpy as np
import torch

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import fail
from causal_dsl.features.base import Feature
from causal_dsl.features.control_features import of_sites, on_natural_axes, random_like, random_sites
from causal_dsl.fitting import stored
from causal_dsl.inputs import Inputs
from causal_dsl.planning.plan import FitUnit
from causal_dsl.program.program import Test
from causal_dsl.program.read_features import FeatureRef


@dataclass(frozen=True, eq=False)
class Fitted:
    """The outcome of one fit: ``losses`` and ``checks`` by epoch, the ``pairs`` and distinct ``inputs`` that it was fitted
    on, ``found`` where it was on disk already, ``stopped`` by its patience; ``restarts`` tried."""

    unit: FitUnit
    losses: tuple[float, ...]
    checks: tuple[tuple[float, float], ...]
    steps: int
    pairs: int
    inputs: int
    restarts: int
    found: bool
    path: Path | None
    #: the inputs that a feature of a file was fitted on, by :func:`stored.hash_of`; None where it was fitted here
    seen: np.ndarray | None = None
    #: pairs that were drawn, and left out because nothing is known of what is right in them
    unanswered: int = 0
    #: whether the loss ever had a gradient that is not zero; None where it had none
    moved: bool | None = None
    #: where it is kept, from the folder of the results; without one, from the cache
    kept_as: str = ""


@dataclass(eq=False)
class Library:
    """The fitted maps by what names them, and how each was fitted."""

    maps: dict[FeatureRef, Feature] = field(default_factory=dict)
    fits: dict[FeatureRef, Fitted] = field(default_factory=dict)
    natural: dict[FeatureRef, torch.Tensor] = field(default_factory=dict)
    #: of the vectors that a map writes on the inputs it was fitted on, the share far from all that the site takes
    outside: dict[FeatureRef, float] = field(default_factory=dict)

    #: why fitted maps were not copied beside the results
    unkept: OSError | None = None

    def want(self, ref: FeatureRef) -> None:
        """Make the map that a reference names out of the fitted one."""
        if ref.map in self.maps:
            return
        fitted = self.maps[ref.fitted]
        made: Feature
        if ref.variant == "random" and of_sites(fitted):
            every = [one for one in self.maps if replace(one, place=ref.place) == ref.fitted]
            every.sort(key=lambda one: str(one.place))
            made = random_sites([self.maps[one] for one in every], ref.number + 1)[every.index(ref.fitted)]
        elif ref.variant == "random":
            made = random_like(fitted, ref.number + 1)
        else:
            assert ref.variant == "natural"
            made = on_natural_axes(fitted, self.natural[ref.fitted])
        made.harden()
        made.requires_grad_(False)
        with torch.no_grad():
            made.prepare()
        self.maps[ref.map] = made

    @property
    def digest(self) -> str:
        """A digest of the numbers of all maps."""
        found = hashlib.sha256()
        for ref, feature in self.maps.items():
            found.update(f"{stored.told(ref)} {ref.number}".encode("utf-8", "surrogatepass"))
            for name, tensor in feature.tensors().items():
                found.update(name.encode())
                found.update(
                    tensor.to(torch.float64).numpy().tobytes()
                    if tensor.is_floating_point()
                    else tensor.numpy().tobytes()
                )
        return found.hexdigest()


def refuse_seen(library: Library, test: Test, inputs: Inputs, rows: np.ndarray) -> None:
    """Refuse to judge a feature of a file on an input that it was fitted on (E711)."""
    for cell in test.cells:
        for intervention in cell.interventions:
            for ref in intervention.features:
                told = library.fits.get(ref.fitted)
                if told is None or told.seen is None:
                    continue
                seen = set(told.seen.tolist())
                for index in np.unique(rows).tolist():
                    if stored.hash_of(inputs, index) in seen:
                        raise fail(
                            "E711",
                            f"`{test.name}` judges a feature on inputs on which it was fitted",
                            test.design.statements[0].span,
                            notes=("the file of the feature says so",),
                            help="draw other inputs, as with `where`",
                        )


__all__ = ["Fitted", "Library", "refuse_seen"]
