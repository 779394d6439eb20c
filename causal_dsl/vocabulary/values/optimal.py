"""``optimal``: the constant that changes least what the network says (Li and Janson 2024)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.written import Value, Written


@dataclass(frozen=True)
class Optimal(Value):
    """The constants at all written places that together minimise a ``loss`` between the network as it is and as it is intervened on:
    ``kl`` of its next token, or the ``square`` of what its logits move by. They are found on ``n`` rows (None: as many as the test
    draws) of the fit part, from the mean on, in at most ``steps`` steps. ``pooled``: one for all tokens of a span."""

    function = "causal_dsl.engine.constants:unfitted"
    runless = False
    loss: str = "kl"
    steps: int = 50
    n: int | None = None
    pooled: bool = False

    def __str__(self) -> str:
        told = [f"loss={self.loss}"] * (self.loss != "kl") + [f"steps={self.steps}"] * (self.steps != 50)
        told += [f"n={self.n}"] * (self.n is not None) + ["pooled=true"] * self.pooled
        return f"optimal({', '.join(told)})" if told else "optimal"


@dataclass(frozen=True)
class FittedConstant(Value):
    """The constants [tokens of the span, width] that were found for one place, or [1, width] for all of its tokens: the tensor
    ``key`` of a file."""

    function = "causal_dsl.engine.constants:fitted"
    of: Optimal
    path: Path
    key: str

    @property
    def parts(self) -> tuple[Value, ...]:
        return ()

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def told(self) -> str:
        return Value.told(replace(self, path=Path(self.path.name)))

    def __str__(self) -> str:
        return str(self.of)


FAMILY = (
    Written(
        "optimal",
        Optimal,
        "`optimal`, `optimal(loss=square)`, `optimal(pooled=true)`",
        "the constant that changes least what the network says, found on the fit part of the inputs (Li and Janson 2024)",
        (),
        {
            "loss": Setting(
                "word",
                "kl",
                choices=("kl", "square"),
                says="the loss that the constant minimises: the KL of the next token, or the square of the change of its logits",
            ),
            "steps": Setting("int", 50, low=1, says="the number of steps in which it is found"),
            "n": Setting("int", low=1, says="the number of pairs on which it is found"),
            "pooled": Setting("bool", False, says="the tokens of a span have one constant"),
        },
    ),
)
