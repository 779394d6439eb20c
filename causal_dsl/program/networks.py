"""The third pass: where a network comes from, and what is known of it without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from causal_dsl.causal.domains import Domain
from causal_dsl.diagnostics import Diagnostics, Span, nearest
from causal_dsl.program.adapters import judge_adapter
from causal_dsl.program.components import missing
from causal_dsl.program.definitions import meant
from causal_dsl.program.factories import arguments_of, for_factory
from causal_dsl.program.facts import facts_of_reference, local_folder
from causal_dsl.program.identity import TrainingKey, files_digest, network_key
from causal_dsl.program.modules import Definition
from causal_dsl.program.options import ReadOptions
from causal_dsl.program.own_networks import layout_from, read_vocabulary, words_of
from causal_dsl.program.program import Alignment, NetworkRef
from causal_dsl.program.read_settings import call_name, read_settings
from causal_dsl.program.read_training import TrainingReader, training_settings
from causal_dsl.program.weights_held import judge_held
from causal_dsl.program.zoo_entries import facts_of_zoo
from causal_dsl.store.reading import is_file, no_file
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.called_words import ADAPTER, COMMON, HELD, called
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.network_facts import Facts

#: Where a network comes from, and what each of these takes.
NETWORKS = called("network")


def read_network(
    definition: Definition,
    alignments: Mapping[Definition, Alignment],
    domains: Mapping[Definition, Domain | None],
    options: ReadOptions,
    found: Diagnostics,
) -> NetworkRef | None:
    """A declared network; None where a fault was reported. One that is trained needs its alignment among ``alignments``."""
    declaration = definition.declaration
    assert isinstance(declaration, tree.NetworkDecl)
    name = options.names.get(id(declaration), declaration.name.name)
    folder, other = definition.module.folder, options.networks.get(id(declaration))
    place = declaration.value.span
    called = call_name(declaration.value)
    if called is None or called[0] not in NETWORKS:
        close = nearest(called[0], NETWORKS) if called else None
        found.report(
            "E207",
            f"a network comes from {', '.join(NETWORKS)}, not from `{format_expr(declaration.value.function)}`",
            place,
            help=f"did you mean `{close}`?"
            if close
            else 'write hf("folder or name"), zoo("name"), torch("file.py:function") or train(alignment)',
        )
        return None
    kind = called[0]
    own, given = for_factory(kind, declaration.value.arguments, NETWORKS, folder)
    settings = read_settings(kind, own, NETWORKS[kind], found, place)
    if settings is None:
        return None
    if kind == "torch" and not read_vocabulary(settings, definition.module, domains, place, found):
        return None
    if given:
        settings["arguments"] = arguments_of(settings["factory"], given, folder, found)
        if settings["arguments"] is None:
            return None
    if kind == "train" and other is None:
        alignment = meant(alignments, definition.module, settings["alignment"], found, "alignment")
        return None if alignment is None else _trained(definition, name, alignment, settings, options, found)
    target = settings.pop("factory" if kind == "torch" else "alignment" if kind == "train" else "name")
    if other is not None:
        declared, kind, target = kind, "hf", str(other.absolute())
        known = {**COMMON, **ADAPTER, **(HELD if declared == "hf" else {})}
        settings = {key: value for key, value in settings.items() if key in known}
    if kind == "hf" and settings.get("revision") is not None and local_folder(target, folder) is not None:
        found.report(
            "E770",
            f"`{target}` is a folder, which has no revision `{settings['revision']}`",
            place,
            notes=("the files in the folder would be run, whatever their revision",),
            help="leave `revision` out, or name the repository that it is a revision of",
        )
        return None
    if kind == "hf" and not judge_held(settings, place, found):
        return None
    key = network_key(kind, target, settings, folder, name)
    facts = options.facts.get(key) or _facts(kind, target, settings, folder, place, found)
    if facts is None or (kind == "hf" and not judge_adapter(settings, target, folder, facts, place, found)):
        return None
    kept = tuple((key, value) for key, value in settings.items() if value is not None)
    return NetworkRef(name, kind, target, kept, folder, facts, place, key)  # type: ignore[arg-type]


def _trained(
    definition: Definition,
    name: str,
    alignment: Alignment,
    settings: dict[str, Any],
    options: ReadOptions,
    found: Diagnostics,
) -> NetworkRef | None:
    """The outcome of training the network of an alignment: it has its shape, and runs as it does."""
    declaration, folder = definition.declaration, definition.module.folder
    assert isinstance(declaration, tree.NetworkDecl)
    place = declaration.value.span
    training = TrainingReader(name, alignment, settings, found, place).read()
    if training is None:
        return None
    blank = alignment.network
    if blank.held:
        found.report(
            "E942",
            f"`{blank.name}` cannot be trained: {blank.held}",
            place,
            notes=("a training changes all weights of a network, so they are in the memory of one device",),
            help=f"leave {blank.held} out of the network that is trained",
        )
        return None
    kept = tuple((key, value) for key, value in blank.settings if key in COMMON)
    decided = TrainingKey(blank.key, alignment.name, training_settings(training), files_digest(definition.module))
    key = network_key("train", "", dict(kept), folder, name, decided)
    facts = options.facts.get(key) or blank.facts
    return NetworkRef(name, "train", alignment.name, kept, folder, facts, place, key, training)


def _facts(
    kind: str, target: str, settings: Mapping[str, Any], folder: Path, span: Span, found: Diagnostics
) -> Facts | None:
    if kind == "zoo":
        return facts_of_zoo(target, span, found)
    if kind == "torch":
        known = _code_of(target, folder, span, found)
        if known is None:
            return None
        said = Facts("language", target, record=layout_from(settings, target))
        not_given = tuple(name for name in COMPONENTS if settings.get("layers") and missing(name, said) is not None)
        return replace(known, words=words_of(settings), unproved=not_given)
    return facts_of_reference(target, settings.get("revision"), folder, span, found)


def _code_of(target: str, folder: Path, span: Span, found: Diagnostics) -> Facts | None:
    """The facts of a network that code makes before it is run: that the file is there (else E637)."""
    file, _, function = target.rpartition(":")
    if file and function and not is_file(folder / file):
        found.report(
            "E637",
            no_file(folder / file, file),
            span,
            notes=("paths are relative to the spec",),
            help="name a Python file that is there",
        )
        return None
    return Facts("unknown")


#: Weights of a family of networks that are worth a warning, in bytes.
_LARGE = 4 * 2**30


def warn_of_many(networks: Mapping[Definition, NetworkRef], found: Diagnostics) -> None:
    """Report W231 for a family of networks whose weights are large: each of them is loaded, one after another."""
    families: dict[tuple[str, int], list[NetworkRef]] = {}
    for definition, network in networks.items():
        if definition.family:
            families.setdefault((definition.family, id(definition.module)), []).append(network)
    for (name, _), members in families.items():
        folders = {one.facts.folder for one in members if one.facts.folder is not None}
        size = sum(file.stat().st_size for folder in folders for file in folder.glob("*.safetensors"))
        if size > _LARGE:
            found.report(
                "W231",
                f"`{name}` is {len(members)} networks with weights of {size / 2**30:.1f} GiB",
                members[0].span,
                notes=("each of those that tests run on is loaded by `run`, one after another",),
                help="run some of them at a time: --test NAME, or fewer values of the parameter",
            )
