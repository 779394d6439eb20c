"""One forward pass of a network in which sites are read and written: plain hooks on an untouched model.

Everything that is read or written is a hook on the module that holds it, put there for this pass and removed after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import fail
from causal_dsl.inputs.batches import Batch, Points
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.attention_weights import Wanted, on_heads, tapped, want
from causal_dsl.network.expert_modules import EXPERT, ROUTER, hook_experts
from causal_dsl.network.network import Network
from causal_dsl.network.recurrent import Steps, a_step, by_step, refuse_steps
from causal_dsl.network.site_tensors import LAST_READ, READ_FIRST
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tap import Tap
from causal_dsl.network.tape import Done, Places, SiteRead, SiteWrite, Tape, TapeJob, TapeOutcome, WriteCount, run_jobs
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Site

__all__ = ["SiteRead", "SiteWrite", "TapeOutcome", "WriteCount", "forward"]

#: What acts at each side of each module.
Jobs = dict[tuple[nn.Module, str], list[TapeJob]]


def forward(
    network: Network,
    inputs: InputRows,
    reads: Sequence[SiteRead] = (),
    writes: Sequence[SiteWrite] = (),
    readout: Tensor | None = None,
    positions: Tensor | None = None,
    stop: bool = True,
    padding: Literal["left", "right"] = "right",
    batch: Batch | None = None,
) -> TapeOutcome:
    """Run a network once, reading and writing at sites on the way.

    ``inputs``: token ids, one prompt a row, or a float tensor [rows, width] for a vector network, to which positions say
    nothing. ``readout`` are the
    rows whose logits are wanted, [k], at the unpadded ``positions`` [k] (default: the last token); no other logits are
    ever computed. ``batch`` is what the model is called with, where ``inputs`` were made one before. Within a pass writes act before reads: what is read is what the rest of the network goes on with.
    Writes at one site act in the order given; overlapping sites of one tensor in the order in which they are computed.
    With ``stop``, and nothing left to do, the pass ends at the deepest site. Attention weights (``pattern``) are
    [m, heads x longest], keys counted from the prompt's first token and 0 past its end, ``longest`` the longest prompt
    of this pass.

    Gradients are as the caller sets them (the model's parameters have none).

    Raises E420 to E426 for sites that are not there, E421 for a read or write that never happened, ValueError for rows
    or positions that are not in the batch.
    """
    batch = network.given.batch(network, inputs, padding) if batch is None else batch
    tape = Tape(list(reads), list(writes), stop and readout is None)
    jobs: Jobs = defaultdict(list)
    wanted: dict[nn.Module, Wanted] = {}
    patterns: dict[nn.Module, list[TapeJob]] = defaultdict(list)
    late: list[tuple[bool, int]] = []  # reads and writes of the logits themselves

    def points(number: int, writing: bool) -> Points:
        asked = (tape.writes if writing else tape.reads)[number]
        return batch.points(asked.rows, asked.positions)

    for writing, count in ((True, len(tape.writes)), (False, len(tape.reads))):
        for number in range(count):
            site = (tape.writes if writing else tape.reads)[number].site
            if site.component == "logits":
                find_tap(network, site)
                late.append((writing, number))
            elif site.component == "pattern" and network.layout is not None and network.layout.pattern:
                add_pattern(network, tape, patterns, number, writing, points(number, writing), batch.longest)
            elif COMPONENTS[site.component].compared:
                want(network, tape, wanted, number, writing, points(number, writing))
            elif writing:
                add_write(network, tape, jobs, number, points(number, True))
            else:
                tap = find_tap(network, site)
                jobs[tap.module, tap.side].append(tape.reader(number, tap, points(number, False)))
    if not (jobs or wanted or patterns or late or readout is not None):
        return TapeOutcome([], None, [])
    needed = _Needed(network, batch, readout, positions, tape, late)
    with ExitStack() as stack:
        stepwise = []
        for (module, side), own in jobs.items():
            steps = Steps(own, tape, batch, partial(_path, network, module), network.span)
            stepwise.append(steps)
            if isinstance(module, nn.RNNBase) and side == "out" and any(job.writes for job in own):
                stack.enter_context(by_step(module, steps))
            else:
                stack.callback(_hook(network, module, side, own, tape, batch, steps).remove)
        for module, own in patterns.items():
            stack.callback(hook_tensor(module, "out", _on_patterns(network, module, own, tape, batch)).remove)
        needed.select(stack, jobs)
        stack.enter_context(tapped(network, tape, wanted, batch))
        try:
            result = network.run(*batch.arguments, **batch.named)
        except Done:
            return tape.outcome(None)
        for steps in stepwise:
            steps.check()
    return tape.outcome(needed.logits(result))


def add_write(network: Network, tape: Tape, jobs: Jobs, number: int, points: Places) -> None:
    """Hook a write in; one between attention and MLP changes what attention adds to the residual stream.

    Written where it is shown alone, at the next norm's input, it would reach the MLP but not the stream beside it. Where a
    norm gives the stream itself (``Architecture.norms``) it is written as it is read.
    """
    write = tape.writes[number]
    tap = find_tap(network, write.site)
    assert network.layout is not None or write.site.component != "resid_mid"
    if write.site.component != "resid_mid" or network.layout.norms is not None:  # type: ignore[union-attr]
        jobs[tap.module, tap.side].append(tape.writer(number, tap, points))
        return
    layer = network.layers[write.site.layer or 0]
    term = find_tap(network, Site("attn_out", write.site.layer))
    stream: list[Tensor] = []

    def keep(hidden: Tensor) -> None:
        stream[:] = [points.copy_of(hidden)]

    jobs[layer, "in"].append(TapeJob((LAST_READ, 2, number), keep))
    written: list[Tensor] = []
    jobs[term.module, term.side].append(tape.adder(number, tap, term, points, stream.pop, written.append))
    jobs[tap.module, tap.side].append(tape.setter(number, tap, points, written.pop))


def add_pattern(
    network: Network,
    tape: Tape,
    jobs: dict[nn.Module, list[TapeJob]],
    number: int,
    writing: bool,
    points: Places,
    longest: int,
) -> None:
    """Note a read or a write of attention weights with the module that they leave (``Architecture.pattern``)."""
    site = (tape.writes if writing else tape.reads)[number].site
    tap = find_tap(network, site)
    assert network.layout is not None and network.layout.pattern is not None
    module = network.layers[site.layer or 0].get_submodule(network.layout.pattern)
    heads = torch.tensor(list(site.heads) or list(range(network.facts.heads or 1)))
    columns = (heads[:, None] * longest + torch.arange(longest)[None]).reshape(-1)
    columns = columns if site.dims is None else columns[list(site.dims)]
    place = replace(tap, module=module, side="out").with_columns(columns)
    jobs[module].append(tape.writer(number, place, points) if writing else tape.reader(number, place, points))


def _on_patterns(
    network: Network, module: nn.Module, jobs: list[TapeJob], tape: Tape, batch: Batch
) -> Callable[[Tensor], Tensor]:
    """The attention weights [rows, heads, queries, keys] that jobs make of those that are there; raises E423 where a module gives none."""

    def act(tensor: Tensor) -> Tensor:
        shape = (batch.rows, network.facts.heads or 1, batch.longest, batch.longest)
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
            raise fail(
                "E423",
                f"module {_path(network, module)} does not give attention weights",
                network.span,
                notes=(
                    f"it is {list(tensor.shape)}, where [rows, heads, queries, keys] {list(shape)} were looked for",
                ),
            )
        changed = on_heads(jobs, tensor)
        tape.check_done()
        return changed

    return act


def add_sum_read(network: Network, tape: Tape, jobs: Jobs, number: int, points: Places) -> bool:
    """Hook a read of the stream between attention and MLP in where it is written (:func:`add_write`), before anything is
    written there; False for other sites, and where the stream is read as it is.

    At the next norm's input, where :func:`forward` reads it, what is read comes too late for a write of the same pass.
    """
    site = tape.reads[number].site
    if site.component != "resid_mid" or network.layout is None or network.layout.norms is not None:
        return False
    layer = network.layers[site.layer or 0]
    tap, term = find_tap(network, site), find_tap(network, Site("attn_out", site.layer))
    stream: list[Tensor] = []

    def keep(hidden: Tensor) -> None:
        stream[:] = [points.copy_of(hidden)]

    jobs[layer, "in"].append(TapeJob((READ_FIRST, 0, number), keep))
    job = tape.summed(number, tap, term, points, stream.pop)
    jobs[term.module, term.side].append(TapeJob((READ_FIRST, 0, number), job.act))
    return True


def _hook(
    network: Network, module: nn.Module, side: str, jobs: list[TapeJob], tape: Tape, batch: Batch, steps: Steps
) -> torch.utils.hooks.RemovableHandle:
    """A hook that runs jobs on what enters or leaves a module."""
    runs: list[None] = []

    def act(tensor: Tensor) -> Tensor:
        if side == "out" and a_step(tensor, batch.rows, batch.longest):
            return steps.step(tensor)
        runs.append(None)
        if len(runs) > 1:
            raise fail(
                "E424",
                f"module {_path(network, module)} runs more than once in a forward pass",
                network.span,
                notes=("it is unclear which of its runs is meant",),
                help="name a module that runs once, the one around it say",
            )
        hidden = _as_rows(tensor, batch, network, module)
        changed = run_jobs(jobs, hidden)
        tape.check_done()
        return tensor if changed is hidden else changed.reshape(tensor.shape)

    return hook_tensor(module, side, act)


def hook_tensor(module: nn.Module, side: str, act: Callable[[Tensor], Tensor]) -> torch.utils.hooks.RemovableHandle:
    """A hook that puts ``act`` of the first tensor that enters (``in``) or leaves a module in its place, or of what is at another
    side of it (:class:`Tap`)."""

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (act(args[0]), *args[1:]), kwargs
        key = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
        return args, {**kwargs, key: act(kwargs[key])}

    def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple | list) and output:
            return type(output)((act(output[0]), *output[1:]))
        return act(output)

    if side == ROUTER or side.startswith(EXPERT):
        return hook_experts(module, side, act)
    if side == "in":
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def _path(network: Network, module: nn.Module) -> str:
    path = next((name for name, other in network.model.named_modules() if other is module), "")
    return f'"{path}"' if path else "of the whole network"


def _as_rows(tensor: Any, batch: Batch, network: Network, module: nn.Module) -> Tensor:
    """A module's tensor as [rows, tokens, width] (or [rows, width]); raises E423 where it has no such form, E777 where
    tokens stand before rows because the module is recurrent without ``batch_first``."""
    shape = batch.shape
    if isinstance(tensor, Tensor) and tensor.is_floating_point():
        if tuple(tensor.shape[:-1]) == shape:
            return tensor
        if tuple(tensor.shape[: len(shape)]) == shape and tensor.ndim > len(shape):
            return tensor.reshape(*shape, -1)
        if tensor.ndim == 2 and tensor.shape[0] == batch.rows * batch.longest:
            return tensor.reshape(*shape, -1)
    if isinstance(module, nn.RNNBase) and not module.batch_first and len(shape) > 1:
        raise refuse_steps("batch_first is False", _path(network, module), network.span)
    found = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
    raise fail(
        "E423",
        f"module {_path(network, module)} does not give one vector for each {batch.each}",
        network.span,
        notes=(f"it is {found}, but {list(shape)} and a width were expected",),
    )


class _Needed:
    """The places whose logits are needed, each once, and the unembedding of those alone."""

    def __init__(
        self,
        network: Network,
        batch: Batch,
        readout: Tensor | None,
        positions: Tensor | None,
        tape: Tape,
        late: list[tuple[bool, int]],
    ):
        self.network, self.batch, self.tape, self.late = network, batch, tape, late
        self.readout = None
        self.selected = False
        self.keys: list[Tensor] = []
        if readout is not None:
            rows = torch.as_tensor(readout, dtype=torch.long).cpu()
            where = batch.last(rows) if positions is None else positions
            self.readout = self._add(rows, where)
        self.at = [self._add(asked.rows, asked.positions) for asked in map(self._asked, late)]
        every = torch.cat(self.keys) if self.keys else torch.zeros(1, dtype=torch.long)
        self.unique, self.inverse = torch.unique(every, return_inverse=True)

    def _asked(self, item: tuple[bool, int]) -> SiteRead | SiteWrite:
        writing, number = item
        return self.tape.writes[number] if writing else self.tape.reads[number]

    def _add(self, rows: Tensor, positions: Tensor | None) -> slice:
        """Note places as one number each; gives where they stand among all."""
        points = self.batch.points(rows, positions)
        key = points.rows if points.columns is None else points.rows * self.batch.longest + points.columns
        start = sum(len(k) for k in self.keys)
        self.keys.append(key)
        return slice(start, start + len(key))

    def _index(self, device: torch.device) -> tuple[Tensor, ...]:
        return tuple(axis.to(device) for axis in self.batch.index(self.unique))

    def select(self, stack: ExitStack, jobs: Jobs) -> None:
        """Let only the needed places reach the unembedding, unless something is read or written in it."""
        head = unembedding(self.network)
        if head is None or any(module in set(head.modules()) for module, _ in jobs):
            return

        def gather(_: nn.Module, args: tuple[Any, ...]) -> Any:
            if not args or tuple(args[0].shape[:2]) != self.batch.shape:
                return None
            self.selected = True
            return (args[0][self._index(args[0].device)].contiguous()[None], *args[1:])

        stack.callback(head.register_forward_pre_hook(gather).remove)

    def logits(self, result: Any) -> Tensor | None:
        """The logits of the read-out, after the reads and writes of logits; None where none were asked for."""
        if self.readout is None and not self.late:
            return None
        found = getattr(result, "logits", result)
        found = found[0] if isinstance(found, tuple) else found
        found = found[0] if self.selected else found[self._index(found.device)]
        inverse = self.inverse.to(found.device)
        order = sorted(range(len(self.late)), key=lambda i: (not self.late[i][0], i))
        for i in order:
            writing, number = self.late[i]
            places, tap = inverse[self.at[i]], find_tap(self.network, self._asked(self.late[i]).site)
            found = self._late(writing, number, places, tap, found)
        return None if self.readout is None else found[inverse[self.readout]]

    def _late(self, writing: bool, number: int, places: Tensor, tap: Tap, found: Tensor) -> Tensor:
        columns = slice(None) if tap.columns is None else tap.columns.to(found.device)
        rows = found[places]
        if not writing:
            self.tape.store(number, rows[:, columns])
            return found
        rows = rows.clone()
        rows[:, columns] = self.tape.edited(number, rows[:, columns])
        return found.index_put((places,), rows)


def unembedding(network: Network) -> nn.Module | None:
    """The module that maps the final norm's output to logits, token by token, where it is known."""
    if not network.facts.traits.by_record:
        return None
    if network.layout is not None:
        return network.model.get_submodule(network.layout.unembed) if network.layout.unembed else None
    getter: Callable[[], nn.Module | None] | None = getattr(network.model, "get_output_embeddings", None)
    return getter() if getter is not None else None
