"""Small BIDS and CAPS trees, laid out as published ones are."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from conftest import ellipsoid

HEADER = '{"Name": "a set", "BIDSVersion": "1.8.0"}'


def touch(root: Path, *names: str) -> None:
    """Write empty files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        empty = {".gz": gzip.compress(b""), ".json": b"{}"}
        path.write_bytes(empty.get(path.suffix, b""))


def tsv(path: Path, rows: list[str]) -> Path:
    """Write a table whose cells are separated by blanks in `rows`, by tabs in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row.split()) + "\n" for row in rows), encoding="utf-8")
    return path


def head(path: Path, seed: int) -> Path:
    """Write a volume with unequal axes and voxels, another one for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = ellipsoid((17, 21, 15), 0.1 + 0.02 * seed)
    noise = np.random.default_rng(seed).integers(-20, 20, data.shape)
    data = (data + noise * (data > 0)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([-1, 1, 1.5, 1])), path)
    return path


def seven_tesla(root: Path, people: int = 3) -> Path:
    """Write bids-examples' ``7t_trt`` in small: two sessions, beside maps, fields and functions."""
    touch(root, "README", "CHANGES", "task-rest_acq-fullbrain_bold.json")
    (root / "dataset_description.json").write_text(HEADER, encoding="utf-8")
    rows = ["participant_id sex age_at_first_scan_years handedness"]
    for number in range(1, people + 1):
        subject = f"sub-{number:02d}"
        rows.append(f"{subject} {'FM'[number % 2]} {20 + number} 100")
        for visit in ("ses-1", "ses-2"):
            stem = f"{subject}/{visit}/{{}}/{subject}_{visit}"
            touch(
                root,
                stem.format("anat") + "_T1map.nii.gz",
                stem.format("fmap") + "_run-1_magnitude1.nii.gz",
                stem.format("fmap") + "_run-1_phasediff.nii.gz",
                stem.format("func") + "_task-rest_acq-fullbrain_run-1_bold.nii.gz",
                stem.format("anat") + "_T1w.nii.gz",
            )
            tsv(root / subject / visit / f"{subject}_{visit}_scans.tsv", ["filename"])
        tsv(
            root / subject / f"{subject}_sessions.tsv",
            ["session_id panas_calm", "ses-1 5", "ses-2 n/a"],
        )
    tsv(root / "participants.tsv", rows)
    return root


def faces(root: Path) -> Path:
    """Write bids-examples' ``ds000117`` in small: MEG, an MRI session, an empty room."""
    touch(root, "README", "acq-mprage_T1w.json")
    (root / "dataset_description.json").write_text(HEADER, encoding="utf-8")
    for subject in ("sub-01", "sub-02"):
        mri = f"{subject}/ses-mri/{{}}/{subject}_ses-mri"
        touch(
            root,
            mri.format("anat") + "_acq-mprage_T1w.nii.gz",
            mri.format("anat") + "_acq-mprage_T1w.json",
            mri.format("anat") + "_run-1_echo-1_FLASH.nii.gz",
            mri.format("dwi") + "_dwi.nii.gz",
            f"{subject}/ses-meg/meg/{subject}_ses-meg_coordsystem.json",
            f"derivatives/freesurfer/{subject}/ses-mri/anat/{subject}_ses-mri_T1w.nii.gz",
            f"sourcedata/{subject}/anat/{subject}_T1w.nii.gz",
            f"derivatives/meg_derivatives/{subject}/ses-meg/meg/{subject}_ses-meg_meg.fif",
        )
    touch(root, "sub-emptyroom/ses-20090409/meg/sub-emptyroom_ses-20090409_task-noise_meg.fif")
    tsv(root / "participants.tsv", ["participant_id age sex", "sub-01 31 M", "sub-02 25 F"])
    return root


def balloon(root: Path) -> Path:
    """Write bids-examples' ``ds001`` in small: runs and acquisitions, no sessions."""
    (root / "dataset_description.json").parent.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(HEADER, encoding="utf-8")
    touch(
        root,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_inplaneT2.nii.gz",
        "sub-01/func/sub-01_task-balloon_run-01_bold.nii.gz",
        "sub-02/anat/sub-02_run-01_T1w.nii.gz",
        "sub-02/anat/sub-02_run-02_T1w.nii.gz",
        "sub-02/anat/sub-02_acq-lowres_rec-norm_T1w.nii",
        "sub-03/anat/sub-03_ce-gd_T1w.nii.gz",
        "sub-03/anat/sub-03_desc-preproc_T1w.nii.gz",
        "sub-03/anat/sub-03_T1w_copy.nii.gz",
        "sub-03/anat/._sub-03_T1w.nii.gz",
        "sub-03/anat/sub-03_t1w.nii.gz",
        "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
        "code/sub-09/anat/sub-09_T1w.nii.gz",
        "phenotype/mmse.tsv",
    )
    tsv(root / "participants.tsv", ["participant_id sex age", "sub-01 F 26", "sub-02 M 24"])
    return root
