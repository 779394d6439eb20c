"""The loss of a step of training, as one pass over the sources and one over the bases.

With b a base, s_1 … s_k sources, all drawn anew in each step, and S a non-empty set of placed variables, drawn anew too:

    task         cross-entropy of the answer in b's own run                      on what the model answers to b
    interchange  … in b's run with each variable of S as in the run of s_i       on what the model answers then
                 (interchange intervention training: Geiger et al. 2022)
    strict       … in b's run with all that is placed for no variable as in the  on what the model answers to b
                 run of another input (Gupta et al. 2024, InterpBench)

Gradients flow through the runs of the sources as well: what is read there is written as it is, not as a constant.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from causal_dsl.base.counter import below, bits, key
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, fail
from causal_dsl.inputs import inputs_of, lengths_agree
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.program.answers import answers_of, check_answers
from causal_dsl.program.program import Readout, Training
from causal_dsl.program.read_training import columns_of, not_full, nothing_left, whole_site
from causal_dsl.program.templates import show_value
from causal_dsl.training.pool import Pool, pool_of
from causal_dsl.vocabulary.locations import Place, Position, Site

ALL = Position("all")


@dataclass(frozen=True, eq=False)
class Answering:
    """One read-out: the columns of the logits that are compared (None: all), and from codes of the variable to which of
    them is right."""

    variable: str
    columns: Tensor | None
    codes: np.ndarray
    targets: np.ndarray

    def right(self, codes: np.ndarray) -> Tensor:
        """Which of the columns says each code [n]."""
        return torch.from_numpy(self.targets[np.searchsorted(self.codes, codes)])

    def of(self, logits: Tensor) -> Tensor:
        """The logits that are compared, [n, columns]."""
        return logits if self.columns is None else logits[:, self.columns.to(logits.device)]


@dataclass(frozen=True, eq=False)
class ObjectivePart:
    """One loss of a step: the logits [n, …] of its runs, and for each read-out what is right [n]."""

    logits: Tensor
    right: tuple[Tensor, ...]


@dataclass(frozen=True)
class TrainingDraws:
    """The draws of a step from the pool: bases [n], a source [n] for each variable of the set, the rest's source [n]."""

    base: np.ndarray
    sources: dict[str, np.ndarray]
    rest: np.ndarray | None


