"""Keys of what is kept: one function makes them, from inputs that are declared here and nowhere else.

What could change without changing a key would give old numbers for a new question; so each class lists everything that
decides what is kept under it, and the list is kept beside it, so that a message can say which input is another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.store.hashes import of_bytes

#: Another number, and nothing that was kept before is taken.
FORMAT = 4


@dataclass(frozen=True)
class NetworkInputs:
    """The parts of a loaded network. ``weights``: SHA-256 of its weight files, or of its parameters and buffers.
    ``files``: SHA-256 of every other file that was read to make it (config, tokenizer, code), by path; ``behaviour``: of its
    logits for a few inputs, for one that code makes: they tell what no file says. ``libraries``: the versions of those that
    only such networks need (peft)."""

    kind: str
    target: str
    revision: str | None
    settings: Mapping[str, Any]
    training: str
    weights: str
    files: Mapping[str, str]
    architecture: str
    dtype: str
    device: str
    padding: str
    behaviour: str
    libraries: Mapping[str, str]


@dataclass(frozen=True)
class RunInputs:
    """All that decides the numbers of a run: blocks under ``--out`` belong to it. ``spec``: SHA-256 of its text and imports;
    ``files``: of every file that it reads, by path; ``features``: of the numbers of all fitted maps;
    ``circuits``: of the nodes and edges of all circuits that were discovered;
    ``behaviour``: of the logits that networks made by code give for some of its inputs, by their names."""

    spec: str
    tests: tuple[str, ...]
    seed: int
    dtype: str | None
    device: str | None
    compiled: bool
    reference: bool
    memory: int | None
    files: Mapping[str, str]
    networks: Mapping[str, NetworkInputs]
    features: str
    circuits: str
    behaviour: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class FitInputs:
    """All that decides a fitted feature. ``fitting`` are its settings, ``maps`` what is fitted where, ``files`` what its
    features read; ``data``: SHA-256 of the prompts, interventions and labels that it is fitted on."""

    fitting: Mapping[str, Any]
    maps: tuple[Any, ...]
    files: Mapping[str, str]
    data: str
    seed: int
    network: NetworkInputs | str
    way: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class ScoreInputs:
    """All that decides scores that a run takes before or beside its sweeps: those by which a circuit is found, and gradients at places.
    ``asked`` says of what, by which metric and how; ``data``: SHA-256 of the inputs, of the tokens that are looked at, and
    of what is asked of the logits. ``memory`` decides how the inputs are shared out over passes."""

    asked: tuple[str, ...]
    data: str
    network: NetworkInputs | str
    memory: int | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class TrainingInputs:
    """All that decides trained weights. ``model`` and ``alignment`` as text; ``data``: SHA-256 of the inputs that it is
    trained on; ``start``: of the weights that it starts from; ``code`` of the network's modules,
    ``behaviour`` as it starts."""

    model: Mapping[str, Any]
    alignment: Mapping[str, Any]
    places: tuple[Any, ...]
    rest: tuple[str, ...]
    settings: Mapping[str, Any]
    data: str
    start: str
    code: tuple[str, ...]
    behaviour: str
    files: Mapping[str, str]
    dtype: str
    device: str
    padding: str
    versions: Mapping[str, str]


Inputs = RunInputs | FitInputs | ScoreInputs | TrainingInputs


def told(inputs: Inputs | NetworkInputs) -> dict[str, Any]:
    """Inputs as plain data, as they stand beside what is kept."""
    plain: dict[str, Any] = json.loads(_text(asdict(inputs)))
    return plain


def key_of(inputs: Inputs) -> str:
    """The key of what is kept for these inputs: SHA-256 in hex. Raises TypeError for what is no plain data."""
    return of_bytes(_text({"format": FORMAT, "kind": type(inputs).__name__, **asdict(inputs)}).encode())


def _text(data: Any) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=True)


def changes(before: Any, now: Any, path: str = "") -> list[str]:
    """Which inputs are others, in words: the names of what is not the same in two :func:`told`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for name in dict.fromkeys([*before, *now]):
            inner = f"{path}: {name}" if path else str(name)
            if name not in before:
                found.append(f"{inner} is new")
            elif name not in now:
                found.append(f"{inner} is gone")
            else:
                found += changes(before[name], now[name], inner)
        return found
    if before == now:
        return []
    if isinstance(before, str) and isinstance(now, str) and len(before) == len(now) == 64:
        return [f"{path} has another content"]
    if path == "tests":  # also those of a run without `--test`, and each output that a test reads
        was, here = (", ".join(map(str, names or ())) or "nothing" for names in (before, now))
        return [f"other tests were run: {_cut(was)}; now {_cut(here)}"]
    return [f"{OPTIONS.get(path, path)} was {_shown(before)}, and is {_shown(now)}"]


#: Inputs of a run that are options, as they are typed.
OPTIONS = {
    "memory": "`--batch-memory`",
    "compiled": "`--compile`",
    "dtype": "`--dtype`",
    "device": "`--device`",
    "reference": "`--reference`",
    "without": "`--without`",
}


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "not given"
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


@cache
def own_source() -> str:
    """SHA-256 of this package's code, tables and grammar: a checkout changes without changing its version."""
    from causal_dsl.base.resources import resource

    package = Path(__file__).resolve().parents[1]
    files = [*sorted([*package.rglob("*.py"), *package.rglob("*.json")]), resource("grammar", "causal.lark")]
    parts = [f"{path.name} {of_bytes(path.read_bytes())}" for path in files]
    return of_bytes("\n".join(parts).encode())


def own_version() -> str:
    """The version of this package; ``checkout`` where it is not installed."""
    try:
        return version("causal-dsl")
    except PackageNotFoundError:
        return "checkout"


@cache
def versions() -> dict[str, str]:
    """The versions of what computes: this package (with its source), torch, transformers, tokenizers and numpy."""
    found = {"causal_dsl": own_version(), "causal_dsl source": own_source()}
    return found | {name: version_of(name) for name in ("torch", "transformers", "tokenizers", "numpy")}


def version_of(package: str) -> str:
    """The version of a package that is installed; ``none`` where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
