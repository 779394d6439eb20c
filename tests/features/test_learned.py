"""Maps as a fit changes them: against their formulas, with gradients, from soft gates to hard ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_dsl.features import Feature, Gates, build
from causal_dsl.features.elementwise import Mask
from causal_dsl.features.invertible import RevNet
from causal_dsl.features.linear import Affine, LowRank
from causal_dsl.features.orthonormal import Boundless, Rotation, haar
from tests.features.worked import LINEAR, TRAINED, declared, draw, fitted

torch.set_num_threads(1)
EXACT = {"dtype": torch.float64, "device": "cpu"}


def one(name: str, width: int, /, **settings_: object) -> Feature:
    return build([declared(name, **settings_)], width, 0, **EXACT)


def _with_gradients(loss: Callable[[], torch.Tensor]) -> torch.Tensor:
    with torch.enable_grad():
        return loss().detach()


def step(feature: Feature, base: torch.Tensor, source: torch.Tensor, rate: float = 0.05, steps: int = 3) -> None:
    """Some steps of an optimiser towards an arbitrary end."""
    optimiser = torch.optim.Adam(feature.parameters(), lr=rate)
    for number in range(steps):
        feature.anneal(number / max(1, steps - 1))
        feature.prepare()
        loss = (feature.swap(base, source).square() * torch.arange(base.shape[1])).mean() + feature.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    feature.prepare()


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_parameter(name: str) -> None:
    feature = fitted(name, 8, 2)
    feature.prepare()
    base = draw(6, 8, seed=1).requires_grad_()
    source = draw(6, 8, seed=2).requires_grad_()
    (feature.swap(base, source) ** 3).sum().backward()
    for key, parameter in feature.named_parameters():
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all())
        assert float(parameter.grad.abs().sum()) > 0, key
    assert base.grad is not None and source.grad is not None


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([*LINEAR, "revnet"]), st.integers(0, 99))
def test_gradients_are_those_of_differences(name: str, seed: int) -> None:
    feature = fitted(name, 6, 2, seed)
    if not feature.trainable():
        return
    base, source = draw(3, 6, seed=seed), draw(3, 6, seed=seed + 1)
    parameter = next(iter(feature.parameters()))
    direction = draw(*parameter.shape, seed=seed + 2)

    def loss() -> torch.Tensor:
        feature.prepare()
        return (feature.swap(base, source) ** 3).sum()

    loss().backward()
    assert parameter.grad is not None
    with torch.no_grad():
        parameter += 1e-5 * direction
        above = float(_with_gradients(loss))
        parameter -= 2e-5 * direction
        slope = (above - float(_with_gradients(loss))) / 2e-5
    assert float((parameter.grad * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-4)


# ── rotations ───────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.data(), st.integers(0, 99))
def test_a_rotation_is_a_projection(width: int, data: st.DataObject, seed: int) -> None:
    dim = data.draw(st.integers(1, width))
    feature = Rotation(haar(width, dim, seed), torch.float64)
    base, source = draw(4, width, seed=seed), draw(4, width, seed=seed + 1)
    step(feature, base, source)
    r = feature.tensors()["rotation"]
    np.testing.assert_allclose(r.T @ r, np.eye(dim), atol=1e-12)
    q, upper = np.linalg.qr(feature.orthonormal.raw.detach().numpy())
    np.testing.assert_allclose(r, q * np.sign(np.diag(upper)), atol=1e-10)
    projector = r.numpy() @ r.numpy().T
    with torch.no_grad():
        found = feature.swap(base, source)
    np.testing.assert_allclose(
        found, base.numpy() @ (np.eye(width) - projector) + source.numpy() @ projector, atol=1e-10
    )
    block = slice(0, dim // 2)
    part = r.numpy()[:, block]
    np.testing.assert_allclose(
        feature.swap(base, source, block).detach(), base.numpy() + (source - base).numpy() @ part @ part.T, atol=1e-10
    )


@pytest.mark.slow
def test_random_starts_are_even_over_all_directions() -> None:
    first = torch.stack([haar(3, 2, seed)[:, 0] for seed in range(2000)])
    assert float(first.mean(dim=0).abs().max()) < 0.06
    torch.testing.assert_close(first.T @ first / 2000, torch.eye(3, dtype=torch.float64) / 3, atol=0.03, rtol=0)
    assert haar(5, 0, 1).shape == (5, 0)


@pytest.mark.parametrize("name", ["rotation", "boundless"])
def test_maps_stay_orthonormal_in_float32(name: str) -> None:
    feature = build(
        [declared(name, **({"dim": 5} if name == "rotation" else {}))], 40, 0, dtype=torch.float32, device="cpu"
    )
    step(feature, draw(8, 40, dtype=torch.float32), draw(8, 40, seed=1, dtype=torch.float32), rate=0.1, steps=30)
    r = feature.tensors()["rotation"].double()
    torch.testing.assert_close(r.T @ r, torch.eye(r.shape[1], dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_rotation_that_was_loaded_can_be_fitted_on() -> None:
    feature = one("rotation", 6, dim=2)
    feature.load({"rotation": haar(6, 2, 123)})
    assert torch.equal(feature.tensors()["rotation"], haar(6, 2, 123))
    base, source = draw(5, 6), draw(5, 6, seed=1)
    step(feature, base, source)
    moved = feature.tensors()["rotation"]
    assert not torch.allclose(moved, haar(6, 2, 123), atol=1e-3)
    torch.testing.assert_close(feature.swap(base, source), base + (source - base) @ moved @ moved.T)


def test_a_fit_finds_the_direction_that_carries_the_answer() -> None:
    """A variable on one direction of six: swapping the found one must move the read-out as the source has it."""
    told = torch.nn.functional.normalize(draw(6, seed=9), dim=0)
    feature = one("rotation", 6, dim=1)
    optimiser = torch.optim.Adam(feature.parameters(), lr=0.05)
    for number in range(300):
        base, source = draw(32, 6, seed=2 * number), draw(32, 6, seed=2 * number + 1)
        feature.prepare()
        loss = ((feature.swap(base, source) - source) @ told).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert abs(float(feature.tensors()["rotation"][:, 0] @ told)) > 0.999


# ── boundless ───────────────────────────────────────────────────────────────────────────────────


def boundless(width: int, boundary: float, **more: float) -> Boundless:
    feature = one("boundless", width, **more)
    assert isinstance(feature, Boundless)
    with torch.no_grad():
        feature.boundary.fill_(boundary)
    feature.prepare()
    return feature


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10), st.floats(0.02, 0.98), st.floats(0, 1), st.integers(0, 99))
def test_soft_boundaries_are_sigmoids_in_rotated_space(width: int, boundary: float, progress: float, seed: int) -> None:
    feature = boundless(width, boundary)
    feature.anneal(progress)
    r = feature.tensors()["rotation"].numpy()
    temperature = 50 + (0.1 - 50) * progress
    gates = 1 / (1 + np.exp(-(boundary * width - np.arange(width) - 0.5) / temperature))
    base, source = draw(3, width, seed=seed), draw(3, width, seed=seed + 1)
    rotated = base.numpy() @ r * (1 - gates) + source.numpy() @ r * gates
    np.testing.assert_allclose(feature.swap(base, source).detach(), rotated @ r.T, atol=1e-10)
    assert float(feature.penalty().detach()) == pytest.approx(boundary)


@pytest.mark.parametrize(
    ("boundary", "count"), [(0.5, 4), (0.43, 3), (0.44, 4), (1.0, 8), (1e-3, 0), (0.0, 0), (7.0, 8)]
)
def test_hard_boundaries_are_rounded(boundary: float, count: int) -> None:
    feature = boundless(8, boundary, weight=3.0)
    feature.harden()
    assert feature.effective_size() == count
    assert feature.gates() == Gates(8, count, feature.gates().undecided)
    r = feature.tensors()["rotation"][:, :count]
    base, source = draw(3, 8), draw(3, 8, seed=1)
    torch.testing.assert_close(feature.swap(base, source), base + (source - base) @ r @ r.T)
    f, _ = feature.encode(source)
    torch.testing.assert_close(f[:, :count], source @ r)
    assert not f[:, count:].any()
    assert float(feature.penalty().detach()) == pytest.approx(3 * min(1, max(1e-3, boundary)))


def test_a_boundary_past_its_end_comes_back() -> None:
    feature = boundless(8, 1.4)
    feature.prepare()
    assert float(feature.boundary.detach()) == 1
    feature.penalty().backward()
    assert feature.boundary.grad is not None and float(feature.boundary.grad) == 1


@pytest.mark.parametrize("boundary", [0.3, 0.5, 0.9])
def test_cooled_boundaries_are_nearly_hard(boundary: float) -> None:
    feature = boundless(10, boundary, end=0.01)
    feature.anneal(1)
    base, source = draw(4, 10), draw(4, 10, seed=1)
    soft = feature.swap(base, source)
    feature.harden()
    torch.testing.assert_close(feature.swap(base, source), soft, atol=1e-8, rtol=0)
    assert feature.gates() == Gates(10, round(10 * boundary), 0)
    assert boundless(10, 0.55).gates() == Gates(10, 5, 1), "on the middle of a coordinate"


# ── masks ───────────────────────────────────────────────────────────────────────────────────────


def mask(logits: list[float], each: int = 1, **more: object) -> Mask:
    count = len(logits)
    over = {"over": "heads"} if each > 1 else {}
    feature = build([declared("mask", **over, **more)], count * each, 0, **EXACT, heads=(count, each))
    assert isinstance(feature, Mask)
    with torch.no_grad():
        feature.logits.copy_(torch.tensor(logits))
    feature.prepare()
    return feature


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.integers(1, 3), st.floats(0, 1))
def test_soft_gates_are_sigmoids(logits: list[float], each: int, progress: float) -> None:
    feature = mask(logits, each, weight=0.5, start=2.0, end=0.5)
    feature.anneal(progress)
    gates = 1 / (1 + np.exp(-np.array(logits, dtype=np.float32).astype(float) / (2 - 1.5 * progress)))
    base, source = draw(3, feature.width), draw(3, feature.width, seed=1)
    wide = np.repeat(gates, each)
    np.testing.assert_allclose(
        feature.swap(base, source).detach(), base.numpy() * (1 - wide) + source.numpy() * wide, atol=1e-10
    )
    assert float(feature.penalty().detach()) == pytest.approx(0.5 * gates.sum())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.integers(1, 3))
def test_hard_gates_are_signs(logits: list[float], each: int) -> None:
    feature = mask(logits, each)
    feature.harden()
    base, source = draw(3, feature.width), draw(3, feature.width, seed=1)
    opened = (torch.tensor(logits, dtype=torch.float32) > 0).repeat_interleave(each)
    assert torch.equal(feature.swap(base, source), torch.where(opened, source, base)), "to the bit"
    assert feature.effective_size() == int(opened.sum())
    f, _ = feature.encode(source)
    assert torch.equal(f, torch.where(opened, source, 0))


def test_a_block_of_a_mask() -> None:
    feature = mask([1.0, -1.0, 1.0, 1.0])
    base, source = draw(3, 4), draw(3, 4, seed=1)
    soft = torch.sigmoid(torch.tensor([1.0, -1.0, 1.0, 1.0])) * torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(feature.swap(base, source, slice(1, 3)), base + (source - base) * soft)
    feature.harden()
    expected = torch.where(torch.tensor([False, False, True, False]), source, base)
    assert torch.equal(feature.swap(base, source, slice(1, 3)), expected)


def test_gates_that_nothing_moved_are_undecided_and_shut() -> None:
    feature = mask([0.0, 1.0, -1.0, 0.02, -0.0221])
    assert feature.gates() == Gates(5, 2, 2)
    fresh = one("mask", 3)
    assert fresh.gates() == Gates(3, 0, 3)
    base, source = draw(2, 3), draw(2, 3, seed=1)
    torch.testing.assert_close(fresh.swap(base, source), (base + source) / 2)
    fresh.harden()
    assert torch.equal(fresh.swap(base, source), base)
    fresh.soften()
    torch.testing.assert_close(fresh.swap(base, source), (base + source) / 2)


def test_a_fit_opens_the_gates_that_carry_the_answer() -> None:
    feature = one("mask", 8, weight=0.01)
    step_ = torch.optim.Adam(feature.parameters(), lr=0.05)
    for number in range(200):
        base, source = draw(32, 8, seed=2 * number), draw(32, 8, seed=2 * number + 1)
        feature.anneal(number / 199)
        feature.prepare()
        swapped = feature.swap(base, source)
        wanted = source[:, 1] + source[:, 4] + base[:, 6]
        loss = (swapped[:, 1] + swapped[:, 4] + swapped[:, 6] - wanted).square().mean() + feature.penalty()
        step_.zero_grad()
        loss.backward()
        step_.step()
    feature.harden()
    assert feature.gates() == Gates(8, 2, 0)
    assert (feature.encode(torch.ones(1, 8))[0][0].nonzero().flatten()).tolist() == [1, 4]


# ── oblique and bent maps ───────────────────────────────────────────────────────────────────────


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.data(), st.integers(0, 99))
def test_affine_maps_are_undone_by_their_inverse(width: int, data: st.DataObject, seed: int) -> None:
    dim = data.draw(st.integers(1, width))
    feature = Affine(haar(width, width, seed), dim, torch.float64)
    with torch.no_grad():
        feature.matrix += 0.05 * draw(width, width, seed=seed)
    base, source = draw(3, width, seed=1), draw(3, width, seed=2)
    a = feature.tensors()["matrix"].numpy()
    mapped = base.numpy() @ a
    mapped[:, :dim] = (source.numpy() @ a)[:, :dim]
    np.testing.assert_allclose(feature.swap(base, source).detach(), mapped @ np.linalg.inv(a), atol=1e-9)
    np.testing.assert_allclose(feature.encode(base)[0].detach(), (base.numpy() @ a)[:, :dim], atol=1e-12)


def test_oblique_projections_read_what_they_write() -> None:
    feature = LowRank(haar(7, 3, 0), torch.float64)
    base, source = draw(5, 7), draw(5, 7, seed=1)
    start = haar(7, 3, 0)
    torch.testing.assert_close(feature.swap(base, source), base + (source - base) @ start @ start.T)
    step(feature, base, source)
    into, out = feature.kept
    torch.testing.assert_close(out @ into, torch.eye(3, dtype=torch.float64))
    assert not torch.allclose(into, out.T, atol=1e-2)
    torch.testing.assert_close(feature.encode(feature.swap(base, source))[0], source @ into)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
def test_invertible_networks_are_undone_step_by_step(width: int, layers: int, seed: int) -> None:
    feature = RevNet(width, 1, layers, 5, seed, torch.float64)
    for number, parameter in enumerate(feature.parameters()):
        with torch.no_grad():
            parameter += draw(*parameter.shape, seed=seed + number)
    x = draw(4, width, seed=seed)
    hidden = x.numpy()
    saved = {name: tensor.numpy() for name, tensor in feature.tensors().items()}
    half = (width + 1) // 2
    for layer in range(layers):
        w1, b1, w2, order = (saved[f"couplings.{layer}.{name}"] for name in ("into", "into_bias", "out", "order"))
        assert sorted(order.tolist()) == list(range(width))
        hidden = hidden[:, order].copy()
        inner = torch.nn.functional.gelu(torch.from_numpy(hidden[:, half:] @ w1 + b1)).numpy()
        hidden[:, :half] += inner @ w2
    f, rest = feature.encode(x)
    np.testing.assert_allclose(f.detach(), hidden[:, :1], atol=1e-10)
    np.testing.assert_allclose(rest[0].detach(), hidden[:, 1:], atol=1e-10)
    torch.testing.assert_close(feature.decode(f, rest), x)


def test_an_invertible_network_starts_as_a_choice_of_coordinates() -> None:
    feature = one("revnet", 6, dim=2, layers=3, width=4)
    base, source = draw(4, 6), draw(4, 6, seed=1)
    changed = (feature.swap(base, source) != base).any(dim=0)
    assert int(changed.sum()) == 2
    torch.testing.assert_close(feature.swap(base, source)[:, changed], source[:, changed])
