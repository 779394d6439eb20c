"""Two subspaces of files that are written at one place, against hooks by hand; those that are not orthogonal are refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from causal_dsl import api
from causal_dsl.diagnostics import SpecError
from causal_dsl.planning.lower import by_reference
from tests.engine.byhand import ByHand
from tests.engine.test_latents import CLOSE, WIDTH, byhand, runs
from tests.engine.tiny import execution_of, spec_of

OPTIONS = api.Options(trust=True)


def axes() -> dict[str, Tensor]:
    """Orthogonal subspaces of two and of three dimensions, and a direction at a small angle to the first."""
    made = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(WIDTH, 6, generator=made, dtype=torch.float64))
    mixed = torch.randn(3, 3, generator=made, dtype=torch.float64)
    return {
        "two": basis[:, :2].T * torch.tensor([[2.0], [0.5]]),
        "three": mixed @ basis[:, 2:5].T,
        "slanted": basis[:, 5] + 0.1 * basis[:, 0],
    }


@cache
def file() -> str:
    path = Path(mkdtemp(prefix="subspaces-")) / "subspaces.safetensors"
    save_file({name: tensor.float().contiguous() for name, tensor in axes().items()}, path)
    return str(path)


def via(key: str) -> str:
    return f'via subspace("{file()}", key="{key}")'


def projection(key: str) -> Tensor:
    basis, _ = torch.linalg.qr(torch.atleast_2d(axes()[key]).T)
    return basis @ basis.T


DRAW = "base, source ~ m(n=6, seed=3) other ~ m(n=6, seed=4)"
PLACED = f"same @ layer[1].resid_post[last] {via('two')}\n  z @ layer[1].resid_post[last] {via('three')}"
SITE = "layer[1].resid_post[last]"
ACTIONS = {
    f"{SITE} {via('two')} <- source, {SITE} {via('three')} <- other": ("source", "other"),
    f"{SITE} {via('three')} <- other, {SITE} {via('two')} <- source": ("source", "other"),
    f"{SITE} {via('two')} <- source, {SITE} {via('three')} = scale(0.5)": ("source", 0.5),
    f"{SITE} {via('two')} = 0, {SITE} {via('three')} <- source": (0.0, "source"),
    "same <- source, z <- other": ("source", "other"),
}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("action", ACTIONS, ids=range(len(ACTIONS)))
def test_two_at_one_place(action: str) -> None:
    text = spec_of("llama", f"test t on a(l=1, p=last) {{ {DRAW}\n do({action}) report kl }}\n")
    text = text.replace("same @ layer[l].resid_post[p]", PLACED)
    placed = action.startswith("same")
    execution, _ = execution_of(text)
    plain, _ = execution_of(text, change=by_reference)
    if placed:
        (test,) = api.run(api.parse(text), OPTIONS).tests
    found = [] if placed else [execution.logits(), plain.logits()]
    hand = ByHand("llama")
    resume, bases, sources = runs(execution, "t")
    plan = execution.plan
    (inputs,) = plan.inputs.values()
    draw = plan.scores["t"][0].label.draw
    others = (
        next(rows for run, rows in plan.rows.items() if (run.draw, run.role) == (draw, "other"))
        if "other" in action
        else []
    )
    moved = []
    for row, (base, source) in enumerate(zip(bases, sources, strict=True)):
        vectors = {"source": hand.vector(source, "resid_post", 1)[-1].double()}
        if len(others):
            ids = tuple(inputs.ids(int(others[row])))
            vectors["other"] = hand.vector(ids, "resid_post", 1)[-1].double()
        current = hand.vector(base, "resid_post", 1)[-1].double()
        new = current
        for name, value in zip(("two", "three"), ACTIONS[action], strict=True):
            target = vectors[value] if isinstance(value, str) else value * current
            new = new + projection(name) @ (target - current)
        expected = byhand(hand, base, 1, len(base) - 1, new.float())[-1]
        before = hand.logits(base)[-1]
        p, q = torch.log_softmax(before.double(), 0), torch.log_softmax(expected.double(), 0)
        moved.append(float((p.exp() * (p - q)).sum()))
        for number, logits in enumerate(found):
            mine = resume if number == 0 else runs(plain, "t")[0]
            assert float((logits[mine][row] - expected).abs().max()) < CLOSE, (action, row)
    assert sum(moved) > 0
    if placed:
        assert abs((test.cells[0].scores["kl"].value or 0) - sum(moved) / len(moved)) < CLOSE


FAULTS = {
    f"{SITE} {via('two')} <- source, {SITE} {via('slanted')} <- other": "E774",
    f"{SITE} {via('two')} = 0, {SITE} {via('slanted')} = 1": "E774",
    f"{SITE} {via('two')} <- source, {SITE} {via('two')} <- other": "E461",
    f"{SITE} {via('two')} <- source, {SITE} = 0": "E461",
    f"{SITE} {via('two')} <- source, layer[1].resid_post[last, 0:8] = 0": "E461",
    f"{SITE} {via('two')} <- source, layer[2].resid_pre[last] = 0": "E461",
}


@pytest.mark.parametrize("action", FAULTS, ids=range(len(FAULTS)))
def test_what_may_not_meet(action: str) -> None:
    text = spec_of("llama", f"test t on a(l=1, p=last) {{ {DRAW}\n do({action}) report kl }}\n")
    with pytest.raises(SpecError) as told:
        results = api.run(api.parse(text), OPTIONS)
        raise SpecError(list(results.faults))
    assert [fault.code for fault in told.value.diagnostics] == [FAULTS[action]]