class Objective:
    """The losses of one training on one network, step by step. Raises E736 (answers), E539 (spans), E732 (no rest)."""

    def __init__(self, network: Network, training: Training):
        self.network, self.training = network, training
        self.pool: Pool = pool_of(training, inputs_of(network.facts, network.tokens, training.alignment))
        self.answering = tuple(self._answering(readout) for readout in training.alignment.readouts.values())
        self.places = dict(training.places)
        every = [place for places in self.places.values() for place in places]
        self.rest = not_full(training.rest, every, network.facts) if training.strict > 0 else ()
        if training.strict > 0 and not self.rest:
            raise nothing_left(training.alignment, training.span)
        for place in every:
            self._spans_agree(place)

    def _answering(self, readout: Readout) -> Answering:
        alignment, found = self.training.alignment, Diagnostics()
        span = readout.span or self.training.span
        answers = answers_of(readout, alignment, self.network.tokens, span)
        check_answers(answers, readout, self.network.tokens, alignment, found)
        found.raise_errors()
        if answers.lines:
            raise fail(
                "E736",
                "the answers are not the same tokens after every prompt: training compares one",
                span,
                notes=("no space comes before an answer where the prompt ends in a newline, and one does elsewhere",),
                help='end all prompts alike, or say what comes before an answer: next_token(prefix=" ")',
            )
        long = next((value for value, ids in answers.ids.items() if len(ids) > 1), None)
        if long is not None:
            raise fail(
                "E736",
                f"`{show_value(long)}` is {len(answers.ids[long])} tokens: training compares one",
                span,
                help="use values of one token each",
            )
        place = {id: number for number, id in enumerate(answers.among)} if answers.among is not None else None
        known = {answers.codes[v]: ids[0] if place is None else place[ids[0]] for v, ids in answers.ids.items()}
        codes = np.array(sorted(known), dtype=np.int64)
        columns = None if answers.among is None else torch.tensor(answers.among)
        return Answering(readout.variable, columns, codes, np.array([known[code] for code in codes.tolist()]))

    def _spans_agree(self, place: Place) -> None:
        """Any input may be the source of any other: a position must name as many tokens in all (E539)."""
        rows = np.unique(self.pool.rows)
        counts = self.pool.inputs.sizes(place.position, rows, self.training.span)
        odd = np.nonzero(counts != counts[0])[0]
        if len(odd):
            one, other = int(rows[0]), int(rows[odd[0]])
            lengths_agree(self.pool.inputs, place.position, [one], place.position, [other], self.training.span)

    # ── one step ────────────────────────────────────────────────────────────────────────────────

    def draws(self, step: int) -> TrainingDraws:
        """The draws of a step: a function of the seed and the step alone."""
        training, pool = self.training, self.pool
        base = pool.draw("base", step, training.batch)
        chosen = self._set(step) if training.interchange > 0 else ()
        sources = {name: pool.draw(f"source of {name}", step, training.batch) for name in chosen}
        rest = pool.draw("rest", step, training.batch, like=base) if self.rest else None
        return TrainingDraws(base, sources, rest)

    def _set(self, step: int) -> tuple[str, ...]:
        """A set of placed variables, each that is not empty equally likely."""
        training, at = self.training, np.array([step])
        for attempt in itertools.count():
            random = {name: bits(key(training.seed, "train", "set", name), at, attempt) for name in training.variables}
            if chosen := tuple(name for name, drawn in random.items() if below(drawn, 2)[0]):
                return chosen
        raise AssertionError

    def parts(self, step: int) -> dict[str, ObjectivePart]:
        """The runs of a step, by loss: those with a weight, in the order task, interchange, strict."""
        drawn = self.draws(step)
        size = len(drawn.base)
        runs = [*drawn.sources.items(), *([("", drawn.rest)] if drawn.rest is not None else [])]
        at = {name: number * size for number, (name, _) in enumerate(runs)}
        source_rows = np.concatenate([rows for _, rows in runs]) if runs else np.zeros(0, np.int64)
        kinds = [k for k in ("task", "interchange", "strict") if getattr(self.training, k) > 0]
        start = {kind: number * size for number, kind in enumerate(kinds)}
        base_rows = np.tile(drawn.base, len(kinds))
        reads: list[SiteRead] = []
        edits: list[Callable[[Tensor], SiteWrite]] = []
        for name in drawn.sources:
            for place in self.places[name]:
                reads.append(self._read(place, source_rows, at[name], size))
                edits.append(self._write(place, drawn.base, start["interchange"]))
        for site in self.rest:
            place = Place(site, ALL)
            reads.append(self._read(place, source_rows, at[""], size))
            edits.append(self._write_rest(place, drawn.base, start["strict"]))
        values = forward(self.network, self._inputs(source_rows), reads).reads if reads else []
        writes = [edit(value) for edit, value in zip(edits, values, strict=True)]
        outcome = forward(
            self.network,
            self._inputs(base_rows),
            [],
            writes,
            readout=torch.arange(len(base_rows)),
            positions=torch.from_numpy(self.pool.inputs.reads[self.pool.rows[base_rows]]),
            stop=False,
            padding=self.network.padding,
        )
        assert outcome.logits is not None
        own = {answering.variable: self.pool.values[answering.variable][drawn.base] for answering in self.answering}
        found = {}
        for kind in kinds:
            labels = self._labels(drawn) if kind == "interchange" else own
            right = tuple(answering.right(labels[answering.variable]) for answering in self.answering)
            found[kind] = ObjectivePart(outcome.logits[start[kind] : start[kind] + size], right)
        return found

    def losses(self, parts: dict[str, ObjectivePart]) -> dict[str, Tensor]:
        """The mean cross-entropy of each part in nats, summed over its read-outs; not weighted yet."""
        return {
            kind: torch.stack(
                [
                    cross_entropy(answering.of(part.logits), right.to(part.logits.device))
                    for answering, right in zip(self.answering, part.right, strict=True)
                ]
            ).sum()
            for kind, part in parts.items()
        }

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The loss: the weighted sum."""
        return torch.stack([getattr(self.training, kind) * loss for kind, loss in losses.items()]).sum()

    def shares(self, parts: dict[str, ObjectivePart]) -> dict[str, float]:
        """The share of each part's runs in which all read-outs are right."""
        found = {}
        for kind, part in parts.items():
            right = [
                answering.of(part.logits).argmax(1).cpu() == target
                for answering, target in zip(self.answering, part.right, strict=True)
            ]
            found[kind] = torch.stack(right).all(0).double().mean().item()
        return found

    def _labels(self, drawn: TrainingDraws) -> dict[str, np.ndarray]:
        """The answers of the causal model to the bases with each variable of the set as in its source."""
        do = {name: self.pool.values[name][rows] for name, rows in drawn.sources.items()}
        wanted = [answering.variable for answering in self.answering]
        return self.training.alignment.model.evaluate(self.pool.settings(drawn.base), do, wanted)

    # ── reads and writes ────────────────────────────────────────────────────────────────────────

    def _inputs(self, picked: np.ndarray) -> InputRows:
        return self.pool.inputs.rows(self.pool.rows[picked])

    def _spots(self, place: Place, picked: np.ndarray, start: int) -> tuple[Tensor, Tensor]:
        """The rows of a pass in which a place is, and its tokens there."""
        which, tokens = self.pool.inputs.spans(place.position, self.pool.rows[picked])
        return torch.from_numpy(which + start), torch.from_numpy(tokens)

    def _read(self, place: Place, rows: np.ndarray, start: int, size: int) -> SiteRead:
        return SiteRead(place.site, *self._spots(place, rows[start : start + size], start))

    def _write(self, place: Place, base: np.ndarray, start: int) -> Callable[[Tensor], SiteWrite]:
        spots = self._spots(place, base, start)
        return lambda value: SiteWrite(place.site, *spots, lambda current: value.to(current.device))

    def _write_rest(self, place: Place, base: np.ndarray, start: int) -> Callable[[Tensor], SiteWrite]:
        """Write what is placed for no variable, and leave the rest as it is."""
        spots = self._spots(place, base, start)

        def write(value: Tensor) -> SiteWrite:
            mine = self._placed(place.site, base, spots, start, value.shape[1])
            return SiteWrite(
                place.site, *spots, lambda old: torch.where(mine.to(old.device), old, value.to(old.device))
            )

        return write

    def _placed(self, site: Site, base: np.ndarray, spots: tuple[Tensor, Tensor], start: int, width: int) -> Tensor:
        """Which numbers of a whole site are placed for a variable, bool [tokens, width]."""
        rows, tokens = spots
        longest = int(self.pool.lengths[-1])
        mask = torch.zeros(len(rows), width, dtype=torch.bool)
        keys = (rows - start) * longest + tokens
        for places in self.places.values():
            for place in places:
                if whole_site(place.site) != site:
                    continue
                columns = columns_of(place.site, self.network.facts)
                index = torch.arange(width) if columns is None else torch.tensor(columns)
                mine, at = self._spots(place, base, 0)
                hit = torch.searchsorted(keys, mine * longest + at)
                mask[hit[:, None], index[None, :]] = True
        return mask


__all__ = ["Answering", "Objective", "ObjectivePart", "TrainingDraws"]
