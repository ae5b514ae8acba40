"""Words in sentences for people: a count with its noun, and the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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
