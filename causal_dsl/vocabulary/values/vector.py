"""``vector("file.safetensors", key=…)`` and ``[1, 2, 3]``: a vector that is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.written import Example, Value, Written


@dataclass(frozen=True)
class Vector(Value):
    """A vector with a number for each coordinate of the site: written out, or a tensor of a safetensors file."""

    function = "causal_dsl.engine.values:vector"
    runless = True
    path: Path | None = None
    key: str = ""
    values: tuple[float, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return () if self.path is None else (self.path,)

    def told(self) -> str:
        return Value.told(replace(self, path=None))

    def __str__(self) -> str:
        if self.path is None:
            return f"[{', '.join(f'{number:g}' for number in self.values)}]"
        return f'vector("{self.path.name}"{f", key={self.key!r}" if self.key else ""})'


FAMILY = (
    Written(
        "vector",
        Vector,
        '`[1, 0, 2]`, `vector("file.safetensors", key="name")`',
        "a vector as wide as the site",
        (Example('= vector("VECTORS", key="wWIDTH")', lambda hand: hand.file(), unequal=True),),
        {
            "path": Setting("file", positional=True, required=True, says="a safetensors file, relative to the spec"),
            "key": Setting("string", "", says="the name of the tensor in the file, where it holds several"),
        },
    ),
)
