"""Gradients at places against loops with hooks by hand, captum, and the exact effects beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl import api
from causal_dsl.discovery.place_gradients import with_gradients
from causal_dsl.measures.quantities import EXACT, Quantity, ValueRef
from causal_dsl.planning.cost import cost_of
from causal_dsl.report.text import text
from tests.engine.test_several_outputs import text_of
from tests.engine.tiny import execution_of, spec_of

#: A site, the module by whose output (or input) it is set, and which columns of which tokens it is; of a llama with two heads.
SITES: dict[str, tuple[str, str, slice | None, int | None]] = {
    "embed[all]": ("model.embed_tokens", "out", None, None),
    "layer[1].resid_post[last]": ("model.layers.1", "out", None, -1),
    "layer[1].mlp_out[all]": ("model.layers.1.mlp", "out", None, None),
    "layer[0].head[1].z[all]": ("model.layers.0.self_attn.o_proj", "in", slice(8, 16), None),
    "layer[2].neurons[last, 0:5]": ("model.layers.2.mlp.down_proj", "in", slice(0, 5), -1),
    'module("model.layers.0.self_attn.v_proj")[all]': ("model.layers.0.self_attn.v_proj", "out", None, None),
}
METRIC = "log_prob(o) / 2 - log_prob(source.o)"


def scored(reading: str, padding: str = "right", name: str = "llama") -> tuple[Any, Any, np.ndarray, np.ndarray, Any]:
    """The execution, the network, the scores and the exact effects of each pair, and the inputs of the pairs."""
    more = f"""
test t on a(l=0, p=last) {{
  base, source ~ m(n=5, seed=3) where base.template == source.template
  report {reading}
}}
"""
    given = spec_of(name, more, padding=padding).replace("padding=", "dtype=float64, padding=")
    execution, _ = execution_of(given)
    list(execution.run())
    with_gradients(execution, lambda said: None)
    (test,) = execution.plan.tests
    columns = execution.runs["t"].cells[0].columns.base
    (score,) = (v for q, v in columns.items() if q.place is not None and q.kind != EXACT)
    (exact,) = (v for q, v in columns.items() if q.kind == EXACT)
    network: Any = execution.networks[test.network.key]
    rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows}
    return execution, network, score, exact, rows


def hooked(model: Any, path: str, side: str, act: Callable[[Tensor], Tensor | None]) -> Any:
    module = model.get_submodule(path)
    if side == "in":

        def before(m: Any, args: Any) -> Any:
            found = act(args[0])
            return None if found is None else (found, *args[1:])

        return module.register_forward_pre_hook(before)

    def after(m: Any, args: Any, out: Any) -> Any:
        found = act(out[0] if isinstance(out, tuple) else out)
        return None if found is None else (found, *out[1:]) if isinstance(out, tuple) else found

    return module.register_forward_hook(after)


def keep_in(seen: list[Tensor]) -> Callable[[Tensor], None]:
    return lambda given: seen.append(given.detach().clone())


def metric_of(execution: Any, pair: int) -> Callable[[Tensor], Tensor]:
    """The metric of one pair, written out."""
    (test,) = execution.plan.tests
    ids = [
        int(np.ravel(execution.targets(test, Quantity("logit", ValueRef(role, "o")))[pair])[0])
        for role in ("base", "source")
    ]
    return lambda logits: torch.log_softmax(logits, dim=-1)[ids[0]] / 2 - torch.log_softmax(logits, dim=-1)[ids[1]]


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize(("site", "padding"), [*((site, "right") for site in SITES), ("layer[1].mlp_out[all]", "left")])
@pytest.mark.parametrize("steps", [0, 3])
def test_scores_are_those_of_a_loop_by_hand(site: str, padding: str, steps: int) -> None:
    how = (
        f"integrated_gradients({METRIC}, baseline=source, steps=3)"
        if steps
        else f"attribution_patching({METRIC}, baseline=source)"
    )
    execution, network, score, exact, rows = scored(f"{how} @ {site}", padding)
    model, inputs = network.model, execution.plan.inputs[execution.plan.tests[0].network.key]
    path, side, columns, token = SITES[site]
    own_columns = slice(None) if columns is None else columns
    own_tokens = slice(None) if token is None else slice(token, None)
    points = [(k + 0.5) / steps for k in range(steps)] or [1.0]
    for pair, (one, other) in enumerate(zip(rows["base"], rows["source"], strict=True)):
        ids = [torch.tensor(inputs.rows(np.array([i]))[0])[None] for i in (one, other)]
        metric, seen = metric_of(execution, pair), list[Tensor]()
        for mine in ids:
            handle = hooked(model, path, side, keep_in(seen))
            with torch.no_grad():
                plain = metric(model(mine).logits[0, -1])
            handle.remove()
            if mine is ids[0]:
                whole = plain
        a, b = (t[:, own_tokens, own_columns] for t in seen)

        def at(value: Tensor, seen: list[Tensor] = seen, ids: list[Tensor] = ids, metric: Any = metric) -> Tensor:
            given = seen[0].clone()
            given[:, own_tokens, own_columns] = value
            handle = hooked(model, path, side, lambda t: given)
            logits = model(ids[0]).logits[0, -1]
            handle.remove()
            found: Tensor = metric(logits)
            return found

        total = torch.zeros_like(a)
        for point in points:
            mixed = (b + point * (a - b)).requires_grad_()
            total += torch.autograd.grad(at(mixed), mixed)[0] / len(points)
        assert score[pair] == pytest.approx(float(((a - b) * total).sum()), rel=1e-6, abs=1e-8)
        with torch.no_grad():
            assert exact[pair] == pytest.approx(float(whole - at(b)), rel=1e-6, abs=1e-8)
    assert np.abs(score).max() > 1e-4


#: What is written in a run, and the module by whose output it is changed, from what is there and from what the source has.
WRITTEN: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "layer[0].mlp_out[all] <- source": ("model.layers.0.mlp", lambda own, other: other),
    "layer[0].mlp_out[all] = scale(0.5)": ("model.layers.0.mlp", lambda own, other: own / 2),
    "layer[1].resid_post[all] <- source(layer[0].mlp_out[all] = 0)": ("", lambda own, other: other),
}


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("action", WRITTEN)
@pytest.mark.parametrize("steps", [0, 2])
def test_in_a_run_that_is_intervened_on_gradients_are_those_of_that_run(action: str, steps: int) -> None:
    """The place has what it has there, the baseline what the plain source has, and gradients pass through what is written."""
    how = "integrated_gradients" if steps else "attribution_patching"
    more = ", steps=2" if steps else ""
    site, module = (
        ("layer[2].mlp_out[last]", "model.layers.2.mlp")
        if action.startswith("layer[1]")
        else ("embed[all]", "model.embed_tokens")
    )
    spec = f"""
