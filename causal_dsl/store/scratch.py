"""Files that a run needs only while it goes on, in the system's folder for temporary files (``TMPDIR``)."""

from __future__ import annotations

import tempfile

from causal_dsl.diagnostics import NOWHERE, SpecError, fail

_HELP = "name a folder with more room in TMPDIR"


def no_room(error: OSError) -> SpecError:
    """E930: the numbers of the pairs cannot be put down."""
    return fail(
        "E930",
        "there is no room for the numbers of the pairs",
        NOWHERE,
        notes=(f"`{tempfile.gettempdir()}`: {error.strerror or error}",),
        help=_HELP,
    )


__all__ = ["no_room"]
