"""Figures of scores say their numbers, draw what they have, and leave out what they have not."""

from __future__ import annotations

import copy
import itertools
import json
import logging

import pytest
from matplotlib import pyplot
from score_figure_examples import (
    FILES,
    HOSTILE,
    made_absent,
    made_abstention,
    made_calibration,
    made_crossval,
    made_curve,
    made_decision_curve,
    made_hostile,
    made_interval,
    made_permutation,
    made_person,
    made_prediction_sets,
    made_results,
    made_retest,
    made_rivals,
)
from watched_figures import check_png

from src.labels import class_scheme
from src.report.score_figures import forest
from src.report.score_figures.calibration import decision_curve_figure, reliability_figure
from src.report.score_figures.coverage import abstention_figure, prediction_sets_figure
from src.report.score_figures.resampling import crossval_figure, permutation_figure
from src.report.score_figures.rivals import rivals_figure
from src.report.score_figures.subgroups import retest_figure, subgroup_figure
from src.report.score_figures.write import write_score_figures

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.slow
def test_every_figure_is_drawn_and_no_text_covers_another(tmp_path, rendered) -> None:
    written = write_score_figures(tmp_path, made_results(4), "kaggle_2d, 200 people")
    assert [path.name for path in written] == list(FILES)
    for path, figure in zip(written, list(rendered.figures), strict=True):
        check_png(path)
        rendered.figures.append(figure)
        assert any("n = " in text for text in rendered.texts), path.name
        assert any(text.endswith(": kaggle_2d, 200 people") for text in rendered.texts), path.name
    assert pyplot.get_fignums() == []


@pytest.mark.slow
def test_hostile_names_break_no_figure(tmp_path, rendered) -> None:
    names = itertools.cycle(HOSTILE)
    written = write_score_figures(tmp_path, made_hostile(names), HOSTILE["words"])
    assert [path.name for path in written] == list(FILES)
    for path in written:
        check_png(path)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_class_of_any_name_keeps_its_row(tmp_path, drawn, kind: str) -> None:
    results = made_hostile(itertools.repeat(kind))
    sets, classes = results["prediction_sets"], results["classes"]
    assert prediction_sets_figure(tmp_path / "p.png", sets, classes, HOSTILE[kind])
    rows = [text for text in drawn.texts if text.endswith("n = 70 people")]
    assert len(rows) == 1
    assert rows[0].startswith("1")
    assert max(map(len, drawn.texts)) < 1100


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3])
def test_sets_of_fewer_classes(tmp_path, rendered, k: int) -> None:
    classes = class_scheme(k).classes
    check_png(prediction_sets_figure(tmp_path / "p.png", made_prediction_sets(k), classes, "T"))
    assert not any("not estimable" in text for text in rendered.texts)


def test_what_is_not_available_is_not_drawn(tmp_path) -> None:
    path = tmp_path / "x.png"
    for gone in (None, {}, made_absent()):
        assert reliability_figure(path, gone, "T") is None
        assert decision_curve_figure(path, gone, "T") is None
        assert abstention_figure(path, gone, "T") is None
        assert prediction_sets_figure(path, gone, ("A", "B"), "T") is None
        assert subgroup_figure(path, gone, gone, "T") is None
        assert retest_figure(path, gone, "T") is None
        assert permutation_figure(path, gone, "T") is None
        assert crossval_figure(path, gone, made_person(), "T") is None
    assert rivals_figure(path, made_person(), None, "T") is None
    assert rivals_figure(path, made_person(), [made_rivals()[0] | made_absent()], "T") is None
    assert retest_figure(path, made_retest() | {"pairs": [[None, 1.0]]}, "T") is None
    assert (
        permutation_figure(path, made_permutation() | {"null": {"macro_auc": [None]}}, "T") is None
    )
    assert crossval_figure(path, made_crossval() | {"per_fold": []}, made_person(), "T") is None
    assert list(tmp_path.iterdir()) == []