test t on a(l=0, p=last) {{
  base, source ~ m(n=4, seed=3) where base.template == source.template
  do({action})
  report {how}({METRIC}, baseline=source{more}) @ {site}
}}
"""
    execution, _ = execution_of(spec_of("llama", spec).replace("padding=", "dtype=float64, padding="))
    list(execution.run())
    with_gradients(execution, lambda said: None)
    (test,) = [test for test in execution.plan.tests if test.name == "t"]
    columns = execution.runs["t"].cells[0].columns.patched
    (score,) = (v for q, v in columns.items() if q.place is not None and q.kind != EXACT)
    (exact,) = (v for q, v in columns.items() if q.kind == EXACT)
    model = execution.networks[test.network.key].model
    draw = execution.plan.scores["t"][0].label.draw
    inputs = execution.plan.inputs[test.network.key]
    rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows if run.draw == draw}
    tokens = slice(None) if site.startswith("embed") else slice(-1, None)
    points = [(k + 0.5) / steps for k in range(steps)] or [1.0]

    def run(ids: Tensor, change: list[tuple[str, Callable[[Tensor], Tensor]]], see: str) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        handles = [hooked(model, path, "out", act) for path, act in change]
        handles.append(hooked(model, see, "out", lambda t: seen.append(t) or None))  # type: ignore[func-returns-value]
        logits = model(ids).logits[0, -1]
        for handle in handles:
            handle.remove()
        return logits, seen[0]

    for pair, (one, other) in enumerate(zip(rows["base"], rows["source"], strict=True)):
        ids, ids_ = (torch.tensor(inputs.rows(np.array([i]))[0])[None] for i in (one, other))
        metric = metric_of(execution, pair)
        if action.startswith("layer[1]"):
            path = "model.layers.1"
            taken = run(ids_, [("model.layers.0.mlp", lambda t: 0 * t)], path)[1].detach()
            written = [(path, lambda t, taken=taken: taken)]
        else:
            path, by = WRITTEN[action]
            taken = run(ids_, [], path)[1].detach()
            written = [(path, lambda t, taken=taken, by=by: by(t, taken))]
        a, b = run(ids, written, module)[1].detach(), run(ids_, [], module)[1].detach()
        total = torch.zeros_like(a[:, tokens])
        for point in points:
            mixed = (b + point * (a - b))[:, tokens].requires_grad_()

            def put(t: Tensor, mixed: Tensor = mixed) -> Tensor:
                return torch.cat([t[:, : t.shape[1] - mixed.shape[1]], mixed], dim=1)

            logits = run(ids, [*written, (module, put)], module)[0]
            total += torch.autograd.grad(metric(logits), mixed)[0] / len(points)
        assert score[pair] == pytest.approx(float(((a - b)[:, tokens] * total).sum()), rel=1e-6, abs=1e-8)
        with torch.no_grad():
            kept = torch.cat([a[:, : a.shape[1] - total.shape[1]], b[:, tokens]], dim=1)
            ends = [
                metric(run(ids, [*written, *last], module)[0]) for last in ([], [(module, lambda t, kept=kept: kept)])
            ]
        assert exact[pair] == pytest.approx(float(ends[0] - ends[1]), rel=1e-6, abs=1e-8)
    assert np.abs(score).max() > 1e-4


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["source", "0", "mean"])
def test_scores_along_a_way_are_all_that_the_metric_falls_by(baseline: str) -> None:
    """Completeness, for each pair."""
    _, _, score, exact, _ = scored(
        f"integrated_gradients({METRIC}, baseline={baseline}, steps=60) @ layer[0].mlp_out[last]"
    )
    assert score == pytest.approx(exact, abs=2e-3 * max(1.0, float(np.abs(exact).max())))
    assert np.abs(exact).max() > 1e-3


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gemma2", "qwen3"])
def test_other_families_are_complete(name: str) -> None:
    more = """
