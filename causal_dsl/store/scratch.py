"""The diagnostic where there is no room for the numbers of very many pairs: in a folder of results, or in the system's for temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from causal_dsl.diagnostics import NOWHERE, SpecError, fail, shown_path
from causal_dsl.store.files import CannotWrite


def no_room(error: OSError) -> SpecError:
    """E930: the numbers of the pairs cannot be put down."""
    temporary = Path(tempfile.gettempdir())
    folder = error.path.parent if isinstance(error, CannotWrite) else temporary
    inside = folder.is_relative_to(temporary)
    return fail(
        "E930",
        "there is no room for the numbers of the pairs",
        NOWHERE,
        notes=(f"`{shown_path(temporary if inside else folder)}`: {error.strerror or error}",),
        help="name a folder with more room in TMPDIR" if inside else "pass another folder to --out",
    )


__all__ = ["no_room"]
