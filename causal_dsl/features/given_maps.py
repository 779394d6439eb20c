"""Features that are read from files as they are, made where they are used: each once, for vectors of the width that it meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, SpecError, fail, shown_path
from causal_dsl.features.base import Feature
from causal_dsl.features.instantiate import build
from causal_dsl.features.node_numbers import NodeNumbers
from causal_dsl.program.dictionaries import NodeParts
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.store import reads
from causal_dsl.store.tensors import Damaged, load_tensors
from causal_dsl.vocabulary.locations import FeatureSite

_Key = tuple[tuple[FeatureSite, ...], str, int, int, torch.dtype, torch.device]


@dataclass(eq=False)
class GivenMaps:
    """The features in whose numbers sites are written, by what they are made from. They are no fits: their files decide
    them, and nothing of them is kept from one run to the next."""

    #: hears of a fit that was kept, and what its file says: raises E729 where it is of another network
    judge: Callable[[FeatureRef, Mapping[str, Any]], None] = lambda ref, about: None
    made: dict[_Key, Feature] = field(default_factory=dict)

    def of(self, ref: FeatureRef, like: Tensor) -> Feature:
        """The feature for vectors such as ``like`` [m, width], ready to be used. Raises E720, E721 and E723 as
        :func:`causal_dsl.features.build.build` does."""
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        key = (ref.chain, ref.fitting.file, ref.number, like.shape[1], dtype, like.device)
        if key not in self.made:
            span, kept = ref.span or NOWHERE, self._kept(ref) if ref.fitting.file else None
            try:
                feature = build(ref.chain, like.shape[1], 0, dtype=dtype, device=like.device, tensors=kept, span=span)
            except ValueError as error:
                if kept is None:
                    raise
                raise _another(ref, str(error)) from error
            feature.harden()
            feature.requires_grad_(False)
            with torch.no_grad():
                feature.prepare()
            self.made[key] = feature
        return self.made[key]

    def _kept(self, ref: FeatureRef) -> dict[str, Tensor]:
        """The tensors of a fit that was kept (E729 where the file has none)."""
        path = Path(ref.fitting.file)
        reads.note(path)
        try:
            tensors, about = load_tensors(path)
        except (OSError, Damaged) as error:
            raise _another(ref, str(error)) from error
        self.judge(ref, about)
        head = f"{ref.number}/"
        return {name.removeprefix(head): tensor for name, tensor in tensors.items() if name.startswith(head)}

    def nodes(self, parts: NodeParts, seen: Sequence[Tensor]) -> tuple[NodeNumbers, Tensor]:
        """Some nodes of a dictionary, and the vectors [m, width] that it reads, side by side, of those that were ``seen``: of a feature that
        writes elsewhere the last ones are the written."""
        read = torch.cat([one.to(seen[0].device) for one in seen[:-1]], dim=1) if len(seen) > 1 else seen[0]
        feature = self.of(parts.feature, read)
        chosen = None if parts.whole else torch.tensor(parts.latents, dtype=torch.int64, device=read.device)
        if (
            chosen is not None and len(chosen) and int(chosen.max()) >= feature.size
        ):  # the file is not the one that was checked
            raise fail(
                "E723",
                f"`{parts.feature.chain[0].shown}` names latent {int(chosen.max())}, and there are {feature.size}",
                parts.feature.span or NOWHERE,
                help=f"name each once, from 0 to {feature.size - 1}",
            )
        return NodeNumbers(feature, chosen, parts.error, parts.feature.output), read


def _another(ref: FeatureRef, why: str) -> SpecError:
    """E729: a file that does not hold the feature."""
    return fail(
        "E729",
        f"`{shown_path(Path(ref.fitting.file))}` does not hold this feature",
        ref.span or NOWHERE,
        notes=(why[:300],),
        help="name a file that a run with --out wrote into `features/`",
    )


__all__ = ["GivenMaps"]
