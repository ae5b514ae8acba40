"""Data of the checks, made when a step first asks for it, and the lines that a step prints.

Whatever imports torch is imported where it is used, so that ``debug.py --help`` never waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config import RunConfig
from src.config.options import build_config

if TYPE_CHECKING:
    from src.data.dataset import MriDataset
    from src.training.trainer import Trainer

#: Settings of every run here; `checks.steps.SHAPES` is what its images are.
SMALL = {
    **{"phantom_subjects": 16, "phantom_voxel": 4.0, "num_slices": 2, "image_size": 64},
    **{"volume_size": 32, "classes": 2, "bootstrap": 100, "samples": 1, "epochs": 2},
    **{"graded": 1, "workers": 1, "device": "cpu"},
}


class Checks:
    """The checks of one step: each prints a line, and those that fail are counted."""

    def __init__(self) -> None:
        self.done = self.failed = 0

    def that(self, good: object, what: str, *, expected: object, found: object) -> None:
        """Print `what` as ok, or with what was expected and what was found."""
        self.done += 1
        self.failed += not good
        print(
            f"ok: {what}" if good else f"FAILED: {what}\n  expected: {expected}\n  found: {found}"
        )

    def equal(self, found: object, expected: object, what: str) -> None:
        """Check that two plain values are equal."""
        self.that(found == expected, what, expected=expected, found=found)

    def raises(self, kind: type[Exception], action: Callable[[], object], what: str) -> None:
        """Check that `action` is refused with an error of `kind`."""
        found: object = "no error"
        try:
            action()
        except kind as error:
            found = error
        self.that(isinstance(found, kind), what, expected=kind.__name__, found=found)


class Bench:
    """Generated data in one folder, each part made when a step first asks for it.

    Attributes:
        processed: ``"2d"`` or ``"3d"`` -> folder of the processed phantom.
        checkpoint: ``"2d"`` or ``"3d"`` -> checkpoint of two epochs of training on it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.processed, self.checkpoint = cache(self._process), cache(self._train)

    def config(self, dim: str, **settings: Any) -> RunConfig:
        """Return the settings of a small run in the folder."""
        folders = {
            name: self.root / name for name in ("data_root", "checkpoint_dir", "results_dir")
        }
        return build_config(
            RunConfig, {"dataset": f"phantom_{dim}", **SMALL, **folders, **settings}
        )

    def dataset(self, dim: str) -> MriDataset:
        """Return the training split of the processed phantom."""
        from src.data.run_data import open_run_data

        self.processed(dim)
        return open_run_data(self.config(dim))

    def trainer(self, **settings: Any) -> Trainer:
        """Return a Trainer of slices that starts from the same weights every time."""
        import torch

        from src.config import TrainConfig
        from src.data.loaders import create_data_loaders
        from src.models.create import create_model
        from src.training.trainer import Trainer

        (loader,) = create_data_loaders(
            *(self.processed("2d"), "phantom", "2d", 8), splits=("train",), num_classes=2
        )
        torch.manual_seed(0)
        model = create_model("2d", "efficientnet_lite0", 2)  # with its bundled weights
        config = TrainConfig(epochs=3, batch_size=8, lr=2e-4, patience=0, **settings)
        return Trainer(model, loader, None, "cpu", config=config)

    def _process(self, dim: str) -> Path:
        from src.stages import preprocess

        config = self.config(dim)
        list(preprocess.run(config))
        return config.data.processed_dir

    def _train(self, dim: str) -> Path:
        from src.stages import train

        self.processed(dim)
        return next(path for path in train.run(self.config(dim)) if path.suffix == ".pth")
