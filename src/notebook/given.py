"""What a person has in a notebook -> scans and images that a model can be asked about.

Arrays: slices ``(H, W)`` or ``(n, H, W)``; volumes ``(X, Y, Z)``; uint8 in [0, 255], or floating
point in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import ConfigError, DataNotFoundError, ImageError
from ..inference.inputs import Input, find_inputs

_TAKEN = "a path, an array, a tensor, a PIL picture, a nibabel image, or a list of these"
_AFFINE = "predict(model, array, affine=...), or a nibabel image, which has one"


@dataclass(frozen=True, eq=False)
class Given:
    """One thing to ask about.

    Attributes:
        item: What it is called and, of a scan or picture, its files.
        images: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` in [0, 1] of processed images; None of what
            has to be prepared.
        source: Where an image was loaded from that is now in memory.
    """

    item: Input
    images: Tensor | None = None
    source: str | None = None


def take(
    images: Any, folder: Path, shape: Sequence[int], affine: NDArray[np.float64] | None = None
) -> list[Given]:
    """Return everything that was given, each under a name of its own.

    Scans and pictures in memory are written to `folder`, so that they go the way of files.

    Args:
        images: One thing or a list of things.
        folder: Empty.
        shape: Of the model's processed images, ``(H, W)`` or ``(X, Y, Z)``.
        affine: 4 x 4, voxel -> mm in RAS+, of arrays that are scans.

    Raises:
        ConfigError: It is nothing that can be asked about.
        DataNotFoundError: A path leads nowhere.
        ImageError: An array is neither processed images nor a scan.
    """
    several = isinstance(images, list | tuple)
    things = list(images) if several else [images]
    if not things:
        raise ConfigError("predict(model, images): the list is empty", hint=f"give {_TAKEN}")
    found: list[Given] = []
    for number, thing in enumerate(things):
        name = f"image_{number}" if several else "image"
        found += _one(thing, name, folder, shape, affine)
    return _named_apart(found)


def _one(
    thing: Any, name: str, folder: Path, shape: Sequence[int], affine: NDArray[np.float64] | None
) -> Iterator[Given]:
    if isinstance(thing, str | PathLike):
        if not Path(thing).exists():
            raise DataNotFoundError(str(thing), hint="the path of a scan, picture or folder")
        yield from (Given(item) for item in find_inputs(Path(thing)))
        return
    if isinstance(thing, Image.Image):
        path = folder / f"{name}.png"
        thing.save(path)
        yield Given(Input(name, "picture", (path,)))
        return
    if isinstance(thing, nib.spatialimages.SpatialImage):
        yield _in_memory(thing, name, folder)
        return
    if isinstance(thing, Tensor):
        thing = thing.detach().cpu().float().numpy() if thing.is_floating_point() else thing.cpu()
        thing = np.asarray(thing)
    if not isinstance(thing, np.ndarray):
        raise ConfigError(
            f"predict(model, images) takes {_TAKEN}; found {type(thing).__name__}",
            hint="for a table of scans, give its column of paths as a list",
        )
    if affine is not None:
        scan = nib.Nifti1Image(_volume(thing), _affine(affine))
        yield Given(Input(name, "scan", (_written(scan, folder / name),)))
        return
    yield Given(Input(name, "images", (Path(name),)), _processed(thing, shape))


def _in_memory(image: Any, name: str, folder: Path) -> Given:
    """Return an image that was loaded, called and of whom its file is: so is its leak told."""
    stored = image.get_filename()
    item = Input(name, "scan", ())
    if stored and Path(stored).is_file():
        (item,) = find_inputs(Path(stored))
    written = _written(image, folder / name)
    return Given(replace(item, sources=(written,)), source=stored)


def _written(image: Any, path: Path) -> Path:
    """Write a nibabel image as its own kind of file, its values as they are, not scaled anew."""
    data = np.asanyarray(image.dataobj)
    header = image.header.copy()
    if hasattr(header, "set_slope_inter"):
        header.set_slope_inter(1, 0)
    header.set_data_dtype(data.dtype)
    ending = image.files_types[0][1]
    made = type(image)(data, image.affine, header)
    target = path.with_name(path.name + ending)
    made.to_filename(target)
    return target


def _affine(affine: Any) -> NDArray[np.float64]:
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ConfigError(
            f"affine is {matrix.shape}, not a 4 x 4 matrix of finite numbers", hint=_AFFINE
        )
    return matrix


def _volume(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 3 or array.dtype.kind not in "iuf":
        raise ImageError(
            f"an array of {list(array.shape)} {array.dtype} is no scan (X, Y, Z)",
            hint="give one volume of numbers: array[..., 0] of a fourth axis",
        )
    wide = array.dtype.itemsize == 8 and array.dtype.kind in "iu"  # few readers know int64
    return array.astype(np.int32) if wide else array


def _processed(array: NDArray[Any], shape: Sequence[int]) -> Tensor:
    """Return processed images ``(n, 1, ...)`` in [0, 1]; refuse what may be something else.

    A volume may have a channel and a batch axis of one before it; slices are counted by the first.
    """
    wanted, n = tuple(shape), len(shape)
    lead = tuple(array.shape[:-n])
    fits = len(lead) <= 2 and all(edge == 1 for edge in (lead[1:] if n == 2 else lead))
    if tuple(array.shape[-n:]) != wanted or not fits:
        colour = array.shape[n:] in ((3,), (4,)) and tuple(array.shape[:n]) == wanted
        words = " x ".join(map(str, wanted))
        raise ImageError(
            f"an array of {list(array.shape)} is none of this model's images, which are {words}",
            hint="its last axis is colour: array[..., 0]" if colour else f"for a scan: {_AFFINE}",
        )
    return torch.from_numpy(_in_range(array).reshape(-1, 1, *wanted))


def _in_range(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype == np.uint8:
        return np.asarray(array.astype(np.float32) / np.float32(255))
    if array.dtype.kind != "f":
        raise ImageError(
            f"processed images are uint8, or floating point in [0, 1]; found {array.dtype}",
            hint=f"scale it as preprocessing does, or for a scan: {_AFFINE}",
        )
    if not np.isfinite(array).all():
        raise ImageError("the array holds NaN or infinity", hint="give finite grey values")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"processed images lie in [0, 1]; found {low:.3g} to {high:.3g}",
            hint=f"array.astype('uint8') of grey levels to 255; for a scan: {_AFFINE}",
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _named_apart(found: list[Given]) -> list[Given]:
    """Return the same in the same order; a name that is there twice gets a number."""
    seen: dict[str, int] = {}
    named = []
    for one in found:
        count = seen[one.item.name.lower()] = seen.get(one.item.name.lower(), 0) + 1
        name = one.item.name if count == 1 else f"{one.item.name}_{count}"
        named.append(replace(one, item=replace(one.item, name=name)))
    return named
