"""What differs between kinds of networks is in their records and in their classes of inputs: no other code asks which kind it has."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from causal_dsl.inputs import Inputs, PromptInputs, VectorInputs, given_to
from causal_dsl.planning.layer_costs import costs_of
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.network_kinds import NETWORK_KINDS, NetworkKind
from causal_dsl.vocabulary.plugins import made
from tests.package_trees import PACKAGE, tree_of

#: Where the answers are: the records, and the inputs of each kind.
ANSWERS = ("vocabulary/network_kinds/", "inputs/")
#: Comparisons of kinds, and why each is none of what a kind is like.
COMPARED = {
    "network/load.py: facts.kind == network.facts.kind": "of two networks, whether what was expected was loaded",
}
#: What is asked of the record of a network's kind, how many lines ask it at most, and why code must differ there. Texts and names that are
#: used as they are do not count.
ASKED = {
    "seen": (15, "what is not known before a network is loaded is neither refused nor warned of"),
    "positions": (7, "tokens, or the numbers of one vector, are what controls take apart; a site takes a position; and what reaches an answer"),
    "speaks": (4, "answers are words, or classes"),
    "by_record": (8, "layers, and the unembedding, are where a record says; or layers are what a module calls so"),
    "prompted": (1, "a metric needs a prompt"),
    "gaps": (2, "the empty text is no answer where answers are words"),
    "particular": (2, "what was drawn for a proof may not be what a network is made for"),
    "stream": (1, "a write replaces all that came before it, so that each needs a row of its own"),
    "costly": (3, "controls that run thousands of rows more"),
}  # fmt: skip

#: What stands in every module that asks anything.
_WORDS = "|".join(
    (
        *map(repr, NETWORK_KINDS),
        *(f'"{kind}"' for kind in NETWORK_KINDS),
        *ASKED,
        r"facts\.kind",
        "has_tokens",
        "PromptInputs",
        "VectorInputs",
    )
)


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(ANSWERS) and re.search(_WORDS, path.read_text(encoding="utf-8")):
            yield name, path


def _kind_of_facts(node: ast.expr) -> bool:
    """Whether it is `facts.kind`, of whatever has these facts."""
    if not (isinstance(node, ast.Attribute) and node.attr == "kind"):
        return False
    return getattr(node.value, "attr", getattr(node.value, "id", "")) == "facts"


def _questions(name: str, tree: ast.Module) -> Iterator[str]:
    """Where code compares a kind, or asks of which class inputs are."""
    classes = {PromptInputs.__name__, VectorInputs.__name__, "has_tokens"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            inner = list(ast.walk(node))
            kinds = any(isinstance(one, ast.Constant) and one.value in NETWORK_KINDS for one in inner)
            asked = any(isinstance(one, ast.Attribute) and one.attr in ("kind", "kinds") for one in inner)
            if (kinds and asked) or any(map(_kind_of_facts, (node.left, *node.comparators))):
                yield f"{name}: {ast.unparse(node)}"
        elif isinstance(node, ast.Name | ast.Attribute):
            word = node.id if isinstance(node, ast.Name) else node.attr
            if word in classes:
                yield f"{name}: {ast.unparse(node)}"


@pytest.mark.slow
def test_no_code_asks_of_which_kind_a_network_is() -> None:
    found = [question for name, path in _modules() for question in _questions(name, tree_of(path))]
    assert sorted(found) == sorted(COMPARED), "ask for what is needed: a field of NetworkKind, or a method of Inputs"


def test_what_is_asked_of_a_kind_is_asked_in_few_places() -> None:
    found: Counter[str] = Counter()
    for _, path in _modules():
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Attribute) or node.attr not in ASKED:
                continue
            of_kind = ast.unparse(node.value).endswith(("traits", "kind", "NETWORK_KINDS[self.kind]"))
            found[node.attr] += of_kind or node.attr == "costly"
    assert found == {name: most for name, (most, _) in ASKED.items()}
    assert found.total() - found["seen"] < 30


def test_questions_are_seen() -> None:
    """A comparison with a kind, and a look at the class of inputs, are found wherever they stand."""
    for text in (
        'x = facts.kind != "vector"',
        "def f(a):\n    return 1 if a.network.facts.kind in KNOWN else 2",
        'y = entry.kind == "language"',
        'w = "unknown" not in (mine.kind, theirs.kind)',
        'v = "language" in about.kinds',
        "z = isinstance(inputs, PromptInputs)",
        "if inputs.has_tokens: pass",
    ):
        assert list(_questions("here.py", ast.parse(text))), text
    assert not list(_questions("here.py", ast.parse('x = look.kind == "attribution"\ny = facts.traits.positions')))


@pytest.mark.parametrize("kind", NETWORK_KINDS.values(), ids=list(NETWORK_KINDS))
def test_all_that_a_record_names_is_there(kind: NetworkKind) -> None:
    """Also of the module that it is in: a name that leads nowhere would be seen only when such a network is run."""
    names = [
        one.name
        for one in fields(kind)
        if isinstance(value := getattr(kind, one.name), str) and value.startswith("causal_dsl.")
    ]
    assert {"universe", "edges", "costs", "prove", "modules"} <= set(names)
    assert all(callable(made(getattr(kind, name))) for name in names)
    facts = Facts(kind.name)
    assert facts.traits is kind and costs_of(kind).is_small(facts) in (True, False)
    assert kind.components in NETWORK_KINDS
    assert not kind.seen or issubclass(given_to(facts), Inputs)
    assert kind.positions != bool(kind.no_tokens), "a network without tokens says so where a spec names one"


@pytest.mark.parametrize("kind", [kind for kind in NETWORK_KINDS.values() if kind.seen], ids=lambda kind: kind.name)
def test_a_kind_has_the_sites_that_its_record_speaks_of(kind: NetworkKind) -> None:
    there = {name for name, about in COMPONENTS.items() if about.is_in(Facts(kind.name))}
    assert kind.start in there and {"logits", "module"} < there
    assert any(COMPONENTS[name].acts == "exit" for name in there)
    assert given_to(Facts(kind.name)).kind == kind.name


def test_of_a_network_that_nothing_is_known_of_nothing_is_refused() -> None:
    unknown = Facts("unknown")
    assert unknown.unseen and all(about.is_in(unknown) for about in COMPONENTS.values())
