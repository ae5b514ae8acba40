"""A run says how its images were made, whatever the command that trained on them says."""

import json
from dataclasses import replace

import pytest

from src.config import RunConfig
from src.config.options import build_config, config_to_dict
from src.data.run_data import as_made, open_run_data
from src.errors import ConfigError


@pytest.fixture
def made(processed_3d, tmp_path):
    """A config, and the folder of a data set made with volumes of 48 voxels."""
    root = tmp_path / "own"
    root.mkdir()
    for path in processed_3d.iterdir():
        if path.name != "preprocessing.json":
            (root / path.name).symlink_to(path, target_is_directory=path.is_dir())
    settings = json.loads((processed_3d / "preprocessing.json").read_text(encoding="utf-8"))
    settings["preprocess"] = config_to_dict(RunConfig())["preprocess"] | {"volume_size": 48}
    (root / "preprocessing.json").write_text(json.dumps(settings), encoding="utf-8")
    return build_config(RunConfig, {"dataset": "phantom_3d", "data_dir": root})


def test_a_run_says_with_what_its_images_were_made(made):
    assert made.preprocess.volume_size == 128
    data = open_run_data(made)
    settings = as_made(config_to_dict(made), data.settings)
    assert settings["preprocess"]["volume_size"] == 48
    assert settings["model"] == config_to_dict(made)["model"]
    assert build_config(RunConfig, settings).preprocess.volume_size == 48


def test_a_bare_folder_says_nothing_of_it():
    settings = config_to_dict(RunConfig())
    assert as_made(settings, {}) == settings


def test_flags_of_other_images_are_refused(made):
    other = replace(made, preprocess=replace(made.preprocess, volume_size=64))
    with pytest.raises(ConfigError, match=r"was made with --volume_size 48, not 64") as caught:
        open_run_data(other)
    assert "leave --volume_size out" in caught.value.hint
    open_run_data(replace(made, preprocess=replace(made.preprocess, volume_size=48)))
