"""Stage ``gradcam``: maps of test people, class by class, from a trained checkpoint.

The people shown are chosen by their names' order, not by how well they came out.
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
from .config import RunConfig
from .dataset import MriDataset
from .device import choose_device
from .figures import cam_figure_2d, cam_figure_3d
from .gradcam import GradCAM, get_target_layer
from .inference import inference_batch, place
from .predictions import Predictions
from .runtime import progress
from .trained import Trained, open_trained

logger = logging.getLogger(__name__)
CAPTION = "Grad-CAM shows what this model used, not where disease is. Side of the head: unknown."


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
    chosen = choose_images(trained.data, config.explain.samples)
    maps = explain_images(trained, chosen, device, config.explain.target)
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


def choose_images(data: MriDataset, people_per_class: int) -> list[int]:
    """Return row numbers: per class the first people by name, and of each the middle image."""
    rows = pd.DataFrame({"subject": data.subjects, "label": data.labels}).reset_index()
    chosen: list[int] = []
    for _, people in rows.groupby("label"):
        for subject in sorted(people["subject"].unique())[:people_per_class]:
            images = people.loc[people["subject"] == subject, "index"].to_list()
            chosen.append(int(images[len(images) // 2]))
    return chosen


def explain_images(
    trained: Trained, chosen: list[int], device: torch.device, target: str
) -> pd.DataFrame:
    """Return one row per image: subject, class, predicted, explained, p, image, cam.

    Args:
        trained: Model and test data.
        chosen: Row numbers.
        device: Where to compute.
        target: ``"predicted"`` or ``"true"``: the class that is explained.
    """
    data, model = trained.data, place(trained.model, device)
    classes, rows = data.scheme.classes, []
    size = inference_batch(model.dim, device)
    with GradCAM(model, get_target_layer(model), device) as gradcam:
        for start in progress(range(0, len(chosen), size), desc="Grad-CAM"):
            numbers = chosen[start : start + size]
            images = to_unit(torch.stack([data[n][0] for n in numbers])).to(device)
            with torch.no_grad():
                logits = model.eval()(images).double().cpu().numpy()
            people = Predictions(data.labels[numbers], logits, data.subjects[numbers])
            explained = people.predicted if target == "predicted" else people.labels
            cams = gradcam.generate_cams(images, explained.tolist())
            for k, number in enumerate(numbers):
                row = data.rows.iloc[number]
                rows.append(
                    {
                        **{name: row[name] for name in ("subject", "session", "slice", "path")},
                        "class": classes[people.labels[k]],
                        "predicted": classes[people.predicted[k]],
                        "explained": classes[explained[k]],
                        "p": float(people.probabilities[k, explained[k]]),
                        "image": images[k, 0].cpu().numpy(),
                        "cam": cams[k],
                    }
                )
    return pd.DataFrame(rows)


def _figure(path: Path, trained: Trained, rows: list[dict[str, Any]], name: str) -> None:
    data = trained.data
    title = f"{trained.run_name}: true class {name}"
    stamps = data.manifest.stamps
    if trained.model.dim == "2d":
        cam_figure_2d(path, [_row(row, "image") for row in rows], title, CAPTION, stamps=stamps)
    else:
        cam_figure_3d(path, [_row(row, "volume") for row in rows], title, CAPTION, stamps=stamps)


def _row(row: dict[str, Any], image: str) -> dict[str, Any]:
    """Return what a figure shows of one map."""
    array: NDArray[np.float32] = row["image"]
    mark = "correct" if row["class"] == row["predicted"] else "wrong"
    text = f"predicted {row['predicted']} ({mark}); map of {row['explained']}, p = {row['p']:.2f}"
    return {image: array, "cam": row["cam"], "title": str(row["subject"]), "text": text}
