"""The inputs of networks: one protocol (:class:`~causal_dsl.inputs.protocol.Inputs`), and a module for each kind of input."""

from __future__ import annotations

from causal_dsl.inputs.prompts import PromptInputs
from causal_dsl.inputs.protocol import Inputs, lengths_agree
from causal_dsl.inputs.vectors import VectorInputs
from causal_dsl.program.program import Alignment
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.network_facts import Facts

#: by ``Facts.kind``
_KINDS: dict[str, type[Inputs]] = {"language": PromptInputs, "vector": VectorInputs}


def given_to(facts: Facts) -> type[Inputs]:
    """The kind of inputs that a loaded network is given."""
    return _KINDS[facts.kind]


def inputs_of(facts: Facts, tokens: Tokens | None, alignment: Alignment) -> Inputs:
    """A table of the inputs of a network, empty yet. Where the network is not known, its alignment says what it is given."""
    kind = facts.kind
    if kind == "unknown":
        kind = "language" if tokens is not None or alignment.prompts else "vector"
    return _KINDS[kind](facts, tokens)


__all__ = ["Inputs", "PromptInputs", "VectorInputs", "given_to", "inputs_of", "lengths_agree"]
