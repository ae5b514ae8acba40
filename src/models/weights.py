"""Weights a network starts from: fetched once, checked against their hash, loaded strictly.

Nothing here falls back to random weights: a file that cannot be had, or that does not fit, is an
error that says what to do.

A *foreign* state dict is one of the published network (3 input channels, 1000 classes), not of
our `Classifier`. Its first convolution is `kernel` ``(out, in, height, width)``, or of volumes
``(out, in, x, y, z)``.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, counted
from ..files import open_file
from ..runtime import weight_cache
from .checkpoint import load_tensors
from .weight_card import WeightCard, card_of_checkpoint, joined, read_card

Tensors = Mapping[str, Tensor]
#: Turns a foreign state dict into names of `features`, without the head.
Rename = Callable[[Tensors, nn.Module], dict[str, Tensor]]

#: Beginnings of the names of published networks' heads.
_HEADS = ("fc.", "_fc.", "classifier.", "heads.", "conv_seg.")
TIMEOUT = 15.0  # seconds without an answer
_OTHER_WAYS = "--weights none trains from scratch; --backbone efficientnet_lite0 needs no download"

logger = logging.getLogger(__name__)


def fetch(url: str) -> Path:
    """Return the local copy of a weight file whose name ends in the start of its SHA-256.

    Raises:
        CheckpointError: It cannot be downloaded, or what lies there has another hash.
    """
    name = PurePosixPath(urlparse(url).path).name
    target = weight_cache() / name
    prefix = _hash_in(name)
    if not target.is_file():
        _download(url, target, prefix)
    elif not _sha256(target).startswith(prefix):
        raise CheckpointError(
            f"{target} is damaged: its SHA-256 does not start with {prefix}",
            hint=f"delete it, then download it again: {url}",
        )
    return target


def _hash_in(name: str) -> str:
    match = re.search(r"-([0-9a-f]{8,})\.\w+$", name)
    if match is None:
        raise ValueError(f"{name} does not carry its hash")
    return match[1]


def _sha256(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, target: Path, prefix: str) -> None:
    logger.info("downloading %s to %s", url, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(TIMEOUT):
            torch.hub.download_url_to_file(url, str(target), hash_prefix=prefix)
    # RuntimeError is how torch.hub reports a wrong hash; it removes what it had written.
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise CheckpointError(
            f"cannot download the ImageNet weights {target.name}: {error}",
            hint=f"put {url} at {target} by hand; or {_OTHER_WAYS}",
        ) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Give up on a silent server: torch.hub opens its address without a limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def load_features(features: nn.Module, path: str | Path, rename: Rename) -> None:
    """Load a foreign state dict into `features`, its first convolution summed to one channel.

    Raises:
        CheckpointError: The file cannot be read, or is of another network.
    """
    path = Path(path)
    _load_foreign(features, _tensors_in(path), path, rename)


def load_weight_file(model: nn.Module, path: str | Path, rename: Rename | None) -> str:
    """Load a foreign state dict, or a checkpoint of ours, into a `Classifier`.

    A checkpoint's head is taken when it has as many classes; else the head starts fresh.

    Args:
        model: Has `features`, `head` and `backbone`; changed in place.
        path: Weight file.
        rename: How to read a foreign state dict of this network; None where there are none.

    Returns:
        What was loaded, for the log.

    Raises:
        CheckpointError: The file is missing, unreadable or of another network.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(
            f"no such weights: {str(path)!r} is neither imagenet, none nor a file",
            hint="--weights imagenet, none, or the path of a weight file",
        )
    tensors = tensors_of(path)
    if rename is None or any(name.startswith("head.") for name in tensors):
        return _load_own(model, tensors, path)
    try:
        _load_foreign(model.get_submodule("features"), tensors, path, rename)
    except CheckpointError as error:
        if path.is_dir():
            names = ", ".join(str(one.relative_to(path)) for one in _files_below(path))
            error.hint = f"copy these files again; the networks are, from 0 on, those of {names}"
        raise
    left = [name for name in tensors if name.removeprefix("module.").startswith(_HEADS)]
    several = f", {counted(len(_files_below(path)), 'file')}" if path.is_dir() else ""
    return f"{path}{several}, fresh head" + (f"; left out: {', '.join(left)}" if left else "")


