"""Studies tried on each other: words, tables, and a figure nothing of which is cut off."""

from copy import deepcopy

import pytest
from PIL import Image

from src.config.own_files import check_own
from src.report.cross_study import (
    cells_table,
    in_short,
    markdown,
    matrix_figure,
    matrix_table,
    sentences,
)


def span(value, half=0.1):
    return {"value": value, "low": value - half, "high": value + half}


def cell(name, kind, trained, tested, value, dark, **more):
    metrics = {k: span(value) for k in ("balanced_accuracy", "macro_auc", "auc_demented")}
    return {
        "name": name,
        "kind": kind,
        "trained_on": trained,
        "tested_on": tested,
        "refused": None,
        "dropped": 0,
        "n_trained": 40,
        "n_people": 30,
        "metrics": metrics,
        "per_class": {"NonDemented": 18, "Demented": 12},
        "probabilities": {name: span(0.8) for name in ("log_loss", "slope", "intercept")},
        "rivals": [
            {
                "name": "dark_voxels",
                "title": "dark voxels",
                "metrics": {k: span(dark) for k in metrics},
            }
        ],
        "drift": None,
        "recalibrated": None,
        **more,
    }


def drift(home, promised):
    def each(value):
        return {"balanced_accuracy": span(value, 0.05)}

    return {"home": each(home), "promised": each(promised)}


def result():
    """Two studies that answer each other, and a third that one of them may not be tested on."""
    refused = {"refused": "both are oasis", "kind": "pair", "dropped": 0}
    found = {
        "schema": "crossdata/1",
        "kind": "crossdata",
        "run": "mine",
        "backbone": "resnet18",
        "classes": ["NonDemented", "Demented"],
        "stamps": [],
        "studies": [
            {
                "name": name,
                "cohort": "bids",
                "n_people": 30,
                "n_images": 60,
                "classes": {"NonDemented": 18, "Demented": 12},
                "age": age,
            }
            for name, age in (("a", [60.0, 70.5, 90.0]), ("b|<i>", None), ("c", None))
        ],
        "cells": [
            cell("a_within", "within", ["a"], "a", 0.8, 0.75),
            cell("b_within", "within", ["b|<i>"], "b|<i>", 0.7, 0.8),
            cell("a_to_b", "pair", ["a"], "b|<i>", 0.62, 0.78, drift=drift(-0.08, -0.18)),
            cell("b_to_a", "pair", ["b|<i>"], "a", 0.8, 0.74, drift=drift(0.0, 0.1), dropped=2),
            {"name": "c_to_a", "trained_on": ["c"], "tested_on": "a", **refused},
            {
                **{"name": "others_to_c", "trained_on": ["b|<i>"], "tested_on": "c", "dropped": 0},
                **{"kind": "others", "refused": "of the other studies only b is external"},
            },
        ],
        "settings": {},
        "seconds": 1.0,
    }
    check_own(found, "crossdata")
    return found


def test_a_loss_beyond_chance_and_one_that_is_none_are_told_apart():
    lines = sentences(result())
    assert lines[0].startswith("a to b|<i>: balanced accuracy 0.620 (0.520 to 0.720) of 30 people")
    assert (
        "0.080 less than a model of b|<i> itself (difference -0.130 to -0.030, beyond" in lines[0]
    )
    assert "dark voxels, learnt from the same people, 0.780" in lines[0]
    assert "as much as a model of a itself (difference -0.050 to +0.050)" in lines[1]
    assert "which chance can give" in lines[1]
    assert "2 people are in both studies and did not train" in lines[1]
    assert lines[2] == "c to a: refused, both are oasis."
    assert lines[3].startswith("all other studies (b|<i>) to c: refused, of the other studies")


def test_the_whole_in_a_sentence():
    assert in_short(result()) == (
        "The model's mean balanced accuracy is 0.750 at home and 0.710 away; that of dark voxels "
        "0.775 and 0.760."
    )
    alone = result()
    alone["cells"] = alone["cells"][:2]
    assert in_short(alone) == ""


def test_the_matrix_has_a_cross_validation_where_both_are_one():
    head, rows = matrix_table(result())
    assert head == ["trained on", "a", "b|<i>", "c"]
    assert rows[0][1].startswith("0.800")
    assert rows[0][2].startswith("0.620")
    assert rows[1][1].startswith("0.800")
    assert rows[2][1] == "refused"
    assert rows[2][3] == ""


def test_two_classes_have_one_auc_and_differences_their_sign():
    head, rows = cells_table(result())
    assert "AUC of CDR 0 v > 0" not in head
    row = dict(zip(head, rows[2], strict=True))
    assert row["minus home"] == "-0.080 (-0.130 to -0.030)"
    assert dict(zip(head, rows[3], strict=True))["minus home"] == "0.000 (-0.050 to +0.050)"


def test_names_of_folders_are_no_markup():
    text = markdown(result())
    assert "<i>" not in text
    assert "c to a: refused" in text


def test_few_people_are_marked():
    few = result()
    few["cells"][2]["per_class"] = {"NonDemented": 27, "Demented": 3}
    assert "0.620 (0.520 to 0.720)*" in matrix_table(few)[1][0][2]


def test_over_confidence_and_a_new_calibration_are_told():
    sure = deepcopy(result())
    one = sure["cells"][2]
    one["probabilities"]["slope"] = {"value": 0.5, "low": 0.3, "high": 0.8}
    loss = {"log_loss": span(0.9)}, {"log_loss": span(0.6)}
    one["recalibrated"] = {
        **{"n_people": 20, "draws": 20, "method": "vector"},
        **{"as_it_came": loss[0], "recalibrated": loss[1]},
    }
    line = sentences(sure)[0]
    assert "probabilities are over-confident there (slope 0.50)" in line
    assert "calibrated on 20 people of it, log-loss 0.900 becomes 0.600" in line


@pytest.mark.parametrize("part", ["metrics", "drift", "per_class"])
def test_a_cell_that_lacks_a_part_is_no_result(part):
    broken = result()
    del broken["cells"][2][part]
    with pytest.raises(ValueError, match=part):
        check_own(broken, "crossdata")


def test_the_figure_is_drawn_with_refused_and_missing_cells(tmp_path):
    path = matrix_figure(tmp_path / "matrix.png", result())
    with Image.open(path) as image:
        assert image.width > image.height > 100
