"""Circuits in the terminal: their sizes, the choices that their numbers stand on, their self-checks, and random circuits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from causal_dsl.program.edge_sets import EdgeSet
from causal_dsl.score.circuit_results import CircuitResult, HypothesisTest, RandomCircuits
from causal_dsl.score.format_numbers import show, show_cell
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.vocabulary.discovery_methods import METHODS

_MOST_CELLS = 40
#: Of each score as many cells stand beside random circuits: the JSON has all.
_MOST_ROWS = 12
#: More nodes or edges than these are not listed: they are in the JSON.
_MOST_MEMBERS = 60
_NO_CONTRAST = "not compared: no contrast"


def circuits(test: TestResult) -> Iterator[RenderableType]:
    """The circuits of a test's cells; nothing where there are none."""
    cells = [(cell, cell.circuit) for cell in test.cells if cell.circuit is not None]
    if not cells:
        return
    first = cells[0][1]
    yield Text("")
    if len(cells) == 1:
        yield _indented(Text(f"circuit {first.name}: {_size(first)}"))
        for line in listed(first):
            yield _indented(Text(f"  {line}", style="dim"))
        for name, random in first.random.items():
            if random.better is not None:
                yield from map(_indented, _random(name, random, _counted(random.known, first.others)))
        if any(random.better is None for random in first.random.values()):
            title = "random circuits of its size" if first.others is None else _counted(first.others, first.others)
            yield _indented(_among(title, first.random))
        for name, one in first.tests.items():
            yield from map(_indented, _hypothesis(name, one))
    else:
        yield _indented(_table(test))
        if len(cells) > _MOST_CELLS:
            yield _indented(Text(f"and {len(cells) - _MOST_CELLS} more cells", style="dim"))
        plain = dict.fromkeys(n for _, circuit in cells for n, one in circuit.random.items() if one.better is None)
        for name in plain:
            there = [(show_cell(cell.cell), circuit.random[name]) for cell, circuit in cells if name in circuit.random]
            yield Text("")
            yield _indented(_among(f"random circuits: {name}", dict(there[:_MOST_ROWS])))
            if len(there) > _MOST_ROWS:
                yield _indented(Text(f"and {len(there) - _MOST_ROWS} more cells", style="dim"))
        for line in _of_cells(test):
            yield _indented(Text(line, style="dim"))
    for name, random in test.random.items():
        sweeps = f"{random.known} sweep{'s' * (random.known != 1)} of random circuits of these sizes"
        yield from map(_indented, _random(name, random, sweeps))
    apart = list(dict.fromkeys(name for _, circuit in cells for name in circuit.apart))
    if apart:
        line = f"no random circuits beside {', '.join(apart)}: gradients and probes take passes of their own"
        yield _indented(Text(line, style="dim"))
    for line in _few(cells):
        yield _indented(Text(line, style="dim"))
    for found in dict.fromkeys(one for _, circuit in cells for one in _found(circuit)):
        yield _indented(Text(found, style="dim"))
    for choices in dict.fromkeys(circuit.choices for _, circuit in cells):
        yield _indented(Text(f"ablation: {choices}", style="dim"))
    checks = [check for _, circuit in cells for check in circuit.checks]
    if checks and all(check.holds for check in checks):
        says = list(dict.fromkeys(check.says for check in checks))
        most = max(check.apart for check in checks)
        yield _indented(Text(f"self-checks: {'; '.join(says)} (at most {show(most)} apart in a logit)", style="dim"))


def _random(name: str, random: RandomCircuits, what: str) -> Iterator[Text]:
    """A score of random circuits in one line; ``what`` says which, and how many."""
    if random.range is None or (random.as_good is None and random.contrast):
        return
    low, high = random.range
    told = f"{show(low)} to {show(high)}" if low < high else show(low)
    if random.as_good is None:
        line = f"{what}: {name} {told} ({_NO_CONTRAST})"
    elif random.alike:
        line = f"{what}: {name} {show(random.own)} in each, as in the circuit"
    else:
        line = f"{what}: {name} {told}, as {random.better} in {round(random.as_good * random.known)}"
    if random.searched:
        line += f" ({random.searched}, where the circuit has {show(random.own)})"
    yield Text(line)


