"""A loaded network on the inputs that it is about to be given: are its numbers its own, and its tokens those it was made for?"""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.diagnostics import Diagnostic
from causal_dsl.inputs import Inputs
from causal_dsl.network.network import Network
from causal_dsl.network.steadiness import refuse_unsteady
from causal_dsl.network.tokenizer_audit import compare_tokens


def check_at_hand(
    network: Network, inputs: Inputs, more: Sequence[str] = (), trust: bool = False
) -> tuple[Diagnostic, ...]:
    """Try a network on some of the ``inputs`` of a plan, and hold their tokens, and those of
    ``more`` texts, against those that transformers makes.

    Raises E514 (other tokens), E663 (other numbers a second time), E664 (other numbers beside other inputs). Gives what
    the user should know besides (W666).
    """
    if not len(inputs):
        return ()
    said: tuple[Diagnostic, ...] = ()
    if network.tokens is not None and network.tokens.folder is not None:
        texts = [*map(inputs.text, range(len(inputs))), *more]
        said = compare_tokens(network.tokens, network.tokens.folder, texts, trust, network.span)
    refuse_unsteady(network, inputs.rows(inputs.some()), network.span)
    return said


__all__ = ["check_at_hand"]
