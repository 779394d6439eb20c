"""What is read at places, against hooks by hand: what each term of the stream adds to a logit, attention from token to token, head
scores, norms and cosines. In runs that nothing is done to, and in runs that are intervened on; by both executors."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from causal_dsl.engine.execute import Execution
from causal_dsl.planning.lower import by_reference
from tests.engine.test_lens import hooked
from tests.engine.tiny import SPEC, execution_of, spec_of, words
from tests.network.families import PLACES, model_of
from tests.thinning import spread

torch.set_num_threads(1)
FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2", "qwen3", "phi", "granite")
CASES = spread(list(product(FAMILIES, (False, True), ("right", "left"))), 5, slow_step=3)
ATTRIBUTED = """
test plain on a {
  base ~ m(n=4, seed=1)
  report attribution(logit(o)) @ layer[l].head[1], attribution(logit(o) - 2 * logit("w10")) @ layer[l].mlp_out
  report attribution(logit(o)) @ layer[l].attn_out, attribution(logit(o)) @ embed, attribution(logit(o)) @ layer[l].resid_mid_
}
test patched on a {
  base, source ~ m(n=4, seed=1)
  do(layer[1].mlp_out[x] <- source)
  report attribution(logit(o)) @ layer[l].head[3], change(attribution(logit(o)) @ layer[l].mlp_out)
}
"""
READ = """
test plain on a {
  base ~ m(n=4, seed=1)
  report attention(last, x) @ layer[l].head[2], attention(z, x.all) @ layer[l].head[0], previous_token @ layer[l].head[1]
  report norm @ layer[l].resid_post[p], cosine(layer[l].resid_pre[p]) @ layer[l].resid_post[p], norm @ layer[l].head[1].z[p]
}
test patched on a {
  base, source ~ m(n=4, seed=1)
  do(layer[0].resid_post[x] <- source)
  report attention(last, x) @ layer[l].head[2], previous_token @ layer[l].head[1], norm @ layer[l].mlp_out[p]
}
"""


def read(name: str, component: str, layer: int) -> tuple[nn.Module, str, float]:
    path, side, _, factor = PLACES[name][component]
    return model_of(name).get_submodule(path.format(l=layer)), side, factor


def run(name: str, ids: list[int], write: tuple[str, int, int, Tensor] | None = None, **more: Any) -> dict[Any, Tensor]:
    """Everything that stands in a run [tokens, width] by component and layer, the attention weights, and the logits."""
    model: Any = model_of(name)
    found: dict[Any, Tensor] = {}
    handles = []
    if write is not None:
        component, layer, token, vector = write
        module, side, unit = read(name, component, layer)

        def put(hidden: Tensor) -> Tensor:
            hidden = hidden.clone()
            hidden[0, token] = vector / unit
            return hidden

        handles.append(hooked(module, side, put))

    def noting(key: Any, factor: float) -> Any:
        def note(hidden: Tensor) -> None:
            found[key] = hidden[0].clone() * factor

        return note

    for layer in range(3):
        for component in ("resid_pre", "z", "attn_out", "mlp_out", "resid_post", "resid_mid", "embed"):
            if component in PLACES[name]:
                module, side, factor = read(name, component, layer)
                handles.append(hooked(module, side, noting((component, layer), factor)))
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        given = model(input_ids=torch.tensor([ids]), output_attentions=True)
    model.set_attn_implementation(before)
    for handle in handles:
        handle.remove()
    for layer, weights in enumerate(given.attentions):
        found["pattern", layer] = weights[0]
    found["logits"] = given.logits[0]
    return found


def scale(norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Of a norm at a vector: what it is divided by, the gain, the bias, and whether the mean is taken off."""
    weight = norm.weight.detach().double()
    if isinstance(norm, nn.LayerNorm):
        return (x.var(unbiased=False) + norm.eps).sqrt(), weight, norm.bias.detach().double(), True
    eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    gain = 1 + weight if "Gemma" in type(norm).__name__ else weight
    return (x.square().mean() + eps).sqrt(), gain, torch.zeros_like(weight), False


def through(norm: nn.Module, x: Tensor, term: Tensor) -> Tensor:
    """What a term becomes in a norm whose scale is that at x."""
    size, gain, _, centred = scale(norm, x)
    return gain * (term - term.mean() if centred else term) / size


