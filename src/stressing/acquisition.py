"""What a scanner, a table and a technician do to a scan, and disease does not.

Every change keeps what is air at zero, unless its words say otherwise, and acts on the scan before
the model's own preprocessing. Strengths are in units of the scanner room; the second of each three
is what one meets between scanners and days, the third is a bad day.

Arrays: ``X Y Z`` voxels in RAS+ order, float32 in shares of the brightest tissue. Lengths are mm.

Source of the kinds: Pérez-García et al. (2021), TorchIO, doi:10.1016/j.cmpb.2021.106236.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..data import scanner
from ..preprocessing.space.template import template
from .fields import on_scan, resampled
from .scans import OpenScan

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
_NODES = 3  # of a bias field, along each axis
_ANATOMY = (5, 6, 5)  # nodes of a random displacement, as of phantoms
_GHOSTS = 4  # copies of a head along the phase axis
_MOVED = 0.35  # share of the lines of k-space that are read after a head has moved
#: Of the template's brain, mm: a plane through its lower front, towards which faces are cut off.
_FACE = np.array([0.0, 1.0, -1.0]) / np.sqrt(2)


@dataclass(frozen=True)
class Nuisance:
    """One way in which a scan can differ without any disease.

    Attributes:
        title: For people.
        unit: Of the strengths, for people.
        strengths: Slight, usual, strong.
        made: Scan, strength, index -> MNI mm or None -> its changed data, in shares of `top`.
        placed: Whether it needs to know where the scan lies.
    """

    title: str
    unit: str
    strengths: tuple[float, ...]
    made: Callable[[OpenScan, float, Matrix | None], Float]
    placed: bool = False

    def apply(self, scan: OpenScan, strength: float, to_mni: Matrix | None) -> Float:
        """Return the changed scan, in the unit of its data."""
        return np.asarray(self.made(scan, strength, to_mni) * np.float32(scan.top))


def _shares(scan: OpenScan) -> Float:
    return scan.data / np.float32(scan.top)


def _batch(scan: OpenScan) -> Tensor:
    return torch.from_numpy(_shares(scan))[None, None]


def _out(batch: Tensor) -> Float:
    return np.asarray(batch[0, 0].numpy())


def _of(strength: float) -> Tensor:
    return torch.tensor([strength], dtype=torch.float32)


def _gain(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    return _shares(scan) * np.float32(strength)


def _gamma(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    return _shares(scan) ** np.float32(np.exp(strength))


def _bias(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    nodes = torch.randn(1, *(_NODES,) * 3, generator=_rng(scan))
    return _out(scanner.bias_field(_batch(scan), _of(np.log1p(strength / 100)), nodes))


def _noise(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    images = _batch(scan)
    noise = torch.randn(2, *images.shape, generator=_rng(scan))
    return _out(scanner.rician(images, _of(strength / 100), noise))


def _blur(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    # Voxels of a slab of pictures are thought of as cubes; of others the mean edge counts.
    return _out(scanner.blur(_batch(scan), _of(strength / float(np.mean(scan.voxel_size)))))


def _thick(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    return _out(scanner.thick_slices(_batch(scan), _of(strength / scan.voxel_size[2]), 2))


def _ghosts(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    image = _shares(scan)
    copy = np.roll(image, image.shape[1] // _GHOSTS, axis=1)
    return (image + np.float32(strength / 100) * copy) * scan.inside


def _motion(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    image = _shares(scan)
    lines = np.fft.fft(image, axis=1)
    place = np.fft.fftfreq(image.shape[1])[None, :, None]
    moved = lines * np.exp(-2j * np.pi * place * strength / scan.voxel_size[1])
    rng = np.random.default_rng(_seed(scan))
    late = rng.random(image.shape[1]) < _MOVED
    late &= np.abs(place[0, :, 0]) > 0.02  # the middle lines are read at one moment
    read = np.where(late[None, :, None], moved, lines)
    return np.abs(np.fft.ifft(read, axis=1)).astype(np.float32) * scan.inside


def _placed_anew(scan: OpenScan, matrix: Matrix) -> Float:
    """Return the scan moved about its middle by a 3 x 4 map of mm from output to input."""
    image = _shares(scan)
    size = np.array(scan.voxel_size)
    middle = (np.array(image.shape) - 1) / 2
    linear = np.diag(1 / size) @ matrix[:, :3] @ np.diag(size)
    offset = middle - linear @ middle + matrix[:, 3] / size
    index = np.indices(image.shape).reshape(3, -1)
    places = (linear @ index + offset[:, None]).astype(np.float32).reshape(3, *image.shape)
    beyond = ((places < -0.5) | (places > np.array(image.shape).reshape(3, 1, 1, 1) - 0.5)).any(0)
    return np.where(beyond, np.float32(0), resampled(image, places))


def _shift(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    return _placed_anew(scan, np.c_[np.eye(3), [strength, 0, 0]])


def _rotate(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    angle = np.radians(strength)
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return _placed_anew(scan, np.c_[turn, np.zeros(3)])


def _larger(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    return _placed_anew(scan, np.c_[np.eye(3) / (1 + strength / 100), np.zeros(3)])


def _anatomy(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    """Move every place a little, smoothly and at random: another anatomy of the same volumes."""
    image = _shares(scan)
    nodes = torch.randn(3, *_ANATOMY, generator=_rng(scan)).numpy()
    zooms = np.array(image.shape) / np.array(_ANATOMY)
    places = np.indices(image.shape).astype(np.float32)
    for axis in range(3):
        moved = ndimage.zoom(nodes[axis], zooms, order=1, grid_mode=True, mode="nearest")
        places[axis] += np.float32(strength / scan.voxel_size[axis]) * moved
    return resampled(image, places)


def _flip(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    return np.ascontiguousarray(_shares(scan)[::-1]) if strength else _shares(scan)


def _bright_air(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    return np.where(scan.inside, _shares(scan), np.float32(strength / 100))


def _cropped(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    """Cut off what lies highest in the brain: a field of view that ends too early."""
    image = _shares(scan).copy()
    shown = np.flatnonzero(scan.inside.any(axis=(0, 1)))
    lost = round(strength / scan.voxel_size[2])
    if lost:
        image[:, :, max(int(shown[-1]) + 1 - lost, 0) :] = 0
    return image


def _defaced(scan: OpenScan, strength: float, to_mni: Matrix | None) -> Float:
    """Cut off what lies in front of and below a plane that reaches into the brain."""
    assert to_mni is not None
    head = template()
    points = np.argwhere(head.brain) @ head.affine[:3, :3].T + head.affine[:3, 3]
    most = float((points @ _FACE).max())
    shape = scan.data.shape
    along = to_mni[:3, :3].T @ _FACE
    far = sum(
        along[axis] * np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis in range(3)
    ) + float(to_mni[:3, 3] @ _FACE)
    return np.where(far > most - strength, np.float32(0), _shares(scan))


def _one_up(scan: OpenScan, strength: float, _: Matrix | None) -> Float:
    """Move everything up; the lowest slices are there twice, as slices taken a little lower."""
    steps = max(round(strength / scan.voxel_size[2]), 1) if strength else 0
    image = _shares(scan)
    return np.concatenate(
        [image[:, :, :1]] * steps + [image[:, :, : image.shape[2] - steps]], axis=2
    )


#: Name -> what it does, in the order in which they are told.
NUISANCES = {
    "gain": Nuisance("receiver gain", "times", (0.8, 0.6, 0.4), _gain),
    "gamma": Nuisance("contrast (gamma)", "log gamma", (0.1, 0.2, 0.4), _gamma),
    "bias": Nuisance("bias field", "% at most", (10, 20, 40), _bias),
    "noise": Nuisance("Rician noise", "% of white matter", (1, 3, 6), _noise),
    "blur": Nuisance("blur", "mm FWHM", (1.0, 2.0, 3.0), _blur),
    "thick": Nuisance("thick slices", "mm", (2.0, 3.0, 5.0), _thick),
    "ghosts": Nuisance("ghosts", "% of the head", (5, 10, 20), _ghosts),
    "motion": Nuisance("motion", "mm", (1.0, 2.0, 4.0), _motion),
    "shift": Nuisance("shift to the side", "mm", (2.0, 5.0, 10.0), _shift),
    "rotate": Nuisance("head turned", "degrees", (2.0, 5.0, 10.0), _rotate),
    "size": Nuisance("larger head", "%", (2.0, 5.0, 10.0), _larger),
    "anatomy": Nuisance("another anatomy, at random", "mm (sd)", (0.5, 1.0, 2.0), _anatomy),
    "flip": Nuisance("left and right exchanged", "", (1.0,), _flip),
    "air": Nuisance("air is not black", "% of white matter", (2, 5, 10), _bright_air),
    "crop": Nuisance("field of view ends early, at the top", "mm", (5.0, 10.0, 20.0), _cropped),
    "deface": Nuisance("defacing cuts into the brain", "mm", (2.0, 5.0, 10.0), _defaced, True),
    "slices": Nuisance("slices taken lower", "mm", (1.0, 2.0, 4.0), _one_up),
}


def region_replaced(scan: OpenScan, mask: Float, mean: Float) -> Float:
    """Return a scan in which a region shows the mean of healthy people.

    Args:
        scan: Whose.
        mask: ``(X, Y, Z)`` 1 in the region and 0 elsewhere, with a soft edge.
        mean: ``(X, Y, Z)`` mean of healthy training people, in shares of their brightest tissue.
    """
    image = _shares(scan)
    mixed = image + mask * (mean - image)
    return np.asarray(mixed * scan.inside * np.float32(scan.top), np.float32)


def outline(scan: OpenScan) -> Float:
    """Return the brain's outline alone: all of it as bright as its mean."""
    inside = scan.inside
    return np.where(inside, np.float32(scan.data[inside].mean()), np.float32(0))


def brain_of(scan: OpenScan, to_mni: Matrix) -> NDArray[np.bool_]:
    """Return (X, Y, Z) where the template's brain lies, with 4 mm around it."""
    wide = ndimage.binary_dilation(template().brain, iterations=2)
    return np.asarray(on_scan(wide.astype(np.float32), to_mni, scan.data.shape) > 0.5)


def _seed(scan: OpenScan) -> int:
    return zlib.crc32(scan.name.encode())  # the same person, the same noise


def _rng(scan: OpenScan) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(scan))
