"""The components of a network by their names: what each takes, how wide it is, where it does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from causal_dsl.diagnostics import did_you_mean
from causal_dsl.program.facts import Facts, record_of
from causal_dsl.program.locations import Site


@dataclass(frozen=True)
class Component:
    """``layer``: written ``layer[l].…``. ``heads``: written ``head[h].…``. ``position``: one vector a token, for
    language networks. ``kinds``: the networks that have it. ``read`` and ``written``: where in its layer a pass reads it
    and where it writes it, as numbers that rise in the order in which a layer computes; reads come first where both are
    equal. ``meaning``: one line for messages and docs.

    ``read`` is proved on every network at load, and a pass is refused in which something is written earlier than what
    it is made from is read (:func:`in_time`)."""

    name: str
    layer: bool
    heads: bool
    position: bool
    kinds: tuple[str, ...]
    read: int
    written: int
    meaning: str

    @property
    def rank(self) -> int:
        """Its line in the table: the order in which sites of one tensor are touched."""
        return RANKS[self.name]


_LANGUAGE, _VECTOR, _BOTH = ("language",), ("vector",), ("language", "vector")

_TABLE = (
    Component("embed", False, False, True, _LANGUAGE, 0, 0, "the token embedding, as it enters the residual stream"),
    Component("resid_pre", True, False, True, _LANGUAGE, 0, 0, "the residual stream as it enters the layer"),
    Component("attn_in", True, False, True, _LANGUAGE, 1, 1, "what the attention reads, after its norm"),
    Component("q", True, True, True, _LANGUAGE, 2, 2, "queries, before rotary angles and norms"),
    Component("k", True, True, True, _LANGUAGE, 3, 3, "keys, before rotary angles and norms"),
    Component("v", True, True, True, _LANGUAGE, 4, 4, "values"),
    Component(
        "q_rot", True, True, True, _LANGUAGE, 5, 5, "queries as they are compared, after rotary angles and norms"
    ),
    Component("k_rot", True, True, True, _LANGUAGE, 6, 6, "keys as they are compared, after rotary angles and norms"),
    Component(
        "pattern", True, True, True, _LANGUAGE, 7, 7, "attention weights from the token to every token of its prompt"
    ),
    Component("z", True, True, True, _LANGUAGE, 8, 8, "a head's output, before the output projection"),
    Component("attn_out", True, False, True, _LANGUAGE, 9, 9, "the term that attention adds to the residual stream"),
    # Read and written where attention's term leaves, as the sum of it and the stream that it is added to: the norm that is
    # given the sum comes later, and what is written there would not reach the stream beside it.
    Component("resid_mid", True, False, True, _LANGUAGE, 10, 10, "the residual stream between attention and MLP"),
    Component("mlp_in", True, False, True, _LANGUAGE, 11, 11, "what the MLP reads, after its norm"),
    Component(
        "neurons", True, False, True, _LANGUAGE, 12, 12, "what enters the down-projection of the MLP, gate included"
    ),
    Component("mlp_out", True, False, True, _LANGUAGE, 13, 13, "the term that the MLP adds to the residual stream"),
    Component("resid_post", True, False, True, _LANGUAGE, 14, 14, "the residual stream as it leaves the layer"),
    Component("final_norm", False, False, True, _LANGUAGE, 0, 0, "the residual stream after the last norm"),
    Component("logits", False, False, True, _BOTH, 1, 1, "the scores of all tokens (or classes)"),
    Component("input", False, False, False, _VECTOR, 0, 0, "the input vector"),
    Component("out", True, False, False, _VECTOR, 0, 0, "the output of a layer"),
    Component("module", False, False, True, _BOTH, 0, 0, 'the output of any module: module("a.b.c")'),
)

#: name -> what it takes and which networks have it
COMPONENTS: Mapping[str, Component] = {component.name: component for component in _TABLE}
RANKS: Mapping[str, int] = {component.name: line for line, component in enumerate(_TABLE)}

#: What attention compares: seen where it is run apart.
COMPARED = ("q_rot", "k_rot", "pattern")


def missing(component: str, facts: Facts) -> str | None:
    """Why networks of these facts have no such site, in the user's words; None where they have it.

    Of networks of which nothing is known yet (``torch(…)``, a hub name without a local copy) nothing is refused.
    """
    if component not in COMPONENTS:
        return f"no component is called `{component}`"
    if facts.kind == "unknown":
        return None
    if facts.kind not in COMPONENTS[component].kinds:
        if facts.kind == "vector":
            return f"a vector network has no `{component}`: it has `input`, `layer[l].out`, `logits` and `module(…)`"
        return f"a language network has no `{component}`; its layers leave through `layer[l].resid_post`"
    if facts.kind == "vector" or not facts.architecture or component in ("module", "logits"):
        return None
    record = record_of(facts.architecture)
    if record is None:
        return f'where `{component}` is in `{facts.architecture}` is not known; name a module instead: module("…")'
    if component == "resid_mid" and facts.parallel:
        return (
            f"`{facts.architecture}` runs attention and MLP in parallel, both on `resid_pre`: "
            "there is no residual stream between them"
        )
    if component == "neurons" and record.neurons is None:
        return f"the experts of `{facts.architecture}` are fused: there is no one vector of neurons"
    if component == "final_norm" and record.norm is None:
        return (
            f"the layers of `{facts.architecture}` end in a norm, so there is none after the last one: "
            "what the read-out is given is its `resid_post`"
        )
    if component in COMPARED and not record.interface:
        return f"`{facts.architecture}` computes attention in code of its own, which does not show `{component}`"
    return None


def unfit(facts: Facts) -> str | None:
    """Why rows cannot enter a pass through such a network where they are written; None where they can."""
    if facts.kind == "vector":
        return None if len(facts.widths) > 1 else "its layers are not known"
    if facts.kind == "unknown" or record_of(facts.architecture) is None:
        return (
            f"where the layers of `{facts.architecture}` are is not known"
            if facts.architecture
            else "its layers are not known"
        )
    return None


def trims(facts: Facts) -> str | None:
    """Why rows of such a network carry all their tokens; None where they carry only those that they must."""
    if facts.both_ways:
        return f"the tokens of `{facts.architecture}` look both ways, so a change at one reaches all of them"
    return packs(facts)


def packs(facts: Facts) -> str | None:
    """Why the rows of such a network are padded in a pass; None where their tokens are run one by one."""
    if facts.kind == "vector":
        return "a vector network has no tokens"
    record = record_of(facts.architecture)
    if record is not None and not record.interface:
        return f"`{facts.architecture}` computes attention in code of its own, which cannot be run apart"
    return unfit(facts)


def suggestion(component: str, facts: Facts) -> str:
    """A help line: the nearest component that these networks have."""
    return did_you_mean(component, [name for name in COMPONENTS if missing(name, facts) is None])


def takes_position(component: str, facts: Facts) -> bool:
    """Whether the site has one vector a token, so that a position must be named."""
    return COMPONENTS[component].position and facts.kind != "vector"


def head_count(component: str, facts: Facts) -> int | None:
    """How many heads the component has: for keys and values those that query heads share."""
    return facts.kv_heads if component in ("k", "v", "k_rot") else facts.heads


def full_width(site: Site, facts: Facts) -> int | None:
    """The width of the vector at a site before ``dims`` choose from it; None where it is not known."""
    component = site.component
    if component in ("q", "k", "v", "z", "q_rot", "k_rot"):
        heads = len(site.heads) or head_count(component, facts)
        return heads * facts.head_dim if heads and facts.head_dim else None
    if component == "neurons":
        return facts.mlp_width
    if component == "logits":
        return facts.classes if facts.kind == "vector" else facts.vocabulary
    if component == "embed":
        return facts.embed_width or facts.width
    if component == "input":
        return facts.widths[0] if facts.widths else None
    if component == "out":
        known = site.layer is not None and 0 <= site.layer < len(facts.widths) - 1
        return facts.widths[site.layer + 1] if known and site.layer is not None else None
    if component in ("module", "pattern"):
        return None  # as wide as the module says, as long as the prompt is
    return facts.width


def width(site: Site, facts: Facts) -> int | None:
    """The width of the vector that is read and written at a site; None where it is not known."""
    return len(site.dims) if site.dims is not None else full_width(site, facts)


def depth(site: Site) -> tuple[float, int] | None:
    """Where in the computation a site is read, (layer, place in the layer): sites compare by it.

    None for ``module(…)``, whose place a path does not tell. In parallel blocks attention and MLP do not feed each
    other though their places differ.
    """
    if site.component == "module":
        return None
    return (_layer(site), COMPONENTS[site.component].read)


def in_time(read: Site, written: Site) -> bool:
    """Whether one pass reads a site before, or where, it writes another: what is read is then there to be written."""
    if read.component == written.component == "module":
        return read.module == written.module
    if "module" in (read.component, written.component):
        return False
    here, there = COMPONENTS[read.component].read, COMPONENTS[written.component].written
    return (_layer(read), here) <= (_layer(written), there)


def _layer(site: Site) -> float:
    if site.layer is not None:
        return float(site.layer)
    return -1.0 if site.component in ("embed", "input") else float("inf")
