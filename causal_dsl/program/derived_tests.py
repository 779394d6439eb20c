"""The tests on which learned features are fitted, and those that they are compared with: tests made from the tests of a spec.

Inputs are split, never pairs: what a feature is fitted on, what ends the fit, and what it is judged on share no input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.measures.quantities import Quantity
from causal_dsl.program.measured import without_lines
from causal_dsl.program.program import Cell, Intervention, NetworkRef, Test
from causal_dsl.program.read_features import FeatureRef, Variant

#: Random maps that a learned one is compared with.
RANDOM = 5
#: Most pairs that say when a fit ends.
VALIDATION = 256
_SEEDS = {"fit": 1_000_003, "validation": 2_000_003}
Part = Literal["fit", "validation", "test"]


@dataclass(frozen=True, eq=False)
class FitTest:
    """One experiment that features are fitted on, as two tests on other inputs: one to fit on, one that ends the fit."""

    fit: Test
    validation: Test


def maps_of(cell: Cell) -> tuple[FeatureRef, ...]:
    """The fitted maps that a cell's interventions write through."""
    return tuple(dict.fromkeys(feature.fitted for i in cell.interventions for feature in i.features))


def learned(test: Test) -> bool:
    """Whether a test writes through features that are fitted."""
    return any(maps_of(cell) for cell in test.cells)


# ── splits ──────────────────────────────────────────────────────────────────────────────────────


def held_out(test: Test, declared: bool) -> Test:
    """The test on inputs that its features are not fitted on: on the test part, where the spec does not say which.

    ``declared``: a `fit` of the spec says what the features are fitted on, and then the test's draws stay as they are.
    """
    if declared or any(statement.split for statement in test.design.statements):
        return test
    return _on_part(test, "test", None)


def fits_of(tests: Sequence[Test], declared: Sequence[Test], diagnostics: Diagnostics) -> list[FitTest]:
    """The tests on which the features of ``tests`` are fitted: the ``declared`` fits of their alignments, else what is tested,
    on other inputs."""
    found: dict[tuple[object, ...], FitTest] = {}
    for test in tests:
        if not learned(test):
            continue
        own = [fit for fit in declared_for(test, declared) if fit.readout.variable == test.readout.variable]
        for one in own or (test,):
            wanted = {ref for cell in test.cells for ref in maps_of(cell)}
            cells = tuple(replace(cell, values=()) for cell in one.cells if wanted & set(maps_of(cell)))
            for cell in cells:
                key = (one.alignment.origin, one.draws, one.network.key, cell.interventions, one.readout.variable)
                if key not in found:
                    found[key] = _experiment(replace(one, cells=(cell,)), len(found), bool(own))
        if own:
            _refuse_uncovered(test, own, diagnostics)
            _refuse_split_otherwise(test, own, diagnostics)
    _refuse_split_apart([test for test in tests if learned(test) and not declared_for(test, declared)], diagnostics)
    return list(found.values())


def _refuse_split_apart(tests: Sequence[Test], diagnostics: Diagnostics) -> None:
    """Refuse tests whose features are fitted together, on the draws of all of them, and that are split by different things (E352)."""
    groups: list[tuple[set[FeatureRef], list[Test]]] = []
    for test in tests:
        maps = {ref for cell in test.cells for ref in maps_of(cell) if not ref.fitting.file}
        together = [test]
        for group in [group for group in groups if group[0] & maps]:
            maps, together = maps | group[0], [*group[1], *together]
            groups.remove(group)
        groups.append((maps, together))
    for _, together in groups:
        first, *rest = together
        other = next((test for test in rest if _split_by(test) != _split_by(first)), None)
        if other is not None:
            told = f"`{first.name}` is split by {_names(_split_by(first))}, and `{other.name}` by {_names(_split_by(other))}"
            diagnostics.report(
                "E352",
                told,
                other.design.statements[0].span,
                others=((first.design.statements[0].span, "fitted on this, too"),),
                notes=("one feature is fitted on the draws of both, and judged on what neither is fitted on",),
                help="write the same `by` in the draws of both, or declare what it is fitted on: fit name on alignment { … }",
            )


def _refuse_split_otherwise(test: Test, own: Sequence[Test], diagnostics: Diagnostics) -> None:
    """Refuse a test whose inputs are split by something, where what is fitted is not, or the test is of no part (E352)."""
    place, by = test.design.statements[0].span, _split_by(test)
    other = next((fit for fit in own if _split_by(fit) != by), None)
    if other is not None:
        diagnostics.report(
            "E352",
            f"`{test.name}` is split by {_names(by)}, and the inputs on which its feature is fitted by {_names(_split_by(other))}",
            place,
            others=((other.design.statements[0].span, "fitted on this"),),
            help="write the same `by` in the draws of both",
        )
    elif test.design.by and not any(statement.split for statement in test.design.statements):
        diagnostics.report(
            "E352",
            f"`{test.name}` is drawn from all inputs, including values of {_names(by)} on which a feature may be fitted",
            place,
            help="write split=test beside `by`",
        )


