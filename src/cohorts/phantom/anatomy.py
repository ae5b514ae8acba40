"""Synthetic brains: the ICBM152 template, deformed by anatomy, ageing and planted disease.

A brain is the template sampled at ``x + d(x)``. A radial field ``-a (x - c) exp(-|(x - c) / s|^2
/ 2)`` opens the structure at ``c`` (a > 0) or shrinks it (a < 0); |a| < 1, or space would fold.

Arrays: ``X Y Z`` voxels in stored order, LAS: X runs from right to left, Y to anterior, Z to
superior. ``P`` the voxels near the brain, flat. ``C`` the three MNI axes. Lengths are mm (MNI).

Source: ICBM152 2009, Fonov et al. (2011), doi:10.1016/j.neuroimage.2010.07.033.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Shape = tuple[int, int, int]
Triple = tuple[float, float, float]

FIELD_OF_VIEW = (176.0, 208.0, 176.0)  # OASIS-1's, mm
CENTRE = (0.0, -17.0, 5.0)  # of the template's brain, MNI mm
#: Structure -> (centre on the right, Gaussian widths), MNI mm; mirrored to the left.
VENTRICLES = ((14.0, -12.0, 20.0), (12.0, 28.0, 14.0))
HIPPOCAMPI = ((27.0, -20.0, -15.0), (8.0, 14.0, 8.0))
TEMPORAL_HORNS = ((32.0, -12.0, -22.0), (6.0, 12.0, 6.0))
STRUCTURES = (VENTRICLES, HIPPOCAMPI, TEMPORAL_HORNS)
_NODES = (5, 6, 5)  # of the random anatomy
_NODE_SD, _NODE_LIMIT = 2.0, 6.0  # mm per axis
_SULCI_NODES = (7, 9, 12)  # of how wide the clefts are, place by place
_SULCI_MEAN, _SULCI_SD = 0.35, 0.35  # share of tissue under which a voxel holds fluid
_FLUID = 0.15  # intensity of fluid where that share is 0, of the tissue's own
_MARGIN = 10.0  # mm around the brain that are sampled: _NODE_LIMIT along all three axes
_BIAS_NODES, _BIAS = (3, 3, 3), 0.15
_NOISE = 0.03  # of the brightest tissue
_BRIGHTEST = 2000.0  # int16 value of the template's brightest tissue


@dataclass(frozen=True)
class Brain:
    """One person's anatomy on the voxel grid, before bias and noise.

    Attributes:
        intensity: (X, Y, Z) T1 intensity, 0 to 1; 0 outside the brain.
        displacement: (X, Y, Z) length of the planted disease displacement, mm.
        change: (X, Y, Z) |intensity - intensity without the disease|, 0 to 1.
        volume: Volume inside the brain mask, mL.
        tissue_fraction: Grey and white matter as a fraction of `volume`.
    """

    intensity: Floats
    displacement: Floats
    change: Floats
    volume: float
    tissue_fraction: float


@dataclass(frozen=True)
class _Grid:
    """What all people of one voxel size share; it is computed once per process."""

    near: NDArray[np.bool_]  # (X, Y, Z) voxels near the brain
    coordinates: Floats  # (C, P) template voxel coordinates
    fields: tuple[Floats, ...]  # (C, P) radial field of each of STRUCTURES at a = 1
    bases: tuple[Floats, ...]  # (nodes, voxels) per axis, of the random anatomy
    sulci_bases: tuple[Floats, ...]  # the same, of the width of sulci
    bias_bases: tuple[Floats, ...]  # and of the bias field
    intensity: Floats  # template maps, 0 to 1
    tissue: Floats
    mask: Floats


def grid_affine(voxel: float) -> tuple[Shape, NDArray[np.float64]]:
    """Return the grid's shape and its true affine (voxel -> MNI mm); X runs right to left."""
    x, y, z = (round(extent / voxel) for extent in FIELD_OF_VIEW)
    affine = np.diag([-voxel, voxel, voxel, 1.0])
    affine[:3, 3] = np.array(CENTRE) - affine[:3, :3] @ (np.array([x, y, z]) - 1) / 2
    return (x, y, z), affine


