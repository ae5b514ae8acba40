"""Features of a frozen backbone, computed once and kept.

Arrays: ``(n, F)`` float32 features of n images.
"""

from __future__ import annotations

import copy
import logging
import pickle
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.augment import to_unit
from ..data.dataset import MriDataset
from ..data.image_cache import ImageStore
from ..files import atomic_file, open_file
from ..models.classifier import Classifier
from ..models.device import choose_device
from ..models.engine import Pass, digest
from ..parallel import run_parallel
from .logits import inference_batch, place

logger = logging.getLogger(__name__)
Floats = NDArray[np.float32]
FOLDER = ".features"
_BATCHES = 16  # of one call: the processor waits for a GPU, and a cluster for a call, this seldom


def dataset_features(
    model: Classifier, dataset: MriDataset, device: torch.device, *, dask: str | None = None
) -> Floats:
    """Return the features ``(n, F)`` of a data set's images, from its cache where they are there.

    The cache is a file in ``.features/`` of the processed folder; its name is a hash of the
    backbone's weights, and its rows are found by the fingerprint of the image's file. It can be
    deleted at any time.

    Args:
        model: On `device`.
        dataset: Images, of one split.
        device: Where the model is.
        dask: Address of a Dask scheduler whose workers compute what is missing, each on a device
            of its own of the same name.
    """
    places = dataset.cache.rows(dataset.rows["path"])
    found = np.empty((len(places), model.width), dtype=np.float32)
    for cache, where, own in dataset.cache.parts(places):
        found[where] = _features_of(model, cache, own, device, dask)
    return found


def _features_of(
    model: Classifier,
    cache: ImageStore,
    places: NDArray[np.int64],
    device: torch.device,
    dask: str | None,
) -> Floats:
    """Return the features of some images of one processed folder, kept beside them."""
    prints = np.array(cache.fingerprints)[places]
    path = cache.root / FOLDER / f"{model.backbone}_{digest(model)}.npz"
    known = _read_cache(path, model.width)
    missing = np.flatnonzero([name not in known for name in prints])
    if len(missing):
        found = _compute(_Work(model, cache, device, len(missing)), places[missing], dask)
        known |= dict(zip(prints[missing], found, strict=True))
        _write_cache(path, known)
    else:
        logger.debug("features of %d images: from %s", len(prints), path)
    return np.stack([known[name] for name in prints])


@dataclass(frozen=True, eq=False)
class _Work:
    """What every call of `_embed` needs."""

    model: Classifier
    cache: ImageStore
    device: torch.device
    images: int

    @cached_property
    def run(self) -> Pass:
        """The backbone where calls run: here, or on a worker, on a device of its own."""
        return Pass(place(self.model, choose_device(str(self.device))[0]).eval(), self.images)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self.model, self.cache, self.device, self.images)
        return _unpacked, (self.model.dim, pickle.dumps(parts))


def _unpacked(dim: str, parts: bytes) -> _Work:
    """Return the work on the machine that it travelled to."""
    if dim == "2d":  # before pickle looks for a network's class, which it may not be able to load
        from ..models import torchvision_import  # noqa: F401
    return _Work(*pickle.loads(parts))  # noqa: S301 - from the client that called


def _compute(work: _Work, places: NDArray[np.int64], dask: str | None) -> Floats:
    """Run the backbone over these images of the cache, once, here or on a cluster.

    The batches are the same in both places, so the features are, too.
    """
    work.model.eval()
    size = inference_batch(work.model.dim, work.device)
    batches = np.array_split(places, -(-len(places) // size))
    calls = [batches[start : start + _BATCHES] for start in range(0, len(batches), _BATCHES)]
    work.cache.build()  # here, and not by every worker
    if dask is not None:  # weights travel in main memory
        work = replace(work, model=copy.deepcopy(work.model).cpu())
    found = run_parallel(
        _embed,
        list(enumerate(calls)),
        workers=1,
        dask=dask,
        desc="features",
        shared=work,
        folder=work.cache.root / FOLDER,
        name=lambda item: f"images {item[1][0][0]} to {item[1][-1][-1]}",
    )
    parts = dict(found)
    return np.concatenate([parts[number] for number in range(len(calls))])


@torch.no_grad()
def _embed(item: tuple[int, list[NDArray[np.int64]]], work: _Work) -> tuple[int, Floats]:
    """Return the features of some batches, with their number."""
    number, batches = item
    device, _ = choose_device(str(work.device))
    parts = []
    for batch in batches:
        images = torch.from_numpy(work.cache.read(batch)).unsqueeze(1)
        if device.type == "cuda":  # the copy runs while the next images are read
            images = images.pin_memory()
        parts.append(work.run.embed(to_unit(images.to(device, non_blocking=True))).float())
    return number, torch.cat(parts).cpu().numpy()


def _read_cache(path: Path, width: int) -> dict[str, Floats]:
    """Return fingerprint -> features; of a file that is not whole and finite, nothing."""
    if not path.is_file():
        return {}
    try:
        with open_file(path) as file, np.load(file, allow_pickle=False) as stored:
            names, values = stored["fingerprints"], stored["features"]
        kinds = (names.ndim, names.dtype.kind, values.dtype.name, values.shape[1:])
        if kinds != (1, "U", "float32", (width,)) or not np.isfinite(values).all():
            raise ValueError("it holds no finite features of this network")
        known = dict(zip(names.tolist(), values, strict=True))
        if len(known) < len(names):
            raise ValueError("an image stands in it twice")
        return known
    except Exception as error:  # noqa: BLE001 - a cache: whatever its parser raises
        logger.warning("%s is damaged (%s): the features are computed again", path, error)
        return {}


def _write_cache(path: Path, known: dict[str, Floats]) -> None:
    with atomic_file(path) as file:
        np.savez(file, fingerprints=np.array(list(known)), features=np.stack(list(known.values())))
