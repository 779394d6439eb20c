"""``causal-dsl diff``: differences of two runs, held against their pairs, and what each says of itself."""

from __future__ import annotations

import json
import re
import shutil
import string
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas
import pytest
from pyarrow import parquet
from scipy.optimize import minimize_scalar

from causal_dsl import read_results
from causal_dsl.base.resources import resource
from causal_dsl.compare.differences import paired_shares, share_difference
from causal_dsl.report import pair_table
from causal_dsl.score.intervals import Resampling
from causal_dsl.score.seal import sealed
from causal_dsl.tools.cli import main
from tests.equality import gpt2

SPECS = Path(__file__).parents[2] / "specs"
ZOO = Path(__file__).parents[2] / "causal_dsl" / "zoo" / "equality-gpt2"
SPEC = gpt2(
    "left @ layer[l].resid_post[p]",
    align="at(l in 0:2, p in [b, last])",
    tests="""
test solves on at(0, b) {
  base ~ equality(n=80, seed=0)
  expect accuracy >= 90%
}
test swept on at {
  base, source ~ equality(n=96, seed=0)
  do(left <- source)
  report iia, kl
}
test filtered on at(0, b) {
  base, source ~ equality(n=96, seed=3) where solved(base)
  do(left <- source)
  report iia, iia_informative, change(logit(same))
}
""",
)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of results: the spec as it is twice, with another seed, and on a checkpoint whose weights are noisy."""
    import torch
    from safetensors.torch import load_file, save_file

    home = tmp_path_factory.mktemp("runs")
    shutil.copytree(ZOO, home / "noisy")
    weights, generator = load_file(home / "noisy" / "model.safetensors"), torch.Generator().manual_seed(1)
    noise = {
        k: v + 0.25 * v.std() * torch.randn(v.shape, generator=generator) if v.ndim > 1 else v
        for k, v in weights.items()
    }
    save_file(noise, home / "noisy" / "model.safetensors", {"format": "pt"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        Path("s.causal").write_text(SPEC, encoding="utf-8")
        for name, more in (
            ("a", []),
            ("again", []),
            ("seed", ["--seed", "1"]),
            ("noisy_run", ["--network", "net=noisy"]),
        ):
            assert main(["run", "s.causal", "--out", name, *more]) in (0, 1)
        yield home


def diff(capsys: Captured, a: str, b: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = main(["diff", a, b, "--json"])
    found = json.loads(capsys.readouterr().out)
    schema = json.loads(Path(resource("docs", "output.schema.json")).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator({"$defs": schema["$defs"], "$ref": "#/$defs/Diff"}).validate(found)
    return code, found


def pairs(folder: str, test: str, **cell: Any) -> pandas.DataFrame:
    found = pandas.read_parquet(f"{folder}/s/pairs.parquet")
    found = found[found["test"] == test]
    for name, value in cell.items():
        found = found[found[name] == value]
    return found.set_index("pair")


@pytest.mark.slow
def test_a_file_of_very_many_rows_is_written_and_read_a_cell_at_a_time(
    runs: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same differences, of the same rows, without the whole table in memory."""
    _, whole = diff(capsys, "a", "noisy_run")
    monkeypatch.setattr(pair_table, "AT_ONCE", 50)
    for name, more in (("large", []), ("large_noisy", ["--network", "net=noisy"])):
        assert main(["run", "s.causal", "--out", name, *more]) in (0, 1)
    own, again = (pandas.read_parquet(f"{name}/s/pairs.parquet") for name in ("a", "large"))
    pandas.testing.assert_frame_equal(again, own, check_dtype=False, check_categorical=False)
    assert (
        parquet.read_metadata("large/s/pairs.parquet").num_row_groups
        == own.groupby(["test", "l", "p"], dropna=False).ngroups
    )
    read = Counter[int]()
    reading = parquet.ParquetFile.read_row_group
    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", lambda f, n: (read.update([n]), reading(f, n))[1])
    _, found = diff(capsys, "large", "large_noisy")
    assert [spec["tests"] for spec in found["specs"]] == [spec["tests"] for spec in whole["specs"]]
    assert max(read.values()) == 2, "each row group is read once of each run"


