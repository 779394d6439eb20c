"""Mutated specs through ``check`` and ``run``: no traceback, no exception of ours, and whatever runs gives numbers.

The corpus is the shipped specs, their draws made small; a mutation changes a word, a number, a name or a line of one,
or takes one from another. ``MUTATED=20000 pytest -m 'slow or nightly' tests/tools/test_mutated_specs.py`` tries as many as one likes.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from causal_dsl.tools.cli import main

ROOT = Path(__file__).parents[2]
MANY = int(os.environ.get("MUTATED", "60"))
#: Longer than this for one small spec is a fault too.
PATIENCE = 120

VECTORS = """
domain Shape = 0..3
causal equality {
  a, b, c, d ~ Shape where a != b or c == d
  left  := a == b
  right := c == d
  output same := left == right
}
network mlp = zoo("equality-relu")
align halves(l in 0:2, k in 0:3) : equality -> mlp {
  a    @ input[0:4]   via onehot()
  b    @ input[4:8]   via onehot()
  c    @ input[8:12]  via onehot()
  d    @ input[12:16] via onehot()
  left @ layer[1].out[0:2]
  right @ layer[1].out[2:4]
  same @ logits
}
test solves on halves(l=0, k=0) {
  base ~ equality(n=16, seed=0)
  expect accuracy >= 99%
}
test swaps on halves(k=1) {
  base, source ~ equality(n=16, seed=0, balance=[base.left]) where base.left != source.left
  do(left <- source)
  expect max(iia) >= 5%
  report iia, moved
}
test two on halves(l=0, k=0) {
  base, one, two ~ equality(n=16, seed=3)
  do(left <- one, right <- two)
  report iia, iia_star
}
test all_of_them on halves(l=0, k=0) {
  base, source ~ equality(n=16, seed=0)
  do(layer[1].out[0] = mean, layer[1].out[1] += 2 * noise(std=3))
  report moved, kl
}
"""

PROMPTS = """
domain Shape = {"arrow", "circle", "cross", "diamond"}
causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := if c == d then true else false
  output same := left == right
}
network net = zoo("equality-gpt2", padding=left)
align halves(l in 0:3, p in [a, b, last]) : equality -> net {
  prompt "{a} {b} {c} {d} ="
  left @ layer[l].resid_post[p]
  same @ next_token
}
metric gap = logit(true) - logit(false)
test swaps on halves {
  base, source ~ equality(n=8, seed=0)
  do(left <- source)
  expect best(iia) >= 5%
  report iia, mean(change(gap)), kl, argmax(iia)
}
test heads on halves(l=1, p=last) {
  base, source ~ equality(n=8, seed=1) where base.a == source.a
  do(layer[1].head[0:2].z[last] <- source, layer[0].mlp_out[b] = 0)
  report moved, prob(true)
}
test given on halves(l=0, p=last) {
  base ~ equality(n=8, seed=1) where solved(base)
  do(layer[2].resid_mid[last] += 2 * (mean - [0, 1]))
  report moved
}
"""


def corpus() -> list[str]:
    """Small specs of every kind: those above, and those that ship without fits and large networks."""
    shipped = []
    for path in sorted((ROOT / "specs").glob("*.causal")):
        text = path.read_text(encoding="utf-8")
        if "smollm" in text or "train(" in text or "rotation(" in text or "import" in text:
            continue
        shipped.append(re.sub(r"n=\d+", "n=8", text))
    return [VECTORS, PROMPTS, *shipped]


WORD = re.compile(r'"[^"\n]*"|\w+|[^\w\s]|\s+')
ODD = (
    "0",
    "1",
    "-1",
    "2",
    "999999999999",
    "1e308",
    "0.5",
    "0:0",
    "3:1",
    '""',
    '"\\u0000"',
    '"a" "b"',
    "true",
    "base",
    "source",
    "solved(base)",
    "mean",
    "noise(std=0)",
    "noise(std=-1)",
    "none",
    "all",
    "last",
    "first",
    "logits",
    "next_token",
    "input",
    "layer",
    "exhaustive=true",
    "[]",
    "()",
    "not",
    "==",
    "/ 0",
    "div 0",
    "%",
    "where",
    "do",
    "do()",
    "{}",
    "output",
    "import",
    "é",
    "\u202e",
    "\t",
    "#",
    "balance=[]",
    "split=test",
    "n=0",
    "n=1",
    "seed=-1",
    "padding=left",
    "dtype=bfloat16",
    "dtype=float16",
    "via mask()",
    "via onehot()",
    "via pca(dim=0)",
    "1/3",
    "nats",
    "max(iia)",
    "iia_star",
    "report",
    "expect",
    "1 == 1",
    "in [0, 0]",
    "in []",
    "in 0:1000000",
    "resid_mid",
    "q_rot",
    "pattern",
    "head[9]",
)


def mutated(rng: random.Random, specs: list[str]) -> str:
    """One to three mutations of a spec."""
    text = rng.choice(specs)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        words = WORD.findall(text)
        real = [i for i, word in enumerate(words) if not word.isspace()]
        if not real:
            return text
        at, other = rng.choice(real), rng.choice(real)
        match rng.randrange(10):
            case 0:
                del words[at]
            case 1:
                words.insert(at, words[other])
            case 2:
                words[at], words[other] = words[other], words[at]
            case 3 | 4:
                words[at] = words[other]
            case 5:
                words[at] = rng.choice(ODD)
            case 6:
                words.insert(at, rng.choice(ODD) + " ")
            case 7:
                numbers = [i for i in real if words[i].isdigit()]
                if numbers:
                    words[rng.choice(numbers)] = rng.choice(("0", "1", "2", "3", "7", "64", "1000", "100000000"))
            case 8:
                lines = text.split("\n")
                donor = rng.choice(specs).split("\n")
                lines.insert(rng.randrange(len(lines)), rng.choice(donor))
                words = ["\n".join(lines)]
            case 9:
                lines = text.split("\n")
                del lines[rng.randrange(len(lines))]
                words = ["\n".join(lines)]
        text = "".join(words)
    return text


@contextmanager
def patience(seconds: int, what: str) -> Iterator[None]:
    def out(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s: {what}")

    before = signal.signal(signal.SIGALRM, out)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tried(command: list[str], spec: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """The document that a command prints of a spec."""
    text = spec.read_text(encoding="utf-8")
    with patience(PATIENCE, text):
        code = main([*command, str(spec), "--json"])
    said = capsys.readouterr()
    assert code in (0, 1, 2), text
    document = json.loads(said.out)
    codes = [d["code"] for one in document["specs"] for d in one["diagnostics"]]
    assert "E799" not in codes and "Traceback" not in said.err, f"{said.out}\n{said.err}\n{text}"
    if code == 2:
        assert codes, text
    found: dict[str, object] = document["specs"][0]
    found["exit"] = code
    return found


@pytest.mark.slow
def test_mutated_specs_through_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, specs = random.Random(int(os.environ.get("MUTATED_SEED", "0"))), corpus()
    for _ in range(MANY):
        spec = tmp_path / "spec.causal"
        spec.write_text(mutated(rng, specs), encoding="utf-8")
        tried(["check"], spec, capsys)


@pytest.mark.nightly
def test_mutated_specs_through_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, specs = random.Random(1 + int(os.environ.get("MUTATED_SEED", "0"))), [VECTORS, PROMPTS]
    ran = 0
    while ran < MANY // 20:
        spec = tmp_path / "spec.causal"
        spec.write_text(mutated(rng, specs), encoding="utf-8")
        checked = tried(["check"], spec, capsys)
        if checked["exit"] != 0 or not checked["tests"]:
            continue
        text = spec.read_text(encoding="utf-8")
        if any(int(number) > 1000 for number in re.findall(r"\d+", text)):
            continue
        done = tried(["run"], spec, capsys)
        ran += 1
        if done["exit"] != 2:
            names = {test["name"] for test in checked["tests"]}  # type: ignore[attr-defined]
            assert names == {test["name"] for test in done["tests"]}, text  # type: ignore[attr-defined]
