"""Inputs of one run, drawn: from the list of all of them where it is short, else variable by variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import below, bits, key, unit
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.construct import Construction
from causal_dsl.causal.domains import Finite, show
from causal_dsl.causal.input_list import Support
from causal_dsl.causal.interval_bounds import boxes_of
from causal_dsl.causal.splits import part_of, restrict
from causal_dsl.causal.support import distinct, known, needs, support_of
from causal_dsl.diagnostics import Diagnostics, fail
from causal_dsl.vocabulary.called_words import PARTS

if TYPE_CHECKING:
    from causal_dsl.causal.condition_functions import Condition, Predicate
    from causal_dsl.causal.model import CausalModel

#: A run with at most this many inputs is drawn from the list of them.
LISTED = 400_000
#: Inputs that `check` tries a model on where there are too many to list.
_TRIED = 4096
_CANDIDATES = 2**22
#: How often an input is drawn anew until it is in its part, of which one fifth are, and what lies between the attempts.
_AGAIN = 64
_STRIDE = 2**44
#: Lists of one model that are kept: it has few parts, and is shown by few alignments.
_LISTS = 32


def with_templates(model: CausalModel, support: Support, templates: Sequence[Predicate | None]) -> Support:
    """Every input once for each prompt line that it fits; the weight is split evenly among them.

    Raises SpecError (E334) if an input fits none.
    """
    if not templates:
        return support
    inside = fits(model, support.values, templates, support.n)
    counts = inside.sum(axis=1)
    whole = int(np.lcm.reduce(np.flatnonzero(np.bincount(counts)))) if support.n else 1
    rows, lines = np.nonzero(inside)
    weights = (support.weights * (whole // counts))[rows]
    weights = weights // (int(np.gcd.reduce(weights)) if len(weights) else 1)
    return Support(
        {**{name: codes[rows] for name, codes in support.values.items()}, "template": lines}, weights, support.broken
    )


def fits(
    model: CausalModel, values: Mapping[str, np.ndarray], templates: Sequence[Predicate | None], n: int
) -> np.ndarray:
    """Which prompt lines each input fits, ``[n, lines]`` bool; each fits one at least (else E334)."""
    if "template" in model.variables:
        raise fail(
            "E334",
            "`template` is the prompt that a row uses",
            model.variables["template"].span,
            label="this variable would hide it",
            help="give the variable another name",
        )
    columns = [np.ones(n, bool) if where is None else where({"": values}, n) for where in templates]
    inside = np.stack(columns, axis=1)
    none = ~inside.any(axis=1)
    if none.any():
        row = int(np.argmax(none))
        shown = ", ".join(
            f"{name} = {show(model.value(name, codes[row]))}"
            for name, codes in values.items()
            if name in model.variables
        )
        span = next(where.span for where in templates if where is not None)
        raise fail(
            "E334",
            "no prompt fits some inputs",
            span,
            notes=(f"for example {shown}",),
            help="add a `prompt` without `where`, or one for these inputs",
        )
    return inside


def listed(
    model: CausalModel, split: str, templates: tuple[Predicate | None, ...]
) -> tuple[Support | None, np.ndarray | None, bool]:
    """The inputs of a part with their prompts, where they are few, the sums of their weights, and whether these are equal."""
    at = (split, templates, model.lines, model.by, model.weight)
    if at not in model.listed:
        support = support_of(model, LISTED)
        if support is not None:
            support = with_templates(model, restrict(model, support, split), templates)
        sums = None if support is None else np.cumsum(support.weights)
        even = support is not None and bool((support.weights == support.weights[:1]).all())
        if len(model.listed) >= _LISTS:
            model.listed.clear()
        model.listed[at] = support, sums, even
    return model.listed[at]


def lines_read(templates: Sequence[Predicate | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for where in templates if where is not None for _, name in where.condition.inputs))


@dataclass
class Sampler:
    """Draws the inputs of one role.

    What is proposed has only the columns on which acceptance depends (``wanted``, and what the model's conditions need);
    the rest follows from the row and its attempt once a proposal is taken. With ``split``, all are of that part.
    Columns: ``#`` is an index into ``support`` where the inputs are ``listed`` and few enough; else ``@`` is the attempt,
    beside codes of exogenous variables.
    """

    model: CausalModel
    role: str
    seed: int
    templates: tuple[Predicate | None, ...] = ()
    wanted: tuple[str, ...] = ()
    split: str = ""
    listed: bool = True

    def __post_init__(self) -> None:
        model = self.model
        self.support, self._sums, self._even = (
            listed(model, self.split, self.templates) if self.listed else (None, None, False)
        )
        self._templated = "template" in self.wanted and bool(self.templates)
        #: how many candidates each condition of the model was asked about, and how many it let through
        self.tried: dict[int, tuple[int, int]] = {}
        if self.support is not None:  # its rows have everything
            return
        self._needs = [(needs(model, tuple(where.inputs)), where) for where in model.wheres]
        early = [name for name in self.wanted if name in model.variables]
        early += [name for where in model.wheres for name in where.inputs]
        early += lines_read(self.templates) if self._templated else ()
        needed = needs(model, tuple(early)) if not self.split else frozenset(model.exogenous)
        self._early = tuple(name for name in model.exogenous if name in needed)
        self._late = tuple(name for name in model.exogenous if name not in needed)

    def _bits(self, name: str, rows: np.ndarray, attempts: np.ndarray) -> np.ndarray:
        return bits(key(self.seed, self.role, name), rows, attempts)

    def propose(self, rows: np.ndarray, attempts: np.ndarray) -> tuple[np.ndarray, Columns]:
        """One candidate for each (row, attempt); gives the indices of those that the model allows, and their columns."""
        at = np.arange(len(rows))
        if self.support is not None and self._sums is not None:
            random = self._bits("", rows, attempts)
            if self._even:
                return at, {"#": below(random, self.support.n)}
            return at, {"#": np.searchsorted(self._sums, below(random, self.support.total), side="right")}
        if not self.split:
            return self._candidates(rows, attempts)
        # One candidate after the other for each role by itself: else a row of k roles would find its k parts only once
        # in 5**k attempts.
        kept: list[np.ndarray] = []
        parts: list[Columns] = []
        for again in range(_AGAIN):
            found, columns = self._candidates(rows[at], attempts[at] + again * _STRIDE)
            inside = part_of(self.model, columns) == PARTS.index(self.split)
            kept.append(at[found[inside]])
            parts.append({name: codes[inside] for name, codes in columns.items()})
            at = at[found[~inside]]
            if not len(at):
                break
        order = np.argsort(np.concatenate(kept))
        return np.concatenate(kept)[order], {
            name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]
        }

    def complement(
        self, rows: np.ndarray, attempts: np.ndarray, built: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Columns]:
        """Like :meth:`propose`, with the codes of some exogenous variables given; not for listed inputs."""
        at, columns = self._candidates(rows, attempts, built)
        # What is drawn late hangs on the row and attempt alone, so that what is built must be there to override it.
        columns |= {name: codes[at] for name, codes in built.items() if name in self._late}
        if self.split and len(at):
            inside = part_of(self.model, columns) == PARTS.index(self.split)
            at, columns = at[inside], {name: codes[inside] for name, codes in columns.items()}
        return at, columns

    def _candidates(
        self, rows: np.ndarray, attempts: np.ndarray, built: Mapping[str, np.ndarray] | None = None
    ) -> tuple[np.ndarray, Columns]:
        at = np.arange(len(rows))
        built = built or {}
        columns: Columns = {"@": attempts}
        waiting = self._needs
        for name in self._early:
            drawn = built.get(name)
            here = rows if len(at) == len(rows) else rows[at]
            columns[name] = (
                self._draw(name, columns, self._bits(name, here, columns["@"])) if drawn is None else drawn[at]
            )
            ready = [where for need, where in waiting if need <= columns.keys()]
            waiting = [(need, where) for need, where in waiting if not need <= columns.keys()]
            for where in ready:
                keep = where(known(self.model, columns, where.inputs, len(at)), len(at))
                asked, held = self.tried.get(id(where), (0, 0))
                self.tried[id(where)] = (asked + len(at), held + int(keep.sum()))
                at = at[keep]
                columns = {other: codes[keep] for other, codes in columns.items()}
        if self._templated:
            columns["template"] = self._template(columns, rows[at])
        return at, columns

    def _draw(self, name: str, columns: Columns, random: np.ndarray) -> np.ndarray:
        model, n = self.model, len(random)
        if name in model.choices:
            choices = model.choices[name]
            codes, first = distinct(choices(known(model, columns, choices.parents, n), n))
            pick = below(random, first.sum(axis=1))
            column = np.argmax(np.cumsum(first, axis=1) > pick[:, None], axis=1)
            return codes[np.arange(n), column]
        domain = model.variables[name].domain
        if isinstance(domain, Finite):
            pick = below(random, domain.size)
            if not isinstance(domain.values, range):
                return model.codes(name)[pick]
            return pick + domain.values.start if domain.values.start else pick
        return np.minimum(domain.low + (domain.high - domain.low) * unit(random), domain.high)

    def _template(self, columns: Columns, rows: np.ndarray) -> np.ndarray:
        n = len(rows)
        values = known(self.model, columns, lines_read(self.templates), n)
        inside = fits(self.model, values, self.templates, n)
        pick = below(self._bits("template", rows, columns["@"]), inside.sum(axis=1))
        return np.argmax(np.cumsum(inside, axis=1) > pick[:, None], axis=1)

    def complete(self, columns: Columns, names: Iterable[str], n: int) -> Columns:
        """The columns of some of the ``wanted`` variables for proposed rows."""
        if self.support is not None:
            return {name: self.support.values[name][columns["#"]] for name in names}
        return known(self.model, columns, tuple(names), n)

    def everything(self, columns: Columns, rows: np.ndarray) -> Columns:
        """The columns of all variables for the proposals that were taken."""
        if self.support is not None:
            return {name: codes[columns["#"]] for name, codes in self.support.values.items()}
        columns = dict(columns)
        for name in (late for late in self._late if late not in columns):
            columns[name] = self._draw(name, columns, self._bits(name, rows, columns["@"]))
        if self.templates and not self._templated:
            columns["template"] = self._template(columns, rows)
        found = self.model.evaluate({"": rows, **columns})
        return {**found, **({"template": columns["template"]} if self.templates else {})}

    def rarest(self) -> tuple[Condition, int, int] | None:
        """The condition of the model that lets the least through: asked about, let through."""
        found = [(where, *self.tried[id(where)]) for where in self.model.wheres if id(where) in self.tried]
        return min(found, key=lambda item: item[2] / max(1, item[1]), default=None)


#: The help where nothing satisfies a condition: asking for fewer rows, or for a little less, does not help.
NEVER = "nothing satisfies it: change it, or leave a part of it out"


def report_rare(
    condition: Condition | Predicate,
    tried: int,
    held: int,
    diagnostics: Diagnostics,
    notes: tuple[str, ...] = (),
    built: tuple[int, int] = (0, 0),
) -> None:
    """A `where` that holds too rarely to draw from (E330). ``tried`` are draws, of which ``held`` satisfy it; ``built``: how many more
    were drawn where it may hold at all, and how many of them satisfy it.

    That none did is no proof that none could.
    """
    title = "this `where` almost never holds" if held or built[1] else "nothing was found that satisfies this `where`"
    diagnostics.report(
        "E330",
        title,
        condition.span,
        label=f"it held on {held:,} of {tried:,} draws"
        + (f", and on {built[1]:,} of {built[0]:,} where it may hold at all" if built[0] else ""),
        notes=notes,
        help="ask for less, or draw from smaller domains"
        if held or built[1]
        else "none of these draws satisfies it: change it, leave a part of it out, or draw from smaller domains",
    )


def try_out(model: CausalModel, diagnostics: Diagnostics) -> Columns | None:
    """Evaluate a model on all its inputs, or on a few thousand; gives the values where these are all.

    Reports a `where` of the model that never holds (E330); raises SpecError where the model cannot be evaluated.
    """
    support = support_of(model, LISTED)
    if support is not None:
        if support.broken is not None:
            diagnostics.report(
                "E330",
                "this `where` never holds",
                support.broken.span,
                label="on none of the inputs",
                help=NEVER,
            )
        return support.values if support.n else None
    sampler = Sampler(model, "base", 0)
    construction: Construction | None = None
    builder = sampler
    count = tried = 0
    while count < _TRIED and tried < _CANDIDATES:
        rows = np.arange(tried, tried + (_TRIED if tried < 16 * _TRIED else 2**18))
        once = np.zeros(len(rows), np.int64)
        if construction is None:
            at, columns = sampler.propose(rows, once)
        else:
            at, columns = builder.complement(rows, once, construction.propose(rows, once)["base"])
        count, tried = count + len(at), tried + len(rows)
        if len(at):
            (sampler if construction is None else builder).everything(columns, rows[at])
        if construction is None and count < tried / 64:
            made = Construction({"base": model}, None, 0)
            boxes = None if made.empty or count or model.functions else boxes_of({"base": model}, None)
            if made.empty or (boxes is not None and boxes.empty):
                diagnostics.report(
                    "E330",
                    "this `where` never holds",
                    model.wheres[0].span,
                    label="no input satisfies it",
                    others=tuple((where.span, "together with this") for where in model.wheres[1:]),
                    help=NEVER,
                )
                return None
            construction = made if made.useful else None
            builder = Sampler(model, "base", 0, listed=False) if construction is not None else sampler
    rare = sampler.rarest()
    if rare is not None and count < _TRIED and count / tried < 1e-4:
        report_rare(rare[0], rare[1], rare[2], diagnostics)
    return None
