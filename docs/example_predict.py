"""Make docs/example_predict.png: what `--mode predict` does with a raw head, from head to map.

The head is a phantom of a person whom no data set has, with fluid, a skull and a scalp around its
brain, tilted in a scanner. From the root of the clone:

    python -m docs.example_predict

Arrays: ``X Y Z`` voxels. Affines map voxels to mm.
"""

from __future__ import annotations

import io
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from src.cli import main
from src.cohorts.phantom.anatomy import deform, grid_affine, scan
from src.report.map_figures.person import three_planes
from tests.damaged_heads import whole_head

RUN = "example_predict"
FOLDER = Path("results", RUN, "predict")
ROOT = Path("data", RUN)  # of its own: other settings would replace the phantoms that are there
HEAD = ROOT / "phantom_head.nii.gz"
DATA = ["--dataset", "phantom_3d", "--phantom_subjects", "120", "--volume_size", "64"]
DATA += ["--data_root", str(ROOT)]
VOXEL, SEED = 1.0, 7
DISEASE, AGEING = 0.8, 0.1
TILT, SHIFT, SIZE = (8, -6, 10), (12, -20, 15), 0.94  # degrees about X, Y, Z; mm; of the template
SCANNER, NOISE = (1.0, 1.0, 1.2), 0.03  # voxels, mm; share of the brightest tissue


def write_head(path: Path) -> None:
    """Write a phantom's head as a scanner might: tilted, with voxels of its own."""
    rng = np.random.default_rng(SEED)
    brain = scan(deform(VOXEL, DISEASE, AGEING, rng), VOXEL, rng).astype(np.float32)
    head, _ = whole_head(brain, VOXEL, rng)
    affine = grid_affine(VOXEL)[1]
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, (head.shape[0] - brain.shape[0]) / 2)
    motion = np.eye(4)
    motion[:3, :3] = SIZE * Rotation.from_euler("xyz", TILT, degrees=True).as_matrix()
    motion[:3, 3] = SHIFT
    place = motion @ affine
    middle = place @ np.array([*(n / 2 for n in head.shape), 1])
    shape = tuple(round(n * VOXEL / v) for n, v in zip(head.shape, SCANNER, strict=True))
    grid = np.diag([*SCANNER, 1.0])
    grid[:3, 3] = middle[:3] - np.array(SCANNER) * shape / 2
    step = np.linalg.inv(place) @ grid
    taken = ndimage.affine_transform(head, step[:3, :3], step[:3, 3], shape, order=3)
    taken += NOISE * float(brain.max()) * rng.standard_normal(shape, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.clip(taken, 0, None).astype(np.int16), grid), path)


def planes(image: Any, values: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """Return three planes of a NIfTI image, through the peak of a map if there is one."""
    image = nib.as_closest_canonical(image)
    data = np.asarray(image.dataobj, np.float32)
    values = np.zeros_like(data) if values is None else values
    return three_planes(data, values, np.array(image.header.get_zooms()[:3]), 330)


def words(answer: dict[str, Any]) -> str:
    """Return what was answered, in lines."""
    stage = answer["stage"]
    said = [
        f"Most probable stage: {stage}, p = {answer['probabilities'][stage]:.2f}.",
        f"Prediction set: {' or '.join(answer['prediction_set'])}.",
        *(f"Caution: {line}." for line in answer["caution"]),
        *(f"Flag: {line}." for line in answer["flags"]),
    ]
    return "\n\n".join(textwrap.fill(line, 62) for line in said)


def draw(path: Path) -> None:
    """Assemble the picture of what lies in the folder of the answers."""
    name = HEAD.name.removesuffix(".nii.gz")
    answer = json.loads((FOLDER / "predictions.json").read_text(encoding="utf-8"))["answers"][0]
    if answer["stage"] is None:
        sys.exit(f"{name} is not answered: {'; '.join(answer['reasons'])}")
    head, image = nib.load(HEAD), nib.load(FOLDER / "maps" / f"{name}_image.nii.gz")
    in_scan = nib.as_closest_canonical(nib.load(FOLDER / "maps" / f"{name}_map_in_scan.nii.gz"))
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    rows = [["head", "said"], ["found", "found"], ["image", "map"]]
    parts: dict[str, Any] = figure.subplot_mosaic(rows)
    for key, title, picture in (
        ("head", "1. The head, as it came", planes(head)),
        ("found", "2. The brain that was found, laid on the template", None),
        ("image", "3. What the network sees", planes(image)),
        ("map", "4. The map, over the head", planes(head, np.asarray(in_scan.dataobj))),
    ):
        shown = picture if picture is not None else Image.open(FOLDER / "standard" / f"{name}.jpg")
        parts[key].imshow(shown)
        parts[key].set_title(title, loc="left", fontsize=11)
    parts["said"].set_title("What is said", loc="left", fontsize=11)
    parts["said"].text(0, 0.95, words(answer), va="top", fontsize=9.5)
    for axes in parts.values():
        axes.axis("off")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    rgb = np.asarray(Image.open(drawn).convert("RGB"))
    few = np.rint(np.rint(rgb * (31 / 255)) * (255 / 31))  # 32 levels keep the file small
    Image.fromarray(few.astype(np.uint8)).save(path, optimize=True)


def make() -> None:
    """Train a model on phantoms, ask it about the head, and draw."""
    write_head(HEAD)
    checkpoint = f"checkpoints/{RUN}/best_model.pth"
    for words_typed in (
        ["--mode", "preprocess", *DATA],
        ["--mode", "train", *DATA, "--classes", "3", "--epochs", "12", "--run", RUN],
        ["--mode", "predict", "--input", str(HEAD), "--checkpoint", checkpoint],
    ):
        if code := main(words_typed):
            sys.exit(code)
    draw(Path("docs", f"{RUN}.png"))


if __name__ == "__main__":
    make()
