"""The words that were typed, as a source: faults of the command line point into it as faults of a spec point into the spec."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from causal_dsl.diagnostics import Diagnostics, did_you_mean, shown_path
from causal_dsl.messages.typed_words import TypedWords
from causal_dsl.planning.switches import CHUNKS
from causal_dsl.store.addresses import is_address, is_local_address, local_path, mistyped
from causal_dsl.store.out import MARKER

SUFFIX = ".causal"
_UNITS = {
    "": 1,
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "t": 1000**4,
    "ki": 1024,
    "mi": 1024**2,
    "gi": 1024**3,
    "ti": 1024**4,
}


class CommandLine(TypedWords):
    """The words after ``causal-dsl`` (``program``). ``alone``: the process has no other work."""

    def __init__(self, words: Sequence[str], alone: bool = False, program: str = "causal-dsl"):
        super().__init__(words, program)
        self.alone = alone
        #: what runs a command line; set by the command line itself
        self.main: Callable[[Sequence[str]], int] | None = None


def spec_files(paths: Iterable[str], line: CommandLine, diagnostics: Diagnostics) -> list[Path]:
    """The spec files that the paths name: a file as it is, a folder for every ``.causal`` file under it but for what
    begins with a dot and for the results of ``--out``.

    A file that does not exist is kept, so that reading it says what is wrong. A folder without any is E705.
    """
    found: dict[Path, None] = {}
    for written in paths:
        path = Path(written)
        if _is_folder(path):
            inside = sorted(entry for entry in path.rglob(f"*{SUFFIX}") if not left_out(entry, path))
            if not inside:
                diagnostics.report(
                    "E705",
                    f"there is no `{SUFFIX}` file in the folder `{shown_path(path)}`",
                    line.place(written),
                    notes=(
                        "folders are searched with all their subfolders, except names that begin with a dot, and results of --out",
                    ),
                    help="name a folder that holds specs, or one spec file",
                )
            found.update(dict.fromkeys(inside))
        else:
            found[path] = None
    return list(found)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False  # reading it tells


def left_out(file: Path, folder: Path) -> bool:
    """Whether a file below a folder is hidden, or a copy among the results of ``--out``."""
    inner = file.relative_to(folder)
    if any(part.startswith(".") or part == "__pycache__" for part in inner.parts):
        return True
    return any((folder / above / MARKER).is_file() for above in inner.parents if above != Path())


def named_networks(
    written: Iterable[str], line: CommandLine, diagnostics: Diagnostics, option: str = "--network"
) -> dict[str, Path]:
    """The paths that the ``option`` NAME=PATH gives, as a mapping; E706 where it is not of that form or no such path is there."""
    networks: dict[str, Path] = {}
    for word in written:
        name, sign, path = word.partition("=")
        place = line.place(word)
        if not sign or not name.isidentifier() or not path:
            diagnostics.report(
                "E706",
                f"`{word}` does not name a network and its checkpoint",
                place,
                help=f"write the name that the spec declares and a folder: `{option} lm=checkpoints/step-1000`",
            )
        elif name in networks:
            diagnostics.report("E706", f"`{option} {name}=…` is given twice", place, help="give one of them")
        elif not _exists(Path(path)):
            diagnostics.report(
                "E706",
                f"there is no `{path}` to take the network `{name}` from",
                place,
                help=_sibling(Path(path)),
            )
        else:
            networks[name] = Path(path)
    return networks


def _exists(path: Path) -> bool:
    try:
        return path.expanduser().exists()
    except (OSError, ValueError):
        return False


def _sibling(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return f"there is no folder `{path.parent}` either"
    return did_you_mean(path.name, names, "check the path: it is relative to the folder you are in")


def memory_size(text: str) -> int:
    """Bytes of a size such as ``8GB``, ``512MiB`` or ``2e9``."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match[2] == "i":
        raise ArgumentTypeError(f"{text!r} is not a size; write a number and a unit, such as 8GB or 512MiB")
    size = float(match[1]) * _UNITS[match[2]]
    if not 1_000_000 <= size < 2**60:
        raise ArgumentTypeError(f"{text!r} leaves no memory for a batch; write for example 8GB")
    return int(size)


def add_trust(command: ArgumentParser) -> None:
    """Add the options that say what specs may read and run, to each command that reads specs."""
    command.add_argument(
        "--allow",
        action="append",
        default=[],
        type=folder_that_is_there,
        metavar="DIR",
        help="also let the specs read files in this folder, beside their project (may be repeated)",
    )
    command.add_argument(
        "--trust",
        action="store_true",
        help="allow code that a spec names (Python files, pickles), and files outside of its project",
    )


def folder_path(text: str) -> Path:
    """A folder to write into, or to read from: an empty name would be the working directory, which ``.`` names."""
    if not text.strip() or "\0" in text:
        raise ArgumentTypeError(f"{text!r} names no folder; write a path, or . for this folder")
    if is_address(text.strip()) or is_local_address(text):
        raise ArgumentTypeError(f"{text!r} is an address, and a folder of this machine is needed here; write a path")
    _refuse_mistyped(text)
    return Path(text)


def _refuse_mistyped(text: str) -> None:
    meant = mistyped(text)
    if meant:
        raise ArgumentTypeError(f"{text!r} is not an address; write {meant}, or ./{text} for a folder of that name")


def place_of_results(text: str) -> Path | str:
    """The target that ``--out`` names: a folder, or the address of a store."""
    if is_address(text.strip()):
        return text.strip()
    return local_path(text) if is_local_address(text) else folder_path(text)


def folder_that_is_there(text: str) -> Path:
    """A folder to read from."""
    path = folder_path(text)
    if not _is_folder(path):
        why = "it is a file" if _exists(path) else _sibling(path)
        raise ArgumentTypeError(f"there is no folder {text!r}: {why}")
    return path


def switch_name(text: str) -> str:
    """The name of a switch of the plan. What has to be done says that it cannot be left out."""
    if text == CHUNKS.name:
        raise ArgumentTypeError(CHUNKS.refusal)
    return text


def seed_number(text: str) -> int:
    """A seed: a whole number from 0 to 2^63 - 1."""
    if not re.fullmatch(r"\d{1,19}", text) or int(text) >= 2**63:
        raise ArgumentTypeError(f"{text!r} is not a seed; write a whole number from 0 upwards")
    return int(text)
