"""The tools and the pages of the MCP server as data: names, descriptions, schemas of arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError, fail, nearest, one_line

if TYPE_CHECKING:
    from jsonschema import ValidationError

_SPEC = {
    "path": {
        "type": "string",
        "minLength": 1,
        "description": "a .causal file, relative to the folder that the server serves",
    },
    "text": {
        "type": "string",
        "minLength": 1,
        "description": "the text of a spec, in place of a file; its paths start from that folder",
    },
    "tests": {"type": "array", "items": {"type": "string"}, "description": "only the tests of these names"},
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "description": "draw other pairs; default 0"},
}
_ONE_SPEC = [
    {"required": ["path"], "not": {"required": ["text"]}},
    {"required": ["text"], "not": {"required": ["path"]}},
]
_BUDGET = {
    "max_seconds": {"type": "number", "exclusiveMinimum": 0, "description": "wall-clock seconds, loading included"},
    "max_flops": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "floating-point operations, as `plan` predicts them",
    },
    "max_memory_mb": {"type": "number", "exclusiveMinimum": 0, "description": "memory of the process, in MB"},
}


@dataclass(frozen=True)
class ToolRecord:
    """A tool: what it does, and the JSON schema of its arguments."""

    name: str
    title: str
    says: str
    schema: dict[str, Any]


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


TOOLS = {
    one.name: one
    for one in (
        ToolRecord(
            "check",
            "Check a spec",
            "Find every fault of a spec in about a second, without a network's weights: each has a code, a place, and what to "
            "write instead. Also gives the score that chance alone reaches in each test. Call it before `run`.",
            _object(_SPEC, oneOf=_ONE_SPEC),
        ),
        ToolRecord(
            "plan",
            "Predict the cost of a spec",
            "The work of running a spec: pairs, cells, floating-point operations and memory. Runs nothing.",
            _object(_SPEC, oneOf=_ONE_SPEC),
        ),
        ToolRecord(
            "run",
            "Run the tests of a spec",
            "Run the tests on the network: scores with 95% intervals, chance levels, findings and verdicts. The run keeps within "
            "a budget. It is refused if its plan predicts more, and stopped if it takes more; what was finished is returned. "
            "The server's own limits hold whatever is asked for.",
            _object(
                {
                    **_SPEC,
                    **_BUDGET,
                    "full": {"type": "boolean", "description": "all numbers of all cells; default: a summary"},
                },
                oneOf=_ONE_SPEC,
            ),
        ),
        ToolRecord(
            "explain",
            "Explain a message, or a word of the language",
            "The page of a diagnostic (E201), or of a word of the language: a measure (iia), a finding (never_moved), a site (resid_post), a value "
            "(clamp), a feature (rotation), a setting (balance). Without a word, the list of all.",
            _object(
                {
                    "word": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 200,
                        "description": "such as E201, iia or never_moved",
                    }
                }
            ),
        ),
        ToolRecord("zoo", "List networks", 'The networks that zoo("…") names: task, size, accuracy.', _object({})),
    )
}


#: The longest value of an argument that a message shows.
_LONGEST = 60


def called(name: str, arguments: dict[str, Any], wrong: str = "") -> Span:
    """A call as a source, which faults of its arguments point at: at the ``wrong`` one, where it is there. What a spec says, and
    whatever else is long, is left out."""
    text, at = f"{_cut(one_line(name))}(", None
    for number, (key, value) in enumerate(arguments.items()):
        start = len(text) + 2 * bool(number)
        text += ", " * bool(number) + f"{_cut(one_line(str(key)))}={_told(key, value)}"
        at = (start, len(text)) if key == wrong else at
    text += ")"
    return Span(Source("<request>", text), *(at or (0, len(text))))


def _told(key: str, value: Any) -> str:
    """A value of an argument as a message shows it."""
    if key == "text" and isinstance(value, str):
        return "…"
    return _cut(one_line(json.dumps(value, ensure_ascii=False)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def refuse_wrong(name: str, arguments: dict[str, Any]) -> None:
    """Raise E886 for a tool that is not there, and for arguments that are not those of its schema."""
    from jsonschema import Draft202012Validator

    if name not in TOOLS:
        near = nearest(name, TOOLS)
        there = f"did you mean `{near}`?" if near else "there is " + ", ".join(f"`{one}`" for one in TOOLS)
        raise fail("E886", f"there is no tool `{_cut(one_line(name))}`", called(name, arguments), help=there)
    known = TOOLS[name].schema["properties"]
    found = []
    for error in Draft202012Validator(TOOLS[name].schema).iter_errors(arguments):
        if error.validator == "oneOf":
            place = called(name, arguments)
            found.append(Diagnostic("E886", f"`{name}` takes one spec", place, help="give either `path` or `text`"))
        elif error.validator == "additionalProperties":
            found += [_unknown(name, one, arguments, known) for one in arguments if one not in known]
        else:
            wrong = str(error.path[0])
            title, place = f"`{wrong}` cannot be used", called(name, arguments, wrong)
            about = f"`{wrong}`: {known[wrong]['description']}"
            found.append(Diagnostic("E886", title, place, notes=(_why(error),), help=about))
    if found:
        raise SpecError(found)


#: What is decided when the server is started, with how that is written.
_OF_SERVER = {"trust": "--trust", "allow": "--allow DIR", "root": "--root DIR"}


def _unknown(name: str, word: str, arguments: dict[str, Any], known: Mapping[str, Any]) -> Diagnostic:
    """E886 for an argument that a tool does not have."""
    place = called(name, arguments, word)
    if (given := _OF_SERVER.get(word.lstrip("-").replace("-", "_"))) is not None:
        return Diagnostic(
            "E886",
            f"`{name}` has no argument `{_cut(one_line(word))}`",
            place,
            notes=("it is the server's own: no request can change what the server may read and run",),
            help=f"have the server started as `causal-dsl mcp {given}`",
        )
    near = nearest(word, known)
    every = ", ".join(f"`{one}`" for one in known) or "none"
    help = f"did you mean `{near}`?" if near else f"its arguments: {every}"
    return Diagnostic("E886", f"`{name}` has no argument `{_cut(one_line(word))}`", place, help=help)


def _why(error: ValidationError) -> str:
    """Why a value is refused, in words that quote no long value."""
    given, limit = _told(str(error.path[0]), error.instance), error.validator_value
    match error.validator:
        case "type":
            wanted = _TYPES.get(str(limit), str(limit))
            return f"{given} is {'neither true nor false' if wanted == 'boolean' else f'no {wanted}'}"
        case "minimum" | "exclusiveMinimum":
            return f"{given} is not {'at least' if error.validator == 'minimum' else 'above'} {limit}"
        case "maximum":
            return f"{given} is above {limit}"
        case "minLength":
            return "it is empty"
        case "maxLength":
            return f"it has {len(error.instance):,} characters, of {limit:,} that it may have"
    return one_line(error.message)[:300]


#: What a message calls the types of a schema.
_TYPES = {"string": "text", "integer": "whole number", "array": "list"}


# ── pages ───────────────────────────────────────────────────────────────────────────────────────

PREFIX = "causal-dsl://docs/"
#: A URI of the pages of diagnostics.
TEMPLATE = PREFIX + "diagnostics.d/{code}.md"


def pages() -> dict[str, Path]:
    """The pages that are listed, by their URIs."""
    folder = resource("docs")
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix == ".md" or path.name in ("llms.txt", "output.schema.json")
    )
    return {PREFIX + name: folder / name for name in names}


def page_at(uri: str) -> Path | None:
    """The page of a URI, those of diagnostics too; None where there is none."""
    listed = pages()
    if uri in listed:
        return listed[uri]
    match = re.fullmatch(re.escape(PREFIX) + r"diagnostics\.d/([EWF]\d{3})\.md", uri)
    page = resource("docs", "diagnostics.d") / f"{match[1]}.md" if match else None
    return page if page is not None and page.is_file() else None


def title_of(page: Path) -> str:
    """The first heading of a page, else its name."""
    with page.open(encoding="utf-8") as file:
        first = file.readline().strip()
    return first.removeprefix("# ") if first.startswith("# ") else page.name
