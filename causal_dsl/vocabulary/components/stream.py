"""The residual stream and its ends."""

from __future__ import annotations

from causal_dsl.vocabulary.architectures.architecture import Architecture
from causal_dsl.vocabulary.components.component import EVERY_KIND, Component
from causal_dsl.vocabulary.network_facts import Facts


def _no_middle(facts: Facts, architecture: Architecture) -> str | None:
    if not facts.parallel:
        return None
    return (
        f"`{facts.architecture}` runs attention and MLP in parallel, both on `resid_pre`: "
        "there is no residual stream between them"
    )


def _no_last_norm(facts: Facts, architecture: Architecture) -> str | None:
    if architecture.norm is not None:
        return None
    return (
        f"the layers of `{facts.architecture}` end in a norm, so there is none after the last one: "
        "the read-out reads its `resid_post`"
    )


FAMILY = (
    Component(
        "embed",
        0,
        "the token embedding, as it enters the residual stream",
        0,
        0,
        layer=False,
        acts="bottom",
        logit="term",
        width=lambda facts, site: facts.embed_width or facts.width,
        place=lambda architecture: architecture.embed,
        scale="embed_scale",
        node="embed",
        named_by=("embed",),
    ),
    Component(
        "resid_pre",
        1,
        "the residual stream as it enters the layer",
        0,
        0,
        acts="entry",
        logit="stream",
        place=lambda architecture: "<",
        whole_at=-0.5,
        named_by=("layers",),
    ),
    # Read and written where attention's term leaves, as the sum of it and the stream that it is added to: the norm that is
    # given the sum comes later, and what is written there would not reach the stream beside it.
    Component(
        "resid_mid",
        11,
        "the residual stream between attention and MLP",
        10,
        10,
        logit="stream",
        place=lambda architecture: architecture.mid,
        absent=_no_middle,
        whole_at=0.0,
        named_by=("attention", "mlp"),
    ),
    Component(
        "resid_post",
        15,
        "the residual stream as it leaves the layer",
        15,
        15,
        acts="exit",
        logit="stream",
        place=lambda architecture: ">",
        whole_at=0.5,
        named_by=("layers",),
    ),
    Component(
        "final_norm",
        16,
        "the residual stream after the last norm",
        0,
        0,
        layer=False,
        logit="normed",
        place=lambda architecture: architecture.norm,
        absent=_no_last_norm,
        named_by=("norm",),
    ),
    Component(
        "logits",
        17,
        "the scores of all tokens (or classes)",
        1,
        1,
        EVERY_KIND,
        layer=False,
        width=lambda facts, site: facts.outputs,
        end=True,
    ),
    Component(
        "module",
        20,
        'the output of any module: module("a.b.c")',
        0,
        0,
        EVERY_KIND,
        layer=False,
        acts="anywhere",
        more='It is named by its own path; a parameter is put into it, as in `module("model.layers.{l}.mlp")[p]`.',
        path='`module("a.b.c")[p]`',
        width=lambda facts, site: None,  # as wide as the module says
    ),
)
