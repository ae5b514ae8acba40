"""The stress stage: its files, a run that goes on where it was stopped, the page and the card."""

import json

import numpy as np
import pandas as pd
import pytest
from command_line import refused
from tiny_runs import run_config, train_once

from src.config import RunConfig
from src.config.options import build_config
from src.config.own_files import check_own
from src.errors import MriError, UnknownNameError
from src.notebook.reports import Stress
from src.report.stress import read_stress, with_stress
from src.report.stress_figure import stress_figure
from src.stages import evaluate, preprocess, report, stress
from src.stressing import answers
from src.stressing.plan import ALL
from src.stressing.scans import Opener

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]

NAME = "stressed"
CHANGES = "disease,younger,noise,flip,deface,blind"


def settings(made, root, **more):
    given = {"doses": 2, "people": 11, "changes": CHANGES, "run": NAME, "bootstrap": 100}
    return run_config(made, root, **{**given, **more})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A phantom cohort in 3D, small enough, large enough to be placed; read only."""
    root = tmp_path_factory.mktemp("phantom")
    small = {"phantom_subjects": 30, "phantom_voxel": 4, "volume_size": 40, "workers": 1}
    places = {"dataset": "phantom", "dim": "3d", "data_root": root, "test_fraction": 0.45}
    list(preprocess.run(build_config(RunConfig, {**small, **places})))
    return root / "phantom_3d"


@pytest.fixture(scope="module")
def root(made, tmp_path_factory):
    """A run that was trained, scored and asked known changes."""
    root = tmp_path_factory.mktemp("run")
    train_once(made, root, run=NAME, epochs=2)
    list(evaluate.run(run_config(made, root, run=NAME)))
    list(stress.run(settings(made, root)))
    return root


@pytest.fixture(scope="module")
def folder(root):
    return root / "results" / "stress" / NAME


def test_every_file_is_there_and_holds_together(folder):
    assert {path.name for path in folder.iterdir()} == {"stress.csv", "stress.png", "stress.json"}
    content = json.loads((folder / "stress.json").read_text(encoding="utf-8"))
    check_own(content, "stress")
    assert read_stress(folder / "stress.json") == content
    assert content["changed"] == "stored scan"
    assert content["why_not_stored"] is None
    assert content["placement"]["available"]
    model, *rivals = content["readers"]
    assert model["name"] == "model"
    assert rivals
    assert {one["name"] for one in model["disease"]} >= {ALL, "hippocampi"}
    curve = next(one for one in model["disease"] if one["name"] == ALL)
    assert curve["reason"] is None
    assert [one["dose"] for one in curve["doses"]] == [0, 0.5, 1]
    dark = next(one for one in rivals if one["name"].startswith("dark"))
    rise = next(one for one in dark["disease"] if one["name"] == ALL)["rise"]
    assert rise["low"] > 0  # dark voxels do rise with disease
    background = next(one for one in model["blind"] if one["name"] == "background alone")
    assert "skull-stripped" in background["reason"]


def test_the_table_has_a_row_per_reader_scan_and_change(folder):
    content = json.loads((folder / "stress.json").read_text(encoding="utf-8"))
    table = pd.read_csv(folder / "stress.csv")
    assert set(table["reader"]) == {one["name"] for one in content["readers"]}
    model = table[table["reader"] == "model"]
    assert not model.duplicated(["name", "kind", "change", "strength"]).any()
    assert model.loc[model["kind"] == "unchanged", "subject"].nunique() == content["n_people"]
    assert set(model.loc[model["kind"] == "disease", "label"]) == {0}
    assert set(model.loc[model["kind"] == "younger", "label"]) == {1}
    known = model[model["reason"].isna()]
    assert np.isfinite(known["log_odds"]).all()
    first = known[(known["kind"] == "disease") & (known["change"] == ALL)]
    curve = next(one for one in content["readers"][0]["disease"] if one["name"] == ALL)
    said = first[first["strength"] == 1].groupby("subject")["log_odds"].first().mean()
    assert curve["doses"][-1]["log_odds"]["value"] == pytest.approx(said, abs=1e-4)


class StoppedError(Exception):
    """As when the machine goes down."""


def test_a_stopped_run_keeps_what_is_answered_and_ends_as_if_it_never_stopped(
    made, root, folder, monkeypatch
):
    table = (folder / "stress.csv").read_bytes()
    content = json.loads((folder / "stress.json").read_text(encoding="utf-8"))
    opened, whole, own = [], answers._answer, Opener.open

    def some(scans, *rest):
        if len(opened) > 6:
            raise StoppedError
        return whole(scans, *rest)

    def counted(self, session):
        opened.append(session.name)
        return own(self, session)

    monkeypatch.setattr(answers, "_AT_ONCE", 3)
    monkeypatch.setattr(answers, "_answer", some)
    monkeypatch.setattr("src.stressing.people._healthy_mean", _healthy(monkeypatch))
    monkeypatch.setattr(Opener, "open", counted)
    with pytest.raises(StoppedError):
        list(stress.run(settings(made, root)))
    kept = {path.stem for path in (folder / "scans").iterdir()}
    assert len(kept) == 6
    first = next(iter(sorted(kept)))
    (folder / "scans" / f"{first}.json").write_text("{", encoding="utf-8")  # half a file
    monkeypatch.setattr(answers, "_answer", whole)
    opened.clear()
    list(stress.run(settings(made, root)))
    assert not (kept - {first}) & set(opened)
    assert first in opened
    assert (folder / "stress.csv").read_bytes() == table
    assert json.loads((folder / "stress.json").read_text(encoding="utf-8")) == content
    assert not (folder / "scans").exists()
    card = root / "results" / NAME / "model_card.md"
    assert card.read_text(encoding="utf-8").count("## Known changes of scans") == 1


def _healthy(monkeypatch):
    """Return `_healthy_mean`, which opens scans too, without counting them."""
    from src.stressing import people

    own, plain = people._healthy_mean, Opener.open

    def uncounted(opener):
        with monkeypatch.context() as patch:
            patch.setattr(Opener, "open", plain)
            return own(opener)

    return uncounted


def test_answers_to_another_question_are_not_taken(made, root, folder, monkeypatch):
    def stop(*_):
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(stress, "readers_of", stop)
        with pytest.raises(StoppedError):
            list(stress.run(settings(made, root, changes="noise")))
    assert list((folder / "scans").iterdir())
    monkeypatch.setattr(answers, "_answer", stop)
    with pytest.raises(StoppedError):
        list(stress.run(settings(made, root, changes="blur")))


def test_the_model_card_has_the_verdicts_once(made, root, folder):
    card = root / "results" / NAME / "model_card.md"
    heading = "## Known changes of scans"
    first = card.read_text(encoding="utf-8")
    assert first.count(heading) == 1
    content = json.loads((folder / "stress.json").read_text(encoding="utf-8"))
    for one in content["readers"][0]["verdicts"]:
        assert f"- {one['verdict']}: {one['name']}." in first
    before = first.partition(heading)[0]
    assert "## " in before  # the rest of the card is there
    again = with_stress(first, content)
    assert again == first
    assert with_stress(before, content) == first


def test_the_report_shows_it(root):
    page = report.build_report(root / "results" / NAME).read_text(encoding="utf-8")
    assert "Known changes of scans: " in page
    for words in ("rises with disease", "Rician noise", "taken back from demented people"):
        assert words in page


def test_a_change_that_is_none_is_refused_by_name(capsys, made, root):
    with pytest.raises(UnknownNameError, match="nonsense") as refusal:
        next(iter(stress.run(settings(made, root, changes="noise,nonsense"))))
    assert "--changes" in str(refusal.value)
    sentence = refused(
        *(capsys, "--mode", "stress", "--dataset", "phantom_3d", "--changes", "noise,nonsense"),
        *("--data_root", made.parent),
    )
    assert "nonsense" in sentence


def test_processed_images_are_changed_where_the_raw_files_are_gone(processed_2d, tmp_path, caplog):
    train_once(processed_2d, tmp_path)
    given = run_config(processed_2d, tmp_path, people=0, changes="disease,noise,blind", doses=2)
    *_, told = stress.run(given)
    content = json.loads(told.read_text(encoding="utf-8"))
    check_own(content, "stress")
    assert content["changed"] == "processed image"
    assert "--raw_dir" in content["why_not_stored"]
    assert "processed images are changed, not stored scans" in caplog.text
    assert not content["placement"]["available"]
    model = content["readers"][0]
    assert {one["reason"] for one in model["disease"]} == {content["placement"]["reason"]}
    assert content["verdict"] in ("PASS", "WARN", "FAIL", "not estimable")


def test_a_damaged_result_is_refused(folder, tmp_path):
    content = json.loads((folder / "stress.json").read_text(encoding="utf-8"))
    content["readers"][0]["verdicts"][0]["verdict"] = "GOOD"
    (tmp_path / "stress.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(MriError, match=r"stress\.json"):
        read_stress(tmp_path / "stress.json")


def test_readers_are_named_once_whichever_nuisance_was_asked(folder, tmp_path, drawn):
    content = json.loads((folder / "stress.json").read_text(encoding="utf-8"))
    for reader in content["readers"]:
        reader["nuisance"][0] |= {"reason": "not in view", "strengths": []}
    stress_figure(tmp_path / "some.png", content)
    for reader in content["readers"]:
        for one in reader["nuisance"]:
            one["reason"] = "not in view"
    stress_figure(tmp_path / "none.png", content)
    some, none = (_labels(figure) for figure in drawn.figures[-2:])
    assert some == [one["title"] for one in content["readers"]]
    assert none == []


def _labels(figure):
    """Return the words of the legend beside the nuisances."""
    legend = figure.axes[-1].get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_a_notebook_shows_the_same_answers(folder):
    content = json.loads((folder / "stress.json").read_text(encoding="utf-8"))
    shown = Stress(content, sorted(folder.iterdir()))
    assert shown.verdict == content["verdict"]
    questions = [one["name"] for one in content["readers"][0]["verdicts"]]
    assert list(shown.table().index) == questions
    assert list(shown.table()["the model"]) == [
        one["verdict"] for one in content["readers"][0]["verdicts"]
    ]
    assert len(shown.answers()) == len(pd.read_csv(folder / "stress.csv"))
    assert {"ventricles", ALL} <= set(shown.disease().index)
    assert "Rician noise" in shown.nuisance().index
    assert shown.figures() == ["stress"]
    assert f"{NAME}: {content['verdict']}" in repr(shown)
    assert questions[0] in shown._repr_html_()
