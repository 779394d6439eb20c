"""The one-pass executor against hooks by hand, over everything that can be written anywhere (``matrix``).

A sample of it runs always, the whole with ``pytest -m nightly``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.engine.execute import Execution
from causal_dsl.network.known_of_network import used_as
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.program.components import COMPONENTS, width
from causal_dsl.report.progress import Progress
from causal_dsl.running import preparing
from causal_dsl.score.targets import target_ids
from causal_dsl.vocabulary.locations import Site
from tests.engine.byhand import ByHand
from tests.engine.matrix import HEAD, SHARED, Case, Rows, Spot, cases
from tests.engine.tiny import execution_of, network_of, spec_of
from tests.thinning import some

torch.set_num_threads(1)
#: The largest difference of a logit, where logits are of the order of one.
CLOSE = 1e-4
#: Tests that are checked and run together.
TOGETHER = 150


def families() -> list[str]:
    """Every family of the package's table."""
    from tests.network.families import CONFIGS

    return list(CONFIGS)


def shallow() -> list[str]:
    """The same with one and with two layers."""
    from tests.network.families import CONFIGS

    return [f"{name}:{layers}" for name in CONFIGS for layers in (1, 2)]


@cache
def vectors() -> tuple[str, dict[str, torch.Tensor]]:
    """Vectors of every width there is, in a file."""
    made = {f"w{n}": torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in range(1, 200)}
    made |= {f"d{n}": torch.randn(2, n, generator=torch.Generator().manual_seed(n)) for n in range(2, 200)}
    path = Path(mkdtemp(prefix="vectors-")) / "vectors.safetensors"
    save_file(made, path)
    return str(path), made


def known(family: str) -> Network:
    return network_of(spec_of(family, "").split("align ")[0])


def matrix_of(family: str) -> list[Case]:
    """All cases of a family."""
    network = known(family)
    facts = network.facts

    def wide(spot: Spot) -> int | None:
        heads = () if spot.head is None else (spot.head,)
        return width(Site(spot.component, spot.layer, heads), facts)

    kv = facts.kv_heads or facts.heads or 1
    every = list(cases(facts, len(network.layers), wide))
    # of multi-query attention there is one head of keys
    return (
        [c for c in every if c.target.head is None or c.target.component not in SHARED or c.target.head < kv]
        if kv > 1
        else [c for c in every if not _shares(c)]
    )


def _shares(case: Case) -> bool:
    """Whether a case speaks of a second head of keys or values."""
    return any(f"head[1].{name}" in case.action for name in SHARED)


def run(family: str, chosen: Sequence[Case]) -> float:
    """The largest error of any logit of some cases, run in one pass, in units of the logits' size."""
    path, made = vectors()
    tests = "\n".join(
        f"test t{number} on a(l=0, p=x) {{ {case.draw}\n do({case.action.replace('VECTORS', path)})\n report mean(kl) }}"
        for number, case in enumerate(chosen)
    )
    execution, _ = execution_of(spec_of(family, tests, layers="[0]", positions="[x]"))
    return compare(family, execution, chosen, made)


def compare(family: str, execution: Execution, chosen: Sequence[Case], made: dict[str, torch.Tensor]) -> float:
    """The largest error of the logits of tests ``t0``, ``t1``, …, which are to be those of the cases."""
    plan, worst = execution.plan, 0.0
    assert not [step.why for step in plan.steps if step.why], "something does not ride in one pass"
    got = execution.logits()
    hand = ByHand(family)
    ((key, inputs),) = plan.inputs.items()
    for number, case in enumerate(chosen):
        score = plan.scores[f"t{number}"][0]
        resume = score.read("patched").run  # type: ignore[union-attr]
        runs = {role: g.Forward(key, score.label.draw, role) for role in ("base", "source")}
        ids = {
            role: [inputs.ids(i) for i in plan.rows[run].tolist()] if run in plan.rows else []
            for role, run in runs.items()
        }
        reads = [inputs.prompts[i].read for i in plan.rows[runs["base"]].tolist()]
        rows = Rows(hand, ids["base"], ids["source"], reads, made)
        for row in range(len(rows.base)):
            expected = case.expected(rows, row)
            error = float((got[resume][row] - expected).abs().max()) / max(1.0, float(expected.abs().max()) / 10)
            assert error < CLOSE, (family, case.action, row, error)
            worst = max(worst, error)
    return worst


