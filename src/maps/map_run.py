"""One run of maps: the model, the method and the people, and the words on every figure."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..data.dataset import MriDataset
from ..evaluation.open_checkpoint import Trained, open_trained
from ..models.device import choose_device
from ..training.logits import place
from .attribution import Attribution
from .cases import Case, find_cases

logger = logging.getLogger(__name__)
FAILED = "FAIL: these maps did not pass their tests (grade.png)"
_WARNING = "A map shows what this model used, not where disease is."
_SIDES = "R and L are the person's right and left."
_UNKNOWN = "Left and right are unknown."
Section = dict[str, Any]


@dataclass(frozen=True, eq=False)
class MapRun:
    """What every step of stage ``gradcam`` reads; nothing in it changes.

    Attributes:
        config: Settings.
        trained: Model, on its device, and the test people.
        attribution: The method asked for.
        cases: The sessions to explain, by true class and name.
        grade: Verdict on the maps; None before they are tested, or where no test was asked for.
    """

    config: RunConfig
    trained: Trained
    attribution: Attribution
    cases: Sequence[Case]
    grade: Section | None = None

    @property
    def name(self) -> str:
        """Of the run."""
        return self.trained.run_name

    @property
    def data(self) -> MriDataset:
        """The test people."""
        return self.trained.data

    @property
    def folder(self) -> Path:
        """Where the run's maps are written."""
        return self.config.results_dir / "gradcam" / self.name

    @property
    def side_known(self) -> bool:
        """Whether left and right can be told in every scan that is shown."""
        return all(map(self.side_known_of, self.cases))

    def side_known_of(self, case: Case) -> bool:
        """Return whether left and right can be told in one scan; an old record has not asked."""
        known = case.record.side_known
        return bool(self.data.settings.get("side_known") if known is None else known)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.data.scheme.classes)

    @property
    def caption(self) -> str:
        """What stands below every figure."""
        return self.caption_of(self.side_known)

    def caption_of(self, side_known: bool) -> str:
        """Return what stands below a figure of people whose sides are known, or are not."""
        side = _SIDES if side_known else _UNKNOWN
        return f"{self.attribution.method} of {_explained(self.attribution)}. {_WARNING} {side}"

    @property
    def stamps(self) -> tuple[str, ...]:
        """What stands in red above every figure."""
        failed = self.grade is not None and self.grade["verdict"] == "FAIL"
        return (*self.data.manifest.stamps, *((FAILED,) if failed else ()))


def open_maps(config: RunConfig) -> MapRun:
    """Open the checkpoint and the method, and find whom maps are made of.

    Raises:
        CheckpointError: There is no checkpoint: maps of untrained weights mean nothing.
        ConfigError: A method, layer or class that does not fit.
    """
    trained, options = open_trained(config), config.explain
    device, reason = choose_device(config.device)
    logger.info("device: %s (%s)", device, reason)
    trained = replace(trained, model=place(trained.model, device).eval())
    attribution = Attribution(trained.model, options.method, options.layer)
    words = (options.method, _explained(attribution), options.target)
    logger.info("maps: %s of %s; target: %s", *words)
    return MapRun(config, trained, attribution, find_cases(trained, device, options.target))


def clear_maps(folder: Path) -> None:
    """Remove what an earlier run left, perhaps of other classes, method or model."""
    for pattern in ("*.png", "*_view.html", "maps.csv", "regions.csv", "explain.json"):
        for stale in folder.glob(pattern):
            stale.unlink()
    for name in ("maps", "groups"):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


def _explained(attribution: Attribution) -> str:
    """Return what is explained, in words."""
    return " x ".join(attribution.layers) or "the image itself"
