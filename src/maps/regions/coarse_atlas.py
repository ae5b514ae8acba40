"""Fourteen coarse regions of the ICBM152 template, by tissue and by sulci in MNI coordinates.

No atlas file is needed, and none may be passed on: boundaries are straight lines between landmarks,
and what lies inside them is told apart by the template's T1 and tissue maps. Left and right are one
region, since the side of a scan may be unknown.

Held against published atlases on the same grid, left and right joined: Dice with Neuromorphometrics
and with Harvard-Oxford (25 %), and in brackets of these two with each other. Lateral ventricles .82
and .83 (.84), hippocampi .77 and .70 (.78), amygdalae .51 and .55 (.46), deep grey matter .78 and
.81 (.84), insula .68 and .72 (.83), brain stem .81 and .65 (.63), frontal cortex .75 and .76 (.80),
parietal .65 and .63 (.71), temporal .78 and .78 (.79), occipital .64 and .61 (.62); cerebellum .89
and white matter .77 with the first, the only one that has them. Of the voxels that both call
cortex, 95 and 91 % are in the same lobe (93 %). The temporal horns are 2 mL here and 0.5 mL there
(Dice .31): they open with disease, so their walls are taken in.

Arrays: ``X Y Z`` voxels of the template's grid. ``a`` is the distance from the midline, so that one
rule serves both sides; ``y`` and ``z`` are MNI. Lengths are mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...preprocessing.space.template import Template

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Landmarks: the coordinate that is gone along, then the value there; linear in between.
Line = tuple[tuple[float, ...], ...]
Triple = tuple[float, float, float]

REGIONS = (
    "lateral ventricles",
    "temporal horns",
    "hippocampi",
    "amygdalae",
    "deep grey matter",
    "insula",
    "frontal cortex",
    "parietal cortex",
    "temporal cortex",
    "occipital cortex",
    "cerebellum",
    "brain stem",
    "white matter",
    "other CSF",
)

#: T1 under which a voxel is mostly fluid, and above which it is mostly tissue.
_FLUID, _TISSUE = 0.45, 0.55

# Central sulcus: y at distance a (convexity); its end on the medial wall: y at height z.
_CENTRAL: Line = ((22, -29), (34, -25), (42, -18), (50, -12), (58, -7), (66, -4))
_CENTRAL_MEDIAL: Line = ((28, -28), (44, -30), (54, -37), (80, -34))
# Sylvian fissure and its continuation to the occipital lobe: z at y, at the convexity.
_SYLVIAN: Line = (
    *((-75, 12), (-56, 13.5), (-48, 16), (-40, 18), (-32, 16), (-24, 13)),
    *((-16, 9), (-8, 5), (0, 0), (8, -6), (16, -10), (24, -18)),
)
# Roof of the temporal lobe's medial part: z at y.
_MEDIAL_ROOF: Line = ((-41, -8), (-40, -5), (-32, -5), (-24, -10), (-16, -20), (-8, -22))
# Its medial border in front, where the frontal base begins: a at y.
_POLE: Line = ((0, 10), (8, 20), (20, 30))
# Parieto-occipital sulcus: y at height z.
_PARIETO_OCCIPITAL: Line = (
    *((0, -52), (8, -60), (16, -63), (24, -69), (32, -74), (40, -78), (50, -82)),
)
# Floor and roof of the insula: z at y.
_INSULA_FLOOR: Line = ((-24, 1), (-10, -7), (0, -13), (8, -18), (24, -18))
_INSULA_ROOF: Line = ((-24, 16), (0, 17), (15, 14), (26, 8))
# Hippocampus: centre (a, z) and half widths (a, z) at y.
_HIPPOCAMPUS: Line = (
    *((-39, 20, 2, 5, 4), (-36, 24, -1, 8, 6), (-32, 28, -7, 7, 4.5), (-28, 30, -10.5, 8, 4.5)),
    *((-24, 31, -13.5, 8, 5), (-20, 29, -16, 9, 5.5), (-16, 27, -18.5, 11, 6)),
    *((-12, 25, -20, 11, 6.5), (-8, 22, -23, 9, 6), (-4, 22, -27, 3, 3)),
)
# Lateral ventricles: roof and floor, z at y; medial border behind the thalamus, a at z; roof of
# the third ventricle, z at y.
_VENTRICLE_ROOF: Line = (*((-56, 24), (-44, 30), (-20, 30), (0, 27), (12, 24), (24, 18), (34, 10)),)
_VENTRICLE_FLOOR: Line = (
    *((-56, 4), (-50, -2), (-36, -4), (-30, 12), (-14, 14), (-6, 8), (4, -2), (34, -4)),
)
_ATRIUM: Line = ((4, 19), (12, 13), (18, 8), (22, 4))
_THIRD_VENTRICLE: Line = ((-28, 20), (-10, 14), (4, 6))
# Tentorium: z at distance a, and how much lower it is at y.
_TENTORIUM: Line = ((0, 0), (10, -6), (20, -13), (30, -18), (40, -22), (50, -27))
_TENTORIUM_DROP: Line = (
    *((-92, -14), (-84, -8), (-76, -4), (-68, 0), (-52, 0), (-44, -5), (-36, -10), (-30, -14)),
)
# Brain stem: y of its axis and radius at height z.
_STEM: Line = (
    *((-62, -41, 7), (-50, -38, 9), (-44, -33, 12), (-38, -29, 13), (-32, -26, 14)),
    *((-26, -26, 14), (-20, -23, 13), (-14, -18, 12), (-8, -20, 11), (-2, -26, 7)),
)
# Ellipsoids: centre and half axes along a, y, z.
_AMYGDALA = ((22, -3, -20), (8.5, 7, 7))
_THALAMUS = ((10, -19, 6), (15, 16, 12))
_LENTIFORM = ((23, 0, 0), (10.5, 21, 13))
_CAUDATE = (((13, 13, 7), (8, 13, 14)), ((17, -3, 19), (5, 20, 6)))
_ACCUMBENS = ((11, 10, -7), (8, 7, 6))
_MIDBRAIN = (((9, -14, -9), (13, 13, 7)), ((0, -30, -4), (8, 8, 8)))


@dataclass(frozen=True)
class _Head:
    """The template and its coordinates, all (X, Y, Z)."""

    t1: Float
    grey: Float
    white: Float
    a: Float
    y: Float
    z: Float

    def inside(self, centre: Triple, half: Triple) -> Mask:
        """Return an ellipsoid on both sides."""
        places = zip((self.a, self.y, self.z), centre, half, strict=True)
        return np.asarray(sum(((place - c) / h) ** 2 for place, c, h in places) < 1)


def label_regions(template: Template) -> NDArray[np.int16]:
    """Return (X, Y, Z) the number of each voxel's region in `REGIONS`, from 1; 0 is no brain.

    Later rules take voxels from earlier ones: first the lobes, of grey matter and what is not told
    apart below, then white matter, then one structure after the other.
    """
    head = _head(template)
    hippocampi, amygdalae = _hippocampi(head), _amygdalae(head)
    rules = [
        *_lobes(head).items(),
        *_middle(head).items(),
        ("insula", _insula(head)),
        ("deep grey matter", _deep_grey(head)),
        ("amygdalae", amygdalae),
        ("hippocampi", hippocampi),
        ("other CSF", (head.grey + head.white < 0.5) | (head.t1 < _FLUID)),
        ("temporal horns", _temporal_horns(head)),
        ("lateral ventricles", _lateral_ventricles(head)),
        ("cerebellum", _cerebellum(head)),
        ("brain stem", _brain_stem(head) & ~hippocampi & ~amygdalae),
    ]
    labels = np.zeros(template.t1.shape, np.int16)
    for name, where in rules:
        labels[where & template.brain] = REGIONS.index(name) + 1
    return labels


def _head(template: Template) -> _Head:
    index = np.indices(template.t1.shape, dtype=np.float32)
    x, y, z = (
        index[i] * template.affine[i, i] + template.affine[i, 3] for i in range(3)
    )  # the template's axes are MNI's
    return _Head(template.t1, template.grey, template.white, np.abs(x), y, z)


def _at(line: Line, place: Float) -> Float:
    """Return the values of a line of landmarks at `place`; several values have the first axis."""
    table = np.array(line)
    values = [np.interp(place, table[:, 0], column) for column in table[:, 1:].T]
    return np.asarray(values[0] if len(values) == 1 else values, dtype=np.float32)


def _lobes(head: _Head) -> dict[str, Mask]:
    """Divide the cerebrum, whatever the tissue, into the four lobes."""
    a, y, z = head.a, head.y, head.z
    lateral = np.clip((a - 12) / 8, 0, 1)
    frontal = y > lateral * _at(_CENTRAL, a) + (1 - lateral) * _at(_CENTRAL_MEDIAL, z)
    # In front, the fissure descends towards the midline.
    fissure = _at(_SYLVIAN, y) - np.clip((y + 8) / 10, 0, 1) * np.clip(50 - a, 0, 30) * 0.75
    roof = np.where(a > 32, fissure, np.minimum(_at(_MEDIAL_ROOF, y), fissure))
    pole = (a > _at(_POLE, y)) | (a > 14) & (z < -24)
    temporal = (z < roof) & pole & (y < 24)
    # Lingual gyrus beside the midline, preoccipital notch at the convexity.
    behind = np.where((a < 24) & (z > -20) | (a < 32) & (z > -10), -42, -65)
    sulcus = np.where((z < 16) & (a > 30), -66, _at(_PARIETO_OCCIPITAL, z))
    occipital = y < np.where(temporal, behind, sulcus)
    return {
        "parietal cortex": np.ones(a.shape, bool),
        "frontal cortex": frontal,
        "temporal cortex": temporal,
        "occipital cortex": occipital,
    }


def _middle(head: _Head) -> dict[str, Mask]:
    """What is no cortex, whatever its tissue map says: around the ventricles, around the pons."""
    a, y, z = head.a, head.y, head.z
    core = (a < 28) & (y > -38) & (y < 22) & (z >= -6) & (z < _at(_VENTRICLE_ROOF, y))
    base = (a < 16) & (y > -42) & (y < -6) & (z < -6)
    return {"brain stem": base, "white matter": (head.white > head.grey) | core}


def _insula(head: _Head) -> Mask:
    a, y, z = head.a, head.y, head.z
    upward = np.clip(z - 2, 0, None) * np.clip((y + 4) / 10, 0, 1)
    middle = 38 - 0.35 * np.clip(y - 8, 0, None) - 0.6 * upward
    between = (z > _at(_INSULA_FLOOR, y)) & (z < _at(_INSULA_ROOF, y)) & (y > -23) & (y < 26)
    return np.asarray(between & (np.abs(a - middle) < 5) & (head.grey > 0.5) & (head.t1 > 0.5))


def _deep_grey(head: _Head) -> Mask:
    """Thalamus, caudate, putamen, pallidum, accumbens, and the walls of the third ventricle."""
    a, y, z = head.a, head.y, head.z
    nuclei = head.inside(*_THALAMUS) & (z > -6)
    for ellipsoid in (_LENTIFORM, *_CAUDATE, _ACCUMBENS):
        nuclei |= head.inside(*ellipsoid)
    nuclei &= (head.t1 > _TISSUE) & (head.t1 < 0.84) & (head.white < 0.9)
    walls = (a < 9) & (y > -24) & (y < 2) & (z > -14) & (z < 8)
    return np.asarray(nuclei | walls & (head.t1 > 0.5))


def _hippocampi(head: _Head) -> Mask:
    tissue = (head.t1 > 0.5) & (head.white <= head.grey)
    return _around_hippocampus(head, 0, 0) & (head.y >= -39) & tissue


def _around_hippocampus(head: _Head, wider: float, higher: float) -> Mask:
    """Return the tube around the hippocampus, wider along a and higher along z by some mm."""
    a, z, width, height = _at(_HIPPOCAMPUS, head.y)
    tube = ((head.a - a) / (width + wider)) ** 2 + ((head.z - z) / (height + higher)) ** 2 < 1
    return np.asarray(tube & (head.y <= -4))


def _amygdalae(head: _Head) -> Mask:
    above_hippocampus = (head.y >= -6) | (head.z >= -20)
    tissue = (head.t1 > 0.5) & (head.white <= head.grey)
    return head.inside(*_AMYGDALA) & above_hippocampus & tissue


def _temporal_horns(head: _Head) -> Mask:
    """Fluid, or partly so, above and beside the hippocampus; not the cistern on its medial side."""
    medial_and_below = (head.a < 24) & (head.z < _at(_HIPPOCAMPUS, head.y)[1])
    near = _around_hippocampus(head, 6, 5) & (head.y >= -34) & (head.a > 20)
    return np.asarray(near & ~medial_and_below & (head.t1 < 0.57))


def _lateral_ventricles(head: _Head) -> Mask:
    a, y, z = head.a, head.y, head.z
    floor = np.where((a > 16) & (y < -24), -5, _at(_VENTRICLE_FLOOR, y))  # the atrium's is lower
    space = (z > floor) & (z < _at(_VENTRICLE_ROOF, y)) & (y > -60) & (y < 36)
    space &= (a < 38) & (z < 14 + np.clip(30 - a, 0, 14))
    space &= ~((y < -28) & (a < _at(_ATRIUM, z)))  # cisterns behind the splenium
    space &= ~((y > -29) & (y < 5) & (a < 5) & (z < _at(_THIRD_VENTRICLE, y)))
    pools, count = ndimage.label(space & (head.t1 < _TISSUE))
    sizes = np.bincount(pools.ravel(), minlength=count + 1)
    sizes[0] = 0
    fluid = (sizes > 60)[pools]  # voxels: smaller ones are sulci
    edge = ndimage.binary_dilation(fluid) & space & (head.t1 < 0.64)
    return np.asarray(fluid | edge)


def _cerebellum(head: _Head) -> Mask:
    drop = _at(_TENTORIUM_DROP, head.y)
    below = head.z < _at(_TENTORIUM, head.a) + drop
    return np.asarray(below & (head.y < -30) & (head.y > -96))


def _brain_stem(head: _Head) -> Mask:
    axis, radius = _at(_STEM, head.z)
    stem = (head.a**2 + (head.y - axis) ** 2 < radius**2) & (head.z < -1)
    for ellipsoid in _MIDBRAIN:
        stem |= head.inside(*ellipsoid)
    return np.asarray(stem & (head.t1 > _TISSUE))
