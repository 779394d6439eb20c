"""Three parts of the inputs of a model, so that what is fitted on some is judged on others.

An input is what a network is shown: the values of the variables that enter it (all drawn ones where no network is
known). It is in one part for good: whatever is drawn, with whatever seed, and under whatever conditions of a test. A hash
of its values (of a text its letters, of a number its 64 bits) lies below, between or above two cuts. Where the inputs can
be listed, the cuts are such that the shares are exact. Where prompts show different variables, those that all of them show
decide, so that no prompt is in two parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import bits, key
from causal_dsl.causal.input_list import Support
from causal_dsl.causal.support import LISTABLE, enumerate_support, known
from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.vocabulary.called_words import PARTS

if TYPE_CHECKING:
    from causal_dsl.causal.model import CausalModel

#: The parts, by number, and how many tenths of the inputs lie in each.
TENTHS = (6, 2, 2)


def part_of(model: CausalModel, settings: Mapping[str, np.ndarray]) -> np.ndarray:
    """The part of each input, ``[n]``: 0 to fit on, 1 to validate with, 2 to test with.

    ``settings`` holds codes ``[n]`` of all exogenous variables, or of those that ``telling`` names. Raises KeyError where
    one is missing, and SpecError where the model cannot be evaluated.
    """
    n = next((len(column) for column in settings.values()), 0)
    return np.searchsorted(cuts_of(model), _hashes(model, settings, n))


def cuts_of(model: CausalModel) -> np.ndarray:
    """Where the hashes of its inputs are cut into parts; found once."""
    if model.cuts is None:
        model.cuts = cut(model)
    return model.cuts


def cut(model: CausalModel) -> np.ndarray:
    """The last hash of the first part and of the second (uint64).

    Of ``n`` inputs that can be listed, those with the lowest hashes, ``n`` times 0.6 to the nearest whole number, are the
    first part, and up to 0.8 the second; of three inputs or more each part has one. Else the shares are of all hashes.
    """
    first, second = TENTHS[0], TENTHS[0] + TENTHS[1]
    hashes = hashes_of_inputs(model)
    if hashes is None or not len(hashes):
        return np.array([2**64 * first // 10 - 1, 2**64 * second // 10 - 1], np.uint64)
    n = len(hashes)
    first, second = (n * first + 5) // 10, (n * second + 5) // 10
    if n >= 3:
        first = min(first, n - 2)
        second = min(max(second, first + 1), n - 1)
    ends = [first - 1, second - 1]
    return np.partition(hashes, ends)[ends]


def hashes_of_inputs(model: CausalModel) -> np.ndarray | None:
    """The hash of every input, or None where there are too many to list."""
    support = enumerate_support(model.weighted(""), LISTABLE, model.telling)  # parts are of inputs, however often drawn
    if support is None:
        return None
    hashes = _hashes(model, support.values, support.n)
    return hashes if model.telling == model.exogenous else np.unique(hashes)


def _hashes(model: CausalModel, settings: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    found = np.zeros(n, np.uint64)
    told = settings if model.telling == model.exogenous else known(model, settings, model.telling, n)
    for name in sorted(model.telling):
        found = bits(key("split", name), _words(model, name, told), found)
    return found


def _words(model: CausalModel, name: str, settings: Mapping[str, np.ndarray]) -> np.ndarray:
    """64 bits for each value, which do not depend on how the model codes it."""
    if name not in settings:
        raise KeyError(f"no codes for the exogenous variable {name!r} of {model.name!r}")
    kind = model.variables[name].type
    if kind in ("string", "set"):
        return model.strings.hashes()[np.asarray(settings[name])]
    if kind == "real":
        return (np.asarray(settings[name], np.float64) + 0.0).view(np.uint64)  # -0.0 is 0.0
    return np.asarray(settings[name], np.int64).view(np.uint64)


def restrict(model: CausalModel, support: Support, split: str) -> Support:
    """The inputs of a list that lie in a part; all where ``split`` is empty. Nothing may be left."""
    if not split:
        return support
    # A model that draws nothing has no column to take the length from.
    settings = support.values or {"": support.weights}
    keep = part_of(model, settings) == PARTS.index(split)
    return Support({name: codes[keep] for name, codes in support.values.items()}, support.weights[keep], support.broken)


def report_empty(model: CausalModel, split: str, place: Span, label: str, diagnostics: Diagnostics) -> None:
    """A part of which nothing can be drawn (E710)."""
    hashes = hashes_of_inputs(model)
    if hashes is None:
        shares = [f"{10 * tenths}% in `{part}`" for part, tenths in zip(PARTS, TENTHS, strict=True)]
        note = f"`{model.name}` has more inputs than can be listed: about {', '.join(shares)}"  # whatever they are parted by
    else:
        sizes = np.bincount(np.searchsorted(cuts_of(model), hashes), minlength=len(PARTS)).tolist()
        shares = [f"{size:,} in `{part}`" for part, size in zip(PARTS, sizes, strict=True)]
        what = f"values of {' and '.join(f'`{name}`' for name in model.by)}" if model.by else "inputs"
        what = what if len(hashes) != 1 else what.replace("values", "value").replace("inputs", "input")
        note = f"`{model.name}` has {len(hashes):,} {what}: {', '.join(shares)}"
    diagnostics.report(
        "E710",
        f"no input of the `{split}` part is left to draw",
        place,
        label=label,
        notes=(note,),
        help="say which inputs to hold out with `where` in place of `split`, or enlarge the domains",
    )