metric gap = logit(o) - logit(source.o)
test t on a(p=last) {
  base, source ~ m(n=4, seed=3) where base.template == source.template
  report integrated_gradients(gap, baseline=source, steps=20) @ layer[l].resid_post[last], integrated_gradients(gap, baseline=source, steps=20) @ layer[l].attn_out[all]
}
"""
    (test,) = api.run(api.parse(spec_of(name, more))).tests
    assert len(test.gradients) == 2
    for check in test.gradients:
        assert check.apart <= 0.02 * max(0.2, check.scale) and check.scale > 1e-3
        assert check.correlation is None or check.correlation > 0.99


@pytest.mark.slow
def test_integrated_gradients_are_those_of_captum() -> None:
    from captum import attr

    how = "integrated_gradients(logit(o), baseline=0, steps=6, rule=left) @ layer[0].resid_post[all]"
    execution, network, score, _, rows = scored(how)
    inputs = execution.plan.inputs[execution.plan.tests[0].network.key]
    answers = execution.targets(execution.plan.tests[0], Quantity("logit", ValueRef("base", "o")))
    for pair, one in enumerate(rows["base"]):
        ids = torch.tensor(inputs.rows(np.array([one]))[0])[None]
        answer = int(np.ravel(answers[pair])[0])
        seen: list[Tensor] = []
        handle = hooked(network.model, "model.layers.0", "out", keep_in(seen))
        with torch.no_grad():
            network.model(ids)
        handle.remove()

        def from_layer(given: Tensor, ids: Tensor = ids, answer: int = answer) -> Tensor:
            put = hooked(network.model, "model.layers.0", "out", lambda t: given)
            try:
                found: Tensor = network.model(ids.expand(len(given), -1)).logits[:, -1, answer]
                return found
            finally:
                put.remove()

        found = attr.IntegratedGradients(from_layer).attribute(
            seen[0], torch.zeros_like(seen[0]), n_steps=6, method="riemann_left"
        )
        assert score[pair] == pytest.approx(float(found.sum()), rel=1e-6, abs=1e-6)


def test_a_vector_network_and_the_report() -> None:
    source = (Path(__file__).parents[2] / "specs" / "equality_relu.causal").read_text()
    source = source[: source.index("\ntest ")]
    source += """
