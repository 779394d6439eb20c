"""What is found from natural activations, and the controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_dsl.diagnostics import SpecError
from causal_dsl.features import Chain, Feature, OnAxes, Whole, build, on_natural_axes, random_like
from causal_dsl.features.elementwise import Mask
from causal_dsl.features.orthonormal import Rotation
from tests.features.worked import ALL, declared, draw, fitted

torch.set_num_threads(1)
EXACT = {"dtype": torch.float64, "device": "cpu"}


def code_of(name: str, data: torch.Tensor, labels: torch.Tensor | None = None, **more: object) -> tuple[str, str]:
    with pytest.raises(SpecError) as caught:
        build([declared(name, **more)], data.shape[1], 0, **EXACT, data=data, labels=labels)
    (told,) = caught.value.diagnostics
    return told.code, told.notes[0]


# ── principal axes and scales ───────────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(2, 12), st.data(), st.integers(0, 99))
def test_principal_axes_are_those_of_numpy(width: int, n: int, data: st.DataObject, seed: int) -> None:
    k = data.draw(st.integers(1, min(width, n)))
    x = draw(n, width, seed=seed) * torch.arange(1, width + 1) + 3
    feature = build([declared("pca", k=k)], width, 0, **EXACT, data=x)
    _, _, rows = np.linalg.svd(x.numpy() - x.numpy().mean(axis=0), full_matrices=False)
    axes = feature.tensors()["axes"].numpy()
    rank = min(k, n - 1)  # what lies beyond the data is not told
    np.testing.assert_allclose(np.abs((axes * rows[:k].T).sum(axis=0))[:rank], 1, atol=1e-6)
    assert (np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], 0) > 0).all()
    f, _ = feature.encode(x)
    np.testing.assert_allclose(f, (x.numpy() - x.numpy().mean(axis=0)) @ axes, atol=1e-9)
    base, source = draw(3, width, seed=1), draw(3, width, seed=2)
    np.testing.assert_allclose(
        feature.swap(base, source), base.numpy() + (source - base).numpy() @ axes @ axes.T, atol=1e-10
    )


def test_scales() -> None:
    x = draw(50, 4, seed=1) * torch.tensor([1.0, 10.0, 0.0, 1e-3]) + torch.tensor([0.0, 5.0, 2.0, -100.0])
    feature = build([declared("standardize")], 4, 0, **EXACT, data=x)
    f, rest = feature.encode(x)
    torch.testing.assert_close(f.mean(dim=0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(f.std(dim=0, correction=0), torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(feature.decode(f, rest), x)
    base, source = x[:5], x[5:10]
    assert torch.equal(feature.swap(base, source), source)
    assert torch.equal(feature.swap(base, source, slice(0, 1)), torch.cat((source[:, :1], base[:, 1:]), dim=1))


def test_activations_that_tell_nothing() -> None:
    assert code_of("pca", draw(0, 3), k=1) == ("E722", "there are none")
    assert code_of("pca", draw(2, 5), k=4) == ("E722", "2 activations have at most 2 axes, and k is 4")
    assert code_of("standardize", torch.full((3, 3), torch.nan)) == ("E722", "some of their numbers are not finite")
    same = code_of("linear_probe", draw(9, 3), torch.full((9,), 4))
    assert same == ("E722", "the variable has the same value in all of them")
    with pytest.raises(ValueError, match="class"):
        build([declared("linear_probe")], 3, 0, **EXACT, data=draw(9, 3))


# ── probes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_probe_finds_the_direction_that_was_planted(scale: float) -> None:
    told = torch.nn.functional.normalize(draw(12, seed=4), dim=0)
    labels = torch.arange(400) % 2
    x = draw(400, 12, seed=1)
    x = (x - (x @ told)[:, None] * told + (labels - 0.5)[:, None] * 6 * told + 7) * scale
    feature = build([declared("linear_probe")], 12, 0, **EXACT, data=x, labels=labels * 5 - 2)
    axes = feature.tensors()["axes"]
    assert axes.shape == (12, 1)
    assert abs(float(axes[:, 0] @ told)) > 0.98
    assert not feature.trainable()


def test_a_probe_of_several_classes_spans_their_differences() -> None:
    labels = torch.arange(600) % 4
    means = torch.zeros(4, 10, dtype=torch.float64)
    means[range(4), [0, 3, 5, 8]] = 12.0
    x = draw(600, 10, seed=1) + means[labels]
    feature = build([declared("linear_probe")], 10, 0, **EXACT, data=x, labels=labels)
    axes = feature.tensors()["axes"]
    assert axes.shape == (10, 3)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3, dtype=torch.float64))
    gaps = means[1:] - means[:1]
    inside = (gaps @ axes).norm(dim=1) / gaps.norm(dim=1)
    assert float(inside.min()) > 0.98
    again = build([declared("linear_probe")], 10, 7, **EXACT, data=x, labels=labels)
    assert torch.equal(again.tensors()["axes"], axes), "no chance in it"


def test_a_probe_is_at_the_least_of_its_loss() -> None:
    from causal_dsl.features.probe import RIDGE, probe_weights

    labels = torch.arange(80) % 3
    x = draw(80, 5, seed=1) + labels[:, None]
    weights = probe_weights(x, labels).numpy()
    data = x.numpy() - x.numpy().mean(axis=0)
    data = data / np.sqrt((data**2).mean())
    # with the bias that is best for these weights, the slope of the loss is nought
    bias = np.zeros(3)
    target = np.eye(3)[labels.numpy()]
    for _ in range(2000):
        logits = data @ weights + bias
        told = np.exp(logits - logits.max(axis=1, keepdims=True))
        told /= told.sum(axis=1, keepdims=True)
        bias -= (told - target).mean(axis=0)
    slope = data.T @ (told - target) / len(data) + RIDGE * weights
    assert np.abs(slope).max() < 1e-6


def test_more_classes_than_numbers() -> None:
    labels = torch.arange(90) % 9
    feature = build([declared("linear_probe")], 2, 0, **EXACT, data=draw(90, 2) + labels[:, None], labels=labels)
    assert feature.size == 2


# ── where the network lives ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.05, 0.1])
@pytest.mark.parametrize("turned", [False, True])
def test_what_reaches_further_than_the_site_does_is_left_out(spread: float, turned: bool) -> None:
    """h = (x, e, x) and two more, e of a small spread; (1, 1, 0) writes half of x's differences there."""
    x, e = (draw(400, 1, seed=seed)[:, 0].sign() for seed in (1, 2))
    more = draw(400, 2, seed=3)
    natural = torch.stack((x, spread * e, x, more[:, 0], 0.2 * more[:, 1]), dim=1)
    turn = torch.linalg.qr(draw(5, 5, seed=4))[0] if turned else torch.eye(5, dtype=torch.float64)
    readout = turn @ torch.tensor([0, 2.0, 1, 0, 0], dtype=torch.float64)

    def share(*numbers: float) -> float:
        feature = direction(*(turn @ torch.tensor(numbers, dtype=torch.float64)).tolist())
        data, other = natural @ turn.T, natural.flip(0) @ turn.T
        moved = [
            float((f.swap(data, other) - data).mul(readout).sum(1).abs().mean())
            for f in (on_natural_axes(feature, data), feature)
        ]
        return moved[0] / moved[1]

    assert share(1, 1, 0, 0, 0) == pytest.approx(
        1 / 4, abs=0.02
    )  # of what x itself would do, through the silent number
    assert share(0, 0, 1, 0, 0) == pytest.approx(1 / 2, abs=0.02)
    assert share(1, 0, 1, 0, 0) == pytest.approx(1, abs=0.02)
    assert share(0, 0, 1, 0, 1) == pytest.approx(1 / 2, abs=0.1)


