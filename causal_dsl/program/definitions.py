"""The first pass: which declaration a name means, and the order in which declarations are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.read_settings import call_name
from causal_dsl.syntax import tree

T = TypeVar("T")
#: What the expressions of causal models may name.
TERMS = ("domain", "table", "Python function")


def find(module: Module, name: tree.Ident | tree.Name, found: Diagnostics, *kinds: str) -> Definition | None:
    """The definition of a name, which must be of one of these kinds; None where it is not, and that is reported."""
    definition = module.names.get(name.name)
    if definition is not None and definition.kind in kinds:
        return definition
    if name.name in module.faulty:
        return None  # reported where it is declared
    known = [n for n, d in module.names.items() if d.kind in kinds]
    members = module.families.get(name.name, ())
    if definition is None and members:
        found.report(
            "E228",
            f"`{name.name}` is one of {len(members)}: it has parameters that are not given here",
            name.span,
            notes=("its parameters determine more than a place, and only one of them can be used here",),
            help=f"give them, as in {members[0]}",
        )
    elif definition is None:
        found.report(
            "E200",
            f"no {' or '.join(kinds)} `{name.name}`",
            name.span,
            help=did_you_mean(name.name, known, f"this file declares no {' or '.join(kinds)}"),
        )
    else:
        found.report(
            "E205",
            f"`{name.name}` is {_with_article(definition.kind)}, not {' or '.join(map(_with_article, kinds))}",
            name.span,
            others=((definition.span, "declared here"),),
            help=did_you_mean(name.name, known),
        )
    return None


def meant(
    values: Mapping[Definition, T], module: Module, name: tree.Ident | tree.Name, found: Diagnostics, kind: str
) -> T | None:
    """The value that an earlier pass made of the definition that a name means; None where that was at fault."""
    definition = find(module, name, found, kind)
    return None if definition is None else values.get(definition)


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


# ── the order of reading ────────────────────────────────────────────────────────────────────────


def in_order(module: Module, replaced: Collection[int], found: Diagnostics) -> tuple[Definition, ...]:
    """Every definition that a module names, and those of other files that they need, each after what it needs.

    ``replaced``: the ids of declarations of networks in whose place other weights are loaded: they need nothing. What
    needs itself is reported (E206, E208, E730), and what depends on it is later found at fault.
    """
    order: dict[Definition, None] = {}
    unfinished: list[Definition] = []

    def visit(definition: Definition) -> None:
        unfinished.append(definition)
        for need in () if id(definition.declaration) in replaced else _needs(definition):
            if need in unfinished:
                _refuse_circle(definition, need, found)
                break
            if need not in order:
                visit(need)
        order[unfinished.pop()] = None

    for definition in module.names.values():
        if definition not in order:
            visit(definition)
    return tuple(order)


def needed_for(module: Module, tests: Collection[str]) -> frozenset[Definition]:
    """The definitions that some tests (empty: all) are read with: all but the members of families that none of these needs."""
    found: dict[Definition, None] = {}
    wanted = [
        definition
        for name, definition in module.names.items()
        if not tests
        or (name in tests or definition.family in tests if definition.kind == "test" else not definition.family)
    ]
    while wanted:
        definition = wanted.pop()
        if definition not in found:
            found[definition] = None
            wanted += _needs(definition)
    fits = [one for one in module.of_kind("fit").values() if all(need in found for need in _needs(one) if need.family)]
    return frozenset((*found, *fits))


def by_network(module: Module, tests: Collection[str]) -> dict[str, tuple[Definition, ...]]:
    """The tests (empty: all) on each network, by its name, where those of one declaration are on several; else nothing. A test of
    which no network is known is in none."""
    found: dict[str, list[Definition]] = {}
    families: dict[str, set[str]] = {}
    known: dict[Definition, Definition | None] = {}
    for name, test in module.of_kind("test").items():
        network = _network_of(test, known)
        if network is not None and (not tests or name in tests or test.family in tests):
            found.setdefault(network.name, []).append(test)
            families.setdefault(test.family or name, set()).add(network.name)
    several = any(len(networks) > 1 for networks in families.values())
    return {name: tuple(own) for name, own in found.items()} if several else {}


def _network_of(test: Definition, known: dict[Definition, Definition | None]) -> Definition | None:
    """The declaration of the network that a test is on, whatever is at fault in it. ``known`` takes what each declaration on
    the way names, since many tests are on one alignment."""
    on: Definition | None = test
    seen: list[Definition] = []
    while on is not None and on.kind != "network" and on not in seen:
        seen.append(on)
        if on not in known:
            needs = list(_needs(on))
            known[on] = next((need for kind in ("network", "alignment") for need in needs if need.kind == kind), None)
        on = known[on]
    return on


def _needs(definition: Definition) -> Iterator[Definition]:
    """The definitions that one is read after, in the order in which it names them."""
    module = definition.module
    match definition.declaration:
        case tree.DomainDecl(domain=domain):
            names = (node.name for node in domain.walk() if isinstance(node, tree.Name))
            yield from _of_kinds(module, names, "domain", "table")
        case tree.CausalDecl():
            yield from (other for kind in TERMS for other in module.of_kind(kind).values())
        case tree.NetworkDecl(value=call) if (call_name(call) or ("",))[0] == "train":
            towards = next((a for a in call.arguments if a.name is None or a.name.name == "alignment"), None)
            if towards is not None and isinstance(towards.value, tree.Name):
                yield from _of_kinds(module, [towards.value.name], "alignment")
        case tree.AlignDecl(model=model, network=network) as declaration:
            yield from _of_kinds(module, [model.name], "alignment", "causal model")
            if network is not None:
                yield from _of_kinds(module, [network.name], "network")
            among = (a.value for a in declaration.walk() if isinstance(a, tree.Argument) and a.name is not None)
            names = (node.name for value in among for node in value.walk() if isinstance(node, tree.Name))
            yield from _of_kinds(module, names, "domain", "table")
        case tree.CircuitDecl(network=network):
            yield from _of_kinds(module, [network.name], "network")
        case tree.CircuitAs(network=network, value=value):
            yield from _of_kinds(module, [] if network is None else [network.name], "network")
            yield from _of_kinds(module, [node.name for node in value.walk() if isinstance(node, tree.Name)], "circuit")
        case tree.TestDecl() | tree.FitDecl() as declaration:
            drawn = (member.domain for member in declaration.members if isinstance(member, tree.Draw))
            called = [call_name(expr) for expr in (declaration.on, *drawn) if isinstance(expr, (tree.Call, tree.Name))]
            yield from _of_kinds(module, [name for name, _ in filter(None, called)], "alignment", "causal model")


def _of_kinds(module: Module, names: Collection[str] | Iterator[str], *kinds: str) -> Iterator[Definition]:
    for name in names:
        definition = module.names.get(name)
        if definition is not None and definition.kind in kinds:
            yield definition


def _refuse_circle(definition: Definition, need: Definition, found: Diagnostics) -> None:
    """Report a definition that needs one which needs it."""
    if need.kind == "domain":
        found.report(
            "E206", f"the domain `{need.span.text}` is defined by itself", need.span, help="write out its values"
        )
        return
    if need.kind == "circuit":
        found.report("E809", f"the circuit `{need.span.text}` is made of itself", need.span, help="name other circuits")
        return
    network = next((one for one in (need, definition) if one.kind == "network"), None)
    if network is None:
        found.report(
            "E208",
            f"the alignment `{need.span.text}` takes its placements from itself",
            need.span,
            help="name another alignment after the `:`",
        )
        return
    found.report(
        "E730",
        f"`{network.span.text}` is trained from itself",
        network.span,
        notes=("the alignment that it is trained towards is one of this very network",),
        help="align another network, `network blank = …`, and train that",
    )
