"""Time and memory of preprocessing: this project's stage against the way it is mostly written.

    python -m benchmarks preprocessing

Scans of OASIS-1's size and kind (176 x 208 x 176, int16, big-endian Analyze): phantoms, each copy a
little brighter than the last so that no two files are equal. Ours is the whole stage, with two
worker processes: table, split, slices or cubes, hashes, records, manifest. The plain way is a loop:
``nibabel.load(path).get_fdata()``, minimum to maximum, ``scipy.ndimage.zoom`` of every slice or of
the volume, with its default splines (order 3) and with lines (order 1), PNG or npy. It finds no
brain, crops and smooths nothing and hashes nothing. In 2D ours is run twice: with a PNG per slice,
as the plain way, and with one ZIP per scan (``--slice_files zip``). What it takes here to make a
file is told too. All files are in the page cache for both, and
are made anew in each round; ``TMPDIR=/dev/shm`` leaves the disk out altogether.

Starting the two processes is told by itself: it is paid once, and they stay for later rounds.
First it is checked that slices and cubes of whole float64 volumes, scaled, smoothed and placed by
NumPy and SciPy as ours are, look like ours.

Arrays: ``X Y Z`` voxels in RAS+ order; ``H W`` pixels. Times are seconds, memory is MB.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from scipy import ndimage

from src.cohorts.phantom.cohort import make_phantom
from src.config import PhantomConfig, PreprocessConfig, RunConfig
from src.config.options import build_config
from src.data.image_file import fingerprint, read_content
from src.errors import MriError
from src.files import atomic_file
from src.manifest import Manifest
from src.preprocessing.io import read_slice
from src.preprocessing.scan import Scan, make_scan
from src.stages import preprocess

from .timing import RESULTS, in_turns, machine, ratio, report, spread

SCANS, ROUNDS, WORKERS = 24, 3, 2
SLICES, IMAGE, CUBE = 20, 224, 128
ALIKE = 0.98  # least correlation with the plain way inside the brain
OURS = f"ours, --workers {WORKERS}"
ZIPS = "ours, --slice_files zip"
_TABLE = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
Volume = NDArray[np.float64]


def run(
    scans: int = SCANS, rounds: int = ROUNDS, voxel: float = 1.0, out: Path = RESULTS
) -> dict[str, Any]:
    """Compare, measure, print the tables and write them as JSON.

    Args:
        scans: How many scans; all cost the same.
        rounds: How often each way is measured.
        voxel: Edge of the scans' voxels in mm; 1 gives OASIS-1's size.
        out: Folder of the JSON file.

    Raises:
        MriError: The plain way's images are not like ours.
    """
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make_scans(root, scans, voxel)
        found = {dim: measure(root, dim, rounds) for dim in ("2d", "3d")}
    content = machine("scipy", "nibabel", "opencv-python-headless", "joblib")
    content |= {"scans": scans, "rounds": rounds, "workers": WORKERS, "dims": found}
    report("preprocessing", content, out)
    return content


def make_scans(root: Path, count: int, voxel: float) -> None:
    """Write an OASIS-1 tree of phantoms under ``root/data/oasis``."""
    made = root / "phantom"
    make_phantom(made, PhantomConfig(phantom_subjects=8, phantom_voxel=voxel), 0, WORKERS)
    sources = sorted(made.rglob("*.img"))
    rows = [_TABLE]
    for number in range(count):
        source, name = sources[number % len(sources)], f"OAS1_{number + 1:04d}_MR1"
        folder = root / "data/oasis/disc1" / name / "PROCESSED/MPRAGE/T88_111"
        folder.mkdir(parents=True)
        target = folder / f"{name}_mpr_n4_anon_111_t88_masked_gfc.img"
        shutil.copyfile(source.with_suffix(".hdr"), target.with_suffix(".hdr"))
        brighter = np.fromfile(source, ">i2") * (1 + 0.002 * (number // len(sources)))
        target.write_bytes(brighter.astype(">i2").tobytes())
        rows.append(f"{name},F,R,70,2,3,29,{(0, 0.5, 1)[number % 3]},1400,0.75,1.2,N/A")
    (root / "data/oasis/oasis_cross-sectional.csv").write_text(
        "\n".join(rows) + "\n", encoding="utf-8"
    )


def measure(root: Path, dim: str, rounds: int) -> dict[str, Any]:
    """Compare and measure one kind of file; print the table."""
    paths = sorted((root / "data/oasis").rglob("*.img"))
    get_reusable_executor().shutdown()
    start = time.perf_counter()
    ours(root, dim)  # starts the processes
    cold = time.perf_counter() - start
    agreement = compare(root, dim, paths)
    plain = plain_2d if dim == "2d" else plain_3d
    ways: dict[str, Callable[[], object]] = {OURS: partial(ours, root, dim)}
    if dim == "2d":
        require_same(root)
        ways[ZIPS] = partial(ours, root, dim, "zip")
    ways |= {f"zoom, order {k}": partial(plain, paths, root / "plain", k) for k in (3, 1)}
    seconds = in_turns(ways, rounds)
    one: dict[str, Callable[[], object]] = {
        way: partial(one_scan, paths[0], root / "one", dim, packed=way == ZIPS)
        for way in ways
        if way in (OURS, ZIPS)
    }
    one |= {f"zoom, order {k}": partial(plain, paths[:1], root / "plain", k) for k in (3, 1)}
    result = {
        "agreement": agreement,
        "seconds_per_scan": {w: [t / len(paths) for t in seconds[w]] for w in ways},
        "times_ours": {way: ratio(seconds[way], seconds[OURS]) for way in ways},
        "times_zips": {way: ratio(seconds[way], seconds[ZIPS]) for way in ways if ZIPS in ways},
        "ms_to_make_a_file": milliseconds_a_file(root / "made"),
        "seconds_to_start": max(cold - statistics.median(seconds[OURS]), 0.0),
        "peak_mb": {way: peak(call) for way, call in one.items()},
    }
    print_table(dim, len(paths), result)
    return result


def ours(root: Path, dim: str, slice_files: str = "png") -> None:
    """Run the whole stage into a new folder."""
    shutil.rmtree(root / f"data/oasis_{dim}", ignore_errors=True)
    places = {"dataset": "oasis", "data_root": root / "data", "workers": WORKERS, "dim": dim}
    places |= {"slice_files": slice_files}
    sizes = {"num_slices": SLICES, "image_size": IMAGE, "volume_size": CUBE}
    list(preprocess.run(build_config(RunConfig, {**places, **sizes})))


def require_same(root: Path) -> None:
    """Check that ZIPs hold the pictures that lie apart now.

    Raises:
        MriError: They do not.
    """
    out = root / "data/oasis_2d"
    apart = Manifest.read(out).table
    ours(root, "2d", "zip")
    together = Manifest.read(out).table
    read = [fingerprint(read_content(out / path)) for path in together["path"]]
    same = [apart["fingerprint"].tolist(), together["fingerprint"].tolist(), read]
    if same[0] != same[1] or same[0] != same[2]:
        raise MriError("the slices in ZIPs are not those in PNGs")
    ours(root, "2d")


def milliseconds_a_file(folder: Path, count: int = 500, size: int = 12_000) -> float:
    """Return the time to make a file as large as a slice, after the others."""
    folder.mkdir()
    content = bytes(size)
    start = time.perf_counter()
    for number in range(count):
        with atomic_file(folder / f"{number}.png") as file:
            file.write(content)
    taken = time.perf_counter() - start
    shutil.rmtree(folder)
    return taken / count * 1e3


def one_scan(path: Path, out: Path, dim: str, *, packed: bool = False) -> None:
    """Make the files of one scan, as a worker does."""
    settings = PreprocessConfig(num_slices=SLICES, image_size=IMAGE, volume_size=CUBE)
    make_scan(out, Scan("one", (path,), (), ("train/Mild",), "LAS", dim, packed=packed), settings)


def plain_volume(path: Path) -> Volume:
    """Return the scan from 0 to 1, float64."""
    data: Volume = nib.load(path).get_fdata().squeeze()
    scaled: Volume = (data - data.min()) / (data.max() - data.min())
    return scaled


def plain_2d(paths: list[Path], out: Path, order: int) -> None:
    """Write slices of every scan, one after the other."""
    shutil.rmtree(out, ignore_errors=True)  # as ours: files that are there are cheaper to write
    out.mkdir()
    for path in paths:
        data = plain_volume(path)
        deep = data.shape[2]
        for index in np.linspace(0.2 * deep, 0.8 * deep, SLICES).astype(int):
            picture = data[:, :, index]
            image = ndimage.zoom(picture, [IMAGE / n for n in picture.shape], order=order)
            grey = np.clip(image * 255, 0, 255).astype(np.uint8)
            cv2.imwrite(str(out / f"{path.stem}_{index}.png"), grey)


def plain_3d(paths: list[Path], out: Path, order: int) -> None:
    """Write a cube of every scan, one after the other."""
    shutil.rmtree(out, ignore_errors=True)  # as ours: files that are there are cheaper to write
    out.mkdir()
    for path in paths:
        data = plain_volume(path)
        cube = ndimage.zoom(data, [CUBE / n for n in data.shape], order=order)
        np.save(out / f"{path.stem}.npy", cube.astype(np.float16))


def compare(root: Path, dim: str, paths: list[Path]) -> dict[str, float]:
    """Return how the plain way's images, scaled and placed as ours, are like ours.

    Raises:
        MriError: A file is missing, or the images are not alike.
    """
    out = root / f"data/oasis_{dim}"
    table = Manifest.read(out).table
    wanted = len(paths) * (SLICES if dim == "2d" else 1)
    if len(table) != wanted:
        raise MriError(f"{len(table)} files were made of {len(paths)} scans, not {wanted}")
    first = table[table["subject"] == "OAS1_0001"]
    brain = scaled_brain(paths[0])
    if dim == "2d":
        mine = [read_slice(out / name) / 255 for name in first["path"]]
        theirs = [placed(brain[:, :, k].T[::-1], IMAGE) for k in first["slice"].astype(int)]
    else:
        mine = [np.load(out / first["path"].iloc[0]).astype(float)]
        theirs = [cube_of(boxed(brain), CUBE)]
    a, b = np.concatenate(mine), np.concatenate(theirs)
    inside = (a > 0) & (b > 0)
    likeness = float(np.corrcoef(a[inside], b[inside])[0, 1])
    if likeness < ALIKE:
        raise MriError(f"plain {dim} images are not like ours: r = {likeness:.3f}")
    apart = float(np.abs(a - b)[inside].mean())
    return {"files": len(table), "correlation": likeness, "mean_difference": apart}


def scaled_brain(path: Path) -> Volume:
    """Return a scan in RAS+ order, divided by the brain's 99th percentile."""
    data: Volume = nib.load(path).get_fdata().squeeze()[::-1]
    return np.clip(data / np.percentile(data[data > 0], 99), 0, 1)


