"""Which network the file of a circuit was found on: written beside the scores, and compared where it is read.

A circuit of another checkpoint of the same shape is a question of its own, so a file of another network is warned of and read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.program.program import NetworkRef

_SIZES = ("architecture", "layers", "heads", "kv_heads", "width")


def network_of(ref: NetworkRef, weights: str = "") -> dict[str, Any]:
    """Who a network is, as data: its name as a spec declares it, without the folders above its own, its sizes as far as they are
    known, and the SHA-256 of its ``weights``."""
    sizes = {name: getattr(ref.facts, name) for name in _SIZES}
    told = {name: size for name, size in sizes.items() if size not in (None, "")}
    return {"name": _name(ref), **told, **({"weights": weights} if weights else {})}


def weights_said(said: object) -> str:
    """The SHA-256 of the weights that a file says its circuit was found on; empty where it says none."""
    digest = said.get("weights") if isinstance(said, Mapping) else None
    return digest if isinstance(digest, str) else ""


def _name(ref: NetworkRef) -> str:
    key = ref.key
    target = os.path.basename(key.target.rstrip("/")) if os.path.isabs(key.target) else key.target
    told = [f'"{target}"'] if key.training is None else [key.training.alignment]
    told += [f'revision="{key.revision}"'] * (key.revision is not None)
    told += ["untrained=true"] * key.untrained
    return f"{key.kind}({', '.join(told)})"


def warn_of_another(said: object, ref: NetworkRef, file: str, span: Span, found: Diagnostics) -> None:
    """W805: a file that says that it is of another network than the one that it is read for."""
    held: Mapping[str, Any] = said if isinstance(said, Mapping) else {"name": said}
    own = network_of(ref)
    if not any(name in held and name in own and held[name] != own[name] for name in ("name", *_SIZES)):
        return
    found.report(
        "W805",
        f"`{file}` is of another network",
        span,
        notes=(f"the file is of {_told(held)}", f"and `{ref.name}` is {_told(own)}"),
        help="name a file that was found on this network; leave it if the circuit of one is to be tested in the other",
    )


def _told(held: Mapping[str, Any]) -> str:
    sizes = [f"{name} {held[name]}" for name in _SIZES if name in held]
    return ", ".join([str(held.get("name", "a network without a name"))[:80], *sizes])


__all__ = ["network_of", "warn_of_another", "weights_said"]
