"""The published networks of Qiu et al. (2022), five side by side, in the frame they were learnt in.

Each is a backbone of four blocks (convolution, pooling, batch norm, leaky ReLU) on a skull-stripped
T1 in MNI space, 182 x 218 x 182 voxels of 1 mm as FSL stores them: grey values divided by their
mean, 0 to 8. Five were trained on five folds of NACC. Their heads are not used.

Volumes of this project lie in a frame of their own cohort. The first module lays them into MNI
space by one affine map, which training fits to the mean of training people (`training.laying`).

Arrays: volumes ``(B, 1, X, Y, Z)``; of N networks of n first channels, maps ``(B, 8 n N, 5, 6, 5)``
and embeddings ``(B, 8 n N * 36)``: means over 3 x 4 x 3 cells, 5,760 of one published network.
Matrices are 4 x 4 and act on ``(index, 1)``.

Source: Qiu et al. (2022), doi:10.1038/s41467-022-31037-5; code and weights under the MIT licence.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..errors import CheckpointError, ConfigError
from .registry import register_model
from .weights import Tensors

NAME = "qiu2022"
#: Voxels of MNI space, and index -> mm there: FSL's grid of 1 mm, the first index on the right.
SHAPE = (182, 218, 182)
TO_MNI = np.array([[-1.0, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1]])
CELLS = (3, 4, 3)
NETWORKS, FIRST = 5, 20
_MOST = 8.0  # of a grey value, in means
_BLOCKS = ((7, 2, 0, 3), (4, 1, 1, 2), (3, 1, 1, 2), (3, 1, 1, 2))  # kernel, stride, padding, pool
_PART = re.compile(r"block[1-4]\.(conv|BN)\.")


class LaidInMni(nn.Module):
    """Volumes of one cohort on the grid of MNI space; zero where they show nothing.

    Args:
        shape: Of the grid.
        to_mni: Its index -> mm.

    Attributes:
        to_image: 4 x 4, index in the grid -> index in the volumes; NaN until it was fitted.
    """

    to_image: Tensor

    def __init__(self, shape: Sequence[int] = SHAPE, to_mni: NDArray[np.float64] = TO_MNI) -> None:
        super().__init__()
        self.shape, self.to_mni = tuple(shape), to_mni
        self.register_buffer("to_image", torch.full((4, 4), torch.nan))

    @property
    def placed(self) -> bool:
        """Whether it is known where the volumes lie."""
        return bool(torch.isfinite(self.to_image).all())

    def place(self, image_to_mni: NDArray[np.float64]) -> None:
        """Tell where the volumes lie.

        Args:
            image_to_mni: Their index -> mm in MNI space.
        """
        matrix = np.linalg.inv(image_to_mni) @ self.to_mni
        self.to_image.copy_(torch.from_numpy(matrix))

    def forward(self, x: Tensor) -> Tensor:
        """Return volumes ``(B, 1, *shape)``.

        Raises:
            ConfigError: It is not known where the volumes lie.
        """
        return _resampled(x, self._known(), self.shape)

    def back(self, maps: Tensor, shape: Sequence[int]) -> Tensor:
        """Bring maps from the grid of MNI space, or a coarser one of the same box, to the volumes.

        Args:
            maps: ``(B, h, w, d)``.
            shape: Of a volume.

        Returns:
            ``(B, *shape)``, zero outside of the box.
        """
        # The centre of a coarse cell is that of the fine ones it stands for.
        step = torch.tensor([n / m for n, m in zip(self.shape, maps.shape[1:], strict=True)])
        coarse = torch.eye(4)
        coarse[[0, 1, 2], [0, 1, 2]] = step
        coarse[:3, 3] = (step - 1) / 2
        matrix = torch.linalg.inv(self._known().double() @ coarse.to(self.to_image).double())
        return _resampled(maps.unsqueeze(1), matrix.to(maps.dtype), tuple(shape), edge="border")[
            :, 0
        ]

    def _known(self) -> Tensor:
        if not self.placed:
            raise ConfigError(
                f"{NAME} does not know yet where the volumes lie in MNI space",
                hint="train it first: training lays the volumes into MNI space",
            )
        return self.to_image


def _resampled(x: Tensor, to_source: Tensor, shape: Sequence[int], edge: str = "zeros") -> Tensor:
    """Return `x` on another grid, by linear interpolation.

    Args:
        x: ``(B, C, X, Y, Z)``.
        to_source: 4 x 4, index in the new grid -> index in `x`.
        shape: Of the new grid.
        edge: What lies outside of `x`.
    """
    # grid_sample counts from -1 to 1, and names the axes from the last to the first.
    steps = [torch.arange(n, dtype=x.dtype, device=x.device) for n in shape]
    index = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1)
    matrix = to_source.to(x)
    at = index @ matrix[:3, :3].T + matrix[:3, 3]
    sizes = torch.tensor(x.shape[2:], dtype=x.dtype, device=x.device)
    at = (2 * at / (sizes - 1).clamp(min=1) - 1).flip(-1)
    grid = at.expand(len(x), *at.shape)
    return functional.grid_sample(x, grid, padding_mode=edge, align_corners=True)


def laid_of(model: nn.Module) -> LaidInMni | None:
    """Return the module of a network that lays volumes into MNI space; None of all others."""
    first = next(iter(getattr(model, "features", nn.Identity()).children()), None)
    return first if isinstance(first, LaidInMni) else None


class ByMean(nn.Module):
    """Grey values in means of the whole volume, 0 to 8, as the networks were trained on."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` divided by its mean and clipped; an empty volume stays empty."""
        mean = x.flatten(1).mean(dim=1).clamp(min=1e-6)
        return (x / mean[:, None, None, None, None]).clamp(0, _MOST)


