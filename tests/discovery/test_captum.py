"""Integrated gradients against those of captum: of the embedding, and of what the heads of a layer give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from causal_dsl.discovery.part_scores import Way
from tests.discovery.searched import Searched

LAYER = 1


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["midpoint", "left"])
def test_integrated_gradients_are_those_of_captum(rule: str) -> None:
    from captum import attr

    searched = Searched("llama", metric="logit(o)")
    by_embedding = searched.of.score_nodes(Way(4, rule=rule))
    by_heads = searched.of.score_nodes(Way(4, "activations", rule))
    model, pairs, heads = searched.network.model, searched.pairs, searched.network.facts.heads
    (quantity,) = dict.fromkeys(q for _, q in searched.objective.metric.needs("patched"))
    answers = searched.objective.targets(searched.objective.test, quantity)
    projection = model.model.layers[LAYER].self_attn.o_proj
    method = {"midpoint": "riemann_middle", "left": "riemann_left"}[rule]
    for pair, (base, source) in enumerate(zip(pairs.base, pairs.source, strict=True)):
        runs = [torch.tensor(pairs.inputs.rows(np.array([number]))[0])[None] for number in (base, source)]
        answer = int(np.ravel(answers[pair])[0])

        def along(place: Any, ids: Tensor = runs[0], answer: int = answer) -> Callable[[Tensor], Tensor]:
            def logit(given: Tensor) -> Tensor:
                handle = place(given)
                try:
                    return model(ids.expand(len(given), -1)).logits[:, -1, answer]
                finally:
                    handle.remove()

            return logit

        def embedding(given: Tensor) -> Any:
            return model.get_input_embeddings().register_forward_hook(lambda module, args, out: given)

        def heads_of_a_layer(given: Tensor) -> Any:
            return projection.register_forward_pre_hook(lambda module, args: (given,))

        kept = [_given(model, projection, ids) for ids in runs]
        for number, place in enumerate((embedding, heads_of_a_layer)):
            own, other = (one[number] for one in kept)
            found = attr.IntegratedGradients(along(place)).attribute(own, other, n_steps=4, method=method)[0]
            if place is embedding:
                assert by_embedding.groups[pair, 0] == pytest.approx(float(found.sum()), abs=1e-6)
            else:
                each = found.sum(dim=0).reshape(heads, -1).sum(dim=1).numpy()
                assert by_heads.groups[pair, searched.of.at["z", LAYER]] == pytest.approx(each, abs=1e-6)
                assert np.abs(each).max() > 1e-4


def _given(model: Any, projection: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The embedding and what a layer's heads give in a plain run."""
    seen: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    with torch.no_grad():
        model(ids)
    handle.remove()
    return model.get_input_embeddings()(ids).detach(), seen[0]
