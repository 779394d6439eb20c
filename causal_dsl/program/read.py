"""A module to its program, in passes: names, models, networks and alignments, tests.

Each pass takes what the earlier ones made, and hands on values that do not change. Faults are collected in one
:class:`Diagnostics`: what is at fault is left out of the mapping that its pass makes, and what needs it is left out in
silence, so that one check tells every fault, each once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import Diagnostics, Source, Span, did_you_mean, fail
from causal_dsl.program.alignments import read_alignment
from causal_dsl.program.circuits import check_circuit
from causal_dsl.program.definitions import in_order, needed_for
from causal_dsl.program.derived_tests import check_declared, declared_for, held_out, learned
from causal_dsl.program.found_constants import optimal_of
from causal_dsl.program.models import Terms, metrics_of, read_models, read_terms
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.networks import read_network, warn_of_many
from causal_dsl.program.options import ReadOptions
from causal_dsl.program.program import Alignment, NetworkRef, Program, Test
from causal_dsl.program.tests import Known, aligned, read_test
from causal_dsl.syntax import tree


def read_program(
    path: str, module: Module, options: ReadOptions, found: Diagnostics, wanted: Collection[str]
) -> Program:
    """Every declaration resolved, used or not, and the ``wanted`` tests (empty: all); faults are in ``found``. Of families, such as the
    networks of a sweep, the members that the ``wanted`` tests need."""
    needed = needed_for(module, wanted)
    order = [one for one in in_order(module, options.networks, found) if one in needed or not one.family]
    terms = read_terms(order, options.trust, found)
    models = read_models(order, terms, found)
    networks, alignments = _read_networks(order, terms, models, options, found)
    warn_of_many(networks, found)
    circuits = {
        definition: network
        for definition in order
        if definition.kind == "circuit" and (network := check_circuit(definition, networks, found)) is not None
    }
    known = Known(models, alignments, metrics_of(module), options, circuits)
    fits = _read_fits([one for one in module.of_kind("fit").values() if one in needed], known, found)
    _refuse_unknown(path, module, wanted)
    tests, taken_over = _read_tests(module, known, fits, found, wanted)
    named = module.names.items()
    return Program(
        path,
        {name: networks[definition] for name, definition in named if definition in networks},
        {name: models[definition] for name, definition in named if definition in models},
        {name: alignments[definition] for name, definition in named if definition in alignments},
        tests,
        (*fits, *taken_over),
    )


def _read_networks(
    order: Iterable[Definition],
    terms: Terms,
    models: Mapping[Definition, CausalModel],
    options: ReadOptions,
    found: Diagnostics,
) -> tuple[Mapping[Definition, NetworkRef], Mapping[Definition, Alignment]]:
    """Networks and alignments: one pass, for a network may be trained towards an alignment of another."""
    networks: dict[Definition, NetworkRef] = {}
    alignments: dict[Definition, Alignment] = {}
    for definition in order:
        if definition.kind == "network":
            network = read_network(definition, alignments, terms.domains, options, found)
            if network is not None:
                networks[definition] = network
        elif definition.kind == "alignment":
            alignment = read_alignment(definition, terms, models, networks, alignments, options, found)
            if alignment is not None:
                alignments[definition] = alignment
    return networks, alignments


def _read_fits(definitions: Iterable[Definition], known: Known, found: Diagnostics) -> tuple[Test, ...]:
    """The tests that `fit` declarations stand for."""
    fits = (read_test(definition, known, found) for definition in definitions)
    return tuple(fit for fit in fits if fit is not None and check_declared(fit, found))


def _read_tests(
    module: Module, known: Known, fits: tuple[Test, ...], found: Diagnostics, wanted: Collection[str]
) -> tuple[tuple[Test, ...], tuple[Test, ...]]:
    """The tests, and the fits of other alignments that they take over with their placements."""
    tests: list[Test] = []
    taken_over: list[Test] = []
    for name, definition in module.of_kind("test").items():
        asked = not wanted or name in wanted or definition.family in wanted
        test = read_test(definition, known, found) if asked else None
        if test is not None and learned(test):
            taken_over += _take_over_fits(module, test, known, (*fits, *taken_over), found)
            test = held_out(test, bool(declared_for(test, (*fits, *taken_over))))
        elif test is not None and (test.discoveries or optimal_of(test)):
            test = held_out(test, False)
        if test is not None:
            of_family = definition.family or definition.variant
            tests.append(replace(test, family=definition.family, variant=definition.variant) if of_family else test)
    return tuple(tests), tuple(taken_over)


def _take_over_fits(module: Module, test: Test, known: Known, fits: tuple[Test, ...], found: Diagnostics) -> list[Test]:
    """The fits of an alignment hold for those that take its placements over and have none of their own."""
    own = test.alignment.origin
    if any(fit.alignment.origin == own for fit in fits):
        return []
    declared: dict[object, list[Definition]] = {}
    for definition in module.of_kind("fit").values():
        assert isinstance(definition.declaration, tree.FitDecl)
        on = aligned(definition.declaration, definition.module, known.alignments, found)
        if on is not None:
            declared.setdefault(on.origin, []).append(definition)
    above = next((origin for origin in (own, *test.alignment.parents) if origin in declared), own)
    if above == own:
        return []
    read = (read_test(definition, known, found, test.alignment) for definition in declared[above])
    return [fit for fit in read if fit is not None and learned(fit)]


def _refuse_unknown(path: str, module: Module, wanted: Collection[str]) -> None:
    tests = {**module.of_kind("test"), **module.families}
    for name in wanted:
        if name not in tests:
            raise fail(
                "E701",
                f"there is no test `{name}` in {path}",
                Span(Source(path, ""), 0, 0),
                help=did_you_mean(name, tests),
            )
