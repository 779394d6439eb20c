"""Where the files that ship beside the code are: the grammar and the pages of the documentation."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def resource(*parts: str) -> Path:
    """The path of a shipped file, such as ``resource("grammar", "causal.lark")``.

    A wheel holds ``grammar/`` and ``docs/`` inside the package, a checkout beside it.

    Raises
    ------
    FileNotFoundError
        If the installation lacks the file, or ``parts`` name none.
    """
    for root in (_PACKAGE, _PACKAGE.parent):
        path = root.joinpath(*parts)
        if (root / parts[0]).is_dir() and path.exists():
            return path
    raise FileNotFoundError(f"causal_dsl was installed without {'/'.join(parts)}")
