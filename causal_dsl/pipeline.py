"""The whole way from text to report, on one page.

    text --parse--> tree --resolve--> program --lower--> plan --execute--> columns --score--> results --> report

``check`` goes as far as the plan and needs no torch; ``run`` goes to the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from causal_dsl.causal.ceilings import RULES, Ceiling
from causal_dsl.causal.designs import count_distinct
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.memo import Memo
from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import (
    Diagnostic,
    Diagnostics,
    Source,
    SpecError,
    did_you_mean,
    fail,
    render_all,
    shown_path,
)
from causal_dsl.engine.answers import Answers, answers_of, check_answers, check_numbers, value_tokens
from causal_dsl.engine.columns import ValueRef
from causal_dsl.garbage import rarely_collected
from causal_dsl.planning.fits import Fits, make_fits, refuse_overlap, refuse_unfitted
from causal_dsl.planning.lower import Plan, make_plan, unfit_networks
from causal_dsl.planning.memory import Budget, default_bytes
from causal_dsl.planning.probes import probes_of
from causal_dsl.planning.rules import chunk_to_memory, optimise
from causal_dsl.program.beginnings import check_beginnings
from causal_dsl.program.cautions import caution
from causal_dsl.program.circuits import check_circuit
from causal_dsl.program.endings import check_endings
from causal_dsl.program.experiments import TestReader
from causal_dsl.program.facts import Facts
from causal_dsl.program.fits import (
    check_declared,
    controls_of,
    declared_for,
    fits_of,
    fitted_variants,
    held_out,
    learned,
)
from causal_dsl.program.identity import NetworkKey, Origin
from causal_dsl.program.modules import Definition, Loader, Module, read_source
from causal_dsl.program.naming import network_names, overridden
from causal_dsl.program.program import NetworkRef, Program, Test
from causal_dsl.program.prompts import Template, first_prompt, show_value
from causal_dsl.program.resolve import Options as ResolveOptions
from causal_dsl.program.resolve import Resolver
from causal_dsl.program.tokens import Tokens
from causal_dsl.reading import readable, within
from causal_dsl.score.chance import show_ceilings, show_distinct
from causal_dsl.score.context import TestContext
from causal_dsl.score.findings import no_room, vacuous_expectation
from causal_dsl.score.metrics import compile_metrics
from causal_dsl.score.results import Results
from causal_dsl.store.out import kept_source
from causal_dsl.store.reads import Reads, note, recording
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_tree
from causal_dsl.syntax.parse import parse as parse_text

if TYPE_CHECKING:
    from causal_dsl.network.network import Network
    from causal_dsl.training.train import TrainedNetwork


@dataclass(eq=False)
class Spec:
    """A spec: its tree, where it stands, and the folder that its relative paths start from."""

    tree: tree.Tree
    source_text: Source
    folder: Path
    path: Path | None = None

    def source(self) -> str:
        """The spec as canonical ``.causal`` text; parsing it gives the same tree."""
        return format_tree(self.tree)

    @property
    def name(self) -> str:
        return self.source_text.path


@dataclass(frozen=True)
class Options:
    """What a caller changes of a spec without touching its text; ``tests`` are the names of those wanted (all).

    ``allow``: folders whose files a spec may read beside those of its project. ``memory``: bytes that a pass may take beside the weights. ``out``: a folder for results and finished blocks.
    ``compiled``: feed-forward blocks go through ``torch.compile``. ``load``: a plan may load the networks.
    ``rehash``: hashes of files that are remembered are not used. ``command``: the words that were typed, for the results.
    """

    trust: bool = False
    networks: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    tests: tuple[str, ...] = ()
    device: str | None = None
    dtype: str | None = None
    memory: int | None = None
    out: Path | None = None
    progress: bool = False
    compiled: bool = False
    load: bool = False
    allow: tuple[Path, ...] = ()
    rehash: bool = False
    command: tuple[str, ...] = ()


# ── text to tree ────────────────────────────────────────────────────────────────────────────────


def load(path: str | Path) -> Spec:
    """Read a ``.causal`` file. Raises :class:`SpecError` where it cannot be read or has a fault of syntax."""
    found = Diagnostics()
    source = read_source(Path(path), found)
    found.raise_errors()
    assert source is not None
    kept = kept_source(Path(path))
    if kept is not None:  # the spec of a folder of results: its files are kept as they lay beside it
        return _parsed(Source(shown_path(kept), source.text), kept.resolve().parent, kept)
    return _parsed(source, Path(path).resolve().parent, Path(path))


def parse(text: str, path: str = "<text>") -> Spec:
    """Read a spec from a text; its relative paths start from the working directory."""
    return _parsed(Source(path, text), Path.cwd())


def spec(*objects: Any) -> Spec:
    """A spec of things made with the builder; what they need comes with them."""
    from causal_dsl.build import spec as build

    made = build(*objects)
    text = format_tree(made)
    return replace_tree(_parsed(Source("<python>", text), Path.cwd()), made)


def replace_tree(parsed: Spec, made: tree.Tree) -> Spec:
    """The parsed form of a built tree, which says the same and has places in its own text."""
    assert parsed.tree == made, "printing and parsing a built spec changes it"
    return parsed


def _parsed(source: Source, folder: Path, path: Path | None = None) -> Spec:
    found = Diagnostics()
    with rarely_collected():
        parsed = parse_text(source, found)
    found.raise_errors()
    return Spec(parsed, source, folder, path)


# ── tree to program ─────────────────────────────────────────────────────────────────────────────


@dataclass
class Checked:
    """What ``check`` found: every fault at once, and the chance level of every test."""

    path: str
    diagnostics: list[Diagnostic]
    program: Program | None
    ceilings: dict[str, dict[str, Ceiling]]
    #: how many distinct inputs each run of a test reads, by test and role
    distinct: dict[str, dict[str, int]] = field(default_factory=dict)
    plan: Plan | None = None
    #: what is fitted before the plan is run; None where nothing is
    fits: Fits | None = None
    answers: dict[str, Answers] = field(default_factory=dict)
    digest: str = ""
    #: the files that were read to check it, or that the run will read
    reads: Reads = field(default_factory=Reads)

    @property
    def errors(self) -> list[Diagnostic]:
        return [diagnostic for diagnostic in self.diagnostics if diagnostic.is_error]

    def raise_errors(self) -> None:
        if self.errors:
            raise SpecError(self.diagnostics)

    def to_json(self) -> dict[str, Any]:
        """One spec of ``check --json``."""
        tests = [
            {
                "name": test.name,
                "line": test.span.line,
                "ceilings": _ceilings_json(self.ceilings.get(test.name, {})),
                "distinct": self.distinct.get(test.name, {}),
            }
            for test in (self.program.tests if self.program else [])
        ]
        return {"path": self.path, "diagnostics": [d.to_json() for d in self.diagnostics], "tests": tests}

    def text(self) -> str:
        """What the terminal shows: diagnostics, then the chance level of each test."""
        parts = [render_all(self.diagnostics)] if self.diagnostics else []
        lines = []
        for test in self.program.tests if self.program else []:
            found = self.ceilings.get(test.name)
            inputs = show_distinct(self.distinct.get(test.name, {}))
            told = show_ceilings(found) if found else "nothing is interchanged"
            lines.append(f"  {test.name}: {told}")
            if inputs:
                lines.append(f"    {inputs}")
        if lines and not self.errors:
            parts.append("\n".join([f"{self.path}: the score by chance of each test", *lines]))
        return "\n\n".join(parts)


def _ceilings_json(found: Mapping[str, Ceiling]) -> dict[str, Any]:
    return {name: found[name].to_json() for name in RULES if name in found}


def check(
    spec: Spec, options: Options = Options(), networks: Mapping[NetworkKey, Network] | None = None, beside: bool = True
) -> Checked:
    """Judge a spec without its networks' weights; never raises for a fault of the spec.

    ``networks`` are loaded networks, whose facts and tokenizers then stand for what the files say. ``beside``: whether the
    plan holds what rides beside its tests; a mere check needs none of it.
    """
    with rarely_collected(), within(readable(spec.folder, options.trust, options.allow)), recording() as reads:
        checked = _check(spec, options, networks, beside)
    checked.reads = reads
    return checked


def _check(spec: Spec, options: Options, networks: Mapping[NetworkKey, Network] | None, beside: bool) -> Checked:
    found = Diagnostics()
    loaded = dict(networks or {})
    if spec.path is not None:
        note(spec.path)
    loader = Loader(found)
    module = loader.tree(spec.tree, spec.source_text, spec.folder)
    facts: dict[NetworkKey, Facts] = {key: network.facts for key, network in loaded.items()}
    every = [module, *loader.modules.values()]
    others = overridden(module, every, options.networks)
    resolver = Resolver(found, ResolveOptions(options.trust, others, facts, network_names(module, every), options.seed))
    program = _program(spec, module, resolver, found, options)
    checked = Checked(spec.name, [], program, {}, digest=_digest(spec, loader))
    try:
        checked.plan = _plan(program, checked, _tokenizers(loaded), found, beside)
    except SpecError as error:
        found.extend(error.diagnostics)
    for test in program.tests:
        warning = no_room(checked.ceilings.get(test.name, {}), len(test.cells) > 1, test.span)
        if warning is not None and not found.errors:
            found.add(warning)
        for expectation in test.scores.expectations if test.scores else ():
            warning = vacuous_expectation(checked.ceilings.get(test.name, {}), expectation)
            if warning is not None:
                found.add(warning)
    checked.diagnostics = list(found)
    return checked


def _program(spec: Spec, module: Module, resolver: Resolver, found: Diagnostics, options: Options) -> Program:
    """Every declaration resolved, used or not; faults are in ``found``."""
    program = Program(spec.name, {}, {}, {}, [])
    resolver.scope(module)
    for name, definition in module.names.items():
        if definition.kind == "causal model" and (model := resolver.model(definition)) is not None:
            program.models[name] = model
        elif definition.kind == "network" and (network := resolver.network(definition)) is not None:
            program.networks[name] = network
        elif definition.kind == "alignment" and (alignment := resolver.alignment(definition)) is not None:
            program.alignments[name] = alignment
        elif definition.kind == "circuit":
            check_circuit(definition, resolver, found)
        elif isinstance(definition.declaration, tree.FitDecl):
            fit = TestReader(definition.declaration, definition.module, resolver, found).read()
            if fit is not None and check_declared(fit, found):
                program.fits.append(fit)
    _unknown_options(program, module, options)
    for definition in module.of_kind("test").values():
        declaration = definition.declaration
        assert isinstance(declaration, tree.TestDecl)
        if options.tests and declaration.name.name not in options.tests:
            continue
        test = TestReader(declaration, module, resolver, found).read()
        if test is not None and learned(test):
            _take_over_fits(program, test, module, resolver, found)
            test = held_out(test, bool(declared_for(test, program.fits)))
        if test is not None:
            program.tests.append(test)
    return program


def _take_over_fits(program: Program, test: Test, module: Module, resolver: Resolver, found: Diagnostics) -> None:
    """What is said of the fits of an alignment holds for those that take its placements over and say nothing of their own."""
    own = test.alignment.origin
    above = next((o for o in (own, *test.alignment.parents) if _fits_on(module, o, resolver)), own)
    if above == own or any(f.alignment.origin == own for f in program.fits):
        return
    for definition in _fits_on(module, above, resolver):
        declaration = definition.declaration
        assert isinstance(declaration, tree.FitDecl)
        fit = TestReader(declaration, definition.module, resolver, found, test.alignment).read()
        if fit is not None and learned(fit):
            program.fits.append(fit)


def _fits_on(module: Module, alignment: Origin, resolver: Resolver) -> list[Definition]:
    """The `fit` declarations on an alignment."""
    found = []
    for definition in module.of_kind("fit").values():
        assert isinstance(definition.declaration, tree.FitDecl)
        on = definition.declaration.on
        name = on.function if isinstance(on, tree.Call) else on
        above = definition.module.names.get(name.name) if isinstance(name, tree.Name) else None
        meant = resolver.alignment(above) if above is not None and above.kind == "alignment" else None
        if meant is not None and meant.origin == alignment:
            found.append(definition)
    return found


def _unknown_options(program: Program, module: Module, options: Options) -> None:
    tests = module.of_kind("test")
    for name in options.tests:
        if name not in tests:
            raise fail(
                "E701",
                f"there is no test `{name}` in {program.path}",
                _file(program.path),
                help=did_you_mean(name, tests),
            )


def _file(path: str) -> Any:
    from causal_dsl.diagnostics import Span

    return Span(Source(path, ""), 0, 0)


def _digest(spec: Spec, loader: Loader) -> str:
    """SHA-256 of the spec's text and of all that it imports."""
    texts = [spec.source_text.text, *(module.source.text for _, module in sorted(loader.modules.items()))]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


