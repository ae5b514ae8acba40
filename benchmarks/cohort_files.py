"""A cohort of any number of scans that hardly takes disk: what `benchmarks.cohort` measures on.

Tables are full size, pixels are not: a volume is a header and holes, and a slice is a small picture
of noise. A file that holds anything takes a block of the disk.

Arrays: volumes ``X Y Z`` float16, slices ``H W`` uint8.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from src.cohorts import oasis
from src.cohorts.registry import Cohort
from src.config import PreprocessConfig
from src.data.image_cache import ImageCache
from src.data.splits import split_by_person
from src.files import write_json
from src.labels import STAGES
from src.manifest import SETTINGS, Manifest
from src.preprocessing.processed import list_scans, processed_table
from src.preprocessing.scan import RECORDS, Scan, scan_key

SLICES, EDGE, PIXELS = 20, 64, 60  # per person; of a volume; of a slice
VOLUME_BYTES = 176 * 208 * 176 * 2  # of an OASIS-1 image
BLOCK = 4096  # bytes that a file with anything in it takes of most disks
SHARES = (0.6, 0.2, 0.15, 0.05)  # of the stages
KEY = r"SCAN_\d{6}"
YOUNGEST = 55
SETTINGS_3D = PreprocessConfig(volume_size=EDGE)


def make_cohort(root: Path, rows: int) -> dict[str, Any]:
    """Write both raw folders and both processed ones; return what they take of the disk."""
    table = people_table(rows)
    make_oasis_layout(root / "raw", table)
    make_nifti_layout(root / "nifti", table)
    make_volumes(root / "scale_3d", root / "raw")
    make_slices(root / "scale_2d", rows)
    stats = [path.lstat() for path in root.rglob("*") if path.is_file()]
    return {
        "files": len(stats),
        "apparent_gb": sum(one.st_size for one in stats) / 1e9,
        "allocated_mb": sum(one.st_blocks for one in stats) * 512 / 1e6,
    }


def people_table(rows: int) -> pd.DataFrame:
    """Return ``ID, M/F, Age, MMSE, CDR, eTIV, nWBV`` of `rows` rated sessions and some unrated."""
    rng = np.random.default_rng(0)
    sessions = np.repeat(np.arange(rows), rng.choice([1, 2], rows, p=[0.9, 0.1]))[:rows]
    sessions = np.concatenate([sessions, rows + np.arange(rows // 10)])
    visit = pd.Series(sessions).groupby(sessions).cumcount() + 1
    stage = rng.choice(4, sessions.max() + 1, p=SHARES)[sessions]
    cdr = np.array(["0", "0.5", "1", "2"], dtype=object)[stage]
    n = len(sessions)
    age, extra = rng.integers(YOUNGEST, 96, n), np.arange(n) - rows
    age[extra >= rows // 20] = 30  # too young; the other extra ones are not rated
    return pd.DataFrame(
        {
            "ID": [f"SCAN_{p:06d}_MR{v}" for p, v in zip(sessions, visit, strict=True)],
            "M/F": rng.choice(["F", "M"], n),
            "Age": age,
            "MMSE": np.clip(29 - 4 * stage + rng.integers(-2, 2, n), 0, 30),
            "CDR": np.where((extra < 0) | (extra >= rows // 20), cdr, ""),
            "eTIV": rng.integers(1200, 1900, n),
            "nWBV": rng.uniform(0.65, 0.85, n).round(3),
        }
    )


def make_oasis_layout(root: Path, table: pd.DataFrame) -> None:
    """Write the table and one sparse image for each session, a thousand sessions to a disc."""
    root.mkdir()
    table.to_csv(root / "oasis_cross-sectional.csv", index=False)
    for number, name in enumerate(table["ID"]):
        folder = root.joinpath(f"disc{number // 1000}", name, *oasis.FOLDERS)
        folder.mkdir(parents=True)
        sparse(folder / f"{name}_mpr_n4_anon_111_t88_masked_gfc.img", VOLUME_BYTES)


def make_nifti_layout(root: Path, table: pd.DataFrame) -> None:
    """Write one sparse volume for each session to keep into its class folder."""
    stages = dict(zip(("0", "0.5", "1", "2"), STAGES, strict=True))
    rated = table[(table["CDR"] != "") & (table["Age"] >= YOUNGEST)]
    for stage in STAGES:
        (root / stage).mkdir(parents=True)
    for name, cdr in zip(rated["ID"], rated["CDR"], strict=True):
        person, visit = name[5:11], name[-1]
        sparse(root / stages[cdr] / f"sub-{person}_ses-{visit}_T1w.nii", VOLUME_BYTES)


def make_volumes(out: Path, raw: Path) -> None:
    """Write what preprocessing would: sparse volumes, a record of each, manifest and settings."""
    manifest = rated_and_split(index_oasis_layout(raw))
    rng = np.random.default_rng(1)
    header = npy_header("<f2", (EDGE,) * 3)
    size = len(header) + 2 * EDGE**3
    (out / RECORDS).mkdir(parents=True)
    for folder in {folder for scan in scans_of(manifest) for folder in scan.folders}:
        (out / folder).mkdir(parents=True)
    for scan in scans_of(manifest):
        path = f"{scan.folders[0]}/{scan.name}.npy"
        # Noise in the block that the header takes anyway, so that no two scans are alike.
        content = header + rng.random((BLOCK - len(header)) // 2).astype(np.float16).tobytes()
        sparse(out / path, size, content)
        write_record(out, scan, [(path, None, digest(content))])
    write_dataset(out, Manifest(processed_table(out, manifest), out), "3d", "<f2", (EDGE,) * 3)


def make_slices(out: Path, rows: int) -> None:
    """Write slices of noise, 20 of each person, with manifest and settings."""
    people = max(rows // SLICES, 1)
    rng = np.random.default_rng(2)
    stage = rng.choice(4, people, p=SHARES).repeat(SLICES)
    number = np.arange(people).repeat(SLICES)
    table = pd.DataFrame(
        {
            "cohort": "scale",
            "subject": [f"SCAN_{n:06d}" for n in number],
            "session": "MR1",
            "slice": np.tile(np.arange(60, 60 + SLICES), people),
            "path": [str(n) for n in range(len(number))],
            "label": np.array(STAGES, dtype=object)[stage],
            "age": rng.integers(50, 96, people).repeat(SLICES),
        }
    )
    table = split(Manifest(table, out)).table
    names = table["subject"] + "_MR1_slice" + table["slice"].astype(str) + ".png"
    table["path"] = table["split"] + "/" + table["label"] + "/" + names
    for folder in set(table["split"] + "/" + table["label"]):
        (out / folder).mkdir(parents=True)
    prints = []
    for path in table["path"]:
        pixels = rng.integers(0, 256, (PIXELS, PIXELS), dtype=np.uint8)
        content = cv2.imencode(".png", pixels)[1].tobytes()
        (out / path).write_bytes(content)
        prints.append(digest(content))
    manifest = Manifest(table.assign(fingerprint=prints), out)
    write_dataset(out, manifest, "2d", "|u1", (PIXELS, PIXELS))


def sparse(path: Path, size: int, content: bytes = b"") -> None:
    """Write a file of `size` bytes that starts with `content`; the rest is a hole, read as 0."""
    with path.open("wb") as file:
        file.write(content)
        file.truncate(size)


def write_record(out: Path, scan: Scan, files: list[tuple[str, int | None, str]]) -> None:
    """Write a scan's record as preprocessing does."""
    grid = {"shape": [176, 208, 176], "affine": np.eye(4).tolist(), "to_ras": np.eye(4).tolist()}
    content = {
        "key": scan_key(scan, SETTINGS_3D),
        "grid": [EDGE] * 3,
        "stored": grid,
        "files": [
            {"path": path, "slice": index, "fingerprint": name, "to_stored": np.eye(4).tolist()}
            for path, index, name in files
        ],
    }
    (out / RECORDS / f"{scan.name}.json").write_text(
        json.dumps(content, indent=2), encoding="utf-8"
    )


