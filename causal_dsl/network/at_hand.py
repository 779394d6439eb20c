"""A loaded network on the inputs that it is about to be given: are its numbers its own, and its tokens those it was made for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from causal_dsl.diagnostics import Diagnostic, fail
from causal_dsl.network.network import Network
from causal_dsl.network.prove import prove
from causal_dsl.network.steadiness import Batch, enough, refuse_unsteady, some_of
from causal_dsl.network.tokenizer_audit import compare_tokens
from causal_dsl.planning.prompts import Inputs


def check_at_hand(
    network: Network, inputs: Inputs, more: Sequence[str] = (), trust: bool = False
) -> tuple[Diagnostic, ...]:
    """Try a network on some of the ``inputs`` of a plan, and hold their tokens, and those of
    ``more`` texts, against those that transformers makes.

    Raises E514 (other tokens), E663 (other numbers a second time), E664 (other numbers beside other inputs), E746 (weights
    that are no numbers). Gives what the user should know besides (W666).
    """
    if not len(inputs):
        return ()
    prove_at_hand(network, inputs)
    said: tuple[Diagnostic, ...] = ()
    some: Batch
    if network.is_vector:
        few = _vectors(inputs, some_of(len(inputs)))
        most = max(len(few), enough(network, few))
        some = few if most <= len(few) else _vectors(inputs, some_of(len(inputs), most=most))
    else:
        if network.tokens is not None and network.tokens.folder is not None:
            texts = [*(prompt.text for prompt in inputs.prompts), *more]
            said = compare_tokens(network.tokens, network.tokens.folder, texts, trust, network.span)
        ends = [list(inputs.ids(i)) for i in some_of(len(inputs), inputs.lengths)]
        more_rows = some_of(len(inputs), most=enough(network, ends)) if enough(network, ends) > len(ends) else []
        some = [*ends, *(list(inputs.ids(i)) for i in more_rows)]
    refuse_no_numbers(network)
    refuse_unsteady(network, some, network.span)
    return said


def prove_at_hand(network: Network, inputs: Inputs) -> None:
    """Prove the sites of a vector network on its own inputs, where what was drawn at load did not settle all of it."""
    if network.is_vector and len(inputs) and network.proof is not None and not network.proof.settled:
        prove(network, _vectors(inputs, some_of(len(inputs))))


def refuse_no_numbers(network: Network) -> None:
    """Raise E746 where the logits are NaN and so are weights."""
    if network.proof is None or not network.proof.no_numbers:
        return
    raise fail(
        "E746",
        f"weights of `{network.name or 'the network'}` are no numbers, and nor are its logits",
        network.span,
        notes=network.proof.no_numbers[:3],
        help="make or fetch the weights again: training may have failed, or a file may be damaged",
    )


def _vectors(inputs: Inputs, which: Sequence[int]) -> torch.Tensor:
    return torch.from_numpy(np.stack([inputs.vectors[i] for i in which]))


__all__ = ["check_at_hand", "prove_at_hand"]
