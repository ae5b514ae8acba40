"""Stage ``export``: a trained network as ONNX, and what an answer needs described beside it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
from collections.abc import Iterator
from pathlib import Path

import torch

from ..config import RunConfig
from ..errors import CheckpointError, ConfigError
from ..files import atomic_file, write_json
from ..inference.ensemble import open_ensemble, run_name_of
from ..inference.onnx import (
    BATCHES,
    NEEDED,
    NEEDS,
    TOLERANCE,
    Logits,
    describe,
    image_shape,
    largest_difference,
    to_onnx,
)
from ..models.qiu import laid_of
from ..optional import optional

logger = logging.getLogger(__name__)


def run(config: RunConfig) -> Iterator[Path]:
    """Export a checkpoint.

    Yields:
        ``model.onnx`` and ``model.json`` in ``results/<run>/export/``.

    Raises:
        ConfigError: A package is missing, several checkpoints were named, or the network has a step
            that cannot be exported.
        CheckpointError: There is none, it does not say how its images were made, or the exported
            network says something else.
    """
    for name in NEEDED:
        optional(name, NEEDS, "export")
    ensemble = open_ensemble(config, torch.device("cpu"))
    if len(ensemble.members) > 1:
        raise ConfigError(
            f"--mode export takes one checkpoint, and {config.evaluate.checkpoint} holds "
            f"{len(ensemble.members)}",
            hint="--checkpoint FILE, once for each",
        )
    member, shape = ensemble.members[0], image_shape(ensemble)
    if member.model.pooling != "mean":
        raise ConfigError(
            f"{member.path} pools slices by {member.model.pooling}, and model.onnx answers on one "
            "slice: what each weighs would be lost",
            hint="export a model of --pool mean",
        )
    if laid_of(member.model):
        raise ConfigError(
            f"{member.path} is of {member.model.backbone}, which lays volumes into MNI space: a "
            "step that torch cannot export",
            hint=f"--mode predict --checkpoint {member.path} answers with it",
        )
    content = to_onnx(Logits(member).eval(), shape)
    difference = largest_difference(content, Logits(member).eval(), shape)
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"{member.path}: the exported network differs by {difference:.2g} of a logit, over "
            f"{TOLERANCE:g}",
            hint="keep the checkpoint; this network cannot be exported with these versions",
        )
    logger.info("exported network and ours differ by %.1e of a logit at most", difference)
    folder = config.results_dir / run_name_of(config, ensemble) / "export"
    with atomic_file(folder / "model.onnx") as file:
        file.write(content)
    yield folder / "model.onnx"
    about = describe(ensemble, shape) | {
        "sha256": hashlib.sha256(content).hexdigest(),
        "equality": {
            "largest_difference": difference,
            "tolerance": TOLERANCE,
            "batches": list(BATCHES),
            "runtime": f"onnxruntime {importlib.metadata.version('onnxruntime')}",
        },
    }
    yield write_json(folder / "model.json", about)
