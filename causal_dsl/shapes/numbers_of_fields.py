"""Numbers that fields hold, with the ends between which they lie."""

from __future__ import annotations

from typing import Annotated

#: A share or a probability: between these ends.
Share = Annotated[float, (0.0, 1.0)]
#: How many there are of something.
Count = Annotated[int, (0, 2**63)]
