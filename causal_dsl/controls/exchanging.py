"""Copies of a variable beside the feature that takes it, where the answer needs more than the variable.

What else the answer needs is somewhere in the rest of the layer. A part of the rest that moves the answer may be a part of that. But what is
needed may be told by a few directions: those in which inputs that need different things differ, and inputs that need the same do not. If these,
taken from another input, give the answer that it then needs, whatever else stands in the rest, the network reads it there. All other
directions may then be taken from other inputs. The feature and these directions stay as they are, so no answer may move. Where the network reads
along directions that are askew, a mixture shifts what it reads of what is needed, the same way in all inputs. So it hardly exchanges the answers of
two inputs that need different things; and if it does, because what is read is then none of the usual values, an opposite shift of the telling
directions gives both answers back. Nor does it move the answer where no such need changes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from causal_dsl.causal.condition_functions import Columns
from causal_dsl.controls.assembling import SURE, Assembling
from causal_dsl.controls.carrying import needed
from causal_dsl.controls.kept_features import FeatureClaim
from causal_dsl.diagnostics import SpecError
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.alike_pairs import told
from causal_dsl.planning.probe_rows import LEAST
from causal_dsl.score.through import Exchanged
from causal_dsl.score.unmapped import exceeds, of_pairs

#: Mixtures in which it is tried what the directions give; in so many of them it has to be the answer that is needed.
_CARRY, _CARRIED = 256, 0.98
#: Directions in which a layer varies by less than this share of the most are rounding.
_ROUNDED = 1e-4
#: The most mixtures of one projection, and of how many projections it is asked what gives the answers back.
_MOST, _ASKED = 64, 2
#: Inputs of each need, on average, at the least.
_EACH = 4
#: Shifts of the telling directions, in distances of what they tell.
_SHIFTS = [half / 2 for half in range(-8, 9) if half]
#: The most pairs of needs between which it is shifted.
_LINES = 3


def exchanged(
    assembling: Assembling,
    claim: FeatureClaim,
    turned: Sequence[tuple[str, torch.Tensor]],
    rows: int,
    allowed: float,
) -> Exchanged | None:
    """The projection among ``turned`` along which mixtures exchange the most answers, in no more than so many ``rows``; None where it is not known
    where the layer tells what the answer needs beside the claimed variables, or where no projection exchanges more than errors explain."""
    n = min(_MOST, rows // (2 * len(turned)))
    if n < LEAST or len(assembling.inputs) < LEAST:
        return None
    needs = needed(assembling.test, claim.placed, assembling.values)
    if needs is None or not 0 < needs.max(initial=0) < len(needs) // _EACH:
        return None
    finding = _Exchanging(assembling, claim, needs)
    if finding.telling is None:
        return None
    carried = finding.carried(min(_CARRY, rows // 4))
    if carried is None:
        return None
    pairs = finding.pairs(n)
    if pairs is None:
        return None
    hits = [finding.hits(one, *pairs) for _, one in turned]
    order = sorted(range(len(hits)), key=lambda i: -int(hits[i][0].sum()))
    for i in order[:_ASKED]:
        moved, added = hits[i]
        if not exceeds(of_pairs(moved, False), allowed, len(hits)):
            break
        asked = moved & pairs[2]
        if asked.any():
            moved[asked] = ~finding.given_back(added[torch.from_numpy(asked)], pairs[0][asked], pairs[1][asked])
        if exceeds(share := of_pairs(moved, False), allowed, len(hits)):
            return Exchanged(share, turned[i][0], of_pairs(carried, False), bool(assembling.wrong))
    return None


class _Exchanging:
    """``needs`` [n]: a number for what each input needs beside the claimed variables."""

    def __init__(self, assembling: Assembling, claim: FeatureClaim, needs: np.ndarray):
        self.assembling, self.claim, self.needs = assembling, claim, needs
        self.stream, self.vectors = assembling.stream, assembling.vectors
        self.telling = self._telling()

    def _telling(self) -> torch.Tensor | None:
        """The projection [width, width] on the directions in which inputs that need different things differ, and those that need the same do not;
        None where there are none."""
        first = self.vectors[:1].expand_as(self.vectors)
        rest = self.claim.keep(self.vectors.clone(), first.clone(), self.vectors[:0]).double().cpu().numpy()
        means = np.stack([rest[self.needs == one].mean(axis=0) for one in range(int(self.needs.max()) + 1)])
        _, sizes, within = np.linalg.svd(rest - means[self.needs], full_matrices=False)
        scale = max(np.abs(rest - rest.mean(axis=0)).max(initial=0.0), 1e-30)
        within = within[sizes > _ROUNDED * scale * len(rest) ** 0.5]
        apart = means - means.mean(axis=0)
        apart = apart - apart @ within.T @ within
        _, sizes, directions = np.linalg.svd(apart, full_matrices=False)
        directions = directions[sizes > 100 * _ROUNDED * scale]
        return torch.from_numpy(directions.T @ directions) if len(directions) else None

    def _said(self, base: np.ndarray, vectors: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The answers [n] with such vectors [n, width], in which the inputs ``base`` [n] give what the features take, and whether each is clear."""
        assembling = self.assembling
        kept = self.claim.keep(vectors, self.vectors[torch.from_numpy(base)], self.vectors)
        said, gaps = assembling.layer.said(assembling.inputs[base], assembling.lines(base), kept)
        return said, gaps >= SURE * assembling.usual

    def carried(self, n: int) -> np.ndarray | None:
        """In which mixtures [m] the telling directions of an input give, beside the features of a second and the rest of a third, the answer that is
        then needed, where that is another one; None if it is not in nearly all."""
        assembling, test, telling = self.assembling, self.assembling.test, self.telling
        assert telling is not None
        base, tells, rest = (self.stream.below(len(assembling.inputs), n) for _ in range(3))
        try:
            label, before = (
                told(
                    test.model,
                    test.readout.variable,
                    self.claim.placed,
                    _rows(assembling.values, base),
                    _rows(assembling.values, rows),
                )
                for rows in (tells, rest)
            )
        except SpecError:
            return None
        there = self.vectors[torch.from_numpy(rest)]
        mixed = there + (self.vectors[torch.from_numpy(tells)] - there) @ telling.to(there)
        said, _ = self._said(base, mixed)
        right = np.asarray(test.model.accepted(test.readout.variable).right(said, label))
        asked = label != before
        if asked.sum() < LEAST or right.mean() < _CARRIED or right[asked].mean() < _CARRIED:
            return None
        found: np.ndarray = right[asked]
        return found

    def pairs(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Two inputs in each of n mixtures, with the same values of the claimed variables and different needs, and whether their answers differ [n]. They
        do, or no need changes the answer beside these values."""
        assembling, values = self.assembling, self.assembling.values
        group = np.unique(np.stack([values[name] for name in self.claim.placed], axis=1), axis=0, return_inverse=True)[
            1
        ]
        group = group.reshape(-1)
        still = {one for one in np.unique(group).tolist() if len(np.unique(assembling.answers[group == one])) == 1}
        one, other = (self.stream.below(len(group), 32 * n) for _ in range(2))
        differ = assembling.answers[one] != assembling.answers[other]
        fit = (group[one] == group[other]) & (self.needs[one] != self.needs[other])
        fit &= differ | np.isin(group[one], list(still))
        kinds = [np.flatnonzero(fit & differ), np.flatnonzero(fit & ~differ)]
        some = np.concatenate(
            [kind[: max(n // 2, n - len(rest))] for kind, rest in zip(kinds, kinds[::-1], strict=True)]
        )
        one, other, differ = one[some], other[some], differ[some]
        return (one, other, differ) if len(one) >= LEAST else None

    def hits(
        self, projection: torch.Tensor, one: np.ndarray, other: np.ndarray, differ: np.ndarray
    ) -> tuple[np.ndarray, torch.Tensor]:
        """In which mixtures [n] the answers of two inputs are exchanged, clearly, or one moves where no need changes it, when the same is added
        to both, and what [n, width]: the difference of two other inputs along a ``projection``, but for the telling directions."""
        assert self.telling is not None
        first, second = (self.vectors[torch.from_numpy(self.stream.below(len(self.needs), len(one)))] for _ in range(2))
        added = (second - first) @ projection.to(first)
        added = added - added @ self.telling.to(first)
        answers = self.assembling.answers
        (first_said, first_sure), (second_said, second_sure) = (
            self._said(rows, self.vectors[torch.from_numpy(rows)] + added) for rows in (one, other)
        )
        both = first_sure & second_sure & (first_said != TIED) & (second_said != TIED)
        swapped = (first_said == answers[other]) & (second_said == answers[one])
        moved = both & np.where(differ, swapped, (first_said != answers[one]) | (second_said != answers[other]))
        return moved, added

    def given_back(self, added: torch.Tensor, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """In which mixtures [n] some shift between what two needs have in the telling directions gives both inputs their own answers."""
        means = torch.stack(
            [self.vectors[torch.from_numpy(self.needs == need)].mean(dim=0) for need in np.unique(self.needs)]
        )
        told = means @ self.telling.to(means) if self.telling is not None else means
        lines = [told[j] - told[i] for i in range(len(told)) for j in range(i + 1, len(told))][:_LINES]
        found, answers = np.zeros(len(one), bool), self.assembling.answers
        for line in lines:
            for shift in _SHIFTS:
                said = [
                    self._said(rows, self.vectors[torch.from_numpy(rows)] + added + shift * line)[0]
                    for rows in (one, other)
                ]
                found |= (said[0] == answers[one]) & (said[1] == answers[other])
        return found


def _rows(values: Columns, rows: np.ndarray) -> Columns:
    return {name: column[rows] for name, column in values.items()}


__all__ = ["exchanged"]
