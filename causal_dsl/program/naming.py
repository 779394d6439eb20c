"""The names of the networks of a spec and of its imports, each its own, and which network a name means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from causal_dsl.diagnostics import Source, Span, did_you_mean, fail
from causal_dsl.program.modules import Definition, Module


def network_names(spec: Module, modules: Iterable[Module]) -> dict[int, str]:
    """The names of declared networks in results and messages, by the ``id`` of the declaration.

    A name of the spec itself is its own; a network that only an imported file knows is told with that file where another
    has its name: ``net (other.causal)``.
    """
    found = {id(definition.declaration): name for name, definition in spec.of_kind("network").items()}
    others = [definition for definition in _declared(modules) if id(definition.declaration) not in found]
    taken = Counter([*found.values(), *(definition.name for definition in others)])
    files = {definition: Path(definition.module.source.path).name for definition in others}
    alike = Counter((definition.name, file) for definition, file in files.items())
    for definition, file in files.items():
        name = definition.name
        where = file if alike[name, file] == 1 else definition.module.source.path
        found[id(definition.declaration)] = name if taken[name] == 1 else f"{name} ({where})"
    return found


def overridden(spec: Module, modules: Iterable[Module], folders: Mapping[str, Path]) -> dict[int, Path]:
    """The folder in place of each network that ``--network`` names, by the ``id`` of its declaration.

    A name of the spec itself comes first, then that of the only network of its imports. Raises E702 for a name that no
    network has, E750 for one that several have.
    """
    own, others = spec.of_kind("network"), list(_declared(modules))
    found = {}
    for name, folder in folders.items():
        meant = [own[name]] if name in own else [d for d in others if d.name == name]
        place = Span(Source(spec.source.path, ""), 0, 0)
        if not meant:
            known = [*own, *(definition.name for definition in others)]
            raise fail(
                "E702", f"{spec.source.path} declares no network `{name}`", place, help=did_you_mean(name, known)
            )
        if len(meant) > 1:
            files = " and ".join(definition.module.source.path for definition in meant)
            raise fail(
                "E750",
                f"`{name}` names {len(meant)} networks that {spec.source.path} imports",
                place,
                notes=(f"they are declared in {files}",),
                help=f'import the one that you mean: from "{Path(meant[0].module.source.path).name}" import {name}',
            )
        found[id(meant[0].declaration)] = folder
    return found


def known_names(spec: Module, modules: Iterable[Module]) -> set[str]:
    """Every name that ``--network`` may give: those of the spec itself, and of the networks of its imports."""
    return {*spec.of_kind("network"), *(definition.name for definition in _declared(modules))}


def _declared(modules: Iterable[Module]) -> Iterable[Definition]:
    """The networks that files declare themselves."""
    for module in modules:
        yield from (definition for definition in module.of_kind("network").values() if definition.module is module)


__all__ = ["known_names", "network_names", "overridden"]