def by_hand(name: str, seen: dict[Any, Tensor], token: int, term: Tensor, id_: int) -> float:
    """What a term of the stream adds to a logit."""
    model: Any = model_of(name)
    norm, _, _ = read(name, "final_norm", 0)
    normed = through(norm, seen["resid_post", 2][token].double(), term.double())
    head = model.get_output_embeddings()
    raw = float(normed @ head.weight[id_].detach().double())
    x = seen["resid_post", 2][token][None]
    with torch.no_grad():
        plain = float(head(norm(x))[0, id_].double())
    return raw * float(seen["logits"][token, id_].double()) / plain


def head_term(name: str, seen: dict[Any, Tensor], layer: int, head: int, token: int) -> Tensor:
    """What one head adds to the stream at a token: its own columns of what the output projection is given."""
    project, _, _ = read(name, "z", layer)
    z = seen["z", layer][token]
    size = len(z) // model_of(name).config.num_attention_heads
    alone = torch.zeros_like(z)
    alone[head * size : (head + 1) * size] = z[head * size : (head + 1) * size]
    with torch.no_grad():
        made = (project(alone[None]) - project(torch.zeros_like(z)[None]))[0]
        if name == "gemma2":
            norm, _, _ = read(name, "attn_out", layer)
            return through(norm, project(z[None])[0].double(), made.double())
    return made * PLACES[name]["attn_out"][3]


@cache
def ran(name: str, tests: str, reference: bool, padding: str) -> tuple[Execution, Any]:
    if "resid_mid" in PLACES[name]:
        tests = tests.replace("resid_mid_", "resid_mid")
    else:
        tests = tests.replace("resid_mid_", "resid_post")
    text = spec_of(name, tests, padding=padding)
    execution, checked = execution_of(text, **({"change": by_reference} if reference else {}))
    for _ in execution.run():
        pass
    return execution, checked


def runs_of(execution: Execution, test: Any, name: str, at: tuple[str, int]) -> Any:
    """Of each cell, pair and run of a test: the cell, the columns of the pair, the prompt, and all that stands in it."""
    (inputs,) = execution.plan.inputs.values()
    draw = execution.plan.scores[test.name][0].label.draw
    rows = {run_.role: execution.plan.rows[run_] for run_ in execution.plan.rows if run_.draw == draw}
    for pair in range(4):
        index = int(rows["base"][pair])
        base = [int(token) for token in inputs.rows(rows["base"][pair : pair + 1])[0]]
        seen = {"base": run(name, base)}
        if test.name == "patched":
            (token,) = inputs.where(test.cells[0].interventions[0].places[0].position, index)
            other = int(rows["source"][pair])
            (there,) = inputs.where(test.cells[0].interventions[0].places[0].position, other)
            vector = run(name, list(inputs.rows(rows["source"][pair : pair + 1])[0]))[at][there]
            seen["patched"] = run(name, base, (*at, token, vector))
        for number, cell in enumerate(test.cells):
            columns = execution.runs[test.name].cells[number].columns
            for role, here in seen.items():
                own = columns.base if role == "base" else columns.patched
                found = {quantity: values[pair] for quantity, values in own.items() if quantity.place is not None}
                yield cell, found, here, inputs, index


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("name", "reference", "padding"), CASES)
def test_what_a_term_adds_to_a_logit_is_what_hooks_say(name: str, reference: bool, padding: str) -> None:
    execution, checked = ran(name, ATTRIBUTED, reference, padding)
    count = 0
    for test in checked.program.tests:
        for cell, found, seen, inputs, index in runs_of(execution, test, name, ("mlp_out", 1)):
            layer, token = int(cell.settings["l"]), int(inputs.reads[index])
            for quantity, value in found.items():
                if quantity.kind != "logit":
                    continue
                pair = next(p for p in range(4) if int(execution.plan.rows[_base(execution, test)][p]) == index)
                id_ = int(execution.targets(test, type(quantity)("logit", quantity.of))[pair])
                site = str(quantity.place)
                if ".head" in site:
                    term = head_term(name, seen, layer, 3 if "head[3]" in site else 1, token)
                else:
                    component = next(
                        c for c in ("mlp_out", "attn_out", "embed", "resid_mid", "resid_post") if c in site
                    )
                    term = seen[component, 0 if component == "embed" else layer][token]
                expected = by_hand(name, seen, token, term, id_)
                assert abs(value - expected) < 1e-4, (test.name, cell.settings, site)
                count += 1
            sums = {q.kind: v for q, v in found.items() if q.of is not None and q.kind != "logit"}
            assert abs(sums["of_all"] - sums["own_logit"]) < 2e-4
            assert sums["heads_apart"] < 2e-4
    assert count > 50


