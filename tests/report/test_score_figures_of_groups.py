"""Figures of groups of people: subgroups, two sessions, shuffles, folds, shares who train."""

from __future__ import annotations

import numpy as np
import pytest
from score_figure_examples import (
    made_absent,
    made_confounding,
    made_crossval,
    made_interval,
    made_learning_curve,
    made_permutation,
    made_person,
    made_retest,
    made_subgroups,
)
from watched_figures import check_png

from src.report.score_figures import forest
from src.report.score_figures.learning_curve import learning_curve_figure
from src.report.score_figures.resampling import crossval_figure, permutation_figure
from src.report.score_figures.subgroups import retest_figure, subgroup_figure

pytestmark = pytest.mark.filterwarnings("error")


def test_groups_of_too_few_people_are_no_figure(tmp_path, drawn) -> None:
    nobody = {"auc_demented": made_interval(None), "balanced_accuracy": made_interval(None)}
    groups = made_subgroups()
    for group in groups["groups"]:
        group["metrics"] = dict(nobody)
    path = tmp_path / "s.png"
    assert subgroup_figure(path, groups, None, "T") is None
    assert not path.exists()
    groups["groups"][0]["metrics"]["balanced_accuracy"] = made_interval(0.5)
    assert subgroup_figure(path, groups, None, "T") == path
    assert len(drawn.figures[-1].get_axes()) == 1  # no panel without any estimate


def test_subgroups_have_their_people_and_few_are_grey(tmp_path, drawn) -> None:
    subgroups, confounding = made_subgroups(), made_confounding()
    subgroups["groups"][3]["few_classes"] = ["MildDemented"]
    confounding["all_ages"]["few_people"] = True
    assert subgroup_figure(tmp_path / "s.png", subgroups, confounding, "T")
    assert {
        "sex",
        "F n = 118 people, 54 demented",
        "0.83 [0.74-0.91]",
        "unknown n = 7 people, 4 demented (few)",
        "not estimable",
        "confounding by age",
        "all ages n = 235 people",
        "60 years and older n = 198 people",
        "pairs matched by age n = 84 pairs",
    } <= set(drawn.texts)
    caption = drawn.caption
    assert "Largest gap in AUC: sex 0.05 [0.01-0.09] (by chance 0.04)." in caption
    assert "within 3 years, accuracy of CDR 0 against > 0 0.67 [0.60-0.73]." in caption
    assert "Hollow: a class of under 10 people weighs as much as the others." in caption
    hollow = [mark for mark in drawn.marks(1) if mark.get_markerfacecolor() == "white"]
    assert [float(mark.get_xdata()[0]) for mark in hollow] == [0.51, 0.4, 0.56]
    assert "Grey: under 10 people, too few to judge." in caption
    grey = [mark for mark in drawn.marks() if mark.get_color() == forest.GREY]
    assert [float(mark.get_xdata()[0]) for mark in grey] == [0.7]
    labels = drawn.figures[-1].get_axes()[0].get_yticklabels()
    assert [t.get_text()[:7] for t in labels if t.get_color() == forest.GREY] == ["unknown"]
    assert [t.get_text() for t in labels if t.get_fontweight() == "bold"] == [
        *("sex", "age", "confounding by age")
    ]


def test_age_rows_stand_without_groups_and_say_what_is_missing(tmp_path, drawn) -> None:
    confounding = made_confounding() | {"at_least_60": made_absent("9 people are 60 or older")}
    confounding |= {"age_matched": made_absent("7 pairs within 3 years")}
    assert subgroup_figure(tmp_path / "s.png", made_absent(), confounding, "T")
    assert drawn.texts.count("not available") == 4
    assert "60 years and older: 9 people are 60 or older." in drawn.caption
    assert "matched by age: 7 pairs within 3 years." in drawn.caption
    assert "sex" not in drawn.texts


def test_groups_stand_without_age_rows(tmp_path, drawn) -> None:
    assert subgroup_figure(tmp_path / "s.png", made_subgroups(), None, "T")
    assert "confounding by age" not in drawn.texts


def test_retest_has_bias_limits_and_agreement(tmp_path, drawn) -> None:
    section = made_retest()
    section["icc"] = made_interval(0.93, 0.05)
    assert retest_figure(tmp_path / "b.png", section, "T")
    low, high = section["limits"]
    assert {f"bias {section['bias']:.2f}", f"lower limit {low:.2f}", f"upper limit {high:.2f}"} <= (
        set(drawn.texts)
    )
    assert any(text.startswith("ICC(2,1) 0.93 [0.88 to 0.9") for text in drawn.texts)
    assert drawn.caption.startswith("n = 20 people. Scores are log-odds of demented.")
    assert "Same class on both days: 0.90 [0.83-0.96], kappa 0.71." in drawn.caption
    points = next(line for line in drawn.lines(1) if len(line.get_xdata()) == 20)
    pairs = np.array(section["pairs"])
    np.testing.assert_allclose(points.get_ydata(), pairs[:, 1] - pairs[:, 0])
    np.testing.assert_allclose(points.get_xdata(), pairs.mean(axis=1))
    assert points.get_ydata().mean() == pytest.approx(section["bias"])


