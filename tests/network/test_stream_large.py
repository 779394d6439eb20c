"""A network of 1.7 GB of weights in a process that may have 1.1 GB of memory, and one of 4 GB at night in one of 1.5."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import disk_usage, rmtree
from tempfile import mkdtemp
from typing import Any

import pytest

from benchmarks.streaming import write

#: What the process may have of memory that is its own, by the number of layers: RLIMIT_DATA counts it as soon as it is asked for. Files
#: that the system keeps in its cache are not the process's.
MOST = {7: 1100 * 2**20, 18: 1500 * 2**20}
SPEC = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  same := x == y
  output o := if same then x else z
}
network net = hf("FOLDER", HELD)
align a(l in [0, MIDDLE, LAST], p in [x, last]) : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  same @ layer[l].resid_post[p]
  o    @ next_token(among=W)
}
test t on a {
  base, source ~ m(n=2, seed=0)
  do(same <- source)
  report iia, mean(kl)
}
"""
RUN = """
import resource, sys
if int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)
from causal_dsl.tools.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(
    scope="module", params=[pytest.param(7, marks=pytest.mark.slow), pytest.param(18, marks=pytest.mark.nightly)]
)
def layers(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture(scope="module")
def folder(layers: int) -> Iterator[Path]:
    """A llama with random weights in one file a layer, drawn a layer at a time; removed at the end."""
    made = Path(mkdtemp(prefix="large-"))
    if disk_usage(made).free < 8 * 10**9:
        pytest.skip("there are no 8 GB left on the disk")
    write(made, layers)
    try:
        yield made
    finally:
        rmtree(made)


def cells_of(folder: Path, layers: int, held: str, most: int, out: Path) -> Any:
    spec = out / "s.causal"
    text = SPEC.replace("FOLDER", str(folder)).replace("HELD", held)
    spec.write_text(text.replace("MIDDLE", str(layers // 2)).replace("LAST", str(layers - 1)), encoding="utf-8")
    words_ = [sys.executable, "-c", RUN, str(most), "run", str(spec), "--json"]
    done = subprocess.run(words_, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    (test,) = json.loads(done.stdout)["specs"][0]["tests"]
    return test["cells"]


def test_more_weights_than_memory_run_in_it(folder: Path, layers: int, tmp_path: Path) -> None:
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert size > {7: 1.6, 18: 3.9}[layers] * 10**9 > {7: 1.35, 18: 2}[layers] * MOST[layers]
    found = cells_of(folder, layers, "weights=stream", MOST[layers], tmp_path)
    assert len(found) == 6
    assert found == cells_of(folder, layers, "dtype=float32", 0, tmp_path)


def test_in_memory_they_do_not(folder: Path, layers: int, tmp_path: Path) -> None:
    """What the test above holds is no accident of the limit."""
    with pytest.raises(AssertionError):
        cells_of(folder, layers, "dtype=float32", MOST[layers], tmp_path)