# ── program to plan ─────────────────────────────────────────────────────────────────────────────

Tokenizers = Callable[[NetworkRef], Tokens | None]


def _tokenizers(loaded: Mapping[NetworkKey, Network]) -> Tokenizers:
    cache: dict[Path, Tokens] = {}

    def tokens(network: NetworkRef) -> Tokens | None:
        if network.key.trained in loaded:
            return loaded[network.key.trained].tokens
        path = network.facts.tokenizer
        if path is None or network.facts.kind == "vector":
            return None
        if path not in cache:
            cache[path] = Tokens.from_file(path, network.span)
        return cache[path].of_network(network.facts.vocabulary)

    return tokens


def _plan(program: Program, checked: Checked, tokenizers: Tokenizers, found: Diagnostics, beside: bool) -> Plan | None:
    """Metrics, chance levels, answers and the plan of every test; None where a fault or a missing tokenizer forbids it."""
    ready, seen = [], set[Any]()
    memo = Memo()
    for test in program.tests:
        tokens = tokenizers(test.network)
        test.scores = compile_metrics(_context(test, tokens), found)
        if test.model.needs_trust:
            continue
        drawn = memo.draw(test.design, found)
        if drawn is None:
            continue
        checked.distinct[test.name] = count_distinct(drawn.ids)
        if test.swaps:
            checked.ceilings[test.name] = memo.ceilings(test.design, list(test.swaps), test.readout.variable, drawn)
        if test.network.facts.kind == "unknown" or (tokens is None and test.alignment.prompts):
            continue
        if tokens is not None:
            check_beginnings(test, tokens, found, seen)
            check_endings(test.alignment, test.readout, found)
        caution(test, tokens, found)
        answers = answers_of(test.readout, test.model, tokens, _sample_prompt(test), test.readout.span or test.span)
        if check_answers(answers, test.readout, found):
            check_numbers(answers, test.readout, tokens, _sample_prompt(test), found)
            checked.answers[test.name] = answers
            ready.append(test)
    if found.errors or len(ready) < len(program.tests):
        return None
    controls = []
    for test in ready:
        for control in controls_of(test):
            control.scores = compile_metrics(_context(control, tokenizers(control.network)), found)
            _answer(control, tokenizers(control.network), checked)
            controls.append(control)

    def probes(plan: Plan) -> Iterator[Test]:
        for probe in probes_of(plan, ready if beside else ()):
            probe.scores = compile_metrics(_context(probe, tokenizers(probe.network)), found)
            checked.answers[probe.name] = checked.answers[probe.control[0]]
            yield probe

    plan = make_plan(program, [*ready, *controls], tokenizers, found, memo.draw, probes)
    checked.distinct |= {test.name: count_distinct(plan.ids_of(test)) for test in ready}
    checked.fits = plan.fits = _fits(program, ready, plan, checked, tokenizers, found, memo)
    return optimise(unfit_networks(plan))


