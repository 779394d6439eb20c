"""A loaded network on the inputs that it is about to be given: are its numbers its own, and its tokens those it was made for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from causal_dsl.diagnostics import Diagnostic
from causal_dsl.network.network import Network
from causal_dsl.network.steadiness import Batch, refuse_unsteady, some_of
from causal_dsl.network.tokenizer_audit import compare_tokens
from causal_dsl.planning.prompts import Inputs


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
    some: Batch
    if network.is_vector:
        some = torch.from_numpy(np.stack([inputs.vectors[i] for i in some_of(len(inputs))]))
    else:
        if network.tokens is not None and network.tokens.folder is not None:
            texts = [*(prompt.text for prompt in inputs.prompts), *more]
            said = compare_tokens(network.tokens, network.tokens.folder, texts, trust, network.span)
        some = [list(inputs.ids(i)) for i in some_of(len(inputs), inputs.lengths)]
    refuse_unsteady(network, some, network.span)
    return said


__all__ = ["check_at_hand"]
