"""Specs as pytest items, in a pytest of their own."""

from __future__ import annotations

from importlib.metadata import entry_points
from xml.etree import ElementTree

import numpy.fft  # noqa: F401  (numpy and torch load once a process: not anew in each inner run)
import pytest

import causal_dsl as cd
import causal_dsl.running.running
from tests.equality import relu

SPEC = relu(
    tests="""
test solves on halves {
  base ~ equality(n=64, seed=0)
  expect accuracy >= 99%
}

test fails on halves {
  base ~ equality(n=64, seed=0)
  expect accuracy <= 10%
}
"""
)


def run(inside: pytest.Pytester, *words: str) -> pytest.RunResult:
    # Installed, the plugin is there by its entry point, and pytest refuses it under a second name.
    installed = any(point.name == "causal_dsl" for point in entry_points(group="pytest11"))
    return inside.runpytest_inprocess(*([] if installed else ["-p", "causal_dsl.tools.pytest_plugin"]), *words)


@pytest.mark.slow
def test_a_test_is_an_item_and_fails_with_its_diagnostic(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SPEC)
    result = run(pytester, "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["halves.causal::solves PASSED*", "halves.causal::fails FAILED*", "*failed*F7*"])
    assert "Traceback" not in result.stdout.str()
    run(pytester, "-k", "solves").assert_outcomes(passed=1, deselected=1)


WARNED = relu(
    "left @ layer[1].out[0:2]",
    tests="""
test vacuous on halves {
  base, source ~ equality(n=64, seed=0)
  do(left <- source)
  expect iia >= 10%
  expect accuracy <= 10%
}

test fails on halves {
  base ~ equality(n=64, seed=0)
  expect accuracy <= 10%
}
""",
)


@pytest.mark.slow
def test_a_test_tells_its_own_warnings_alone(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=WARNED)
    parts = run(pytester).stdout.str().split("____ fails ____")
    assert len(parts) == 2 and "warning[W" in parts[0] and "expect iia >= 10%" in parts[0]
    assert "warning[W" not in parts[1].partition("short test summary")[0]


def test_a_faulty_spec_is_a_collection_error(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", bad=SPEC.replace("a == b", "a == e"))
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*error?E*", "*bad.causal:5:*"])


def test_options_that_name_nothing_are_told(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SPEC)
    result = run(pytester, "--causal-network", "mlp=nowhere")
    result.stdout.fnmatch_lines(["*E706*"])
    result = run(pytester, "--causal-network", "mlpp=.")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: error?E702?: no spec that was collected declares a network `mlpp`", "*did you mean `mlp`?"]
    )
    pytester.makefile(".causal", other="domain Shape = 0..3")  # it has no network, and no test
    result = run(pytester, "--collect-only", "--causal-network", "mlp=.")
    assert "E702" not in result.stderr.str()


@pytest.mark.slow
def test_a_network_that_no_spec_has_fails_tests_of_workers(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SPEC)
    result = alone(pytester, "-n", "1", "--causal-network", "mlpp=.")
    assert result.ret != 0 and "E702" in result.stdout.str() and "did you mean `mlp`?" in result.stdout.str()
    result.assert_outcomes(errors=2)


@pytest.mark.slow
def test_results_are_not_collected_again(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SPEC)
    kept = pytester.path / "kept" / "halves"
    (kept / "source").mkdir(parents=True)
    (kept / "causal-dsl.json").write_text("{}", encoding="utf-8")
    (kept / "source" / "halves.causal").write_text(SPEC, encoding="utf-8")
    run(pytester).assert_outcomes(passed=1, failed=1)
    run(pytester, "kept/halves/source/halves.causal").assert_outcomes(passed=1, failed=1)
    run(pytester, "kept/halves").assert_outcomes()
    (kept / "source" / "test_nets.py").write_text("def test_of_a_network():\n    raise ValueError\n", encoding="utf-8")
    run(pytester).assert_outcomes(passed=1, failed=1)


def alone(inside: pytest.Pytester, *words: str) -> pytest.RunResult:
    """pytest in a process of its own."""
    inside.makepyprojecttoml("[tool.pytest.ini_options]\nfilterwarnings = []\n")
    installed = any(point.name == "causal_dsl" for point in entry_points(group="pytest11"))
    return inside.runpytest_subprocess(*([] if installed else ["-p", "causal_dsl.tools.pytest_plugin"]), *words)


NETS = """
import torch
from pathlib import Path
from torch import nn

def make():
    with open(Path(__file__).with_name("loaded.txt"), "a") as file:
        file.write(f"{id(torch)}\\n")
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))

def raises():
    raise OSError("no such disk")
"""
ON_CODE = SPEC.replace('zoo("equality-relu")', 'torch("nets.py:make")').replace(
    "same @ logits", "same @ logits(false, true)"
)


@pytest.mark.slow
def test_a_fault_is_its_diagnostic_and_nothing_else(pytester: pytest.Pytester) -> None:
    """Of a spec that is wrong, of a network that fails as it is made, of trust that was not given, of a defect."""
    pytester.makepyfile(nets=NETS)
    pytester.makefile(".causal", code=ON_CODE)
    said = run(pytester, "code.causal").stdout.str()
    assert "error[E" in said and "--causal-trust" not in said.partition("= help")[0]
    pytester.makefile(".causal", code=ON_CODE.replace(":make", ":raises"))
    for words in ((), ("-rA",), ("--tb=long",), ("--tb=native", "--full-trace")):
        result = run(pytester, "code.causal", "--causal-trust", *words)
        result.assert_outcomes(errors=2)
        told = result.stdout.str()
        assert "no such disk" in told
        assert not any(
            word in told for word in ("Traceback", "INTERNALERROR", "site-packages", '.py", line', "SpecError")
        )
    run(pytester, "code.causal", "-q").stdout.fnmatch_lines(["ERROR code.causal::solves - error?E*"])


@pytest.mark.slow
def test_a_defect_is_a_diagnostic(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    pytester.makefile(".causal", halves=SPEC)
    monkeypatch.setattr("causal_dsl.checking.checking_networks.check", broken)
    told = run(pytester).stdout.str()
    assert "error[E799]" in told and "ZeroDivisionError: of all things" in told and "Traceback" not in told
    monkeypatch.setattr("causal_dsl.api.check", broken)
    result = run(pytester)
    result.assert_outcomes(errors=1)
    assert "error[E799]" in result.stdout.str() and "Traceback" not in result.stdout.str()


def test_code_is_run_where_it_is_trusted(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(nets=NETS)
    pytester.makefile(".causal", code=ON_CODE)
    run(pytester, "code.causal", "--causal-trust", "-k", "fails").assert_outcomes(failed=1, deselected=1)


SWEPT = (
    SPEC
    + """
align moved(l in 0:2) : halves {
  left @ layer[l].out[0]
}

test swept on moved {
  base, source ~ equality(n=32, seed=0)
  do(left <- source)
  report iia
}
"""
)


@pytest.mark.slow
def test_junit_has_the_scores(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SWEPT)
    results = cd.run(pytester.path / "halves.causal")  # first: what it imports for itself is not imported anew
    run(pytester, "--junitxml=report.xml")
    cases = ElementTree.parse(pytester.path / "report.xml").getroot().findall(".//testcase")
    found = {case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")} for case in cases}
    swept = found.pop("swept")
    assert float(swept["iia[l=1]"]) == results["swept"].cell(l=1).scores["iia"].value
    assert swept["verdict[l=0]"] == results["swept"].cell(l=0).verdict.code and "ceiling.output_only" in swept
    for name, properties in found.items():
        estimate = results[name].cells[0].scores["accuracy"]
        assert float(properties["accuracy"]) == estimate.value and float(properties["accuracy.low"]) == estimate.low
        assert properties["network"] == "mlp" and properties["pairs"] == "64"
    assert found["fails"]["expect accuracy <= 10%"] == "fail"
    (failure,) = [case.find("failure") for case in cases if case.find("failure") is not None]
    assert failure.get("message").startswith("failed[F701]") and "-->" in failure.text


@pytest.mark.parametrize(
    "dist", [pytest.param("loadgroup", marks=pytest.mark.slow), pytest.param("loadfile", marks=pytest.mark.nightly)]
)
def test_xdist_loads_each_network_once_a_worker(pytester: pytest.Pytester, dist: str) -> None:
    pytester.makepyfile(nets=NETS)
    other = ON_CODE.replace("nets.py:make", "more.py:make")
    pytester.makepyfile(more=NETS.replace("loaded.txt", "more.txt"))
    pytester.makefile(".causal", one=ON_CODE, two=ON_CODE, three=other)
    result = alone(pytester, "-n", "2", "--dist", dist, "--causal-trust", "--junitxml=report.xml", "-v")
    result.assert_outcomes(passed=0, failed=6)
    by = {line.split()[0]: line.split()[-1] for line in result.outlines if line.startswith("[gw")}
    assert len(by) <= 2
    for file in ("loaded.txt", "more.txt"):
        # a network of code is made twice as it is loaded: once more to see whether it is made alike
        made = (pytester.path / file).read_text().splitlines()
        workers = 1 if dist == "loadgroup" or file == "more.txt" else 2
        assert len(made) <= 2 * workers, (file, made)
    written = (pytester.path / "report.xml").read_text()
    assert 'property name="accuracy"' in written
    names = {case.get("name") for case in ElementTree.fromstring(written).iter("testcase")}
    assert names == {"solves", "fails"}


@pytest.mark.slow
def test_collecting_does_not_import_torch(pytester: pytest.Pytester) -> None:
    pytester.makefile(".causal", halves=SPEC)
    pytester.makeconftest(
        "import sys\n\ndef pytest_collection_finish(session):\n"
        "    print('loaded', [name for name in ('torch', 'transformers') if name in sys.modules])\n"
    )
    result = alone(pytester, "--collect-only", "-q", "-s", "-p", "no:pytest_lsp")
    result.stdout.fnmatch_lines(["halves.causal::solves", "*loaded []*"])