def test_a_small_axis_within_its_reach_is_kept() -> None:
    natural = draw(500, 6, seed=1) * torch.tensor([100.0, 10, 1, 0.1, 0.01, 0])
    made = on_natural_axes(direction(0, 0, 0, 0, 1, 0), natural)
    base, source = natural[:9], natural[9:18]
    torch.testing.assert_close(made.swap(base, source)[:, 4], source[:, 4], atol=1e-6, rtol=0)
    assert made.axes.shape == (6, 5)


def test_where_nothing_varies_no_axis_is_natural() -> None:
    natural = torch.ones(5, 3, dtype=torch.float64)
    made = on_natural_axes(direction(1, 0, 0), natural)
    assert made.axes.shape == (3, 0)
    assert torch.equal(made.swap(natural, natural + 1), natural)


def direction(*numbers: float) -> Feature:
    axis = torch.nn.functional.normalize(torch.tensor(numbers, dtype=torch.float64), dim=0)
    return Rotation(axis[:, None], torch.float64)


def test_the_illusion_is_told_by_the_axes_that_are_alive() -> None:
    """h = (x, 0, x), read at its second and third number. Along (1, 1, 0) the silent second number moves what is read
    although x is never there; on the axes of natural vectors this is gone (Makelov et al. 2023)."""
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    natural = torch.stack((x, 0 * x, x), dim=1)
    axes = on_natural_axes(direction(1, 1, 0), natural).axes
    torch.testing.assert_close(axes.abs(), torch.tensor([[0.5**0.5], [0], [0.5**0.5]], dtype=torch.float64))
    base, source = natural, natural.flip(0)
    change = (source - base)[:, 0]
    none = torch.zeros_like(change)
    for feature, freely, alive in (
        (direction(1, 1, 0), (change / 2, change / 2, none), (change / 4, none, change / 4)),
        (direction(0, 0, 1), (none, none, change), (change / 2, none, change / 2)),
        (direction(1, 0, 1), (change, none, change), (change, none, change)),
    ):
        torch.testing.assert_close(feature.swap(base, source) - base, torch.stack(freely, dim=1))
        on_axes = OnAxes(feature, axes)
        torch.testing.assert_close(on_axes.swap(base, source) - base, torch.stack(alive, dim=1))
        assert torch.equal(on_axes.swap(base, base), base)
        torch.testing.assert_close(on_axes.decode(*on_axes.encode(base)), base)
        assert on_axes.effective_size() == 1 and on_axes.describe() == "rotation(dim=1) on 1 axes"


