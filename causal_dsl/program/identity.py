"""Who a network is: a value made of all that decides its numbers. Names are for messages, and identify nothing.

Two declarations with equal keys are one network, whatever they are called and wherever they stand; two with different
keys are two, though both be called ``net``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import real_path
from causal_dsl.program.facts import local_folder

if TYPE_CHECKING:
    from causal_dsl.diagnostics import Span
    from causal_dsl.program.modules import Module

#: How prompts are padded where a declaration does not say.
PADDING = "right"


@dataclass(frozen=True)
class Origin:
    """Where something is declared: two models (or alignments) of one name in two files are two."""

    path: str
    start: int
    name: str

    def __str__(self) -> str:
        return self.name


def origin(name: str, span: Span) -> Origin:
    """The origin of what is declared as ``name`` at ``span``."""
    return Origin(span.source.path, span.start, name)


@dataclass(frozen=True)
class TrainingKey:
    """Everything that decides trained weights: the ``network`` they start from, the ``alignment`` (by name, in ``files``),
    and the ``settings``. ``files`` is a digest of the texts that the alignment and its causal model are written in, and
    of the folders that their paths start from.
    """

    network: NetworkKey
    alignment: str
    settings: tuple[tuple[str, Any], ...]
    files: str

    def __str__(self) -> str:
        told = [self.alignment, *(f"{name}={value}" for name, value in self.settings)]
        return f"train({', '.join(told)}) from {self.network}"


@dataclass(frozen=True)
class NetworkKey:
    """The identity of a network, and of how it is used.

    ``kind`` is ``hf``, ``zoo``, ``torch`` or ``train``. ``target`` is an absolute path without links where it is one, else
    the name of a repository or of a network of the zoo. ``settings`` are those that decide numbers, in the order of their
    names. ``training`` says what was trained into it. ``untrained``: its weights are drawn anew.
    ``name`` is what messages call it; keys that differ in it alone are equal.
    """

    kind: str
    target: str
    revision: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()
    training: TrainingKey | None = None
    untrained: bool = False
    name: str = field(default="", compare=False)

    @property
    def loaded(self) -> NetworkKey:
        """The key of what is loaded for it: the same for uses that differ only in how prompts are padded."""
        return replace(self, settings=tuple(setting for setting in self.settings if setting[0] != "padding"))

    @property
    def trained(self) -> NetworkKey:
        """The network that an untrained one is made from; itself, of another."""
        return replace(self, untrained=False)

    def __hash__(self) -> int:
        """Computed once: every node of a plan holds a key."""
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            about = (self.kind, self.target, self.revision, self.settings, self.training, self.untrained)
            found = self.__dict__["_hash"] = hash(about)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name != "_hash"
        }  # it holds in this process only

    def __str__(self) -> str:
        told = [f'"{self.target}"'] if self.training is None else [str(self.training)]
        told += [f'revision="{self.revision}"'] * (self.revision is not None)
        told += [f"{name}={value}" for name, value in self.settings]
        return f"{self.kind}({', '.join(told)})" + " (untrained)" * self.untrained

    def to_json(self) -> dict[str, Any]:
        """The key as data."""
        found: dict[str, Any] = {
            "kind": self.kind,
            "target": self.target,
            "revision": self.revision,
            "settings": dict(self.settings),
            "untrained": self.untrained,
        }
        if self.training is not None:
            found["training"] = {
                "network": self.training.network.to_json(),
                "alignment": self.training.alignment,
                "settings": {name: list(v) if isinstance(v, tuple) else v for name, v in self.training.settings},
                "files": self.training.files,
            }
        return found


def network_key(
    kind: str,
    target: str,
    settings: Mapping[str, Any],
    folder: Path,
    name: str = "",
    training: TrainingKey | None = None,
) -> NetworkKey:
    """The key of a declaration whose paths start from ``folder``; ``settings`` as they are written, defaults left out or in."""
    own = {key: value for key, value in settings.items() if value is not None}
    revision = own.pop("revision", None)
    untrained = bool(own.pop("untrained", False))
    own.setdefault("padding", PADDING)
    own.pop("elsewhere", None)  # it is said to `check`, and decides no number
    if own.get("merged"):
        del own["merged"]  # as an adapter is where nothing is said
    if "adapter" in own and (put := local_folder(own["adapter"], folder)) is not None:
        own["adapter"] = absolute(put)
    if kind == "hf":
        local = local_folder(target, folder)
        if local is not None:
            target, revision = absolute(local), None  # a folder has no revisions
        else:
            revision = revision or "main"
    elif kind == "torch":
        file, colon, function = target.rpartition(":")
        if colon:
            target = f"{absolute(folder / file)}:{function}"
    for setting in ("weights", "tokenizer") if kind == "torch" else ():
        if setting in own:
            own[setting] = absolute(Path(folder, Path(own[setting]).expanduser()))
    return NetworkKey(kind, target, revision, tuple(sorted(own.items())), training, untrained, name)


def absolute(path: Path) -> str:
    """A path as one text, however it was spelled and whatever links lead there."""
    try:
        return str(real_path(path))
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
        return str(path.absolute())


def files_digest(module: Module) -> str:
    """SHA-256 in hex of a file and of all that it takes names from: their texts, and the folders that paths start from."""
    found: dict[int, Module] = {}
    stack = [module]
    while stack:
        one = stack.pop()
        if id(one) not in found:
            found[id(one)] = one
            stack += [definition.module for definition in one.names.values()]
    told = sorted(f"{absolute(one.folder)}\0{one.source.text}" for one in found.values())
    return hashlib.sha256("\0\0".join(told).encode("utf-8", "surrogatepass")).hexdigest()


__all__ = ["PADDING", "NetworkKey", "Origin", "TrainingKey", "absolute", "files_digest", "network_key", "origin"]
