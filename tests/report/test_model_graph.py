"""The graph of a causal model on a page: no edge passes under a box, however far down it leads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from causal_dsl.tools.cli import main
from tests.equality import relu

PAGES = Path(__file__).parents[2] / "docs" / "gallery" / "reports"
DEEP = """
  left  := a == b
  right := c == d
  both_of_them := left == right
  again := both_of_them == left
  once_more := again == (a == b)
  output same := (once_more == again) == (again == right)
"""
NUMBER = r"(-?[\d.]+)"


def check_graph(page: str) -> int:
    """Points along each edge lie in no box; gives how many edges there are."""
    svg = page[page.index("<svg", page.index('class="chart graph')) :]
    svg = svg[: svg.index("</svg>")]
    boxes = [
        tuple(map(float, found.groups()))
        for found in re.finditer(rf'<rect x="{NUMBER}" y="{NUMBER}" width="{NUMBER}" height="{NUMBER}"', svg)
    ]
    edges = re.findall(r'<path d="M([^"]*)" fill="none"', svg)
    t = np.linspace(0, 1, 50)[:, None]
    for edge in edges:
        curve, _, down = edge.partition("V")
        a, b, c, d = np.array([float(one) for one in re.findall(NUMBER, curve)]).reshape(4, 2)
        points = a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
        if down:
            points = np.concatenate([points, d + (np.array([d[0], float(down)]) - d) * t])
        for x, y, wide, high in boxes:
            inside = (points > (x, y)) & (points < (x + wide, y + high))
            within = inside.all(axis=1) & (np.abs(points[:, 1] - y) > 0.2) & (np.abs(points[:, 1] - y - high) > 0.2)
            assert not within.any(), edge
    return len(edges)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.html")), ids=lambda page: page.stem)
def test_edges_of_the_gallery_pass_under_no_box(page: Path) -> None:
    assert check_graph(page.read_text(encoding="utf-8")) >= 6


@pytest.mark.tools
def test_edges_pass_under_no_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    test = "test t on halves { base, source ~ equality(n=16, seed=0) do(left <- source) report iia }"
    text = relu("left @ layer[1].out[0:2]", tests=test)
    start, end = text.index("  left  :="), text.index("}\n\nnetwork")
    Path("s.causal").write_text(text[:start] + DEEP.strip("\n") + "\n" + text[end:], encoding="utf-8")
    assert main(["run", "s.causal", "--html", "page.html"]) == 0
    assert check_graph(Path("page.html").read_text(encoding="utf-8")) >= 14
