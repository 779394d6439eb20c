"""The components of vector networks."""

from __future__ import annotations

from causal_dsl.vocabulary.components.component import Component
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts


def _out(facts: Facts, site: Site) -> int | None:
    if site.layer is None or not 0 <= site.layer < len(facts.widths) - 1:
        return None
    return facts.widths[site.layer + 1]


FAMILY = (
    Component(
        "input",
        18,
        "the input vector",
        0,
        0,
        ("vector",),
        layer=False,
        position=False,
        acts="bottom",
        width=lambda facts, site: facts.widths[0] if facts.widths else None,
        node="input",
        end=True,
    ),
    Component(
        "out",
        19,
        "the output of a layer",
        0,
        0,
        ("vector",),
        position=False,
        acts="exit",
        width=_out,
        whole_at=0.5,
        node="unit",
    ),
)
