"""On a GPU: every dtype, every way to hold weights, and no layer that waits for the device. Skipped where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from causal_dsl.network.network import Network
from tests.engine.test_matrix import matrix_of, vectors
from tests.engine.tiny import execution_of, network_of, numbers_of, same, spec_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DTYPES = ("float32", "bfloat16", "float16")
#: How far the logits of a dtype may be from those of the CPU in float32, of their size.
CLOSE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
SWEEP = "\ntest t on a { base, source ~ m(n=24, seed=1)\n do(same <- source)\n report iia, mean(kl) }"


def on(text: str, device: str, dtype: str, held: str = "") -> str:
    return text.replace(", padding=", f", device={device}, dtype={dtype}{held}, padding=", 1)


def every_site(family: str) -> str:
    """The spec in which every site of the table is written from itself."""
    path, _ = vectors()
    chosen = [case for case in matrix_of(family) if case.text == "<- source"]
    tests = "\n".join(
        f"test t{number} on a(l=0, p=x) {{ {case.draw}\n do({case.action.replace('VECTORS', path)})\n report mean(kl) }}"
        for number, case in enumerate(chosen)
    )
    return spec_of(family, tests, layers="[0]", positions="[x]")


def logits_of(text: str) -> list[torch.Tensor]:
    return [found.float().cpu() for found in execution_of(text)[0].logits().values()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "qwen3_moe"])
def test_every_site_has_the_numbers_of_the_cpu(family: str, dtype: str) -> None:
    text = every_site(family)
    expected, found = logits_of(on(text, "cpu", "float32")), logits_of(on(text, "cuda", dtype))
    for a, b in zip(expected, found, strict=True):
        assert float((a - b).norm() / a.norm()) < CLOSE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_streamed_weights_give_the_same(family: str, dtype: str) -> None:
    text = every_site(family)
    expected = logits_of(on(text, "cuda", dtype))
    found = logits_of(on(text, "cuda", dtype, ", weights=stream"))
    for a, b in zip(expected, found, strict=True):
        assert float((a - b).norm() / a.norm()) < CLOSE[dtype] / 10


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_two_executors_agree(dtype: str) -> None:
    text = on(spec_of("llama", SWEEP, layers="0:3"), "cuda", dtype)
    found: list[Any] = []
    for reference in (False, True):
        execution, _ = execution_of(text, change=_by_forwards if reference else None)
        list(execution.run())
        found.append(numbers_of(execution))
    same(*found, close=20 * CLOSE[dtype])


def _by_forwards(plan: Any) -> Any:
    from causal_dsl.planning.lower import by_reference

    return by_reference(plan)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_no_layer_waits_for_the_device(family: str, dtype: str) -> None:
    """Within a layer torch raises for whatever makes the host wait: a number that is asked for, an index that is sent."""
    text = on(spec_of(family, SWEEP, layers="0:3"), "cuda", dtype)
    execution, _ = execution_of(text)
    network: Network = network_of(text[: text.index("align ")])
    counted: list[int] = []

    def before(*_: Any) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def after(*_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        counted.append(1)

    handles = [layer.register_forward_pre_hook(before) for layer in network.layers]
    handles += [layer.register_forward_hook(after, always_call=True) for layer in network.layers]
    try:
        list(execution.run())
    finally:
        torch.cuda.set_sync_debug_mode("default")
        for handle in handles:
            handle.remove()
    assert len(counted) >= len(network.layers)
