"""A patched run that is the base's run: every distance and difference of the two is exactly 0, in every cell and pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.engine.readout import measure
from causal_dsl.measures.names import BETWEEN_RUNS, MEASURES
from causal_dsl.measures.quantities import Quantity
from tests.engine.tiny import spec_of

#: Measures of two runs, and the change or recovery of each measure of one run. What is right or wrong is no difference.
DISTANCES = [name for name, record in MEASURES.items() if "patched" in record.needs]
OF_ONE = [
    f"{name}(o)" if "token" in record.needs else name
    for name, record in MEASURES.items()
    if record.per == "pair" and name not in DISTANCES
]
DIFFERENCES = [*DISTANCES, *(f"{between}({measure})" for between in BETWEEN_RUNS for measure in OF_ONE)]
SAME = """
align late : a {{ same @ layer[2].resid_post[x] }}
test swap on late {{ base, source ~ m(n=40, seed=3) where base.same != source.same do(same <- source)
  {lines}
}}
test zero on late {{ base ~ m(n=40, seed=3) do(layer[2].resid_post[x] = 0)
  {ablation}
}}
"""


def test_the_functions_of_two_runs_are_those_above() -> None:
    """Each is 0 where a run stands beside itself, so that a new one is tested by itself below."""
    assert {"change", "recovered", "relative_change"} <= set(BETWEEN_RUNS)


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_one_run_and_itself(family: str, tmp_path: Path) -> None:
    def lines(differences: list[str]) -> str:
        return "\n  ".join(f"report {text}" for text in differences)

    ablation = [text for text in DIFFERENCES if not text.startswith("recovered")]
    text = spec_of(
        family, SAME.format(lines=lines(DIFFERENCES), ablation=lines(ablation)), layers="[0]", positions="[x]"
    )
    found = api.run(api.parse(text), Options(out=tmp_path))
    for test, asked in (("swap", DIFFERENCES), ("zero", ablation)):
        (cell,) = found[test].cells
        assert {name: cell.scores[name].value for name in asked} == dict.fromkeys(asked, 0.0)
    (path,) = tmp_path.glob("*/pairs.parquet")
    pairs = pandas.read_parquet(path)
    pairs = pairs[pairs["test"].isin(["swap", "zero"])]
    for name in DISTANCES:
        assert (pairs[name] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["kl", "js"])
def test_divergences_of_equal_and_of_nearly_equal_logits(kind: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    base = (20 * torch.randn(500, 37, generator=generator)).to(dtype)
    base[::7, 3] = -torch.inf
    asked = Quantity(kind)  # type: ignore[arg-type]
    same = measure(base, [asked], {}, None, base)[asked]
    assert bool((same == 0).all())
    near = (base.double() + 1e-9 * torch.randn(500, 37, generator=generator).double()).to(torch.float64)
    assert bool((measure(near, [asked], {}, None, base.double())[asked] >= 0).all())
    other = base.flip(0)
    p, q = (
        np.exp(part.double().numpy() - np.logaddexp.reduce(part.double().numpy(), axis=1)[:, None])
        for part in (base, other)
    )
    middle = (p + q) / 2

    def by_hand(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.where(one > 0, one * np.log(one / two), 0).sum(axis=1)

    expected = by_hand(p, q) if kind == "kl" else (by_hand(p, middle) + by_hand(q, middle)) / 2
    np.testing.assert_allclose(measure(other, [asked], {}, None, base)[asked], expected, rtol=1e-9, atol=1e-12)


def test_what_is_no_number_is_no_zero() -> None:
    for wrong in (torch.nan, torch.inf):
        logits = torch.tensor([[1.0, wrong, 0.0]])
        for kind in ("kl", "js"):
            asked = Quantity(kind)  # type: ignore[arg-type]
            assert bool(measure(logits, [asked], {}, None, logits)[asked].isnan().all())
