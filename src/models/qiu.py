"""The published networks of Qiu et al. (2022), five side by side, in the frame they were learnt in.

Each is a backbone of four blocks (convolution, pooling, batch norm, leaky ReLU) on a skull-stripped
T1 in MNI space, 182 x 218 x 182 voxels of 1 mm as FSL stores them: grey values divided by their
mean, 0 to 8. Nothing is padded: the last map has 3 x 4 x 3 cells of 160 channels, 5,760 features.
Five were trained on five folds of NACC. Their heads are not used.

Volumes of this project lie in a frame of their own cohort. The first module lays them into MNI
space by one affine map, which training fits to the mean of training people (`training.laying`).
Of a slab, the mean of the whole head is told by the share that the template has there: divided by
its own mean over the box, four fifths of a slab of 32 mm would lie above 8.

Arrays: volumes ``(B, 1, X, Y, Z)``; of N networks of n first channels, last maps
``(B, 8 n N, 3, 4, 3)`` and embeddings ``(B, 8 n N * 36)``.
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

from ..errors import ConfigError
from .registry import register_model
from .weights import Tensors

NAME = "qiu2022"
#: Voxels of MNI space, and index -> mm there: FSL's grid of 1 mm, the first index on the right.
SHAPE = (182, 218, 182)
TO_MNI = np.array([[-1.0, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1]])
CELLS = (3, 4, 3)
NETWORKS, FIRST = 5, 20
_MANY, _WIDEST = 25, 64
_MOST = 8.0  # of a grey value, in means
_BLOCKS = ((7, 2, 3), (4, 1, 2), (3, 1, 2), (3, 1, 2))  # kernel, stride, pooling
_PART = re.compile(r"(?:(\d+)\.)?(?:module\.)?(block[1-4])\.((?:conv|BN)\..+)")
#: The first weights of a network: in a folder of several, in a file alone, in a checkpoint of ours.
_BEGINS = re.compile(
    r"features\.block1\.networks\.\d+\.conv\.weight|(?:\d+\.)?(?:module\.)?block1\.conv\.weight"
)


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

    def place(self, image_to_mni: NDArray[np.float64] | None) -> None:
        """Tell where the volumes lie; None forgets it.

        Args:
            image_to_mni: Their index -> mm in MNI space.
        """
        if image_to_mni is None:
            self.to_image.fill_(torch.nan)
            return
        matrix = np.linalg.inv(image_to_mni) @ self.to_mni
        self.to_image.copy_(torch.from_numpy(matrix))

    def forward(self, x: Tensor) -> Tensor:
        """Return volumes ``(B, 1, *shape)``.

        Raises:
            ConfigError: It is not known where the volumes lie.
        """
        return _resampled(x, self._known(), self.shape)

    def back(self, maps: Tensor, shape: Sequence[int]) -> Tensor:
        """Bring maps from the grid of MNI space, or those of a network's blocks, to the volumes.

        Args:
            maps: ``(B, h, w, d)``. One that is no block's has cells that fill the box evenly.
            shape: Of a volume.

        Returns:
            ``(B, *shape)``, zero outside of the box.
        """
        to_grid = torch.linalg.inv(self._known().double())
        cells = torch.from_numpy(_cells(self.shape, tuple(maps.shape[1:])))
        to_cell = torch.linalg.inv(cells.to(to_grid)) @ to_grid
        shape = tuple(shape)
        # From its centre to the edge of the box, an outer cell goes on.
        found = _resampled(maps.unsqueeze(1), to_cell, shape, edge="border")[:, 0]
        at = _places(to_grid, shape, maps)
        edges = torch.tensor(self.shape).to(at)
        return found * ((at > -0.5) & (at < edges - 0.5)).all(dim=-1)

    def _known(self) -> Tensor:
        if not self.placed:
            raise ConfigError(
                f"{NAME} does not know yet where the volumes lie in MNI space",
                hint="train it on volumes that --mode preprocess made: training lays them there",
            )
        return self.to_image


def _cells(shape: Sequence[int], cells: tuple[int, ...]) -> NDArray[np.float64]:
    """Return 4 x 4, index of a cell -> index of its centre in the grid.

    Nothing is padded, so cells end before the box does: of 182 voxels the three of the last map
    have their centres at 49, 81 and 113.
    """
    sizes, step, first = np.array(shape), 1.0, 0.0
    for kernel, stride, pool in _BLOCKS:
        sizes = (sizes - kernel) // stride + 1
        sizes = (sizes - pool) // 2 + 1
        first += step * (kernel - 1) / 2
        step *= stride
        first += step * (pool - 1) / 2
        step *= 2
        if cells == tuple(sizes):
            steps, centres = np.full(3, step), np.full(3, first)
            break
    else:
        steps = np.array(shape) / np.array(cells)
        centres = (steps - 1) / 2
    matrix = np.diag([*steps, 1.0])
    matrix[:3, 3] = centres
    return matrix


def _resampled(x: Tensor, to_source: Tensor, shape: Sequence[int], edge: str = "zeros") -> Tensor:
    """Return `x` on another grid, by linear interpolation.

    Args:
        x: ``(B, C, X, Y, Z)``.
        to_source: 4 x 4, index in the new grid -> index in `x`.
        shape: Of the new grid.
        edge: What lies outside of `x`.
    """
    # grid_sample counts from -1 to 1, and names the axes from the last to the first.
    sizes = torch.tensor(x.shape[2:], dtype=x.dtype, device=x.device)
    at = (2 * _places(to_source, shape, x) / (sizes - 1).clamp(min=1) - 1).flip(-1)
    grid = at.expand(len(x), *at.shape)
    return functional.grid_sample(x, grid, padding_mode=edge, align_corners=True)


def _places(to_source: Tensor, shape: Sequence[int], like: Tensor) -> Tensor:
    """Return where the voxels of a grid lie, ``(*shape, 3)``, as `to_source` maps their indices."""
    steps = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    index = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1)
    matrix = to_source.to(like)
    return index @ matrix[:3, :3].T + matrix[:3, 3]


def laid_of(model: nn.Module) -> LaidInMni | None:
    """Return the module of a network that lays volumes into MNI space; None of all others."""
    first = next(iter(getattr(model, "features", nn.Identity()).children()), None)
    return first if isinstance(first, LaidInMni) else None


class ByMean(nn.Module):
    """Grey values in means of the whole head's volume, 0 to 8, as the networks were trained on.

    Attributes:
        shown: Share of a whole head's brightness that the volumes show, above 0 and up to 1.
    """

    shown: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shown", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` divided by the mean and clipped; an empty volume stays empty."""
        mean = (x.flatten(1).mean(dim=1) / self.shown).clamp(min=1e-6)
        return (x / mean[:, None, None, None, None]).clamp(0, _MOST)


