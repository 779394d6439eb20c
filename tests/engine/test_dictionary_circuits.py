"""Latents of dictionaries, error terms and features as nodes of circuits, against hooks by hand with the dictionaries' own formulas."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.planning.lower import by_reference
from tests.engine.byhand import ByHand, hook
from tests.engine.test_latents import COUNT, formula, numbers, runs, sae
from tests.engine.test_transcoders import COUNT as MANY
from tests.engine.test_transcoders import folder_of as transcoder
from tests.engine.test_transcoders import numbers as across
from tests.engine.test_transcoders import read
from tests.engine.tiny import execution_of, spec_of
from tests.thinning import some

torch.set_num_threads(1)
pytestmark = pytest.mark.slow
CLOSE = 1e-4
DRAW = "base, source ~ m(n=6, seed=3, like=base, vary=[z], controls=none)"
KIND = "jumprelu"
#: A transcoder of layer 1's MLP, and an autoencoder of what leaves that layer: the second reads what the first has changed.
CIRCUITS = f"""
circuit every : net {{
  written = layer[1].mlp_out via sae("{transcoder("skip_transcoder")}"), layer[1].mlp_out via sae("{transcoder("skip_transcoder")}").error()
  stream  = layer[1].resid_post via sae("{sae(KIND)}"), layer[1].resid_post via sae("{sae(KIND)}").error()
}}
circuit c : net {{
  written = layer[1].mlp_out via sae("{transcoder("skip_transcoder")}", latents=[3, 8, 20])
  stream  = layer[1].resid_post via sae("{sae(KIND)}", latents=[5, 7])
  last    = layer[1].resid_post[last] via sae("{sae(KIND)}", latents=[11])
}}
circuit errors : net {{ e = layer[1].resid_post via sae("{sae(KIND)}").error() }}
"""
#: What is written: of the transcoder and of the autoencoder, which latents at each token (by its number from the end), and the error terms.
Kept = Callable[[int], tuple[set[int], set[int], bool]]
ALL = set(range(COUNT)), set(range(MANY))


def kept(at: int) -> tuple[set[int], set[int], bool]:
    return {3, 8, 20}, {5, 7} | ({11} if at == -1 else set()), False


CASES: dict[str, tuple[Kept, str]] = {
    "outside(c, among=every) <- source": (
        lambda at: (ALL[1] - kept(at)[0], ALL[0] - kept(at)[1], True),
        "source",
    ),
    "outside(c) = 0": (lambda at: (ALL[1] - kept(at)[0], ALL[0] - kept(at)[1], True), "0"),
    "outside(c) = mean(pooled=true)": (lambda at: (ALL[1] - kept(at)[0], ALL[0] - kept(at)[1], True), "mean"),
    "c <- source": (kept, "source"),
    "c = 0": (kept, "0"),
    "c = scale(0.5)": (kept, "half"),
    "errors <- source": (lambda at: (set(), set(), True), "source"),
}


class Hand:
    """A network, and what its dictionaries make of vectors, token by token."""

    def __init__(self, family: str):
        self.hand = ByHand(family)
        self.w = across("skip_transcoder")

    def parts(self, ids: tuple[int, ...]) -> dict[str, Tensor]:
        """The latents and the error terms of a plain run."""
        entering, given = (self.hand.vector(ids, name, 1) for name in ("mlp_in", "mlp_out"))
        return {**self.of_mlp(entering, given), **self.of_stream(self.hand.vector(ids, "resid_post", 1))}

    def of_mlp(self, entering: Tensor, given: Tensor) -> dict[str, Tensor]:
        f = torch.stack([read("skip_transcoder", [x]) for x in entering])
        whole = f @ self.w["W_dec"] + self.w["b_dec"] + entering.double() @ self.w["W_skip"].T
        return {"mlp": f, "mlp error": given.double() - whole}

    def of_stream(self, vectors: Tensor) -> dict[str, Tensor]:
        f = torch.stack([formula(KIND, x)[0] for x in vectors])
        whole = f @ numbers(KIND)["W_dec"] + numbers(KIND)["b_dec"]
        return {"stream": f, "stream error": vectors.double() - whole}

    def logits(
        self, ids: tuple[int, ...], written: Kept, new: Callable[[str, Tensor], Tensor], errors: set[str]
    ) -> Tensor:
        """The logits of a run in which these nodes are new, each made from what the run itself has."""
        entering: list[Tensor] = []
        model, places = self.hand.model, self.hand.places

        def change(name: str, which: int, tensor: Tensor) -> Tensor:
            own = self.of_mlp(entering[-1], tensor[0]) if name == "mlp" else self.of_stream(tensor[0])
            f, error, count = own[name], own[f"{name} error"], tensor.shape[1]
            moved = new(name, f) - f
            chosen = torch.zeros_like(f)
            for at in range(count):
                chosen[at, sorted(written(at - count)[which])] = 1
            decoder = self.w["W_dec"] if name == "mlp" else numbers(KIND)["W_dec"]
            by = (moved * chosen) @ decoder
            if name in errors and written(-1)[2]:
                by = by + new(f"{name} error", error) - error
            return tensor + by.to(tensor)[None]

        def seen(tensor: Tensor) -> Tensor:
            entering.append(tensor[0])
            return tensor

        with ExitStack() as stack:
            for component, act in (
                ("mlp_in", seen),
                ("mlp_out", partial(change, "mlp", 0)),
                ("resid_post", partial(change, "stream", 1)),
            ):
                path, side, *_ = places[component]
                stack.callback(hook(model.get_submodule(path.format(l=1)), side, act).remove)
            return self.hand.logits(ids)[-1]


@pytest.mark.parametrize("family", some(["llama", "gpt2"], ["llama"]))
def test_nodes_are_hooks_with_the_formulas(family: str) -> None:
    padding = {"llama": "right", "gpt2": "left"}[family]
    tests = "".join(
        f"test t{i} on a(l=1, p=last) {{ {DRAW}\n do({action}) report mean(kl) }}\n" for i, action in enumerate(CASES)
    )
    text = spec_of(family, CIRCUITS + tests, padding=padding)
    execution, _ = execution_of(text)
    plain, _ = execution_of(text, change=by_reference)
    got, reference, hand = execution.logits(), plain.logits(), Hand(family)
    for number, (action, (written, value)) in enumerate(CASES.items()):
        resume, bases, sources = runs(execution, f"t{number}")
        other = runs(plain, f"t{number}")[0]
        assert len({len(ids) for ids in bases}) > 1, "prompts of several lengths"
        every = [hand.parts(ids) for ids in bases]
        means = {name: torch.cat([one[name] for one in every]).mean(0) for name in every[0]}
        # a mean is that over the tokens that are written: latent 11 is at all but the last
        means["stream"][11] = torch.cat([one["stream"][:-1, 11] for one in every]).mean()
        moved = 0.0
        for row, (base, source) in enumerate(zip(bases, sources, strict=True)):
            there = hand.parts(source)
            new = {
                "source": lambda name, own, there=there: there[name],
                "0": lambda name, own: 0 * own,
                "mean": lambda name, own: means[name].expand_as(own),  # noqa: B023
                "half": lambda name, own: 0.5 * own,
            }[value]
            errors = {"stream"} if "errors" in action else {"mlp", "stream"}
            expected = hand.logits(base, written, new, errors)
            for logits in (got[resume][row], reference[other][row]):
                assert float((logits - expected).abs().max()) < CLOSE * max(1, float(expected.abs().max())), (
                    action,
                    row,
                )
            moved = max(moved, float((expected - hand.hand.logits(base)[-1]).abs().max()))
        assert moved > 20 * CLOSE, f"{action} does nothing, so nothing is shown"


FITTED = """
circuit c : mlp { f = layer[1].out via rotation(dim=2, file="FILE") }
circuit rest : mlp { e = layer[1].out via rotation(dim=2, file="FILE").error() }
test plain on halves {
  base, source ~ equality(n=12, seed=4, controls=none)
  do(layer[1].out via subspace("DIRECTIONS") <- source)
  report kl
}
test node on halves {
  base, source ~ equality(n=12, seed=4, controls=none)
  do(c <- source)
  report kl
}
test both on halves {
  base, source ~ equality(n=12, seed=4, controls=none)
  do(c <- source, rest <- source)
  report kl
}
test whole on halves {
  base, source ~ equality(n=12, seed=4, controls=none)
  do(layer[1].out <- source)
  report kl
}
"""


def test_a_fit_that_was_kept_is_a_node(tmp_path: Path) -> None:
    """What is written at the node is written along the fitted directions; the node and its error term are the whole vector."""
    text = (Path(__file__).parents[2] / "specs" / "equality_relu.causal").read_text(encoding="utf-8")
    text = text[: text.index("\ntest ")]
    fitted = "align fitted : halves {\n  left @ layer[1].out via rotation(dim=2, n=32, epochs=1, controls=none)\n}\n"
    fitted = fitted.replace(" : halves {", " : equality -> mlp {")
    lines = text[text.index("align halves") :].split("\n")
    fitted = fitted.replace(
        "{\n", "{\n" + "\n".join(line for line in lines if "@ input" in line or "@ logits" in line) + "\n"
    )
    fit = "test t on fitted {\n  base, source ~ equality(n=12)\n  do(left <- source)\n  report iia\n}\n"
    api.run(api.parse(text + fitted + fit), Options(trust=True, out=tmp_path))
    (file,) = tmp_path.rglob("features/*.safetensors")
    directions = tmp_path / "directions.safetensors"
    save_file({"d": load_file(file)["0/rotation"].T.contiguous()}, directions)
    told = FITTED.replace("FILE", str(file)).replace("DIRECTIONS", str(directions))
    execution, _ = execution_of(text + told)
    logits = execution.logits()
    patched = {name: execution.plan.scores[name][0].read("patched") for name in ("plain", "node", "both", "whole")}
    of = {name: logits[read.run] for name, read in patched.items() if read is not None}  # type: ignore[index]
    assert torch.allclose(of["both"], of["whole"], atol=1e-5)
    assert torch.allclose(of["node"], of["plain"], atol=1e-5)
    assert float((of["node"] - of["whole"]).abs().max()) > 1e-2
    faults = {
        told.replace("layer[1].out via rotation", "layer[0].out via rotation"): "E760",
        told.replace("rotation(dim=2, file", "boundless(file"): "E729",
        told.replace(f', file="{file}"', ""): "E950",
    }
    for spec, code in faults.items():
        found = api.check(api.parse(text + spec), Options(trust=True))
        assert {error.code for error in found.errors} == {code}, [str(error) for error in found.errors]