def _split_by(test: Test) -> tuple[str, ...]:
    return test.design.statements[0].model.by


def _names(by: tuple[str, ...]) -> str:
    return " and ".join(f"`{name}`" for name in by) or "its inputs"


def _refuse_uncovered(test: Test, own: Sequence[Test], diagnostics: Diagnostics) -> None:
    """Refuse a test of a feature that the declared fits leave out (E718)."""
    fitted = {
        (ref.fitted, ref.block) for fit in own for cell in fit.cells for i in cell.interventions for ref in i.features
    }
    for cell in test.cells:
        for intervention in cell.interventions:
            if any((ref.fitted, ref.block) not in fitted for ref in intervention.features):
                names = ", ".join(f"`{fit.name}`" for fit in own)
                diagnostics.report(
                    "E718",
                    f"`{test.name}` writes `{intervention.variable}` through a feature that no `fit` fits",
                    intervention.span or test.span,
                    notes=(f"the fits of `{own[0].alignment.name}` are declared by {names}",),
                    help=f"intervene on `{intervention.variable}` in a `fit`, too, and in the cells that are tested",
                )
                return


def declared_for(test: Test, declared: Sequence[Test]) -> list[Test]:
    """The declared fits of a test's alignment, or of the nearest that it takes its placements from."""
    for origin in (test.alignment.origin, *test.alignment.parents):
        own = [fit for fit in declared if fit.alignment.origin == origin]
        if own:
            return own
    return []


def check_declared(fit: Test, diagnostics: Diagnostics) -> bool:
    """Refuse a declared fit that fits nothing (E716), or says which part of the inputs it takes (E719)."""
    parted = next((statement for statement in fit.design.statements if statement.split), None)
    if parted is not None:
        diagnostics.report(
            "E719",
            "a `fit` is fitted on the inputs of the `fit` part, and the inputs of the `validation` part decide when it ends",
            parted.span,
            help="leave `split` out, or hold inputs out with `where`",
        )
        return False
    if learned(fit):
        return True
    diagnostics.report(
        "E716",
        f"`{fit.name}` fits nothing",
        fit.span,
        notes=(f"its intervention in `{fit.alignment.name}` is not a learned feature",),
        help="place a variable with `via rotation(dim=…)` or another feature, and intervene on it",
    )
    return False


def _experiment(test: Test, number: int, declared: bool) -> FitTest:
    settings = maps_of(test.cells[0])[0].fitting
    own = [statement.n for statement in test.design.statements if statement.n is not None]
    n = own[0] if declared and own else settings.n
    fit = _on_part(test, "fit", n, keep=declared)
    validation = _on_part(test, "validation", min(n, VALIDATION))
    return FitTest(
        without_lines(fit, name=f"{test.alignment.name}: fit {number + 1}", solved=()),
        without_lines(validation, name=f"{test.alignment.name}: validation {number + 1}", solved=()),
    )


def _on_part(test: Test, part: Part, n: int | None, keep: bool = False) -> Test:
    """A test whose draws are of one part of the inputs; ``keep``: with the seeds that the spec gives."""
    statements = tuple(
        replace(
            statement,
            split=part,
            n=None if statement.exhaustive else n or statement.n,
            seed=statement.seed + (0 if keep else _SEEDS.get(part, 0)),
        )
        for statement in test.design.statements
    )
    told = f"{test.draws}; {part} part" + (f", n={n}" if n else "")
    parts = tuple(_on_part(one, part, n, keep) for one in test.parts)
    return replace(test, design=replace(test.design, statements=statements), draws=told, parts=parts)


# ── discovered circuits ─────────────────────────────────────────────────────────────────────────


def search_of(test: Test, number: int, n: int | None, source: str) -> Test:
    """The test on which a circuit of a test is found: the ``fit`` part of its inputs, with its own seeds, and no intervention."""
    made = _on_part(test, "fit", n, keep=True)
    name = f"{test.name}: search {number + 1}"
    made = without_lines(
        made, name=name, cells=(Cell(()),), solved=(), control=(test.name, "search"), parts=(), discoveries=()
    )
    roles = dict.fromkeys((source, *test.solved))
    return replace(made, scores=replace(made.scores, needed=frozenset((role, Quantity("answer")) for role in roles)))


def constants_of(test: Test, n: int | None) -> Test:
    """The test on which the constants of ``optimal`` are found: the ``fit`` part of a test's inputs, and no intervention."""
    made = replace(search_of(test, 0, n, "base"), name=f"{test.name}: constants", control=(test.name, "constants"))
    return replace(made, scores=replace(made.scores, needed=frozenset({("base", Quantity("answer"))})))


