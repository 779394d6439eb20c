"""A module to its program: every declaration resolved, the wanted tests read, and the fits that they take over."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from causal_dsl.diagnostics import Diagnostics, Source, Span, did_you_mean, fail
from causal_dsl.program.circuits import check_circuit
from causal_dsl.program.experiments import TestReader
from causal_dsl.program.fits import check_declared, declared_for, held_out, learned
from causal_dsl.program.identity import Origin
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.program import Program, Test
from causal_dsl.program.resolve import Resolver
from causal_dsl.syntax import tree


def read_program(path: str, module: Module, resolver: Resolver, found: Diagnostics, wanted: Collection[str]) -> Program:
    """Every declaration resolved, used or not, and the ``wanted`` tests (empty: all); faults are in ``found``."""
    program = Program(path, {}, {}, {}, [])
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
    _refuse_unknown(program, module, wanted)
    for definition in module.of_kind("test").values():
        declaration = definition.declaration
        assert isinstance(declaration, tree.TestDecl)
        if wanted and not {declaration.name.name, definition.family} & set(wanted):
            continue
        test = TestReader(declaration, module, resolver, found).read()
        if test is not None and learned(test):
            _take_over_fits(program, test, module, resolver, found)
            test = held_out(test, bool(declared_for(test, program.fits)))
        if test is not None:
            program.tests.append(replace(test, family=definition.family, variant=definition.variant))
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


def _refuse_unknown(program: Program, module: Module, wanted: Collection[str]) -> None:
    tests = {**module.of_kind("test"), **module.families}
    for name in wanted:
        if name not in tests:
            raise fail(
                "E701",
                f"there is no test `{name}` in {program.path}",
                Span(Source(program.path, ""), 0, 0),
                help=did_you_mean(name, tests),
            )
