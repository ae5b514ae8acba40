"""Stage ``gradcam``: maps of test people, class by class, from a trained checkpoint.

The people shown are the first by name, not those that came out well. Of a person in 2D, the slice
is shown that speaks most for the explained class.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from .atomic import atomic_file
from .augment import to_unit
from .classifier import Classifier
from .config import RunConfig
from .dataset import MriDataset
from .device import choose_device
from .figures import cam_figure_2d, cam_figure_3d
from .gradcam import GradCAM, get_target_layer
from .inference import inference_batch, place
from .predictions import Predictions, per_person
from .runtime import progress
from .trained import Trained, open_trained

logger = logging.getLogger(__name__)
_RIGHT = "The right of the image is the right of the head."
CAPTION = "Grad-CAM shows what this model used, not where disease is."


def run(config: RunConfig) -> Iterator[Path]:
    """Make Grad-CAM overlays of test people for each true class.

    Yields:
        ``<Class>.png`` per class with test people, and ``maps.csv``, one row per map.

    Raises:
        CheckpointError: There is no checkpoint: maps of untrained weights mean nothing.
    """
    trained = open_trained(config)
    device, reason = choose_device(config.device)
    logger.info("device: %s (%s)", device, reason)
    folder = config.results_dir / "gradcam" / trained.run_name
    chosen = choose_people(trained.data, config.explain.samples)
    maps = explain_people(trained, chosen, device, config.explain.target)
    for stale in folder.glob("*.png"):  # of an earlier run, perhaps of other classes
        stale.unlink()
    for name, rows in maps.groupby("class", sort=False):
        path = folder / f"{name}.png"
        _figure(path, trained, rows.to_dict("records"), str(name))
        yield path
    absent = set(trained.data.scheme.classes) - set(maps["class"])
    for name in sorted(absent):
        logger.warning("no map of %s: it has no test people", name)
    with atomic_file(folder / "maps.csv", "w") as file:
        maps.drop(columns=["image", "cam"]).to_csv(file, index=False, float_format="%.6g")
    yield folder / "maps.csv"


def choose_people(data: MriDataset, per_class: int) -> dict[str, list[int]]:
    """Return the first people of each class by name, and the row numbers of their images."""
    rows = pd.DataFrame({"subject": data.subjects, "label": data.labels})
    chosen: dict[str, list[int]] = {}
    for _, people in rows.groupby("label"):
        for subject in sorted(people["subject"].unique())[:per_class]:
            chosen[subject] = np.flatnonzero(rows["subject"] == subject).tolist()
    return chosen


def explain_people(
    trained: Trained, chosen: dict[str, list[int]], device: torch.device, target: str
) -> pd.DataFrame:
    """Explain each person by the image that speaks most for the explained class.

    Args:
        trained: Model and test data.
        chosen: Person -> row numbers.
        device: Where to compute.
        target: ``"predicted"`` or ``"true"``: the person's class that is explained.

    Returns:
        One row per person: subject, session, slice, path, class, predicted, explained, p (of the
        explained class, per person, calibrated), image and cam, ``(H, W)`` or ``(X, Y, Z)`` in
        [0, 1].
    """
    data, model = trained.data, place(trained.model, device).eval()
    classes, rows = data.scheme.classes, []
    with GradCAM(model, get_target_layer(model), device) as gradcam:
        for subject, numbers in progress(chosen.items(), total=len(chosen), desc="Grad-CAM"):
            images = Predictions(
                data.labels[numbers], _logits(model, data, numbers, device), data.subjects[numbers]
            )
            person = model.calibrated(per_person(images))
            truth, predicted = int(person.labels[0]), int(person.predicted[0])
            explained = predicted if target == "predicted" else truth
            best = numbers[int(images.log_probabilities[:, explained].argmax())]
            image = to_unit(data[best][0])
            row = data.rows.iloc[best]
            rows.append(
                {
                    "subject": subject,
                    **{name: row[name] for name in ("session", "slice", "path")},
                    "class": classes[truth],
                    "predicted": classes[predicted],
                    "explained": classes[explained],
                    "p": float(person.probabilities[0, explained]),
                    "image": image[0].numpy(),
                    "cam": gradcam.generate_cam(image, explained),
                }
            )
    return pd.DataFrame(rows)


@torch.no_grad()
def _logits(
    model: Classifier, data: MriDataset, numbers: list[int], device: torch.device
) -> NDArray[np.float64]:
    size, parts = inference_batch(model.dim, device), []
    for start in range(0, len(numbers), size):
        images = torch.stack([data[number][0] for number in numbers[start : start + size]])
        parts.append(model(to_unit(images.to(device))).double().cpu().numpy())
    return np.concatenate(parts)


def _figure(path: Path, trained: Trained, rows: list[dict[str, Any]], name: str) -> None:
    data = trained.data
    title = f"{trained.run_name}: true class {name}"
    known = bool(data.settings.get("side_known"))
    side = _RIGHT if known else "Left and right are unknown."
    draw, key = (cam_figure_2d, "image") if trained.model.dim == "2d" else (cam_figure_3d, "volume")
    panels = [_row(row, key) for row in rows]
    draw(path, panels, title, f"{CAPTION} {side}", stamps=data.manifest.stamps)


def _row(row: dict[str, Any], image: str) -> dict[str, Any]:
    """Return what a figure shows of one map."""
    array: NDArray[np.float32] = row["image"]
    mark = "correct" if row["class"] == row["predicted"] else "wrong"
    text = f"predicted {row['predicted']} ({mark}); map of {row['explained']}, p = {row['p']:.2f}"
    return {image: array, "cam": row["cam"], "title": str(row["subject"]), "text": text}
