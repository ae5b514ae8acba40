"""Which places of an image or volume spoke for a class: one method, at one or several layers.

Arrays: images ``(B, 1, H, W)`` or volumes ``(B, 1, X, Y, Z)`` in [0, 1] or uint8; activations and
gradients ``(B, F, ...)`` on the grid of a layer; maps ``(B, H, W)`` or ``(B, X, Y, Z)`` on the grid
of the input, float32, >= 0, in units of the explained score: of one model and target, two maps do
compare in strength until each is divided by its maximum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.augment import to_unit
from ..errors import ConfigError, ImageError, UnknownNameError
from ..models.classifier import Classifier
from ..models.qiu import laid_of
from .attention import ROLLOUT, require_attention, rollout_maps
from .methods import BY_PLACE, CAM_METHODS, INPUT_METHODS, fuse, resize

METHODS = (*CAM_METHODS, *INPUT_METHODS, ROLLOUT)
#: Target: the log-odds of any dementia against none.
DEMENTED = "demented"
AUTO = "AUTO"
#: Maps are kept in steps of their maximum: two bytes are enough, and the files pack well.
STEP = 1 / 1024

Target = int | Sequence[int] | Tensor | NDArray[np.integer[Any]] | str | None


class Attribution:
    """One method, ready to explain batches; the model is left as it was found after every call.

    Neither gradients, ``requires_grad``, training modes nor hooks of the model change, whatever
    happens. It works on frozen models, inside ``torch.no_grad`` and ``torch.inference_mode``, and
    computes in the model's own precision inside ``torch.autocast``.

    Args:
        model: A classifier, logits ``(B, K)``; other than `Classifier` needs `layers`.
        method: One of `METHODS`.
        layers: Dotted names of layers whose outputs are maps, joined by "+" or in a sequence;
            several are fused. AUTO takes what the backbone's entry declares. ``ig``,
            ``occlusion`` and ``rollout`` take none.

    Attributes:
        layers: Names of the explained layers; empty where a method takes none.

    Raises:
        UnknownNameError: No method or layer has that name.
        ConfigError: AUTO with a model whose backbone is not known; rollout with one that has no
            attention.
    """

    def __init__(
        self, model: nn.Module, method: str = "hirescam", layers: str | Sequence[str] = AUTO
    ) -> None:
        if method not in METHODS:
            raise UnknownNameError("method", method, METHODS)
        self.model, self.method = model, method
        self.layers = resolve_layers(model, method, layers)
        self._grids: dict[tuple[int, ...], tuple[float, ...]] = {}

    def maps(self, x: Tensor, target: Target = None) -> NDArray[np.float32]:
        """Return maps in [0, 1], each divided by its own maximum; as `raw_maps` otherwise.

        A map is all zero where no place speaks for the class.
        """
        return to_maximum(self.raw_maps(x, target))

    def raw_maps(self, x: Tensor, target: Target = None) -> NDArray[np.float32]:
        """Explain a batch.

        Args:
            x: Images or volumes.
            target: One class index for all, one for each item, `DEMENTED`, or None for the
                predicted class.

        Raises:
            ConfigError: A class is out of range, or a layer's output is no map.
            ImageError: A map is not finite: the input or the weights hold NaN or infinity.
        """
        with computing(self.model, x) as x:
            if self.layers:
                modules = [self.model.get_submodule(name) for name in self.layers]
                captured = capture(self.model, modules, x, target)
                maps = fuse([CAM_METHODS[self.method](*pair) for pair in captured])
            elif self.method == ROLLOUT:
                maps = rollout_maps(self.model, x)
            else:
                maps = self._from_input(to_unit(x), target)
            maps = finite(maps, self.method)
            shape, laid = tuple(x.shape[2:]), laid_of(self.model)
            there = laid is not None and bool(self.layers)  # in MNI space
            onto = laid.back(maps, shape) if laid and there else resize(maps, shape)
            array: NDArray[np.float32] = onto.cpu().numpy()
        return array

    def resolution(self, shape: Sequence[int]) -> tuple[float, ...]:
        """Return the edges of one cell of the finest explained grid, in pixels of the input.

        Args:
            shape: Of an image, ``(H, W)`` or ``(X, Y, Z)``.
        """
        if self.method in INPUT_METHODS:
            return INPUT_METHODS[self.method].cell(shape)
        if tuple(shape) not in self._grids:
            self._grids[tuple(shape)] = self._measure(tuple(shape))
        return self._grids[tuple(shape)]

    def _measure(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        parameter = next(self.model.parameters())
        x = torch.zeros((1, 1, *shape), device=parameter.device, dtype=parameter.dtype)
        modules = [self.model.get_submodule(name) for name in self.layers]
        with computing(self.model, x) as x:
            if self.method == ROLLOUT:
                grids = [rollout_maps(self.model, x).shape[1:]]
            else:
                captured = capture(self.model, modules, x, 0)
                grids = [pair[0].shape[2:] for pair in captured]
        finest = max(grids, key=lambda grid: grid.numel())
        return tuple(n / m for n, m in zip(shape, finest, strict=True))

    def _from_input(self, x: Tensor, target: Target) -> Tensor:
        # The target is settled once, on the whole images: not anew for each changed one.
        if not (isinstance(target, str) and target == DEMENTED):
            target = _classes(target, self.model(x))

        def score(images: Tensor, items: Tensor) -> Tensor:
            wanted = target[items] if isinstance(target, Tensor) else target
            return target_scores(self.model(images), wanted)

        return INPUT_METHODS[self.method].explain(score, x).relu()


def target_scores(logits: Tensor, target: Target = None) -> Tensor:
    """Return the explained score of each item, differentiable.

    Args:
        logits: ``(B, K)``.
        target: As `Attribution.raw_maps`: a class's logit, or with `DEMENTED` the log-odds of the
            classes after the first.

    Returns:
        ``(B,)``.

    Raises:
        ConfigError: A class is out of range, or another number of classes than of items.
    """
    if isinstance(target, str) and target == DEMENTED:
        return logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
    classes = _classes(target, logits)
    return logits.gather(1, classes.unsqueeze(1))[:, 0]


def capture(
    model: nn.Module, layers: Sequence[nn.Module], x: Tensor, target: Target
) -> list[tuple[Tensor, Tensor]]:
    """Return each layer's output and the gradient of the explained score with respect to it.

    One pass forward, and back no further than the earliest layer. To be called within `computing`.

    Raises:
        ConfigError: A layer's output is no map, or a layer took no part or part more than once.
    """
    seen: dict[int, Tensor] = {}

    def record(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        name = type(module).__name__
        if not isinstance(output, Tensor):
            raise ConfigError(f"{name} gives no single tensor")
        if id(module) in seen:
            raise ConfigError(f"{name} is used more than once in a pass", hint="name another layer")
        if output.ndim != x.ndim:
            raise ConfigError(
                f"{name} gives {tuple(output.shape)}, no map",
                hint="choose a layer before the pooling; AUTO does",
            )
        if not seen:  # nothing before the earliest layer needs a gradient
            torch.set_grad_enabled(True)  # from here on only; `computing` ends it
            output = output.detach().requires_grad_()
        kept: Tensor = output
        seen[id(module)] = kept
        return kept.clone()  # an in-place layer downstream may not overwrite the map

    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        logits = model(x)
    finally:
        for handle in handles:
            handle.remove()
    absent = [type(layer).__name__ for layer in layers if id(layer) not in seen]
    if absent:
        raise ConfigError(f"{absent[0]} took no part in the prediction")
    outputs = [seen[id(layer)] for layer in layers]
    gradients = torch.autograd.grad(target_scores(logits, target).sum(), outputs)
    return [(a.detach().float(), g.float()) for a, g in zip(outputs, gradients, strict=True)]


@contextmanager
def computing(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Give the input on the model's device; afterwards everything is as it was.

    Within, every submodule is in evaluation mode and no gradient is taken until `capture` says so.
    """
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    try:
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            model.eval()
            yield (x.detach().clone() if x.is_inference() else x.detach()).to(device)
    finally:
        for module, training in modes:
            module.training = training