@pytest.mark.parametrize("n", [1, 4])
def test_retest_of_few_people_is_grey(tmp_path, drawn, n: int) -> None:
    section = made_retest(n)
    if n == 1:
        section |= {"bias": None, "limits": None, "icc": None, "kappa": None}
    assert retest_figure(tmp_path / "b.png", section, "T")
    assert ": too few to judge." in drawn.caption
    points = next(line for line in drawn.lines() if line.get_marker() == "o")
    assert points.get_color() == forest.GREY


def test_permutation_shows_the_null_and_p(tmp_path, drawn) -> None:
    section = made_permutation()
    section["p"]["macro_auc"] = 0.0312
    section["null"]["balanced_accuracy"][0] = None
    assert permutation_figure(tmp_path / "p.png", section, "T", n_people=200)
    assert {"balanced accuracy: 0.53, p = 0.001", "macro AUC: 0.74, p = 0.031"} <= set(drawn.texts)
    assert drawn.caption.startswith("n = 200 people. 1000 shuffles")
    axes = drawn.figures[-1].get_axes()
    assert len(axes) == 2
    assert sum(patch.get_height() for patch in axes[0].patches) == 999
    limit, observed = axes[1].lines
    null = np.array(section["null"]["macro_auc"])
    assert (null < limit.get_xdata()[0]).mean() == 0.95
    assert observed.get_xdata()[0] == 0.74


@pytest.mark.parametrize(
    ("curve", "ends"),
    [
        (made_learning_curve(), 324),
        (made_learning_curve(0.005), 162),
        (made_learning_curve(few=True), 162),
    ],
)
def test_a_learning_curve_goes_beyond_its_people_only_where_it_rises(tmp_path, drawn, curve, ends):
    assert learning_curve_figure(tmp_path / "l.png", curve, made_person(3), "T")
    axes = drawn.figures[-1].get_axes()[1]
    lines = [line for line in axes.get_lines() if line.get_label() != "chance"]
    reached = max(float(np.max(line.get_xdata())) for line in lines)
    assert 2**reached == pytest.approx(ends, rel=0.02)
    beyond = [line for line in lines if "if it goes on so" in str(line.get_label())]
    assert [float(line.get_ydata()[-1]) for line in beyond] == ([0.73] if ends == 324 else [])
    words = [text.get_text() for text in axes.get_xticklabels()]
    assert words[:3] == ["32", "65", "97"]
    assert words[3] == ""  # it would touch the next
    assert ("324" in words) == (ends == 324)


def test_permutation_of_one_metric_and_few_shuffles(tmp_path, drawn) -> None:
    section = made_permutation(3)
    section["null"] = {"macro_auc": section["null"]["macro_auc"]}
    section["p"] = {}
    assert permutation_figure(tmp_path / "p.png", section, "T")
    assert len(drawn.figures[-1].get_axes()) == 1
    assert "macro AUC: 0.74" in drawn.texts


def test_crossval_has_folds_means_and_two_intervals(tmp_path, drawn) -> None:
    section, person = made_crossval(), made_person()
    assert crossval_figure(tmp_path / "c.png", section, person, "T")
    assert {
        "balanced accuracy resampled people: 0.53 [0.46-0.59] corrected: 0.53 [0.44-0.61]",
        "one fold",
        "mean of a repeat's folds",
        "all answers, interval of resampled people",
        "mean of folds, corrected interval",
        "chance",
    } <= set(drawn.texts)
    assert drawn.caption.startswith("n = 200 people, 40 to 41 in a fold.")
    assert "between repeats: 0.012 (balanced accuracy)." in drawn.caption
    folds = [line.get_ydata() for line in drawn.lines(1) if line.get_label() == "one fold"]
    assert [len(values) for values in folds] == [4] * 5  # one fold of each repeat has no AUC
    means = [line.get_ydata() for line in drawn.lines(1) if "repeat's" in line.get_label()]
    assert [float(y[0]) for y in means] == pytest.approx([values.mean() for values in folds])
    whole, corrected = drawn.marks(0)
    assert (whole.get_ydata(), corrected.get_ydata()) == ([0.53], [0.525])
    assert whole.get_marker() != corrected.get_marker()


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 30])
def test_crossval_of_one_and_of_many_repeats(tmp_path, rendered, repeats: int) -> None:
    section = made_crossval(repeats, 2) | {"spread": {}, "corrected": {}}
    for fold in section["per_fold"]:
        fold["metrics"]["macro_auc"] = None
    check_png(crossval_figure(tmp_path / "c.png", section, made_person(), "T"))
    assert any(text.endswith("corrected: not estimable") for text in rendered.texts)
