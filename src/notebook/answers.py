"""Ask a trained model about any image: what `--mode predict` says, as a table and as a map."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from ..config import RunConfig
from ..config.options import build_config
from ..errors import CheckpointError, ConfigError, ImageError, require_kind
from ..evaluation.open_checkpoint import load_trained
from ..inference.answers import Answer, in_words, make_answer, no_answer, table_of
from ..inference.ensemble import Ensemble, Said, checkpoints_in, ensemble_of
from ..inference.inputs import Input
from ..inference.map_files import shares_of, write_answer_map
from ..inference.prepare import Prepared, Preparer
from ..maps.attribution import DEMENTED, Attribution
from ..models.classifier import Classifier
from ..models.device import choose_device
from ..models.made_again import Maker
from ..models.wrap import wrapped_before
from ..runtime import speak_in_notebook
from .given import Given, take
from .in_python import speaks_python


@speaks_python
def load_model(
    path: str | Path,
    network: nn.Module | Maker | str | None = None,
    device: str | torch.device | None = None,
) -> Classifier:
    """Open a checkpoint: a model that `predict`, `explain`, `Evaluator` and `GradCAM` take.

    Args:
        path: ``best_model.pth``, or a folder that holds one.
        network: Of a network of your own: it, what makes it, or ``"package.module:name"``. A
            checkpoint never holds code; it names what makes its network, and that is called
            without being asked for only where it is torchvision's, or a class that is imported.
        device: Where the model goes; None leaves it on the CPU.

    Returns:
        The model in evaluation mode; its ``origin`` is the checkpoint.

    Raises:
        CheckpointError: There is none, it is damaged, or its network cannot be made.

    Example:
        >>> model = load_model("checkpoints/phantom_2d_resnet18/best_model.pth")
    """
    require_kind(
        "load_model(path)", path, (str, Path), "the path of a checkpoint", "load_model('x.pth')"
    )
    found = checkpoints_in(Path(path))
    if len(found) > 1:
        raise CheckpointError(
            f"{path} holds {len(found)} checkpoints", hint="predict(folder, ...) asks all together"
        )
    model, _ = load_trained(found[0], network=network)
    return model if device is None else model.to(choose_device(str(device))[0])


@speaks_python
def predict(
    model: nn.Module | str | Path | Sequence[Classifier],
    images: Any,
    *,
    affine: NDArray[np.float64] | None = None,
    device: str | torch.device | None = None,
) -> pd.DataFrame:
    """Say what a model says of images, with the numbers of ``--mode predict``.

    Args:
        model: From `load_model`, or as `Trainer` left it after ``train(save_dir=...)``; a path of
            a checkpoint or of a folder of folds; or several models, which answer together.
        images: A path of a scan, picture or folder; a nibabel image; a PIL picture; an array or
            tensor; or a list of these, of one scan each. An array is processed images in the shape
            of the model's own, ``(H, W)``, ``(n, H, W)`` or ``(X, Y, Z)``, uint8 or in [0, 1];
            with `affine` it is a scan.
        affine: 4 x 4, voxel -> mm in RAS+, of an array that is a scan.
        device: None takes the best there is.

    Returns:
        A row for every scan, in the order given: ``stage`` (empty where it is outside of what the
        model has seen), ``p_<class>``, ``prediction_set``, ``outside`` and ``reasons``,
        ``distance`` and ``similarity`` with their p, ``flags``.

    Raises:
        ConfigError: What was given is no image, or the model was never saved.
        CheckpointError: The checkpoint cannot be used.
        ImageError: None of the images can be used.

    Example:
        >>> predict(model, "scan.nii.gz")[["stage", "prediction_set"]]
    """
    with _asked(model, images, affine, device) as asked:
        answers = [
            no_answer(item, made, len(asked.ensemble.members))
            if isinstance(made, str)
            else make_answer(asked.ensemble, made, asked.ensemble.answer(made.images, made.slices))
            for item, made in asked.prepared
        ]
        for answer, one in zip(answers, asked.given, strict=True):
            answer["source"] = one.source or answer["source"]
        if all(answer["n_images"] == 0 for answer in answers):
            raise ImageError(f"{answers[0]['name']}: {answers[0]['reasons'][0]}")
        return table_of(answers, asked.ensemble.classes).set_index("name")


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which places of one scan spoke for a class; it shows itself in a notebook.

    Attributes:
        map: ``(n, H, W)`` of slices or ``(X, Y, Z)``, in [0, 1]: share of the map's maximum, on
            the grid of the processed images.
        images: The same shape: the processed images, in [0, 1].
        target: The class that is explained.
        answer: What the model says of the scan, in one line.
        figure: Planes through the map's peak; None of images without a place in a scan.
        nifti: The map in the space of the scan; None of images without a place in one.
    """

    map: NDArray[np.float32]
    images: NDArray[np.float32]
    target: str
    answer: str
    figure: Image.Image | None
    nifti: nib.Nifti1Image | None

    def _repr_png_(self) -> bytes | None:
        return None if self.figure is None else self.figure._repr_png_()  # type: ignore[no-any-return]


