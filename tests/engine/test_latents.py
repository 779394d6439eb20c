"""Sites that are written in the numbers of a dictionary: latents set, scaled, clamped, ablated, added to and swapped, against
hooks by hand with the dictionary's own formula. What the dictionary does not reconstruct stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import causal_dsl as cd
from causal_dsl import api
from causal_dsl.engine.execute import Execution
from causal_dsl.planning import graph as g
from causal_dsl.planning.lower import by_reference
from tests.engine.byhand import ByHand, hook
from tests.engine.tiny import execution_of, numbers_of, same, spec_of
from tests.thinning import some

torch.set_num_threads(1)
WIDTH, COUNT, K, CLOSE = 32, 48, 12, 1e-4
DRAW = "base, source ~ m(n=6, seed=3)"

CONFIGS: dict[str, dict[str, object]] = {
    "standard": {"architecture": "standard"},
    "scaled": {"architecture": "standard", "normalize_activations": "layer_norm"},
    "jumprelu": {"architecture": "jumprelu", "apply_b_dec_to_input": False},
    "topk": {"architecture": "topk", "k": K, "normalize_activations": "constant_norm_rescale"},
}


def numbers(kind: str) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(len(kind))

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=made, dtype=torch.float64)

    decoder = draw(COUNT, WIDTH)
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    found = {"W_enc": decoder.T + 0.1 * draw(WIDTH, COUNT), "W_dec": decoder, "b_dec": 0.1 * draw(WIDTH)}
    found["b_enc"] = 0.05 * draw(COUNT)
    if kind == "jumprelu":
        found["threshold"] = 0.05 * draw(COUNT).abs()
    return found


@cache
def sae(kind: str) -> str:
    folder = Path(mkdtemp(prefix="sae-"))
    save_file({name: tensor.contiguous() for name, tensor in numbers(kind).items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(CONFIGS[kind]), encoding="utf-8")
    return str(folder)


@cache
def directions() -> str:
    """Two directions that are neither unit nor at right angles to each other, and one at right angles to both."""
    found = torch.zeros(3, WIDTH)
    found[0, 0], found[1, 0], found[1, 1], found[2, 2] = 2.0, 1.0, 3.0, 0.5
    path = Path(mkdtemp(prefix="directions-")) / "directions.safetensors"
    save_file({"one": found[0].clone(), "two": found[:2].clone(), "other": found[2].clone()}, path)
    return str(path)


def formula(kind: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """All latents of a vector [width] as the dictionary defines them, and how long a unit of a latent is when it is decoded."""
    w, said = numbers(kind), CONFIGS[kind]
    x, scale = x.double(), torch.tensor(1.0, dtype=torch.float64)
    if said.get("normalize_activations") == "layer_norm":
        scale = x.std()
        x = (x - x.mean()) / (scale + 1e-5)
    if said.get("normalize_activations") == "constant_norm_rescale":
        scale = x.norm() / WIDTH**0.5
        x = x / scale
    before = (x - (w["b_dec"] if said.get("apply_b_dec_to_input", True) else 0)) @ w["W_enc"] + w["b_enc"]
    found = before.relu()
    if kind == "jumprelu":
        found = found * (before > w["threshold"])
    if kind == "topk":
        found = torch.where(before >= before.sort().values[-K], found, 0)
    return found, scale


@dataclass
class Row:
    """One row of a site: the vector there, those of all rows of the base, and of a source."""

    current: Tensor
    base: list[Tensor]
    source: Tensor


def latents(kind: str, chosen: tuple[int, ...], new: Callable[[Tensor, Row], Tensor]) -> Callable[[Row], Tensor]:
    """The vector once the chosen latents are new: all else of it, and the error of the reconstruction, as they are."""

    def work(row: Row) -> Tensor:
        found, scale = formula(kind, row.current)
        f = found[list(chosen)]
        change = (new(f, row) - f) @ numbers(kind)["W_dec"][list(chosen)]
        return (row.current.double() + scale * change).float()

    return work


def of(kind: str, chosen: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    return lambda x: formula(kind, x)[0][list(chosen)]


def subspace(axes: list[list[float]], new: Callable[[Tensor], Tensor]) -> Callable[[Row], Tensor]:
    def work(row: Row) -> Tensor:
        basis = torch.zeros(len(axes), WIDTH)
        for number, axis in enumerate(axes):
            basis[number, : len(axis)] = torch.tensor(axis)
        f = row.current @ basis.T
        return row.current + (new(f) - f) @ basis

    return work


SOME = tuple(range(2, 14))


def cases() -> dict[str, Callable[[Row], Tensor]]:
    found: dict[str, Callable[[Row], Tensor]] = {}
    for kind in CONFIGS:
        a, b = 7, 3
        one, two = f'via sae("{sae(kind)}", latents=[{a}])', f'via sae("{sae(kind)}", latents=[{a}, {b}])'
        few = f'via sae("{sae(kind)}", latents={list(SOME)})'
        every = f'via sae("{sae(kind)}")'
        found[f"{one} = 8"] = latents(kind, (a,), lambda f, row: 0 * f + 8)
        found[f"{one} += 8"] = latents(kind, (a,), lambda f, row: f + 8)
        found[f"{few} = 0"] = latents(kind, SOME, lambda f, row: 0 * f)
        found[f"{two} = [3, 0]"] = latents(kind, (a, b), lambda f, row: torch.tensor([3.0, 0.0]).double())
        found[f"{every} = scale(0.5)"] = latents(kind, tuple(range(COUNT)), lambda f, row: 0.5 * f)
        found[f"{every} = clamp(low=0.1, high=0.3)"] = latents(
            kind, tuple(range(COUNT)), lambda f, row: f.clamp(0.1, 0.3)
        )
        found[f"{few} <- source"] = latents(kind, SOME, lambda f, row, k=kind: of(k, SOME)(row.source))
        # the mean of the latents, which is not the latent of the mean
        found[f"{few} = mean"] = latents(
            kind, SOME, lambda f, row, k=kind: torch.stack([of(k, SOME)(x) for x in row.base]).mean(0)
        )
        found[f"{every} = 2 * source - mean + current"] = latents(
            kind,
            tuple(range(COUNT)),
            lambda f, row, k=kind, c=tuple(range(COUNT)): (
                2 * of(k, c)(row.source) - torch.stack([of(k, c)(x) for x in row.base]).mean(0) + f
            ),
        )
    path = directions()
    found[f'via subspace("{path}", key="one") = 8'] = subspace([[1.0]], lambda f: 0 * f + 8)
    found[f'via subspace("{path}", key="one") += 8'] = subspace([[1.0]], lambda f: f + 8)
    found[f'via subspace("{path}", key="two") = [1, -2]'] = subspace(
        [[1.0], [0.0, 1.0]], lambda f: torch.tensor([1.0, -2.0])
    )
    return found


def byhand(hand: ByHand, ids: tuple[int, ...], layer: int, at: int, vector: Tensor) -> Tensor:
    path, side, *_ = hand.places["resid_post"]

    def put(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[0, at] = vector
        return tensor

    handle = hook(hand.model.get_submodule(path.format(l=layer)), side, put)
    try:
        return hand.logits(ids)
    finally:
        handle.remove()


def runs(execution: Execution, name: str) -> tuple[g.Resume, list[tuple[int, ...]], list[tuple[int, ...]]]:
    """An intervention, and the tokens of its base and of its source, row by row."""
    plan = execution.plan
    ((key, inputs),) = plan.inputs.items()
    score = plan.scores[name][0]
    resume = score.read("patched").run  # type: ignore[union-attr]
    rows = [plan.rows.get(g.Forward(key, score.label.draw, role), np.zeros(0, int)) for role in ("base", "source")]
    base, source = ([tuple(inputs.ids(int(i))) for i in these] for these in rows)
    return resume, base, source or base


@pytest.mark.slow
@pytest.mark.parametrize("family", some(["llama", "gpt2"], ["llama"]))
def test_equal_to_hooks_with_the_formula(family: str) -> None:
    work = cases()
    tests = "".join(
        f"test t{i} on a(l=1, p=last) {{ {DRAW}\n do(layer[1].resid_post[last] {action}) report mean(kl) }}\n"
        for i, action in enumerate(work)
    )
    execution, _ = execution_of(spec_of(family, tests))
    plain, _ = execution_of(spec_of(family, tests), change=by_reference)
    assert not [step.why for step in execution.plan.steps if step.why], "something does not ride in one pass"
    got, reference, hand = execution.logits(), plain.logits(), ByHand(family)
    for number, (action, new) in enumerate(work.items()):
        resume, bases, sources = runs(execution, f"t{number}")
        other = runs(plain, f"t{number}")[0]
        every = [hand.vector(ids, "resid_post", 1)[-1] for ids in bases]
        moved = 0.0
        for row, (base, source) in enumerate(zip(bases, sources, strict=True)):
            there = Row(every[row], every, hand.vector(source, "resid_post", 1)[-1])
            expected = byhand(hand, base, 1, len(base) - 1, new(there))[-1]
            for logits in (got[resume][row], reference[other][row]):
                assert float((logits - expected).abs().max()) < CLOSE, (action, row)
            moved = max(moved, float((expected - hand.logits(base)[-1]).abs().max()))
        assert moved > 20 * CLOSE, f"{action} does nothing, so nothing is shown"


def test_what_is_not_changed_stays_bit_by_bit() -> None:
    """Neither the error of the reconstruction nor the other latents move where a latent is written into itself."""
    one = f'via sae("{sae("jumprelu")}", latents=[1, 4])'
    tests = f"test t on a(l=1, p=x) {{ {DRAW}\n do(layer[1].resid_post[x] {one} = current) report max(kl) }}\n"
    execution, _ = execution_of(spec_of("llama", tests))
    list(execution.run())
    cell = execution.runs["t"].cells[0]
    assert cell.fired[0][1] == 0.0, "the sum of what was changed"


def test_a_sweep_over_latents_and_values() -> None:
    """Parameters stand in the settings of a feature, inside a list too, and for what is written."""
    spec = spec_of("llama", "").replace("align a(", "align a(k in [1, 4], c in [2, 8], ")
    via = f'via sae("{sae("jumprelu")}", latents=[k])'
    tests = f"test t on a(l=1, p=last) {{ {DRAW}\n do(layer[1].resid_post[last] {via} = c) report mean(kl) }}\n"
    for k in (1, 4):
        for c in (2, 8):
            fixed = f'via sae("{sae("jumprelu")}", latents=[{k}])'
            tests += f"test t{k}{c} on a(l=1, p=last, k=1, c=2) {{ {DRAW}\n do(layer[1].resid_post[last] {fixed} = {c}) report mean(kl) }}\n"
    execution, _ = execution_of(spec + tests)
    plain, _ = execution_of(spec + tests, change=by_reference)
    for one in (execution, plain):
        list(one.run())
    found = numbers_of(execution)
    same(found, numbers_of(plain))
    for cell, (k, c) in enumerate((k, c) for k in (1, 4) for c in (2, 8)):
        for (name, number, run, quantity), values in found.items():
            if (name, number) == ("t", cell):
                assert np.allclose(values, found[f"t{k}{c}", 0, run, quantity], atol=1e-5, equal_nan=True)


FAULTS = {
    "same via SAE <- source": "E754",
    "same via SAE = true": "E754",
    "layer[1].resid_post[last] via rotation(dim=1) <- source": "E758",
    "layer[1].resid_post[last] via SAE.rotation(dim=1) = 0": "E758",
    'layer[1].resid_post[last] via sae("PATH", latents=[1], joined=true) = 0': "E759",
    'layer[1].resid_post[last] via sae("PATH", latents=[1], n=3) = 0': "E759",
    "layer[1].head[0].pattern[last] via SAE = 0": "E468",
    "layer[1].resid_post[last] via SAE = [1, 2, 3]": "E460",
    'layer[1].resid_post[last] via sae("PATH", latents=[480]) = 0': "E723",
    'layer[1].resid_post[last] via sae("PATH", latents=[1, 1]) = 0': "E776",
    "layer[1].resid_post[last, 0:8] via SAE = 0": "E720",
    "layer[1].resid_post[last] via SAE = 0, layer[1].resid_post[last] = 0": "E461",
    "layer[1].resid_post[last] via SAE += 3, layer[1].resid_post[last] += 1": "E461",
    "layer[1].resid_post[last] via SAE += current": "E792",
}


@pytest.mark.parametrize("action", FAULTS)
def test_faults_are_told_before_anything_is_loaded(action: str) -> None:
    told = action.replace("SAE", 'sae("PATH", latents=[1, 2])').replace("PATH", sae("standard"))
    spec = spec_of("llama", f"test t on a(l=1, p=last) {{ {DRAW}\n do({told}) report kl }}\n")
    checked = api.check(api.parse(spec), api.Options(trust=True))
    assert [error.code for error in checked.errors] == [FAULTS[action]]


def test_the_builder_says_it_too() -> None:
    via = cd.name("sae")("d", latents=[3])
    site = cd.layer[1].resid_post[cd.last]
    for action, said in {
        cd.set_to(site, 8, via=via): "= 8",
        cd.add_to(site, 8, via=via): "+= 8",
        cd.patch(site, cd.name("source"), via=via): "<- source",
    }.items():
        from causal_dsl.program.actions import format_expr_action

        assert format_expr_action(action.node) == f'layer[1].resid_post[last] via sae("d", latents=[3]) {said}'
    with pytest.raises(TypeError, match="is not a feature"):
        cd.set_to(site, 8, via="sae")


def test_the_report_says_what_stays(tmp_path: Path) -> None:
    via = f'via sae("{sae("topk")}", latents=[3])'
    spec = spec_of(
        "llama", f"test t on a(l=1, p=last) {{ {DRAW}\n do(layer[1].resid_post[last] {via} = 0) report kl }}\n"
    )
    (test,) = api.run(api.parse(spec), api.Options(trust=True)).tests
    assert [finding.code for finding in test.findings if finding.code == "rest_kept"]
