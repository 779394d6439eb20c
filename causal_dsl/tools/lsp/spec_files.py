"""The spec files that a text takes names from, and those that take names from it: as the editor has them, else from disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from causal_dsl.diagnostics import Diagnostics, real_path, shown_path
from causal_dsl.program.modules import read_source
from causal_dsl.syntax import tree
from causal_dsl.tools.lsp.open_texts import OpenText, OpenTexts, file_of
from causal_dsl.tools.lsp.parsed_texts import ParsedText

SUFFIX = ".causal"
#: Files of a folder that are looked through for those that import another.
MOST_FILES = 2000
_LEFT_OUT = frozenset(("node_modules", "__pycache__", "site-packages"))


class SpecFiles:
    """Parsed texts by the name of their file: its real path, or the address of a text that has none."""

    def __init__(self, texts: OpenTexts):
        self.texts = texts
        self._disk: dict[str, tuple[tuple[int, int], ParsedText | None]] = {}
        self._open: dict[str, ParsedText] = {}

    def key(self, text: OpenText) -> str:
        """The key of the file of an open text."""
        return str(real_path(text.file)) if text.file is not None else text.uri

    def put(self, text: OpenText, parsed: ParsedText) -> None:
        """An open text as it was parsed."""
        self._open[self.key(text)] = parsed

    def drop(self, uri: str) -> None:
        """A text that was closed: its file is read again."""
        file = file_of(uri)
        self._open.pop(str(real_path(file)) if file is not None else uri, None)

    def at(self, key: str) -> ParsedText | None:
        """The text of a file; None where it cannot be read."""
        if key in self._open:
            return self._open[key]
        path = Path(key)
        try:
            about = path.stat()
        except (OSError, ValueError):
            return None
        stamp = (about.st_size, about.st_mtime_ns)
        if key not in self._disk or self._disk[key][0] != stamp:
            source = read_source(path, Diagnostics()) if path.suffix == SUFFIX else None
            self._disk[key] = stamp, ParsedText.of(shown_path(path), source.text) if source is not None else None
        return self._disk[key][1]

    def folder(self, key: str) -> Path:
        """The folder that paths in a file start from."""
        if key in self._open and not Path(key).is_absolute():
            return next(iter(self.texts.roots()), Path.cwd())
        return Path(key).parent

    def imported(self, key: str, declaration: tree.Import) -> str:
        """The file that an import names, whether it is there or not; empty where it names none."""
        written = declaration.path.value
        if not written.strip() or "\0" in written:
            return ""
        return str(real_path(self.folder(key) / written))

    def every(self) -> list[str]:
        """All spec files of the folders that the client has open, and all open texts."""
        found = dict.fromkeys(self._open)
        for root in self.texts.roots():
            for path in _specs_below(root):
                found[str(real_path(path))] = None
                if len(found) >= MOST_FILES:
                    return list(found)
        return list(found)

    def users(self, key: str) -> list[str]:
        """The files that take names from a file, through others too, and the file itself."""
        imports = {
            other: {self.imported(other, one) for one in parsed.tree.declarations if isinstance(one, tree.Import)}
            for other in self.every()
            if (parsed := self.at(other)) is not None
        }
        found, waiting = {key: None}, [key]
        while waiting:
            one = waiting.pop()
            for other, taken in imports.items():
                if one in taken and other not in found:
                    found[other] = None
                    waiting.append(other)
        return list(found)


def _specs_below(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(SUFFIX))


__all__ = ["SUFFIX", "SpecFiles"]
