"""The names of the options of a run where a message is shown: a terminal, Python, pytest, an editor, an agent.

A diagnostic names options as the command line writes them (`--trust`, `--network NAME=PATH`). Where it is shown, they are written as
they can be given there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field

from causal_dsl.base.quick_dataclasses import dataclass

Written = str | Callable[[str], str]
#: An option of the command line with its value, where it has one.
_OPTION = re.compile(
    r"(?P<tick>`)?(?P<run>\brun )?(?P<option>--[a-z][a-z-]*)"
    r"(?P<value> (?:NAME=PATH|DIR|NAME|N\b|\d\w*|b?float\d+|cpu|cuda|auto)| [a-z]\w*=[\w./-]+)?(?(tick)`)"
)
#: A command that is told whole is run in a terminal, wherever it is told.
_WHOLE = re.compile(r"(`?causal-dsl [a-z]+[^`,;)]*`?)")


@dataclass(frozen=True)
class Surface:
    """A place where messages are shown. ``options``: how one is given there, as a text or made of its value; ``otherwise`` of all others."""

    name: str
    options: Mapping[str, Written] = field(default_factory=dict)
    otherwise: Callable[[str], str] | None = None

    def told(self, text: str) -> str:
        """A help or a note in the words of this place."""
        if "--" not in text or self.otherwise is None:
            return text
        parts = _WHOLE.split(text)
        return "".join(part if number % 2 else _OPTION.sub(self._written, part) for number, part in enumerate(parts))

    def _written(self, match: re.Match[str]) -> str:
        option, value = match["option"], (match["value"] or "").strip()
        run = "run with " if match["run"] else ""
        if option not in OPTIONS:
            return match[0]
        made = self.options.get(option)
        if made is None:
            assert self.otherwise is not None
            return self.otherwise(f"{option} {value}".strip())
        return run + (made if isinstance(made, str) else made(value))


#: The options of a run that messages speak of, each with what is called so in Python.
OPTIONS = {
    "--trust": "trust",
    "--allow": "allow",
    "--network": "networks",
    "--test": "tests",
    "--seed": "seed",
    "--load": "load",
    "--out": "out",
    "--device": "device",
    "--dtype": "dtype",
    "--batch-memory": "memory",
    "--workers": "workers",
    "--cluster": "cluster",
    "--rehash": "rehash",
}


def _in_python(option: str) -> Callable[[str], str]:
    name = OPTIONS[option]

    def written(value: str) -> str:
        match option:
            case "--trust" | "--load" | "--rehash":
                return f"Options({name}=True)"
            case "--network":
                given, _, path = (value or "NAME=PATH").partition("=")
                return f'Options(networks={{"{given}": Path("{path}")}})'
            case "--test":
                return f'Options(tests=("{value or "NAME"}",))'
            case "--allow":
                return 'Options(allow=(Path("DIR"),))'
            case "--batch-memory":
                return "Options(memory=BYTES)"
        return f"Options({name}={value if value.isdigit() or value == 'N' else repr(value).replace(chr(39), chr(34)) if value else '…'})"

    return written


def _in_terminal(option: str) -> str:
    return f"`{option}` of `causal-dsl run`"


TERMINAL = Surface("terminal")
PYTHON = Surface("python", {option: _in_python(option) for option in OPTIONS}, _in_terminal)
PYTEST = Surface(
    "pytest",
    {
        "--trust": "--causal-trust",
        "--allow": "--causal-allow",
        "--network": lambda value: f"--causal-network {value or 'NAME=PATH'}",
        "--test": lambda value: f"-k {value or 'NAME'}",
    },
    _in_terminal,
)
#: A folder in place of a network, where no option gives it.
_IN_SPEC = 'hf("PATH") in the spec'
MCP = Surface(
    "mcp",
    {
        "--trust": "the server's own `--trust` (start it by `causal-dsl mcp --trust`)",
        "--allow": "the server's own `--allow` (start it by `causal-dsl mcp --allow DIR`)",
        "--network": _IN_SPEC,
        "--test": "`tests`",
        "--seed": "`seed`",
        "--batch-memory": "a smaller `max_memory_mb`",
    },
    _in_terminal,
)
EDITOR = Surface(
    "editor",
    {
        "--trust": "the language server's `--trust` (in VS Code the setting `causal.trust`)",
        "--allow": "the language server's `--allow` (in VS Code the setting `causal.allow`)",
        "--network": _IN_SPEC,
    },
    _in_terminal,
)
SURFACES = (TERMINAL, PYTHON, PYTEST, MCP, EDITOR)

_now = PYTHON


def here() -> Surface:
    """Where messages are shown now: in Python, if nothing else was said."""
    return _now


@contextmanager
def shown_in(surface: Surface) -> Iterator[None]:
    """Messages that are shown within the block are shown there. It holds for all threads of the process."""
    global _now
    before, _now = _now, surface
    try:
        yield
    finally:
        _now = before