def test_stale_figures_go_and_the_reason_is_logged(tmp_path, caplog) -> None:
    for name in (*FILES, "roc.png"):
        (tmp_path / name).write_bytes(b"of an earlier run")
    results = {"classes": ["A", "B"], "stamps": [], "person": made_person(2), "permutation": None}
    results |= {
        "rivals": [made_rivals()[0] | made_absent("no ages " * 2000)],
        "retest": made_absent("no MR2"),
    }
    results |= {"abstention": made_abstention()}
    with caplog.at_level(logging.INFO, logger="src.report.score_figures.write"):
        written = write_score_figures(tmp_path, results, "T")
    assert [path.name for path in written] == ["abstention.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["abstention.png", "roc.png"]
    assert len(caplog.messages) == 1  # one line, of what the result has a section for
    assert caplog.messages[0].startswith("not drawn: rivals.png (")
    assert "retest.png (no MR2)" in caplog.messages[0]
    assert not [text for text in caplog.messages if "not part of this result" in text]
    assert max(map(len, caplog.messages)) < 400


def test_one_bin_is_no_calibration_curve(tmp_path, drawn) -> None:
    calibration = made_calibration()
    for when in ("before", "after"):
        calibration[when]["curve"] = calibration[when]["curve"][:1]
    assert reliability_figure(tmp_path / "c.png", calibration, "T") is None
    calibration["after"]["curve"] = made_calibration()["after"]["curve"][:2]
    assert reliability_figure(tmp_path / "c.png", calibration, "T")


@pytest.mark.slow
def test_stamps_are_on_every_figure_and_sections_stay_as_they_are(tmp_path, drawn) -> None:
    results = made_results() | {"stamps": ["people unknown"]}
    before = copy.deepcopy(results)
    write_score_figures(tmp_path, results, "T")
    assert json.dumps(results) == json.dumps(before)
    assert len(drawn.figures) == len(FILES)
    for figure in list(drawn.figures):
        drawn.figures.append(figure)
        assert "people unknown" in drawn.texts


def test_rivals_stand_beside_the_model_and_the_majority(tmp_path, drawn) -> None:
    rivals = made_rivals()
    rivals[0] |= made_absent("the manifest has no ages.")
    rivals[2]["imputed"] = 12
    person = made_person(4) | {"notes": ["ModerateDemented: 2 people in test"]}
    assert rivals_figure(tmp_path / "r.png", person, rivals, "T")
    assert {
        "this model n = 200 people",
        "0.53 [0.46-0.59]",
        "always NonDemented n = 200 people",
        "0.25 (by definition)",
        "0.50 (by definition)",
        "dark voxels n = 198 people, 12 imputed",
        "age, sex, nWBV, eTIV, MMSE upper reference, n = 198 people",
        "balanced accuracy (dotted: chance, 0.25)",
        "macro AUC (dotted: chance, 0.50)",
    } <= set(drawn.texts)
    assert drawn.caption == (
        "Bars: 95 % intervals of people. Hollow: a class has under 10 people. "
        "ModerateDemented: 2 people in test. "
        "Not available: age, sex (the manifest has no ages)."
    )
    model, majority, *others, upper = drawn.marks()
    assert model.get_xdata() == [0.53]
    assert majority.get_xdata() == [0.25]
    assert [float(mark.get_xdata()[0]) for mark in others] == [0.52, 0.57]
    assert upper.get_color() == forest.GREY
    assert upper.get_markerfacecolor() == "white"
    assert [mark.get_marker() for mark in (model, majority, *others, upper)] == list("oDss^")


def test_chance_is_over_the_classes_that_have_people(tmp_path, drawn) -> None:
    person = made_person(4)
    person["confusion"][3] = [0, 0, 0, 0]
    rivals_figure(tmp_path / "r.png", person, made_rivals(), "T")
    assert "balanced accuracy (dotted: chance, 0.33)" in drawn.texts


def test_calibration_says_error_and_slope_before_and_after(tmp_path, drawn) -> None:
    assert reliability_figure(tmp_path / "c.png", made_calibration(), "T")
    assert {
        "before calibration ECE of p(demented) 0.14 [0.11-0.17] slope 0.61 [0.41 to 0.79]",
        "after calibration ECE of p(demented) 0.06 [0.03-0.09] slope 0.97 [0.77 to 1.15]",
    } <= set(drawn.texts)
    assert drawn.caption.startswith("n = 200 people, in bins of 20. Bars: 95 % Wilson intervals.")
    assert "One temperature of 1.63" in drawn.caption
    first = made_calibration()["before"]["curve"][0]
    assert drawn.marks()[0].get_xydata().tolist() == [[first["predicted"], first["observed"]]]
    bar = next(line for line in drawn.lines() if line.get_marker() == "_")
    assert list(bar.get_ydata()) == [first["low"], first["high"]]
    heights = [patch.get_height() for patch in drawn.figures[-1].get_axes()[2].patches]
    assert heights == [20] * 10


def test_bins_of_few_people_are_hollow(tmp_path, drawn) -> None:
    calibration = made_calibration()
    calibration["after"]["curve"] = made_curve(0.5, (9, 10))
    reliability_figure(tmp_path / "c.png", calibration, "T", n_people=19)
    few, enough = drawn.marks(1)
    assert (few.get_markerfacecolor(), few.get_color()) == ("white", forest.GREY)
    assert enough.get_markerfacecolor() == enough.get_color() != forest.GREY
    assert "n = 19 people, in bins of 9 to 10." in drawn.caption
    assert "Hollow: under 10 people." in drawn.caption


@pytest.mark.slow
def test_decision_curve_has_three_lines_a_band_and_the_useful_range(tmp_path, drawn) -> None:
    section = made_decision_curve()
    assert decision_curve_figure(tmp_path / "d.png", section, "T", n_people=200)
    assert {"treat all", "treat none", "treat by the model", "useful: 0.15 to 0.85"} <= set(
        drawn.texts
    )
    assert drawn.caption.startswith("n = 200 people. Between thresholds")
    treat_all, none, model = drawn.lines()
    assert model.get_ydata().tolist() == section["model"]
    assert treat_all.get_ydata().tolist() == section["all"]
    assert not none.get_ydata().any()
    assert len({line.get_linestyle() for line in (treat_all, none, model)}) == 3
    axes = drawn.figures[-1].get_axes()[0]
    assert axes.patches[0].get_extents().width > 0
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (min(section["low"]), max(section["high"]))
    assert axes.get_ylim()[0] > min(section["all"])  # "treat all" falls without end


def test_decision_curve_that_is_never_useful(tmp_path, drawn) -> None:
    section = made_decision_curve() | {"useful": None, "sentence": "At no threshold."}
    section["low"][0] = section["high"][0] = None
    decision_curve_figure(tmp_path / "d.png", section, "T")
    assert not any("useful" in text for text in drawn.texts)
    assert drawn.figures[-1].get_axes()[0].patches[:] == []


def test_abstention_has_both_scores_by_people_answered(tmp_path, drawn) -> None:
    section = made_abstention(18)
    section["curve"][-1]["balanced_accuracy"] = made_interval(None)
    section["curve"][2]["few_people"] = True
    assert abstention_figure(tmp_path / "a.png", section, "T")
    assert {"50 % n = 9", "100 % n = 18", "accuracy", "balanced accuracy"} <= set(drawn.texts)
    assert "Area under accuracy against share answered: 0.68 [0.63-0.73]." in drawn.caption
    assert "Hollow: under 10 people, or of a class." in drawn.caption
    points = drawn.marks()
    assert len(points) == 11  # one balanced accuracy is undefined
    hollow = [mark.get_markerfacecolor() == "white" for mark in points]
    assert hollow == [True] + [False] * 5 + [False, False, True, False, False]
    assert points[0].get_ydata() == pytest.approx([0.73])  # the fewest people stand on the left


def test_prediction_sets_by_class_against_the_nominal_lines(tmp_path, drawn) -> None:
    section, classes = made_prediction_sets(4), class_scheme(4).classes
    section["levels"]["0.95"]["per_class"]["MildDemented"] |= {"available": False, "reason": "no"}
    section["levels"]["0.80"]["per_class"]["MildDemented"]["n_people"] = 9
    assert prediction_sets_figure(tmp_path / "p.png", section, classes, "T")
    assert {"everyone n = 200 people", "ModerateDemented n = 2 people", "80 % sets"} <= set(
        drawn.texts
    )
    assert "1.30 [1.20-1.39] one class: 60 %" in drawn.texts
    assert drawn.texts.count("not estimable") == 3 + 1
    assert "Empty sets: 3 at 80 %, 2 at 90 %, 1 at 95 %." in drawn.caption
    assert "Not estimable: ModerateDemented: 2 validation people are too few for a" in drawn.caption
    assert "; MildDemented: no." in drawn.caption
    marks = drawn.marks()
    assert len(marks) == 5 * 3 - 4
    nominal = [
        (line.get_xdata()[0], line.get_color(), line.get_linestyle())
        for line in drawn.lines()
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
    ]
    assert [at for at, _, _ in nominal] == [0.8, 0.9, 0.95]
    assert [mark.get_color() for mark in marks[:3]] == [colour for _, colour, _ in nominal]
    assert len({style for _, _, style in nominal}) == len({m.get_marker() for m in marks}) == 3
    hollow = [mark for mark in marks if mark.get_markerfacecolor() == "white"]
    assert len(hollow) == 1
    assert hollow[0].get_xdata() == [made_prediction_sets(4)["levels"]["0.80"]["per_class"][
        "MildDemented"]["coverage"]["value"]]  # fmt: skip


def test_an_interval_need_not_hold_its_estimate(tmp_path, drawn) -> None:
    rivals = made_rivals()
    rivals[0]["metrics"]["macro_auc"] = {"value": 0.7, "low": 0.71, "high": 0.8}
    rivals[1]["metrics"]["macro_auc"] = {"value": 0.7, "low": None, "high": None}
    rivals[2]["metrics"]["macro_auc"] = made_interval(None)
    assert rivals_figure(tmp_path / "r.png", made_person(), rivals, "T")
    assert {"0.70 [0.71-0.80]", "0.70 [no interval]", "not estimable"} <= set(drawn.texts)


def test_no_line_of_a_caption_breaks_within_a_number() -> None:
    caption = forest.caption_of(["n = 40 people", "", "AUC 0.74 [0.69-0.79], 95 %."])
    assert caption == "n\xa0=\xa040 people. AUC 0.74\xa0[0.69-0.79], 95\xa0%."
