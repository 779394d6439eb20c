"""What is compiled, what is refused, and with which words."""

from __future__ import annotations

import math

import pytest

from causal_dsl.measures.context import LongValue
from causal_dsl.measures.per_cell import PairMean, ScoreOp
from causal_dsl.measures.quantities import Quantity, ValueRef
from tests.score.scoring import METRICS, NAMES, codes, compiled

REFUSED = [
    ("report [1, 2]", "E600", "cannot be part of a metric"),
    ("report if iia >= 0.5 then 1 else 0", "E600", "cannot be part of a metric"),
    ("report iaa", "E601", "did you mean `iia`"),
    ("report logit_dif", "E601", "did you mean `logit_diff`"),
    ("report answer", "E601", "`logit(answer)`"),
    ("report logit(anser)", "E601", "did you mean `answer`"),
    ("report logit(sorce.answer)", "E601", "did you mean `source`"),
    ("report logit(source.anser)", "E601", "did you mean `answer`"),
    ("report maxx(iia)", "E601", "did you mean `max`"),
    ("expect argmax(iia).q == 1", "E601", "no parameter `q`"),
    ("expect argmax(iia).p == lst", "E601", "did you mean `last`"),
    ("report recovered(logit_diff, clean=sorce)", "E601", "did you mean `source`"),
    ("report iia(subject)", "E601", "`subject` is not an output"),
    ("report logit(answer, subject)", "E602", "one argument, not 2"),
    ("report logit(source)", "E602", "`source.answer`"),
    ("report logit(1 + 1)", "E602", "a variable or a value"),
    ("report mean", "E602", "`mean(logit(answer))`"),
    ("report mean(iia, over=cells)", "E602", "no setting `over`"),
    ("report recovered(logit_diff, clean=source, clean=source)", "E602", "two settings"),
    ("expect kl <= 0.05", "E603", "`0.05 nats` or `0.05 bits`"),
    ("expect cross_entropy(answer) <= 1", "E603", "nats"),
    ("expect mean(log_prob(answer)) >= -1", "E603", "nats"),
    ("expect iia >= 95 nats", "E604", "write `95%`"),
    ("expect kl <= 5%", "E604", "`nats` or `bits`"),
    ("expect logit_diff >= 80%", "E604", "without a unit"),
    ("report mean(kl) + iia", "E604", "cannot be added to"),
    ("expect argmax(iia).l >= 5%", "E604", "without a unit"),
    ("expect iia >= 95", "E605", "write `95%`"),
    ("expect iia >= 120%", "E605", "from 0 to 1"),
    ("expect recovered(logit_diff) >= 80", "E605", "write `80%`"),
    ("expect iia", "E606", "`iia >= 95%`"),
    ("expect 1 < 2", "E606", "refers to no measure"),
    ("expect iia >= 0.5 and 1 < 2", "E606", "refers to no measure"),
    ("expect iia and moved >= 0.5", "E606", "is a number, and `and` joins"),
    ("report iia >= 0.5", "E606", "not a number that can be reported"),
    ("report 3", "E606", "not a number that can be reported"),
    ("report recovered(iia)", "E609", "a number for each pair"),
    ("report change(kl)", "E609", "compares two runs already"),
    ("report iia + logit_diff", "E609", "`mean(logit_diff)`"),
    ("report max(max(iia))", "E609", "one value for all cells"),
    ("report max(iia >= 0.5)", "E609", "takes a score or a metric"),
    ("report iia.l", "E609", "is not a cell"),
    ("report argmax(iia) + 1", "E609", "`argmax(iia).l`"),
    ("report argmax(iia).p", "E609", "is a word"),
    ("expect argmax(iia).p > last", "E609", "no order"),
    ("expect (iia >= 0.5) == (moved >= 0.5)", "E609", "true or false"),
    ("report (logit_diff > 0) + 1", "E609", "true or false"),
]


@pytest.mark.parametrize(("line", "code", "words"), REFUSED, ids=[line for line, _, _ in REFUSED])
def test_refused(line: str, code: str, words: str) -> None:
    scores, found = compiled(line)
    assert codes(found) == [code]
    (fault,) = found
    assert words in fault.render()
    assert fault.help
    assert not scores.expectations
    assert not scores.reports


def test_every_code_has_a_page() -> None:
    from causal_dsl.base.resources import resource

    for code in {code for _, code, _ in REFUSED} | {"E607", "E608", "E610", "E612", "W600", "W620", "F701", "F702"}:
        assert resource("docs", "diagnostics.d", f"{code}.md").is_file(), code


NO_INTERCHANGE = {"interchange": False}
NOTHING_DONE = {"interchange": False, "intervened": False, "roles": ("base",)}
LACKING = [
    ("report iia", NO_INTERCHANGE, "no variable is interchanged"),
    ("report prob(label)", NO_INTERCHANGE, "no variable is interchanged"),
    ("report kl", NOTHING_DONE, "nothing is intervened on"),
    ("report moved", NOTHING_DONE, "nothing is intervened on"),
    ("report change(logit_diff)", NOTHING_DONE, "nothing is intervened on"),
    ("report recovered(logit_diff)", {"roles": ("base",)}, "there is no source"),
    ("report recovered(logit_diff)", {"roles": ("base", "one", "two")}, "clean=one"),
    ("report argmax(iia)", {"parameters": {}}, "one cell"),
]