test inside on halves {
  base, source ~ equality(n=64, seed=0, controls=none)
  report integrated_gradients(logit(same), baseline=source, steps=64) @ layer[1].out, attribution_patching(logit(same), baseline=0) @ layer[1].out[0:2]
}
"""
    results = api.run(api.parse(source))
    (test,) = results.tests
    whole, part = sorted(test.gradients, key=lambda one: -one.steps)
    assert whole.apart <= 0.02 * whole.scale and part.scale > 0
    told = text(results, 200)
    assert "the metric falls by" in told and "due to the finite number of steps" in told
    assert all(one["cells"][0]["exact"] is not None for one in test.to_json()["gradients"])


def test_the_plan_says_which_passes_gradients_take() -> None:
    more = """
circuit found : net = discover(nodes, method=eap_ig(steps=5), keep=3, by=signed)
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=4, seed=3, controls=none) where base.template == source.template
  do(outside(found) <- source)
  report faithfulness(gap)
}
test g on a(l=0, p=last) {
  base, source ~ m(n=4, seed=3)
  report attribution_patching(logit(o), baseline=source) @ layer[1].mlp_out[last]
  report integrated_gradients(logit(o), baseline=0, steps=7) @ layer[1].mlp_out[last]
}
"""
    checked = api.check(api.parse(spec_of("llama", more)))
    assert checked.plan is not None
    told = checked.plan.text()
    assert told.count("circuit of t") == 1 and "7 forward and 5 backward passes" in told
    assert "1 forward and 1 backward passes over 4 rows" in told and "7 forward and as many backward passes" in told
    assert any("circuit of t" in line for line in checked.plan.to_json()["fits"])


OUTPUTS = """
test t on at(l=1) {
  base, source ~ m(n=5, seed=2)ACTION
  report GRADIENT @ layer[1].mlp_out[last]
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("action", ["", "\n  do(x <- source)"])
def test_of_several_outputs_gradients_are_those_of_one_at_its_own_token(action: str) -> None:
    """As in a test of an alignment that reads this output alone; the other output adds nothing."""
    how = "integrated_gradients({}, baseline=source, steps=4)"
    both = text_of("last")
    both = both[: both.index("\ntest ")]
    alone = both.replace("  o @ next_token(among=W)[last]\n", "")
    texts = {both: how.format('logit(v) - logit("w22", of=v)'), alone: how.format('logit(v) - logit("w22")')}
    found = []
    for before, reading in texts.items():
        given = before + OUTPUTS.replace("GRADIENT", reading).replace("ACTION", action)
        (test,) = api.run(api.parse(given)).tests
        (check,) = (one for one in test.gradients if "in the base run" not in one.text)
        assert check.apart <= 0.05 * max(0.02, check.scale)
        found.append(next(v.value for name, v in test.cells[0].scores.items() if name.startswith("integrated")))
    assert found[0] == pytest.approx(found[1], rel=1e-5) and abs(found[0]) > 1e-4
    two = both + OUTPUTS.replace("GRADIENT", how.format("logit(v) - logit(o)")).replace("ACTION", action)
    assert [error.code for error in api.check(api.parse(two)).errors] == ["E895"]


def test_a_plan_counts_the_passes_of_gradients() -> None:
    """Layer-tokens of passes over all pairs, and three times the work of a layer where they go backward too."""
    spec = """
test t on a(p=last) {
  base, source ~ m(n=4, seed=3) where base.template == source.template
  report logit(o)MORE
}
"""
    more = ", integrated_gradients(logit(o), baseline=source, steps=5) @ layer[l].mlp_out[last]"
    plain, counted = (
        cost_of(checked.plan)
        for checked in (api.check(api.parse(spec_of("llama", spec.replace("MORE", text)))) for text in ("", more))
        if checked.plan is not None
    )
    passes = 4 + 3 * 5 + 3  # what stands there, the gradients of three places at five points, and their exact effects
    assert counted.passes - plain.passes == passes + 3 * 5
    assert counted.rows - plain.rows == passes * 4
    tokens = (counted.layer_tokens - plain.layer_tokens) / (3 * passes)
    assert 4 * 6 <= tokens <= 4 * 7, "prompts of six and seven tokens"
