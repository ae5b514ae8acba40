"""What all steps of stage ``gradcam`` share: model, people, places, and words for figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..data.dataset import MriDataset
from ..evaluation.open_checkpoint import Trained
from .attribution import Attribution

_WARNING = "A map shows what this model used, not where disease is."
_SIDES = "R and L are the person's right and left."
_UNKNOWN = "Left and right are unknown."
FAILED = "FAIL: these maps did not pass their tests (grade.png)"
Section = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Context:
    """One run of the stage.

    Attributes:
        config: Settings.
        trained: Model, on its device, and the test people.
        attribution: The method asked for.
    """

    config: RunConfig
    trained: Trained
    attribution: Attribution

    @property
    def data(self) -> MriDataset:
        """The test people."""
        return self.trained.data

    @property
    def folder(self) -> Path:
        """Where the run's maps are written."""
        return self.config.results_dir / "gradcam" / self.trained.run_name

    @property
    def side_known(self) -> bool:
        """Whether left and right can be told."""
        return bool(self.data.settings.get("side_known"))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.data.scheme.classes)

    @property
    def layers(self) -> str:
        """What is explained, in words."""
        return " x ".join(self.attribution.layers) or "the image itself"

    def caption(self) -> str:
        """Return what stands below every figure."""
        side = _SIDES if self.side_known else _UNKNOWN
        return f"{self.attribution.method} of {self.layers}. {_WARNING} {side}"

    def stamps(self, grade: dict[str, Any] | None) -> tuple[str, ...]:
        """Return what stands in red above every figure."""
        failed = grade is not None and grade["verdict"] == "FAIL"
        return (*self.data.manifest.stamps, *((FAILED,) if failed else ()))
