"""`answer @ next_token(among=Name)`, `@ mask` and `@ logits[0:2]`: where the answer is read, and which values it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from causal_dsl.causal.accepted import UNKNOWN
from causal_dsl.causal.domains import Domain, Finite, Sets
from causal_dsl.causal.model import refuse_unstated
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.definitions import meant
from causal_dsl.program.facts import record_of
from causal_dsl.program.models import Terms, domain_of
from causal_dsl.program.modules import Module
from causal_dsl.program.paths import SiteStep, steps
from causal_dsl.program.positions import PositionReader
from causal_dsl.program.program import Aligned, Readout
from causal_dsl.program.read_settings import constant, read_settings
from causal_dsl.program.read_sites import SiteReader
from causal_dsl.program.stated_ends import End
from causal_dsl.program.templates import show_value
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.called_words import called
from causal_dsl.vocabulary.locations import Position

#: The sites at which an answer is read, and what each of them takes.
READOUTS = called("read-out")
_MOST_ANSWERS = 10_000


def read_readout(
    member: tree.Placement,
    aligned: Aligned,
    terms: Terms,
    module: Module,
    found: Diagnostics,
) -> Readout | None:
    """Where the answer is read; None where a fault was reported. ``terms`` are what `among` may name."""
    name = member.name.name
    variable = aligned.model.variables[name]
    path = steps(member.sites[0])
    assert path is not None
    step = path[0]
    if not variable.output:
        found.report(
            "E674",
            f"`{name}` is read out, but it is not an output of `{aligned.model.name}`",
            member.name.span,
            others=((variable.span, "declared here"),),
            help=f"write `output {name} := …` in the causal model",
        )
        return None
    if member.via is not None:
        found.report("E674", "a read-out takes no feature", member.via.span, help="leave the `via` out")
        return None
    domain = variable.domain
    if variable.type == "real" and step.name == "logits":
        return _coordinate(member, step, aligned, found)
    if name in aligned.model.unstated:
        return _unstated(member, step, aligned, terms, module, found)
    values = _values(member, domain.universe if isinstance(domain, Sets) else domain, found)
    if values is None:
        return None
    facts = aligned.network.facts
    gaps = UNKNOWN in values and facts.traits.gaps
    if gaps:
        values = tuple(value for value in values if value != UNKNOWN)
        if not values:
            found.report(
                "E788",
                f"`{name}` is the empty text in every row, which is not an answer",
                member.span,
                help=f"write `output {name}` alone where no answer is known",
            )
            return None
    if step.name in ("next_token", "mask"):
        readout = _token(member, step, values, aligned, terms, module, found)
        return readout if readout is None or not gaps else replace(readout, gaps=True)
    if len(facts.labels) == 1:
        found.report(
            "E676",
            f"`{aligned.network.name}` has one logit, which is a number and says no class",
            step.span,
            notes=(f"its one label is {facts.labels[0]}",),
            help=f"read it as a number: output {member.name.name} : real(-10, 10) := …",
        )
        return None
    readout = _logits(member, step, values, aligned, found)
    return readout if readout is None or not gaps else replace(readout, gaps=True)


def _unstated(
    member: tree.Placement, step: SiteStep, aligned: Aligned, terms: Terms, module: Module, found: Diagnostics
) -> Readout | None:
    """Where an output is read of which the model does not say what it is: among all that the network can say, or some of it."""
    if step.name in ("next_token", "mask"):
        readout = _token(member, step, (), aligned, terms, module, found)
        if readout is not None and readout.end is not None:
            refuse_unstated(member.name.name, member.span, found)
            return None
        return None if readout is None else replace(readout, stated=False)
    facts = aligned.network.facts
    if facts.traits.speaks and not facts.labels:
        return _logits(member, step, (), aligned, found)  # told there
    dims = None
    if step.indices is not None and not facts.labels:
        place = SiteReader(facts, (), found).place(member.sites[0])
        if place is None:
            return None
        dims = place.site.dims
    dims = dims if dims is not None else tuple(range(len(facts.labels) or facts.classes or 0))
    values = tuple(facts.labels[number] for number in dims) if facts.labels else dims
    return Readout("logits", member.name.name, values, dims=dims, span=member.span, stated=False)


def read_number(member: tree.Placement, aligned: Aligned, found: Diagnostics) -> Readout | None:
    """The read-out of an output that is a real number: a metric of the logits at the end of the prompt, at the mask, or of a
    vector network's. None where a fault was reported."""
    facts, name = aligned.network.facts, member.name.name
    if member.via is not None or len(member.sites) > 1:
        where = member.via.span if member.via is not None else member.sites[1].span
        found.report(
            "E674", "the read-out of a number is one metric", where, help=f'write `{name} @ logit("yes") - logit("no")`'
        )
        return None
    if facts.traits.prompted and not aligned.prompts:
        found.report(
            "E531", "a metric of what? The alignment has no prompt", member.span, help='write prompt "…" above'
        )
        return None
    kind = facts.readout
    dims = tuple(range(facts.outputs)) if kind == "logits" and facts.outputs is not None else None
    return Readout(kind, name, facts.labels or dims or (), dims=dims, span=member.span, metric=member.sites[0])