def test_axes_are_kept_with_what_acts_on_them() -> None:
    inner = fitted("mask", 6, 2)
    feature, other = (
        OnAxes(inner, torch.linalg.qr(draw(6, 3))[0]),
        OnAxes(fitted("mask", 6, 2, seed=3), draw(6, 9)[:, :0]),
    )
    assert feature.trainable() and feature.gates() == inner.gates()
    torch.testing.assert_close(feature.penalty(), inner.penalty())
    with pytest.raises(ValueError, match="axes"):
        other.load(feature.tensors())
    twin = OnAxes(fitted("mask", 6, 2, seed=3), torch.zeros_like(feature.axes))
    twin.load(feature.tensors())
    base, source = draw(3, 6, seed=1), draw(3, 6, seed=2)
    assert torch.equal(twin.swap(base, source), feature.swap(base, source))
    feature.harden()
    assert inner.hardened
    assert not torch.equal(twin.swap(base, source), feature.swap(base, source))


# ── random controls ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ALL)
def test_random_controls_are_of_the_same_size(name: str) -> None:
    feature = fitted(name, 8, 3)
    control = random_like(feature, 1)
    assert control.effective_size() == min(feature.effective_size(), 8)
    assert control.hardened and not control.trainable()
    base, source = draw(5, 8, seed=1), draw(5, 8, seed=2)
    assert torch.equal(control.swap(base, source), random_like(feature, 1).swap(base, source))
    assert torch.equal(control.swap(base, base), base)
    if feature.effective_size() < 8:
        rank = torch.linalg.matrix_rank(control.swap(draw(20, 8), draw(20, 8, seed=1)) - draw(20, 8))
        assert int(rank) == feature.effective_size()
    if 0 < feature.effective_size() < 8:
        assert not torch.equal(control.swap(base, source), random_like(feature, 2).swap(base, source))


