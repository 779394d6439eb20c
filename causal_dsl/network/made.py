"""Networks that a user's Python function makes: called, given their weights and their tokenizer, and told apart.

A model of transformers with output embeddings is a language network, and so is a module with a tokenizer or a vocabulary
(:mod:`causal_dsl.network.sequence`); whatever else takes no tokens is a vector network.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causal_dsl.diagnostics import NOWHERE, Span, fail
from causal_dsl.network.adapted import inside_of
from causal_dsl.network.beside import is_language_model, tokens_at, tokens_beside
from causal_dsl.network.compare import told
from causal_dsl.network.factory import call_factory, load_weights, vector_facts
from causal_dsl.network.network import Network
from causal_dsl.network.sequence import refuse_layout, sequence_network
from causal_dsl.network.shard_group import refuse_split
from causal_dsl.network.shared import claim
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.facts import facts_of_config
from causal_dsl.program.identity import absolute
from causal_dsl.program.own_networks import words_of
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.network_kinds import NETWORK_KINDS
from causal_dsl.vocabulary.plugins import made


def loaded_facts(model: nn.Module, facts: Facts) -> Facts:
    """The facts of a config, corrected by what was loaded."""
    config: Any = model.config
    loaded = facts_of_config(config.to_dict(), facts.folder, NOWHERE)
    getter: Any = model.get_output_embeddings
    found = None if loaded.labels else getter()
    rows = found.weight.shape[0] if found is not None else loaded.vocabulary
    return replace(loaded, vocabulary=int(rows) if rows else None, tokenizer=facts.tokenizer)


def load_made(
    function: str,
    base: Path,
    weights: str | None,
    tokenizer: str | None,
    device: torch.device,
    dtype: torch.dtype | None,
    trust: bool,
    span: Span,
    name: str,
    arguments: Mapping[str, Any] | None = None,
    said: Mapping[str, Any] | None = None,
) -> Network:
    """The network that ``file.py:function`` makes with the ``arguments``, with the ``weights`` of a safetensors file and the ``tokenizer`` of a
    file or folder, or the vocabulary and the layout that are ``said``; paths start from ``base``. Nothing is proved yet. Raises E637 to E649, E510, E752 and E753."""
    if not trust:
        raise fail(
            "E646",
            f"`{function}` runs a Python file",
            span,
            notes=("a Python file can do anything on this machine",),
            help="read it, then run with --trust",
        )
    model, tokens = call_factory(function, base, span, arguments)
    refuse_split(model, name or function, span)
    held = "" if weights is None else absolute(base / weights)
    claim(model, (held, str(dtype), str(device)), span)
    if weights is not None:
        load_weights(model, base / weights, span)
    try:
        model = model.to(device=device, dtype=dtype) if dtype is not None else model.to(device)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise fail("E644", f"cannot move the network to {device}", span, notes=(told(error),)) from error
    model = inside_of(model, span)
    name = name or function
    if tokenizer is not None:
        tokens = tokens_at(base / Path(tokenizer).expanduser(), span)
    said = said or {}
    if words_of(said):
        tokens = Tokens.of_words(words_of(said))
    if tokens is None and not said:
        kinds = (made(kind.of_module)(model) for kind in NETWORK_KINDS.values() if kind.of_module)
        facts: Facts | None = next((found for found in kinds if found is not None), None)
        if facts is not None:
            return wrap(model, facts, None, name, span)
    if is_language_model(model):
        if said:
            raise refuse_layout(
                f"{_a(type(model).__name__)} is a language model of transformers",
                said,
                "its sites are known by its kind, or found when it is loaded",
                "leave the layout out; a tokenizer is named by tokenizer=…",
                span,
            )
        return _language_model(model, tokens, function, base, weights, span, name)
    _refuse_headless(model, span)
    if tokens is not None:
        return sequence_network(model, tokens, said, name, span)
    if said:
        raise refuse_layout(
            "the network has neither a tokenizer nor a vocabulary",
            said,
            "without them it is a vector network, which has no tokens",
            'write vocabulary=["BOS", "a", "b"], its words in the order of their ids, or tokenizer="…"',
            span,
        )
    return wrap(model, vector_facts(model, span), None, name, span)


def _language_model(
    model: nn.Module, tokens: Tokens | None, function: str, base: Path, weights: str | None, span: Span, name: str
) -> Network:
    config: Any = model.config
    if getattr(config, "is_encoder_decoder", False):
        raise fail(
            "E648",
            f"{_a(type(model).__name__)} is an encoder with a decoder",
            span,
            notes=("it predicts no next token from one prompt: its decoder's output so far would be a second input",),
            help="return a decoder alone, or a model that fills in masked tokens",
        )
    facts = facts_of_config(config.to_dict(), None, span)
    if tokens is None:
        file = base / function.rpartition(":")[0]
        tokens = tokens_beside(model, (base, file.parent), None if weights is None else base / weights, span)
    if tokens is None:
        raise fail(
            "E510",
            f"`{name}` is {_a(type(model).__name__)} without a tokenizer",
            span,
            notes=("looked beside the weights that it was read from",),
            help='return `model, tokenizer`, or name it: torch("file.py:function", tokenizer="folder or tokenizer.json")',
        )
    return wrap(model, loaded_facts(model, facts), tokens, name, span)


def _refuse_headless(model: nn.Module, span: Span) -> None:
    """Refuse a model of transformers that reads tokens and gives no logits of them (E648)."""
    if (
        hasattr(getattr(model, "config", None), "to_dict")
        and "input_ids" in inspect.signature(model.forward).parameters
    ):
        raise fail(
            "E648",
            f"{_a(type(model).__name__)} reads tokens and gives no logits of tokens",
            span,
            notes=("it has no output embeddings: `get_output_embeddings` gives none",),
            help="return a model with its language head, as AutoModelForCausalLM or AutoModelForMaskedLM make it",
        )


def _a(kind: str) -> str:
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


__all__ = ["load_made", "loaded_facts"]
