"""A tree to its plan: names resolved, causal models compiled, chance levels, answers, and every fault at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.garbage import rarely_collected
from causal_dsl.base.options_shown import MCP, here
from causal_dsl.causal.draw import count_distinct
from causal_dsl.causal.memo import Memo
from causal_dsl.checked import Checked
from causal_dsl.checking.specs import Options, Spec, opened
from causal_dsl.diagnostics import (
    Diagnostics,
    Source,
    Span,
    SpecError,
    fail,
)
from causal_dsl.inputs import lengths_agree
from causal_dsl.planning import graph as g
from causal_dsl.planning.answer_room import check_room
from causal_dsl.planning.answer_start import check_starts
from causal_dsl.planning.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.circuit_runs import circuit_runs
from causal_dsl.planning.fit_plan import make_fits, refuse_overlap, refuse_unfitted
from causal_dsl.planning.lower import by_reference, make_plan, unfit_networks
from causal_dsl.planning.memory import Budget, default_bytes
from causal_dsl.planning.plan import Fits, Plan, WorkBefore
from causal_dsl.planning.probes import probes_of
from causal_dsl.planning.show import PrintedPlan, printed
from causal_dsl.planning.switches import turned_on, without
from causal_dsl.planning.unknown import refuse_other_words, warn_of_unknown_words
from causal_dsl.program.answers import Answers, answers_of, check_answers, check_numbers
from causal_dsl.program.beginnings import PromptBeginnings
from causal_dsl.program.definitions import by_network
from causal_dsl.program.derived_tests import (
    FitTest,
    constants_of,
    controls_of,
    fits_of,
    fitted_variants,
    search_of,
)
from causal_dsl.program.discovery import Counterfactual, source_of
from causal_dsl.program.endings import check_endings
from causal_dsl.program.fitted_files import judge_origins
from causal_dsl.program.found_constants import optimal_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.model_contexts import contexts
from causal_dsl.program.modules import Loader
from causal_dsl.program.naming import network_names, overridden
from causal_dsl.program.options import ReadOptions, Refused, Tokenizers
from causal_dsl.program.program import NetworkRef, Program, Readout, Test
from causal_dsl.program.prompt_warnings import caution, never_apart
from causal_dsl.program.read import read_program
from causal_dsl.program.searches import Discovery, Scores
from causal_dsl.program.tokens import Tokens
from causal_dsl.program.told_once import told_once
from causal_dsl.program.trust import refuse_untrusted
from causal_dsl.program.unused import unused_parameters
from causal_dsl.program.variants import write_out
from causal_dsl.score.chance_warnings import warn_of_chance
from causal_dsl.score.unanswered import of_the_answered, refuse_unanswered
from causal_dsl.store.reading import readable, within
from causal_dsl.store.reads import Reads, note, recording
from causal_dsl.vocabulary.network_facts import Facts

if TYPE_CHECKING:
    from causal_dsl.network.network import Network


def check(
    spec: Spec | str | Path,
    options: Options = Options(),
    networks: Mapping[NetworkKey, Network] | None = None,
    beside: bool = True,
    discovered: Scores = MappingProxyType({}),
    memo: Memo | None = None,
    refused: Refused = MappingProxyType({}),
) -> Checked:
    """Judge a spec, or that of a file, without its networks' weights; never raises for a fault of the spec.

    ``networks`` are loaded networks, whose facts and tokenizers then stand for what the files say. ``beside``: whether the
    plan holds what rides beside its tests; a mere check needs none of it. ``discovered`` are the scores of what its circuits
    are found by. ``memo`` remembers draws and chance levels from check to check. ``refused``: why sites cannot be used in networks that are
    to be run; cells that need one are left out, and the faults are in ``Checked.cells_lost``.
    """
    spec = opened(spec, options)
    with rarely_collected(), within(readable(spec.folder, options.trust, options.allow)), recording() as reads:
        checked = _check(spec, options, networks, beside, discovered, memo, reads, refused)
    checked.reads = reads
    return checked


def _check(
    spec: Spec,
    options: Options,
    networks: Mapping[NetworkKey, Network] | None,
    beside: bool,
    discovered: Scores,
    memo: Memo | None,
    reads: Reads,
    refused: Refused,
) -> Checked:
    found = Diagnostics()
    loaded = dict(networks or {})
    if spec.path is not None:
        note(spec.path)
    loader = Loader(found)
    module = loader.tree(spec.tree, spec.source_text, spec.folder)
    facts = _facts(loaded, refused) if loaded else {}
    unused = unused_parameters((module, *loader.modules.values()))
    write_out(module, loader.modules.values(), found)
    every = [module, *loader.modules.values()]
    others = overridden(module, every, options.networks)
    tokenizers = _tokenizers(loaded)
    names = network_names(module, every)
    reading = ReadOptions(options.trust, others, facts, names, options.seed, tokenizers, discovered)
    program = read_program(spec.name, module, reading, found, options.tests)
    judge_origins(program.tests, found)
    imports = {_from(spec.folder, path): one.source.text for path, one in sorted(loader.modules.items())}
    digest, apart = _digest(spec, loader), by_network(module, options.tests)
    checked = Checked(
        spec.name, [], program, {}, digest=digest, imports=imports, by_network=apart, refused=refused, memo=memo
    )
    if memo is None:
        memo = Memo()
    else:
        memo.begin(*contexts((module, *loader.modules.values()), reads.known))
    try:
        checked.plan = _plan(program, checked, tokenizers, found, beside, options, memo)
    except SpecError as error:
        found.extend(error.diagnostics)
    if not found.errors:
        for warning in (*unused, *never_apart(program.tests)):
            found.add(warning)
    warn_of_chance(program.tests, checked.ceilings, found)
    members = {name: family for one in every for family, names in one.families.items() for name in names}
    checked.diagnostics = told_once((("", one) for one in found), members)
    return checked


def _facts(loaded: Mapping[NetworkKey, Network], refused: Refused) -> dict[NetworkKey, Facts]:
    """The facts of loaded networks, with what cannot be used of them."""
    from causal_dsl.network.known_of_network import unproved  # torch is there where a network is loaded

    return {
        key: replace(network.facts, unproved=unproved(network), refused=refused.get(key))
        for key, network in loaded.items()
    }


def _tokenizers(loaded: Mapping[NetworkKey, Network]) -> Tokenizers:
    cache: dict[Path, Tokens] = {}
    known: dict[Path | tuple[str, ...], dict[int | None, Tokens]] = {}

    def tokens(network: NetworkRef) -> Tokens | None:
        if loaded and network.key.trained in loaded:
            return loaded[network.key.trained].tokens
        words, path, rows = network.facts.words, network.facts.tokenizer, network.facts.vocabulary
        if words:
            own = known.setdefault(words, {})
            if None not in own:
                own[None] = Tokens.of_words(words)
            return own[None]
        if path is None:
            return None
        own = known.setdefault(path, {})
        if rows not in own:
            if path not in cache:
                cache[path] = Tokens.from_file(path, network.span)
            own[rows] = cache[path].of_network(rows)
        return own[rows]

    return tokens


def _plan(
    program: Program,
    checked: Checked,
    tokenizers: Tokenizers,
    found: Diagnostics,
    beside: bool,
    options: Options,
    memo: Memo,
) -> Plan | None:
    """Metrics, chance levels, answers and the plan of every test; None where a fault or a missing tokenizer forbids it."""
    ready, beginnings, told = [], PromptBeginnings(), dict[object, Answers | None]()
    every = [one for test in program.tests for one in test.each]
    wholes = {one.name: test for test in program.tests for one in test.parts}
    for test in program.tests:
        if test.parts and not test.model.needs_trust and (drawn := memo.draw(test.design, found)) is not None:
            checked.distinct[test.name] = count_distinct(drawn.ids)
            if test.swaps:
                checked.ceilings[test.name] = memo.ceilings(test.design, list(test.swaps), test.outputs, drawn)
    for test in every:
        tokens = tokenizers(test.network)
        if test.model.needs_trust:
            continue
        drawn = memo.draw(test.design, found)
        if drawn is None:
            continue
        checked.distinct[test.name] = count_distinct(drawn.ids)
        if test.swaps:
            output, gaps = test.readout.variable, test.readout.gaps
            checked.ceilings[test.name] = memo.ceilings(test.design, list(test.swaps), output, drawn, gaps)
        refuse_unanswered(test, drawn, several=test.name in wholes)
        known = test.network.facts.traits.seen
        if not known and tokens is not None and tokens.words:
            refuse_other_words(test, drawn, tokens)
        if not known or (tokens is None and test.alignment.prompts):
            continue
        if tokens is not None:
            beginnings.check(test, drawn, tokens, found)
            check_endings(test.alignment, test.readout, found)
        # Tests on one alignment have one read-out, and all that is said of its answers is said once.
        at = id(test.alignment), id(test.readout), id(tokens), None if test.readout.span else test.name
        if at not in told:
            caution(test, tokens, found)
            answers = answers_of(test.readout, test.alignment, tokens, test.readout.span or test.span)
            fine = check_answers(answers, test.readout, tokens, test.alignment, found)
            if fine:
                check_numbers(answers, test.readout, tokens, test.alignment, found)
            told[at] = answers if fine else None
        own = told[at]
        if own is not None:
            checked.answers[test.name] = own
            ready.append(test)
    if found.errors or len(ready) < len(every):
        return None
    controls = []
    for test in ready:
        for control in (*controls_of(test), *(circuit_runs(test, wholes.get(test.name)) if beside else ())):
            controls.append(_answered(control, tokenizers(control.network), checked))

    def probes(plan: Plan) -> Iterator[Test]:
        answering = [test for test in ready if test.readout.metric is None]
        for probe in probes_of(plan, answering if beside else ()):
            checked.answers[probe.name] = checked.answers[probe.control[0]]
            yield probe

    plan = make_plan(program, [*ready, *controls], tokenizers, found, memo.draw, probes)
    warn_of_unknown_words(plan, found)
    check_room(plan, checked.answers, found)
    check_starts(plan, found)
    checked.distinct |= {test.name: count_distinct(plan.ids_of(test)) for test in ready}
    checked.searches = _searches(program, ready, checked, tokenizers, found, memo)
    checked.constants = _constants(program, ready, checked, tokenizers, found, memo)
    checked.fits = _fits(program, ready, plan, checked, tokenizers, found, memo)
    beside_it = (checked.searches, checked.constants, None if checked.fits is None else checked.fits.plan)
    for made in [one for one in beside_it if one is not None]:
        for test in made.tests:
            if (tokens := tokenizers(test.network)) is not None:
                beginnings.check(test, made.draw_of(test), tokens, found)
    before = WorkBefore(checked.searches, checked.searched, checked.constants)
    plan = replace(plan, fits=checked.fits, answers=checked.answers, before=before)
    plan = by_reference(plan) if options.reference else unfit_networks(plan)
    return turned_on(plan, without(options.without))


def _answered(test: Test, tokens: Tokens | None, checked: Checked) -> Test:
    """A control or a fit, with what it can answer noted. Where one token cannot tell the answers apart, it is read as its test is."""

    def answers(readout: Readout) -> Answers:
        return answers_of(readout, test.alignment, tokens, readout.span or test.span)

    found = answers(test.readout)
    if not check_answers(found, test.readout, tokens, test.alignment, Diagnostics()):
        test = replace(test, readout=replace(test.readout, among=False))
        found = answers(test.readout)
    checked.answers[test.name] = found
    return test


def _fits(
    program: Program,
    tests: list[Test],
    plan: Plan,
    checked: Checked,
    tokenizers: Tokenizers,
    found: Diagnostics,
    memo: Memo,
) -> Fits | None:
    """The plan on which the features of a spec are fitted; on nothing that a test judges them on."""
    declared = [one for fit in program.fits for one in fit.each]
    fits = fits_of(tests, declared, found)
    found.raise_errors()

    def answered(test: Test) -> Test:
        known = of_the_answered(test, lambda: memo.draw(test.design, found))
        return _answered(known, tokenizers(test.network), checked)

    variants = [variant for fit in fits for variant in fitted_variants(fit)]
    every = [FitTest(answered(one.fit), answered(one.validation)) for one in variants]
    made = make_fits(program, every, tokenizers, found, memo.draw)
    if made is not None:
        refuse_overlap(tests, declared, plan, made)
        refuse_unfitted(tests, plan, made)
    return made


def _searches(
    program: Program, tests: list[Test], checked: Checked, tokenizers: Tokenizers, found: Diagnostics, memo: Memo
) -> Plan | None:
    """The plan on which the circuits of a spec are found."""
    made = []
    for test in tests:
        wanted = dict.fromkeys(kept.discovery for kept in test.discoveries)
        for number, discovery in enumerate(wanted):
            source = source_of(test)
            assert source is not None
            search = search_of(test, number, discovery.n, source.role)
            checked.searched[discovery] = search.name
            made.append(_answered(search, tokenizers(test.network), checked))
    if not made:
        return None
    plan = make_plan(program, made, tokenizers, found, memo.draw)
    by_name = {test.name: test for test in tests}
    for discovery, name in checked.searched.items():
        search, source = next(test for test in made if test.name == name), source_of(by_name[discovery.test])
        assert source is not None
        _alike(discovery, search, source, plan)
    return plan


def _constants(
    program: Program, tests: list[Test], checked: Checked, tokenizers: Tokenizers, found: Diagnostics, memo: Memo
) -> Plan | None:
    """The plan on which the constants of `optimal` are found."""
    made = []
    for test in tests:
        asked = optimal_of(test)
        if asked:
            fit = constants_of(test, max(one.n or 0 for one in asked) or None)
            checked.fitted_on[test.name] = fit.name
            made.append(_answered(fit, tokenizers(test.network), checked))
    return make_plan(program, made, tokenizers, found, memo.draw) if made else None


def _alike(discovery: Discovery, search: Test, source: Counterfactual, plan: Plan) -> None:
    """Refuse a pair whose inputs differ in their number of tokens (E828), since each token is compared with the one in its place; a mean token
    by token of inputs that do (E538); and tokens of a position that are not as many (E539)."""
    draw, key, inputs = plan.scores[search.name][0].label.draw, search.network.key, plan.inputs[search.network.key]
    base, other = (plan.rows[g.Forward(key, draw, role)] for role in ("base", source.role))
    for position in discovery.at:
        lengths_agree(inputs, position, base, position, other, discovery.span)
    if source.kind in ("pooled", "zero"):
        return
    if source.kind == "mean":
        lengths = inputs.lengths[np.concatenate([base, other])]
        if len(np.unique(lengths)) > 1:
            raise fail(
                "E538",
                f"the mean token by token is over inputs of {lengths.min()} to {lengths.max()} tokens",
                discovery.span,
                help="write mean(pooled=true), the mean over rows and tokens, or draw inputs of one length",
            )
        return
    for pair in np.flatnonzero(inputs.lengths[base] != inputs.lengths[other])[:1].tolist():
        mine, theirs = int(base[pair]), int(other[pair])
        raise fail(
            "E828",
            f"the inputs of a pair have {inputs.length(mine)} and {inputs.length(theirs)} tokens",
            discovery.span,
            notes=(f"base {inputs.text(mine)!r}", f"source {inputs.text(theirs)!r}"),
            help="draw pairs of one length, say `where base.template == source.template`",
        )


def _from(folder: Path, path: Path) -> str:
    """The path from a folder; whole where none leads there (another drive)."""
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:
        return path.as_posix()


def _digest(spec: Spec, loader: Loader) -> str:
    """SHA-256 of the spec's text and of all that it imports."""
    texts = [spec.source_text.text, *(module.source.text for _, module in sorted(loader.modules.items()))]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def planned(checked: Checked, options: Options) -> PrintedPlan:
    """The plan of a spec that was checked, cut to memory; E703 where that needs more of a network than its files say, E346 where it needs
    Python code that is not trusted."""
    if checked.plan is None:
        refuse_untrusted(checked.program.tests if checked.program else ())
        networks = list(checked.program.networks.values()) if checked.program else []
        names = ", ".join(f"`{n.name}`" for n in networks)
        code = [one for one in networks if one.kind == "torch"]
        if code:
            many = len(code) > 1
            raise fail(
                "E703",
                f"the plan of {checked.path} needs its network{'s' if many else ''} loaded",
                Span(Source(checked.path, ""), 0, 0),
                notes=(
                    f"{', '.join(f'`{one.name}`' for one in code)} {'are' if many else 'is'} made by code of torch(…), so "
                    "nothing is known before that is run",
                ),
                help="call `run`, which loads it" if here() is MCP else "read the code, then pass --load and --trust",
            )
        raise fail(
            "E703",
            f"the plan of {checked.path} needs its network's tokenizer",
            Span(Source(checked.path, ""), 0, 0),
            notes=(f"too little is known of {names} without loading",),
            help='name a local folder: hf("PATH") in the spec'
            if here() is MCP
            else "pass --load, or a local folder: --network NAME=PATH",
        )
    budget = Budget(options.memory or default_bytes())
    cut = chunk_to_memory(checked.plan, dict.fromkeys(checked.plan.networks, budget))
    return replace(printed(cut), uncut=checked.plan, asked=options.memory)
