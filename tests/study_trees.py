"""Small trees of OASIS-2, OASIS-3 and ADNI, laid out as their downloads are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
from conftest import ellipsoid

SHAPE, VOXELS = (17, 21, 15), np.diag([-10.0, 8.0, 9.0, 1.0])  # a head's size in mm
OASIS_2 = "Subject ID,MRI ID,Group,Visit,MR Delay,M/F,Hand,Age,EDUC,SES,MMSE,CDR,eTIV,nWBV,ASF"


def head(path: Path, seed: int, kind: type = nib.Nifti1Image) -> Path:
    """Write a volume with unequal axes and voxels, another one for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = ellipsoid(SHAPE, 0.1 + 0.02 * (seed % 20))
    noise = np.random.default_rng(seed).integers(-20, 20, data.shape)
    data = (data + noise * (data > 0)).astype(np.int16)
    nib.save(kind(data, VOXELS), path)
    return path


def table(path: Path, head_line: str, rows: Iterable[str]) -> Path:
    """Write a CSV table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head_line, *rows]) + "\n", encoding="utf-8")
    return path


def oasis2_row(session: str, delay: int, cdr: object, sex: str = "F") -> str:
    age = 70 + delay // 365
    who = f"{session[:9]},{session},Nondemented,1,{delay},{sex},R,{age}"
    return f"{who},14,2,28,{cdr},1500,.7,.9"


#: Session -> (days since the first, CDR); the last ones of 2 and 5 have no scan.
OASIS_2_PEOPLE = {
    "OAS2_0001_MR1": (0, 0),
    "OAS2_0001_MR2": (457, 0.5),
    "OAS2_0002_MR1": (0, 0),
    "OAS2_0002_MR3": (1200, 0),
    "OAS2_0004_MR1": (0, 0.5),
    "OAS2_0005_MR1": (0, 0),
    "OAS2_0005_MR2": (400, 0),
}


def oasis2(root: Path, sessions: dict[str, tuple[int, object]] = OASIS_2_PEOPLE) -> Path:
    """Write both parts, two acquisitions a session, and the table beside them."""
    for number, session in enumerate(sessions):
        if session in ("OAS2_0002_MR3", "OAS2_0005_MR2") or session.endswith("MR9"):
            continue
        raw = root / f"OAS2_RAW_PART{1 + number % 2}" / session / "RAW"
        for acquisition in (2, 1):
            head(raw / f"mpr-{acquisition}.nifti.img", 10 * number + acquisition, nib.Nifti1Pair)
    rows = [oasis2_row(session, *one) for session, one in sessions.items()]
    table(root / "oasis_longitudinal_demographics-8d83e569fa2e2d30.csv", OASIS_2, rows)
    return root


UDS = "OASISID,OASIS_session_label,days_to_visit,age at visit,MMSE,CDRSUM,CDRTOT,memory,dx1"
ADRC = "ADRC_ADRCCLINICALDATA ID,Subject,Date,Age,mmse,ageAtEntry,cdr,commun,dx1,dx2,sumbox"
#: Person -> sex, age at entry, days of the scans, (day, CDR, diagnosis) of the visits.
OASIS_3_PEOPLE = {
    "OAS30001": (
        "F",
        65.5,
        (129, 2430),
        ((0, 0, "Cognitively normal"), (2500, 0.5, "AD Dementia")),
    ),
    "OAS30002": ("M", 60.0, (653,), ((600, 0, "Cognitively normal"), (1900, 0, ""))),
    "OAS30003": ("F", 71.0, (5,), ((900, 1, "AD Dementia"),)),
    "OAS30004": (
        "M",
        80.25,
        (40,),
        ((0, 0, "Cognitively normal"), (800, 0.5, "0.5 in memory only")),
    ),
    "OAS30005": ("F", 55.0, (10,), ()),
}
_SIDECAR = (
    '{"Manufacturer": "Siemens", "ManufacturersModelName": "TrioTim", "MagneticFieldStrength": 3}'
)


def oasis3_scans(root: Path, layout: str) -> Path:
    """Write the scans, in the ``xnat`` or the ``bids`` layout; the first session has two runs."""
    number = 0
    for person, (_, _, days, _) in OASIS_3_PEOPLE.items():
        for day in days:
            runs = ("_run-01", "_run-02") if (person, day) == ("OAS30001", 129) else ("",)
            for at, run in enumerate(runs, 2):
                number += 1
                stem = f"sub-{person}_ses-d{day:04d}{run}_T1w"
                scan = f"{person}_MR_d{day:04d}/anat{at}"
                images, sidecars = (f"{scan}/NIFTI", f"{scan}/BIDS")
                if layout == "bids":
                    images = sidecars = f"sub-{person}/ses-d{day:04d}/anat"
                if layout == "flat":
                    images = sidecars = scan
                head(root / images / f"{stem}.nii.gz", number)
                (root / sidecars).mkdir(parents=True, exist_ok=True)
                (root / sidecars / f"{stem}.json").write_text(_SIDECAR, encoding="utf-8")
    head(root / "OAS30001_MR_d0129/anat9/NIFTI/sub-OAS30001_ses-d0129_T2w.nii.gz", 50)
    return root


def oasis3_tables(root: Path, age: str) -> Path:
    """Write the ``new`` tables, as deep as they are unpacked, or the ``old`` exports."""
    rows, people = [], []
    for person, (sex, entry, _, visits) in OASIS_3_PEOPLE.items():
        people.append(f"{person},{entry},{'12'[sex == 'F']}" if age == "new" else f"{person},{sex}")
        for day, cdr, said in visits:
            if age == "new":
                label = f"{person}_UDSb4_d{day:04d}"
                rows.append(
                    f"{person},{label},{day:04d},{entry + day / 365.25:.2f},29,1,{cdr},0,{said}"
                )
            else:
                label = f"{person}_ClinicalData_d{day:04d}"
                rows.append(f"{label},{person},,,29,{entry},{cdr},0,{said},,1")
    if age == "new":
        forms = root / "OASIS3_data_files/scans"
        table(forms / "UDSb4-Form_B4/resources/csv/files/OASIS3_UDSb4_cdr.csv", UDS, rows)
        demographics = forms / "demo-demographics/resources/csv/files/OASIS3_demographics.csv"
        table(demographics, "OASISID,AgeatEntry,GENDER", people)
        healthy = forms / "CogNorm/OASIS3_unchanged_CDR_cognitively_healthy.csv"
        table(healthy, "OASIS3_id,Min of CDRTOT,Max of CDRTOT", ["OAS30002,0,0"])
    else:
        table(root / "someone_7_1_2026_12_0_0.csv", ADRC, rows)
        table(root / "someone_7_1_2026_12_1_0.csv", "Subject,M/F", people)
    return root


COLLECTION = (
    "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,Downloaded"
)
#: Person, group, visit, description, date, image.
ADNI_IMAGES = (
    ("002_S_0295", "CN", "sc", "MP-RAGE", "4/18/2006", 13722),
    ("002_S_0295", "CN", "sc", "MP-RAGE REPEAT", "4/18/2006", 13723),
    ("002_S_0295", "CN", "m12", "MPR; GradWarp; B1 Correction; N3; Scaled", "5/2/2007", 45107),
    ("002_S_0295", "CN", "sc", "3-plane localizer", "4/18/2006", 13720),
    ("005_S_4168", "LMCI", "v03", "Accelerated Sag IR-FSPGR", "9/1/2011", 254001),
    ("011_S_0010", "AD", "bl", "MPRAGE", "11/9/2005", 8001),
    ("023_S_0042", "SMC", "bl", "MP_RAGE", "1/3/2006", 9001),
)


def adni(root: Path, *, dicom: bool = False) -> Path:
    """Write the images, as DICOM by name alone or as NIfTI, and the CSV of the collection."""
    rows = []
    for person, group, visit, series, acquired, image in ADNI_IMAGES:
        rows.append(f"I{image},{person},{group},F,{70 + image % 7},{visit},MRI,{series},Original,"
                    f"{acquired},{'DCM' if dicom else 'NiFTI'},7/01/2026")  # fmt: skip
        month, day, year = acquired.split("/")
        words = series.replace("; ", "__").replace(" ", "_")
        taken = f"{year}-{int(month):02d}-{int(day):02d}_08_20_30.0"
        folder = root / "ADNI" / person / words / taken / f"I{image}"
        raw = taken[:10].replace("-", "") + "082030538"
        stem = f"ADNI_{person}_MR_{words}_br_raw_{raw}_S1_I{image}"
        if dicom:
            folder.mkdir(parents=True)
            for number in (1, 2):
                (folder / f"{stem}_{number}.dcm").write_bytes(bytes(128) + b"DICM" + bytes(8))
        else:
            head(folder / f"{stem}.nii", image)
    table(root / "T1_collection_7_01_2026.csv", COLLECTION, rows)
    return root


def adni_cdr(root: Path, age: str = "new") -> Path:
    """Write ``CDR.csv`` with PTID and VISDATE, or as ``old`` releases with RID and EXAMDATE."""
    visits = (
        ("002_S_0295", "sc", "2006-03-29", 0),
        ("002_S_0295", "m12", "2007-04-20", 0),
        ("002_S_0295", "m36", "2009-04-10", 0.5),
        ("002_S_0295", "m48", "", 1),
        ("005_S_4168", "v03", "2011-09-20", 0.5),
        ("011_S_0010", "bl", "2005-11-09", -1),
        ("023_S_0042", "bl", "2006-01-20", 0),
        ("023_S_0042", "m48", "2010-01-20", 0),
        ("099_S_9999", "bl", "2010-01-20", 0),
    )
    if age == "new":
        rows = [
            f"ADNI1,{who},{int(who[6:])},{code},{code},{when},{cdr}"
            for who, code, when, cdr in visits
        ]
        return table(
            root / "All_Subjects_CDR_10Aug2025.csv",
            "PHASE,PTID,RID,VISCODE,VISCODE2,VISDATE,CDGLOBAL",
            rows,
        )
    rows = []
    for who, code, when, cdr in visits:
        american = when and f"{when[5:7]}/{when[8:]}/{when[:4]}"
        rows.append(f"ADNI1,1,{int(who[6:])},{code},{american},1/1/2012,{cdr}")
    return table(root / "CDR.csv", "Phase,ID,RID,VISCODE,EXAMDATE,USERDATE,CDGLOBAL", rows)
