"""Settings of the images: which, of whom, and how they are made."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, UnknownNameError
from ..labels import LABEL_KINDS, class_scheme
from .modes import EVERY, ON_A_RUN, ON_IMAGES, ON_ONE_DATASET
from .options import checked, option
from .ranges import Range, require

#: Raw cohort -> the first part of the name of its processed data sets.
COHORTS = {
    "oasis": "oasis",
    "kaggle_orig": "kaggle",
    "kaggle_nifti": "kaggle_nifti",
    "phantom": "phantom",
    "scans": "scans",
    "bids": "bids",
    "oasis2": "oasis2",
    "oasis3": "oasis3",
    "adni": "adni",
}
#: Processed data set -> (raw cohort, dimension).
DATASETS = {f"{stem}_{dim}": (raw, dim) for raw, stem in COHORTS.items() for dim in ("2d", "3d")}
#: Raw cohort -> what its folder was called in this project's first versions.
_ONCE = {"kaggle_orig": ("kaggle",)}
#: Numbers of classes that labels can be merged to.
CLASSES = (4, 3, 2)
#: What the name of a data set ends in, beside its dimension -> the flags that ask for it.
_ENDINGS = {
    "_official": "--official_split",
    **{f"_{kind}": f"--label {kind}" for kind in LABEL_KINDS if kind != "stage"},
}


def name_cohort(name: str) -> None:
    """Let ``--dataset`` take a cohort and its data sets; one that is named already stays as it is.

    Raises:
        ConfigError: The name is no plain word, or its data sets are those of another cohort.
    """
    if name in COHORTS:
        return
    parts = set(name.lower().split("_"))
    if not re.fullmatch(r"\w+", name) or parts & {"2d", "3d", "official", *LABEL_KINDS}:
        raise ConfigError(
            f"cohort {name!r} cannot begin the names of data sets",
            hint="letters, digits and _, without 2d, 3d, official and kinds of labels: 'mystudy'",
        )
    made = {f"{name}_{dim}": (name, dim) for dim in ("2d", "3d")}
    taken = DATASETS.keys() & made.keys()
    if taken:
        one = min(taken)
        raise ConfigError(f"{one} is made of {DATASETS[one][0]}", hint="name the cohort otherwise")
    COHORTS[name] = name
    DATASETS.update(made)


def dataset_flags(name: str, cohort: str | None = None) -> str:
    """Return the flags that choose a processed data set: of ``kaggle_2d_official``, two.

    Args:
        name: Of the data set.
        cohort: It was made from; needed where the user named the study.
    """
    more = []
    for ending, flag in _ENDINGS.items():
        if name.endswith(ending):
            name = name.removesuffix(ending)
            more.append(flag)
    stem, _, dim = name.rpartition("_")
    if name not in DATASETS and cohort in COHORTS and dim in ("2d", "3d"):
        name, more = f"{COHORTS[cohort]}_{dim}", [f"--study {stem}", *more]
    return " ".join([f"--dataset {name}", *more])


@checked
@dataclass(frozen=True)
class DataConfig:
    """Which images, which people, which classes."""

    dataset: str = option(
        "phantom_2d",
        f"raw cohort ({', '.join(COHORTS)}) or processed data set ({', '.join(DATASETS)})",
        modes=ON_ONE_DATASET,
    )
    dim: str | None = option(
        None,
        "2d slices or 3d volumes, when --dataset names a raw cohort (default: 2d)",
        ("2d", "3d"),
        modes=ON_ONE_DATASET,
    )
    datasets: tuple[str, ...] = option(
        (),
        "crossdata: processed data sets, two or more, by name below --data_root or by folder, such "
        "as oasis3_2d aibl_2d",
        modes=("crossdata",),
    )
    data_root: Path = option(Path("data"), "folder that holds all data sets", modes=ON_A_RUN)
    data_dir: Path | None = option(
        None,
        "folder that the stage reads: raw files for preprocess and full, else processed files",
        modes=("preprocess", *ON_IMAGES, "audit", "report"),
    )
    against: Path | None = option(
        None,
        "audit: whom else to look for: a split file, a checkpoint, a data set or a study's table, "
        "compared with --data_dir, --checkpoint or --dataset",
        modes=("audit",),
    )
    cache_dir: Path | None = option(
        None,
        "folder of the image cache (default: .cache in the processed data set)",
        modes=(*ON_IMAGES, "crossdata"),
    )
    slice_files: str = option(
        "png",
        "2D: png, a picture file per slice; zip, one file per scan with the same pictures in it, "
        "which is faster to write where making a file is slow",
        ("png", "zip"),
        modes=("preprocess",),
    )
    study: str | None = option(
        None,
        "a name of your own for the data set, where several are of one cohort: --study aibl with "
        "--dataset bids_3d is data/aibl_3d",
        modes=ON_ONE_DATASET,
    )
    label: str = option(
        "stage",
        "what is learnt: stage, by the CDR; diagnosis, CN, MCI or AD as the study gives it; "
        "conversion, whether people at CDR 0 reach a higher one within --months",
        LABEL_KINDS,
        modes=ON_ONE_DATASET,
    )
    classes: int | None = option(
        None,
        "stages: 4, 3 (CDR >= 1 together) or 2 (CDR 0 against > 0); diagnoses: 3, or 2 (CN against "
        "MCI or AD) (default: the most)",
        CLASSES,
        modes=ON_A_RUN,
    )
    sessions: str = option(
        "all",
        "visits of a person that are used: all, or the first",
        ("all", "first"),
        modes=("preprocess",),
    )
    rating_days: float = option(
        365.0,
        "most days between a scan and the rating or diagnosis that labels it",
        within=Range(0, 10_000, note="days"),
        modes=("preprocess",),
    )
    months: float = option(
        36.0,
        "--label conversion: months after the first scan in which a higher CDR counts",
        within=Range(1, 600, note="months"),
        modes=("preprocess",),
    )
    min_age: float = option(
        0.0,
        "leave out people younger than this, in years",
        within=Range(0, 125, note="years"),
        modes=("preprocess", *ON_IMAGES, "crossdata"),
    )
    keep_unrated: bool = option(
        False,
        "keep scans without a rating: with train --tasks stage,age their ages are learnt from, "
        "never a stage",
        modes=("preprocess",),
    )
    official_split: bool = option(
        False,
        "keep the Kaggle train/test split, which has the same people on both sides",
        modes=ON_ONE_DATASET,
    )
    split: Path | None = option(
        None,
        "who is on which side: a table with the columns subject and split; of a cross-validation, "
        "repeat, fold, subject and side; a split.csv of hashes; or a folder of ClinicaDL "
        "(default: by --seed)",
        modes=("preprocess", *ON_IMAGES),
    )
    val_fraction: float = option(
        0.15,
        "share of people for validation",
        within=Range(0, 0.5, open_low=True, open_high=True),
        modes=("preprocess", "crossval", "crossdata"),
    )
    test_fraction: float = option(
        0.2,
        "share of people for test",
        within=Range(0, 0.5, open_low=True, open_high=True),
        modes=("preprocess",),
    )
    seed: int = option(
        0, "seed of phantom, split and training", within=Range(0, 2**32 - 1), modes=EVERY
    )

    def __post_init__(self) -> None:
        if self.dataset not in COHORTS and self.dataset in COHORTS.values():
            raw = next(raw for raw, stem in COHORTS.items() if stem == self.dataset)
            raise ConfigError(
                f"dataset {self.dataset!r} can be {raw} or a processed {self.dataset}_2d, _3d",
                hint=f"--dataset {raw} for preprocess and full, --dataset {self.dataset}_2d or "
                f"--dataset {self.dataset}_3d for the others",
            )
        if self.dataset not in COHORTS and self.dataset not in DATASETS:
            raise UnknownNameError("dataset", self.dataset, [*COHORTS, *DATASETS])
        if self.datasets:
            object.__setattr__(self, "dataset", f"phantom_{_common_dim(self.datasets)}")
            object.__setattr__(self, "study", joined_name(self.datasets))
        named = DATASETS.get(self.dataset, ("", None))[1]
        require(self.dim in (None, "2d", "3d"), f"--dim {self.dim!r} is neither 2d nor 3d")
        require(
            not (named and self.dim and named != self.dim),
            f"--dataset {self.dataset} contradicts --dim {self.dim}",
        )
        # As many classes as the kind of label has, where none were asked for.
        scheme = class_scheme(self.classes, self.label)
        object.__setattr__(self, "classes", len(scheme.classes))
        if not self.datasets:  # whose name was made of theirs
            _check_study(self.study)
        require(
            not self.official_split or self.cohort == "kaggle_orig",
            f"--official_split: {self.cohort} has no official split",
        )
        require(
            not (self.official_split and self.split),
            "--split puts people on sides, and --official_split keeps images where they are",
        )

    @property
    def cohort(self) -> str:
        """Raw cohort: ``kaggle_2d`` -> ``kaggle_orig``."""
        return DATASETS[self.dataset][0] if self.dataset in DATASETS else self.dataset

    @property
    def model_dim(self) -> str:
        """``"2d"`` or ``"3d"``."""
        return DATASETS[self.dataset][1] if self.dataset in DATASETS else (self.dim or "2d")

    @property
    def name(self) -> str:
        """Name of the processed data set: ``oasis`` with ``--dim 3d`` -> ``oasis_3d``."""
        name = f"{self.study or COHORTS[self.cohort]}_{self.model_dim}"
        name += "_official" if self.official_split else ""
        return name + (f"_{self.label}" if self.label != "stage" else "")

    @property
    def num_classes(self) -> int:
        """Number of classes: those asked for, or as many as the kind of label has."""
        assert self.classes is not None  # `__post_init__` filled it in
        return self.classes

    @property
    def raw_dir(self) -> Path:
        """Folder of the raw cohort: as the cohort is called, else the only one of `raw_folders`."""
        own = self.data_root / self.cohort
        if self.data_dir or own.exists():
            return self.data_dir or own
        others = self.raw_folders
        return others[0] if len(others) == 1 else own

    @property
    def raw_folders(self) -> list[Path]:
        """Folders below `data_root` that are called as the cohort, or as it was, in any case."""
        names = {self.cohort, *_ONCE.get(self.cohort, ())}
        if self.cohort == "phantom" or not self.data_root.is_dir():  # a phantom is made, not found
            return []
        below = sorted(self.data_root.iterdir())
        return [folder for folder in below if folder.name.lower() in names and folder.is_dir()]

    @property
    def processed_dir(self) -> Path:
        """Folder that preprocessing writes to, and training reads by default."""
        return self.data_root / self.name


def _common_dim(datasets: tuple[str, ...]) -> str:
    """Return the dimension that the names of data sets tell, which must be one."""
    found: dict[str, str] = {}
    for name in datasets:
        dim = people_of_dataset(Path(name).name).rpartition("_")[2]
        if dim not in ("2d", "3d"):
            raise ConfigError(
                f"--datasets {name}: its name does not end in _2d or _3d",
                hint="name processed data sets, as --mode preprocess makes them",
            )
        found.setdefault(dim, name)
    if len(found) > 1:
        raise ConfigError(
            f"--datasets: {found['2d']} are slices and {found['3d']} volumes",
            hint="name data sets of one dimension",
        )
    return next(iter(found))


def joined_name(datasets: Sequence[str]) -> str:
    """Return one name for several data sets: of ``a_2d`` and ``b_2d`` it is ``a-b``."""
    stems = [people_of_dataset(Path(name).name).rpartition("_")[0] for name in datasets]
    name = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(stems)).strip("-")
    if 0 < len(name) <= 40:
        return name
    digest = hashlib.blake2b(" ".join(datasets).encode(), digest_size=4).hexdigest()
    return f"{len(datasets)}-studies-{digest}"


def kind_of_dataset(name: str) -> str:
    """Return the kind of label that the name of a data set tells."""
    kinds = (kind for kind in LABEL_KINDS if name.endswith(f"_{kind}"))
    return next(kinds, "stage")


def people_of_dataset(name: str) -> str:
    """Return a data set's name without what tells its split and labels: the same people's."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