@pytest.mark.slow
def test_two_runs_that_are_the_same(runs: Path, capsys: Captured) -> None:
    main(["diff", "a", "again"])
    told = capsys.readouterr().out
    assert "the same 96 pairs in both: the intervals of differences are paired\n" in told
    assert "paired, except for those named below" in told and "has it: iia_star\n" in told
    code, found = diff(capsys, "a", "again")
    (spec,) = found["specs"]
    assert code == 0 and not found["verdict_changed"]
    assert {change["kind"] for change in spec["changes"]} == {"command"}
    for test in spec["tests"]:
        assert test["pairs"]["same"]
        for cell in test["cells"]:
            for score, sides in cell["scores"].items():
                gap = sides["difference"]
                assert gap["value"] == 0 and gap["low"] <= 0 <= gap["high"], score
                own = (
                    test["name"] == "filtered" and score == "iia_star"
                )  # the ceiling of what a filter keeps is not exact
                assert gap["paired"] or own, score


@pytest.mark.slow
def test_two_checkpoints_are_paired_by_what_their_rows_hold(runs: Path, capsys: Captured) -> None:
    code, found = diff(capsys, "a/s/results.json", "noisy_run")
    (spec,) = found["specs"]
    assert code == 1 and any(c["kind"] == "networks" and "weights" in c["text"] for c in spec["changes"])
    swept = {test["name"]: test for test in spec["tests"]}["swept"]
    assert swept["pairs"] == {"a": 96, "b": 96, "shared": 96, "same": True, "why": ""}
    moved = 0
    for cell in swept["cells"]:
        own, other = (pairs(folder, "swept", **cell["cell"]) for folder in ("a", "noisy_run"))
        assert (own["base"] == other["base"]).all() and (own["source"] == other["source"]).all()
        for score in ("iia", "kl"):
            gap = cell["scores"][score]["difference"]
            each = (other[score] - own[score]).to_numpy()
            assert gap["value"] == pytest.approx(each.mean()) and gap["paired"]
            moved += each.any()
            if score == "kl" and each.any():  # a plain bootstrap of independent pairs says about the same
                again = np.random.default_rng(0).choice(each, (4000, len(each))).mean(axis=1)
                wide = gap["high"] - gap["low"]
                assert 0.7 < wide / float(np.diff(np.quantile(again, [0.025, 0.975]))[0]) < 1.75
    assert moved > 4


@pytest.mark.slow
def test_what_a_filter_keeps_may_differ(runs: Path, capsys: Captured) -> None:
    _, found = diff(capsys, "a", "noisy_run")
    test = {test["name"]: test for test in found["specs"][0]["tests"]}["filtered"]
    own, other = (pairs(folder, "filtered") for folder in ("a", "noisy_run"))
    assert 0 < other["kept"].sum() < own["kept"].sum() == 96
    (cell,) = test["cells"]
    for score in ("iia", "change(logit(same))", "accuracy_unfiltered"):
        gap, name = cell["scores"][score]["difference"], score.removesuffix("_unfiltered")
        means = [(x if "unfiltered" in score else x[x["kept"]])[name].mean() for x in (own, other)]
        assert gap["value"] == pytest.approx(means[1] - means[0]), score
        assert gap["paired"] and gap["low"] <= gap["value"] <= gap["high"]
    one, another = (x["change(logit(same))"].to_numpy() for x in (own, other))
    gap = cell["scores"]["median(change(logit(same)))"]["difference"]
    kept = other["kept"].to_numpy(dtype=bool)
    assert (
        gap["value"] == pytest.approx(np.median(another[kept]) - np.median(one)) and gap["method"] == "paired bootstrap"
    )
    drawn = np.random.default_rng(0).integers(96, size=(4000, 96))  # a plain bootstrap of pairs says about the same
    again = [np.median(another[rows][kept[rows]]) - np.median(one[rows]) for rows in drawn]
    wide = (gap["high"] - gap["low"]) / float(np.diff(np.quantile(again, [0.025, 0.975]))[0])
    assert 0.6 < wide < 1.75
    always = cell["scores"]["accuracy"]["difference"]  # 1 in both by the filter: no resample says how far it varies
    assert always["value"] == 0 and not always["paired"] and always["low"] < 0 < always["high"]


