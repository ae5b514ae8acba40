"""The scans of BIDS and CAPS trees; pybids is the judge of what a data set holds."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from bids_trees import HEADER, balloon, faces, seven_tesla, touch, tsv

from src.cohorts.bids import index_bids
from src.errors import DataNotFoundError, ManifestError


def paths(root: Path) -> list[str]:
    return index_bids(root).table["path"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("tree", [seven_tesla, faces, balloon])
def test_the_scans_are_those_that_pybids_lists(tmp_path, tree):
    bids = pytest.importorskip("bids")
    root = tree(tmp_path / "set")
    layout = bids.BIDSLayout(root)
    judged = layout.get(suffix="T1w", extension=[".nii", ".nii.gz"])
    assert len(judged) >= 2
    assert paths(root) == sorted(Path(one.path).relative_to(root).as_posix() for one in judged)
    table = index_bids(root).table
    assert set(table["subject"]) == {"sub-" + one.entities["subject"] for one in judged}
    by_path = table.set_index("path")["session"]
    for one in judged:
        session = by_path[Path(one.path).relative_to(root).as_posix()]
        visit = one.entities.get("session")
        assert session.startswith(f"ses-{visit}") == (visit is not None)
        assert (f"run-{one.entities.get('run')}" in session) == ("run" in one.entities)


def test_runs_and_acquisitions_are_scans_of_one_person(tmp_path):
    table = index_bids(balloon(tmp_path)).table
    sessions = table.groupby("subject")["session"].apply(sorted).to_dict()
    assert sessions["sub-02"] == ["acq-lowres_rec-norm", "run-01", "run-02"]
    assert sessions["sub-01"] == ["T1w"]
    ages = table.set_index("subject")["age"]
    assert ages["sub-01"] == 26
    assert set(ages["sub-02"]) == {24}
    assert table["label"].isna().all()


def test_what_is_no_raw_scan_is_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        index_bids(balloon(tmp_path))
    assert "1 T1w image is left out" in caplog.text
    assert "sub-03_desc-preproc_T1w.nii.gz" in caplog.text


def test_caps_prefers_the_whole_scan_to_the_cropped_one(tmp_path):
    space = "space-MNI152NLin2009cSym"
    touch(
        tmp_path,
        *(
            f"subjects/sub-{person}/ses-M0{month:02d}/t1_linear/sub-{person}_ses-M0{month:02d}{name}"
            for person, month, name in [
                ("OASIS10001", 0, f"_{space}_desc-Crop_res-1x1x1_T1w.nii.gz"),
                ("OASIS10001", 0, f"_{space}_res-1x1x1_T1w.nii.gz"),
                ("OASIS10001", 0, f"_{space}_res-1x1x1_affine.mat"),
                ("ADNI002S0295", 6, f"_T1w_{space}_desc-Crop_res-1x1x1_T1w.nii.gz"),
                ("ADNI002S0295", 12, f"_run-02_T1w_{space}_res-1x1x1_T1w.nii.gz"),
                ("ADNI002S0295", 12, "_T1w.nii.gz"),
            ]
        ),
        "subjects/sub-ADNI002S0295/ses-M006/t1/freesurfer_cross_sectional/x_T1w.nii.gz",
        "subjects/sub-ADNI002S0295/ses-M006/deeplearning_prepare_data/x_T1w.nii.gz",
    )
    table = index_bids(tmp_path).table
    assert table[["subject", "session"]].to_numpy().tolist() == [
        ["sub-ADNI002S0295", "ses-M006"],
        ["sub-ADNI002S0295", "ses-M012_run-02"],
        ["sub-OASIS10001", "ses-M000"],
    ]
    assert "Crop" in table["path"][0]
    assert "Crop" not in table["path"][2]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["sub-01/anat/sub-02_T1w.nii.gz"], "names sub-02 as its person, its folder sub-01"),
        (["sub-01/ses-1/anat/sub-01_ses-2_T1w.nii"], "names ses-2 as its session"),
        (["sub-01/ses-1/anat/sub-01_T1w.nii"], "names no as its session"),
        (["sub-01/anat/sub-01_T1w.nii", "sub-01/anat/sub-01_T1w.nii.gz"], "are the same scan"),
    ],
)
def test_a_scan_that_contradicts_its_place_is_refused(tmp_path, names, why):
    touch(tmp_path, *names)
    with pytest.raises(ManifestError, match=why):
        index_bids(tmp_path)


def test_names_that_are_no_labels_are_told_and_left_out(tmp_path, caplog):
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-<script>alert(1)<∕script>/anat/sub-x_T1w.nii.gz",
        "sub-../anat/sub-.._T1w.nii.gz",
        "sub-01 (copy)/anat/sub-01_T1w.nii.gz",
        "sub-\u202egnp/anat/sub-\u202egnp_T1w.nii.gz",
        "sub-a,b/anat/sub-a,b_T1w.nii.gz",
        "sub-" + "x" * 200 + "_/anat/sub-x_T1w.nii.gz",
    )
    with caplog.at_level(logging.WARNING):
        assert paths(tmp_path) == ["sub-01/anat/sub-01_T1w.nii.gz"]
    # "sub-.." was made as a folder of its own name, and is no label either.
    assert "6 folders are left out" in caplog.text
    assert "\u202e" not in caplog.text.split("such as")[1][:100]


def test_linked_people_count_and_a_link_to_nothing_is_listed(tmp_path):
    touch(tmp_path / "store", "p/anat/sub-01_T1w.nii.gz")
    root = tmp_path / "set"
    (root / "sub-02" / "anat").mkdir(parents=True)
    (root / "sub-01").symlink_to(tmp_path / "store" / "p")
    (root / "sub-02" / "anat" / "sub-02_T1w.nii.gz").symlink_to("../../.git/annex/objects/gone")
    assert paths(root) == ["sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz"]


def test_nothing_there_names_the_folder_below(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"anat.*T1w") as caught:
        index_bids(tmp_path)
    assert "--data_dir" in caught.value.hint
    touch(tmp_path, "ds001/sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(DataNotFoundError) as caught:
        index_bids(tmp_path)
    assert f"--data_dir {tmp_path / 'ds001'}" in caught.value.hint
    touch(tmp_path, "sub-02/func/sub-02_task-rest_bold.nii.gz", "sub-03/anat")
    with pytest.raises(DataNotFoundError):
        index_bids(tmp_path)


def test_clinicas_adni_is_rated_by_visit(tmp_path):
    (tmp_path / "dataset_description.json").write_text(HEADER, encoding="utf-8")
    who = "sub-ADNI002S0295"
    for month in ("000", "006", "012"):
        touch(tmp_path, f"{who}/ses-M{month}/anat/{who}_ses-M{month}_T1w.nii.gz")
    tsv(tmp_path / "participants.tsv", ["participant_id sex age_bl cdr_bl", f"{who} M 84.8 0"])
    tsv(
        tmp_path / who / f"{who}_sessions.tsv",
        [
            "session_id age diagnosis cdr_sb cdr_global MMSE",
            "ses-M000 84.8 CN 0.0 n/a 28",
            "ses-M006 85.3 MCI 1.5 0.5 -4",
            "ses-M012 n/a Dementia 4.5 n/a 22",
        ],
    )
    table = index_bids(tmp_path).table
    assert table["label"].fillna("").tolist() == ["NonDemented", "VeryMildDemented", ""]
    assert table["age"].tolist() == pytest.approx([84.8, 85.3, 85.8])
    assert table["mmse"].fillna(-9).tolist() == [28, -9, 22]
    assert set(table["sex"]) == {"M"}