@speaks_python
def explain(
    model: nn.Module | str | Path,
    image: Any,
    target: str | None = None,
    *,
    method: str = "hirescam",
    affine: NDArray[np.float64] | None = None,
    device: str | torch.device | None = None,
) -> Explanation:
    """Show which places of one scan spoke for a class. It is what the model used, not the disease.

    Args:
        model: As `predict` takes it; of several, the first is explained.
        image: One scan, as `predict` takes it.
        target: A class of the model, or ``"demented"``, any stage against none; None takes the
            most probable class.
        method: As ``--method``: ``"hirescam"``, ``"gradcam"``, ``"ig"``, ``"occlusion"``, ...
        affine: Of an array that is a scan.
        device: None takes the best there is.

    Returns:
        The map as an array, as NIfTI in the space of the scan, and as a picture:
        ``explain(...).figure.save("map.png")``.

    Raises:
        ConfigError: There are several images, or no such class.
        UnknownNameError: No method has that name.
        ImageError: The image cannot be used.

    Example:
        >>> explain(model, "scan.nii.gz", "Demented").figure
    """
    with _asked(model, image, affine, device) as asked:
        pairs = list(asked.prepared)
        if len(pairs) != 1:
            raise ConfigError(f"explain takes one scan, found {len(pairs)}", hint="one at a time")
        ((item, made),) = pairs
        if isinstance(made, str):
            raise ImageError(f"{item.name}: {made}")
        said = asked.ensemble.answer(made.images, made.slices)
        answer = make_answer(asked.ensemble, made, said)
        classes = asked.ensemble.classes
        best = int(said.probabilities.argmax())
        wanted = best if target is None else _wanted(target, classes)
        explained = wanted if isinstance(wanted, str) else classes[wanted]
        attribution = Attribution(asked.ensemble.members[0].model, method)
        shown = answer | _told(classes, said, best)
        shares = shares_of(made, attribution, wanted)
        figure = nifti = None
        if made.record is not None:
            files = write_answer_map(asked.folder, shown, made, shares, method, explained)
            figure, nifti = _read(list(files))
        grey = made.images[:, 0].cpu().numpy()
        if asked.ensemble.dim == "3d":
            shares, grey = shares[0], grey[0]
        return Explanation(shares, grey, explained, in_words(answer), figure, nifti)


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question to models: who answers, and the images, one after the other."""

    ensemble: Ensemble
    folder: Path
    given: list[Given]
    prepared: Iterator[tuple[Input, Prepared | str]]


@contextmanager
def _asked(
    model: Any, images: Any, affine: NDArray[np.float64] | None, device: Any
) -> Iterator[_Asked]:
    speak_in_notebook()
    place, _ = choose_device(None if device is None else str(device))
    ensemble = _ensemble(model, place)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = _image_shape(ensemble)
        given = take(images, folder, shape, affine)
        preparer = Preparer(ensemble, build_config(RunConfig, {"workers": 1}), folder)
        yield _Asked(ensemble, folder, given, _prepared(preparer, given))


def _prepared(preparer: Preparer, given: list[Given]) -> Iterator[tuple[Input, Prepared | str]]:
    """Yield in the order given; raw scans are brought to the standard first, all of them."""
    items = [one.item for one in given if one.images is None]
    made = iter(preparer.prepare(items, 1)) if items else iter(())
    for one in given:
        if one.images is None:
            yield next(made)
        else:
            yield one.item, preparer.take_images(one.item, one.images)


def _ensemble(model: Any, device: torch.device) -> Ensemble:
    if isinstance(model, str | Path):
        source = Path(model)
        models = [load_trained(path)[0] for path in checkpoints_in(source)]
        return ensemble_of(models, device, source)
    models = list(model) if isinstance(model, list | tuple) else [model]
    hint = "model = load_model('checkpoints/.../best_model.pth')"
    known = [wrapped_before(one) or one for one in models]
    for one in known:
        require_kind("predict(model, ...)", one, Classifier, "a model, or its path", hint)
        if one.origin is None:
            raise ConfigError(
                "this model was not saved: what its training images were is not known",
                hint="trainer.train(save_dir=...), then predict, or load_model(path)",
            )
    if not models:
        raise ConfigError("predict(model, ...): the list of models is empty", hint=hint)
    first = known[0].origin
    assert first is not None
    return ensemble_of(known, device, first.path)


def _image_shape(ensemble: Ensemble) -> list[int]:
    shape = ensemble.content.get("image_shape")
    if not shape:
        raise CheckpointError(
            f"{ensemble.members[0].path} does not say how large its images are",
            hint="train again with this version",
        )
    return list(shape)


def _wanted(target: str, classes: tuple[str, ...]) -> int | str:
    """Return what is explained: the number of a class, or `DEMENTED`."""
    if target == DEMENTED:
        return DEMENTED
    if target not in classes:
        raise ConfigError(
            f"target {target!r} is no class of the model",
            hint=f"one of: {', '.join(classes)}, {DEMENTED}",
        )
    return classes.index(target)


def _told(classes: tuple[str, ...], said: Said, number: int) -> Answer:
    """Return the most probable class for a figure, also of a scan that gets no answer."""
    probabilities = {name: float(p) for name, p in zip(classes, said.probabilities, strict=True)}
    return {"stage": classes[number], "probabilities": probabilities}


def _read(files: list[Path]) -> tuple[Image.Image, nib.Nifti1Image]:
    """Return the figure, and the map in the scan's space, from files that are going to be gone."""
    picture = next(path for path in files if path.suffix == ".png")
    with Image.open(picture) as image:
        image.load()
    there = next(path for path in files if path.name.endswith("_map_in_scan.nii.gz"))
    stored = nib.load(there)
    return image, nib.Nifti1Image(np.asarray(stored.dataobj, np.float32), stored.affine)