def _counted(known: int, others: int | None) -> str:
    """As many random circuits in words; ``others``: all that there are, where these are few."""
    if others is None:
        return f"{known} random circuits of its size"
    which = f"the {others}" if known == others else f"{known} of the {others}"
    return f"{which} other circuit{'s' * (others != 1)} with as many of each kind"


def _few(cells: Iterable[tuple[CellResult, CircuitResult]]) -> Iterator[str]:
    """Which circuits have few others that they could be compared with, or none."""
    grouped: dict[tuple[str, int], list[str]] = {}
    for cell, circuit in cells:
        if circuit.others is not None:
            what = "edges" if isinstance(circuit.members, EdgeSet) else "nodes"
            grouped.setdefault((what, circuit.others), []).append(show_cell(cell.cell))
    for (what, count), names in grouped.items():
        where = f" ({_some(names)})" if any(names) else ""
        if count:
            have = "circuit has" if count == 1 else "circuits have"
            yield f"only {count} other {have} as many {what} of each kind{where}: too few to tell a circuit from by rank"
        else:
            yield f"no other circuit has as many {what} of each kind{where}: there is none to compare with"


def _among(title: str, random: Mapping[str, RandomCircuits]) -> Table:
    """Scores that are not good in themselves, of random circuits: a row each."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in (title, "circuit", "least", "median", "most", "as high", "as low"):
        table.add_column(Text(name, style="dim"), justify="left" if not table.columns else "right")
    for name, one in random.items():
        if one.better is not None or one.range is None:
            continue
        shares = [
            "" if share is None else f"{round(share * one.known)} of {one.known}" for share in (one.as_high, one.as_low)
        ]
        shares = shares if one.contrast else [_NO_CONTRAST, ""]
        numbers = [one.own, one.range[0], one.median, one.range[1]]
        table.add_row(Text(name), *(Text(show(number)) for number in numbers), *map(Text, shares))
    return table


def _hypothesis(name: str, one: HypothesisTest) -> Iterator[Text]:
    """A null hypothesis in one line, and the members that are told from random ones the least."""
    if one.p is None:
        return
    count = f", the smallest of {len(one.tested)} times their number" if one.names else ""
    said = "rejected at 5%" if one.rejected else "not rejected at 5%"
    yield Text(f"{name}: H0 that {one.null} is {said} (p = {show(one.p)}{count})")
    least = [f"{member} {show(p)}" for member, p in sorted(one.each.items(), key=lambda item: item[1]) if p <= 0.05][:5]
    if least:
        yield Text(f"  rejected of {', '.join(least)}", style="dim")


def _found(circuit: CircuitResult) -> Iterator[str]:
    """How a circuit was found, in words."""
    for one in circuit.found:
        kept = f"{one.keep:.3g}" if one.keep > 1 or isinstance(one.keep, int) else f"{100 * one.keep:.3g}%"
        what = f"{one.what} by key head" if one.what == "edges" and circuit.shared else one.what
        which = f"{kept} of {len(one.scores)} {what}, the highest by {one.by} score"
        if one.by == "threshold":
            count = sum(score >= one.keep for score in one.scores.values())
            which = f"{count} of {len(one.scores)} {what} "
            which += METHODS[one.method.partition("(")[0]].left.replace("KEEP", show(one.keep))
        if one.what == "edges":
            which += ", less those that lie on no path of them from the embedding to the logits"
        method = one.method
        if one.by != "threshold":  # what is kept is a number or a share, and no threshold decides it
            method = re.sub(r"(, )?threshold=[^,)]*", "", method).replace("(, ", "(").removesuffix("()")
        told = [f"found by {method} of {one.metric} on {one.pairs} pairs of the fit part: {which}"]
        if one.correlation is not None:
            told.append(f"correlation with the exact effects of {one.sampled}: {show(one.correlation)}")
        if one.stability is not None:
            told.append(f"mean Jaccard index with the sets of resampled pairs: {show(one.stability)}")
        if one.held is not None:
            says, apart, scale = one.held
            what, colon, advice = says.partition(": ")
            told.append(f"self-check: {what} (at most {show(apart)} apart, of {show(scale)}{colon}{advice})")
        yield "; ".join(told)


def _size(circuit: CircuitResult) -> str:
    size = circuit.size
    edges = "edges by query head" if circuit.shared else "edges"
    told = (
        f"{size.nodes} of {size.of_nodes} nodes, {size.edges} of {size.of_edges} {edges}, {size.weighted:.1f} weighted"
    )
    if not circuit.left_out:
        return told
    members = f"{circuit.left_out} of its members {'is' if circuit.left_out == 1 else 'are'}"
    return f"{told}; {members} not looked at, and all numbers are of the others"


def listed(circuit: CircuitResult) -> Iterator[str]:
    """Its nodes or its edges, while they are few."""
    if len(circuit.lines) <= _MOST_MEMBERS:
        yield from members_of(circuit)


def members_of(circuit: CircuitResult) -> Iterator[str]:
    """Its nodes or its edges: those of one sender in a line."""
    grouped: dict[str, list[str]] = {}
    for line in _latents_together(circuit.lines):
        sender, arrow, receiver = line.partition(" -> ")
        grouped.setdefault(sender if arrow else "", []).append(receiver if arrow else line)
    for sender, others in grouped.items():
        yield f"{sender} -> {', '.join(others)}" if sender else ", ".join(others)


def circuits_of(test: TestResult) -> list[tuple[CircuitResult, str]]:
    """The distinct circuits of a test's cells, with the cells that they are of."""
    found: dict[tuple[str, ...], tuple[CircuitResult, list[str]]] = {}
    for cell in test.cells:
        if cell.circuit is not None and cell.circuit.members:
            found.setdefault(cell.circuit.lines, (cell.circuit, []))[1].append(show_cell(cell.cell))
    return [(circuit, _some([name for name in names if name])) for circuit, names in found.values()]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_ROWS} more cells" if len(names) > _MOST_ROWS else ""
    return f"{'; '.join(names[:_MOST_ROWS])}{more}"


