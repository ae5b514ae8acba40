"""Errors that a person can act on, and the words that they are told in.

An error says what is wrong, what was found where, and how to fix it. ``main.py`` and ``debug.py``
print it without a traceback and leave with status 2. Any other exception is a bug and keeps its
traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: What other programs call a flag, a mode or a backbone -> what it is called here.
OTHER_NAMES = {
    **dict.fromkeys(("learning_rate", "learningrate", "step_size", "max_lr"), "lr"),
    **dict.fromkeys(("batchsize", "bs", "train_batch_size"), "batch_size"),
    **dict.fromkeys(("num_epochs", "n_epochs", "max_epochs", "nepochs"), "epochs"),
    **dict.fromkeys(("model", "arch", "architecture", "network", "net", "encoder"), "backbone"),
    **dict.fromkeys(("n_folds", "num_folds", "k_folds", "kfold", "n_splits", "k"), "folds"),
    **dict.fromkeys(("n_repeats", "num_repeats"), "repeats"),
    **dict.fromkeys(("output_dir", "out_dir", "output", "outdir", "save_dir"), "results_dir"),
    **dict.fromkeys(("input_dir", "data_path", "dataroot", "path", "dir"), "data_dir"),
    **dict.fromkeys(("num_classes", "n_classes"), "classes"),
    **dict.fromkeys(("num_workers", "n_jobs", "jobs", "threads"), "workers"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
    **dict.fromkeys(("ckpt", "checkpoint_path", "model_path", "resume_from"), "checkpoint"),
    **dict.fromkeys(("pretrained", "pretrained_weights", "init"), "weights"),
    **dict.fromkeys(("wd", "l2"), "weight_decay"),
    **dict.fromkeys(("freeze", "frozen", "linear_probe"), "freeze_backbone"),
    **dict.fromkeys(("img_size", "imgsz", "input_size", "resolution", "size"), "image_size"),
    **dict.fromkeys(("criterion", "loss_fn"), "loss"),
    **dict.fromkeys(("gpu", "cuda", "accelerator"), "device"),
    **dict.fromkeys(("amp", "fp16", "half", "dtype"), "precision"),
    **dict.fromkeys(("gradient_accumulation_steps", "grad_accum"), "accumulate"),
    **dict.fromkeys(("early_stopping", "early_stopping_patience"), "patience"),
    **dict.fromkeys(("run_name", "name", "experiment"), "run"),
    **dict.fromkeys(("n_bootstrap", "bootstraps"), "bootstrap"),
    **dict.fromkeys(("eval", "test", "score", "validate", "evaluation"), "evaluate"),
    **dict.fromkeys(("cv", "cross_validate", "cross_validation", "crossvalidation"), "crossval"),
    **dict.fromkeys(("explain", "cam", "saliency", "grad_cam"), "gradcam"),
    **dict.fromkeys(("infer", "inference", "prediction"), "predict"),
    **dict.fromkeys(("prepare", "preprocessing", "prep"), "preprocess"),
    **dict.fromkeys(("fit", "training"), "train"),
    **dict.fromkeys(("all", "pipeline", "everything"), "full"),
    **dict.fromkeys(("onnx",), "export"),
}
_PLURALS = {"person": "people"}


def counted(n: int, one: str, many: str = "") -> str:
    """Return a count with what is counted: ``1 person``, ``2 people``.

    Args:
        n: How many.
        one: What one of them is called, and what it does: ``"person has"``.
        many: The same of several; left out, the noun's plural.
    """
    first, _, last = one.rpartition(" ")
    several = many or f"{first} {_PLURALS.get(last, last + 's')}".strip()
    return f"{n} {one if n == 1 else several}"


def nearest(name: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Return the known names that `name` may have meant, the likeliest first; none if none is near.

    Args:
        name: As it was given. Case and hyphens do not matter.
        known: The names there are.
        most: How many to return.
    """
    known = list(known)
    plain = name.lower().replace("-", "_")
    other = OTHER_NAMES.get(plain)
    meant = [other] if other in known else []
    by_plain = {one.lower().replace("-", "_"): one for one in known}
    for near in difflib.get_close_matches(plain, by_plain, n=most, cutoff=0.6):
        if by_plain[near] not in meant:
            meant.append(by_plain[near])
    return [one for one in meant if one is not None][:most]


class MriError(Exception):
    """Base of every error that the input, not the code, is to blame for.

    Args:
        message: What is wrong, and what was found where.
        hint: The command or action that fixes it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.hint}" if self.hint else self.message


@contextmanager
def foreign_bytes(kind: type[MriError], what: str, hint: str = "") -> Iterator[None]:
    """Turn whatever a library raises at bytes that others wrote into an error of ours.

    A list of what it may raise is never complete, so the block should hold its one call. What the
    system refuses (a file that is gone, or has no right) becomes that error too.

    Args:
        kind: Class of the error.
        what: The start of its sentence: ``"x.nii cannot be read"``.
        hint: How to mend it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, MriError) and not isinstance(error, OSError):
            raise
        first = (str(getattr(error, "message", error)).splitlines() or [""])[0][:200]
        why = "it takes more memory than there is" if isinstance(error, MemoryError) else first
        mended = hint or getattr(error, "hint", "")
        raise kind(f"{what}: {why or type(error).__name__}", hint=mended) from None


def in_one_line(error: Exception) -> str:
    """Return what is wrong and how it is mended, for a cell of a table or a line of the log."""
    hint = getattr(error, "hint", "")
    return f"{getattr(error, 'message', error)}; fix: {hint}" if hint else str(error)


class ConfigError(MriError, ValueError):
    """A setting is out of range, or two settings contradict each other."""


class UnknownNameError(ConfigError):
    """A name is not registered; the message lists those that are and the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = nearest(name, known)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known)}"
        super().__init__(f"unknown {kind}: {name!r} (known: {', '.join(known)})", hint=hint)


def require_kind(
    argument: str, value: Any, kinds: type | tuple[type, ...], wanted: str, hint: str
) -> None:
    """Refuse an argument of the wrong type in one sentence; True and False are no numbers.

    Args:
        argument: Where it was given: ``"Trainer(config=...)"``.
        value: What was given.
        kinds: Types that are taken; None among them is written ``type(None)``.
        wanted: What is taken, in words: ``"a TrainConfig"``.
        hint: What to write instead.

    Raises:
        ConfigError: `value` is of another type.
    """
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        found = type(value).__name__
        article = "an" if found[0].lower() in "aeiou" else "a"
        raise ConfigError(f"{argument} takes {wanted}, found {article} {found}", hint=hint)


class DataNotFoundError(MriError, FileNotFoundError):
    """A file or folder that a stage reads is not there."""

    def __init__(self, path: Path | str, *, hint: str = "") -> None:
        super().__init__(f"not found: {path}", hint=hint)


class ManifestError(MriError, ValueError):
    """A table breaks the manifest's contract."""


class LeakageError(ManifestError):
    """One person, or one image, stands on two sides of a split."""


class AuditFailed(LeakageError):  # noqa: N818 - a verdict, not a malfunction
    """An audit ended with the verdict FAIL; ``main.py`` leaves with status 3."""


class ImageError(MriError, ValueError):
    """An image is damaged, empty or of a kind that cannot be used."""


class CheckpointError(MriError, RuntimeError):
    """A checkpoint or weight file is missing, damaged, unsafe or made for another model."""
