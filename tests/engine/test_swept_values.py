"""A parameter stands for what is written where it stands: a value of a variable, a word, a list, a group of heads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from causal_dsl.tools.cli import main

MODEL = """domain Letter = {"a", "b", "c"}

causal copy {
  x, y ~ Letter
  output out : Letter := y
}

network net = torch("net.py:make", vocabulary=["BOS", "a", "b", "c"], layers="blocks", attention="attn",
  q="attn.q", k="attn.k", v="attn.v", out="attn.o", heads=4)

align tau : copy -> net {
  prompt "BOS {x} {y}"
  y   @ layer[1].resid_post[y]
  out @ next_token
}

"""
TEST = "test {name}{parameters} on tau {{\n  base, source ~ copy(n=24, seed=0)\n  do({action})\n  report kl\n}}\n"
SWEPT = {
    "a value of a variable": ("y = v", ['"a"', '"b"']),
    "a word, a number and a list": (
        "layer[0].resid_post[y] = v",
        ["mean", "0", "noise(std=1)", f"{[float(n) for n in range(16)]}"],
    ),
    "what a word is made of": ("layer[0].resid_post[y] = 2 * v + 1", ["mean", "3"]),
    "a word that is called": ("layer[0].resid_post[y] = v(base)", ["mean"]),
    "a group of heads": ("layer[0].head[v].z[y] <- source", ["0", "[1, 2]"]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tests.network.test_sequence import CODE

    (tmp_path / "net.py").write_text(CODE + "\n\ndef make():\n    return build(2, 4, 4).float()\n", encoding="utf-8")
    return tmp_path


def ran(folder: Path, capsys: pytest.CaptureFixture[str], tests: str) -> list[dict[str, Any]]:
    (folder / "spec.causal").write_text(MODEL + tests, encoding="utf-8")
    rc = main(["run", str(folder / "spec.causal"), "--trust", "--json"])
    out, told = capsys.readouterr()
    assert rc == 0, out + told
    found: list[dict[str, Any]] = json.loads(out)["specs"][0]["tests"]
    return found


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("how", SWEPT)
def test_a_cell_is_what_its_value_says(how: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    action, values = SWEPT[how]
    swept = TEST.format(name="swept", parameters=f"(v in [{', '.join(values)}])", action=action)
    alone = [re.sub(r"\bv\b", value, action) for value in values]
    whole, *single = ran(
        folder, capsys, swept + "".join(TEST.format(name=f"t{n}", parameters="", action=a) for n, a in enumerate(alone))
    )
    assert len(whole["cells"]) == len(values) == len(single)
    kl = [cell["scores"]["kl"]["value"] for cell in whole["cells"]]
    assert kl == pytest.approx([one["cells"][0]["scores"]["kl"]["value"] for one in single], rel=1e-9)
    assert len({round(value, 6) for value in kl}) == len(values)
