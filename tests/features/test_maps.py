"""What holds of every feature: nothing is lost on the way in and out, and a swap moves f and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_dsl.diagnostics import SpecError
from causal_dsl.features import Chain, Feature, Gates, Whole, build
from causal_dsl.vocabulary.features import FEATURES
from tests.features.worked import ALL, BENT, LINEAR, TRAINED, chain_of, declared, draw, fitted

torch.set_num_threads(1)
DTYPES = (torch.float32, torch.float64)
CLOSE = {torch.float32: 1e-6, torch.float64: 1e-12}


@st.composite
def features(draw_: st.DrawFn, names: tuple[str, ...] = ALL) -> tuple[str, Feature, torch.Tensor, torch.Tensor]:
    """A feature, and bases and sources of its width at some scale."""
    name = draw_(st.sampled_from(names))
    width = 2 * draw_(st.integers(1, 8))
    seed, dtype = draw_(st.integers(0, 999)), draw_(st.sampled_from(DTYPES))
    feature = fitted(name, width, draw_(st.integers(1, width)), seed, dtype)
    if draw_(st.booleans()):
        feature.harden()
    count, scale = draw_(st.integers(0, 5)), draw_(st.sampled_from([1e-3, 1.0, 300.0]))
    base, source = (draw(count, width, seed=seed + i, dtype=dtype) * scale for i in (50, 51))
    return name, feature, base, source


def largest(tensors: object) -> float:
    """The largest number that a vector went through: what a map adds and takes off again, it rounds."""
    if isinstance(tensors, tuple):
        return max(map(largest, tensors), default=0.0)
    return float(tensors.detach().abs().max()) if isinstance(tensors, torch.Tensor) and tensors.numel() else 0.0


def off(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, as a part of the largest number."""
    if one.numel() == 0:
        return 0.0
    return float(
        (one - other).detach().abs().max() / torch.maximum(one.abs(), other.abs()).detach().max().clamp_min(1e-30)
    )


@settings(max_examples=100, deadline=None)
@given(features())
@pytest.mark.slow
def test_decode_undoes_encode(drawn: tuple[str, Feature, torch.Tensor, torch.Tensor]) -> None:
    _, feature, x, _ = drawn
    before = feature.hardened
    f, rest = feature.encode(x)
    assert f.shape == (len(x), feature.size)
    found = feature.decode(f, rest)
    assert found.dtype == x.dtype
    assert float((found - x).detach().abs().max() if len(x) else 0) <= CLOSE[x.dtype] * largest((x, f, rest))
    assert feature.hardened is before


@settings(max_examples=100, deadline=None)
@given(features())
@pytest.mark.slow
def test_a_base_that_is_its_own_source_stays(drawn: tuple[str, Feature, torch.Tensor, torch.Tensor]) -> None:
    _, feature, x, _ = drawn
    assert torch.equal(feature.swap(x, x), x)
    assert torch.equal(feature.swap(x, x, slice(0, 1)), x)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(features())
def test_a_judged_swap_is_decode_of_the_sources_f(drawn: tuple[str, Feature, torch.Tensor, torch.Tensor]) -> None:
    name, feature, base, source = drawn
    feature.harden()
    f, rest = feature.encode(source)[0], feature.encode(base)[1]
    expected, found = feature.decode(f, rest), feature.swap(base, source)
    # Rounding is of the size of what is computed on the way.
    close = 3e-4 if base.dtype == torch.float32 else 1e-9
    assert float((found - expected).detach().abs().max() if len(base) else 0) <= close * largest(
        (base, source, f, rest)
    )
    if name in LINEAR and "affine" not in name and len(base):  # and it has the source's f
        after, wanted = feature.encode(feature.swap(base, source))[0], feature.encode(source)[0]
        if base.dtype == torch.float64:
            torch.testing.assert_close(after, wanted, rtol=1e-6, atol=1e-6 * float(source.abs().max()))


@settings(max_examples=100, deadline=None)
@given(features(), st.data())
def test_disjoint_blocks_make_up_the_whole(
    drawn: tuple[str, Feature, torch.Tensor, torch.Tensor], data: st.DataObject
) -> None:
    name, feature, base, source = drawn
    feature.harden()
    # Latents of a vector that was written are not those that were written; nor is f where an outer gate drops it.
    if base.dtype == torch.float32 or name in ("sae", "deep"):
        return
    cut = data.draw(st.integers(0, feature.size))
    first = feature.swap(base, source, slice(0, cut))
    assert off(feature.swap(first, source, slice(cut, feature.size)), feature.swap(base, source)) <= 1e-6
    f = torch.cat((feature.encode(source)[0][:, :cut], feature.encode(base)[0][:, cut:]), dim=1)
    assert off(feature.decode(f, feature.encode(base)[1]), first) <= 1e-6, "and one block leaves the other"


