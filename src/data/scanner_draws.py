"""Which of a scanner's changes an image of a batch gets, and how strong; `scanner` makes them.

Arrays: ``(B, 1, H, W)`` slices or ``(B, 1, X, Y, Z)`` volumes, float in [0, 1]; air is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from . import scanner

Tensor = torch.Tensor
#: Control points of a bias field along each axis: a polynomial of third degree, as in TorchIO.
_NODES = 4
#: Length of a head in mm, which the longest edge of an image holds. Voxels differ between data
#: sets, and what scanners do is measured in mm.
_HEAD = 180.0
_SEEDS = 2**62


@dataclass(frozen=True)
class ScannerConfig:
    """How often and how far images are changed as by other scanners; the ranges are TorchIO's.

    Attributes:
        chance: Probability of each change, drawn per image.
        bias_field: Largest logarithm of the factor by which brightness drifts.
        gamma: Largest logarithm of the exponent, either way.
        thickness: Thickness of a slice along one random axis, in mm: from, to.
        blur: Largest standard deviation of the Gaussian, in mm.
        noise: Largest standard deviation of the noise, as a fraction of the grey values' range: a
            quarter of their spread within a brain, which is about .2.

    Source: Pérez-García et al. (2021), doi:10.1016/j.cmpb.2021.106236.
    """

    chance: float = 0.3
    bias_field: float = 0.5
    gamma: float = 0.3
    thickness: tuple[float, float] = (1.5, 5.0)
    blur: float = 2.0
    noise: float = 0.05


@dataclass(frozen=True)
class ScannerDraws:
    """Strengths of some images, ``(B,)`` each, on the CPU; 0 leaves an image as it is.

    Attributes:
        bias_field: As in `scanner.bias_field`, whose control points are `nodes`.
        nodes: ``(B, n, n[, n])``.
        gamma: As in `scanner.gamma`.
        thickness: Of slices, in pixels or voxels.
        axis: The spatial axis that they are stacked along.
        fwhm: As in `scanner.blur`, in pixels or voxels.
        noise: As in `scanner.rician`.
        seeds: Of each image's noise.
    """

    bias_field: Tensor
    nodes: Tensor
    gamma: Tensor
    thickness: Tensor
    axis: Tensor
    fwhm: Tensor
    noise: Tensor
    seeds: Tensor

    @classmethod
    def of(
        cls,
        total: int,
        edges: tuple[int, ...],
        generator: torch.Generator,
        config: ScannerConfig,
    ) -> ScannerDraws:
        """Return the draws of a whole batch of `total` images with these `edges`."""
        dims, per_mm = len(edges), max(edges) / _HEAD

        def some(low: float, high: float) -> Tensor:
            asked = torch.rand(total, generator=generator) < config.chance
            strength = low + (high - low) * torch.rand(total, generator=generator)
            return torch.where(asked, strength, 0.0)

        return cls(
            bias_field=some(0, config.bias_field),
            nodes=torch.rand(total, *(_NODES,) * dims, generator=generator) * 2 - 1,
            gamma=some(-config.gamma, config.gamma),
            thickness=some(*config.thickness) * per_mm,
            axis=torch.randint(dims, (total,), generator=generator),
            fwhm=some(0, config.blur) * scanner.WIDTHS * per_mm,
            noise=some(0, config.noise),
            seeds=torch.randint(_SEEDS, (total,), generator=generator),
        )

    def part(self, rows: slice) -> ScannerDraws:
        """Return the draws of some of the images."""
        return ScannerDraws(**{name: values[rows] for name, values in vars(self).items()})


def vary_scanner(images: Tensor, draws: ScannerDraws) -> Tensor:
    """Return a copy of the images, changed as was drawn; only those that change are computed.

    Contrast is the tissue's and brightness the coil's, resolution comes with the recording, and
    noise last: so they follow each other.

    Args:
        images: ``(B, 1, *edges)``, float32 in [0, 1], on any device.
        draws: One of each for every image.
    """
    changed = images.clone()

    def at(asked: Tensor) -> tuple[Tensor, Tensor]:
        rows = asked.nonzero()[:, 0]
        return rows, rows.to(images.device)

    rows, here = at(draws.gamma != 0)
    if len(rows):
        changed[here] = scanner.gamma(changed[here], draws.gamma[rows])
    rows, here = at(draws.bias_field > 0)
    if len(rows):
        drift = draws.bias_field[rows], draws.nodes[rows]
        changed[here] = scanner.bias_field(changed[here], *drift)
    for axis in range(images.ndim - 2):
        rows, here = at((draws.thickness > 1) & (draws.axis == axis))
        if len(rows):
            changed[here] = scanner.thick_slices(changed[here], draws.thickness[rows], axis)
    rows, here = at(draws.fwhm > 0)
    if len(rows):
        changed[here] = scanner.blur(changed[here], draws.fwhm[rows])
    rows, here = at(draws.noise > 0)
    if len(rows):
        noise = _noise(draws.seeds[rows].tolist(), images.shape[1:])
        changed[here] = scanner.rician(changed[here], draws.noise[rows], noise)
    return changed


def _noise(seeds: list[int], shape: torch.Size) -> Tensor:
    """Return ``(2, B, 1, *edges)`` standard normal numbers, the same on every device."""
    noise = torch.empty(2, len(seeds), *shape)
    for number, seed in enumerate(seeds):
        own = torch.Generator().manual_seed(seed)
        noise[:, number] = torch.randn(2, *shape, generator=own)
    return noise
