"""Groups against `score` on their people, matching against all possible matchings."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from src.evaluation.analyses.subgroups import AGE_BANDS, confounding, match_ages, subgroup_scores
from src.evaluation.metrics.intervals import resample_people, wilson
from src.evaluation.metrics.scores import score
from src.predictions import Predictions, as_binary, take_rows

NAMES = ("NonDemented", "VeryMildDemented", "MildDemented")


def _cohort(n: int = 180, per: int = 1, seed: int = 0, signal: float = 1.5, bias: float = 0.0):
    """People of 45 to 92; `bias` blurs the scores of women. Rows and table in different orders."""
    rng = np.random.default_rng(seed)
    names = np.array([f"S{i:03d}" for i in range(n)])
    label = np.resize([0, 0, 1, 0, 1, 2], n)
    sex = np.where(rng.random(n) < 0.6, "F", "M")
    age = rng.integers(45, 93, n).astype(float)
    strength = signal - bias * (sex == "F")
    logits = rng.normal(size=(n * per, 3))
    logits += np.repeat(strength, per)[:, None] * np.eye(3)[np.repeat(label, per)]
    rows = Predictions(np.repeat(label, per), logits, np.repeat(names, per))
    table = pd.DataFrame({"age": age, "sex": sex}, index=names).sample(frac=1, random_state=seed)
    extra = np.arange(0, n * per, 7) if per > 1 else []  # people differ in their number of rows
    order = rng.permutation(np.r_[np.arange(n * per), extra].astype(int))
    return take_rows(rows, order), table


def _auc(rows: Predictions) -> float:
    binary = as_binary(rows)
    return roc_auc_score(binary.labels, binary.logits[:, 1] - binary.logits[:, 0])


def _of(rows: Predictions, table: pd.DataFrame, chosen: pd.Series) -> Predictions:
    return take_rows(rows, np.isin(rows.subjects, table.index[chosen]))


def _entry(found: dict, factor: str, group: str) -> dict:
    (entry,) = (g for g in found["groups"] if (g["factor"], g["group"]) == (factor, group))
    return entry


@pytest.mark.parametrize("per", [1, 3])
def test_a_group_scores_like_its_people_alone(per: int) -> None:
    rows, table = _cohort(per=per)
    found = subgroup_scores(rows, table, NAMES, 60, 5)
    for factor, group, chosen in (
        ("sex", "F", table["sex"] == "F"),
        ("age", "70-79", table["age"].between(70, 79)),
        ("age", "80 and over", table["age"] >= 80),
    ):
        own = _of(rows, table, chosen)
        entry, expected = _entry(found, factor, group), score(own, NAMES, [1, 1, 1], 60, 5)
        for name in ("balanced_accuracy", "accuracy"):
            assert entry["metrics"][name] == pytest.approx(expected["metrics"][name]), (group, name)
        two = score(as_binary(own), ("No", "Yes"), [1, 1], 60, 5)["per_class"]["Yes"]["auc"]
        assert entry["metrics"]["auc_demented"] == pytest.approx(two)
        assert entry["metrics"]["auc_demented"]["value"] == pytest.approx(_auc(own))
        assert entry["n_people"] == chosen.sum() == own.n_people
        assert entry["n_demented"] == len(np.unique(own.subjects[own.labels > 0]))


def test_bands_begin_at_their_first_year_and_unknown_stays_unknown() -> None:
    rows, table = _cohort(n=24)
    ages = [0, 59.9, 60, 69.9, 70, 79.9, 80, 125, *[np.nan] * 16]
    rows = take_rows(rows, np.argsort(rows.subjects))
    table = pd.DataFrame({"age": ages, "sex": [*["F"] * 20, "M", None, np.nan, "x"]}, rows.subjects)
    found = subgroup_scores(rows, table.iloc[::-1].drop(rows.subjects[11]), NAMES, 20)
    counts = {(g["factor"], g["group"]): g["n_people"] for g in found["groups"]}
    assert counts == {
        **{("sex", "F"): 19, ("sex", "M"): 1, ("sex", "unknown"): 4},
        **{("age", band): 2 for band in AGE_BANDS},
        ("age", "unknown"): 16,
    }
    assert list(counts)[:3] == [("sex", "F"), ("sex", "M"), ("sex", "unknown")]


def test_a_manifests_own_types_are_read() -> None:
    rows, table = _cohort()
    typed = table.astype({"age": "Float64", "sex": "str"})
    typed.iloc[:5, 0] = pd.NA
    table.iloc[:5, 0] = np.nan
    assert subgroup_scores(rows, typed, NAMES, 20) == subgroup_scores(rows, table, NAMES, 20)
    assert confounding(rows, typed, 20) == confounding(rows, table, 20)


def test_few_people_keep_wilsons_accuracy_and_nothing_else() -> None:
    rows, table = _cohort()
    nine = table.index[:9]
    found = subgroup_scores(
        rows,
        table.assign(sex="F").assign(sex=lambda t: t["sex"].where(~t.index.isin(nine), "M")),
        NAMES,
        20,
    )
    few = _entry(found, "sex", "M")
    assert few["few_people"]
    assert few["metrics"]["balanced_accuracy"]["value"] is None
    assert few["metrics"]["auc_demented"]["value"] is None
    own = take_rows(rows, np.isin(rows.subjects, nine))
    low, high = wilson(int((own.labels == own.predicted).sum()), 9)
    assert (few["metrics"]["accuracy"]["low"], few["metrics"]["accuracy"]["high"]) == (low, high)
    assert found["gaps"]["sex"] == dict.fromkeys(few["metrics"])
    assert found["gaps"]["age"]["accuracy"] is not None


def test_few_people_with_several_rows_have_no_estimate_at_all() -> None:
    rows, table = _cohort(per=4)
    table = table.assign(sex="F")
    table.iloc[:9, table.columns.get_loc("sex")] = "M"
    few = _entry(subgroup_scores(rows, table, NAMES, 20), "sex", "M")
    assert [few["metrics"][name]["value"] for name in few["metrics"]] == [None] * 3


@pytest.mark.parametrize(("said", "share"), [(0, 1.0), (1, 0.0)])
def test_no_error_in_several_rows_is_as_many_right_people(said: int, share: float) -> None:
    """37 people without an error may still err in one case of ten, however many rows they have."""
    rows, table = _cohort(per=3)
    rows = Predictions(rows.labels, np.tile(np.eye(3)[said], (len(rows.labels), 1)), rows.subjects)
    label = pd.Series(rows.labels, rows.subjects).groupby(level=0).first()
    men = label.index[label == 0][:37]
    table = table.assign(sex=np.where(table.index.isin(men), "M", "F"))
    accuracy = _entry(subgroup_scores(rows, table, NAMES, 20), "sex", "M")["metrics"]["accuracy"]
    low, high = wilson(37 * share, 37)
    assert accuracy == {"value": share, "low": low, "high": high}


@pytest.mark.parametrize(("n_demented", "estimable"), [(9, False), (10, True)])
def test_an_auc_needs_ten_people_on_either_side(n_demented: int, estimable: bool) -> None:
    rows, table = _cohort(n=200, per=2)
    label = pd.Series(rows.labels, rows.subjects).groupby(level=0).first()
    men = [*label.index[label > 0][:n_demented], *label.index[label == 0][:30]]
    table = table.assign(sex=np.where(table.index.isin(men), "M", "F"))
    found = subgroup_scores(rows, table, NAMES, 20)
    entry = _entry(found, "sex", "M")
    assert not entry["few_people"]
    assert entry["n_demented"] == n_demented
    assert (entry["metrics"]["auc_demented"]["value"] is not None) is estimable
    assert (found["gaps"]["sex"]["auc_demented"] is not None) is estimable
    assert entry["metrics"]["accuracy"]["value"] is not None


def test_an_auc_against_few_others_is_not_estimated() -> None:
    rows, table = _cohort(n=200)
    label = pd.Series(rows.labels, rows.subjects)
    men = [*label.index[label > 0][:30], *label.index[label == 0][:9]]
    table = table.assign(sex=np.where(table.index.isin(men), "M", "F"))
    entry = _entry(subgroup_scores(rows, table, NAMES, 20), "sex", "M")
    assert (entry["n_people"], entry["n_demented"]) == (39, 30)
    assert entry["metrics"]["auc_demented"]["value"] is None


def test_balanced_accuracy_means_the_same_in_every_group() -> None:
    """The young have no MildDemented: over two classes they would look better, or worse."""
    rows, table = _cohort(n=240)
    label = pd.Series(rows.labels, rows.subjects)
    table["age"] = np.where(label[table.index] == 2, 85.0, np.where(table["age"] < 70, 50.0, 85.0))
    found = subgroup_scores(rows, table, NAMES, 20)
    young = _entry(found, "age", "under 60")
    assert found["balanced_over"] == list(NAMES)
    assert young["metrics"]["balanced_accuracy"]["value"] is None
    assert young["metrics"]["auc_demented"]["value"] is not None
    assert young["few_classes"] == ["MildDemented"]
    assert found["gaps"]["age"]["balanced_accuracy"] is None
    assert found["gaps"]["age"]["auc_demented"] is not None


def test_a_class_of_few_people_is_left_out_of_balanced_accuracy() -> None:
    rows, table = _cohort(n=160)
    labels = rows.labels.copy()
    labels[np.flatnonzero(labels == 2)[3:]] = 1
    rows = Predictions(labels, rows.logits, rows.subjects)
    found = subgroup_scores(rows, table, NAMES, 20)
    assert found["balanced_over"] == list(NAMES[:2])
    own = _of(rows, table, table["sex"] == "M")
    recalls = [(own.predicted[own.labels == c] == c).mean() for c in (0, 1)]
    entry = _entry(found, "sex", "M")
    assert entry["metrics"]["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))


def test_no_class_with_ten_people_has_no_balanced_accuracy() -> None:
    rows, table = _cohort(n=15)
    found = subgroup_scores(rows, table.assign(sex="F"), NAMES, 20)
    assert found["balanced_over"] == []
    assert _entry(found, "sex", "F")["metrics"]["balanced_accuracy"]["value"] is None
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("per", [1, 2])
def test_a_gap_and_its_interval_equal_a_plain_loop(per: int) -> None:
    rows, table = _cohort(n=180, per=per)
    found, b = subgroup_scores(rows, table, NAMES, 30, 7)["gaps"], 30
    band = pd.cut(table["age"], [0, 60, 70, 80, 200], right=False).cat.codes
    for factor, group in (("sex", (table["sex"] == "M").astype(int)), ("age", band)):
        of_row = group[rows.subjects].to_numpy()
        entry = _gap_of_loop(rows, of_row, _auc)
        assert found[factor]["auc_demented"]["value"] == pytest.approx(entry)
        resampled = []
        for counts in np.concatenate(list(resample_people(180, b, 7, b))):
            index = np.repeat(np.arange(len(rows.labels)), counts[rows.people].astype(int))
            resampled.append(_gap_of_loop(take_rows(rows, index), of_row[index], _auc))
        ends = [found[factor]["auc_demented"][end] for end in ("low", "high")]
        np.testing.assert_allclose(ends, np.percentile(resampled, [2.5, 97.5]), atol=1e-12)
        accuracy = _gap_of_loop(rows, of_row, lambda part: (part.labels == part.predicted).mean())
        assert found[factor]["accuracy"]["value"] == pytest.approx(accuracy)


def _gap_of_loop(rows: Predictions, group: np.ndarray, measure) -> float:
    values = [measure(take_rows(rows, group == g)) for g in np.unique(group)]
    return max(values) - min(values)


def test_unknown_is_not_compared() -> None:
    rows, table = _cohort(n=160)
    table = table.assign(sex=table["sex"].where(table["sex"] == "F"))
    found = subgroup_scores(rows, table, NAMES, 20)
    assert _entry(found, "sex", "unknown")["n_people"] > 10
    assert found["gaps"]["sex"]["accuracy"] is None


def test_a_resample_that_leaves_a_group_without_a_class_says_nothing_of_its_gap() -> None:
    """One man is MildDemented: in a third of the resamples nobody is."""
    rows, table = _cohort(n=120)
    label = pd.Series(rows.labels, rows.subjects)[table.index]
    men = (table["sex"] == "M") & ((label < 2) | (label[label == 2].index[0] == table.index))
    sex = pd.Series(np.where(men, "M", "F"), table.index)
    found = subgroup_scores(rows, table.assign(sex=sex), NAMES, 80, 2)
    assert _entry(found, "sex", "M")["few_classes"] == ["MildDemented"]
    man, gaps = sex[rows.subjects].to_numpy() == "M", []
    for counts in np.concatenate(list(resample_people(120, 80, 2, 80))):
        index = np.repeat(np.arange(120), counts.astype(int))
        parts = [take_rows(rows, index[man[index] == m]) for m in (True, False)]
        if all(len(np.unique(part.labels)) == 3 for part in parts):
            recalls = [balanced_accuracy_score(part.labels, part.predicted) for part in parts]
            gaps.append(abs(recalls[0] - recalls[1]))
    assert 30 < len(gaps) < 75
    gap = found["gaps"]["sex"]["balanced_accuracy"]
    np.testing.assert_allclose([gap["low"], gap["high"]], np.percentile(gaps, [2.5, 97.5]))


def test_people_of_no_group_take_no_part_in_the_shuffles() -> None:
    rows, table = _cohort(n=160)
    table.iloc[::3, table.columns.get_loc("sex")] = None
    known = _of(rows, table, table["sex"].notna())
    a, b = (subgroup_scores(r, table, NAMES, 20)["gaps"]["sex"] for r in (rows, known))
    for name in a:
        assert a[name]["gap_if_equal"] == pytest.approx(b[name]["gap_if_equal"])


@pytest.mark.slow
def test_the_gap_if_equal_is_the_mean_over_shuffles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many shuffles of sex among the people of a class, by hand; the rows move with people."""
    monkeypatch.setattr("src.evaluation.analyses.subgroups._SHUFFLES", 2000)
    rows, table = _cohort(n=90, per=2, bias=1.5)
    found = subgroup_scores(rows, table, NAMES, 20)["gaps"]["sex"]
    rng = np.random.default_rng(1)
    label = pd.Series(rows.labels, rows.subjects).groupby(level=0).first()[table.index]
    gaps = []
    for _ in range(150):
        sex = (
            table["sex"].groupby(label.to_numpy()).transform(lambda s: rng.permutation(s.tolist()))
        )
        gaps.append(_gap_of_loop(rows, sex[rows.subjects].to_numpy() == "F", _auc))
    assert found["auc_demented"]["gap_if_equal"] == pytest.approx(np.mean(gaps), abs=0.014)


