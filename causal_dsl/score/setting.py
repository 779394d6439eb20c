"""The setting of a test, as values: its causal model, a prompt of it, where its variables are, and the pairs that fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.as_json import number

if TYPE_CHECKING:
    from causal_dsl import shapes


@dataclass(frozen=True)
class ModelVariable:
    """A variable of a causal model: ``text`` is its statement as it is written, ``domain`` its values in words."""

    name: str
    kind: Literal["input", "mechanism", "template"]
    output: bool
    domain: str
    parents: tuple[str, ...]
    text: str

    def to_json(self) -> shapes.ModelVariableJson:
        return {
            "name": self.name,
            "kind": self.kind,
            "output": self.output,
            "domain": self.domain,
            "parents": list(self.parents),
            "text": self.text,
        }


@dataclass(frozen=True)
class Occupied:
    """A place of a test in one cell. ``variable``: which is placed there; empty where a site is written directly. ``tokens``: which
    tokens of the example prompt (empty in a vector network). ``written``: whether the test writes it. ``via``: its feature."""

    cell: Mapping[str, Any]
    variable: str
    place: str
    layer: int | None
    tokens: tuple[int, ...]
    written: bool
    via: str = ""

    def to_json(self) -> shapes.OccupiedJson:
        return {
            "cell": number(self.cell),
            "variable": self.variable,
            "place": self.place,
            "layer": self.layer,
            "tokens": list(self.tokens),
            "written": self.written,
            "via": self.via,
        }


@dataclass(frozen=True)
class RunSetting:
    """The setting in which a test was run: the name of its causal model, the prompt of its first pair as ``tokens`` (none in a vector
    network), the token at which the answer is ``read``, the ``layers`` of the network, and where its variables are."""

    model: str
    tokens: tuple[str, ...] = ()
    read: int | None = None
    layers: int | None = None
    places: tuple[Occupied, ...] = ()

    def to_json(self) -> shapes.SettingJson:
        return {
            "model": self.model,
            "tokens": list(self.tokens),
            "read": self.read,
            "layers": self.layers,
            "places": [place.to_json() for place in self.places],
        }


@dataclass(frozen=True)
class FailedPair:
    """A pair whose answer is wrong in a cell: its number, its inputs by role, the right answer (``wanted``), what the network
    ``said``, and what it said ``before`` in the unpatched run (empty where that is the same run)."""

    cell: Mapping[str, Any]
    pair: int
    inputs: Mapping[str, str]
    wanted: str
    said: str
    before: str = ""

    def to_json(self) -> shapes.FailedPairJson:
        return {
            "cell": number(self.cell),
            "pair": self.pair,
            "inputs": dict(self.inputs),
            "wanted": self.wanted,
            "said": self.said,
            "before": self.before,
        }


__all__ = ["FailedPair", "ModelVariable", "Occupied", "RunSetting"]
