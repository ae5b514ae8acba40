"""Open a processed folder, check it against leaks, and make loaders of its splits."""

from __future__ import annotations

import logging
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..config import COHORTS, DEFAULT_BATCH_SIZE
from ..config.training import require_dim
from ..errors import (
    ConfigError,
    DataNotFoundError,
    LeakageError,
    ManifestError,
    UnknownNameError,
    counted,
    require_kind,
)
from ..labels import ClassScheme, class_scheme
from ..manifest import (
    MANIFEST,
    SAME_PEOPLE,
    SETTINGS,
    SPLITS,
    Manifest,
    count_people,
    read_settings,
)
from ..runtime import usable_cores
from .bare_folder import how_to_make, read_class_folders
from .class_people import require_classes
from .dataset import MriDataset, make_loader, own_dataset, require_people
from .given_split import with_split
from .image_cache import ImageCache
from .split_files import read_split

logger = logging.getLogger(__name__)


def open_dataset(
    folder: str | Path,
    dim: str,
    scheme: ClassScheme,
    *,
    min_age: float = 0,
    seed: int = 0,
    allow_leaks: bool = False,
    cache_dir: str | Path | None = None,
    split_file: str | Path | None = None,
) -> MriDataset:
    """Open the training split of a processed folder; its other splits follow from it.

    Args:
        folder: Holds ``manifest.csv``, or ``train/<class>/`` and ``test/<class>/``.
        dim: ``"2d"`` or ``"3d"``.
        scheme: How stages become classes.
        min_age: Leave out people younger than this, in years.
        seed: Seed of the validation part, when the folder has no manifest.
        allow_leaks: Stamp a split with a person or a file on two sides, and open it.
        cache_dir: Folder of the image cache; None takes ``.cache`` in `folder`.
        split_file: Says who is on which side, in place of the folder (`split_files`).

    Raises:
        DataNotFoundError: The folder is missing or has no images.
        ConfigError: The folder holds slices and volumes were asked for, or the reverse.
        LeakageError: A person or a file stands on two sides, and `allow_leaks` is off.
    """
    folder = Path(folder)
    cache_dir = Path(cache_dir) if cache_dir else None
    if not folder.is_dir():
        raise DataNotFoundError(folder, hint=how_to_make(folder, dim))
    settings: dict[str, Any] = {}
    if (folder / SETTINGS).is_file():
        settings = read_settings(folder / SETTINGS)
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read(folder)
        manifest.require_labels()
        _require_everyone(manifest, settings)
    elif settings or (folder / ".scans").is_dir():
        raise DataNotFoundError(folder / MANIFEST, hint=how_to_make(folder, dim))
    else:
        manifest = read_class_folders(folder, dim, seed)
    stored = settings.get(
        "dim", "3d" if manifest.table["path"].str.endswith(".npy").any() else "2d"
    )
    if stored != dim:
        raise ConfigError(
            f"{folder} holds {stored} images, not {dim}",
            hint=f"--dim {stored} (in Python: model_dim={stored!r})",
        )
    if split_file is not None:
        manifest = with_split(manifest, read_split(split_file), seed=seed)
    try:
        manifest.check_disjoint()
    except LeakageError as error:
        if not allow_leaks:
            hint = f"{error.hint}; --allow_leaks goes on and stamps the result"
            raise LeakageError(error.message, hint=hint) from None
        logger.warning("%s; allowed, and stamped", error.message)
        manifest = manifest.with_stamps(SAME_PEOPLE)
    cache = ImageCache(manifest, cache_dir)  # of everyone, whoever is left out below
    kept, removed = manifest.at_least_age(min_age)
    if len(removed):
        people = removed["subject"].nunique()
        logger.info("--min_age %g leaves out %s", min_age, counted(people, "person"))
    return MriDataset(kept, "train", scheme, settings, cache)


def _require_everyone(manifest: Manifest, settings: dict[str, Any]) -> None:
    """Refuse a table that lost people since it was made; a user's own counts nobody.

    Raises:
        ManifestError: It has another number of people of a stage in a split.
    """
    counted_then = settings.get("people")
    if counted_then is not None and counted_then != count_people(manifest).to_dict("index"):
        path = manifest.root / MANIFEST
        raise ManifestError(
            f"{path} has other people in its splits than {SETTINGS} beside it counts",
            hint=f"preprocess again; of a table that you changed, remove people from {SETTINGS}",
        )


