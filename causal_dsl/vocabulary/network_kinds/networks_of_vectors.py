"""Vector networks: a vector of floats to logits."""

from __future__ import annotations

from causal_dsl.vocabulary.network_kinds.network_kind import NetworkKind

FAMILY = (
    NetworkKind(
        "vector",
        told="a network of vectors",
        given="floats [batch, width]",
        inputs="causal_dsl.inputs.vectors:VectorInputs",
        no_prompt=("it reads no prompt", "leave it out; values enter as `a @ input[0:4] via onehot()`"),
        no_tokens="a vector network has no tokens",
        particular=True,
        components="vector",
        absent="a vector network has no `{component}`: it has `input`, `layer[l].out`, `logits` and `module(…)`",
        layers="causal_dsl.network.wrapped:vector_layers",
        modules="causal_dsl.planning.rest_of_layer:site_of_layers",
        start="input",
        nodes=("input", "unit"),
        parts=(),
        stream=False,
        universe="causal_dsl.program.nodes:of_layers",
        edges="causal_dsl.program.nodes:edges_of_layers",
        no_edges=(
            "a vector network has no edges between components",
            "each of its layers reads the one below it, and nothing else",
            "patch the site itself: do(layer[1].out[0:2] <- source)",
        ),
        no_token=("it maps a vector to classes", "read out at `logits`"),
        gaps=False,
        costs="causal_dsl.planning.vector_costs:VectorCosts",
        prove="causal_dsl.network.prove_vector:prove_vector",
        ways=("whole", "fixed"),
    ),
)
