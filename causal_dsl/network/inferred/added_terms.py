"""The terms that a layer adds to the residual stream, the modules that make them, and the stream between them.

The layer is run alone on drawn vectors. A module's output is a term where the stream behind it is the stream before it plus
that output (or a multiple of it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace

import torch
from torch import Tensor, nn

from causal_dsl.base.counter import normals
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.inferred.trace import Event, LayerCall, Unclear, alike, matrix, traced, weighty

_CLOSE = 1e-3


@dataclass(eq=False)
class Ran:
    """A layer that was run on ``entered`` and gave ``left`` [tokens, width]; ``mixed`` are the paths whose outputs at a token
    depend on an earlier one, ``late`` whether the layer's depend on a later one."""

    layer: nn.Module
    call: LayerCall
    stream: Tensor
    entered: Tensor
    left: Tensor
    events: list[Event]
    mixed: frozenset[str]
    late: bool

    def event(self, path: str) -> Event | None:
        """The run of a module."""
        return next((event for event in self.events if event.path == path), None)


@dataclass(frozen=True)
class LayerTerms:
    """Where the terms of a layer are, as :class:`Architecture` has it; None: not found, with the reason in ``absent``."""

    attention: str | None = None
    attn_out: str | None = None
    mid: str | None = None
    mlp: str | None = None
    neurons: str | None = None
    mlp_out: str | None = None
    z: str | None = None
    parallel: bool = False
    gated: bool = False
    norms: tuple[str, str] | None = None
    ends: tuple[str, str] | None = None
    tail: tuple[str, ...] = ()
    scale: float | None = None
    absent: dict[str, str] = field(default_factory=dict)


def ran(layer: nn.Module, call: LayerCall) -> Ran:
    """Run a layer on drawn vectors, and on the same with others at the first token, and at the last."""
    rows, tokens, width = call.hidden.shape
    kind = torch.float64 if call.hidden.dtype == torch.float64 else torch.float32
    numbers = torch.from_numpy(normals(0, (tokens, width), "inferred")).to(call.hidden.device, kind)
    stream = numbers.expand(rows, tokens, width).clone()

    def run(hidden: Tensor) -> tuple[list[Event], Tensor]:
        with traced(layer, rows * tokens) as trace:
            left = call.on(layer, hidden)
        return trace.once(), left.detach().reshape(rows * tokens, width).float()

    events, left = run(stream)
    ahead, behind = stream.clone(), stream.clone()
    other = torch.from_numpy(normals(1, (width,), "inferred")).to(stream)
    ahead[:, 0], behind[:, -1] = other, other
    changed, _ = run(ahead)
    _, ends = run(behind)
    paths = {event.path: event.gave for event in changed}

    def later(tensor: Tensor) -> Tensor:
        return tensor.reshape(rows, tokens, -1)[:, 1:]

    mixed = frozenset(
        event.path
        for event in events
        if event.gave is not None
        and paths.get(event.path) is not None
        and not alike(later(paths[event.path]), later(event.gave), 1e-5)
    )
    late = not alike(ends.view(rows, tokens, -1)[:, :-1], left.view(rows, tokens, -1)[:, :-1], 1e-5)
    return Ran(layer, call, stream, stream.reshape(rows * tokens, width).float(), left, events, mixed, late)


def terms_of(found: Ran) -> LayerTerms:
    """The terms of a layer; those that were not found are absent, with the reason."""
    for point, place, made in _middles(found):
        after = found.left - point
        term = _term(found, after, made[0].ended)
        if term is not None:
            return _sequential(found, place, made, term)
        normed = _normed(found, place, point)
        if normed is not None:
            return _sequential(found, f"{normed[0]}>", made, normed[1], (normed[0], normed[2]))
    both = _parallel(found)
    if both is not None:
        return _described(found, *both, parallel=True)
    alone = _term(found, found.left - found.entered, -1)
    if alone is not None:
        if alone[0].path not in found.mixed:
            return _none("the layer adds one term, and it does not look at other tokens")
        return _described(found, alone, None, why="the layer adds one term, that of its mixer")
    for _, _, made in _middles(found):
        why = "`resid_mid + mlp_out = resid_post` does not hold for the output of any of its modules"
        part = _described(found, made, None, why=why)
        missing = {"attn_out": why, **part.absent}
        return replace(part, attn_out=None, absent=missing)
    return _none("neither `resid_pre + attn_out + mlp_out = resid_post` nor another sum of two of its modules holds")


def _none(why: str) -> LayerTerms:
    names = ("attn_in", "attn_out", "z", "q", "k", "v", "resid_mid", "mlp_in", "neurons", "mlp_out")
    return LayerTerms(absent=dict.fromkeys(names, why))


#: a module's run, and what its output is multiplied by
_Term = tuple[Event, float]