def test_a_true_gap_stands_out_from_the_gap_of_equal_groups() -> None:
    equal = [subgroup_scores(*_cohort(n=200, seed=s), NAMES, 20) for s in range(6)]
    gaps = [found["gaps"]["sex"]["auc_demented"] for found in equal]
    mean, expected = (np.mean([gap[key] for gap in gaps]) for key in ("value", "gap_if_equal"))
    assert mean == pytest.approx(expected, abs=0.04)
    unequal = subgroup_scores(*_cohort(n=200, bias=1.5), NAMES, 20)["gaps"]["sex"]["auc_demented"]
    assert unequal["value"] > 3 * unequal["gap_if_equal"]


def test_a_gap_that_comes_of_the_classes_is_expected_of_equal_groups() -> None:
    """A model that always says healthy is right for the young, who are."""
    rows, table = _cohort(n=200)
    rows = Predictions(rows.labels, np.tile([1.0, 0, 0], (200, 1)), rows.subjects)
    label = pd.Series(rows.labels, rows.subjects)
    table["age"] = np.where((label[table.index] == 0) & (table["age"] < 70), 50, 85)
    gap = subgroup_scores(rows, table, NAMES, 20)["gaps"]["age"]["accuracy"]
    assert gap["value"] > 0.5
    assert gap["gap_if_equal"] == pytest.approx(gap["value"])


