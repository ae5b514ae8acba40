"""Both public 2D sets in small: names decide; pixels only where names fail."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.cohorts import named_copies
from src.cohorts.kaggle_jpg import COHORT, index_kaggle_jpg
from src.cohorts.kaggle_names import recover_people
from src.cohorts.named_copies import find_copies
from src.cohorts.oasis_table import UNRATED_AS_HEALTHY
from src.cohorts.registry import COHORT_REGISTRY
from src.errors import DataNotFoundError, ManifestError
from src.manifest import PEOPLE_UNKNOWN

REAL = Path(__file__).parents[3] / "shared" / "data"
PREFIX = {"NonDemented": "nonDem", "MildDemented": "mildDem"}


def touch(path: Path, seed: int = 0) -> None:
    """Write a small picture, unlike every other seed's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (26, 22), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)


def class_names(n: int, shared: set[int]) -> tuple[list[str], list[str], dict[str, tuple]]:
    """Name a class of `n` people as the set does: train names, test names, name -> truth.

    `shared` are the people whose slice 26 is in test.
    """
    truth, test = {}, []
    order = [str(person) for person in range(2, n + 1)]
    order = [int(person) for person in sorted(order)] + [1]
    for number in range(26, 33):
        for person in sorted(shared) if number == 26 else range(1, n + 1):
            name = f"{number}.jpg" if person == 1 else f"{number} ({person}).jpg"
            test.append(name)
            truth[name] = (person, number)
    places = [(person, number) for number in range(1, 27) for person in order]
    places = [place for place in places if place[1] < 26 or place[0] not in shared]
    train = [f"nonDem{i}.jpg" for i in range(len(places))]
    truth |= dict(zip(train, places, strict=True))
    return train, test, truth


def make_set(root: Path, sizes: dict[str, int], *, sides: bool = True) -> None:
    """Write a set of empty files: indexing by name opens none."""
    for stage, n in sizes.items():
        train, test, _ = class_names(n, {1, n})
        for side, names in (("train", train), ("test", test)):
            folder = root / side / stage if sides else root / stage
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                (folder / name.replace("nonDem", PREFIX[stage])).touch()


@pytest.mark.parametrize(("n", "shared"), [(1, set()), (2, set()), (3, {2}), (12, {1, 2, 10, 12})])
def test_rule_places_every_file(n, shared):
    train, test, truth = class_names(n, shared)
    names = [*test, *train]
    found = recover_people([name.removesuffix(".jpg") for name in names])
    assert found == [truth[name] for name in names]


def test_running_numbers_follow_the_text_order_of_people():
    train, test, _ = class_names(12, set())
    found = recover_people([name.removesuffix(".jpg") for name in [*train, *test]])
    assert [person for person, _ in found[:12]] == [10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9, 1]
    assert {number for _, number in found[:12]} == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: names[1:], "expected a multiple of 32 files, found 95"),
        (lambda names: ["99 (2)", *names[1:]], r"people 1 to 3, found '99 \(2\)'"),
        (lambda names: [*names[:-1], "32 (4)"], r"people 1 to 3, found '32 \(4\)'"),
        (lambda names: ["26 (2)", "26 (3)", *names[2:-1], "nonDem0"], "slice 32 of 3 people"),
        (lambda names: ["nonDem999", *names[1:]], "running numbers 0 to 77, found 78 from 1 to"),
        (lambda names: ["nonDem5", *names[1:]], "found 'nonDem5' and 'nonDem5'"),
        (lambda names: [*names[:-1], "32 (2)"], r"found '32 \(2\)' and '32 \(2\)'"),
        (lambda names: ["IMG-0001", *names[1:]], "found 'IMG-0001'"),
    ],
)
def test_rule_says_what_does_not_fit(change, message):
    train, test, _ = class_names(3, set())
    names = [name.removesuffix(".jpg") for name in [*train, *test]]
    with pytest.raises(ManifestError, match=message):
        recover_people(change(names))


@pytest.mark.parametrize("wrapper", ["", "Alzheimer_s Dataset"])
def test_set_with_train_and_test(tmp_path, wrapper):
    make_set(tmp_path / wrapper, {"NonDemented": 12, "MildDemented": 3})
    manifest = index_kaggle_jpg(tmp_path)
    rows = manifest.table.set_index("path")
    assert len(rows) == 15 * 32
    assert manifest.stamps == ()
    assert (rows.groupby("subject")["slice"].agg(lambda s: sorted(s) == [*range(1, 33)])).all()
    prefix = f"{wrapper}/" if wrapper else ""
    row = rows.loc[f"{prefix}train/NonDemented/nonDem12.jpg"]
    assert (row["subject"], row["slice"], row["session"]) == ("NonDemented_010", 2, "MR1")
    assert (row["label"], row["split"], row["cohort"]) == ("NonDemented", "train", COHORT)
    assert rows.loc[f"{prefix}test/MildDemented/27 (3).jpg", "subject"] == "MildDemented_003"
    assert rows.loc[f"{prefix}test/MildDemented/27.jpg", "split"] == "test"