def grey_of(model: nn.Module) -> ByMean:
    """Return the module of a network that scales grey values, where `laid_of` gives one."""
    found = model.get_submodule("features.grey")
    assert isinstance(found, ByMean)
    return found


class Block(nn.Module):
    """Convolution, pooling, batch norm and leaky ReLU, under the published names."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, stride: int, pool: int
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels_in, channels, kernel, stride, bias=False)
        self.pooling = nn.MaxPool3d(pool, 2)
        self.BN = nn.BatchNorm3d(channels)
        self.relu = nn.LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of the block."""
        out: Tensor = self.relu(self.BN(self.pooling(self.conv(x))))
        return out


class SideBySide(nn.Module):
    """The same block of several networks; their maps stand one behind the other.

    Args:
        blocks: One of each network.
        shared: All see the same input; else each sees the map of its own network.
    """

    def __init__(self, blocks: Sequence[Block], *, shared: bool) -> None:
        super().__init__()
        self.networks = nn.ModuleList(blocks)
        self.channels = None if shared else [block.conv.in_channels for block in blocks]

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps ``(B, F, x, y, z)`` of all networks."""
        parts = torch.split(x, self.channels, dim=1) if self.channels else [x] * len(self.networks)
        maps = [network(part) for network, part in zip(self.networks, parts, strict=True)]
        return torch.cat(maps, dim=1)


def published_blocks(firsts: Sequence[int]) -> OrderedDict[str, nn.Module]:
    """Return the four blocks of some networks, by their names, with fresh weights.

    Args:
        firsts: Channels of each network's first block; each block has twice as many as the one
            before.
    """
    found = OrderedDict[str, nn.Module]()
    for number, shape in enumerate(_BLOCKS):
        sizes = [
            (first * 2 ** (number - 1) if number else 1, first * 2**number) for first in firsts
        ]
        blocks = [Block(*size, *shape) for size in sizes]
        found[f"block{number + 1}"] = SideBySide(blocks, shared=number == 0)
    return found


class CellMeans(nn.Module):
    """Means over cells of a map, which on the published grid has just these cells."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, F * 36)``."""
        return functional.adaptive_avg_pool3d(x, CELLS).flatten(1)


def names_of_folds(tensors: Tensors, features: nn.Module) -> dict[str, Tensor]:
    """Read state dicts of the published backbones, one behind the other.

    Args:
        tensors: Names begin with the number of the network, as ``0.block1.conv.weight``; a single
            state dict has none. ``module.``, which data parallelism puts before, is taken off.
        features: Of this backbone.

    """
    own = features.state_dict()
    found = {name: own[name] for name in ("laid.to_image", "grey.shown")}
    for name, value in tensors.items():
        if part := _PART.fullmatch(name):
            number, block, rest = part.groups()
            name = f"{block}.networks.{number or 0}.{rest}"
        found[name] = value
    return found


def as_many_as(tensors: Tensors) -> tuple[nn.Module, int]:
    """Build as many networks as there are weights of, each with as many channels.

    Args:
        tensors: As `names_of_folds` takes them, or of a checkpoint of ours; of none, all five.
    """
    begins = [value for name, value in tensors.items() if _BEGINS.fullmatch(name)]
    # Of a file that claims more than anyone has trained, loading says that it does not fit.
    found = [min(len(one), _WIDEST) for one in begins if isinstance(one, Tensor) and one.ndim]
    return _side_by_side(found[:_MANY] or [FIRST] * NETWORKS)


def _side_by_side(firsts: Sequence[int]) -> tuple[nn.Module, int]:
    parts = OrderedDict[str, nn.Module](laid=LaidInMni(), grey=ByMean())
    parts |= published_blocks(firsts)
    return nn.Sequential(parts), 8 * sum(firsts)


@register_model(
    NAME,
    "3d",
    input_size=208,
    mean=0.0,
    std=1.0,
    cam_layer="features.block4",
    fine_layers=("features.block2",),
    rename=names_of_folds,
    build_like=as_many_as,
    pool=CellMeans,
    per_channel=int(np.prod(CELLS)),
)
def qiu2022() -> tuple[nn.Module, int]:
    """Five CNNs of NACC (Qiu et al. 2022): 5,760 features each, in MNI space."""
    return _side_by_side([FIRST] * NETWORKS)
