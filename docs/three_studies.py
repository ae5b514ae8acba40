"""Three generated studies, each way: the figures of studies.md, made again.

python -m docs.three_studies [FOLDER]

The studies are phantoms in BIDS folders. They differ in voxel size, bias field, noise and age; in
the third, people with dementia were mostly scanned at a site of their own, whose images are
brighter in the grey. So a model of it can learn the site instead of the disease.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import zoom

from src.cohorts.phantom.anatomy import deform, grid_affine, scan
from src.cohorts.phantom.people import CDR, draw_traits, plan_people

logger = logging.getLogger("studies")
_IMAGES = "--dim 2d --num_slices 12 --image_size 112"
#: The brains are in template space without a skull: nothing is to be found or laid.
_AS_THEY_ARE = "--no-n4 --brain none --no-register --no-crop"


@dataclass(frozen=True)
class Generated:
    """How a study differs.

    Attributes:
        name: Of the study.
        people: Rated people.
        voxel: mm.
        bias: Strength of a bias field of its own, as a share.
        noise: Standard deviation that is added, as a share of the brightest tissue.
        years: Added to everybody's age, which opens ventricles.
        by_site: Whether the label decides, mostly, at which of two sites a person was scanned.
        seed: Of its people.
    """

    name: str
    people: int
    voxel: float
    bias: float
    noise: float
    years: int
    by_site: bool
    seed: int


STUDIES = (
    Generated("north", 72, 2.0, 0.05, 0.01, 0, False, 11),
    Generated("south", 64, 2.5, 0.30, 0.04, 6, False, 12),
    Generated("east", 60, 3.0, 0.10, 0.02, -3, True, 13),
)


def write_study(study: Generated, folder: Path) -> Path:
    """Write a study as a BIDS folder; return it."""
    root, rows = folder / study.name, []
    rng = np.random.default_rng([study.seed, 7])
    for person in plan_people(study.people, study.seed):
        own = np.random.default_rng([study.seed, person.index])
        traits = draw_traits(person, 0.8, own, "disease", 0.6)
        aged = traits["ageing"] + 0.008 * study.years
        brain = deform(study.voxel, traits["disease"], aged, own, 0.6)
        ill = person.stage not in (None, 0)
        far = rng.random() < (0.9 if ill else 0.1) if study.by_site else rng.random() < 0.5
        label = f"sub-{study.name[0].upper()}{person.index:03d}"
        image = _scanned(scan(brain, study.voxel, own), study, bool(far and study.by_site), rng)
        target = root / label / "anat" / f"{label}_T1w.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(image, grid_affine(study.voxel)[1]), target)
        rows.append(
            {
                "participant_id": label,
                "age": traits["age"] + study.years,
                "sex": traits["sex"],
                "mmse": traits["mmse"] if person.stage is not None else None,
                "cdr": None if person.stage is None else CDR[person.stage],
                "site": f"{study.name}-{2 if far else 1}",
            }
        )
    pd.DataFrame(rows).to_csv(root / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    (root / "dataset_description.json").write_text(
        '{"Name": "generated", "BIDSVersion": "1.9.0"}\n', encoding="utf-8"
    )
    return root


def _scanned(
    image: np.ndarray, study: Generated, far: bool, rng: np.random.Generator
) -> np.ndarray:
    """Return an image as this study's scanner makes it; `far` is the other site of its own."""
    inside, top = image > 0, float(np.percentile(image[image > 0], 99))
    level = image.astype(np.float64) / top
    level = np.where(inside, level ** (0.75 if far else 1.0), 0)
    nodes = rng.standard_normal((3, 3, 3))
    field = zoom(nodes, [s / 3 for s in image.shape], order=1, grid_mode=True, mode="nearest")
    level = level * np.clip(1 + study.bias * field, 0.3, 2) + study.noise * rng.standard_normal(
        image.shape
    )
    return np.where(inside, np.clip(level * 1000, 1, 32000), 0).astype(np.int16)


def main() -> int:
    """Write the studies and run every command of the page."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    places = f"--data_root {folder / 'data'} --results_dir {folder / 'results'}"
    places += f" --checkpoint_dir {folder / 'checkpoints'}"
    made = [f"--study {study.name} --data_dir {folder / study.name}" for study in STUDIES]
    names = " ".join(f"{study.name}_2d" for study in STUDIES)
    model = "--freeze_backbone --classes 2"
    for study in STUDIES:
        if not (folder / study.name / "participants.tsv").is_file():
            write_study(study, folder)
    commands = [
        *(f"--mode preprocess --dataset bids {_IMAGES} {_AS_THEY_ARE} {one}" for one in made),
        f"--mode crossdata --datasets {names} {model} --calibrate_on 20 --run three",
        f"--mode audit --dataset bids_2d --study {STUDIES[-1].name}",
    ]
    east = f"--mode crossval --dataset bids_2d --study {STUDIES[-1].name} {model}"
    commands += [
        f"{east} {how} --no-report"
        for how in (
            "--repeats 1",
            "--repeats 1 --harmonise combat",
            "--hold_out site",
            "--hold_out site --harmonise combat",
        )
    ]
    for command in commands:
        words = shlex.split(f"{command} {places}")
        logger.info("python main.py %s", command)
        ended = subprocess.run([sys.executable, "main.py", *words], check=False)  # noqa: S603 - our own words
        if ended.returncode not in (0, 3):  # 3: an audit that fails
            return ended.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
