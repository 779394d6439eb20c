"""The texts that are open in the editor, kept as the client has them: each edit is applied to the place that it names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lsprotocol import types
from pygls.uris import from_fs_path
from pygls.workspace import TextDocument, Workspace

from causal_dsl.diagnostics import real_path, shown_path
from causal_dsl.tools.lsp.text_positions import TextLines


class OpenText(TextDocument):
    """One open text.

    The document of pygls ends lines where Python does (form feeds, U+2028, …); clients end them at ``\\n``, ``\\r\\n`` and ``\\r``
    alone, and an edit behind such a character would land on another line.
    """

    _lines: TextLines | None = None

    def __init__(self, uri: str, *given: Any, **named: Any):
        try:
            super().__init__(uri, *given, **named)
        except ValueError:  # an address that cannot be taken apart is a name, and nothing else
            super().__init__("untitled:", *given, **named)
            self.uri = uri

    @property
    def text(self) -> TextLines:
        """The text with its lines."""
        if self._lines is None or self._lines.text is not self._source:
            self._lines = TextLines(self._source or "", units_of(self.position_codec.encoding))
            self._source = self._lines.text
        return self._lines

    def apply_change(self, change: types.TextDocumentContentChangeEvent) -> None:
        """The text after an edit: of a range, or of all of it."""
        if isinstance(change, types.TextDocumentContentChangePartial):
            lines = self.text
            start, end = sorted((lines.offset(change.range.start), lines.offset(change.range.end)))
            self._source = lines.text[:start] + change.text + lines.text[end:]
        else:
            self._source = change.text

    @property
    def file(self) -> Path | None:
        """The file that it is, or will be once it is saved; None for what has no place on this machine yet."""
        return file_of(self.uri)


class OpenTexts(Workspace):
    """The open texts of a client, by their addresses."""

    def _create_text_document(
        self, doc_uri: str, source: str | None = None, version: int | None = None, language_id: str | None = None
    ) -> OpenText:
        return OpenText(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=self._sync_kind,
            position_codec=self._position_codec,
        )

    @classmethod
    def like(cls, other: Workspace) -> OpenTexts:
        """One with the folders and the encoding of another."""
        return cls(other.root_uri, other._sync_kind, list(other.folders.values()), other.position_encoding)

    @property
    def encoding(self) -> str:
        """The code units in which the client counts."""
        return units_of(self.position_encoding)

    def get(self, uri: str) -> OpenText | None:
        """The open text at an address."""
        found = self.get_text_document(uri)
        return found if isinstance(found, OpenText) and found.version is not None else None

    def every(self) -> list[OpenText]:
        return [text for text in self.text_documents.values() if isinstance(text, OpenText)]

    def unsaved(self) -> dict[Path, str]:
        """The texts of the open files in the editor, by their real paths."""
        return {real_path(text.file): text.text.text for text in self.every() if text.file is not None}

    def at(self, path: Path) -> OpenText | None:
        """The open text of a file."""
        real = real_path(path)
        return next((text for text in self.every() if text.file is not None and real_path(text.file) == real), None)

    def address(self, path: Path) -> str:
        """The address of a file, as the client has it where it is open."""
        found = self.at(path)
        return found.uri if found is not None else from_fs_path(str(path)) or path.as_uri()

    def roots(self) -> list[Path]:
        """The folders that the client has open."""
        every = [folder.uri for folder in self.folders.values()] or ([self.root_uri] if self.root_uri else [])
        return [path for uri in every if (path := file_of(uri)) is not None]

    def folder_of(self, text: OpenText) -> Path:
        """The folder that relative paths of a text start from: its own, else the first that the client has open."""
        if text.file is not None:
            return text.file.parent
        return next(iter(self.roots()), Path.cwd())

    def name_of(self, text: OpenText) -> str:
        """The name of a text in messages."""
        return shown_path(text.file) if text.file is not None else text.uri


def units_of(encoding: types.PositionEncodingKind | str | None) -> str:
    """The name of the code units that client and server agreed on; where they did not, it is that of UTF-16."""
    return types.PositionEncodingKind(encoding or "utf-16").value


_DRIVE = re.compile(r"/[A-Za-z]:")


def file_of(uri: str) -> Path | None:
    """The file that an address names; None for addresses of anything else, such as a text that was never saved."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    # `?`, `#` and `;` are written as escapes where they belong to a name; clients that leave them out mean the name, too
    path = unquote(
        parts.path + (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")
    )
    if parts.scheme.lower() != "file" or not path.strip("/") or "\0" in path:
        return None
    if parts.netloc and parts.netloc != "localhost":
        path = f"//{unquote(parts.netloc)}{path}"
    if os.name == "nt":
        path = (path[1:] if _DRIVE.match(path) else path).replace("/", "\\")
    return Path(path)


__all__ = ["OpenText", "OpenTexts", "file_of"]
