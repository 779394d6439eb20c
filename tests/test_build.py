"""What the builder makes is what the parser reads."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest

import causal_dsl
from causal_dsl import build as cd
from causal_dsl.building.operators import Expression
from causal_dsl.diagnostics import Diagnostics, Source
from causal_dsl.measures.names import FUNCTIONS, OF_CIRCUITS
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_tree
from causal_dsl.syntax.parse import parse
from causal_dsl.vocabulary.measures import MEASURES


def read(text: str) -> tree.Tree:
    diagnostics = Diagnostics()
    parsed = parse(Source("test.causal", text), diagnostics)
    diagnostics.raise_errors()
    return parsed


def same(built: tree.Tree, text: str) -> None:
    assert built == read(text)
    assert read(format_tree(built)) == built
    # A spec without comments in it is laid out as a hand would.
    assert format_tree(built) == format_tree(read(text))


EQUALITY = """
domain Shape = 0..3

causal equality {
  a, b, c, d ~ Shape

  left  := a == b
  right := c == d
  output same := left == right
}

network mlp = torch("equality_mlp.py:build", weights="equality_mlp.safetensors", dtype=float64)

align halves(l in 0:3) : equality -> mlp {
  a @ input[0:4]   via onehot()
  b @ input[4:8]   via onehot()
  c @ input[8:12]  via onehot()
  d @ input[12:16] via onehot()
  left  @ layer[l].out[0:16]
  right @ layer[l].out[16:32]
  same  @ logits
}

# Changing only what `left` should hold must change the answer as the model says.
test left_is_localised on halves(l=1) {
  base, source ~ equality(n=1024, seed=0) where base.left != source.left
  do(left <- source)
  expect iia >= 95%
  report accuracy
}

test halves_are_independent on halves {
  base, one, two ~ equality(exhaustive=true)
  do(left <- one, right <- two)
  expect max(iia) >= 0.9
}
"""


def test_equality() -> None:
    shape = cd.domain("Shape", cd.between(0, 3))
    equality = cd.Causal("equality")
    a, b, c, d = equality.draw("a", "b", "c", "d", domain=shape)
    left = equality.let("left", a == b)
    right = equality.let("right", c == d)
    answer = equality.output("same", left == right)

    mlp = cd.torch("equality_mlp.py:build", name="mlp", weights="equality_mlp.safetensors", dtype="float64")
    halves = cd.align("halves", equality, mlp, l=range(3))
    for i, variable in enumerate((a, b, c, d)):
        halves.place(variable, cd.input[4 * i : 4 * i + 4], via=cd.onehot())
    halves.place(left, cd.layer[cd.param("l")].out[0:16])
    halves.place(right, cd.layer[cd.param("l")].out[16:32])
    halves.place(answer, cd.logits)

    doc = "Changing only what `left` should hold must change the answer as the model says."
    localised = cd.test("left_is_localised", halves(l=1), doc=doc)
    _, source = localised.draw(
        "base", "source", equality(n=1024, seed=0), where=lambda base, source: base.left != source.left
    )
    localised.do(cd.swap(left, source))
    localised.expect(cd.iia >= cd.percent(95))
    localised.report(cd.accuracy)

    independent = cd.test("halves_are_independent", halves)
    _, one, two = independent.draw("base", "one", "two", equality(exhaustive=True))
    independent.do(cd.swap(left, one), cd.swap(right, two))
    independent.expect(cd.max(cd.iia) >= 0.9)

    assert cd.spec(localised, independent) == read(EQUALITY)
    assert read(format_tree(cd.spec(localised, independent))) == read(EQUALITY)


IOI = """
# Where the names come from.
from "names.causal" import Name, Place, Thing

causal ioi {
  first, second ~ Name where first != second
  # the name said twice
  subject ~ {first, second}
  place ~ Place
  thing ~ Thing

  duplicate := if subject == first then 1 else 2
  output answer : Name := if duplicate == 1 then second else first
}

network gpt2 = hf("openai-community/gpt2", revision="main", dtype=float32)

align tau(l in 0:12, p in [subject, last]) : ioi -> gpt2 {
  prompt "When {first} and {second} went to the {place}, {subject} gave a {thing} to"
  prompt "{subject} gave" where place == "school"

  duplicate @ layer[l].resid_pre[p]
  answer    @ next_token(among=Name)
}

align das(l in 6:9) : tau {
  duplicate @ layer[l].resid_pre[subject] via rotation(dim=8, seed=0)
}

metric logit_diff = logit(answer) - logit(subject)

test solves_the_task on tau(0) {
  base ~ ioi(n=512, seed=0, balance=[duplicate]) where solved(base) and not base.place in {"school", "park"}
  expect mean(logit_diff) >= 2.5
}

