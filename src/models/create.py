"""Make a model: a backbone of the registry, its weights, and a head."""

from __future__ import annotations

import logging
from numbers import Integral, Real
from pathlib import Path

import torch

from ..config import DEFAULT_BACKBONE
from ..config.training import POOLS, require_dim
from ..errors import CheckpointError, ConfigError, UnknownNameError, require_kind
from . import (
    backbones_2d,  # noqa: F401 - they register their backbones
    backbones_3d,  # noqa: F401 - they register their backbones
    qiu,  # noqa: F401 - they register their backbones
    resnet_3d,  # noqa: F401 - they register their backbones
)
from .classifier import Classifier
from .device import choose_device, seed_of
from .made_again import imported
from .qiu import laid_of
from .registry import MODEL_REGISTRY, ModelEntry
from .weight_card import read_card
from .weights import card_of_file, load_features, load_weight_file, tensors_of
from .wrap import wrap

logger = logging.getLogger(__name__)


def create_model(
    model_dim: str = "2d",
    backbone: str | None = None,
    num_classes: int = 4,
    pretrained: bool = True,
    device: str | torch.device | None = None,
    *,
    weights: str | Path | None = None,
    dropout: float = 0.2,
    freeze_backbone: bool = False,
    ordinal: bool = False,
    seed: int = 0,
    pool: str = "mean",
) -> Classifier:
    """Build a classifier of dementia stages.

    Args:
        model_dim: ``"2d"`` for slices or ``"3d"`` for volumes.
        backbone: A registered name; None takes the dimension's default. Or a network of your own:
            ``"package.module:function"``, which is called with ``num_classes`` (`wrap`).
        num_classes: 4, 3 or 2.
        pretrained: Start from ImageNet in 2D. There are no such weights in 3D.
        device: Where the model goes; None leaves it on the CPU.
        weights: ``imagenet``, ``none``, a weight file, or the folder of ``qiu2022``'s; wins over
            `pretrained`.
        dropout: Before the classifier.
        freeze_backbone: Train the classifier only.
        ordinal: One score with ordered thresholds; what ``--loss ordinal`` trains.
        seed: Of the weights that are drawn: a model made twice is the same one twice.
        pool: How a person's slices become one answer: ``"mean"``, ``"max"`` or ``"attention"``.

    Returns:
        Maps ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)`` images (uint8, or float in [0, 1]) to logits
        ``(B, num_classes)``.

    Raises:
        UnknownNameError: The backbone is not registered.
        ConfigError: The backbone is of the other dimension, or an argument of another type.
        CheckpointError: Weights are missing, cannot be downloaded or do not fit.
    """
    require_dim(model_dim)
    call = "create_model({}=...)".format
    hint = f"one of: {_backbones(model_dim)}"
    require_kind(call("backbone"), backbone, (str, type(None)), "a name", hint)
    require_kind(call("num_classes"), num_classes, Integral, "a whole number", "num_classes=4")
    for name, value in (("pretrained", pretrained), ("freeze_backbone", freeze_backbone)):
        hint = f"{name}=True or {name}=False; weights='...' names other weights"
        require_kind(call(name), value, bool, "True or False", hint)
    kinds = (str, Path, type(None))
    require_kind(call("weights"), weights, kinds, "a name or a file", "weights='imagenet'")
    require_kind(call("dropout"), dropout, Real, "a number", "dropout=0.2")
    if not 0 <= dropout < 1:
        raise ConfigError(f"{call('dropout')}: {dropout} is not in 0 to 1", hint="dropout=0.2")
    require_kind(call("seed"), seed, Integral, "a whole number", "seed=0")
    if pool not in POOLS:
        raise UnknownNameError("pool", str(pool), POOLS)
    if pool != "mean" and model_dim == "3d":
        raise ConfigError(
            f"pool={pool!r} weighs slices, and a volume is one image", hint="leave pool out"
        )
    place = None if device is None else choose_device(str(device))[0]
    with torch.random.fork_rng(devices=[]):  # whatever the notebook draws is not disturbed
        torch.manual_seed(seed_of(seed))
        classifier = _made(
            *(model_dim, backbone or DEFAULT_BACKBONE[model_dim], int(num_classes)),
            weights=str(weights) if weights else None if pretrained else "none",
            dropout=dropout,
            freeze_backbone=freeze_backbone,
            ordinal=ordinal,
        )
        classifier.pool_slices(pool)  # last, so that all else is drawn as without
    return classifier if place is None else classifier.to(place)