# ── controls ────────────────────────────────────────────────────────────────────────────────────


_UNTRAINED = " (untrained)"


def untrained(network: NetworkRef) -> NetworkRef:
    """The same network as it was before training: its weights drawn anew."""
    name = f"{network.name}{_UNTRAINED}"
    return replace(network, name=name, key=replace(network.key, untrained=True, name=name))


def trained_of(network: NetworkRef) -> NetworkRef:
    """The network that an untrained one is made from."""
    name = network.name.removesuffix(_UNTRAINED)
    return replace(network, name=name, key=replace(network.key, untrained=False, name=name))


def controls_of(test: Test) -> Iterator[Test]:
    """The tests that a test with learned features is compared with: the same pairs, read the same way, written otherwise."""
    refs = {feature.map for cell in test.cells for i in cell.interventions for feature in i.features}
    if not refs or all(ref.fitting.controls == "none" for ref in refs):
        return
    if not any(_same_place_twice(cell) for cell in test.cells):
        yield _control(test, "whole vector", "whole")
    yield _control(test, "natural axes", "natural")
    for number in range(RANDOM):
        yield _control(test, f"random {number + 1}", "random", number)
    if any(ref.labelled for ref in refs):
        yield _control(test, "shuffled labels", "shuffled")
        if not test.network.held:
            yield _control(_blank(test), "untrained network", "untrained")
    for layers in _capacities(refs):
        smaller = _with_layers(test, layers)
        yield _control(smaller, f"{layers} layers", "")
        if not test.network.held:
            yield _control(_blank(smaller), f"{layers} layers, untrained", "untrained")


def _blank(test: Test) -> Test:
    """The test on the untrained network, read among the answers alone: of its whole vocabulary it would say none of them."""
    readout = replace(test.readout, among=True) if test.readout.kind != "logits" else test.readout
    return replace(test, alignment=replace(test.alignment, network=untrained(test.network)), readout=readout)


def _capacities(refs: Iterable[FeatureRef]) -> list[int]:
    """Fewer layers than a map that bends has: how its score grows with what it can do."""
    most = max((ref.layers for ref in refs if ref.labelled), default=0)
    return [layers for layers in (1, 2, 4, 8, 16) if layers < most]


def _with_layers(test: Test, layers: int) -> Test:
    def changed(intervention: Intervention) -> Intervention:
        return replace(intervention, features=tuple(ref.with_layers(layers) for ref in intervention.features))

    cells = tuple(replace(cell, interventions=tuple(map(changed, cell.interventions))) for cell in test.cells)
    return replace(test, cells=cells)


def _same_place_twice(cell: Cell) -> bool:
    places = [place for i in cell.interventions for place in i.places]
    return len(set(places)) < len(places)


def _control(test: Test, what: str, variant: Variant, number: int = 0) -> Test:
    def changed(intervention: Intervention) -> Intervention:
        if variant == "whole":
            return replace(intervention, features=())
        features = tuple(
            replace(feature, network=test.network.key, variant=variant, number=number)
            for feature in intervention.features
        )
        return replace(intervention, features=features)

    cells = tuple(replace(cell, interventions=tuple(map(changed, cell.interventions))) for cell in test.cells)
    return without_lines(test, name=f"{test.name}: {what}", cells=cells, solved=(), control=(test.name, what))


def variant_of(fit: FitTest, variant: Variant) -> FitTest:
    """The experiment of a control that is fitted itself: on shuffled labels, or on the untrained network."""

    def changed(test: Test) -> Test:
        made = _control(_blank(test) if variant == "untrained" else test, variant, variant)
        return replace(made, control=("", ""))

    return FitTest(changed(fit.fit), changed(fit.validation))


def _named(test: Test, what: str) -> Test:
    return replace(test, name=f"{test.name}: {what}")


def fitted_variants(fit: FitTest) -> Iterator[FitTest]:
    """An experiment, and those of its controls that are fitted."""
    yield fit
    refs = [ref for cell in fit.fit.cells for ref in maps_of(cell)]
    if any(ref.fitting.controls != "none" and ref.labelled for ref in refs):
        whole = not fit.fit.network.held  # of the others no untrained copy is made: it would be all in one memory
        yield variant_of(fit, "shuffled")
        if whole:
            yield variant_of(fit, "untrained")
        for layers in _capacities(refs):
            smaller = FitTest(
                *(_named(_with_layers(test, layers), f"{layers} layers") for test in (fit.fit, fit.validation))
            )
            yield smaller
            if whole:
                yield variant_of(smaller, "untrained")


__all__ = [
    "FitTest",
    "check_declared",
    "controls_of",
    "declared_for",
    "fits_of",
    "fitted_variants",
    "held_out",
    "learned",
    "maps_of",
    "search_of",
    "trained_of",
    "untrained",
]
