"""The preprocess stage on generated cohorts: resume, redo, reject, refuse."""

import json
import shutil

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import ellipsoid, save_analyze
from oasis_discs import config, make_oasis, speckled

from src.errors import ConfigError, DataNotFoundError, ImageError, ManifestError
from src.manifest import Manifest
from src.preprocessing import processed as preprocess
from src.stages.preprocess import run


@pytest.fixture
def oasis(tmp_path):
    return make_oasis(tmp_path / "data" / "oasis")


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.[pn][np]*") if path.is_file()}


def test_2d_end_to_end(tmp_path, oasis):
    written = list(run(config(tmp_path)))
    out = tmp_path / "data" / "oasis_2d"
    assert out / "manifest.csv" in written
    manifest = Manifest.read(out)
    assert len(manifest) == 10 * 4
    assert manifest.table["subject"].nunique() == 10
    manifest.check_disjoint()
    first = manifest.table.iloc[0]
    pixels = cv2.imread(str(out / first["path"]), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (32, 32)
    assert pixels.dtype == np.uint8
    assert first["path"].startswith(f"{first['split']}/{first['label']}/OAS1_")
    assert {"age", "nwbv", "etiv"} <= set(manifest.table.dropna(axis=1).columns)
    rejected = pd.read_csv(out / "rejected.csv")
    assert rejected["reason"].to_list() == ["not rated (no CDR)"]
    assert rejected["subject"].to_list() == ["OAS1_0011"]


def test_3d_end_to_end_and_the_way_back(tmp_path, oasis):
    list(run(config(tmp_path, dim="3d")))
    out = tmp_path / "data" / "oasis_3d"
    row = Manifest.read(out).table.iloc[0]
    volume = np.load(out / row["path"])
    assert volume.shape == (32, 32, 32)
    assert volume.dtype == np.float16
    assert 0 <= volume.min() <= volume.max() <= 1
    record = json.loads((out / ".scans" / f"{row['subject']}_MR1.json").read_text(encoding="utf-8"))
    matrix = np.array(record["files"][0]["to_stored"])
    centre = (matrix @ [15.5, 15.5, 15.5, 1])[:3]
    np.testing.assert_allclose(centre, (8, 10, 7), atol=0.51)
    # The ellipsoid is brighter to the right of the stored array, which LAS stores right to left.
    assert volume[4:12, 16, 16].mean() > volume[20:28, 16, 16].mean()


def test_a_second_run_does_nothing_and_a_changed_setting_redoes(tmp_path, oasis):
    list(run(config(tmp_path)))
    out = tmp_path / "data" / "oasis_2d"
    before = times(out)
    list(run(config(tmp_path)))
    assert times(out) == before
    list(run(config(tmp_path, num_slices=3)))
    after = times(out)
    assert len(after) == 30
    assert all(before.get(path) != time for path, time in after.items())


def test_only_a_missing_or_changed_scan_is_made_again(tmp_path, oasis):
    list(run(config(tmp_path)))
    out = tmp_path / "data" / "oasis_2d"
    before = times(out)
    gone = sorted(before)[0]
    gone.unlink()
    source = next(oasis.rglob("OAS1_0002_MR1*masked_gfc.img"))
    save_analyze(source, speckled(ellipsoid((17, 21, 15), 0.5), 77))
    list(run(config(tmp_path)))
    changed = {path.name[:9] for path, time in times(out).items() if before[path] != time}
    assert changed == {gone.name[:9], "OAS1_0002"}


def test_another_split_moves_the_files_and_leaves_none_behind(tmp_path, oasis):
    list(run(config(tmp_path)))
    list(run(config(tmp_path, seed=5)))
    out = tmp_path / "data" / "oasis_2d"
    table = Manifest.read(out).table
    assert {str(path.relative_to(out)) for path in times(out)} == set(table["path"])


def test_a_removed_person_leaves_no_files(tmp_path, oasis):
    list(run(config(tmp_path)))
    for path in oasis.glob("disc*/OAS1_0004_MR1"):
        shutil.rmtree(path)
    list(run(config(tmp_path)))
    out = tmp_path / "data" / "oasis_2d"
    assert not list(out.rglob("*OAS1_0004*"))


def test_one_damaged_scan_is_set_aside_with_its_reason(tmp_path, oasis):
    next(oasis.rglob("OAS1_0003_MR1*masked_gfc.img")).write_bytes(b"cut")
    list(run(config(tmp_path)))
    rejected = pd.read_csv(tmp_path / "data" / "oasis_2d" / "rejected.csv")
    reason = rejected.set_index("subject").loc["OAS1_0003", "reason"]
    assert "cannot be read" in reason
    assert "OAS1_0003" not in set(Manifest.read(tmp_path / "data" / "oasis_2d").table["subject"])


def test_many_damaged_scans_stop_the_stage_and_leave_no_manifest(tmp_path, oasis):
    list(run(config(tmp_path)))
    for number in (3, 4):
        next(oasis.rglob(f"OAS1_{number:04d}_MR1*masked_gfc.img")).write_bytes(b"cut")
    with pytest.raises(ImageError, match="2 of 10 scans"):
        list(run(config(tmp_path)))
    out = tmp_path / "data" / "oasis_2d"
    assert not (out / "manifest.csv").exists()
    assert len(pd.read_csv(out / "rejected.csv")) == 3


def test_min_age_is_told_in_rejected(tmp_path, oasis):
    list(run(config(tmp_path, min_age=65.0)))
    rejected = pd.read_csv(tmp_path / "data" / "oasis_2d" / "rejected.csv")
    assert "age 61 under 65" in set(rejected["reason"])
    assert Manifest.read(tmp_path / "data" / "oasis_2d").table["age"].min() >= 65


def test_missing_raw_data_and_a_strangers_folder(tmp_path, oasis):
    with pytest.raises(DataNotFoundError, match=r"oasis-brains\.org"):
        list(run(config(tmp_path, data_dir=tmp_path / "nowhere")))
    mine = tmp_path / "data" / "oasis_2d" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(ManifestError, match="did not make"):
        list(run(config(tmp_path)))
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_raw_folder_of_another_name_is_told(tmp_path, caplog):
    make_kaggle(tmp_path / "data" / "Kaggle")
    with caplog.at_level("INFO", logger="src"):
        list(run(config(tmp_path, dataset="kaggle_2d")))
    assert f"{tmp_path / 'data' / 'Kaggle'} is read, as there is no folder" in caplog.text
    assert len(Manifest.read(tmp_path / "data" / "kaggle_2d"))
    (tmp_path / "data" / "KAGGLE orig").mkdir()  # called otherwise: not meant
    (tmp_path / "data" / "Kaggle_Orig").mkdir()
    with pytest.raises(DataNotFoundError, match="kaggle_orig") as error:
        list(run(config(tmp_path, dataset="kaggle_2d")))
    flags = [f"--data_dir {tmp_path / 'data' / name}" for name in ("Kaggle", "Kaggle_Orig")]
    assert error.value.hint == f"say which is meant: {' or '.join(flags)}"


@pytest.mark.slow
def test_two_workers_make_the_same_files(tmp_path, oasis):
    list(run(config(tmp_path)))
    alone = Manifest.read(tmp_path / "data" / "oasis_2d").table
    shutil.rmtree(tmp_path / "data" / "oasis_2d")
    list(run(config(tmp_path, workers=2)))
    pd.testing.assert_frame_equal(Manifest.read(tmp_path / "data" / "oasis_2d").table, alone)


def test_scan_that_was_made_but_cannot_be_seen_is_no_dropped_row(tmp_path, oasis, monkeypatch):
    monkeypatch.setattr(
        preprocess, "run_parallel", lambda make, scans, **_: [(scans[0].name, "bad")]
    )
    with pytest.raises(ManifestError, match=r"no record of 9 scans .* such as OAS1_0002_MR1"):
        list(run(config(tmp_path)))
    assert not (tmp_path / "data" / "oasis_2d" / "manifest.csv").exists()


def test_kaggle_nifti_in_class_folders(tmp_path):
    root = tmp_path / "data" / "kaggle_nifti"
    for number in range(6):
        folder = root / ["Non Demented", "Mild Dementia"][number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        data = speckled(ellipsoid((17, 21, 15), 0.1 + 0.05 * number), number)
        image = nib.Nifti1Image(data, np.diag([1, 1, 1.5, 1]))
        nib.save(image, folder / f"OAS1_{number + 1:04d}_MR1.nii.gz")
    for dim, count in (("2d", 24), ("3d", 6)):
        list(run(config(tmp_path, dataset="kaggle_nifti", dim=dim)))
        assert len(Manifest.read(tmp_path / "data" / f"kaggle_nifti_{dim}")) == count


def make_kaggle(root, people=(3, 3, 3, 2), size=(26, 22)):
    """Write the 6,400-JPG set in small: n people x 32 slices a class, named as it names them."""
    folders = ("NonDemented", "VeryMildDemented", "MildDemented", "ModerateDemented")
    short = ("nonDem", "verymildDem", "mildDem", "moderateDem")
    rng = np.random.default_rng(0)
    for folder, stem, n in zip(folders, short, people, strict=True):
        order = [*sorted((str(q) for q in range(2, n + 1)), key=str), "1"]
        counter = 0
        for part in ("train", "test"):
            (root / part / folder).mkdir(parents=True, exist_ok=True)
        for index in range(1, 33):
            for q in order:
                picture = ellipsoid((*size, 3), 0.2 + 0.01 * int(q))[..., 1] // 4
                noise = rng.integers(0, 9, size) * (picture > 0)
                picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
                name = f"{index}.jpg" if q == "1" else f"{index} ({q}).jpg"
                path = root / "test" / folder / name
                if index <= 26:
                    path = root / "train" / folder / f"{stem}{counter}.jpg"
                    counter += 1
                cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return root


@pytest.mark.slow
def test_kaggle_slices_slabs_and_the_official_split(tmp_path):
    make_kaggle(tmp_path / "data" / "kaggle_orig")
    list(run(config(tmp_path, dataset="kaggle_orig")))
    flat = Manifest.read(tmp_path / "data" / "kaggle_2d")
    assert len(flat) == 11 * 32
    flat.check_disjoint()

    list(run(config(tmp_path, dataset="kaggle_orig", dim="3d")))
    slabs = Manifest.read(tmp_path / "data" / "kaggle_3d")
    assert len(slabs) == 11
    assert np.load(slabs.root / slabs.table["path"][0]).shape == (24, 32, 32)

    list(run(config(tmp_path, dataset="kaggle_orig", official_split=True)))
    official = Manifest.read(tmp_path / "data" / "kaggle_2d_official")
    assert official.stamps == ("same people in train and test",)
    people = {split: set(official.in_split(split).table["subject"]) for split in ("train", "test")}
    assert people["train"] == people["test"]
    with pytest.raises(ConfigError, match="no volumes"):
        list(run(config(tmp_path, dataset="kaggle_orig", dim="3d", official_split=True)))


def test_unknown_people_make_no_volumes(tmp_path):
    root = make_kaggle(tmp_path / "data" / "kaggle_orig", people=(2, 2, 2, 2))
    next((root / "train" / "NonDemented").iterdir()).unlink()
    with pytest.raises(ConfigError, match="unknown people"):
        list(run(config(tmp_path, dataset="kaggle_orig", dim="3d")))


def test_who_was_set_aside_is_told_by_stage(tmp_path, oasis, caplog):
    next(oasis.rglob("OAS1_0003_MR1*masked_gfc.img")).write_bytes(b"cut")
    with caplog.at_level("INFO", logger="src"):
        list(run(config(tmp_path)))
    settings = json.loads((tmp_path / "data/oasis_2d/preprocessing.json").read_text("utf-8"))
    stages = settings["set_aside"]["stages"]
    assert sum(one["n"] for one in stages.values()) == 10  # who was never rated has no stage
    assert [one["aside"] for one in stages.values()].count(1) == 1
    assert "by stage, with 95 % intervals: NonDemented" in caplog.text


def test_people_without_a_rating_are_kept_where_that_is_asked(tmp_path):
    make_oasis(tmp_path / "data" / "oasis")
    list(run(config(tmp_path)))
    out = tmp_path / "data" / "oasis_2d"
    assert "OAS1_0011" not in set(Manifest.read(out).table["subject"])
    list(run(config(tmp_path, keep_unrated=True)))
    rows = Manifest.read(out).table.set_index("subject").loc[["OAS1_0011"]]
    assert rows["label"].isna().all()
    assert rows["split"].isna().all()
    assert rows["age"].tolist() == [71] * len(rows)
    assert all((out / path).is_file() for path in rows["path"])
    assert rows["path"].str.startswith("unrated/").all()