class Block(nn.Module):
    """Convolution, pooling, batch norm and leaky ReLU, under the published names."""

    def __init__(self, channels_in: int, channels: int, shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        kernel, stride, padding, pool = shape
        self.conv = nn.Conv3d(channels_in, channels, kernel, stride, padding, bias=False)
        self.pooling = nn.MaxPool3d(pool, 2)
        self.BN = nn.BatchNorm3d(channels)
        self.relu = nn.LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of the block."""
        out: Tensor = self.relu(self.BN(self.pooling(self.conv(x))))
        return out


def published_network(first: int = FIRST) -> nn.Module:
    """Return one backbone with fresh weights.

    Args:
        first: Channels of its first block; each block has twice as many as the one before.
    """
    blocks, channels = OrderedDict[str, nn.Module](), 1
    for number, shape in enumerate(_BLOCKS):
        width = first * 2**number
        blocks[f"block{number + 1}"] = Block(channels, width, shape)
        channels = width
    return nn.Sequential(blocks)


class SideBySide(nn.Module):
    """Several networks of the same volume; their maps stand one behind the other."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps ``(B, N F, x, y, z)``."""
        return torch.cat([network(x) for network in self.networks], dim=1)


class CellMeans(nn.Module):
    """Means over cells of a map: the place stays known, coarsely."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, F * 36)``."""
        return functional.adaptive_avg_pool3d(x, CELLS).flatten(1)


def names_of_folds(tensors: Tensors, features: nn.Module) -> dict[str, Tensor]:
    """Read state dicts of the published backbones, one behind the other.

    Args:
        tensors: Names begin with the number of the network, as ``0.block1.conv.weight``; a single
            state dict has none. ``module.``, which data parallelism puts before, is taken off.
        features: Of this backbone.

    Raises:
        CheckpointError: There are more or fewer networks than `features` has.
    """
    wanted = features.state_dict()
    found = {"laid.to_image": wanted["laid.to_image"]}
    for name, value in tensors.items():
        number, _, rest = name.partition(".") if name[:1].isdigit() else ("0", "", name)
        rest = rest.removeprefix("module.")
        found[f"maps.networks.{number}.{rest}" if _PART.match(rest) else name] = value
    given = {name.split(".")[2] for name in found if name.startswith("maps.networks.")}
    count = len({name.split(".")[2] for name in wanted if name.startswith("maps.networks.")})
    if given and len(given) != count:
        raise CheckpointError(
            f"{len(given)} of the {count} published networks are given",
            hint=f"--weights FOLDER, which holds {count} folders with a backbone_*.pth each",
        )
    return found


@register_model(
    NAME,
    "3d",
    input_size=208,
    mean=0.0,
    std=1.0,
    cam_layer="features.maps",
    rename=names_of_folds,
    pool=CellMeans,
    per_channel=int(np.prod(CELLS)),
)
def qiu2022() -> tuple[nn.Module, int]:
    """Five CNNs of NACC (Qiu et al. 2022): 5,760 features each, in MNI space."""
    parts = OrderedDict[str, nn.Module](
        laid=LaidInMni(),
        grey=ByMean(),
        maps=SideBySide([published_network() for _ in range(NETWORKS)]),
    )
    return nn.Sequential(parts), 8 * FIRST * NETWORKS
