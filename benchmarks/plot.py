"""Draws a summary: ``python -m benchmarks.plot SUMMARY.json FIGURE.png``, in the environment that has matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

#: One hue a package, a lighter shade for its plainer forms.
COLOURS = {
    "hooks-all": "#b8b8b8",
    "hooks": "#8c8c8c",
    "hooks-resume": "#4d4d4d",
    "pyvene": "#f3b98a",
    "pyvene-cached": "#e6894a",
    "pyvene-folded": "#d55e00",
    "nnsight": "#a6cee8",
    "nnsight-folded": "#56a5d6",
    "nnsight-skip": "#0072b2",
    "tlens": "#8fd6bd",
    "tlens-folded": "#009e73",
}
MARKERS = {"hooks": "o", "hooks-resume": "s", "pyvene-folded": "^", "nnsight-skip": "D", "tlens-folded": "v"}

#: The points of the growth, by what grows: the middle one is W1.
GROWTH = {
    "pairs (120 cells)": (("W5-pairs-4", "W1", "W5-pairs-64"), "pairs"),
    "cells per prompt (16 pairs; 30 layers x 1, 4, 10 tokens)": (("W5-positions-1", "W1", "W5-positions-10"), "cells"),
}


def main(read: Path, write: Path) -> None:
    summary = json.loads(read.read_text(encoding="utf-8"))
    bars = [name for name in summary if not name.startswith("W5") and "ours" in summary[name]["rows"]]
    bars.sort()
    lines = [told for told, (names, _) in GROWTH.items() if sum(_has(summary, name) for name in names) > 1]
    if not bars and not lines:
        return
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    rows = bool(bars) + bool(lines)
    figure = plt.figure(figsize=(max(6.5, 3.3 * len(bars)), 0.6 + 3.9 * rows), layout="constrained")
    parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
    if bars:
        _bars(parts[0], summary, bars)
    if lines:
        _lines(parts[-1], summary, lines)
    figure.savefig(write, dpi=150)


def _has(summary: dict[str, Any], name: str) -> bool:
    return name in summary and "ours" in summary[name]["rows"]


def _bars(figure: Any, summary: dict[str, Any], names: list[str]) -> None:
    """A panel a workload: how many times our time each contender takes."""
    figure.suptitle(
        "time over ours: bars CPU (line: least and most), diamonds wall",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    order = [c for c in COLOURS if any(c in summary[name]["rows"] for name in names)]
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        found = summary[name]
        most = 1.0
        for place, contender in enumerate(reversed(order)):
            row = found["rows"].get(contender)
            if row is None:
                continue
            cpu, wall = row["cpu ratio"], row["wall ratio"]["median"]
            panel.barh(place, cpu["median"], 0.72, color=COLOURS[contender])
            panel.plot([cpu["least"], cpu["most"]], [place, place], color="black", linewidth=1)
            panel.plot(wall, place, "D", markersize=4, markerfacecolor="white", markeredgecolor="black")
            end = max(cpu["median"], cpu["most"], wall)
            scaled = "*" if row["scale"] > 1 else ""
            panel.annotate(
                f"{cpu['median']:.1f}{scaled}", (end, place), xytext=(6, 0), textcoords="offset points", va="center"
            )
            most = max(most, end)
        panel.axvline(1, color="black", linewidth=0.8, linestyle=":")
        panel.set_xlim(0, most * 1.22)
        panel.set_yticks(range(len(order)), list(reversed(order)))
        if "wall distance" in found.get("bound", {}):
            ours = found["rows"]["ours"]["wall"]
            panel.set_xlabel(f"ours: {ours:.1f} s wall, {found['bound']['wall distance']:.2f} times the bound")
        panel.set_title(f"{name}  {found['about']}".replace(", ", ",\n", 1), fontsize=9, loc="left")
        panel.tick_params(axis="y", length=0)
    if any(row["scale"] > 1 for name in names for row in summary[name]["rows"].values()):
        figure.supxlabel("* timed on some of the layers, cells or epochs, and scaled", fontsize=8, x=0.99, ha="right")


def _lines(figure: Any, summary: dict[str, Any], titles: list[str]) -> None:
    """How the lead grows."""
    figure.suptitle("CPU time over ours as a sweep grows (W5)", fontsize=10, x=0.01, ha="left")
    panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for panel, title in zip(panels, titles, strict=True):
        names, key = GROWTH[title]
        _growth(panel, summary, [name for name in names if _has(summary, name)], key)
        panel.set_xlabel(title)
    highest = max(max(line.get_ydata()) for panel in panels for line in panel.lines if line.get_marker() != "None")
    panels[0].set_ylim(0, highest * 1.08)
    panels[0].set_ylabel("times our CPU time")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)


def _growth(panel: Axes, summary: dict[str, Any], names: list[str], key: str) -> None:
    ticks = [summary[name][key] for name in names]
    for contender, marker in MARKERS.items():
        points = [
            (at, summary[name]["rows"][contender]["cpu ratio"]["median"])
            for at, name in zip(ticks, names, strict=True)
            if contender in summary[name]["rows"]
        ]
        if points:
            panel.plot(
                *zip(*points, strict=True), color=COLOURS[contender], marker=marker, markersize=5, label=contender
            )
    panel.axhline(1, color="black", linewidth=0.8, linestyle=":")
    panel.set_xscale("log")
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.minorticks_off()
    panel.grid(axis="y", linewidth=0.4, alpha=0.6)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
