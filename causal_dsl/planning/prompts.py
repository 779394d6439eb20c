"""The distinct inputs of a network over all tests: prompts with their tokens, or vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from causal_dsl.causal.designs import Drawn
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.ranks import combined, firsts
from causal_dsl.counter import normals
from causal_dsl.diagnostics import NOWHERE, Diagnostics, Span, fail
from causal_dsl.program.facts import Facts
from causal_dsl.program.locations import Position
from causal_dsl.program.program import Alignment, InputPlacement
from causal_dsl.program.prompts import Rendered, check_length, locate, mask_position, render, show_value
from causal_dsl.program.tokens import Encoded, Tokens
from causal_dsl.program.vocabulary import refuse_beyond

#: Rows up to which a loop is faster than sorting columns.
_FEW = 500


@dataclass(frozen=True)
class Prompt:
    """One rendered prompt and its tokens; ``read`` is the one whose logits are the answer's."""

    rendered: Rendered
    encoded: Encoded
    read: int

    @property
    def text(self) -> str:
        return self.rendered.text

    def __len__(self) -> int:
        return len(self.encoded)


@dataclass
class Inputs:
    """What one network reads in a run, each input once.

    A sequence network has ``prompts`` (rows may share their tokens and still differ in where a hole is: those are
    two prompts with one ``forward``); a vector network has ``vectors`` [m, width].
    """

    facts: Facts
    tokens: Tokens | None
    prompts: list[Prompt] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    _index: dict[Any, int] = field(default_factory=dict)
    #: the same by prompt lines and codes; what gave the codes is held, so that nothing else gets its identity
    _coded: dict[Any, tuple[Any, dict[tuple[Any, ...], int]]] = field(default_factory=dict)
    _runs: dict[tuple[int, ...], int] = field(default_factory=dict)
    #: for each position, where its tokens in an input begin in the list of all that were located, and how many they are
    _starts: dict[Position | None, np.ndarray] = field(default_factory=dict)
    _sizes: dict[Position | None, np.ndarray] = field(default_factory=dict)
    _tokens: dict[Position | None, list[int]] = field(default_factory=dict)
    _run_table: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    _length_table: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    _read_table: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.prompts) or len(self.vectors)

    @property
    def sequence(self) -> bool:
        return self.tokens is not None

    def length(self, index: int) -> int:
        """The number of tokens of an input; 1 for a vector."""
        return len(self.prompts[index]) if self.prompts else 1

    def ids(self, index: int) -> tuple[int, ...]:
        """The token ids of a prompt."""
        return self.prompts[index].encoded.ids

    def content(self, index: int) -> tuple[int, ...] | bytes:
        """What the network reads: the token ids of a prompt, or the numbers of a vector."""
        return self.ids(index) if self.prompts else self.vectors[index].tobytes()

    def text(self, index: int) -> str:
        """The text of a prompt; empty for a vector."""
        return self.prompts[index].text if self.prompts else ""

    def run_of(self, index: int) -> int:
        """The first input with the same tokens: prompts that differ only in their holes are one run."""
        if not self.prompts:
            return index
        return self._runs.setdefault(self.ids(index), index)

    @property
    def runs(self) -> np.ndarray:
        """:meth:`run_of` of every input."""
        if len(self._run_table) != len(self):
            self._run_table = np.array([self.run_of(index) for index in range(len(self))], dtype=np.int64)
        return self._run_table

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of every input."""
        if len(self._length_table) != len(self):
            self._length_table = np.array([self.length(index) for index in range(len(self))], dtype=np.int64)
        return self._length_table

    @property
    def reads(self) -> np.ndarray:
        """The token of every input whose logits are the answer's: the last one, or the masked one; 0 for vectors."""
        if len(self._read_table) != len(self):
            self._read_table = np.array([prompt.read for prompt in self.prompts] or [0] * len(self), dtype=np.int64)
        return self._read_table

    def spans(self, position: Position | None, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that a position names in many inputs, flattened: which of ``indices`` [m], and the token [m]."""
        counts = self.sizes(position, indices)
        starts, flat = self._starts[position], np.array(self._tokens[position], dtype=np.int64)
        which = np.repeat(np.arange(len(indices)), counts)
        begin = np.cumsum(counts) - counts
        return which, flat[np.arange(len(which)) - begin[which] + starts[indices][which]]

    def sizes(self, position: Position | None, indices: np.ndarray, span: Span = NOWHERE) -> np.ndarray:
        """How many tokens a position names in many inputs, ``[len(indices)]``. Each is located once;
        raises as :func:`~causal_dsl.program.prompts.locate`."""
        known = self._sizes.get(position)
        if known is None or len(known) < len(self):
            # Room for the inputs that are still to come, so that the tables are not copied for each test.
            room = 2 * len(self)
            for tables in (self._sizes, self._starts):
                grown = np.full(room, -1, np.int64)
                if known is not None:
                    grown[: len(known)] = tables[position]
                tables[position] = grown
            self._tokens.setdefault(position, [])
        sizes, starts, tokens = self._sizes[position], self._starts[position], self._tokens[position]
        found = sizes[indices]
        if (found < 0).any():
            for index in np.unique(indices[found < 0]).tolist():
                here = self._locate(position, index, span)
                sizes[index], starts[index] = len(here), len(tokens)
                tokens += here
            found = sizes[indices]
        return found

    def where(self, position: Position | None, index: int, span: Span = NOWHERE) -> tuple[int, ...]:
        """The tokens that a position names in an input; (0,) for a vector."""
        size = int(self.sizes(position, np.array([index]), span)[0])
        start = int(self._starts[position][index])
        return tuple(self._tokens[position][start : start + size])

    def _locate(self, position: Position | None, index: int, span: Span) -> tuple[int, ...]:
        if position is None or not self.prompts:
            return (0,)
        prompt = self.prompts[index]
        return locate(position, prompt.rendered, prompt.encoded, span)

    def add(self, alignment: Alignment, drawn: Drawn, role: str, span: Span) -> np.ndarray:
        """Enter the inputs of a role; gives the index of each row's input [n]."""
        settings = drawn.values[role]
        if alignment.prompts:
            return self._add_prompts(alignment, settings, drawn.n, span)
        return self._add_vectors(alignment, settings, span)

    def _add_prompts(self, alignment: Alignment, settings: dict[str, np.ndarray], n: int, span: Span) -> np.ndarray:
        if self.tokens is None:
            raise fail(
                "E510",
                f"`{alignment.network.name}` has no tokenizer",
                alignment.network.span,
                help="put a tokenizer.json beside the weights",
            )
        lines = [line.template for line in alignment.prompts]
        names = sorted({hole for template in lines for hole in template.holes})
        chosen = settings["template"] if len(lines) > 1 or "template" in settings else np.zeros(n, dtype=np.int64)
        first, back = _different([chosen, *(settings[name] for name in names)])
        shown = [str(template) for template in lines]
        # By the codes first, so that values that came before in the same model and prompts are not told again.
        model = alignment.model
        kinds = tuple(model.variables[name].type for name in names)
        _, known = self._coded.setdefault((id(model.strings), kinds, *shown), (model.strings, {}))
        columns = (chosen, *(settings[name] for name in names))
        rows = list(zip(*(column[first].tolist() for column in columns), strict=True))
        new = np.array([at for at, row in enumerate(rows) if row not in known], np.int64)
        texts = {
            name: [show_value(value) for value in model.decode(name, settings[name][first[new]])] for name in names
        }
        faults = Diagnostics()
        for i, at in enumerate(new.tolist()):
            line = rows[at][0]
            template = lines[line]
            values = {hole: texts[hole][i] for hole in template.holes}
            key = (shown[line], tuple(values.items()))
            index = self._index.get(key)
            if index is None:
                rendered = render(template, values)
                encoded = self.tokens.encode(rendered.text)
                check_length(encoded, rendered.text, self.facts, alignment.prompts[line].span, faults)
                faults.raise_errors()
                refuse_beyond(self.tokens, encoded.ids, rendered.text, alignment.prompts[line].span)
                read = len(encoded) - 1
                if self.facts.both_ways:
                    read = mask_position(self.tokens, encoded, rendered.text, alignment.prompts[line].span)
                index = self._index[key] = len(self.prompts)
                self.prompts.append(Prompt(rendered, encoded, read))
            known[rows[at]] = index
        return np.array([known[row] for row in rows], dtype=np.int64)[back]

    def _add_vectors(self, alignment: Alignment, settings: dict[str, np.ndarray], span: Span) -> np.ndarray:
        if not alignment.inputs:
            kind = "prompt" if self.sequence else "input"
            raise fail(
                "E531",
                f"`{alignment.name}` does not say what the network reads",
                alignment.span,
                help='write prompt "…"'
                if kind == "prompt"
                else "write `a @ input[0:4] via onehot()` for every variable that enters",
            )
        width = self.facts.widths[0] if self.facts.widths else max(p.stop for p in alignment.inputs)
        first, back = _different([settings[placement.variable] for placement in alignment.inputs])
        matrix = np.zeros((len(first), width))
        for placement in alignment.inputs:
            matrix[:, placement.start : placement.stop] = encode(
                placement, alignment.model, settings[placement.variable][first]
            )
        found = np.empty(len(first), dtype=np.int64)
        for at, row in enumerate(matrix):
            key = row.tobytes()
            index = self._index.get(key)
            if index is None:
                index = self._index[key] = len(self.vectors)
                self.vectors.append(row.copy())
            found[at] = index
        return found[back]


def _different(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each combination of codes, in the order of the rows, and for each row which of these it is like."""
    if len(columns[0]) <= _FEW:
        seen: dict[tuple[float, ...], int] = {}
        numbers = [seen.setdefault(row, len(seen)) for row in zip(*(c.tolist() for c in columns), strict=True)]
        back = np.array(numbers, np.int64)
        return firsts(back, len(seen)), back
    back, count = combined(columns, np.zeros(len(columns[0]), np.int64))
    first = firsts(back, count)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return first[order], place[back]


def encode(placement: InputPlacement, model: CausalModel, codes: np.ndarray) -> np.ndarray:
    """The numbers [n, stop - start] by which the values of a variable enter a vector network."""
    different, back = np.unique(codes, return_inverse=True)  # each value is decoded once
    values = model.decode(placement.variable, different)
    if placement.encoding == "scalar":
        return np.array([[float(value)] for value in values])[back.reshape(-1)]
    domain = model.variables[placement.variable].domain
    assert isinstance(domain, Finite)
    order = {value: i for i, value in enumerate(domain.values)}
    if placement.encoding == "onehot":
        table = np.eye(len(order))
    else:
        settings = dict(placement.settings)
        table = normals(settings["seed"], (len(order), settings["dim"]))
    return table[[order[value] for value in values]][back.reshape(-1)]


def lengths_agree(
    inputs: Inputs,
    position: Position | None,
    mine: Sequence[int] | np.ndarray,
    theirs: Position | None,
    others: Sequence[int] | np.ndarray,
    span: Span | None,
) -> None:
    """Refuse a span patched into a span of another length; the message names the row (E539)."""
    if position is None:
        return
    mine, others = np.asarray(mine), np.asarray(others)
    sizes = [inputs.sizes(position, mine), inputs.sizes(theirs, others)]
    for row in np.flatnonzero(sizes[0] != sizes[1])[:1].tolist():
        a, b = int(mine[row]), int(others[row])
        here, there = inputs.where(position, a), inputs.where(theirs, b)
        if len(here) != len(there):
            raise fail(
                "E539",
                f"`{position}` is {len(here)} tokens in the base and {len(there)} in the source",
                span or NOWHERE,
                notes=(
                    f"row {row}: base {inputs.prompts[a].text!r}",
                    f"row {row}: source {inputs.prompts[b].text!r}",
                ),
                help="patch one token of it, `name.last` or `name.first`, or draw values of as many tokens",
            )
