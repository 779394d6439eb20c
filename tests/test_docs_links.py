"""Links of the pages as they lie: on a forge and in an installed package, a link leads to a file that is there, and to a heading of it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "docs" / "llms.txt",
]


def prose(path: Path) -> str:
    """A page without its code."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*$|`[^`\n]*`", "", text, flags=re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor that a forge gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@cache
def anchors(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def broken(path: Path) -> list[str]:
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            found.append(target)
    return found


def test_every_link_leads_somewhere() -> None:
    assert sum(prose(path).count("](") for path in PAGES) > 500
    assert {str(path.relative_to(ROOT)): links for path in PAGES if (links := broken(path))} == {}


@pytest.mark.parametrize("link", ["nowhere.md", "language.md#nowhere", "#nowhere"])
def test_a_broken_link_is_found(link: str, tmp_path: Path) -> None:
    (tmp_path / "language.md").write_text("# The language\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n[a](language.md#the-language), [b](#a-page) and [c]({link})\n", encoding="utf-8")
    assert broken(page) == [link]


def test_llms_lists_every_page() -> None:
    """With a sentence that is one: no heading, no table."""
    text = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} | {"notebook.ipynb", "gallery/index.md"}
    assert sorted(page for page in pages if f"({page}): " not in text) == []
    assert not [
        line for line in text.splitlines() if "): #" in line or "): |" in line or "](" in line.partition("): ")[2]
    ]
