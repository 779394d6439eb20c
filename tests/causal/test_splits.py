"""Parts of the inputs: the same for everyone, exact where they can be listed, and nothing is drawn from another."""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_dsl import api, build
from causal_dsl.causal import drawn_rows as drawing
from causal_dsl.causal.ceilings import ceilings
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.causal.draw import draw, implicit_source
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.splits import PARTS, part_of
from causal_dsl.causal.support import support_of
from causal_dsl.diagnostics import NOWHERE, Diagnostic, Diagnostics
from causal_dsl.syntax.format import format_tree
from tests.causal import causal_models as plain
from tests.causal.test_designs import EQUALITY, HUGE, IOI, chi_square, drawn
from tests.causal.test_random_models import compiled_or_none, declaration, seeds

LEFT = [("left", "source")]
MASK = 2**64 - 1


def numbers(n: int) -> CausalModel:
    return plain.model(f"causal m {{ x ~ 0..{n - 1}  output y := x }}")


def unlisted(model: CausalModel) -> CausalModel:
    """The same model, drawn from as if there were too many inputs to list."""
    model.supports = dict.fromkeys((400_000, 2_000_000))
    return model


def refusal(design: Design) -> Diagnostic:
    diagnostics = Diagnostics()
    assert draw(design, diagnostics) is None
    (fault,) = diagnostics.errors
    return fault


# ── plain Python ────────────────────────────────────────────────────────────────────────────────


def key(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "little")


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def hashed(row: dict[str, Any]) -> int:
    golden, state = 0x9E3779B97F4A7C15, 0
    for name, value in sorted(row.items()):
        if isinstance(value, str):
            word = key("text", value)
        elif isinstance(value, float):
            (word,) = struct.unpack("<Q", struct.pack("<d", value))
        else:
            word = int(value)
        state = mix((mix((word * golden + key("split", name)) & MASK) + (state + 1) * golden) & MASK)
    return state


def parts(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], str]:
    """The part of each input of a list of all of them."""
    ordered = sorted(rows, key=hashed)
    n = len(ordered)
    first, second = round(n * 0.6), round(n * 0.8)
    if n >= 3:
        first = min(first, n - 2)
        second = min(max(second, first + 1), n - 1)
    return {values(row): PARTS[(i >= first) + (i >= second)] for i, row in enumerate(ordered)}


def values(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(row.items()))