def _answer(test: Test, tokens: Tokens | None, checked: Checked) -> None:
    """What a control or a fit can answer. Where one token cannot tell the answers apart, it is read as its test is."""

    def answers() -> Answers:
        return answers_of(test.readout, test.model, tokens, _sample_prompt(test), test.readout.span or test.span)

    found = answers()
    if not check_answers(found, test.readout, Diagnostics()):
        test.readout = replace(test.readout, among=False)
        found = answers()
    checked.answers[test.name] = found


def _fits(
    program: Program,
    tests: list[Test],
    plan: Plan,
    checked: Checked,
    tokenizers: Tokenizers,
    found: Diagnostics,
    memo: Memo,
) -> Fits | None:
    """What the features of a spec are fitted on; on nothing that a test judges them on."""
    fits = fits_of(tests, program.fits, found)
    found.raise_errors()
    every = [variant for fit in fits for variant in fitted_variants(fit)]
    for one in every:
        for test in (one.fit, one.validation):
            tokens = tokenizers(test.network)
            test.scores = compile_metrics(_context(test, tokens), found)
            _answer(test, tokens, checked)
    made = make_fits(program, every, tokenizers, found, memo.draw)
    if made is not None:
        refuse_overlap(tests, program.fits, plan, made)
        refuse_unfitted(tests, plan, made)
    return made


