"""Attribution to the image itself: integrated gradients and occlusion.

Arrays: images ``(B, C, H, W)`` or volumes ``(B, C, X, Y, Z)`` in [0, 1]; maps ``(B, H, W)`` or
``(B, X, Y, Z)``, signed, in units of the explained score. The reference is an empty image (0).

Sources: integrated gradients, Sundararajan et al. (2017), arXiv:1703.01365. Occlusion, Zeiler and
Fergus (2014), doi:10.1007/978-3-319-10590-1_53.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
from torch import Tensor

#: Images (N, C, ...), and for each the number of the item it was made from -> scores (N,).
Score = Callable[[Tensor, Tensor], Tensor]
Box = tuple[slice, ...]


def integrated_gradients(score: Score, x: Tensor, steps: int = 32) -> Tensor:
    """Return the gradient summed along the straight way from the empty image, times the image.

    One batch at a time stands in memory, whatever `steps`.

    Args:
        score: Differentiable.
        x: Images.
        steps: Points of Gauss-Legendre quadrature.
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    total, items = torch.zeros_like(x), torch.arange(len(x), device=x.device)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        with torch.enable_grad():
            at = (x * float(point)).requires_grad_()
            (gradient,) = torch.autograd.grad(score(at, items).sum(), at)
        total += gradient * float(weight)
    return (total * x).sum(dim=1)


def occlusion(score: Score, x: Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Return by how much the score falls where a window is emptied, mean over windows.

    Windows that are empty anyway change nothing and are not computed.

    Args:
        score: No gradient is taken.
        x: Images.
        window: Edges of the emptied box, in pixels or voxels.
        stride: Steps between windows.
    """
    items = torch.arange(len(x), device=x.device)
    before = score(x, items)
    total = torch.zeros((len(x), *x.shape[2:]), device=x.device)
    count = torch.zeros(x.shape[2:], device=x.device)
    for box in _boxes(tuple(x.shape[2:]), window, stride):
        count[box] += 1
        whole: tuple[slice, ...] = (slice(None), slice(None), *box)
        content = x[whole]
        full = items[content.flatten(1).any(dim=1)]
        if len(full):
            emptied = x[full].clone()
            emptied[whole] = 0
            fall = before[full] - score(emptied, full)
            places: tuple[Tensor | slice, ...] = (full, *box)
            total[places] += fall.reshape(-1, *[1] * len(box))
    return total / count


def _boxes(
    shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> Iterator[Box]:
    """Yield boxes that cover every place; those at the end reach over the edge and are cut."""
    starts = [range(0, max(n - w, 0) + s, s) for n, w, s in zip(shape, window, stride, strict=True)]
    for corner in product(*starts):
        yield tuple(
            slice(a, min(a + w, n)) for a, w, n in zip(corner, window, shape, strict=True) if a < n
        )
