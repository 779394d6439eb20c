"""The record of a kind of network: its inputs, its sites and its answers, and the functions that compute its costs."""

from __future__ import annotations

from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.locations import Position


@dataclass(frozen=True)
class NetworkKind:
    """One kind of network. ``told`` is what an editor says of one, in which ``{architecture}`` stands for the name of its architecture, and
    ``given`` is what its forward takes. Dotted names (``module:attribute``) are imported when they are needed: the record itself is light.

    Inputs: ``inputs`` is the dotted name of its class of :mod:`causal_dsl.inputs`; empty where only the loaded network tells. A kind that is
    not ``seen`` stands for networks of which nothing is known before they are loaded: nothing is refused of them. ``prompted``: its
    inputs are known to be prompts. ``enters``: how the value ``{name}`` enters, where it is not by an encoding at a site. ``no_prompt``:
    why no prompt is read, and what to write instead; None where one can be. ``particular``: a network may be made for some inputs alone,
    whole numbers say, so that it may not take those that are drawn to prove it.

    Modules: ``of_module`` is the dotted name of what makes the facts of a module that a user's function returns without a tokenizer, and
    gives None for a module of another kind; a module that no kind takes is a language model of transformers, or else a vector network.
    ``by_record``: its sites are where the record of its architecture says. ``layers`` and ``modules`` are the dotted names of what finds the
    layers of a module that no record describes, and of what finds the site that the output of a module is.

    Sites: ``components`` is the kind whose components it has (``Component.kinds``), and ``encoded_at`` names those of other kinds at which the
    values of variables enter, and which nothing is read from. ``absent`` says that it has no ``{component}``. ``everywhere`` is the position
    of all vectors that a site has for one input; None where it has one vector, and takes no position; ``no_tokens`` then says so.

    Nodes: ``start`` is the site that all others are computed from. ``nodes`` are the kinds of nodes of its circuits, ``parts`` the kinds that
    some of them can be split into. ``stream``: layers read the stream that all nodes before them add to; else each layer reads the one below
    it, and what is written there replaces all that came before. ``universe`` and ``edges`` are the dotted names of what lists its nodes, and
    of what counts the edges among some; ``no_edges`` is why it has none that a spec can name (title, note, what to write instead).

    Answers: ``readout`` is where an answer is read, if the spec does not say it. ``outputs`` is the field of the facts that counts its logits.
    ``no_token``: why no answer is read at a token, and where to read it instead; None where one can be. ``gaps``: a row in which
    the answer is the empty text has none.

    Work: ``costs`` is the dotted name of its :class:`causal_dsl.planning.layer_costs.Costs`, ``prove`` of what proves its sites
    when it is loaded, and ``ways`` are the ways of a pass that are tried then, the best first.
    """

    name: str
    told: str
    given: str
    inputs: str = ""
    seen: bool = True
    prompted: bool = False
    enters: str = ""
    no_prompt: tuple[str, str] | None = None
    particular: bool = False
    components: str = "language"
    encoded_at: tuple[str, ...] = ()
    absent: str = ""
    everywhere: Position | None = None
    no_tokens: str = ""
    by_record: bool = False
    of_module: str = ""
    layers: str = ""
    modules: str = "causal_dsl.planning.rest_of_layer:site_of_record"
    start: str = "embed"
    nodes: tuple[str, ...] = ("embed", "head", "mlp")
    parts: tuple[str, ...] = ("neuron",)
    stream: bool = True
    universe: str = "causal_dsl.program.nodes:of_stream"
    edges: str = "causal_dsl.program.nodes:edges_of_stream"
    no_edges: tuple[str, str, str] | None = None
    readout: Literal["next_token", "logits"] = "logits"
    outputs: Literal["vocabulary", "classes"] = "classes"
    no_token: tuple[str, str] | None = None
    gaps: bool = True
    costs: str = "causal_dsl.planning.decoder_costs:DecoderCosts"
    prove: str = "causal_dsl.network.prove:prove_stream"
    ways: tuple[Literal["ragged", "whole", "fixed"], ...] = ("ragged", "whole")

    @property
    def positions(self) -> bool:
        """Whether a site has several vectors for one input, so that a position says which are meant."""
        return self.everywhere is not None

    @property
    def speaks(self) -> bool:
        """Whether its logits are known to be over a vocabulary."""
        return self.seen and self.outputs == "vocabulary"


__all__ = ["NetworkKind"]
