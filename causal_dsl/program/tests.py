"""The last pass: tests and fits. What one draws, what it does in every cell, where the answer is read, what it measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Design
from causal_dsl.causal.model import CausalModel, refuse_unstated
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Span, SpecError
from causal_dsl.program.definitions import meant
from causal_dsl.program.derived_tests import learned
from causal_dsl.program.discovery import check_discoveries
from causal_dsl.program.draws import DrawReader
from causal_dsl.program.found_constants import check_optimal
from causal_dsl.program.interventions import read_cells
from causal_dsl.program.likeness import check_split
from causal_dsl.program.measured import scores_of, without_lines
from causal_dsl.program.models import metrics_with
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.options import ReadOptions, Tokenizers
from causal_dsl.program.parameters import fixed_parameters
from causal_dsl.program.placed_sites import PlacedSites
from causal_dsl.program.places_read import located, with_looks, words_of
from causal_dsl.program.program import Alignment, Cell, NetworkRef, Readout, Test
from causal_dsl.program.searches import Searches
from causal_dsl.program.tokens import Tokens
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.values.from_run import FromRun


@dataclass(frozen=True)
class Known:
    """The products of the passes before the tests: values by their definitions, the metrics that tests may name, and the options."""

    models: Mapping[Definition, CausalModel]
    alignments: Mapping[Definition, Alignment]
    metrics: dict[str, tree.Expr]
    options: ReadOptions
    #: of each circuit, the network that it is of
    circuits: Mapping[Definition, NetworkRef] = field(default_factory=dict)
    #: where alignments place their variables, as far as tests asked
    sites: PlacedSites = field(default_factory=PlacedSites)


def read_test(
    definition: Definition, known: Known, found: Diagnostics, alignment: Alignment | None = None
) -> Test | None:
    """A test or a fit; None where a fault was reported. ``alignment``: it is read as on this one."""
    declaration, module = definition.declaration, definition.module
    assert isinstance(declaration, tree.TestDecl | tree.FitDecl)
    alignment = alignment or aligned(declaration, module, known.alignments, found)
    if alignment is None:
        return None
    metrics = metrics_with(known.metrics, definition.given)
    searches = Searches(declaration.name.name, known.options.discovered)
    fixed = fixed_parameters(declaration.on, alignment, found)
    draws = DrawReader(declaration, module, alignment, known.models, known.options.seed, found).read()
    good = fixed is not None and draws.whole
    if good and "base" not in draws.roles:
        found.report(
            "E693",
            f"`{declaration.name.name}` draws no `base`",
            declaration.name.span,
            notes=("`base` is the run that is intervened on",),
            help=f"write base ~ {alignment.model.name}(n=256), or base, source ~ …",
        )
        good = False
    readouts = _readouts(alignment, found)
    good = good and bool(readouts)
    cells: tuple[Cell, ...] | None = None
    environments: list[dict[str, tree.Expr]] = []
    lost: list[tuple[Diagnostic, ...]] = []
    # An alignment that says nothing at all is one fault, not one for each variable that it does not place.
    if fixed is not None and draws.statements and (alignment.placements or alignment.readouts):
        words = words_of(declaration.members, metrics)
        read = read_cells(
            declaration,
            module,
            alignment,
            fixed,
            draws,
            good,
            words,
            found,
            known.circuits,
            metrics,
            known.sites,
            searches,
        )
        cells, environments, lost = (None, [], []) if read is None else read
    if not _asks(declaration, found) or not good or cells is None:
        return None
    if module.faulty and any(isinstance(node, tree.Name) and node.name in module.faulty for node in declaration.walk()):
        return None  # it needs what an earlier fault kept from being known
    swaps = tuple(
        (i.variable, i.value.role)
        for i in cells[0].interventions
        if i.variable is not None and isinstance(i.value, FromRun) and readouts[0].stated
    )
    scores = scores_of(
        declaration.name.name,
        declaration.name.span,
        alignment,
        readouts,
        draws.roles,
        cells,
        bool(swaps),
        declaration.members,
        metrics,
        _tokens(alignment.network, known.options.tokens, found),
        found,
    )
    if any(located(declaration.members, metrics)):
        cells = with_looks(cells, environments, scores, alignment, found, lost)
        if cells is None:
            return None
    test = Test(
        declaration.name.name,
        declaration.name.span,
        declaration.doc,
        alignment,
        readouts[0],
        Design(draws.statements, tuple(line.where for line in alignment.prompts), draws.by),
        draws.solved,
        cells,
        swaps,
        draws.text,
        declaration.members,
        metrics,
        scores,
        controls=draws.controls,
        discoveries=tuple(dict.fromkeys(searches.asked)),
        lost=tuple(lost),
    )
    if not check_split(test, draws.by_span, found) or not _numbers_fit(test, found):
        return None
    if not _unstated_fit(test, found) or not _held_fitted(test, found):
        return None
    if not check_discoveries(test, found) or not check_optimal(test, found):
        return None
    if len(readouts) == 1:
        return test
    return replace(test, parts=tuple(_part(test, readout) for readout in readouts))


def _held_fitted(test: Test, found: Diagnostics) -> bool:
    """Refuse measures of a whole alignment where a learned feature of it is not one that the test writes through (E855)."""
    for cell in test.cells:
        fitted = {feature.fitted for i in cell.interventions for feature in i.features}
        for one in cell.held:
            if any(feature.fitted not in fitted for feature in one.features):
                others = ", ".join(f"{i.variable} <- source" for i in cell.held if i.features)
                found.report(
                    "E855",
                    f"the feature of `{one.variable}` is learned, and this test does not interchange `{one.variable}`",
                    test.span,
                    notes=(
                        "a feature is fitted for the interchanges of a test, and measures of the whole alignment write through it",
                    ),
                    help=f"write do({others}) in this test",
                )
                return False
    return True


def _numbers_fit(test: Test, found: Diagnostics) -> bool:
    """Refuse what needs an answer, where an output is read as a number (E748)."""
    number = test.readout
    if number.metric is None:
        return True
    why, help = "", ""
    if test.solved:
        why, help = "`solved` keeps the runs that answer right", "leave the filter out, and look at `r2_unpatched`"
    elif learned(test):
        why, help = "a feature is judged by answers", "interchange the whole site, or dimensions of it"
    if why:
        _refuse_number(number, why, help, test.span, found)
    return not why


def _unstated_fit(test: Test, found: Diagnostics) -> bool:
    """Refuse what needs an answer, where the causal model does not say what it is (E773), and draws that ask for it (E772)."""
    unstated, errors = test.model.unstated, len(found.errors)
    if not unstated:
        return True
    for draw in (member for member in test.members if isinstance(member, tree.Draw)):
        for node in draw.domain.walk():
            name = node.name if isinstance(node, tree.Attribute) else node if isinstance(node, tree.Name) else None
            said = name.name if isinstance(name, tree.Ident | tree.Name) else ""
            if said in unstated:
                refuse_unstated(said, node.span, found)
    why, help = "", ""
    if len(test.readouts) > 1 or any(readout.stated for readout in test.readouts):
        return len(found.errors) == errors
    if test.solved:
        why, help = "`solved` keeps the runs that answer right", "leave the filter out"
    elif learned(test):
        why, help = "a feature is judged by answers", "interchange the whole site, or dimensions of it"
    if why:
        _refuse_unstated(test.readout, why, help, test.span, found)
    return len(found.errors) == errors


def _refuse_unstated(readout: Readout, why: str, help: str, span: Span, found: Diagnostics) -> None:
    title = f"the causal model does not say what `{readout.variable}` is, and {why}"
    found.report("E773", title, readout.span or span, help=help)


def _refuse_number(number: Readout, why: str, help: str, span: Span, found: Diagnostics) -> None:
    found.report("E748", f"`{number.variable}` is a number, and {why}", number.span or span, help=help)


def _part(test: Test, readout: Readout) -> Test:
    """A test that reads several outputs, as it is for one of them."""
    alignment = replace(test.alignment, readouts={readout.variable: readout})
    name = f"{test.name}({readout.variable})"
    part = without_lines(test, name=name, alignment=alignment, readout=readout)
    return replace(part, scores=part.scores.of(readout.variable, test.scores))


def aligned(
    declaration: tree.TestDecl | tree.FitDecl,
    module: Module,
    alignments: Mapping[Definition, Alignment],
    found: Diagnostics,
) -> Alignment | None:
    """The alignment that a test or a fit is on."""
    on = declaration.on
    name = on.function if isinstance(on, tree.Call) else on
    if isinstance(name, tree.Name):
        return meant(alignments, module, name, found, "alignment")
    found.report(
        "E200", f"`{format_expr(on)[:60]}` names no alignment", on.span, help="write test name on alignment { … }"
    )
    return None


def _asks(declaration: tree.TestDecl | tree.FitDecl, found: Diagnostics) -> bool:
    """Whether a fit does something (else E715), and a test that draws something does or judges something (else E694)."""
    if any(isinstance(member, tree.Do) for member in declaration.members):
        return True
    if isinstance(declaration, tree.FitDecl):
        found.report(
            "E715",
            f"`{declaration.name.name}` has no intervention that could be fitted",
            declaration.name.span,
            help="write do(variable <- source)",
        )
        return False
    if declaration.members and not any(isinstance(m, (tree.Expect, tree.Report)) for m in declaration.members):
        found.report(
            "E694",
            f"`{declaration.name.name}` has nothing to expect or report",
            declaration.name.span,
            help="write `expect accuracy >= 95%`, or `report accuracy`",
        )
        return False
    return True


def _readouts(alignment: Alignment, found: Diagnostics) -> list[Readout]:
    """The read-outs of an alignment; empty where there is none (E700)."""
    readouts = list(alignment.readouts.values())
    if not readouts:
        outputs = ", ".join(f"`{name}`" for name in alignment.model.outputs)
        facts = alignment.network.facts
        found.report(
            "E700",
            f"`{alignment.name}` does not say where the answer is read",
            alignment.span,
            help=f"write `{alignment.model.outputs[0] if alignment.model.outputs else 'answer'} @ {facts.readout}` (the outputs are {outputs})",
        )
    number = next((readout for readout in readouts if readout.metric is not None), None)
    if number is not None and len(readouts) > 1:
        help = "make an alignment for each, `align other : this { … }`"
        _refuse_number(number, "it is read beside other outputs", help, alignment.span, found)
        return []
    unstated = next((readout for readout in readouts if not readout.stated), None)
    if unstated is not None and len(readouts) > 1:
        help = "make an alignment for each, `align other : this { … }`"
        _refuse_unstated(unstated, "it is read beside other outputs", help, alignment.span, found)
        return []
    return readouts


def _tokens(network: NetworkRef, tokenizers: Tokenizers, found: Diagnostics) -> Tokens | None:
    """The tokenizer of a network, where it can be read."""
    try:
        return tokenizers(network)
    except SpecError as error:
        found.extend(error.diagnostics)
        return None
