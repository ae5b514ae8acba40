"""Atrophy and ageing as smooth, invertible fields in template space.

A changed scan is the scan sampled at ``x + a d(x)``: ``d`` is one of `fields`, ``a`` its amplitude.
Ventricles, temporal horns and hippocampi have the phantom's own fields, which add up. Sulci and
cortex follow the template's fluid and tissue, smoothed: towards the middle of a sulcus, and out of
the cortex, so that fluid takes the room of tissue. They come after the other three: one map is
applied to what the other gives. No change folds space: its Jacobian determinant is above 0.

The reverse, a diseased person made younger, samples at ``x + e(x)`` with ``e + a d(x + e) = 0``: it
takes back what the same amplitude did, to interpolation.

Arrays: fields ``(3, X, Y, Z)`` mm on the template's grid, RAS+ at 2 mm; scans ``X Y Z`` voxels.
Matrices are 4 x 4 and act on ``(index, 1)``. Lengths are mm, volumes mL.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from ..cohorts.phantom.anatomy import HIPPOCAMPI, TEMPORAL_HORNS, VENTRICLES, radial
from ..cohorts.phantom.people import AGEING
from ..maps.regions.atlas import coarse_atlas
from ..preprocessing.space.template import EDGE, template

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Amplitude of the phantom's fields at most. Its full disease is .95; from .84 on their sum folds
#: space beside the temporal horns, where two of them overlap.
FULL = 0.8
#: Amplitude of `SHELL` at most.
WIDEST = 1.0
#: What a year over 60 opens the ventricles of the phantom's healthy people.
YEAR = AGEING["disease"]
SHELL = ("sulci", "cortex")
#: Field -> the region whose volume it changes.
STRUCTURES: Mapping[str, str] = {
    "ventricles": "lateral ventricles",
    "temporal horns": "temporal horns",
    "hippocampi": "hippocampi",
    "sulci": "other CSF",
    "cortex": "cortex",
}
#: Where x lies in MNI space.
SIDES = {"right": 1, "left": -1}
_STEEPEST = 0.6  # largest gradient of the two fields that follow the template, mm per mm
_SULCI, _CORTEX = 4.0, 2.0  # mm: standard deviations of the smoothing
_SMALL = 0.02  # mm: no move
_ROUNDS, _CLOSE = 60, 0.01  # of the reverse; mm
_FINE = 2  # samples along a template voxel's edge, where volumes are told


@lru_cache(maxsize=1)
def fields() -> Mapping[str, Float]:
    """Return ``(3, X, Y, Z)`` of each field at amplitude 1, on the template's grid."""
    atlas, head = coarse_atlas(), template()
    shape = head.t1.shape
    index = np.indices(shape).reshape(3, -1)
    points = head.affine[:3, :3] @ index + head.affine[:3, 3:]
    made = {
        "ventricles": radial(points, *VENTRICLES).reshape(3, *shape),
        "temporal horns": radial(points, *TEMPORAL_HORNS).reshape(3, *shape),
        "hippocampi": -radial(points, *HIPPOCAMPI).reshape(3, *shape),
    }
    for side, sign in SIDES.items():
        opened, shrunk = radial(points, *VENTRICLES, (sign,)), radial(points, *HIPPOCAMPI, (sign,))
        made[f"{side} ventricle"] = opened.reshape(3, *shape)
        made[f"{side} hippocampus"] = -shrunk.reshape(3, *shape)
    tissue = np.clip(head.grey + head.white, 0, 1)
    region = {name: atlas.labels == number + 1 for number, name in enumerate(atlas.names)}
    inner = region["lateral ventricles"] | region["temporal horns"]
    outer = np.where(head.brain & ~inner, 1 - tissue, 0).astype(np.float32)
    lobes = [mask for name, mask in region.items() if name.endswith("cortex")]
    near = _smooth(np.any(lobes, axis=0).astype(np.float32), _SULCI)
    made["sulci"] = _steep(_gradient(_smooth(outer, _SULCI)) * near)
    grey = _smooth(head.grey * np.any(lobes, axis=0), _CORTEX)
    made["cortex"] = _steep(-_gradient(_smooth(tissue, _CORTEX)) * grey)
    return made


@lru_cache(maxsize=1)
def regions() -> Mapping[str, Mask]:
    """Return the region of each of `STRUCTURES`, on the template's grid; the cortex's five are one.

    The lobes and the insula together are ``cortex``.
    """
    atlas = coarse_atlas()
    masks = {name: atlas.labels == number + 1 for number, name in enumerate(atlas.names)}
    cortex = [mask for name, mask in masks.items() if name.endswith("cortex") or name == "insula"]
    return masks | {"cortex": np.asarray(np.any(cortex, axis=0))}


