"""Stage Alzheimer's disease from brain MRI. Public names are imported on first use (PEP 562)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cohorts.registry import register_cohort
    from .config import TrainConfig
    from .data.loaders import create_data_loaders
    from .evaluation.evaluator import Evaluator
    from .evaluation.results import Results
    from .manifest import Manifest
    from .maps.gradcam import GradCAM, get_target_layer
    from .models.create import create_model
    from .models.wrap import wrap
    from .notebook.answers import Explanation, explain, load_model, predict
    from .notebook.estimator import StageClassifier, arrays
    from .notebook.reports import AuditReport, Comparison, CrossStudies, Maps, Stress
    from .notebook.stages import (
        audit,
        compare,
        crossdata,
        crossval,
        evaluate,
        gradcam,
        preprocess,
        stress,
    )
    from .stages.report import build_report
    from .training.history import History
    from .training.trainer import Trainer

__version__ = "0.1.0"
__all__ = [
    "AuditReport",
    "Comparison",
    "CrossStudies",
    "Evaluator",
    "Explanation",
    "GradCAM",
    "History",
    "Manifest",
    "Maps",
    "Results",
    "StageClassifier",
    "Stress",
    "TrainConfig",
    "Trainer",
    "arrays",
    "audit",
    "build_report",
    "compare",
    "create_data_loaders",
    "create_model",
    "crossdata",
    "crossval",
    "evaluate",
    "explain",
    "get_target_layer",
    "gradcam",
    "load_model",
    "predict",
    "preprocess",
    "register_cohort",
    "stress",
    "wrap",
]
_MODULE_OF = {
    "create_model": "models.create",
    "wrap": "models.wrap",
    **dict.fromkeys(("StageClassifier", "arrays"), "notebook.estimator"),
    **dict.fromkeys(("load_model", "predict", "explain"), "notebook.answers"),
    **dict.fromkeys(("preprocess", "evaluate", "crossval", "gradcam", "stress"), "notebook.stages"),
    **dict.fromkeys(("audit", "compare", "crossdata"), "notebook.stages"),
    **dict.fromkeys(
        ("AuditReport", "Comparison", "CrossStudies", "Maps", "Stress"), "notebook.reports"
    ),
    "create_data_loaders": "data.loaders",
    "Trainer": "training.trainer",
    "TrainConfig": "config",
    "History": "training.history",
    "Results": "evaluation.results",
    "Explanation": "notebook.answers",
    "Evaluator": "evaluation.evaluator",
    "GradCAM": "maps.gradcam",
    "get_target_layer": "maps.gradcam",
    "Manifest": "manifest",
    "register_cohort": "cohorts.registry",
    "build_report": "stages.report",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import src`` is instant."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
