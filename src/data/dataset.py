"""Processed images as a torch dataset, the same for slices and volumes, and batches of even size.

Items: ``(1, H, W)`` uint8 slices in [0, 255] or ``(1, X, Y, Z)`` float16 volumes in [0, 1] (RAS+),
each with its class index. Models take both as they are. Batches: ``(n, 1, H, W)`` or
``(n, 1, X, Y, Z)`` with ``(n,)`` class indices, read from the image cache at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import ConfigError, ManifestError, require_kind
from ..labels import ClassScheme
from ..manifest import Manifest
from ..models.pooling import slice_places
from .image_cache import ImageCache, ImageStore

#: Slices of one scan that an end-to-end training sees together where it weighs them.
BAG = 8
Item = tuple[torch.Tensor, int]
Batch = tuple[torch.Tensor, torch.Tensor]


class MriDataset(Dataset[Item]):
    """One split of a processed data set.

    Args:
        manifest: Rows of all splits, so that validation people can be found from a training set.
        split: ``"train"``, ``"val"`` or ``"test"``.
        scheme: How stages become classes.
        settings: The data set's ``preprocessing.json``, or an empty dictionary.
        cache: Of the whole folder; None takes `manifest` for that.

    Attributes:
        labels: Class index of each row.
        subjects: Person of each row.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        scheme: ClassScheme,
        settings: dict[str, Any],
        cache: ImageStore | None = None,
    ) -> None:
        self.manifest, self.split, self.scheme, self.settings = manifest, split, scheme, settings
        self.rows = manifest.in_split(split).table
        self.cache: ImageStore = ImageCache(manifest) if cache is None else cache
        self._places = self.cache.rows(self.rows["path"])
        self.labels: NDArray[np.int64] = np.array(
            [scheme.index(stage) for stage in self.rows["label"]], dtype=np.int64
        )
        self.subjects: NDArray[Any] = self.rows["subject"].to_numpy(dtype=object)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        return self.read_rows([index])[0], int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a batch: what a `DataLoader` asks for, instead of item after item."""
        rows = np.asarray(indices, dtype=np.int64)
        return self.read_rows(rows), torch.from_numpy(self.labels[rows])

    def read_rows(self, rows: Sequence[int] | NDArray[np.int64]) -> torch.Tensor:
        """Return the images of some rows, in their order, ``(n, 1, ...)``; `rows` may be empty.

        Raises:
            MriError: An image is gone, damaged or changed, or the cache cannot be written.
        """
        places = self._places[np.asarray(rows, dtype=np.int64)]
        return torch.from_numpy(self.cache.read(places)).unsqueeze(1)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(H, W)`` or ``(X, Y, Z)``."""
        return self.cache.shape

    def with_split(self, split: str) -> MriDataset:
        """Return another split of the same data set."""
        return self.with_manifest(self.manifest, split)

    def with_manifest(self, manifest: Manifest, split: str) -> MriDataset:
        """Return a split of a manifest that divides, labels or lists the same images otherwise."""
        return MriDataset(manifest, split, self.scheme, self.settings, self.cache)

    def everyone(self, split: str) -> MriDataset:
        """Return all rated people as one split, whatever side they were on."""
        rated = self.manifest.where(self.manifest.table["label"].notna())
        return self.with_manifest(rated.with_columns(split=split), split)

    @property
    def name(self) -> str:
        """Name of the data set, such as ``oasis_2d``."""
        return str(self.settings.get("dataset", self.manifest.root.name))

    @property
    def mirrors(self) -> bool:
        """Whether swapping columns swaps left and right: not so in sagittal slices."""
        plane = self.settings.get("preprocess", {}).get("slice_axis")
        return not (self.settings.get("dim") == "2d" and plane == "sagittal")

    @cached_property
    def scans(self) -> NDArray[np.int64]:
        """(n,) number of each row's scan, from 0: a session of a person."""
        by_scan = self.rows.groupby(["subject", "session"], dropna=False, sort=False)
        return np.asarray(by_scan.ngroup(), dtype=np.int64)

    @cached_property
    def places(self) -> torch.Tensor:
        """(n,) where each row's slice lies in its scan, 0 to 1."""
        numbers = self.rows["slice"].astype("float64").to_numpy()
        return torch.tensor(slice_places(self.scans, numbers), dtype=torch.float32)

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
        share: (i, n): the i-th of n parts of every batch, for one of n processes that share the
            same batches. It is empty where a batch holds fewer images.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.length, self.seed, self.epoch, self.share = length, seed, 0, share
        self.batches = -(-length // batch_size)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.length)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        index, count = self.share
        for batch in np.array_split(order, self.batches):
            yield np.array_split(batch, count)[index].tolist()


class BagBatches(EvenBatches):
    """Batches of whole bags, each some slices of one scan, drawn anew in every epoch.

    The slices of a scan are dealt out to as many bags as they fill, so an epoch shows every slice
    once, as `EvenBatches` does.

    Args:
        scans: (n,) number of each row's scan.
        batch_size: Largest batch, in slices; a batch has one bag at least.
        seed: Seed of what is drawn, which depends on it and the epoch only.
    """

    def __init__(self, scans: NDArray[np.int64], batch_size: int, seed: int) -> None:
        size = min(BAG, batch_size)
        order = np.argsort(scans, kind="stable")
        self._scans = np.split(order, np.flatnonzero(np.diff(scans[order])) + 1)
        self._counts = [-(-len(rows) // size) for rows in self._scans]
        super().__init__(sum(self._counts), max(batch_size // size, 1), seed)

    def bags(self) -> Iterator[list[NDArray[np.int64]]]:
        """Yield the bags of each batch of this epoch, as row numbers."""
        rng = np.random.default_rng([self.seed or 0, self.epoch])
        bags = [
            bag
            for rows, count in zip(self._scans, self._counts, strict=True)
            for bag in np.array_split(rng.permutation(rows), count)
        ]
        order = rng.permutation(len(bags))
        for batch in np.array_split(order, self.batches):
            yield [bags[number] for number in batch]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.bags():
            yield np.concatenate(batch).tolist()


def make_loader(
    dataset: MriDataset,
    batch_size: int,
    *,
    seed: int | None = None,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
    bags: bool = False,
) -> DataLoader[Any]:
    """Return a loader of even batches: in order, or shuffled by `seed` and the epoch.

    Args:
        dataset: Images.
        batch_size: Largest batch.
        seed: None keeps the order of rows.
        workers: Processes that read ahead; 0 reads in this one.
        share: The part of every batch that this process takes, see `EvenBatches`.
        bags: Deal out some slices of a scan together, see `BagBatches`; needs a seed.
    """
    batches = EvenBatches(len(dataset), batch_size, seed, share)
    if bags:
        assert seed is not None
        batches = BagBatches(dataset.scans, batch_size, seed)
    if workers:
        dataset.cache.build()  # here, and not in every reader
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _as_it_is(batch: Any) -> Any:
    return batch


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


def has_slices(dataset: MriDataset) -> bool:
    """Return whether a scan has several images, which can then weigh differently."""
    return len(dataset) > len(np.unique(dataset.scans))


def require_slices(dataset: MriDataset, pool: str) -> None:
    """Refuse to weigh slices of people who have one each.

    Raises:
        ConfigError: With the flag that gives more.
    """
    if pool != "mean" and not has_slices(dataset):
        raise ConfigError(
            f"--pool {pool} weighs the slices of a person, and each scan in "
            f"{dataset.manifest.root} has one image",
            hint="leave --pool out, or preprocess with --num_slices 16",
        )


def own_dataset(loader: DataLoader[Any]) -> MriDataset:
    """Return the data set of a loader that this project made.

    Raises:
        ConfigError: Another kind of loader, whose people cannot be told apart.
    """
    hint = "train_loader, test_loader = create_data_loaders(data_dir)"
    if isinstance(loader, tuple | list):
        hint = f"give one of the {len(loader)}: {hint}"
    require_kind("a loader", loader, DataLoader, "what create_data_loaders returns", hint)
    if isinstance(loader.dataset, MriDataset):
        return loader.dataset
    raise ConfigError(
        f"a loader of {type(loader.dataset).__name__} does not say which person an image is of",
        hint=hint,
    )
