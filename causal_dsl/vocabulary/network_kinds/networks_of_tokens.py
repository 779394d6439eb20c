"""Language networks: token ids to logits. And networks made by a user's Python function, which are taken for these until they are loaded."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_kinds.network_kind import NetworkKind

LANGUAGE = NetworkKind(
    "language",
    told="a network of tokens, architecture {architecture}",
    given="token ids [batch, tokens]",
    inputs="causal_dsl.inputs.prompts:PromptInputs",
    prompted=True,
    enters="put {{{name}}} in the prompt, and leave this out",
    absent="a language network has no `{component}`; the output of a layer is `layer[l].resid_post`",
    everywhere=Position("all"),
    by_record=True,
    readout="next_token",
    outputs="vocabulary",
)

FAMILY = (
    LANGUAGE,
    replace(
        LANGUAGE,
        name="unknown",
        told="nothing is known of it before it is loaded",
        inputs="",
        seen=False,
        prompted=False,
        enters="",
        universe="causal_dsl.program.nodes:not_known",
    ),
)
