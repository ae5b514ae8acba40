"""Models of one study on the people of another: cells, files, refusals, and what is said."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import refused
from tiny_runs import run_config
from tiny_studies import make_study

from src.cli import run_report
from src.errors import ConfigError, DataNotFoundError, LeakageError, ManifestError, UnknownNameError
from src.evaluation.cross_study import CrossStudy
from src.files import read_json
from src.notebook.reports import CrossStudies
from src.notebook.stages import crossdata as crossdata_of
from src.report.cross_study import markdown, sentences
from src.stages import crossdata

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]
MEASURED = ("csf_grey", "tissue_maps")
STUDIES = ("north_2d", "south_2d", "east_2d")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    make_study(root / "north_2d", (9, 8, 3, 0), 1, prefix="N")
    make_study(root / "south_2d", (7, 6, 3, 0), 2, prefix="S")
    make_study(root / "east_2d", (8, 5, 3, 0), 3, prefix="E")
    return root


def crossed(studies, root, *names, **settings):
    wanted = {"freeze_backbone": True, "folds": 2, "datasets": names or STUDIES[:2]}
    config = run_config(studies / "phantom_2d", root, **{**wanted, **settings})
    return config, config.results_dir / (config.run or f"{config.run_name}_crossdata")


@pytest.fixture(scope="module")
def done(studies, tmp_path_factory):
    config, folder = crossed(studies, tmp_path_factory.mktemp("done"), *STUDIES, calibrate_on=10)
    written = list(crossdata.run(config))
    return config, folder, written


def test_every_ordered_pair_and_all_others_stand_beside_cross_validations(done):
    _, folder, _ = done
    found = read_json(folder / "crossdata.json")
    names = [cell["name"] for cell in found["cells"]]
    assert names[:3] == ["north_within", "south_within", "east_within"]
    assert {"north_to_south", "south_to_north", "east_to_north"} <= set(names)
    assert {"others_to_north", "others_to_south", "others_to_east"} <= set(names)
    assert len(names) == 3 + 6 + 3


def test_a_cell_learns_from_one_study_and_answers_everyone_of_the_other(done):
    config, folder, _ = done
    study = CrossStudy(config)
    people = pd.read_csv(folder / "people.csv", dtype={"subject": str})
    answered = people[people["cell"] == "south_to_north"]
    assert sorted(answered["subject"]) == study.joined.people_of("north")
    fold = study.cell_called("south_to_north").folds[0]
    assert sorted(fold.development) == study.joined.people_of("south")
    assert set(fold.val) < set(fold.development)
    others = study.cell_called("others_to_east").folds[0]
    both = study.joined.people_of("south") + study.joined.people_of("north")
    assert sorted(others.development) == sorted(both)


def test_a_cell_is_told_against_home_and_against_what_was_promised(done):
    _, folder, _ = done
    cells = {cell["name"]: cell for cell in read_json(folder / "crossdata.json")["cells"]}
    pair, home, away = (cells[n] for n in ("south_to_north", "north_within", "south_within"))
    score = {k: c["metrics"]["balanced_accuracy"]["value"] for k, c in cells.items()}
    drift = pair["drift"]
    told = drift["home"]["balanced_accuracy"]["value"]
    assert told == pytest.approx(score["south_to_north"] - score["north_within"])
    promised = drift["promised"]["balanced_accuracy"]["value"]
    assert promised == pytest.approx(score["south_to_north"] - score["south_within"])
    assert home["drift"] is None
    assert away["recalibrated"] is None
    assert cells["others_to_east"]["drift"]["promised"] is None
    dark = next(one for one in pair["rivals"] if one["name"] == "dark_voxels")
    assert dark["metrics"]["balanced_accuracy"]["value"] is not None
    csf, maps = (next(one for one in pair["rivals"] if one["name"] == n) for n in MEASURED)
    # Pictures of two levels have no grey matter.
    assert csf["metrics"] or "ratios of CSF to grey matter" in csf["reason"]
    assert maps["metrics"] is None
    assert maps["reason"].startswith("maps of several studies have other grids")


def test_recalibration_scores_those_who_did_not_calibrate(done):
    _, folder, _ = done
    cells = {cell["name"]: cell for cell in read_json(folder / "crossdata.json")["cells"]}
    south = cells["north_to_south"]["recalibrated"]
    assert south["reason"] == "16 people of south; 10 must be left"
    north = cells["south_to_north"]["recalibrated"]
    assert north["n_people"] == 10
    assert north["draws"] == 20
    assert north["as_it_came"]["log_loss"]["low"] < north["as_it_came"]["log_loss"]["high"]


def test_a_run_that_is_there_is_not_trained_again(done, monkeypatch):
    config, _, _ = done
    monkeypatch.setattr("src.evaluation.fold_training.FoldTraining.fit", None)
    assert [path.name for path in crossdata.run(config)][:2] == ["folds.csv", "config.json"]


def test_a_study_may_join_and_no_cell_is_trained_twice(studies, tmp_path, monkeypatch):
    config, folder = crossed(studies, tmp_path, run="grows")
    list(crossdata.run(config))
    before = {path.name: path.read_bytes() for path in (folder / "folds").glob("*.json")}
    fits = []
    whole = crossdata.FoldTraining.fit
    monkeypatch.setattr(
        "src.evaluation.fold_training.FoldTraining.fit",
        lambda self, manifest, fold, seed, **k: (
            fits.append(fold.name) or whole(self, manifest, fold, seed, **k)
        ),
    )
    more, _ = crossed(studies, tmp_path, *STUDIES, run="grows")
    list(crossdata.run(more))
    assert all("east" in name or name.startswith("others_to") for name in fits)
    for name, content in before.items():
        assert (folder / "folds" / name).read_bytes() == content


def test_cells_alone_and_collected_are_the_whole(studies, done, tmp_path):
    _, whole, _ = done
    config, folder = crossed(studies, tmp_path, *STUDIES, cell="south_to_north")
    names = [path.name for path in crossdata.run(config)]
    assert names == ["folds.csv", "config.json", "south_to_north_seed0.json"]
    one = json.loads((folder / "folds" / "south_to_north_seed0.json").read_text("utf-8"))
    other = json.loads((whole / "folds" / "south_to_north_seed0.json").read_text("utf-8"))
    assert one == other
    collect, _ = crossed(studies, tmp_path, *STUDIES, collect=True)
    with pytest.raises(ManifestError, match="14 of 15 folds are missing"):
        list(crossdata.run(collect))


def test_unknown_and_refused_cells_are_told(studies, tmp_path):
    config, _ = crossed(studies, tmp_path, cell="south_to_nort")
    with pytest.raises(UnknownNameError, match="south_to_north"):
        list(crossdata.run(config))


def test_studies_of_the_same_people_are_refused_with_the_reason(studies, tmp_path):
    root = tmp_path / "data"
    make_study(root / "kaggle_2d", (7, 7, 0, 0), 5, cohort="kaggle_orig", prefix="K")
    make_study(root / "oasis_2d", (6, 7, 0, 0), 6, cohort="oasis", prefix="O")
    make_study(root / "south_2d", (7, 6, 0, 0), 2, prefix="S")
    names = ("kaggle_2d", "oasis_2d", "south_2d")
    config, folder = crossed(root, tmp_path, *names)
    study = CrossStudy(config)
    refused_cells = {cell.name for cell in study.cells if cell.refused}
    assert refused_cells == {
        *("oasis_to_kaggle", "kaggle_to_oasis", "others_to_kaggle", "others_to_oasis"),
        "others_to_south",
    }
    with pytest.raises(LeakageError, match="of the same people under other names"):
        study.cell_called("oasis_to_kaggle")
    list(crossdata.run(config))
    result = read_json(folder / "crossdata.json")
    told = [line for line in sentences(result) if "refused" in line]
    assert len(told) == 5
    assert "kaggle_orig and oasis" in told[0] or "oasis and kaggle_orig" in told[0]
    assert "refused" in markdown(result)


def test_the_page_shows_the_matrix(done):
    config, folder, written = done
    pages = run_report(config, written)
    text = pages[0].read_text(encoding="utf-8")
    assert pages[0] == folder / "report.html"
    assert "Trained on one, tested on another" in text
    assert "north to south: balanced accuracy" in text
    assert "--mode crossdata" in text


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (("north_2d",), ConfigError, "two or more are needed"),
        (("north_2d", "north_2d"), ConfigError, "names one data set twice"),
        (("north_2d", "nowhere_2d"), DataNotFoundError, "nowhere_2d"),
    ],
)
def test_what_is_no_two_studies_is_one_sentence(studies, tmp_path, names, error, words):
    config, _ = crossed(studies, tmp_path, *names)
    with pytest.raises(error, match=words):
        list(crossdata.run(config))


def test_labels_of_two_kinds_are_refused(studies, tmp_path):
    make_study(tmp_path / "adni_2d_diagnosis", (6, 6, 0, 0), 9)
    config, _ = crossed(studies, tmp_path, "north_2d", str(tmp_path / "adni_2d_diagnosis"))
    with pytest.raises(ConfigError, match="labelled by stage and adni_2d_diagnosis by diagnosis"):
        list(crossdata.run(config))


def test_dimensions_are_told_by_names(capsys):
    words = ("--mode", "crossdata", "--datasets", "a_2d", "b_3d")
    assert "a_2d are slices and b_3d volumes" in refused(capsys, *words)
    words = ("--mode", "crossdata", "--datasets", "a", "b")
    assert "does not end in _2d or _3d" in refused(capsys, *words)


def test_a_study_of_one_class_can_be_tested_on_and_not_learnt_from(studies, tmp_path):
    root = tmp_path / "data"
    make_study(root / "well_2d", (14, 0, 0, 0), 4, prefix="W")
    make_study(root / "south_2d", (7, 6, 3, 0), 2, prefix="S")
    config, folder = crossed(root, tmp_path, "south_2d", "well_2d")
    study = CrossStudy(config)
    assert study.cell_called("south_to_well").folds
    reason = {cell.name: cell.refused for cell in study.cells}["well_to_south"]
    assert reason == "all people to learn from are NonDemented"
    assert np.isfinite(len(study.cells))
    assert folder.name.endswith("_crossdata")


def test_from_python_it_is_one_object(studies, done, tmp_path):
    _, folder, _ = done
    shown = CrossStudies(read_json(folder / "crossdata.json"), [])
    assert list(shown.matrix().columns) == ["north", "south", "east"]
    assert shown.matrix().index.tolist() == ["north", "south", "east", "all other studies"]
    assert shown.table().loc["south_to_north", "tested on n"] == "20"
    assert repr(shown).startswith("CrossStudies(north, south, east: The model's mean balanced")
    assert "<li>south to north: balanced accuracy" in shown._repr_html_()
    places = {"data_root": studies, "results_dir": tmp_path, "checkpoint_dir": tmp_path}
    with pytest.raises(ConfigError, match="trains a part") as error:
        crossdata_of("north_2d", "south_2d", cell="north_to_south", **places)
    assert error.value.hint == "leave cell out; job arrays use the command line"
