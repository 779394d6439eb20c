"""The folders that ``--out DIR`` holds: one for each spec, marked as ours, held by one run at a time.

``DIR/STEM`` belongs to the spec whose path its marker names; another spec of that name gets ``DIR/STEM-DIGEST``. What the
marker does not say we wrote is never replaced and never removed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Source, Span, SpecError, fail, real_path, shown_path
from causal_dsl.store import hashes, stopping_points
from causal_dsl.store.documents import read_document, write_document
from causal_dsl.store.files import clear_parts, replacing, set_aside
from causal_dsl.store.locks import Held, holding
from causal_dsl.store.mirror import address_of

#: The file that says that a folder is ours, of which spec, and what we wrote into it.
MARKER = "causal-dsl.json"
#: What was measured, as data.
RESULTS = "results.json"
#: The spec's text as it was run, and where its files are kept as they lay beside it.
SPEC, SOURCE = "spec.causal", "source"
#: Where workers and shards put what they finished.
UNITS = "units"
_LONGEST = 100


class SpecFolder:
    """The folder of one spec's results, which this process holds."""

    def __init__(self, folder: Path, about: dict[str, Any], spec: str):
        self.folder, self.spec = folder, spec
        self._about = about
        self._wrote: dict[str, list[str]] = about.setdefault("wrote", {})

    @property
    def blocks(self) -> Path:
        return self.folder / "blocks"

    @property
    def columns(self) -> Path:
        """The numbers of very many pairs (:mod:`causal_dsl.store.column_files`)."""
        return self.folder / "columns"

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A file to be written, which then takes the place of ``name``; what we did not write there is set aside."""
        path = self.folder / name
        self._unlink_above(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._spare(path, name)
        with replacing(path) as part:
            yield part
            # first it is said that this is ours, then it is put there: a kill between leaves no file of ours unknown
            self._wrote[name] = [*self._wrote.get(name, [])[-1:], hashes.of_file(part)]
            self._tell()
        stopping_points.reached("results")

    def write(self, name: str, data: bytes) -> None:
        with self.writing(name) as part:
            part.write_bytes(data)

    def tell(self, **more: Any) -> None:
        """Say more in the marker."""
        self._about |= more
        self._tell()

    def remove_others(self, under: str, keep: set[str]) -> None:
        """Remove what we wrote below a folder and that is not wanted any more."""
        for name in [name for name in self._wrote if name.startswith(f"{under}/") and name not in keep]:
            path = self.folder / name
            with suppress(OSError):
                if path.is_symlink() or hashes.of_file(path) in self._wrote[name]:
                    path.unlink()
            del self._wrote[name]
        self._tell()

    def link(self, name: str, target: Path) -> None:
        """A link to something that is too large to be copied, in the place of a link of ours."""
        path = self.folder / name
        self._unlink_above(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() and name in self._wrote:
            path.unlink()
        if not os.path.lexists(path):
            path.symlink_to(os.path.relpath(target, os.path.realpath(path.parent)))  # so both can be moved together
            self._wrote[name] = []
            self._tell()

    def _unlink_above(self, name: str) -> None:
        """Let no link lead out of this folder on the way to a file: what is written must lie in it."""
        for part in reversed(Path(name).parents):
            path = self.folder / part
            if part != Path() and path.is_symlink():
                if part.as_posix() in self._wrote:
                    path.unlink()
                else:
                    set_aside(path, f"`{part.as_posix()}` of these results", "it is a link to somewhere else")

    def _spare(self, path: Path, name: str) -> None:
        known = self._wrote.get(name, [])
        if path.is_symlink() and name in self._wrote and not known:  # a link of ours
            path.unlink()
        elif os.path.lexists(path) and (path.is_symlink() or not path.is_file() or hashes.of_file(path) not in known):
            set_aside(path, f"`{name}` of these results", "it is not as it was written here")

    def _tell(self) -> None:
        write_document(self.folder / MARKER, self._about)


@contextmanager
def opened(out: Path, spec: str) -> Iterator[SpecFolder]:
    """Hold the folder of a spec's results under ``out``, made where there is none; ``spec`` is its path or its name.

    Raises E755 for a folder that is not ours, E756 where another run is in it, E708 where it cannot be written.
    """
    place = Span(Source(spec, ""), 0, 0)
    try:
        folder = folder_of(out, spec)
        _refuse_foreign(folder, place)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, spec, error) from error
    entered = False
    try:
        with holding(folder):
            entered = True
            about = _marker(folder)
            if about is None:
                about = {"format": 1, "spec": _identity(out, spec)}
            for inner, _, _ in os.walk(folder):  # links are not followed
                clear_parts(Path(inner), every=True)
            held = SpecFolder(folder, about, spec)
            for room in (held.blocks, held.columns, held.folder / "features"):
                if os.path.lexists(room) and (room.is_symlink() or not room.is_dir()):
                    set_aside(room, f"`{room.name}` of these results", "it is not a folder, or a link to one")
            try:
                held._tell()
            except OSError as error:
                raise unwritable(out, spec, error) from error
            yield held
    except Held as error:
        raise fail(
            "E756",
            f"another run writes into `{shown_path(folder)}`",
            place,
            notes=(f"it is {error}",),
            help="wait for it, or pass another folder to --out",
        ) from error
    except OSError as error:
        if entered:
            raise
        raise unwritable(out, spec, error) from error
    except NotImplementedError as error:
        raise unwritable(out, spec, OSError(str(error) or "its file system has no locks")) from error


def unwritable(out: Path, spec: str, error: OSError) -> SpecError:
    """E708 for whatever kept results from being written."""
    return fail(
        "E708",
        f"cannot write the results to `{address_of(out) or shown_path(out)}`",
        Span(Source(spec, ""), 0, 0),
        notes=(error.strerror or str(error),),
        help="pass another folder to --out",
    )


def folder_of(out: Path, spec: str) -> Path:
    """The folder of one spec's results: by the name of its file, and by its path where another has that name."""
    stem = re.sub(r"[^\w.-]+", "_", Path(spec).stem)[:_LONGEST].lstrip(".") or "spec"
    identity = _identity(out, spec)
    about = _marker(out / stem)
    if about is None or about.get("spec") == identity:
        return out / stem
    return out / f"{stem}-{hashes.of_bytes(identity.encode('utf-8', 'surrogatepass'))[:8]}"


