"""What answers come to: doses, flips, slopes and AUC of small tables, by hand; and the verdicts."""

import numpy as np
import pandas as pd
import pytest

from src.stressing.plan import (
    AGEING,
    ALL,
    BLIND,
    DISEASE,
    NAMES,
    NONE,
    NUISANCE,
    OUTLINE,
    REGION,
    YOUNGER,
    map_changes,
    plan,
)
from src.stressing.summary import Reader, retest_sd, worth
from src.stressing.verdicts import FAIL, PASS, UNKNOWN, WARN, overall, verdicts_of

LN = np.log


def row(subject, label, kind, change, strength, log_odds, reason=None, stage=None):
    known = reason is None
    return {
        "name": f"{subject}_1", "subject": subject, "label": label, "kind": kind,
        "change": change, "strength": strength, "reason": reason,
        "log_odds": log_odds if known else np.nan,
        "stage": (int(log_odds > 0) if stage is None else stage) if known else np.nan,
        "set_size": 1 + (abs(log_odds) < 1) if known else np.nan,
    }  # fmt: skip


def people(before, label=0):
    """Return rows of unchanged scans, a person per value: h0, h1, ... or d0, d1, ..."""
    return [row(f"{'hd'[label]}{n}", label, NONE, "", 0.0, v) for n, v in enumerate(before)]


def changed(kind, name, doses, values, label=0):
    """Return rows of people x doses."""
    return [
        row(f"{'hd'[label]}{n}", label, kind, name, dose, value)
        for n, own in enumerate(values)
        for dose, value in zip(doses, own, strict=True)
    ]


def summed(rows, resamples=200):
    return Reader("model", "the model", pd.DataFrame(rows), resamples, 0).summed_up()


def test_dose_response_of_five_people():
    # Odds of 1/3 become 1, then 3: P is .25, .5, .75; and one person moves twice as far.
    before = [-LN(3)] * 5
    after = [[0.001 if n else LN(3), LN(3) if n else 3 * LN(3)] for n in range(5)]
    rows = [*people(before), *people([2.0] * 5, 1), *changed(DISEASE, ALL, [0.5, 1.0], after)]
    found = summed(rows)["disease"]
    assert [one["name"] for one in found] == [ALL]
    (curve,) = found
    assert curve["n"] == 5
    assert [one["dose"] for one in curve["doses"]] == [0, 0.5, 1]
    p = [one["p"]["value"] for one in curve["doses"]]
    assert p == pytest.approx([0.25, (4 * 0.5 + 0.75) / 5, (4 * 0.75 + 27 / 28) / 5], abs=1e-3)
    assert [one["called_ill"]["value"] for one in curve["doses"]] == [0, 1, 1]
    # Least squares on 0, .5, 1 is last minus first.
    assert curve["slope"]["value"] == pytest.approx((4 * 2 * LN(3) + 4 * LN(3)) / 5)
    assert curve["rise"]["value"] == pytest.approx(p[2] - p[0], abs=1e-3)
    assert curve["slope"]["low"] == pytest.approx(2 * LN(3))  # nobody's is less
    assert curve["monotone"]
    assert curve["half"] == pytest.approx(0.25)  # 0 at no dose, 1 at .5
    assert [one["set_size"] for one in curve["doses"]] == [1, pytest.approx(1.8), 1]


def test_the_dose_at_which_half_have_changed_sides_lies_between_doses():
    doses = [0.2, 0.4, 0.6]
    ill = [[1, 1, 1], [-1, 1, 1], [-1, -1, 1], [-1, -1, 1], [-1, -1, -1]]  # .2, .4, .8 of five
    rows = [*people([-1.0] * 5), *changed(DISEASE, ALL, doses, np.array(ill, float))]
    assert summed(rows)["disease"][0]["half"] == pytest.approx(0.4 + 0.2 * (0.5 - 0.4) / 0.4)
    never = np.full((5, 3), -1.0)
    assert (
        summed([*people([-1.0] * 5), *changed(DISEASE, ALL, doses, never)])["disease"][0]["half"]
        is None
    )
    back = [*people([1.0] * 5, 1), *changed(YOUNGER, ALL, doses, -np.array(ill, float), 1)]
    assert summed(back)["younger"][0]["half"] == pytest.approx(0.45)
    at_once = [*people([1.0] * 5), *changed(DISEASE, ALL, doses, np.ones((5, 3)))]
    assert summed(at_once)["disease"][0]["half"] == 0