def _context(test: Test, tokens: Tokens | None) -> TestContext:
    """What the compiler of metrics must know of a test."""
    variables = {n: _values(v.domain) for n, v in test.model.variables.items()}
    roles = ("base", *(role for role in test.roles if role != "base"))
    parameters: dict[str, dict[Any, None]] = {}
    for cell in test.cells:
        for name, value in cell.values:
            parameters.setdefault(name, {})[value] = None
    prompt = _sample_prompt(test)

    def several(ref: ValueRef) -> str | None:
        if tokens is None or test.readout.kind == "logits":
            return None
        name = test.readout.variable if ref.role == "label" else ref.variable
        values = [ref.constant] if not ref.role else variables.get(name) or ()
        for value in values:
            if len(value_tokens(value, test.readout, tokens, prompt, test.readout.span or test.span)) > 1:
                return show_value(value)
        return None

    return TestContext(
        test.name,
        roles,
        variables,
        test.readout.variable,
        test.members,
        test.metrics,
        bool(test.swaps),
        test.intervenes,
        {name: tuple(values) for name, values in parameters.items()},
        test.readout.values if test.readout.kind == "logits" or test.readout.among else None,
        several,
        test.span,
    )


def _values(domain: Any) -> tuple[Any, ...] | None:
    return tuple(domain.values) if isinstance(domain, Finite) and domain.size <= 10_000 else None


