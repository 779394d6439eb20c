"""The inputs of networks: one protocol (:class:`~causal_dsl.inputs.protocol.Inputs`), and a module for each kind of input."""

from __future__ import annotations

from causal_dsl.inputs.prompts import PromptInputs
from causal_dsl.inputs.protocol import Inputs, lengths_agree
from causal_dsl.inputs.vectors import VectorInputs
from causal_dsl.program.program import Alignment
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.plugins import made


def given_to(facts: Facts) -> type[Inputs]:
    """The kind of inputs that a loaded network is given."""
    found: type[Inputs] = made(facts.traits.inputs)
    return found


def inputs_of(facts: Facts, tokens: Tokens | None, alignment: Alignment) -> Inputs:
    """A table of the inputs of a network, empty yet. Where the network is not known, its alignment says what it is given."""
    if facts.traits.seen:
        return given_to(facts)(facts, tokens)
    return (PromptInputs if tokens is not None or alignment.prompts else VectorInputs)(facts, tokens)


__all__ = ["Inputs", "PromptInputs", "VectorInputs", "given_to", "inputs_of", "lengths_agree"]
