"""Minimal pairs: rows that are like those of another run in all inputs but some, in each of which they differ.

They are not searched for. Where a run is drawn given another, every row's partners are listed: the values of what varies,
everything else as it is. Where both are drawn together, or all pairs are asked for, the lists of their inputs are joined
by what they share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import bits, key, unit
from causal_dsl.causal.domains import Finite, show
from causal_dsl.causal.groups import first_rows, groups_of
from causal_dsl.causal.sampling import fits, lines_read
from causal_dsl.causal.splits import part_of
from causal_dsl.causal.support import distinct, known, needs
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.vocabulary.called_words import PARTS

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Design, DrawStatement
    from causal_dsl.causal.model import CausalModel

Columns = dict[str, np.ndarray]

#: Partners of one row that are listed at most.
_PARTNERS = 2**16
#: Partners of the rows of one block that are listed at once.
BLOCK = 2**19
#: Partners of all kinds of rows that are listed at once.
KINDS = 2**21
#: Values of a row that a message shows.
_SHOWN = 6


def shared(statement: DrawStatement) -> tuple[str, ...]:
    """The inputs that the runs of a statement share with the run that they are like: all but the varied, and the prompt line."""
    names = [name for name in statement.model.exogenous if name not in statement.vary]
    told = statement.where is not None and (statement.like, "template") in statement.where.mentions
    return (*names, *(["template"] if told and "template" not in statement.vary else []))


def matching(
    left: Sequence[np.ndarray], right: Sequence[np.ndarray], sizes: tuple[int, int], most: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """All pairs of rows that are equal in all columns, as indices ``[m]`` into both, the left ones in order; None beyond ``most``."""
    n, m = sizes
    group = (
        groups_of([np.concatenate(pair) for pair in zip(left, right, strict=True)])
        if left
        else np.zeros(n + m, np.int64)
    )
    ours, theirs = group[:n], group[n:]
    order = np.argsort(theirs, kind="stable")
    start = np.searchsorted(theirs[order], ours, side="left")
    count = np.searchsorted(theirs[order], ours, side="right") - start
    if int(count.sum()) > most:
        return None
    rows = np.repeat(np.arange(n), count)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    return rows, order[start[rows] + within]


def alike_rows(
    statement: DrawStatement,
    before: int,
    column: Callable[[str, str], np.ndarray],
    sides: Mapping[str, Mapping[str, np.ndarray]],
    sizes: Mapping[str, int],
    most: int,
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """The rows of a statement that are alike, of lists of the inputs of its roles: indices into the rows ``before`` it and, for
    each role, into its list. ``column`` gives a column of an earlier role. None where there are more than ``most``.

    What else its `where` says is not asked.
    """
    names = shared(statement)
    rows = np.arange(before)
    found: dict[str, np.ndarray] = {}
    for role in sorted(statement.roles, key=lambda role: role != statement.like):
        if role == statement.like:
            if before * sizes[role] > most:
                return None
            rows, found[role] = (grid.reshape(-1) for grid in np.indices((before, sizes[role])))
            continue
        if statement.like in found:
            left = [sides[statement.like][name][found[statement.like]] for name in names]
        else:
            left = [column(statement.like, name)[rows] for name in names]
        pairs = matching(left, [sides[role][name] for name in names], (len(rows), sizes[role]), most)
        if pairs is None:
            return None
        rows, found = rows[pairs[0]], {other: index[pairs[0]] for other, index in found.items()}
        found[role] = pairs[1]
    return rows, [found[role] for role in statement.roles]


class Partners:
    """The inputs that the roles of a statement can have, given the rows of the run that they are like, which is drawn already."""

    def __init__(self, design: Design, statement: DrawStatement, values: Mapping[str, Columns]):
        self.design = design
        self.statement = statement
        self.model: CausalModel = statement.model
        self.values = values
        self.likes = values[statement.like]
        self._needs = [(needs(self.model, tuple(where.inputs)), where) for where in self.model.wheres]

    @property
    def most(self) -> float:
        """More partners than one row can have."""
        count = 1.0
        for name in self.statement.vary:
            if name == "template":
                count *= max(1, len(self.design.templates))
            elif name in self.model.choices:
                count *= self.model.choices[name].count
            else:
                domain = self.model.variables[name].domain
                count *= domain.size if isinstance(domain, Finite) else math.inf
        return count ** len(self.statement.roles)

    @property
    def listable(self) -> bool:
        return self.most <= _PARTNERS

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, dict[str, Columns], np.ndarray]:
        """All partners of some rows: for each, which of the rows it is for ``[m]`` (in order), its columns by role, and its weight."""
        owner, weights = np.arange(len(rows)), np.ones(len(rows))
        found: dict[str, Columns] = {}
        for role in self.statement.roles:
            mine, columns, own = self._inputs(rows)
            pairs = matching([owner], [mine], (len(owner), len(mine)), 2**62)
            assert pairs is not None
            owner, weights = owner[pairs[0]], weights[pairs[0]] * own[pairs[1]]
            found = {other: {n: c[pairs[0]] for n, c in kept.items()} for other, kept in found.items()}
            found[role] = {name: codes[pairs[1]] for name, codes in columns.items()}
        where = self.statement.written  # that they are alike holds of all that are listed
        if where is not None:
            settings: dict[str, Columns] = {}
            for role in {role for role, _ in where.mentions}:
                names = tuple(sorted(name for other, name in where.mentions if other == role))
                if role in found:
                    plain = tuple(name for name in names if name in self.model.variables)
                    settings[role] = found[role] | known(self.model, found[role], plain, len(owner))
                else:
                    settings[role] = {name: self.values[role][name][rows[owner]] for name in names}
            keep = where(settings, len(owner))
            owner, weights = owner[keep], weights[keep]
            found = {role: {n: c[keep] for n, c in columns.items()} for role, columns in found.items()}
        return owner, found, weights

    def _inputs(self, rows: np.ndarray) -> tuple[np.ndarray, Columns, np.ndarray]:
        """All inputs of one role that are like some rows: whose each is, its columns, and its weight."""
        model, statement = self.model, self.statement
        owner, weights = np.arange(len(rows)), np.ones(len(rows))
        columns: Columns = {}
        waiting = self._needs

        def only(index: np.ndarray) -> None:
            nonlocal owner, weights, columns
            owner, weights = owner[index], weights[index]
            columns = {name: codes[index] for name, codes in columns.items()}

        for name in model.exogenous:
            before = self.likes[name][rows[owner]]
            varied = name in statement.vary
            if name in model.choices:
                choices = model.choices[name]
                codes, first = distinct(choices(known(model, columns, choices.parents, len(owner)), len(owner)))
                ours = first & ((codes != before[:, None]) if varied else (codes == before[:, None]))
                weights = weights / np.maximum(first.sum(axis=1), 1)
                at = np.nonzero(ours)
                only(at[0])
                columns[name] = codes[at]
            elif varied:
                all_codes = model.codes(name)
                at = np.nonzero(all_codes[None, :] != before[:, None])
                only(at[0])
                columns[name] = all_codes[at[1]]
            else:
                columns[name] = before
            ready = [where for need, where in waiting if need <= columns.keys()]
            waiting = [(need, where) for need, where in waiting if not need <= columns.keys()]
            for where in ready:
                only(np.flatnonzero(where(known(model, columns, where.inputs, len(owner)), len(owner))))
        if self.design.templates:
            read = known(model, columns, lines_read(self.design.templates), len(owner))
            inside = fits(model, read, self.design.templates, len(owner))
            weights = weights / inside.sum(axis=1)
            if len(self.design.templates) > 1:
                before, lines = self.likes["template"][rows[owner]], np.arange(inside.shape[1])
                same = lines[None, :] == before[:, None]
                inside = inside & (~same if "template" in statement.vary else same)
            at = np.nonzero(inside)
            only(at[0])
            columns["template"] = at[1]
        if statement.split and len(owner):
            only(np.flatnonzero(part_of(model, columns or {"": owner}) == PARTS.index(statement.split)))
        if model.weight:
            weights = weights * known(model, columns, (model.weight,), len(owner))[model.weight]
            only(np.flatnonzero(weights > 0))
        return owner, columns, weights

    def draw(self, n: int) -> tuple[dict[str, Columns], np.ndarray]:
        """A partner for each of ``n`` rows, in proportion to their weights, and the rows that have none."""
        seed, roles = self.statement.seed, self.statement.roles
        random = unit(bits(key(seed, *roles, "like"), np.arange(n)))
        step = max(1, int(BLOCK // max(1.0, self.most)))
        drawn = self.by_kind(n, random, step)
        if drawn is not None:
            return drawn
        parts: list[dict[str, Columns]] = []
        without: list[np.ndarray] = []
        for start in range(0, n, step):
            rows = np.arange(start, min(n, start + step))
            owner, found, weights = self.of(rows)
            sums = np.concatenate([[0.0], np.cumsum(weights)])
            low = np.searchsorted(owner, np.arange(len(rows)), side="left")
            high = np.searchsorted(owner, np.arange(len(rows)), side="right")
            without.append(rows[low == high])
            target = sums[low] + random[rows] * (sums[high] - sums[low])
            pick = np.clip(np.searchsorted(sums, target, side="right") - 1, low, np.maximum(high - 1, low))
            pick = pick[low < high]
            parts.append({role: {name: codes[pick] for name, codes in c.items()} for role, c in found.items()})
        missing = np.concatenate(without)
        if len(missing):
            return {}, missing
        return {
            role: self.everything(
                {name: np.concatenate([part[role][name] for part in parts]) for name in parts[0][role]}
            )
            for role in roles
        }, missing

    def by_kind(self, n: int, random: np.ndarray, step: int) -> tuple[dict[str, Columns], np.ndarray] | None:
        """The same draw, with partners listed once for all rows that are alike in what decides about them; None where few
        rows are, or where partners weigh unequally. The sums of each block of ``step`` rows are those of :meth:`draw`."""
        deciding = self._deciding()
        kind = groups_of(deciding) if deciding else np.arange(n)
        first = first_rows(kind)
        if 4 * len(first) > n or len(first) * self.most > KINDS:
            return None
        owner, found, weights = self.of(first)
        if (weights != 1).any():
            return None
        counts = np.bincount(owner, minlength=len(first))
        starts = np.cumsum(counts) - counts
        many = counts[kind]
        before = np.cumsum(many) - many
        low = before - np.repeat(before[::step], step)[:n]
        pick = np.clip(np.floor(low + random * many).astype(np.int64), low, np.maximum(low + many - 1, low)) - low
        rows = np.flatnonzero(many)
        if len(rows) < n:
            return {}, np.flatnonzero(many == 0)
        at = starts[kind] + pick
        listed = {*self.statement.vary, *self.model.choices, "template"}
        return {
            role: self.everything(
                {name: (c[at] if name in listed else self.likes[name]) for name, c in columns.items()}
            )
            for role, columns in found.items()
        }, np.arange(0)

    def _deciding(self) -> list[np.ndarray]:
        """The columns of earlier runs that decide which partners a row has; none where all of them do."""
        model, statement, templates = self.model, self.statement, self.design.templates
        if statement.split:
            return []
        varied = {name for name in statement.vary if name != "template"}
        asked = {*varied, *model.choices, *lines_read(templates), *([model.weight] if model.weight else [])}
        columns = []
        for role, name in sorted(statement.written.mentions) if statement.written is not None else ():
            if role not in statement.roles:
                columns.append(self.values[role][name])
            elif name in model.variables:
                asked.add(name)
        read = needs(model, tuple(asked)).union(*(need for need, _ in self._needs))
        columns += [self.likes[name] for name in model.exogenous if name in read]
        return [*columns, *([self.likes["template"]] if len(templates) > 1 else [])]

    def everything(self, columns: Columns) -> Columns:
        """The columns of all variables."""
        n = len(next(iter(columns.values()), ()))
        found = self.model.evaluate({"": np.zeros(n), **{n: c for n, c in columns.items() if n != "template"}})
        return {**found, **({"template": columns["template"]} if "template" in columns else {})}


# ── what is said where there are none ───────────────────────────────────────────────────────────


def asked_for(statement: DrawStatement) -> str:
    """The description of a partner for people: `like `base` but for `subject``."""
    varied = " and ".join(f"`{name}`" for name in statement.vary)
    also = " that the `where` allows" if statement.written is not None else ""
    part = f" in the `{statement.split}` part" if statement.split else ""
    return f"input{also}{part} is like `{statement.like}` but for {varied}"


def report_alone(
    design: Design,
    statement: DrawStatement,
    values: Mapping[str, Columns],
    n: int,
    rows: np.ndarray,
    diagnostics: Diagnostics,
    tried: int = 0,
) -> None:
    """Report (E350) that rows have no partner, or, of ``tried`` draws, that none was found. ``values`` lacks the run that is liked
    where both are drawn together; ``rows`` are then all."""
    apart = statement.like in values and bool(len(rows))
    what = asked_for(statement)
    if tried:
        title = f"for {'some rows ' if apart else ''}no pair was found in which an {what}".replace("for no", "no")
        label = f"{len(rows):,} of {n:,} rows found none in {tried:,} draws"
    elif apart and len(rows) < n:
        title, label = (
            f"for some rows no {what}",
            f"{len(rows):,} of {n:,} rows {'has' if len(rows) == 1 else 'have'} no such partner",
        )
    else:
        title = f"no {what}"
        label = f"none of the {n:,} rows has such a partner" if apart else "there is not one such pair"
    notes: tuple[str, ...] = ()
    if apart:
        row = int(rows[0])
        names = [name for name in statement.model.exogenous if name in values[statement.like]]
        notes = (one_of_them(row, [(n, statement.model.value(n, values[statement.like][n][row])) for n in names]),)
    help = "vary more inputs, or ask for less"
    if statement.split and set(statement.model.by) & set(statement.vary):
        help = "split by what the runs of a pair share: leave `by` out"
    elif apart and len(rows) < n:
        roles = ", ".join((statement.like, *statement.roles))
        vary = ", ".join(statement.vary)
        help = (
            f"draw them in one statement, {roles} ~ {statement.model.name}(like={statement.like}, vary=[{vary}], …): "
            f"`{statement.like}` is then one that has a partner"
        )
    diagnostics.report("E350", title, statement.span, label=label, notes=notes, help=help)


def one_of_them(row: int, held: Sequence[tuple[str, bool | int | float | str]]) -> str:
    """A row that found no partner, as an example, with what it holds."""
    told = ", ".join(f"{name} = {show(value)}" for name, value in held[:_SHOWN])
    return f"row {row} is one of them" + (f": {told}" if told else "") + ", …" * (len(held) > _SHOWN)


__all__ = ["Partners", "alike_rows", "asked_for", "matching", "one_of_them", "report_alone", "shared"]
