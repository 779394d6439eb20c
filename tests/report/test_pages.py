"""The HTML report in a real browser."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl.report.html.fragments import scores
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.verdict import settled
from tests.equality import relu
from tests.report.shared_results import HOSTILE, ONE, results

pytestmark = pytest.mark.tools
WIDTHS = [400, 1000, 1600]

#: Texts that stand out too little: of each element with a text of its own its contrast with what is behind it (WCAG 2).
CONTRAST = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const faint = [];
  for (const e of document.querySelectorAll("body *")) {
    if (["SCRIPT", "STYLE", "TITLE"].includes(e.tagName.toUpperCase()) || !e.getClientRects().length) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const svg = e instanceof SVGElement;
    const fill = svg ? e.getAttribute("fill") : "";
    if (svg && (["#fff", "#000", "#444444"].includes(fill) || e.closest(".circuit"))) continue;
    const ink = parse(svg ? getComputedStyle(e).fill : getComputedStyle(e).color);
    const paper = behind(svg ? (e.previousElementSibling?.tagName === "rect" ? null : e.closest("svg").parentElement) : e);
    if (svg && e.previousElementSibling?.tagName === "rect") paper.splice(0, 3, ...parse(getComputedStyle(e.previousElementSibling).fill));
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) faint.push([e.tagName, e.className.baseVal ?? e.className, e.textContent.slice(0, 40), ratio.toFixed(2)].join(" "));
  }
  return faint;
}"""


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    from tests.report.browser import browser

    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from causal_dsl.report.html.results_page import results_page

    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(results_page(results()), encoding="utf-8")
    return path


def read(file: Path) -> str:
    """What is read on a page."""
    return re.sub(r"<[^>]+>", " ", file.read_text(encoding="utf-8"))


def shown(opened: Any, file: Path, **options: Any) -> Any:
    from tests.report.browser import shown

    return shown(opened, file, **options)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_the_screen_and_stands_out(opened: Any, file: Path, width: int, scheme: str) -> None:
    with shown(opened, file, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []
        cut = page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, p, li, figcaption')].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent.slice(0, 60))"
        )
        assert cut == []


def test_imported_text_is_in_a_fold(opened: Any, tmp_path: Path) -> None:
    """The page of a spec that imports its hypothesis has the text of it, also from results that were kept."""
    from causal_dsl.tools.cli import main

    whole = relu("left @ layer[1].out[2:4]", tests=ONE)
    head, test = whole[: whole.index("test one")], ONE
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "hypothesis.causal").write_text(head)
    (tmp_path / "main.causal").write_text(f'from "parts/hypothesis.causal" import equality, halves\n{test}')
    found = cd.run(tmp_path / "main.causal")
    assert found.specs[0].imports == {"parts/hypothesis.causal": head}
    text = "\0".join((found.specs[0].text, *found.specs[0].imports.values()))
    assert hashlib.sha256(text.encode()).hexdigest() == found.specs[0].digest
    (tmp_path / "results.json").write_text(json.dumps(found.specs[0].to_json()))
    assert cd.read_results(tmp_path / "results.json").specs[0].imports == found.specs[0].imports
    assert main(["report", str(tmp_path / "results.json"), "--html", str(tmp_path / "page.html")]) == 0
    with shown(opened, tmp_path / "page.html", viewport={"width": 400, "height": 900}) as page:
        fold = page.locator("details.imported")
        assert "parts/hypothesis.causal" in fold.locator("summary").inner_text()
        assert not fold.locator(".spec").is_visible()
        fold.locator("summary").click()
        shown_lines = fold.locator("td:nth-child(2)").all_inner_texts()
        assert [line.rstrip() for line in shown_lines] == [line.rstrip() for line in head.splitlines()]


def test_a_page_says_by_which_interval_a_verdict_goes(file: Path) -> None:
    text = read(file)
    mapped = results()["mapped"]
    assert "follows from the 95% interval of iia that holds for all cells together" in text
    for cell in mapped.cells:
        assert cell.together is not None and "[{:.3f}, {:.3f}]".format(*cell.together) in text