def _made(
    model_dim: str,
    backbone: str,
    num_classes: int,
    *,
    weights: str | None,
    dropout: float,
    freeze_backbone: bool,
    ordinal: bool,
) -> Classifier:
    """Make a registered backbone's classifier, or that of a network of the user's own."""
    if ":" in backbone:
        own = own_network(backbone, model_dim, num_classes, weights)
        if ordinal:
            hint = "--loss ce; in Python, ordinal=False"
            raise ConfigError(
                f"{backbone} is a network of your own, without an ordinal head", hint=hint
            )
        if freeze_backbone:
            own.freeze_backbone()
        return own
    entry = MODEL_REGISTRY.get(backbone)
    if entry.dim != model_dim:
        raise ConfigError(
            f"backbone {entry.name} is {entry.dim}, the data are {model_dim}",
            hint=f"model_dim={entry.dim!r}, or backbone={DEFAULT_BACKBONE[model_dim]!r}, which is "
            f"{model_dim} (all of them: {_backbones(model_dim)})",
        )
    return build_classifier(
        *(entry, num_classes),
        weights=weights or ("imagenet" if model_dim == "2d" else "none"),
        dropout=dropout,
        freeze_backbone=freeze_backbone,
        ordinal=ordinal,
    )


def own_network(made_by: str, dim: str, num_classes: int, weights: str | None = None) -> Classifier:
    """Return a network of the user's own, as what `made_by` names makes it.

    Args:
        made_by: ``"package.module:function"``.
        dim: Of the images it shall take.
        num_classes: K.
        weights: None or ``none``: those that it is made with.

    Raises:
        ConfigError: It cannot be made, or takes other images.
    """
    if weights not in (None, "none"):
        raise ConfigError(
            f"--weights {weights} is for backbones of this project",
            hint=f"leave it out, and let {made_by} load them",
        )
    own = wrap(imported(made_by), num_classes, made_by=made_by)
    if own.dim != dim:
        raise ConfigError(
            f"{made_by} makes a network of {own.dim} images, the data are {dim}",
            hint=f"--dim {own.dim}, or another network",
        )
    return own


def backbone_entry(name: str) -> ModelEntry:
    """Return what a backbone declares: its input, and the layers that maps are made of.

    Raises:
        UnknownNameError: No backbone has that name.
    """
    return MODEL_REGISTRY.get(name)


def _backbones(model_dim: str) -> str:
    return ", ".join(name for name in MODEL_REGISTRY if MODEL_REGISTRY.get(name).dim == model_dim)


def build_classifier(
    entry: ModelEntry,
    num_classes: int,
    *,
    weights: str | None = None,
    dropout: float = 0.2,
    freeze_backbone: bool = False,
    ordinal: bool = False,
) -> Classifier:
    """Build a backbone with a fresh head, load its weights and log what was built.

    Args:
        entry: From `MODEL_REGISTRY`.
        num_classes: Outputs of the head.
        weights: ``"imagenet"``, ``"none"`` or the path of a weight file; None takes ImageNet
            weights where there are any.
        dropout: Share of the embedding that is dropped while training.
        freeze_backbone: Train the head only.
        ordinal: Give it an `OrdinalHead`.

    Returns:
        The model, on the CPU, in training mode.

    Raises:
        ConfigError: ImageNet weights are asked for where there are none.
        CheckpointError: The weights cannot be had, or do not fit.
    """
    named = weights not in (None, "none", "imagenet") and Path(str(weights)).exists()
    if named and Path(str(weights)).is_dir() and entry.build_like is None:
        raise CheckpointError(
            f"--weights {weights} is a folder: {entry.name} starts from one file",
            hint="--weights FILE; a folder is for the published networks of --backbone qiu2022",
        )
    if named and entry.build_like is not None:
        entry = entry.like(tensors_of(str(weights)))
    model = Classifier(entry, num_classes, dropout, ordinal=ordinal)
    origin = load_initial_weights(model, entry, weights)
    model.pretrained = not origin.startswith("none")
    if freeze_backbone:
        model.freeze_backbone()
    count = sum(parameter.numel() for parameter in model.parameters())
    logger.info(
        "backbone: %s, %s, %.1f M parameters%s; weights: %s",
        *(entry.name, entry.dim, count / 1e6, " (head only is trained)" * freeze_backbone, origin),
    )
    return model


def load_initial_weights(model: Classifier, entry: ModelEntry, weights: str | None) -> str:
    """Load what `weights` names, as for `build_classifier`, and return what that was."""
    if weights is None and entry.imagenet_file is None:
        return f"none, trained from scratch: there are no ImageNet weights of {entry.name}"
    if weights == "none":
        return "none, trained from scratch"
    if weights not in (None, "imagenet"):
        loaded = load_weight_file(model, Path(str(weights)), entry.rename)
        model.learnt_from = card_of_file(weights)
        if laid := laid_of(model):
            laid.place(None)  # the volumes that it is trained on may lie elsewhere
        card = read_card(str(weights))
        if card is None or card.normalisation is None:
            return loaded
        model.normalise.mean.fill_(card.normalisation[0])
        model.normalise.std.fill_(card.normalisation[1])
        return f"{loaded}; mean %g and std %g of grey values, as beside it" % card.normalisation
    if entry.imagenet_file is None or entry.rename is None:
        raise ConfigError(
            f"--weights imagenet: there are none of {entry.name} ({entry.dim})",
            hint="--weights none, or the path of a checkpoint",
        )
    path = entry.imagenet_file()
    load_features(model.features, path, entry.rename)
    return f"imagenet ({path.name})"
