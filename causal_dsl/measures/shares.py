"""Shares of right answers and what is made of them; each is given the run that a metric speaks of."""

from __future__ import annotations

from causal_dsl.causal.attributes import SWAPPED
from causal_dsl.measures.per_cell import Halfway, Isolate, PairMean, Star
from causal_dsl.measures.per_pair import AsksAbout, Informative, Moved, Right
from causal_dsl.measures.units import SHARE

_AS_LABELLED = Right("iia", SHARE, label=True)


def accuracy(run: str) -> PairMean:
    return PairMean("accuracy", SHARE, Right("accuracy", SHARE, label=False), "base")


def iia(run: str) -> PairMean:
    return PairMean("iia", SHARE, _AS_LABELLED, run)


def iia_informative(run: str) -> PairMean:
    return PairMean("iia_informative", SHARE, _AS_LABELLED, run, Informative("informative", SHARE))


def iia_star(run: str) -> Star:
    return Star("iia_star", SHARE, iia(run))


def cause(run: str) -> PairMean:
    return PairMean("cause", SHARE, _AS_LABELLED, run, AsksAbout("asked about", SHARE, SWAPPED))


def isolate(run: str) -> Isolate:
    return Isolate("isolate", SHARE, _AS_LABELLED, run)


def disentangle(run: str) -> Halfway:
    return Halfway("disentangle", SHARE, cause(run), isolate(run))


def moved(run: str) -> Moved:
    return Moved("moved", SHARE)