@pytest.mark.slow
def test_other_pairs_are_not_paired(runs: Path, capsys: Captured) -> None:
    _, found = diff(capsys, "a", "seed")
    (spec,) = found["specs"]
    assert {"kind": "settings", "text": "seed was 0, and is 1"} in spec["changes"]
    for test in spec["tests"]:
        assert not test["pairs"]["same"] and test["pairs"]["shared"] < test["pairs"]["a"]
        for cell in test["cells"]:
            for sides in cell["scores"].values():
                gap, a, b = sides["difference"], sides["a"], sides["b"]
                assert not gap["paired"] and gap["why"]
                if gap["low"] is not None:
                    below = ((b["value"] - b["low"]) ** 2 + (a["high"] - a["value"]) ** 2) ** 0.5
                    assert gap["low"] == pytest.approx(gap["value"] - below)
    main(["diff", "a", "seed"])
    told = " ".join(capsys.readouterr().out.split())
    assert "differences are not paired" in told and "unpaired" in told


def copied(runs: Path, to: Path) -> Path:
    shutil.copytree(runs / "a", to)
    return to / "s"


def test_the_order_of_rows_is_no_matter_and_changed_numbers_are_not_paired(
    runs: Path, capsys: Captured, tmp_path: Path
) -> None:
    folder = copied(runs, tmp_path / "b")
    table = pandas.read_parquet(folder / "pairs.parquet")
    table.sample(frac=1, random_state=0).to_parquet(folder / "pairs.parquet")
    code, found = diff(capsys, "a", str(tmp_path / "b"))
    assert code == 0 and all(test["pairs"]["same"] for test in found["specs"][0]["tests"])
    table["iia"] = 1 - table["iia"]
    table.to_parquet(folder / "pairs.parquet")
    _, found = diff(capsys, "a", str(tmp_path / "b"))
    gaps = [c["scores"]["iia"]["difference"] for t in found["specs"][0]["tests"][1:] for c in t["cells"]]
    assert gaps and not any(gap["paired"] for gap in gaps)
    assert {gap["why"] for gap in gaps} == {"the stored pairs, a number each, do not give the value that B reported"}
    (folder / "pairs.parquet").write_bytes(b"torn")
    _, found = diff(capsys, "a", str(tmp_path / "b"))
    assert "that can be read" in found["specs"][0]["tests"][0]["pairs"]["why"]


def test_pairs_that_were_not_kept_are_counted_all_the_same(runs: Path, capsys: Captured, tmp_path: Path) -> None:
    """The file alone, as `run --json` prints it, has no rows of pairs; and a ceiling that is not exact is told by its bounds."""
    document = json.loads(Path("a/s/results.json").read_text(encoding="utf-8"))
    bounds = {"value": 0.9, "low": 0.6, "high": 0.9, "exact": False}
    document["tests"][1]["ceilings"]["output_only"].update(bounds)
    (tmp_path / "alone.json").write_text(json.dumps(sealed(document)), encoding="utf-8")
    _, found = diff(capsys, "a", str(tmp_path / "alone.json"))
    told = {test["name"]: test for test in found["specs"][0]["tests"]}
    for test in document["tests"]:
        pairs_of = told[test["name"]]["pairs"]
        assert (pairs_of["a"], pairs_of["b"]) == (test["n"], test["n"])
        assert "no stored pairs of B" in pairs_of["why"]
    main(["diff", "a", str(tmp_path / "alone.json")])
    text = capsys.readouterr().out
    assert "96 pairs in A, 96 in B; there are no stored pairs of B" in text
    assert re.search(r"the ceiling output_only: 0\.\d+ -> 0\.6 to 0\.9", text)


