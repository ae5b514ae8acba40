"""One way to write an estimate: an interval without width is none, and few people are marked."""

from __future__ import annotations

from typing import Any

import pytest

from src.evaluation.metrics.scores import format_table, score
from src.evaluation.result_files import format_rivals
from src.predictions import Predictions
from src.report.documents.markdown import estimate, score_cell
from src.report.estimates import ends_of, of_metric, rests_on_few, smallest_group, written
from src.report.score_figures.forest import said

CLASSES = ("NonDemented", "VeryMildDemented", "MildDemented")


def _interval(value: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (_interval(0.512, 0.412, 0.598), "0.512 (0.412 to 0.598)"),
        (_interval(0.5, 0.5, 0.5), "0.500 (no interval)"),
        (_interval(0.5, 0.5, 0.5 + 1e-12), "0.500 (no interval)"),
        (_interval(0.5, None, None), "0.500 (no interval)"),
        (_interval(None, None, None), "not estimable"),
        (None, "not estimable"),
        (0.25, "0.250"),
    ],
)
def test_an_interval_of_no_width_is_none(values: Any, text: str) -> None:
    assert written(values) == text
    assert (ends_of(values if isinstance(values, dict) else {}) is None) == (" to " not in text)


def test_documents_and_figures_write_by_the_same_rule() -> None:
    certain = _interval(1.0, 1.0, 1.0)
    assert estimate(certain) == "1.000 (no interval)"
    assert said(certain) == "1.00 [no interval]"
    assert said(_interval(0.5, 0.4, 0.6)) == "0.50 [0.40-0.60]"


@pytest.mark.parametrize(
    ("metric", "group"),
    [
        ("balanced_accuracy", (3, "3 people of MildDemented")),
        ("macro_auc", (3, "3 people of MildDemented")),
        ("auc_demented", (11, "11 people above CDR 0")),
        ("accuracy", (31, "31 people")),
    ],
)
def test_a_metric_rests_on_its_smallest_group(metric: str, group: tuple[int, str]) -> None:
    counts = dict(zip(CLASSES, (20, 8, 3), strict=True))
    assert smallest_group(metric, counts) == group
    assert rests_on_few(metric, counts) == (group[0] < 10)
    assert smallest_group(metric, counts | {"ModerateDemented": 0}) == group  # nobody is no group


def test_who_is_too_few_is_said_in_the_place_of_the_interval() -> None:
    counts = dict(zip(CLASSES, (20, 8, 3), strict=True))
    equal = _interval(0.5, 0.5, 0.5)
    why = "0.500 (interval not estimable: 3 people of MildDemented)"
    assert of_metric("balanced_accuracy", equal, counts) == why
    assert of_metric("balanced_accuracy", equal, counts, short=True) == "0.500 (no interval)"
    wide = _interval(0.5, 0.4, 0.6)
    assert of_metric("balanced_accuracy", wide, counts) == "0.500 (0.400 to 0.600)"
    lone = counts | {"MildDemented": 1}  # never drawn otherwise, so resampling says nothing of it
    assert of_metric("macro_auc", wide, lone).endswith("not estimable: 1 person of MildDemented)")
    assert of_metric("accuracy", wide, lone) == "0.500 (0.400 to 0.600)"
    assert score_cell("balanced_accuracy", wide, counts) == "*.500 (.400 to .600)*"
    assert score_cell("accuracy", wide, counts) == ".500 (.400 to .600)"


def _eight_people() -> dict[str, Any]:
    """Return scores of eight people, four of each class, of whom all are said to be healthy."""
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    logits = [[3.0 - 0.1 * i, 0.0] for i in range(8)]
    rows = Predictions(labels, logits, [f"p{i}" for i in range(8)])  # type: ignore[arg-type]
    return score(rows, CLASSES[:2], [9, 7], n_bootstrap=200)


def test_the_log_of_eight_people_holds_no_interval_of_no_width() -> None:
    person = _eight_people()
    assert person["metrics"]["balanced_accuracy"] == _interval(0.5, 0.5, 0.5)
    assert person["metrics"]["macro_auc"] == _interval(1.0, 1.0, 1.0)
    results = {"person": person, "rivals": [], "permutation": None, "audit": {"verdict": "PASS"}}
    results |= dict.fromkeys(("increment", "calibration", "external"))
    table = format_table(person, CLASSES[:2])
    assert "balanced_accuracy   0.500 (interval not estimable: 4 people of NonDemented)*" in table
    assert "* rests on a class of under 10 people" in table
    for text in (table, format_rivals(results)):
        assert "0.500 to 0.500" not in text
        assert "1.000 to 1.000" not in text
    assert "0.500 (no interval)*" in format_rivals(results)
