"""Two hundred broken specs through ``check`` in one process: exit code 2, a diagnostic with a place, never an exception."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from causal_dsl.tools.cli import main

GOOD = """\
domain Shape = 0..3
domain Name = {"Mary", "John", "Anna"}

causal equality {
  a, b, c, d ~ Shape where a != b or c == d

  left  := a == b
  right := c == d
  output same := left == right
}

network mlp = zoo("equality-relu")

align halves(l in 0:2) : equality -> mlp {
  a    @ input[0:4]   via onehot()
  b    @ input[4:8]   via onehot()
  c    @ input[8:12]  via onehot()
  d    @ input[12:16] via onehot()
  left @ layer[l].out[0:2]
  same @ logits
}

test solves on halves(l=0) {
  base ~ equality(n=64, seed=0)
  expect accuracy >= 99%
}

test swaps on halves {
  base, source ~ equality(n=64, seed=0) where base.left != source.left
  do(left <- source)
  expect max(iia) >= 5%
  report iia
}
"""

SWAPS = [
    ("0..3", '0.."x"'),
    ("0..3", "0..1000000000000"),
    ("0..3", "3..0"),
    ("a == b", 'a == "Mary"'),
    ("a == b", "a + left"),
    ("a == b", "a div 0"),
    ("a != b or c == d", "a == 9"),
    ("n=64", "n=100000000000"),
    ("n=64", 'n="many"'),
    ("n=64", "n=-1"),
    ("layer[l]", "layer[9]"),
    ("[0:2]", "[0:800]"),
    ("[0:2]", "[2:0]"),
    ("equality-relu", "equality-rlu"),
    ("left <- source", "lfet <- source"),
    ("left <- source", "left <- sorce"),
    ("99%", "99"),
    ("99%", '"high"'),
    ("iia)", "iai)"),
    ("0:2", "0:1000000000000"),
    ("seed=0", "sede=0"),
    ("onehot()", "onehut()"),
    ("zoo(", "zoon("),
    ("base.left", "base.lft"),
    ("on halves {", "on halfs {"),
    ("c == d", "right == d"),
    ("input[0:4]", "inputs[0:4]"),
]


def broken() -> list[bytes]:
    random_ = random.Random(0)
    made = [GOOD.replace(old, new).encode() for old, new in SWAPS]
    made += [
        b"",
        b"\n\n# only a comment\n",
        b"\x00\x01\x02\xff",
        bytes(range(256)) * 40,
        "\N{GREEK SMALL LETTER TAU}".encode() * 1000,
        GOOD.replace("a == b", "(" * 5000 + "a" + ")" * 5000).encode(),
        GOOD.replace("a == b", "not " * 20000 + "true").encode(),
        GOOD.replace("a == b", " + ".join(["a"] * 20000)).encode(),
        b"{" * 100000,
        b"causal " * 20000,
        b'"' + b"a" * 200000,
        GOOD.encode("utf-16"),
        b"domain D = {" + b", ".join(b"1" for _ in range(50000)) + b"}",
    ]
    words = GOOD.split(" ")
    while len(made) < 198:
        way = len(made) % 4
        if way == 0:  # cut inside a block
            text = GOOD[: random_.randrange(90, GOOD.rindex("}") - 1)]
            made.append((text + " {").encode())
        elif way == 1:
            some = words.copy()
            random_.shuffle(some)
            made.append(" ".join(some).encode())
        elif way == 2:  # a name of the spec misspelt once, where it is used
            name = random_.choice(
                ["equality ->", "-> mlp", "~ Shape", "on halves", "left == right", "do(left", "@ logits"]
            )
            made.append(GOOD.replace(name, name[:-2] + random_.choice("qxz") + name[-2:] + "zz", 1).encode())
        else:
            at = random_.randrange(GOOD.index("causal equality"), len(GOOD))  # any sign may stand in a name of `Name`
            made.append((GOOD[:at] + random_.choice(["\x00", "}}", " := := ", "$", "((", "\x1b"]) + GOOD[at:]).encode())
    return made


def test_the_whole_spec_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.causal").write_text(GOOD, encoding="utf-8")
    code = main(["check", str(tmp_path / "good.causal")])
    assert code == 0, capsys.readouterr().out


@pytest.mark.slow
def test_two_hundred_broken_specs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for number, content in enumerate(broken()):
        files.append(tmp_path / f"{number:03}.causal")
        files[-1].write_bytes(content)
    (tmp_path / "empty folder").mkdir()
    files += [tmp_path / "empty folder", tmp_path / "missing.causal"]
    assert len(files) == 200
    wrong = {}
    for file in files:
        code = main(["check", "--json", str(file)])
        document = json.loads(capsys.readouterr().out)
        found = [d for spec in document["specs"] for d in spec["diagnostics"] if d["code"].startswith("E")]
        placed = all(d["path"] and d["line"] >= 1 and d["column"] >= 1 for d in found)
        if code != 2 or not found or not placed or any(d["code"] == "E799" for d in found):
            wrong[file.name] = (code, [(d["code"], d["title"], d["notes"]) for d in found][:2])
    assert not wrong