@pytest.mark.slow
def test_what_only_one_run_has(runs: Path, capsys: Captured, tmp_path: Path) -> None:
    folder = copied(runs, tmp_path / "b")
    document = json.loads((folder / "results.json").read_text())
    first, swept, filtered = document["tests"]
    swept["cells"].pop()
    first["expectations"][0]["passed"] = False
    document["tests"] = [first, swept, {**filtered, "name": "other"}]
    (folder / "results.json").write_text(json.dumps(sealed(document)))
    (folder / "spec.causal").write_text(SPEC.replace("n=80", "n=81"), encoding="utf-8")
    code, found = diff(capsys, "a", str(tmp_path / "b"))
    (spec,) = found["specs"]
    assert code == 1 and spec["only_a"] == ["filtered"] and spec["only_b"] == ["other"]
    assert spec["tests"][1]["only_a"] == [{"l": 1, "p": "last"}]
    assert "+  base ~ equality(n=81, seed=0)" in spec["spec_lines"]
    assert main(["diff", "a", str(tmp_path / "b")]) == 1
    told = capsys.readouterr().out
    assert "expect accuracy >= 90%: pass -> FAIL" in told and "1 cell only in A: l=1, p=last" in told
    assert main(["diff", "a", "a"]) == 0


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (None, "E870", "did you mean `b`?"),
        ("{", "E870", "cut off"),
        ('{"specs": []}', "E870", "no spec"),
        ('{"specs": [3]}', "E870", "not the result"),
        ('{"a": 1}', "E870", "`schema` is missing"),
        ("TESTS", "E871", "A has `filtered`"),
        ("SCHEMA", "E870", "its schema is 99"),
        ("CELL", "E861", "scores.accuracy.value` is the text"),
    ],
)
def test_bad_input(runs: Path, capsys: Captured, tmp_path: Path, text: str | None, code: str, says: str) -> None:
    document = json.loads(Path("a/s/results.json").read_text())
    if text == "TESTS":
        document["tests"] = [{**test, "name": f"{test['name']}_2"} for test in document["tests"]]
    if text == "SCHEMA":
        document["schema"] = 99
    if text == "CELL":
        document["tests"][0]["cells"][0]["scores"]["accuracy"]["value"] = "high"
    (tmp_path / "b").mkdir()
    whole = json.dumps(sealed(document))
    (tmp_path / "b" / "results.json").write_text(whole if text is None or text.isupper() else text)
    path = tmp_path / ("b" if text is not None else "bb")
    assert main(["diff", "a", str(path)]) == 2
    told = capsys.readouterr()
    assert f"error[{code}]" in told.err and says in told.err and "Traceback" not in told.err and not told.out


def of_specs(runs: Path, to: Path, **named: tuple[str, ...]) -> str:
    """A folder of results of some specs, each with the tests named."""
    for spec, tests in named.items():
        shutil.copytree(runs / "a" / "s", to / spec)
        document = json.loads((to / spec / "results.json").read_text(encoding="utf-8"))
        document["path"] = f"{spec}.causal"
        document["tests"] = [test for test in document["tests"] if test["name"] in tests]
        (to / spec / "results.json").write_text(json.dumps(sealed(document)), encoding="utf-8")
    return str(to)