def deform(
    voxel: float,
    disease: float,
    ageing: float,
    rng: np.random.Generator,
    variety: float = 0.0,
) -> Brain:
    """Return a brain with random anatomy.

    Args:
        voxel: Voxel size, mm.
        disease: Planted amplitude, 0 to 0.95: opens ventricles and temporal horns, shrinks
            hippocampi.
        ageing: Amplitude that opens (> 0) or narrows (< 0) the ventricles of healthy people too.
        rng: Source of the anatomy.
        variety: How much the width of sulci differs between people and places, 0 to 1.
    """
    grid = _grid(voxel)
    ventricles, hippocampi, horns = grid.fields
    healthy = grid.coordinates + _random_field(grid, rng) + np.float32(ageing) * ventricles
    # (1 - ageing)(1 - disease) is what is left of the ventricles' space, so the sum stays under 1.
    planted = np.float32(disease) * (np.float32(1 - ageing) * ventricles - hippocampi + horns)
    place = healthy + planted
    inside = _sample(grid.mask, place) > 0.5
    place, healthy = place[:, inside], healthy[:, inside]  # the rest is 0
    sulci = _sulci(grid, rng, variety)[inside] if variety else None
    intensity, tissue = _seen(grid, place, sulci)
    length = np.sqrt((planted[:, inside] ** 2).sum(axis=0))
    change = np.abs(intensity - _seen(grid, healthy, sulci)[0])
    where = np.zeros_like(grid.near)
    where[grid.near] = inside
    return Brain(
        _on_grid(where, intensity),
        _on_grid(where, length),
        _on_grid(where, change),
        float(inside.sum()) * voxel**3 / 1000,
        float(tissue.sum(dtype=np.float64) / inside.sum()),
    )


