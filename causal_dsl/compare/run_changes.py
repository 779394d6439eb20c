"""The identity of two runs, and where they differ: spec, networks, files, settings, versions, command, machine."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.compare.recorded import RecordedRun
from causal_dsl.store.keys import changes

#: What of an identity decides numbers, and is not told by itself.
_SETTINGS = ("seed", "dtype", "device", "compiled", "reference", "memory")
_MOST = 12


@dataclass(frozen=True)
class IdentityChange:
    """One difference of what identifies two runs: of which ``kind``, and how, in words."""

    kind: str
    text: str

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "text": self.text}


def run_changes(a: RecordedRun, b: RecordedRun) -> list[IdentityChange]:
    """The differences between two runs; empty where they have one key, one command and one machine."""
    own, other = a.document, b.document
    before, now = own["identity"], other["identity"]
    found: list[IdentityChange] = []
    if a.digest != b.digest:
        found.append(IdentityChange("spec", "the spec or its imports have another text"))
    for name in _SETTINGS:
        found += _told("settings", changes({name: before.get(name)}, {name: now.get(name)}))
    found += _told("networks", _of_networks(before.get("networks", {}), now.get("networks", {})))
    files, there = _files(before), _files(now)
    found += _told("files", changes(files, there))
    for name in ("features", "circuits", "behaviour"):
        found += _told(name, changes({name: before.get(name)}, {name: now.get(name)}))
    found += _told("versions", changes(own.get("versions", {}), other.get("versions", {})))
    found += _told("machine", changes(own.get("machine", {}), other.get("machine", {})))
    if before.get("command") != now.get("command"):
        found.append(IdentityChange("command", f"`{_words(before)}`, then `{_words(now)}`"))
    if set(a.tests) == set(b.tests) and before.get("tests") != now.get("tests"):
        found.append(IdentityChange("tests", "other controls were run beside the tests"))
    return found


def _told(kind: str, texts: Iterable[str]) -> list[IdentityChange]:
    every = [IdentityChange(kind, text) for text in texts]
    more = len(every) - _MOST
    return every if more <= 0 else [*every[:_MOST], IdentityChange(kind, f"and {more} more of this kind")]


def _of_networks(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Changes of networks, without their files, which are told by themselves."""

    def plain(networks: Mapping[str, Any]) -> dict[str, Any]:
        return {name: {k: v for k, v in made.items() if k != "files"} for name, made in networks.items()}

    return changes(plain(before), plain(now))


def _files(identity: Mapping[str, Any]) -> dict[str, str]:
    """The files of a run that are no weights: those have a digest of their own, and lie elsewhere in another checkpoint."""
    weights = {made.get("weights") for made in identity.get("networks", {}).values()}
    endings = (".safetensors", ".bin", ".gguf", ".pt")
    files = identity.get("files", {})
    return {path: known for path, known in files.items() if not (weights and path.endswith(endings))}


def _words(identity: Mapping[str, Any]) -> str:
    command = identity.get("command")
    return shlex.join(command) if command else "(run from Python)"


def spec_changes(a: RecordedRun, b: RecordedRun) -> list[str]:
    """The lines in which the specs differ, as a unified diff; empty where they do not, or a text was not kept."""
    if a.spec_text is None or b.spec_text is None or a.spec_text == b.spec_text:
        return []
    lines = (a.spec_text.splitlines(), b.spec_text.splitlines())
    return list(difflib.unified_diff(*lines, f"A {a.spec}", f"B {b.spec}", n=2, lineterm=""))


__all__ = ["IdentityChange", "run_changes", "spec_changes"]
