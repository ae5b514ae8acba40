"""The scans of BIDS and CAPS trees; pybids is the judge of what a data set holds."""

from __future__ import annotations

import logging
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from bids_trees import HEADER, balloon, faces, seven_tesla, touch, tsv

from src.cohorts.bids import index_bids, read_ratings
from src.cohorts.ratings import label_scans
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
    assert table["day"].tolist() == [0, 183, 365]
    assert table["diagnosis"].tolist() == ["CN", "MCI", "Dementia"]
    learnt = label_scans(index_bids(tmp_path), None, "diagnosis").kept
    assert learnt.table["label"].tolist() == ["CN", "MCI", "AD"]


def test_a_diagnosis_of_the_first_visit_is_not_that_of_later_ones(tmp_path):
    visits(tmp_path, "sub-1", "ses-M000", "ses-M024")
    tsv(tmp_path / "participants.tsv", ["participant_id diagnosis_bl", "sub-1 MCI"])
    assert index_bids(tmp_path).table["diagnosis"].fillna("").tolist() == ["MCI", ""]


def visits(root: Path, who: str, *sessions: str) -> None:
    touch(root, *(f"{who}/{one}/anat/{who}_{one}_T1w.nii.gz" for one in sessions))


def told(root: Path) -> list[tuple[float | None, str]]:
    """Return age, in hundredths of a year, and label of each scan, by path."""
    table = index_bids(root).table
    ages = [None if pd.isna(age) else round(age, 2) for age in table["age"]]
    return list(zip(ages, table["label"].fillna(""), strict=True))


def test_an_age_belongs_to_the_first_day(tmp_path):
    visits(tmp_path, "sub-1", "ses-d0129", "ses-d3132")
    tsv(tmp_path / "participants.tsv", ["participant_id age cdrtot", "sub-1 65 0"])
    later = round(65 + (3132 - 129) / 365.25, 2)
    assert told(tmp_path) == [(65, "NonDemented"), (later, "")]


@pytest.mark.parametrize("where", ["a folder", "a row"])
def test_the_first_day_may_have_no_scan(tmp_path, where):
    visits(tmp_path, "sub-1", "ses-d0129", "ses-d3132")
    if where == "a folder":
        touch(tmp_path, "sub-1/ses-d0000/pet/sub-1_ses-d0000_pet.nii.gz")
    else:
        tsv(tmp_path / "sub-1" / "sub-1_sessions.tsv", ["session_id age", "d0000 n/a"])
    tsv(tmp_path / "participants.tsv", ["participant_id age cdr", "sub-1 65 0"])
    assert told(tmp_path) == [(65.35, ""), (round(65 + 3132 / 365.25, 2), "")]


def test_a_session_s_own_age_and_rating_come_first(tmp_path):
    visits(tmp_path, "sub-1", "ses-d0129", "ses-d3132")
    tsv(tmp_path / "participants.tsv", ["participant_id age cdr", "sub-1 65 0"])
    tsv(
        tmp_path / "sub-1" / "sub-1_sessions.tsv",
        ["session_id age cdr", "ses-d0129 n/a n/a", "ses-d3132 73.3 0.5"],
    )
    assert told(tmp_path) == [(65, "NonDemented"), (73.3, "VeryMildDemented")]


@pytest.mark.parametrize(
    ("sessions", "ages"),
    [
        (["ses-1", "ses-02"], [None, 65]),  # ses-02 stands before ses-1
        (["ses-V2", "ses-V10"], [None, 65]),
        (["ses-test", "ses-retest"], [None, None]),
        (["ses-1", "ses-mri"], [None, None]),
        (["ses-A1", "ses-B2"], [None, None]),
        (["ses-mri"], [65]),
        (["ses-M006"], [65.5]),
        (["ses-M000", "ses-M018"], [65, 66.5]),
    ],
)
def test_an_age_at_a_time_that_no_name_tells_stays_empty(tmp_path, caplog, sessions, ages):
    visits(tmp_path, "sub-1", *sessions)
    tsv(tmp_path / "participants.tsv", ["participant_id age", "sub-1 65"])
    assert [age for age, _ in told(tmp_path)] == ages
    lost = ages.count(None)
    assert (f"{lost} scan" in caplog.text and "left without an age" in caplog.text) == bool(lost)


