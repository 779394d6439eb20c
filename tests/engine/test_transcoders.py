"""Transcoders and crosscoders, which read at other sites than they write, against hooks by hand with their own formulas."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from causal_dsl import api
from causal_dsl.planning.lower import by_reference
from tests.engine.byhand import ByHand, hook
from tests.engine.test_latents import runs
from tests.engine.tiny import execution_of, spec_of
from tests.thinning import some

torch.set_num_threads(1)
WIDTH, COUNT, CLOSE = 32, 40, 1e-4
DRAW = "base, source ~ m(n=6, seed=3)"
HOOKS = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
STREAM = {"hook_names": ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]}
#: name -> what its cfg.json says. A crosscoder reads and writes two layers.
CONFIGS: dict[str, dict[str, object]] = {
    "transcoder": {"architecture": "transcoder", "metadata": HOOKS, "d_in": WIDTH, "d_out": WIDTH},
    "skip_transcoder": {"architecture": "skip_transcoder", "metadata": HOOKS},
    "jumprelu_transcoder": {"architecture": "jumprelu_transcoder", "metadata": HOOKS},
    "topk": {"architecture": "transcoder", "activation_fn": "topk", "k": 7, "metadata": HOOKS},
    "centred_transcoder": {"architecture": "transcoder", "metadata": HOOKS, "apply_b_dec_to_input": True},
    "crosscoder": {"architecture": "crosscoder", **STREAM, "d_in": WIDTH},
}


def numbers(kind: str) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(len(kind))

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=made, dtype=torch.float64)

    if kind == "crosscoder":
        return {
            "W_enc": draw(2, WIDTH, COUNT),
            "W_dec": draw(COUNT, 2, WIDTH),
            "b_dec": draw(2, WIDTH),
            "b_enc": draw(COUNT),
        }
    found = {"W_enc": draw(WIDTH, COUNT), "W_dec": draw(COUNT, WIDTH), "b_dec": draw(WIDTH), "b_enc": draw(COUNT)}
    if kind == "skip_transcoder":
        found["W_skip"] = draw(WIDTH, WIDTH)
    if kind == "jumprelu_transcoder":
        found["threshold"] = draw(COUNT).abs()
    return found


def written(config: dict[str, object], tensors: dict[str, Tensor]) -> str:
    folder = Path(mkdtemp(prefix="across-"))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


@cache
def folder_of(kind: str) -> str:
    return written(CONFIGS[kind], numbers(kind))


def read(kind: str, vectors: list[Tensor]) -> Tensor:
    """All latents, from the vector of each site that is read."""
    w = numbers(kind)
    encoders = list(w["W_enc"]) if kind == "crosscoder" else [w["W_enc"]]
    centre = w["b_dec"] if kind == "centred_transcoder" else 0
    before = sum(((x.double() - centre) @ e for x, e in zip(vectors, encoders, strict=True)), w["b_enc"])
    found = before.relu()
    if kind == "jumprelu_transcoder":
        found = found * (before > w["threshold"])
    if kind == "topk":
        found = torch.where(before >= before.sort().values[-7], found, 0)
    return found


def adding(by: Tensor) -> Callable[[Tensor], Tensor]:
    """A hook that adds to the last token."""

    def put(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[0, -1] += by
        return tensor

    return put


New = Callable[[Tensor, Tensor, Tensor], Tensor]
#: what is written behind `via …` -> the new latents, from those of the base, of the source, and their mean over the bases.
VALUES: dict[str, New] = {
    "= 8": lambda f, s, m: 0 * f + 8,
    "+= 8": lambda f, s, m: f + 8,
    "= 0": lambda f, s, m: 0 * f,
    "= mean": lambda f, s, m: m,
    "<- source": lambda f, s, m: s,
    "= scale(0.5)": lambda f, s, m: 0.5 * f,
    "= clamp(high=1)": lambda f, s, m: f.clamp(max=1),
    "= 2 * source - current": lambda f, s, m: 2 * s - f,
}
CHOSEN = [3, 8, 11, 20, 21, 22, 30]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("family", some(["llama", "gpt2"], ["llama"]))
def test_equal_to_hooks_with_the_formula(kind: str, family: str) -> None:
    cross = kind == "crosscoder"
    site = "layer[0:2].resid_post[last]" if cross else "layer[1].mlp_out[last]"
    reads = [("resid_post", 0), ("resid_post", 1)] if cross else [("mlp_in", 1)]
    writes = reads if cross else [("mlp_out", 1)]
    via = f'via sae("{folder_of(kind)}", latents={CHOSEN})'
    tests = "".join(
        f"test t{i} on a(l=1, p=last) {{ {DRAW}\n do({site} {via} {value}) report mean(kl) }}\n"
        for i, value in enumerate(VALUES)
    )
    execution, _ = execution_of(spec_of(family, tests))
    plain, _ = execution_of(spec_of(family, tests), change=by_reference)
    assert not [step.why for step in execution.plan.steps if step.why], "something does not ride in one pass"
    got, reference, hand = execution.logits(), plain.logits(), ByHand(family)
    decoders = numbers(kind)["W_dec"][CHOSEN].reshape(len(CHOSEN), len(writes), WIDTH)

    def latents(ids: tuple[int, ...]) -> Tensor:
        return read(kind, [hand.vector(ids, component, layer)[-1] for component, layer in reads])[CHOSEN]

    for number, (value, new) in enumerate(VALUES.items()):
        resume, bases, sources = runs(execution, f"t{number}")
        other = runs(plain, f"t{number}")[0]
        mean = torch.stack([latents(ids) for ids in bases]).mean(0)
        moved = 0.0
        for row, (base, source) in enumerate(zip(bases, sources, strict=True)):
            f = latents(base)
            change = new(f, latents(source), mean) - f
            with ExitStack() as stack:
                for i, (component, layer) in enumerate(writes):
                    path, side, *_ = hand.places[component]
                    put = adding((change @ decoders[:, i]).float())
                    stack.callback(hook(hand.model.get_submodule(path.format(l=layer)), side, put).remove)
                expected = hand.logits(base)[-1]
            for logits in (got[resume][row], reference[other][row]):
                assert float((logits - expected).abs().max()) < CLOSE * max(1, float(expected.abs().max())), (
                    value,
                    row,
                )
            moved = max(moved, float((expected - hand.logits(base)[-1]).abs().max()))
        assert moved > 20 * CLOSE, f"{value} does nothing, so nothing is shown"


def test_one_layer_of_a_crosscoder_may_be_written() -> None:
    """Latents are read in all of its layers, and the layer that is written moves along its own directions."""
    via = f'via sae("{folder_of("crosscoder")}", latents=[3])'
    tests = f"test t on a(l=1, p=last) {{ {DRAW}\n do(layer[1].resid_post[last] {via} = 8) report mean(kl) }}\n"
    execution, _ = execution_of(spec_of("gpt2", tests))
    got, hand = execution.logits(), ByHand("gpt2")
    resume, bases, _ = runs(execution, "t")
    path, side, *_ = hand.places["resid_post"]
    for row, base in enumerate(bases):
        f = read("crosscoder", [hand.vector(base, "resid_post", layer)[-1] for layer in (0, 1)])[3]
        put = adding(((8 - f) * numbers("crosscoder")["W_dec"][3, 1]).float())
        handle = hook(hand.model.get_submodule(path.format(l=1)), side, put)
        expected = hand.logits(base)[-1]
        handle.remove()
        assert float((got[resume][row] - expected).abs().max()) < 10 * CLOSE


@pytest.mark.slow
def test_a_variable_is_read_through_a_transcoder() -> None:
    """`left @ layer[1].mlp_out[p] via sae("transcoder")`: an interchange of the variable is one of its latents."""
    via = f'via sae("{folder_of("transcoder")}", latents={CHOSEN})'
    spec = spec_of("gpt2", "").replace("same @ layer[l].resid_post[p]", f"same @ layer[1].mlp_out[last] {via}")
    spec = spec.replace("align a(l in 0:3, p in [x, last])", "align a")
    assert via in spec
    tests = f"test v on a {{ {DRAW}\n do(same <- source) report iia }}\n"
    tests += f"test t on a {{ {DRAW}\n do(layer[1].mlp_out[last] {via} <- source) report mean(kl) }}\n"
    execution, _ = execution_of(spec + tests)
    got = execution.logits()
    one, other = (runs(execution, name)[0] for name in "vt")
    assert torch.equal(got[one], got[other])
    report = api.run(api.parse(spec + tests), api.Options(trust=True))
    assert all("rest_kept" in {finding.code for finding in test.findings} for test in report.tests)


def test_two_writes_of_one_transcoder_add_up() -> None:
    """Each moves the vector by the change of its own latents; these are read before anything is written."""
    path = folder_of("transcoder")
    both = f'layer[1].mlp_out[last] via sae("{path}", latents=[3, 8]) = [2, 5]'
    apart = ", ".join(f'layer[1].mlp_out[last] via sae("{path}", latents=[{k}]) = {c}' for k, c in ((3, 2), (8, 5)))
    tests = "".join(
        f"test t{i} on a(l=1, p=last) {{ {DRAW}\n do({action}) report mean(kl) }}\n"
        for i, action in enumerate((both, apart))
    )
    execution, _ = execution_of(spec_of("llama", tests))
    got = execution.logits()
    one, other = (runs(execution, name)[0] for name in ("t0", "t1"))
    assert torch.allclose(got[one], got[other], atol=CLOSE)


def refused(action: str, spec: str = "") -> list[str]:
    text = spec or spec_of("llama", f"test t on a(l=1, p=last) {{ {DRAW}\n do({action}) report kl }}\n")
    return [error.code for error in api.check(api.parse(text), api.Options(trust=True)).errors]


FAULTS = {
    "layer[1].resid_post[last] via T = 0": "E515",
    "layer[0].mlp_out[last] via T = 0": "E515",
    "layer[1].mlp_out[last, 0:8] via T = 0": "E515",
    "layer[2].resid_post[last] via C = 0": "E515",
    "layer[0].resid_post[last] = 0, layer[1].mlp_out[last] via T = 0": "E763",
    "layer[1].mlp_in[last] = 0, layer[1].mlp_out[last] via T = 0": "E763",
    "layer[1].mlp_out[last] via T <- source.layer[0].mlp_out[last]": "E764",
    'layer[1].mlp_out[last] via T.subspace("x") = 0': "E721",
}


@pytest.mark.parametrize("action", FAULTS)
def test_faults_are_told_before_anything_is_loaded(action: str) -> None:
    told = action.replace("via T", f'via sae("{folder_of("transcoder")}", latents=[1])')
    assert refused(told.replace("via C", f'via sae("{folder_of("crosscoder")}")')) == [FAULTS[action]]


def test_a_number_that_is_added_may_stand_beside_earlier_writes() -> None:
    via = f'via sae("{folder_of("transcoder")}", latents=[1])'
    assert refused(f"layer[0].resid_post[last] = 0, layer[1].mlp_out[last] {via} += 8") == []


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"architecture": "transcoder"}, "E762"),
        ({"architecture": "transcoder", "hook_name": "blocks.1.mlp.hook_in"}, "E762"),
        ({"architecture": "transcoder", **HOOKS, "hook_name": "blocks.1.ln2.hook_normalized"}, "E762"),
        ({"architecture": "transcoder", **HOOKS, "hook_name": "blocks.9.mlp.hook_in"}, "E762"),
        ({"architecture": "crosscoder"}, "E762"),
        ({"architecture": "transcoder", **HOOKS, "model_name": "gemma-2b"}, "E516"),
    ],
)
def test_a_file_that_does_not_say_where_is_refused(config: dict[str, object], code: str) -> None:
    folder = written(config, numbers("transcoder"))
    assert refused(f'layer[1].mlp_out[last] via sae("{folder}", latents=[1]) = 0') == [code]


def test_a_transcoder_of_what_is_before_a_gain_is_told_what_to_do() -> None:
    folder = written(
        {"architecture": "transcoder", **HOOKS, "hook_name": "blocks.1.ln2.hook_normalized"}, numbers("transcoder")
    )
    do = f'layer[1].mlp_out[last] via sae("{folder}", latents=[1]) = 0'
    text = spec_of("llama", f"test t on a(l=1, p=last) {{ {DRAW}\n do({do}) report kl }}\n")
    (told,) = api.check(api.parse(text), api.Options(trust=True)).errors
    assert "`layer[1].mlp_in` is after it" in told.notes[0] and "`blocks.1.mlp.hook_in`" in told.help


def test_a_transcoder_of_another_width_is_refused() -> None:
    narrow = {name: tensor[:, :16] if name == "W_dec" else tensor for name, tensor in numbers("transcoder").items()}
    folder = written(CONFIGS["transcoder"], {**narrow, "b_dec": narrow["b_dec"][:16]})
    assert refused(f'layer[1].mlp_out[last] via sae("{folder}", latents=[1]) = 0') == ["E720"]
