"""What can be told before any image is opened: device, weights, layers, atlas, folders.

A stage checks it first, and ``--mode full`` checks it for all its stages: a mistyped weight file
must not be found after a night of preprocessing.
"""

from __future__ import annotations

from ..config import MAP_TARGETS, RunConfig
from ..errors import ConfigError, UnknownNameError
from ..evaluation.fold_checkpoints import find_folds
from ..evaluation.open_checkpoint import entry_of
from ..files import require_writable
from ..labels import class_scheme
from ..maps.attribution import resolve_layers
from ..maps.regions.atlas import read_atlas
from ..models.checkpoint import load_checkpoint
from ..models.classifier import Classifier
from ..models.create import backbone_entry, load_initial_weights, own_network
from ..models.device import choose_device

#: Stages that train, that read a checkpoint, and that make maps of test people.
TRAINING = {"train", "crossval", "crossdata"}
SCORING, MAPPING = {"evaluate", "gradcam", "stress"}, {"gradcam"}


def check_before(config: RunConfig, *stages: str) -> None:
    """Raise what is wrong with a command before images are opened.

    Args:
        config: Settings.
        stages: Those that will run, such as ``"train"``.

    Raises:
        ConfigError: The device is not there, or a layer or class is unknown.
        FileError: A folder cannot be written, or its disk is full.
        CheckpointError: Weights or a checkpoint are missing, damaged or of another network.
        DataNotFoundError: A file of the atlas is missing.
    """
    choose_device(config.device)
    if config.crossval.harmonise and {"train", "crossdata"} & set(stages):
        raise ConfigError(
            "harmonised features are for crossval only: a model would not know them for new scans",
            hint="leave harmonise out of the settings",
        )
    for folder in (config.results_dir, config.checkpoint_dir):
        require_writable(folder)
    named = set(stages)
    if config.evaluate.checkpoint is not None and named & SCORING:
        path = config.evaluate.checkpoint
        entry_of(load_checkpoint(path), path, config.data.model_dim)
    if named & TRAINING:
        classifier = _check_weights(config)
        if named & MAPPING:
            resolve_layers(classifier, config.explain.method, config.explain.layer)
            _check_target(config.explain.target, config.data.num_classes, config.data.label)
    if named & MAPPING and config.explain.out_of_fold:
        find_folds(config)
    if named & MAPPING and config.explain.atlas and config.explain.atlas_labels:
        read_atlas(config.explain.atlas, config.explain.atlas_labels)


def _check_weights(config: RunConfig) -> Classifier:
    """Return the network of a training, its first weights loaded; nothing is logged."""
    if config.own_network:
        dim, classes = config.data.model_dim, config.data.num_classes
        return own_network(config.own_network, dim, classes, config.model.weights)
    entry = backbone_entry(config.backbone)
    classifier = Classifier(entry, config.data.num_classes, ordinal=config.loss == "ordinal")
    default = "imagenet" if entry.dim == "2d" else "none"
    load_initial_weights(classifier, entry, config.model.weights or default)
    return classifier


def _check_target(target: str, classes: int, kind: str) -> None:
    known = (*MAP_TARGETS, *class_scheme(classes, kind).classes)
    if target not in known:
        raise UnknownNameError(f"target of {classes} classes", target, known)
