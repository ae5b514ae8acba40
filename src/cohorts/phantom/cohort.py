"""Synthetic cohort "phantom": brains with planted atrophy, laid out as OASIS-1 is.

Made, not downloaded, so that the whole pipeline runs anywhere and its maps can be held against the
truth. It shows whether code works; it says nothing about patients. See ``docs/phantom.md``.

Source of the template: Fonov et al. (2011), doi:10.1016/j.neuroimage.2010.07.033.
"""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from ...config import PhantomConfig
from ...errors import ManifestError, counted
from ...files import atomic_file, read_bytes, read_json, write_json
from ...manifest import Manifest
from ...parallel import run_parallel
from ..oasis import FOLDERS, index_session_tree
from ..registry import RATED, Limit, register_cohort
from .anatomy import deform, grid_affine, scan
from .people import COLUMNS, Person, draw_traits, plan_people, table_row

logger = logging.getLogger(__name__)

VERSION = 1  # raise it when the same settings would give other images
TABLE, RECORD, TRUTH = "phantom_cross-sectional.csv", "cohort.json", "truth"
HOMEPAGE = "https://doi.org/10.1016/j.neuroimage.2010.07.033"
DISCS = 12
_OURS = re.compile(
    rf"disc\d+/PHAN\d*_\d{{4}}_MR\d/.*|{TRUTH}/PHAN\d*_\d{{4}}[._].*|{re.escape(TABLE)}|{RECORD}"
)
_LEFTOVER = re.compile(r"\.(PHAN\d*_\d{4}|phantom_cross|cohort\.json)")  # of a killed `atomic_file`


@register_cohort(
    "phantom",
    homepage=HOMEPAGE,
    axes="LAS",
    side_known=True,
    source="a synthetic cohort warped from the ICBM152 template; no person was scanned",
    reference=f"planted severity in the place of {RATED}",
    synthetic=True,
    limits=(Limit("Phantoms show that the code works; these {n} say nothing about patients."),),
)
def index_phantom(root: str | Path) -> Manifest:
    """List the sessions of a phantom cohort; as `index_oasis`, of which it has layout and table.

    Raises:
        DataNotFoundError: The cohort has not been made.
        ManifestError: Its table and images contradict each other.
    """
    root = Path(root)
    hint = "python main.py --mode preprocess --dataset phantom"
    return index_session_tree(root, root / TABLE, r"PHAN\d*_\d{4}", "phantom", hint=hint)


def make_phantom(
    root: Path, config: PhantomConfig, seed: int, workers: int, dask: str | None = None
) -> bool:
    """Make the cohort in `root`, unless the same one is there; a stopped run is continued.

    Args:
        root: Folder of the cohort; it holds nothing else.
        config: How many people, which voxel size, how strong an atrophy.
        seed: Same seed, same bytes, whatever the number of workers.
        workers: Parallel processes.
        dask: Address of a Dask scheduler whose workers make it instead.

    Returns:
        False when nothing had to be made.

    Raises:
        ManifestError: `root` holds files that are not of a phantom cohort.
    """
    parameters = _parameters(config, seed)
    people = plan_people(config.phantom_subjects, seed, config.phantom_cause)
    missing = [person for person in people if not _is_complete(root, person, parameters)]
    recorded = _recorded(root)
    if recorded == parameters and not missing and _table_holds(root, people):
        return False
    if recorded is None:
        _refuse_strangers(root)
    _log_reason(root, recorded, parameters, len(missing), len(people))
    (root / RECORD).unlink(
        missing_ok=True
    )  # from here on, and until it ends, the cohort is partial
    absent = {person.index for person in missing}
    _clear(
        root, keep=(p for person in people if person.index not in absent for p in _files(person))
    )
    make = partial(_make_person, root=root, parameters=parameters)
    settings: dict[str, Any] = {"workers": workers, "dask": dask, "desc": "phantom"}
    for _ in run_parallel(make, missing, folder=root, **settings, name=lambda one: one.subject):
        pass
    _write_table(root, people)
    write_json(root / RECORD, parameters)
    return True


def _parameters(config: PhantomConfig, seed: int) -> dict[str, Any]:
    return {
        "generator": "phantom",
        "version": VERSION,
        "seed": seed,
        "subjects": config.phantom_subjects,
        "voxel": config.phantom_voxel,
        "effect": config.phantom_effect,
        "cause": config.phantom_cause,
        "variety": config.phantom_variety,
    }


def _make_person(person: Person, root: Path, parameters: dict[str, Any]) -> None:
    """Write one person's images and truth, and last the record that says they are whole."""
    if _is_complete(root, person, parameters):  # by a worker that a cluster lost afterwards
        return
    seed, voxel = parameters["seed"], parameters["voxel"]
    rng = np.random.default_rng([seed, person.index])
    variety = parameters["variety"]
    traits = draw_traits(person, parameters["effect"], rng, parameters["cause"], variety)
    brain = deform(voxel, traits["disease"], traits["ageing"], rng, variety)
    rows = []
    for session in range(1, person.sessions + 1):
        # New gain, bias and noise; the anatomy and the disease stay.
        noise = np.random.default_rng([seed, person.index, session])
        _write_analyze(root / _image(person, session), scan(brain, voxel, noise), voxel)
        rows.append(table_row(person, session, traits, brain, noise))
    displacement, change, record = _truth(person)
    _write_nifti(root / displacement, brain.displacement, voxel, step=1 / 128)
    _write_nifti(root / change, brain.change, voxel, step=1 / 1024)
    measured = {"tissue_fraction": brain.tissue_fraction, "rows": rows}
    write_json(root / record, {"made_with": parameters, **traits, **measured})


