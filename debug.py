#!/usr/bin/env python3
"""Check one component at a time, on generated data in a temporary folder that is removed.

Examples:
  python debug.py --step all      # preprocessing, datasets, models, training, evaluation, Grad-CAM
  python debug.py --step 4        # training alone; makes the data it needs
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import debug_steps
from src.config import RunConfig
from src.options import build_config
from src.runtime import configure_logging

if TYPE_CHECKING:
    from src.dataset import MriDataset
    from src.trainer import Trainer

#: Settings of every run here; `debug_steps.SHAPES` is what its images are.
SMALL = {
    **{"phantom_subjects": 16, "phantom_voxel": 4.0, "num_slices": 3, "image_size": 64},
    **{"volume_size": 32, "classes": 2, "bootstrap": 100, "samples": 2, "epochs": 2},
    **{"workers": 1, "device": "cpu"},
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
        from src.api import open_run_data

        self.processed(dim)
        return open_run_data(self.config(dim))

    def trainer(self, **settings: Any) -> Trainer:
        """Return a Trainer of slices that starts from the same weights every time."""
        import torch

        from src.api import create_data_loaders, create_model
        from src.config import TrainConfig
        from src.trainer import Trainer

        (loader,) = create_data_loaders(
            *(self.processed("2d"), "phantom", "2d", 8), splits=("train",), num_classes=2
        )
        torch.manual_seed(0)
        model = create_model("2d", "efficientnet_lite0", 2)  # with its bundled weights
        config = TrainConfig(epochs=3, batch_size=8, lr=1e-3, patience=0, **settings)
        return Trainer(model, loader, None, "cpu", config=config)

    def _process(self, dim: str) -> Path:
        from src import preprocess

        config = self.config(dim)
        list(preprocess.run(config))
        return config.data.processed_dir

    def _train(self, dim: str) -> Path:
        from src import train

        self.processed(dim)
        return next(path for path in train.run(self.config(dim)) if path.suffix == ".pth")


Step = Callable[[Bench, Checks], None]
STEPS: dict[str, tuple[str, Step]] = {
    "1": ("preprocessing", debug_steps.check_preprocessing),
    "2": ("datasets", debug_steps.check_datasets),
    "3": ("models", debug_steps.check_models),
    "4": ("training", debug_steps.check_training),
    "5": ("evaluation", debug_steps.check_evaluation),
    "6": ("Grad-CAM", debug_steps.check_gradcam),
}


def run_step(number: str, bench: Bench, *, tracebacks: bool = False) -> bool:
    """Run one step, print its checks and a last line; return whether all of them passed.

    Args:
        number: A key of `STEPS`.
        bench: Where it makes or finds its data.
        tracebacks: Also print where an error came from.
    """
    name, check = STEPS[number]
    checks, start = Checks(), time.perf_counter()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars; the log stays
            check(bench, checks)
    except Exception as error:  # noqa: BLE001 - whatever stops a step, the next ones still run
        found = f"{type(error).__name__}: {error}"
        checks.that(False, "the step runs to its end", expected="no error", found=found)
        if tracebacks:
            traceback.print_exc()
    passed = checks.done > 0 and not checks.failed
    result = "passed" if passed else f"FAILED, {checks.failed} of"
    comma = "," * passed
    seconds = time.perf_counter() - start
    print(
        f"step {number} {name}: {result}{comma} {checks.done} checks, {seconds:.1f} s", flush=True
    )
    return passed


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``--step`` and ``--debug``."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="debug.py", description=__doc__, formatter_class=raw)
    steps = ", ".join(f"{number} {name}" for number, (name, _) in STEPS.items())
    parser.add_argument(
        "--step", choices=[*STEPS, "all"], default="all", help=f"{steps} (default: %(default)s)"
    )
    parser.add_argument("--debug", action="store_true", help="print tracebacks")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps asked for. Exit status: 0 all passed, 1 one failed, 130 stopped by hand."""
    args = build_parser().parse_args(argv)
    configure_logging(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="alzheimers-mri-") as folder:
            bench = Bench(Path(folder))
            steps = STEPS if args.step == "all" else (args.step,)
            passed = [run_step(number, bench, tracebacks=args.debug) for number in steps]
    except KeyboardInterrupt:
        print("stopped by hand", file=sys.stderr)
        return 130
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
