"""One's own sequence networks, as far as a spec says of them: their vocabulary, and where their sites are.

``torch("f.py:build", vocabulary=["BOS", "a", "b"], layers="blocks", attention="attn", mlp="mlp")``: what is written here
becomes the record that networks of known architectures have, and is tested at load by the same identities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causal_dsl.causal.domains import Domain, Finite
from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.program.definitions import meant
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.templates import show_value
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.layout_settings import LAYOUT
from causal_dsl.vocabulary.ports import HEAD_PORTS

_MOST_WORDS = 1_000_000


def read_vocabulary(
    settings: dict[str, Any],
    module: Module,
    domains: Mapping[Definition, Domain | None],
    span: Span,
    found: Diagnostics,
) -> bool:
    """Put the words of a vocabulary that is a domain in its place; False where a fault was reported (E798, E795)."""
    written = settings.get("vocabulary")
    given = [name for name in LAYOUT if settings.get(name) is not None and name != "context"]
    if given and "layers" not in given:
        found.report(
            "E795",
            f"`{given[0]}` is set, and `layers` is not",
            span,
            notes=("site paths start at `layers`, so it is required",),
            help='write layers="…", the module that holds the layers',
        )
        return False
    if written is None:
        return True
    if isinstance(written, tree.Name):
        domain = meant(domains, module, written, found, "domain")
        if domain is None:
            return False
        if not isinstance(domain, Finite) or len(domain.values) > _MOST_WORDS:
            found.report(
                "E798",
                f"`{written.name}` is not a vocabulary: its values cannot be listed",
                written.span,
                notes=(f"it is {domain}",),
                help='give a finite domain, or a list: vocabulary=["BOS", "a", "b"]',
            )
            return False
        written = tuple(show_value(value) for value in domain.values)
    if settings.get("tokenizer") is not None:
        found.report(
            "E798",
            "a network has a tokenizer or a vocabulary, not both",
            span,
            notes=("each of them says which text is which token",),
            help="leave one of them out",
        )
        return False
    for number, word in enumerate(written):
        fault = "is empty" if not word else "holds white space" if word.split() != [word] else ""
        if not fault and word in written[:number]:
            fault = f"stands twice, as tokens {written.index(word)} and {number}"
        if fault:
            found.report(
                "E798",
                f'the word "{word[:40]}" of a vocabulary {fault}',
                span,
                notes=(
                    "the words of a prompt are what white space parts, and the n-th word of the vocabulary is token n",
                ),
                help="give every token one word of its own",
            )
            return False
    settings["vocabulary"] = written
    return True


def layout_from(settings: Mapping[str, Any], name: str) -> Architecture:
    """The record of a network of class ``name``, of the modules that its declaration names."""
    said = {key: settings.get(key) for key in LAYOUT}

    def place(key: str, mark: str) -> str:
        return f"{said[key]}{mark}" if said[key] else ""

    attention, mlp = said["attention"] or "", said["mlp"] or ""
    split = "blocks" if said["qkv"] else "apart"
    q, k, v = (place("qkv" if said["qkv"] else part, ">") for part in "qkv")
    return Architecture(
        name,
        gated=False,
        base="",
        layers=said["layers"] or "",
        embed=place("embed", ">"),
        attention=attention,
        split=split,  # type: ignore[arg-type]
        z=place("out", "<"),
        attn_out=place("attention", ">"),
        mid=place("middle", "<") or place("mlp", "<") or None,
        mlp=mlp,
        neurons=place("neurons", "<") or None,
        mlp_out=place("mlp", ">"),
        norm=place("norm", ">") or None,
        unembed=said["unembed"] or "",
        head=(said["unembed"],) if said["unembed"] else (),
        interface=False,
        pattern=said["pattern"],
        absent=_absent(said),
        q=q,
        k=k,
        v=v,
    )


def _absent(said: Mapping[str, Any]) -> dict[str, str]:
    """Why components are not there, by their names: no setting names their modules."""
    needs = {
        name: tuple("qkv" if said["qkv"] and part in HEAD_PORTS else part for part in component.named_by)
        for name, component in COMPONENTS.items()
        if component.named_by
    }
    if not said["layers"]:
        return dict.fromkeys(
            needs, 'the spec does not say where its layers are: write layers="…", the module that holds them'
        )
    found = {}
    for component, settings in needs.items():
        lacking = [name for name in settings if not said[name]]
        if lacking:
            found[component] = f'the declaration does not name its module: write {lacking[0]}="…"'
    return found


def words_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The vocabulary of a declaration; empty where it has none."""
    return tuple(settings.get("vocabulary") or ())


__all__ = ["layout_from", "read_vocabulary", "words_of"]
