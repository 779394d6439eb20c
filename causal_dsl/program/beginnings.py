"""How prompts begin: with the token that marks the beginning of a text, once, where the network was made with it.

A network that has seen it before every text behaves unlike itself without it, and with two of them: the first token
takes up attention that has nowhere else to go. What is said here is read from the tokenizer's files, as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.causal.designs import Drawn
from causal_dsl.causal.domains import Finite
from causal_dsl.diagnostics import Diagnostics, Span, shown_path
from causal_dsl.program.read_features import family
from causal_dsl.program.sae_metadata import made_for
from causal_dsl.program.templates import Template, render, show_value
from causal_dsl.program.tokens import Encoded, Tokens

if TYPE_CHECKING:
    from causal_dsl.program.program import Alignment, Test


def check_beginnings(
    test: Test, drawn: Drawn, tokens: Tokens, diagnostics: Diagnostics, seen: dict[Any, str | None]
) -> None:
    """Report W515 for a prompt that begins with two marks of the beginning, W516 for one without the mark that the network,
    or a sparse autoencoder of the test, was made with. ``drawn`` has the prompts of the test, one of which is shown. ``seen`` are the
    prompts that were looked at within this check, with the mark of each, and the marks of tokenizers' folders."""
    alignment, facts = test.alignment, test.network.facts
    encoders = _encoders_of_marked(test)
    asked = (alignment.origin, test.network.key, *encoders)
    if asked in seen:
        return
    folder = None if facts.both_ways else tokens.folder
    if folder not in seen:
        seen[folder] = None if folder is None else mark_of(folder, tokens)
    mark = seen[asked] = seen[folder]
    for number, line in enumerate(alignment.prompts):
        read = drawn_example(alignment, number, drawn, tokens)
        encoded = read or encoded_example(alignment, line.template, tokens)
        if encoded is None or not encoded.ids:
            continue
        shown = () if read is None else (f"the network reads {_shown(tokens, read)}",)
        first = tokens.token(encoded.ids[0])
        special = {i for i, token in tokens.tokenizer.get_added_tokens_decoder().items() if token.special}
        if len(encoded) > 1 and encoded.ids[0] == encoded.ids[1] and (encoded.special[0] or first == mark):
            once = "the tokenizer puts it there" if encoded.special[0] else "once is enough"
            diagnostics.report(
                "W515",
                f"the prompt begins with `{first}` twice",
                line.span,
                notes=(*shown, once),
                help=f"leave {'' if encoded.special[0] else 'one '}`{first}` out of the prompt",
            )
        elif mark is not None and first != mark and not line.chat:  # its chat template is what it was made with
            added = any(token.content == mark for token in tokens.tokenizer.get_added_tokens_decoder().values())
            diagnostics.report(
                "W516",
                f"the prompt does not begin with `{mark}`",
                line.span,
                notes=(
                    *shown,
                    f"the files of its tokenizer name `{mark}` as the token that texts begin with, and do not add it",
                ),
                help=f'begin the prompt with it: prompt "{mark}…"'
                if added
                else "let the post_processor of tokenizer.json put it there",
            )
        elif encoders and not encoded.special[0] and encoded.ids[0] not in special:
            path, span = encoders[0]
            diagnostics.report(
                "W516",
                "the sparse autoencoder was made on texts that begin with a mark, and the prompt has none",
                span,
                others=((line.span, "this prompt"),),
                notes=(f"{shown_path(path)} says prepend_bos", *shown),
                help="begin the prompt with the tokenizer's mark of the beginning, as it is called there",
            )


def _encoders_of_marked(test: Test) -> list[tuple[Path, Span]]:
    """The sparse autoencoders of a test that were made on texts with a mark at the beginning, and where each is named."""
    found = {}
    for cell in test.cells:
        for intervention in cell.interventions:
            for ref in intervention.features:
                for member in ref.chain:
                    path = Path(str(dict(member.settings).get("path", "")))
                    if family(member).encoder and path not in found:
                        made = made_for(path)
                        found[path] = (path, ref.span or test.span) if made is not None and made.begins else None
    return [told for told in found.values() if told is not None]


def drawn_example(alignment: Alignment, line: int, drawn: Drawn, tokens: Tokens) -> Encoded | None:
    """The tokens of the first prompt of a line that a test draws; None where it draws none."""
    model, template = alignment.model, alignment.prompts[line].template
    for role, columns in drawn.values.items():
        rows = np.flatnonzero(drawn.templates(role) == line)[:1]
        if len(rows) and all(name in columns and name in model.variables for name in template.placeholders):
            values = {name: show_value(model.decode(name, columns[name][rows])[0]) for name in template.placeholders}
            return tokens.encode(render(template, values).text)
    return None


def encoded_example(alignment: Alignment, template: Template, tokens: Tokens) -> Encoded | None:
    """The tokens of a prompt with the first value in every placeholder."""
    values = {}
    for placeholder in template.placeholders:
        variable = alignment.model.variables.get(placeholder)
        if variable is None:
            return None
        domain = variable.domain
        values[placeholder] = show_value(domain.values[0]) if isinstance(domain, Finite) else "1"
    return tokens.encode(render(template, values).text)


def mark_of(folder: Path, tokens: Tokens) -> str | None:
    """The token that texts of a checkpoint begin with; None where its files name none, or say that it is left out.

    A token that ends texts too (gpt2's), and one that a chat template writes before every turn, mark no beginning.
    """
    said = _settings(folder / "tokenizer_config.json")
    more = _settings(folder / "special_tokens_map.json")
    names = {key: _content(said.get(key, more.get(key))) for key in ("bos_token", "eos_token")}
    if not said and not more:
        names = _by_config(_settings(folder / "config.json"), tokens)
    mark = names["bos_token"]
    if not mark or mark == names["eos_token"] or tokens.tokenizer.token_to_id(mark) is None:
        return None
    if said.get("add_bos_token") is False:
        return None
    return None if said.get("add_bos_token") is not True and mark in _chat(folder, said) else mark


def _by_config(config: dict[str, Any], tokens: Tokens) -> dict[str, str | None]:
    """The marks by their ids in config.json, where those are special tokens."""
    special = {i: token.content for i, token in tokens.tokenizer.get_added_tokens_decoder().items() if token.special}
    found: dict[str, str | None] = {}
    for key in ("bos_token", "eos_token"):
        index = config.get(f"{key}_id")
        found[key] = special.get(index) if isinstance(index, int) else None
    return found


def _chat(folder: Path, said: dict[str, Any]) -> str:
    """The text of the chat templates of a checkpoint."""
    inside = said.get("chat_template")
    try:
        beside = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        beside = ""
    return beside + (inside if isinstance(inside, str) else json.dumps(inside) if inside else "")


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # what cannot be read is told where the tokenizer is
    return found if isinstance(found, dict) else {}


def _content(token: object) -> str | None:
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) and token else None


def _shown(tokens: Tokens, encoded: Encoded) -> str:
    return " ".join(f"[{tokens.token(i)}]" for i in encoded.ids[:4]) + (" …" if len(encoded) > 4 else "")


__all__ = ["check_beginnings", "drawn_example", "encoded_example", "mark_of"]