@pytest.mark.parametrize(("line", "context", "words"), LACKING)
def test_a_test_that_lacks_what_a_measure_needs(line: str, context: dict, words: str) -> None:
    _, found = compiled(line, **context)
    assert codes(found) == ["E607"]
    assert words in next(iter(found)).render()


def test_recursion_is_a_fault_and_ends() -> None:
    _, found = compiled("report a", "metric a = b + 1\nmetric b = change(a)\n")
    assert codes(found) == ["E608"]
    assert "a -> b -> a" in next(iter(found)).render()


def test_metrics_that_double_are_refused_in_time() -> None:
    metrics = "metric m0 = logit(answer)\n" + "".join(f"metric m{i} = m{i - 1} + m{i - 1}\n" for i in range(1, 60))
    _, found = compiled("report m59", metrics)
    assert set(codes(found)) == {"E600"}


def test_names_of_measures_are_not_for_metrics() -> None:
    assert codes(compiled("", "metric iia = logit(answer)\n")[1]) == ["E612"]
    _, found = compiled("report logit(label)", variables={"answer": NAMES, "label": NAMES})
    assert codes(found) == ["E612"]


def test_values_that_the_readout_cannot_give() -> None:
    _, found = compiled('report prob("Bob")', answers=NAMES)
    assert codes(found) == ["E610"]
    _, found = compiled("report prob(count)", answers=NAMES)
    assert codes(found) == ["E610"]
    _, found = compiled("report prob(true)", answers=(1, 0))
    assert codes(found) == ["E610"]
    assert not codes(compiled('report prob("Mary") - prob(subject)', answers=NAMES)[1])
    assert not codes(compiled('report prob("Bob")')[1])


def test_a_value_of_several_tokens_has_no_logit() -> None:
    long = {"subject": LongValue("Maximilian", ("it is [Max] [imilian]",))}
    _, found = compiled(
        "report logit(subject)\nreport logit(answer)", several_tokens=lambda ref: long.get(ref.variable)
    )
    assert codes(found) == ["E610"]
    assert "Maximilian" in next(iter(found)).title


def test_default_reference_is_the_label_or_the_answer() -> None:
    def ref(**context: object) -> ValueRef:
        scores, found = compiled("report prob", **context)
        assert not codes(found)
        return next(q.of for run in scores.quantities.values() for q in run if q.kind == "logit")

    assert ref() == ValueRef("label", "answer")
    assert ref(**NO_INTERCHANGE) == ValueRef("base", "answer")


def test_quantities_to_be_collected() -> None:
    scores, found = compiled("report recovered(logit_diff)\nexpect kl <= 1 bits\nreport prob(source.answer)")
    assert not codes(found)
    answer, normalizer = Quantity("answer"), Quantity("log_normalizer")
    both = {Quantity("logit", ValueRef("base", "answer")), Quantity("logit", ValueRef("base", "subject"))}
    assert scores.quantities == {
        "base": both | {answer},
        "patched": both | {answer, normalizer, Quantity("kl"), Quantity("logit", ValueRef("source", "answer"))},
        "source": both,
    }
    plain, _ = compiled("report logit_diff", **NOTHING_DONE)
    assert plain.quantities == {"base": both | {answer}}


def test_units_are_brought_to_nats_and_shares() -> None:
    scores, found = compiled("expect kl <= 2 bits\nexpect iia >= 95%\nexpect kl > 0\nexpect 5% <= iia")
    assert not codes(found)
    bounds = []
    for expectation in scores.expectations:
        assert isinstance(expectation.truth, ScoreOp)
        bounds += [side.value for side in expectation.truth.operands if not isinstance(side, PairMean)]
    assert bounds == pytest.approx([2 * math.log(2), 0.95, 0.0, 0.05])


def test_constant_scores_are_always_there() -> None:
    assert list(compiled("")[0].always) == ["accuracy", "iia", "iia_informative", "iia_star"]
    assert list(compiled("", **NO_INTERCHANGE)[0].always) == ["accuracy"]


def test_all_averages_of_a_recovery_are_given() -> None:
    scores, _ = compiled("expect recovered(logit_diff) >= 80%")
    assert list(scores.asked) == [
        f"{name}(logit_diff)" for name in ("recovered", "recovered_per_pair", "recovered_median")
    ]
    aliased, _ = compiled("report r", METRICS + "metric r = recovered(logit_diff)\n")
    assert list(aliased.asked) == ["r", "recovered_per_pair(logit_diff)", "recovered_median(logit_diff)"]


def test_a_choice_that_favours_the_expectation_is_warned_of() -> None:
    assert codes(compiled("expect max(iia) >= 90%")[1]) == ["W600"]
    assert codes(compiled("expect 90% <= max(iia)")[1]) == ["W600"]
    assert codes(compiled("expect min(mean(kl)) <= 1 nats")[1]) == ["W600"]
    (warning,) = compiled("expect max(iia) >= 90%")[1]
    assert "one of 4 cells" in warning.title
    for fair in ("expect max(iia) <= 90%", "expect min(iia) >= 50%", "expect best(iia) >= 90%", "report max(iia)"):
        assert not codes(compiled(fair)[1])
    assert not codes(compiled("expect max(iia) >= 90%", parameters={})[1])
