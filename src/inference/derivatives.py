"""Predictions on a BIDS data set as a BIDS derivative that stands beside it.

BIDS 1.10 (Gorgolewski et al. 2016, doi:10.1038/sdata.2016.44): a derivative is a data set of its
own, whose files keep the entities of the scans they are made of. It has no suffix of its own for a
prediction; ``_prediction.json`` and ``_map.nii.gz`` are ours.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import counted
from ..files import atomic_file, write_json

logger = logging.getLogger(__name__)
PIPELINE = "mri-ad"
_NAME = re.compile(
    r"\A(sub-[0-9A-Za-z]+)((?:_ses-[0-9A-Za-z]+)?)((?:_[0-9A-Za-z-]+)*?)_T1w\.nii(\.gz)?\Z"
)
_README = """Predictions of a research model on the T1w scans of another data set.

They are no diagnoses, and this is no medical device. desc-stage_predictions.tsv has a row for each
scan; its columns are described in desc-stage_predictions.json. A scan that is outside what the
model has seen has no stage.
"""
_COLUMNS = {
    "participant_id": "Person.",
    "session_id": "Session; n/a where there is none.",
    "source": "Scan, from the root of the source data set.",
    "stage": "Most probable class; n/a where the scan is outside what the model has seen.",
    "prediction_set": "Classes that are held, joined by a blank; of 100 people of a class, the "
    "wanted share have a set that holds it.",
    "outside": "Whether the scan is outside what the model has seen.",
}


def write_derivatives(
    folder: Path, answers: Sequence[dict[str, Any]], *, source: Path, model: dict[str, Any]
) -> list[Path]:
    """Write answers as a derivative.

    Args:
        folder: Of the stage's files: maps are named relative to it. The derivative is written to
            ``derivatives/mri-ad`` in it.
        answers: As ``predictions.json`` holds them.
        source: The BIDS data set.
        model: What answered.

    Returns:
        The files written. A scan whose name is no BIDS name has none, which is logged.
    """
    root = folder / "derivatives" / PIPELINE
    shutil.rmtree(root, ignore_errors=True)
    files, rows, foreign = [], [], 0
    for answer in answers:
        path = Path(answer["source"])
        found = _NAME.match(path.name)
        if found is None:
            foreign += 1
            continue
        subject, session = found[1], found[2].removeprefix("_")
        stem = path.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_T1w")
        place = root / subject / session / "anat" if session else root / subject / "anat"
        inside = _inside(path, source)
        left_out = ("name", "source", "map")  # of the stage's own folder
        about = {key: value for key, value in answer.items() if key not in left_out}
        about["Sources"] = [f"bids:source:{inside}"]
        about["Description"] = "What a research model says of the scan; no diagnosis."
        files.append(write_json(place / f"{stem}_desc-stage_prediction.json", about))
        in_scan = folder / "maps" / f"{answer['name']}_map_in_scan.nii.gz"
        if answer["map"] and in_scan.is_file():
            target = place / f"{stem}_desc-attribution_map.nii.gz"
            with in_scan.open("rb") as read, atomic_file(target) as file:
                shutil.copyfileobj(read, file)
            files.append(target)
        rows.append(_row(answer, subject, session, inside, model["classes"]))
    if foreign:
        have = counted(foreign, "scan has", "scans have")
        logger.warning("%s no BIDS name: not in the derivative", have)
    return [*files, *_write_root(root, rows, source, model)]


def _inside(path: Path, source: Path) -> str:
    whole, root = path.resolve(), source.resolve()
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else path.name


def _row(
    answer: dict[str, Any], subject: str, session: str, source: str, classes: Sequence[str]
) -> dict[str, Any]:
    probabilities, held = answer["probabilities"] or {}, answer["prediction_set"]
    return {
        "participant_id": subject,
        "session_id": session or None,
        "source": source,
        "stage": answer["stage"],
        **{f"p_{name}": probabilities.get(name) for name in classes},
        "prediction_set": None if held is None else " ".join(held),
        "outside": str(bool(answer["outside"])).lower(),
    }


def _write_root(
    root: Path, rows: list[dict[str, Any]], source: Path, model: dict[str, Any]
) -> list[Path]:
    """Write what stands at the root of the derivative."""
    description = {
        "Name": "Stage probabilities of a research model",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": PIPELINE,
                "Description": f"{model['backbone']} trained on {model['trained_on']}",
            }
        ],
        "SourceDatasets": [{"URL": source.resolve().as_uri()}],
        "DatasetLinks": {"source": source.resolve().as_uri()},
    }
    told = {name: {"Description": text} for name, text in _COLUMNS.items()}
    told |= {
        f"p_{name}": {"Description": f"Calibrated probability of {name}, 0 to 1."}
        for name in model["classes"]
    }
    files = [write_json(root / "dataset_description.json", description)]
    files.append(write_json(root / "desc-stage_predictions.json", told))
    table = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["participant_id"])
    with atomic_file(root / "desc-stage_predictions.tsv", "w") as file:
        table.to_csv(file, sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    with atomic_file(root / "README.md", "w") as file:
        file.write(_README)
    return [*files, root / "desc-stage_predictions.tsv", root / "README.md"]
