"""The gallery: a page for each spec of the repository, with the findings that its header states and the figures of its run.

``docs/generate.py`` writes the pages. ``python docs/gallery.py NAME…`` runs specs and writes their figures anew; it needs the
extra `report`, and minutes for those of a pretrained network. ``NAME=RESULTS`` takes results that were kept in place of a run, and
without a name all are run that have no figure. A test that asks for one number of one cell has nothing to draw.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent
SPECS = DOCS.parent / "specs"
GALLERY = DOCS / "gallery"
FIGURES = GALLERY / "figures"
#: Figures that a page shows at most.
MOST_FIGURES = 4


@dataclass(frozen=True)
class Study:
    """A spec with a header: the question, and what was found."""

    path: Path
    question: str
    found: str
    code: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        words = self.name.replace("_", " ")
        for short in ("ioi", "lora", "mcqa", "sae", "das", "mlp"):
            words = re.sub(rf"\b{short}\b", {"lora": "LoRA"}.get(short, short.upper()), words)
        return words[0].upper() + words[1:]

    @property
    def networks(self) -> str:
        """Its networks, also those of specs that it imports from."""
        return ", ".join(f"`{one}`" for one in dict.fromkeys(networks_of(self.path)))

    @property
    def source(self) -> str:
        """The spec from the page of the study."""
        return f"../../../specs/{self.path.relative_to(SPECS).as_posix()}"

    @property
    def figures(self) -> list[Path]:
        return sorted(FIGURES.glob(f"{self.name}--*.svg"))[:MOST_FIGURES]


def networks_of(path: Path) -> list[str]:
    """What the networks of a spec are made from."""
    text = path.read_text(encoding="utf-8")
    found = [" ".join(one.split()) for one in re.findall(r"= ((?:zoo|hf)\(\s*\"[^\"]+\")", text)]
    found = [f"{one})" for one in found]
    found += [f'torch("{one}")' for one in re.findall(r"= torch\(\s*\"([^\"]+)\"", text)]
    found += ["train(…)"] if "= train(" in text else []
    for name in re.findall(r"^from \"([^\"]+\.causal)\"", text, re.MULTILINE):
        found += networks_of(path.parent / name)
    return found


def studies() -> list[Study]:
    """Every spec with tests and a header: the studies first, then those that come with the package."""
    found = []
    for path in (*sorted((SPECS / "studies").glob("*.causal")), *sorted(SPECS.glob("*.causal"))):
        text = path.read_text(encoding="utf-8")
        header = re.match(r"(?:#.*\n)+", text)
        if header is None or not re.search(r"^test ", text, re.MULTILINE):
            continue
        lines = [line.removeprefix("#").removeprefix(" ").rstrip() for line in header[0].splitlines()]
        told = "\n".join(lines).strip()
        question, _, rest = told.partition("\n\n")
        at = re.search(r"(?:^|(?<=[.?] ))Found\b", question, re.MULTILINE)
        if at is not None:
            question, rest = question[: at.start()].strip(), f"{question[at.start() :]}\n\n{rest}".strip()
        found.append(Study(path, " ".join(question.split()), rest, text[header.end() :].strip() + "\n"))
    return found


def as_list(text: str) -> str:
    """What a header says, as Markdown: a line that is indented by two begins a point, one that is indented further goes on with it."""
    parts: list[str] = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        words = line.strip()
        if not words:
            parts.append("")
        elif indent == 2:
            if parts and parts[-1] and not parts[-1].startswith("- "):
                parts.append("")
            parts.append(f"- {words}")
        elif parts and parts[-1] and (indent > 2 or not parts[-1].startswith("- ")):
            parts[-1] += f" {words}"
        else:
            if parts and parts[-1]:
                parts.append("")
            parts.append(words)
    return "\n".join(parts)


def page_of(study: Study) -> str:
    """The page of a study."""
    parts = [f"# {study.title}", study.question]
    if study.found:
        parts += ["## Findings", as_list(study.found)]
    if study.figures:
        parts.append("## Figures")
        for figure in study.figures:
            test, _, score = figure.stem.partition("--")[2].rpartition("-")
            what = f"the scores of the test `{test}`" if score == "scores" else f"`{score}` of the test `{test}`"
            parts.append(f"![{what.replace('`', '')}](../figures/{figure.name})\n\nFigure: {what}.")
    report = GALLERY / "reports" / f"{study.name}.html"
    if report.exists():
        parts += [
            "## Report",
            f"[The results of a run as a page](../reports/{report.name}), as `run --html` writes it.",
        ]
    parts += ["## The spec", f"[{study.path.relative_to(SPECS.parent).as_posix()}]({study.source})"]
    parts.append(f"```causal\n{study.code}```")
    return "\n\n".join(parts) + "\n"


def index() -> str:
    """The page that lists all."""
    found = studies()
    rows = [f"| [{s.title}](studies/{s.name}.md) | {first_sentence(s.question)} | {s.networks} |" for s in found]
    drawn = sum(1 for study in found if study.figures)
    figures = f"{'All' if drawn == len(found) else f'{drawn} of {len(found)}'} have figures of a run."
    left = [f"[{study.title}](studies/{study.name}.md)" for study in found if not study.figures]
    if left:
        figures += f" Not drawn yet: {', '.join(left)}; `python docs/gallery.py NAME` runs a study and draws it."
    parts = [
        "# Gallery",
        f"Each page has a question, what was found as the header of its spec states it, and the spec. {figures} "
        "[The specs](../../specs/equality.causal) are run as they are: `causal-dsl run specs/equality.causal --html report.html` writes a page of results.",
        "| study | asks | networks |\n|---|---|---|\n" + "\n".join(rows),
    ]
    reports = sorted((GALLERY / "reports").glob("*.html"))
    if reports:
        listed = "\n".join(f"- [{one.stem}](reports/{one.name})" for one in reports)
        parts += ["## Reports", "Pages as `run --html` writes them:", listed]
    return "\n\n".join(parts) + "\n"


def first_sentence(text: str) -> str:
    """Up to the first question mark or full stop that ends a sentence; a quotation is not cut."""
    first = re.split(r"(?<=[.?])\s+(?=[A-Z])", text)[0]
    return (text if first.count('"') % 2 else first).replace("|", "\\|")


def pages() -> dict[Path, str]:
    """All pages of the gallery, by their files."""
    return {GALLERY / "index.md": index(), **{GALLERY / "studies" / f"{s.name}.md": page_of(s) for s in studies()}}


def write_figures(names: list[str]) -> None:
    """Run some of the specs, and keep the figures of their runs."""
    sys.path.insert(0, str(DOCS.parent))  # the checkout that it stands in, and no installed package
    import vl_convert

    import causal_dsl as cd
    from causal_dsl.report.figures.charts import chart
    from causal_dsl.report.figures.figure_files import figures

    FIGURES.mkdir(parents=True, exist_ok=True)
    kept = dict(name.partition("=")[::2] for name in names)
    for study in studies():
        if study.name in kept or (not kept and not study.figures):
            if kept.get(study.name):
                results = cd.read_results(kept[study.name])
            else:
                results = cd.run(study.path, cd.Options(trust=True, progress=True))
            for old in FIGURES.glob(f"{study.name}--*.svg"):
                old.unlink()
            every = figures(results)
            sweeps = {name: picture for name, picture in every.items() if not name.endswith("-scores")}
            families = tuple(f"{one.name}-" for spec in results.specs for one in spec.families)
            shown = sorted((sweeps or every).items(), key=lambda one: not one[0].startswith(families))
            for name, picture in shown[:MOST_FIGURES]:
                drawn = vl_convert.vegalite_to_svg(chart(picture).to_dict())
                (FIGURES / f"{study.name}--{name}.svg").write_text(drawn, encoding="utf-8")
                print(study.name, name)


if __name__ == "__main__":
    write_figures(sys.argv[1:])
