"""How prompts begin: with the token that marks the beginning of a text, once, where the network was made with it.

A network that has seen it before every text behaves unlike itself without it, and with two of them: the first token
takes up attention that has nowhere else to go. What is said here is read from the tokenizer's files, as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Drawn
from causal_dsl.causal.domains import Finite
from causal_dsl.diagnostics import Diagnostics, Span, shown_path
from causal_dsl.program.read_features import family
from causal_dsl.program.sae_metadata import made_for
from causal_dsl.program.templates import Template, render, show_value
from causal_dsl.program.tokens import Encoded, Tokens

if TYPE_CHECKING:
    from causal_dsl.program.program import Alignment, PromptLine, Test

#: Values of a domain that are looked at before any is drawn.
_FEW = 1000


class PromptBeginnings:
    """How the prompts of tests begin, with what was looked at within one check."""

    def __init__(self) -> None:
        self._looked: dict[Any, Drawn] = {}
        self._told: set[Any] = set()
        #: lines whose prompts all begin alike, and one was looked at
        self._settled: set[Any] = set()
        self._marks: dict[Path | None, str | None] = {}
        self._special: dict[int, tuple[Tokens, dict[int, str]]] = {}

    def check(self, test: Test, drawn: Drawn, tokens: Tokens, diagnostics: Diagnostics) -> None:
        """Report W515 for prompts that begin with two marks of the beginning, W516 for those without the mark that the network,
        or a sparse autoencoder of the test, was made with: of those that are ``drawn``, in which single values may have a mark."""
        encoders = _encoders_of_marked(test)
        asked = (test.alignment.origin, test.network.key.trained, *encoders)
        if self._looked.get((asked, id(drawn))) is drawn:
            return
        self._looked[asked, id(drawn)] = drawn
        folder = None if test.network.facts.both_ways else tokens.folder
        if folder not in self._marks:
            self._marks[folder] = None if folder is None else mark_of(folder, tokens)
        special, mark = self._special_of(tokens), self._marks[folder]
        marks = tuple(dict.fromkeys((*special.values(), *(() if mark is None else (mark,)))))
        for number, line in enumerate(test.alignment.prompts):
            if (asked, number) in self._settled:
                continue
            found = drawn_beginnings(test.alignment, number, drawn, tokens, marks)
            if found and _begin_alike(test.alignment, line.template, marks):
                self._settled.add((asked, number))
            kinds = [(_beginning(one.encoded, line, tokens, mark, special, bool(encoders)), one) for one in found]
            for code in ("W515", "W516", "prepend_bos"):
                those = [one for kind, one in kinds if kind == code]
                if those and (asked, number, code) not in self._told:
                    self._told.add((asked, number, code))
                    others = sum(one.count for kind, one in kinds if kind != code)
                    _tell(code, line, those, others, tokens, mark, encoders, diagnostics)

    def _special_of(self, tokens: Tokens) -> dict[int, str]:
        """The special tokens of a tokenizer, by their ids."""
        if id(tokens) not in self._special:
            added = tokens.tokenizer.get_added_tokens_decoder()
            self._special[id(tokens)] = tokens, {i: token.content for i, token in added.items() if token.special}
        return self._special[id(tokens)][1]


def _beginning(
    encoded: Encoded, line: PromptLine, tokens: Tokens, mark: str | None, special: Mapping[int, str], marked: bool
) -> str:
    """The code of the fault in the beginning of a prompt, or the setting of a sparse autoencoder; empty where it is fine. ``marked``: an autoencoder was made on texts with a mark."""
    if not encoded.ids:
        return ""
    first = tokens.token(encoded.ids[0])
    if len(encoded) > 1 and encoded.ids[0] == encoded.ids[1] and (encoded.special[0] or first == mark):
        return "W515"
    if mark is not None and first != mark and not line.chat:  # its chat template is what it was made with
        return "W516"
    return "prepend_bos" if marked and not encoded.special[0] and encoded.ids[0] not in special else ""


def _tell(
    code: str,
    line: PromptLine,
    those: Sequence[Beginning],
    others: int,
    tokens: Tokens,
    mark: str | None,
    encoders: Sequence[tuple[Path, Span]],
    diagnostics: Diagnostics,
) -> None:
    """Report what is wrong with some of the prompts that are drawn of a line; ``others`` of them begin otherwise."""
    encoded, count = those[0].encoded, sum(one.count for one in those)
    shown = [f"the network reads {_shown(tokens, encoded)}"]
    shown += (
        [f"so {'do' if code == 'W515' else 'begin'} {count} of the {count + others} drawn prompts"] if others else []
    )
    first = tokens.token(encoded.ids[0])
    written = "".join(segment.text for segment in line.template.segments[:1] if not segment.placeholder)
    if code == "W515":
        place = "the prompt" if first in written and not others else f"the values of {{{those[0].placeholder}}}"
        diagnostics.report(
            "W515",
            f"{'some prompts begin' if others else 'the prompt begins'} with `{first}` twice",
            line.span,
            notes=(*shown, "the tokenizer puts it there" if encoded.special[0] else "once is enough"),
            help=f"leave {'' if encoded.special[0] else 'one '}`{first}` out of {place}",
        )
        return
    once = f"begin every prompt with it once: {others} of them have it in a value"
    if code == "W516":
        added = any(token.content == mark for token in tokens.tokenizer.get_added_tokens_decoder().values())
        write = f'begin the prompt with it: prompt "{mark}…"' if not others else once
        diagnostics.report(
            "W516",
            f"{'some prompts do' if others else 'the prompt does'} not begin with `{mark}`",
            line.span,
            notes=(
                *shown,
                f"the files of its tokenizer name `{mark}` as the token that texts begin with, and do not add it",
            ),
            help=write if added else "let the post_processor of tokenizer.json put it there",
        )
        return
    path, span = encoders[0]
    diagnostics.report(
        "W516",
        f"the sparse autoencoder was made on texts that begin with a mark, and {'some prompts have' if others else 'the prompt has'} none",
        span,
        others=((line.span, "this prompt"),),
        notes=(f"{shown_path(path)} says prepend_bos", *shown),
        help=once if others else "begin the prompt with the tokenizer's mark of the beginning, as it is called there",
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


@dataclass(frozen=True)
class Beginning:
    """A prompt that is drawn, for ``count`` of them whose beginnings have the same marks; ``placeholder`` is the first of those before which no word is written."""

    encoded: Encoded
    count: int
    placeholder: str


def drawn_beginnings(
    alignment: Alignment, line: int, drawn: Drawn, tokens: Tokens, special: Sequence[str]
) -> list[Beginning]:
    """A prompt for each way in which those that a test draws of a line begin: their first values may be special tokens, or empty."""
    model, template = alignment.model, alignment.prompts[line].template
    early = list(dict.fromkeys(_early(template, special)))
    counts: dict[tuple[str, ...], int] = {}
    examples: dict[tuple[str, ...], str] = {}
    for role, columns in drawn.values.items():
        rows = np.flatnonzero(drawn.templates(role) == line)
        if not len(rows) or not all(name in columns and name in model.variables for name in template.placeholders):
            continue
        ways = np.zeros(len(rows), np.int64)  # a number for each way in which its first values begin
        said: list[list[str]] = []
        for name in early:
            codes, values = np.unique(columns[name][rows], return_inverse=True)
            begun = [_marks(show_value(value), special) for value in model.decode(name, codes)]
            said.append(list(dict.fromkeys(begun)))
            if len(said[-1]) > 1:
                own = np.array([said[-1].index(marks) for marks in begun])[values.reshape(-1)]
                ways = ways * len(said[-1]) + own
        each, first, times = np.unique(ways, return_index=True, return_counts=True)
        for way, at, count in zip(each.tolist(), first.tolist(), times.tolist(), strict=True):
            numbers = np.unravel_index(way, [len(one) for one in said]) if said else ()
            kind = tuple(marks[number] for marks, number in zip(said, numbers, strict=True))
            counts[kind] = counts.get(kind, 0) + count
            if kind not in examples:
                row = rows[at : at + 1]
                texts = {n: show_value(model.decode(n, columns[n][row])[0]) for n in template.placeholders}
                examples[kind] = render(template, texts).text
    return [Beginning(tokens.encode(text), counts[kind], early[0] if early else "") for kind, text in examples.items()]


def _begin_alike(alignment: Alignment, template: Template, special: Sequence[str]) -> bool:
    """Whether no value at the beginning of a line begins with a mark, or is empty: asked of few values alone."""
    variables = alignment.model.variables
    domains = [variables[name].domain for name in dict.fromkeys(_early(template, special))]
    return all(
        isinstance(domain, Finite)
        and len(domain.values) <= _FEW
        and all(_marks(show_value(value), special) == "…" for value in domain.values)
        for domain in domains
    )


def _marks(text: str, special: Sequence[str]) -> str:
    """The special tokens that a text begins with, and `…` where more follows."""
    found, text = "", text.lstrip()
    while text:
        first = max((one for one in special if text.startswith(one)), key=len, default="")
        if not first:
            return found + "…"
        found, text = found + first, text[len(first) :].lstrip()
    return found


def _early(template: Template, special: Sequence[str]) -> Iterator[str]:
    """The placeholders of a template before which no word is written: at most special tokens."""
    for segment in template.segments:
        if segment.placeholder:
            yield segment.text
            continue
        text = segment.text
        for one in special:
            text = text.replace(one, "")
        if text.strip():
            return


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


__all__ = ["Beginning", "PromptBeginnings", "drawn_beginnings", "mark_of"]
