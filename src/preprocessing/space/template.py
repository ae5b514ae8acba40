"""The ICBM152 template at 2 mm: its image, its brain and its place. Left and right are symmetric.

Arrays: ``X Y Z`` voxels in RAS+ order. Matrices are 4 x 4 and act on ``(index, 1)``. Lengths are
mm.

Source: Fonov et al. (2011), doi:10.1016/j.neuroimage.2010.07.033.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
EDGE = 2.0  # of a template voxel, mm


@dataclass(frozen=True)
class Template:
    """ICBM152 2009 (symmetric), skull-stripped, on a 2 mm grid.

    Attributes:
        t1: (X, Y, Z) T1 intensity, 0 to 1; 0 outside the brain.
        grey: (X, Y, Z) probability of grey matter.
        white: (X, Y, Z) probability of white matter.
        affine: Index -> MNI mm.
    """

    t1: Float
    grey: Float
    white: Float
    affine: Matrix

    @property
    def brain(self) -> Mask:
        """(X, Y, Z) inside the brain."""
        return np.asarray(self.t1 > 0)


@lru_cache(maxsize=1)
def template() -> Template:
    """Return the template; its arrays are shared and cannot be written to."""
    # Imported here: nilearn takes a second, which every command would pay.
    from nilearn import datasets

    loaders = (
        datasets.load_mni152_template,
        datasets.load_mni152_gm_template,
        datasets.load_mni152_wm_template,
    )
    fine = [load(resolution=1) for load in loaders]
    t1, grey, white = (
        np.asarray(image.dataobj, np.float32)[::2, ::2, ::2].copy() for image in fine
    )
    affine = np.asarray(fine[0].affine, float) @ np.diag([2.0, 2.0, 2.0, 1.0])
    for array in (t1, grey, white, affine):
        array.flags.writeable = False
    return Template(t1, grey, white, affine)