def test_nothing_known_of_anybody_is_said() -> None:
    rows, table = _cohort(n=30)
    for empty in (
        table.iloc[:0],
        table.assign(age=np.nan, sex=None),
        pd.DataFrame(index=table.index),
    ):
        found = subgroup_scores(rows, empty, NAMES, 20)
        assert found["available"] is False
        assert "neither age nor sex" in found["reason"]


def test_a_subject_twice_in_the_table_is_refused() -> None:
    rows, table = _cohort(n=30)
    with pytest.raises(ValueError, match="duplicate"):
        subgroup_scores(rows, pd.concat([table, table]), NAMES, 20)
    with pytest.raises(ValueError, match="2 classes for 3 logits"):
        subgroup_scores(rows, table, NAMES[:2], 20)


def _best_matching(first: np.ndarray, second: np.ndarray, caliper: float) -> tuple[int, float]:
    """Pairs and total difference of the best of all matchings, tried one by one."""
    best = (0, 0.0)
    slots = [*range(len(second)), *[None] * len(first)]
    for chosen in set(itertools.permutations(slots, len(first))):
        apart = [abs(first[i] - second[j]) for i, j in enumerate(chosen) if j is not None]
        if all(d <= caliper for d in apart):
            best = min(best, (-len(apart), sum(apart)))
    return -best[0], best[1]