def boxed(brain: Volume) -> Volume:
    """Return the brain's box with two voxels around it."""
    filled = np.argwhere(brain > 0)
    low, high = np.maximum(filled.min(axis=0) - 2, 0), filled.max(axis=0) + 3
    return brain[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]


def cube_of(brain: Volume, size: int) -> Volume:
    """Return the box in the middle of a cube, without what a coarser grid cannot show."""
    step = max(brain.shape) / size
    smooth = ndimage.gaussian_filter(brain, 0.5 * max(step**2 - 1, 0) ** 0.5, truncate=3)
    offset = (np.array(brain.shape) - 1) / 2 - step * (size - 1) / 2
    shape = (size, size, size)
    cube: Volume = ndimage.affine_transform(smooth, [step] * 3, offset, shape, order=1)
    return cube


def placed(data: Volume, size: int) -> Volume:
    """Return a slice with its longest edge of `size`, in the middle of a square."""
    zoomed = ndimage.zoom(data, size / max(data.shape), order=1, mode="nearest", grid_mode=True)
    room = [((size - n) // 2, size - n - (size - n) // 2) for n in zoomed.shape]
    return np.pad(zoomed, room)


def peak(call: Callable[[], object]) -> float:
    """Return the most memory in MB that NumPy and Python hold at once during a call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def print_table(dim: str, scans: int, result: dict[str, Any]) -> None:
    """Print milliseconds per scan, how many times ours that is, and memory."""
    same = result["agreement"]
    print(
        f"\n{dim}, {scans} scans; r = {same['correlation']:.3f} with the plain way scaled as ours"
    )
    for way, seconds in result["seconds_per_scan"].items():
        line = f"{way:<24} {statistics.median(seconds) * 1e3:7.1f} ms a scan"
        line += f" {spread(result['times_ours'][way])}"
        line += f", of ZIPs {spread(result['times_zips'][way])}" if result["times_zips"] else ""
        print(f"{line}, {result['peak_mb'][way]:.0f} MB")
    print(f"making a file takes {result['ms_to_make_a_file']:.2f} ms here")
    print(f"starting {WORKERS} processes: {result['seconds_to_start']:.1f} s, once")
