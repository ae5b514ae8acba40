"""Any network as a classifier of this project: normalisation in front, its last layer as the head.

The network itself is not changed, and its weights are not copied: what is trained are its own.

Arrays: images ``(B, C, H, W)`` or volumes ``(B, C, X, Y, Z)``, C channels; features ``(B, F)``;
logits ``(B, K)``.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError, UnknownNameError, require_kind
from . import backbones_2d, backbones_3d
from .classifier import Classifier, Normalise
from .made_again import Maker, import_path, imported, made, trusted
from .probe import KNOWN, Seen, evaluating, split, try_network
from .registry import MODEL_REGISTRY, Dim
from .torchvision_operators import let_torchvision_import

logger = logging.getLogger(__name__)
let_torchvision_import()  # most networks of a user's own come from there
Numbers = float | tuple[float, ...]
#: Of photographs, which every network of torchvision was trained on; of red, green and blue.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_GREY = {
    "2d": (backbones_2d.MEAN, backbones_2d.STD),
    "3d": (backbones_3d.MEAN, backbones_3d.STD),
}
_SLOW = 0.05  # momentum of a batch norm under which few epochs leave it behind
_TRIED_WITH = {"2d": (224, 224), "3d": (64, 64, 64)}


class Own(Classifier):
    """A network of the user's own; `wrap` makes it.

    Args:
        name: What the network is called.
        normalise: What its images pass first.
        features: Images to features ``(B, F)``.
        head: Features to logits.
        width: F.
        num_classes: K.
        noise: ``(2, C, ...)``, what it was tried with.
    """

    def __init__(
        self,
        name: str,
        normalise: Normalise,
        features: nn.Module,
        head: nn.Module,
        width: int,
        num_classes: int,
        noise: Tensor,
    ) -> None:
        nn.Module.__init__(self)
        self.noise = noise
        self.backbone, self.dim, self.num_classes = name, normalise.dim, num_classes
        self.frozen = self.pretrained = False
        self.cam_layer, self.fine_layers = None, ()
        self.normalise, self.features, self.width = normalise, features, width
        self.pool, self.dropout, self.head = nn.Identity(), nn.Dropout(0.0), head
        self.attention = None

    @torch.no_grad()
    def made_of(self) -> Iterator[bytes]:
        """Yield how images are normalised, and the features of noise, which its code decides."""
        yield json.dumps(self.network, sort_keys=True).encode()
        first = next(self.parameters())
        with evaluating(self):
            features = self.features(self.noise.to(first.device, first.dtype))
        yield features.float().cpu().numpy().round(4).tobytes()

    def shares_all(self, network: nn.Module) -> bool:
        """Return whether its weights are those of a network: none was replaced since."""
        own, theirs = ({id(one) for one in each.parameters()} for each in (self, network))
        return own == theirs


def wrap(
    network: nn.Module | Maker,
    num_classes: int | None = None,
    *,
    channels: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    size: int | Sequence[int] | None = None,
    target_layer: str | nn.Module | None = None,
    pretrained: bool = False,
    made_by: str | Maker | None = None,
) -> Classifier:
    """Make a classifier of any network that maps images to logits.

    `Trainer` and `Evaluator` do this with any network that they are given; here it can be said how.
    What is left out is found by one pass over noise, and logged.

    Args:
        network: It takes ``(B, C, H, W)`` or ``(B, C, X, Y, Z)`` and gives logits ``(B, K)``. Or
            what makes it, such as ``torchvision.models.mobilenet_v3_small``: this is called with
            ``num_classes``, and a checkpoint then names what makes the network again.
        num_classes: K; None takes what the network gives.
        channels: 1 or 3; a grey image is shown in all three. None asks its first convolution.
        mean: Subtracted from grey values in [0, 1], one number or one a channel. None takes that
            of ImageNet for three channels, and that of brain images for one.
        std: Divided by, in the same way.
        size: Edge or edges that images are resized to; None takes images as they come.
        target_layer: Layer that maps explain, itself or its name; None takes the last whose output
            is a map.
        pretrained: Its weights are trained already: they are fine-tuned at a lower learning rate.
        made_by: What makes it again, where `network` is one already: a function or class that can
            be imported, or ``"package.module:name"``.

    Returns:
        A classifier as `create_model` makes them, which shares the weights of `network`.

    Raises:
        ConfigError: It is no network, gives no logits or others than `num_classes`, takes other
            images, or `made_by` makes another network.
        UnknownNameError: It has no layer of that name.
    """
    if isinstance(network, Classifier):
        return network
    hint = "num_classes=4"
    kinds = (Integral, type(None))
    require_kind("wrap(num_classes=...)", num_classes, kinds, "a whole number or None", hint)
    if not isinstance(network, nn.Module):
        if not callable(network):
            hint = "wrap(network), or create_model(model_dim='2d') for one of this project"
            require_kind("wrap(network)", network, nn.Module, "a network", hint)
        made_by = made_by or network
        network = made(network, num_classes)
    spec = {"channels": channels, "mean": mean, "std": std, "size": size, "layer": target_layer}
    own = _wrapped(network, num_classes, spec, ())
    own.pretrained = pretrained
    assert own.network is not None
    if made_by is not None:
        path = own.network["made_by"] = import_path(network, made_by, own.num_classes)
        own.backbone = path.partition(":")[2] if path else own.backbone
    return own


def as_classifier(model: Any, call: str, num_classes: int, shape: Sequence[int] = ()) -> Classifier:
    """Return a classifier: what `create_model` or `wrap` made as it is, any other network wrapped.

    Args:
        model: What was given.
        call: Who takes it: ``"Trainer"``.
        num_classes: Classes of the data.
        shape: Of their images, ``(H, W)`` or ``(X, Y, Z)``.

    Raises:
        ConfigError: It is no network, or one that `wrap` refuses.
    """
    if isinstance(model, Classifier):
        return model
    hint = "model = create_model(model_dim='2d'), or any torch network"
    if isinstance(model, str) and model in MODEL_REGISTRY:
        hint = f"create_model(model_dim={MODEL_REGISTRY.get(model).dim!r}, backbone={model!r})"
    require_kind(f"{call}(model=...)", model, nn.Module, "a network", hint)
    return wrapped_before(model) or _wrapped(model, num_classes, {}, shape)


def wrapped_before(network: Any) -> Classifier | None:
    """Return the classifier that a network was wrapped in, with what it learnt of probabilities.

    None of one that never was, or whose parts were replaced since.
    """
    known = getattr(network, "__dict__", {}).get(KNOWN)
    return known if isinstance(known, Own) and known.shares_all(network) else None


def wrapped_again(
    content: Mapping[str, Any], path: Path, network: nn.Module | Maker | str | None
) -> Classifier:
    """Return the network of a checkpoint that is one of the user's own, its weights not loaded.

    A checkpoint names what makes its network, and never holds code. What it names is called where
    the user says so, where it is torchvision's, or where it is a class of networks that this
    process has imported already: a file must not decide what is run.

    Args:
        content: The checkpoint.
        path: Its file.
        network: The network, or what makes it; None takes what the checkpoint names.

    Raises:
        CheckpointError: It is not said how the network is made, or that is another network.
    """
    spec, classes = content["network"], len(content["classes"])
    try:
        maker = trusted(spec["made_by"], path) if network is None else network
        if isinstance(maker, str):
            maker = imported(maker)
        if not isinstance(maker, nn.Module):
            maker = made(maker, classes)
        stored = {name: spec[name] for name in ("channels", "mean", "std", "size")}
        stored["layer"] = spec["target_layer"]
        own = _wrapped(maker, classes, stored, content.get("image_shape") or ())
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.message}", hint=error.hint) from None
    own.network, own.backbone = dict(spec), str(content["backbone"])
    return own


def _wrapped(
    network: nn.Module, classes: int | None, spec: Mapping[str, Any], shape: Sequence[int]
) -> Own:
    """Wrap a network as `spec` says; what is None there is found out.

    Args:
        network: To be wrapped.
        classes: K, if it is known.
        spec: ``channels, mean, std, size, layer``, as the arguments of `wrap`.
        shape: Of an image that it will be shown; empty where nobody knows.
    """
    dim, channels = _kind_of(network, spec.get("channels"), spec.get("size"))
    edges = _edges(spec.get("size"), dim)
    usual: tuple[Numbers, Numbers] = _GREY[dim] if channels == 1 else IMAGENET
    mean, std = (
        _per_channel(name, spec.get(name), default, channels)
        for name, default in zip(("mean", "std"), usual, strict=True)
    )
    tried = edges or (tuple(shape) if len(shape) == int(dim[0]) else _TRIED_WITH[dim])
    seen = try_network(network, (channels, *tried))
    _require_classes(network, seen, classes)
    layer = _layer_name(network, spec.get("layer"), seen)
    features, head, width = split(network, seen)
    first = next(network.parameters())
    normalise = Normalise(dim, mean, std, edges).to(first.device, first.dtype)
    own = Own(type(network).__name__, normalise, features, head, width, seen.logits, seen.images)
    own.cam_layer = None if layer is None else f"features.{layer}"
    own.network = {
        "made_by": None,
        "channels": channels,
        "mean": _listed(mean),
        "std": _listed(std),
        "size": list(edges),
        "target_layer": layer,
    }
    logger.info(
        "a network of your own: %s, %s, %d channel%s, mean %s, std %s, maps of %s; wrap(...) "
        "changes what is wrong of it",
        *(own.backbone, dim, channels, "s" * (channels > 1), _short(mean), _short(std)),
        f"its layer {layer}" if layer else "no layer",
    )
    slow = [
        one.momentum
        for one in network.modules()
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.momentum
    ]
    if slow and min(slow) < _SLOW:
        logger.warning(
            "%s: its batch norm moves its means by %g a batch, for training of many thousand "
            "batches; after few it scores everyone alike. momentum = 0.1 is usual",
            *(own.backbone, min(slow)),
        )
    own.training = network.training  # its parts keep their modes: they are the network's own
    network.__dict__[KNOWN] = own  # no part of the network, as an attribute would be
    return own


def _kind_of(network: nn.Module, channels: int | None, size: Any) -> tuple[Dim, int]:
    """Return whether a network takes slices or volumes, and its channels, by its first layer."""
    name = type(network).__name__
    if next(network.parameters(), None) is None:
        raise ConfigError(f"{name} has no weights", hint="give a network that can be trained")
    first = next((m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))), None)
    taken = None if first is None else int(first.in_channels)
    if channels is None:
        channels = taken or 1
    if taken not in (None, channels) or channels not in (1, 3):
        raise ConfigError(
            f"{name} takes {taken or channels} channels"
            + (f", not {channels}" if taken not in (None, channels) else "; images have 1, or 3"),
            hint="leave channels out, or give a network whose first convolution takes 1 or 3",
        )
    if isinstance(first, nn.Conv3d) or (first is None and isinstance(size, Sequence)):
        return ("3d" if first is not None or len(size) == 3 else "2d"), channels
    return "2d", channels


def _edges(size: Any, dim: Dim) -> tuple[int, ...]:
    """Return the edges that images are resized to; none where they stay as they are."""
    if size is None or (isinstance(size, Sequence) and not size):
        return ()
    n = int(dim[0])
    edges = list(size) if isinstance(size, Sequence) else [size] * n
    if len(edges) != n or not all(_is(int, edge) and 8 <= edge <= 1024 for edge in edges):
        raise ConfigError(
            f"wrap(size={size!r}): {dim} images have {n} edges of 8 to 1024",
            hint=f"size={(224,) * n if n == 2 else (96,) * n}",
        )
    return tuple(int(edge) for edge in edges)


def _per_channel(name: str, value: Any, default: Numbers, channels: int) -> Numbers:
    """Return one finite number, or one a channel where there are several."""
    value = default if value is None else value
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    fits = len(numbers) in (1, channels)
    finite = all(_is((int, float), one) and math.isfinite(one) for one in numbers)
    if not fits or not finite or (name == "std" and min(numbers) <= 0):
        raise ConfigError(
            f"wrap({name}={value!r}): one finite number, or one for each of {channels} channels",
            hint=f"{name}={default}",
        )
    if channels == 1:
        return float(numbers[0])
    return tuple(float(one) for one in (numbers * channels)[:channels])


def _is(kinds: Any, value: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _listed(value: Numbers) -> list[float]:
    return list(value) if isinstance(value, tuple) else [value]


def _short(value: Numbers) -> str:
    return " ".join(f"{one:.3g}" for one in _listed(value))


def _require_classes(network: nn.Module, seen: Seen, classes: int | None) -> None:
    if classes is None or seen.logits == classes:
        if seen.logits < 2:
            raise ConfigError("a classifier needs 2 logits or more", hint="num_classes=4")
        return
    name, head = type(network).__name__, seen.head
    hint = f"make it with {classes} outputs"
    if head is not None:
        place = "".join(f"[{one}]" if one.isdigit() else f".{one}" for one in head.split("."))
        hint = f"network{place} = torch.nn.Linear({seen.width}, {classes})"
    raise ConfigError(
        f"{name} gives {seen.logits} logits, the data have {classes} classes", hint=hint
    )


def _layer_name(network: nn.Module, layer: str | nn.Module | None, seen: Seen) -> str | None:
    """Return the name of the layer that maps explain."""
    if layer is None:
        return seen.layer
    names = {module: name for name, module in network.named_modules() if name}
    if isinstance(layer, nn.Module):
        if layer not in names:
            raise ConfigError(
                f"wrap(target_layer=...): this {type(layer).__name__} is no part of the network",
                hint="network.get_submodule('...') returns one that is",
            )
        return str(names[layer])
    if layer not in names.values():
        raise UnknownNameError("layer", str(layer), names.values())
    return layer