def _outputs(found: Ran, since: int = -1, until: int = 10**9) -> Iterator[Event]:
    """The runs whose outputs may be terms: those of one module that pass a tensor on begin with the outermost, then the first."""
    width = found.entered.shape[-1]
    several = [
        event
        for event in found.events
        if event.gave is not None and event.gave.shape[-1] == width and since < event.ended < until
    ]
    return iter(sorted(several, key=lambda event: (event.depth, event.ended)))


def _multiple(whole: Tensor, part: Tensor) -> float | None:
    """The factor by which ``part`` is multiplied to be ``whole``; None where it is no multiple."""
    size = (part * part).sum()
    if float(size) < 1e-16:
        return None
    factor = float((whole * part).sum() / size)
    if abs(factor) < 1e-6 or not alike(factor * part, whole, _CLOSE):
        return None
    return 1.0 if abs(factor - 1) < _CLOSE else factor


def _term(found: Ran, change: Tensor, since: int, until: int = 10**9) -> _Term | None:
    """The run whose output (times a factor) is a change of the stream."""
    if float(change.norm()) < 1e-6 * float(found.entered.norm()):
        return None
    for event in _outputs(found, since, until):
        factor = _multiple(change, event.gave)
        if factor is not None:
            return event, factor
    return None


def _middles(found: Ran) -> Iterator[tuple[Tensor, str, tuple[Event, float]]]:
    """Tensors that are the entering stream plus one term, as they are first seen: the tensor, where it is seen, and the
    term."""
    seen = [
        (event.began, event.given, f"{event.path}<")
        for event in found.events
        if event.given is not None and event.given.shape == found.entered.shape
    ] + [
        (event.ended, event.gave, f"{event.path}>")
        for event in found.events
        if event.gave is not None and event.gave.shape == found.entered.shape
    ]
    for when, tensor, place in sorted(seen, key=lambda one: one[0]):
        if alike(tensor, found.left, 1e-6):
            continue
        term = _term(found, tensor - found.entered, -1, when)
        if term is not None and term[0].path in found.mixed:
            yield tensor, place, (term[0], term[1])


def _normed(found: Ran, place: str, point: Tensor) -> tuple[str, _Term, str] | None:
    """Where the stream is normed after each addition: the first norm, the second term, and the second norm."""
    if not place.endswith("<"):
        return None
    middle = found.event(place[:-1])
    if middle is None or middle.gave is None or weighty(middle.module):
        return None
    for end in found.events:
        if end.ended > middle.ended and alike(end.gave, found.left, 1e-6) and end.given is not None:
            term = _term(found, end.given - middle.gave, middle.ended)
            if term is not None:
                return middle.path, term, end.path
    return None


def _parallel(found: Ran) -> tuple[_Term, _Term] | None:
    """Two terms that both read the entering stream: one that looks at other tokens, and one that does not."""
    change = found.left - found.entered
    outputs = [event for event in _outputs(found) if event.depth <= 3]
    for one in (event for event in outputs if event.path in found.mixed):
        for two in (event for event in outputs if event.path not in found.mixed):
            pair = torch.stack([one.gave.reshape(-1), two.gave.reshape(-1)])  # type: ignore[union-attr]
            square = pair @ pair.T
            if float(torch.linalg.det(square)) < 1e-10 * float(square[0, 0] * square[1, 1]):
                continue
            factors = torch.linalg.solve(square, pair @ change.reshape(-1))
            if float(factors.abs().min()) > 1e-6 and alike(factors @ pair, change.reshape(-1), _CLOSE):
                rounded = [1.0 if abs(float(factor) - 1) < _CLOSE else float(factor) for factor in factors]
                return (one, rounded[0]), (two, rounded[1])
    return None


def _sequential(found: Ran, place: str, made: _Term, term: _Term, norms: tuple[str, str] | None = None) -> LayerTerms:
    return _described(found, made, term, mid=place, norms=norms)


def _source(found: Ran, event: Event) -> tuple[Event, Event | None]:
    """The module that makes a term, and the one that it ends in where it does not hold it; norms are passed by."""
    if not weighty(event.module):
        behind = [
            other
            for other in found.events
            if other.ended < event.began and alike(other.gave, event.given, 1e-6) and other.path != event.path
        ]
        if not behind:
            raise Unclear(f"what `{event.path}` norms comes out of no module")
        event = min(behind, key=lambda other: (other.depth, other.ended))
    if not matrix(event.module):
        return event, None
    return event, event