def scan(brain: Brain, voxel: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Return the image a scanner would take: a gain, a smooth bias field and noise, int16."""
    grid = _grid(voxel)
    inside = brain.intensity > 0
    nodes = rng.standard_normal(_BIAS_NODES, np.float32)
    bias = 1 + _BIAS * np.clip(_interpolate(nodes, grid.bias_bases), -2, 2)
    noise = _NOISE * rng.standard_normal(brain.intensity.shape, np.float32)
    gain = _BRIGHTEST * rng.uniform(0.8, 1.25)
    image = np.clip(gain * (brain.intensity * bias + noise), 1, np.iinfo(np.int16).max)
    return np.where(inside, np.rint(image), 0).astype(np.int16)  # 0 stays the mark of no brain


@lru_cache(maxsize=1)
def _grid(voxel: float) -> _Grid:
    intensity, tissue, origin = _template()
    shape, affine = grid_affine(voxel)
    index = np.indices(shape).reshape(3, -1)
    points = affine[:3, :3] @ index + affine[:3, 3:]
    mask = (intensity > 0).astype(np.float32)
    coordinates = (points - origin[:, None]).astype(np.float32)
    inside = _sample(mask, coordinates).reshape(shape) > 0
    near = ndimage.distance_transform_edt(~inside, sampling=voxel) <= _MARGIN
    points, coordinates = points[:, near.ravel()], coordinates[:, near.ravel()]
    return _Grid(
        near,
        coordinates,
        tuple(radial(points, *structure) for structure in STRUCTURES),
        _bases(_NODES, shape),
        _bases(_SULCI_NODES, shape),
        _bases(_BIAS_NODES, shape),
        intensity,
        tissue,
        mask,
    )


def _template() -> tuple[Floats, Floats, NDArray[np.float64]]:
    """Return T1 and grey + white matter (1 mm, 0 to 1), and the MNI place of voxel 0, 0, 0."""
    # Imported here: nilearn takes a second, which every command would pay.
    from nilearn import datasets

    t1 = datasets.load_mni152_template(resolution=1)
    grey = datasets.load_mni152_gm_template(resolution=1)
    white = datasets.load_mni152_wm_template(resolution=1)
    tissue = np.asarray(grey.dataobj) + np.asarray(white.dataobj)
    return (
        np.asarray(t1.dataobj, np.float32),
        tissue.astype(np.float32),
        np.asarray(t1.affine[:3, 3], np.float64),
    )


def radial(
    points: NDArray[np.float64],
    centre: Triple,
    widths: Triple,
    sides: tuple[int, ...] = (1, -1),
) -> Floats:
    """Return the (C, P) displacement that opens a structure, at a = 1.

    Args:
        points: (C, P) MNI mm.
        centre: Of the structure on the right, MNI mm.
        widths: Of the Gaussian along each axis, mm.
        sides: 1 for the right one, -1 for the left.
    """
    total = np.zeros(points.shape)
    for side in sides:
        offset = points - np.array([[side * centre[0]], [centre[1]], [centre[2]]])
        weight = np.exp(-((offset / np.array(widths)[:, None]) ** 2).sum(axis=0) / 2)
        total -= offset * weight
    return total.astype(np.float32)


def _bases(nodes: tuple[int, ...], shape: Shape) -> tuple[Floats, ...]:
    return tuple(_basis(n, size) for n, size in zip(nodes, shape, strict=True))


def _basis(nodes: int, size: int) -> Floats:
    """Return (nodes, size) weights of linear interpolation between evenly spread nodes."""
    place = np.linspace(0, nodes - 1, size)
    weights = np.maximum(0, 1 - np.abs(place - np.arange(nodes)[:, None]))
    return np.asarray(weights, np.float32)


def _interpolate(nodes: Floats, bases: tuple[Floats, ...]) -> Floats:
    """Return node values on the whole grid, trilinear; `nodes` is (..., i, j, k)."""
    # einsum without optimize keeps to one order of sums, so the bytes do not depend on BLAS.
    step = np.einsum("...ijk,kz->...ijz", nodes, bases[2])
    step = np.einsum("...ijz,jy->...iyz", step, bases[1])
    return np.asarray(np.einsum("...iyz,ix->...xyz", step, bases[0]), np.float32)


def _random_field(grid: _Grid, rng: np.random.Generator) -> Floats:
    nodes = _NODE_SD * rng.standard_normal((3, *_NODES), np.float32)
    field = _interpolate(np.clip(nodes, -_NODE_LIMIT, _NODE_LIMIT), grid.bases)
    return field[:, grid.near]


def _sulci(grid: _Grid, rng: np.random.Generator, variety: float) -> Floats:
    """Return (P,) the share of tissue under which a voxel holds fluid, 0 to 0.9."""
    field = _interpolate(rng.standard_normal(_SULCI_NODES, np.float32), grid.sulci_bases)
    spread = _SULCI_SD * (rng.standard_normal(dtype=np.float32) + field[grid.near])
    return np.asarray(np.clip(variety * (_SULCI_MEAN + spread), 0, 0.9), np.float32)


def _seen(grid: _Grid, place: Floats, sulci: Floats | None) -> tuple[Floats, Floats]:
    """Return T1 intensity and share of tissue at places of the template, with wider sulci."""
    intensity, tissue = _sample(grid.intensity, place), _sample(grid.tissue, place)
    if sulci is None:
        return intensity, tissue
    left = np.maximum(tissue - sulci, 0) / (1 - sulci)
    share = np.minimum(left / np.maximum(tissue, np.float32(1e-3)), 1)
    return intensity * (_FLUID + (1 - _FLUID) * share), left


def _sample(template: Floats, coordinates: Floats) -> Floats:
    values: Floats = ndimage.map_coordinates(template, coordinates, np.float32, order=1)
    return values


def _on_grid(where: NDArray[np.bool_], values: Floats) -> Floats:
    volume = np.zeros(where.shape, np.float32)
    volume[where] = values
    return volume
