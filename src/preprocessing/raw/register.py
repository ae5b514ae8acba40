"""Lay a brain on the ICBM152 template by an affine map: 12 numbers, found by SimpleITK.

Arrays: ``X Y Z`` voxels in RAS+ order. Matrices are 4 x 4 and act on ``(index, 1)`` or
``(mm, 1)``; mm are RAS+. SimpleITK counts mm to the left and the back: both are turned here.

Source of the method: Avants et al. (2014), doi:10.3389/fninf.2014.00044 (ITK's registration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ...errors import ImageError
from ...optional import simple_itk
from ..resample import along_axes, brain_box
from ..space.template import template

Matrix = NDArray[np.float64]
Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Voxels of the brain in mm, coarse to fine, smoothed by as much; and the places of the template
#: that are compared with it. At the last level an eighth of the places moves nothing by over .1 mm.
_LEVELS = ((8.0, 8.0), (4.0, 4.0), (2.0, 4.0))
_TRIED = 6  # starts that are followed beyond the first look
_TIPPED = (0.0, -25.0, 25.0)  # degrees around each axis, of more starts near the header's word
_ROUGH = {"learningRate": 2.0, "minStep": 1e-3, "numberOfIterations": 200}
#: A larger rate makes the twelve numbers diverge; conjugate gradients and L-BFGS take longer.
_FINE = {
    **{"learningRate": 0.5, "minStep": 1e-4, "numberOfIterations": 100},
    "gradientMagnitudeTolerance": 2e-5,  # 1e-4 stops up to .5 mm before the best place
}
_TURNED = 60.0  # degrees from which a head lies otherwise than its header says
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Registration:
    """Where a brain lies in template space.

    Attributes:
        to_native: mm of the template -> mm of the scan.
        correlation: Of the laid scan and the template's T1 inside the template's brain.
        turned: Whether the head lies otherwise than the header says, by 45 degrees or more.
    """

    to_native: Matrix
    correlation: float
    turned: bool


def register(brain: Float, affine: Matrix) -> Registration:
    """Find the affine map that lays a brain on the template.

    It starts from the centres of mass: as the header says, tipped from there, and in the 23 other
    ways that a box can lie. The best are followed as rigid bodies of one scale, the best of those
    to the end. A head is symmetric, so whether left and right are exchanged in a header cannot be
    told: the header is believed.

    Args:
        brain: ``(X, Y, Z)`` T1 intensities, 0 outside the brain.
        affine: Its index -> mm.

    Raises:
        ImageError: The brain is empty, or the search finds nothing.
        ConfigError: SimpleITK is not installed.
    """
    sitk = simple_itk()
    if not brain.any():
        raise ImageError("there is no brain to register")
    t1 = template()
    centre_fixed, centre_moving = _centre(t1.t1, t1.affine), _centre(brain, affine)
    levels = [
        (_coarse(t1.t1, t1.affine, smooth, every), _coarse(brain, affine, smooth, smooth))
        for smooth, every in _LEVELS
    ]
    rough, seen = levels[0]
    starts = []
    for box in _boxes():
        turned = _turned_image(seen, box, centre_moving)
        tips = product(_TIPPED, repeat=3) if np.array_equal(box, np.eye(3)) else [(0.0, 0.0, 0.0)]
        for tip in tips:
            start = _start(tip, centre_fixed, centre_moving)
            starts.append((_value(sitk, rough, turned, start), box, turned, start))
    starts.sort(key=lambda one: one[0])
    found = []
    for _, box, turned, start in starts[:_TRIED]:
        try:
            found.append((_refine(sitk, rough, turned, start, _ROUGH), box, start))
        except RuntimeError:  # the images no longer overlap
            continue
    if not found:
        raise ImageError("it cannot be laid on the template")
    _, box, rigid = min(found, key=lambda one: one[0])
    best = _as_affine(sitk, rigid, box, centre_moving)
    try:
        for pair in levels:
            _refine(sitk, *pair, best, _FINE)
    except RuntimeError:
        raise ImageError("it cannot be laid on the template") from None
    to_native = _matrix(best)
    laid = resample(brain, affine, to_native, t1.t1.shape, t1.affine)
    return Registration(to_native, correlation(laid), _angle(to_native) >= _TURNED)


def resample(
    data: Float, affine: Matrix, to_native: Matrix, shape: Sequence[int], grid: Matrix
) -> Float:
    """Return a scan on a grid of template space, by lines between voxels; 0 beyond its edges.

    Args:
        data: ``(X, Y, Z)`` of the scan.
        affine: Its index -> mm.
        to_native: mm of the template -> mm of the scan.
        shape: X, Y, Z of the grid.
        grid: Its index -> mm of the template.
    """
    sitk = simple_itk()
    filled = data != 0
    if not filled.any():
        return np.zeros(tuple(shape), np.float32)
    box = brain_box(filled)  # around it is nothing, as beyond the edges
    place = np.eye(4)
    place[:3, 3] = [one.start for one in box]
    there = sitk.AffineTransform(3)
    lps = _TO_LPS @ to_native @ _TO_LPS
    there.SetMatrix(lps[:3, :3].ravel().tolist())
    there.SetTranslation(lps[:3, 3].tolist())
    empty = as_itk(np.zeros(tuple(shape), np.float32), grid)
    laid = sitk.Resample(as_itk(data[box], affine @ place), empty, there, sitk.sitkLinear, 0.0)
    return np.ascontiguousarray(sitk.GetArrayFromImage(laid).transpose(2, 1, 0))


def field_of_view(
    imaged: Sequence[int], affine: Matrix, to_native: Matrix, shape: Sequence[int], grid: Matrix
) -> Mask:
    """Return which places of a grid a scan of `imaged` X, Y, Z voxels has seen; see `resample`."""
    place = np.diag([*map(float, imaged), 1.0])
    place[:3, 3] = [(edge - 1) / 2 for edge in imaged]
    # One voxel that is as large as the scan.
    return resample(np.ones((1, 1, 1), np.float32), affine @ place, to_native, shape, grid) > 0.5


def correlation(laid: Float) -> float:
    """Return r of a scan on the template's grid with its T1, inside the template's brain."""
    t1 = template().t1
    inside = t1 > 0
    if not laid[inside].any():
        return 0.0
    return float(np.corrcoef(laid[inside], t1[inside])[0, 1])


def as_itk(data: NDArray[Any], affine: Matrix) -> Any:
    """Return a SimpleITK image whose directions are at right angles, as ITK wants them.

    Raises:
        ImageError: The header shears the image.
    """
    sitk = simple_itk()
    lps = _TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise ImageError("its header has axes that are not at right angles")
    u, _, vt = np.linalg.svd(direction)  # exactly at right angles
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((u @ vt).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _boxes() -> list[Matrix]:
    """Return the 24 ways that a box can lie without being mirrored, the first as it is."""
    found = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        turn = np.zeros((3, 3))
        turn[range(3), order] = signs
        if np.linalg.det(turn) > 0:
            found.append(turn)
    return sorted(found, key=lambda turn: -np.trace(turn))


def _turned_image(image: Any, turn: Matrix, centre: Matrix) -> Any:
    """Return the image turned around a point, by its header alone.

    ITK's rigid transforms do not start well from half turns, so these are taken beforehand.
    """
    sitk = simple_itk()
    turned = sitk.Image(image)
    direction = turn @ np.array(image.GetDirection()).reshape(3, 3)
    turned.SetDirection(direction.ravel().tolist())
    turned.SetOrigin((turn @ (np.array(image.GetOrigin()) - centre) + centre).tolist())
    return turned


def _start(tip: Sequence[float], fixed: Matrix, moving: Matrix) -> Any:
    """Return the transform that tips by degrees and lays the centre of `fixed` on `moving`."""
    transform = simple_itk().Similarity3DTransform()
    transform.SetCenter(fixed.tolist())
    matrix = Rotation.from_euler("xyz", tip, degrees=True).as_matrix()
    transform.SetMatrix(matrix.ravel().tolist(), 1e-6)
    transform.SetTranslation((moving - fixed).tolist())
    return transform


def _as_affine(sitk: Any, rigid: Any, turn: Matrix, centre: Matrix) -> Any:
    """Return a transform onto an image that was turned, as an affine one onto the image itself."""
    middle, shift = np.array(rigid.GetCenter()), np.array(rigid.GetTranslation())
    back = turn.T
    linear = back @ np.array(rigid.GetMatrix()).reshape(3, 3)
    transform = sitk.AffineTransform(3)
    transform.SetCenter(middle.tolist())
    transform.SetMatrix(linear.ravel().tolist())
    transform.SetTranslation((centre + back @ (middle + shift - centre) - middle).tolist())
    return transform


def _angle(matrix: Matrix) -> float:
    """Return the angle of a matrix's rotation in degrees."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    cosine = (np.trace(u @ vt) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _centre(data: Float, affine: Matrix) -> Matrix:
    """Return the centre of mass in LPS mm."""
    weight = data.astype(np.float64)
    places = [
        (weight.sum(axis=tuple({0, 1, 2} - {k})) @ np.arange(data.shape[k])) / weight.sum()
        for k in range(3)
    ]
    return np.asarray((_TO_LPS @ affine @ [*places, 1.0])[:3])