def card_of_file(weights: str | Path | None) -> WeightCard | None:
    """Return whom the weights of a file have learnt from; None where nothing is known.

    It stands beside the file (`read_card`), and a checkpoint of ours holds it.

    Args:
        weights: As ``--weights`` takes them; only of a file that is there, something can be known.

    Raises:
        CheckpointError: What stands there cannot be used, or the file cannot be read.
    """
    if weights in (None, "none", "imagenet") or not Path(str(weights)).exists():
        return None
    path = Path(str(weights))
    if path.is_dir():
        return read_card(path)
    beside, content = read_card(path), load_tensors(path)
    if not {"model", "subjects", "preprocessing"} <= content.keys():
        return beside
    try:
        own = card_of_checkpoint(content)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: of whom it learnt from, {error}", hint="copy the file again"
        ) from None
    return own if beside is None else joined(beside, own)


def tensors_of(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file, or of every ``backbone_*.pth`` in a folder.

    In a folder, the names stand behind the number of their file, in the order of their paths; of
    ``CNN_baseline_new_cross*``, where there are such folders.

    Raises:
        CheckpointError: A file cannot be read, or holds no weights, or there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return _tensors_in(path)
    return {
        f"{number}.{name}": value
        for number, file in enumerate(_files_below(path))
        for name, value in _tensors_in(file).items()
    }


def _tensors_in(path: Path) -> dict[str, Tensor]:
    content: Any = load_tensors(path)
    for part in ("model", "state_dict"):  # of a checkpoint of ours; of MedicalNet's files
        if isinstance(content, Mapping) and isinstance(content.get(part), Mapping):
            content = content[part]
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path} holds no weights", hint="give a state dict, or a checkpoint of this project"
        )
    return tensors


def _files_below(folder: Path) -> list[Path]:
    # A clone of the published repository holds other networks, too, under other names.
    files = sorted(folder.rglob("CNN_baseline_new_cross*/backbone_*.pth"))
    files = files or sorted(folder.rglob("backbone_*.pth"))
    if not files:
        raise CheckpointError(
            f"{folder} is a folder without a backbone_*.pth",
            hint="--weights FOLDER: that which holds CNN_baseline_new_cross0 and the others",
        )
    places = [file.parent for file in files]
    if twice := next((one for one in places if places.count(one) > 1), None):
        raise CheckpointError(
            f"{twice} holds several backbone_*.pth", hint="keep one, the epoch that was chosen"
        )
    return files


def _load_own(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> str:
    # Heads of other tasks are of the people and the --tasks that they were trained with.
    tensors = {name: value for name, value in tensors.items() if not name.startswith("more_heads.")}
    fresh = model.state_dict()
    # What weighs slices starts fresh, whatever the file was trained with.
    tensors = {name: one for name, one in tensors.items() if not name.startswith("attention.")}
    head = [name for name in fresh if name.startswith("head.")]
    fits = all(name in tensors and tensors[name].shape == fresh[name].shape for name in head)
    if not fits:
        tensors = {name: value for name, value in tensors.items() if not name.startswith("head.")}
        tensors |= {name: fresh[name] for name in head}
    _load_strictly(model, tensors, path)
    return str(path) if fits else f"{path}, fresh head: its own is of other classes"


def _load_foreign(features: nn.Module, tensors: Tensors, path: Path, rename: Rename) -> None:
    renamed = rename(tensors, features)
    first = next(name for name, value in features.state_dict().items() if value.ndim > 1)
    if first in renamed and renamed[first].ndim in (4, 5) and renamed[first].shape[1] == 3:
        # Equal to showing the grey image on all three channels, at a third of the work.
        renamed[first] = renamed[first].sum(dim=1, keepdim=True)
    _load_strictly(features, renamed, path)


def _load_strictly(module: nn.Module, tensors: Tensors, path: Path) -> None:
    wanted = module.state_dict()
    faults = {
        "missing": [name for name in wanted if name not in tensors],
        "unexpected": [name for name in tensors if name not in wanted],
        "of another shape": [
            name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape
        ],
    }
    found = [
        f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    ]
    if found:
        raise CheckpointError(
            f"{path} is of another network; of {len(wanted)} tensors {'; '.join(found)}",
            hint="choose the --backbone that the file was made with",
        )
    module.load_state_dict(dict(tensors))