def resolve_layers(
    model: nn.Module, method: str, layers: str | Sequence[str] = AUTO
) -> tuple[str, ...]:
    """Return the dotted names of the layers to explain.

    AUTO is the last map before pooling for methods that weigh whole channels, and the backbone's
    `fine_layers`, fused, for those that weigh places: see ``docs/maps.md`` for the scores.

    Raises:
        UnknownNameError: The model has no layer of that name.
        ConfigError: AUTO with a model whose backbone is not known, a layer for ``ig``, or rollout
            of a model without attention.
    """
    names = tuple(layers.split("+")) if isinstance(layers, str) else tuple(layers)
    if method not in CAM_METHODS:
        if names != (AUTO,):
            what = "follows every layer" if method == ROLLOUT else "explains the image itself"
            raise ConfigError(f"{method} {what}", hint="leave --layer out")
        if method == ROLLOUT:
            require_attention(model)
        return ()
    if names == (AUTO,):
        if not isinstance(model, Classifier):
            raise ConfigError(
                f"{type(model).__name__} does not say which layer maps explain",
                hint="name a layer, or wrap(network)",
            )
        if model.cam_layer is None:
            raise ConfigError(
                f"no layer of {model.backbone} gives a map: it has no convolution",
                hint="method='occlusion' or 'ig' explains the image itself (--method)",
            )
        fine = method in BY_PLACE and model.fine_layers
        return model.fine_layers if fine else (model.cam_layer,)
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            raise UnknownNameError("layer", name, [AUTO, *(n for n in known if n.count(".") < 2)])
    return names


def to_maximum(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return maps ``(B, ...)`` divided each by its own maximum; an empty one stays empty."""
    top = maps.reshape(len(maps), -1).max(axis=1).reshape(-1, *[1] * (maps.ndim - 1))
    scaled: NDArray[np.float32] = np.divide(maps, top, out=np.zeros_like(maps), where=top > 0)
    return scaled


def in_steps(maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return a session's maps as shares of their one maximum, in steps of `STEP`, and it."""
    strength = float(maps.max())
    return (np.round(maps / (strength or 1) / STEP) * STEP).astype(np.float32), strength


def finite(maps: Tensor, method: str) -> Tensor:
    """Return `maps`.

    Raises:
        ImageError: One is not finite.
    """
    if not maps.isfinite().all():
        raise ImageError(
            f"the map of {method} is not finite", hint="look for NaN in image and weights"
        )
    return maps


def _classes(target: Target, logits: Tensor) -> Tensor:
    """Return the class index of each item, ``(B,)``."""
    count, known = logits.shape
    if target is None:
        return logits.argmax(dim=1)
    if isinstance(target, str):
        raise ConfigError(f"target {target!r} is no class index and not {DEMENTED!r}")
    if isinstance(target, Tensor | np.ndarray):
        target = target.tolist()
    wanted = [target] * count if isinstance(target, int) else list(target)
    if len(wanted) != count:
        raise ConfigError(f"{len(wanted)} target classes for {count} items")
    wrong = [index for index in wanted if not 0 <= index < known]
    if wrong:
        raise ConfigError(f"target class {wrong[0]} is not in 0 to {known - 1}")
    return torch.tensor(wanted, device=logits.device)