def _coarse(data: Float, affine: Matrix, smooth: float, grid: float) -> Any:
    """Return a brain that is smoothed for voxels of `smooth` mm, at places `grid` mm apart.

    The field of view stays as it is, and every place is exact: ITK's own Shrink is half a voxel off
    where a step is even.
    """
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    steps = [max(1, round(grid / edge)) for edge in edges]
    first = [(n - 1) % step // 2 for n, step in zip(data.shape, steps, strict=True)]
    box = brain_box(data != 0)
    along = [
        ndimage.gaussian_filter(np.eye(n), (0.5 * smooth / edge, 0), mode="nearest")[at::step, part]
        for n, edge, at, step, part in zip(data.shape, edges, first, steps, box, strict=True)
    ]
    place = np.diag([*steps, 1.0])
    place[:3, 3] = first
    return as_itk(along_axes(data[box], [m.astype(np.float32) for m in along]), affine @ place)


def _method(sitk: Any) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _value(sitk: Any, fixed: Any, moving: Any, start: Any) -> float:
    """Return the metric of a start: minus the squared correlation."""
    method = _method(sitk)
    method.MetricUseMovingImageGradientFilterOff()  # a value needs no gradient
    method.SetInitialTransform(start)
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # no overlap
        return 0.0


def _refine(sitk: Any, fixed: Any, moving: Any, transform: Any, steps: dict[str, float]) -> float:
    """Improve a transform in place; return the metric that it ends with."""
    method = _method(sitk)
    method.SetOptimizerAsRegularStepGradientDescent(**steps, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return float(method.GetMetricValue())


def _matrix(transform: Any) -> Matrix:
    """Return a transform's 4 x 4 on RAS+ mm."""
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    lps = np.eye(4)
    lps[:3, :3] = linear
    lps[:3, 3] = np.array(transform.GetTranslation()) + centre - linear @ centre
    return np.asarray(_TO_LPS @ lps @ _TO_LPS)
