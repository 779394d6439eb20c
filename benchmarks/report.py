"""From times to ratios: ``results.json``, the table, and the plot."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import environments
from benchmarks.contenders import FORWARD, FORWARD_PROMPTS
from benchmarks.fits.session import FitSession
from benchmarks.fits.workloads import FitArrays
from benchmarks.flops import FIT_WAYS, WAYS, Shape, fit_ways, forward_gflop, ways
from benchmarks.harness import ROOT, Session
from benchmarks.workloads import NETWORK, Arrays

RESULTS, PLOT = "results.json", "benchmarks.png"
ABOUT = f"{NETWORK}: SmolLM2-135M-Instruct, weights dequantised from 4 bits, float32 on a CPU"
_SHOWN = ("torch", "transformers", "pyvene", "nnsight", "transformer-lens")

# ── what is kept ────────────────────────────────────────────────────────────────────────────────


def keep(session: Session, fitting: FitSession) -> None:
    """Write everything that a table is made of, each round's numbers as they are."""
    shape = Shape.of(session.model)
    workloads = {}
    for workload in session.workloads:
        arrays = Arrays.load(session.arrays(workload))
        tokens = arrays.base.shape[1]
        workloads[workload.name] = {
            "about": workload.about,
            "pairs": arrays.pairs,
            "cells": len(arrays.layers),
            "tokens": tokens,
            "gflop": ways(arrays, shape),
            "forward_gflop": forward_gflop(FORWARD_PROMPTS, tokens, shape),
        }
    for fit in fitting.workloads:
        found = FitArrays.load(session.arrays(fit))
        workloads[fit.name] = {
            "about": fit.about,
            "pairs": len(found.base),
            "cells": len(found.layers),
            "tokens": found.base.shape[1],
            "steps": found.order.shape[1],
            "batch": found.order.shape[2],
            "gflop": fit_ways(found, shape),
            "curves": fitting.curves.get(fit.name, {}),
        }
    entries = [*session.contenders, *fitting.fitters]
    needed = dict.fromkeys(entry.environment for entry in entries if entry.environment != "ours")
    installed = {name: environments.versions_of(session.envs, name) for name in needed}
    results = {
        "about": ABOUT,
        "smoke": session.smoke,
        "threads": session.threads,
        "machine": _machine(),
        "workloads": workloads,
        "versions": {n: {p: v[p] for p in _SHOWN if p in v} for n, v in installed.items()} | {"ours": _own()},
        "contenders": {entry.name: {"form": entry.form, "way": entry.way} for entry in session.contenders},
        "fitters": {entry.name: {"form": entry.form, "way": entry.way} for entry in fitting.fitters},
        "differences": session.differences,
        "times": session.times,
    }
    (session.out / RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _own() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers")}


# ── what is made of it ──────────────────────────────────────────────────────────────────────────


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Per workload and contender the medians over rounds, of ratios to our time within each round among them."""
    found = {}
    for name, times in results["times"].items():
        ours = times.get("ours", [])
        known = dict.fromkeys([*results["contenders"], *results["fitters"]])
        rows = {c: _row(times[c], ours) for c in known if c in times}
        found[name] = {
            "about": results["workloads"][name]["about"],
            "pairs": results["workloads"][name]["pairs"],
            "cells": results["workloads"][name]["cells"],
            "rows": rows,
        }
        if FORWARD.name in times:
            found[name]["bound"] = _bound(results["workloads"][name], times[FORWARD.name], ours)
    return found


def _row(runs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {key: median(run[key] for run in runs) for key in ("cpu", "wall", "peak", "scale")}
    for key in ("cpu", "wall"):
        # a round that was cut short has no pair
        ratios = [mine[key] / our[key] for mine, our in zip(runs, ours, strict=False)]
        if ratios:
            row[f"{key} ratio"] = {"median": median(ratios), "least": min(ratios), "most": max(ratios)}
    if "parts" in runs[0]:
        row["parts"] = {
            part: [median(run["parts"][part][i] for run in runs) for i in (0, 1)] for part in runs[0]["parts"]
        }
        for i, key in enumerate(("wall", "cpu")):
            without = [run[key] - run["parts"]["checks"][i] for run in runs]
            steps = [run["parts"]["steps"][i] for run in runs]
            for name, mine, our in (
                ("unchecked", without, [run[key] - run["parts"]["checks"][i] for run in ours]),
                ("steps", steps, [run["parts"]["steps"][i] for run in ours]),
            ):
                if our:
                    row[f"{key} ratio {name}"] = median(a / b for a, b in zip(mine, our, strict=False))
    for extra in ("beside", "predicted"):
        if runs[-1].get(extra) is not None:
            row[extra] = runs[-1][extra]
    return row


def _bound(workload: dict[str, Any], forwards: list[dict[str, Any]], ours: list[dict[str, Any]]) -> dict[str, float]:
    """The machine's rate in these rounds, the seconds that the bound's FLOPs take at it, and our times over that."""
    bound: dict[str, float] = {"gflop": workload["gflop"]["bound"]}
    for key in ("cpu", "wall"):
        rate = workload["forward_gflop"] / median(run[key] for run in forwards)
        bound |= {f"{key} rate": rate, f"{key} seconds": bound["gflop"] / rate}
        if ours:
            bound[f"{key} distance"] = median(run[key] for run in ours) / bound[f"{key} seconds"]
    return bound


def text(results: dict[str, Any]) -> str:
    """The table as a person reads it."""
    rounds = max((len(runs) for times in results["times"].values() for runs in times.values()), default=0)
    lines = [
        *(["a smoke test on two layers and two pairs: its times say nothing", ""] if results.get("smoke") else []),
        results["about"],
        f"{results['threads']} threads, {rounds} rounds; medians; a ratio is a contender's time over ours",
        "",
    ]
    lines += [f"  {name:15} {entry['form']}" for name, entry in results["contenders"].items()]
    if results["contenders"]:
        lines += ["", "ways, whose GFLOP are counted:", *(f"  {way:15} {told}" for way, told in WAYS.items())]
    if results["fitters"]:
        lines += ["", *(f"  {name:15} {entry['form']}" for name, entry in results["fitters"].items())]
        lines += ["", "ways of fitting:", *(f"  {way:15} {told}" for way, told in FIT_WAYS.items())]
    for name, found in summary(results).items():
        gflop = results["workloads"][name]["gflop"]
        if "curves" in results["workloads"][name]:
            lines += ["", *_fit_lines(name, found, results)]
            continue
        lines += [
            "",
            f"{name}  {found['about']}  ({found['cells']} cells x {found['pairs']} pairs)",
            f"  {'':15} {'CPU s':>8} {'wall s':>8} {'CPU ratio (least, most)':>25} {'wall ratio':>11} {'peak MB':>8} {'GFLOP':>7} {'differs':>8}",
        ]
        for contender, row in found["rows"].items():
            lines.append("  " + _line(contender, row, gflop, results, name))
        if "bound" in found:
            lines.append("  " + _bound_line(found["bound"], found["rows"].get("ours")))
        lines.append("  GFLOP by way: " + ", ".join(f"{way} {gflop[way]:,.0f}" for way in WAYS))
    if results["fitters"]:
        lines += [
            "",
            "unchecked: without looking at the other pairs after each epoch; steps alone: without prompts either (CPU / wall ratio)",
        ]
    if any(row["scale"] > 1 for found in summary(results).values() for row in found["rows"].values()):
        lines += [
            "",
            "* timed on one layer (of a fit: cell, epoch) in so many, and scaled; what is done once for all cells is not scaled",
        ]
    return "\n".join(lines)


def _line(contender: str, row: dict[str, Any], gflop: dict[str, float], results: dict[str, Any], name: str) -> str:
    scaled = f"*{row['scale']:.0f}" if row["scale"] > 1 else ""
    told = {"cpu": "", "wall": ""}
    if "cpu ratio" in row:
        ratio = row["cpu ratio"]
        told["cpu"] = f"{ratio['median']:.2f} ({ratio['least']:.2f}, {ratio['most']:.2f})"
        told["wall"] = f"{row['wall ratio']['median']:.2f}"
    way = results["contenders"][contender]["way"]
    difference = results["differences"].get(contender, {}).get(name, float("nan"))
    return (
        f"{contender:15} {row['cpu']:8.1f} {row['wall']:8.1f} {told['cpu']:>25} {told['wall']:>11}"
        f" {row['peak'] / 1e6:8,.0f} {gflop[way]:7,.0f} {difference:8.0e} {scaled}"
    ).rstrip()


def _fit_lines(name: str, found: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """The table of a fit: the whole, and beside it the parts."""
    workload = results["workloads"][name]
    head = f"{name}  {found['about']}  ({found['cells']} cells, {workload['steps']} steps of {workload['batch']} of {found['pairs']} pairs)"
    lines = [
        head,
        f"  {'':15} {'CPU s':>8} {'wall s':>8} {'CPU ratio (least, most)':>25} {'wall ratio':>11}"
        f" {'unchecked':>13} {'steps alone':>13} {'peak MB':>8} {'GFLOP':>9} {'loss differs':>12}",
    ]
    for contender, row in found["rows"].items():
        scaled = f"*{row['scale']:.0f}" if row["scale"] > 1 else ""
        ratio = row.get("cpu ratio")
        told = (
            [
                f"{ratio['median']:.2f} ({ratio['least']:.2f}, {ratio['most']:.2f})",
                f"{row['wall ratio']['median']:.2f}",
                *(
                    f"{row[f'cpu ratio {part}']:.2f} / {row[f'wall ratio {part}']:.2f}"
                    for part in ("unchecked", "steps")
                ),
            ]
            if ratio
            else ["", "", "", ""]
        )
        gflop = workload["gflop"][results["fitters"][contender]["way"]]
        difference = results["differences"].get(contender, {}).get(name, float("nan"))
        lines.append(
            f"  {contender:15} {row['cpu']:8.1f} {row['wall']:8.1f} {told[0]:>25} {told[1]:>11} {told[2]:>13} {told[3]:>13}"
            f" {row['peak'] / 1e6:8,.0f} {gflop:9,.0f} {difference:12.0e} {scaled}".rstrip()
        )
    for contender, row in found["rows"].items():
        parts = ", ".join(f"{part} {cpu:.1f} ({wall:.1f})" for part, (wall, cpu) in row["parts"].items())
        curve = workload["curves"].get(contender, {})
        ends = [f"{cell[-1]:.4f}" for cell in curve.get("losses", [])[:3]]
        checks = [f"{cell[-1][0]:.4f}, {100 * cell[-1][1]:.0f}% right" for cell in curve.get("checks", [])[:3]]
        epochs = len(curve["losses"][0]) if curve.get("losses") else 0
        lines.append(
            f"  {contender:15} CPU (wall) s: {parts}; after {epochs} epochs loss {', '.join(ends)}; on others {'; '.join(checks)}"
        )
    return lines


def _bound_line(bound: dict[str, float], ours: dict[str, Any] | None) -> str:
    told = f"bound {bound['gflop']:,.0f} GFLOP: {bound['wall seconds']:.1f} s wall at the {bound['wall rate']:.0f} GFLOP/s of a large forward"
    if "wall distance" in bound:
        told += f"; ours takes {bound['wall distance']:.2f} times that ({bound['cpu distance']:.2f} in CPU time)"
    if ours is not None and "beside" in ours:
        told += "; beside it " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in ours["beside"].items())
    if ours is not None and "predicted" in ours:
        told += f"; peak predicted {ours['predicted'] / 1e6:,.0f} MB"
    return told


def show(out: Path, envs: Path) -> None:
    """Print the table of a run that was kept, and draw its plot where there is an environment for it."""
    results = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    table = text(results)
    print("\n" + table)
    (out / "table.txt").write_text(table + "\n", encoding="utf-8")
    made = summary(results)
    (out / "summary.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    if not environments.is_whole(envs, "plot"):
        print("\nno environment `plot`: no figure is drawn")
        return
    subprocess.run(
        [
            environments.python_of(envs, "plot"),
            "-m",
            "benchmarks.plot",
            (out / "summary.json").resolve(),
            (out / PLOT).resolve(),
        ],
        check=True,
        cwd=out,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    print(f"\n{out / RESULTS}, {out / PLOT}")