def _base(execution: Execution, test: Any) -> Any:
    draw = execution.plan.scores[test.name][0].label.draw
    return next(run_ for run_ in execution.plan.rows if run_.draw == draw and run_.role == "base")


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("name", "reference", "padding"), CASES)
def test_attention_norms_and_cosines_are_what_hooks_say(name: str, reference: bool, padding: str) -> None:
    execution, checked = ran(name, READ, reference, padding)
    count = 0
    for test in checked.program.tests:
        for cell, found, seen, inputs, index in runs_of(execution, test, name, ("resid_post", 0)):
            layer, count = int(cell.settings["l"]), count + 1
            look = next(look for look in cell.looks if look.kind == "norm")
            (token,) = inputs.where(look.places[0].position, index)
            for quantity, value in found.items():
                weights = seen["pattern", layer]
                written, expected = str(quantity.place), np.nan
                if quantity.kind == "attention":
                    place = next(look for look in cell.looks if look.asked == quantity.place).places[0]
                    head = 2 if "head[2]" in written else 0
                    (one,) = inputs.where(place.position, index)
                    expected = sum(float(weights[head, one, key]) for key in inputs.where(place.key, index))
                elif quantity.kind == "previous_token":
                    expected = float(np.mean([float(weights[1, t, t - 1]) for t in range(1, weights.shape[1])]))
                elif quantity.kind == "cosine":
                    one, other = seen["resid_post", layer][token], seen["resid_pre", layer][token]
                    expected = float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))
                elif quantity.kind == "norm":
                    component = next(c for c in ("resid_post", "mlp_out", ".z") if c in written).strip(".")
                    vector = seen[component, layer][token]
                    expected = float((vector[8:16] if component == "z" else vector).double().norm())
                assert abs(value - expected) < 1e-4, (test.name, cell.settings, str(quantity))
    assert count > 20


def test_what_terms_add_in_a_network_whose_layout_is_inferred(tmp_path: Path) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 24, "word_embed_proj_dim": 16}
    config = OPTConfig(**sizes, max_position_embeddings=64, num_attention_heads=2)
    model: Any = OPTForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path)
    words().save(str(tmp_path / "tokenizer.json"))
    tests = """
test plain on a {
  base ~ m(n=4, seed=1)
  report attribution(logit(o)) @ layer[1].head[1], attribution(logit(o)) @ layer[0].mlp_out, attribution(logit(o)) @ embed
}
"""
    text = SPEC.replace("FOLDER", str(tmp_path)).replace("PADDING", "left") + tests
    for word, value in {"LAYERS": "0:2", "POSITIONS": "[x]", "SITE": "resid_post"}.items():
        text = text.replace(word, value)
    execution, checked = execution_of(text)
    for _ in execution.run():
        pass
    (inputs,) = execution.plan.inputs.values()
    (test,) = checked.program.tests
    rows, layers = execution.plan.rows[_base(execution, test)], model.model.decoder.layers
    columns = execution.runs["plain"].cells[0].columns.base
    for pair in range(4):
        seen: dict[str, Tensor] = {}
        decoder = model.model.decoder
        places = {"z": (layers[1].self_attn.out_proj, "in"), "mlp": (layers[0].fc2, "out")}
        places |= {"embed": (decoder.embed_tokens, "out"), "end": (decoder.final_layer_norm, "in")}

        def noting(name: str, seen: dict[str, Tensor]) -> Any:
            def note(hidden: Tensor) -> None:
                seen[name] = hidden.reshape(-1, 16)[-1].clone()

            return note

        handles = [hooked(module, side, noting(name, seen)) for name, (module, side) in places.items()]
        with torch.no_grad():
            model(input_ids=torch.tensor([[int(t) for t in inputs.rows(rows[pair : pair + 1])[0]]]))
        for handle in handles:
            handle.remove()
        alone = torch.cat([torch.zeros(8), seen["z"][8:]])
        head = alone @ layers[1].self_attn.out_proj.weight.detach().T
        for quantity, values in columns.items():
            if quantity.kind == "logit" and quantity.place is not None:
                site = str(quantity.place)
                term = head if ".head" in site else seen["mlp"] if "mlp_out" in site else seen["embed"]
                id_ = int(execution.targets(test, type(quantity)("logit", quantity.of))[pair])
                normed = through(model.model.decoder.final_layer_norm, seen["end"].double(), term.double())
                assert abs(values[pair] - float(normed @ model.lm_head.weight[id_].detach().double())) < 1e-4, site
            elif quantity.kind == "of_all":
                own = next(v for q, v in columns.items() if q.kind == "own_logit" and q.place == quantity.place)
                assert abs(values[pair] - own[pair]) < 1e-4
