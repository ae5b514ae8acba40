"""Splits: one side per person, every stage where it can be, the same again."""

import hashlib

import pandas as pd
import pytest

from src.data.splits import cut_validation, keep_official_split, split_by_person
from src.labels import STAGES
from src.manifest import ORIGIN, SAME_PEOPLE, Manifest, count_people


def cohort(people=(20, 10, 6, 3), sessions=2, unrated=4, split=None):
    """Return `people` of each stage, each with `sessions` rows; the second ones are not rated."""
    rows = []
    for stage, count in enumerate([*people, unrated]):
        label = STAGES[stage] if stage < len(STAGES) else None
        for number in range(count):
            subject = f"S{stage}{number:03d}"
            for session in range(sessions):
                rows.append((subject, f"MR{session + 1}", label if session == 0 else None))
    table = pd.DataFrame(rows, columns=["subject", "session", "label"])
    return Manifest(table.assign(path=table["subject"] + table["session"], split=split), ".")


def divide(manifest, seed=0):
    return split_by_person(manifest, val_fraction=0.15, test_fraction=0.2, seed=seed)


def test_all_rows_of_a_person_are_on_one_side():
    table = divide(cohort()).table
    rated = table[~table["subject"].str.startswith("S4")]
    assert (rated.groupby("subject")["split"].nunique(dropna=False) == 1).all()
    assert rated["split"].notna().all()


def test_people_without_a_rating_are_on_no_side():
    table = divide(cohort()).table
    assert table.loc[table["subject"].str.startswith("S4"), "split"].isna().all()


def test_every_stage_is_shared_out():
    counts = count_people(divide(cohort()))
    assert counts.to_numpy().tolist() == [[13, 3, 4], [6, 2, 2], [4, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(("count", "expected"), [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1])])
def test_few_people_go_to_train_first_then_test(count, expected):
    counts = count_people(divide(cohort((count, 0, 0, 0))))
    assert counts.loc["NonDemented"].tolist() == expected


def test_the_order_of_rows_does_not_matter_and_the_seed_does():
    first = cohort()
    turned = Manifest(first.table.iloc[::-1], ".")

    def sides(manifest, seed=0):
        return divide(manifest, seed).table.groupby("subject")["split"].first().to_dict()

    assert sides(first) == sides(turned)
    assert sides(first) != sides(first, seed=1)


def test_the_official_split_keeps_test_is_cut_by_image_and_stamped():
    official = cohort(sessions=1, unrated=0, split="train")
    table = official.table.copy()
    table.loc[::3, "split"] = "test"
    result = keep_official_split(Manifest(table, "."), val_fraction=0.2, seed=0)
    assert (result.table["split"] == "test").equals(table["split"] == "test")
    per_stage = result.table[result.table["split"] == "val"]["label"].value_counts()
    assert set(per_stage.index) == set(STAGES)
    assert result.stamps == (SAME_PEOPLE,)


def test_validation_is_cut_from_training_people_only():
    table = cohort(sessions=1, unrated=0, split="train").table
    table.loc[::3, "split"] = "test"
    cut = cut_validation(Manifest(table, "."), fraction=0.2, seed=0)
    cut.check_disjoint()
    assert (cut.table["split"] == "test").equals(table["split"] == "test")
    assert count_people(cut)["val"].tolist() == [3, 1, 1, 1]
    again = cut_validation(Manifest(table, "."), fraction=0.2, seed=0)
    pd.testing.assert_frame_equal(cut.table, again.table)


def uneven():
    """Return people with one to three sessions, of which one is rated, and a downloaded split."""
    rows = [
        (f"S{stage}{n:03d}", f"MR{s + 1}", STAGES[stage] if s == n % 2 else None, n % 4 == 0)
        for stage, count in enumerate((37, 23, 11, 3))
        for n in range(count)
        for s in range(n % 3 + 1)
    ]
    table = pd.DataFrame(rows, columns=["subject", "session", "label", "split"])
    table["split"] = table["split"].map({True: "test", False: "train"})
    return Manifest(table.assign(path=table["subject"] + table["session"]), ".")


@pytest.mark.parametrize(
    ("divided", "expected"),
    [
        (lambda m: split_by_person(m, val_fraction=0.15, test_fraction=0.2, seed=7), "2fc7d2b6"),
        (lambda m: keep_official_split(m, val_fraction=0.15, seed=7), "0842c024"),
        (lambda m: cut_validation(m, fraction=0.2, seed=7), "9b67a7bb"),
    ],
)
def test_splits_of_existing_data_sets_stay_what_they_are(divided, expected):
    """A change of these hashes would divide data sets anew that people already have."""
    since = ["day", "rating_days", "diagnosis", *ORIGIN]  # columns that were not there then
    table = divided(uneven()).table.drop(columns=since)
    text = table.to_csv(index=False, lineterminator="\n")
    assert hashlib.blake2b(text.encode(), digest_size=8).hexdigest()[:8] == expected
