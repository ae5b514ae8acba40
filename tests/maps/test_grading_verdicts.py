"""Verdicts at and around each threshold, by hand; intervals against a loop over people."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from src.evaluation.metrics.intervals import resample_people
from src.maps.grading.thresholds import FEW_MAPS, SAME_MAP, THRESHOLDS
from src.maps.grading.verdicts import judge, over_people, said

N = 8


def sections(**changes: Any) -> dict[str, Any]:
    """Return the sections of maps that pass every check; `changes` replaces entries of them."""
    spread = np.linspace(-0.05, 0.05, N)
    good = {
        "model": {"auc": {"value": 0.9, "low": 0.8, "high": 0.95}, "n_people": 30},
        "weights": {
            "stages": [_stage("head", 0.6), _stage("features.first", 0.1)],
            "between_people": [0.5] * N,
            "draws": 5,
        },
        "labels": {"refitted": [0.8] * N, "shuffled": list(0.3 + spread)},
        "faithfulness": {"gain": list(1 + spread), "over_centre": [0.5] * N},
        "stability": {"shift": list(0.8 + spread), "noise": list(0.9 + spread), "noise_sd": 0.02},
        "outside": {"ratio": list(0.1 + spread), "share": [0.05] * N, "volume": [0.5] * N},
        "agreement": {"own": list(0.6 + spread), "methods": ["hirescam", "gradcam"], "matrix": []},
        "phantom": {
            "energy_ratio": {"value": 4.0, "low": 3.0, "high": 5.0},
            "pointing": {"value": 0.75, "low": 0.4, "high": 0.9},
            "rival": {"method": "centre", "energy_ratio": 1.2},
            "n_people": N,
        },
    }
    for path, value in changes.items():
        section, _, key = path.partition("__")
        if key:
            good[section][key] = value
        else:
            good[section] = value
    return copy.deepcopy(good)


def _stage(layer: str, value: float | None) -> dict[str, Any]:
    return {"layer": layer, "similarity": [value] * N, "ssim": [value] * N}


def verdicts(**changes: Any) -> dict[str, str]:
    return {c["name"]: c["verdict"] for c in judge(sections(**changes), n_bootstrap=50)["checks"]}


def sentence(name: str, **changes: Any) -> str:
    found = judge(sections(**changes), n_bootstrap=50)["checks"]
    return next(check["sentence"] for check in found if check["name"] == name)


def test_good_maps_pass_every_check() -> None:
    found = judge(sections(), n_bootstrap=50)
    assert found["verdict"] == "PASS"
    assert [check["name"] for check in found["checks"]] == list(THRESHOLDS)
    assert {check["verdict"] for check in found["checks"]} == {"PASS"}
    for check in found["checks"]:
        assert check["title"] == THRESHOLDS[check["name"]].title
        assert check["threshold"] == THRESHOLDS[check["name"]].text
        assert check["sentence"].endswith(".")
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("check", "key", "values"),
    [
        ("weights", "stages", {0.39: "PASS", 0.41: "WARN", 0.49: "WARN", 0.51: "FAIL"}),
        ("shift", "stability__shift", {0.61: "PASS", 0.59: "WARN", 0.41: "WARN", 0.39: "FAIL"}),
        ("noise", "stability__noise", {0.61: "PASS", 0.59: "WARN", 0.41: "WARN", 0.39: "FAIL"}),
        ("outside", "outside__ratio", {0.49: "PASS", 0.51: "WARN", 0.74: "WARN", 0.76: "FAIL"}),
        ("agreement", "agreement__own", {0.41: "PASS", 0.39: "WARN", -0.9: "WARN"}),
        ("faithfulness", "faithfulness__gain", {0.01: "PASS", 0.0: "FAIL", -0.1: "FAIL"}),
        ("labels", "labels__shuffled", {0.69: "PASS", 0.71: "WARN", 0.98: "WARN", 0.995: "FAIL"}),
    ],
)
def test_verdicts_at_the_thresholds(check: str, key: str, values: dict[float, str]) -> None:
    for value, verdict in values.items():
        if check == "weights":
            change = {"weights__stages": [_stage("head", 0.9), _stage("features.first", value)]}
        else:
            change = {key: [value] * N}
        assert verdicts(**change)[check] == verdict, value


def test_the_last_stage_and_the_baseline_of_other_people_decide() -> None:
    assert verdicts(weights__stages=[_stage("a", 0.1), _stage("b", 0.7)])["weights"] == "FAIL"
    assert verdicts(weights__between_people=[0.05] * N)["weights"] == "WARN"
    assert "no less than" in sentence("weights", weights__between_people=[0.05] * N)
    assert verdicts(weights__between_people=[None] * N)["weights"] == "PASS"
    assert "maps of different people: 0.50" in sentence("weights")
    assert "had the model learnt nothing" in sentence("weights", weights__stages=[_stage("a", 0.7)])


def test_a_gain_passes_by_its_interval_and_by_the_rival_from_the_centre() -> None:
    wide = [3.0, -1.0] * (N // 2)
    assert verdicts(faithfulness__gain=wide)["faithfulness"] == "WARN"
    assert "may be chance" in sentence("faithfulness", faithfulness__gain=wide)
    assert verdicts(faithfulness__over_centre=[-0.1] * N)["faithfulness"] == "WARN"
    assert "without any map" in sentence("faithfulness", faithfulness__over_centre=[-0.1] * N)
    assert verdicts(faithfulness__over_centre=[-0.2, 0.1] * (N // 2))["faithfulness"] == "PASS"
    unsure = {"faithfulness__over_centre": [-0.1] * N, "faithfulness__gain": wide}
    assert "may be chance" in sentence("faithfulness", **unsure)
    assert "no more than others" in sentence("faithfulness", faithfulness__gain=[-1.0] * N)


def test_labels_are_judged_person_by_person_and_say_what_they_cannot_show() -> None:
    falls = sentence("labels")
    assert "by 0.50" in falls
    assert "to 0.30" in falls
    assert "backbone keeps what true labels taught it" in falls
    same = {"labels__refitted": [0.2] * N, "labels__shuffled": [SAME_MAP] * N}
    assert verdicts(**same)["labels"] == "FAIL"  # whatever refitting does
    low = {"labels__refitted": [0.9, None] * 4, "labels__shuffled": [0.2, 0.2] * 4}
    found = judge(sections(**low), n_bootstrap=50)["checks"][2]
    assert (found["value"]["value"], found["n_people"]) == (pytest.approx(0.7), 4)


@pytest.mark.parametrize(
    ("auc", "verdict"),
    [((0.9, 0.51, 0.99), "PASS"), ((0.9, 0.5, 0.99), "FAIL"), ((0.4, 0.2, 0.6), "FAIL")],
)
def test_a_model_that_may_be_chance_has_no_maps_to_trust(auc: Any, verdict: str) -> None:
    change = {"model__auc": dict(zip(("value", "low", "high"), auc, strict=True))}
    assert verdicts(**change)["model"] == verdict
    assert judge(sections(**change), n_bootstrap=50)["verdict"] == verdict


def test_an_auc_without_an_interval_shows_nothing_of_few_people() -> None:
    certain = {"value": 1.0, "low": 1.0, "high": 1.0}
    assert verdicts(model__auc=certain, model__n_fewest=9)["model"] == "WARN"
    assert "so few people cannot show it" in sentence(
        "model", model__auc=certain, model__n_fewest=9
    )
    assert verdicts(model__auc=certain, model__n_fewest=10)["model"] == "PASS"


def test_a_model_of_one_kind_of_people_is_not_known() -> None:
    unknown = {"value": None, "low": None, "high": None}
    assert verdicts(model__auc=unknown)["model"] == "NOT KNOWN"


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        ((2.0, 1.3, 3.0), "PASS"),
        ((2.0, 1.2, 3.0), "WARN"),
        ((2.0, 0.9, 3.0), "WARN"),
        ((0.9, 0.5, 1.5), "FAIL"),
    ],
)
def test_planted_change(ratio: Any, verdict: str) -> None:
    change = {"phantom__energy_ratio": dict(zip(("value", "low", "high"), ratio, strict=True))}
    assert verdicts(**change)["phantom"] == verdict
    assert "75% of 8 people" in sentence("phantom")
    weak = {"phantom__rival": {"method": "centre", "energy_ratio": 3.5}}
    assert "a map of the centre, without a model, has 3.50" in sentence("phantom", **weak)


def _of(n: int, verdict: str) -> dict[str, Any]:
    """Return sections of n people whose values ask for one verdict in every check but `model`."""
    good = verdict == "PASS"
    high, low = ([0.9] * n, [0.1] * n) if good else ([0.1] * n, [0.9] * n)
    ratio = 3.0 if good else 0.5
    interval = {"value": ratio, "low": ratio, "high": ratio} if n else _NOBODY
    auc = interval | {"value": 0.9 if n else None}
    return {
        "model": {"auc": auc, "n_people": n + 5, "n_fewest": n},
        "weights": {"stages": [{"similarity": low}], "between_people": [None] * n},
        "labels": {"refitted": [0.995] * n, "shuffled": [0.3 if good else 0.995] * n},
        "faithfulness": {
            "gain": [1.0 if good else -1.0] * n, "over_centre": [0.5] * n if n else []
        },
        "stability": {"shift": high, "noise": high, "noise_sd": 0.02},
        "outside": {"ratio": low, "share": low, "volume": low},
        "agreement": {"own": high, "methods": ["hirescam", "gradcam"]},
        "phantom": {
            "energy_ratio": interval, "pointing": {"value": 0.5}, "n_people": n,
            "rival": {"method": "centre", "energy_ratio": 1.2},
        },
    }  # fmt: skip


_NOBODY = {"value": None, "low": None, "high": None}


@pytest.mark.parametrize("asks_for", ["PASS", "FAIL"])
@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("name", THRESHOLDS)
def test_no_check_passes_on_nobody_one_or_two_people(name: str, n: int, asks_for: str) -> None:
    checks = judge(_of(n, asks_for), n_bootstrap=50)["checks"]
    check = next(check for check in checks if check["name"] == name)
    assert check["verdict"] in {0: ["NOT KNOWN"], 1: ["NOT KNOWN"], 2: ["WARN", "FAIL"]}[n]
    if n == 1:
        assert "one person: cannot be told" in check["sentence"]
    if n == 2 and check["verdict"] == "WARN" and asks_for == "PASS":
        assert "2 people are too few to pass" in check["sentence"]
    assert "None" not in check["sentence"]


def test_few_people_and_empty_maps_do_not_pass() -> None:
    few = [0.8] * (FEW_MAPS - 1) + [None] * (N - FEW_MAPS + 1)
    assert verdicts(stability__shift=few)["shift"] == "WARN"
    assert "4 of 8 maps are empty" in sentence("shift", stability__shift=few)
    assert "4 people are too few to pass" in sentence("shift", stability__shift=few)
    assert verdicts(stability__shift=few[:4])["shift"] == "WARN"
    assert verdicts(stability__shift=[0.8] * FEW_MAPS)["shift"] == "PASS"
    many = [0.8] * 10 + [None] * 10
    assert verdicts(stability__shift=many)["shift"] == "WARN"  # half of all maps
    assert verdicts(stability__shift=many[:-1])["shift"] == "PASS"
    none = judge(sections(stability__shift=[None] * N), n_bootstrap=50)["checks"]
    found = next(check for check in none if check["name"] == "shift")
    assert (found["verdict"], found["value"]["value"], found["n_people"]) == ("NOT KNOWN", None, 0)
    assert "every map is empty" in found["sentence"]


def test_what_could_not_be_computed_says_why_and_what_is_absent_is_no_check() -> None:
    reason = {"available": False, "reason": "the people it was trained on are not at hand"}
    assert verdicts(labels=reason)["labels"] == "NOT KNOWN"
    assert sentence("labels", labels=reason) == f"Not known: {reason['reason']}."
    both = verdicts(stability=reason)
    assert both["shift"] == both["noise"] == "NOT KNOWN"
    without = sections()
    del without["phantom"]
    assert "phantom" not in [check["name"] for check in judge(without, n_bootstrap=50)["checks"]]


def test_the_verdict_is_the_worst_and_needs_what_is_needed() -> None:
    reason = {"available": False, "reason": "x"}

    def overall(**changes: Any) -> str:
        return str(judge(sections(**changes), n_bootstrap=50)["verdict"])

    assert overall(labels=reason, phantom=reason) == "PASS"
    assert overall(model=reason) == "WARN"  # maps of a model that tells nothing explain nothing
    assert overall(weights=reason) == "WARN"
    assert overall(faithfulness=reason) == "WARN"
    assert overall(stability__noise=[0.5] * N) == "WARN"
    assert overall(stability__noise=[0.5] * N, outside__ratio=[0.9] * N) == "FAIL"


def test_intervals_are_those_of_resampled_people() -> None:
    values = [0.1, None, 0.7, 0.4, 0.35]
    known = np.array([0.1, 0.7, 0.4, 0.35])
    drawn = np.concatenate(list(resample_people(4, 300, 9, 300)))
    means = [np.repeat(known, counts.astype(int)).mean() for counts in drawn]
    found = over_people(values, 300, 9)
    low, high = np.percentile(means, [2.5, 97.5])
    assert found == {
        "value": pytest.approx(known.mean()), "low": pytest.approx(low), "high": pytest.approx(high)
    }  # fmt: skip
    assert over_people([0.4, None], 300, 9) == {"value": 0.4, "low": None, "high": None}
    assert over_people([None], 300, 9)["value"] is None
    assert said({"value": 0.5, "low": None, "high": None}) == "0.50 (no interval)"
    assert said({"value": 0.5, "low": -0.1, "high": 0.75}) == "0.50 (-0.10 to 0.75)"