@pytest.mark.parametrize("seed", range(12))
def test_matching_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(60, 75, 4).astype(float), rng.integers(60, 75, 5).astype(float)
    for a, b in ((first, second), (second[:4], first)):
        pairs = match_ages(a, b, 3.0)
        apart = np.abs(a[pairs[:, 0]] - b[pairs[:, 1]])
        assert (len(pairs), apart.sum()) == _best_matching(a, b, 3.0)
        assert all(len(np.unique(side)) == len(pairs) for side in pairs.T)


def test_a_second_pair_is_worth_a_larger_difference() -> None:
    """70-70 alone would be the closest; 70-67 and 73-70 are two."""
    pairs = match_ages(np.array([70.0, 73.0]), np.array([70.0, 67.0]), 3.0)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 1), (1, 0)]


def test_nobody_to_match_makes_no_pair() -> None:
    assert match_ages(np.array([]), np.array([60.0]), 3.0).shape == (0, 2)
    assert match_ages(np.array([80.0]), np.array([60.0, 83.1]), 3.0).shape == (0, 2)


def _aged(n: int = 300, per: int = 1, seed: int = 0, reads_age: bool = True):
    """Demented people are older; the logits read age alone, or disease alone."""
    rng = np.random.default_rng(seed)
    label = np.resize([0, 0, 1, 2, 0, 1], n)
    age = np.where(label > 0, rng.normal(76, 7, n), rng.normal(60, 14, n)).round().clip(18, 96)
    told = (age - 68) / 6 if reads_age else 2.0 * (label > 0) - 1
    odds = np.repeat(told, per) + 0.5 * rng.normal(size=n * per)
    logits = np.stack([np.zeros(n * per), odds, odds - 1], axis=1)
    names = np.array([f"S{i:03d}" for i in range(n)])
    rows = Predictions(np.repeat(label, per), logits, np.repeat(names, per))
    table = pd.DataFrame({"age": age, "sex": "F"}, index=names).sample(frac=1, random_state=seed)
    return take_rows(rows, rng.permutation(n * per)), table


