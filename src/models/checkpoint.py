"""Checkpoints: the only caller of ``torch.load``, always with ``weights_only=True``.

A checkpoint is one dictionary: ``model`` (state dict), ``format``, ``config``, ``preprocessing``,
``classes``, ``backbone``, ``dim``, ``ordinal``, ``pool``, ``dataset``, ``subjects`` (hashed people
of train and val), ``learnt_from`` (whom its first weights had seen: `weight_card`),
``train_counts``, ``stamps``, ``versions``, ``epoch``; and of validation people ``calibration``,
``conformal`` and ``validation`` (labels and logits). When training has ended, also ``reference``
(how training people look to the model) and ``frame`` (the grid their scans share), which new scans
are compared with and laid on. Names of people are never stored, only their hashes.

A file ends with a hash of all its bytes, as the comment that a ZIP archive may have: a bit that a
disk or a copy changed is found before a weight is used.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import pickle
import struct
from pathlib import Path
from typing import IO, Any

import torch

from ..errors import CheckpointError, foreign_bytes, nearest
from ..files import atomic_file, open_file
from .stored_parts import check_parts

FORMAT = 2
_KEYS = {
    **dict.fromkeys(("model", "config", "preprocessing"), dict),
    **dict.fromkeys(("calibration", "conformal", "validation"), dict),
    **dict.fromkeys(("classes", "subjects", "train_counts"), list),
    "ordinal": bool,
    **dict.fromkeys(("backbone", "dim", "dataset"), str),
}
#: The comment at the end of the archive: these words, then 64 hexadecimal digits.
_SEAL = b"mri-ad blake2b-256 "
_DIGITS = 64
#: In the content of a sealed file, so that a seal that is gone is missed.
_SEALED = "sealed"
_AGAIN = "copy the file again, or train again"
_LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "scipy",
    "nibabel",
    "opencv-python-headless",
)


def load_tensors(path: str | Path) -> dict[str, Any]:
    """Read a dictionary of tensors and plain values, never code, onto the CPU.

    Raises:
        CheckpointError: The file is missing, truncated, of another kind, or holds pickled code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no such weight file: {path}", hint=_those_there(path))
    with open_file(path) as file:
        sealed = _check_seal(file, path)
        file.seek(0)
        content = _unpickled(file, path)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, not a dictionary of weights"
        )
    if _SEALED in content and not sealed:
        raise CheckpointError(f"{path} is damaged: the hash at its end is gone", hint=_AGAIN)
    content.pop(_SEALED, None)
    return content


def save_tensors(path: str | Path, content: dict[str, Any]) -> Path:
    """Write a dictionary of tensors and plain values, whole or not at all, sealed by its hash."""
    path, packed = Path(path), io.BytesIO()
    torch.save({**content, _SEALED: True}, packed)
    body = packed.getbuffer()
    # The last two bytes of an archive are the length of its comment.
    end = struct.pack("<H", len(_SEAL) + _DIGITS) + _SEAL
    digest = hashlib.blake2b(body[:-2], digest_size=32)
    digest.update(end)
    with atomic_file(path) as file:
        file.write(body[:-2])
        file.write(end + digest.hexdigest().encode())
    return path


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> Path:
    """Write a checkpoint, as `save_tensors`, stamped with format and library versions."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return save_tensors(path, {"format": FORMAT, "versions": versions, **content})


def _check_seal(file: IO[bytes], path: Path) -> bool:
    """Return whether a file ends with a seal, which must be that of its bytes.

    Raises:
        CheckpointError: It is that of other bytes.
    """
    size = file.seek(0, io.SEEK_END)
    digits = max(size - _DIGITS, 0)
    file.seek(max(digits - len(_SEAL), 0))
    end = file.read()
    if not end.startswith(_SEAL):
        return False
    file.seek(0)
    digest = hashlib.blake2b(digest_size=32)
    left = digits
    while left:
        piece = file.read(min(left, 1 << 20))
        digest.update(piece)
        left -= len(piece)
    if digest.hexdigest().encode() != end[len(_SEAL) :]:
        raise CheckpointError(
            f"{path} is damaged: its bytes are not those that were written", hint=_AGAIN
        )
    return True


def _unpickled(file: IO[bytes], path: Path) -> Any:
    with foreign_bytes(CheckpointError, f"{path} is truncated or no checkpoint", _AGAIN):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(_why_not_unpickled(path, error), hint=_AGAIN) from None


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that `save_checkpoint` wrote.

    Raises:
        CheckpointError: As `load_tensors`, or the file is not one of this project's checkpoints.
    """
    path = Path(path)
    content = load_tensors(path)
    ours = {"model", "config", "preprocessing", "format"}
    if not isinstance(content.get("format", FORMAT), int):
        raise CheckpointError(f"{path} is damaged: its format is no number", hint=_AGAIN)
    if ours <= content.keys() and content["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {content['format']}; this version reads {FORMAT}",
            hint="train again with this version",
        )
    missing = [key for key in [*_KEYS, "format"] if key not in content]
    if missing:
        raise CheckpointError(
            f"{path} holds weights but no checkpoint of this project: {', '.join(missing)} missing",
            hint="--weights FILE starts a training from bare weights",
        )
    for key, kind in _KEYS.items():
        if not isinstance(content[key], kind):
            raise CheckpointError(
                f"{path}: {key!r} is no {kind.__name__}", hint="train again, or copy the file again"
            )
    try:
        check_parts(content)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: {error}", hint="train again, or copy the file again"
        ) from None
    return content


def load_weights(model: torch.nn.Module, state: dict[str, torch.Tensor], path: str | Path) -> None:
    """Load every tensor of `state` into `model`, or say which do not fit.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape.
    """
    path = Path(path)
    own = model.state_dict()
    wrong = sorted(own.keys() ^ state.keys())
    wrong += [
        name
        for name in own
        if name in state
        and not (isinstance(state[name], torch.Tensor) and own[name].shape == state[name].shape)
    ]
    if wrong:
        raise CheckpointError(
            f"{path} fits another model: {len(wrong)} tensors differ, first {wrong[0]}",
            hint="name the backbone and classes that the file was trained with",
        )
    model.load_state_dict(state)


def _those_there(path: Path) -> str:
    """Return how to have a checkpoint: the nearest by its name and the others there, or train."""
    runs = path.parent.parent if path.name == "best_model.pth" else path.parent
    found = {str(one) for one in [*runs.glob("*/best_model.pth"), *path.parent.glob("*.pth")]}
    if not found:
        return "python main.py --mode train"
    first = (nearest(str(path), found) or sorted(found))[0]
    others = sorted(found - {first})[:9]
    return f"--checkpoint {first}" + (f"; also there: {', '.join(others)}" if others else "")


def _why_not_unpickled(path: Path, error: Exception) -> str:
    """Say what is wrong without torch's own text, which proposes to run the file."""
    if "GLOBAL" in str(error):
        return (
            f"{path} holds pickled code, which is never run; only tensors and plain values are read"
        )
    return f"{path} is truncated or no checkpoint: it holds no tensors and plain values"
