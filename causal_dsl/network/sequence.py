"""One's own sequence networks: a module from token ids [batch, tokens] to logits [batch, tokens, vocabulary].

Its shape is found by running it, its sites are where its declaration says (:mod:`causal_dsl.program.own_networks`). That they
are there is proved as for any other network (:mod:`causal_dsl.network.prove`); here it is proved besides that heads lie
beside each other in q, k, v and z, which no sum shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import Span, SpecError, did_you_mean, fail
from causal_dsl.network.compare import told
from causal_dsl.network.forward import hook_tensor
from causal_dsl.network.inferred.heads import HEADS, told_heads
from causal_dsl.network.inferred.infer import inferred
from causal_dsl.network.network import Network
from causal_dsl.network.proved_heads import with_proved_heads
from causal_dsl.network.token_run import TokenRun, passing, token_ids, token_noise, with_article
from causal_dsl.network.wrapped import in_eval_mode, wrap
from causal_dsl.program.own_networks import layout_from
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.layout_settings import ENDS, LAYOUT
from causal_dsl.vocabulary.network_facts import Facts

#: Lengths that a network is tried on, the longest that it takes first: standard prompts are no longer.
_LENGTHS = (5, 4, 3, 2, 1)
#: How attention weights that are not found are said to be there.
_PATTERN = (
    'where a module gives them [rows, heads, tokens, tokens], name it: pattern="…", beside layers="…", attention="…", v="…" '
    'and out="…"'
)


@torch.no_grad()
def sequence_network(model: nn.Module, tokens: Tokens, said: Mapping[str, Any], name: str, span: Span) -> Network:
    """A module that reads token ids, with the layout that its declaration gives; nothing is proved yet.

    Raises E752 (it takes no token ids), E796 (it gives no logits of tokens), E797 (a module that is not there), E794 (sizes
    that do not fit).
    """
    with in_eval_mode(model):
        facts = _facts(model, tokens, said, span)
    network = wrap(model, facts, tokens, name, span)  # which tells the mode that it came in, and leaves it in eval mode
    record = facts.record
    assert record is not None
    return network if record.layers else _found(network, record)


def _facts(model: nn.Module, tokens: Tokens, said: Mapping[str, Any], span: Span) -> Facts:
    """The shape of a network that reads token ids, and its layout as far as it is said."""
    run = TokenRun(model)
    longest, vocabulary = _tried(run, len(tokens.words) or tokens.size, tokens, span)
    kind = type(model).__name__
    layout = layout_from(said, kind)
    _refuse_absent(model, said, span)
    facts = Facts(
        "language",
        architecture=kind,
        vocabulary=vocabulary,
        context=said.get("context") or (longest if longest < _LENGTHS[0] else None),
        words=tokens.words,
        record=layout,
    )
    if layout.layers:
        facts = _sized(run, facts, layout, said, longest, span)
    ahead = _looks_ahead(run, layout, longest, min(vocabulary, len(tokens.words) or vocabulary), span)
    facts = replace(facts, both_ways=ahead, last=ahead, record=replace(layout, both_ways=ahead))
    if facts.heads is not None:
        facts = replace(facts, record=with_proved_heads(run, facts, longest))
    return facts


def _found(network: Network, layout: Architecture) -> Network:
    """A network whose layout is not said, with the layout that is found; without any, its record says why."""
    if network.facts.both_ways:
        why = "tokens look at later ones"
    else:
        found = inferred(network)
        record = found.facts.record
        assert record is not None
        if "resid_pre" not in record.absent:
            if "pattern" not in record.absent:
                return found
            absent = {**record.absent, "pattern": f"{record.absent['pattern']}; {_PATTERN}"}
            record = replace(record, absent=absent)
            return replace(found, facts=replace(found.facts, record=record), layout=record)
        why = record.absent["resid_pre"]
    absent = {name: f"{said}; it was looked for, and {why}" for name, said in layout.absent.items()}
    record = network.facts.record
    assert record is not None
    record = replace(record, absent=absent)
    return replace(network, facts=replace(network.facts, record=record), layout=record)


def _tried(run: TokenRun, words: int, tokens: Tokens, span: Span) -> tuple[int, int]:
    """The longest of a few lengths that a network takes, and how many logits it gives for each token."""
    raised: Exception | None = None
    for length in _LENGTHS:
        try:
            found = run(token_ids(2, length, 1))
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raised = raised or error
            continue
        if isinstance(found, Tensor) and found.ndim == 3 and tuple(found.shape[:2]) == (2, length):
            _refuse_words(run, length, words, int(found.shape[2]), tokens, span)
            return length, int(found.shape[2])
        shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise fail(
            "E796",
            f"{with_article(run.model)} gives no logits [batch, tokens, vocabulary]",
            span,
            notes=(f"of token ids [2, {length}] it gives {shown}",),
            help="return logits of every token of a prompt, in the order of the tokens",
        )
    assert raised is not None
    raise fail(
        "E752",
        f"{with_article(run.model)} comes with a {'vocabulary' if tokens.words else 'tokenizer'}, and cannot be run on token ids",
        span,
        notes=(told(raised), "it was given whole numbers [batch, tokens]"),
        help="take token ids [batch, tokens] in `forward`; of a network that reads floats, leave the "
        + ("vocabulary" if tokens.words else "tokenizer")
        + " out",
    )


def _refuse_words(run: TokenRun, length: int, words: int, logits: int, tokens: Tokens, span: Span) -> None:
    """Refuse a vocabulary with words of which the network knows nothing (E794); a tokenizer may have more than are used."""
    known = min(words, logits)
    if tokens.words and words > logits:
        raise fail(
            "E794",
            f"the vocabulary has {words} words, and {with_article(run.model)} gives {logits} logits for each token",
            span,
            notes=(f'the first word beyond is "{tokens.words[logits]}"',),
            help="let the network have as many tokens as there are words, or leave out those that it has not",
        )
    try:
        run(torch.full((2, length), known - 1))
    except Exception as error:
        raise fail(
            "E794",
            f"{with_article(run.model)} gives {logits} logits for each token, and cannot be run on token {known - 1}",
            span,
            notes=(told(error),),
            help="let the embedding have a row for each token",
        ) from error


def _refuse_absent(model: nn.Module, said: Mapping[str, Any], span: Span) -> None:
    """Raise E797 for a path of a layout at which there is no module."""
    modules = dict(model.named_modules())
    holder = said.get("layers")
    inside: dict[str, nn.Module] = {}
    if holder:
        _find(modules, holder, "layers", span)
        children = list(modules[holder].children())
        if not children:
            raise fail(
                "E797", f'"{holder}" holds no layers', span, help="name a ModuleList, or a Sequential, of layers"
            )
        inside = dict(children[0].named_modules())
        for layer in children[1:]:
            own = dict(layer.named_modules())
            inside = {path: module for path, module in inside.items() if path in own}
    for setting in LAYOUT:
        path = said.get(setting)
        if not isinstance(path, str) or setting == "layers":
            continue
        _find(modules if setting in ENDS else inside, path, setting, span)


def _find(modules: Mapping[str, nn.Module], path: str, setting: str, span: Span) -> None:
    if path in modules and path:
        return
    where = "the network" if setting in ENDS else "every layer"
    raise fail(
        "E797",
        f'{setting}="{path}" names no module of {where}',
        span,
        help=did_you_mean(path, [known for known in modules if known]),
    )


def _sized(
    run: TokenRun, facts: Facts, layout: Architecture, said: Mapping[str, Any], longest: int, span: Span
) -> Facts:
    """The sizes that are seen as a network runs: of the stream, of heads, of neurons."""
    layers = len(list(run.model.get_submodule(layout.layers).children()))
    first = f"{layout.layers}.0"
    places = {"stream": f"{first}<", "left": f"{first}>"}
    for name, place in (
        ("q", layout.q),
        ("k", layout.k),
        ("v", layout.v),
        ("z", layout.z),
        ("neurons", layout.neurons),
    ):
        if place and name not in layout.absent:
            places[name] = f"{first}.{place}"
    with passing(run.model, places) as seen:
        run.surely(token_ids(2, longest, 1), span)
    for name, place in places.items():
        tensor = seen.get(name)
        if not isinstance(tensor, Tensor) or tuple(tensor.shape[:2]) != (2, longest):
            shown = list(tensor.shape) if isinstance(tensor, Tensor) else "nothing" if tensor is None else type(tensor)
            raise fail(
                "E794",
                f'"{place[:-1]}" does not {"take" if place.endswith("<") else "give"} one vector for each token',
                span,
                notes=(f"it is {shown}, where [2, {longest}, width] was looked for",),
                help="name the module whose tensor is [batch, tokens, width]",
            )
    found = replace(facts, layers=layers, width=int(seen["stream"].shape[-1]))
    if "neurons" in seen:
        found = replace(found, mlp_width=int(seen["neurons"].flatten(2).shape[-1]))
    parts = [name for name in ("q", "k", "v", "z") if name in seen]
    if not parts:
        return found
    heads = said.get("heads") or told_heads(run.model.get_submodule(f"{first}.{layout.attention}"))
    if heads is None:
        raise fail(
            "E794",
            "cannot tell how many heads the attention has",
            span,
            notes=(f"`{layout.attention}` has none of the attributes {', '.join(HEADS)}",),
            help="write heads=…",
        )
    shared = said.get("kv_heads") or heads
    each = _head_width({name: int(seen[name].flatten(2).shape[-1]) for name in parts}, layout, heads, shared, span)
    return replace(found, heads=heads, kv_heads=shared, head_dim=each)


def _head_width(widths: Mapping[str, int], layout: Architecture, heads: int, shared: int, span: Span) -> int:
    """How wide a head is; E794 where the widths of q, k, v and z do not agree on it."""
    found = set()
    for name, width in widths.items():
        count = shared if name in "kv" else heads
        if name != "z" and layout.split == "blocks":
            count = heads + 2 * shared
        found.add(width / count)
    each = found.pop() if len(found) == 1 else 0.0
    if heads % shared or each < 1 or each != int(each):
        told_ = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise fail(
            "E794",
            f"{heads} heads{f' and {shared} of keys' if shared != heads else ''} do not fit the network's attention",
            span,
            notes=(f"the widths are {told_}",),
            help="write heads=… (and kv_heads=…, where fewer heads of keys and values are shared)",
        )
    return int(each)


def _looks_ahead(run: TokenRun, layout: Architecture, longest: int, most: int, span: Span) -> bool:
    """Whether what stands at a prompt's last token reaches the logits of earlier ones."""
    if longest < 2:
        return False
    for seed in range(4):
        ids = token_ids(4, longest, most, seed)
        other = ids.clone()
        other[:, -1] = (other[:, -1] + 1 + seed) % max(2, most)
        if not torch.equal(run.surely(ids, span)[:, :-1], run.surely(other, span)[:, :-1]):
            return True
    if not layout.layers:
        return False
    first = run.model.get_submodule(layout.layers + ".0")
    ids = token_ids(4, longest, most)
    clean = run.surely(ids, span)[:, :-1]

    def shaken(hidden: Tensor) -> Tensor:
        changed = hidden.clone()
        changed[:, -1] += 10 * (1 + hidden.abs().max()) * token_noise(hidden[:, -1])
        return changed

    handle = hook_tensor(first, "in", shaken)
    try:
        return not torch.equal(run(ids)[:, :-1], clean)
    finally:
        handle.remove()


def refuse_layout(kind: str, said: Mapping[str, Any], why: str, help: str, span: Span) -> SpecError:
    """E795: a layout, or a vocabulary, that a network of another kind has no use for."""
    given = next(name for name in ("vocabulary", *LAYOUT) if said.get(name) is not None)
    return fail("E795", f"`{given}` is set, and {kind}", span, notes=(why,), help=help)


__all__ = ["refuse_layout", "sequence_network"]
