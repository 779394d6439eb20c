"""Are the sites where the table says? Tested at load on the user's own model, in well under a second.

A tap in the wrong place gives plausible numbers. So at every layer the identities that tie the sites to each other are
computed, a few short prompts in one padded batch:

    resid_pre + attn_out = resid_mid        resid_mid + mlp_out = resid_post       resid_post[l] = resid_pre[l + 1]
    output projection(z) = attention        down projection(neurons) = MLP         projections(attn_in) = q, k, v
    MLP(mlp_in) = MLP                       pattern x v = z                        q_rot, k_rot = q, k at position 0
    norm(resid_post[-1]) = final_norm       unembedding(final_norm) ~ logits       batch = single runs
    interventions in one pass = whole forward passes

Where the stream is normed after each addition (bert and its kin) the sums are those that the norms are given,

    norm(resid_pre + attn_out) = resid_mid  norm(resid_mid + mlp_out) = resid_post norm(embed + positions) = resid_pre[0]

and noise is written at every kind of site: one that does not reach the logits is dead. What fails is refused at run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import SpecError
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.compare import differences, distance, no_numbers, ranks_of, shake, told, tolerance_of
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.known_of_network import proved
from causal_dsl.network.module_runs import counting
from causal_dsl.network.network import Network
from causal_dsl.network.proof import PADDED, Proof
from causal_dsl.network.recurrent import stepping
from causal_dsl.network.site_tensors import tap
from causal_dsl.network.sweep.fitness import enlarged, fitness
from causal_dsl.program.components import COMPARED, in_time, lacking, missing, with_site
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.plugins import made

_SHORTEST = 1
#: what is read of every layer, but for what leaves it
_PLAIN = tuple(
    name for name, about in COMPONENTS.items() if about.layer and not about.compared and about.acts != "exit"
)


@torch.no_grad()
def prove(network: Network, inputs: Tensor | None = None) -> Proof:
    """Test the sites of a loaded network; the result is also kept (:func:`causal_dsl.network.known_of_network.proof_of`).

    ``inputs`` [rows, width]: what a vector network will be given; without them numbers that are drawn.

    Never raises for a fault of the network: what cannot be tested is refused with the reason.
    """
    proved(network, None)
    found: Proof
    given: InputRows
    found, given = made(network.facts.traits.prove)(network, inputs)
    proved(network, found)
    _prove_sweep(network, found, given)
    return found


def prove_stream(network: Network, inputs: Tensor | None) -> tuple[Proof, InputRows]:
    """Networks with a residual stream, on prompts that are drawn: the identities of each layer; and the prompts."""
    return _Trial(network).run(), network.given.standard(network.facts)[0]


def _prove_sweep(network: Network, proof: Proof, prompts: InputRows) -> None:
    """Whether interventions may ride in one pass, on the sites that were just proved."""
    if "logits" in proof.refused:
        proof.slow = proof.refused["logits"]
        return
    tolerance = 10 * tolerance_of(network.dtype)
    recurrent = next((name for name, m in network.model.named_modules() if isinstance(m, nn.RNNBase)), "")
    if not proof.slow and (recurrent or proof.steps):
        proof.slow = f"`{recurrent or min(proof.steps)}` is recurrent: it is run token by token where it is written"
    if proof.slow:
        return
    found = fitness(network, prompts, proof.ok, shake, distance, tolerance)
    proof.sweep, proof.slow, proof.fault = found.way, found.why, found.fault
    proof.exchanged = found.exchanged
    if proof.sweep:
        proof.errors["interventions in one pass = whole forward passes"] = found.error


@dataclass(frozen=True, eq=False)
class _Ran:
    """A layer that was run, as the identities of components see it (:class:`causal_dsl.vocabulary.components.Layer`)."""

    network: Network
    number: int
    read: dict[str, Tensor]
    given: dict[str, Tensor]
    end: tuple[nn.Module, ...]

    def through(self, component: str, vectors: Tensor, *more: Tensor) -> Tensor | tuple[Tensor, ...]:
        found: Tensor | tuple[Tensor, ...] = tap(self.network, Site(component, self.number)).module(vectors, *more)
        return found

    def columns(self, component: str, vectors: Tensor) -> Tensor:
        columns = tap(self.network, Site(component, self.number)).columns
        return vectors if columns is None else vectors[:, columns.to(vectors.device)]

    def ended(self, vectors: Tensor) -> Tensor:
        for module in self.end:
            vectors = module(vectors)
        return vectors


class _Trial:
    """The tests of one language network."""

    def __init__(self, network: Network):
        self.network = network
        self.tolerance = tolerance_of(network.dtype)
        self.refused: dict[str, str] = {}
        self.notes: list[str] = []
        self.errors: dict[str, float] = {}
        self.runs: dict[str, int] = {}
        self.steps: frozenset[str] = frozenset()
        self.disordered = ""
        facts = network.facts
        for component, about in COMPONENTS.items():
            if about.layer and not network.layers and about.is_in(facts):
                self.refused[component] = "the layers of this network are not known"
        names = [name for name, about in COMPONENTS.items() if about.is_in(facts)]
        self.names = [name for name in names if missing(name, facts) is None and name not in self.refused]
        self.prompts: InputRows = network.given.standard(network.facts)[0]
        lengths = [len(prompt) for prompt in self.prompts]
        self.rows = torch.tensor([row for row, length in enumerate(lengths) for _ in range(length)])
        self.positions = torch.tensor([place for length in lengths for place in range(length)])
        self.ends = torch.tensor(lengths).cumsum(0) - 1  # the last token of each prompt among these
        self.single = torch.zeros(1)

    def run(self) -> Proof:
        raised: tuple[str, ...] = ()
        try:
            self._batch()
        except SpecError as error:
            self._refuse(self.names, f"a forward pass fails: {error.diagnostics[0].title}")
        except Exception as error:
            self._refuse(self.names, f"a forward pass fails: {told(error)}")
            raised = (f"it was given {len(self.prompts)} prompts of tokens", f"it raised {told(error)}")
        if self.network.layout is not None and not self.refused:
            with self._guard(self.names, "the sites cannot be read"):
                self._identities(self.network.layout)
            self._noise()
        ok = frozenset(name for name in self.names if name not in self.refused)
        found = Proof(ok, self.refused, tuple(self.notes), self.errors, self.runs, slow=self.disordered, raised=raised)
        found.steps = self.steps
        found.no_numbers = no_numbers(self.network, self.single)
        return found

    @contextmanager
    def _guard(self, components: list[str] | tuple[str, ...], what: str) -> Iterator[None]:
        """Whatever a model's own code raises is a reason to refuse the components."""
        try:
            yield
        except SpecError as error:
            self._refuse(components, f"{what}: {error.diagnostics[0].title}")
        except Exception as error:
            self._refuse(components, f"{what}: {told(error)}")

    def _refuse(self, components: list[str] | tuple[str, ...], reason: str) -> None:
        for component in components:
            if component in self.names:
                self.refused.setdefault(component, reason)

    def _hold(
        self,
        identity: str,
        got: Tensor,
        expected: Tensor,
        components: tuple[str, ...],
        layer: int = -1,
        slack: float = 1,
    ) -> None:
        """Note an identity's error; refuse its components where it does not hold. ``slack``: for what runs deep."""
        error = distance(got, expected)
        self.errors[identity] = max(error, self.errors.get(identity, 0.0))
        if not error <= slack * self.tolerance:
            where = f" at layer {layer}" if layer >= 0 else ""
            self._refuse(components, f"`{identity}` does not hold{where}: off by {error:.1e} of its size")

    # ── batches ─────────────────────────────────────────────────────────────────────────────────

    def _batch(self) -> None:
        """Padding at either side gives what a single run gives (the shortest prompt); how often each module runs."""
        row = torch.tensor([_SHORTEST])
        rows, tokens = len(self.prompts), max(map(len, self.prompts))
        with counting(self.network.model) as counts, stepping(self.network.model, rows, tokens) as steps:
            right = forward(self.network, self.prompts, readout=row, padding="right").logits
        self.runs = {name: counts[name] for name, _ in self.network.model.named_modules() if counts[name] != 1}
        self.steps = frozenset(steps)
        single = forward(self.network, [self.prompts[_SHORTEST]], readout=torch.tensor([0])).logits
        assert right is not None
        assert single is not None
        self.single = single
        self._hold(f"right-{PADDED}", right, single, tuple(self.names), slack=10)
        record = self.network.facts.record
        if (
            record is not None and not record.inferred
        ):  # what its own code makes of logits may depend on how many there are
            batch = self.network.given.batch(self.network, [self.prompts[_SHORTEST]], "right")
            plain = self.network.run(*batch.arguments, **batch.named)
            plain = getattr(plain, "logits", plain)
            plain = plain[0] if isinstance(plain, tuple) else plain
            self._hold("logits of one token = those of a plain run", single, plain[:, -1], tuple(self.names))

    # ── identities ──────────────────────────────────────────────────────────────────────────────

    def _read(self, sites: list[Site], padding: Literal["left", "right"] = "left") -> dict[Site, Tensor]:
        outcome = forward(
            self.network, self.prompts, [SiteRead(site, self.rows, self.positions) for site in sites], padding=padding
        )
        self._ordered([sites[number] for number in outcome.order])
        return dict(zip(sites, outcome.reads, strict=True))

    def _ordered(self, sites: list[Site]) -> None:
        """Note where sites, in the order in which they were computed, are not in that of the table."""
        for before, after in pairwise(site for site in sites if site.layer is not None):
            if not in_time(before, after) and not self.disordered:
                self.disordered = f"`{before}` is computed before `{after}`, and the table of sites has it after"

    def _identities(self, layout: Architecture) -> None:
        network, count = self.network, len(self.network.layers)
        there = [name for name in (*_PLAIN, "resid_post") if name in self.names]
        sites = [site for layer in range(count) for site in self._in_layer(there, layer)]
        sites += [Site(name) for name in ("embed", "final_norm", "logits") if name in self.names]
        blocks = {
            (name, layer): Site("module", module=f"{layout.layers}.{layer}.{path}")
            for layer, own in enumerate(map(layout.at, range(count)))
            for name, path in zip(("attention", "mlp"), own.ends or (own.attention, own.mlp), strict=True)
            if path
        }
        values = self._read([*sites, *blocks.values(), *(Site("module", module=path) for path in layout.beside)])
        left = values[Site("logits")][self.ends[_SHORTEST]][None]
        identity = f"{'right' if layout.right else 'left'}-{PADDED}"
        self._hold(identity, left, self.single, tuple(self.names), slack=10)
        compared = [name for name in COMPARED if name in self.names]
        if compared:
            with self._guard(compared, "attention does not use the interface that exposes it"):
                rotated = [Site(name, layer) for layer in range(count) for name in compared]
                also = self._read([*rotated, *(Site("z", layer) for layer in range(count)), Site("logits")])
                identity = "a forward whose attention is watched = a plain one"
                self._hold(identity, also.pop(Site("logits")), values[Site("logits")], tuple(compared))
                values.update(also)
        for layer, module in enumerate(network.layers):
            read = {site.component: values[site] for site in self._in_layer(there, layer)}
            read.update({name: values[Site(name, layer)] for name in compared if Site(name, layer) in values})
            raw = {name: values[blocks[name, layer]] for name in ("attention", "mlp") if (name, layer) in blocks}
            own = layout.at(layer)
            with self._guard(tuple(there), f"layer {layer} is not as the table says"):
                if own.norms is None:
                    self._sums(layer, read)
                else:
                    self._normed_sums(layer, read, *(module.get_submodule(path) for path in own.norms))
                tail = own.tail or (() if own.ends is None or own.inferred else own.ends[1:])
                self._blocks(layer, read, raw, tuple(module.get_submodule(path) for path in tail))
            if any(name in read for name in compared):
                with self._guard(compared, f"attention in layer {layer} is not as the table says"):
                    self._compared(layer, read, module.get_submodule(own.attention))
            if layer + 1 < count:
                ahead = values[Site("resid_pre", layer + 1)]
                chain = "resid_post[l] = resid_pre[l + 1]"
                self._hold(chain, read["resid_post"], ahead, ("resid_pre", "resid_post"), layer)
        with self._guard(("embed", "final_norm", "logits"), "the ends of the network are not as the table says"):
            self._ends(layout, values)

    def _in_layer(self, names: list[str], layer: int) -> list[Site]:
        """Those of the components that a layer has."""
        sites = (Site(name, layer) for name in names)
        return [site for site in sites if lacking(site, self.network.facts) is None]

    def _sums(self, layer: int, read: dict[str, Tensor]) -> None:
        if "attn_out" not in read:
            return  # what is not found is not there: the stream itself is held by its chain
        if "resid_mid" in read:
            first = read["resid_pre"] + read["attn_out"]
            self._hold("resid_pre + attn_out = resid_mid", first, read["resid_mid"], ("attn_out", "resid_mid"), layer)
            second = read["resid_mid"] + read["mlp_out"]
            parts: tuple[str, ...] = ("resid_mid", "mlp_out")
            self._hold("resid_mid + mlp_out = resid_post", second, read["resid_post"], parts, layer)
        elif "mlp_out" not in read:
            alone = read["resid_pre"] + read["attn_out"]
            self._hold("resid_pre + attn_out = resid_post", alone, read["resid_post"], ("attn_out",), layer)
        else:
            whole = read["resid_pre"] + read["attn_out"] + read["mlp_out"]
            identity = "resid_pre + attn_out + mlp_out = resid_post"
            self._hold(identity, whole, read["resid_post"], ("attn_out", "mlp_out"), layer)

    def _normed_sums(self, layer: int, read: dict[str, Tensor], middle: nn.Module, end: nn.Module) -> None:
        first = middle(read["resid_pre"] + read["attn_out"])
        identity = "norm(resid_pre + attn_out) = resid_mid"
        self._hold(identity, first, read["resid_mid"], ("attn_out", "resid_mid"), layer)
        second = end(read["resid_mid"] + read["mlp_out"])
        parts = ("resid_mid", "mlp_out")
        self._hold("norm(resid_mid + mlp_out) = resid_post", second, read["resid_post"], parts, layer)
        # What the MLP reads is the stream itself: its norm came before.
        self._hold("resid_mid = mlp_in", read["resid_mid"], read["mlp_in"], ("resid_mid", "mlp_in"), layer)

    def _blocks(
        self, layer: int, read: dict[str, Tensor], given: dict[str, Tensor], end: tuple[nn.Module, ...]
    ) -> None:
        """``end`` is what leads to the end of the MLP, where the module that begins it does not hold it."""
        ran = _Ran(self.network, layer, read, given, end)
        for name, about in COMPONENTS.items():
            if about.identity is not None and name in read:
                with self._guard((name,), f"`{name}` in layer {layer} is not as the table says"):
                    for identity, got, expected, components in about.identity(ran):
                        self._hold(identity, got, expected, components, layer)

    def _compared(self, layer: int, read: dict[str, Tensor], attention: nn.Module) -> None:
        facts = self.network.facts
        heads, kv, size = facts.heads or 1, facts.kv_heads or 1, facts.head_dim or 1
        longest = max(map(len, self.prompts))
        for name, count in (("q", heads), ("k", kv)):
            if name in read and f"{name}_rot" in read:
                self._unturned(layer, read, attention, name, count)
        if not {"pattern", "v", "z"} <= read.keys():
            return
        value = torch.zeros(len(self.prompts), longest, kv, size, dtype=read["v"].dtype, device=read["v"].device)
        value[self.rows, self.positions] = read["v"].view(-1, kv, size)
        every = value.repeat_interleave(heads // kv, dim=2)[self.rows]  # [m, keys, heads, size]
        weights = read["pattern"].view(-1, heads, longest)
        mixed = torch.einsum("mhk,mkhd->mhd", weights, every).flatten(1)
        # Of what was inferred, values and outputs were found by what reaches them: there may be a norm, or a gate, between.
        mixing = ("pattern",) if self.network.facts.record is not None else ("pattern", "v", "z")
        self._hold("pattern x v = z", mixed, read["z"], mixing, layer)

    def _unturned(self, layer: int, read: dict[str, Tensor], attention: nn.Module, name: str, count: int) -> None:
        first, size = self.positions == 0, self.network.facts.head_dim or 1
        plain = _normed(attention, name, read[name][first], count, size)
        turned = read[f"{name}_rot"][first].view(-1, count, size)
        plain = plain.view(-1, count, size) * (turned.norm() / plain.norm().clamp_min(1e-30))
        parts = (f"{name}_rot",) if self.network.facts.record is not None else (name, f"{name}_rot")
        self._hold(f"{name}_rot = {name} at position 0", turned, plain, parts, layer)

    def _ends(self, layout: Architecture, values: dict[Site, Tensor]) -> None:
        network = self.network
        last = values[Site("resid_post", len(network.layers) - 1)]
        if layout.norm is not None and "final_norm" in self.names:
            normed = tap(network, Site("final_norm")).module(last)
            self._hold("norm(last resid_post) = final_norm", normed, values[Site("final_norm")], ("final_norm",))
            last = values[Site("final_norm")]
        scores = last[self.ends]
        for path in layout.head:
            scores = network.model.get_submodule(path)(scores)
        if not layout.head:
            scores = values[Site("logits")][self.ends]  # what makes them of the stream is not known
        order, expected = ranks_of(scores), ranks_of(values[Site("logits")][self.ends])
        identity = (
            "unembedding(final_norm) orders as logits" if layout.norm else "head(last resid_post) orders as logits"
        )
        self._hold(identity, order, expected, ("final_norm", "logits"), slack=10)
        if "embed" not in self.names:
            return
        if layout.enter:
            entering = values[Site("embed")]
            for path in layout.beside:
                entering = entering + values[Site("module", module=path)]
            for path in layout.enter:
                entering = network.model.get_submodule(path)(entering)
            self._hold("norm(embed + positions) = resid_pre[0]", entering, values[Site("resid_pre", 0)], ("embed",))
            return
        # A position's own embedding, where there is one, is the same in every prompt.
        starts = torch.nonzero(self.positions == 0)[:, 0]
        embedded, entered = values[Site("embed")][starts], values[Site("resid_pre", 0)][starts]
        steps = embedded[1:] - embedded[:1]
        self._hold("embed, up to positions = resid_pre[0]", steps, entered[1:] - entered[:1], ("embed",))

    # ── noise ───────────────────────────────────────────────────────────────────────────────────

    def _noise(self) -> None:
        """Write noise at each kind of site, a row each, in one batch; it must reach that row's logits and no other."""
        names = [name for name in self.names if name not in self.refused and name != "module"]
        middle = len(self.network.layers) // 2
        dead = self._unreached(names, middle)
        if self.network.facts.record is None or self.network.facts.record.inferred:
            for name in dead:
                self._refuse((name,), f"noise written there, at layer {middle}, does not reach the logits")
            return
        # A network of one's own may be made so that some layer adds nothing: that a site is there the sums have shown.
        for layer in range(len(self.network.layers)):
            if layer != middle and dead:
                dead = self._unreached(dead, layer)
        self.notes += [f"noise at `{name}` was not seen to move the logits, at any layer" for name in dead]

    def _unreached(self, names: list[str], middle: int) -> list[str]:
        """Those sites of a layer at which noise does not reach the logits."""
        prompt = self.prompts[2][:2]
        place = torch.tensor([len(prompt) - 1])
        sites = [with_site(name, middle, self.network.facts) for name in names]
        rows = torch.arange(len(names) + 2)
        still = set(names)
        for noise in (shake, enlarged(shake)):  # behind a threshold little noise is not seen
            if not still:
                break
            writes = [SiteWrite(site, torch.tensor([row]), place, noise(row)) for row, site in enumerate(sites)]
            with self._guard(names, "noise cannot be written"):
                logits = forward(self.network, [prompt] * len(rows), (), writes, readout=rows).logits
                assert logits is not None
                clean = logits[-1].float()
                floor = float(differences(logits[-2].float(), clean).max())
                for row, name in enumerate(names):
                    if float(differences(logits[row].float(), clean).max()) > 2 * floor:
                        still.discard(name)
        return [name for name in names if name in still]


def _normed(attention: nn.Module, name: str, vectors: Tensor, heads: int, size: int) -> Tensor:
    """Queries or keys [m, heads x size] after the norm of their own that some architectures have."""
    norm = getattr(attention, f"{name}_norm", None) or getattr(attention, f"{name}_layernorm", None)
    if norm is None:
        return vectors
    weight = getattr(norm, "weight", None)
    whole = isinstance(weight, Tensor) and weight.numel() == heads * size and weight.ndim == 1 and heads > 1
    changed: Tensor = norm(vectors if whole else vectors.view(-1, heads, size))
    return changed.reshape(vectors.shape)
