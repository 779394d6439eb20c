"""Latents of a sparse autoencoder as a feature; what it does not reconstruct is carried over from the base."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causal_dsl.features.base import Feature, Rest

#: How latents come from what the encoder gives; the place in this list is what a saved feature holds.
KINDS = ("relu", "tanh-relu", "jumprelu", "gated", "topk")
#: What is done to vectors before they are encoded, and undone after they are decoded.
NORMS = ("none", "constant_norm_rescale", "layer_norm")
_NUMBERS = {"code", "into", "bias", "centre", "out", "latents"}
_MORE = {"jumprelu": {"threshold"}, "gated": {"gate", "magnitude"}}
#: What only says what it reconstructs: the decoder's bias, and what goes past the latents.
_OPTIONAL = {"offset", "skip"}
_EPSILON = 1e-5


class Sae(Feature):
    """``sae``: f are chosen latents of a sparse autoencoder, [m, size].

    The rest is the vector less what f decodes to: the other latents, the bias and the error of the reconstruction stay
    the base's, so that a swap adds (f of the source - f of the base) W_dec to the base. Where the autoencoder
    normalises its input, what is added is scaled back as the base is.

    Its numbers: ``code`` [3] kind, norm and k (topk, else 0); ``into`` [width, e] and ``bias`` [e] of the encoder,
    where e are the chosen latents, or all of them for topk, which compares them; ``centre`` [width] taken off before;
    ``out`` [size, width] the decoder; ``latents`` [size] the chosen ones; ``threshold`` [e] (jumprelu),
    ``magnitude`` [e] and ``gate`` [e] (gated: the logarithm of the scale, and the bias of the gate). ``offset`` and ``skip`` [width, …] are the
    decoder's bias and what goes past the latents, which no swap changes: :meth:`reconstructed` needs them.

    Of a transcoder ``out`` gives vectors of another site, and a crosscoder reads the vectors of several sites side by side
    and has their decoders side by side: these are written by :meth:`moved` alone.
    """

    def __init__(self, numbers: Mapping[str, Tensor], dtype: torch.dtype):
        size, width = len(numbers["out"]), len(numbers["into"])
        super().__init__("sae", width, size, dtype)
        for name, tensor in numbers.items():
            kept = tensor.to(dtype) if tensor.is_floating_point() else tensor.long()
            self.register_buffer(name, kept.clone().contiguous())
        self._loaded()

    def _loaded(self) -> None:
        kind, norm, k = self.get_buffer("code").tolist()
        self.kind, self.norm, self.k = KINDS[kind], NORMS[norm], k
        wrong = (_NUMBERS | _MORE.get(self.kind, set())) ^ (set(self.state_dict()) - _OPTIONAL)
        if wrong:
            raise ValueError(
                f"{self.describe()} is of kind {self.kind}; it lacks, or has no, {', '.join(sorted(wrong))}"
            )

    def _numbers(self, name: str, like: Tensor) -> Tensor:
        return self.get_buffer(name).to(like.dtype)

    def _normalised(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The vectors as the encoder reads them, and what decoded vectors are multiplied by [m, 1]."""
        if self.norm == "constant_norm_rescale":
            scale = x.norm(dim=1, keepdim=True) / self.width**0.5
            return x / scale.clamp_min(torch.finfo(x.dtype).tiny), scale
        if self.norm == "layer_norm":
            centred = x - x.mean(dim=1, keepdim=True)
            scale = centred.std(dim=1, keepdim=True)
            return centred / (scale + _EPSILON), scale
        return x, None

    def _latents(self, x: Tensor) -> Tensor:
        """The chosen latents [m, size] of vectors as the encoder reads them."""
        plain = (x - self._numbers("centre", x)) @ self._numbers("into", x)
        before = plain + self._numbers("bias", x)
        if self.kind == "relu":
            return before.relu()
        if self.kind == "tanh-relu":
            return before.relu().tanh()
        if self.kind == "jumprelu":
            return before.relu() * (before > self._numbers("threshold", x))
        if self.kind == "gated":
            size = (plain * self._numbers("magnitude", x).exp() + self._numbers("bias", x)).relu()
            return size * (plain + self._numbers("gate", x) > 0)
        top = before.topk(self.k, dim=1)
        return torch.zeros_like(before).scatter(1, top.indices, top.values.relu())[:, self.get_buffer("latents")]

    def before(self, x: Tensor) -> Tensor | None:
        read, _ = self._normalised(x.to(self._work(x)))
        found = (read - self._numbers("centre", read)) @ self._numbers("into", read) + self._numbers("bias", read)
        return found[:, self.get_buffer("latents")] if self.kind == "topk" else found

    def _decoded(self, f: Tensor, scale: Tensor | None) -> Tensor:
        found = f @ self._numbers("out", f)
        return found if scale is None else found * scale

    @property
    def across(self) -> bool:
        """Whether it writes other vectors than it reads."""
        return self.get_buffer("out").shape[1] != self.width

    def moved(self, change: Tensor, output: int, width: int) -> Tensor:
        """The sum that a change of f [m, size] adds to the vectors [m, width] of its output of that number."""
        out = self._numbers("out", change)
        return change @ out[:, output * width : (output + 1) * width]

    def shift(self, f: Tensor, change: Tensor, rest: Rest) -> Tensor:
        return self._decoded(change, rest[1])

    def reconstructed(self, f: Tensor, x: Tensor, output: int, width: int) -> Tensor:
        """The decoding of all latents f [m, size] of the vectors ``x`` to [m, width], with the decoder's bias: what it makes of x."""
        read, scale = self._normalised(x)
        found = f @ self._numbers("out", f)
        there = self.state_dict()
        if "offset" in there:
            found = found + self._numbers("offset", f)
        if "skip" in there:
            found = found + read @ self._numbers("skip", f)
        if self.across:
            return found[:, output * width : (output + 1) * width]
        found = found if scale is None else found * scale
        return found + x.mean(dim=1, keepdim=True) if self.norm == "layer_norm" else found

    def _encode(self, x: Tensor) -> tuple[Tensor, Rest]:
        read, scale = self._normalised(x)
        f = self._latents(read)
        return f, () if self.across else (x - self._decoded(f, scale), scale)

    def _decode(self, f: Tensor, rest: Rest) -> Tensor:
        left, scale = rest
        return left + self._decoded(f, scale)

    def _write(self, x: Tensor, f: Tensor, new: Tensor, rest: Rest) -> Tensor:
        return x + self._decoded(new - f, rest[1])

    def describe(self) -> str:
        return f"sae({self.size} latent{'s' if self.size != 1 else ''})"