def test_a_mean_that_falls_from_dose_to_dose_is_not_monotone():
    rows = people([-2.0] * 5)
    for last, rises in ((0.99, True), (0.9, False)):
        some = changed(DISEASE, ALL, [0.5, 1], [[1.0, last]] * 5)
        assert summed([*rows, *some])["disease"][0]["monotone"] is rises


def test_flips_and_shifts_of_a_nuisance():
    # One of five changes its stage at the usual strength, in either direction it counts.
    before = [-1.0, -1, -1, 1, 1]
    after = [[-1.5, 0.5, 2], [-1, -1, 2], [-1, -1, 2], [1, 1, 2], [1, 1, 2]]
    rows = [*people(before), *changed(NUISANCE, "noise", [1, 3, 6], after)]
    (one,) = summed(rows)["nuisance"]
    assert (one["n"], one["usual"], one["unit"]) == (5, 1, "% of white matter")
    assert [s["strength"] for s in one["strengths"]] == [1, 3, 6]
    assert [s["flips"]["value"] for s in one["strengths"]] == pytest.approx([0, 0.2, 0.6])
    assert [s["shift"]["value"] for s in one["strengths"]] == pytest.approx([-0.1, 0.3, 2.2])
    assert [s["moved"]["value"] for s in one["strengths"]] == pytest.approx([0.1, 0.3, 2.2])
    (flip,) = summed([*people(before), *changed(NUISANCE, "flip", [1], [[-1.0]] * 5)])["nuisance"]
    assert (flip["usual"], flip["strengths"][0]["flips"]["value"]) == (0, pytest.approx(0.4))


def test_strengths_go_from_slight_to_strong_and_less_gain_is_stronger():
    before, after = [-1.0, -1, -1, 1, 1], [[-1.0, -1, 1]] * 5
    rows = [*people(before), *changed(NUISANCE, "gain", [0.8, 0.6, 0.4], after)]
    (one,) = summed(rows)["nuisance"]
    assert [s["strength"] for s in one["strengths"]] == [0.8, 0.6, 0.4]
    assert [s["flips"]["value"] for s in one["strengths"]] == pytest.approx([0.4, 0.4, 0.6])


def test_the_auc_that_goes_with_a_region():
    healthy, ill = [-2.0, -1, 0.5], [1.0, 2, 3]  # all pairs are right
    after = [[-2.0], [-1], [1.5]], [[1.0], [2], [3]]  # one of nine is wrong
    rows = [*people(healthy), *people(ill, 1)]
    for name in ("hippocampi", OUTLINE):
        kind = BLIND if name == OUTLINE else REGION
        rows += [*changed(kind, name, [1.0], after[0]), *changed(kind, name, [1.0], after[1], 1)]
    found = summed(rows, 20)
    assert found["unchanged"]["auc"]["value"] == 1
    for one in (*found["regions"], *found["blind"]):
        assert one["n"] == 6
        assert one["auc"]["value"] == pytest.approx(8 / 9)
        assert one["lost"]["value"] == pytest.approx(1 / 9)
        assert one["shift"]["value"] == pytest.approx(1 / 6)
    assert found["unchanged"]["healthy_called_ill"]["value"] == pytest.approx(1 / 3)
    assert found["unchanged"]["ill_called_healthy"]["value"] == 0
    assert found["unchanged"]["sd_healthy"] == pytest.approx(np.std(healthy, ddof=1))