def _sample_prompt(test: Test) -> str:
    """A prompt of the test's first line, with the first value of every hole: answers are tokenised after it."""
    if not test.alignment.prompts:
        return ""
    known, template = _SAMPLES.setdefault(test.alignment.model, {}), test.alignment.prompts[0].template
    if template not in known:
        known[template] = first_prompt(test.alignment)
    return known[template]


_SAMPLES: WeakKeyDictionary[CausalModel, dict[Template, str]] = WeakKeyDictionary()


def plan(spec: Spec, options: Options = Options()) -> Plan:
    """The intervention graph of a spec, with its cost; raises :class:`SpecError` for a fault."""
    checked = check(spec, options)
    checked.raise_errors()
    if options.load:
        from causal_dsl.running import loaded_plan

        return loaded_plan(spec, checked, options)
    if checked.plan is None:
        names = ", ".join(f"`{n.name}`" for n in (checked.program.networks.values() if checked.program else ()))
        raise fail(
            "E703",
            f"the plan of {spec.name} needs its network's tokenizer",
            _file(spec.name),
            notes=(f"of {names}, too little is known without loading",),
            help="pass --load, or a local folder: --network NAME=PATH",
        )
    budget = Budget(options.memory or default_bytes())
    return chunk_to_memory(checked.plan, dict.fromkeys(checked.plan.networks, budget))


# ── plan to results ─────────────────────────────────────────────────────────────────────────────


def run(spec: Spec, options: Options = Options()) -> Results:
    """Run every test of a spec on its network and score it; raises :class:`SpecError` for a fault of spec or environment."""
    from causal_dsl.running import run_specs

    return run_specs([spec], options)


def train(spec: Spec, options: Options = Options()) -> dict[str, TrainedNetwork]:
    """Train every ``network … = train(…)`` of a spec, or find it in the cache; raises :class:`SpecError` for a fault."""
    from causal_dsl.running import train_spec

    return train_spec(spec, options)


def run_files(paths: Iterable[str | Path], options: Options = Options()) -> Results:
    """:func:`run` of several files; a network that they share is loaded once."""
    from causal_dsl.running import run_specs

    return run_specs([load(path) for path in paths], options)


__all__ = ["Checked", "Options", "Spec", "check", "load", "parse", "plan", "run", "run_files", "spec", "train"]