def _described(
    found: Ran,
    one: _Term,
    two: _Term | None,
    mid: str | None = None,
    norms: tuple[str, str] | None = None,
    parallel: bool = False,
    why: str = "",
) -> LayerTerms:
    """The terms as a layout has them: ``one`` is attention's (or what stands in its place), ``two`` that of the MLP."""
    absent: dict[str, str] = {}
    if two is not None and abs(one[1] - two[1]) > _CLOSE * abs(one[1]):
        return _none("what attention and MLP add is multiplied by two factors")
    mixer, mixer_end = _source(found, one[0])
    if mixer_end is not None:
        behind = [e for e in found.events if e.ended < mixer_end.began and alike(e.gave, mixer_end.given, 1e-6)]
        around = [e for e in found.events if mixer_end.path.startswith(f"{e.path}.")]
        if not behind and not around:
            raise Unclear(f"what enters `{mixer_end.path}` comes out of no module")
        mixer = min(behind or around, key=lambda e: (e.depth, e.ended))
    z = mixer_end or _last_matrix(found, mixer)
    if z is None or z.given is None:
        absent["z"] = f"no linear map was found that `{mixer.path}` ends in"
    mlp = mlp_end = neurons = None
    tail: tuple[str, ...] = ()
    if two is None:
        absent |= dict.fromkeys(("resid_mid", "mlp_in", "neurons", "mlp_out"), why)
    else:
        mlp, mlp_end = _source(found, two[0])
        if mlp_end is not None:
            since = one[0].ended if not parallel else -1
            begun = [e for e in found.events if since < e.began < mlp_end.began and weighty(e.module)]
            begun = [e for e in begun if not mixer.path.startswith(e.path) and not e.path.startswith(mixer.path)]
            mlp = min(begun, key=lambda e: (e.depth, e.began)) if begun else mlp_end
            if mlp_end.path.startswith(f"{mlp.path}."):  # it adds the stream itself: its own first map begins the MLP
                mlp = min((e for e in begun if matrix(e.module)), key=lambda e: e.began, default=mlp_end)
            tail = _chain(found, mlp, mlp_end)
            if not tail:
                absent["mlp_in"] = f"no modules were found that lead from `{mlp.path}` to `{mlp_end.path}`"
        neurons = mlp_end or _last_matrix(found, mlp)
        if mlp is mlp_end:
            neurons = None
        if neurons is None or neurons.given is None:
            neurons = None
            absent["neurons"] = (
                f"no one linear map was found that `{mlp.path}` ends in, so there is no one vector of neurons"
            )
    width = found.entered.shape[-1]
    for name, event in (("attn_in", mixer), ("mlp_in", mlp)):
        if event is not None and (event.given is None or event.given.shape[-1] != width):
            absent[name] = f"`{event.path}` is not given one vector a token"
    ends = None
    if mixer_end is not None or mlp_end is not None:
        ends = ((mixer_end or mixer).path, "" if mlp is None else (mlp_end or mlp).path)
    return LayerTerms(
        mixer.path,
        f"{one[0].path}>",
        None if parallel else mid,
        None if mlp is None else mlp.path,
        None if neurons is None else f"{neurons.path}<",
        None if two is None else f"{two[0].path}>",
        None if "z" in absent else f"{z.path}<",  # type: ignore[union-attr]
        parallel,
        mlp is not None and (neurons is None or _gated(found, mlp, neurons)),
        norms,
        ends,
        tail,
        None if one[1] == 1 else one[1],
        absent,
    )


def _chain(found: Ran, begin: Event, end: Event) -> tuple[str, ...]:
    """The modules that lead from what one gives to what another is given, and that other; empty where there are none."""
    at = begin
    chain: list[str] = []
    while not alike(at.gave, end.given, 1e-6):
        step = min(
            (e for e in found.events if e.began > at.ended and alike(e.given, at.gave, 1e-6)),
            key=lambda e: (e.depth, e.began),
            default=None,
        )
        if step is None or len(chain) > 8 or step is end:
            return ()
        chain.append(step.path)
        at = step
    return (*chain, end.path)


def _last_matrix(found: Ran, module: Event) -> Event | None:
    """The linear map within a module that gives what the module gives."""
    own = f"{module.path}."
    return next(
        (e for e in found.events if e.path.startswith(own) and matrix(e.module) and alike(e.gave, module.gave, 1e-6)),
        None,
    )


def _gated(found: Ran, mlp: Event, last: Event) -> bool:
    """Whether two maps read what the MLP reads, or one that is twice as wide as its inner vectors; of experts it is assumed."""
    own = f"{mlp.path}."
    reading = [
        e for e in found.events if e.path.startswith(own) and matrix(e.module) and alike(e.given, mlp.given, 1e-6)
    ]
    inner = 0 if last.given is None else last.given.shape[-1]
    return sum(0 if e.gave is None else e.gave.shape[-1] // max(inner, 1) for e in reading) > 1


__all__ = ["LayerTerms", "Ran", "ran", "terms_of"]
