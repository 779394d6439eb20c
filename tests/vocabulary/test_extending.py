"""The packages of docs/extending.md, installed and used."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import causal_dsl as cd
from causal_dsl.program.facts import facts_of_config
from causal_dsl.tools.cli import main
from causal_dsl.tools.explained_words import explained
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.values import VALUES
from tests.equality import relu
from tests.vocabulary.installed import build_and_install, install, packages_of_page

VOCABULARY = Path(cd.__file__).parent / "vocabulary"
SPEC = relu(
    "left @ layer[0].out via FEATURE",
    tests="""
test t on halves {
  base, source ~ equality(n=40, seed=1)
  do(left <- source)
  report iia
  report mean(kl)
}
""",
)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's packages, built and installed in a folder."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in packages_of_page():
        build_and_install(tmp_path, name)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in packages_of_page():
        sys.modules.pop(name, None)


def scores(text: str) -> tuple[float, float]:
    cell = cd.run(cd.parse(text))["t"].cell()
    return cell.scores["iia"].value, cell.scores["mean(kl)"].value


def test_a_family_of_another_package(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = cd.check(cd.parse(SPEC.replace("FEATURE", "leading(dim=3, controls=none)")))
    checked.raise_errors()
    save_file({"leading": torch.eye(16)[:3].contiguous()}, packages / "leading.safetensors")
    monkeypatch.chdir(packages)
    named = scores(
        SPEC.replace("FEATURE", 'subspace("leading.safetensors", controls=none)')
    )  # the same map, from a file
    assert scores(SPEC.replace("FEATURE", "leading(dim=3, controls=none)")) == pytest.approx(named, abs=1e-6)
    findings = cd.run(cd.parse(SPEC.replace("FEATURE", "leading(dim=3, controls=none)")))["t"].cell().findings
    told = [finding.text for finding in findings if finding.code == "fitted"]
    assert told == ["leading(dim=3), 3 of 16 dimensions, is made from its settings alone; nothing was fitted."]
    with pytest.raises(cd.SpecError) as caught:
        cd.check(cd.parse(SPEC.replace("FEATURE", "leading(size=3)"))).raise_errors()
    assert "E211" in {diagnostic.code for diagnostic in caught.value.diagnostics}


def test_an_architecture_of_another_package(packages: Path) -> None:
    from transformers import AutoModelForCausalLM, Starcoder2Config

    from causal_dsl.diagnostics import NOWHERE
    from causal_dsl.network.prove import prove
    from causal_dsl.network.wrapped import wrap

    sizes = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    config = Starcoder2Config(**sizes, **heads, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert "starcoder2" in ARCHITECTURES
    network = wrap(model, facts_of_config(config.to_dict(), None, NOWHERE))
    proof = prove(network)
    assert proof.refused == {}
    assert {"neurons", "resid_mid", "q_rot", "pattern", "final_norm"} <= proof.ok
    assert proof.sweep == "ragged"


def test_a_broken_package_of_an_architecture_is_told_where_its_network_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "lib", "broken-star", {"causal_dsl.architectures": {"starcoder2": "broken_star:GONE"}})
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text('{"model_type": "starcoder2"}', encoding="utf-8")
    checked = cd.check(cd.parse('causal m {\n  a ~ 0..3\n  output b := a == 1\n}\nnetwork n = hf("./net")\n'))
    (found,) = [diagnostic for diagnostic in checked.diagnostics if diagnostic.code == "E786"]
    assert found.span.text == 'hf("./net")'
    assert "AttributeError" in " ".join(found.notes)


def test_every_group_of_entry_points_has_a_package_on_the_page(packages: Path) -> None:
    kinds = (FEATURES, VALUES, MEASURES, ARCHITECTURES)
    added = {kind.group: [name for name in kind if kind.package(name)] for kind in kinds}
    assert added == {
        "causal_dsl.features": ["leading"],
        "causal_dsl.values": ["soft"],
        "causal_dsl.measures": ["confidence"],
        "causal_dsl.architectures": ["starcoder2"],
    }
    assert all(kind[name].name == name for kind in kinds for name in added[kind.group])
    groups = set(
        re.findall(r'Words\(\s*"(causal_dsl\.\w+)"', "".join(path.read_text() for path in VOCABULARY.rglob("*.py")))
    )
    assert added.keys() == groups


def test_explain_says_which_package_adds_a_word(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("leading", "soft", "confidence", "starcoder2"):
        page = explained(word)
        assert re.search(rf"^The package [\w-]+ [\d.]+ adds `{word}`\.$", page, re.MULTILINE), page
        assert "variable is ." not in page
    assert "`neurons`" in explained("starcoder2")
    assert "package" not in explained("llama")
    install(packages, "soft-again", {"causal_dsl.values": {"soft": "soft_again:SOFT"}})
    sys.path.append(str(packages / "elsewhere"))  # packages are looked for again where the path is another
    try:
        assert main(["explain", "soft"]) == 2
    finally:
        sys.path.pop()
    told = capsys.readouterr().err
    assert "E785" in told and "causal-dsl explain soft" in told


def test_without_the_packages_the_words_are_not_there() -> None:
    checked = cd.check(cd.parse(SPEC.replace("FEATURE", "leading(dim=3)")))
    assert "E215" in {diagnostic.code for diagnostic in checked.diagnostics}
    assert "starcoder2" not in ARCHITECTURES
