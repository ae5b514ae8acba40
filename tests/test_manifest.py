"""The table contract: what is refused, what comes back, and what no split may do."""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pytest

from src.errors import DataNotFoundError, LeakageError, ManifestError
from src.manifest import COLUMNS, SAME_PEOPLE, Manifest


def rows(**columns):
    """Return three slices of two people, with `columns` in place of the defaults."""
    table = {
        "cohort": ["phantom"] * 3,
        "subject": ["P1", "P1", "P2"],
        "session": ["MR1"] * 3,
        "slice": [1, 2, 1],
        "path": ["a.png", "b.png", "c.png"],
        "label": ["NonDemented", "NonDemented", None],
        "split": ["train", "train", "test"],
        "age": [70.5, 70.5, None],
        "fingerprint": ["f1", "f2", "f3"],
    }
    return table | columns


def manifest(root=".", stamps=(), **columns):
    return Manifest(pd.DataFrame(rows(**columns)), root, stamps)


def test_what_is_written_is_read_again(tmp_path):
    first = manifest(tmp_path)
    first.write(tmp_path)
    pd.testing.assert_frame_equal(Manifest.read(tmp_path).table, first.table)
    assert list(first.table) == list(COLUMNS)


def test_a_person_called_na_is_a_person(tmp_path):
    manifest(tmp_path, subject=["NA", "NA", "null"]).write(tmp_path)
    assert Manifest.read(tmp_path).table["subject"].tolist() == ["NA", "NA", "null"]


def test_not_rated_stays_not_rated(tmp_path):
    manifest(tmp_path).write(tmp_path)
    assert Manifest.read(tmp_path).table["label"].isna().tolist() == [False, False, True]


def test_stamps_come_from_the_settings_beside_the_table(tmp_path):
    manifest(tmp_path).write(tmp_path)
    (tmp_path / "preprocessing.json").write_text('{"stamps": ["people unknown"]}', encoding="utf-8")
    assert Manifest.read(tmp_path).stamps == ("people unknown",)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"subject": ["P1", None, "P2"]}, "subject or path is empty"),
        ({"slice": [1, 1, 1]}, "same cohort, subject, session and slice.*2 rows"),
        ({"label": ["Healthy", None, None]}, "label is none of"),
        ({"split": ["training", None, None]}, "split is none of"),
        ({"sex": ["F", "X", "M"]}, "sex is neither F nor M"),
        ({"mmse": [29, 31, 30]}, "MMSE is not in 0 to 30"),
        ({"age": [126, 70, 70]}, "age is not in 0 to 125"),
        ({"age": ["old", 70, 70]}, "'age' has a value that is no number"),
        ({"slice": [1.5, 2, 1]}, "'slice' has a value that is no number"),
        ({"path": ["/etc/passwd", "b", "c"]}, "leaves the manifest's folder"),
        ({"path": ["../a.png", "b", "c"]}, "leaves the manifest's folder"),
        ({"path": ["x\\..\\a.png", "b", "c"]}, "leaves the manifest's folder"),
        ({"path": ["C:/a.png", "b", "c"]}, "leaves the manifest's folder"),
        ({"weight": [60, 70, 80]}, "unknown column 'weight'"),
    ],
)
def test_broken_contracts_are_named(columns, says):
    with pytest.raises(ManifestError, match=says):
        manifest(**columns)


def test_a_table_without_people_is_refused():
    with pytest.raises(ManifestError, match="column 'subject' is missing"):
        Manifest(pd.DataFrame({"path": ["a"]}), ".")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a CSV table"),
        (b"subject,path\na,b\na,b,c\n", "not a CSV table"),
        (b"\xff\xfe\x00", "not a CSV table"),
        (b"<html>", "'subject' is missing"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, content, says):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=says):
        Manifest.read(tmp_path)


def test_a_missing_table_names_the_command(tmp_path):
    with pytest.raises(DataNotFoundError, match="--mode preprocess --dataset oasis_2d"):
        Manifest.read(tmp_path / "oasis_2d")


def test_one_person_on_two_sides_is_a_leak():
    with pytest.raises(LeakageError, match=r"1 person on both sides.*P1") as error:
        manifest(split=["train", "val", "test"]).check_disjoint()
    assert error.value.hint == "split by person, as --mode preprocess does"


def test_one_file_on_two_sides_is_a_leak():
    with pytest.raises(LeakageError, match=r"1 identical file.*a\.png, c\.png"):
        manifest(fingerprint=["f1", "f2", "f1"]).check_disjoint()


def test_rows_without_a_split_or_fingerprint_leak_nothing():
    manifest(split=["train", None, "test"], fingerprint=[None] * 3).check_disjoint()


