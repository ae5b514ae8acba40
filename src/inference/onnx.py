"""A trained network as ONNX, with all that an answer needs described beside it.

Another program that loads ``model.onnx`` and follows ``model.json`` says what this one says; that
it does is checked before the files are kept.

Axes: B images, K classes.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..optional import optional
from .ensemble import Ensemble, Member

SCHEMA = "model/1"
#: Largest difference of a logit, relative to 1 or to the largest logit: float32 sums in another
#: order differ by a few of its 1e-7 steps per layer.
TOLERANCE = 1e-4
BATCHES = (1, 2, 5)  # sizes that are compared; the batch axis is free
NEEDED = ("onnx", "onnxscript", "onnxruntime")
NEEDS = "--mode export needs"
_NOTICE = "Research use only. Not a medical device, and no basis for a diagnosis."


class Logits(nn.Module):
    """Images -> logits, as a person's mean and calibration take them."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.model = member.model

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(B, K)`` for ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)`` in [0, 1]."""
        return self.model.classify(self.model.embed(images)).float()


def image_shape(ensemble: Ensemble) -> tuple[int, ...]:
    """Return the shape of one image: ``(1, H, W)`` or ``(1, X, Y, Z)``."""
    settings = ensemble.preprocess
    if ensemble.dim == "2d":
        return (1, settings.image_size, settings.image_size)
    return (1, *[settings.volume_size] * 3)


def to_onnx(network: nn.Module, shape: tuple[int, ...]) -> bytes:
    """Return a network as an ONNX file with its weights inside; the batch size is free."""
    program = torch.onnx.export(
        network,
        (torch.zeros(2, *shape),),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def largest_difference(content: bytes, network: nn.Module, shape: tuple[int, ...]) -> float:
    """Return the largest difference of a logit between ONNX and torch, on noise and on shapes.

    Args:
        content: The ONNX file.
        network: Ours.
        shape: Of one image.
    """
    session = optional("onnxruntime", NEEDS, "export").InferenceSession(
        content, providers=["CPUExecutionProvider"]
    )
    rng, worst = np.random.default_rng(0), 0.0
    for count in BATCHES:
        for images in (rng.random((count, *shape), np.float32), _blobs(rng, count, shape)):
            (theirs,) = session.run(["logits"], {"images": images})
            with torch.inference_mode():
                ours = network(torch.from_numpy(images)).numpy()
            scale = max(1.0, float(np.abs(ours).max()))
            worst = max(worst, float(np.abs(theirs - ours).max()) / scale)
    return worst


def _blobs(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return bright ellipsoids on black, more like a head than noise is."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape[1:]], indexing="ij")
    images = []
    for _ in range(count):
        widths = rng.uniform(0.4, 0.9, len(axes))
        distance = sum((axis / width) ** 2 for axis, width in zip(axes, widths, strict=True))
        images.append(np.clip(1 - np.asarray(distance), 0, 1)[None])
    return np.stack(images).astype(np.float32)


def describe(ensemble: Ensemble, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what another program must know to say what this one says."""
    member, content = ensemble.members[0], ensemble.content
    model = member.model
    calibration = model.calibration
    places = ["row", "column"] if ensemble.dim == "2d" else ["x", "y", "z"]
    return {
        "schema": SCHEMA,
        "notice": _NOTICE,
        "file": "model.onnx",
        "checkpoint": member.path.name,
        "backbone": content["backbone"],
        "dim": ensemble.dim,
        "trained_on": content["dataset"],
        "train_counts": content["train_counts"],
        "stamps": list(content.get("stamps", [])),
        "input": {
            "name": "images",
            "type": "float32",
            "axes": ["batch", "channel", *places],
            "shape": ["any", *shape],
            "range": [0, 1],
            "meaning": "grey values of processed images: stored 8-bit values / 255 in 2D, stored "
            "values as they are in 3D; normalisation is inside the network",
        },
        "output": {"name": "logits", "type": "float32", "axes": ["batch", "class"]},
        "classes": list(ensemble.classes),
        "answer": [
            "mean of the logits over all images of a person",
            "times calibration.scale plus calibration.shift, class by class",
            "softmax: the stage probabilities",
        ],
        "calibration": None if calibration is None else asdict(calibration),
        "prediction_sets": None if model.conformal is None else asdict(model.conformal),
        "preprocessing": content["preprocessing"],
        "versions": {name: importlib.metadata.version(name) for name in ("torch", *NEEDED)},
    }
