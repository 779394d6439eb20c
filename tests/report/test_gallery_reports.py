"""The pages of `docs/gallery/reports/` show what their specs give: they are run again, and what is read on the pages is compared."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "reports.py"))
#: What runs each page: that of the fits trains ten networks, and that of the real model runs it for a minute and a half.
MARKS = {
    "equality_mlp_das": (pytest.mark.tools, pytest.mark.nightly),
    "ioi": (pytest.mark.real, pytest.mark.nightly),
}
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*(?:e[-+]\d+)?%?")


def read(html: str) -> str:
    """What is read on a page: its text, without style, script and charts."""
    html = re.sub(r"<(style|script|svg).*?</\1>", "", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_each_page_is_there_and_no_other() -> None:
    assert {path.stem for path in (ROOT / "docs" / "gallery" / "reports").glob("*.html")} == set(SCRIPT["PAGES"])
    for path in (ROOT / "docs" / "gallery" / "reports").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 1e6 and "/root" not in text and "/home/" not in text
        assert (ROOT / SCRIPT["PAGES"][path.stem][0]).read_text(encoding="utf-8").splitlines()[0].strip("# ")[
            :40
        ] in read(text)


def test_the_gallery_tells_how_many_have_figures_and_leads_to_each_report() -> None:
    """What the index says of figures is so, and each report is reached from the index and from the page of its study."""
    gallery = ROOT / "docs" / "gallery"
    index = (gallery / "index.md").read_text(encoding="utf-8")
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (gallery / "studies").glob("*.md")}
    drawn = sum(1 for text in pages.values() if "](../figures/" in text)
    told = "All" if drawn == len(pages) else f"{drawn} of {len(pages)}"
    assert f"{told} have figures of a run" in index
    for name in SCRIPT["PAGES"]:
        assert f"](reports/{name}.html)" in index and f"](../reports/{name}.html)" in pages[name]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, pytest.mark.tools)) for name in SCRIPT["PAGES"]],
)
def test_a_page_shows_what_its_spec_gives(name: str) -> None:
    """Words as they are; numbers nearly, since torch rounds otherwise on other machines."""
    pytest.importorskip("altair", reason="pages are drawn by Altair: pip install 'causal-dsl[report]'")
    kept, now = (
        read(text)
        for text in (
            (ROOT / "docs" / "gallery" / "reports" / f"{name}.html").read_text(encoding="utf-8"),
            SCRIPT["made"](name),
        )
    )
    assert _NUMBER.sub("#", kept) == _NUMBER.sub("#", now), "run docs/reports.py"
    for one, other in zip(_NUMBER.findall(kept), _NUMBER.findall(now), strict=True):
        a, b = (float(number.rstrip("%").replace(",", "")) for number in (one, other))
        assert a == pytest.approx(b, rel=0.05, abs=0.05), f"{one} is {other} now: run docs/reports.py"