def sample(every: list[Case], count: int, seed: int) -> list[Case]:
    """Some cases at random, and all in which a site of a layer takes from itself in the same layer."""
    rng = np.random.default_rng(seed)
    picked = [every[i] for i in sorted(rng.choice(len(every), min(count, len(every)), replace=False).tolist())]
    return list(dict.fromkeys([*picked, *(case for case in every if case.text == "<- source")]))


@pytest.mark.thinned(always=1, slow=3)
@pytest.mark.parametrize(
    "family",
    some(
        ["gpt2", "llama", "gemma2", "bert", "gptj", "gpt2:1", "llama:2", "gpt_neox sequential"],
        ["llama", "bert", "gpt2:1"],
    ),
)
def test_a_sample(family: str) -> None:
    every = matrix_of(family)
    told = {case.target.component for case in every}
    facts = known(family).facts
    assert told >= {n for n, a in COMPONENTS.items() if a.layer and "language" in a.kinds and _has(n, facts)}
    run(family, sample(every, 50, len(family)))


def _has(name: str, facts: object) -> bool:
    from causal_dsl.program.components import missing

    return missing(name, facts) is None  # type: ignore[arg-type]


def of_features(family: str) -> list[Case]:
    """At every site, of what the source has there the part in two given directions."""
    made = vectors()[1]

    def part(rows: Rows, row: int, spot: Spot) -> torch.Tensor:
        base, source = rows.of(rows.base[row], spot), rows.of(rows.source[row], spot)
        basis = torch.linalg.qr(made[f"d{len(base)}"].T.double())[0]
        return base + ((source - base).double() @ basis @ basis.T).float()

    every = [case for case in matrix_of(family) if case.text == "<- source" and case.target.component != "pattern"]
    return [Case(case.target, "<- source", part) for case in every]


def run_features(family: str, chosen: Sequence[Case]) -> float:
    """:func:`run` of variables that are written through a feature."""
    path, made = vectors()
    network = known(family)
    tests = ""
    for number, case in enumerate(chosen):
        spot = case.target
        wide = width(Site(spot.component, spot.layer, () if spot.head is None else (spot.head,)), network.facts)
        feature = f'subspace("{path}", key="d{wide}", n=24, controls=none)'
        tests += f"\nalign f{number} : a {{ same @ {spot} via {feature} }}"
        tests += f"\ntest t{number} on f{number}(0, x) {{ {case.draw}\n do(same <- source)\n report mean(kl) }}"
    spec = api.parse(spec_of(family, tests, layers="[0]", positions="[x]"))
    checked = api.check(spec, Options(trust=True))  # the directions lie in a folder of the tests
    checked.raise_errors()
    assert checked.plan is not None
    networks = {key: used_as(network, ref) for key, ref in checked.plan.networks.items()}
    library = preparing.fit_features(checked, networks, Options(), Progress(), None)
    targets = target_ids(checked.plan, checked.answers, networks)
    execution = Execution(checked.plan, networks, checked.answers, targets, features=library.maps)
    return compare(family, execution, chosen, made)


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("family", some(["llama", "gpt2:2", "olmo2", "distilbert", "falcon"], ["llama", "distilbert"]))
def test_features_at_every_site(family: str) -> None:
    every = of_features(family)
    assert run_features(family, every[:: max(1, len(every) // 12)]) < CLOSE


@pytest.mark.nightly
@pytest.mark.parametrize("family", [*families(), *shallow()])
def test_features_at_every_site_of_every_family(family: str) -> None:
    assert run_features(family, of_features(family)) < CLOSE


@pytest.mark.nightly
@pytest.mark.parametrize("family", [*families(), *shallow()])
def test_the_whole_matrix(family: str) -> None:
    """Of networks of one and two layers, whose cases are those of the others but for the layer, a part."""
    every = matrix_of(family)
    if ":" in family:
        every = sample(every, 2 * TOGETHER, 0)
    worst = max(run(family, every[start : start + TOGETHER]) for start in range(0, len(every), TOGETHER))
    print(f"{family}: {len(every)} cases, largest error {worst:.1e}")


assert HEAD == 8
