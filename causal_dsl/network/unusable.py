"""Sites that a spec names and a loaded network cannot give: what is at fault in single cells of a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from causal_dsl.diagnostics import Diagnostic, SpecError
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.network import Network
from causal_dsl.network.proof import PADDED
from causal_dsl.network.site_tensors import tap
from causal_dsl.program.program import Cell
from causal_dsl.vocabulary.locations import Site

#: Faults of a site, which another site of the same network need not have.
_OF_A_SITE = ("E422", "E424", "E425")


def sites_of(cells: Iterable[Cell]) -> frozenset[Site]:
    """Every site that cells write, read or hold variables at."""
    return frozenset(site for cell in cells for site in _sites(cell))


def unusable(network: Network, sites: Iterable[Site]) -> dict[Site, Diagnostic]:
    """Why sites cannot be used in a loaded and proved network, of those that cannot: E422, E424 or E425. A fault of the whole
    network, which all of its sites have, is not among these."""
    found = {}
    for site in sites:
        try:
            tap(network, site)
        except SpecError as error:
            if error.code in _OF_A_SITE and not _of_all(network, site):
                found[site] = error.diagnostics[0]
    return found


def _of_all(network: Network, site: Site) -> bool:
    proof = proof_of(network)
    return proof is not None and (bool(proof.raised) or PADDED in proof.refused.get(site.component, ""))


def _sites(part: object) -> Iterator[Site]:
    if isinstance(part, Site):
        yield part
    elif isinstance(part, tuple | frozenset):
        for one in part:
            yield from _sites(one)
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        for about in dataclasses.fields(part):
            if about.repr:
                yield from _sites(getattr(part, about.name))


__all__ = ["sites_of", "unusable"]