def test_matching_unmasks_a_model_that_reads_age() -> None:
    found = confounding(*_aged(), 200)
    matched = found["age_matched"]
    assert found["all_ages"]["auc_demented"]["low"] > 0.75
    assert found["age_alone_auc"]["low"] > 0.75
    assert matched["available"]
    assert matched["n_pairs"] > 40
    assert matched["auc_demented"]["low"] < 0.55
    assert matched["age_alone_auc"]["value"] == pytest.approx(0.5, abs=0.05)
    assert abs(matched["age_difference"]["value"]) < 1
    assert matched["accuracy_demented"]["value"] == pytest.approx(0.5, abs=0.1)


def test_matching_spares_a_model_that_reads_disease() -> None:
    matched = confounding(*_aged(reads_age=False), 200)["age_matched"]
    assert matched["auc_demented"]["low"] > 0.95
    assert matched["accuracy_demented"]["low"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("per", [1, 3])
def test_matched_people_score_as_they_do_alone_and_pairs_are_resampled(per: int) -> None:
    rows, table = _aged(n=90, per=per)
    found = confounding(rows, table, 400, 4)["age_matched"]
    label = pd.Series(rows.labels, rows.subjects).groupby(level=0).first()
    people = table.assign(label=label).sort_index().sort_values("age", kind="stable")
    sides = people[people["label"] > 0], people[people["label"] == 0]
    pairs = match_ages(*(side["age"].to_numpy() for side in sides), 3.0)
    names = np.stack(
        [side.index.to_numpy()[chosen] for side, chosen in zip(sides, pairs.T, strict=True)], 1
    )
    assert found["n_pairs"] == len(names)
    own = take_rows(rows, np.isin(rows.subjects, names))
    assert found["auc_demented"]["value"] == pytest.approx(_auc(own))
    assert found["accuracy"]["value"] == pytest.approx((own.labels == own.predicted).mean())
    two = as_binary(own)
    assert found["accuracy_demented"]["value"] == pytest.approx(
        (two.labels == two.predicted).mean()
    )
    apart = table["age"][names[:, 0]].to_numpy() - table["age"][names[:, 1]].to_numpy()
    assert found["age_difference"]["value"] == pytest.approx(apart.mean())
    alone = roc_auc_score(np.repeat([1, 0], len(names)), table["age"][names.T.ravel()])
    assert found["age_alone_auc"]["value"] == pytest.approx(alone)
    # Intervals have the width of resampled pairs; the order of pairs is the code's own.
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(names), size=(400, len(names)))
    spread = np.percentile(apart[drawn].mean(axis=1), [2.5, 97.5])
    ends = [found["age_difference"][end] for end in ("low", "high")]
    np.testing.assert_allclose(ends, spread, atol=0.25)
    of_pair = [np.flatnonzero(np.isin(rows.subjects, pair)) for pair in names]
    aucs = [_auc(take_rows(rows, np.concatenate([of_pair[i] for i in d]))) for d in drawn[:150]]
    ends = [found["auc_demented"][end] for end in ("low", "high")]
    np.testing.assert_allclose(ends, np.percentile(aucs, [2.5, 97.5]), atol=0.06)


