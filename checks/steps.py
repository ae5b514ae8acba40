"""The six steps of ``debug.py``: what each checks, and what it expects.

Each step imports what it checks, so that ``debug.py --help`` never waits for torch. Images are
``(1, H, W)`` slices or ``(1, X, Y, Z)`` volumes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from checks.bench import Bench, Checks
    from src.config import RunConfig
    from src.data.dataset import MriDataset
    from src.manifest import Manifest
    from src.models.classifier import Classifier
    from src.training.trainer import Trainer

SHAPES = {"2d": (64, 64), "3d": (32, 32, 32)}  # what SMALL makes
PARAMETERS = {  # with four classes
    **{"resnet18": 11_172_292, "resnet50": 23_509_956, "densenet121": 6_951_684},
    **{"efficientnet_b0": 4_012_096, "efficientnet_lite0": 3_375_556},
    **{"simple": 1_984_220, "resnet": 9_176_164, "resnet_small": 3_469_668},
    **{"sfcn": 2_950_052, "vit_b_16": 85_408_516, "vit_conv": 1_407_916},
    **{"resnet18_3d": 33_164_100, "resnet50_3d": 46_171_460},
}


def check_preprocessing(bench: Bench, checks: Checks) -> None:
    """Step 1: orientation, files, people, values, and what a second run does."""
    from src.manifest import Manifest
    from src.preprocessing.slice_files import file_of

    _check_orientation(bench, checks)
    for dim in SHAPES:
        folder = bench.processed(dim)
        table = Manifest.read(folder).table
        files = sorted(path for path in folder.rglob("PHAN_*") if path.suffix != ".json")
        listed = sorted({file_of(folder / path) for path in table["path"]})
        checks.equal(files, listed, f"{dim}: {len(listed)} files, the manifest lists each")
        sides = table.groupby("subject")["split"].nunique()
        people = f"{len(sides)} people, {table['split'].nunique()} sides"
        checks.equal(list(sides.index[sides > 1]), [], f"{dim}: {people}, nobody on two")
        _check_values(Manifest.read(folder), dim, checks)
    _check_second_run(bench, checks)


def _check_orientation(bench: Bench, checks: Checks) -> None:
    import nibabel as nib
    import numpy as np

    from src.preprocessing.io import read_volume
    from src.preprocessing.slices import cut_slice

    data = np.random.default_rng(0).integers(1, 99, (9, 11, 13)).astype(np.int16)
    head, path = nib.Nifti1Image(data, np.diag([1.0, 1.5, 2.0, 1.0])), bench.root / "head.nii"
    orders, equal = ["RAS", "LAS", "PSR", "IPL"], []
    for order in orders:
        turn = nib.orientations.axcodes2ornt(tuple(order))
        turn = nib.orientations.ornt_transform(nib.io_orientation(head.affine), turn)
        nib.save(head.as_reoriented(turn), path)
        volume = read_volume(path)
        if np.array_equal(volume.data, data) and volume.voxel_size == (1.0, 1.5, 2.0):
            equal.append(order)
    checks.equal(equal, orders, "a head stored along other axes is read as the same RAS+ volume")
    corner = cut_slice(data.astype(np.float32), "axial", 5)[0, -1]
    checks.equal(corner, data[-1, -1, 5], "axial slices: front on top, +X on the right")


def _check_values(manifest: Manifest, dim: str, checks: Checks) -> None:
    from src.data.image_cache import ImageCache

    images = ImageCache(manifest).read(range(len(manifest)))
    checks.equal(images.shape[1:], SHAPES[dim], f"{dim}: every image is {SHAPES[dim]}")
    full = 255 if dim == "2d" else 1
    low, high = float(images.min() / full), float(images.max() / full)
    good, found = low == 0 and 0.9 < high <= 1, f"{low} to {high}"
    checks.that(good, f"{dim}: grey values fill [0, 1]", expected="0 to about 1", found=found)


def _check_second_run(bench: Bench, checks: Checks) -> None:
    from src.stages import preprocess

    config, folder = bench.config("2d"), bench.processed("2d")

    def times() -> dict[Path, int]:
        files = [*folder.rglob("PHAN_*"), *config.data.raw_dir.rglob("*.img")]
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    list(preprocess.run(config))
    written = [path.name for path, when in times().items() if before.get(path) != when]
    checks.equal(written, [], f"a second run writes none of {len(before)} files again")
    gone = min(path for path in before if path.suffix in (".png", ".zip"))
    gone.unlink()
    list(preprocess.run(config))
    scans = {path.name[:13] for path, when in times().items() if before.get(path) != when}
    checks.equal(scans, {gone.name[:13]}, "only a scan with a missing file is made again")


def check_datasets(bench: Bench, checks: Checks) -> None:
    """Step 2: items, labels, people, order, augmentation, and that a leak is refused."""
    import torch

    for dim, kind in (("2d", torch.uint8), ("3d", torch.float16)):
        data = bench.dataset(dim)
        image, label = data[0]
        item = (tuple(image.shape), image.dtype, type(label))
        checks.equal(item, ((1, *SHAPES[dim]), kind, int), f"{dim}: items are {kind} with a class")
        classes = [int(stage != "NonDemented") for stage in data.rows["label"]]
        checks.equal(data.labels.tolist(), classes, f"{dim}: two classes follow the stages")
        people = [set(data.with_split(split).subjects) for split in ("train", "val", "test")]
        counts = [len(some) for some in people]
        what = f"{dim}: {counts} people in train, val and test, nobody in two"
        checks.equal(len(set().union(*people)), sum(counts), what)
        _check_augmentation(data, dim, checks)
    _check_order(checks)
    _check_leak(bench.dataset("2d"), checks)


def _check_order(checks: Checks) -> None:
    from src.data.dataset import EvenBatches

    batches = EvenBatches(33, 32, seed=1)
    first = list(batches)
    counts = sorted(len(batch) for batch in first)
    checks.equal(counts, [16, 17], "33 images in batches of up to 32 are 16 and 17")
    everyone = sorted(number for batch in first for number in batch)
    checks.equal(everyone, list(range(33)), "each image is shown once")
    batches.epoch = 1
    again = [list(batches) == first, list(EvenBatches(33, 32, seed=1)) == first]
    checks.equal(again, [False, True], "another epoch has another order, the same seed the same")


def _check_augmentation(data: MriDataset, dim: str, checks: Checks) -> None:
    import torch

    from src.data.augment import augment

    batch = torch.stack([data[number][0] for number in range(4)])
    once, again = (augment(batch, torch.Generator().manual_seed(5)) for _ in range(2))
    found = f"{tuple(once.shape)}, {float(once.min())} to {float(once.max())}"
    good = once.shape == batch.shape and once.min() >= 0 and once.max() <= 1
    checks.that(good, f"{dim}: augmented images stay in [0, 1]", expected="[0, 1]", found=found)
    checks.equal(once.equal(again), True, f"{dim}: and repeat with their seed")


def _check_leak(data: MriDataset, checks: Checks) -> None:
    from src.errors import LeakageError

    table = data.manifest.table.copy()
    row = table.index[table["split"] == "train"][0]
    table.loc[row, "split"] = "test"  # one slice of a training person
    leaky = dataclasses.replace(data.manifest, table=table)
    checks.raises(LeakageError, leaky.check_disjoint, "one person on two sides is refused")


def check_models(bench: Bench, checks: Checks) -> None:
    """Step 3: every registered backbone; no weights are downloaded."""
    from src.config.training import IN_MNI
    from src.models.create import create_model
    from src.models.registry import MODEL_REGISTRY

    names = [name for name in MODEL_REGISTRY if name not in IN_MNI]  # those need a data set
    checks.equal(sorted(names), sorted(PARAMETERS), f"{len(PARAMETERS)} backbones")
    for name in names:
        entry = MODEL_REGISTRY.get(name)
        _check_model(create_model(entry.dim, name, 4, pretrained=False), checks)
    _check_bundled_weights(checks)


def _check_model(model: Classifier, checks: Checks) -> None:
    import torch

    torch.manual_seed(0)  # some backbones skip random blocks while they train
    logits = model(torch.rand(4, 1, *SHAPES[model.dim]))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(4))
    torch.autograd.backward(loss)
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    found = (tuple(logits.shape), bool(logits.isfinite().all()), idle)
    what = f"{model.backbone}: finite logits of four {model.dim} images, every tensor learns"
    checks.equal(found, ((4, 4), True, []), what)
    count = sum(parameter.numel() for parameter in model.parameters())
    checks.equal(count, PARAMETERS.get(model.backbone), f"{model.backbone}: {count:,} parameters")


def _check_bundled_weights(checks: Checks) -> None:
    import torch

    from src.models.create import create_model

    rows, columns = torch.arange(64.0)[:, None], torch.arange(64.0)
    picture = (((rows * columns) % 64) / 63)[None, None]
    with torch.no_grad():
        found = create_model("2d", "efficientnet_lite0", 4).eval().embed(picture).sum().item()
    expected = 1178.0037  # of the reference implementation, on this picture
    what = "efficientnet_lite0: the bundled ImageNet weights give the published features"
    checks.that(abs(found - expected) < 0.2, what, expected=expected, found=found)


def check_training(bench: Bench, checks: Checks) -> None:
    """Step 4: the loss falls, the best epoch comes back, a stopped run resumes to the same bits."""
    from src.models.checkpoint import load_checkpoint

    trainer, folder = bench.trainer(), bench.root / "whole"
    history = trainer.train(save_dir=folder)
    losses = [round(loss, 3) for loss in history["train_loss"]]
    falls = losses[-1] < losses[0]
    checks.that(falls, f"the loss falls: {losses}", expected="last < first", found=losses)
    scores = [
        (score, -loss)
        for score, loss in zip(history["val_balanced_accuracy"], history["val_loss"], strict=True)
    ]
    best, saved = scores.index(max(scores)) + 1, load_checkpoint(folder / "best_model.pth")
    found = (history["best_epoch"], saved["epoch"])
    checks.equal(found, (best, best), f"epoch {best}, whose score is best, is saved")
    checks.equal(_differing(trainer.model, saved["model"]), [], "the model ends with its weights")
    loss = _validation_loss(trainer)
    good = abs(loss + scores[best - 1][1]) < 1e-5
    what = f"validation people have its loss again: {loss:.3f}"
    checks.that(good, what, expected=-scores[best - 1][1], found=loss)
    _check_resume(bench, history, checks)


def _validation_loss(trainer: Trainer) -> float:
    from src.predictions import per_person
    from src.training.logits import predict

    people = per_person(predict(trainer.model, trainer.val_data, trainer.device))
    return people.log_loss


def _check_resume(bench: Bench, expected: dict[str, Any], checks: Checks) -> None:
    from src.models.checkpoint import load_tensors

    stopped, folder = bench.trainer(), bench.root / "parts"
    end_epoch = stopped._end_epoch

    def stop_after_two(state: Any, *arguments: Any) -> None:
        end_epoch(state, *arguments)
        if state.epoch == 2:
            raise KeyboardInterrupt

    with (
        contextlib.suppress(KeyboardInterrupt),
        patch.object(stopped, "_end_epoch", stop_after_two),
    ):
        stopped.train(save_dir=folder)
    history = bench.trainer(resume=True).train(save_dir=folder)
    checks.equal(history, expected, "stopped after epoch 2 and resumed: the same history")
    whole, parts = (
        load_tensors(bench.root / run / "last.pth")["net"] for run in ("whole", "parts")
    )
    other = [name for name, value in whole.items() if not value.equal(parts[name])]
    checks.equal(other, [], "and the same weights after the last epoch, to the bit")


def _differing(model: Classifier, weights: dict[str, Any]) -> list[str]:
    return [name for name, value in model.state_dict().items() if not value.equal(weights[name])]


def check_evaluation(bench: Bench, checks: Checks) -> None:
    """Step 5: the files of the stage, scores recomputed by hand, and that a leak is refused."""
    import numpy as np
    import pandas as pd

    from src.stages import evaluate

    path = bench.checkpoint("2d")
    files = {file.name: file for file in evaluate.run(bench.config("2d", checkpoint=path))}
    expected = {"metrics.json", "people.csv", "predictions.csv", "confusion_matrix.png"}
    missing = sorted(expected - set(files))
    checks.equal(missing, [], "tables and figures are written")
    metrics = json.loads(files["metrics.json"].read_text(encoding="utf-8"))
    said = (metrics["run"], metrics["dataset"], metrics["checkpoint"], metrics["split"])
    expected_run = (path.parent.name, "phantom_2d", str(path), "test")
    checks.equal(said, expected_run, "metrics.json says which run, data, checkpoint and split")
    people, images = pd.read_csv(files["people.csv"]), pd.read_csv(files["predictions.csv"])
    right = people["class"] == people["predicted"]
    recalls = right.groupby(people["class"]).mean()
    for name, by_hand in (("accuracy", right.mean()), ("balanced_accuracy", recalls.mean())):
        found = metrics["person"]["metrics"][name]
        good = abs(found["value"] - by_hand) < 1e-9 and found["low"] <= by_hand <= found["high"]
        what = f"{name} from people.csv by hand: {by_hand:.3f}, inside its interval"
        checks.that(good, what, expected=by_hand, found=found)
    columns = [name for name in people if name.startswith("p_")]
    # Calibration scales logits, so up to a shift per row the mean holds for log-probabilities.
    logs = {name: np.log(table[columns]) for name, table in (("p", people), ("i", images))}
    centred = {name: table.sub(table.mean(axis=1), axis=0) for name, table in logs.items()}
    means = centred["i"].groupby(images["subject"]).mean().loc[people["subject"]].to_numpy()
    gap = float(abs(means - centred["p"].to_numpy()).max())
    checks.that(gap < 1e-3, "a person's logit is the mean of the images'", expected=0, found=gap)
    _check_trained_on(bench, path, set(people["subject"]), checks)


def _check_trained_on(bench: Bench, path: Path, test: set[str], checks: Checks) -> None:
    from src.cohorts.people_names import hash_subjects
    from src.errors import LeakageError
    from src.models.checkpoint import load_checkpoint, save_checkpoint
    from src.stages import evaluate

    content = load_checkpoint(path)
    content["subjects"] += hash_subjects(test)
    config = bench.config("2d", checkpoint=save_checkpoint(bench.root / "leaky.pth", content))
    what = "a checkpoint that was trained on the test people is refused"
    checks.raises(LeakageError, lambda: list(evaluate.run(config)), what)


def check_gradcam(bench: Bench, checks: Checks) -> None:
    """Step 6: a map by hand, maps in [0, 1], the model as it was, and the stage's files."""
    import pandas as pd

    from src.stages import gradcam as explain

    _check_map_by_hand(checks)
    for dim in SHAPES:
        config = bench.config(dim, checkpoint=bench.checkpoint(dim))
        _check_map(config, dim, checks)
        files = {path.name: path for path in explain.run(config)}
        expected = {"Demented.png", "NonDemented.png", "maps.csv", "grade.png", "explain.json"}
        checks.equal(expected - set(files), set(), f"{dim}: figures, a table, a grade")
        people = set(pd.read_csv(files["maps.csv"])["subject"])
        others = people - set(bench.dataset(dim).with_split("test").subjects)
        checks.equal(others, set(), f"{dim}: maps of {len(people)} people, all of them test people")