def test_set_without_train_and_test_has_no_split(tmp_path):
    make_set(tmp_path, {"NonDemented": 3}, sides=False)
    manifest = index_kaggle_jpg(tmp_path)
    assert manifest.table["split"].isna().all()
    assert manifest.table["subject"].nunique() == 3


def test_folder_and_suffix_may_be_spelt_otherwise(tmp_path):
    make_set(tmp_path, {"NonDemented": 1})
    (tmp_path / "train" / "NonDemented").rename(tmp_path / "train" / "non_demented")
    odd = tmp_path / "test" / "NonDemented" / "27.jpg"
    odd.rename(odd.with_suffix(".JPEG"))
    (tmp_path / "train" / "non_demented" / ".hidden.jpg").touch()
    assert index_kaggle_jpg(tmp_path).table["subject"].tolist() == ["NonDemented_001"] * 32


def test_one_class_that_does_not_fit_makes_all_people_unknown(tmp_path, caplog):
    make_set(tmp_path, {"NonDemented": 1, "MildDemented": 1})
    for i, path in enumerate(sorted(tmp_path.rglob("*.jpg"))):
        touch(path, seed=i)
    (tmp_path / "train" / "MildDemented" / "mildDem3.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        manifest = index_kaggle_jpg(tmp_path)
    assert manifest.stamps == (PEOPLE_UNKNOWN,)
    assert manifest.table["subject"].str.fullmatch(r"CLUSTER_\d{4}").all()
    assert len(manifest) == 63
    assert set(manifest.table["split"]) == {"train", "test"}
    assert len(caplog.records) == 1
    assert "MildDemented: expected a multiple of 32 files, found 31" in caplog.text


def test_clusters_number_their_slices_from_one(tmp_path):
    for name in ("a", "b", "c"):
        touch(tmp_path / "NonDemented" / f"{name}.png", seed=0)
    table = index_kaggle_jpg(tmp_path).table
    assert table["subject"].tolist() == ["CLUSTER_0001"] * 3
    assert table["slice"].tolist() == [1, 2, 3]


def write_contents(root: Path) -> None:
    """Give every file bytes of its own, all of one length."""
    for i, path in enumerate(sorted(root.rglob("*.jpg"))):
        path.write_bytes(f"picture {i:06d}".encode())


def copy_file(path: Path, name: str) -> None:
    (path.parent / name).write_bytes(path.read_bytes())


COPIES = [
    ("test", "27.jpg", "27 (1).jpg"),
    ("test", "27.jpg", "27 (101).jpg"),
    ("test", "28 (3).jpg", "28 (3) (1).jpg"),
    ("test", "29.jpg", "29 - Copy.jpg"),
    ("test", "30 (2).jpg", "Copy of 30 (2).jpg"),
    ("train", "mildDem5.jpg", "mildDem5 (1).jpg"),
]


@pytest.mark.parametrize(("side", "name", "copy"), COPIES)
def test_a_copy_under_another_name_is_left_out(tmp_path, caplog, side, name, copy):
    make_set(tmp_path, {"NonDemented": 2, "MildDemented": 3})
    write_contents(tmp_path)
    copy_file(tmp_path / side / "MildDemented" / name, copy)
    with caplog.at_level(logging.WARNING):
        manifest = index_kaggle_jpg(tmp_path)
    assert manifest.stamps == ()
    assert len(manifest) == 5 * 32
    assert f"{side}/MildDemented/{copy}" not in manifest.table["path"].tolist()
    assert manifest.table.set_index("path").loc["test/MildDemented/27.jpg", "slice"] == 27
    said = (
        f"left out 1 copy of other files, such as {side}/MildDemented/{copy}, which has the bytes "
        f"of {side}/MildDemented/{name}"
    )
    assert said in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("copy", "said"),
    [
        ("27 (1).jpg", "found '27 (1)' and '27'"),
        ("27 - Copy.jpg", "found '27 - Copy'"),
        ("27 (4).jpg", "people 1 to 3, found '27 (4)'"),
    ],
)
@pytest.mark.parametrize("of_another_class", [True, False])
def test_another_picture_under_a_copy_s_name_is_kept(
    tmp_path, caplog, copy, said, of_another_class
):
    make_set(tmp_path, {"NonDemented": 2, "MildDemented": 3})
    for i, path in enumerate(sorted(tmp_path.rglob("*.jpg"))):
        touch(path, seed=i)
    odd = tmp_path / "test" / "MildDemented" / copy
    touch(odd, seed=9999)
    if of_another_class:
        odd.write_bytes((tmp_path / "test" / "NonDemented" / "27.jpg").read_bytes())
    manifest = index_kaggle_jpg(tmp_path)
    assert manifest.stamps == (PEOPLE_UNKNOWN,)
    assert len(manifest) == 5 * 32 + 1
    assert "MildDemented: expected" in caplog.text
    assert said in caplog.text


