"""Our side of `benchmarks.peers`, in a process of its own, measured as its peers are.

    python -m benchmarks.peers_ours ours TASK 0 PLAN

Arguments and answers are those of `benchmarks.peers_side`. Nothing here is special: the stage
``preprocess``, `Passes.learn`, `predict` and `Attribution`, on the processed data set. Only the
network may be one that this project does not have: MONAI's DenseNet121, written down in torch.

Arrays: volumes ``(B, 1, X, Y, Z)``; logits ``(B, K)``; maps ``(B, X, Y, Z)``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src.config import RunConfig, TrainConfig
from src.config.options import build_config
from src.data.augment import to_unit
from src.data.dataset import MriDataset, make_loader
from src.data.image_cache import ImageCache
from src.labels import STAGES, class_scheme
from src.manifest import Manifest
from src.maps.attribution import Attribution
from src.models.backbones_3d import MEAN, STD
from src.models.classifier import Classifier, GlobalAverage
from src.models.create import create_model
from src.models.device import make_accelerator
from src.models.registry import ModelEntry
from src.runtime import keep_memory
from src.training.epoch import Passes
from src.training.logits import inference_batch, place, predict
from src.training.optimisation import make_optimizer
from src.training.state import TrainState

from .peers_side import Plan, Task, serve

DENSENET, SIMPLE = "densenet121", "simple"
#: The last map before pooling, on our side and on MONAI's.
LAYERS = {
    DENSENET: ("features.relu", "class_layers.relu"),
    SIMPLE: ("features.unit5", "features.unit5"),
}
_BLOCKS, _GROWTH, _FIRST, _BOTTLENECK = (6, 12, 24, 16), 32, 64, 4
_EPOCHS = 1000  # of the schedule: over a few epochs the learning rate stays what it is


class _DenseLayer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = _BOTTLENECK * _GROWTH
        self.layers = nn.Sequential()
        self.layers.add_module("norm1", nn.BatchNorm3d(channels))
        self.layers.add_module("relu1", nn.ReLU(inplace=True))
        self.layers.add_module("conv1", nn.Conv3d(channels, wide, 1, bias=False))
        self.layers.add_module("norm2", nn.BatchNorm3d(wide))
        self.layers.add_module("relu2", nn.ReLU(inplace=True))
        self.layers.add_module("conv2", nn.Conv3d(wide, _GROWTH, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], dim=1)


def densenet() -> tuple[nn.Module, int]:
    """Return the features of MONAI's DenseNet121 and their channels, with its names of weights.

    Source: Huang et al. (2017), doi:10.1109/CVPR.2017.243.
    """
    features = nn.Sequential()
    features.add_module("conv0", nn.Conv3d(1, _FIRST, 7, stride=2, padding=3, bias=False))
    features.add_module("norm0", nn.BatchNorm3d(_FIRST))
    features.add_module("relu0", nn.ReLU(inplace=True))
    features.add_module("pool0", nn.MaxPool3d(3, stride=2, padding=1))
    channels = _FIRST
    for number, count in enumerate(_BLOCKS, start=1):
        block = nn.Sequential()
        for layer in range(1, count + 1):
            block.add_module(f"denselayer{layer}", _DenseLayer(channels))
            channels += _GROWTH
        features.add_module(f"denseblock{number}", block)
        if number < len(_BLOCKS):
            features.add_module(f"transition{number}", _transition(channels))
            channels //= 2
    features.add_module("norm5", nn.BatchNorm3d(channels))
    features.add_module("relu", nn.ReLU(inplace=True))
    for module in features.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight)
    return features, channels


def _transition(channels: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("norm", nn.BatchNorm3d(channels))
    layers.add_module("relu", nn.ReLU(inplace=True))
    layers.add_module("conv", nn.Conv3d(channels, channels // 2, 1, bias=False))
    layers.add_module("pool", nn.AvgPool3d(2, stride=2))
    return layers


def make_network(name: str, classes: int = len(STAGES)) -> Classifier:
    """Return a network of ours, or MONAI's DenseNet121 as one of ours; no dropout, as there."""
    if name != DENSENET:
        return create_model("3d", name, classes, dropout=0.0)
    entry = ModelEntry(DENSENET, "3d", densenet, 128, MEAN, STD, LAYERS[DENSENET][0])
    model = Classifier(entry, classes, dropout=0.0)
    width = model.head.get_parameter("weight").shape[1] // 2
    model.pool, model.head = GlobalAverage(), nn.Linear(width, classes)  # the mean alone
    return model


