"""Golden diagnostics: what ``check`` says of every ``errors/NAME.causal`` is in ``errors/NAME.txt``.

After a change on purpose, write them anew with ``UPDATE_GOLDEN=1 pytest tests/program/test_program_errors.py`` and read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.diagnostics import SpecError

FOLDER = Path(__file__).parent / "errors"
SPECS = sorted(FOLDER.glob("*.causal"))
PACKAGE = Path(__file__).parents[2] / "causal_dsl"
#: Specs with two faults of their own; every other has one, and it is told once.
SEVERAL = {
    **dict.fromkeys(
        [
            "unused_parameter",
            "unused_parameter_of_test",
            "joint_source",
            "edge_on_no_path",
            "circuit_file_elsewhere",
            "circuit_file_noted",
            "circuit_node_twice",
            "circuit_without_members",
            "attention_to_later",
        ],
        0,
    ),
    "two_faults": 2,
    "latents_along_edges": 2,
    "circuit_beyond_its_range": 3,
}
#: Codes that need options, a run, or the network itself, or that have tests of their own beside this one (files, tokens, autoencoders).
#: Every other code of these modules has a golden text: a new one is asked for it by itself.
ELSEWHERE = {
    "E810",
    "E793",
    *(
        "E229",
        "W230",
        "W231",
        "E510",
        "E577",
        "W520",
        "E543",
        "E686",
        "E948",
        "W335",
        "W668",
        "E701",
        "E702",
        "E750",
    ),
    "W775",
    *("E501", "E503", "E505", "E506", "E507", "E508", "E509", "E511", "E513", "W512", "W514", "W515", "W516", "W519"),
    *("E630", "E631", "E632", "E643", "E648", "W633", "W517", "W518", "W669", "E721", "W780", "W781"),
}


@pytest.fixture(autouse=True)
def in_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)  # paths in messages are relative to the working directory


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
@pytest.mark.thinned(always=110)
def test_messages(path: Path) -> None:
    checked = api.check(api.load(path.name))
    golden = path.with_suffix(".txt")
    found = checked.text() + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")
    assert len(checked.errors) == SEVERAL.get(path.stem, 1)
    assert all(error.span.source.text for error in checked.errors), "a fault of a spec has a place in it"


def test_every_golden_text_has_its_spec() -> None:
    assert len(SPECS) >= 100
    assert {path.stem for path in FOLDER.glob("*.txt")} == {path.stem for path in SPECS}


def test_every_code_has_its_golden_text() -> None:
    files = [*(PACKAGE / "program").rglob("*.py"), *(PACKAGE / "planning").rglob("*.py")]
    used = {code for file in files for code in re.findall(r'"([EW]\d{3})"', file.read_text(encoding="utf-8"))}
    shown = {
        code
        for path in FOLDER.glob("*.txt")
        for code in re.findall(r"\[([EW]\d{3})\]", path.read_text(encoding="utf-8"))
    }
    assert used - shown <= ELSEWHERE


#: What a user makes of the help line: (spec, what is replaced, by what). The spec then passes.
MENDS = [
    ("unknown_network", "-> mpl", "-> mlp"),
    ("unknown_alignment", "halfs", "halves"),
    ("unknown_variable", "lefd ", "left "),
    ("imports_missing_name", "import Shap\n", "import Shape\n"),
    ("setting_by_name", "equality(8)", "equality(n=8)"),
    ("dtype_misspelt", "flaot32", "float32"),
    ("setting_missing", "embedding()", "embedding(dim=4)"),
    ("solved_of_what", "solved(bas)", "solved(base)"),
    ("solved_nested", "not solved(base)", "solved(base)"),
    ("site_unknown", "resid_pots", "resid_post"),
    ("site_unknown_head", "@ resid_post[b]", "@ layer[1].resid_post[b]"),
    ("layer_alone", "layer[1]\n", "layer[1].resid_post[last]\n"),
    ("layer_unbound", "align tau :", "align tau(l in 0:3) :"),
    ("layer_slice", "layer[2:2]", "layer[2:5]"),
    ("no_position", "resid_post\n", "resid_post[last]\n"),
    ("dims_before_position", "[0:16]", "[last, 0:16]"),
    ("position_edge_part", "last.first", "last"),
    ("hole_named_last", "resid_post[last]", "resid_post[last.last]"),
    ("same_dims_twice", "[1:3]", "[2:4]"),
    ("input_too_wide", "input[0:5]", "input[0:4]"),
    ("input_scattered", "input[0, 2, 4, 6]", "input[0:4]"),
    ("inputs_overlap", "input[2:6]", "input[4:8]"),
    ("how_does_it_enter", "input[0:4]", "input[0:4] via onehot()"),
    ("encoding_not_at_input", "out[0:2] via onehot()", "out[0:2]"),
    ("readout_no_tokens", "next_token", "logits"),
    ("readout_logits_of_words", "@ logits", "@ next_token"),
    ("readout_position", "next_token[a, b]", "next_token"),
    ("answers_several_tokens", "next_token(among=Answer)", "next_token"),
    ("lengths_differ", "[b.all]", "[b.last]"),
    ("output_written", "do(same", "do(left"),
    ("feature_misspelt", "rotatoin", "rotation"),
    ("feature_by_name", "(8, dim=2)", "(dim=8)"),
    ("feature_too_wide", "dim=8", "dim=3"),
    ("chain_too_wide", "k=4", "k=2"),
    ("gates_not_last", "mask().rotation(dim=2)", "rotation(dim=2).mask()"),
    ("gates_over_what", "neurons", "coordinates"),
    ("joined_two_sites", ", joined=true", ""),
    ("joined_lengths", "b.all", "b.first"),
    ("fit_file_missing", ', file="lost.safetensors"', ""),
    ("fit_shares_inputs", "equality(n=8)", "equality(n=8, split=test)"),
    ("fit_of_one_answer", " where base.left and base.right and source.left", ""),
    ("fit_without_do", "seed=0)\n", "seed=0)\n  do(left <- source)\n"),
    ("test_on_fit_part", ", split=fit", ""),
    ("features_fitted_two_ways", ", epochs=5", ""),
    ("value_nothing", "maen", "mean"),
    ("no_base", "one, source", "base, source"),
    ("nothing_expected", "(n=8)\n", "(n=8)\n  expect accuracy >= 95%\n"),
    ("parameter_never", "halves(7)", "halves(1)"),
    ("empty_parameter", "4:4", "4:5"),
    ("split_empty", ", split=test", ""),
    ("split_misspelt", "split=tests", "split=test"),
    ("draw_exhaustive_n", "n=8, ", ""),
    ("draw_from_domain", "0..3\n  do", "equality(n=256)\n  do"),
    ("train_sweep", "train(swept)", "train(one)\nalign one(l in 1:2) : swept {\n}"),
    ("train_learned", " via rotation(dim=2)", "[0:2]"),
    ("train_nothing_left", "strict=1", "strict=1, layers=[0]"),
    ("train_no_aim", "task=0, ", ""),
    ("mask_next_token", "@ next_token", "@ mask"),
    ("mask_left_to_right", "@ mask", "@ next_token"),
    ("mask_missing", "same . ", "same . [MASK] ."),
    ("mask_twice", "are [MASK]", "are the same"),
    ("mask_in_a_value", '"[MASK]"}', '"blue"}'),
    ("mask_answer_pieces", '"redish"', '"red"'),
    ("mask_answer_unknown", '"perhaps"', '"same"'),
    ("mask_answer_joined", "[MASK]ish", "[MASK] ."),
    ("mask_position", "mask[last]", "mask"),
    ("edge_backward", "layer[1].head[0] -> layer[0].head[1].q", "layer[0].head[0] -> layer[1].head[1].q"),
    ("circuit_unknown_kind", "[hed]", "[head]"),
    ("circuit_group_of_use", "muver = mean", "mover = mean"),
]


@pytest.mark.thinned(always=18)
@pytest.mark.parametrize(("name", "old", "new"), MENDS, ids=lambda value: value if value.isidentifier() else "")
def test_the_help_mends_the_spec(name: str, old: str, new: str) -> None:
    spec = api.load(f"{name}.causal")
    text = spec.source_text.text
    assert text.count(old) == 1
    checked = api.check(api.parse(text.replace(old, new)))
    assert not checked.errors, checked.text()


def failed(call: object, *arguments: object) -> str:
    with pytest.raises(SpecError) as caught:
        call(*arguments)  # type: ignore[operator]
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.help
    return diagnostic.code


def test_options_that_name_nothing() -> None:
    spec = api.load("set_twice.causal")
    assert failed(api.check, spec, api.Options(tests=("nowhere",))) == "E701"
    assert failed(api.check, spec, api.Options(networks={"nowhere": Path()})) == "E702"


def test_a_plan_needs_a_known_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path("set_twice.causal").read_text(encoding="utf-8")
    (tmp_path / "net.py").write_text("raise SystemExit('it must not be run')\n")
    monkeypatch.chdir(tmp_path)
    text = text.replace('zoo("equality-relu")', 'torch("net.py:make")').replace(
        "left <- source, left <- source", "left <- source"
    )
    assert failed(api.plan, api.parse(text)) == "E703"
