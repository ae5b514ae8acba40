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

from ..atomic import atomic_file
from ..data.sessions import images_of, placed, plane_of
from ..preprocessing.io import write_nifti
from ..preprocessing.space.grid import PlacedVolume
from ..report.map_figures.mosaic import mosaic
from ..report.map_figures.person import PersonMap, person_figure, write_thumbnail
from ..report.map_figures.viewer import write_view
from .cases import Case
from .context import Context

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Explained:
    """A case whose map is on disk.

    Attributes:
        case: Whose.
        path: NIfTI of the map on the processed grid.
        row: Of ``maps.csv``.
    """

    case: Case
    path: Path
    row: dict[str, Any]


def write_map(
    context: Context,
    case: Case,
    image: PlacedVolume,
    volume: PlacedVolume,
    scan: NDArray[np.float32],
    strength: float,
) -> Explained:
    """Write one map in the processed image's space and in the scan's own.

    Args:
        context: Of the run.
        case: Whose map.
        image: The processed image.
        volume: The map, in shares of its maximum.
        scan: The same on the grid of the stored scan.
        strength: That maximum, in units of the explained score.
    """
    path = context.folder / "maps" / f"{case.name}_map.nii.gz"
    about = f"{context.attribution.method}, share of the map's maximum"
    write_nifti(path, volume.data, volume.affine, description=about)
    in_scan = path.with_name(f"{case.name}_map_in_scan.nii.gz")
    write_nifti(in_scan, scan, case.record.frame.affine, description=about)
    picture = write_thumbnail(path.with_name(f"{case.name}.png"), image, volume)
    at = np.unravel_index(int(volume.data.argmax()), volume.data.shape)
    peak = (volume.affine @ np.array([*at, 1.0]))[:3] if strength > 0 else [np.nan] * 3
    classes = context.classes
    row = {
        "subject": case.subject,
        "session": case.session,
        "class": classes[case.truth],
        "predicted": classes[case.predicted],
        "explained": case.target if isinstance(case.target, str) else classes[case.target],
        "p": case.probability,
        "maximum": strength,
        **{f"peak_{axis}": value for axis, value in zip("xyz", peak, strict=True)},
        "map": path.relative_to(context.folder).as_posix(),
        "map_in_scan": in_scan.relative_to(context.folder).as_posix(),
        "picture": picture.relative_to(context.folder).as_posix(),
    }
    return Explained(case, path, row)


def write_people(
    context: Context, explained: Sequence[Explained], grade: dict[str, Any] | None
) -> Iterator[Path]:
    """Draw the first people of each class by name, and write ``maps.csv``, a row per map.

    Args:
        context: Of the run.
        explained: Every case.
        grade: Verdict on the maps; a FAIL stands on every figure.
    """
    for truth, name in enumerate(context.classes):
        first: dict[str, Explained] = {}
        for one in explained:
            if one.case.truth == truth:
                first.setdefault(one.case.subject, one)
        people = [first[subject] for subject in sorted(first)][: context.config.explain.samples]
        if people:
            yield from _write_class(context, name, people, context.stamps(grade))
        else:
            logger.warning("no map of %s: it has no test people", name)
    with atomic_file(context.folder / "maps.csv", "w") as file:
        rows = pd.DataFrame([one.row for one in explained])
        rows.to_csv(file, index=False, float_format="%.6g")
    yield context.folder / "maps.csv"


def _write_class(
    context: Context, name: str, people: Sequence[Explained], stamps: tuple[str, ...]
) -> Iterator[Path]:
    """Draw people of one class together, and the first of them slice by slice and turnable."""
    title, caption = f"{context.trained.run_name}: true class {name}", context.caption()
    shown = [_person_map(context, one) for one in people]
    known, folder = context.side_known, context.folder
    yield person_figure(
        folder / f"{name}.png", shown, title, caption, side_known=known, stamps=stamps
    )
    first, case = shown[0], people[0].case
    yield mosaic(
        folder / f"{name}_slices.png", first, case.slices or None, title, caption,
        side_known=known, stamps=stamps, first=min(case.slices, default=0),
        plane=plane_of(case.record) if case.slices else "axial",
    )  # fmt: skip
    image = people[0].path.with_name(f"{case.name}_image.nii.gz")
    write_nifti(image, first.image.data, first.image.affine, description="processed image")
    yield write_view(
        folder / f"{name}_view.html", first.image, first.map, f"{title}, {first.title}",
        side_known=known, text=first.text, stamps=stamps,
    )  # fmt: skip


def _person_map(context: Context, one: Explained) -> PersonMap:
    """Return image and map of a case, the map read back from its file."""
    image = placed(images_of(context.data, one.case)[:, 0].numpy(), one.case)
    values = np.asarray(nib.load(one.path).dataobj, np.float32)  # type: ignore[attr-defined]
    row, mark = one.row, "correct" if one.case.correct else "wrong"
    text = (
        f"true {row['class']}, predicted {row['predicted']} ({mark}); "
        f"map of {row['explained']}, p = {row['p']:.2f}"
    )
    return PersonMap(image, image.replaced(values), one.case.subject, text)