def _of_cells(test: TestResult) -> Iterator[str]:
    """The members of the circuits of a sweep, while they are few."""
    own = circuits_of(test)
    if own:
        yield "members of each circuit"
    for circuit, where in own[:_MOST_ROWS]:
        count = len(circuit.lines)
        what = "edges" if isinstance(circuit.members, EdgeSet) else "nodes"
        told = "; ".join(members_of(circuit)) if count <= _MOST_MEMBERS else f"{count} {what}: the JSON has them"
        yield f"  {where or circuit.name}: {told}"
    if len(own) > _MOST_ROWS:
        yield f"  and {len(own) - _MOST_ROWS} more circuits: the JSON has them"


def _latents_together(lines: Iterable[str]) -> Iterator[str]:
    """Nodes as files name them, those of one dictionary at the same tokens as one, as a spec writes them."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        head, sign, rest = line.partition(", latents=[")
        number, _, end = rest.partition("]")
        grouped.setdefault((head, end) if sign else (line, ""), []).append(number)
    for (head, end), numbers in grouped.items():
        yield f"{head}, latents=[{', '.join(numbers)}]{end}" if end else head


def _table(test: TestResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    cells = [(cell, cell.circuit) for cell in test.cells if cell.circuit is not None]
    names = list(
        dict.fromkeys(n for _, circuit in cells for n, one in circuit.random.items() if one.better is not None)
    )
    for name in ("circuit", "nodes", "edges", "weighted", *(f"random {name}" for name in names)):
        table.add_column(Text(name, style="dim"), justify="left" if name == "circuit" else "right")
    for cell, circuit in cells[:_MOST_CELLS]:
        ranges = [circuit.random[name].range if name in circuit.random else None for name in names]
        silent = [name in circuit.random and not circuit.random[name].contrast for name in names]
        told = [
            "" if one is None else f"{show(one[0])} to {show(one[1])}{f' ({_NO_CONTRAST})' * still}"
            for one, still in zip(ranges, silent, strict=True)
        ]
        size = circuit.size
        table.add_row(
            Text(show_cell(cell.cell)), str(size.nodes), str(size.edges), f"{size.weighted:.1f}", *map(Text, told)
        )
    return table


def _indented(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, 2))


__all__ = ["circuits", "circuits_of", "listed", "members_of"]