def _check_map_by_hand(checks: Checks) -> None:
    """Explain logits that are the means of x and of -x: the maps are their positive parts."""
    import torch
    from torch import nn

    from src.maps.gradcam import GradCAM

    layer = nn.Conv2d(1, 2, 1, bias=False)
    layer.weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.tensor([[3.0, -4.0, 1.5], [0.0, 6.0, -2.0]])[None, None]
    found = [GradCAM(model, layer).generate_cam(x, target).tolist() for target in (0, 1)]
    by_hand = [[[0.5, 0, 0.25], [0, 1, 0]], [[0, 1, 0], [0, 0, 0.5]]]
    checks.equal(found, by_hand, "two maps of one layer equal those by hand")


def _check_map(config: RunConfig, dim: str, checks: Checks) -> None:
    from src.evaluation.open_checkpoint import open_trained
    from src.maps.gradcam import GradCAM, get_target_layer

    trained = open_trained(config)
    model = trained.model.train()
    weights = copy.deepcopy(model.state_dict())
    cam = GradCAM(model, get_target_layer(model)).generate_cam(trained.data[0][0])
    low, high = float(cam.min()), float(cam.max())
    good, found = cam.shape == SHAPES[dim] and low >= 0 and high <= 1, f"{cam.shape}, {low}, {high}"
    checks.that(good, f"{dim}: a map of the image's size in [0, 1]", expected="[0, 1]", found=found)
    modules = model.named_modules()
    left = [name for name, module in modules if module._forward_hooks or not module.training]
    left += [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    checks.equal(left + _differing(model, weights), [], f"{dim}: the model is left as it was")
