"""The decoded images of a processed folder in one file, from which batches are read.

Every file of the manifest is read and decoded once, when the first image is asked for. Its content
must have the fingerprint that the manifest lists. The cache's name is a hash of all fingerprints:
training, test, folds and measurements share it, other images have another one, and it can be
deleted at any time. It is written under another name and renamed when it is whole: processes that
build it at the same time do harmless double work.

Images are read, not mapped: a mapping that is kept counts as memory of every process, one that is
made anew for each batch takes twice the time of reading, and a file that is cut short under a
mapping ends the process where reading gives an error.

Arrays: ``(N, H, W)`` uint8 slices in [0, 255] or ``(N, X, Y, Z)`` float16 volumes in [0, 1] (RAS+),
one for each of the manifest's N files, in the order of their paths.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import ConfigError, ImageError, ManifestError, counted
from ..files import FileError, atomic_file, open_file, told
from ..manifest import MANIFEST, Manifest
from ..preprocessing.slice_files import how_to_remake
from ..runtime import progress, usable_cores
from .image_file import Images, decode, fingerprint, read_content, read_header

logger = logging.getLogger(__name__)

FOLDER = ".cache"
#: Raise when the same files no longer give the same arrays: those that preprocessing writes, and
#: the pictures of a bare folder, which may be of 16 bits or turned by EXIF.
VERSION, VERSION_OF_BARE = 1, 2
_OURS = re.compile(r"images_[0-9a-f]{24}\.npy|\.images_[0-9a-f]{24}\.npy\..+")
_ABANDONED = 3600  # s since a file was last written to, after which nobody is writing it
_THREADS = 8
_AT_ONCE, _BYTES_AT_ONCE = 64, 2**26  # most images that wait to be written, and their size
_KINDS = {(3, np.dtype(np.uint8)), (4, np.dtype(np.float16))}  # axes and type of a cache


class _Layout(NamedTuple):
    """Where the images lie in the file: after `offset` bytes, one after the other."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of one image."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class ImageStore(Protocol):
    """Decoded images by number: what a data set reads from, of one folder or of several together.

    Attributes:
        root: Folder that paths start from.
    """

    root: Path

    def rows(self, paths: Iterable[str]) -> NDArray[np.int64]:
        """Return the number of each path's image, for `read`."""

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Images:
        """Return the images of these rows, in a new array; any order, doubles allowed."""

    def parts(
        self, places: NDArray[np.int64]
    ) -> list[tuple[ImageStore, NDArray[np.int64], NDArray[np.int64]]]:
        """Return each folder's own store, which of the places are in it, and where these lie."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(H, W)`` or ``(X, Y, Z)`` of every image."""

    def build(self) -> Path:
        """Decode what was not decoded yet; return where it lies."""

    @property
    def fingerprints(self) -> list[str]:
        """Of every image."""


