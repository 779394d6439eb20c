"""Figures as files: SVG, PDF and PNG of each picture, and its numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from causal_dsl.report.figures.charts import chart, charting
from causal_dsl.report.figures.family_pictures import family_pictures
from causal_dsl.report.figures.pictures import Picture, figure_name, pictures
from causal_dsl.score.spec_results import Results
from causal_dsl.store.files import write_atomic

#: Dots for each point of a PNG: 300 an inch at the size that the figure has in the PDF.
_SCALE = 300 / 72


def figures(results: Results) -> dict[str, Picture]:
    """The pictures of all tests and families by the names of their files, which are all different: where tests of several specs
    have one name, with the spec before it."""
    of_specs = []
    for spec in results.specs:
        own = [one for test in spec.tests for one in pictures(test)]
        own += [one for family in spec.families for one in family_pictures(family)]
        of_specs.append([replace(one, spec=spec.path if len(results.specs) > 1 else "") for one in own])
    taken = Counter(name for own in of_specs for name in {one.name.lower() for one in own})
    called = _called([spec.path for spec in results.specs])
    found: dict[str, Picture] = {}
    for own, spec_name in zip(of_specs, called, strict=True):
        for one in own:
            plain = one.name if taken[one.name.lower()] == 1 else figure_name(f"{spec_name}-{one.name}")
            name, number = plain, 2
            while name.lower() in {known.lower() for known in found}:
                name, number = f"{plain}-{number}", number + 1
            found[name] = one
    return found


def _called(paths: Sequence[str]) -> list[str]:
    """Names of specs: the stem of the file, and as many of the folders above it as tell them apart."""
    parts = [PurePath(path.removesuffix(".causal")).parts for path in paths]
    deepest = max(map(len, parts), default=1)
    for depth in range(1, deepest + 1):
        told = ["_".join(own[-depth:]) for own in parts]
        if len(set(told)) == len(told):
            return told
    return ["_".join(own) for own in parts]


def undrawn(results: Results) -> list[str]:
    """The tests that have no figure."""
    return [test.name for spec in results.specs for test in spec.tests if not pictures(test)]


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


__all__ = ["as_csv", "figures", "undrawn", "write_figures", "write_pictures"]
