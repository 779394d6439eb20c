"""The spec that many tests share: are both pairs equal, or both unequal, in the vector network whose weights are known."""

from __future__ import annotations

from collections.abc import Sequence

MODEL = """\
domain Shape = 0..3

causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}
"""


def relu(*places: str, tests: str = "", align: str = "halves") -> str:
    """The model in ``zoo("equality-relu")`` [4 x 4 numbers of one-hot input], with ``places`` as lines of the alignment."""
    inputs = [f"{name} @ {f'input[{4 * i}:{4 * i + 4}]':12} via onehot()" for i, name in enumerate("abcd")]
    lines = [*inputs, "", *places, "same @ logits"]
    body = "".join(f"  {line}".rstrip() + "\n" for line in lines)
    return f'{MODEL}\nnetwork mlp = zoo("equality-relu")\n\nalign {align} : equality -> mlp {{\n{body}}}\n{tests}'


def gpt2(
    *places: str,
    tests: str = "",
    align: str = "at",
    shapes: Sequence[str] = ("arrow", "circle", "cross", "diamond"),
) -> str:
    """The model of words in ``zoo("equality-gpt2")``, a small language network."""
    domain = ", ".join(f'"{shape}"' for shape in shapes)
    lines = ['prompt "{a} {b} {c} {d} ="', *places, "same @ next_token"]
    body = "".join(f"  {line}\n" for line in lines)
    model = MODEL.replace("0..3", f"{{{domain}}}")
    return f'{model}\nnetwork net = zoo("equality-gpt2")\n\nalign {align} : equality -> net {{\n{body}}}\n{tests}'
