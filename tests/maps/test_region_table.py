"""Region ratios over people against NumPy, SciPy and sums by hand."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from src.evaluation.metrics.significance import holm
from src.maps.regions.table import ALL, UNSEEN, RegionTable, region_table

CLASSES = ("none", "mild", "severe")
NAMES = ("inner", "outer")


def table(share, subjects=None, labels=None, volume=None, names=NAMES, **options) -> RegionTable:
    share = np.asarray(share, float)
    volume = np.full(share.shape, 0.1) if volume is None else np.asarray(volume, float)
    subjects = np.array([f"P{i}" for i in range(len(share))]) if subjects is None else subjects
    labels = np.arange(len(share)) % 3 if labels is None else labels
    settings = {"n_bootstrap": 500, "seed": 3, **options}
    return region_table(share, volume, subjects, labels, CLASSES, names, **settings)


def row(found: RegionTable, region: str, name: str = ALL) -> dict:
    (one,) = [r for r in found.rows if (r["region"], r["class"]) == (region, name)]
    return one


def people(n=36, effect=0.0, seed=0):
    rng = np.random.default_rng(seed)
    share = rng.gamma(4, 0.05, (n, 2))
    share[:, 0] *= 1 + effect * (np.arange(n) % 3)
    return share


def test_ratio_and_interval_are_those_of_resampled_people():
    share = people()
    found = row(table(share), "outer")
    ratios = share[:, 1] / 0.1
    assert found["n_people"] == 36
    assert found["few_people"] is False
    assert found["share"] == pytest.approx(share[:, 1].mean())
    assert found["volume_share"] == pytest.approx(0.1)
    assert found["ratio"]["value"] == pytest.approx(ratios.mean())
    means = np.random.default_rng(0).choice(ratios, (4000, 36)).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    width = high - low
    assert found["ratio"]["low"] == pytest.approx(low, abs=0.1 * width)
    assert found["ratio"]["high"] == pytest.approx(high, abs=0.1 * width)


def test_ratio_is_of_each_person_first():
    found = row(table([[0.2, 0.3], [0.6, 0.3]], volume=[[0.1, 0.1], [0.6, 0.3]]), "inner")
    assert found["ratio"]["value"] == pytest.approx((2 + 1) / 2)


def test_rows_come_region_by_region_with_everyone_first():
    found = table(people(31))
    expected = [(region, name) for region in NAMES for name in (ALL, *CLASSES)]
    assert [(r["region"], r["class"]) for r in found.rows] == expected
    assert [r["n_people"] for r in found.rows[:4]] == [31, 11, 10, 10]
    values = people(31)[:, 0][1::3] / 0.1
    assert row(found, "inner", "mild")["ratio"]["value"] == pytest.approx(values.mean())


def test_sessions_of_a_person_are_averaged_and_count_once():
    once = [[0.2, 0.4], [0.3, 0.1]]
    twice = [[0.1, 0.4], [0.3, 0.1], [0.3, 0.4]]
    subjects = ["A", "B", "A"]
    many = table(twice, subjects, [0, 1, 2])  # a person is what their first map says
    one = table(once, ["A", "B"], [0, 1])
    assert many.rows == one.rows
    assert row(many, "inner")["n_people"] == 2


def test_map_that_did_not_see_a_region_counts_elsewhere():
    share = people(12)
    volume = np.full(share.shape, 0.1)
    share[4:, 0] = volume[4:, 0] = np.nan
    found = table(share, volume=volume)
    assert row(found, "inner")["n_people"] == 4
    assert row(found, "inner")["few_people"] is True
    assert row(found, "inner")["ratio"]["value"] == pytest.approx(share[:4, 0].mean() / 0.1)
    assert row(found, "outer")["n_people"] == 12
    inner = row(found, "inner")["ratio"]
    assert inner["low"] >= share[:4, 0].min() / 0.1  # no resample counts the others as 0
    again = table(
        np.vstack([share, [[0.9, 0.9]]]), [*map(str, range(12)), "5"], [*np.arange(12) % 3, 0],
        np.vstack([volume, [[0.1, 0.1]]]),
    )  # fmt: skip
    assert row(again, "inner")["n_people"] == 5  # of the second session alone


def test_what_nobody_saw_and_classes_without_people_say_why():
    share, volume = people(6), np.full((6, 2), 0.1)
    share[:, 0] = volume[:, 0] = np.nan
    found = table(share, volume=volume, labels=np.zeros(6, int))
    unseen = row(found, "inner", "none")
    assert unseen["reason"] == UNSEEN
    assert unseen["ratio"] == {"value": None, "low": None, "high": None}
    assert row(found, "outer", "none")["reason"] is None
    empty = row(found, "outer", "severe")
    assert empty["reason"] == "no one is in this class"
    assert empty["n_people"] == 0
    by_region = {test["region"]: test for test in found.tests}
    assert by_region["inner"] == {"region": "inner", "available": False, "reason": UNSEEN}
    assert by_region["outer"]["available"] is False


def test_region_without_volume_is_left_out():
    found = table(people(9), volume=[[0.1, 0.0]] * 9)
    assert {r["region"] for r in found.rows} == {"inner"}


def test_single_person_has_a_ratio_without_an_interval():
    found = row(table([[0.2, 0.1]]), "inner", "none")
    assert found["ratio"]["value"] == pytest.approx(2)
    assert found["ratio"]["low"] is None


def test_p_counts_the_exchanges_that_reach_the_kruskal_wallis_statistic():
    share, labels = people(8, 0.6, seed=2), np.array([0, 0, 0, 1, 1, 1, 2, 2])
    found = table(share, labels=labels, n_bootstrap=4000).tests[0]
    groups = lambda order: [share[:, 0][order == k] for k in range(3)]  # noqa: E731
    observed = stats.kruskal(*groups(labels)).statistic
    arranged = {order for order in permutations(labels.tolist())}
    every = [stats.kruskal(*groups(np.array(order))).statistic for order in arranged]
    exact = np.mean(np.array(every) >= observed - 1e-9)
    assert 0.02 < exact < 0.9
    assert found["p"] == pytest.approx(exact, abs=0.03)
    assert found["classes"] == list(CLASSES)
    assert found["few_people"] is True
    assert found["n_people"] == 8


def test_a_real_difference_is_found_and_holm_counts_the_regions():
    found = table(people(60, effect=1.0), n_bootstrap=999)
    inner, outer = found.tests
    assert inner["p"] == 1 / 1000
    assert outer["p"] > 0.05
    assert [inner["p_holm"], outer["p_holm"]] == holm([inner["p"], outer["p"]])
    assert inner["p_holm"] == 2 / 1000
    assert inner["few_people"] is False


def test_shuffled_labels_give_even_p():
    p = [table(people(18, seed=i), n_bootstrap=49).tests[0]["p"] for i in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_same_seed_same_table_and_order_of_people_is_nothing():
    share, order = people(12), np.random.default_rng(1).permutation(12)
    one = table(share)
    assert one == table(share)
    other = table(share[order], np.array([f"P{i}" for i in order]), (np.arange(12) % 3)[order])
    assert other == one


def test_json_and_csv():
    share = people(9)
    share[:, 0] = np.nan
    found = table(share)
    json.dumps({"rows": found.rows, "tests": found.tests}, allow_nan=False)
    frame = found.frame()
    assert list(frame.columns) == [
        *("region", "class", "n_people", "few_people", "share", "volume_share"),
        *("ratio", "ratio_low", "ratio_high", "p_classes", "p_classes_holm", "reason"),
    ]
    assert len(frame) == 8
    outer = frame[(frame["region"] == "outer") & (frame["class"] == ALL)].iloc[0]
    assert outer["ratio"] == pytest.approx(share[:, 1].mean() / 0.1)
    assert outer["p_classes"] == found.tests[1]["p"]
    assert frame["ratio"].isna().sum() == 4


@pytest.mark.parametrize(
    "options",
    [
        {"labels": [0, 1]},
        {"labels": [0, 1, 3]},
        {"labels": [0, -1, 2]},
        {"subjects": ["A"]},
        {"volume": [[0.1, 0.1]]},
        {"names": ("inner",)},
        {"names": ("inner", "inner")},
    ],
)
def test_arguments_that_do_not_match_are_refused(options):
    with pytest.raises(ValueError, match=r"shares|names|label"):
        table(people(3), **options)


def test_no_map_at_all_is_refused():
    with pytest.raises(ValueError, match="shares"):
        table(np.empty((0, 2)))