def _identity(out: Path, spec: str) -> str:
    """A spec's path from the folder of the results, so that both can be moved together; its name where it is not a file."""
    if spec.startswith("<"):
        return spec
    if address_of(out):  # it is at no distance from a file of this machine
        return Path(os.path.realpath(spec)).as_posix()
    try:
        return Path(os.path.relpath(os.path.realpath(spec), os.path.realpath(out))).as_posix()
    except ValueError:  # on another drive
        return os.path.realpath(spec)


def _marker(folder: Path) -> dict[str, Any] | None:
    """The contents of a folder's marker; None where it has none that can be read."""
    try:
        about = read_document(folder / MARKER)
    except (OSError, ValueError):
        return None
    if not isinstance(about.get("spec"), str):
        return None
    wrote = about.get("wrote")
    well = isinstance(wrote, dict) and all(
        isinstance(known, list) and all(isinstance(one, str) for one in known) for known in wrote.values()
    )
    return about if well else {**about, "wrote": {}}


def _refuse_foreign(folder: Path, place: Span) -> None:
    """Refuse a folder with files of which none says that it is ours (E755)."""
    if not os.path.lexists(folder):
        return
    inside = [] if not folder.is_dir() else [p.name for p in folder.iterdir()]
    ours = _marker(folder) is not None or all(name.startswith((".lock", ".holder", ".causal-dsl-")) for name in inside)
    if folder.is_dir() and ours:
        return
    shown = shown_path(folder)
    if MARKER in inside:
        raise fail(
            "E755",
            f"`{MARKER}` in `{shown}` is damaged",
            place,
            notes=("it is not as a run wrote it, and it is the only record of the files that runs wrote there",),
            help="pass another folder to --out; that folder may be deleted if it holds only results",
        )
    what = f"`{shown}` holds files that no run wrote" if inside else f"`{shown}` is not a folder"
    notes = (
        (f"there is `{sorted(inside)[0]}`, and no `{MARKER}` that says it is a folder of results",) if inside else ()
    )
    raise fail("E755", what, place, notes=notes, help="pass another folder to --out, or move that one away")


def kept_source(path: Path) -> Path | None:
    """Of the kept spec of a folder of results: where it would stand among its files, as they were kept; else None."""
    if path.name != SPEC:
        return None
    about = _marker(path.parent)
    inner = None if about is None else about.get("source")
    if not isinstance(inner, str):
        return None
    found = path.parent / SOURCE / inner
    return found if found.parent.is_dir() else None


def keep_source(held: SpecFolder, spec: Path, files: dict[Path, str], folders: list[Path]) -> None:
    """Keep the files that a spec reads as they lie to each other, so that the kept spec can be run where it lies.

    ``folders`` (networks) and large files are links: they are not copied. What lies on no common path with the spec, is
    installed, in a cache or hidden, stays where it is; so does what was changed since it was read.
    """
    home = Path(os.path.abspath(spec))
    wanted = [path for path in files if path != home and not any(path.is_relative_to(f) for f in folders)]
    near = [path for path in (*wanted, *folders) if _near(path, home.parent)]
    root = Path(os.path.commonpath([str(home.parent), *(str(path.parent) for path in near)]))
    kept: set[str] = set()
    for path in near:
        name = f"{SOURCE}/{path.relative_to(root).as_posix()}"
        try:
            large = path.is_dir() or path.stat().st_size > _COPIED
            data = b"" if large else path.read_bytes()
        except OSError:
            continue
        if not large and hashes.of_bytes(data) != files[path]:
            continue  # it is another file by now
        kept.add(name)
        if large:
            with suppress(OSError):  # where there are no links, the network is named by --network
                held.link(name, Path(os.path.realpath(path)))
        else:
            held.write(name, data)
    inner = home.relative_to(root).as_posix()
    held.write(f"{SOURCE}/{inner}", (held.folder / SPEC).read_bytes())
    held.remove_others(SOURCE, kept | {f"{SOURCE}/{inner}"})
    held.tell(source=inner)


#: Bytes of the largest file that is copied beside the kept spec; larger ones are links.
_COPIED = 32 << 20


def _near(path: Path, home: Path) -> bool:
    """Whether a file can be meant by a relative path of the spec: not something installed, nor of the cache."""
    packages = Path(sys.prefix), hashes.cache_root(), real_path(__file__).parents[1]
    if any(path.is_relative_to(place) for place in packages):
        return False
    shared = Path(os.path.commonpath([path, home]))
    hidden = any(part.startswith(".") for part in path.relative_to(shared).parts)
    return shared != Path(shared.anchor) and not hidden


__all__ = [
    "MARKER",
    "RESULTS",
    "UNITS",
    "SpecFolder",
    "folder_of",
    "keep_source",
    "kept_source",
    "opened",
    "unwritable",
]
