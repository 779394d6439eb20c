"""Ceilings of random models and designs against plain Python over all that can be drawn.

Nothing here is taken from the package but the parser of specs: models are made as text beside Python functions that
compute the same, and every combination of inputs is gone through with fractions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_dsl.causal.ceilings import ceilings, of_rows
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.causal.draw import draw
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.vocabulary.ceiling_rules import ANSWER_RULES as RULES
from tests.causal import causal_models as plain

Row = dict[str, int]
FUNCTION = "def mix(x: int, y: int) -> int:\n    return (2 * x + y * y) % 3\n"
TABLE = {0: 2, 1: 0, 2: 1, 3: 2}


@dataclass
class Expr:
    """An expression as text and as a function of a row of plain numbers (by ``name``, or ``role.name``)."""

    text: str
    of: Callable[[Row], int]


@dataclass
class Statement:
    roles: tuple[str, ...]
    where: Expr | None = None
    balance: tuple[tuple[str, str], ...] = ()


@dataclass
class World:
    """A causal model, a design on it and an intervention."""

    draws: list[tuple[str, str, Callable[[Row], list[int]], Expr | None]] = field(default_factory=list)
    mechanisms: list[tuple[str, Expr]] = field(default_factory=list)
    templates: list[Expr | None] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    exhaustive: bool = False
    do: list[tuple[str, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        lines = [
            f"  {name} ~ {domain}" + (f" where {where.text}" if where else "") for name, domain, _, where in self.draws
        ]
        lines += [f"  {name} := {expr.text}" for name, expr in self.mechanisms[:-1]]
        lines.append(f"  output {self.mechanisms[-1][0]} := {self.mechanisms[-1][1].text}")
        model = "\n".join(lines)
        return f'from "f.py" import mix\ntable T = csv("t.csv", key=k)\ncausal m {{\n{model}\n}}'

    def inputs(self) -> list[tuple[Row, Fraction]]:
        """All inputs with their template, where there are such; an exhaustive draw has each of these once."""
        found: list[tuple[Row, Fraction]] = [({}, Fraction(1))]
        for name, _, values, where in self.draws:
            found = [({**row, name: v}, p / len(values(row))) for row, p in found for v in values(row)]
            found = [(row, p) for row, p in found if where is None or where.of(row)]
        found = [(self.run(row, {}), p) for row, p in found]
        if self.templates:
            fits = [[i for i, where in enumerate(self.templates) if where is None or where.of(row)] for row, _ in found]
            found = [
                ({**row, "template": i}, p / len(own)) for (row, p), own in zip(found, fits, strict=True) for i in own
            ]
        return [(row, Fraction(1)) for row, _ in found] if self.exhaustive else found

    def run(self, row: Row, do: Row) -> Row:
        row = {**{name: row[name] for name, *_ in self.draws}, **do}
        for name, expr in self.mechanisms:
            if name not in do:
                row[name] = expr.of(row)
        return row

    def pairs(self) -> list[tuple[dict[str, Row], Fraction]] | None:
        """All rows with their probability; None where drawing would fail, or where chance decides what is balanced."""
        table: list[tuple[dict[str, Row], Fraction]] = [({}, Fraction(1))]
        each = self.inputs()
        for statement in self.statements:
            grown: list[tuple[int, tuple[int, ...], dict[str, Row], Fraction]] = []
            for number, (runs, _) in enumerate(table):
                for combination in itertools.product(each, repeat=len(statement.roles)):
                    new = {**runs, **dict(zip(statement.roles, (row for row, _ in combination), strict=True))}
                    flat = {f"{role}.{name}": v for role, row in new.items() for name, v in row.items()}
                    if statement.where is None or statement.where.of(flat):
                        p = Fraction(1)
                        for _, q in combination:
                            p *= q
                        cell = tuple(new[role][name] for role, name in statement.balance)
                        grown.append((number, cell, new, p))
            cells = {cell for _, cell, _, _ in grown}
            totals: dict[tuple[int, tuple[int, ...]], Fraction] = {}
            for number, cell, _, p in grown:
                totals[number, cell] = totals.get((number, cell), Fraction(0)) + p
            if len(totals) < len(table) * max(1, len(cells)) and not self.exhaustive:
                return None
            if not grown:
                return None
            if self.exhaustive:
                table = [(new, p) for _, _, new, p in grown]
            else:
                table = [
                    (new, table[number][1] * p / totals[number, cell] / len(cells)) for number, cell, new, p in grown
                ]
        whole = sum(p for _, p in table)
        return [(runs, p / whole) for runs, p in table]

    def ceilings(self) -> dict[str, Fraction] | None:
        pairs = self.pairs()
        if pairs is None:
            return None
        output = self.mechanisms[-1][0]
        drawn = [name for name, *_ in self.draws] + ["template"] * bool(self.templates)
        sources = list(dict.fromkeys(role for _, role in self.do))
        noop, copies = Fraction(0), dict.fromkeys(sources, Fraction(0))
        seen: dict[str, dict[Any, dict[int, Fraction]]] = {rule: {} for rule in RULES[2:]}
        for runs, p in pairs:
            label = self.run(runs["base"], {name: runs[role][name] for name, role in self.do})[output]
            noop += p * (label == runs["base"][output])
            for role in sources:
                copies[role] += p * (label == runs[role][output])
            sight = {
                "output_only": tuple(runs[role][output] for role in ("base", *sources)),
                "base_only": tuple(runs["base"][name] for name in drawn),
                "source_only": tuple(runs[role][name] for role in sources for name in drawn),
            }
            for rule, shown in sight.items():
                labels = seen[rule].setdefault(shown, {})
                labels[label] = labels.get(label, Fraction(0)) + p
        best = {rule: sum((max(labels.values()) for labels in of.values()), Fraction(0)) for rule, of in seen.items()}
        return {"noop": noop, "source": max(copies.values()), **best}


# ── random worlds ───────────────────────────────────────────────────────────────────────────────


def atom(random: Random, names: list[str]) -> Expr:
    a, b = random.choice(names), random.choice(names)
    kind = random.randrange(9)
    if kind == 0:
        return Expr(f"mix({a}, {b})", lambda row: (2 * row[a] + row[b] ** 2) % 3)
    if kind == 1:
        return Expr(f"T[({a} + {b}) mod 4].c", lambda row: TABLE[(row[a] + row[b]) % 4])
    if kind == 2:
        return Expr(f"if {a} == {b} then 1 else 0", lambda row: int(row[a] == row[b]))
    if kind == 3:
        return Expr(f"if {a} > 0 then {b} else 2", lambda row: row[b] if row[a] > 0 else 2)
    if kind == 4:
        return Expr(f"if {a} == 1 and {b} == 1 then 1 else 0", lambda row: int(row[a] == 1 and row[b] == 1))
    if kind == 5:
        return Expr(f"3 * {a} + {b}", lambda row: 3 * row[a] + row[b])
    k = random.choice((2, 3))
    return Expr(f"({a} + {b}) mod {k}", lambda row: (row[a] + row[b]) % k)


def condition(random: Random, left: list[str], right: list[str]) -> Expr:
    a, b = random.choice(left), random.choice(right)
    if random.random() < 0.5:
        return Expr(f"{a} != {b}", lambda row: row[a] != row[b])
    if random.random() < 0.5:
        return Expr(f"{a} == {b}", lambda row: row[a] == row[b])
    return Expr(f"{a} <= {b} or {b} == 0", lambda row: row[a] <= row[b] or row[b] == 0)


def world(random: Random) -> World:
    found = World()
    names: list[str] = []
    for i in range(random.choice((1, 2, 2, 3))):
        name, size = f"x{i}", random.choice((2, 2, 3))
        if names and random.random() < 0.25:
            a, b = random.choice(names), random.choice(names)
            found.draws.append((name, f"{{{a}, {b}}}", lambda row, a=a, b=b: sorted({row[a], row[b]}), None))  # type: ignore[misc]
        else:
            where = None
            if names and random.random() < 0.25:
                where = condition(random, [name], names)
            found.draws.append((name, f"0..{size - 1}", lambda _, size=size: list(range(size)), where))  # type: ignore[misc]
        names.append(name)
    drawn = list(names)
    for i in range(random.choice((1, 2, 3))):
        found.mechanisms.append((f"m{i}", atom(random, names)))
        names.append(f"m{i}")
    inner = names[:-1]
    sources = ["source"] if random.random() < 0.7 else ["one", "two"]
    chosen = random.sample(inner, min(len(inner), len(sources)))
    found.do = list(zip(chosen, sources, strict=False))
    sources = [role for _, role in found.do]
    if random.random() < 0.3:
        first = condition(random, drawn, drawn)
        found.templates = [None, first, *([None] if random.random() < 0.3 else [])]
    everywhere = {role: [f"{role}.{name}" for name in names] for role in ("base", *sources)}
    if found.templates and random.random() < 0.5:
        for role in everywhere:
            everywhere[role].append(f"{role}.template")

    def where() -> Expr | None:
        return (
            condition(random, everywhere["base"], everywhere[random.choice(sources)]) if random.random() < 0.5 else None
        )

    def balance(roles: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        pool = [(role, name) for role in roles for name in names]
        return tuple(random.sample(pool, random.choice((1, 2)))) if random.random() < 0.35 else ()

    found.exhaustive = random.random() < 0.25
    together = ("base", *sources)
    if found.exhaustive:
        found.statements = [Statement(together, where())]
    elif random.random() < 0.5:
        found.statements = [Statement(together, where(), balance(together))]
    else:
        rest = tuple(sources)
        found.statements = [Statement(("base",), None, balance(("base",))), Statement(rest, where(), balance(rest))]
    return found


def compiled(one: World, folder: Path, n: int = 400) -> Design:
    (folder / "f.py").write_text(FUNCTION)
    (folder / "t.csv").write_text("k,c\n" + "".join(f"{k},{c}\n" for k, c in TABLE.items()))
    model = plain.model(one.text, folder=folder, trust=True)
    statements = []
    known: tuple[str, ...] = ()
    for i, statement in enumerate(one.statements):
        known += statement.roles
        where = plain.predicate(statement.where.text, dict.fromkeys(known, model)) if statement.where else None
        rows = None if one.exhaustive else n
        statements.append(
            DrawStatement(statement.roles, model, rows, i, statement.balance, one.exhaustive, where, model.span)
        )
    templates = tuple(plain.predicate(where.text, {"": model}) if where else None for where in one.templates)
    return Design(tuple(statements), templates)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worlds")


def judge(seed: int, folder: Path) -> str:
    """One random world: ``""`` where it cannot be drawn, else what is in it."""
    random = Random(seed)
    one = world(random)
    if len(one.inputs()) ** (1 + len(one.do)) > 4000:
        return ""
    expected = one.ceilings()
    if expected is None:
        return ""
    found = ceilings(compiled(one, folder), one.do, one.mechanisms[-1][0], None)
    assert {rule: found[rule].value for rule in RULES} == {rule: float(p) for rule, p in expected.items()}, one.text
    assert all(c.exact and c.low == c.high == c.value for c in found.values())
    marks = ["exhaustive"] * one.exhaustive + ["templates"] * bool(one.templates) + ["two sources"] * (len(one.do) > 1)
    marks += ["later statement"] * (len(one.statements) > 1) + ["where"] * any(s.where for s in one.statements)
    marks += ["later balance"] * any(s.balance for s in one.statements[1:])
    marks += ["balance"] * any(s.balance for s in one.statements)
    marks += [word for word in ("mix(", "T[") if word in one.text]
    return " ".join(["drawn", *marks])


@pytest.mark.parametrize(
    "worlds", [40, pytest.param(150, marks=pytest.mark.slow), pytest.param(500, marks=pytest.mark.nightly)]
)
def test_random_worlds(worlds: int, folder: Path) -> None:
    """Each example is a seed, which hypothesis makes small where one fails."""

    @settings(max_examples=worlds, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def each(seed: int) -> None:
        judge(seed, folder)

    each()


@pytest.mark.slow
def test_random_worlds_have_everything_in_them(folder: Path) -> None:
    seen = " ".join(judge(seed, folder) for seed in range(60)).split()
    for mark in ("exhaustive", "templates", "two", "later", "where", "balance", "mix(", "T[", "drawn"):
        assert seen.count(mark) >= 3, mark
    assert seen.count("drawn") > 30


def test_rows_bracket_what_is_true(folder: Path) -> None:
    """Of 400 drawn rows, each interval of 99% (or range of such) holds the truth as often as that."""
    asked = held = 0
    for seed in range(40):
        one = world(Random(seed))
        expected = one.ceilings() if len(one.inputs()) ** (1 + len(one.do)) <= 4000 and not one.exhaustive else None
        if expected is None:
            continue
        design = compiled(one, folder)
        drawn = draw(design, Diagnostics())
        if drawn is None:
            continue
        model, output = design.models["base"], one.mechanisms[-1][0]
        roles = ["base", *dict.fromkeys(role for _, role in one.do)]
        do = {name: drawn.values[role][name] for name, role in one.do}
        labels = model.evaluate(drawn.values["base"], do, wanted=(output,))[output]
        found = of_rows(labels, {role: drawn.values[role][output] for role in roles}, drawn.ids, False)
        for rule in RULES:
            ceiling = found[rule]
            assert ceiling.low <= ceiling.value <= ceiling.high and not ceiling.exact and ceiling.n == 400
            asked += 1
            held += ceiling.low <= float(expected[rule]) <= ceiling.high
    assert asked > 80 and held >= 0.97 * asked


def test_unequal_prompts_of_an_exhaustive_draw(folder: Path) -> None:
    """Rows are prompts: an input of two prompts is two rows, for the scores and for the ceilings."""
    model = plain.model("causal m { a, b ~ 0..1  output y := if a == 1 and b == 1 then 1 else 0 }")
    design = plain.design(model, exhaustive=True, templates=("", "b == 0", "b == 0"))
    drawn = draw(design, Diagnostics())
    assert drawn is not None and drawn.n == 64
    label = np.asarray((drawn.values["source"]["a"] == 1) & (drawn.values["base"]["b"] == 1))
    found = ceilings(design, [("a", "source")], "y", drawn)
    assert found["noop"].value == (label == drawn.values["base"]["y"]).mean() == 0.875
    assert found["source"].value == (label == drawn.values["source"]["y"]).mean()
    assert found["noop"].exact and found["noop"].n == 64
