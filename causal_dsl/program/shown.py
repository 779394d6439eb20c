"""The part of a causal model's settings that a network is shown: the variables in its prompts, or in its input vector."""

from __future__ import annotations

from causal_dsl.causal.model import CausalModel
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.program import Alignment

#: For each prompt line (for a vector once) the text around the values, and the variables in it.
Lines = tuple[tuple[str, tuple[str, ...]], ...]


def shown_by(alignment: Alignment) -> Lines:
    """The lines of :meth:`CausalModel.shown`; none where the alignment does not say what the network reads."""
    if alignment.prompts:
        return tuple(
            (str(line.template), tuple(dict.fromkeys(line.template.placeholders))) for line in alignment.prompts
        )
    entered = tuple(dict.fromkeys(placement.variable for placement in alignment.inputs))
    return (("", entered),) if entered else ()


def warn_unseen(alignment: Alignment, diagnostics: Diagnostics) -> None:
    """Warn of drawn variables that no network input depends on (W335)."""
    lines = shown_by(alignment)
    if not lines:
        return
    model = alignment.model
    told = {name for _, names in lines for name in names}
    told |= {name for line in alignment.prompts if line.where is not None for _, name in line.where.mentions}
    seen = _drawn_among(model, told)
    unseen = [name for name in model.exogenous if name not in seen]
    if not unseen:
        return
    what = "prompt" if alignment.prompts else "input"
    help = f"put it into the {what}, or leave it out of the model"
    if len(unseen) > 1:
        help = f"put them into the {what}, or leave them out of the model"
    for_example = model.variables[unseen[0]]
    listed = ", ".join(f"`{name}`" for name in unseen)
    diagnostics.report(
        "W335",
        f"{listed} enter{'s' * (len(unseen) == 1)} no {what} of `{alignment.name}`",
        alignment.span,
        others=((for_example.span, "drawn here"),),
        notes=(
            f"settings that do not differ otherwise give the same {'prompt' if alignment.prompts else 'vector'}, and count as one input",
        ),
        help=help,
    )


def _drawn_among(model: CausalModel, names: set[str]) -> set[str]:
    """The drawn variables that some variables are, or are computed from."""
    seen: set[str] = set()
    stack = [name for name in names if name in model.variables]
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            if model.variables[name].kind == "mechanism":
                stack.extend(model.variables[name].parents)
    return seen
