"""Warnings about how a network is shown its inputs, once a test, its prompts and its tokenizer are known."""

from __future__ import annotations

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.program import Test
from causal_dsl.program.prompts import check_end, check_tokenizer
from causal_dsl.program.tokens import Tokens


def caution(test: Test, tokens: Tokens | None, diagnostics: Diagnostics) -> None:
    """Report W512 (a tokenizer that ends every prompt) and W514 (a prompt that ends in a space).

    Encoders end every text, and read at the mask: nothing is said of them.
    """
    if tokens is None or not test.alignment.prompts or test.readout.kind != "next_token":
        return
    check_tokenizer(tokens, test.network.span, diagnostics)
    for line in test.alignment.prompts:
        check_end(line.template, test.readout.prefix, line.span, diagnostics)