def test_equal_pictures_under_regular_names_are_no_copies(tmp_path):
    make_set(tmp_path, {"MildDemented": 3})
    write_contents(tmp_path)
    folder = tmp_path / "test" / "MildDemented"
    copy_file(folder / "27.jpg", "28 (2).jpg")
    copy_file(folder / "27.jpg", "27 (1).jpg")
    assert len(index_kaggle_jpg(tmp_path)) == 3 * 32


def test_only_files_that_may_be_copies_are_opened(tmp_path, monkeypatch):
    opened, read = [], named_copies.read_bytes
    monkeypatch.setattr(named_copies, "read_bytes", lambda p: opened.append(p.name) or read(p))
    for name, content in {"27": b"ab", "28": b"abc", "x y": b"ab", "z y": b"abcd"}.items():
        (tmp_path / name).write_bytes(content)
    paths = ["27", "28", "x y", "z y"]
    assert find_copies(tmp_path, paths, ["NonDemented"] * 4, {2, 3}) == {2: 0}
    assert sorted(opened) == ["27", "x y"]
    assert find_copies(tmp_path, paths, ["NonDemented"] * 4, {0, 1, 2, 3}) == {}
    assert len(opened) == 2


def test_a_copy_among_slices_named_after_sessions_is_left_out(tmp_path, caplog):
    folder = tmp_path / "Mild Dementia"
    for number in (100, 101):
        touch(folder / f"OAS1_0028_MR1_mpr-1_{number}.jpg", seed=number)
    copy_file(folder / "OAS1_0028_MR1_mpr-1_100.jpg", "OAS1_0028_MR1_mpr-1_100 (1).jpg")
    assert index_kaggle_jpg(tmp_path).table["slice"].tolist() == [100, 101]
    assert "left out 1 copy of other files" in caplog.text


@pytest.mark.parametrize("same", [True, False])
def test_two_folders_of_one_stage_do_not_collide_in_silence(tmp_path, caplog, same):
    make_set(tmp_path, {"MildDemented": 1})
    for i, path in enumerate(sorted(tmp_path.rglob("*.jpg"))):
        touch(path, seed=i)
        touch(tmp_path / path.parts[-3] / "Mild Dementia" / path.name, seed=i if same else 500 + i)
    with caplog.at_level(logging.WARNING):
        manifest = index_kaggle_jpg(tmp_path)
    if same:
        assert "left out 32 copies of other files" in caplog.text
        assert manifest.stamps == ()
        assert len(manifest) == 32
    else:
        assert "expected every name once" in caplog.text
        assert manifest.stamps == (PEOPLE_UNKNOWN,)
        assert len(manifest) == 64


def test_images_outside_class_folders_are_refused(tmp_path):
    touch(tmp_path / "train" / "NonDemented" / "a.jpg")
    touch(tmp_path / "train" / "SevereDemented" / "b.jpg")
    with pytest.raises(ManifestError, match=r"no stage: train/SevereDemented; expected NonDem"):
        index_kaggle_jpg(tmp_path)


@pytest.mark.parametrize(("name", "missing"), [(".", r"\*\.jpg"), ("absent", "absent")])
def test_no_images(tmp_path, name, missing):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataNotFoundError, match=rf"{missing}\n  fix: download https://www\.kaggle"):
        index_kaggle_jpg(tmp_path / name)


def oasis_slices(root: Path, **folders: list[str]) -> None:
    """Write empty files named after sessions into class folders (``_`` for a space)."""
    for folder, stems in folders.items():
        (root / folder.replace("_", " ")).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            (root / folder.replace("_", " ") / f"{stem}.jpg").touch()


