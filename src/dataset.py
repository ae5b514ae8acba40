"""Processed files as a torch dataset, the same for slices and volumes, and batches of even size.

Items: ``(1, H, W)`` uint8 slices in [0, 255] or ``(1, X, Y, Z)`` float16 volumes in [0, 1] (RAS+),
each with its class index. Models take both as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from .errors import ConfigError, DataNotFoundError, ImageError, ManifestError
from .labels import ClassScheme
from .manifest import Manifest

Item = tuple[torch.Tensor, int]


class MriDataset(Dataset[Item]):
    """One split of a processed data set.

    Args:
        manifest: Rows of all splits, so that validation people can be found from a training set.
        split: ``"train"``, ``"val"`` or ``"test"``.
        scheme: How stages become classes.
        settings: The data set's ``preprocessing.json``, or an empty dictionary.

    Attributes:
        labels: Class index of each row.
        subjects: Person of each row.
    """

    def __init__(
        self, manifest: Manifest, split: str, scheme: ClassScheme, settings: dict[str, Any]
    ) -> None:
        self.manifest, self.split, self.scheme, self.settings = manifest, split, scheme, settings
        rows = manifest.in_split(split)
        self.rows = rows.table
        self.paths = [manifest.root / path for path in self.rows["path"]]
        self.labels: NDArray[np.int64] = np.array(
            [scheme.index(stage) for stage in self.rows["label"]], dtype=np.int64
        )
        self.subjects: NDArray[Any] = self.rows["subject"].to_numpy(dtype=object)
        self._shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        image = read_processed(self.paths[index])
        if self._shape is None:
            self._shape = tuple(image.shape)
        if tuple(image.shape) != self._shape:
            raise ImageError(
                f"{self.paths[index]} is {list(image.shape)}, other images are {list(self._shape)}",
                hint="run --mode preprocess, which gives all images one size",
            )
        return image, int(self.labels[index])

    def with_split(self, split: str) -> MriDataset:
        """Return another split of the same data set."""
        return MriDataset(self.manifest, split, self.scheme, self.settings)

    def everyone(self, split: str) -> MriDataset:
        """Return all rated people as one split, whatever side they were on."""
        rated = self.manifest.where(self.manifest.table["label"].notna())
        manifest = replace(rated, table=rated.table.assign(split=split))
        return MriDataset(manifest, split, self.scheme, self.settings)

    @property
    def name(self) -> str:
        """Name of the data set, such as ``oasis_2d``."""
        return str(self.settings.get("dataset", self.manifest.root.name))

    @property
    def mirrors(self) -> bool:
        """Whether swapping columns swaps left and right: not so in sagittal slices."""
        plane = self.settings.get("preprocess", {}).get("slice_axis")
        return not (self.settings.get("dim") == "2d" and plane == "sagittal")

    def class_counts(self) -> NDArray[np.int64]:
        """Return the number of rows of each class."""
        return np.bincount(self.labels, minlength=len(self.scheme.classes))

    def people_per_class(self) -> NDArray[np.int64]:
        """Return the number of people of each class."""
        people = {subject: label for subject, label in zip(self.subjects, self.labels, strict=True)}
        return np.bincount(list(people.values()), minlength=len(self.scheme.classes))


class EvenBatches(Sampler[list[int]]):
    """Batches that differ in size by one at most, so none holds a single image by accident.

    33 images in batches of up to 32 become 17 and 16; a last batch of one would make batch
    normalisation fail or learn from a single person.

    Args:
        length: Number of items.
        batch_size: Largest batch.
        seed: Seed of the order, which depends on it and the epoch only; None keeps the order.
    """

    def __init__(self, length: int, batch_size: int, seed: int | None = None) -> None:
        self.length, self.seed, self.epoch = length, seed, 0
        self.batches = -(-length // batch_size)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.length)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        for batch in np.array_split(order, self.batches):
            yield batch.tolist()


def make_loader(
    dataset: Dataset[Any], batch_size: int, *, seed: int | None = None, workers: int = 0
) -> DataLoader[Any]:
    """Return a loader of even batches: in order, or shuffled by `seed` and the epoch.

    Args:
        dataset: Anything with a length.
        batch_size: Largest batch.
        seed: None keeps the order of rows.
        workers: Processes that read ahead; 0 reads in this one.
    """
    length = len(dataset)  # type: ignore[arg-type]
    sampler = EvenBatches(length, batch_size, seed)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def read_processed(path: Path) -> torch.Tensor:
    """Read one processed file as ``(1, ...)``: an 8-bit image, or a ``.npy`` volume.

    Raises:
        DataNotFoundError: The file is gone.
        ImageError: It is damaged, or no image.
    """
    if not path.is_file():
        raise DataNotFoundError(path, hint="run --mode preprocess again; it makes what is missing")
    if path.suffix != ".npy":
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise ImageError(f"{path} is damaged", hint="remove it and run --mode preprocess again")
        return torch.from_numpy(pixels)[None]
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ImageError(
            f"{path} is damaged: {error}", hint="remove it and run --mode preprocess again"
        ) from None
    if stored.ndim != 3 or stored.dtype != np.float16:
        raise ImageError(f"{path} holds {stored.ndim}D {stored.dtype}, not a float16 volume")
    return torch.from_numpy(np.array(stored))[None]


def require_people(dataset: MriDataset) -> None:
    """Raise when a split is empty.

    Raises:
        ManifestError: With the split and the folder.
    """
    if not len(dataset):
        raise ManifestError(
            f"no {dataset.split} people in {dataset.manifest.root}",
            hint="preprocess more people, or raise --val_fraction / --test_fraction",
        )


def own_dataset(loader: DataLoader[Any]) -> MriDataset:
    """Return the data set of a loader that this project made.

    Raises:
        ConfigError: Another kind of loader, whose people cannot be told apart.
    """
    if isinstance(loader.dataset, MriDataset):
        return loader.dataset
    raise ConfigError(
        f"a loader of {type(loader.dataset).__name__} does not say which person an image is of",
        hint="make it with create_data_loaders",
    )
