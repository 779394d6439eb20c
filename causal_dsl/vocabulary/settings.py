"""The settings of calls, and the values that each takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """The values that a setting takes. ``kind``: int, ints (a list of them), number, bool, string, word (a bare name), names (a list
    of names), texts (a list of texts, or the name of a domain), several (a name, or a list of names), ending (``word``: (), or texts), domain and alignment (the name of one), or words; of written values also run (the name of one), file
    (a path, relative to the spec), value (another written value) and values (all that stand behind the others)."""

    kind: str
    default: Any = None
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    positional: bool = False
    required: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)
    #: what it decides, as docs and editors say it
    says: str = ""
    #: how the table of the docs that has it writes it; empty where none has
    shown: str = ""


__all__ = ["Setting"]
