"""A network's features without gradients, by an inference engine where that is faster.

On a CPU, onnxruntime computes 2D networks up to three times as fast as torch; volumes it computes
more slowly, so these stay with torch, as do GPUs. What it computes is float32 on every processor.

Arrays: images ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)`` in [0, 1]; features ``(B, F)``; logits
``(B, K)``.
"""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import os
import warnings
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from .classifier import Classifier

logger = logging.getLogger(__name__)
#: Largest difference of a feature from torch's, of the largest in the batch.
TOLERANCE = 1e-4
#: Images must come to this many pixels: making an engine takes half a second, as do 64 of 224 px.
WORTH = 64 * 224**2
_KEPT = 2  # engines that later passes over the same weights find again
_sessions: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_said: set[str] = set()


def digest(model: Classifier) -> str:
    """Return a hash of all that a model's features depend on: weights and running statistics.

    Of a network of the user's own it is also what its images pass first, and what it makes of
    noise: the same weights may be computed with otherwise.
    """
    found = hashlib.blake2b(digest_size=8)
    for name, value in model.features.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    for value in model.made_of():
        found.update(value)
    return found.hexdigest()


class Pass:
    """Runs a network over many images, without gradients, its weights being what they are now.

    The first batch of every network is computed by torch as well: where the engine differs from it,
    or cannot be made, torch computes all, and a line says why. The engine uses as many threads as
    torch may in this process.

    Args:
        model: In evaluation mode.
        images: How many will come: for few, an engine is not worth making.
    """

    def __init__(self, model: Classifier, images: int) -> None:
        self.model, self.images = model, images
        self._session: Any = None
        self._shape: tuple[int, ...] | None = None  # of the images that it is for

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Return the features of a batch, on the model's device.

        Raises:
            ConfigError: These are no images of the model's.
        """
        session = self._engine_for(images)
        if session is None:
            return self.model.embed(images)
        return _run(session, self.model.normalise(images))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of a batch, as `Classifier.forward` does."""
        session = self._engine_for(images)
        logits: Tensor
        if session is None:
            logits = self.model(images)
        else:
            logits = self.model.classify(_run(session, self.model.normalise(images)))
        return logits

    @torch.no_grad()
    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features and the logits of a batch, computed once."""
        features = self.embed(images)
        return features, self.model.classify(features)

    def _engine_for(self, images: Tensor) -> Any:
        """Return the engine that computes these images; None where torch does."""
        shape = tuple(images.shape[1:])
        if len(images) and shape != self._shape:
            self._shape = shape
            self._session = self._engine(images) if self._wanted(images) else None
        return self._session if len(images) else None

    def _wanted(self, images: Tensor) -> bool:
        if self.model.dim != "2d" or images.device.type != "cpu" or self.model.training:
            return False
        enough = self.images * images.shape[-1] * images.shape[-2] >= WORTH
        plain = not torch.is_autocast_enabled("cpu")
        return enough and plain and self.model.normalise.mean.dtype == torch.float32

    def _engine(self, images: Tensor) -> Any:
        """Return the engine kept from before or made now; None where it is no good."""
        shape, threads = tuple(images.shape[1:]), torch.get_num_threads()
        # A forked process has none of its parent's threads, so it makes an engine of its own.
        key = (os.getpid(), threads, self.model.backbone, shape, digest(self.model))
        if key not in _sessions:
            _sessions[key] = _made(self.model, images, threads)
            while len(_sessions) > _KEPT:
                _sessions.popitem(last=False)
        _sessions.move_to_end(key)
        return _sessions[key]


def _made(model: Classifier, images: Tensor, threads: int) -> Any:
    """Return the engine of a network; None where it cannot be made or says something else."""
    features = model.embed(images)  # first: what is wrong with the images, it tells
    try:
        shown = model.normalise(images)
        session = _session_of(_exported(model, tuple(shown.shape[1:])), threads)
        theirs = _run(session, shown)
    except Exception as error:  # noqa: BLE001 - a package, an operator, a system: torch is there
        _say(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return None
    apart = float((theirs - features).abs().max() / features.abs().max().clamp(min=1e-12))
    if not apart <= TOLERANCE:
        _say(f"its features of {model.backbone} differ by {apart:.1e} of the largest")
        return None
    logger.debug("%s: onnxruntime, %.0e from torch", model.backbone, apart)
    return session


def _say(why: str) -> None:
    """Log once in a process why torch computes."""
    if why not in _said:
        _said.add(why)
        logger.info("torch computes what onnxruntime would sooner: %s", why)


def _session_of(content: bytes, threads: int) -> Any:
    import onnxruntime  # here: it takes a tenth of a second

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that wait busily gained nothing, and took the cores from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # this process keeps memory already, for torch as well
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _exported(model: Classifier, shape: tuple[int, ...]) -> bytes:
    """Return normalised images -> features as ONNX; the batch size is free.

    torch's older exporter: it takes .3 to .6 s, the one of ``torch.export`` 3 to 8 s.
    """
    network = copy.deepcopy(nn.Sequential(model.features, model.pool)).eval()
    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        # Sizes of images become constants, as they should: an engine is made for one size.
        warnings.simplefilter("ignore", TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, *shape),),
            file,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
            dynamo=False,
        )
    return bytes(file.getvalue())


def _run(session: Any, images: Tensor) -> Tensor:
    (features,) = session.run(["features"], {"images": images.contiguous().numpy()})
    return torch.from_numpy(features)
