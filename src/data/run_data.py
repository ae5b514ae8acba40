"""Open the processed data set that a run names, and say how its images were made."""

from __future__ import annotations

from typing import Any

from ..config import COHORTS, RunConfig
from ..config.options import config_to_dict
from ..errors import ConfigError
from ..labels import class_scheme
from .dataset import MriDataset
from .loaders import open_dataset

#: Parts of the settings that only preprocessing acts on.
_MADE_WITH = ("preprocess", "phantom", "scan")


def open_run_data(config: RunConfig, **overrides: Any) -> MriDataset:
    """Open the training split of the data that `config` names.

    Args:
        config: Its ``data_dir`` wins over the place where preprocessing writes.
        overrides: ``classes``, ``min_age`` or ``split`` of a checkpoint, in place of the config's.

    Raises:
        ConfigError: They were made from another cohort, or with other settings than asked for.
    """
    data = config.data
    opened = open_dataset(
        data.data_dir or data.processed_dir,
        data.model_dim,
        class_scheme(overrides.get("classes", data.classes), data.label),
        min_age=overrides.get("min_age", data.min_age),
        seed=data.seed,
        allow_leaks=config.train.allow_leaks,
        cache_dir=data.cache_dir,
        split_file=overrides.get("split", data.split),
    )
    cohort = opened.settings.get("cohort")
    if cohort in COHORTS and cohort != data.cohort:
        raise ConfigError(
            f"{opened.manifest.root} was made from {cohort}, and --dataset says {data.cohort}",
            hint=f"--dataset {COHORTS[cohort]}_{data.model_dim}",
        )
    _refuse_other_images(config, opened)
    return opened


def as_made(settings: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings in which its data set says how its images were made.

    A stage that trains or scores cannot change the images, so what its command says of them does
    not count.

    Args:
        settings: Of a run, by part.
        made: ``preprocessing.json`` of the data; empty for a bare folder.
    """
    own = {part: made[part] for part in _MADE_WITH if part in made}
    return settings | own


def _refuse_other_images(config: RunConfig, data: MriDataset) -> None:
    """Refuse flags that would make other images than those that are there."""
    made = data.settings.get("preprocess", {})
    asked, usual = config_to_dict(config)["preprocess"], config_to_dict(RunConfig())["preprocess"]
    for name, value in asked.items():
        if value not in (usual[name], made.get(name, value)):
            raise ConfigError(
                f"{data.manifest.root} was made with --{name} {made[name]}, not {value}",
                hint=f"leave --{name} out, or run --mode preprocess with it first",
            )
