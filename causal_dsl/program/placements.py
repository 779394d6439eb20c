"""The lines `variable @ site via feature` of an alignment: places, read-outs, and inputs of vector networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Literal

from causal_dsl.causal.domains import Domain, Finite
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.definitions import meant
from causal_dsl.program.facts import layout_of
from causal_dsl.program.features import check_width, family, join, read_via
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.overlap import overlap
from causal_dsl.program.paths import SiteStep, steps
from causal_dsl.program.program import Alignment, InputPlacement, NetworkRef, PromptLine, Readout
from causal_dsl.program.prompts import show_value
from causal_dsl.program.sae_metadata import check_sae
from causal_dsl.program.settings import Setting, call_name, read_settings
from causal_dsl.program.sites import SiteReader
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.architectures import ARCHITECTURES

ENCODINGS: dict[str, dict[str, Setting]] = {
    "onehot": {},
    "scalar": {},
    "embedding": {"dim": Setting("int", required=True, low=1), "seed": Setting("int", 0)},
}
_READOUTS = ("next_token", "mask", "logits")
_MOST_ANSWERS = 10_000


class PlacementReader:
    """Reads the placements of one alignment; ``read`` gives what they say, restated ones replaced."""

    def __init__(
        self,
        diagnostics: Diagnostics,
        model: CausalModel,
        network: NetworkRef,
        prompts: tuple[PromptLine, ...],
        parameters: dict[str, tuple[tree.Expr, ...]],
        domains: Mapping[Definition, Domain | None],
        module: Module,
    ):
        self.diagnostics = diagnostics
        self.model = model
        self.network = network
        self.prompts = prompts
        self.parameters = parameters
        self.domains = domains
        self.module = module

    def read(
        self, declaration: tree.AlignDecl, parent: Alignment | None
    ) -> tuple[dict[str, tree.Placement], dict[str, Readout], tuple[InputPlacement, ...], bool]:
        placements = dict(parent.placements) if parent else {}
        readouts = dict(parent.readouts) if parent else {}
        inputs = {placement.variable: placement for placement in parent.inputs} if parent else {}
        seen: dict[str, tree.Placement] = {}
        good = True
        for member in self._apart(declaration):
            if member is None:
                good = False
                continue
            name = member.name.name
            if name not in self.model.variables:
                self.diagnostics.report(
                    "E201",
                    f"no variable `{name}` in `{self.model.name}`",
                    member.name.span,
                    label=f"not a variable of `{self.model.name}`",
                    others=((declaration.name.span, "aligned from here"),),
                    help=did_you_mean(name, self.model.variables),
                )
                good = False
                continue
            if name in seen:
                self.diagnostics.report(
                    "E672",
                    f"`{name}` is placed twice",
                    member.name.span,
                    others=((seen[name].name.span, "first placed here"),),
                    help=f"name several sites on one line: {name} @ site, site",
                )
                good = False
                continue
            seen[name] = member
            kind = self._kind(member)
            if kind in _READOUTS:
                readout = self._readout(member)
                placements.pop(name, None)
                if readout is None:
                    good = False
                else:
                    readouts[name] = readout
                continue
            if not self._feature(member):
                good = False
                continue
            if member.via is not None and (call_name(member.via) or ("",))[0] in ENCODINGS:
                placed = self._input(member, kind)
                if placed is None:
                    good = False
                    continue
                inputs[name] = placed
            elif kind == "input" and self.model.variables[name].kind == "exogenous":
                self.diagnostics.report(
                    "E673",
                    f"how does `{name}` enter the network?",
                    member.span,
                    help=f"write `{name} @ input[…] via onehot()`, via scalar() or via embedding(dim=4)",
                )
                good = False
                continue
            placements[name] = member
            good = self._sites(member) and good
        if parent is not None and parent.network is not self.network:
            taken = [line for name, line in placements.items() if name not in seen]
            good = all([self._sites(line) for line in taken]) and good
        return (
            placements,
            readouts,
            tuple(sorted(inputs.values(), key=lambda p: p.start)),
            good and self._inputs_fit(inputs, placements),
        )

    # ── kinds of placements ─────────────────────────────────────────────────────────────────────

    def _kind(self, member: tree.Placement) -> str:
        path = steps(member.sites[0])
        head = path[0].name if path else ""
        # `logits` under an intervention is a site; as a placement it is where the output is read.
        return head if len(member.sites) == 1 and path and len(path) == 1 else ""

    def _sites(self, member: tree.Placement) -> bool:
        """Judge the sites in the first and the last cell: the ends of every range."""
        templates = tuple(line.template for line in self.prompts)
        for cell in self._ends():
            reader = SiteReader(self.network.facts, templates, self.diagnostics, cell)
            places = [reader.place(site) for site in member.sites]
            if any(place is None for place in places):
                return False
            for (i, one), (j, other) in combinations(enumerate(places), 2):
                assert one is not None and other is not None
                if overlap(one, other, self.network.facts):
                    self.diagnostics.report(
                        "E461",
                        f"`{member.name.name}` is placed at overlapping sites",
                        member.sites[j].span,
                        others=((member.sites[i].span, "shares numbers with this"),),
                        help="name each number once",
                    )
                    return False
        return True

    def _feature(self, member: tree.Placement) -> bool:
        if member.via is None or (call_name(member.via) or ("",))[0] in ENCODINGS:
            return True
        for cell in self._ends():
            via = read_via(member.via, cell, self.module.folder, self.diagnostics, tuple(ENCODINGS))
            if via is None:
                return False
            reader = SiteReader(self.network.facts, tuple(line.template for line in self.prompts), Diagnostics(), cell)
            places = [place for site in member.sites if (place := reader.place(site)) is not None]
            if not check_width(via, places, self.network.facts, self.diagnostics):
                return False
            first = via.chain[0]
            if family(first).encoder and not check_sae(
                Path(str(dict(first.settings)["path"])), places, self.network, via.span, self.diagnostics
            ):
                return False
            if via.joined and len(places) == len(member.sites) and join(places) is None:
                self.diagnostics.report(
                    "E724",
                    "only tokens at one site are joined to one vector",
                    member.via.span,
                    notes=("what a later site holds depends on what is written at an earlier one",),
                    help="name several tokens of one site, or leave `joined` out: then each site has a feature of its own",
                )
                return False
        return True

    def _ends(self) -> list[dict[str, tree.Expr]]:
        """The first and the last cell: the ends of every range."""
        ends = [{name: values[pick] for name, values in self.parameters.items()} for pick in (0, -1)]
        return ends if ends[0] != ends[1] else ends[:1]

    def _readout(self, member: tree.Placement) -> Readout | None:
        name = member.name.name
        variable = self.model.variables[name]
        path = steps(member.sites[0])
        assert path is not None
        step = path[0]
        if not variable.output:
            self.diagnostics.report(
                "E674",
                f"`{name}` is read out, but it is no output of `{self.model.name}`",
                member.name.span,
                others=((variable.span, "declared here"),),
                help=f"write `output {name} := …` in the causal model",
            )
            return None
        if member.via is not None:
            self.diagnostics.report("E674", "a read-out takes no feature", member.via.span, help="leave the `via` out")
            return None
        values = self._values(member, variable.domain)
        if values is None:
            return None
        if step.name in ("next_token", "mask"):
            return self._token(member, step, values)
        return self._logits(member, step, values)

    def _values(self, member: tree.Placement, domain: Any) -> tuple[Any, ...] | None:
        if not isinstance(domain, Finite) or len(domain.values) > _MOST_ANSWERS:
            self.diagnostics.report(
                "E675",
                f"`{member.name.name}` has too many values to be read out as an answer",
                member.name.span,
                notes=(f"its domain is {domain}",),
                help=f"give it a finite domain of at most {_MOST_ANSWERS:,} values: `output {member.name.name} : Domain := …`",
            )
            return None
        return tuple(domain.values)

    def _token(self, member: tree.Placement, step: SiteStep, values: tuple[Any, ...]) -> Readout | None:
        if self.network.facts.kind == "vector":
            self.diagnostics.report(
                "E676",
                f"`{self.network.name}` has no tokens: it maps a vector to classes",
                step.span,
                help="read out at `logits`",
            )
            return None
        masked, facts = step.name == "mask", self.network.facts
        if facts.masked and not masked:
            self.diagnostics.report(
                "E740",
                f"`{self.network.name}` says no next token: it fills in a masked one",
                step.span,
                notes=(f"the tokens of `{facts.architecture}` look both ways",),
                help="write [MASK] in the prompt where the answer belongs, and read it at `mask`",
            )
            return None
        if masked and facts.architecture and not facts.masked:
            self.diagnostics.report(
                "E741",
                f"`{self.network.name}` fills in no masked token: it says the next one",
                step.span,
                notes=(
                    f"the tokens of `{facts.architecture}` look back alone"
                    if layout_of(facts) is not None and not facts.both_ways
                    else "of those that fill in a masked token there are "
                    + ", ".join(sorted(record.name for record in ARCHITECTURES.usable() if record.both_ways)),
                ),
                help="end the prompt where the answer belongs, and read it at `next_token`",
            )
            return None
        if not self.prompts:
            self.diagnostics.report(
                "E531", f"`{step.name}` of what? The alignment has no prompt", step.span, help='write prompt "…" above'
            )
            return None
        known = {"among": Setting("domain"), "prefix": Setting("string", "" if masked else " ")}
        settings = read_settings(step.name, step.arguments or (), known, self.diagnostics, member.sites[0].span)
        if settings is None or step.indices is not None:
            if step.indices is not None:
                where = "it is where [MASK] stands" if masked else "it follows the prompt"
                self.diagnostics.report(
                    "E676", f"`{step.name}` has no position: {where}", step.span, help=f"write `{step.name}`"
                )
            return None
        among = settings["among"]
        if among is not None:
            if not isinstance(among, tree.Name):
                self.diagnostics.report(
                    "E213", "`among` takes the name of a domain", among.span, help="write among=Name"
                )
                return None
            domain = meant(self.domains, self.module, among, self.diagnostics, "domain")
            if domain is None:
                return None
            chosen = self._values(member, domain)
            if chosen is None:
                return None
            absent = [value for value in values if value not in chosen]
            if absent:
                self.diagnostics.report(
                    "E677",
                    f"`{among.name}` does not hold every value of `{member.name.name}`",
                    among.span,
                    notes=(f"it has no {show_value(absent[0])}: such an answer could never be right",),
                    help="name the domain that the answers come from",
                )
                return None
            values = chosen
        kind: Literal["next_token", "mask"] = "mask" if masked else "next_token"
        return Readout(kind, member.name.name, values, among is not None, settings["prefix"], span=member.span)

    def _logits(self, member: tree.Placement, step: SiteStep, values: tuple[Any, ...]) -> Readout | None:
        if self.network.facts.kind == "language":
            self.diagnostics.report(
                "E676",
                f"the logits of `{self.network.name}` are over its vocabulary",
                step.span,
                help="read the answer at `{0}`, or at `{0}(among=Domain)`".format(
                    "mask" if self.network.facts.masked else "next_token"
                ),
            )
            return None
        dims = None
        if step.indices:
            place = SiteReader(self.network.facts, (), self.diagnostics).place(member.sites[0])
            if place is None:
                return None
            dims = place.site.dims
        count = len(dims) if dims is not None else self.network.facts.classes
        if count is not None and count != len(values):
            self.diagnostics.report(
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

    # ── inputs of vector networks ───────────────────────────────────────────────────────────────

    def _apart(self, declaration: tree.AlignDecl) -> Iterator[tree.Placement | None]:
        """The placements of an alignment, ``a..d @ input via onehot()`` as one of each variable; None for one at fault."""
        for member in declaration.members:
            if isinstance(member, tree.Placement) and member.last is not None:
                yield from self._shared(member, member.last) or (None,)
            elif isinstance(member, tree.Placement):
                yield member

    def _shared(self, member: tree.Placement, last: tree.Ident) -> list[tree.Placement]:
        """The variables from one to another, side by side in an input; none, with a diagnostic, where they are not."""
        names = [name for name, variable in self.model.variables.items() if variable.kind == "exogenous"]
        for ident in (member.name, last):
            if ident.name not in names:
                self.diagnostics.report(
                    "E201" if ident.name not in self.model.variables else "E679",
                    f"no variable `{ident.name}` in `{self.model.name}`"
                    if ident.name not in self.model.variables
                    else f"`{ident.name}` is computed by `{self.model.name}`, and enters nowhere",
                    ident.span,
                    help=did_you_mean(ident.name, names),
                )
                return []
        shown = f"{member.name.name}..{last.name}"
        chosen = names[names.index(member.name.name) : names.index(last.name) + 1]
        called = call_name(member.via) if member.via is not None else None
        if not chosen or called is None or called[0] not in ENCODINGS or self._kind_of_input(member) != "input":
            self.diagnostics.report(
                "E679",
                f"`{shown}` stands for no variables: `{last.name}` is declared before `{member.name.name}`"
                if not chosen
                else f"`{shown}` says how several variables enter at `input`",
                member.name.span if not chosen else member.sites[0].span,
                notes=("they share the input in the order in which they are declared",),
                help=f"write `{last.name}..{member.name.name}`"
                if not chosen
                else f"write `{shown} @ input via onehot()`",
            )
            return []
        assert member.via is not None
        settings = read_settings(
            called[0], member.via.arguments, ENCODINGS[called[0]], self.diagnostics, member.via.span
        )
        place = SiteReader(self.network.facts, (), self.diagnostics).place(member.sites[0])
        if settings is None or place is None:
            return []
        found, dims = [], place.site.dims
        start = at = dims[0] if dims else 0
        for name in chosen:
            asked = self._needed(name, called[0], settings, member.via.span)
            if asked is None:
                return []
            ends = (tree.Number(at, span=member.span), tree.Number(at + asked[0], span=member.span))
            stretch = tree.Slice(*ends, span=member.sites[0].span)
            site = tree.Subscript(tree.Name("input"), (stretch,), span=member.sites[0].span)
            found.append(replace(member, name=tree.Ident(name, span=member.name.span), sites=(site,), last=None))
            at += asked[0]
        given = len(dims) if dims is not None else (self.network.facts.widths or (None,))[0]
        if given is not None and at - start != given:
            self.diagnostics.report(
                "E680",
                f"`{shown}` need {at - start} numbers of the input, and have {given}",
                member.sites[0].span,
                notes=(f"they are {', '.join(chosen)}",),
                help=f"write input[{start}:{at}]",
            )
            return []
        return found

    def _kind_of_input(self, member: tree.Placement) -> str:
        path = steps(member.sites[0])
        return path[0].name if path and len(path) == 1 and len(member.sites) == 1 else ""

    def _input(self, member: tree.Placement, kind: str) -> InputPlacement | None:
        name = member.name.name
        assert member.via is not None
        called = call_name(member.via)
        assert called is not None
        encoding = called[0]
        arguments = member.via.arguments if isinstance(member.via, tree.Call) else ()
        settings = read_settings(encoding, arguments, ENCODINGS[encoding], self.diagnostics, member.via.span)
        if settings is None:
            return None
        if kind != "input" or self.network.facts.kind == "language":
            self.diagnostics.report(
                "E679",
                f"`{encoding}()` says how a value enters at `input`",
                member.via.span,
                help=self._not_an_input(name, encoding),
            )
            return None
        place = SiteReader(self.network.facts, (), self.diagnostics).place(member.sites[0])
        if place is None:
            return None
        dims = place.site.dims
        if dims is None and self.network.facts.widths:
            dims = tuple(range(self.network.facts.widths[0]))
        if dims is None or dims != tuple(range(dims[0], dims[-1] + 1)):
            self.diagnostics.report(
                "E679",
                f"`{name}` needs a stretch of the input",
                member.sites[0].span,
                help=f"write `{name} @ input[0:4] via …`",
            )
            return None
        asked = self._needed(name, encoding, settings, member.via.span)
        if asked is None:
            return None
        needed, why = asked
        if needed != len(dims):
            self.diagnostics.report(
                "E680",
                f"`{name}` needs {needed} numbers of the input, and has {len(dims)}",
                member.sites[0].span,
                notes=(why,),
                help=f"write input[{dims[0]}:{dims[0] + needed}]",
            )
            return None
        return InputPlacement(name, dims[0], dims[-1] + 1, encoding, tuple(settings.items()))  # type: ignore[arg-type]

    def _needed(self, name: str, encoding: str, settings: Mapping[str, Any], span: Span) -> tuple[int, str] | None:
        """How many numbers of the input a variable takes, and why."""
        domain = self.model.variables[name].domain
        if encoding == "scalar":
            needed, why = 1, "a scalar is one number"
            if self.model.variables[name].type == "string":
                self.diagnostics.report(
                    "E679", f"`{name}` holds texts, which are no scalar", span, help="write via onehot()"
                )
                return None
        elif encoding == "onehot":
            if not isinstance(domain, Finite) or len(domain.values) > _MOST_ANSWERS:
                self.diagnostics.report(
                    "E679", f"`{name}` has too many values for `onehot`", span, help="write via scalar()"
                )
                return None
            needed, why = len(domain.values), f"`{name}` has {len(domain.values)} values"
        else:
            if not isinstance(domain, Finite) or len(domain.values) > _MOST_ANSWERS:
                self.diagnostics.report(
                    "E679", f"`{name}` has too many values for `embedding`", span, help="write via scalar()"
                )
                return None
            needed, why = settings["dim"], f"the embedding has {settings['dim']} dimensions"
        return needed, why

    def _not_an_input(self, name: str, encoding: str) -> str:
        if self.network.facts.kind == "language":
            return f"put {{{name}}} in the prompt, and leave this out"
        if self.model.variables[name].kind != "exogenous":
            return "leave the `via` out: the network computes this variable itself"
        return f"write `{name} @ input[0:4] via {encoding}(…)`"

    def _inputs_fit(self, inputs: dict[str, InputPlacement], placements: dict[str, tree.Placement]) -> bool:
        ordered = sorted(inputs.values(), key=lambda placement: placement.start)
        for before, after in pairwise(ordered):
            if after.start < before.stop:
                one, other = (placements[p.variable].sites[0].span for p in (after, before))
                self.diagnostics.report(
                    "E681",
                    f"`{before.variable}` and `{after.variable}` share numbers of the input",
                    one,
                    others=((other, f"taken by `{before.variable}`"),),
                    help="give each variable a stretch of its own",
                )
                return False
        return True
