"""The knowledge of the sites of a network after they were tested (:func:`causal_dsl.network.prove.prove`)."""

from __future__ import annotations

from dataclasses import field

from causal_dsl.base.quick_dataclasses import dataclass

#: The identity that padding changes nothing, at one side.
PADDED = "padded batch = single runs"


@dataclass(eq=False)
class Proof:
    """``ok``: components found where the table says. ``refused``: the others, and why. ``errors``: the largest
    relative error of each identity over layers and tokens. ``runs``: modules that do not run exactly once in a pass,
    and how often they do. ``sweep``: how rows may enter a pass (``ragged``: token by token, ``whole``: with all their
    tokens, padded, ``fixed``: all of them, from the input to the logits, ``""``: not at all), ``slow`` why it is not better.
    ``raised``: where the network's own code fails as it is run, what it was given and what it raised. ``no_numbers``:
    where its logits are NaN and so are weights, which."""

    ok: frozenset[str] = frozenset()
    refused: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    errors: dict[str, float] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    #: modules that run once for each token
    steps: frozenset[str] = frozenset()
    sweep: str = ""
    slow: str = ""
    raised: tuple[str, ...] = ()
    no_numbers: tuple[str, ...] = ()
    #: a mistake of this package that showed while it was tested
    fault: str = ""
    #: components that were given, in one pass, what another row has at the same site
    exchanged: frozenset[str] = frozenset()
    #: kinds of interventions that were held against whole forward passes since (:mod:`causal_dsl.engine.trial`), with why not
    #: to run them in one pass; empty where they ride in one
    kinds: dict[object, str] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether it holds all that can be known without the inputs that a network will be given."""
        return bool(self.sweep and self.exchanged and not self.refused)

    @property
    def unfit(self) -> str:
        """Why interventions are run one by one; empty where they ride in one pass."""
        return "" if self.sweep else self.slow or "whether interventions can share one pass was not tested"
