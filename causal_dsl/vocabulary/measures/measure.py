"""The definition of a measure: one record, from which its name, its unit, its page and how it is computed follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.ends_of_scores import ends_of

#: What a measure is computed from. ``token``: the logit of one token. ``distribution``: all logits that are read.
#: ``patched``: an intervention, against the base run. ``label``: the causal model under an interchange.
#: ``order``: how many logits are larger than the token's. ``answer``: what the network answers, and what the causal model does.
#: ``number``: the same of an output that is a number. ``placed``: runs beside the test, in which the places of an alignment are set.
Need = Literal["token", "distribution", "order", "patched", "label", "answer", "number", "placed"]

#: Quantities of a run that are no measure, or that several measures are made from.
QUANTITIES = ("answer", "log_normalizer", "order", "said", "trace")


@dataclass(frozen=True)
class Measure:
    """One measure of the language.

    ``says`` is its definition, as docs/measures.md and ``explain`` give it. ``per``: one number a pair, or one a cell. ``unit``
    is the name of a unit of :mod:`causal_dsl.measures.units`. ``better``: whether more of it is better for the hypothesis
    (None: neither). ``interval`` says which interval its score has (docs/measures.md, Intervals). ``least`` and ``most`` are
    the ends between which its formula stays whatever the network says, where they are not those of its
    unit: of a share 0 and 1, of another unit none.

    ``formula`` computes it. Of a token: from the token's logit and the log normaliser (None where ``distribution`` is not
    needed), arrays [n] in float64, to [n]; where it needs ``order``, from that alone. Of a distribution: from the log probabilities, a tensor [m, answers], to [m]; where
    it needs ``patched``, from those of the patched run and of the base run. Of all else: the dotted name ``module:function`` of
    what makes the compiled measure, given the run that a metric speaks of; where it needs a ``number``, also the metric that reads it.

    ``given``: which tests have it without asking (those that read an answer, those of them that interchange, those that read a number),
    and its place among the scores that they have. ``leads``: its turn to stand for a test whose report asks for no score; 0: never.
    ``perfect``: what it is where the hypothesis holds and the network is right. ``asks``: its place in the table of the measures of one
    alignment, and what it asks there. ``paired``: a comparison of runs takes the numbers of its pairs, also at one of several outputs.
    ``of_metric``: it is a function of a metric, too.
    """

    name: str
    says: str
    unit: Literal["share", "ratio", "logits", "nats", "number"]
    per: Literal["pair", "cell"]
    needs: tuple[Need, ...]
    formula: str | Callable[..., Any]
    better: Literal["higher", "lower"] | None
    interval: Literal["share", "mean", "resampled", "runs"]
    least: float | None = None
    most: float | None = None
    given: tuple[Literal["answer", "interchange", "number"], int] | None = None
    leads: int = 0
    perfect: float | None = None
    asks: tuple[int, str] | None = None
    paired: bool = False
    of_metric: bool = False

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in QUANTITIES:
            raise ValueError(f"no measure can have the name {self.name!r}")

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest number that it can be."""
        return ends_of(self.unit, self.least, self.most)

    @property
    def of_token(self) -> bool:
        """Whether it is of one token: ``logit(answer)``."""
        return "token" in self.needs

    @property
    def of_distribution(self) -> bool:
        """Whether it is computed from the log probabilities at the read-out, where the logits are."""
        return not self.of_token and "distribution" in self.needs

    @property
    def against_base(self) -> bool:
        """Whether the log probabilities of the base run are needed beside those of the patched run."""
        return self.of_distribution and "patched" in self.needs

    @property
    def written(self) -> str:
        """The measure as a spec writes it."""
        return f"{self.name}(x)" if self.of_token else self.name


__all__ = ["Measure", "Need"]