def test_one_class_has_no_auc():
    rows = [*people([-1.0] * 5), *changed(BLIND, OUTLINE, [1.0], [[0.0]] * 5)]
    reader = summed(rows)
    assert reader["blind"][0]["auc"] == {"value": None, "low": None, "high": None}
    assert reader["unchanged"]["ill_called_healthy"]["value"] is None
    (one,) = verdicts_of(reader)
    assert (one["verdict"], one["reason"]) == (UNKNOWN, "one class only")


def test_too_few_people_and_nothing_in_view_are_said():
    four = [*people([-1.0] * 4), *changed(DISEASE, ALL, [0.5, 1], [[0.0, 1]] * 4)]
    four += changed(NUISANCE, "blur", [1, 2, 3], [[0.0, 1, 1]] * 4)
    four += changed(REGION, "hippocampi", [1], [[0.0]] * 4)
    found = summed(four)
    for one in (found["disease"][0], found["nuisance"][0], found["regions"][0]):
        assert one["n"] == 4
        assert one["reason"].startswith("4 test people are too few")
    nobody = people([-1.0] * 6)
    for n in range(6):
        nobody += [row(f"h{n}", 0, DISEASE, ALL, dose, 0.0, "not in view") for dose in (0.5, 1.0)]
        nobody += [row(f"h{n}", 0, AGEING, "ageing", 15.0, 0.0, "not in view")]
    found = summed(nobody)
    assert found["disease"][0]["reason"] == "not in view"
    assert found["ageing"][0]["n"] == 0
    given = {one["name"]: one for one in verdicts_of(found)}
    assert {one["verdict"] for one in given.values()} == {UNKNOWN}
    assert given["rises with disease"]["reason"] == "not in view"
    assert worth(found, ALL) == {}


def test_a_nuisance_is_worth_the_dose_that_moves_as_far():
    rows = [*people([-1.0] * 5), *changed(DISEASE, ALL, [0.5, 1], [[1.0, 3]] * 5)]  # 4 a dose
    rows += changed(NUISANCE, "noise", [1, 3, 6], [[-1.0, 0, 1]] * 5)  # 1 at the usual
    assert worth(summed(rows), ALL) == {"noise": pytest.approx(0.25)}


def test_unchanged_scans_of_one_person_lie_as_far_apart_as_told():
    table = pd.DataFrame(
        {"subject": ["a", "a", "b", "b", "c"], "log_odds": [0.0, 2, 1, 1, 9]}  # variances 2 and 0
    )
    assert retest_sd(table) == {"n": 2, "sd": pytest.approx(1)}
    assert retest_sd(table[table["subject"] == "c"]) is None


def interval(value, low=None, high=None):
    return {"value": value, "low": value if low is None else low, "high": high or value}


def curve(rise=0.5, *, slope=1.0, monotone=True, half=0.5, name=ALL, doses=(), reason=None):
    return {
        "name": name, "n": 9, "reason": reason, "rise": rise if isinstance(rise, dict) else
        interval(rise), "slope": interval(slope), "monotone": monotone, "half": half,
        "doses": list(doses),
    }  # fmt: skip


def reader(**given):
    return {"disease": [], "younger": [], "ageing": [], "nuisance": [], "blind": []} | given


def verdict(**given):
    (one,) = verdicts_of(reader(**given))
    return one["verdict"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rise": 0.25}, PASS),
        ({"rise": 0.249}, WARN),
        ({"rise": 0.10}, WARN),
        ({"rise": 0.099}, FAIL),
        ({"slope": 0.0}, FAIL),
        ({"slope": -1.0}, FAIL),
        ({"monotone": False}, WARN),
        ({"half": None}, WARN),
        ({"reason": "not in view"}, UNKNOWN),
    ],
)
def test_a_model_is_held_to_rise_with_disease(given, expected):
    assert verdict(disease=[curve(name="hippocampi"), curve(**given)]) == expected


