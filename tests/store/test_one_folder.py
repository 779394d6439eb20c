"""Two networks that code of one folder makes: the key of each has the files of its own code, whichever was loaded first."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.network.network import Network
from causal_dsl.running.session import Session

SPEC = """
causal who {{
  a, b ~ 0..3

  output answer := (a + b) mod 4
}}

{networks}
"""
ONE = """
network {name} = torch("{name}.py:make")

align at_{name} : who -> {name} {{
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  answer @ logits
}}

test t_{name} on at_{name} {{
  base ~ who(n=4, seed=0)
  report accuracy
}}
"""
MAKE = """
import torch
{imports}

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 4))
"""
IMPORTS = {
    "first": "from own.deep import size\nimport importlib\nlate = importlib.import_module('late')",
    "second": "import both",
    "third": "import both\nfrom own import plain",
}
OWN = {
    "first": {"first.py", "own/__init__.py", "own/deep.py", "both.py", "late.py"},
    "second": {"second.py", "both.py"},
    "third": {"third.py", "both.py", "own/__init__.py", "own/plain.py"},
}


def written(home: Path, order: tuple[str, ...]) -> Path:
    (home / "own").mkdir(parents=True)
    (home / "own" / "__init__.py").write_text("")
    (home / "own" / "deep.py").write_text("import both\nsize = 8\n")
    (home / "own" / "plain.py").write_text("width = 4\n")
    (home / "both.py").write_text("shared = 1\n")
    (home / "late.py").write_text("late = 1\n")
    for name, imports in IMPORTS.items():
        (home / f"{name}.py").write_text(MAKE.format(imports=imports))
    spec = home / "s.causal"
    spec.write_text(SPEC.format(networks="".join(ONE.format(name=name) for name in order)))
    return spec


def loaded(spec: Path) -> dict[str, Network]:
    options = cd.Options(trust=True)
    checked = cd.check(cd.load(spec), options)
    checked.raise_errors()
    assert checked.program is not None
    refs = [test.network for test in checked.program.tests]
    return {network.name: network for network in Session(options).networks(refs).values()}


@pytest.mark.parametrize("order", [("first", "second", "third"), ("third", "second", "first")])
def test_each_has_the_files_of_its_own_code(order: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / order[0]
    spec = written(home, order)
    for _ in range(2):  # the second time the modules are there already
        for name, network in loaded(spec).items():
            assert network.reads is not None
            found = {path.relative_to(home).as_posix() for path in network.reads.digests() if path.is_relative_to(home)}
            assert found == OWN[name], name