def _coordinate(member: tree.Placement, step: SiteStep, aligned: Aligned, found: Diagnostics) -> Readout | None:
    """`y @ logits[0]`: the number that a vector network gives there, or a head of one logit."""
    facts = aligned.network.facts
    place = None
    if not facts.traits.speaks and (facts.traits.seen or step.indices is not None):
        place = SiteReader(facts, (), found).place(member.sites[0])
        if place is None:
            return None
    dims = None if place is None else place.site.dims
    alone = facts.classes == 1 or len(facts.labels) == 1
    if (
        dims is None
        and (alone or facts.unseen)
        and (step.indices is None or [constant(index) for index in step.indices] == [0])
    ):
        dims = (0,)
    if dims is None or len(dims) != 1:
        found.report(
            "E678",
            f"`{member.name.name}` is a number, and is read from one",
            step.span,
            help=f"write `{member.name.name} @ logits[0]`, or a metric, as in `logit(1) - logit(0)`"
            if not facts.traits.speaks or alone or facts.unseen
            else f'write a metric, as in `{member.name.name} @ logit("yes") - logit("no")`',
        )
        return None
    number = tree.Call(tree.Name("logit"), (tree.Argument(None, tree.Number(dims[0], None, span=step.span)),))
    values = facts.labels or dims
    if facts.labels:
        number = tree.Call(tree.Name("logit"), (tree.Argument(None, tree.String(facts.labels[0], span=step.span)),))
    return Readout("logits", member.name.name, values, dims=dims, span=member.span, metric=number)


def _values(member: tree.Placement, domain: Domain, found: Diagnostics) -> tuple[Any, ...] | None:
    if not isinstance(domain, Finite) or len(domain.values) > _MOST_ANSWERS:
        found.report(
            "E675",
            f"`{member.name.name}` has too many values to be read out as an answer",
            member.name.span,
            notes=(f"its domain is {domain}",),
            help=f"give it a finite domain of at most {_MOST_ANSWERS:,} values: `output {member.name.name} : Domain := …`",
        )
        return None
    return tuple(domain.values)


def _token(
    member: tree.Placement,
    step: SiteStep,
    values: tuple[Any, ...],
    aligned: Aligned,
    terms: Terms,
    module: Module,
    found: Diagnostics,
) -> Readout | None:
    masked, facts = step.name == "mask", aligned.network.facts
    if facts.traits.no_token is not None:
        why, instead = facts.traits.no_token
        found.report("E676", f"`{aligned.network.name}` has no tokens: {why}", step.span, help=instead)
        return None
    if facts.labels:
        found.report(
            "E676",
            f"`{aligned.network.name}` predicts no token: it classifies its input",
            step.span,
            notes=(f"its classes are {', '.join(facts.labels[:8])}",),
            help="read out at `logits`",
        )
        return None
    if facts.masked and not masked:
        found.report(
            "E740",
            f"`{aligned.network.name}` predicts no next token: it fills in a masked one",
            step.span,
            notes=(f"the tokens of `{facts.architecture}` attend in both directions",),
            help="write [MASK] in the prompt where the answer belongs, and read it at `mask`",
        )
        return None
    if masked and facts.architecture and not facts.masked:
        found.report(
            "E741",
            f"`{aligned.network.name}` does not fill in a masked token: it predicts the next one",
            step.span,
            notes=(
                f"the tokens of `{facts.architecture}` attend only backwards"
                if record_of(facts.architecture) is not None
                else "of those that fill in a masked token there are "
                + ", ".join(sorted(record.name for record in ARCHITECTURES.usable() if record.both_ways)),
            ),
            help="end the prompt where the answer belongs, and read it at `next_token`",
        )
        return None
    if not aligned.prompts:
        found.report(
            "E531", f"`{step.name}` of what? The alignment has no prompt", step.span, help='write prompt "…" above'
        )
        return None
    settings = read_settings(step.name, step.arguments or (), READOUTS[step.name], found, member.sites[0].span)
    if settings is None:
        return None
    position = None
    if step.indices is not None:
        position = _position(step, masked, aligned, found)
        if position is None:
            return None
    among, end = settings["among"], settings.get("end")
    if end is not None and (among is not None or position is not None):
        inside = among is None
        found.report(
            "E771",
            "`end` needs what the network goes on to write, and here one token is read",
            next(a.span for a in step.arguments or () if a.name is not None and a.name.name == "end"),
            notes=("an answer inside of a prompt is one token" if inside else "`among` compares answers of one token",),
            help="leave `end` out, or read the answer at the end of the prompt"
            if inside
            else "leave `end` out, or read the whole answer: next_token(end=…)",
        )
        return None
    if among is not None:
        chosen = _among(among, member, values, terms, module, found)
        if chosen is None:
            return None
        values = chosen
    kind: Literal["next_token", "mask"] = "mask" if masked else "next_token"
    return Readout(
        kind,
        member.name.name,
        values,
        among is not None,
        settings["prefix"],
        span=member.span,
        position=position,
        end=None if end is None else End(end),
    )