def weights_for_peers(model: Classifier) -> dict[str, Tensor]:
    """Return a network's weights by the names that the peers' network has."""
    head = "class_layers.out." if model.backbone == DENSENET else "head."
    return {
        name.replace("head.", head): value
        for name, value in model.state_dict().items()
        if not name.startswith("normalise.")
    }


def settings(root: Path, edge: int) -> RunConfig:
    """Return the settings of preprocessing: scans under ``root/kaggle_nifti`` into volumes."""
    places = {"dataset": "kaggle_nifti", "data_root": root, "workers": 1, "dim": "3d"}
    return build_config(RunConfig, {**places, "volume_size": edge})


def volumes(processed: Path, split: str) -> MriDataset:
    """Return all processed volumes as one split."""
    manifest = Manifest.read(processed)
    return MriDataset(manifest, "train", class_scheme(len(STAGES)), {}).everyone(split)


def preprocess(plan: Plan) -> Task:
    """Raw scans into a processed folder with its image cache, on disk."""
    from src.stages import preprocess as stage  # here: other tasks need not load what it loads

    keep_memory()  # as the command line does
    config = settings(Path(plan["root"]), plan["edge"])
    out = config.data.processed_dir

    def call() -> None:
        shutil.rmtree(out, ignore_errors=True)
        list(stage.run(config))
        ImageCache(Manifest.read(out)).build()

    return call, lambda _: {}


def train(plan: Plan) -> Task:
    """An epoch."""
    device, model = torch.device(plan["device"]), _model(plan)
    data = volumes(Path(plan["processed"]), "train")
    config = TrainConfig(lr=plan["lr"], weight_decay=plan["decay"], warmup_epochs=0, augment="none")
    passes = Passes(
        *(make_accelerator(device, "no"), config, "ce", data, data),
        batch_size=plan["batch"],
        workers=0,
    )
    steps = make_optimizer(model, "scratch", config, _EPOCHS, len(passes))
    state = TrainState(model, *steps)
    return lambda: passes.learn(model, state, _EPOCHS), lambda loss: {"loss": loss}


def score(plan: Plan) -> Task:
    """Logits of every scan."""
    device, model = torch.device(plan["device"]), _model(plan)
    data = volumes(Path(plan["processed"]), "test")
    return lambda: predict(model, data, device), lambda found: {"logits": found.logits}


def maps(plan: Plan) -> Task:
    """Grad-CAM of one class of every scan."""
    device, model = torch.device(plan["device"]), _model(plan)
    data = volumes(Path(plan["processed"]), "test")
    loader = make_loader(data, inference_batch("3d", device))
    cam = Attribution(model, "gradcam", LAYERS[plan["network"]][0])

    def call() -> list[Any]:
        return [cam.maps(to_unit(images), plan["target"]) for images, _ in loader]

    return call, lambda found: {"maps": np.concatenate(found)}


def _model(plan: Plan) -> Classifier:
    model = make_network(plan["network"], plan["classes"])
    model.load_state_dict(torch.load(plan["our_weights"], weights_only=True))
    return place(model, torch.device(plan["device"]))


TASKS = {"preprocess": preprocess, "train": train, "score": score, "maps": maps}


def main(side: str, task: str, variant: str, plan_file: str) -> None:
    """Get ready, and serve."""
    path = Path(plan_file)
    plan = json.loads(path.read_text(encoding="utf-8"))
    serve(TASKS[task](plan), path.parent / f"{side}_{task}_{variant}", plan["device"])


if __name__ == "__main__":
    main(*sys.argv[1:])