def test_nine_pairs_are_too_few() -> None:
    rows, table = _aged(n=60)
    label = pd.Series(rows.labels, rows.subjects)[table.index]
    order = label.groupby(label > 0).cumcount()
    age = np.where(label > 0, 80.0, np.where(order < 9, 78.0, 50.0))
    found = confounding(rows, table.assign(age=age), 20)
    reason = "9 pairs within 3 years; 10 are needed"
    assert found["age_matched"] == {"available": False, "reason": reason}
    found = confounding(rows, table.assign(age=np.where(order < 10, 80.0, age)), 20, 0, 1.5)
    assert found["age_matched"]["n_pairs"] == 10
    assert found["age_matched"]["caliper_years"] == 1.5


def test_the_young_are_left_out() -> None:
    rows, table = _aged(n=200, per=2)
    table.iloc[:20, 0] = np.nan
    table.iloc[20, 0] = 60.0
    found = confounding(rows, table, 50, 3)
    own = _of(rows, table, table["age"] >= 60)
    old = found["at_least_60"]
    assert old["n_people"] == own.n_people
    assert found["all_ages"]["n_people"] == 200
    expected = score(own, NAMES, [1, 1, 1], 50, 3)["metrics"]["balanced_accuracy"]
    assert old["balanced_accuracy"] == pytest.approx(expected)
    assert old["auc_demented"]["value"] == pytest.approx(_auc(own))
    everyone = score(rows, NAMES, [1, 1, 1], 50, 3)["metrics"]["balanced_accuracy"]
    assert found["all_ages"]["balanced_accuracy"] == pytest.approx(everyone)
    said = balanced_accuracy_score(rows.labels, rows.predicted)
    assert found["all_ages"]["balanced_accuracy"]["value"] == pytest.approx(said)
    known = table.dropna(subset="age")
    label = pd.Series(rows.labels, rows.subjects).groupby(level=0).first()[known.index]
    assert found["age_alone_auc"]["value"] == pytest.approx(roc_auc_score(label > 0, known["age"]))


