"""One run of maps: the models, the method and the people, and the words on every figure."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import RunConfig
from ..data.dataset import MriDataset
from ..evaluation.fold_checkpoints import open_folds
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
_OUT_OF_FOLD = "Each person by the fold's model that never saw the person."
Section = dict[str, Any]


@dataclass(frozen=True, eq=False)
class MapRun:
    """What every step of stage ``gradcam`` reads; nothing in it changes.

    Attributes:
        config: Settings.
        models: Each model, on its device, and its test people: one, or one of each fold.
        attributions: The method asked for, of each model.
        data: The test people of all models, as one split.
        cases: The sessions to explain, by true class and name; their rows are numbers in `data`.
        grade: Verdict on the maps; None before they are tested, or where no test was asked for.
    """

    config: RunConfig
    models: Sequence[Trained]
    attributions: Sequence[Attribution]
    data: MriDataset
    cases: Sequence[Case]
    grade: Section | None = None

    @property
    def name(self) -> str:
        """Of the run."""
        return self.trained.run_name

    @property
    def trained(self) -> Trained:
        """The first model: its settings are those of all, and of several it alone is graded."""
        return self.models[0]

    @property
    def attribution(self) -> Attribution:
        """Of the first model: method and layers are the same for all."""
        return self.attributions[0]

    @property
    def out_of_fold(self) -> bool:
        """Whether each person is explained by the model of the fold that left the person out."""
        return self.config.explain.out_of_fold

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
        what = f"{self.attribution.method} of {_explained(self.attribution)}."
        whose = [_OUT_OF_FOLD] if self.out_of_fold else []
        return " ".join([what, *whose, _WARNING, _SIDES if side_known else _UNKNOWN])

    @property
    def stamps(self) -> tuple[str, ...]:
        """What stands in red above every figure."""
        failed = self.grade is not None and self.grade["verdict"] == "FAIL"
        return (*self.data.manifest.stamps, *((FAILED,) if failed else ()))


def open_maps(config: RunConfig) -> MapRun:
    """Open the checkpoint, or that of each fold, and the method, and find whom maps are made of.

    Raises:
        CheckpointError: There is no checkpoint: maps of untrained weights mean nothing.
        LeakageError: People were trained on.
        ConfigError: A method, layer or class that does not fit.
    """
    options = config.explain
    opened = open_folds(config) if options.out_of_fold else [open_trained(config)]
    device, reason = choose_device(config.device)
    logger.info("device: %s (%s)", device, reason)
    opened = [replace(one, model=place(one.model, device).eval()) for one in opened]
    attributions = [Attribution(one.model, options.method, options.layer) for one in opened]
    words = (options.method, _explained(attributions[0]), options.target)
    logger.info("maps: %s of %s; target: %s", *words)
    found = [find_cases(one, device, options.target) for one in opened]
    if len(opened) == 1:
        return MapRun(config, opened, attributions, opened[0].data, found[0])
    data = _together([one.data for one in opened])
    cases = [
        case
        for number, (one, own) in enumerate(zip(opened, found, strict=True))
        for case in _numbered(own, number, one.data, data)
    ]
    cases.sort(key=lambda case: (case.truth, case.name))
    return MapRun(config, opened, attributions, data, cases)


def _together(parts: Sequence[MriDataset]) -> MriDataset:
    """Return the test people of several divisions of one data set, as one test split."""
    manifest = parts[0].manifest
    tested = manifest.table["subject"].isin({name for part in parts for name in part.subjects})
    stamps = dict.fromkeys(stamp for part in parts for stamp in part.manifest.stamps)
    manifest = replace(manifest.where(tested).with_columns(split="test"), stamps=tuple(stamps))
    return parts[0].with_manifest(manifest, "test")


def _numbered(cases: Sequence[Case], model: int, own: MriDataset, every: MriDataset) -> list[Case]:
    """Return the cases of one model, their rows as numbers in the data of all."""
    places = pd.Index(every.rows["path"]).get_indexer(own.rows["path"])
    return [
        replace(case, model=model, rows=tuple(places[list(case.rows)].tolist())) for case in cases
    ]


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
