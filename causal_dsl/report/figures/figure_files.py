"""Figures as files: SVG, PDF and PNG of each picture, and its numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from causal_dsl.report.figures.charts import chart, charting
from causal_dsl.report.figures.family_pictures import family_pictures
from causal_dsl.report.figures.pictures import Picture, pictures
from causal_dsl.score.spec_results import Results
from causal_dsl.store.files import write_atomic

#: Dots for each point of a PNG: 300 an inch at the size that the figure has in the PDF.
_SCALE = 300 / 72


def figures(results: Results) -> dict[str, Picture]:
    """The pictures of all tests and families by the names of their files, which are all different."""
    found: dict[str, Picture] = {}
    for spec in results.specs:
        own = [one for test in spec.tests for one in pictures(test)]
        own += [one for family in spec.families for one in family_pictures(family)]
        for one in own:
            name, number = one.name, 2
            while name.lower() in {known.lower() for known in found}:
                name, number = f"{one.name}-{number}", number + 1
            found[name] = one
    return found


def write_figures(results: Results, folder: Path) -> int:
    """Write `NAME.svg`, `.pdf`, `.png` and `.csv` of each picture; gives how many pictures there are. Raises SpecError without the
    packages that draw (E860), OSError where the folder cannot be written."""
    return write_pictures(figures(results), folder)


def write_pictures(found: Mapping[str, Picture], folder: Path) -> int:
    """The same of pictures that have their names."""
    charting()
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in found.items():
        drawn = chart(picture).to_dict()
        files = {
            "svg": vl_convert.vegalite_to_svg(drawn).encode(),
            "pdf": vl_convert.vegalite_to_pdf(drawn),
            "png": vl_convert.vegalite_to_png(drawn, scale=_SCALE),
            "csv": as_csv(picture).encode("utf-8", "surrogatepass"),
        }
        for ending, data in files.items():
            write_atomic(folder / f"{name}.{ending}", data)
    return len(found)


def as_csv(picture: Picture) -> str:
    """The numbers of a picture; an empty field is a number that is not there."""
    records = picture.records
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


__all__ = ["as_csv", "figures", "write_figures", "write_pictures"]