def field_of(amplitudes: Mapping[str, float]) -> Float:
    """Return the displacement ``(3, X, Y, Z)`` of some fields together, mm.

    Args:
        amplitudes: Field -> amplitude. Negative ones take back what positive ones did.
    """
    total = np.zeros((3, *template().t1.shape), np.float32)
    for name, amplitude in amplitudes.items():
        if name not in SHELL:
            total += np.float32(abs(amplitude)) * fields()[name]
    for name in SHELL:
        if amplitude := abs(amplitudes.get(name, 0.0)):
            total += np.float32(amplitude) * _at(fields()[name], total)
    if any(amplitude < 0 for amplitude in amplitudes.values()):
        if any(amplitude > 0 for amplitude in amplitudes.values()):
            raise ValueError("a change goes one way: amplitudes have one sign")
        return _inverse(total)
    return total


def jacobian(field: Float) -> Float:
    """Return the Jacobian determinant of ``x + d(x)``, ``(X, Y, Z)``; at 1 nothing changes size."""
    rows = [np.stack(np.gradient(one, EDGE)) for one in field]
    matrix = np.moveaxis(np.stack(rows), (0, 1), (-2, -1)) + np.eye(3, dtype=np.float32)
    return np.asarray(np.linalg.det(matrix), np.float32)


def volume_of(mask: Mask, field: Float | None = None) -> float:
    """Return the volume of a region, mL, also after a change.

    Args:
        mask: ``(X, Y, Z)`` on the template's grid.
        field: The change; None before it.
    """
    cell = EDGE**3 / 1000
    if field is None:
        return float(mask.sum()) * cell
    box = _around(mask, field)
    steps = [np.arange(s.start, s.stop, 1 / _FINE) - 0.5 for s in box]
    at = np.stack(np.meshgrid(*steps, indexing="ij")).astype(np.float32)
    # Each sample lies anywhere in its cell: were all in the middle, none of those beside a face
    # would cross it under a small move, and a thin region would not change.
    at += np.random.default_rng(0).random(at.shape, np.float32) / np.float32(_FINE)
    moved = [ndimage.map_coordinates(one, at, order=1, mode="nearest") / EDGE for one in field]
    held = ndimage.map_coordinates(mask.astype(np.float32), at + np.stack(moved), order=0)
    return float(held.sum(dtype=np.float64)) * cell / _FINE**3


def in_view(mask: Mask, to_mni: Matrix, shape: tuple[int, ...]) -> float:
    """Return which share of a region lies in a scan's field of view, 0 to 1.

    Args:
        mask: ``(X, Y, Z)`` on the template's grid.
        to_mni: Index of the scan -> MNI mm.
        shape: X, Y, Z of the scan.
    """
    step = np.linalg.inv(to_mni) @ template().affine
    places = np.argwhere(mask) @ step[:3, :3].T + step[:3, 3]
    seen = np.all((places > -0.5) & (places < np.array(shape) - 0.5), axis=1)
    return float(seen.mean()) if seen.size else 0.0


class Warp:
    """A change of scans that lie in one frame, as places to sample.

    Args:
        field: ``(3, X, Y, Z)`` displacement on the template's grid, mm.
        to_mni: Index of the scan -> MNI mm.
        shape: X, Y, Z of the scan.
    """

    def __init__(self, field: Float, to_mni: Matrix, shape: tuple[int, ...]) -> None:
        to_template = np.linalg.inv(template().affine) @ to_mni
        back = np.linalg.inv(to_mni[:3, :3])
        self.shape = shape
        length = np.sqrt((field**2).sum(axis=0))
        there = _on_scan(length, to_template, shape, 1)
        near = there > _SMALL
        self.box = tuple(
            slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
            for found in (np.flatnonzero(near.any(axis=_others(axis))) for axis in range(3))
        )
        index = np.stack(
            np.meshgrid(*(np.arange(s.start, s.stop) for s in self.box), indexing="ij")
        )
        flat = index.reshape(3, -1)
        at = to_template[:3, :3] @ flat + to_template[:3, 3:]
        moved = np.stack(
            [ndimage.map_coordinates(one, at, order=1, mode="constant") for one in field]
        )
        places = flat + back @ moved
        self.places = places.astype(np.float32).reshape(3, *index.shape[1:])

    @property
    def empty(self) -> bool:
        """Whether the scan shows nothing that moves."""
        return bool(self.places.size == 0)

    def apply(self, data: Float) -> Float:
        """Return the changed scan ``(X, Y, Z)``, zero in air."""
        if data.shape != self.shape:
            raise ValueError(f"a change of {self.shape} and a scan of {data.shape}")
        if self.empty:
            return data
        made = data.copy()
        made[self.box] = resampled(data, self.places)
        return made


