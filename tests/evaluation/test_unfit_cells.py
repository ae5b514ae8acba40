"""Who trains and who is tested in the cells of several studies, before anything is trained."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_runs import run_config
from tiny_studies import make_study

from src.cohorts.people_names import hash_subjects
from src.errors import CheckpointError, LeakageError
from src.evaluation.cross_study import CrossStudy
from src.manifest import SAME_PEOPLE, Manifest

PEOPLE = (6, 5, 0, 0)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    make_study(root / "north_2d", PEOPLE, 1, prefix="N")
    make_study(root / "south_2d", PEOPLE, 2, prefix="S")
    make_study(root / "kaggle_2d", PEOPLE, 3, prefix="K", cohort="kaggle_orig")
    make_study(root / "oasis_2d", PEOPLE, 4, prefix="O", cohort="oasis")
    return root


def crossed(studies, root, *names: str, **settings) -> CrossStudy:
    wanted = {"freeze_backbone": True, "folds": 2, "datasets": [f"{name}_2d" for name in names]}
    return CrossStudy(run_config(studies / "phantom_2d", root, **{**wanted, **settings}))


def weights(folder, **card) -> str:
    torch.save({"w": torch.zeros(1)}, folder / "net.pth")
    (folder / "net.json").write_text(json.dumps(card), encoding="utf-8")
    return str(folder / "net.pth")


def refused(study: CrossStudy) -> dict[str, str]:
    return {cell.name: cell.refused for cell in study.cells if cell.refused}


def test_a_study_that_the_weights_have_seen_is_tested_by_no_cell(studies, tmp_path) -> None:
    of_south = Manifest.read(studies / "south_2d").table["subject"].unique()
    seen = weights(tmp_path, people=hash_subjects(of_south[:2]))
    study = crossed(studies, tmp_path, "north", "south", weights=seen)
    reasons = refused(study)
    assert set(reasons) == {"south_within", "north_to_south"}
    assert f"was learnt on 2 of 11 people who are tested, such as {of_south[0]}" in str(reasons)
    assert study.cell_called("south_to_north").folds  # it may train
    with pytest.raises(LeakageError, match=r"--cell north_to_south: .* was learnt on"):
        study.cell_called("north_to_south")


def test_where_leaks_are_allowed_all_is_stamped(studies, tmp_path) -> None:
    seen = weights(tmp_path, cohorts=["south_2d"])
    study = crossed(studies, tmp_path, "north", "south", weights=seen, allow_leaks=True)
    assert refused(study) == {}
    assert study.data.manifest.stamps == (SAME_PEOPLE,)


def test_weights_that_have_seen_everyone_leave_nothing_to_test(studies, tmp_path) -> None:
    seen = weights(tmp_path, cohorts=["south_2d", "north_2d"])
    with pytest.raises(LeakageError, match="no study is left to test on") as error:
        crossed(studies, tmp_path, "north", "south", weights=seen)
    assert "--weights none" in error.value.hint


def test_weights_of_images_made_otherwise_are_refused(studies, tmp_path) -> None:
    made = weights(tmp_path, preprocessing={"slice_axis": "coronal"})
    with pytest.raises(CheckpointError, match="otherwise than north_2d: slice_axis 'coronal'"):
        crossed(studies, tmp_path, "north", "south", weights=made)


@pytest.mark.slow
def test_of_two_studies_of_the_same_people_the_first_trains(studies, tmp_path) -> None:
    study = crossed(studies, tmp_path, "north", "kaggle", "oasis", "south")
    cell = study.cell_called("others_to_south")
    assert cell.trained_on == ("north", "kaggle")
    theirs = [*study.joined.people_of("north"), *study.joined.people_of("kaggle")]
    assert sorted(cell.folds[0].development) == sorted(theirs)
    alone = crossed(studies, tmp_path, "kaggle", "oasis", "south")
    reason = refused(alone)["others_to_south"]
    assert reason.startswith("of the other studies only kaggle trains, as oasis and kaggle are")
    assert reason.endswith("see kaggle_to_south")


@pytest.mark.slow
def test_a_person_of_two_training_studies_trains_once(studies, tmp_path) -> None:
    root = tmp_path / "data"
    folders = [
        make_study(root / f"{name}_2d", PEOPLE, seed, prefix=name[0].upper())
        for seed, name in enumerate(("east", "west", "test"), 1)
    ]
    east, west, _ = (Manifest.read(folder) for folder in folders)
    both = {"E0001": "OAS1_0061", "W0002": "sub-OASIS10061"}
    for part, folder in ((east, folders[0]), (west, folders[1])):
        named = part.table["subject"].replace(both)
        Manifest(part.table.assign(subject=named), folder).write(folder)
    study = crossed(root, tmp_path, "east", "west", "test")
    cell = study.cell_called("others_to_test")
    assert cell.twice == ("sub-OASIS10061",)
    assert "OAS1_0061" in cell.folds[0].development
    assert "sub-OASIS10061" not in cell.folds[0].development
    assert len(cell.folds[0].development) == 2 * 11 - 1
    pair = study.cell_called("east_to_west")
    assert pair.dropped == ("OAS1_0061",)