def _check_study(name: str | None) -> None:
    """Refuse a study's name that is no plain file name, or that is a data set's own."""
    if name is None:
        return
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}", name) is not None
    require(plain, f"--study {name!r} is no plain name: up to 40 letters, digits and -")
    require(
        name not in (*COHORTS, *COHORTS.values()),
        f"--study {name} is what a cohort is called; choose another name",
    )


@checked
@dataclass(frozen=True)
class PhantomConfig:
    """The synthetic cohort that needs no download."""

    phantom_subjects: int = option(
        80,
        "rated people, 50 / 25 / 15 / 10 %% of them at CDR 0 / 0.5 / 1 / 2",
        within=Range(8, 9000),
    )
    phantom_voxel: float = option(2.0, "voxel size in mm", within=Range(1, 4, note="mm"))
    phantom_effect: float = option(
        1.0,
        "strength of the planted atrophy; 0 plants none, and labels are noise",
        within=Range(0, 1, note="(above, space would fold)"),
    )
    phantom_cause: str = option(
        "disease",
        "what labels follow: the planted atrophy, or age alone, which opens ventricles too",
        ("disease", "age"),
    )
    phantom_variety: float = option(
        0.0, "how much sulci and ventricles of healthy people differ, 0 to 1", within=Range(0, 1)
    )