@pytest.mark.parametrize("width", [2, 3, 4, 8, 16])
def test_random_controls_of_narrow_layers_hold_little_of_the_feature(width: int) -> None:
    """One drawn evenly among the directions of eight numbers holds half of a given one in one of seven draws."""
    base, source, feature = draw(40, width, seed=3), draw(40, width), fitted("rotation", width, 1)

    def written(one: Feature) -> torch.Tensor:
        return torch.linalg.svd((one.swap(base, source) - base).detach())[2][0]

    for seed in range(30):
        assert float(written(feature) @ written(random_like(feature, seed))) ** 2 <= 0.25 + 1e-9


def test_random_masks_open_other_gates_of_the_same_kind() -> None:
    feature = fitted("mask_heads", 12, 3, seed=1)
    control = random_like(feature, 0)
    assert isinstance(control, Mask) and control.heads == (6, 2)
    assert control.gates().open == feature.gates().open
    opened = {tuple(random_like(feature, seed).logits.tolist()) for seed in range(30)}
    assert len(opened) > 5


def test_random_controls_stay_within_what_was_not_fitted() -> None:
    data = draw(40, 6, seed=3)
    chain = build([declared("pca", k=3), declared("rotation", dim=1)], 6, 0, **EXACT, data=data)
    control = random_like(chain, 5)
    assert isinstance(control, Chain)
    axes = chain.tensors()["0.axes"]
    change = control.swap(draw(4, 6), draw(4, 6, seed=1)) - draw(4, 6)
    torch.testing.assert_close(change @ axes @ axes.T, change)
    nothing = fitted("mask", 4, 2)
    with torch.no_grad():
        nothing.logits.fill_(-1)
    assert torch.equal(random_like(nothing, 0).swap(draw(2, 4), draw(2, 4, seed=1)), draw(2, 4))
    everything = random_like(Whole(4, torch.float64), 0)
    torch.testing.assert_close(everything.swap(draw(2, 4), draw(2, 4, seed=1)), draw(2, 4, seed=1))
    shut = build([declared("boundless")], 5, 0, **EXACT)
    with torch.no_grad():
        shut.boundary.fill_(1e-3)
    assert torch.equal(random_like(shut, 0).swap(draw(2, 5), draw(2, 5, seed=1)), draw(2, 5))


# ── differences of means ────────────────────────────────────────────────────────────────────────


def test_the_difference_of_two_means() -> None:
    labels = torch.arange(50) % 2
    x = draw(50, 7, seed=3) + labels[:, None] * draw(7, seed=4) * 3
    axes = build([declared("mean_difference")], 7, 0, **EXACT, data=x, labels=labels * 4 + 1).tensors()["axes"]
    gap = torch.nn.functional.normalize(x[labels == 1].mean(0) - x[labels == 0].mean(0), dim=0)
    assert axes.shape == (7, 1)
    assert float((axes[:, 0] @ gap).abs()) == pytest.approx(1, abs=1e-12)


def test_several_means_span_their_differences() -> None:
    labels = torch.arange(90) % 3
    means = torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0], [4, 0, 0, 0]], dtype=torch.float64)  # on one line
    axes = build([declared("mean_difference")], 4, 0, **EXACT, data=means[labels], labels=labels).tensors()["axes"]
    assert torch.equal(axes.abs(), torch.eye(4, dtype=torch.float64)[:, :1])
    with pytest.raises(SpecError) as caught:
        build([declared("mean_difference")], 4, 0, **EXACT, data=means[labels * 0], labels=labels)
    assert caught.value.diagnostics[0].code == "E722"