test position_signal on das(8) {
  base, source ~ ioi(n=512, seed=1) where base.duplicate != source.duplicate
  do(layer[8].resid_pre[place] <- source, layer[2].head[1, 3].z[last] = noise(std=3))
  do(layer[8].resid_post[subject.first] += 4 * (mean(source) - mean(base)))
  do(layer[8].resid_post[last] <- source.layer[5].resid_post[last])
  expect kl <= 0.05 nats
  expect argmax(iia).l >= 5
  expect change(logit_diff) <= -1.0
}
"""


def test_indirect_object_identification() -> None:
    names, places, things = cd.import_("names.causal", "Name", "Place", "Thing", doc="Where the names come from.")
    ioi = cd.Causal("ioi")
    first, second = ioi.draw("first", "second", domain=names, where=lambda first, second: first != second)
    subject = ioi.draw("subject", domain=[first, second], doc="the name said twice")
    place = ioi.draw("place", domain=places)
    ioi.draw("thing", domain=things)
    duplicate = ioi.let("duplicate", cd.if_(subject == first, 1, 2))
    answer = ioi.output("answer", cd.if_(duplicate == 1, second, first), domain=names)

    gpt2 = cd.hf("openai-community/gpt2", name="gpt2", revision="main", dtype="float32")
    tau = cd.align("tau", ioi, gpt2, l=range(12), p=[subject, cd.last])
    tau.prompt("When {first} and {second} went to the {place}, {subject} gave a {thing} to")
    tau.prompt("{subject} gave", where=place == "school")
    tau.place(duplicate, cd.layer[cd.param("l")].resid_pre[cd.param("p")])
    tau.place(answer, cd.next_token(among=names))
    das = cd.align("das", tau, l=range(6, 9))
    das.place(duplicate, cd.layer[cd.param("l")].resid_pre[subject], via=cd.rotation(dim=8, seed=0))
    logit_diff = cd.metric("logit_diff", cd.logit(answer) - cd.logit(subject))

    solves = cd.test("solves_the_task", tau(0))
    solves.draw(
        "base",
        ioi(n=512, seed=0, balance=[duplicate]),
        where=lambda base: cd.solved(base) & ~base.place.isin(["school", "park"]),
    )
    solves.expect(cd.mean(logit_diff) >= 2.5)

    signal = cd.test("position_signal", das(8))
    base, source = signal.draw(
        "base", "source", ioi(n=512, seed=1), where=lambda base, source: base.duplicate != source.duplicate
    )
    signal.do(
        cd.patch(cd.layer[8].resid_pre[place], source),
        cd.set_to(cd.layer[2].head[1, 3].z[cd.last], cd.noise(std=3)),
    )
    signal.do(cd.add_to(cd.layer[8].resid_post[subject.first], 4 * (cd.mean(source) - cd.mean(base))))
    signal.do(cd.patch(cd.layer[8].resid_post[cd.last], source.layer[5].resid_post[cd.last]))
    signal.expect(cd.kl <= cd.nats(0.05))
    signal.expect(cd.argmax(cd.iia).l >= 5)
    signal.expect(cd.change(logit_diff) <= -1.0)

    assert cd.spec(das, logit_diff, solves, signal) == read(IOI)
    assert read(format_tree(cd.spec(das, logit_diff, solves, signal))) == read(IOI)


CIRCUIT = """
from "ioi.causal" import ioi, gpt2, tau, logit_diff

circuit wang : gpt2 {
  duplicate = layer[0].head[1, 10], layer[3].head[0]
  inhibit   = layer[7].head[3, 9]
  mover     = layer[9].head[6, 9]

  duplicate          -> inhibit.v -> mover.q
  mover, inhibit.out -> logits
}

test faithful on tau(0) {
  base ~ ioi(n=512, seed=0)
  do(outside(wang) = mean)
  do(wang.mover.z[last] = 0, wang.inhibit -> wang.mover.q <- source)
  do(wang.duplicate -> wang.inhibit.k = mean)
  expect recovered(logit_diff) >= 80%
}
"""


def test_circuit() -> None:
    ioi, gpt2, tau, logit_diff = cd.import_("ioi.causal", "ioi", "gpt2", "tau", "logit_diff")
    wang = cd.circuit("wang", gpt2)
    duplicate = wang.group("duplicate", cd.layer[0].head[1, 10], cd.layer[3].head[0])
    inhibit = wang.group("inhibit", cd.layer[7].head[3, 9])
    mover = wang.group("mover", cd.layer[9].head[6, 9])
    wang.edge(duplicate, inhibit.v, mover.q)
    wang.edge([mover, inhibit.out], cd.logits)
    faithful = cd.test("faithful", tau(0))
    faithful.draw("base", ioi(n=512, seed=0))
    faithful.do(cd.set_to(cd.outside(wang), cd.mean))
    faithful.do(cd.set_to(wang.mover.z[cd.last], 0), cd.path(wang.inhibit, wang.mover.q, cd.name("source")))
    faithful.do(cd.path(wang.duplicate, wang.inhibit.k, value=cd.mean))
    faithful.expect(cd.recovered(logit_diff) >= cd.percent(80))
    same(cd.spec(faithful), CIRCUIT)


CIRCUITS = """
from "ioi.causal" import gpt2

