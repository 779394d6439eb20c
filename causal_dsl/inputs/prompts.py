"""Prompts: rows of tokens, of which one is read."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from causal_dsl.base.counter import below, bits, key
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Drawn
from causal_dsl.causal.ranks import FEW, different
from causal_dsl.diagnostics import Diagnostics, Span, fail
from causal_dsl.inputs.conditions import NONE, Choices
from causal_dsl.inputs.protocol import InputRows, Inputs, Receiver, spread
from causal_dsl.program.locate import locate
from causal_dsl.program.program import Alignment
from causal_dsl.program.prompt_tokens import check_length, mask_position
from causal_dsl.program.templates import Rendered, render, show_value
from causal_dsl.program.tokens import Encoded, Tokens
from causal_dsl.program.unknown_tokens import refuse_beyond
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts

if TYPE_CHECKING:
    from causal_dsl.inputs.batches import Batch


@dataclass(frozen=True)
class PromptRow:
    """One rendered prompt and its tokens; ``read`` is the one whose logits are the answer's."""

    rendered: Rendered
    encoded: Encoded
    read: int
    #: whether the conditions hold that positions in it depend on
    choices: Mapping[str, bool] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.rendered.text

    def __len__(self) -> int:
        return len(self.encoded)


class PromptInputs(Inputs):
    """``prompts`` in the order of their indices. Some may share their tokens and still differ in where a placeholder is."""

    kind, filled, orders = "language", 256, (1.0, 0.7, 0.3)
    alone = "let the logits of a prompt depend on its own tokens alone, whatever else is in the batch"
    costly, later_share, looked_at = "its inputs are prompts", 0.05, 64

    def __init__(self, facts: Facts, tokens: Tokens | None = None):
        super().__init__(facts, tokens)
        self.prompts: list[PromptRow] = []
        self._index: dict[Any, int] = {}
        #: the same by prompt lines and codes; what gave the codes is held, so that nothing else gets its identity
        self._coded: dict[Any, tuple[Any, dict[tuple[Any, ...], int]]] = {}

    @staticmethod
    def batch(network: Receiver, rows: InputRows, padding: Literal["left", "right"]) -> Batch:
        from causal_dsl.inputs.batches import padded

        if "position_ids" not in network.accepts and "kwargs" not in network.accepts:
            padding = "right"  # positions then count from the left, and must begin with the prompt
        if network.layout is not None and network.layout.right:
            padding = "right"
        return padded(_listed(rows), padding, network.device, network.accepts, network.facts.first_position)

    @staticmethod
    def standard(facts: Facts) -> list[InputRows]:
        """Prompts of several lengths."""
        lengths = [min(length, facts.context or length) for length in (5, 3, 4)]
        most = facts.vocabulary or 2
        return [[below(bits(key("inputs", r), np.arange(n)), most).tolist() for r, n in enumerate(lengths)]]

    @staticmethod
    def lengths_of(rows: InputRows) -> np.ndarray:
        return np.array([len(prompt) for prompt in rows], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, indices: np.ndarray) -> list[list[int]]:
        return [list(self.ids(index)) for index in indices.tolist()]

    def ids(self, index: int) -> tuple[int, ...]:
        """The token ids of a prompt."""
        return self.prompts[index].encoded.ids

    def content(self, index: int) -> bytes:
        prompt = self.prompts[index]
        own = prompt.read == len(prompt) - 1
        return array("q", [*self.ids(index), *(() if own else (-1, prompt.read))]).tobytes()

    def some(self, most: int | None = None) -> np.ndarray:
        """One of the fewest tokens and one of the most."""
        order = np.argsort(self.lengths, kind="stable")
        ends = np.unique(order[[0, -1]]) if len(order) else order
        return ends if most is None else np.concatenate([ends, spread(len(order), most)])

    def length(self, index: int) -> int:
        return len(self.prompts[index])

    def read(self, index: int) -> int:
        return self.prompts[index].read

    def text(self, index: int) -> str:
        return self.prompts[index].text

    def texts(self, indices: np.ndarray) -> list[str]:
        return [self.text(index) for index in indices.tolist()]

    def shown_tokens(self, index: int) -> tuple[str, ...]:
        encoded, text = self.prompts[index].encoded, self.text(index)
        assert self.tokens is not None
        pieces = zip(encoded.ids, encoded.offsets, encoded.special, strict=True)
        return tuple(self.tokens.token(id) if special else text[start:end] for id, (start, end), special in pieces)

    def unknown_words(self) -> tuple[int, tuple[str, ...]]:
        words: dict[str, None] = {}
        held = 0
        for prompt in self.prompts:
            unknown = None if self.tokens is None else self.tokens.unknown_id
            at = [place for place, one in enumerate(prompt.encoded.ids) if one == unknown]
            held += bool(at)
            words |= dict.fromkeys(prompt.text[slice(*prompt.encoded.offsets[place])].strip() for place in at)
        return held, tuple(words)

    def contents(self, position: Position | None, indices: np.ndarray) -> np.ndarray:
        """The token there, or where the answer is read."""
        spots = self.reads[indices] if position is None else self.spans(position, indices)[1]
        pairs = zip(indices.tolist(), spots.tolist(), strict=True)
        return np.array([int(self.ids(index)[spot]) for index, spot in pairs], np.int64)

    def as_numbers(self, indices: np.ndarray) -> np.ndarray:
        """Whether each token is there at each position."""
        rows = self.rows(indices)
        longest = max(len(row) for row in rows)
        ids = np.array([[*row, *[-1] * (longest - len(row))] for row in rows])
        return np.concatenate([(column[:, None] == np.unique(column)).astype(float) for column in ids.T], axis=1)

    def locate(self, position: Position | None, index: int, span: Span) -> tuple[int, ...]:
        if position is None:
            return (0,)
        prompt = self.prompts[index]
        return locate(position.settled(prompt.choices), prompt.rendered, prompt.encoded, span)

    def add(self, alignment: Alignment, drawn: Drawn, role: str, span: Span, choices: Choices = NONE) -> np.ndarray:
        settings, n = drawn.values[role], drawn.n
        if not alignment.prompts:
            raise fail(
                "E531",
                f"`{alignment.name}` does not say what the network reads",
                alignment.span,
                help='write prompt "…"',
            )
        if self.tokens is None:
            raise fail(
                "E510",
                f"`{alignment.network.name}` has no tokenizer",
                alignment.network.span,
                help="put a tokenizer.json beside the weights",
            )
        lines = [line.template for line in alignment.prompts]
        names = sorted({placeholder for template in lines for placeholder in template.placeholders})
        chosen = settings["template"] if len(lines) > 1 or "template" in settings else np.zeros(n, dtype=np.int64)
        columns = [chosen, *(settings[name] for name in names), *(holds.astype(np.int64) for holds in choices.values())]
        # Few rows are looked up faster than it is found which of them are alike.
        first, back = different(columns) if n > FEW else (np.arange(n), np.arange(n))
        shown = [str(template) for template in lines]
        read_at = alignment.read_at
        if read_at is not None:
            shown = [f"{line}, read at {read_at}" for line in shown]
        # By the codes first, so that values that came before in the same model and prompts are not told again.
        model = alignment.model
        kinds = tuple(model.variables[name].type for name in names)
        _, known = self._coded.setdefault((id(model.strings), kinds, tuple(choices), *shown), (model.strings, {}))
        rows = list(zip(*(column[first].tolist() for column in columns), strict=True))
        before = list(map(known.get, rows))
        if None not in before:
            return np.array(before, dtype=np.int64)[back]
        fresh: dict[tuple[Any, ...], int] = {}
        for at, row in enumerate(rows):
            if before[at] is None:
                fresh.setdefault(row, at)
        new = np.array(list(fresh.values()), np.int64)
        texts = {
            name: [show_value(value) for value in model.decode(name, settings[name][first[new]])] for name in names
        }
        faults = Diagnostics()
        for i, at in enumerate(new.tolist()):
            line = rows[at][0]
            template = lines[line]
            values = {placeholder: texts[placeholder][i] for placeholder in template.placeholders}
            holds = {said: bool(column[first[at]]) for said, column in choices.items()}
            key = (shown[line], tuple(values.items()), tuple(holds.items()))
            index = self._index.get(key)
            if index is None:
                rendered = render(template, values)
                encoded = self.tokens.encode(rendered.text)
                if not check_length(encoded, rendered.text, self.facts, alignment.prompts[line].span, faults):
                    faults.raise_errors()
                refuse_beyond(self.tokens, encoded.ids, rendered.text, alignment.prompts[line].span)
                read = 0 if self.facts.labels and self.facts.both_ways else len(encoded) - 1
                if self.facts.masked:
                    read = mask_position(self.tokens, encoded, rendered.text, alignment.prompts[line].span)
                if read_at is not None:
                    (read,) = locate(read_at, rendered, encoded, span)
                index = self._index[key] = len(self.prompts)
                self.prompts.append(PromptRow(rendered, encoded, read, holds))
            known[rows[at]] = index
        return np.array([known[row] for row in rows], dtype=np.int64)[back]


def _listed(rows: InputRows) -> Sequence[Sequence[int]]:
    return rows if isinstance(rows, Sequence) else rows.tolist()
