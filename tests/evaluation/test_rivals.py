"""Rivals against scikit-learn's grid search, on people whose difference is planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from src.data.splits import make_folds
from src.evaluation.analyses import rivals as baselines
from src.evaluation.analyses.rivals import RIVALS, people_table, rival_predictions, rival_scores
from src.evaluation.metrics.scores import METRICS, score
from src.labels import STAGES, class_scheme, stage_from_cdr
from src.manifest import Manifest

CLASSES = ("NonDemented", "VeryMildDemented", "MildOrWorse")


@pytest.fixture
def one_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose nothing, for tests of what is done with the answers."""
    monkeypatch.setattr(baselines, "_choose_strength", lambda x, y: 0.1)


def _people(counts=(40, 25, 14), effect: float = 1.0, seed: int = 0):
    """Return a table of covariates and the labels: age and nWBV carry the class, others nothing."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(counts)), counts)
    rng.shuffle(label)
    names = [f"S{number:03d}" for number in rng.permutation(len(label))]
    table = pd.DataFrame(
        {
            "label": [STAGES[c] for c in label],
            "age": 70 + 8 * (0.3 * effect * label + rng.normal(size=len(label))),
            "sex": rng.integers(0, 2, len(label)).astype(float),
            "nwbv": 0.75 - 0.03 * (effect * label + rng.normal(size=len(label))),
            "etiv": rng.normal(1500, 150, len(label)),
            "mmse": np.clip(29 - 4 * label + rng.normal(size=len(label)), 0, 30),
        },
        index=pd.Index(names, name="subject"),
    )
    table["site"] = rng.choice(["North", "South", "East"], len(label), p=[0.5, 0.3, 0.2])
    return table, pd.Series(label, index=table.index)


def _dark(labels: pd.Series, columns: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    values = 0.2 + 0.03 * (labels.to_numpy()[:, None] + rng.normal(size=(len(labels), columns)))
    table = pd.DataFrame(values, labels.index, [f"dark_{c:02d}" for c in range(columns)])
    cells = {f"tissue_{c:04d}": values[:, c % columns] + 0.1 * c for c in range(30)}
    placed = {f"placed_{c:05d}": values[:, c % columns] for c in range(12)}
    return table.assign(csf_grey=values.sum(axis=1), **cells, **placed)


def _divisions(labels: pd.Series, folds: int = 3, repeats: int = 1):
    """(development, test) of `folds` parts, the people of a class dealt out."""
    made = []
    for repeat in range(repeats):
        order = labels.sample(frac=1, random_state=repeat).sort_values(kind="stable").index
        for fold in range(folds):
            test = order[fold::folds]
            made.append((tuple(order.difference(test)), tuple(test)))
    return made


def _by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in entries}


def _scores(table, labels, dark=None, **changes):
    counts = np.bincount(labels, minlength=3)
    settings = {"n_bootstrap": 50, **changes}
    return rival_scores(table, dark, labels, _divisions(labels), CLASSES, counts, **settings)


def _manifest(**columns) -> Manifest:
    return Manifest.from_columns(Path("nowhere"), **columns)


def test_a_person_has_the_first_values_known() -> None:
    table = people_table(
        _manifest(
            subject=["b", "b", "a", "c"],
            session=["MR2", "MR1", "MR1", "MR1"],
            path=["1", "2", "3", "4"],
            label=[STAGES[1], STAGES[0], None, STAGES[3]],
            age=[72, 70, None, 81.5],
            sex=["F", None, "M", "F"],
            nwbv=[0.7, None, None, 0.6],
            etiv=[1500, 1400, 1600, None],
            mmse=[29, 28, None, 0],
        )
    )
    assert table.columns.tolist() == ["label", "age", "sex", "nwbv", "etiv", "mmse", "site"]
    assert table.pop("site").isna().all()
    assert table.index.tolist() == ["a", "b", "c"]
    expected = [
        [np.nan, 1, np.nan, 1600, np.nan],
        [70, 0, 0.7, 1400, 28],
        [81.5, 0, 0.6, np.nan, 0],
    ]
    np.testing.assert_array_equal(table.iloc[:, 1:].to_numpy(dtype=float), expected)
    assert table["label"].tolist()[1:] == [STAGES[0], STAGES[3]]
    assert pd.isna(table.loc["a", "label"])
    assert {str(table[name].dtype) for name in table.columns[1:]} == {"float64"}


def test_a_manifest_without_covariates_has_a_table_of_unknowns() -> None:
    table = people_table(_manifest(subject=["a"], path=["1"], label=[STAGES[0]]))
    assert table.iloc[:, 1:].isna().all(axis=None)


@pytest.mark.usefixtures("one_strength")
def test_rows_stand_in_the_order_of_divisions_and_test_people() -> None:
    table, labels = _people()
    divisions = _divisions(labels, folds=3, repeats=2)
    rows = rival_predictions(table[["age", "nwbv"]], labels, divisions, 3)
    expected = [name for _, test in divisions for name in test]
    assert rows.subjects.tolist() == expected
    assert rows.labels.tolist() == labels.loc[expected].tolist()
    assert rows.n_people == len(labels)


def test_the_labels_of_test_people_change_no_answer() -> None:
    table, labels = _people()
    division = _divisions(labels)[:1]
    turned = labels.copy()
    turned.loc[list(division[0][1])] = 2 - turned.loc[list(division[0][1])]
    first, second = (
        rival_predictions(table[["age", "nwbv"]], y, division, 3) for y in (labels, turned)
    )
    assert (first.labels != second.labels).any()
    np.testing.assert_array_equal(first.logits, second.logits)


def test_other_test_people_change_no_answer() -> None:
    """Medians, means and scales come from the development people alone."""
    table, labels = _people()
    development, test = _divisions(labels)[0]
    table.loc[test[0], "age"] = np.nan
    table.loc[test[1], "age"] = 1e4
    x = table[["age", "nwbv"]]
    every = rival_predictions(x, labels, [(development, test)], 3)
    alone = rival_predictions(x, labels, [(development, test[:1])], 3)
    np.testing.assert_allclose(every.logits[:1], alone.logits)


@pytest.mark.slow
@pytest.mark.parametrize(("counts", "seed"), [((70, 20), 12), ((60, 40, 20), 13)])
def test_the_strength_and_the_fit_agree_with_scikit_learns_grid_search(counts, seed: int) -> None:
    """In these people the log-loss in which classes do not weigh the same chooses another one."""
    table, labels = _people(counts, effect=0.3, seed=seed)
    development, test = _divisions(labels)[0]
    table.loc[development[5], "age"] = np.nan
    x = table[["age", "sex", "nwbv", "etiv"]]
    a, y = x.loc[list(development)].to_numpy(), labels.loc[list(development)].to_numpy()
    weight = 1 / np.bincount(y)

    def balanced(model, held, truth) -> float:
        said = model.predict_proba(held)
        return -log_loss(truth, said, sample_weight=weight[truth], normalize=False)

    # lbfgs: another solver than the one under test.
    fit = LogisticRegression(class_weight="balanced", max_iter=5000, tol=1e-8)
    search = GridSearchCV(
        make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), fit),
        {"logisticregression__C": baselines.GRID},
        scoring=balanced,
        cv=PredefinedSplit(baselines.deal(y)),
    ).fit(a, y)
    rows = rival_predictions(x, labels, [(development, test)], len(counts))
    expected = search.predict_proba(x.loc[list(test)].to_numpy())
    np.testing.assert_allclose(rows.probabilities, expected, atol=1e-4)


def test_inner_folds_deal_out_every_class() -> None:
    y = np.array([0] * 23 + [1] * 11 + [2] * 2)
    part = baselines.deal(np.random.default_rng(0).permutation(y))
    shuffled = np.random.default_rng(0).permutation(y)
    for c in range(3):
        counts = np.bincount(part[shuffled == c], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(part)) <= 1


@pytest.mark.usefixtures("one_strength")
def test_classes_weigh_the_same() -> None:
    """Columns of noise: the answers follow no majority, and the AUC stays at one half."""
    table, labels = _people((150, 50, 20), effect=0)
    rows = rival_predictions(table[["sex", "etiv"]], labels, _divisions(labels), 3)
    assert np.bincount(rows.predicted, minlength=3).max() < 0.75 * len(labels)
    assert rows.probabilities.mean(axis=0).tolist() == pytest.approx([1 / 3] * 3, abs=0.05)


@pytest.mark.usefixtures("one_strength")
def test_what_is_planted_is_found() -> None:
    table, labels = _people((60, 60, 60), effect=2.0)
    rows = rival_predictions(table[["age", "nwbv"]], labels, _divisions(labels), 3)
    assert balanced_accuracy_score(rows.labels, rows.predicted) > 0.7
    shuffled = labels.sample(frac=1, random_state=0).set_axis(labels.index)
    rows = rival_predictions(table[["age", "nwbv"]], shuffled, _divisions(shuffled), 3)
    assert balanced_accuracy_score(rows.labels, rows.predicted) < 0.48


@pytest.mark.slow
@pytest.mark.parametrize("rare", [1, 2])
def test_a_class_of_few_people_is_answered_for(rare: int) -> None:
    table, labels = _people((30, 25, rare))
    rows = rival_predictions(table[["age", "nwbv"]], labels, _divisions(labels, folds=2), 3)
    assert len(rows.labels) == 55 + rare
    assert np.isfinite(rows.logits).all()


def test_a_class_absent_from_training_is_very_unlikely() -> None:
    table, labels = _people((20, 15, 4))
    rest = labels.index[labels < 2]
    rows = rival_predictions(table[["age"]], labels, [(rest, labels.index[labels == 2])], 3)
    assert rows.probabilities[:, 2] == pytest.approx(1e-6, rel=1e-3)
    assert rows.probabilities[:, :2].sum(axis=1) == pytest.approx(1)


def test_absent_classes_in_the_middle_keep_their_place() -> None:
    table, labels = _people((30, 30), effect=3)
    labels = labels * 2  # classes 0 and 2
    rows = rival_predictions(table[["nwbv"]], labels, _divisions(labels), 3)
    assert set(rows.predicted) == {0, 2}
    assert balanced_accuracy_score(rows.labels, rows.predicted) > 0.8


@pytest.mark.parametrize("n", [1, 5])
def test_training_of_one_class_says_that_class(n: int) -> None:
    table, labels = _people((n, 3, 3))
    one = labels.index[labels == 0]
    rows = rival_predictions(table[["age"]], labels, [(one, labels.index[labels > 0])], 3)
    assert (rows.predicted == 0).all()


def test_a_perfectly_separating_column_gives_finite_scores() -> None:
    table, labels = _people((30, 30, 30))
    table["age"] = 40.0 + 20 * labels
    rows = rival_predictions(table[["age"]], labels, _divisions(labels, folds=2), 3)
    assert (rows.predicted == rows.labels).all()
    assert np.isfinite(rows.logits).all()


def test_a_missing_value_counts_as_the_median_of_training() -> None:
    table, labels = _people()
    development, test = _divisions(labels)[0]
    known = table[["age", "nwbv"]].copy()
    known.loc[test[3], "age"] = known.loc[list(development), "age"].median()
    unknown = known.copy()
    unknown.loc[test[3], "age"] = np.nan
    rows = [rival_predictions(x, labels, [(development, test)], 3) for x in (known, unknown)]
    np.testing.assert_allclose(rows[0].logits, rows[1].logits)


@pytest.mark.filterwarnings("error")
def test_a_column_that_training_lacks_says_nothing() -> None:
    table, labels = _people((20, 15, 12))
    development, test = _divisions(labels)[0]
    table.loc[list(development), "mmse"] = np.nan
    rows = rival_predictions(table[["mmse"]], labels, [(development, test)], 3)
    assert rows.probabilities == pytest.approx(np.full((len(test), 3), 1 / 3))


@pytest.mark.usefixtures("one_strength")
def test_every_rival_is_listed_and_scored_like_the_network() -> None:
    table, labels = _people()
    entries, found = _scores(table, labels, _dark(labels), seed=4)
    assert [entry["name"] for entry in entries] == [rival.name for rival in RIVALS]
    assert list(found) == [rival.name for rival in RIVALS]
    for entry in entries:
        assert entry["available"]
        assert entry["n_people"] == len(labels)
        assert list(entry["metrics"]) == list(METRICS)
        expected = score(found[entry["name"]], CLASSES, [1, 1, 1], 50, 4)["metrics"]
        assert entry["metrics"] == expected
    named = _by_name(entries)
    assert [name for name in named if named[name]["upper_reference"]] == ["mmse"]
    assert named["table"]["title"] == "age, sex, nWBV, eTIV"
    assert named["table"]["columns"] == ["age", "sex", "nwbv", "etiv"]
    assert named["dark_voxels"]["columns"] == [f"dark_{c:02d}" for c in range(5)]
    assert named["csf_grey"]["columns"] == ["csf_grey"]
    assert named["tissue_maps"]["columns"] == ["tissue_0000 to tissue_0029"]
    assert named["placed_features"]["columns"] == ["placed_00000 to placed_00011"]
    raw = roc_auc_score(labels > 0, _dark(labels)["csf_grey"])
    assert f"without any fit its AUC of demented is {raw:.3f}" in named["csf_grey"]["note"]
    assert "upper reference" in named["mmse"]["note"]
    json.dumps(entries, allow_nan=False)


@pytest.mark.usefixtures("one_strength")
def test_each_rival_sees_its_own_columns() -> None:
    table, labels = _people()
    _, before = _scores(table, labels, _dark(labels))
    table["mmse"] = table["mmse"].to_numpy()[::-1]
    table["etiv"] = table["etiv"].to_numpy()[::-1]
    _, after = _scores(table, labels, _dark(labels))
    same = {name: np.array_equal(before[name].logits, after[name].logits) for name in before}
    changed = {rival.name for rival in RIVALS if {"mmse", "etiv"} & set(rival.columns)}
    assert {"table", "mmse"} <= changed
    assert same == {rival.name: rival.name not in changed for rival in RIVALS}


def test_the_site_of_scans_is_a_rival() -> None:
    table, labels = _people((60, 30, 20))
    table["site"] = np.where(labels == 0, "North", "South")
    table.iloc[:5, table.columns.get_loc("site")] = None
    entry = _by_name(_scores(table, labels)[0])["site"]
    assert entry["columns"] == ["site"]
    assert entry["imputed"] == 5
    assert entry["metrics"]["auc_demented"]["value"] > 0.9
    nowhere = table.assign(site=None)
    assert _by_name(_scores(nowhere, labels)[0])["site"]["reason"] == "the manifest has no sites"


def test_of_a_site_that_training_has_not_nothing_is_said() -> None:
    table, labels = _people((40, 40, 20))
    table["site"] = np.where(labels == 0, "North", "South")
    new = labels.index[::4]
    known = table["site"].copy()
    known.loc[new] = "East"
    rows = rival_predictions(known.to_frame(), labels, [(labels.index.difference(new), new)], 3)
    assert len(np.unique(rows.logits.round(9), axis=0)) == 1
    rows = rival_predictions(table[["site"]], labels, [(labels.index.difference(new), new)], 3)
    assert len(np.unique(rows.logits.round(9), axis=0)) == 2


@pytest.mark.usefixtures("one_strength")
def test_repeats_give_several_rows_of_a_person() -> None:
    table, labels = _people((20, 15, 12))
    divisions = _divisions(labels, folds=2, repeats=3)
    entries, found = rival_scores(table, None, labels, divisions, CLASSES, [1, 1, 1], 20)
    assert entries[0]["n_people"] == 47
    assert len(found["age_sex"].labels) == 3 * 47


@pytest.mark.usefixtures("one_strength")
def test_a_rival_without_its_columns_says_why() -> None:
    table, labels = _people()
    table[["age", "sex"]] = np.nan
    table["site"] = "North"
    entries, found = _scores(table, labels)
    named = _by_name(entries)
    assert not any(entry["available"] for entry in entries)
    assert named["age_sex"]["reason"] == named["mmse"]["reason"] == "the manifest has no ages"
    for name in ("dark_voxels", "csf_grey", "tissue_maps"):
        assert named[name]["reason"] == "the processed images were not measured"
    assert named["site"]["reason"] == "there is one site only: North"
    assert found == {}
    assert all("metrics" not in entry for entry in entries)
    json.dumps(entries, allow_nan=False)


@pytest.mark.usefixtures("one_strength")
@pytest.mark.parametrize(("missing", "available"), [(7, True), (8, False)])
def test_a_column_may_be_missing_for_a_tenth_of_the_people(missing: int, available: bool) -> None:
    table, labels = _people((40, 25, 14))  # 79 people
    table.iloc[:missing, table.columns.get_loc("nwbv")] = np.nan
    table.iloc[2:5, table.columns.get_loc("etiv")] = np.nan
    named = _by_name(_scores(table, labels)[0])
    head = named["table"]
    assert named["age_sex"]["imputed"] == 0
    assert head["available"] is available
    if available:
        assert head["imputed"] == 7  # people, not values
    else:
        assert head["reason"] == "nWBV values are missing for 8 of 79 people"


@pytest.mark.usefixtures("one_strength")
def test_only_people_of_the_divisions_count() -> None:
    table, labels = _people()
    rated = labels.iloc[:60]
    table.iloc[60:, 1:] = np.nan
    entries, _ = _scores(table, rated)
    assert _by_name(entries)["mmse"]["n_people"] == 60
    assert _by_name(entries)["mmse"]["imputed"] == 0


@pytest.mark.usefixtures("one_strength")
def test_people_whose_images_were_not_measured_are_counted() -> None:
    table, labels = _people()
    dark = _dark(labels)
    some, few = (_by_name(_scores(table, labels, dark.iloc[n:])[0]) for n in (3, 30))
    assert some["dark_voxels"]["imputed"] == 3
    assert few["tissue_maps"]["reason"] == "tissue maps are missing for 30 of 79 people"
    reason = few["dark_voxels"]["reason"]
    assert reason == "dark_00 values are missing for 30 of 79 people"


@pytest.mark.usefixtures("one_strength")
def test_a_table_without_a_column_has_no_such_values() -> None:
    table, labels = _people()
    entries, _ = _scores(table.drop(columns="mmse"), labels)
    assert _by_name(entries)["mmse"]["reason"] == "the manifest has no MMSE scores"
    assert _by_name(entries)["table"]["available"]


def test_the_same_input_gives_the_same_result() -> None:
    table, labels = _people((15, 12, 10))
    x, divisions = table[["age", "nwbv"]], _divisions(labels)[:1]
    first, second = (rival_predictions(x, labels, divisions, 3).logits for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_the_oasis_table_scores_as_published_in_the_project(real_data: Path) -> None:
    """Five folds of the 198 rated people of at least 60 years; 25 give .52 and .68."""
    table = pd.read_csv(real_data / "oasis" / "oasis_cross-sectional.csv")
    table = table[table["CDR"].notna() & (table["Age"] >= 60)]
    manifest = Manifest.from_columns(
        real_data,
        subject=table["ID"].str[:9],
        path=table["ID"],
        label=table["CDR"].map(stage_from_cdr),
        age=table["Age"],
        sex=table["M/F"],
        nwbv=table["nWBV"],
        etiv=table["eTIV"],
    )
    people = people_table(manifest)
    assert people["sex"].sum() == (table["M/F"] == "M").sum()
    labels = people["label"].map(class_scheme(3).index)
    folds = make_folds(manifest, folds=5, repeats=1, val_fraction=0.2, seed=0)
    divisions = [(fold.development, fold.test) for fold in folds]
    rows = rival_predictions(people[["age", "sex", "nwbv", "etiv"]], labels, divisions, 3)
    assert 0.45 < balanced_accuracy_score(rows.labels, rows.predicted) < 0.58
    auc = roc_auc_score(rows.labels, rows.probabilities, multi_class="ovr")
    assert 0.63 < auc < 0.73
