"""``mean``: the mean over the rows of a run."""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.written import Example, Value, Written


@dataclass(frozen=True)
class Mean(Value):
    """The mean over the rows of the run ``of`` at the written place; ``pooled``: over the tokens of a span as well. ``by`` (`template`):
    over the rows of the same prompt template alone."""

    runless = False
    given = False
    of: str = "base"
    pooled: bool = False
    by: str | None = None

    @property
    def ablates(self) -> str:
        return "mean" if self.of == "base" else ""


FAMILY = (
    Written(
        "mean",
        Mean,
        "`mean`, `mean(source)`, `mean(pooled=true)`, `mean(by=template)`",
        "the mean over the test's own draws, of `base` or of another run; `pooled`: over the tokens of a span as well; `by=template`: "
        "for each row over those of its prompt template",
        (
            Example("= mean(source)", lambda hand: hand.mean("source")),
            Example("= mean", lambda hand: hand.mean("base")),
            Example("= mean(source, pooled=true)", lambda hand: hand.mean("source")),
        ),
        {
            "of": Setting("run", "base", positional=True, says="the run whose vectors are averaged"),
            "pooled": Setting("bool", False, says="the mean is over the tokens of a span, too"),
            "by": Setting(
                "word", None, ("template",), says="each row takes the mean over the rows of its prompt template"
            ),
        },
    ),
)