circuit early(l in 0:3) : gpt2 {
  heads = layer[l].head[all], embed
  mlps  = layer[0:2].mlp_out
  latents = layer[1].resid_post via sae("saes/one", latents=[3])
  error = layer[1].resid_post[last] via sae("saes/one").error()
}

circuit rest  = early(l=2) - early(l=1).mlps
circuit found : gpt2 = json("found.json", keep=2)
"""


def test_circuits_of_parameters_and_values() -> None:
    gpt2 = cd.import_("ioi.causal", "gpt2")
    early = cd.circuit("early", gpt2, l=range(3))
    early.group("heads", cd.layer[cd.param("l")].head[cd.all], cd.embed)
    early.group("mlps", cd.layer[0:2].mlp_out)
    early.group("latents", cd.via(cd.layer[1].resid_post, cd.sae("saes/one", latents=[3])))
    early.group("error", cd.via(cd.layer[1].resid_post[cd.last], cd.sae("saes/one").error()))
    rest = cd.circuit("rest", value=early(l=2) - early(l=1).mlps)
    found = cd.circuit("found", gpt2, value=cd.name("json")("found.json", keep=2))
    same(cd.spec(rest, found), CIRCUITS)
    with pytest.raises(TypeError, match="which network"):
        cd.circuit("none")


TABLES = """
domain Names = lines("names.txt")
domain Flag  = bool
domain Share = real(-1, 1)

table Cities = csv("cities.csv", key=city)

causal facts {
  city  ~ Cities
  n, m  ~ 0..9 where n in 1..3 or m in {2, -4}
  flag  ~ Flag
  share ~ Share
  name  ~ Names

  country := Cities[city].country
  number  := -n * (m - 1) div 2 mod 3 / 0.5
  output odd := not flag and (n + m) mod 2 == 1
}
"""


def test_domains_and_operators() -> None:
    names = cd.domain("Names", cd.lines("names.txt"))
    flags = cd.domain("Flag", cd.bool_)
    shares = cd.domain("Share", cd.real(-1, 1))
    cities = cd.table("Cities", cd.csv("cities.csv", key="city"))
    facts = cd.Causal("facts")
    city = facts.draw("city", domain=cities)
    n, m = facts.draw("n", "m", domain=range(10), where=lambda n, m: n.isin(range(1, 4)) | m.isin([2, -4]))
    flag = facts.draw("flag", domain=flags)
    facts.draw("share", domain=shares)
    facts.draw("name", domain=names)
    facts.let("country", cities[city].country)
    facts.let("number", -n * (m - 1) // 2 % 3 / 0.5)
    facts.output("odd", ~flag & ((n + m) % 2 == 1))
    same(cd.spec(names, flags, shares, cities, facts), TABLES)


def test_outputs_without_a_value_and_stated_ends() -> None:
    m = cd.Causal("m")
    x = m.draw("x", domain=cd.between(0, 9))
    y, z = m.output("y"), m.output("z", x * x)
    a = cd.align("a", m, cd.hf("gpt2", name="net"))
    a.prompt("{x} squared is")
    a.place(y, cd.next_token)
    a.place(z, cd.next_token(end=cd.name("word")))
    same(
        cd.spec(a),
        """
        causal m {
          x ~ 0..9

          output y
          output z := x * x
        }
        network net = hf("gpt2")
        align a : m -> net {
          prompt "{x} squared is"

          y @ next_token
          z @ next_token(end=word)
        }
        """,
    )
    with pytest.raises(TypeError, match="has a value"):
        m.output("w", domain=cd.between(0, 9))


def test_misuse_says_what_to_write() -> None:
    model = cd.Causal("m")
    a, b = model.draw("a", "b", domain=range(3))
    with pytest.raises(TypeError, match="if_"):
        if a == b:
            pass
    with pytest.raises(TypeError, match="&"):
        assert (a == b) and (b == a)
    with pytest.raises(TypeError, match="&"):
        assert a < b < 3
    with pytest.raises(TypeError, match="isin"):
        assert 1 in a
    with pytest.raises(TypeError, match="iterated"):
        list(a)
    with pytest.raises(TypeError, match="set_to"):
        cd.layer[0] = 3
    with pytest.raises(TypeError, match="immutable"):
        a.b = 3
    with pytest.raises(TypeError, match="list"):
        cd.domain("D", {"x", "y"})
    with pytest.raises(TypeError, match="bool_"):
        cd.domain("D", bool)
    with pytest.raises(TypeError, match=r"cd\.max"):
        cd.logit(max)
    with pytest.raises(TypeError, match="cannot be written"):
        cd.logit(object())
    with pytest.raises(TypeError, match="no parts"):
        (a + b).c  # noqa: B018
    with pytest.raises(TypeError, match="not a site"):
        cd.swap(a, b) and cd.align("x", model).place(a, a + b)
    with pytest.raises(ValueError, match="word of the language"):
        model.let("output", a)
    with pytest.raises(ValueError, match="not a name"):
        model.let("a b", a)
    for number in (math.inf, math.nan):
        with pytest.raises(ValueError, match="cannot be written"):
            model.let("c", a + number)
    with pytest.raises(TypeError, match="declares nothing"):
        cd.spec(cd.iia)
    with pytest.raises(ValueError, match="two things"):
        cd.spec(cd.domain("D", [1]), cd.domain("D", [2]))


def test_expressions_show_as_they_are_written() -> None:
    assert repr(cd.layer[8].head[1, 2].z[cd.last, 0:64]) == "layer[8].head[1, 2].z[last, 0:64]"
    assert repr(cd.if_(cd.iia > 0.5, [1, "a"], -2.0)) == 'if iia > 0.5 then [1, "a"] else -2.0'
    assert isinstance(1 - cd.iia, Expression)
    assert repr(1 - (2 - cd.iia)) == "1 - (2 - iia)"
    assert cd.node_of(cd.percent(95)) == tree.Number(95, "%")
    assert {cd.iia, cd.kl} == {cd.iia, cd.kl}


TRAINED = """
causal parity {
  a, b ~ bool

  first      := a != b
  output odd := first
}

