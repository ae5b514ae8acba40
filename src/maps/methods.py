"""Ways to make a map: class-activation maps of a layer, gradients, occlusion, attention.

Arrays: images ``(B, C, H, W)`` or volumes ``(B, C, X, Y, Z)`` in [0, 1]; activations and gradients
``(B, F, ...)`` on the grid of a layer, F channels. Maps of layers ``(B, ...)`` are >= 0 on that
grid; maps of the image ``(B, H, W)`` or ``(B, X, Y, Z)`` are signed, and their reference is an
empty image (0). All are in units of the explained score, but for attention's: shares of 1.

Sources: Grad-CAM, Selvaraju et al. (2017), doi:10.1109/ICCV.2017.74. Grad-CAM++, Chattopadhyay et
al. (2018), doi:10.1109/WACV.2018.00097. LayerCAM, Jiang et al. (2021),
doi:10.1109/TIP.2021.3089943. HiResCAM, Draelos and Carin (2020), arXiv:2011.08891. Integrated
gradients, Sundararajan et al. (2017), arXiv:1703.01365. Occlusion, Zeiler and Fergus (2014),
doi:10.1007/978-3-319-10590-1_53. Attention rollout, Abnar and Zuidema (2020),
doi:10.18653/v1/2020.acl-main.385.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name it has everywhere

_WINDOWS = 8  # occlusion: windows along an edge, side by side
INTERPOLATION = {2: "bilinear", 3: "trilinear"}
#: Images (N, C, ...), and for each the number of the item it was made from -> scores (N,).
Score = Callable[[Tensor, Tensor], Tensor]
Box = tuple[slice, ...]


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weigh each channel by its mean gradient: one weight for all places."""
    return _weighted(activation, gradient.flatten(2).mean(dim=2))


def gradcam_pp(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weigh each channel by its positive gradients, a place the more the fewer share the score.

    As published, for a score that enters through an exponential.
    """
    total = activation.flatten(2).sum(dim=2).reshape(*activation.shape[:2], *_ones(activation))
    below = 2 * gradient**2 + total * gradient**3
    alpha = torch.where(below.abs() > 1e-20, gradient**2 / below, 0.0)  # 0 / 0 where nothing counts
    return _weighted(activation, (alpha * gradient.relu()).flatten(2).sum(dim=2))


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weigh each place of each channel by its own gradient, where that is positive."""
    return (gradient.relu() * activation).sum(dim=1).relu()


def hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weigh each place of each channel by its own gradient.

    Where a linear head follows mean pooling, the sum of the map before rectifying is the score.
    """
    return (gradient * activation).sum(dim=1).relu()


#: Name -> map of a layer, from its activation and the score's gradient with respect to it.
CAM_METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_pp,
    "layercam": layercam,
    "hirescam": hirescam,
}
#: Those that weigh every place by itself, so that a fine layer's map means something.
BY_PLACE = ("layercam", "hirescam")


def resize(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return ``(B, ...)`` maps on another grid of the same field of view, linear between places."""
    mode = INTERPOLATION[maps.ndim - 1]
    return F.interpolate(maps.unsqueeze(1), size=shape, mode=mode, align_corners=False)[:, 0]


def fuse(maps: list[Tensor]) -> Tensor:
    """Return the geometric mean of several layers' maps, on the finest of their grids.

    A place stays bright only where every layer agrees: the deep one knows which place matters, the
    early one where it ends. The mean has no need of scaling one layer to another.
    """
    finest = max(
        (tuple(one.shape[1:]) for one in maps), key=lambda shape: torch.Size(shape).numel()
    )
    product = torch.stack([resize(one, finest) for one in maps]).clamp_min(0)
    return (product.double().log().mean(dim=0).exp()).float()  # log 0 = -inf gives 0


def _weighted(activation: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("bf,bf...->b...", weight, activation).relu()


def _ones(like: Tensor) -> list[int]:
    return [1] * (like.ndim - 2)


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


@dataclass(frozen=True)
class InputMethod:
    """A method that explains the image itself, at no layer.

    Attributes:
        explain: Score and images -> signed maps.
        cell: Shape of an image -> edges of the smallest place that it tells apart, in its pixels.
    """

    explain: Callable[[Score, Tensor], Tensor]
    cell: Callable[[Sequence[int]], tuple[float, ...]]


def _occlude(score: Score, x: Tensor) -> Tensor:
    window = _window(x.shape[2:])
    # Half-overlapping windows in 2D; in 3D they would cost eight times the passes.
    stride = tuple(edge if x.ndim == 5 else -(-edge // 2) for edge in window)
    return occlusion(score, x, window, stride)


def _window(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(max(-(-n // _WINDOWS), 1) for n in shape)


INPUT_METHODS = {
    "ig": InputMethod(integrated_gradients, lambda shape: (1.0,) * len(shape)),
    "occlusion": InputMethod(_occlude, lambda shape: tuple(map(float, _window(shape)))),
}


def rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Return how much of every output token comes from which input token, ``(B, N, N)``.

    Each block passes on half a token as it is, by its shortcut, and half as its attention mixes it.

    Args:
        attentions: ``(B, N, N)`` of every block, the first block first.
    """
    total = torch.eye(attentions[0].shape[1], device=attentions[0].device)
    for attention in attentions:
        total = (attention @ total + total) / 2
    return total.expand(len(attentions[0]), -1, -1)