def _position(step: SiteStep, masked: bool, aligned: Aligned, found: Diagnostics) -> Position | None:
    """The token of the prompt at which an answer is read: `next_token[subject]`."""
    assert step.indices is not None
    if masked:
        found.report(
            "E676",
            f"`{step.name}` has no position: it is the position of [MASK]",
            step.span,
            help=f"write `{step.name}`",
        )
        return None
    position = None
    if len(step.indices) == 1:
        position = PositionReader(aligned.templates, found, model=aligned.model).read(step.indices[0])
        if position is None or position.single:
            return position
    found.report(
        "E562",
        f"`{step.name}` is read at one token",
        step.span,
        label="" if position is None else f"`{position}` may be several",
        help=f"write `{step.name}[name.first]` or `{step.name}[name.last]`",
    )
    return None


def _among(
    among: tree.DomainExpr,
    member: tree.Placement,
    values: tuple[Any, ...],
    terms: Terms,
    module: Module,
    found: Diagnostics,
) -> tuple[Any, ...] | None:
    """The answers that the network's is looked for among: a domain that holds all ``values`` of the variable."""
    if isinstance(among, tree.Name) and among.name != "bool":
        domain = meant(terms.domains, module, among, found, "domain")
    else:
        domain = domain_of(among, module, terms, found)
    if domain is None:
        return None
    if not isinstance(domain, Finite):
        help = 'write among=Name, or among={"yes", "no"}'
        title = "`among` takes a domain whose values can be listed"
        found.report("E213", title, among.span, label=f"this is {domain}", help=help)
        return None
    chosen = _values(member, domain, found)
    if chosen is not None and UNKNOWN in chosen and len(chosen) > 1:  # a column of which cells are empty
        chosen = tuple(value for value in chosen if value != UNKNOWN)
    shown = domain if isinstance(among, (tree.Set, tree.Range)) else format_expr(among)
    absent = [value for value in values if chosen is not None and value not in chosen]
    if absent:
        found.report(
            "E677",
            f"`{shown}` does not hold every value of `{member.name.name}`",
            among.span,
            notes=(f"it has no {show_value(absent[0])}: such an answer could never be right",),
            help="name the domain that the answers come from",
        )
        return None
    return chosen


def _classes(
    member: tree.Placement, step: SiteStep, values: tuple[Any, ...], aligned: Aligned, found: Diagnostics
) -> Readout | None:
    """The class of a sequence classifier: by the names of its classes, or in their order."""
    labels, name = aligned.network.facts.labels, member.name.name
    if not aligned.prompts:
        found.report("E531", "logits of what? The alignment has no prompt", member.span, help='write prompt "…" above')
        return None
    if step.indices is not None:
        help = f"write `{name} @ logits`; the values of `{name}` say which classes are read"
        found.report("E676", f"`{step.name}` of a classifier has no position", step.span, help=help)
        return None
    shown = [show_value(value) for value in values]
    known = [value for value in shown if value in labels]
    if len(known) == len(values):
        dims = tuple(labels.index(value) for value in shown)
    elif not known and len(values) == len(labels) and not all(isinstance(value, str) for value in values):
        dims = tuple(range(len(labels)))
    else:
        absent = next((value for value in shown if value not in labels), shown[0])
        found.report(
            "E678",
            f"`{absent}` is not a class of `{aligned.network.name}`",
            member.span,
            notes=(f"`id2label` of its config names {', '.join(labels[:8])}{' …' if len(labels) > 8 else ''}",),
            help="give the output the names of classes as values; or as many numbers, or truth values, as there are classes, in their order",
        )
        return None
    return Readout("logits", name, values, dims=dims, span=member.span)


def _logits(
    member: tree.Placement, step: SiteStep, values: tuple[Any, ...], aligned: Aligned, found: Diagnostics
) -> Readout | None:
    if aligned.network.facts.labels:
        return _classes(member, step, values, aligned, found)
    if aligned.network.facts.traits.speaks and not aligned.network.facts.unseen:
        found.report(
            "E676",
            f"the logits of `{aligned.network.name}` are over its vocabulary",
            step.span,
            help="read the answer at `{0}`, or at `{0}(among=Domain)`".format(
                "mask" if aligned.network.facts.masked else "next_token"
            ),
        )
        return None
    dims = None
    if step.indices:
        place = SiteReader(aligned.network.facts, (), found).place(member.sites[0])
        if place is None:
            return None
        dims = place.site.dims
    count = len(dims) if dims is not None else aligned.network.facts.classes
    if count is not None and count != len(values):
        found.report(
            "E678",
            f"`{member.name.name}` has {len(values)} values, but there are {count} logits",
            member.span,
            notes=("the order of the logits is the order of the domain",),
            help="read some of them: logits[0:2]"
            if count > len(values)
            else f"give `{member.name.name}` a domain of {count} values",
        )
        return None
    return Readout("logits", member.name.name, values, dims=dims, span=member.span)
