"""Files that a network's code reads as it runs: what is kept belongs to them, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.small import Ran
from tests.thinning import spread

SPEC = """
causal who {
  a, b ~ 0..3

  c := (a + b) mod 4
  output answer := c
}

network vec = torch("net.py:make")

align at : who -> vec {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  c @ module("net.0")[0:8]
  answer @ logits
}

test t on at {
  base, source ~ who(n=24, seed=0)
  do(c <- source)
  report kl
}
"""

NET = """
import json, os, sys
from pathlib import Path
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))

    def forward(self, x):
        scale = 1.0
        if WHEN:
            READ
        return self.net(x * scale)

def make():
    return Net()
"""

#: Ways to read a file in `forward`, each with the file and two contents of it.
WAYS = {
    "text": ('scale = json.loads((HERE / "late.json").read_text())[0]', "late.json", "[1.0]", "[3.0]"),
    "os.open": (
        'f = os.open(HERE / "late.json", os.O_RDONLY); scale = json.loads(os.read(f, 99))[0]; os.close(f)',
        "late.json",
        "[1.0]",
        "[3.0]",
    ),
    "import": ("import late_module; scale = late_module.SCALE", "late_module.py", "SCALE = 1.0", "SCALE = 3.0"),
    "absent": (
        'scale = json.loads((HERE / "late.json").read_text())[0] if not _missing(HERE / "late.json") else 1.0',
        "late.json",
        None,
        "[3.0]",
    ),
}
MISSING = """
def _missing(path):
    try:
        open(path).close()
    except FileNotFoundError:
        return True
    return False
"""
#: When it is read: as the network is tried at load, or only when the plan is run.
TIMES = {
    "always": "True",
    "in the run only": "bool(((x == 0) | (x == 1)).all() and x.sum() > 0)",  # as the inputs of the spec are
}


def _made(folder: Path, way: str, time: str) -> Path:
    read, name, content, _ = WAYS[way]
    (folder / "net.py").write_text(NET.replace("READ", read).replace("WHEN", TIMES[time]) + MISSING)
    if content is not None:
        (folder / name).write_text(content)
    spec = folder / "s.causal"
    spec.write_text(SPEC)
    return spec


@pytest.mark.thinned(slow=4)
@pytest.mark.slow
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("way", spread(WAYS, 2))
def test_a_kept_run_belongs_to_what_forward_reads(
    tmp_path: Path, way: str, time: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, name, _, other = WAYS[way]
    spec, out = _made(tmp_path, way, time), tmp_path / "out"
    before = Ran(spec, monkeypatch, out=out)
    assert before.steps["sweep"] > 0 and "W658" not in before.codes
    again = Ran(spec, monkeypatch, out=out)
    assert again.steps["sweep"] == 0 and "W658" not in again.codes, again.notes
    assert again.numbers == before.numbers
    (tmp_path / name).write_text(other)
    new = Ran(spec, monkeypatch, out=out)
    assert new.steps["sweep"] > 0 and any(name in note for note in new.notes)
    assert any("as it runs" in note for note in new.notes) == (time != "always")
    assert new.numbers == Ran(spec, monkeypatch).numbers != before.numbers
    last = Ran(spec, monkeypatch, out=out)
    assert last.steps["sweep"] == 0 and last.numbers == new.numbers


@pytest.mark.slow
@pytest.mark.parametrize("time", TIMES)
def test_a_kept_fit_belongs_to_what_forward_reads(tmp_path: Path, time: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "p").mkdir()
    spec = _made(tmp_path / "p", "text", time)
    place = 'module("net.0")[0:8]'
    via = "via rotation(dim=2, n=16, epochs=2, controls=none)"
    spec.write_text(SPEC.replace(place, f"{place} {via}").replace("n=24, seed=0)", "n=24, seed=1)"))
    before = Ran(spec, monkeypatch)
    again = Ran(spec, monkeypatch)
    assert before.steps["fit"] == 1 and again.steps["fit"] == 0 and again.numbers == before.numbers
    (tmp_path / "p" / "late.json").write_text("[3.0]")
    new = Ran(spec, monkeypatch)
    assert new.steps["fit"] == 1 and new.numbers != before.numbers
    assert Ran(spec, monkeypatch).steps["fit"] == 0
