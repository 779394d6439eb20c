"""Results out of the JSON that they were written as: what `to_json` writes, read back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.diagnostics import Diagnostic, Source, Span
from causal_dsl.measures.hypothesis_tests import Tested
from causal_dsl.program.ablations import AblationChoices
from causal_dsl.program.circuit_members import Members
from causal_dsl.program.dictionaries import Dictionary
from causal_dsl.program.edge_sets import EdgeSet
from causal_dsl.program.nodes import EVERYWHERE, OutputNode, Size
from causal_dsl.score.apart import WrittenApart
from causal_dsl.score.circuit_results import CircuitResult, Discovered, HypothesisTest, RandomCircuits, SelfCheck
from causal_dsl.score.controls import Control, FeatureInfo, Learned
from causal_dsl.score.estimates_and_findings import Estimate, Finding, Rise, Verdict
from causal_dsl.score.parts import WrittenPart
from causal_dsl.score.replacements import OtherValues
from causal_dsl.score.results import (
    CellResult,
    ExpectationResult,
    Fired,
    Measured,
    ReportResult,
    TestResult,
    WorstPair,
    Wrong,
)
from causal_dsl.score.results_beside import AttributionCheck, BeyondWhere, GradientCheck
from causal_dsl.score.setting import FailedPair, ModelVariable, Occupied, RunSetting
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.score.unmapped import Taken, Unclaimed, Unlike
from causal_dsl.vocabulary.locations import Position, Site
from causal_dsl.vocabulary.ports import Port, Ports

Json = Mapping[str, Any]
Made = TypeVar("Made")


def spec_result(document: Json) -> SpecResult:
    """The result of a spec, of a document without a fault (:mod:`causal_dsl.score.document_faults`). Raises ValueError where its
    parts do not belong together; `diagnostics` have no place within their texts, which are not in it."""
    networks = document["networks"]
    who = {name: json.dumps(network.get("identity"), sort_keys=True) for name, network in networks.items()}
    return SpecResult(
        path=str(document["path"]),
        digest=str(document["digest"]),
        tests=tuple(_test(test, who) for test in document["tests"]),
        versions=dict(document["versions"]),
        networks={name: dict(network) for name, network in networks.items()},
        cost=dict(document["cost"]),
        warnings=tuple(map(_diagnostic, document["diagnostics"])),
        identity=dict(document["identity"]),
        machine=dict(document["machine"]),
        finished=str(document["finished"]),
        text=str(document["text"]),
        imports=dict(document.get("imports", {})),
        models={
            name: tuple(_made(ModelVariable, one, parents=tuple(one["parents"])) for one in model)
            for name, model in document["models"].items()
        },
    )


def _made(kind: type[Made], one: Json, **more: Any) -> Made:
    """A value of a class whose fields the document has by the same names; fields of a later version are let be."""
    return kind(**{field.name: one[field.name] for field in fields(kind) if field.name in one} | more)  # type: ignore[arg-type]


def _diagnostic(one: Json) -> Diagnostic:
    place = Span(Source(str(one["path"]), ""), 0, 0)
    notes = tuple(map(str, one["notes"]))
    return Diagnostic(str(one["code"]), str(one["title"]), place, notes=notes, help=str(one["help"] or ""))


def _test(one: Json, who: Mapping[str, str]) -> TestResult:
    return TestResult(
        name=str(one["name"]),
        line=int(one["line"]),
        n=int(one["n"]),
        kept=int(one["kept"]),
        ceilings=_ceilings(one["ceilings"]),
        ceilings_kept=_ceilings(one["ceilings_kept"]),
        cells=tuple(map(_cell, one["cells"])),
        expectations=tuple(map(_expectation, one["expectations"])),
        reports=tuple(ReportResult(r["text"], r["line"], _estimate(r), r["cell"]) for r in one["reports"]),
        findings=_findings(one["findings"]),
        seconds=float(one["seconds"]),
        exhaustive=bool(one["exhaustive"]),
        covered=bool(one["covered"]),
        distinct={role: int(count) for role, count in one["distinct"].items()},
        parameters=tuple(one["parameters"]),
        asked=tuple(one["asked"]),
        units=dict(one["units"]),
        part=bool(one["part"]),
        alike=bool(one.get("alike", False)),
        wrong=tuple(map(_wrong, one["wrong_answers"])),
        network=str(one["network"]),
        cell_count=int(one["cell_count"]),
        fault=str(one.get("fault", "")),
        family=str(one.get("family", "")),
        variant=tuple(one.get("variant", {}).items()),
        outputs={name: _test(output, who) for name, output in one.get("outputs", {}).items()},
        attributions=tuple(map(_attribution, one.get("attributions", ()))),
        gradients=tuple(map(_gradients, one.get("gradients", ()))),
        random=_random(one.get("random_circuits", {})),
        who=who.get(one["network"], ""),
        failures=tuple(_made(FailedPair, failed) for failed in one["failures"]),
        setting=_setting(one["setting"]) if "setting" in one else None,
    )


def _setting(one: Json) -> RunSetting:
    places = tuple(_made(Occupied, place, tokens=tuple(place["tokens"])) for place in one["places"])
    return RunSetting(one["model"], tuple(one["tokens"]), one["read"], one["layers"], places)


def _ceilings(found: Json) -> dict[str, Ceiling]:
    return {
        name: Ceiling(_number(c["value"]), bool(c["exact"]), int(c["n"]), _number(c["low"]), _number(c["high"]))
        for name, c in found.items()
    }


def _number(value: float | None) -> float:
    """A number; what JSON has no number for is NaN."""
    return math.nan if value is None else float(value)


def _estimate(one: Json) -> Estimate:
    value, low, high = (None if one[name] is None else float(one[name]) for name in ("value", "low", "high"))
    return Estimate(value, low, high, int(one["n"]), one["method"], one["about"])


def _findings(found: Any) -> tuple[Finding, ...]:
    return tuple(Finding(str(one["code"]), str(one["text"]), one["severity"]) for one in found)


def _cell(one: Json) -> CellResult:
    together, verdict, rise = one.get("together"), one.get("verdict"), one.get("rise")
    return CellResult(
        cell=dict(one["cell"]),
        scores={name: _estimate(score) for name, score in one["scores"].items()},
        findings=_findings(one["findings"]),
        interventions=tuple(_made(Fired, fired) for fired in one["interventions"]),
        noise_floor=one["noise_floor"],
        verdict=None if verdict is None else Verdict(verdict["code"], verdict["text"], verdict.get("lowered_by", "")),
        together=None if together is None else (_number(together["low"]), _number(together["high"])),
        top=one.get("top"),
        rise=None if rise is None else Rise(_estimate(rise), rise["below"]),
        learned=_learned(one["learned"]) if "learned" in one else None,
        unclaimed=tuple(map(_unclaimed, one.get("unclaimed", ()))),
        apart=tuple(map(_apart, one.get("apart", ()))),
        parts=tuple(map(_part, one.get("parts", ()))),
        replaced=_replaced(one["replaced"]) if "replaced" in one else None,
        circuit=_circuit(one["circuit"]) if "circuit" in one else None,
        beyond=_beyond(one["beyond"]) if "beyond" in one else None,
        worst={
            name: tuple(WorstPair(pair["pair"], _number(pair["value"]), pair["base"]) for pair in pairs)
            for name, pairs in one.get("worst", {}).items()
        },
    )


def _expectation(one: Json) -> ExpectationResult:
    measured = tuple(
        Measured(m["text"], m["name"], _estimate(m), m["bound"], m["held"], m["cell"]) for m in one["measured"]
    )
    cells = tuple(dict(cell) for cell in one["failed_cells"])
    return ExpectationResult(one["text"], one["line"], one["value"], one["passed"], measured, cells, one["reason"])


def _wrong(one: Json) -> Wrong:
    examples = tuple((int(example["pair"]), str(example["wanted"])) for example in one["examples"])
    return Wrong(one["run"], one["said"], one["count"], one["of"], examples)


def _attribution(one: Json) -> AttributionCheck:
    parts = {name: _number(value) for name, value in one["parts"].items()}
    whole, logit, apart, heads = (_number(one[name]) for name in ("sum", "logit", "apart", "heads_apart"))
    # Whether it holds was judged by a scale that is not kept: one that judges the same takes its place.
    scale = math.inf if one["holds"] else 0.0
    return AttributionCheck(one["run"], one["of"], parts, whole, logit, apart, heads, scale, one["written"])


def _gradients(one: Json) -> GradientCheck:
    cells = tuple((dict(cell["cell"]), _number(cell["score"]), cell["exact"]) for cell in one["cells"])
    return GradientCheck(one["of"], one["steps"], cells)


# ── what ran beside a cell ──────────────────────────────────────────────────────────────────────


def _learned(one: Json) -> Learned:
    features = []
    for f in one["features"]:
        on, checked, gates = f["fitted_on"], f["validation"], f["gates"]
        features.append(
            FeatureInfo(
                f["feature"],
                f["place"],
                tuple(f["variables"]),
                f["size"],
                f["width"],
                on["pairs"],
                on["inputs"],
                on["steps"],
                on["restarts"],
                None if checked is None else (_number(checked["loss"]), _number(checked["iia"])),
                tuple(map(_number, f["losses"])),
                None if gates is None else (gates["total"], gates["open"], gates["undecided"]),
                f["nonlinear"],
                path=f["file"],
                moved=f["moved"],
                unanswered=on["unanswered"],
            )
        )
    controls = {
        name: Control(
            name, _estimate(c["iia"]), c["margin"], tuple(map(_number, c["draws"])), _estimate(c["difference"])
        )
        for name, c in one["controls"].items()
    }
    return Learned(tuple(features), one["margin"], controls, one["outside"])


def _unclaimed(one: Json) -> Unclaimed:
    taken = tuple(
        Taken(
            tuple(t["units"]),
            t["place"],
            _estimate(t["moved"]),
            mixed=t.get("mixed", False),
            varied=tuple(t.get("varied", ())),
            unlike=Unlike(_estimate(t["unlike"])) if "unlike" in t else None,
            beside=tuple(t.get("beside", ())),
            clear=_estimate(t["clear"]) if "clear" in t else None,
            unexplained=_estimate(t["unexplained"]) if "unexplained" in t else None,
        )
        for t in one["taken"]
    )
    placed, varied = tuple(one["placed"]), tuple(one["varied"])
    carrier, through = one.get("carrier", ""), one.get("through", "")
    return Unclaimed(
        one["site"],
        placed,
        varied,
        one["why"],
        False,
        "",
        taken,
        one["natural"],
        (),
        0.0,
        carrier,
        through=through,
        numbers=one.get("numbers", False),
    )


def _beyond(one: Json) -> BeyondWhere:
    own, right = (_estimate(one[name]) for name in ("own", "right"))
    return BeyondWhere(own, right, one.get("pairs", 0), one.get("answered", 0))


def _apart(one: Json) -> WrittenApart:
    swaps = tuple(one["variables"].items())
    return WrittenApart(swaps, one["place"], _estimate(one["right"]), _estimate(one["moved"]), one["asked"])


def _part(one: Json) -> WrittenPart:
    alone, without, counts = (_estimate(one[name]) for name in ("alone", "without", "counts"))
    return WrittenPart(one["variable"], one["place"], alone, without, counts)


def _replaced(one: Json) -> OtherValues:
    moved = {name: _estimate(each) for name, each in one["moved"].items()}
    apart = {name: _estimate(each) for name, each in one["differences"].items()}
    changed = {name: _estimate(each) for name, each in one.get("changed", {}).items()}
    three = (changed["anew"], changed["resample"], changed["difference"]) if changed else None
    return OtherValues(one["own"], moved, apart, three, _estimate(one["short"]) if "short" in one else None)


# ── circuits ────────────────────────────────────────────────────────────────────────────────────


def _circuit(one: Json) -> CircuitResult:
    size = one["size"]
    checks = []
    for c in one["checks"]:
        apart = _number(c["apart"])
        checks.append(SelfCheck(c["says"], apart, math.inf if c["holds"] else 0.0))
    random = _random(one["random"])
    return CircuitResult(
        one["name"],
        Size(size["nodes"], size["edges"], size["weighted_edges"], size["of_nodes"], size["of_edges"]),
        _made(AblationChoices, one["choices"]),
        tuple(checks),
        random,
        tuple(one["random_weighted_edges"]),
        _members(one),
        found=tuple(map(_discovered, one.get("found", ()))),
        tests={name: _hypothesis(test) for name, test in one["tests"].items()},
        parallel=one.get("parallel", False),
        stated=tuple((name, _number(score)) for name, score in one.get("stated", {}).items()),
        shared=one.get("shared_keys", False),
        others=one.get("other_circuits"),
        apart=tuple(one.get("apart", ())),
        left_out=one.get("left_out", 0),
        drawn=tuple(map(tuple, one.get("random_members", ()))),
    )


def _random(found: Json) -> dict[str, RandomCircuits]:
    return {
        name: RandomCircuits(
            tuple(r["values"]),
            r["as_high"],
            r["as_good"],
            r["own"],
            None if r["better"] == "neither" else r["better"],
            r["searched"],
            r.get("as_low"),
            not r.get("no_contrast", False),
        )
        for name, r in found.items()
    }


def _hypothesis(one: Json) -> HypothesisTest:
    """A tested null hypothesis; the p-values of members are kept times their number."""
    names, count = tuple(one["members"]), one["tests"]
    if not names:
        return HypothesisTest(one["null"], (Tested(_number(one["p"]), _number(one["statistic"]), one["n"]),) * count)
    tested = tuple(Tested(_number(p) / count, math.nan, one["n"]) for p in one["members"].values())
    return HypothesisTest(one["null"], tested, names)


def _discovered(one: Json) -> Discovered:
    own = {
        name: one[name]
        for name in ("what", "method", "metric", "pairs", "keep", "by", "correlation", "sampled", "stability")
    }
    scores = {name: _number(score) for name, score in one["scores"].items()}
    passes, ends = (one["forwards"], one["backwards"]), (_number(one["base"]), _number(one["source"]))
    held = one["check"]
    against = None if held is None else (str(held["says"]), _number(held["apart"]), _number(held["scale"]))
    return Discovered(**own, scores=scores, passes=passes, ends=ends, held=against)


def _members(one: Json) -> Members:
    """The nodes or edges of a circuit, out of their names."""
    if one["kind"] == "nodes":
        return tuple((_node(name), at) for name, at in map(_spot, one["members"]))
    ports = _made(Ports, one["ports"])
    edges = []
    for name, at in map(_spot, one["members"]):
        sender, _, receiver = name.partition(" -> ")
        edges.append((_node(sender), _port(receiver), at or EVERYWHERE))
    return EdgeSet.of(ports, edges)


def _spot(told: str) -> tuple[str, Position | None]:
    """A member, and its token where it names one."""
    name, bracket, at = told.partition(" [")
    return name, Position("placeholder", at.removesuffix("]")) if bracket else None


_NODES: dict[str, Any] = {
    r"embed": "embed",
    r"layer\[(\d+)\]\.head\[(\d+)\]": "head",
    r"layer\[(\d+)\]\.mlp_out": "mlp",
    r"layer\[(\d+)\]\.neurons\[(\d+)\]": "neuron",
    r"input\[(\d+)\]": "input",
    r"layer\[(\d+)\]\.out\[(\d+)\]": "unit",
}


#: A node of a dictionary: how its name begins, with the site, and which latent it is, or the error term.
_OF_DICTIONARY = re.compile(
    r"((?:layer\[(\d+)\]\.)?(?:head\[[\d, ]+\]\.)?(\w+).* via .+?)(?:, latents=\[(\d+)\]\)|\)(\.error\(\))|\))"
)


def _node(name: str) -> OutputNode:
    for pattern, kind in _NODES.items():
        if (found := re.fullmatch(pattern, name)) is not None:
            numbers = [int(number) for number in found.groups()]
            layer, index = ([-1, *numbers] if kind == "input" else [*numbers, -1, -1])[:2]
            return OutputNode(kind, layer, index)
    if (found := _OF_DICTIONARY.fullmatch(name)) is not None:
        head, where, component, latent, error = found.groups()
        place = -1 if where is None else int(where)
        inside = Dictionary(head, Site(component, None if where is None else place))
        if latent is not None:
            return OutputNode("latent", place, int(latent), inside)
        return OutputNode("error" if error else "feature", place, -1, inside)
    raise ValueError(f"`{name}` is not a node of a circuit")


def _port(name: str) -> Port:
    if name == "logits":
        return Port("logits")
    found = re.fullmatch(r"layer\[(\d+)\]\.(?:head\[(\d+)\]\.(q|k|v)|mlp(?:_in)?)", name)
    if found is None:
        raise ValueError(f"`{name}` reads nothing in a circuit")
    layer, head, kind = found.groups()
    return Port("mlp", int(layer)) if kind is None else Port(kind, int(layer), int(head))  # type: ignore[arg-type]


__all__ = ["spec_result"]
