"""What scanners do to images: bias field, contrast, noise, blur, thick slices; nothing is drawn.

Arrays: ``(B, 1, H, W)`` slices or ``(B, 1, X, Y, Z)`` volumes, float in [0, 1], on any device. Air
is exactly 0, stays so, and the brain is what is above it. Strengths are ``(B,)``, one per image; at
strength 0 an image stays as it was. Spatial axes count from 0: H or X.

Source: Pérez-García et al. (2021), TorchIO, doi:10.1016/j.cmpb.2021.106236.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional

Tensor = torch.Tensor
#: Full width at half maximum of a Gaussian, in standard deviations.
WIDTHS = 2 * math.sqrt(2 * math.log(2))
#: Weights of a Gaussian that no sum shows. Numbers near the smallest ones slow a processor down.
_FAINT = 1e-10


def bias_field(images: Tensor, strength: Tensor, nodes: Tensor) -> Tensor:
    """Return images whose brightness drifts smoothly, as near the elements of a coil.

    Args:
        images: ``(B, 1, *edges)``.
        strength: ``(B,)``; the brightness changes by the factor exp(+-strength) at most.
        nodes: ``(B, n, n)`` or ``(B, n, n, n)``: control points of a Bernstein polynomial of degree
            n - 1, evenly spread from edge to edge; only their ratios count.

    Returns:
        The images times exp(strength * field), cut off at 1. The field's largest absolute value in
        the image is 1.
    """
    field = nodes.to(images)
    for axis, edge in enumerate(images.shape[2:]):
        field = torch.movedim(field, axis + 1, -1) @ _bernstein(edge, nodes.shape[1], images).T
        field = torch.movedim(field, -1, axis + 1)
    field = field.unsqueeze(1)
    largest = field.flatten(1).abs().amax(1).clamp_min(torch.finfo(field.dtype).tiny)
    drift = field * _per_image(strength.to(images) / largest, images)
    return (images * drift.exp_()).clamp_(0, 1)


def gamma(images: Tensor, log_gamma: Tensor) -> Tensor:
    """Return images of another contrast: each value to the power of exp(log_gamma).

    Args:
        images: ``(B, 1, *edges)``.
        log_gamma: ``(B,)``; above 0 makes the brain darker, below 0 brighter.
    """
    return images ** _per_image(log_gamma, images).exp()


def rician(images: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Return images with the noise of a magnitude image, inside the brain only.

    Args:
        images: ``(B, 1, *edges)``.
        sigma: ``(B,)``: standard deviation of the noise in each channel, in the images' unit.
        noise: ``(2, B, 1, *edges)``, standard normal: the real and the imaginary channel.

    Returns:
        sqrt((image + sigma * real)^2 + (sigma * imaginary)^2), cut off at 1.

    Source: Gudbjartsson and Patz (1995), doi:10.1002/mrm.1910340618.
    """
    real, imaginary = noise.to(images) * _per_image(sigma, images)
    noisy = torch.hypot(real.add_(images), imaginary).clamp_(max=1)
    return torch.where(images > 0, noisy, images)


def blur(images: Tensor, fwhm: Tensor) -> Tensor:
    """Return images blurred by a Gaussian, normalised so that air does not darken the brain's edge.

    Args:
        images: ``(B, 1, *edges)``.
        fwhm: ``(B,)``: full width at half maximum of the Gaussian, in pixels or voxels.
    """
    brain = images > 0
    sums, weights = images, brain.to(images.dtype)
    for axis, edge in enumerate(images.shape[2:]):
        gaussian = _gaussian(fwhm.to(images) / WIDTHS, edge)
        sums, weights = _along(axis, gaussian, sums), _along(axis, gaussian, weights)
    return torch.where(brain, sums / weights, images)


def thick_slices(images: Tensor, factor: Tensor, axis: int) -> Tensor:
    """Return images as of thick slices: averaged along an axis, and interpolated back linearly.

    Air counts in the averages, so that it darkens the brain's edge along the axis.

    Args:
        images: ``(B, 1, *edges)``.
        factor: ``(B,)``: thickness of a slice in pixels or voxels, whole or not; the first begins
            at the image's edge. Up to 1, nothing changes.
        axis: The spatial axis that the slices are stacked along.
    """
    edge = images.shape[axis + 2]
    thick = factor.to(images).clamp(1, edge).view(-1, 1, 1)
    numbers = torch.arange(edge, device=images.device, dtype=images.dtype)
    begins = numbers.view(-1, 1) * thick  # of every slice; those beyond the image stay empty
    ends = torch.minimum(begins + thick, numbers.new_tensor(edge))
    shares = (torch.minimum(ends, numbers + 1) - torch.maximum(begins, numbers)).clamp_(min=0)
    averages = shares / shares.sum(2, keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)
    last = (edge / thick - 1e-3).ceil() - 1  # a sliver of a slice is rounding
    places = torch.minimum(((numbers.view(-1, 1) + 0.5) / thick - 0.5).clamp_min(0), last)
    nearness = (1 - (places - numbers).abs()).clamp_(min=0)
    return torch.where(images > 0, _along(axis, nearness @ averages, images), images)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    """Return ``(B,)`` values, shaped to spread over the images."""
    return values.to(images).view(-1, *(1,) * (images.ndim - 1))


def _along(axis: int, matrices: Tensor, images: Tensor) -> Tensor:
    """Return the images times one matrix each, ``(B, edge, edge)``, along a spatial axis."""
    edge = images.shape[axis + 2]
    before, after = math.prod(images.shape[2 : axis + 2]), math.prod(images.shape[axis + 3 :])
    if after == 1:
        product = images.reshape(-1, before, edge) @ matrices.mT
    else:
        product = matrices[:, None] @ images.reshape(-1, before, edge, after)
    return product.reshape(images.shape)


def _gaussian(sigma: Tensor, edge: int) -> Tensor:
    """Return what voxels give to each other, ``(B, edge, edge)``: 1 to themselves."""
    steps = torch.arange(1 - edge, edge, device=sigma.device) / sigma.clamp_min(1e-6)[:, None]
    weights = functional.threshold((steps.square_() / -2).exp_(), _FAINT, 0)
    return weights.unfold(1, edge, 1).flip(1)


def _bernstein(edge: int, count: int, like: Tensor) -> Tensor:
    """Return the values of `count` Bernstein polynomials at voxel centres: ``(edge, count)``."""
    place = ((torch.arange(edge) + 0.5) / edge).to(like)[:, None]
    number = torch.arange(count).to(like)
    times = torch.tensor([math.comb(count - 1, one) for one in range(count)]).to(like)
    return times * place**number * (1 - place) ** (count - 1 - number)
