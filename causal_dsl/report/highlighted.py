"""The text of a spec as HTML, in the colours of the notebook's own editor."""

from __future__ import annotations

from html import escape
from importlib import import_module

_BLOCK = '<pre style="white-space:pre-wrap; line-height:1.35; margin:.4em 0">{}</pre>'
#: Kinds of tokens by their short names in Pygments, the longest that fits decides: the colour of JupyterLab's editor, and one for
#: other notebooks that is legible on light and on dark.
_COLOURS = {
    "c": ("comment", "#6a8a8a"),
    "k": ("keyword", "#2f8f2f"),
    "kt": ("builtin", "#2f8f2f"),
    "s": ("string", "#c0504d"),
    "m": ("number", "#5f8f2f"),
    "o": ("operator", "#9055c8"),
    "nf": ("def", "#4a7fd6"),
    "nc": ("def", "#4a7fd6"),
    "nb": ("builtin", "#2f8f2f"),
    "nd": ("attribute", "#4a7fd6"),
}


def highlighted(text: str) -> str:
    """A spec as HTML that stands for itself; its text is escaped."""
    from pygments import lex
    from pygments.token import STANDARD_TYPES

    lexer = import_module("causal_dsl.tools.pygments_lexer").CausalLexer(stripnl=False, ensurenl=False)
    parts = []
    for kind, value in lex(text, lexer):
        short = STANDARD_TYPES.get(kind, "")
        named = next((short[:n] for n in range(len(short), 0, -1) if short[:n] in _COLOURS), "")
        if named:
            name, other = _COLOURS[named]
            colour = f"var(--jp-mirror-editor-{name}-color, {other})"
            parts.append(f'<span style="color:{colour}">{escape(value)}</span>')
        else:
            parts.append(escape(value))
    return _BLOCK.format("".join(parts))
