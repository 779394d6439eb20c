"""`prompt chat(system="…", user="…")`: what is said by roles, written as the network's own chat template writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_settings import call_name
from causal_dsl.program.templates import Segment, Template, parse_template
from causal_dsl.program.tokens import Tokens
from causal_dsl.store import reads
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.called_words import CALLED

ROLES = tuple(CALLED["chat"].settings)
#: Letters of no text: they mark a placeholder, and the end of what the assistant has begun to say.
_OPEN, _CLOSE, _END = "\ue0f0", "\ue0f1", "\ue0f2"


def read_chat(call: tree.Expr, network: NetworkRef, tokens: Tokens | None, found: Diagnostics) -> Template | None:
    """The template of the whole text; None, and E575 to E577, where there is none.

    What the assistant has begun to say (a last ``assistant=``) is left open for the answer; else its turn is begun. Of a
    network of which nothing is known yet the roles are written one below another, as its template is not at hand.
    """
    messages = _messages(call, found)
    if messages is None:
        return None
    folder = network.facts.tokenizer.parent if network.facts.tokenizer is not None else None
    if folder is None and not network.facts.traits.seen:
        return _joined([part for _, one in messages for part in (*one.segments, Segment("\n", placeholder=False))])
    said, settings = _template_of(folder) if folder is not None else ("", {})
    if not said:
        found.report(
            "E576",
            f"`{network.name}` has no chat template",
            call.span,
            notes=("looked for chat_template.jinja, and for `chat_template` in tokenizer_config.json",)
            if folder is not None
            else ("its tokenizer is not in a folder",),
            help='write the whole text: prompt "…"',
        )
        return None
    text = _written(said, settings, messages, network, call.span, found)
    if text is None:
        return None
    begins = settings.get("bos_token")
    if isinstance(begins, str) and tokens is not None and text.startswith(begins) and _begins(tokens, begins):
        text = text.removeprefix(begins)  # the tokenizer writes it
    escaped = text.replace("{", "{{").replace("}", "}}").replace(_OPEN, "{").replace(_CLOSE, "}")
    return parse_template(escaped, call.span, found)


def _messages(call: tree.Expr, found: Diagnostics) -> list[tuple[str, Template]] | None:
    """Who says what, in order."""
    called = call_name(call)
    if not isinstance(call, tree.Call) or called is None or called[0] != "chat":
        found.report(
            "E575",
            f"a prompt is a text or a chat, not `{format_expr(call)[:60]}`",
            call.span,
            help='write prompt "…", or prompt chat(user="…")',
        )
        return None
    messages: list[tuple[str, Template]] = []
    good = True
    for argument in call.arguments:
        role = argument.name.name if argument.name is not None else ""
        if role not in ROLES or not isinstance(argument.value, tree.String):
            place = argument.name.span if argument.name is not None and role not in ROLES else argument.value.span
            title, help = "which role has this turn?", 'write chat(system="…", user="…")'
            if role:
                known = role in ROLES
                title = f"what `{role}` says is a text" if known else f"`{role}` is not a role of a chat"
                help = f'write {role}="…"' if known else did_you_mean(role, ROLES)
            found.report("E575", title, place, help=help)
            good = False
            continue
        template = parse_template(argument.value.value, argument.value.span, found)
        if template is None:
            good = False
        else:
            messages.append((role, template))
    if good and not messages:
        found.report("E575", "this chat has no turns", call.span, help='write chat(user="…")')
    return messages if good and messages else None


def _joined(segments: list[Segment]) -> Template:
    """Segments with neighbouring texts made one."""
    made: list[Segment] = []
    for segment in segments:
        if made and not segment.placeholder and not made[-1].placeholder:
            made[-1] = Segment(made[-1].text + segment.text, placeholder=False)
        else:
            made.append(segment)
    return Template(tuple(made))


def _template_of(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The chat template of a tokenizer's folder, "" where there is none, and the tokens that it may name."""
    settings: dict[str, Any] = {}
    try:
        read = json.loads(reads.read_text(folder / "tokenizer_config.json"))
        settings = read if isinstance(read, dict) else {}
    except (OSError, ValueError, RecursionError):
        settings = {}  # what cannot be read is told where the tokenizer is read
    names = {key: value for key, value in settings.items() if key.endswith("_token")}
    names = {key: value.get("content") if isinstance(value, dict) else value for key, value in names.items()}
    try:
        return reads.read_text(folder / "chat_template.jinja"), names
    except (OSError, ValueError):
        inside = settings.get("chat_template")
    if isinstance(inside, list):  # several by name
        named = {one.get("name"): one.get("template") for one in inside if isinstance(one, dict)}
        inside = named.get("default")
    return (inside if isinstance(inside, str) else ""), names


def _written(
    said: str,
    settings: Mapping[str, Any],
    messages: list[tuple[str, Template]],
    network: NetworkRef,
    span: Span,
    found: Diagnostics,
) -> str | None:
    """The text that the template makes of the turns. Those of networks that also take pictures may expect a turn in parts."""
    begun = messages[-1][0] == "assistant"
    turns = [
        "".join(_OPEN + s.text + _CLOSE if s.placeholder else s.text for s in template.segments)
        for _, template in messages
    ]
    ended = [*turns[:-1], turns[-1] + _END * begun]
    names = sorted(name for _, template in messages for name in template.placeholders)
    why = ""
    for parts in (False, True):
        contents = [
            {"role": role, "content": [{"type": "text", "text": turn}] if parts else turn}
            for (role, _), turn in zip(messages, ended, strict=True)
        ]
        text, fault = _rendered(said, {"messages": contents, "add_generation_prompt": not begun, **settings})
        if text is not None and not _left_out(text, turns, names) and (not begun or _END in text):
            return text[: text.rindex(_END)] if begun else text
        why = why if parts else fault  # the first is what a turn usually is
    if why:
        title, note = f"the chat template of `{network.name}` does not accept this chat", why
        help = "many templates require `user` and `assistant` in alternation, and some allow no `system`"
        if "strftime_now" in why:
            note = "it writes the date of the day, and a prompt is the same on every day"
            help = 'write the whole text with a date: prompt "…"'
    else:
        title = f"the chat template of `{network.name}` leaves out a part of this chat"
        note, help = "its output does not contain the turns as they were written", 'write the whole text: prompt "…"'
    found.report("E577", title, span, notes=(note,), help=help)
    return None


def _left_out(text: str, turns: list[str], names: list[str]) -> bool:
    """Whether a text lacks a turn, or has not each placeholder once; white space around a turn may go."""
    kept = sorted(part.partition(_CLOSE)[0] for part in text.split(_OPEN)[1:])
    return kept != names or any(turn.strip() not in text for turn in turns)


def _rendered(said: str, values: Mapping[str, Any]) -> tuple[str | None, str]:
    """A chat template rendered as transformers does, or why it cannot be."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what an assistant says, for training."""

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    Generation.tags = {"generation"}

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = lambda value, **more: json.dumps(value, ensure_ascii=False, **more)
    try:
        return str(environment.from_string(said).render(tools=None, documents=None, **values)), ""
    except (TemplateError, TypeError, ValueError, RecursionError, ZeroDivisionError) as error:
        return None, (str(error) or type(error).__name__).splitlines()[0][:200]


def _begins(tokens: Tokens, mark: str) -> bool:
    """Whether the tokenizer puts this mark before every text."""
    encoded = tokens.encode("a")
    return bool(len(encoded)) and encoded.special[0] and tokens.token(encoded.ids[0]) == mark


__all__ = ["ROLES", "read_chat"]
