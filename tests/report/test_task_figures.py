"""What a report shows beside the stage: contract, sentences, tables and both figures."""

from copy import deepcopy

import numpy as np
import pytest
from matplotlib.image import imread
from result_examples import CLASSES, evaluate_result, span, unavailable

from src.report.answer import answer
from src.report.documents.markdown import join_lines
from src.report.documents.run_facts import main_scores
from src.report.documents.study_facts import facts
from src.report.documents.task_section import tasks
from src.report.documents.write import metrics_markdown
from src.report.metrics_schema import ResultError, check_metrics
from src.report.score_figures import tasks as figures
from src.report.score_figures.write import write_score_figures

pytestmark = pytest.mark.usefixtures("few_pixels")
_SCORES = ("mae", "r2", "r", "bias", "mean_error")


def number(name, unit, low, high, n=41):
    """Return a judged task of `n` people, the last class of two people."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(low, high, n)
    metrics = {key: span(0.5) for key in _SCORES} | {"mae": span(4.2)}
    rival = {"name": "mean", "title": "mean of training people", "available": True}
    rival |= {"metrics": metrics, "difference": {"mae": span(-0.3)}}
    dark = {"name": "dark_voxels", "title": f"{name} from dark voxels"}
    return {
        **{"name": name, "available": True, "n_people": n, "few_people": False, "left_out": 1},
        **{"unit": unit, "metrics": metrics, "sentence": f"{name} is off by 4.20."},
        "rivals": [rival, dark | unavailable("the processed images were not measured")],
        "points": np.stack([truth, truth + rng.normal(0, 3, n)], 1).round(2).tolist(),
        "classes": [0] * 20 + [1] * (n - 22) + [2] * 2,
    }


def result(*, frozen=True, corrected=True, **changed):
    """Return a result of one split with a section of age, MMSE and sex."""
    age, mmse = number("age", "years", 60, 90), number("mmse", "points", 15, 30)
    people = (20, 19, 2)
    gap = {"corrected": corrected}
    gap["groups"] = [
        {"class": name, "n_people": n, "few_people": n < 10, "raw": span(n / 5, 2.0)}
        | ({"corrected": span(n / 7, 2.0)} if corrected else {})
        for name, n in zip(CLASSES, people, strict=True)
    ]
    if corrected:
        gap |= {"line": {"intercept": 42.0, "slope": -0.5}}
        gap["points"] = [one[1] - one[0] for one in age["points"]]
    else:
        gap["reason"] = "not corrected: under 10 validation people of known age"
    auc = {"metrics": {"auc": span(0.7)}, "difference": {"auc": span(0.1)}}
    dark = {"name": "dark_voxels", "title": "sex from dark voxels", "available": True}
    sex = {"name": "sex", "available": True, "n_people": 41, "few_people": False, "left_out": 0}
    sex |= {"metrics": {"auc": span(0.8)}, "rivals": [dark | auc]}
    told = evaluate_result() | {
        "tasks": {"available": True, "tasks": [age | {"gap": gap}, mmse, sex]}
    }
    told["settings"] = deepcopy(told["settings"])
    told["settings"].setdefault("model", {})["freeze_backbone"] = frozen
    return told | changed


def text(told):
    return join_lines(tasks(told))


@pytest.mark.parametrize("corrected", [True, False])
def test_the_section_keeps_the_contract(corrected):
    check_metrics(result(corrected=corrected))
    broken = result()
    del broken["tasks"]["tasks"][0]["metrics"]
    with pytest.raises(ResultError, match="metrics"):
        check_metrics(broken)
    broken = result()
    broken["tasks"]["tasks"][1]["name"] = "iq"
    with pytest.raises(ResultError, match="iq"):
        check_metrics(broken)


def test_every_number_stands_beside_its_rivals():
    said = text(result())
    assert "| **age [years]**, 41 people | 4.200 (4.120 to 4.280) |" in said
    assert "| mean of training people | 4.200" in said
    assert "-.300 (-.380 to -.220)" in said
    assert "age from dark voxels: the processed images were not measured" in said
    assert "Sex: AUC of M .800 (.720 to .880) in 41 people; sex from dark voxels: .700" in said
    assert "| *(MildDemented)* | *(2)* |" in said  # few people
    assert "doi:10.1016/j.nicl.2019.102063" in said
    assert said in metrics_markdown(result())


def test_whether_the_second_task_helps_is_said_or_how_it_is_known():
    assert "Here it cannot: the backbone is frozen" in text(result())
    said = text(result(frozen=False))
    own = "results/oasis_2d_resnet18/config.json"
    other = "oasis_2d_resnet18_stage"
    for command in (
        f"`python main.py --mode train --config {own} --tasks stage --run {other}`",
        f"`python main.py --mode evaluate --config {own} --run {other}`",
        f"`python main.py --mode compare oasis_2d_resnet18 {other}`",
    ):
        assert command in said
    folds = text(result(frozen=False, kind="crossval"))
    assert f"`python main.py --mode crossval --config {own} --tasks stage --run {other}`" in folds
    assert "`x`" not in text(result(frozen=False, run="`x`"))


def test_a_run_without_the_stage_says_what_its_stage_is_worth():
    told = result(frozen=False)
    told["settings"].setdefault("train", {})["tasks"] = "age,mmse"
    check_metrics(told)
    said = text(told)
    assert said.startswith("## Learnt without the stage")
    assert "**Is the stage told from features learnt for age and MMSE?**" in said
    assert f"this question: {main_scores(told, ('balanced_accuracy', 'macro_auc'))}; al" in said
    assert "--tasks stage --run oasis_2d_resnet18_stage" in said
    assert "the network, which learnt age and MMSE and not the stage, is" in answer(told)
    assert "learns age and MMSE alone; then the stage" in facts(told)["training"]
    assert "not the stage" not in answer(result())


def test_what_is_absent_is_said():
    assert tasks(evaluate_result()) == []
    assert "Not available: nobody came" in text(result(tasks=unavailable("nobody came")))
    told = result()
    told["tasks"]["tasks"][1] = {"name": "mmse"} | unavailable("mmse is known of 0 people")
    assert "MMSE: mmse is known of 0 people." in text(told)
    assert "not corrected: under 10 validation people" in text(result(corrected=False))


@pytest.mark.parametrize("corrected", [True, False])
def test_both_figures_are_drawn_and_taken_away_again(tmp_path, corrected):
    names = {path.name for path in write_score_figures(tmp_path, result(corrected=corrected), "x")}
    assert {"tasks.png", "brain_age_gap.png"} <= names
    for name in ("tasks.png", "brain_age_gap.png"):
        assert imread(tmp_path / name)[..., :3].std() > 0.05
    write_score_figures(tmp_path, evaluate_result(), "x")
    assert not {"tasks.png", "brain_age_gap.png"} & {path.name for path in tmp_path.iterdir()}


def test_a_figure_of_nothing_is_none(tmp_path):
    told = result()["tasks"]
    told["tasks"] = told["tasks"][2:]  # sex alone
    assert figures.tasks_figure(tmp_path / "a.png", told, CLASSES, "x") is None
    assert figures.gap_figure(tmp_path / "a.png", told, CLASSES, "x") is None
    assert figures.tasks_missing(told)
    assert figures.gap_missing(None)
