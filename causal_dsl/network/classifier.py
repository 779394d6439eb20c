"""The class of a sequence classifier, read like any other logits: its head, applied token by token.

A classifier of transformers reads one token: the first (encoders), or the last that is no padding (decoders). Here the head gives
logits [batch, tokens, classes], so that sites, batches and passes are those of every network, and the token is chosen where the
logits are read. That this is what the classifier says is proved as it is loaded.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import Span, fail
from causal_dsl.inputs.batches import padded
from causal_dsl.network.compare import told
from causal_dsl.vocabulary.network_facts import Facts

#: How far the logits of the two ways to compute them may lie apart, of the size of the largest.
_SAME = 1e-4
#: Prompts on which they are compared.
_LENGTHS = (5, 3, 4, 1)


class TokenClassifier(nn.Module):
    """A classifier whose head reads every token: token ids [batch, tokens] to logits [batch, tokens, classes]."""

    def __init__(self, config: Any, classifier: Any = None):
        super().__init__()
        if classifier is None:
            from transformers import AutoModelForSequenceClassification

            classifier = AutoModelForSequenceClassification.from_config(config)
        self.config = classifier.config
        self.base = classifier.base_model_prefix
        self.add_module(self.base, getattr(classifier, self.base))
        self.head = TokenHead(classifier)
        #: the arguments that its encoder takes
        self.accepts = frozenset(inspect.signature(self.encoder.forward).parameters)

    @property
    def encoder(self) -> nn.Module:
        return self.get_submodule(self.base)

    def get_input_embeddings(self) -> nn.Module:
        found: nn.Module = self.encoder.get_input_embeddings()
        return found

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, *arguments: Any, **named: Any) -> Tensor:
        found: Tensor = self.head(self.encoder(*arguments, **named)[0])
        return found


class TokenHead(nn.Module):
    """The head of a classifier on one token's vector: vectors [..., width] to logits [..., classes]."""

    def __init__(self, classifier: Any):
        super().__init__()
        pooler = getattr(getattr(classifier, classifier.base_model_prefix), "pooler", None)
        head = getattr(classifier, "classifier", None)
        #: whether a module takes tokens, and reads the first itself
        self.firsts: tuple[bool, ...]
        if isinstance(score := getattr(classifier, "score", None), nn.Module):
            steps, self.firsts = [score], (False,)
        elif isinstance(before := getattr(classifier, "pre_classifier", None), nn.Module) and head is not None:
            steps, self.firsts = [before, nn.ReLU(), head], (False, False, False)
        elif isinstance(head, nn.Linear) and isinstance(pooler, nn.Module):
            steps, self.firsts = [pooler, head], (True, False)
        elif isinstance(head, nn.Module) and not isinstance(head, nn.Linear):
            steps, self.firsts = [head], (True,)
        else:
            raise ValueError("what it makes of a token's vector is in none of the modules that are known")
        self.steps = nn.ModuleList(steps)

    def forward(self, vectors: Tensor) -> Tensor:
        found = vectors.reshape(-1, vectors.shape[-1])
        for step, first in zip(self.steps, self.firsts, strict=True):
            found = step(found[:, None] if first else found)
        return found.reshape(*vectors.shape[:-1], found.shape[-1])


@torch.no_grad()
def token_classifier(model: Any, facts: Facts, span: Span) -> tuple[TokenClassifier, Facts]:
    """A classifier as a network whose head reads every token, and its facts. Raises E648 where that is not what it says."""
    model.eval()
    kind = type(model).__name__
    try:
        made = TokenClassifier(model.config, model)
        apart = _apart(model, made, facts)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise fail(
            "E648",
            f"cannot tell where `{kind}` reads the class",
            span,
            notes=(told(error),),
            help="read a language model, or a classifier of bert, roberta, distilbert, electra, or of a decoder",
        ) from error
    if apart > _SAME:
        raise fail(
            "E648",
            f"`{kind}` does not read the class at the {'first' if facts.both_ways else 'last'} token",
            span,
            notes=(f"its logits differ from those of its head there by {apart:.2g} of the largest",),
            help="read a language model, or a classifier of bert, roberta, distilbert, electra, or of a decoder",
        )
    return made, facts


def _apart(model: Any, made: TokenClassifier, facts: Facts) -> float:
    """How far a classifier's own logits, prompt by prompt, lie from those of the head at the token that is read, as a share of
    the largest; of a batch that is padded at the right, too."""
    device, most = next(model.parameters()).device, max(2, facts.vocabulary or 2)
    forbidden = getattr(model.config, "pad_token_id", None)
    ids = [token for token in range(most) if token != forbidden][: max(1, min(most - 1, 997))]
    lengths = [min(length, facts.context or length) for length in _LENGTHS]
    prompts = [[ids[(7 * row + 13 * place + 1) % len(ids)] for place in range(n)] for row, n in enumerate(lengths)]
    batch = padded(prompts, "right", device, made.accepts, facts.first_position)
    together = made(*batch.arguments, **batch.named)
    worst = size = 0.0
    for row, prompt in enumerate(prompts):
        own = model(input_ids=torch.tensor([prompt], device=device)).logits[0].float()
        read = 0 if facts.both_ways else len(prompt) - 1
        worst = max(worst, float((own - together[row, read].float()).abs().max()))
        size = max(size, float(own.abs().max()))
    return worst / size if size > 0 else worst


__all__ = ["TokenClassifier", "token_classifier"]
