"""The steps of a plan: its graph says which values there are, its steps say in which passes they are computed.

Lowering gives one step for every intervention of every cell, with its own base and source runs, each from the first
layer to the last: what one would write by hand. Every switch of :mod:`causal_dsl.planning.switches` makes them
cheaper and changes no number; the executor does what the steps say, whichever switches are on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import Rules
from causal_dsl.program.components import in_time
from causal_dsl.program.identity import NetworkKey
from causal_dsl.vocabulary.locations import Place
from causal_dsl.vocabulary.network_facts import Facts

PLAIN = Rules(late=False, stop=False, trim=False, thin=False)
#: Why a step is left to the reference executor where nothing forbids the one pass.
ASKED = "it was asked for"
#: An edge reaches one receiver and not the stream: no row of a pass holds what it then reads.
EDGES = "what flows along single edges is computed beside the residual stream"


@dataclass(frozen=True)
class Block:
    """A part of a step: of every draw the share of its pairs from ``start`` to ``stop`` of ``of`` equal parts, and of
    the step's interventions those from ``first`` to ``last``."""

    start: int = 0
    stop: int = 1
    of: int = 1
    first: int = 0
    last: int | None = None

    def pairs(self, n: int) -> range:
        """The pairs of a draw of ``n``."""
        return range(n * self.start // self.of, n * self.stop // self.of)

    def halves(self, count: int, n: int) -> tuple[Block, Block] | None:
        """Two blocks that are this one: cut between pairs while there are several (``n`` is the longest draw's), then
        between interventions (``count`` of the step); None where there is nothing to cut."""
        if len(self.pairs(n)) > 1:
            low, high, of = self.start, self.stop, self.of
            if high - low == 1:
                low, high, of = 2 * low, 2 * high, 2 * of
            middle = (low + high) // 2
            return (
                Block(low, middle, of, self.first, self.last),
                Block(middle, high, of, self.first, self.last),
            )
        last = count if self.last is None else self.last
        if last - self.first > 1:
            middle = (self.first + last) // 2
            return (
                Block(self.start, self.stop, self.of, self.first, middle),
                Block(self.start, self.stop, self.of, middle, last),
            )
        return None


@dataclass(frozen=True)
class Step:
    """One pass, or several alike. ``forwards`` are runs whose answers are read, ``resumes`` the interventions.

    ``shared``: each distinct prompt is run once. ``kept_once``: a vector that several interventions take is kept once.
    ``rules``: what the layers leave out. ``pruned``: only the columns of the unembedding that are read. ``why`` the
    reference executor runs it; empty for the sweep.
    """

    network: NetworkKey
    forwards: tuple[g.Forward, ...] = ()
    resumes: tuple[g.Resume, ...] = ()
    shared: bool = False
    kept_once: bool = False
    rules: Rules = PLAIN
    pruned: bool = False
    blocks: tuple[Block, ...] = (Block(),)
    why: str = ""

    def __str__(self) -> str:
        said = [f"{len(self.resumes)} intervention{'s' * (len(self.resumes) != 1)}"]
        said += [f"{len(self.forwards)} read run{'s' * (len(self.forwards) != 1)}"] * bool(self.forwards)
        flags = [
            ("every prompt once", self.shared),
            ("vectors kept once", self.kept_once),
            ("stops early", self.rules.stop),
            ("enters late", self.rules.late),
            ("trims positions", self.rules.trim),
            ("prunes read-outs", self.pruned),
        ]
        said += [name for name, on in flags if on]
        said += [f"{len(self.blocks)} blocks"] * (len(self.blocks) > 1)
        return f"pass through {self.network.name}: " + ", ".join(said) + (f" [{self.why}]" if self.why else "")


def captures(resume: g.Resume) -> Iterator[g.Capture]:
    """The captured vectors that an intervention writes row by row."""
    return (capture for write in resume.writes for capture in write.value.find(g.Capture))


def taken(resume: g.Resume) -> Iterator[g.Capture]:
    """All vectors that an intervention takes from runs, those of its means too, in the order in which they are written."""
    for write in resume.writes:
        for value in write.value.walk():
            if isinstance(value, g.Average):
                yield from value.captures
            elif isinstance(value, g.Capture):
                yield value


def in_tree(resume: g.Resume) -> Iterator[g.Resume]:
    """An intervention and those in whose runs vectors are taken for it, innermost first, each as often as it is taken."""
    for capture in captures(resume):
        if isinstance(capture.run, g.Resume):
            yield from in_tree(capture.run)
    yield resume


def runs_of_tree(resume: g.Resume) -> list[g.Forward | g.Resume]:
    """Every run of an intervention, as often as vectors are taken from it: itself, those within it, and plain ones."""
    found: list[g.Forward | g.Resume] = [resume]
    for capture in captures(resume):
        found += [capture.run] if isinstance(capture.run, g.Forward) else runs_of_tree(capture.run)
    return found


def with_inner(resumes: Iterable[g.Resume]) -> list[g.Resume]:
    """Interventions, each after those in whose runs vectors are taken for it; each once."""
    return list(dict.fromkeys(run for resume in resumes for run in in_tree(resume)))


def is_random(resume: g.Resume) -> bool:
    """Whether an intervention writes numbers that differ between rows that are alike."""
    return any(value.random for write in resume.writes for value in write.value.walk())


def by_template(resumes: Iterable[g.Resume]) -> bool:
    """Whether what some interventions write depends on the template of a prompt, and not on its tokens alone."""
    writes = (write for resume in resumes for write in resume.writes)
    return any(mean.by_template for write in writes for mean in write.value.find(g.Average))


def late_captures(step: Step) -> list[g.Capture]:
    """Vectors that are captured further on than they are written: they need a pass of their own before."""
    found: dict[g.Capture, None] = {}
    for resume in step.resumes:
        for write in resume.writes:
            for capture in write.value.find(g.Capture):
                if not in_time(capture.place.site, write.place.site):
                    found[capture] = None
    return list(found)


def mean_in_pass(step: Step, node: g.Average, place: Place, ahead: bool = False) -> bool:
    """Whether a mean is taken within the pass that writes it: over all pairs, and passed by before."""
    return step.blocks == (Block(),) and (
        ahead or all(in_time(capture.place.site, place.site) for capture in node.captures)
    )


def early_means(step: Step, ahead: bool = False) -> list[g.Average]:
    """The means that need a pass of their own before. ``ahead``: all prompts are run before anything is written."""
    found = {
        mean: None
        for resume in step.resumes
        for write in resume.writes
        for mean in write.value.find(g.Average)
        if not mean_in_pass(step, mean, write.place, ahead)
    }
    return list(found)


def layers_of(facts: Facts) -> int:
    """How many layers ``layer[l]`` counts."""
    return facts.layers if facts.layers is not None else max(0, len(facts.widths) - 1)