def test_a_page_says_where_a_finding_lowers_a_verdict() -> None:
    """An interval above the ceiling, and `inconclusive` beside it: the sentence about the interval alone would be false."""
    mapped = results()["mapped"]
    best = max(mapped.cells, key=lambda cell: cell.scores["iia"].value or 0)
    stands = Finding("not_above_controls", "iia 1.000 is not clearly above random subspace.")
    lowered = settled(replace(best, findings=(*best.findings, stands)))
    assert (
        best.verdict and lowered.verdict and (best.verdict.code, lowered.verdict.code) == ("supported", "inconclusive")
    )
    test = replace(mapped, cells=tuple(lowered if cell is best else cell for cell in mapped.cells))
    (_, sentence) = scores(test)
    assert str(sentence).endswith("all cells together; in 1 cell a finding lowers it (`not_above_controls`).")
    (_, sentence) = scores(mapped)
    assert str(sentence).endswith("that holds for all cells together.")


def test_a_grid_tells_what_no_test_writes(tmp_path: Path) -> None:
    """Of two variables that are placed at one token the one that is written alone stands without parentheses."""
    from causal_dsl.report.html.places_grid import places_grids

    test = results()["fails"]
    assert test.setting is not None
    (place, *_) = test.setting.places
    more = replace(test.setting, places=(replace(place, written=True), replace(place, variable="right", written=False)))
    assert "(right)" not in places_grids([test]) and "in parentheses" not in places_grids([test])
    grid = places_grids([replace(test, setting=more)])
    assert f"{place.variable}, (right)" in grid and "in parentheses: placed there" in grid


def test_places_in_two_networks_are_in_two_grids() -> None:
    """Tests of one hypothesis on two networks: whose places a grid shows is said."""
    from causal_dsl.report.html.places_grid import places_grids

    test = results()["fails"]
    other = replace(test, name="other", network="second")
    assert places_grids([test, replace(test, name="other")]).count("<figure") == 1
    found = places_grids([test, other])
    assert found.count("<figure") == 2 and "variables of other are in second" in found


def test_a_page_of_several_specs_says_of_which_each_test_is(file: Path) -> None:
    from causal_dsl.report.html.results_page import results_page

    lead = file.read_text(encoding="utf-8").split("<nav")[0]
    assert lead.count("<td>sweeps.causal</td>") == 3
    spec = results().specs[0]
    test = replace(spec.tests[0], fault="E639", cells=(), cell_count=9, expectations=())
    page = results_page(cd.Results((replace(spec, tests=(test,)),)))
    lead = page.split("<nav")[0]
    assert "not run (E639)" in lead and "interrupted" not in lead and "<td>sweeps.causal</td>" not in lead


def test_a_cell_with_two_findings_of_one_code_is_counted_once() -> None:
    from causal_dsl.report.report_lines import tallied

    test = results()["mapped"]
    twice = tuple(Finding("circuit_like_random", text) for text in ("of one score", "of another"))
    cells = (replace(test.cells[0], findings=twice), *(replace(cell, findings=()) for cell in test.cells[1:]))
    (told,) = tallied(replace(test, cells=cells))
    assert told.text.startswith(f"1 of {len(cells)} cells: l=0, p=a") and told.text.count("l=0") == 1


def test_a_run_without_features_has_no_digest_of_them() -> None:
    from causal_dsl.report.html.results_page import run_facts

    spec = results().specs[0]
    told = dict(run_facts(spec))
    assert spec.identity["features"] and "features" not in told and "key of the run" in told
    other = replace(spec, identity={**spec.identity, "features": "a" * 64})
    assert dict(run_facts(other))["features"] == "SHA-256 " + "a" * 64