def clinical_table(folder: Path, **cdr: str) -> None:
    """Write a table of sessions ``OAS1_<number>_MR1`` given as ``_0028="0.5"``."""
    folder.mkdir(exist_ok=True)
    rows = [
        f"OAS1{name}_MR1,F,R,74,2,3,29,{value},1344,0.743,1.3,N/A" for name, value in cdr.items()
    ]
    head = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
    (folder / "oasis_cross-sectional.csv").write_text("\n".join([head, *rows]), encoding="utf-8")


@pytest.mark.parametrize("place", [".", "sub", "..", "../oasis"])
def test_oasis_slices_take_the_table_s_rating(tmp_path, caplog, place):
    root = tmp_path / "data" / "kaggle_orig"
    oasis_slices(
        root,
        Non_Demented=["OAS1_0001_MR1_mpr-1_100", "OAS1_0002_MR1_mpr-1_100"],
        Mild_Dementia=["OAS1_0028_MR1_mpr-1_100", "OAS1_0028_MR1_mpr-2_101"],
    )
    clinical_table(root / place, _0001="0", _0002="", _0028="1")
    with caplog.at_level(logging.INFO):
        manifest = index_kaggle_jpg(root)
    rows = manifest.table.set_index("subject")
    assert rows.loc["OAS1_0001", "label"] == "NonDemented"
    assert pd.isna(rows.loc["OAS1_0002", "label"])
    assert rows.loc["OAS1_0028", "label"].tolist() == ["MildDemented"] * 2
    assert rows.loc["OAS1_0028", "session"].tolist() == ["MR1_mpr-1", "MR1_mpr-2"]
    assert rows.loc["OAS1_0028", "slice"].tolist() == [100, 101]
    measures = rows.loc["OAS1_0001", ["age", "sex", "mmse", "etiv", "nwbv"]].tolist()
    assert measures == [74, "F", 29, 1344, 0.743]
    assert manifest.stamps == ()
    assert "without a CDR, unrated whatever their folder: 1 person (1 image)" in caplog.text


def test_oasis_slices_without_a_table_are_stamped(tmp_path, caplog):
    oasis_slices(tmp_path, Non_Demented=["OAS1_0001_MR1_mpr-1_100"])
    manifest = index_kaggle_jpg(tmp_path)
    assert manifest.stamps == (UNRATED_AS_HEALTHY,)
    assert manifest.table["label"].tolist() == ["NonDemented"]
    assert "there is no oasis_cross-sectional.csv" in caplog.text


def test_oasis_folder_that_contradicts_the_table(tmp_path):
    oasis_slices(tmp_path, Non_Demented=["OAS1_0001_MR1_mpr-1_100"])
    clinical_table(tmp_path, _0001="2")
    with pytest.raises(ManifestError, match=r"folder of NonDemented.*OAS1_0001 as ModerateDement"):
        index_kaggle_jpg(tmp_path)


def test_oasis_session_in_two_class_folders(tmp_path):
    oasis_slices(
        tmp_path,
        Non_Demented=["OAS1_0001_MR1_mpr-1_100"],
        Mild_Dementia=["OAS1_0001_MR1_mpr-1_101"],
    )
    with pytest.raises(ManifestError, match=r"OAS1_0001_MR1 lies.*MildDemented.*NonDemented"):
        index_kaggle_jpg(tmp_path)


def test_mixed_names_make_people_unknown(tmp_path, caplog):
    touch(tmp_path / "NonDemented" / "OAS1_0001_MR1_mpr-1_100.jpg", seed=1)
    touch(tmp_path / "NonDemented" / "nonDem1.jpg", seed=2)
    manifest = index_kaggle_jpg(tmp_path)
    assert manifest.stamps == (PEOPLE_UNKNOWN,)
    assert "1 of 2 files are named after OASIS-1 sessions" in caplog.text


def test_registered_as_slices():
    cohort = COHORT_REGISTRY.get("kaggle_orig")
    assert (cohort.layout, cohort.side_known, cohort.axes) == ("slice", False, None)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real set is not on this machine")
def test_real_set_has_its_200_people():
    table = index_kaggle_jpg(REAL / "kaggle").table
    truth = pd.read_csv(REAL / "kaggle_subject_map.csv")
    both = table.merge(truth, on="path", suffixes=("", "_true"), validate="one_to_one")
    assert len(both) == len(table) == 6400
    assert (both["subject"] == both["pseudo_subject"]).all()
    assert (both["slice"] == both["slice_true"]).all()
    assert (both["label"] == both["class"]).all()
    people = table.groupby("label")["subject"].nunique().to_dict()
    assert people == {
        "NonDemented": 100,
        "VeryMildDemented": 70,
        "MildDemented": 28,
        "ModerateDemented": 2,
    }
