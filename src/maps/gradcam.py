"""Grad-CAM for notebooks: which places of an image or volume spoke for a class.

Arrays: images ``(B, C, H, W)`` or volumes ``(B, C, X, Y, Z)``; raw maps ``(B, ...)`` on the grid of
the explained layer; maps ``(B, H, W)`` or ``(B, X, Y, Z)`` in [0, 1], on the grid of the input,
float32. A map is relative to its own maximum: two maps do not compare in strength.

Source: Selvaraju et al. (2017), ICCV, doi:10.1109/ICCV.2017.74.
"""

from __future__ import annotations

from types import TracebackType
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ConfigError, UnknownNameError, require_kind
from ..models.classifier import Classifier
from ..models.create import backbone_entry
from ..models.device import choose_device
from ..models.wrap import wrap, wrapped_before
from .attribution import Target, capture, computing, finite, resolve_layers, to_maximum
from .methods import CAM_METHODS, resize


class GradCAM:
    """Grad-CAM of one layer; the model is left as it was found after every call.

    As `src.attribution.Attribution` with one layer, given as a module.

    Args:
        model: Any classifier of images or volumes, logits ``(B, K)``. A network that `Trainer` or
            `Evaluator` was given takes grey images as these do, and three channels as they are.
        target_layer: A layer of `model` whose output is a map; see `get_target_layer`.
        device: The model is moved there; None leaves it where it is.
        method: ``"gradcam"``, ``"gradcam++"``, ``"layercam"`` or ``"hirescam"``.

    Raises:
        ConfigError: `target_layer` is not part of `model`.
        UnknownNameError: No method has that name.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layer: nn.Module,
        device: torch.device | str | None = None,
        *,
        method: str = "gradcam",
    ) -> None:
        if method not in CAM_METHODS:
            raise UnknownNameError("method", str(method), CAM_METHODS)
        hint = "model = create_model(model_dim='2d')"
        require_kind("GradCAM(model=...)", model, nn.Module, "a network", hint)
        hint = "get_target_layer(model), or model.get_submodule('...') for another by its name"
        require_kind("GradCAM(target_layer=...)", target_layer, nn.Module, "a layer", hint)
        if not any(module is target_layer for module in model.modules()):
            raise ConfigError(
                f"the layer {type(target_layer).__name__} is not part of the model",
                hint="get_target_layer(model) returns one that is",
            )
        self.model = model if device is None else model.to(choose_device(str(device))[0])
        self.target_layer, self.method = target_layer, method

    def __enter__(self) -> GradCAM:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is left to undo: every call removes its own hook."""

    def generate_cam(self, x: Tensor, target_class: int | str | None = None) -> NDArray[np.float32]:
        """Explain one image or volume.

        Args:
            x: ``(C, ...)`` or ``(1, C, ...)``.
            target_class: Index of the class to explain, or ``"demented"``; None explains the
                predicted one.

        Returns:
            ``(H, W)`` or ``(X, Y, Z)`` in [0, 1].

        Raises:
            ConfigError: As `generate_cams`, or `x` is a batch of several.
        """
        hint = "torch.from_numpy(image), or loader.dataset[0][0].float()"
        require_kind("generate_cam(x)", x, Tensor, "a tensor", hint)
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
            target_class: One class index for all, one for each item, ``"demented"`` for the
                log-odds of dementia, or None for the predicted.

        Returns:
            ``(B, H, W)`` or ``(B, X, Y, Z)`` in [0, 1], each divided by its own maximum. A map is
            all zero where no place speaks for the class.

        Raises:
            ConfigError: A class is out of range, or the layer's output is no map.
            ImageError: A map is not finite: the input or the weights hold NaN or infinity.
        """
        return to_maximum(resize(self.raw_cams(x, target_class), tuple(x.shape[2:])).cpu().numpy())

    def raw_cams(self, x: Tensor, target_class: Target = None) -> Tensor:
        """Return rectified maps ``(B, ...)`` on the layer's own grid, in units of the logit.

        Args and Raises: as `generate_cams`.
        """
        model = self._taking(x)
        with computing(model, x) as x:
            ((activation, gradient),) = capture(model, [self.target_layer], x, target_class)
            return finite(CAM_METHODS[self.method](activation, gradient), self.method)

    def _taking(self, x: Tensor) -> nn.Module:
        """Return the model; for grey images, the classifier that a network was wrapped in."""
        grey = x.ndim > 1 and x.shape[1] == 1
        return (wrapped_before(self.model) if grey else None) or self.model


def get_target_layer(model: nn.Module, backbone_name: str | None = None) -> nn.Module:
    """Return the layer that Grad-CAM explains: the last map before pooling.

    Args:
        model: Made by `create_model` or `wrap`, or any other network.
        backbone_name: Its backbone; None asks the model.

    Raises:
        UnknownNameError: No backbone has that name.
        ConfigError: The model is of another backbone, or none of its layers gives a map.
    """
    hint = "model = create_model(model_dim='2d')"
    require_kind("get_target_layer(model)", model, nn.Module, "a network", hint)
    if backbone_name is not None:
        backbone_entry(backbone_name)
        own = getattr(model, "backbone", backbone_name)
        if own != backbone_name:
            raise ConfigError(
                f"the model's backbone is {own}, not {backbone_name}",
                hint=f"leave it out, or give {own!r}",
            )
    known = model if isinstance(model, Classifier) else wrap(model)
    (name,) = resolve_layers(known, "gradcam")
    return known.get_submodule(name)