@pytest.mark.parametrize("width", [320, 400, 701, 1000])
def test_a_spec_keeps_its_width_beside_many_verdicts(opened: Any, tmp_path: Path, width: int) -> None:
    """The badges of a test with parameters stand below its line on narrow screens, and are seen in full on all."""
    from causal_dsl.report.html.results_page import results_page

    spec = results().specs[0]
    one = spec.tests[0]
    runs = [replace(one, name=f"{one.name}({n})", variant=(("a_long_parameter", n), ("seed", n))) for n in range(5)]
    path = tmp_path / "variants.html"
    path.write_text(results_page(cd.Results((replace(spec, tests=tuple(runs)),))), encoding="utf-8")
    with shown(opened, path, viewport={"width": width, "height": 900}) as page:
        whole, code, badges = page.evaluate(
            "[document.querySelector('.spec').clientWidth,"
            " Math.min(...[...document.querySelectorAll('.spec td:nth-child(2)')].map((e) => e.clientWidth)),"
            " [...document.querySelectorAll('.spec .badge')].map((e) => [e.getBoundingClientRect().right, e.textContent])]"
        )
        assert code > whole / 2
        ground = page.evaluate(
            "[...document.querySelectorAll('.spec, body')].map((e) => getComputedStyle(e).backgroundColor)"
        )
        assert len(set(ground)) == 2  # the panel of the spec is seen
        assert len(badges) > 2 and all(right <= width for right, _ in badges)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_whole_without_javascript(opened: Any, file: Path) -> None:
    """Each number of a figure, and each pair that fails, is in a table; charts are drawn."""
    with shown(opened, file, java_script_enabled=False) as page:
        html = page.content()
    cells = {re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", html, flags=re.S)}
    for test in results():
        for cell in test.cells:
            for score in cell.scores.values():
                assert any(f"{score.value:.3f}" in told for told in cells)
        assert {str(one.pair) for one in test.failures} <= cells
    assert html.count("<svg") >= 3 and "<title>l=0, p=b · iia 1.000" in html


def test_pointing_at_a_cell_of_a_map_tells_all_of_it(opened: Any, file: Path) -> None:
    with shown(opened, file, viewport={"width": 1000, "height": 900}) as page:
        mark = page.locator("#spec-0-test-mapped .chart .mark").nth(1)
        mark.scroll_into_view_if_needed()
        mark.hover()
        tip = page.locator("#tip")
        assert tip.is_visible()
        told = tip.inner_text()
        assert all(part in told for part in ("l=0, p=b", "iia 1.000", "[0.897, 1.000]", "32 pairs", "ceiling 0.625"))
        at = tip.bounding_box()
        assert at is not None and at["x"] >= 0 and at["x"] + at["width"] <= 1000


@pytest.mark.parametrize("width", WIDTHS[:2])
def test_what_a_mark_says_covers_no_mark_of_its_chart(opened: Any, file: Path, width: int) -> None:
    with shown(opened, file, viewport={"width": width, "height": 900}) as page:
        chart = page.locator("#spec-0-test-mapped .chart").first
        marks = chart.locator(".mark")
        chart.scroll_into_view_if_needed()
        for number in (0, marks.count() // 2, marks.count() - 1):
            marks.nth(number).hover()
            tip = page.locator("#tip").bounding_box()
            assert tip is not None and tip["y"] >= 0 and tip["y"] + tip["height"] <= 900
            for mark in marks.all():
                box = mark.bounding_box()
                assert box is not None
                assert tip["y"] + tip["height"] <= box["y"] or box["y"] + box["height"] <= tip["y"]


def test_the_name_of_a_ceiling_is_seen_on_a_narrow_screen(opened: Any, file: Path) -> None:
    with shown(opened, file, viewport={"width": 400, "height": 900}) as page:
        outside = page.evaluate("""() => {
          const told = [...document.querySelectorAll(".chart text")].filter((e) => e.textContent.startsWith("ceiling"));
          const cut = (e) => { const a = e.getBoundingClientRect(), b = e.closest(".chart").getBoundingClientRect();
            return a.left < b.left || a.right > b.right; };
          return [told.length, told.filter(cut).length];
        }""")
        assert outside[0] >= 1 and outside[1] == 0, outside


def test_a_finger_reads_a_mark(opened: Any, file: Path) -> None:
    """What was touched stays told once the finger is lifted, until something else is touched."""
    with shown(opened, file, viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True) as page:
        page.locator("#spec-0-test-mapped .chart .mark").nth(1).tap()
        page.wait_for_timeout(200)
        assert "l=0, p=b" in page.locator("#tip").inner_text()
        page.locator("h1").tap()
        assert not page.locator("#tip").is_visible()


def test_all_of_it_is_reached_by_the_keyboard(opened: Any, file: Path) -> None:
    with shown(opened, file, viewport={"width": 1000, "height": 900}) as page:
        every = page.locator("a, button, summary, input, [tabindex='0']")
        wanted = page.evaluate(
            "[...document.querySelectorAll(\"a, button, summary, input, [tabindex='0']\")].filter((e) => e.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true})).length"
        )
        assert every.count() > 40
        reached = set()
        for _ in range(wanted + 5):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
        assert len(reached) >= wanted
        page.locator("#spec-0-test-mapped .chart").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert "l=0, p=b" in page.locator("#tip").inner_text()
        told = page.locator("#tip")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowDown")
        first = told.inner_text()
        page.keyboard.press("ArrowUp")
        assert (
            "p=b" in first and "p=b" in told.inner_text() and told.inner_text() != first
        )  # a layer on, at the same token
        page.keyboard.press("Home")
        assert "p=a" in told.inner_text()
        page.keyboard.press("End")
        assert "p=a" not in told.inner_text() and "p=b" not in told.inner_text()
        page.keyboard.press("Escape")
        assert not told.is_visible()


def test_pairs_that_fail_are_sorted_and_filtered(opened: Any, file: Path) -> None:
    test = results()["fails"]
    with shown(opened, file) as page:
        part = page.locator("#spec-0-test-fails .failures")
        part.locator("summary").click()
        rows = part.locator("tbody tr:not([hidden])")
        assert rows.count() == len(test.failures)
        head = part.locator("th", has_text="right answer")
        for way, reverse in (("ascending", False), ("descending", True)):
            head.locator("button").press("Enter")
            assert head.get_attribute("aria-sort") == way
            column = [row.locator("td").nth(3).inner_text() for row in rows.all()]
            assert column == sorted(column, reverse=reverse)
        part.locator("th", has_text="pair").locator("button").click()
        numbers = [int(row.locator("td").nth(0).inner_text()) for row in rows.all()]
        assert numbers == sorted(one.pair for one in test.failures)
        part.locator("input").fill("cross true")
        kept = [
            one
            for one in test.failures
            if "cross" in "".join(one.inputs.values()) and "true" in one.wanted + one.said + one.before
        ]
        assert rows.count() == len(kept) < len(test.failures)
        assert part.locator("output").inner_text() == f"{len(kept)} of {len(test.failures)} shown"


def test_no_text_becomes_markup(opened: Any, file: Path) -> None:
    with shown(opened, file) as page:
        assert page.evaluate("window.hacked") is None
        assert page.locator("img").count() == 0 and page.locator("script").count() == 1
        text = page.locator("body").text_content() or ""
        for value in HOSTILE[:2]:
            assert value in text
        assert "\\u202eright" in text and "\\x07&amp;{{7*7}}" in text
        assert "\u202e" not in page.content() and "\x07" not in page.content()
        assert "<b>hostile</b>.causal" in text


def test_a_page_of_thirty_charts_is_small(opened: Any, tmp_path: Path) -> None:
    from causal_dsl.report.html.results_page import results_page

    spec = results().specs[0]
    mapped = spec.tests[0]
    cells = tuple(
        replace(one, cell={"l": layer, "p": f"p{at}"})
        for layer in range(20)
        for at in range(4)
        for one in mapped.cells[:1]
    )
    tests = tuple(replace(mapped, name=f"t{number}", cells=cells, failures=(), setting=None) for number in range(30))
    path = tmp_path / "many.html"
    path.write_text(results_page(cd.Results((replace(spec, tests=tests),))), encoding="utf-8")
    with shown(opened, path) as page:
        assert page.locator(".chart svg").count() >= 30
    assert path.stat().st_size < 1.5e6


def test_it_is_printed_whole(opened: Any, file: Path, tmp_path: Path) -> None:
    for script in (False, True):
        with shown(opened, file, java_script_enabled=script) as page:
            inner = page.locator(".failures table").first
            seen = "e => e.checkVisibility({contentVisibilityAuto: true})"
            assert not inner.evaluate(seen)
            page.emulate_media(media="print")
            assert inner.evaluate(seen)
    with shown(opened, file) as page:
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        assert page.evaluate(CONTRAST) == []
        assert page.pdf(path=tmp_path / "report.pdf").startswith(b"%PDF")
