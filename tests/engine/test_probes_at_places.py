"""Linear probes and tuned lenses at places: against probes fitted by scipy on vectors from hooks, and maps written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.optimize import minimize

from causal_dsl import api
from causal_dsl.engine.linear_probe import outcomes
from causal_dsl.features.probe import RIDGE
from causal_dsl.planning.lower import by_reference
from causal_dsl.planning.probe_splits import control_task, halves
from tests.engine.test_lens import lens, run
from tests.engine.tiny import execution_of, spec_of

torch.set_num_threads(1)
PROBES = """
test plain on a {
  base ~ m(n=60, seed=1)
  report probe_accuracy(same) @ layer[l].resid_post[p], probe_selectivity(x, by=z) @ layer[l].resid_post[p]
}
"""


def softmax_probe(x: np.ndarray, classes: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """What multinomial logistic regression with a ridge says of other vectors."""
    known, target = np.unique(classes, return_inverse=True)
    mean = x.mean(axis=0)
    scale = np.sqrt(np.square(x - mean).mean())
    x, judged, count = (x - mean) / scale, (judged - mean) / scale, len(known)
    hot = np.eye(count)[target]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-count].reshape(-1, count), flat[-count:]
        scores = x @ weights + bias
        log = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        slope = (np.exp(log) - hot) / len(x)
        gradient = np.concatenate([(x.T @ slope + RIDGE * weights).ravel(), slope.sum(axis=0)])
        return float(-(hot * log).sum() / len(x) + RIDGE / 2 * np.square(weights).sum()), gradient

    start = np.zeros((x.shape[1] + 1) * count)
    flat = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-9}).x
    return known[(judged @ flat[:-count].reshape(-1, count) + flat[-count:]).argmax(axis=1)]


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["right", "left"])
def test_a_probe_reads_what_one_fitted_by_hand_reads(padding: str) -> None:
    execution, checked = execution_of(spec_of("llama", PROBES, padding=padding))
    for _ in execution.run():
        pass
    (inputs,) = execution.plan.inputs.values()
    (test,) = checked.program.tests
    (forward,) = execution.plan.rows
    rows, values = execution.plan.rows[forward], execution.plan.draw_of(test).values["base"]
    half = halves(inputs.runs[rows])
    seen: dict[tuple[int, int], np.ndarray] = {}
    for index in np.unique(rows).tolist():
        prompt = [int(token) for token in inputs.rows(np.array([index]))[0]]
        for layer in range(3):
            seen[index, layer] = run("llama", prompt, layer, "out", None)[0].double().numpy()
    differ = 0
    for number, cell in enumerate(test.cells):
        columns = execution.runs["plain"].cells[number].columns.base
        position = cell.looks[0].places[0].position
        x = np.stack([seen[i, int(cell.settings["l"])][inputs.where(position, i)[0]] for i in rows.tolist()])
        for quantity, found in columns.items():
            if quantity.kind not in ("probe_accuracy", "probe_selectivity"):
                continue
            classes = values["same" if quantity.kind == "probe_accuracy" else "x"]
            tasks = [classes] if quantity.kind == "probe_accuracy" else [classes, control_task(values["z"], classes)]
            expected = np.zeros(len(rows))
            for sign, task in zip((1, -1), tasks, strict=False):
                for one in (0, 1):
                    mine = half == one
                    expected[mine] += sign * (softmax_probe(x[~mine], task[~mine], x[mine]) == task[mine])
            differ += int((expected != found).sum())
    assert differ <= 4  # ties in the last digit


def test_inputs_are_split_and_no_pair_of_one_input_is_on_both_sides() -> None:
    inputs = np.array([5, 7, 5, 9, 7, 1, 1, 3, 9, 2])
    half = halves(inputs)
    assert all(len(set(half[inputs == one])) == 1 for one in inputs)
    assert len({int(one) for one, side in zip(inputs, half, strict=True) if side}) == 3


def test_a_probe_of_noise_is_at_chance_and_a_control_task_is_of_its_types() -> None:
    random = np.random.default_rng(0)
    x, classes = random.normal(size=(400, 20)), random.integers(0, 2, 400)
    assert abs(outcomes(x, classes, halves(np.arange(400))).mean() - 0.5) < 0.1
    types = random.integers(0, 6, 400)
    control = control_task(types, classes)
    assert control is not None
    assert all(len(set(control[types == one])) == 1 for one in range(6))
    assert len(set(control)) == 2
    assert control_task(np.zeros(4), classes[:4]) is None
    hot = np.eye(6)[types]
    assert outcomes(hot, control, halves(np.arange(400))).mean() == 1.0  # it can be told from the type alone


@pytest.mark.slow
def test_probes_of_kept_blocks_are_those_of_the_run_that_kept_them(tmp_path: Path) -> None:
    text = spec_of("llama", PROBES)
    options = api.Options(trust=True, out=tmp_path / "out", memory=12_000_000)
    whole = api.run(api.parse(text), options)
    again = api.run(api.parse(text), options)
    one, other = (result.tests[0].to_json()["cells"] for result in (whole, again))
    assert one == other


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_a_tuned_lens_is_the_lens_of_the_turned_vector(name: str, reference: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    maps = {f"{at}.weight": torch.randn(32, 32) / 8 for at in range(3)} | {
        f"{at}.bias": torch.randn(32) for at in range(3)
    }
    save_file(maps, tmp_path / "lens.safetensors")
    path = (tmp_path / "lens.safetensors").as_posix()
    tests = f"""
test plain on a {{
  base ~ m(n=3, seed=1)
  report tuned_lens(logit(o), "{path}") @ layer[l].resid_post, tuned_lens(rank(o), "{path}") @ layer[l].resid_pre
}}
"""
    execution, checked = execution_of(spec_of(name, tests), **({"change": by_reference} if reference else {}))
    for _ in execution.run():
        pass
    (inputs,) = execution.plan.inputs.values()
    (test,) = checked.program.tests
    (forward,) = execution.plan.rows
    count = 0
    for number, cell in enumerate(test.cells):
        layer = int(cell.settings["l"])
        for pair, index in enumerate(execution.plan.rows[forward].tolist()):
            prompt: Any = [int(token) for token in inputs.rows(np.array([index]))[0]]
            for quantity, values in execution.runs["plain"].cells[number].columns.base.items():
                if quantity.place is None:
                    continue
                after = "resid_post" in str(quantity.place)
                vector = run(name, prompt, layer, "out" if after else "in", None)[0][-1]
                if layer + after < 3:
                    vector = vector + maps[f"{layer + after}.weight"] @ vector + maps[f"{layer + after}.bias"]
                logits = lens(name, prompt, vector)
                id_ = int(execution.targets(test, type(quantity)("logit", quantity.of))[pair])
                expected = float((logits > logits[id_]).sum() if quantity.kind == "order" else logits[id_])
                assert abs(values[pair] - expected) < (0.5 if quantity.kind == "order" else 2e-4)
                count += 1
    assert count == 18