def create_data_loaders(
    data_dir: str | Path,
    dataset_type: str | None = None,
    model_dim: str = "2d",
    batch_size: int | None = None,
    num_workers: int | None = None,
    *,
    splits: tuple[str, ...] = ("train", "test"),
    num_classes: int = 4,
    min_age: float = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
) -> tuple[DataLoader[Any], ...]:
    """Open a processed data set and return one loader per split, in the order of `splits`.

    The train loader knows its data set's validation people: a Trainer that is handed the test
    loader chooses its epoch on those, and opens the test loader once, at the end.

    Args:
        data_dir: A processed folder, or one with ``train/<class>/`` and ``test/<class>/``.
        dataset_type: What the folder must have been made from: a cohort, or how the names of its
            data sets begin (`COHORTS`); None takes what it was made from.
        model_dim: ``"2d"`` or ``"3d"``.
        batch_size: Largest batch; None takes 32 in 2D and 4 in 3D.
        num_workers: Processes that read ahead; None reads ahead only where there is a GPU.
        splits: Any of ``"train"``, ``"val"``, ``"test"``.
        num_classes: 4, 3 or 2.
        min_age: Leave out people younger than this, in years.
        seed: Seed of the order of training images.
        cache_dir: Folder of the image cache; None takes ``.cache`` in `data_dir`.

    Returns:
        Loaders of (images, class indices); the training split is shuffled.

    Raises:
        UnknownNameError: There is no such `dataset_type` or split.
        ConfigError: The folder was made from something else, or an argument is of another type.
        DataNotFoundError: There is no processed data set; the message names what makes one.
        ManifestError: A split has no people, or all training people are of one class.
    """
    _check_types(data_dir, splits, min_age, batch_size, num_workers)
    _check_names(dataset_type, model_dim, splits)
    scheme = class_scheme(num_classes)
    train = open_dataset(
        *(Path(data_dir), model_dim, scheme),
        min_age=min_age,
        seed=seed,
        cache_dir=Path(cache_dir) if cache_dir else None,
    )
    cohort = train.settings.get("cohort")
    if dataset_type and cohort and COHORTS[cohort] != COHORTS.get(dataset_type, dataset_type):
        raise ConfigError(
            f"{data_dir} was made from {cohort}, not {dataset_type}",
            hint=f"dataset_type={COHORTS[cohort]!r}, or leave it out",
        )
    if "train" in splits:
        require_classes(train.manifest, scheme)
    size = DEFAULT_BATCH_SIZE[model_dim] if batch_size is None else batch_size
    workers = reader_workers(None) if num_workers is None else num_workers
    loaders = []
    for split in splits:
        dataset = train.with_split(split)
        require_people(dataset)
        order = seed if split == "train" else None
        loaders.append(make_loader(dataset, size, seed=order, workers=workers))
    return tuple(loaders)


def _check_types(
    data_dir: object, splits: object, min_age: object, size: int | None, workers: int | None
) -> None:
    """Refuse an argument of `create_data_loaders` that is of another type, in one sentence."""
    call = "create_data_loaders({}=...)".format
    require_kind(call("data_dir"), data_dir, (str, Path), "a folder", "data_dir='data/oasis_2d'")
    hint = "splits=('train', 'test'), or any of 'train', 'val', 'test' in brackets"
    require_kind(call("splits"), splits, (tuple, list), "a tuple of names", hint)
    require_kind(call("min_age"), min_age, Real, "a number of years", "min_age=60")
    for name, value in (("batch_size", size), ("num_workers", workers)):
        kinds = (Integral, type(None))
        require_kind(call(name), value, kinds, "a whole number or None", f"{name}=4")
    if size is not None and size < 1:
        raise ConfigError(f"batch_size {size} is not positive", hint="leave it out for the default")
    if workers is not None and workers < 0:
        raise ConfigError(f"num_workers {workers} is negative", hint="num_workers=0")


def _check_names(dataset_type: str | None, model_dim: str, splits: tuple[str, ...]) -> None:
    known = {*COHORTS, *COHORTS.values()}
    if dataset_type is not None and dataset_type not in known:
        raise UnknownNameError("dataset_type", str(dataset_type), known)
    require_dim(model_dim)
    for split in splits:
        if split not in SPLITS:
            raise UnknownNameError("split", str(split), SPLITS)


def choose_validation(
    train: MriDataset, eval_loader: DataLoader[Any] | None
) -> tuple[MriDataset, MriDataset | None]:
    """Return the validation data and, if a test loader was handed in, the test data.

    Args:
        train: Training people; their data set knows its own validation people.
        eval_loader: Of validation or of test people, or None.

    Raises:
        ConfigError: The loader is not of this project.
    """
    own = train.with_split("val")
    if eval_loader is None:
        return own, None
    given = own_dataset(eval_loader)
    if given.split != "test":
        return given, None
    logger.info(
        "the epoch is chosen on %s; the test loader is opened once, at last",
        counted(len(set(own.subjects)), "validation person"),
    )
    return own, given


def reader_workers(asked: int | None) -> int:
    """Return how many processes read ahead: none on a CPU, else as asked or the cores there are.

    Reading is a thousandth of a training step on a CPU, where readers would take its cores.
    """
    if not torch.cuda.is_available():
        return 0
    return min(usable_cores(), 8) if asked is None else asked