def test_specs_of_other_names_are_matched_by_their_tests(runs: Path, capsys: Captured, tmp_path: Path) -> None:
    own = of_specs(runs, tmp_path / "own", one=("solves", "swept"), two=("filtered",))
    other = of_specs(runs, tmp_path / "other", three=("filtered",), four=("swept",), five=())
    code, found = diff(capsys, own, other)
    told = [(spec["a"]["path"], spec["b"]["path"], [t["name"] for t in spec["tests"]]) for spec in found["specs"]]
    assert told == [("one.causal", "four.causal", ["swept"]), ("two.causal", "three.causal", ["filtered"])]
    assert code == 1 and found["only_a"] == [] and found["only_b"] == ["five.causal"]
    main(["diff", own, other])
    assert "specs of two names, compared by the names of their tests" in capsys.readouterr().out
    both = of_specs(runs, tmp_path / "both", six=("filtered",), seven=("filtered", "solves"))
    assert main(["diff", of_specs(runs, tmp_path / "last", eight=("filtered", "solves")), both]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "cannot be matched" in told and "B has `filtered`, `solves` in seven.causal" in told
    assert "no test in common" not in told and re.search(r"as `[^`]*last/eight` and `[^`]*both/seven`", told)


def likeliest(delta: float, ups: int, downs: int, n: int) -> float:
    """The probability of the pairs that are right in the first alone, by a search for the largest likelihood."""

    def surprise(p: float) -> float:
        chances = ((ups, p + delta), (downs, p), (n - ups - downs, 1 - 2 * p - delta))
        return -sum(count * np.log(max(chance, 1e-300)) for count, chance in chances if count)

    bounds = max(0.0, -delta), (1 - delta) / 2
    return float(minimize_scalar(surprise, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x)


@pytest.mark.parametrize(("ups", "downs", "n"), [(21, 9, 91), (1, 1, 44), (0, 8, 30), (5, 2, 256), (3, 0, 40)])
def test_the_interval_of_paired_shares_is_where_the_score_test_turns(ups: int, downs: int, n: int) -> None:
    ends = paired_shares(ups, downs, n, 1.96)
    for delta, wanted in zip(ends, (1.96, -1.96), strict=True):
        spread = n * (2 * likeliest(delta, ups, downs, n) + delta * (1 - delta))
        assert (ups - downs - n * delta) / np.sqrt(spread) == pytest.approx(wanted, abs=1e-3)
    mirrored = paired_shares(downs, ups, n, 1.96)
    assert mirrored == pytest.approx((-ends[1], -ends[0]))
    assert paired_shares(0, 0, n, 1.96) == pytest.approx((-(1.96**2) / (n + 1.96**2), 1.96**2 / (n + 1.96**2)))


@pytest.mark.parametrize("inputs", [1000, 30])
@pytest.mark.thinned(always=1)
def test_the_interval_of_paired_shares_holds_the_truth(inputs: int) -> None:
    """In 19 of 20 samples, where pairs share inputs too: each input has a difficulty of its own in each run."""
    random = np.random.default_rng(inputs)
    held = 0
    for _ in range(400):
        base, source = random.integers(inputs, size=(2, 200))
        hard = [random.normal(size=inputs) * 0.8 for _ in range(3)]
        common = hard[0][base] + random.normal(size=200)
        one = common + 0.5 > 0
        other = common + 0.5 + 0.6 * (hard[1][base] + hard[2][source]) > 0
        low, high = share_difference(one * 1.0, other * 1.0, np.ones(200, bool), Resampling({"b": base, "s": source}))
        held += low <= TRUTH <= high
    assert held / 400 > 0.92


def _truth() -> float:
    random = np.random.default_rng(7)
    hard, noise, more = random.normal(size=(3, 2_000_000)) * np.array([[0.8], [1.0], [0.8 * 2**0.5 * 0.6]])
    return float(((hard + noise + 0.5 + more > 0) * 1.0 - (hard + noise + 0.5 > 0)).mean())


TRUTH = _truth()


# ── as a page, and over time ────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_the_page_says_what_the_terminal_says(runs: Path, capsys: Captured, tmp_path: Path) -> None:
    file = tmp_path / "new" / "diff.html"
    assert main(["diff", "a", "noisy_run", "--html", str(file)]) == 1
    page = file.read_text(encoding="utf-8")
    assert "wrote" in capsys.readouterr().err
    _, found = diff(capsys, "a", "noisy_run")
    for test in found["specs"][0]["tests"]:
        assert f">{test['name']}" in page or f"{test['name']} (changed)" in page
    words = " ".join(page.split())
    for cell in found["specs"][0]["tests"][1]["cells"]:
        shown = f"{cell['scores']['iia']['difference']['value']:.3f}"
        assert f"l={cell['cell']['l']}, p={cell['cell']['p']}" in words and shown in words
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert main(["diff", "a", "noisy_run", "--html", "s.causal/diff.html"]) == 2
    assert "[E708]" in capsys.readouterr().err


@pytest.mark.tools
def test_the_page_in_a_browser(runs: Path, tmp_path: Path) -> None:
    """It asks nothing of anywhere, tells no error, and is no wider than a narrow window."""
    from playwright.sync_api import sync_playwright

    main(["diff", "a", "noisy_run", "--html", str(tmp_path / "diff.html")])
    options = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*options, "--disable-sync"]
        )
        for width in (400, 1000, 1600):
            view = browser.new_page(viewport={"width": width, "height": 900})
            asked: list[str] = []
            view.on("request", lambda request, asked=asked: asked.append(request.url))  # type: ignore[misc]
            view.on("console", lambda message, asked=asked: asked.append(message.text))  # type: ignore[misc]
            view.goto((tmp_path / "diff.html").as_uri())
            assert len(asked) == 1, asked
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert view.locator("table").count() > 3 and "B - A" in view.inner_text("body")
        browser.close()


