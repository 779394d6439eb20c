"""Variables of more values than are listed, or of real numbers, that a condition makes equal to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.domains import Finite, Real

if TYPE_CHECKING:
    from causal_dsl.causal.model import CausalModel

Key = tuple[str, str]
Uniform = Callable[[str], np.ndarray]
#: From the codes that are drawn already, and random numbers, to the codes ``[n]`` of one variable.
Drawn = Callable[[Mapping[Key, np.ndarray], Uniform, int], np.ndarray]


class Classes:
    """Classes of equal variables. ``drawn`` says how each wide one comes about.

    ``restricted``: listed variables and which of their values remain; ``pairs``: listed ones that are equal.
    """

    def __init__(self) -> None:
        self._parent: dict[Key, Key] = {}
        self._fixed: list[tuple[Key, float]] = []
        self.drawn: dict[Key, Drawn] = {}
        self.restricted: list[tuple[Key, np.ndarray]] = []
        self.pairs: list[tuple[Key, Key]] = []
        self.empty = False

    @property
    def useful(self) -> bool:
        return bool(self._parent)

    def _find(self, at: Key) -> Key:
        self._parent.setdefault(at, at)
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at

    def join(self, first: Key, second: Key) -> None:
        self._parent[self._find(second)] = self._find(first)

    def fix(self, at: Key, value: float) -> None:
        self._fixed.append((self._find(at), value))

    def resolve(self, roles: Mapping[str, CausalModel], values: Mapping[Key, np.ndarray | None]) -> None:
        classes: dict[Key, list[Key]] = {}
        for at in list(self._parent):
            classes.setdefault(self._find(at), []).append(at)
        for head, members in classes.items():
            wide = [at for at in members if values.get(at) is None]
            listed = [at for at in members if values.get(at) is not None]
            domains = [roles[role].variables[name].domain for role, name in wide]
            constants = sorted({value for at, value in self._fixed if self._find(at) == head})
            self.pairs += [(listed[0], at) for at in listed[1:]]
            if len(constants) > 1:
                self.empty = True
            elif constants:
                self._constant(roles, wide, listed, values, constants[0])
            elif listed:
                codes = values[listed[0]]
                assert codes is not None
                keep = np.ones(len(codes), bool)
                for role, name in wide:
                    keep &= _inside(roles[role], name, codes)
                self.restricted.append((listed[0], keep))
                self.drawn.update(dict.fromkeys(wide, _copy(listed[0])))
            elif all(isinstance(domain, Real) for domain in domains):
                self._reals(wide, [domain for domain in domains if isinstance(domain, Real)])
            else:
                self._whole(roles, wide)

    def _constant(
        self,
        roles: Mapping[str, CausalModel],
        wide: list[Key],
        listed: list[Key],
        values: Mapping[Key, np.ndarray | None],
        constant: float,
    ) -> None:
        one = np.array([constant])
        self.empty |= not all(_inside(roles[role], name, one).all() for role, name in wide)
        for at in listed:
            codes = values[at]
            assert codes is not None
            self.restricted.append((at, codes == constant))
        self.drawn.update(dict.fromkeys(wide, lambda codes, uniform, n: np.full(n, constant)))

    def _reals(self, wide: list[Key], domains: list[Real]) -> None:
        low, high = max(domain.low for domain in domains), min(domain.high for domain in domains)
        if low > high:
            self.empty = True
            return
        name = "\x1f".join(wide[0])
        draw = lambda codes, uniform, n: np.minimum(low + (high - low) * uniform(name), high)  # noqa: E731
        self.drawn.update(dict.fromkeys(wide, draw))

    def _whole(self, roles: Mapping[str, CausalModel], wide: list[Key]) -> None:
        ranges = [
            domain.values
            for domain in (roles[role].variables[name].domain for role, name in wide)
            if isinstance(domain, Finite) and isinstance(domain.values, range)
        ]
        name = "\x1f".join(wide[0])
        if len(ranges) == len(wide):
            start, stop = max(r.start for r in ranges), min(r.stop for r in ranges)
            size = stop - start
            self.empty |= size <= 0

            def draw(codes: Mapping[Key, np.ndarray], uniform: Uniform, n: int) -> np.ndarray:
                # 53 random bits are too few for a long range: a second number gives the rest.
                high = (uniform(name) * 2**31).astype(np.int64)
                low = (uniform(f"{name}\x1flow") * 2**31).astype(np.int64)
                return start + ((high << 31) | low) % max(1, size)
        else:
            listed = next(
                roles[role].codes(at)
                for role, at in wide
                if not isinstance(roles[role].variables[at].domain.values, range)  # type: ignore[union-attr]
            )
            for role, at in wide:
                listed = listed[_inside(roles[role], at, listed)]
            self.empty |= not len(listed)

            def draw(codes: Mapping[Key, np.ndarray], uniform: Uniform, n: int) -> np.ndarray:
                return listed[np.minimum((uniform(name) * len(listed)).astype(np.int64), max(0, len(listed) - 1))]

        self.drawn.update(dict.fromkeys(wide, draw))


def _copy(of: Key) -> Drawn:
    return lambda codes, uniform, n: codes[of]


def _inside(model: CausalModel, name: str, codes: np.ndarray) -> np.ndarray:
    """Which codes a variable can have, ``[n]`` bool."""
    domain = model.variables[name].domain
    if isinstance(domain, Finite) and not isinstance(domain.values, range):
        return np.isin(codes, model.codes(name))
    if isinstance(domain, Finite) and isinstance(domain.values, range):
        return (codes >= domain.values.start) & (codes < domain.values.stop)
    return (codes >= domain.low) & (codes <= domain.high)
