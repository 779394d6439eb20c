"""The report as text: a golden copy, the width of terminals, and that nothing is told by colour alone."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.report.heatmap import ColourScale, axes, mark, scale
from causal_dsl.report.progress import Progress, TerminalProgress
from causal_dsl.report.text import print_results, text
from causal_dsl.report.which_progress import progress
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import show, show_share
from causal_dsl.score.results import CellResult, ExpectationResult, Measured, ReportResult, TestResult
from causal_dsl.score.spec_results import Results, SpecResult
from causal_dsl.score.unmapped import Taken, Unclaimed

GOLDEN = Path(__file__).with_name("golden.txt")
CEILINGS = {"noop": Ceiling(0.25, True, 16), "source": Ceiling(0.5, True, 16), "output_only": Ceiling(0.5, True, 16)}
POSITIONS = ("first", "subject", "place", "thing", '"gave"', "indirect_object", "last")


def estimate(value: float, n: int = 256) -> Estimate:
    return Estimate(value, max(0.0, value - 0.05), min(1.0, value + 0.05), n, "bootstrap")


def cell(parameters: dict, value: float) -> CellResult:
    code = "supported" if value > 0.55 else "contradicted" if value < 0.45 else "inconclusive"
    return CellResult(
        parameters, {"accuracy": estimate(1.0), "iia": estimate(value)}, (Finding(code, f"It is {value}."),)
    )


def sweep(layers: int, positions: tuple[str, ...], name: str = "layers", **more: object) -> TestResult:
    cells = []
    for layer in range(layers):
        for i, position in enumerate(positions):
            value = (layer + 1) / layers if position == "last" else 0.3 + i / 100
            cells.append(cell({"l": layer, "p": position}, round(value, 4)))
    given = {"asked": ("iia",), "units": {"iia": "share", "accuracy": "share"}, "parameters": ("l", "p"), **more}
    return TestResult(name, 12, 256, 256, CEILINGS, tuple(cells), seconds=1.25, **given)


def whole() -> Results:
    single = TestResult(
        "left_is_localised",
        31,
        512,
        412,
        {**CEILINGS, "output_only": Ceiling(0.5, False, 512)},
        (
            CellResult(
                {},
                {
                    "accuracy": Estimate(1.0, 0.97, 1.0, 412, "rule of three"),
                    "iia": estimate(0.9996, 412),
                    "kl": Estimate(None),
                    "max(kl)": Estimate(2.5, n=412),
                },
                (
                    Finding(
                        "supported",
                        "iia is 0.9996 [0.950, 1.000] over 412 pairs, above 0.500, the most that a rule "
                        "seeing only the answers of base and source can score.",
                    ),
                ),
            ),
        ),
        (
            ExpectationResult(
                "iia >= 95%", 34, 0.9996, True, (Measured("iia >= 95%", "iia", estimate(0.9996, 412), 0.95, True),)
            ),
            ExpectationResult("kl <= 0.05 nats", 35, None, False, reason="`kl` is undefined: it comes to no number"),
        ),
        findings=(Finding("filtered", "Scores are over the 412 of 512 (80.5%) pairs that the network solves."),),
        ceilings_kept={**CEILINGS, "output_only": Ceiling(0.5, False, 412)},
    )
    failing = ExpectationResult(
        "iia >= 50%",
        40,
        0.3,
        False,
        (Measured("iia >= 50%", "iia", estimate(0.3), 0.5, False, {"l": 0, "p": "first"}),),
    )
    bars = TestResult(
        "one_parameter",
        50,
        256,
        256,
        CEILINGS,
        tuple(cell({"l": i}, i / 5) for i in range(6)),
        parameters=("l",),
        units={"iia": "share"},
        exhaustive=True,
        reports=(
            ReportResult("argmax(iia)", 51, Estimate(None), {"l": 5}),
            ReportResult("max(iia)", 52, estimate(1.0)),
        ),
    )
    signed = TestResult(
        "signed",
        60,
        256,
        256,
        {},
        tuple(
            CellResult({"l": i}, {"accuracy": estimate(1.0), "d": Estimate(float(i - 2), i - 3, i - 1, 9)})
            for i in range(5)
        ),
        parameters=("l",),
        asked=("d",),
        units={"d": "logits"},
    )
    tests = (single, sweep(4, ("subject", "last"), expectations=(failing,)), bars, signed)
    return Results((SpecResult("specs/ioi.causal", "digest", tests),))


def test_golden() -> None:
    assert text(whole(), width=80) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_fits_the_terminal(width: int) -> None:
    results = Results((SpecResult("ioi.causal", "", (sweep(30, POSITIONS), *whole().tests)),))
    lines = text(results, width).splitlines()
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_number_of_a_large_map_is_there(width: int) -> None:
    shown = text(Results((SpecResult("ioi.causal", "", (sweep(30, POSITIONS),)),)), width)
    rows = [line for line in shown.splitlines() if re.match(r" *\d+( +\d\.\d{3}[+ -])", line + " ")]
    numbers = [number for line in rows for number in re.findall(r"\d\.\d{3}", line)]
    assert len(numbers) == 30 * len(POSITIONS)
    if width >= 80:
        assert len(rows) == 30


def test_plain_where_it_is_no_terminal() -> None:
    stream = io.StringIO()
    print_results(whole(), Console(file=stream, width=80))
    assert "\x1b" not in stream.getvalue()
    assert not set("─│┌┐└┘├┤━╭╮") & set(stream.getvalue())


def test_a_terminal_without_unicode() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_results(whole(), Console(file=stream, width=80))
    stream.flush()
    assert b"####" in raw.getvalue()


def test_colours_are_anchored_at_the_ceiling_and_at_1() -> None:
    colours = scale([estimate(0.2), estimate(0.9)], share=True, ceiling=0.5)
    assert colours == ColourScale(0.0, 0.5, 1.0)
    assert len({colours.style(value) for value in (0.0, 0.25, 0.5, 0.75, 1.0)}) == 5
    assert colours.style(0.5).endswith("#ececec")
    assert colours.style(None) == colours.style(float("nan")) == ""
    assert scale([Estimate(-1.0), Estimate(3.0)], share=False, ceiling=None) == ColourScale(-3.0, 0.0, 3.0)
    assert scale([Estimate(2.0), Estimate(3.0)], share=False, ceiling=None) == ColourScale(2.0, 2.0, 3.0)
    assert scale([], share=False, ceiling=None).style(0.0)


def test_coloured_text_says_the_same() -> None:
    stream = io.StringIO()
    print_results(whole(), Console(file=stream, width=80, force_terminal=True, color_system="truecolor"))
    bare = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert "\x1b[" in stream.getvalue()
    legend = [line for line in bare.splitlines() if " 0.000 " in line and "ceiling 0.500" in line]
    assert len(legend) == 1
    kept = [line.rstrip() for line in bare.splitlines() if line not in legend]
    plain = [line for line in text(whole(), 80).splitlines() if not line.startswith("  + interval")]
    assert kept == plain


def test_marks_and_figures() -> None:
    assert mark(Estimate(0.9, 0.8, 1.0), 0.5) == "+"
    assert mark(Estimate(0.2, 0.1, 0.3), 0.5) == "-"
    assert mark(Estimate(0.5, 0.4, 0.6), 0.5) == " "
    assert mark(Estimate(0.9, method="exact"), 0.5) == "+"
    assert mark(Estimate(0.9), 0.5) == mark(Estimate(None), 0.5) == " "


#: Numbers that are easily shown as others.
NUMBERS = (0.0, 1.0, 2.1e-18, 0.000173, -0.00012, 1e-9, 0.9995, 0.99996, -1.234, -12.345, 999.99, -1234.5, 1e12)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_map_rounds_as_the_tables_do(width: int) -> None:
    cells = tuple(cell({"l": i, "p": p}, 0.0) for i in range(len(NUMBERS)) for p in "abc")
    cells = tuple(replace(one, scores={"js": Estimate(NUMBERS[one.cell["l"]], n=9)}) for one in cells)
    test = TestResult("t", 1, 9, 9, {}, cells, asked=("js",), parameters=("l", "p"))
    shown = text(Results((SpecResult("s", "", (test,)),)), width)
    found: dict[int, list[str]] = {}
    for line in shown.splitlines():
        words = line.split()
        if words and all(re.fullmatch(r"[-+.e0-9]+", word) for word in words):
            found.setdefault(int(words[0]), []).extend(words[1:])
    assert {i: {show(value)} for i, value in enumerate(NUMBERS)} == {i: set(words) for i, words in found.items()}
    assert all(len(words) == 3 for words in found.values())


def test_percent_is_never_all_or_none_unless_it_is() -> None:
    assert show_share(4999, 5000) == "4999 of 5000 (99.98%)"
    assert show_share(1, 10**6) == "1 of 1000000 (0.0001%)"
    assert show_share(5, 5) == "5 of 5 (100.0%)" and show_share(0, 5) == "0 of 5 (0.0%)"


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("told", ["layer[1].resid_post[first and 2 and 3 and 4 and 5 and 6 and last]", "x" * 150])
def test_long_places_cut_no_numbers(told: str, width: int) -> None:
    moved = Estimate(0.25, 0.125, 0.5, 12, "bootstrap")
    taken = (Taken((0,), told, Estimate(None)), Taken((0, 1), told, moved))
    beside = Unclaimed("layer[1].out", ("left",), ("a", "b"), "decided", False, "y", taken, 0.0, (True, True), 0.0)
    one = CellResult({}, {"iia": estimate(0.5), "js of " + told: estimate(0.25)}, unclaimed=(beside,))
    shown = text(Results((SpecResult("s", "", (TestResult("t", 1, 9, 9, {}, (one,)),)),)), width)
    assert "…" not in shown and all(len(line) <= width for line in shown.splitlines())
    for whole_word in (
        "beside it",
        "moved",
        "interval",
        "pairs",
        "undefined",
        "[0.125, 0.500]",
        "95% interval",
        "value",
    ):
        assert whole_word in shown


def test_rows_are_layers_whatever_the_order() -> None:
    cells = [cell({"p": p, "l": i}, 0.5) for p in ("a", "b", "c", "d", "e") for i in range(3)]
    assert axes(cells, ("p", "l")) == ("l", "p")


def test_three_parameters_are_a_map_for_each_of_the_others() -> None:
    cells = tuple(cell({"l": i, "p": p, "h": h}, 0.5) for i in range(4) for p in ("a", "b") for h in range(2))
    test = TestResult("t", 1, 9, 9, {}, cells, parameters=("l", "p", "h"), units={"iia": "share"})
    shown = text(Results((SpecResult("s", "", (test,)),)))
    assert "h=0" in shown
    assert "h=1" in shown
    many = tuple(cell({"l": i, "p": p, "h": h}, i / 9) for i in range(9) for p in range(8) for h in range(9))
    test = TestResult("t", 1, 9, 9, {}, many, parameters=("l", "p", "h"), units={"iia": "share"})
    assert "and 636 more cells" in text(Results((SpecResult("s", "", (test,)),)))


def test_empty_things() -> None:
    assert "0 tests" in text(Results(()))
    assert "no cells" in text(Results((SpecResult("s", "", (TestResult("t", 1, 0, 0, {}, ()),)),)))
    undefined = tuple(CellResult({"l": i}, {"accuracy": Estimate(None), "iia": Estimate(None)}) for i in range(3))
    test = TestResult("t", 1, 0, 0, CEILINGS, undefined, parameters=("l",), units={"iia": "share"})
    assert "undefined in every cell" in text(Results((SpecResult("s", "", (test,)),)))


def test_brackets_of_a_spec_are_no_markup() -> None:
    test = TestResult(
        "t", 1, 1, 1, {}, (CellResult({"p": "[red]"}, {"accuracy": estimate(0.5)}, (Finding("x", "[bold]y"),)),)
    )
    shown = text(Results((SpecResult("[s]", "", (test,)),)))
    assert "[bold]y" in shown
    assert "[s]" in shown


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    for bar in (progress(), progress(stream)):
        assert type(bar) is Progress
        with bar:
            bar.begin("sweep", 10)
            bar.advance(3)
            bar.say("layer 3")
    assert stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    bar = progress(stream)
    assert isinstance(bar, TerminalProgress)
    with bar:
        bar.begin("left[0]", 10)
        bar.advance(10)
        bar.begin("right", 2)
        bar.say("right, again")
    assert stream.getvalue()


@pytest.mark.parametrize("width", [24, 40, 60])
def test_no_head_and_no_number_is_cut(width: int) -> None:
    """Names of parameters and scores stand whole, over lines where they must, in bars, maps and tables."""
    long, score = "a_parameter_with_quite_a_long_name", "recovered(logit(answer) - logit(subject))"
    cells = tuple(
        CellResult({long: f"position_{i}_of_a_long_prompt"}, {"accuracy": estimate(1.0), score: estimate(0.5 + i / 50)})
        for i in range(2)
    )
    bars = TestResult("t", 1, 9, 9, {}, cells, parameters=(long,), asked=(score,), units={score: "share"})
    alone = TestResult("one", 2, 9, 9, {}, (CellResult({}, {score: estimate(123.456), "iia": estimate(0.25)}),))
    shown = text(Results((SpecResult("s.causal", "", (bars, alone)),)), width)
    whole_text = re.sub(r"\s", "", shown)
    for name in (long, score, "position_0_of_a_long_prompt", "position_1_of_a_long_prompt", "95%interval"):
        assert re.sub(r"\s", "", name) in whole_text, name
    assert "123.456" in shown and "…" not in shown


def test_bars_begin_at_zero_and_colours_at_the_ceiling() -> None:
    """0.50 beside 0.52 are bars of nearly one length; a score at the ceiling is grey, above it blue, below it brown."""
    cells = tuple(CellResult({"l": i}, {"iia": estimate(v)}, top=0.5) for i, v in enumerate((0.50, 0.52)))
    shown = text(
        Results(
            (
                SpecResult(
                    "s", "", (TestResult("t", 1, 9, 9, CEILINGS, cells, parameters=("l",), units={"iia": "share"}),)
                ),
            )
        )
    )
    axis, *bars = [line for line in shown.splitlines() if re.match(r" +[l01]  ", line)]
    assert "0.000" in axis and "1.000" in axis
    lengths = [line.count("█") + line.count("┃") for line in bars]
    assert 0 < lengths[1] - lengths[0] + 1 <= 2 and min(lengths) > 15
    for ceiling in (0.3, 0.82, 1.0):
        colours = scale([estimate(0.9)], True, ceiling)
        assert colours.style(ceiling).endswith("#ececec") and not colours.style(0.1).endswith("#ececec")
        distance = [colours.style(ceiling - step) for step in (0.0, 0.1, 0.2)]
        assert len(set(distance)) == 3
