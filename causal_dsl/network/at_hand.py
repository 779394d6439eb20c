"""A loaded network on the inputs that it is about to be given: are its numbers its own, and its tokens those it was made for?"""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.diagnostics import Diagnostic, fail
from causal_dsl.inputs import Inputs
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.network import Network
from causal_dsl.network.prove import prove
from causal_dsl.network.steadiness import enough, refuse_unsteady
from causal_dsl.network.tokenizer_audit import compare_tokens


def check_at_hand(network: Network, inputs: Inputs, more: Sequence[str] = ()) -> tuple[Diagnostic, ...]:
    """Try a network on some of the ``inputs`` of a plan, and hold their tokens, and those of
    ``more`` texts, against those that transformers makes.

    Raises E514 (other tokens), E663 (other numbers a second time), E664 (other numbers beside other inputs), E746 (weights
    that are no numbers). Gives what the user should know besides (W666).
    """
    if not len(inputs):
        return ()
    prove_at_hand(network, inputs)
    said: tuple[Diagnostic, ...] = ()
    if network.tokens is not None and network.tokens.folder is not None:
        texts = [*map(inputs.text, range(len(inputs))), *more]
        said = compare_tokens(network.tokens, network.tokens.folder, texts, network.span)
    few = inputs.some()
    wanted = enough(network, inputs.rows(few))
    refuse_no_numbers(network)
    refuse_unsteady(network, inputs.rows(inputs.some(wanted) if wanted > len(few) else few), network.span)
    return said


def prove_at_hand(network: Network, inputs: Inputs) -> None:
    """Prove the sites of a network that is made for some inputs on its own, where what was drawn at load did not settle all of it."""
    proof = proof_of(network)
    if inputs.traits.particular and len(inputs) and proof is not None and not proof.settled:
        prove(network, inputs.rows(inputs.some()))


def refuse_no_numbers(network: Network) -> None:
    """Raise E746 where the logits are NaN and so are weights."""
    proof = proof_of(network)
    if proof is None or not proof.no_numbers:
        return
    raise fail(
        "E746",
        f"weights of `{network.name or 'the network'}` are not finite, and neither are its logits",
        network.span,
        notes=proof.no_numbers[:3],
        help="make or fetch the weights again: training may have failed, or a file may be damaged",
    )


__all__ = ["check_at_hand", "prove_at_hand"]
