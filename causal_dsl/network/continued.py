"""Passes that go on behind a beginning of their rows: its keys and values are computed once, for all passes that begin so."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs.batches import Batch
from causal_dsl.network.network import Network
from causal_dsl.network.steadiness import scales_by_length

if TYPE_CHECKING:
    from transformers import Cache

#: How far logits of the trial may be from those of a whole pass, as multiples of the rounding of the network's numbers.
ROUNDINGS = 1000
#: As many tokens as the rows of the trial leave to their beginning.
_LEFT_OUT = 2
#: Of models, by how they are used (side of padding, type of numbers, attention), whether they go on as they would run whole: this takes
#: their code, and no weights.
TRIED: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], bool]] = WeakKeyDictionary()


@dataclass(eq=False)
class Beginnings:
    """Of a network the keys and values behind which passes go on, as long as the next pass begins alike."""

    network: Network
    _of: bytes = b""
    _kept: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def goes_on(self, batch: Batch, count: int) -> Batch:
        """The same rows from their padded column ``count`` on, behind the keys and values of those before it. A batch is gone on with
        once."""
        named = batch.named
        ids, where, mask = (_tensor(named[name]) for name in ("input_ids", "position_ids", "attention_mask"))
        begin = torch.cat([ids[:, :count], where[:, :count], mask[:, :count]], dim=1)
        different, which = torch.unique(begin, dim=0, return_inverse=True)
        key = different.cpu().numpy().tobytes()
        if key != self._of:
            self._kept = self._begun(*different.split(count, dim=1))
            self._of = key
        cache = self._cache()
        for number, (keys, values) in enumerate(self._kept):
            cache.update(
                keys.index_select(0, which.to(keys.device)), values.index_select(0, which.to(values.device)), number
            )
        later = {"input_ids": ids[:, count:], "position_ids": where[:, count:], "past_key_values": cache}
        return replace(
            batch, longest=batch.longest - count, offsets=batch.offsets - count, named={**named, **later}, found={}
        )

    @torch.no_grad()
    def _begun(self, ids: Tensor, where: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The keys and values [rows, heads, tokens, head] of each layer."""
        cache = self._cache()
        self.network.run(input_ids=ids, position_ids=where, attention_mask=mask, use_cache=True, past_key_values=cache)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _cache(self) -> Cache:
        from transformers import DynamicCache

        return DynamicCache(config=self.network.model.config)

    @property
    def usable(self) -> bool:
        """Whether the network gives the same behind what is kept of a beginning as in a whole pass: asked of its parts, then tried
        once, for the cost of four short passes."""
        network = self.network
        known = TRIED.setdefault(network.model, {})
        attention = getattr(getattr(network.model, "config", None), "_attn_implementation", None)
        use = network.padding, network.dtype, attention, network.sharded is None
        if use not in known:
            known[use] = self._found_usable()
        return known[use]

    def _found_usable(self) -> bool:
        network, facts = self.network, self.network.facts
        needed = {"input_ids", "position_ids", "attention_mask", "past_key_values", "use_cache"}
        if facts.both_ways or facts.parallel or not needed <= set(network.accepts):
            return False
        # processes that share the weights out would have to come here together
        if network.sharded is not None or any(map(scales_by_length, network.model.modules())):
            return False
        return self._whole_caches() and self._tried()

    def _whole_caches(self) -> bool:
        """Whether each layer keeps the keys and values of all tokens."""
        from transformers import PreTrainedConfig
        from transformers.cache_utils import DynamicLayer

        config = getattr(self.network.model, "config", None)
        if not isinstance(config, PreTrainedConfig) or getattr(config, "is_encoder_decoder", False):
            return False
        layers = self._cache().layers
        return len(layers) == len(self.network.layers) and all(type(layer) is DynamicLayer for layer in layers)

    @torch.no_grad()
    def _tried(self) -> bool:
        network = self.network
        [prompts] = network.given.standard(network.facts)
        batch = network.given.batch(network, prompts, network.padding)
        if batch.arguments or batch.longest <= _LEFT_OUT or bool((batch.last(torch.arange(batch.rows)) < 1).any()):
            return False
        try:
            whole = _last(network.run(**batch.named), batch)
            after = self.goes_on(batch, _LEFT_OUT)
            found = _last(network.run(**after.named), after)
        except Exception:  # the forward is the network's own: it takes no such cache, and is run whole
            return False
        close = ROUNDINGS * torch.finfo(whole.dtype).eps * float(whole.abs().max())
        return bool(((whole - found).abs() <= close).all())


def _last(result: Any, batch: Batch) -> Tensor:
    """The logits of each row's last token."""
    logits: Tensor = getattr(result, "logits", result)
    rows = torch.arange(batch.rows)
    return logits[batch.points(rows, batch.last(rows)).on(logits.device)]


def _tensor(given: Any) -> Tensor:
    assert isinstance(given, Tensor)
    return given


__all__ = ["Beginnings"]