def test_ids_that_lost_their_zeros_are_matched_with_a_line(tmp_path, caplog):
    touch(tmp_path, *(f"sub-{n:03d}/anat/sub-{n:03d}_T1w.nii.gz" for n in (1, 2, 10)))
    tsv(tmp_path / "participants.tsv", ["participant_id age", "1 71", "2 72", "10 80"])
    assert index_bids(tmp_path).table["age"].tolist() == [71, 72, 80]
    assert "3 ids differ" in caplog.text


def test_ids_that_could_be_two_people_are_refused(tmp_path):
    touch(tmp_path, *(f"sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in ("01", "001")))
    tsv(tmp_path / "participants.tsv", ["participant_id age", "1 71"])
    with pytest.raises(ManifestError, match="2 ids differ by leading zeros"):
        index_bids(tmp_path)


@pytest.mark.parametrize("rows", [["HC7 71", "HC8 72"], []])
def test_a_table_of_nobody_here_is_refused(tmp_path, rows):
    visits(tmp_path, "sub-1", "ses-1")
    tsv(tmp_path / "participants.tsv", ["participant_id age", *rows])
    with pytest.raises(
        ManifestError, match=f"none of its {len(rows)} rows names a person"
    ) as error:
        index_bids(tmp_path)
    assert "remove the table" in error.value.hint


def test_sessions_that_lost_their_zeros_are_matched(tmp_path, caplog):
    visits(tmp_path, "sub-1", "ses-M000", "ses-M012")
    visits(tmp_path, "sub-2", "ses-M000")
    visits(tmp_path, "sub-3", "ses-M000")
    tsv(tmp_path / "sub-3" / "sub-3_sessions.tsv", ["Session_ID CDR age", "M000 1 81"])
    rows = ["session_id cdr Age", "M0 0 70", "M12 0.5 71"]
    tsv(tmp_path / "sub-1" / "sub-1_sessions.tsv", rows)
    tsv(tmp_path / "sub-2" / "sub-2_sessions.tsv", ["session_id CDR age", "baseline 1 80"])
    rated = [(70, "NonDemented"), (71, "VeryMildDemented"), (None, ""), (81, "MildDemented")]
    assert told(tmp_path) == rated
    assert "1 table names no session that has a T1w image here" in caplog.text
    assert "sub-2_sessions.tsv" in caplog.text


def test_sessions_tables_are_told_of_together(tmp_path, caplog):
    for who in ("sub-1", "sub-2", "sub-3"):
        visits(tmp_path, who, "ses-1")
        path = tsv(tmp_path / who / f"{who}_sessions.tsv", ["session_id age", "ses-1 old"])
        path.write_text(path.read_text(encoding="utf-8").replace("\t", ";"), encoding="utf-8")
    with caplog.at_level(logging.INFO, logger="src"):
        index_bids(tmp_path)
    assert "3 tables read with semicolons between cells" in caplog.text
    assert "3 cells are left empty" in caplog.text
    assert "'old', of 'sub-1 ses-1'" in caplog.text


def test_participants_may_be_an_excel_workbook(tmp_path):
    visits(tmp_path, "sub-01", "ses-1")
    book = openpyxl.Workbook()
    for row in (["participant_id", "age"], [1, 71.5]):
        book.active.append(row)
    book.save(tmp_path / "participants.xlsx")
    assert index_bids(tmp_path).table["age"].tolist() == [71.5]


#: Person -> sessions with a scan, and the ratings of every session; ``n/a`` is a visit unrated.
FOLLOWED = {
    "sub-early": (["M000"], ["M000 0", "M012 0"]),
    "sub-exact": (["M006", "M042"], ["M006 0", "M042 0.5"]),
    "sub-far": (["M000"], ["M000 0", "M060 1"]),
    "sub-ill": (["M000"], ["M000 1", "M036 1"]),
    "sub-never": (["M006"], ["M006 0", "M018 n/a", "M042 0"]),
    "sub-unseen": (["M000"], ["M000 0", "M024 0.5", "M048 0"]),  # where it fell no scan was made
    "sub-days": (["d0100"], ["d0100 0", "d1300 0"]),
}


def followed(root: Path) -> Path:
    for subject, (scans, ratings) in FOLLOWED.items():
        for visit in scans:
            touch(root, f"{subject}/ses-{visit}/anat/{subject}_ses-{visit}_T1w.nii.gz")
        rows = ["session_id cdr_global MMS", *(f"ses-{one} 28" for one in ratings)]
        tsv(root / subject / f"{subject}_sessions.tsv", rows)
    tsv(root / "participants.tsv", ["participant_id age", *(f"{one} 70" for one in FOLLOWED)])
    return root


def test_ratings_without_a_scan_tell_what_became_of_a_person(tmp_path, caplog):
    root = followed(tmp_path)
    told = read_ratings(root)
    assert told[told["subject"] == "sub-unseen"]["day"].tolist() == [0, 730, 1461]
    assert told[told["subject"] == "sub-days"]["day"].tolist() == [0, 1200]
    found = label_scans(index_bids(root), told, "conversion", apart=False, months=36)
    kept = found.kept.table
    assert dict(zip(kept["subject"], kept["label"], strict=True)) == {
        "sub-days": "Stable",
        "sub-exact": "Converter",  # after 36 months, which are 1095 and not 1095.75 days
        "sub-never": "Stable",
        "sub-unseen": "Converter",
    }
    reasons = pd.concat(found.removed).set_index(["subject", "session"])["reason"]
    assert reasons["sub-ill", "ses-M000"] == "CDR above 0 at the first scan"
    assert reasons["sub-exact", "ses-M042"] == "not the first scan (--label conversion)"
    assert "censored" in reasons["sub-early", "ses-M000"]
    assert "censored" in reasons["sub-far", "ses-M000"]


def test_a_scan_of_bids_keeps_its_own_rating(tmp_path):
    root = tmp_path / "set"
    touch(root, "sub-1/ses-M000/anat/sub-1_ses-M000_T1w.nii.gz")
    touch(root, "sub-1/ses-M006/anat/sub-1_ses-M006_T1w.nii.gz")
    tsv(root / "sub-1/sub-1_sessions.tsv", ["session_id cdr", "ses-M000 0", "ses-M006 n/a"])
    told = read_ratings(root)
    made = label_scans(index_bids(root), told, "stage", apart=False).kept.table
    assert made.set_index("session")["label"].isna().to_dict() == {
        "ses-M000": False,
        "ses-M006": True,
    }


def test_visits_whose_names_tell_no_time_rate_nothing(tmp_path, caplog):
    root = tmp_path / "set"
    touch(root, "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz")
    rows = ["session_id cdr", "ses-1 0", "ses-2 0.5", "ses-3 1"]
    tsv(root / "sub-1/sub-1_sessions.tsv", rows)
    with caplog.at_level(logging.WARNING):
        told = read_ratings(root)
    assert told[["day", "label"]].values.tolist() == [[0, "NonDemented"]]
    assert "of 3 ratings 2 without a date" in caplog.text
    with pytest.raises(ManifestError, match="of nobody in") as error:
        label_scans(index_bids(root), told, "conversion", apart=False)
    assert "whose names tell their time" in error.value.hint


def test_a_person_of_whom_only_the_first_visit_is_rated_is_censored(tmp_path):
    root = tmp_path / "set"
    touch(root, "sub-1/ses-M000/anat/sub-1_ses-M000_T1w.nii.gz")
    tsv(root / "participants.tsv", ["participant_id cdr", "sub-1 0"])
    with pytest.raises(ManifestError, match="of nobody in"):
        label_scans(index_bids(root), read_ratings(root), "conversion", apart=False)
