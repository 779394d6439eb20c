"""A word stands for one record: a second one is refused as the table is made, and does not take its place."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import causal_dsl
from causal_dsl.base.faults import OwnFault
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.features import FEATURES, FeatureFamily
from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.plugins import Words
from causal_dsl.vocabulary.record_tables import table
from tests.package_trees import PACKAGE, tree_of

#: A file of the package, what is added to it or written anew, what is imported, and what the message says.
TWICE = {
    "finding": (
        "findings.py",
        lambda text: text.replace("_ALL = (", '_ALL = (\n    FindingKind("exact", "verdict", "info", "another"),', 1),
        r"two findings have the code `exact`: FindingKind\(code='exact'.*another.* and FindingKind\(",
    ),
    "reading": (
        "readings/second.py",
        lambda _: "from causal_dsl.vocabulary.readings.of_vectors import FAMILY",
        r"two readings have the name `\w+`",
    ),
    "measure": (
        "measures/second.py",
        lambda _: "from causal_dsl.vocabulary.measures.iia import MEASURE",
        r"two measures of this package have the name `iia`",
    ),
    "component": (
        "components/second.py",
        lambda _: "from causal_dsl.vocabulary.components.mlp import FAMILY",
        r"two components have the name `\w+`",
    ),
    "rank of a component": (
        "components/second.py",
        lambda _: (
            "from dataclasses import replace\nfrom causal_dsl.vocabulary.components.mlp import FAMILY as F\n"
            "FAMILY = (replace(F[0], name='second'),)"
        ),
        r"two components have the rank `\d+(\.\d+)?`: Component\(name='(\w+)'.* and Component\(name='(?!\2)\w+'",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", list(TWICE))
def test_a_word_of_two_records_is_refused_at_import(case: str, tmp_path: Path) -> None:
    file, change, wanted = TWICE[case]
    package = tmp_path / "causal_dsl"
    shutil.copytree(Path(causal_dsl.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    there = package / "vocabulary" / file
    there.write_text(change(there.read_text(encoding="utf-8") if there.exists() else ""), encoding="utf-8")
    script = "from causal_dsl.vocabulary import components, findings, readings, words, discovery_methods\nwords.words()"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode and "OwnFault" in done.stderr and re.search(wanted, done.stderr), done.stderr[-2000:]


def test_a_table_has_all_its_records_and_no_word_twice() -> None:
    assert table("findings", FINDINGS.values(), "code") == FINDINGS
    first, *_ = FINDINGS.values()
    with pytest.raises(OwnFault, match=f"two findings have the code `{first.code}`"):
        table("findings", [*FINDINGS.values(), first], "code")
    family = FEATURES["rotation"]
    with pytest.raises(OwnFault, match="two features of this package have the name `rotation`"):
        _ = Words("causal_dsl.features", FeatureFamily, [family, family]).own
    assert [one.rank for one in COMPONENTS.values()] == sorted({one.rank for one in COMPONENTS.values()})


@pytest.mark.slow
def test_settings_are_records_of_the_vocabulary() -> None:
    """What a word takes is told where words are: a table elsewhere would be unknown to `explain`, editors and the docs."""
    elsewhere = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in ("vocabulary", "families")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Setting"
    ]
    assert not elsewhere