@pytest.mark.parametrize(
    ("rise", "expected"),
    [
        (interval(-0.2, -0.3, -0.1), PASS),
        (interval(-0.1, -0.2, -0.05), WARN),
        (interval(-0.2, -0.5, 0.01), FAIL),
        (interval(0.2, 0.1, 0.3), FAIL),
    ],
)
def test_and_to_fall_when_disease_is_taken_back(rise, expected):
    assert verdict(younger=[curve(rise)]) == expected


@pytest.mark.parametrize(
    ("ill", "expected"), [(0.10, PASS), (0.11, WARN), (0.25, WARN), (0.26, FAIL)]
)
def test_ageing_of_20_years_counts(ill, expected):
    shares = {0: 0.0, 12: 0.0, 18: ill, 30: 0.9}
    doses = [{"dose": dose, "called_ill": interval(share)} for dose, share in shares.items()]
    assert verdict(ageing=[curve(doses=doses)]) == expected


def nuisance(title, usual, reason=None):
    flips = [{"flips": interval(share)} for share in (0.9, usual, 0.9)]
    return {"name": title, "title": title, "usual": 1, "reason": reason, "strengths": flips}


@pytest.mark.parametrize(
    ("shares", "expected"),
    [((0.0, 0.05), PASS), ((0.0, 0.051), WARN), ((0.15, 0.1), WARN), ((0.151, 0), FAIL)],
)
def test_stages_may_not_follow_the_scanner(shares, expected):
    given = [nuisance(f"n{place}", share) for place, share in enumerate(shares)]
    assert verdict(nuisance=[*given, nuisance("no place", 1.0, "not known")]) == expected
    assert verdict(nuisance=[nuisance("no place", 1.0, "not known")]) == UNKNOWN


def test_more_than_four_nuisances_are_counted():
    (one,) = verdicts_of(reader(nuisance=[nuisance(f"n{at}", 0.09 + at / 100) for at in range(6)]))
    assert one["verdict"] == WARN
    assert one["reason"].startswith("stages change under n5 (14 %), n4 (13 %)")
    assert "and 2 more" in one["reason"]


@pytest.mark.parametrize(
    ("low", "name", "expected"),
    [
        (0.5, OUTLINE, PASS),
        (0.51, OUTLINE, WARN),
        (0.51, "background alone", FAIL),
        (0.4, "background alone", PASS),
    ],
)
def test_a_model_knows_nothing_without_a_brain(low, name, expected):
    one = {"name": name, "reason": None, "auc": interval(0.6, low, 0.7)}
    assert verdict(blind=[one]) == expected
    assert verdict(blind=[one | {"reason": "skull-stripped"}]) == UNKNOWN


def test_the_worst_verdict_is_the_whole():
    def of(*names):
        return overall([{"verdict": name} for name in names])

    assert of(PASS, UNKNOWN, WARN) == WARN
    assert of(PASS, FAIL, WARN) == FAIL
    assert of(PASS, UNKNOWN) == PASS
    assert of(UNKNOWN) == UNKNOWN
    assert of() == UNKNOWN


def test_the_plan_names_every_change_once_and_keeps_to_what_is_wanted():
    every = plan(10)
    assert every[0].kind == NONE
    assert len({(one.kind, one.name, one.strength) for one in every}) == len(every)
    some = plan(4, ["disease", "noise"])
    assert {one.kind for one in some} == {NONE, DISEASE, NUISANCE}
    whole = [one.strength for one in some if one.name == ALL]
    assert whole == [0.25, 0.5, 0.75, 1]
    assert [one.strength for one in some if one.name == "sulci"] == [0.5, 1]
    last = [one for one in plan(3, ["younger"]) if one.kind == YOUNGER][-1]
    assert set(last.amplitudes.values()) == {-0.8, -1.0}
    assert [last.counts(label) for label in (0, 1, 3)] == [False, True, True]
    kinds = {one.name if one.kind == NUISANCE else one.kind for one in every[1:]}
    assert kinds | {one.kind for one in map_changes()} == set(NAMES)