@checked
@dataclass(frozen=True)
class PreprocessConfig:
    """How voxels become processed files."""

    num_slices: int = option(
        20, "2D: slices per volume, spread over the brain", within=Range(1, 512)
    )
    slice_axis: str = option("axial", "2D: plane of the slices", ("axial", "coronal", "sagittal"))
    image_size: int = option(
        224, "2D: width and height of a slice, in pixels", within=Range(32, 1024)
    )
    volume_size: int = option(128, "3D: edge of the volume, in voxels", within=Range(32, 512))
    field: str = option(
        "brain",
        "3D: cut each volume to its own brain, or keep the whole field of view, which is the same "
        "for all people of registered scans",
        ("brain", "whole"),
    )


#: Settings that came later, with what every data set had that was made before.
_CAME_LATER = {"field": "brain"}


def made_with(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings of preprocessing with those that came later."""
    return {**_CAME_LATER, **stored}


@checked
@dataclass(frozen=True)
class ScanConfig:
    """What is done to raw scans (``scans``, ``bids``, and new ones) before anything else."""

    n4: bool = option(True, "raw scans: correct slow changes of brightness (N4)")
    brain: str = option(
        "auto",
        "raw scans: how the brain is found; none takes what is not zero; auto: deepbet, unless "
        "the scan is skull-stripped already",
        ("auto", "deepbet", "none"),
    )
    register: bool = option(True, "raw scans: lay the brain on the ICBM152 template (affine)")
    crop: bool = option(True, "raw scans: cut to 176 x 208 x 176 mm around the template's brain")
    let_in: str | None = option(
        None,
        "scans that quality control set aside, to be used all the same; joined by commas",
    )

    @property
    def names_let_in(self) -> tuple[str, ...]:
        """The names of `let_in`."""
        return tuple(name.strip() for name in (self.let_in or "").split(",") if name.strip())