def resampled(data: Float, places: Float) -> Float:
    """Return a scan at some places, by cubic splines; zero where air was.

    Linear interpolation between voxels takes noise and detail away, which moves a network further
    than a small disease does: half a voxel of shift made 11 of 19 phantoms another stage.

    Args:
        data: ``(X, Y, Z)``, zero in air.
        places: ``(3, x, y, z)``, an index along X, Y and Z of each.

    Returns:
        ``(x, y, z)``, between zero and the brightest voxel of `data`.
    """
    (share,) = sample((data > 0).astype(np.float32)[None], places)
    inside = share > 0.5
    found = np.zeros(places.shape[1:], np.float32)
    # Half of a head's box is air, where nothing needs to be told.
    values = ndimage.map_coordinates(data, places[:, inside], np.float32, order=3, mode="nearest")
    # Splines ring beside sharp edges: under zero would be air, over the brightest nothing is.
    found[inside] = np.clip(values, np.float32(1e-3) * data.max(), data.max())
    return found


def on_scan(
    values: NDArray[np.floating], to_mni: Matrix, shape: tuple[int, ...], order: int = 1
) -> Float:
    """Carry values on the template's grid to a scan's.

    Args:
        values: ``(X, Y, Z)`` on the template's grid; 0 beyond it.
        to_mni: Index of the scan -> MNI mm.
        shape: X, Y, Z of the scan.
        order: 1 is linear, 0 the nearest.
    """
    return _on_scan(values, np.linalg.inv(template().affine) @ to_mni, shape, order)


def _on_scan(
    values: NDArray[np.floating], step: Matrix, shape: tuple[int, ...], order: int
) -> Float:
    found: Float = ndimage.affine_transform(
        values.astype(np.float32), step[:3, :3], step[:3, 3], shape, np.float32, order
    )
    return found


def _inverse(field: Float) -> Float:
    """Return e with ``e + d(x + e) = 0``.

    Plain repetition ``e = -d(x + e)`` swings where ``d`` is steep, so half steps are taken.
    """
    found = np.zeros_like(field)
    for _ in range(_ROUNDS):
        off = found + _at(field, found)
        if float(np.abs(off).max()) < _CLOSE:
            break
        found -= np.float32(0.5) * off
    return found


def _at(field: Float, moved: Float) -> Float:
    """Return a field at the places ``x + moved(x)``, all on the template's grid."""
    return sample(field, np.indices(field.shape[1:]).astype(np.float32) + moved / np.float32(EDGE))


def sample(values: Float, places: Float) -> Float:
    """Return volumes at some places, linear; beyond their edges the value at the edge.

    Args:
        values: ``(C, X, Y, Z)``.
        places: ``(3, x, y, z)``, an index along X, Y and Z of each.

    Returns:
        ``(C, x, y, z)``.
    """
    half = np.maximum(np.array(values.shape[1:], np.float32) - 1, 1) / 2
    # torch counts from -1 to 1 between the centres of the first voxel and the last, Z Y X.
    grid = np.stack([places[axis] / half[axis] - 1 for axis in (2, 1, 0)], axis=-1)
    found = functional.grid_sample(
        *(torch.from_numpy(values)[None], torch.from_numpy(grid.astype(np.float32))[None]),
        padding_mode="border",
        align_corners=True,
    )
    return np.asarray(found[0].numpy())


def _smooth(values: NDArray[np.floating], sigma: float) -> Float:
    found: Float = ndimage.gaussian_filter(values.astype(np.float32), sigma / EDGE)
    return found


def _gradient(values: Float) -> Float:
    return np.stack([np.gradient(values, EDGE, axis=axis) for axis in range(3)]).astype(np.float32)


def _steep(field: Float) -> Float:
    """Return a field scaled so that space stays unfolded: its Jacobian's largest norm is known."""
    rows = np.stack([np.stack(np.gradient(one, EDGE)) for one in field])
    norm = np.linalg.norm(np.moveaxis(rows, (0, 1), (-2, -1)), ord=2, axis=(-2, -1))
    return np.asarray(field * np.float32(_STEEPEST / norm.max()))


def _around(mask: Mask, field: Float) -> tuple[slice, ...]:
    """Return a box that holds a region wherever a change may take it."""
    reach = int(np.ceil(np.abs(field).max() / EDGE)) + 2
    return tuple(
        slice(max(int(found[0]) - reach, 0), min(int(found[-1]) + 1 + reach, mask.shape[axis]))
        for axis, found in (
            (axis, np.flatnonzero(mask.any(axis=_others(axis)))) for axis in range(3)
        )
    )


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)