def test_without_ages_only_all_people_are_scored() -> None:
    rows, table = _aged(n=60)
    found = confounding(rows, table.drop(columns="age"), 20)
    assert found["all_ages"]["n_people"] == 60
    reason = "0 people are known to be 60 or older; 10 are needed"
    assert found["at_least_60"] == {"available": False, "reason": reason}
    assert found["age_matched"]["reason"] == "0 pairs within 3 years; 10 are needed"
    assert found["age_alone_auc"] == {"value": None, "low": None, "high": None}
    json.dumps(found, allow_nan=False)


def test_old_people_without_a_class_have_no_balanced_accuracy() -> None:
    rows, table = _aged(n=120)
    label = pd.Series(rows.labels, rows.subjects)[table.index].to_numpy()
    found = confounding(rows, table.assign(age=np.where(label == 2, 50.0, 80.0)), 20)
    assert found["at_least_60"]["balanced_accuracy"]["value"] is None
    assert found["at_least_60"]["few_people"]
    assert not found["all_ages"]["few_people"]


def test_the_order_of_rows_changes_no_match() -> None:
    rows, table = _aged(n=120)
    order = np.random.default_rng(1).permutation(120)
    a, b = (confounding(r, table, 20)["age_matched"] for r in (rows, take_rows(rows, order)))
    for name in ("auc_demented", "accuracy", "age_difference"):
        assert a[name]["value"] == pytest.approx(b[name]["value"])


def test_sites_are_groups_the_largest_first_and_small_ones_together() -> None:
    rows, table = _cohort(180)
    names = np.array(["Q\u00b4<b>"] * 80 + ["North"] * 71 + ["East"] * 9 + ["West"] * 8)
    table["site"] = pd.Series(names.tolist() + [None] * 12, [f"S{i:03d}" for i in range(180)])
    small = np.isin(rows.subjects, table.index[table["site"].isin(["East", "West"])])
    rows = Predictions(rows.labels, np.where(small[:, None], -1, 1) * rows.logits, rows.subjects)
    found = subgroup_scores(rows, table, NAMES, 60, 5)
    groups = [(g["group"], g["n_people"]) for g in found["groups"] if g["factor"] == "site"]
    assert groups == [("Q\u00b4<b>", 80), ("North", 71), ("other sites", 17), ("unknown", 12)]
    own = _of(rows, table, table["site"] == "North")
    accuracy = _entry(found, "site", "North")["metrics"]["auc_demented"]["value"]
    assert accuracy == pytest.approx(_auc(own))
    for name in ("auc_demented", "accuracy"):
        apart = [_entry(found, "site", g)["metrics"][name]["value"] for g, _ in groups[:2]]
        assert found["gaps"]["site"][name]["value"] == pytest.approx(abs(np.diff(apart)[0]))


@pytest.mark.parametrize("site", [None, "North"])
def test_one_site_is_no_factor(site) -> None:
    rows, table = _cohort()
    found = subgroup_scores(rows, table.assign(site=site), NAMES, 60, 5)
    assert {group["factor"] for group in found["groups"]} == {"sex", "age"}
    assert list(found["gaps"]) == ["sex", "age"]
