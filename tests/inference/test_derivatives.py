"""Predictions as a BIDS derivative, with pybids as the judge."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from src.inference.derivatives import write_derivatives

CLASSES = ["NonDemented", "Demented"]
MODEL = {"classes": CLASSES, "backbone": "simple", "trained_on": "oasis_3d", "outside_means": "out"}
NAMES = ("sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz", "sub-b7/anat/sub-b7_T1w.nii")


@pytest.fixture
def written(tmp_path):
    source, folder = tmp_path / "study", tmp_path / "results" / "predict"
    source.mkdir()
    about = {"Name": "study", "BIDSVersion": "1.10.0"}
    (source / "dataset_description.json").write_text(json.dumps(about), encoding="utf-8")
    image = nib.Nifti1Image(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.eye(4))
    for name in NAMES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, source / name)
    (folder / "maps").mkdir(parents=True)
    nib.save(image, folder / "maps" / "first_map_in_scan.nii.gz")
    answers = [
        answer("first", source / NAMES[0], "Demented", {"NonDemented": 0.25, "Demented": 0.75}),
        answer("second", source / NAMES[1], None, None),
        answer("picture", source / "derivatives" / "scan.png", None, None),
    ]
    answers[0]["map"] = "maps/first.png"
    files = write_derivatives(folder, answers, source=source, model=MODEL)
    return source, folder / "derivatives" / "mri-ad", files


def answer(name, path, stage, probabilities):
    return {
        **{"name": name, "source": str(path), "stage": stage, "probabilities": probabilities},
        **{"prediction_set": [stage] if stage else None, "outside": stage is None, "map": None},
        **{"subject": None, "session": None, "reasons": [], "flags": []},
    }


@pytest.mark.slow
def test_pybids_reads_it_beside_its_source(written):
    from bids import BIDSLayout

    source, root, _ = written
    layout = BIDSLayout(source, derivatives=[root])
    own = layout.derivatives["mri-ad"]
    found = own.get(suffix="prediction", extension=".json")
    assert sorted(file.entities["subject"] for file in found) == ["01", "b7"]
    (first,) = own.get(subject="01", suffix="prediction")
    assert (first.entities["session"], int(first.entities["run"])) == ("1", 2)
    (map,) = own.get(suffix="map", extension=".nii.gz")
    assert map.entities["desc"] == "attribution"
    assert np.asarray(nib.load(map.path).dataobj)[1, 2, 3] == 23
    assert len(layout.get(suffix="T1w")) == 2  # the source is as it was


def test_a_row_for_each_scan_and_every_column_described(written):
    _, root, files = written
    table = pd.read_csv(
        root / "desc-stage_predictions.tsv", sep="\t", keep_default_na=False, dtype=str
    )
    told = json.loads((root / "desc-stage_predictions.json").read_text(encoding="utf-8"))
    assert list(table.columns) == list(dict.fromkeys(table.columns))
    assert set(table.columns) == set(told)
    assert table["participant_id"].tolist() == ["sub-01", "sub-b7"]
    assert table["stage"].tolist() == ["Demented", "n/a"]
    assert table["p_Demented"].tolist() == ["0.75", "n/a"]
    assert table["outside"].tolist() == ["false", "true"]
    assert table["source"].tolist() == list(NAMES)
    assert all(Path(file).is_file() for file in files)


def test_it_says_what_it_is_made_of_and_that_it_is_no_diagnosis(written):
    source, root, _ = written
    about = json.loads((root / "dataset_description.json").read_text(encoding="utf-8"))
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "mri-ad"
    assert about["DatasetLinks"]["source"] == source.resolve().as_uri()
    one = json.loads(next(root.rglob("sub-01*_prediction.json")).read_text(encoding="utf-8"))
    assert one["Sources"] == [f"bids:source:{NAMES[0]}"]
    assert "no diagnosis" in one["Description"]
    assert str(source) not in json.dumps(one)


def test_scans_without_a_bids_name_are_counted(tmp_path, caplog):
    answers = [answer("x", tmp_path / "sub-01_T1w" / "x.png", None, None)]
    with caplog.at_level("WARNING"):
        files = write_derivatives(tmp_path / "out", answers, source=tmp_path, model=MODEL)
    assert "1 scan has no BIDS name" in caplog.text
    assert not any("sub-" in file.name for file in files)