def test_the_stamp_passes_what_was_split_so_on_purpose():
    manifest(stamps=(SAME_PEOPLE,), split=["train", "val", "test"]).check_disjoint()


def test_partition_keeps_a_reason_for_each_removed_row():
    whole = manifest()
    kept, removed = whole.partition(whole.table["label"].notna(), "not rated")
    assert len(kept) == 2
    assert removed["reason"].tolist() == ["not rated"]
    assert removed["subject"].tolist() == ["P2"]


def test_min_age_removes_the_young_and_those_of_unknown_age():
    kept, removed = manifest(age=[59.9, 60, None]).at_least_age(60)
    assert kept.table["age"].tolist() == [60]
    assert removed["reason"].tolist() == ["age 59.9 under 60", "age unknown"]


def test_min_age_without_any_age_is_refused():
    with pytest.raises(ManifestError, match=r"no row of . has an age"):
        manifest(age=[None] * 3).at_least_age(60)


def test_no_min_age_removes_nobody():
    kept, removed = manifest(age=[None] * 3).at_least_age(0)
    assert (len(kept), len(removed)) == (3, 0)
    assert "reason" in removed


def test_people_are_one_row_each_with_the_first_label_known():
    people = manifest(label=[None, "MildDemented", None]).people()
    assert people.index.tolist() == ["P1", "P2"]
    assert people.loc["P1", "label"] == "MildDemented"


def test_a_split_is_its_rows():
    assert manifest().in_split("train").table["path"].tolist() == ["a.png", "b.png"]


def leaves_root(path):
    """The plain way: by the parts of a path."""
    parts = PurePosixPath(path.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or not parts.parts or ":" in parts.parts[0]


@pytest.mark.slow
def test_paths_that_leave_the_folder_are_those_whose_parts_do():
    rng = np.random.default_rng(0)
    paths = ["".join(rng.choice(list("./\\:a\n"), rng.integers(1, 8))) for _ in range(150)]
    refused = []
    for path in paths:
        try:
            Manifest(pd.DataFrame({"subject": ["P"], "path": [path]}), ".")
        except ManifestError:
            refused.append(path)
    assert refused == [path for path in paths if leaves_root(path)]
    assert 40 < len(refused) < 140


def test_some_rows_and_other_columns_are_what_a_new_table_would_be():
    """Rows of a checked table are not checked again: nothing else may differ."""
    whole = manifest(slice=[1, None, 2], session=["MR1", None, "MR2"])
    mask = pd.Series([True, False, True])
    again = Manifest(whole.table[mask], ".")
    pd.testing.assert_frame_equal(whole.where(mask).table, again.table)
    other = {"split": [None, "val", "test"], "fold": 3, "age": ["70", None, "81.5"]}
    again = Manifest(whole.table.assign(**other), ".")
    pd.testing.assert_frame_equal(whole.with_columns(**other).table, again.table)
    assert whole.table["split"].tolist() == ["train", "train", "test"]  # and is left as it was
    stamped = manifest(stamps=("a",)).with_stamps("b")
    assert stamped.stamps == stamped.where(mask).stamps == ("a", "b")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"split": ["train", "left", None]}, "split is none of"),
        ({"fold": ["a", "b", "c"]}, "'fold' has a value that is no number"),
        ({"slice": 1, "subject": "P"}, "same cohort, subject, session and slice.*3 rows"),
        ({"subject": ["P1", None, "P2"]}, "subject or path is empty"),
        ({"path": ["a", "/b", "c"]}, "leaves the manifest's folder"),
        ({"weight": 1}, "unknown column 'weight'"),
    ],
)
def test_other_columns_are_checked(columns, says):
    with pytest.raises(ManifestError, match=says):
        manifest().with_columns(**columns)


@pytest.mark.parametrize("seed", range(5))
def test_min_age_gives_each_removed_row_its_reason(seed):
    rng = np.random.default_rng(seed)
    ages = [None if rng.random() < 0.3 else float(age) for age in rng.uniform(40, 80, 30)]
    table = pd.DataFrame({"subject": [str(i) for i in range(30)], "age": ages}).assign(path="p")
    whole = Manifest(table, ".")
    _, removed = whole.at_least_age(60)
    rows = [row for _, row in whole.table.iterrows() if pd.isna(row["age"]) or row["age"] < 60]
    expected = [
        "age unknown" if pd.isna(row["age"]) else f"age {row['age']:g} under 60" for row in rows
    ]
    assert removed["reason"].tolist() == expected
    assert removed["subject"].tolist() == [row["subject"] for row in rows]