@pytest.mark.thinned(always=17)
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_vectors_of_half_precision(name: str, half: torch.dtype) -> None:
    feature = fitted(name, 8, 2, dtype=torch.float32)
    feature.harden()
    base, source = draw(6, 8, seed=1).to(half), draw(6, 8, seed=2).to(half)
    found = feature.swap(base, source)
    assert found.dtype == half
    assert torch.equal(found, feature.swap(base.float(), source.float()).to(half))
    assert feature.encode(base)[0].dtype == torch.float32
    assert torch.equal(feature.swap(base, base), base)


@pytest.mark.thinned(always=17)
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("hard", [False, True])
def test_saved_and_loaded_it_swaps_the_same_bits(name: str, hard: bool) -> None:
    width = 48  # so wide that products of differently laid out matrices round differently
    feature = fitted(name, width, 3, seed=5, dtype=torch.float32)
    saved = feature.tensors()
    assert all(t.device.type == "cpu" and t.is_contiguous() and not t.requires_grad for t in saved.values())
    base, source = (draw(9, width, seed=seed, dtype=torch.float32) for seed in (1, 2))
    more = {"dtype": torch.float32, "device": "cpu", "heads": (width // 2, 2)}
    rebuilt = build(chain_of(name, width, 3), width, 77, **more, tensors=saved)  # neither data nor files
    other = fitted(name, width, 3, seed=5, dtype=torch.float32, start=9)
    other.load(saved)
    feature.prepare()
    for one in (feature, rebuilt, other):
        (one.harden if hard else one.soften)()
    with torch.no_grad():
        expected = feature.swap(base, source)
        for one in (rebuilt, other):
            assert torch.equal(one.swap(base, source), expected)
            assert torch.equal(one.swap(base, source, slice(1, 3)), feature.swap(base, source, slice(1, 3)))
            again = one.tensors()
            assert again.keys() == saved.keys()
            assert all(torch.equal(again[key], saved[key]) for key in saved)
    with torch.no_grad():
        for parameter in feature.parameters():
            parameter.add_(1)
    assert all(torch.equal(saved[key], again[key]) for key in saved), "what was saved does not change"


@pytest.mark.parametrize("name", ALL)
def test_what_is_loaded_must_fit(name: str) -> None:
    feature = fitted(name, 8, 3)
    saved = feature.tensors()
    key = sorted(saved)[0]
    with pytest.raises(ValueError, match=key):
        feature.load({other: tensor for other, tensor in saved.items() if other != key})
    with pytest.raises(ValueError, match="stray"):
        feature.load(saved | {"stray": torch.zeros(1)})
    with pytest.raises(ValueError, match=key):
        feature.load(saved | {key: torch.zeros(3, 3, 3)})


@pytest.mark.parametrize("name", ALL)
def test_copies_act_alike(name: str) -> None:
    feature = fitted(name, 8, 3)
    feature.swap(draw(1, 8), draw(1, 8, seed=1))  # with a graph in what is kept
    twin = copy.deepcopy(feature)
    assert torch.equal(twin.swap(draw(1, 8), draw(1, 8, seed=1)), feature.swap(draw(1, 8), draw(1, 8, seed=1)))


@pytest.mark.parametrize("name", ["rotation", "boundless", "affine", "lowrank", "revnet"])
def test_starts_are_told_by_their_seeds(name: str) -> None:
    def start(seed: int, own: int, place: int = 0) -> list[torch.Tensor]:
        chain = [declared("mask")] * place + [declared(name, dim=2, seed=own)]
        feature = build(chain, 6, seed, dtype=torch.float32, device="cpu")
        return [t for key, t in sorted(feature.tensors().items()) if "mask" not in key and "temp" not in key]

    assert all(torch.equal(a, b) for a, b in zip(start(3, 1), start(3, 1), strict=True))
    for other in (start(4, 1), start(3, 2)):
        assert not all(torch.equal(a, b) for a, b in zip(start(3, 1), other, strict=True))


def test_what_features_are_called() -> None:
    said = {name: fitted(name, 8, 3).describe() for name in ALL}
    assert said["rotation"] == "rotation(dim=3)"
    assert said["mask_heads"] == "mask(over=heads)"
    assert said["pca"] == "pca(k=3)"
    assert said["sae"] == "sae(16 latents)"
    assert said["revnet"] == "revnet(layers=2, width=8, dim=3)"
    assert said["deep"] == "boundless() then rotation(dim=3) then mask(over=coordinates)"


@pytest.mark.parametrize("name", ALL)
def test_which_are_fitted_and_which_bend(name: str) -> None:
    feature = fitted(name, 8, 3)
    assert feature.trainable() == (name in TRAINED)
    assert feature.nonlinear == (name in BENT)
    feature.requires_grad_(False)
    assert not feature.trainable()


@pytest.mark.parametrize("name", [family.name for family in FEATURES.own.values() if family.dim])
def test_a_feature_larger_than_the_vector_is_refused(name: str) -> None:
    setting = FEATURES[name].dim
    with pytest.raises(SpecError) as caught:
        build([declared(name, **{setting: 7})], 6, 0, dtype=torch.float32, device="cpu", data=draw(20, 6))
    (told,) = caught.value.diagnostics
    assert (told.code, told.title) == ("E723", f"`{name}` takes 7 dimensions of a vector of 6")
    inner = [declared("pca", k=2), declared("rotation", dim=3)]
    with pytest.raises(SpecError, match="takes 3 dimensions of a vector of 2"):
        build(inner, 6, 0, dtype=torch.float32, device="cpu", data=draw(20, 6))


def test_gates_over_heads_need_heads() -> None:
    with pytest.raises(SpecError, match="needs a vector of heads side by side"):
        build([declared("mask", over="heads")], 6, 0, dtype=torch.float32, device="cpu")


def test_misuse_by_the_caller() -> None:
    more = {"dtype": torch.float32, "device": "cpu"}
    with pytest.raises(ValueError, match="at least"):
        build([], 4, 0, **more)
    with pytest.raises(ValueError, match="no feature"):
        build([declared("onehot")], 4, 0, **more)
    with pytest.raises(ValueError, match="natural activations"):
        build([declared("pca", k=1)], 4, 0, **more)
    with pytest.raises(ValueError, match="needs dim"):
        build([declared("rotation")], 4, 0, **more)
    with pytest.raises(ValueError, match="reads 4"):
        Chain([Whole(3), Whole(4)])


def test_the_whole_vector() -> None:
    whole = Whole(5)
    base, source = draw(3, 5), draw(3, 5, seed=1)
    assert torch.equal(whole.swap(base, source), source)
    assert torch.equal(whole.swap(base, source, slice(1, 3)), torch.cat((base[:, :1], source[:, 1:3], base[:, 3:]), 1))
    assert torch.equal(whole.decode(*whole.encode(base)), base)
    assert whole.gates() is None and whole.effective_size() == 5 and float(whole.penalty()) == 0
    assert Gates(1, 1, 0) + Gates(2, 1, 1) == Gates(3, 2, 1)


# ── one inside the other ────────────────────────────────────────────────────────────────────────


def test_a_chain_acts_inside_the_f_of_its_first() -> None:
    data = draw(40, 6, seed=3)
    chain = build(
        [declared("pca", k=4), declared("rotation", dim=2)], 6, 0, dtype=torch.float64, device="cpu", data=data
    )
    outer, inner = (t for key, t in sorted(chain.tensors().items()) if key in ("0.axes", "1.rotation"))
    map_ = outer @ inner
    base, source = draw(5, 6, seed=1), draw(5, 6, seed=2)
    torch.testing.assert_close(chain.swap(base, source), base + (source - base) @ map_ @ map_.T)
    assert torch.equal(chain.swap(base, base), base)
    assert chain.size == chain.effective_size() == 2


def test_later_members_are_found_from_what_earlier_ones_give() -> None:
    data = draw(60, 3, seed=3) * torch.tensor([100.0, 1.0, 0.1], dtype=torch.float64)
    data[:, 1] += data[:, 2] * 10
    chain = build([declared("standardize"), declared("pca", k=1)], 3, 0, dtype=torch.float64, device="cpu", data=data)
    axis = chain.tensors()["1.axes"][:, 0]
    assert abs(float(axis[0])) < 0.5, "the first coordinate is the largest, and tells least once it is scaled"


def test_gates_of_a_chain_are_all_gates() -> None:
    chain = build([declared("boundless"), declared("mask")], 8, 0, dtype=torch.float64, device="cpu")
    assert chain.gates() == Gates(16, 4, 8)
    assert float(chain.penalty().detach()) == pytest.approx(0.5 + 0.001 * 4)
    assert chain.effective_size() == 0


@pytest.mark.parametrize("name", [name for name in FEATURES.own if not FEATURES.own[name].file])
def test_a_family_knows_how_many_numbers_its_maps_have(name: str) -> None:
    """By the tensors of a fitted map, which are what is stored."""
    width, dim = 32, 4
    (site,) = chain_of(name, width, dim)
    stored = sum(tensor.numel() for tensor in fitted(name, width, dim).tensors().values())
    assert 0.5 <= FEATURES[name].numbers_of(width, dict(site.settings)) / stored <= 2
