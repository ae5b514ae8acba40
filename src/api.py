"""The functions that notebooks and stages share: make a model, open data."""

from __future__ import annotations

from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from . import (
    model,  # noqa: F401 - they register their backbones
    model_3d,  # noqa: F401 - they register their backbones
)
from .classifier import MODEL_REGISTRY, Classifier, ModelEntry, build_classifier
from .config import COHORTS, DEFAULT_BACKBONE, DEFAULT_BATCH_SIZE, RunConfig
from .config.training import require_dim
from .dataset import MriDataset, make_loader, require_people
from .device import choose_device
from .errors import ConfigError, UnknownNameError, require_kind
from .labels import class_scheme
from .loaders import open_dataset
from .manifest import SPLITS
from .runtime import usable_cores


def create_model(
    model_dim: str = "2d",
    backbone: str | None = None,
    num_classes: int = 4,
    pretrained: bool = True,
    device: str | torch.device | None = None,
    *,
    weights: str | Path | None = None,
    dropout: float = 0.2,
    freeze_backbone: bool = False,
    ordinal: bool = False,
) -> Classifier:
    """Build a classifier of dementia stages.

    Args:
        model_dim: ``"2d"`` for slices or ``"3d"`` for volumes.
        backbone: A registered name; None takes the dimension's default.
        num_classes: 4, 3 or 2.
        pretrained: Start from ImageNet in 2D. There are no such weights in 3D.
        device: Where the model goes; None leaves it on the CPU.
        weights: ``imagenet``, ``none`` or a weight file; wins over `pretrained`.
        dropout: Before the classifier.
        freeze_backbone: Train the classifier only.
        ordinal: One score with ordered thresholds; what ``--loss ordinal`` trains.

    Returns:
        Maps ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)`` images (uint8, or float in [0, 1]) to logits
        ``(B, num_classes)``.

    Raises:
        UnknownNameError: The backbone is not registered.
        ConfigError: The backbone is of the other dimension, or an argument of another type.
        CheckpointError: Weights are missing, cannot be downloaded or do not fit.
    """
    require_dim(model_dim)
    call = "create_model({}=...)".format
    hint = f"one of: {_backbones(model_dim)}"
    require_kind(call("backbone"), backbone, (str, type(None)), "a name", hint)
    require_kind(call("num_classes"), num_classes, Integral, "a whole number", "num_classes=4")
    for name, value in (("pretrained", pretrained), ("freeze_backbone", freeze_backbone)):
        hint = f"{name}=True or {name}=False; weights='...' names other weights"
        require_kind(call(name), value, bool, "True or False", hint)
    kinds = (str, Path, type(None))
    require_kind(call("weights"), weights, kinds, "a name or a file", "weights='imagenet'")
    require_kind(call("dropout"), dropout, Real, "a number", "dropout=0.2")
    if not 0 <= dropout < 1:
        raise ConfigError(f"{call('dropout')}: {dropout} is not in 0 to 1", hint="dropout=0.2")
    entry = MODEL_REGISTRY.get(backbone or DEFAULT_BACKBONE[model_dim])
    if entry.dim != model_dim:
        raise ConfigError(
            f"backbone {entry.name} is {entry.dim}, the data are {model_dim}",
            hint=f"model_dim={entry.dim!r}, or backbone={DEFAULT_BACKBONE[model_dim]!r}, which is "
            f"{model_dim} (all of them: {_backbones(model_dim)})",
        )
    place = None if device is None else choose_device(str(device))[0]
    default = "imagenet" if pretrained and model_dim == "2d" else "none"
    classifier = build_classifier(
        *(entry, int(num_classes)),
        weights=str(weights) if weights else default,
        dropout=dropout,
        freeze_backbone=freeze_backbone,
        ordinal=ordinal,
    )
    return classifier if place is None else classifier.to(place)


def backbone_entry(name: str) -> ModelEntry:
    """Return what a backbone declares: its input, and the layers that maps are made of.

    Raises:
        UnknownNameError: No backbone has that name.
    """
    return MODEL_REGISTRY.get(name)


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
        dataset_type: What the folder must have been made from, such as ``oasis``, ``kaggle`` or
            ``phantom``; None takes what it was made from.
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
    """
    call = "create_data_loaders({}=...)".format
    require_kind(call("data_dir"), data_dir, (str, Path), "a folder", "data_dir='data/oasis_2d'")
    known = {*COHORTS, *COHORTS.values()}
    if dataset_type is not None and dataset_type not in known:
        raise UnknownNameError("dataset_type", str(dataset_type), known)
    require_dim(model_dim)
    for name, value in (("batch_size", batch_size), ("num_workers", num_workers)):
        kinds = (Integral, type(None))
        require_kind(call(name), value, kinds, "a whole number or None", f"{name}=4")
    if num_workers is not None and num_workers < 0:
        raise ConfigError(f"num_workers {num_workers} is negative", hint="num_workers=0")
    hint = "splits=('train', 'test'), or any of 'train', 'val', 'test' in brackets"
    require_kind(call("splits"), splits, (tuple, list), "a tuple of names", hint)
    for split in splits:
        if split not in SPLITS:
            raise UnknownNameError("split", str(split), SPLITS)
    require_kind(call("min_age"), min_age, Real, "a number of years", "min_age=60")
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
    size = DEFAULT_BATCH_SIZE[model_dim] if batch_size is None else batch_size
    if size < 1:
        raise ConfigError(f"batch_size {size} is not positive", hint="leave it out for the default")
    workers = reader_workers(None) if num_workers is None else num_workers
    loaders = []
    for split in splits:
        dataset = train.with_split(split)
        require_people(dataset)
        order = seed if split == "train" else None
        loaders.append(make_loader(dataset, size, seed=order, workers=workers))
    return tuple(loaders)


def _backbones(model_dim: str) -> str:
    return ", ".join(name for name in MODEL_REGISTRY if MODEL_REGISTRY.get(name).dim == model_dim)


def reader_workers(asked: int | None) -> int:
    """Return how many processes read ahead: none on a CPU, else as asked or the cores there are.

    Reading is a thousandth of a training step on a CPU, where readers would take its cores.
    """
    if not torch.cuda.is_available():
        return 0
    return min(usable_cores(), 8) if asked is None else asked


def open_run_data(config: RunConfig, **overrides: Any) -> MriDataset:
    """Open the training split of the data that `config` names.

    Args:
        config: Its ``data_dir`` wins over the place where preprocessing writes.
        overrides: ``classes`` or ``min_age`` of a checkpoint, in place of the config's.
    """
    data = config.data
    opened = open_dataset(
        data.data_dir or data.processed_dir,
        data.model_dim,
        class_scheme(overrides.get("classes", data.classes)),
        min_age=overrides.get("min_age", data.min_age),
        seed=data.seed,
        allow_leaks=config.train.allow_leaks,
        cache_dir=data.cache_dir,
    )
    cohort = opened.settings.get("cohort")
    if cohort in COHORTS and cohort != data.cohort:
        raise ConfigError(
            f"{opened.manifest.root} was made from {cohort}, and --dataset says {data.cohort}",
            hint=f"--dataset {COHORTS[cohort]}_{data.model_dim}",
        )
    return opened
