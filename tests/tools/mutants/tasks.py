"""Functions that specs import."""


def agree(x: str, y: str) -> bool:
    return x == y


def larger(x: int, y: int) -> int:
    return max(x, y)


def share(x: int) -> float:
    return x / 4


def fragile(x: int, y: int) -> int:
    return x // y
