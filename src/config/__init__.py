"""Every setting of a run: what other rooms need of it, without looking into the files.

`run` puts the parts together; `data`, `training` and `evaluation` hold them; `options` makes flags
and settings files of them. Nothing here imports torch.
"""

from __future__ import annotations

from .data import (
    CLASSES,
    COHORTS,
    DATASETS,
    DataConfig,
    PhantomConfig,
    PreprocessConfig,
    ScanConfig,
    dataset_flags,
    kind_of_dataset,
    people_of_dataset,
)
from .evaluation import (
    MAP_METHODS,
    MAP_TARGETS,
    CrossdataConfig,
    CrossvalConfig,
    EvalConfig,
    ExplainConfig,
    PredictConfig,
    StressConfig,
)
from .run import RunConfig, config_from_args, name_run
from .training import (
    BACKBONES,
    DEFAULT_BACKBONE,
    DEFAULT_BATCH_SIZE,
    LOSSES,
    ModelConfig,
    TrainConfig,
)

__all__ = [
    "BACKBONES",
    "CLASSES",
    "COHORTS",
    "DATASETS",
    "DEFAULT_BACKBONE",
    "DEFAULT_BATCH_SIZE",
    "LOSSES",
    "MAP_METHODS",
    "MAP_TARGETS",
    "CrossdataConfig",
    "CrossvalConfig",
    "DataConfig",
    "EvalConfig",
    "ExplainConfig",
    "ModelConfig",
    "PhantomConfig",
    "PredictConfig",
    "PreprocessConfig",
    "RunConfig",
    "ScanConfig",
    "StressConfig",
    "TrainConfig",
    "config_from_args",
    "dataset_flags",
    "kind_of_dataset",
    "name_run",
    "people_of_dataset",
]
