"""The inputs of one network in a run, each input once: the protocol that each kind of input implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np

from causal_dsl.causal.designs import Drawn
from causal_dsl.diagnostics import NOWHERE, Span, fail
from causal_dsl.inputs.conditions import NONE, Choices
from causal_dsl.program.program import Alignment
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.network_kinds import NETWORK_KINDS, NetworkKind

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from causal_dsl.inputs.batches import Batch
#: Inputs as a pass is given them: the token ids of each prompt, or a tensor [rows, …].
InputRows: TypeAlias = "Sequence[Sequence[int]] | Tensor"


class Receiver(Protocol):
    """The facts that a batch needs of the network that is given it; see :class:`~causal_dsl.network.network.Network`."""

    @property
    def facts(self) -> Facts: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def layout(self) -> Architecture | None: ...
    @property
    def accepts(self) -> frozenset[str]: ...


class Inputs(ABC):
    """The distinct inputs of one network. ``add`` enters them; every other method names them by their index.

    Two inputs that the network reads alike may differ in what positions name in them: they are then two inputs with one
    :attr:`runs`. Inputs without tokens have the length 1, and every position names their token 0.
    """

    #: the kind of network that is given such inputs, where nothing else tells it
    kind: ClassVar[str]
    #: to how many rows a batch of a few inputs is filled up, where it is tried whether rows look at their neighbours
    filled: ClassVar[int]
    #: what batches are made of then, as shares of the rows that are tried, and how a network is mended that does look at them
    orders: ClassVar[tuple[float, ...]]
    alone: ClassVar[str]
    #: why the claim of a cell is not tried in thousands of such inputs that a `where` leaves out; empty where their network decides
    costly: ClassVar[str] = ""
    #: of the cost of a test, the part that is spent once the verdicts are known, in the cells that would be called true
    later_share: ClassVar[float] = 0.0
    #: of how many inputs the vectors of a place are looked at, where one token of each is read; None: of all that are run
    looked_at: ClassVar[int | None] = None

    def __init__(self, facts: Facts, tokens: Tokens | None = None):
        self.facts, self.tokens = facts, tokens
        self._columns: dict[str, np.ndarray] = {}
        self._first: dict[bytes, int] = {}
        #: for each position, where its tokens in an input begin in the list of all that were located, and how many they are
        self._starts: dict[Position | None, np.ndarray] = {}
        self._sizes: dict[Position | None, np.ndarray] = {}
        self._tokens: dict[Position | None, list[int]] = {}
        self._flat: dict[Position | None, np.ndarray] = {}

    @property
    def traits(self) -> NetworkKind:
        """The record of the networks that are given such inputs."""
        return self.facts.traits if self.facts.traits.seen else NETWORK_KINDS[self.kind]

    # ── of rows, as a network is given them ─────────────────────────────────────────────────────

    @staticmethod
    @abstractmethod
    def batch(network: Receiver, rows: InputRows, padding: Literal["left", "right"]) -> Batch:
        """InputRows side by side, as the forward of the model takes them."""

    @staticmethod
    @abstractmethod
    def standard(facts: Facts) -> list[InputRows]:
        """Batches of a few inputs: a network of these facts can be run on one of them at least, unless it is made for others."""

    @staticmethod
    @abstractmethod
    def lengths_of(rows: InputRows) -> np.ndarray:
        """The number of tokens of each row."""

    # ── of the inputs of a run ──────────────────────────────────────────────────────────────────

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def add(self, alignment: Alignment, drawn: Drawn, role: str, span: Span, choices: Choices = NONE) -> np.ndarray:
        """Enter the inputs of a role; gives the index of each row's input [n]. ``choices``: whether the conditions that
        positions depend on hold in its rows."""

    @abstractmethod
    def rows(self, indices: np.ndarray) -> InputRows:
        """Some inputs [m], as a network is given them."""

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The content that the network reads: of two inputs it is the same just if they are one to the network."""

    @abstractmethod
    def some(self, most: int | None = None) -> np.ndarray:
        """A few of the inputs that stand for all of them where the network is tried on what it is about to be given;
        ``most``: so many from all over, too."""

    def length(self, index: int) -> int:
        """The number of tokens of an input."""
        return 1

    def read(self, index: int) -> int:
        """The token of an input whose logits are the answer's."""
        return 0

    def text(self, index: int) -> str:
        """The text of an input; empty where it is none."""
        return ""

    def texts(self, indices: np.ndarray) -> list[str] | None:
        """The texts of some inputs; None where such inputs are none."""
        return None

    def shown_tokens(self, index: int) -> tuple[str, ...]:
        """The tokens of an input as text; nothing where it has none."""
        return ()

    @abstractmethod
    def contents(self, position: Position | None, indices: np.ndarray) -> np.ndarray:
        """The content that is read at a place of some inputs, which nothing that is computed later decides: a number for each content [m]."""

    @abstractmethod
    def as_numbers(self, indices: np.ndarray) -> np.ndarray:
        """The numbers [m, width] that a network reads of some inputs."""

    def locate(self, position: Position | None, index: int, span: Span) -> tuple[int, ...]:
        """The tokens that a position names in an input, found anew."""
        return (0,)

    # ── of all of them ──────────────────────────────────────────────────────────────────────────

    def _column(self, name: str, of: Callable[[int], int]) -> np.ndarray:
        """A number of each input [len(self)], computed once, also where more inputs are entered later."""
        known = self._columns.get(name, np.zeros(0, np.int64))
        if len(known) < len(self):
            new = np.fromiter((of(index) for index in range(len(known), len(self))), np.int64, len(self) - len(known))
            known = self._columns[name] = np.concatenate([known, new])
        return known

    @property
    def runs(self) -> np.ndarray:
        """For every input the first one that the network reads alike: they are one run."""
        return self._column("runs", lambda index: self._first.setdefault(self.content(index), index))

    def alike(self, others: Inputs) -> np.ndarray:
        """For every one of the ``others`` the first input that the network reads alike, -1 where none is [len(others)]."""
        first = {self.content(index): int(index) for index in np.unique(self.runs)}
        return np.array([first.get(others.content(index), -1) for index in range(len(others))], dtype=np.int64)

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of every input."""
        return self._column("lengths", self.length)

    @property
    def reads(self) -> np.ndarray:
        """The token of every input whose logits are the answer's."""
        return self._column("reads", self.read)

    def spans(self, position: Position | None, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that a position names in many inputs, flattened: which of ``indices`` [m], and the token [m]."""
        counts = self.sizes(position, indices)
        starts, flat = self._starts[position], self._flat.get(position)
        if flat is None or len(flat) != len(self._tokens[position]):
            flat = self._flat[position] = np.array(self._tokens[position], dtype=np.int64)
        which = np.repeat(np.arange(len(indices)), counts)
        begin = np.cumsum(counts) - counts
        return which, flat[np.arange(len(which)) - begin[which] + starts[indices][which]]

    def spots(self, position: Position | None, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """:meth:`spans`, in which no position names all tokens; of inputs that have one vector the token is None."""
        if not self.traits.positions:
            return np.arange(len(indices)), None
        if position is not None:
            return self.spans(position, indices)
        lengths = self.lengths[indices]
        return np.repeat(np.arange(len(indices)), lengths), np.concatenate([np.arange(n) for n in lengths.tolist()])

    def there(self, indices: np.ndarray, padding: str) -> np.ndarray | None:
        """Which tokens of a batch of some inputs are no padding [m, tokens]; None where they have one vector."""
        if not self.traits.positions:
            return None
        lengths = self.lengths[indices]
        found: np.ndarray = np.arange(int(lengths.max()))[None] < lengths[:, None]
        return np.flip(found, 1).copy() if padding == "left" else found

    def unknown_words(self) -> tuple[int, tuple[str, ...]]:
        """How many inputs hold what the tokenizer does not know, and all of this, each once."""
        return 0, ()

    def sizes(self, position: Position | None, indices: np.ndarray, span: Span = NOWHERE) -> np.ndarray:
        """How many tokens a position names in many inputs, ``[len(indices)]``. Each is located once;
        raises as :func:`~causal_dsl.program.locate.locate`."""
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
            for index in sorted(set(indices[found < 0].tolist())):
                here = self.locate(position, index, span)
                sizes[index], starts[index] = len(here), len(tokens)
                tokens += here
            found = sizes[indices]
        return found

    def where(self, position: Position | None, index: int, span: Span = NOWHERE) -> tuple[int, ...]:
        """The tokens that a position names in an input."""
        known = self._sizes.get(position)
        if known is None or len(known) < len(self) or known[index] < 0:
            self.sizes(position, np.array([index]), span)
        size, start = int(self._sizes[position][index]), int(self._starts[position][index])
        return tuple(self._tokens[position][start : start + size])


def lengths_agree(
    inputs: Inputs,
    position: Position | None,
    mine: Sequence[int] | np.ndarray,
    theirs: Position | None,
    others: Sequence[int] | np.ndarray,
    span: Span | None,
    help: str = "name one token of it, `name.last` or `name.first`, or draw values with the same number of tokens",
) -> None:
    """Refuse a span patched into a span of another length; the message names the row (E539), and how to mend it (``help``)."""
    if position is None:
        return
    mine, others = np.asarray(mine), np.asarray(others)
    where = span or NOWHERE
    sizes = [inputs.sizes(position, mine, where), inputs.sizes(theirs, others, where)]
    for row in np.flatnonzero(sizes[0] != sizes[1])[:1].tolist():
        a, b = int(mine[row]), int(others[row])
        raise fail(
            "E539",
            f"`{position}` is {sizes[0][row]} tokens in the base and {sizes[1][row]} in the source",
            where,
            notes=(f"row {row}: base {inputs.text(a)!r}", f"row {row}: source {inputs.text(b)!r}"),
            help=help,
        )


def spread(count: int, most: int) -> np.ndarray:
    """Of ``count`` inputs ``most`` from all over."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def pick(rows: InputRows, which: np.ndarray) -> Any:
    """Some rows [m], each as often as it is named."""
    if isinstance(rows, Sequence):
        return [rows[row] for row in which.tolist()]
    return rows[which]  # numpy's numbers pick from a tensor as torch's do
