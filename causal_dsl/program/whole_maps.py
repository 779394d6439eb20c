"""Maps that give as many coordinates as there are numbers: what is written through them is the whole place."""

from __future__ import annotations

from collections.abc import Sequence

from causal_dsl.program.components import width
from causal_dsl.program.program import Intervention
from causal_dsl.program.read_features import family
from causal_dsl.vocabulary.locations import FeatureSite, Place
from causal_dsl.vocabulary.network_facts import Facts


def takes_all(chain: Sequence[FeatureSite], place: Place, facts: Facts, joined: bool = False) -> bool:
    """Whether a chain of features has all that is at a place, so that writing a variable through it writes the place.

    No features have. ``joined``: the vectors of all tokens of the place are one, of which the width depends on the prompt.
    """
    count = None if joined else width(place.site, facts)
    for feature in chain:
        about = family(feature)
        if not about.complete:
            return False
        given = dict(feature.settings).get(about.dim)
        # one whose size shows only once it is made has one coordinate at least
        some = 1 if about.unsized or about.file is not None else None
        size = given if about.dim else some
        if size is not None and (count is None or size != count):
            return False
    return True


def writes_all(intervention: Intervention, facts: Facts) -> bool:
    """Whether an intervention writes all of its places, whatever the features through which it does."""
    if intervention.inside:
        return False
    return all(
        takes_all(ref.chain, place, facts, ref.joined)
        and (ref.block is None or ref.block == (0, width(place.site, facts)))
        for ref, place in zip(intervention.features, intervention.places, strict=False)
    )


__all__ = ["takes_all", "writes_all"]
