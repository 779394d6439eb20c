"""Networks of a spec and plans run on them, by the package's own functions; and values that these functions cannot use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import causal_dsl as cd
from tests.equality import relu

TEXT = relu(
    "left @ layer[1].out[i]",
    align="halves(i in [0, 2])",
    tests="""
test moved_by on halves {
  base, source ~ equality(n=48, seed=3) where base.left != source.left
  do(left <- source)
  report kl
  report iia
}
""",
)
SPEC = cd.parse(TEXT)


def counted(network: Any, run: Callable[[], Any]) -> tuple[Any, int]:
    """What ``run`` gives, and how many rows the network's own forward was called with meanwhile."""
    rows = []
    hook = network.model.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    try:
        return run(), sum(rows)
    finally:
        hook.remove()


def test_a_plan_is_run_by_the_executor_that_is_named() -> None:
    networks, plan = cd.networks(SPEC), cd.plan(SPEC)
    assert list(networks) == ["mlp"]
    planned = cd.execute(plan, networks)
    reference, rows = counted(networks["mlp"], lambda: cd.execute(plan, networks, executor="reference"))
    assert rows >= 3 * 48, "a base, and a patched forward of every pair in both cells"
    assert {planned.executor(key).split(":")[0] for key in planned.networks} != {"reference"}
    assert {reference.executor(key).split(":")[0] for key in reference.networks} == {"reference"}
    assert repr(networks) == "{'mlp': <Network mlp: EqualityRelu, 3 layers, float64, cpu>}"
    assert repr(reference) == "<Execution: 1 test, 1 block, 1 run and 0 from the store; executor reference>"
    assert repr(reference.runs["moved_by"]) == "<TestRun moved_by: 48 pairs, 2 of 2 cells measured>"
    assert repr(reference.runs["moved_by"].cells[0]).startswith("<CellRun i=0: answer, kl")
    with pytest.raises(KeyError) as caught:
        reference.runs["moved_bi"]
    assert [(d.code, d.help) for d in caught.value.diagnostics] == [("E862", "did you mean `moved_by`?")]
    moved, results = 0, cd.run(SPEC)["moved_by"]
    for mine, theirs, scored in zip(
        planned.runs["moved_by"].cells, reference.runs["moved_by"].cells, results.cells, strict=True
    ):
        assert mine.done.all() and theirs.done.all()
        for one, other in ((mine.columns.base, theirs.columns.base), (mine.columns.patched, theirs.columns.patched)):
            assert one.keys() == other.keys() and one
            for quantity in one:
                np.testing.assert_allclose(one[quantity], other[quantity], atol=1e-4)
        own = {quantity.kind: values for quantity, values in mine.columns.patched.items()}
        np.testing.assert_allclose(own["kl"].mean(), scored.scores["kl"].value, atol=1e-6)
        moved += own["kl"].mean() > 0.01
    assert moved


def test_networks_that_are_not_given_are_loaded() -> None:
    execution = cd.execute(cd.plan(SPEC))
    assert [network.name for network in execution.networks.values()] == ["mlp"]
    assert all(cell.done.all() for cell in execution.runs["moved_by"].cells)


PLAN = cd.plan(SPEC)
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "run of a plan": (lambda: cd.run(PLAN), "cd.execute(plan)"),  # type: ignore[arg-type]
    "check of a plan": (lambda: cd.check(PLAN), "cd.execute(plan)"),  # type: ignore[arg-type]
    "plan of nothing": (lambda: cd.plan(None), "cd.load(path)"),  # type: ignore[arg-type]
    "run of a check": (lambda: cd.run(cd.check(SPEC)), "the spec that was checked"),  # type: ignore[arg-type]
    "run of a list": (lambda: cd.run([SPEC]), "cd.run_files"),  # type: ignore[arg-type]
    "files of one path": (lambda: cd.run_files("a.causal"), "cd.run_files([path])"),
    "load of a spec": (lambda: cd.load(SPEC), "cd.load("),  # type: ignore[arg-type]
    "options as a dict": (lambda: cd.check(SPEC, {"seed": 1}), "cd.Options(seed=1)"),  # type: ignore[arg-type]
    "networks of a number": (lambda: cd.networks(3), "cd.load(path)"),  # type: ignore[arg-type]
    "execute of a spec": (lambda: cd.execute(SPEC), "cd.plan(spec)"),  # type: ignore[arg-type]
    "a model of torch": (lambda: cd.execute(PLAN, {"mlp": print}), "cd.networks(spec)"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_of_another_type_is_told(case: str) -> None:
    act, mend = WRONG[case]
    with pytest.raises(TypeError) as caught:
        act()
    assert isinstance(caught.value, cd.SpecError)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E863" and mend in diagnostic.help


def test_other_networks_and_executors_are_refused() -> None:
    with pytest.raises(cd.SpecError, match="no network `mpl`"):
        cd.execute(PLAN, {"mpl": None})  # type: ignore[dict-item]
    other = cd.networks(cd.parse('network mlp = zoo("rotated-and")\n'))
    with pytest.raises(cd.SpecError, match="another network than the plan's"):
        cd.execute(PLAN, other)
    with pytest.raises(cd.SpecError, match="no executor 'fast'"):
        cd.execute(PLAN, executor="fast")  # type: ignore[arg-type]


def test_a_plan_that_needs_fits_is_refused(tmp_path: Path) -> None:
    fitted = cd.plan(
        cd.parse(TEXT.replace("layer[1].out[i]", "layer[1].out via rotation(dim=1)").replace("(i in [0, 2])", ""))
    )
    with pytest.raises(cd.SpecError, match="needs features that are fitted") as caught:
        cd.execute(fitted)
    assert caught.value.code == "E863" and "cd.run(spec)" in caught.value.diagnostics[0].help
