"""The components of a network by their names: what each takes, how wide it is, where it does not exist."""

from __future__ import annotations

from causal_dsl.diagnostics import did_you_mean
from causal_dsl.program.facts import inferable, layout_of
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts

#: What attention compares: seen where it is run apart.
COMPARED = tuple(name for name, about in COMPONENTS.items() if about.compared)


def missing(component: str, facts: Facts) -> str | None:
    """Why networks of these facts have no such site, in the user's words; None where they have it.

    Of networks of which nothing is known yet (``torch(…)``, a hub name without a local copy) nothing is refused.
    """
    if component not in COMPONENTS:
        return f"no component is called `{component}`"
    if not COMPONENTS[component].is_in(facts) and component not in facts.traits.encoded_at:
        return facts.traits.absent.format(component=component)
    if facts.unseen or not facts.traits.by_record or component in ("module", "logits"):
        return None
    record = layout_of(facts)
    if record is None and inferable(facts):
        return None  # found, or refused, as the network is loaded
    if record is None:
        return f'the place of `{component}` in `{facts.architecture}` is not known; name a module instead: module("…")'
    return record.absent.get(component) or COMPONENTS[component].absent(facts, record)


def lacking(site: Site, facts: Facts) -> str | None:
    """Why the layer of a site does not have it, though others do; None where it has."""
    return None if site.layer is None else COMPONENTS[site.component].absent_in(facts, site.layer)


def with_site(component: str, layer: int, facts: Facts) -> Site:
    """The site in a layer, or in the first one that has it where this one does not; in no layer, of what is in none."""
    if not COMPONENTS[component].layer:
        return Site(component)
    every = (Site(component, number) for number in (layer, *range(facts.layers or 0)))
    return next((site for site in every if lacking(site, facts) is None), Site(component, layer))


def unfit(facts: Facts) -> str | None:
    """Why rows cannot enter a pass through such a network where they are written; None where they can."""
    if not facts.traits.by_record:
        return None if len(facts.widths) > 1 else "its layers are not known"
    record = layout_of(facts)
    if (record is None and not (inferable(facts) and facts.layers)) or (record and "resid_post" in record.absent):
        return (
            f"the place of the layers in `{facts.architecture}` is not known"
            if facts.architecture
            else "its layers are not known"
        )
    return None


def trims(facts: Facts) -> str | None:
    """Why rows of such a network carry all their tokens; None where they carry only those that they must."""
    if facts.both_ways:
        return f"the tokens of `{facts.architecture}` attend in both directions, so a change at one reaches all of them"
    return pads(facts)


def pads(facts: Facts) -> str | None:
    """Why the rows of such a network are padded in a pass; None where their tokens are run one by one."""
    if facts.traits.no_tokens:
        return facts.traits.no_tokens
    record = layout_of(facts)
    if record is not None and record.inferred and "z" in record.absent:
        return (
            f"no heads of attention were found in every layer of `{facts.architecture}`, so it cannot be run separately"
        )
    if record is not None and not record.interface:
        return f"`{facts.architecture}` computes attention in its own code, which cannot be run separately"
    return unfit(facts)


def suggestion(component: str, facts: Facts) -> str:
    """A help line: the nearest component that these networks have."""
    return did_you_mean(component, usable(facts))


def usable(facts: Facts) -> list[str]:
    """The components that networks of these facts have, as messages list them: of one that was loaded, those that were proved."""
    return [name for name in COMPONENTS if missing(name, facts) is None and name not in facts.unproved]


def leaving(facts: Facts) -> str:
    """The component that is what a layer hands to the next."""
    return next(name for name, about in COMPONENTS.items() if about.acts == "exit" and about.is_in(facts))


def takes_position(component: str, facts: Facts) -> bool:
    """Whether the site has one vector a token, so that a position must be named."""
    return COMPONENTS[component].position and facts.traits.positions


def head_count(component: str, facts: Facts) -> int | None:
    """How many heads the component has: for keys and values those that query heads share."""
    return facts.kv_heads if COMPONENTS[component].shared else facts.heads


def shared_heads(component: str, facts: Facts) -> tuple[str, ...]:
    """The numbers of heads of keys and values in words, where query heads share them; else nothing."""
    if not COMPONENTS[component].shared or not facts.kv_heads or facts.kv_heads == facts.heads:
        return ()
    each = (facts.heads or 0) // facts.kv_heads
    what = f"`{component}` counts the heads of keys and values: {facts.kv_heads}, each shared by {each} query heads"
    return (f"{what}, so query heads 0 to {each - 1} read head 0",)


def full_width(site: Site, facts: Facts) -> int | None:
    """The width of the vector at a site before ``dims`` choose from it; None where it is not known."""
    return COMPONENTS[site.component].width(facts, site)


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
    return COMPONENTS[site.component].level