def npy_header(kind: str, shape: tuple[int, ...]) -> bytes:
    """Return what a ``.npy`` file of such an array begins with."""
    buffer = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def write_dataset(
    out: Path, manifest: Manifest, dim: str, kind: str, shape: tuple[int, ...]
) -> None:
    """Write the manifest, the settings and an image cache of holes of a processed folder."""
    manifest.write(out)
    cache, header = ImageCache(manifest).path, npy_header(kind, (len(manifest), *shape))
    cache.parent.mkdir()
    size = len(manifest) * int(np.prod(shape)) * np.dtype(kind).itemsize
    sparse(cache, len(header) + size, header)
    settings = {"cohort": "scale", "dataset": out.name, "dim": dim, "stamps": []}
    write_json(out / SETTINGS, settings | {"preprocess": {"slice_axis": "axial"}})


def digest(content: bytes) -> str:
    """Return a hash that stands for a file's content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def index_oasis_layout(root: Path) -> Manifest:
    """List the raw cohort as OASIS-1 is listed."""
    table = root / "oasis_cross-sectional.csv"
    return oasis.index_session_tree(root, table, KEY, "scale", hint="make it again")


def split(manifest: Manifest) -> Manifest:
    """Divide people as preprocessing does by default."""
    return split_by_person(manifest, val_fraction=0.15, test_fraction=0.2, seed=0)


def rated_and_split(raw: Manifest) -> Manifest:
    """Leave out who is unrated or too young, and divide the others."""
    rated, _ = raw.partition(raw.table["label"].notna(), "not rated (no CDR)")
    return split(rated.at_least_age(YOUNGEST)[0])


def scans_of(manifest: Manifest) -> list[Scan]:
    """Return the scans to process into volumes."""
    cohort = Cohort("scale", index_oasis_layout, "", "LAS", side_known=False, layout="volume")
    return list_scans(manifest, cohort, "3d")
