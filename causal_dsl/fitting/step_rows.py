"""Rows of a step: some pairs of some interventions, each through its own features, to logits in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.activation_cache import Means
from causal_dsl.engine.values import Values
from causal_dsl.features.base import Feature
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.fitting.precomputed import FitActivations
from causal_dsl.inputs.protocol import pick
from causal_dsl.network.forward import SiteWrite, forward
from causal_dsl.network.sweep.drive import ReadRows
from causal_dsl.network.sweep.prefixes import Going, going, replay
from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import Accesses, PassRows, place_of
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.pass_layout import Family, Spot
from causal_dsl.planning.steps import layers_of
from causal_dsl.program.read_features import FeatureRef

#: Numbers that a layer keeps of a token for its gradients, in widths of the stream and of the feed-forward block: what enters
#: norms, queries, keys, values and what attention gives; both sides of a gate and their product.
SAVED_WIDTHS, SAVED_INNER = 8, 3
#: Layouts of rows that are remembered: steps and checks take turns.
_LAYOUTS = 4


@dataclass(frozen=True, eq=False)
class Part:
    """Pairs [k] of one intervention, written through ``features``; of the logits ``columns`` are wanted (None: all)."""

    resume: g.Resume
    pairs: np.ndarray
    features: Mapping[FeatureRef, Feature]
    columns: np.ndarray | None


class Stepper:
    """Runs parts on one network, from the vectors and prefixes of a cache."""

    def __init__(self, cache: FitActivations):
        self.cache, self.network = cache, cache.network
        self.prompts = cache.prompts()
        inputs = cache.plan.inputs[self.network.key]
        self.lengths, self.reads = inputs.lengths[cache.inputs], inputs.reads[cache.inputs]
        self.given = GivenMaps()
        self.means = Means(cache.layouts, self.given)
        self.layers = layers_of(self.network.facts)
        self.layouts: dict[bytes, Going] = {}

    def most_rows(self, resumes: Sequence[g.Resume], budget: Budget) -> int:
        """How many rows one pass may have: what each keeps for its gradients, and its logits, within half of the budget."""
        facts = self.network.facts
        tokens = 1
        for resume in resumes:
            for write in resume.writes:
                pairs = np.arange(self.cache.plan.drawn[resume.base.draw].n)
                which, positions = self.cache.layouts.tokens(write.place, resume.base, pairs)
                lengths = self.lengths[self.cache.prompt_of(resume.base, pairs)]
                carried = (
                    int((lengths[which] - positions).max(initial=1))
                    if self.cache.prefixes is not None
                    else self.cache.width
                )
                tokens = max(tokens, carried)
        width = facts.width or max(facts.widths, default=1)
        each = tokens * max(1, self.layers) * (SAVED_WIDTHS * width + SAVED_INNER * (facts.mlp_width or 0))
        logits = 4 * (facts.outputs or 0)
        return int(
            max(1, min(budget.most_tokens // tokens, budget.tensors / 2 // max(1, budget.size * (each + logits))))
        )

    def logits(self, parts: Sequence[Part]) -> list[Tensor]:
        """The logits [k, columns] of each part; gradients are as the caller sets them."""
        if self.cache.prefixes is None:
            return self._whole(parts)
        reached = [self._reached(part) for part in parts]
        if all(rows.all() for rows in reached):
            return self._replayed(parts)
        return self._apart(parts, reached)

    def reaches(self, part: Part) -> bool:
        """Whether what a part writes can reach the answer in any of its pairs."""
        return bool(self._reached(part).any())

    def _reached(self, part: Part) -> np.ndarray:
        """In which pairs [k] of a part anything of what is written can reach the answer."""
        found = np.zeros(len(part.pairs), bool)
        for write in part.resume.writes:
            which, _ = self.cache.layouts.tokens(write.place, part.resume.base, part.pairs)
            found[which[self.cache.layouts.live(write, part.resume.base, part.pairs)]] = True
        return found

    def _apart(self, parts: Sequence[Part], reached: list[np.ndarray]) -> list[Tensor]:
        """:meth:`logits` where some pairs are the unpatched run: of these no row goes on, so they are run whole."""
        moved = [replace(p, pairs=p.pairs[rows]) for p, rows in zip(parts, reached, strict=True) if rows.any()]
        still = [replace(p, pairs=p.pairs[~rows]) for p, rows in zip(parts, reached, strict=True) if not rows.all()]
        ran, stayed = iter(self._replayed(moved) if moved else []), iter(self._whole(still))
        found = []
        for rows in reached:
            pieces = ([next(ran)] if rows.any() else []) + ([next(stayed)] if not rows.all() else [])
            order = np.argsort(np.concatenate([np.flatnonzero(rows), np.flatnonzero(~rows)]))
            every = torch.cat(pieces)
            found.append(every.index_select(0, torch.from_numpy(order).to(every.device)))
        return found

    def _families(self, parts: Sequence[Part], first: int) -> list[Family]:
        found = []
        for part in parts:
            rows = np.arange(first, first + len(part.pairs))
            spots = []
            for write in part.resume.writes:
                which, tokens = self.cache.layouts.tokens(write.place, part.resume.base, part.pairs)
                live = self.cache.layouts.live(write, part.resume.base, part.pairs)
                spots.append(Spot(which, rows[which], tokens, live))
            found.append(Family(part.resume, part.pairs, np.arange(len(part.pairs)), rows, tuple(spots)))
            first += len(part.pairs)
        return found

    def _writes(self, parts: Sequence[Part], families: Sequence[Family]) -> list[SiteWrite]:
        """The writes of parts that can reach the answer."""
        writes = []
        for part, family in zip(parts, families, strict=True):
            heads = self.network.facts.heads or 1
            values = Values(self.cache, self.means, {}, self.network.device_at, heads, part.features, given=self.given)
            for number, (write, spot) in enumerate(zip(part.resume.writes, family.spots, strict=True)):
                if spot.live.any():
                    edit = values.edit(write, family, number, np.nonzero(spot.live)[0])
                    rows, positions = spot.rows[spot.live], spot.positions[spot.live]
                    writes.append(
                        SiteWrite(write.place.site, torch.from_numpy(rows), torch.from_numpy(positions), edit)
                    )
        return writes

    def _replayed(self, parts: Sequence[Part]) -> list[Tensor]:
        cache = self.cache
        assert cache.prefixes is not None and isinstance(self.prompts, list)
        homes = [cache.prompt_of(part.resume.base, part.pairs) for part in parts]
        which, home = _by_appearance(np.concatenate(homes))
        families = self._families(parts, len(which))
        lengths = self.lengths[which]
        accesses = Accesses.join(
            (spot.rows[spot.live], spot.positions[spot.live], *place_of(write.place.site, self.layers))
            for family in families
            for write, spot in zip(family.resume.writes, family.spots, strict=True)
        )
        read = np.concatenate([np.full(len(which), -1), self.reads[which][home]])
        laid = self._laid(which, PassRows(lengths, home, read, accesses))
        asked = [
            ReadRows(family.rows, read[family.rows], part.columns) for part, family in zip(parts, families, strict=True)
        ]
        return replay(self.network, self.prompts, cache.prefixes, laid, self._writes(parts, families), asked).logits

    def _laid(self, which: np.ndarray, rows: PassRows) -> Going:
        """The layout of rows; rows that are alike but for the prompts that they are of are laid out once."""
        table = rows.writes
        told = (rows.lengths, rows.home, rows.read, table.rows, table.positions, table.levels, table.phases)
        key = b"|".join(np.ascontiguousarray(column).tobytes() for column in told)
        found = self.layouts.pop(key, None)
        laid = going(self.network, which, rows) if found is None else replace(found, which=which)
        self.layouts[key] = laid
        if len(self.layouts) > _LAYOUTS:
            del self.layouts[next(iter(self.layouts))]
        return laid

    def _whole(self, parts: Sequence[Part]) -> list[Tensor]:
        homes = np.concatenate([self.cache.prompt_of(part.resume.base, part.pairs) for part in parts])
        found = forward(
            self.network,
            pick(self.prompts, homes),
            [],
            self._writes(parts, self._families(parts, 0)),
            readout=torch.arange(len(homes)),
            positions=torch.from_numpy(self.reads[homes]),
            stop=False,
            padding=self.network.padding,
        ).logits
        assert found is not None
        pieces = found.split([len(part.pairs) for part in parts])
        return [
            piece if part.columns is None else piece[:, torch.from_numpy(part.columns).to(piece.device)]
            for part, piece in zip(parts, pieces, strict=True)
        ]


def _by_appearance(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in the order in which they come, and for each of ``values`` which it is: where none comes
    twice, the same for all values."""
    distinct, first, back = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[back.reshape(-1)]
