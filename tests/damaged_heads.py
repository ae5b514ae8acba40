"""Heads and brains made of the template, and what resampling, movement and contrast do to them.

Arrays: X Y Z voxels of 2 mm. Movement happens between lines of frequency space along one axis.
"""

from functools import cache

import numpy as np
from scipy import fft, ndimage

from src.preprocessing.space.template import template


@cache
def brain():
    """Return the template as a stripped brain: (X, Y, Z) and its affine, 2 mm; read only."""
    rng = np.random.default_rng(0)
    t1 = template().t1
    data = (t1 * 800 + (t1 > 0) * rng.normal(0, 8, t1.shape)).astype(np.float32)
    data.flags.writeable = False
    return data, template().affine


@cache
def usual_head():
    """Return that brain in a whole head, and where it is; read only."""
    made = whole_head(brain()[0], 2.0, np.random.default_rng(1))
    for array in made:
        array.flags.writeable = False
    return made


def whole_head(data, size, rng):
    """Return a brain in CSF, a dark skull, and a scalp as bright as white matter."""
    data = np.pad(data, round(28 / size))
    away = ndimage.distance_transform_edt(data == 0, sampling=size)
    head, top = data.copy(), np.percentile(data[data > 0], 98)
    for start, end, share in ((0, 3, 0.25), (3, 9, 0.06), (9, 16, 1.05)):  # mm
        head[(away > start) & (away <= end)] = share * top
    head = ndimage.gaussian_filter(head, 0.5) + rng.normal(0, 0.02 * top, head.shape)
    return np.clip(head, 0, None).astype(np.float32), data > 0


def lines(data):
    """Return frequencies, lowest in the middle."""
    return fft.fftshift(fft.fftn(data))


def image(frequencies):
    return np.abs(fft.ifftn(fft.ifftshift(frequencies))).astype(np.float32)


def along(values, axis):
    return np.asarray(values).reshape([-1 if k == axis else 1 for k in range(3)])


def with_lines_moved(data, moved, axis=1, voxels=1.5):
    """Return the image of a head that lay `voxels` further while lines of `moved` were taken."""
    known, n = lines(data), data.shape[axis]
    turn = np.exp(-2j * np.pi * (np.arange(n) - n // 2) / n * voxels)
    return image(known * along(np.where(moved, turn, 1), axis))


def with_ghosts(data, share, axis=1):
    """Return the image with a copy of itself, half a picture away."""
    other = np.where(np.arange(data.shape[axis]) % 2, -1, 1)
    return image(lines(data) * along(1 + share * other, axis))


def zero_filled(data, times):
    """Return the image with `times` the voxels, as many scanners give it."""
    shape = [round(n * times) for n in data.shape]
    known = np.zeros(shape, np.complex64)
    known[tuple(slice(m // 2 - n // 2, m // 2 - n // 2 + n)
                for m, n in zip(shape, data.shape, strict=True))] = lines(data)  # fmt: skip
    return image(known) * np.prod(shape) / data.size


def of_contrast(fluid, grey, white):
    """Return the template's brain with these brightnesses, and a little noise."""
    t1 = template()
    mixed = fluid * (1 - t1.grey - t1.white).clip(0, 1) + grey * t1.grey + white * t1.white
    noise = np.random.default_rng(0).normal(0, 0.01, t1.t1.shape)
    return (t1.brain * (1000 * mixed + 1000 * noise).clip(1)).astype(np.float32)
