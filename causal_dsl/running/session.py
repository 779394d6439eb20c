"""The networks of a run, loaded once by who they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.network.known_of_network import used_as
from causal_dsl.network.load import CheckpointReference, device_of, dtype_of, load, prove, wrap
from causal_dsl.network.network import Network
from causal_dsl.network.shared import claim_to_train
from causal_dsl.network.untrained import untrained
from causal_dsl.network.zoo.open import open_zoo
from causal_dsl.planning.network_parts import weights_of
from causal_dsl.program.derived_tests import trained_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.tokens import Tokens
from causal_dsl.report.progress import Progress, TerminalProgress, in_bytes
from causal_dsl.report.which_progress import progress
from causal_dsl.running.provenance import code_of, say_made_of
from causal_dsl.store.code import watching
from causal_dsl.store.keys import NetworkInputs, told
from causal_dsl.store.later import Later
from causal_dsl.store.ran_on import compare_network
from causal_dsl.store.reads import note_all, recording
from causal_dsl.training.train import TrainedNetwork, trained
from causal_dsl.vocabulary.layout_settings import SEQUENCE


class Session:
    """Networks that are loaded, and kept by who they are."""

    def __init__(self, options: Options = Options(), beside: Session | None = None):
        """``beside``: a session whose networks this one shares, and which shares those that are loaded here."""
        self.options = options
        self._loaded: dict[NetworkKey, Network] = {} if beside is None else beside._loaded
        #: the networks that were loaded, for each that is kept: it, and what it was trained from
        self._made: dict[NetworkKey, list[tuple[str, NetworkInputs]]] = {} if beside is None else beside._made
        #: what its networks read while they run: one that is loaded may not read it again
        self.later: Later = Later() if beside is None else beside.later

    def __len__(self) -> int:
        return len(self._loaded)

    def networks(self, refs: Iterable[NetworkRef]) -> dict[NetworkKey, Network]:
        """The networks of some declarations, by who they are."""
        return {ref.key: self.network(ref) for ref in refs}

    def network(self, ref: NetworkRef) -> Network:
        """The network of a declaration, as the declaration uses it. What is loaded is kept by who it is: two declarations of
        one network share its weights, and nothing that one says of it changes what the other runs on."""
        key = ref.key.loaded
        if key not in self._loaded and key.untrained:
            with recording() as reads:
                whole = self.network(trained_of(ref))
                if whole.reads is not None:
                    note_all(whole.reads)
                made = untrained(whole)
            prove(made)
            self._loaded[key] = say_made_of(ref, made, reads)
        if key not in self._loaded:
            device, dtype = self.options.device or ref.setting("device"), self.options.dtype or ref.setting("dtype")
            self._loaded[key] = self._load(ref, device, dtype)
        return used_as(self._loaded[key], ref)

    def hold(self, network: Network) -> None:
        """Take in a network that another session loaded, with the name and the key that it has there."""
        self._loaded[network.key.loaded] = network

    def keep(self, needed: Collection[NetworkKey]) -> None:
        """Let go of all networks but some, by whose weights they have; an untrained one goes with the one that it is made of."""
        for key in [key for key in self._loaded if weights_of(key) not in needed]:
            del self._loaded[key]
            self._made.pop(key, None)

    @property
    def made_of(self) -> list[tuple[str, dict[str, Any]]]:
        """The name of each network that is kept, and of those that it was trained from, with the inputs that it was made of."""
        return [(name, told(inputs)) for made in self._made.values() for name, inputs in made]

    def trained(self, ref: NetworkRef, device: str | None = None) -> TrainedNetwork:
        """The outcome of a declared training. It is trained in the dtype that is declared, whatever it then runs in."""
        assert ref.training is not None
        start = ref.training.alignment.network
        blank = used_as(self._load(start, None if device == "auto" else device, ref.setting("dtype"), ref), start)
        claim_to_train(blank.model, start.span)
        with progress(asked=self.options.progress) as bar:
            return trained(ref, blank, bar)

    def _load(
        self, ref: NetworkRef, device: str | None, dtype: str | None, trained: NetworkRef | None = None
    ) -> Network:
        """A network, and what it was made of; ``trained``: what is trained from it."""
        root = code_of(ref)
        with recording() as reads, watching(root) if root is not None else nullcontext():
            network = self._open(ref, device, dtype)  # it is proved there, too: what its passes read is noted
        network = say_made_of(ref, network, reads)
        inputs = network.inputs
        assert inputs is not None
        compare_network(ref.name, lambda: told(inputs))
        self._made.setdefault((trained or ref).key.loaded, []).append((ref.name, inputs))
        return network

    def _of_zoo(self, ref: NetworkRef) -> nn.Module | Path:
        """A network of the zoo, or its folder; fetching it shows how far it is. On a terminal it has a bar of its own."""
        bar = progress(asked=self.options.progress)
        if type(bar) in (Progress, TerminalProgress):
            return open_zoo(ref.target, ref.span)
        with bar:
            return open_zoo(ref.target, ref.span, in_bytes(bar, ref.target))

    def _open(self, ref: NetworkRef, device: str | None, dtype: str | None) -> Network:
        if ref.training is not None:
            network = self.trained(ref, device).network
            assert network is not None
            kind = dtype_of(dtype, ref.span)
            if kind is not None and kind != network.dtype:
                network = wrap(network.model.to(dtype=kind), network.facts, network.tokens, ref.name, ref.span)
            prove(network)
            return network
        if ref.kind == "zoo":
            opened = self._of_zoo(ref)
            if isinstance(opened, nn.Module):
                where, kind = device_of(device, ref.span), dtype_of(dtype, ref.span)
                network = wrap(
                    opened.to(device=where, dtype=kind) if kind else opened.to(where),
                    ref.facts,
                    Tokens.of_words(ref.facts.words) if ref.facts.words else None,
                    ref.name,
                    ref.span,
                )
                prove(network)
                return network
            return load(
                ref.facts, CheckpointReference("hf", str(opened), Path()), device, dtype, False, ref.span, ref.name
            )
        reference = CheckpointReference(
            "torch" if ref.kind == "torch" else "hf",
            ref.target,
            ref.base,
            ref.setting("revision"),
            ref.setting("weights"),
            ref.setting("tokenizer"),
            ref.setting("arguments", ()),
            tuple((name, value) for name, value in ref.settings if name in SEQUENCE),
            ref.setting("adapter"),
            ref.setting("merged", True),
            ref.setting("elsewhere", False),
            ref.kind == "hf" and ref.setting("weights") == "stream",
            ref.kind == "hf" and ref.setting("shard") == "auto",
        )
        return load(ref.facts, reference, device, dtype, self.options.trust, ref.span, ref.name)


def train_spec(spec: Spec, options: Options) -> dict[str, TrainedNetwork]:
    """Every network of a spec that is declared as trained, by name; raises :class:`SpecError` for a fault."""
    checked = check(spec, options)
    checked.raise_errors()
    assert checked.program is not None
    refs = [ref for ref in checked.program.networks.values() if ref.training is not None]
    session = Session(options)
    return {ref.name: session.trained(ref, options.device or ref.setting("device")) for ref in refs}
