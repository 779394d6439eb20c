"""The readings at a place: each module of this folder holds records in ``FAMILY``."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.vocabulary.readings.place_reading import Reading
from causal_dsl.vocabulary.record_tables import records_in, table

#: name -> what it computes, and how it is written
READINGS: Mapping[str, Reading] = table("readings", records_in(__name__))

__all__ = ["READINGS", "Reading"]