class ImageCache:
    """The images of a processed folder.

    Args:
        manifest: The whole of the folder. A part of it is another cache, which replaces this one.
        folder: Where the caches of any number of data sets are kept; None for ``.cache`` in the
            processed folder.
    """

    def __init__(self, manifest: Manifest, folder: Path | None = None) -> None:
        # By path, as the rows of a folder without a manifest change places with the seed.
        files = manifest.table[["path", "fingerprint"]].drop_duplicates("path").sort_values("path")
        self.root = manifest.root
        self._names = pd.Index(files["path"])
        self._listed = files["fingerprint"].to_list()
        self._folder = folder
        self._layout: _Layout | None = None

    def rows(self, paths: Iterable[str]) -> NDArray[np.int64]:
        """Return the number of each path's image, for `read`.

        Raises:
            ManifestError: A path is not in the manifest that the cache was opened with.
        """
        wanted = pd.Index(paths)
        found: NDArray[np.int64] = self._names.get_indexer(wanted).astype(np.int64)
        if (found < 0).any():
            raise ManifestError(f"{wanted[found < 0][0]} is not in the manifest of {self.root}")
        return found

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Images:
        """Return the images of these rows, in a new array; any order, doubles allowed.

        Raises:
            MriError: The cache is not there and cannot be built, see `build`.
        """
        numbers, layout = np.asarray(rows, dtype=np.int64), self._ready()
        try:
            return self._gather(numbers, layout)
        except (OSError, EOFError):  # deleted, or cut short, since it was opened
            self._layout = None
            return self._gather(numbers, self._ready())

    def parts(
        self, places: NDArray[np.int64]
    ) -> list[tuple[ImageStore, NDArray[np.int64], NDArray[np.int64]]]:
        """Return this cache with all of the places."""
        return [(self, np.arange(len(places)), places)]

    @property
    def shape(self) -> tuple[int, ...]:
        """``(H, W)`` or ``(X, Y, Z)`` of every image."""
        return self._ready().shape[1:]

    def build(self) -> Path:
        """Make the file where it is not there, or not whole; return its path.

        Raises:
            DataNotFoundError: An image is gone.
            ImageError: An image is damaged, of another size, or not the one that was listed.
            ConfigError: The file cannot be written.
        """
        self._ready()
        return self.path

    @cached_property
    def fingerprints(self) -> list[str]:
        """Of every image: as listed, or where none is, of the file as it is now."""
        return [
            known if isinstance(known, str) else fingerprint(read_content(self.root / name))
            for name, known in zip(self._names, self._listed, strict=True)
        ]

    @cached_property
    def path(self) -> Path:
        """Where the file is, or will be."""
        bare = not (self.root / MANIFEST).is_file()
        content = "\n".join([str(VERSION_OF_BARE if bare else VERSION), *self.fingerprints])
        digest = hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
        return _own_folder(self.root, self._folder) / f"images_{digest}.npy"

    def _ready(self) -> _Layout:
        if self._layout is None:
            self._layout = self._open() or self._write()
        return self._layout

    def _open(self) -> _Layout | None:
        """Return the layout of a file that is whole; None where it is not, or not there."""
        try:
            with open_file(self.path) as file:
                shape, _, dtype = read_header(file)
                layout = _Layout(file.tell(), shape, dtype)
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("%s is damaged (%s): it is made again", self.path, error)
            return None
        fits = shape[:1] == (len(self._names),) and (len(shape), dtype) in _KINDS
        if fits and size == layout.offset + shape[0] * layout.size:
            return layout
        logger.warning("%s is damaged (%d bytes): it is made again", self.path, size)
        return None

    def _gather(self, rows: NDArray[np.int64], layout: _Layout) -> Images:
        found: NDArray[Any] = np.empty((len(rows), *layout.shape[1:]), layout.dtype)
        content = found.reshape(len(rows), -1).view(np.uint8) if len(rows) else found
        with self.path.open("rb", buffering=0) as file:
            for place in np.argsort(rows, kind="stable").tolist():  # along the file
                file.seek(layout.offset + int(rows[place]) * layout.size)
                _fill(file, memoryview(content[place]))
        return found

    def _write(self) -> _Layout:
        """Decode every file and write the images, a few of them in memory at a time."""
        if not len(self._names):
            raise ManifestError(f"the manifest of {self.root} lists no image")
        images = counted(len(self._names), "image")
        logger.info("decoding %s of %s, once", images, self.root)
        first = self._decoded(0)
        shape, needed = (len(self._names), *first.shape), len(self._names) * first.nbytes
        header = {"descr": first.dtype.str, "fortran_order": False, "shape": shape}
        try:
            with told(self.path.parent, "written"):
                self._require_space(needed)
            with atomic_file(self.path) as file:
                np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
                layout = _Layout(file.tell(), shape, first.dtype)
                every = chain([first], self._others(first))
                for image in progress(every, total=shape[0], desc="images"):
                    file.write(image)
        except FileError as error:
            raise ConfigError(
                f"the image cache cannot be written to {self.path.parent}: {error.strerror}",
                hint=f"--cache_dir FOLDER that can be written, with {needed / 1e9:.1f} GB free",
            ) from None
        self._remove_others()
        return layout

    def _others(self, first: Images) -> Iterator[Images]:
        """Yield all images but the first, in order."""

        def alike(number: int) -> Images:
            image = self._decoded(number)
            if image.shape != first.shape:
                raise ImageError(
                    f"{self.root / self._names[number]} is {list(image.shape)}, "
                    f"other images are {list(first.shape)}",
                    hint="run --mode preprocess, which gives all images one size",
                )
            return image

        count, step = len(self._names), max(1, min(_AT_ONCE, _BYTES_AT_ONCE // first.nbytes))
        with ThreadPoolExecutor(min(_THREADS, usable_cores())) as threads:
            for start in range(1, count, step):
                yield from threads.map(alike, range(start, min(start + step, count)))

    def _decoded(self, number: int) -> Images:
        path = self.root / self._names[number]
        content = read_content(path)
        image = decode(path, content)
        if fingerprint(content) != self.fingerprints[number]:
            raise ImageError(
                f"{path} is not the file that the manifest lists: its fingerprint is another",
                hint=how_to_remake(path),
            )
        return image

    def _require_space(self, needed: int) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise ConfigError(
                f"the image cache takes {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB",
                hint="--cache_dir FOLDER on a disk with more space",
            )

    def _remove_others(self) -> None:
        """Remove caches of what the folder held before, and what killed processes left."""
        for path in self.path.parent.iterdir():
            if path == self.path or not _OURS.fullmatch(path.name):
                continue
            try:
                unfinished = path.name.startswith(".")
                if not unfinished or time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
            except FileNotFoundError:  # another process was first
                continue
            except OSError as error:
                logger.warning("%s is no longer used: %s", path, error.strerror)


def _fill(file: io.FileIO, rest: memoryview) -> None:
    """Read until `rest` is full: a file system may give less at a time."""
    while rest:
        count = file.readinto(rest)
        if not count:
            raise EOFError(f"{file.name} ends too early")
        rest = rest[count:]


def _own_folder(root: Path, folder: Path | None) -> Path:
    """Return where the caches of this data set are kept, and no other's."""
    if folder is None:
        return root / FOLDER
    place = hashlib.blake2b(str(root.resolve()).encode(), digest_size=4).hexdigest()
    return folder / f"{root.resolve().name}_{place}"
