"""One network's share of a run, as a value: what both executors are given to run its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.activation_cache import Means, PassActivations
from causal_dsl.engine.off_manifold import OffManifold, every_input
from causal_dsl.engine.readings import Numbers, Targets
from causal_dsl.engine.values import Values
from causal_dsl.features.base import Feature
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.program.program import Test
from causal_dsl.program.read_features import FeatureRef


@dataclass(eq=False)
class Context:
    """One network's share of a run. ``numbers[test]`` reads the logits of its tests; ``tick`` hears of layer-tokens done."""

    plan: Plan
    network: Network
    layouts: Layouts
    numbers: dict[str, Numbers]
    means: Means
    budget: Budget
    tick: Callable[[int], None]
    #: the interventions that patch the base into itself, by the intervention whose places they write
    noise_floors: dict[g.Resume, g.Resume] = field(default_factory=dict)
    #: the fitted maps, by what names them
    features: Mapping[FeatureRef, Feature] = field(default_factory=dict)
    #: the features of files in whose numbers sites are written
    given: GivenMaps = field(default_factory=GivenMaps)
    #: the ids whose logits a quantity of a test asks for
    targets: Targets | None = None
    #: the written vectors that lie outside of what their site takes, in the pass at hand
    off_manifold: OffManifold = field(default_factory=OffManifold)

    def __post_init__(self) -> None:
        self.off_manifold.every = lambda resume, count: every_input(
            self.plan.drawn[resume.base.draw], resume.base.role, count
        )

    def tests(self) -> Iterator[Test]:
        return (test for test in self.plan.tests if test.network.key == self.network.key)

    def values(self, kept: PassActivations, elsewhere: dict[g.Capture, PassActivations]) -> Values:
        return Values(
            kept,
            self.means,
            elsewhere,
            self.network.device_at,
            self.network.facts.heads or 1,
            self.features,
            self.off_manifold,
            self.given,
        )


__all__ = ["Context"]