def inputs(model: CausalModel, found: Drawn, role: str) -> list[tuple[Any, ...]]:
    columns = {name: model.decode(name, found.values[role][name]) for name in model.exogenous}
    return [values(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


# ── which part ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("n", [*range(1, 40), 256, 1000, 99_999])
def test_shares_are_exact(n: int) -> None:
    model = numbers(n)
    fit, validation, test = np.bincount(part_of(model, {"x": np.arange(n)}), minlength=3).tolist()
    assert fit + validation + test == n
    if n < 3:
        assert fit == 1 and test == 0
    elif n < 5:
        assert fit == n - 2 and validation == test == 1
    else:
        assert fit == round(0.6 * n) and abs(validation - 0.2 * n) <= 0.8 and abs(test - 0.2 * n) <= 0.8
        assert validation and test


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_parts_against_plain_python(seed: int) -> None:
    decl = declaration(Random(seed))
    model = compiled_or_none(decl)
    if model is None:
        return
    rows = [row for row, _ in plain.inputs(decl)]
    columns = {name: np.array([model.encode(name, row[name]) for row in rows]) for name in model.exogenous}
    expected = parts(rows)
    assert [PARTS[part] for part in part_of(model, columns)] == [expected[values(row)] for row in rows]


def test_parts_are_forever() -> None:
    """These numbers may never change: what was held out when a result was published must still be held out."""
    assert part_of(numbers(20), {"x": np.arange(20)}).tolist() == GOLDEN["numbers"]
    ioi = plain.model(IOI)
    support = support_of(ioi, 100)
    assert support is not None and part_of(ioi, support.values).tolist() == GOLDEN["ioi"]
    rows = {"x": np.arange(20) * 10**10, "y": np.arange(20), "r": np.arange(20) / 20 - 0.5}
    assert part_of(plain.model(HUGE), rows).tolist() == GOLDEN["huge"]


GOLDEN = {
    "numbers": [0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 1, 1, 2, 2, 2, 0, 0, 0, 0, 1],
    "ioi": [0, 0, 2, 0, 0, 2, 1, 0, 1, 0, 1, 0, 2, 0, 1, 2, 0, 0, 2, 1, 0, 0, 0, 0],
    "huge": [0, 2, 0, 0, 2, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 2, 0, 0],
}


def test_the_order_of_declarations_does_not_matter() -> None:
    other = IOI.replace('"Mary", "John", "Tom", "Anna"', '"Tom", "Anna", "John", "Mary"')
    other = other.replace("first, second ~", "second, first ~").replace("{first, second}", "{second, first}")
    found = []
    for text in (IOI, other):
        model = plain.model(text)
        every = drawn(plain.design(model, "base", exhaustive=True))
        found.append(dict(zip(inputs(model, every, "base"), part_of(model, every.values["base"]), strict=True)))
    assert found[0] == found[1] and len(found[0]) == 24


def test_texts_and_values_that_look_alike_are_their_own() -> None:
    model = plain.model('causal m { s ~ {"", "1", "true", "é", "Ω"}  b ~ bool  output y := b }')
    rows = [row for row, _ in plain.inputs(plain.declaration('causal m { s ~ {"", "1", "true", "é", "Ω"}  b ~ bool }'))]
    columns = {name: np.array([model.encode(name, row[name]) for row in rows]) for name in model.exogenous}
    assert [PARTS[part] for part in part_of(model, columns)] == [parts(rows)[values(row)] for row in rows]


def test_inputs_that_cannot_be_listed_are_cut_by_their_hash() -> None:
    model = plain.model(HUGE)
    rows = np.arange(50_000)
    columns = {"x": rows * 10**6, "y": rows[::-1].copy(), "r": rows / 25_000 - 1}
    found = part_of(model, columns)
    assert np.abs(np.bincount(found) / len(rows) - [0.6, 0.2, 0.2]).max() < 0.01
    for i in (0, 7, 49_999):
        share = hashed({name: column[i].item() for name, column in columns.items()}) / 2**64
        assert found[i] == (share >= 0.6) + (share >= 0.8)
    zero = {"x": np.zeros(2, int), "y": np.zeros(2, int), "r": np.array([0.0, -0.0])}
    assert len(set(part_of(model, zero))) == 1


def test_a_column_that_is_missing() -> None:
    with pytest.raises(KeyError, match="'b'"):
        part_of(plain.model(EQUALITY), {"a": np.arange(3)})


# ── what is drawn ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seeds, st.booleans())
def test_draws_lie_in_their_part(seed: int, listed: bool) -> None:
    """Over all parts, seeds and roles; and what is held out is never seen by what is fitted."""
    decl = declaration(Random(seed))
    model = compiled_or_none(decl)
    if model is None or len(list(plain.inputs(decl))) < 3:
        return
    model = model if listed else unlisted(model)
    expected = parts([row for row, _ in plain.inputs(decl)])
    seen = {}
    for split in PARTS:
        found = [drawn(plain.design(model, "base one two", n=40, seed=s, split=split)) for s in (seed, seed + 1)]
        seen[split] = {row for one in found for role in one.values for row in inputs(model, one, role)}
        assert {expected[row] for row in seen[split]} == {split}
    for one, other in itertools.combinations(PARTS, 2):
        assert not seen[one] & seen[other]


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_the_parts_together_are_everything(seed: int) -> None:
    decl = declaration(Random(seed))
    model = compiled_or_none(decl)
    if model is None or len(list(plain.inputs(decl))) < 3:
        return
    found = [inputs(model, drawn(plain.design(model, "base", exhaustive=True, split=s)), "base") for s in PARTS]
    whole = inputs(model, drawn(plain.design(model, "base", exhaustive=True)), "base")
    assert sorted(itertools.chain(*found), key=repr) == sorted(whole, key=repr)


def test_pairs_of_an_exhaustive_draw_are_of_the_part() -> None:
    model = plain.model(EQUALITY)
    for split, size in zip(PARTS, (154, 51, 51), strict=True):
        found = drawn(plain.design(model, exhaustive=True, split=split))
        assert found.exhaustive and found.n == size**2
        assert len(set(inputs(model, found, "base"))) == len(set(inputs(model, found, "source"))) == size


def test_without_a_split_nothing_changes() -> None:
    model = plain.model(EQUALITY)
    statement = plain.design(model).statements[0]
    assert statement.split == "" and Design((statement,)).splits == {"base": "", "source": ""}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("where", ["", "base.subject != source.subject"])
@pytest.mark.parametrize("listed", [True, False])
def test_the_distribution_is_that_of_all_inputs_given_the_part(where: str, listed: bool) -> None:
    text = "causal m { a, b ~ 0..3 where a + b != 6  subject ~ {a, b, 3}  output same := a == subject }"
    decl = plain.declaration(text)
    part = parts([row for row, _ in plain.inputs(decl)])
    expected: dict[Any, float] = {}
    for runs, p in plain.rows(decl, ("base", "source"), where, lambda row: part[values(row)] == "test"):
        outcome = tuple(runs[role][v] for role in ("base", "source") for v in ("a", "b", "subject"))
        expected[outcome] = expected.get(outcome, 0) + float(p)
    model = plain.model(text) if listed else unlisted(plain.model(text))
    n = 20_000
    found = drawn(plain.design(model, n=n, where=where, split="test")).values
    columns = [found[role][v].tolist() for role in ("base", "source") for v in ("a", "b", "subject")]
    freedom = len(expected) - 1
    assert chi_square(Counter(zip(*columns, strict=True)), expected, n) < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.slow
def test_real_numbers_and_many_roles() -> None:
    model = plain.model(HUGE)
    design = plain.design(model, "base one two three", n=2000, where="base.z == one.z", split="test")
    found = drawn(design)
    assert (found.values["base"]["z"] == found.values["one"]["z"]).all()
    for columns in found.values.values():
        assert set(part_of(model, columns)) == {2}
        assert len(set(columns["r"].tolist())) == 2000 and abs(columns["r"].mean()) < 0.07
        again = model.evaluate({name: columns[name] for name in model.exogenous})
        assert all((again[name] == columns[name]).all() for name in model.variables)


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("text", [EQUALITY, HUGE])
def test_balance_within_a_part(text: str) -> None:
    model = plain.model(text)
    name = "left" if text is EQUALITY else "low"
    balance = (("base", name), ("source", name))
    for split in PARTS:
        found = drawn(plain.design(model, n=400, balance=balance, split=split)).values
        counts = Counter(zip(found["base"][name].tolist(), found["source"][name].tolist(), strict=True))
        assert set(counts.values()) == {100} and len(counts) == 4
        assert {PARTS[p] for role in found for p in part_of(model, found[role])} == {split}


@pytest.mark.slow
def test_models_that_are_listed_for_their_cuts_alone() -> None:
    """More inputs than a sampler lists, few enough for exact shares: both ways of drawing see the same parts."""
    model = plain.model("causal m { x, y ~ 0..799  output z := x == y }")
    every = drawn(plain.design(model, "base", exhaustive=True, split="test"))
    assert every.n == 128_000 and set(part_of(model, every.values["base"])) == {2}
    some = drawn(plain.design(model, n=5000, where="base.x != source.x", split="test"))
    assert {row for role in some.values for row in inputs(model, some, role)} <= set(inputs(model, every, "base"))


def test_templates() -> None:
    """A prompt is no part of the input: all prompts of an input are in its part."""
    model = plain.model(IOI)
    seen = set()
    for split, listed in itertools.product(PARTS, (True, False)):
        chosen = model if listed else unlisted(plain.model(IOI))
        found = drawn(plain.design(chosen, n=600, templates=("", 'first == "Mary"', ""), split=split))
        for role in found.values:
            rows = inputs(model, found, role)
            seen |= {(split, row) for row in rows}
            lines = zip(rows, found.values[role]["template"].tolist(), strict=True)
            assert all(line != 1 or ("first", "Mary") in row for row, line in lines)
    assert len(seen) == len({row for _, row in seen}) == 24
    every = drawn(plain.design(model, "base", exhaustive=True, templates=("", ""), split="test"))
    assert every.n == 2 * len(set(inputs(model, every, "base")))


def test_statements_of_several_parts() -> None:
    model = plain.model(EQUALITY)
    base = plain.design(model, "base", n=500, split="fit").statements[0]
    where = plain.predicate("source.left != base.left", {"base": model, "source": model})
    source = replace(base, roles=("source",), where=where, split="test")
    found = drawn(Design((base, source))).values
    assert set(part_of(model, found["base"])) == {0} and set(part_of(model, found["source"])) == {2}
    every = drawn(Design(tuple(replace(s, n=None, exhaustive=True) for s in (base, source)))).values
    assert set(part_of(model, every["base"])) == {0} and set(part_of(model, every["source"])) == {2}


def test_an_implicit_source_is_of_the_part_of_the_base() -> None:
    model = plain.model(EQUALITY)
    base = plain.design(model, "base", n=200, split="validation").statements[0]
    source = implicit_source(model, "left", True, base, "left = true", NOWHERE, Diagnostics())
    assert source is not None
    found = drawn(Design((base, source))).values["left = true"]
    assert found["left"].all() and set(part_of(model, found)) == {1}


# ── chance levels ───────────────────────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_ceilings_against_plain_python(seed: int) -> None:
    random = Random(seed)
    decl = declaration(random)
    model = compiled_or_none(decl)
    rows = [row for row, _ in plain.inputs(decl)]
    if model is None or not 3 <= len(rows) <= 40:
        return
    output, name, split = model.outputs[0], random.choice(sorted(model.variables)), random.choice(PARTS)
    part = parts(rows)
    try:
        expected = plain.ceilings(
            decl, ("base", "source"), [(name, "source")], output, among=lambda row: part[values(row)] == split
        )
    except ZeroDivisionError:
        return
    pairs = sum(part[values(row)] == split for row in rows) ** 2
    for exhaustive in (True, False):
        design = plain.design(model, exhaustive=exhaustive, split=split)
        for one in (None, drawn(design)):
            found = ceilings(design, [(name, "source")], output, one)
            assert {k: c.value for k, c in found.items()} == pytest.approx({k: float(v) for k, v in expected.items()})
            assert all(ceiling.exact and ceiling.n == pairs for ceiling in found.values())


@pytest.mark.parametrize("where", ["base.left != source.left", "base.same == source.same and source.a != base.b"])
@pytest.mark.parametrize("split", PARTS)
def test_ceilings_under_conditions(where: str, split: str) -> None:
    text = EQUALITY.replace("0..3", "0..2")
    decl, model = plain.declaration(text), plain.model(text)
    part = parts([row for row, _ in plain.inputs(decl)])
    expected = plain.ceilings(decl, ("base", "source"), LEFT, "same", where, lambda row: part[values(row)] == split)
    for exhaustive in (True, False):
        found = ceilings(plain.design(model, where=where, exhaustive=exhaustive, split=split), LEFT, "same", None)
        assert {name: ceiling.value for name, ceiling in found.items()} == pytest.approx(
            {name: float(value) for name, value in expected.items()}
        )


def test_ceilings_are_sampled_where_the_part_cannot_be_counted() -> None:
    """Without a part, what does not matter is left out; the part of an input hangs on all of it."""
    text = "causal m { x, y ~ bool  r ~ real(0, 1)  output out := x and y }"
    model = plain.model(text)
    whole = ceilings(plain.design(model), [("x", "source")], "out", None)
    assert whole["noop"].exact and whole["noop"].value == 0.75
    design = plain.design(model, n=4000, split="test")
    assert ceilings(design, [("x", "source")], "out", None) == {}
    found = ceilings(design, [("x", "source")], "out", drawn(design))
    assert not found["noop"].exact and found["noop"].value == pytest.approx(0.75, abs=0.03)


# ── nothing is left ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exhaustive", [True, False])
def test_a_part_without_inputs(exhaustive: bool) -> None:
    for n, notes in (
        (1, "`m` has 1 input: 1 in `fit`, 0 in `validation`, 0 in `test`"),
        (2, "`m` has 2 inputs: 1 in `fit`, 1 in `validation`, 0 in `test`"),
    ):
        fault = refusal(plain.design(numbers(n), exhaustive=exhaustive, split="test"))
        assert fault.code == "E710" and "`test`" in fault.title and fault.notes == (notes,) and fault.help
        assert drawn(plain.design(numbers(n), exhaustive=exhaustive, split="fit")).n
    nothing = plain.model("causal m { x := 3  output y := x }")
    assert drawn(plain.design(nothing, n=3, exhaustive=exhaustive, split="fit")).n
    assert refusal(plain.design(nothing, exhaustive=exhaustive, split="validation")).code == "E710"


@pytest.mark.parametrize("way", ["listed", "unlisted", "exhaustive", "balanced"])
def test_a_condition_that_none_of_the_part_satisfies(way: str) -> None:
    model = numbers(50) if way != "unlisted" else unlisted(numbers(50))
    held = {part: int(np.flatnonzero(part_of(model, {"x": np.arange(50)}) == i)[0]) for i, part in enumerate(PARTS)}
    more: dict[str, Any] = {"exhaustive": way == "exhaustive"}
    if way == "balanced":
        more["balance"] = (("source", "y"),)
    where = f"base.x == {held['fit']}"
    fault = refusal(plain.design(model, n=64, where=where, split="test", **more))
    assert fault.code == "E710" and "none" in fault.label
    assert fault.notes == ("`m` has 50 inputs: 30 in `fit`, 10 in `validation`, 10 in `test`",)
    assert drawn(plain.design(model, n=64, where=where, split="fit", **more)).n
    if way != "unlisted":  # tried two million times below
        assert refusal(plain.design(model, n=64, where="base.x > 50", split="test", **more)).code == "E330"


@pytest.mark.slow
def test_no_partner_is_left_in_the_part() -> None:
    model = plain.model(EQUALITY)
    base = plain.design(model, "base", n=8, where="base.a + base.b + base.c + base.d == 0", split="fit").statements[0]
    where = plain.predicate("source.a + source.b + source.c + source.d == base.a", {"base": model, "source": model})
    assert drawn(Design((base, replace(base, roles=("source",), where=where)))).n == 8
    fault = refusal(Design((base, replace(base, roles=("source",), where=where, split="test"))))
    assert fault.code == "E710" and "this held on none of" in fault.label


def test_what_holds_for_no_input_of_any_part_is_not_the_fault_of_the_part() -> None:
    model = plain.model("causal huge { x ~ 0..9  r ~ real(0, 1)  output y := r > 2 or x > 20 }")
    fault = refusal(plain.design(model, "base", n=4, where="base.y", split="test"))
    assert fault.code == "E330"


# ── what two draws have in common ───────────────────────────────────────────────────────────────


def test_parts_do_not_overlap() -> None:
    for text in (EQUALITY, IOI, HUGE):
        model = plain.model(text)
        found = [
            {row for role in one.values for row in inputs(model, one, role)}
            for one in (drawn(plain.design(model, n=3000, seed=s, split=split)) for s, split in enumerate(PARTS))
        ]
        for one, other in itertools.combinations(found, 2):
            assert not one & other


def test_an_input_is_what_the_network_is_shown() -> None:
    """Settings that a network cannot tell apart are one input, and in one part."""
    text = "causal m { a, b ~ 0..9  z ~ 0..4  p := a mod 5  output y := p + b + z }"
    lines = (("{a} {b}", ("a", "b")), ("{b} {p}", ("b", "p")))
    for shown, told in [
        (lines[:1], lambda row: (row["a"], row["b"])),
        (lines[1:], lambda row: (row["p"], row["b"])),
    ]:
        for model in (plain.model(text), unlisted(plain.model(text))):
            seen = model.shown(shown)
            settings = {
                name: codes.reshape(-1)
                for name, codes in zip("abz", np.meshgrid(range(10), range(10), range(5)), strict=True)
            }
            settings["p"] = settings["a"] % 5
            parts_of: dict[Any, set[int]] = {}
            for i, part in enumerate(part_of(seen, settings).tolist()):
                parts_of.setdefault(told({name: int(codes[i]) for name, codes in settings.items()}), set()).add(part)
            assert all(len(found) == 1 for found in parts_of.values())
            counted = Counter(part for found in parts_of.values() for part in found)
            if not model.supports:
                n = len(parts_of)
                assert counted == {0: n * 6 // 10, 1: n * 2 // 10, 2: n * 2 // 10}
            one = drawn(plain.design(seen, n=200, split="test"))
            assert set(part_of(seen, one.values["base"]).tolist()) == {2}
            by_id: dict[int, set[Any]] = {}
            for role in one.values:
                for row, number in zip(inputs(seen, one, role), one.ids[role].tolist(), strict=True):
                    full = dict(row)
                    by_id.setdefault(number, set()).add(told({**full, "p": full["a"] % 5}))
            assert all(len(found) == 1 for found in by_id.values())
            assert len(by_id) == len(set.union(*by_id.values()))


def test_prompts_of_which_each_shows_something_else() -> None:
    """What all prompts show decides on the part; what the row's own prompt shows is the input."""
    model = plain.model("causal m { a, b ~ 0..9  output y := a + b }").shown((("{a}", ("a",)), ("{a} {b}", ("a", "b"))))
    design = plain.design(model, n=400, split="fit", templates=("", "b > 4"))
    one = drawn(design)
    base = one.values["base"]
    shown = [(a,) if line == 0 else (a, b) for a, b, line in zip(base["a"], base["b"], base["template"], strict=True)]
    assert len(set(base["a"].tolist())) == 6
    assert len(set(one.ids["base"].tolist())) == len(set(shown))
    assert refusal(plain.design(model.shown((("Hm", ()),)), n=8, split="test")).code == "E710"


# ── in specs ────────────────────────────────────────────────────────────────────────────────────

SPEC = """
causal equality { a, b ~ 0..3  output same := a == b }
network mlp = zoo("equality-relu")
align halves : equality -> mlp {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  same @ logits
}
test fitted on halves { base ~ equality(n=32, split=fit)  report accuracy }
test held on halves { base ~ equality(n=32, split=test)  report accuracy }
test all on halves { base ~ equality(exhaustive=true, split="validation")  report accuracy }
"""


def test_tests_of_other_parts_draw_anew() -> None:
    checked = api.check(api.parse(SPEC))
    assert not checked.errors, checked.text()
    found = {test.name: test for test in checked.program.tests}
    assert {name: test.design.splits for name, test in found.items()} == {
        "fitted": {"base": "fit"},
        "held": {"base": "test"},
        "all": {"base": "validation"},
    }
    assert found["fitted"].draws == "base ~ equality(n=32, split=fit)"
    assert len({test.draws for test in found.values()}) == 3


def test_the_builder_takes_a_split() -> None:
    equality = build.Causal("equality")
    a = equality.draw("a", domain=build.between(0, 3))
    same = equality.output("same", a == 1)
    halves = build.align("halves", equality, build.zoo("equality-relu", name="mlp"))
    halves.place(a, build.input[0:4], via=build.onehot())
    halves.place(same, build.logits)
    test = build.test("held", halves)
    test.draw("base", equality(n=8, split="test"))
    test.report(build.accuracy)
    checked = api.check(api.parse(format_tree(build.spec(test))))
    assert not checked.errors, checked.text()
    assert checked.program.tests[0].design.splits == {"base": "test"}


PART_OF_AN_INTERVAL = """
causal signs {{
  x ~ real({low}, {high})
  output up := x > 0
}}
network net = zoo("rotated-and")
align at : signs -> net {{
  x  @ input[0] via scalar()
  up @ logits
}}
test t on at {{ base ~ signs(n=4, seed=0, split={part})  report accuracy }}
"""


def test_an_interval_of_one_number_is_listed() -> None:
    said = [api.check(api.parse(PART_OF_AN_INTERVAL.format(low=1, high=1, part=part))).errors for part in PARTS]
    refused = [errors for errors in said if errors]
    assert len(refused) == 2 and all([d.code for d in errors] == ["E710"] for errors in refused)
    assert all("has 1 input:" in errors[0].notes[0] for errors in refused)


@pytest.mark.slow
def test_a_part_that_no_draw_lies_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two numbers that lie beside each other: an interval is not listed, and at least one part has none of them."""
    monkeypatch.setattr(drawing, "PATIENCE", 10_000)
    said = [
        api.check(api.parse(PART_OF_AN_INTERVAL.format(low=1, high="1.0000000000000002", part=part))).errors
        for part in PARTS
    ]
    refused = [errors for errors in said if errors]
    assert refused and all([d.code for d in errors] == ["E710"] for errors in refused)
    assert all("none of" in str(errors[0].label) for errors in refused)
