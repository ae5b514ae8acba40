"""Neighbours of scored people: whom a planted copy meets, and where nobody is known."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import make_processed
from tiny_runs import run_config, train_once

from src.data.loaders import create_data_loaders, open_dataset
from src.evaluation.evaluator import Evaluator
from src.evaluation.neighbours import PeopleSeen
from src.evaluation.open_checkpoint import load_trained
from src.labels import class_scheme
from src.manifest import Manifest, read_settings
from src.models.checkpoint import load_checkpoint, save_checkpoint
from src.report.page.gather import gather
from src.report.page.people import people_of
from src.stages import evaluate
from src.training.likeness import person_row

#: A test person of the mildest stage, whose images are nearly those of the worst training person.
COPY, OF = "PHAN_0003", "PHAN_3001"
LABELS = ["neighbour_1", "neighbour_2", "neighbour_3"]


def test_features_are_means_over_a_person_s_images_in_whatever_batches(processed_2d):
    data = open_dataset(processed_2d, "2d", class_scheme(2)).with_split("test")
    features = np.random.default_rng(0).normal(size=(len(data), 5)).astype(np.float32)
    seen = PeopleSeen(data, 5)
    for start in range(0, len(data), 4):  # three images of each person
        seen.add(features[start : start + 4])
    subjects = data.subjects.astype(str)
    assert seen.names.tolist() == sorted(set(subjects))
    expected = [person_row(features[subjects == name]) for name in seen.names]
    np.testing.assert_allclose(seen.rows(), expected, atol=1e-6)


def plant(root):
    """Make `COPY` a near copy of `OF`, which no check of hashes can see."""
    table = Manifest.read(root).table.copy()
    for row, (path, subject) in enumerate(zip(table["path"], table["subject"], strict=True)):
        if subject == COPY:
            (stage,) = set(table["label"][table["subject"] == OF])
            source = root / f"train/{stage}/{OF}_MR1{path[path.index('_slice') :]}"
            pixels = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
            pixels[3, 5] = 7 + row
            cv2.imwrite(str(root / path), pixels)
            hashed = hashlib.blake2b((root / path).read_bytes(), digest_size=16)
            table.loc[row, "fingerprint"] = hashed.hexdigest()
    Manifest(table, root).write(root)


@pytest.fixture(scope="module", params=[True, False], ids=["frozen", "trained"])
def scored(request, tmp_path_factory):
    """Return the data set with the copy, the checkpoint and what was found; read only."""
    root = tmp_path_factory.mktemp("planted")
    processed = make_processed(root / "phantom_2d")
    plant(processed)
    network = {"backbone": "resnet18", "freeze_backbone": request.param}
    path = train_once(processed, root, classes=4, **network)
    list(evaluate.run(run_config(processed, root, checkpoint=path, run="scored")))
    return processed, path, root / "results" / "scored"


def columns(folder):
    return pd.read_csv(folder / "people.csv").set_index("subject").filter(like="neighbour_")


@pytest.mark.slow
def test_a_planted_copy_is_the_first_neighbour(scored):
    _, _, folder = scored
    copy = columns(folder).loc[COPY]
    assert copy["neighbour_1"] == "ModerateDemented"
    assert copy["neighbour_1_decade"] == 70  # 60 + 5 * 3 + 1 years
    alike = copy[[f"{name}_likeness" for name in LABELS]].to_list()
    assert alike == sorted(alike, reverse=True)
    others = columns(folder).drop(COPY)["neighbour_1_likeness"]
    assert 1 - alike[0] < 0.2 * (1 - others.max())
    section = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["neighbours"]
    assert section["available"]
    assert (section["k"], section["n_people"]) == (3, 12)  # validation people are nobody's
    assert list(section["people"].values()) == [4, 4, 2, 2]
    (shown,) = [one for one in people_of(gather(folder), {}).rows if one.name == COPY]
    assert (shown.company[0].label, shown.company[0].age) == ("Moderate", "70s")


@pytest.mark.slow
def test_the_table_of_a_notebook_has_the_same_neighbours(scored, tmp_path):
    processed, path, folder = scored
    model, _ = load_trained(path)
    (loader,) = create_data_loaders(processed, "phantom", splits=("test",), num_classes=4)
    found = Evaluator(model, loader, "cpu", n_bootstrap=100).full_evaluation(tmp_path).people()
    assert found.set_index("subject")[LABELS].equals(columns(folder)[LABELS])


@pytest.mark.slow
def test_people_of_another_study_meet_the_checkpoint_s_training_people(scored, tmp_path):
    _, path, _ = scored
    other = make_processed(tmp_path / "other_2d", people=(8, 6, 0, 0), seed=5)
    table = Manifest.read(other).table
    Manifest(table.assign(subject="OTHER_" + table["subject"]), other).write(other)
    settings = read_settings(other / "preprocessing.json") | {"dataset": "other_2d"}
    (other / "preprocessing.json").write_text(json.dumps(settings), encoding="utf-8")
    list(evaluate.run(run_config(other, tmp_path, data_dir=other, checkpoint=path, run="abroad",
                                 dataset="phantom_2d", classes=4)))  # fmt: skip
    found = columns(tmp_path / "results" / "abroad")
    assert len(found) == 14
    assert found[LABELS].notna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "why"), [("older", "classes of its training people"), (None, "too few people")]
)
def test_a_checkpoint_that_knows_nobody_gives_no_column_and_says_why(
    scored, tmp_path, reference, why
):
    processed, path, folder = scored
    content = load_checkpoint(path)
    if reference == "older":
        del content["reference"]["company"]
    else:
        content["reference"] = None
    old = save_checkpoint(tmp_path / "old.pth", content)
    list(evaluate.run(run_config(processed, tmp_path, checkpoint=old, run="old")))
    assert columns(tmp_path / "results" / "old").empty
    page = people_of(gather(tmp_path / "results" / "old"), {})
    assert page.company == ""
    assert why in page.no_company
    now, then = (pd.read_csv(one / "people.csv") for one in (folder, tmp_path / "results" / "old"))
    pd.testing.assert_frame_equal(now[then.columns], then)


@pytest.mark.slow
def test_who_is_alike_is_not_told_where_all_are(scored, tmp_path):
    processed, path, _ = scored
    content = load_checkpoint(path)
    rows = content["reference"]["features"]
    content["reference"]["features"] = rows[:1].repeat(len(rows), 1)
    same = save_checkpoint(tmp_path / "same.pth", content)
    list(evaluate.run(run_config(processed, tmp_path, checkpoint=same, run="same")))
    assert columns(tmp_path / "results" / "same").empty
    page = people_of(gather(tmp_path / "results" / "same"), {})
    assert "hardly differ" in page.no_company
