"""Grad-CAM: which places of an image or volume spoke for a class.

Arrays: images ``(B, C, H, W)`` or volumes ``(B, C, X, Y, Z)``; activations ``(B, F, ...)`` and raw
maps ``(B, ...)`` on the grid of the explained layer; maps ``(B, H, W)`` or ``(B, X, Y, Z)`` in
[0, 1], on the grid of the input, float32. A map is relative to its own maximum: two maps do not
compare in strength.

Source: Selvaraju et al. (2017), ICCV, doi:10.1109/ICCV.2017.74.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name it has everywhere

from . import model as _model  # noqa: F401  importing it registers the backbones
from . import model_3d as _model_3d  # noqa: F401  and here those for volumes
from .classifier import MODEL_REGISTRY
from .errors import ConfigError, ImageError

Target = int | Sequence[int] | Tensor | NDArray[np.integer[Any]] | None
_INTERPOLATION = {2: "bilinear", 3: "trilinear"}


class GradCAM:
    """Grad-CAM of one layer; the model is left as it was found after every call.

    Neither gradients, ``requires_grad``, training modes nor hooks of the model change, whatever
    happens. It works on frozen models and inside ``torch.no_grad`` and ``torch.inference_mode``.

    Args:
        model: Any classifier of images or volumes, logits ``(B, K)``.
        target_layer: A layer of `model` whose output is a map; see `get_target_layer`.
        device: The model is moved there; None leaves it where it is.

    Raises:
        ConfigError: `target_layer` is not part of `model`.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layer: nn.Module,
        device: torch.device | str | None = None,
    ) -> None:
        if not any(module is target_layer for module in model.modules()):
            raise ConfigError(
                f"the layer {type(target_layer).__name__} is not part of the model",
                hint="get_target_layer(model) returns one that is",
            )
        self.model = model if device is None else model.to(device)
        self.target_layer = target_layer

    def __enter__(self) -> GradCAM:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is left to undo: every call removes its own hook."""

    def generate_cam(self, x: Tensor, target_class: int | None = None) -> NDArray[np.float32]:
        """Explain one image or volume.

        Args:
            x: ``(C, ...)`` or ``(1, C, ...)``.
            target_class: Index of the class to explain; None explains the predicted one.

        Returns:
            ``(H, W)`` or ``(X, Y, Z)`` in [0, 1].

        Raises:
            ConfigError: As `generate_cams`, or `x` is a batch of several.
        """
        volume = any(isinstance(module, nn.Conv3d) for module in self.model.modules())
        if x.ndim == (4 if volume else 3):
            x = x.unsqueeze(0)
        if x.shape[0] != 1:
            raise ConfigError(f"expected one item, got {tuple(x.shape)}", hint="use generate_cams")
        (cam,) = self.generate_cams(x, target_class)
        return cast(NDArray[np.float32], cam)

    def generate_cams(self, x: Tensor, target_class: Target = None) -> NDArray[np.float32]:
        """Explain a batch.

        Args:
            x: ``(B, C, H, W)`` or ``(B, C, X, Y, Z)``.
            target_class: One class index for all, one for each item, or None for the predicted.

        Returns:
            ``(B, H, W)`` or ``(B, X, Y, Z)`` in [0, 1], each divided by its own maximum. A map is
            all zero where no place speaks for the class.

        Raises:
            ConfigError: A class is out of range, or the layer's output is no map.
            ImageError: A map is not finite: the input or the weights hold NaN or infinity.
        """
        raw = self.raw_cams(x, target_class).unsqueeze(1)
        mode = _INTERPOLATION[raw.ndim - 2]
        cams = F.interpolate(raw, size=x.shape[2:], mode=mode, align_corners=False)[:, 0]
        top = cams.flatten(1).amax(dim=1).reshape(-1, *[1] * (cams.ndim - 1))
        cams = torch.where(top > 0, cams / top, 0.0)
        array: NDArray[np.float32] = cams.cpu().numpy()
        return array

    def raw_cams(self, x: Tensor, target_class: Target = None) -> Tensor:
        """Return rectified maps ``(B, ...)`` on the layer's own grid, in units of the logit.

        Args and Raises: as `generate_cams`.
        """
        with torch.inference_mode(False), torch.no_grad(), _evaluating(self.model):
            x = x.detach().clone() if x.is_inference() else x.detach()
            activation, logits = self._forward(x.to(next(self.model.parameters()).device))
            if activation.ndim != x.ndim:
                raise ConfigError(
                    f"{type(self.target_layer).__name__} gives {tuple(activation.shape)}, no map",
                    hint="choose a layer before the pooling; get_target_layer(model) returns one",
                )
            classes = _classes(target_class, logits)
            score = logits.gather(1, classes.unsqueeze(1)).sum()
            gradient = torch.autograd.grad(score, activation)[0]
        weight = gradient.float().flatten(2).mean(dim=2)
        cams = torch.einsum("bf,bf...->b...", weight, activation.detach().float()).relu()
        if not cams.isfinite().all():
            raise ImageError("Grad-CAM is not finite", hint="look for NaN in image and weights")
        return cams

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the layer's output and the logits, with gradients from the one to the other."""
        seen: list[Tensor] = []

        def branch(module: nn.Module, inputs: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise ConfigError(f"{type(module).__name__} gives no single tensor")
            torch.set_grad_enabled(True)  # from here on only; the caller's no_grad ends it
            seen.append(output.detach().requires_grad_())
            return seen[-1].clone()  # an in-place layer downstream may not overwrite the map

        handle = self.target_layer.register_forward_hook(branch)
        try:
            logits = self.model(x)
        finally:
            handle.remove()
        if not seen:
            raise ConfigError(f"{type(self.target_layer).__name__} took no part in the prediction")
        return seen[-1], logits


def get_target_layer(model: nn.Module, backbone_name: str | None = None) -> nn.Module:
    """Return the layer that Grad-CAM explains: the last map before pooling.

    Args:
        model: Made by `create_model`.
        backbone_name: Its backbone; None asks the model.

    Raises:
        UnknownNameError: No backbone has that name.
        ConfigError: The model is of another backbone, or does not name its own.
    """
    own = getattr(model, "backbone", None)
    name = backbone_name or own
    if name is None:
        raise ConfigError("the model does not name its backbone", hint="give backbone_name")
    entry = MODEL_REGISTRY.get(name)
    if own not in (None, name):
        raise ConfigError(
            f"the model's backbone is {own}, not {name}", hint=f"leave it out, or give {own!r}"
        )
    return model.get_submodule(entry.cam_layer)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every submodule in evaluation mode, and each back in its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _classes(target: Target, logits: Tensor) -> Tensor:
    """Return the class index of each item, ``(B,)``."""
    count, known = logits.shape
    if target is None:
        return logits.argmax(dim=1)
    if isinstance(target, Tensor | np.ndarray):
        target = target.tolist()
    wanted = list(target) if isinstance(target, Sequence) else [target] * count
    if len(wanted) != count:
        raise ConfigError(f"{len(wanted)} target classes for {count} items")
    wrong = [index for index in wanted if not 0 <= index < known]
    if wrong:
        raise ConfigError(f"target class {wrong[0]} is not in 0 to {known - 1}")
    return torch.tensor(wanted, device=logits.device)
