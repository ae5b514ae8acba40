"""Files of single people: maps as NIfTI, figures of the first of each class, an interactive view.

Arrays: ``X Y Z`` voxels of the processed grid, RAS+; ``I J K`` of the stored scan.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.sessions import images_of, placed, plane_of
from ..files import atomic_file
from ..preprocessing.io import write_nifti
from ..report.map_figures.mosaic import mosaic
from ..report.map_figures.person import PersonMap, person_figure, write_thumbnail
from .attribution import STEP
from .cases import Case, CaseMap
from .map_run import MapRun
from .planted import Scores
from .truth import SliceScore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Explained:
    """A case whose map is on disk.

    Attributes:
        case: Whose.
        path: NIfTI of the map on the processed grid.
        row: Of ``maps.csv``.
        scores: Against the planted change, of a phantom that counts.
        slices: Of such a phantom, how slices weigh, where the model weighs them.
    """

    case: Case
    path: Path
    row: dict[str, Any]
    scores: Scores | None
    slices: SliceScore | None = None


def write_map(run: MapRun, one: CaseMap) -> tuple[Path, dict[str, Any]]:
    """Write one map in the processed image's space and in the scan's own.

    Returns:
        The first of the two files, and the row of ``maps.csv``.
    """
    case, classes = one.case, run.classes
    path = run.folder / "maps" / f"{case.name}_map.nii.gz"
    about = f"{run.attribution.method}, share of the map's maximum"
    write_nifti(path, one.volume.data, one.volume.affine, description=about, step=STEP)
    in_scan = path.with_name(f"{case.name}_map_in_scan.nii.gz")
    write_nifti(in_scan, one.scan, case.record.frame.affine, description=about, step=STEP)
    picture = write_thumbnail(path.with_name(f"{case.name}.png"), one.image, one.volume)
    return path, {
        "subject": case.subject,
        "session": case.session,
        "class": classes[case.truth],
        "predicted": classes[case.predicted],
        "explained": case.target if isinstance(case.target, str) else classes[case.target],
        "p": case.probability,
        "maximum": one.strength,
        **{f"peak_{axis}": value for axis, value in zip("xyz", _peak(one), strict=True)},
        **({"fold": case.model} if run.out_of_fold else {}),
        "side_known": run.side_known_of(case),
        "map": path.relative_to(run.folder).as_posix(),
        "map_in_scan": in_scan.relative_to(run.folder).as_posix(),
        "picture": picture.relative_to(run.folder).as_posix(),
    }


def _peak(one: CaseMap) -> list[float]:
    """Return where the map is strongest, in mm of the processed image's space; NaN if nowhere."""
    if not one.strength > 0:
        return [np.nan] * 3
    at = np.unravel_index(int(one.volume.data.argmax()), one.volume.data.shape)
    peak: NDArray[np.float64] = one.volume.affine @ np.array([*at, 1.0])
    return [float(value) for value in peak[:3]]


def write_people(run: MapRun, explained: Sequence[Explained]) -> Iterator[Path]:
    """Draw the first people of each class by name, and write ``maps.csv``, a row per map.

    Args:
        run: Graded: a FAIL stands on every figure.
        explained: Every case.
    """
    for truth, name in enumerate(run.classes):
        first: dict[str, Explained] = {}
        for one in explained:
            if one.case.truth == truth:
                first.setdefault(one.case.subject, one)
        people = [first[subject] for subject in sorted(first)][: run.config.explain.samples]
        if people:
            yield from _write_class(run, name, people)
        else:
            logger.warning("no map of %s: it has no test people", name)
    with atomic_file(run.folder / "maps.csv", "w") as file:
        rows = pd.DataFrame([one.row for one in explained])
        rows.to_csv(file, index=False, float_format="%.6g")
    yield run.folder / "maps.csv"


def _write_class(run: MapRun, name: str, people: Sequence[Explained]) -> Iterator[Path]:
    """Draw people of one class together, and the first of them slice by slice."""
    title = f"{run.name}: true class {name}"
    shown = [_person_map(run, one) for one in people]
    folder, stamps = run.folder, run.stamps
    known = all(run.side_known_of(one.case) for one in people)
    yield person_figure(
        *(folder / f"{name}.png", shown, title, run.caption_of(known)),
        side_known=known,
        stamps=stamps,
    )
    first, case = shown[0], people[0].case
    known = run.side_known_of(case)
    caption = run.caption_of(known)
    yield mosaic(
        folder / f"{name}_slices.png", first, case.slices or None, title, caption,
        side_known=known, stamps=stamps, first=min(case.slices, default=0),
        plane=plane_of(case.record) if case.slices else "axial",
        weights=None if case.weights is None else case.weights / case.weights.sum(),
    )  # fmt: skip
    image = people[0].path.with_name(f"{case.name}_image.nii.gz")
    write_nifti(image, first.image.data, first.image.affine, description="processed image")


def _person_map(run: MapRun, one: Explained) -> PersonMap:
    """Return image and map of a case, the map read back from its file."""
    image = placed(images_of(run.data, one.case)[:, 0].numpy(), one.case)
    values = np.asarray(nib.load(one.path).dataobj, np.float32)  # type: ignore[attr-defined]
    row, mark = one.row, "correct" if one.case.correct else "wrong"
    text = (
        f"true {row['class']}, predicted {row['predicted']} ({mark}); "
        f"map of {row['explained']}, p = {row['p']:.2f}"
    )
    return PersonMap(image, image.replaced(values), one.case.subject, text)
