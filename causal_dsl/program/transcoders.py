"""Autoencoders that read at some sites and write at others, as their ``cfg.json`` says: a transcoder reads what an MLP reads and
writes what it adds; a crosscoder reads and writes several layers.

A spec names the sites that are written. What is read there comes from the run as it was, before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, shown_path
from causal_dsl.program.components import missing, width
from causal_dsl.program.file_shapes import tensor_shapes
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.program.sae_metadata import CONFIG, before_the_gain, check_network, same_vector, site_of, with_the_gain
from causal_dsl.store.reads import LARGEST_SETTINGS, read_bytes
from causal_dsl.vocabulary.locations import Place, Site
from causal_dsl.vocabulary.network_facts import Facts

TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder")
CROSSCODER = "crosscoder"


@dataclass(frozen=True)
class Across:
    """The hooks between which a file reads and writes, by their names; a name is None where the file does not say it."""

    kind: str
    reads: tuple[str | None, ...]
    writes: tuple[str | None, ...]

    @property
    def named(self) -> str:
        """Its name in messages."""
        return CROSSCODER if self.kind == CROSSCODER else "transcoder"


def across_of(path: Path) -> Across | None:
    """Where the autoencoder of a file or folder reads and writes, where that is not one site; None for all others."""
    said = _said(path)
    kind = said.get("architecture")
    if kind in TRANSCODERS:
        return Across(str(kind), (_hook(said, "hook_name"),), (_hook(said, "hook_name_out"),))
    if kind == CROSSCODER:
        names = said.get("hook_names")
        hooks = tuple(n for n in names if isinstance(n, str)) if isinstance(names, list) else ()
        return Across(CROSSCODER, hooks or (None,), hooks or (None,))
    return None


def _hook(said: Mapping[str, Any], key: str) -> str | None:
    name = said.get(key)
    return name if isinstance(name, str) and name else None


def _said(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(read_bytes((path if path.is_dir() else path.parent) / CONFIG, LARGEST_SETTINGS))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    inner = [said[key] for key in ("architecture_params", "metadata") if isinstance(said.get(key), dict)]
    return {key: value for part in (said, *inner) for key, value in part.items() if value is not None}


def read_across(
    across: Across, ref: FeatureRef, places: Sequence[Place], network: NetworkRef, found: Diagnostics
) -> tuple[FeatureRef, ...] | None:
    """The feature at each written place, with the places that it reads; None where a fault was reported."""
    path, span = Path(str(dict(ref.chain[0].settings)["path"])), ref.span
    assert span is not None
    sites = _sites(across, path, network.facts, span, found)
    if sites is None or not (ref.elsewhere or check_network(path, network, span, found)):
        return None
    reads, writes = sites
    made = []
    for place in places:
        output = next((i for i, site in enumerate(writes) if same_vector(site, place.site)), None)
        if output is None or place.site.dims is not None:
            wanted = " and ".join(f"`{site}`" for site in writes)
            found.report(
                "E515",
                f"the {across.named} was made for another place",
                span,
                notes=(f"{_file(path)} says that it writes {wanted}", f"it is used at `{place}`"),
                help=f"write at {wanted}, or use one that was made for this place",
            )
            return None
        made.append(
            replace(ref, place=place, reads=tuple(Place(site, place.position) for site in reads), output=output)
        )
    return tuple(made) if _widths_fit(across, path, reads, places, network.facts, span, found) else None


def _sites(
    across: Across, path: Path, facts: Facts, span: Span, found: Diagnostics
) -> tuple[tuple[Site, ...], tuple[Site, ...]] | None:
    """The sites that are read and those that are written (E762 where the file does not say them, or they are none here)."""
    read: list[Site] = []
    for hook in dict.fromkeys((*across.reads, *across.writes)):
        site = None if hook is None else site_of(hook)
        told = f"`{hook}` is not a known site"
        if hook is not None and (after := before_the_gain(hook)) is not None:
            told = f"`{hook}` is before the gain of the norm, which no site here is, and `{after}` is after it"
        elif hook is None:
            told = "it does not name its hooks"
        elif site is not None and site.layer is not None and facts.layers is not None and site.layer >= facts.layers:
            told, site = f"`{hook}` is in a layer that the network does not have", None
        elif site is not None and (reason := missing(site.component, facts)) is not None:
            told, site = reason, None
        if site is None:
            normed = None if hook is None else before_the_gain(hook)
            keys = '"hook_names": ["…", …]' if across.kind == CROSSCODER else '"hook_name": "…", "hook_name_out": "…"'
            found.report(
                "E762",
                f"cannot tell where the {across.named} reads and writes",
                span,
                notes=(f"{_file(path)}: {told}",),
                help=f"let its cfg.json say it: {keys}" if normed is None else with_the_gain(normed),
            )
            return None
        read.append(site)
    count = len(across.reads)
    return (tuple(read), tuple(read)) if across.kind == CROSSCODER else (tuple(read[:count]), tuple(read[-1:]))


def _widths_fit(
    across: Across,
    path: Path,
    reads: Sequence[Site],
    places: Sequence[Place],
    facts: Facts,
    span: Span,
    found: Diagnostics,
) -> bool:
    shapes = tensor_shapes(path) or {}
    encoder, decoder = shapes.get("W_enc", ()), shapes.get("W_dec", ())
    inside, outside = (encoder[-2:-1] or (None,))[0], (decoder[-1:] or (None,))[0]
    for site, wide, does in (
        *((site, inside, "reads") for site in reads),
        *((p.site, outside, "writes") for p in places),
    ):
        known = width(site, facts)
        if wide is not None and known is not None and wide != known:
            found.report(
                "E720",
                f"the {across.named} {does} vectors of {wide} numbers, and `{site}` has {known}",
                span,
                help="use one that was made for this site of this network",
            )
            return False
    return True


def _file(path: Path) -> str:
    return shown_path((path if path.is_dir() else path.parent) / CONFIG)


__all__ = ["CROSSCODER", "TRANSCODERS", "Across", "across_of", "read_across"]
