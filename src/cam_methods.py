"""Class-activation maps: a layer's activations and their gradient to a map.

Arrays: activations and gradients ``(B, F, ...)`` on the grid of a layer, F channels; maps
``(B, ...)`` on that grid, >= 0, in units of the explained score.

Sources: Grad-CAM, Selvaraju et al. (2017), doi:10.1109/ICCV.2017.74. Grad-CAM++, Chattopadhyay et
al. (2018), doi:10.1109/WACV.2018.00097. LayerCAM, Jiang et al. (2021),
doi:10.1109/TIP.2021.3089943. HiResCAM, Draelos and Carin (2020), arXiv:2011.08891.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  the name it has everywhere

INTERPOLATION = {2: "bilinear", 3: "trilinear"}


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


CAM_METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_pp,
    "layercam": layercam,
    "hirescam": hirescam,
}


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