def _image(person: Person, session: int) -> str:
    """Return where a session's image goes; the discs fill evenly."""
    name = f"{person.subject}_MR{session}"
    disc = f"disc{(person.index - 1) % DISCS + 1}"
    return "/".join((disc, name, *FOLDERS, f"{name}_mpr_n4_anon_111_t88_masked_gfc.img"))


def _truth(person: Person) -> tuple[str, str, str]:
    stem = f"{TRUTH}/{person.subject}"
    return f"{stem}_displacement.nii.gz", f"{stem}_change.nii.gz", f"{stem}.json"


def _files(person: Person) -> list[str]:
    images = [_image(person, session) for session in range(1, person.sessions + 1)]
    return [*images, *(f"{image[:-4]}.hdr" for image in images), *_truth(person)]


def _is_complete(root: Path, person: Person, parameters: dict[str, Any]) -> bool:
    if not all((root / name).is_file() for name in _files(person)):
        return False
    record = _read_record(root / _truth(person)[-1])
    return record.get("made_with") == parameters and _has_rows(record, person)


def _has_rows(record: dict[str, Any], person: Person) -> bool:
    """Return whether a record holds the rows of the person's sessions, as `table_row` made them."""
    rows = record.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return False
    names = [f"{person.subject}_MR{session}" for session in range(1, person.sessions + 1)]
    plain = all(
        value is None or isinstance(value, str | int | float)
        for row in rows
        for value in row.values()
    )
    return (
        plain
        and [row.get("ID") for row in rows] == names
        and all(list(row) == list(COLUMNS) for row in rows)
    )


def _recorded(root: Path) -> dict[str, Any] | None:
    """Return the parameters of the cohort in `root`; None when none was finished there."""
    record = _read_record(root / RECORD) if (root / RECORD).is_file() else {}
    return record if record.get("generator") == "phantom" else None


def _read_record(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
        if isinstance(content, dict):
            return content
        error: ValueError | str = "no JSON object"
    except ValueError as wrong:  # damaged: as good as not there
        error = wrong
    logger.warning("%s is damaged (%s): it is made again", path, error)
    return {}


def _existing(root: Path) -> Iterator[str]:
    files = (path for path in root.rglob("*") if path.is_file() or path.is_symlink())
    return (path.relative_to(root).as_posix() for path in sorted(files))


def _refuse_strangers(root: Path) -> None:
    """Refuse to write among files that no phantom cohort has."""
    for name in _existing(root):
        if not Path(name).name.startswith(".") and not _OURS.fullmatch(name):
            raise ManifestError(
                f"{root} holds {name}, which is no part of a phantom cohort",
                hint="choose an empty folder, or move these files away",
            )


def _clear(root: Path, keep: Iterable[str]) -> None:
    """Remove generated files that are not to be kept; never a file of another kind."""
    kept = set(keep)
    for name in list(_existing(root)):
        path = root / name
        if _LEFTOVER.match(path.name) or (_OURS.fullmatch(name) and name not in kept):
            path.unlink()


def _log_reason(
    root: Path, old: dict[str, Any] | None, new: dict[str, Any], missing: int, total: int
) -> None:
    changed = [f"{k} {old.get(k)} -> {new[k]}" for k in new if old and old.get(k) != new[k]]
    if changed:
        logger.info("%s: made anew, because of %s", root, ", ".join(changed))
    elif missing < total:
        logger.info("%s: continued, %s still to make", root, counted(missing, "person"))
    else:
        logger.info("%s: making %s", root, counted(total, "person"))


def _write_table(root: Path, people: list[Person]) -> None:
    with atomic_file(root / TABLE, "w") as file:
        file.write(_table_text(root, people))


def _table_text(root: Path, people: list[Person]) -> str:
    rows = [row for person in people for row in _read_record(root / _truth(person)[-1])["rows"]]
    table = pd.DataFrame(rows, columns=list(COLUMNS), dtype="object")
    return str(table.to_csv(index=False, lineterminator="\n"))


def _table_holds(root: Path, people: list[Person]) -> bool:
    """Return whether the table says what the records say; a changed one is written again."""
    path = root / TABLE
    if not path.is_file():
        return False
    same = read_bytes(path) == _table_text(root, people).encode()
    if not same:
        logger.warning("%s is not as it was made: it is written again", path)
    return same


def _write_analyze(path: Path, volume: np.ndarray, voxel: float) -> None:
    """Write an Analyze 7.5 pair as OASIS-1 has: big-endian int16, with a trailing axis of 1."""
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(np.int16)
    header.set_data_shape((*volume.shape, 1))
    header.set_zooms((voxel, voxel, voxel, 1))
    with atomic_file(path.with_suffix(".hdr")) as file:
        header.write_to(file)
    with atomic_file(path) as file:
        file.write(volume.astype(">i2").tobytes(order="F"))


def _write_nifti(path: Path, volume: np.ndarray, voxel: float, step: float) -> None:
    """Write a gzipped NIfTI; rounding to `step` lets it pack three times as small."""
    rounded = np.round(volume / np.float32(step)) * np.float32(step)
    image = nib.Nifti1Image(rounded, grid_affine(voxel)[1])
    image.header.set_xyzt_units("mm")
    with (
        atomic_file(path) as file,
        # No name and no time, so that the same volume is the same bytes.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
    ):
        packed.write(image.to_bytes())
