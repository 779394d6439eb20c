"""The records of architectures: what is generated is current, and no file beside them names one."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

from causal_dsl.program.sae_metadata import architectures_named
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.network_kinds import NETWORK_KINDS
from tests.package_trees import PACKAGE, tree_of

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "home"),
    [(ARCHITECTURES.own, ("vocabulary/architectures",)), (FEATURES.own, ("families", "features"))],
    ids=["architectures", "features"],
)
def test_no_file_beside_the_records_names_one(names: dict[str, object], home: tuple[str, ...]) -> None:
    """A table, a set, a comparison or a list elsewhere would have to be changed for a new one."""
    other = {"mask"}  # a read-out of masked tokens, too, and an input of transformers
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix().startswith(home):
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and node.value in names and node.value not in other:
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {node.value}")
    assert found == []


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("smollm3-3b", {"smollm3"}),
        ("smollm2-135m", {"llama"}),
        ("gpt2-small", {"gpt2"}),
        ("pythia-70m-deduped", {"gpt_neox"}),
        ("gpt-neo-125m", {"gpt_neo"}),
        ("gpt-neox-20b", {"gpt_neox"}),
        ("gemma-2-2b", {"gemma2"}),
        ("gemma-3-1b-pt", {"gemma3", "gemma3_text"}),
        ("gemma-2b", {"gemma", "gemma2", "gemma3", "gemma3_text"}),
        ("qwen2.5-7b", {"qwen2", "qwen2_moe", "qwen3", "qwen3_moe"}),
        ("qwen3-8b", {"qwen3", "qwen3_moe"}),
        ("xlm-roberta-base", {"roberta", "xlm-roberta"}),
        ("something-else", set()),
    ],
)
def test_what_a_networks_name_says_of_its_architecture(name: str, kinds: set[str]) -> None:
    assert architectures_named(name) == kinds


def test_the_page_of_architectures_has_words_for_each_way_of_a_pass() -> None:
    ways = runpy.run_path(str(ROOT / "docs" / "architectures.py"))["WAYS"]
    assert set(ways) == {"", *NETWORK_KINDS["language"].ways}