def history(capsys: Captured, *words: str) -> Any:
    capsys.readouterr()
    assert main(["history", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    schema = json.loads(Path(resource("docs", "output.schema.json")).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator({"$defs": schema["$defs"], "$ref": "#/$defs/History"}).validate(found)
    return found["series"]


def dated(runs: Path, name: str, to: Path, when: str, **changes: Any) -> str:
    shutil.copytree(runs / name, to)
    document = json.loads((to / "s" / "results.json").read_text())
    (to / "s" / "results.json").write_text(json.dumps(sealed({**document, "finished": when, **changes})))
    return str(to)


def test_runs_of_one_spec_are_a_curve_in_the_order_of_time(runs: Path, capsys: Captured, tmp_path: Path) -> None:
    first = dated(runs, "noisy_run", tmp_path / "first", "2026-01-01T00:00:00+00:00")
    second = dated(runs, "a", tmp_path / "second", "2026-01-02T00:00:00+00:00")
    third = dated(runs, "seed", tmp_path / "third", "2026-01-03T00:00:00+00:00")
    other = dated(runs, "a", tmp_path / "other", "2026-01-04T00:00:00+00:00", digest="f" * 64)
    found = history(capsys, third, other, first, second, first)
    assert [[run["finished"][8:10] for run in one["runs"]] for one in found] == [["01", "02", "03"], ["04"]]
    one = found[0]
    assert {"settings"} <= {change["kind"] for change in one["runs"][2]["changes"]} and not one["runs"][0]["changes"]
    tests = {test["name"]: test for test in one["tests"]}
    documents = [json.loads(Path(f"{x}/s/results.json").read_text()) for x in (first, second, third)]
    for place, document in enumerate(documents):
        swept = next(test for test in document["tests"] if test["name"] == "swept")
        highest = max(cell["scores"]["iia"]["value"] for cell in swept["cells"])
        (curve,) = [curve for curve in tests["swept"]["curves"] if curve["score"] == "iia"]
        assert curve["points"][place]["value"] == highest and curve["cells"] == 4
        assert tests["swept"]["verdicts"][place] == swept["verdict"]["code"]
    assert main(["history", third, first, second]) == 0
    told = capsys.readouterr().out
    assert "3 runs of the text" in told and "0.000 to 1.000" in told
    (line,) = [line for line in told.splitlines() if line.strip().startswith("accuracy ")]
    accuracy = [d["tests"][0]["cells"][0]["scores"]["accuracy"]["value"] for d in documents]
    blocks = "▁▂▃▄▅▆▇█"
    assert "".join(blocks[min(7, int(value * 8))] for value in accuracy) in line
    (alone,) = [test for test in tests.values() if not any(test["verdicts"])]
    assert alone["statuses"] == [
        test["status"] for d in documents for test in d["tests"] if test["name"] == alone["name"]
    ]
    lines = told[told.index(f"test {alone['name']}") :].splitlines()
    at = next(place for place, line in enumerate(lines) if line.strip() == "no verdict, as no variable is interchanged")
    assert "finished" not in told and lines[at + 1].strip().startswith("expectations: ")
    assert told.count("verdicts: ") == 2
    assert main(["history", str(tmp_path / "nothing")]) == 2 and "[E870]" in capsys.readouterr().err


@pytest.mark.tools
def test_a_report_is_held_against_another_run(runs: Path, capsys: Captured, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", "noisy_run", "--against", "a", "--html", str(page)]) == 0
    told = page.read_text(encoding="utf-8")
    assert told.count("<h1") == 1 and "Against another run: s.causal" in told and "where_is" not in told
    ids = re.findall(r' id="([^"]+)"', told)
    assert len(ids) == len(set(ids)) and any(one.startswith("against-0-test-") for one in ids)
    capsys.readouterr()
    assert main(["report", "noisy_run", "--against", "a"]) == 0
    both = capsys.readouterr().out
    assert main(["report", "noisy_run"]) == 0
    alone = capsys.readouterr().out
    main(["diff", "a", "noisy_run"])
    assert both == alone + "\n" + capsys.readouterr().out
    assert main(["report", "a", "--against", "nothing"]) == 2 and "[E870]" in capsys.readouterr().err


@pytest.mark.tools
def test_curves_of_a_history_as_files(runs: Path, capsys: Captured, tmp_path: Path) -> None:
    first = dated(runs, "a", tmp_path / "first", "2026-01-01T00:00:00+00:00")
    assert main(["history", first, "noisy_run", "--figures", str(tmp_path / "figures")]) == 0
    names = {file.name for file in (tmp_path / "figures").iterdir()}
    assert {f"swept-iia-history.{ending}" for ending in ("svg", "pdf", "png", "csv")} <= names
    table = pandas.read_csv(tmp_path / "figures" / "swept-iia-history.csv")
    assert list(table["run"]) == [1, 2] and table["value"].between(0, 1).all() and set(table["unit"]) == {"share"}
    for where, folder, value in zip(table["cell"], (first, "noisy_run"), table["value"], strict=True):
        cell = dict(part.split("=") for part in where.split(", "))
        assert read_results(folder)["swept"].cell(l=int(cell["l"]), p=cell["p"]).scores["iia"].value == value
    assert "cell" not in pandas.read_csv(tmp_path / "figures" / "solves-accuracy-history.csv")
    svg = (tmp_path / "figures" / "swept-iia-history.svg").read_text()
    top = next(t for t in read_results(first).tests if t.name == "swept").cells[0].top
    assert svg.count("<svg") == 1 and top is not None and set(table["ceiling"]) == {top} and f"ceiling {top:.3f}" in svg
    assert all(set(name) <= set(string.ascii_letters + string.digits + "_.-") and "_-" not in name for name in names)


def test_a_history_has_units_and_an_axis_for_each(runs: Path, capsys: Captured, tmp_path: Path) -> None:
    """A score in nats has its unit, and an axis from 0 to its values; a share has all of [0, 1]."""
    first = dated(runs, "a", tmp_path / "first", "2026-01-01T00:00:00+00:00")
    second = dated(runs, "a", tmp_path / "second", "2026-01-02T00:00:00+00:00")
    (one,) = history(capsys, first, second)
    curves = {c["score"]: c for test in one["tests"] if test["name"] == "swept" for c in test["curves"]}
    assert (curves["kl"]["unit"], curves["iia"]["unit"]) == ("nats", "")
    assert curves["kl"]["points"][0]["ceiling"] is None and 0 < curves["iia"]["points"][0]["ceiling"] < 1
    assert main(["history", first, second]) == 0
    told = capsys.readouterr().out
    highest = max(point["value"] for point in curves["kl"]["points"])
    assert highest < 0.9 or highest > 1.1  # so that its axis is told from that of a share
    assert "kl (nats)" in told and f"0.000 to {highest:.3f}" in told and "0.000 to 1.000" in told


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: "[" * 100_000, "nested too deeply"),
        (lambda text: text.replace('"seconds": ', '"seconds": NaN, "was": ', 1), "the number NaN"),
        (lambda text: _twice(text, ("tests",)), "in it twice"),
        (lambda text: _twice(text, ("tests", 0, "cells")), "in it twice"),
    ],
)
def test_results_that_nobody_wrote_are_refused(
    change: Callable[[str], str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.json"
    assert main(["run", str(SPECS / "equality_relu.causal"), "--json"]) == 0
    kept.write_text(capsys.readouterr().out)
    odd = tmp_path / "odd.json"
    odd.write_text(change(kept.read_text()))
    assert main(["diff", str(kept), str(odd)]) == 2
    assert why in capsys.readouterr().err


def _twice(text: str, way: tuple[str | int, ...]) -> str:
    document = json.loads(text)
    place = document["specs"][0]
    for step in way:
        place = place[step]
    place.append(place[0])
    return json.dumps(document)


@pytest.mark.slow
def test_a_page_replaces_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept.json"
    assert main(["run", str(SPECS / "equality_relu.causal"), "--json"]) == 0
    kept.write_text(capsys.readouterr().out)
    before = kept.read_bytes()
    assert main(["diff", str(kept), str(kept), "--html", str(kept)]) == 2
    assert kept.read_bytes() == before and "not an HTML page" in capsys.readouterr().err


@pytest.mark.slow
def test_two_runs_of_one_spec_are_told_apart_in_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for out, seed in (("one", "0"), ("two", "5")):
        assert main(["run", str(SPECS / "equality_relu.causal"), "--out", out, "--seed", seed]) == 0
    capsys.readouterr()
    assert main(["report", "one", "two"]) == 0
    told = capsys.readouterr().out
    assert told.count("(one/equality_relu)") == told.count("(two/equality_relu)") > 0
    assert main(["report", "one"]) == 0
    assert "(one/equality_relu)" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_junit_file_replaces_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, kept = str(SPECS / "equality_relu.causal"), tmp_path / "notes.txt"
    kept.write_text("mine")
    assert main(["run", spec, "--junit", str(kept)]) == 2
    assert kept.read_text() == "mine" and "not JUnit XML" in capsys.readouterr().err
    for _ in range(2):  # its own file is replaced
        assert main(["run", spec, "--junit", str(tmp_path / "junit.xml")]) == 0
    assert (tmp_path / "junit.xml").read_text().startswith("<?xml")


def test_a_score_is_a_share_by_its_measure_and_not_by_its_values(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kl is 0 in all pairs where nothing behind the place is read: the interval of two shares is no interval of nats."""
    monkeypatch.chdir(tmp_path)
    test = "test t on at(2, b) { base, source ~ equality(n=40, seed=0) do(left <- source) report iia, moved, kl }"
    Path("s.causal").write_text(gpt2("left @ layer[l].resid_post[p]", align="at(l in 0:3, p in [b])", tests=test))
    assert main(["run", "s.causal", "--out", "a"]) == 0
    assert main(["run", "s.causal", "--out", "b"]) == 0
    rows = pairs("a", "t")
    assert (rows["kl"] == 0).all() and (rows["moved"] == 0).all()
    _, compared = diff(capsys, "a", "b")
    scores = compared["specs"][0]["tests"][0]["cells"][0]["scores"]
    told = {name: one["difference"] for name, one in scores.items()}
    found = {name: told[name]["method"] for name in ("iia", "moved", "kl")}
    assert found == {"iia": "paired score", "moved": "paired score", "kl": "paired bootstrap"}
    assert told["kl"]["low"] == told["kl"]["high"] == 0 < told["moved"]["high"]
