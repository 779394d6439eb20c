"""Lines out of documents: a small pretty-printer after Wadler ("A prettier printer", 2003).

A document says where lines may be broken; :func:`render` breaks the outermost groups that do not fit. Comments
are part of a document: one ends its line, and what follows goes on below.
"""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A place to break: nothing but ``flat`` where its group fits on the line."""

    flat: str = " "


@dataclass(frozen=True)
class Nest:
    """Lines that begin inside are indented by ``by`` more."""

    by: int
    inner: Doc


@dataclass(frozen=True)
class LayoutGroup:
    """All its own :class:`Line` places are broken, or none."""

    inner: Doc


@dataclass(frozen=True)
class Remark:
    """A comment in the middle of a statement; ``alone`` on a line, or after what stands before it."""

    text: str
    alone: bool


Doc = str | Line | Nest | LayoutGroup | Remark | tuple["Doc", ...]
_Command = tuple[int, bool, Doc]


def join(separator: Doc, docs: list[Doc]) -> Doc:
    """The documents with the separator between."""
    parts: list[Doc] = docs[:1]
    for doc in docs[1:]:
        parts += [separator, doc]
    return tuple(parts)


def fill(docs: list[Doc]) -> Doc:
    """The documents with commas between, as many on a line as fit."""
    parts: list[Doc] = docs[:1]
    for doc in docs[1:]:
        parts += [",", LayoutGroup((Line(), doc))]
    return tuple(parts)


#: A line in which everything has room.
ENDLESS = 10**9


def render(doc: Doc, width: int, indent: int = 0, column: int | None = None) -> str:
    """The text of a document that begins at ``column``; lines after the first begin at ``indent``."""
    out: list[str] = []
    at = indent if column is None else column
    fresh = False  # a comment has just ended the line
    broken = False  # nothing stands on this line yet
    stack: list[_Command] = [(indent, False, doc)]
    while stack:
        depth, flat, part = stack.pop()
        if isinstance(part, str):
            text = part.lstrip(" ") if fresh else part
            out.append(text)
            at += len(text)
            fresh, broken = fresh and not text, broken and not text
        elif isinstance(part, tuple):
            stack += [(depth, flat, inner) for inner in reversed(part)]
        elif isinstance(part, Nest):
            stack.append((depth + part.by, flat, part.inner))
        elif isinstance(part, LayoutGroup):
            stack.append((depth, flat or width >= ENDLESS or _fits(width - at, part.inner, stack), part.inner))
        elif isinstance(part, Remark):
            _strip(out, "\n " if broken and not fresh else " ")
            if fresh:
                out.append(" " * depth)
            else:
                out.append("\n" + " " * depth if part.alone else "  ")
            out += ["#", part.text, "\n" + " " * depth]
            at, fresh, broken = depth, True, True
        elif flat:
            stack.append((depth, True, part.flat))
        else:
            _strip(out, " ")
            out.append(("" if fresh else "\n") + " " * depth)
            at, broken = depth, True
    return "".join(out)


def on_one_line(doc: Doc) -> str:
    """The text of a document without remarks, in which no line is broken."""
    out: list[str] = []
    stack: list[Doc] = [doc]
    while stack:
        part = stack.pop()
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, tuple):
            stack += part[::-1]
        elif isinstance(part, Line):
            out.append(part.flat)
        elif isinstance(part, Remark):
            raise ValueError(f"a remark ends its line: {part.text}")
        else:
            stack.append(part.inner)
    return "".join(out)


def _strip(out: list[str], space: str) -> None:
    """Take back the spaces, or the line break, at the end."""
    while out and not out[-1].strip(space):
        out.pop()
    if out:
        out[-1] = out[-1].rstrip(space)


def _fits(room: int, doc: Doc, rest: list[_Command]) -> bool:
    """Whether the document, flat, and what follows it up to the next break fit in the room."""
    stack: list[tuple[bool, Doc]] = [(True, doc)]
    following = len(rest)
    while room >= 0:
        if not stack:
            if following == 0:
                return True
            following -= 1
            _, flat, part = rest[following]
            stack.append((flat, part))
            continue
        flat, part = stack.pop()
        if isinstance(part, str):
            room -= len(part)
        elif isinstance(part, tuple):
            stack += [(flat, inner) for inner in reversed(part)]
        elif isinstance(part, Nest | LayoutGroup):
            stack.append((flat, part.inner))
        elif isinstance(part, Remark) or not flat:
            return True
        else:
            room -= len(part.flat)
    return False