network blank = torch("net.py:build")

align halves : parity -> blank {
  a     @ input[0:1] via scalar()
  b     @ input[1:2] via scalar()
  first @ layer[0].out[0:2]
  odd   @ logits
}

# Trained towards the model.
network net = train(
    halves, n=64, balance=[first], steps=100, rate=0.01, decay=cosine, seed=3, strict=0.5, layers=[0, 1], init=keep
)

align again : halves -> net {
}

test solves on again {
  base ~ parity(exhaustive=true)
  expect accuracy >= 99%
}
"""


def test_training() -> None:
    parity = cd.Causal("parity")
    a, b = parity.draw("a", "b", domain=cd.bool_)
    first = parity.let("first", a != b)
    odd = parity.output("odd", first)
    halves = cd.align("halves", parity, cd.torch("net.py:build", name="blank"))
    halves.place(a, cd.input[0:1], via=cd.scalar())
    halves.place(b, cd.input[1:2], via=cd.scalar())
    halves.place(first, cd.layer[0].out[0:2])
    halves.place(odd, cd.logits)
    net = cd.train(
        halves,
        name="net",
        doc="Trained towards the model.",
        n=64,
        balance=[first],
        steps=100,
        rate=0.01,
        decay="cosine",
        seed=3,
        strict=0.5,
        layers=[0, 1],
        init="keep",
    )
    solves = cd.test("solves", cd.align("again", halves, net))
    solves.draw("base", parity(exhaustive=True))
    solves.expect(cd.accuracy >= cd.percent(99))
    same(cd.spec(solves), TRAINED)
    for wrong in ({}, {"name": "two", "again": object()}):
        with pytest.raises(TypeError):
            cd.train(halves, **wrong)
    with pytest.raises(TypeError, match="not an alignment"):
        cd.train(cd.spec(solves), name="net")  # type: ignore[call-overload]


def test_python_has_every_word_of_the_language() -> None:
    """What a spec can call is a name of the builder, and a name of the package for the reader, the editor and the type checker."""
    words = {*FUNCTIONS, *OF_CIRCUITS, "discover", "json", "chat", "solved", "outside"}
    assert words <= set(cd.__all__)
    assert {*cd.__all__} - set(MEASURES.own) <= set(causal_dsl.__all__)
    assert {word for word in words if not isinstance(getattr(causal_dsl, word), Expression)} == set()
    parsed = ast.parse(Path(causal_dsl.__file__).read_text(encoding="utf-8"))
    typed = {name.name for node in ast.walk(parsed) if isinstance(node, ast.ImportFrom) for name in node.names}
    assert set(causal_dsl.__all__) <= typed
