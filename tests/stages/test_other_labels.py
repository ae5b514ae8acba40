"""Diagnoses and conversions go through every stage as stages of the CDR do."""

import pytest
from conftest import make_processed
from tiny_runs import run_config

from src.cli import run_stage
from src.data.loaders import open_dataset
from src.errors import ManifestError
from src.files import read_json, write_json
from src.labels import DIAGNOSES, HOW_TO_READ, OUTCOMES, STAGES, class_scheme
from src.manifest import Manifest, count_people

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]


def relabelled(folder, kind, names, people):
    """A processed data set whose labels are of another kind."""
    make_processed(folder, people=people, images=2)
    manifest = Manifest.read(folder)
    meant = dict(zip(STAGES, names, strict=False))
    manifest.with_columns(label=manifest.table["label"].map(meant)).write(folder)
    path = folder / "preprocessing.json"
    more = {"dataset": folder.name, "label": kind, "stamps": [HOW_TO_READ[kind]]}
    write_json(path, {**read_json(path), **more})
    return folder


@pytest.mark.parametrize(
    ("kind", "names", "people", "loss"),
    [
        ("diagnosis", DIAGNOSES, (8, 8, 8, 0), "ordinal"),
        ("conversion", OUTCOMES, (12, 12, 0, 0), "ce"),
    ],
)
def test_every_stage_takes_them(tmp_path, kind, names, people, loss):
    folder = relabelled(tmp_path / f"phantom_2d_{kind}", kind, names, people)
    config = run_config(
        folder.parent / "phantom_2d",
        tmp_path,
        label=kind,
        classes=None,
        freeze_backbone=True,
        loss=loss,
        graded=0,
    )
    assert config.data.processed_dir == folder
    written = [
        path for name in ("train", "evaluate", "gradcam") for path in run_stage(name, config)
    ]
    metrics = read_json(next(path for path in written if path.name == "metrics.json"))
    assert metrics["classes"] == list(names)
    assert metrics["stamps"] == [HOW_TO_READ[kind]]
    assert metrics["people"]["test"].keys() == {*names}
    page = run_stage("report", config)[0].read_text(encoding="utf-8")
    assert HOW_TO_READ[kind] in page
    assert names[-1] in page


def test_a_data_set_of_another_kind_is_refused_with_the_flag(tmp_path):
    folder = relabelled(tmp_path / "phantom_2d", "diagnosis", DIAGNOSES, (4, 4, 4, 0))
    assert list(count_people(Manifest.read(folder)).index) == list(DIAGNOSES)
    with pytest.raises(ManifestError, match="label 'CN' is none of NonDemented") as error:
        open_dataset(folder, "2d", class_scheme(4))
    assert "--label diagnosis" in error.value.hint
