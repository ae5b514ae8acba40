"""The result's contract: what it accepts, what it refuses, and whether a person can act on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from result_examples import CLASSES, answers, crossval_result, evaluate_result, unavailable

from src.errors import DataNotFoundError, MriError
from src.evaluation.metrics.scores import METRICS, PER_CLASS
from src.report.metrics_schema import SCHEMA, SCHEMA_FILE, ResultError, check_metrics, read_metrics

SECTIONS = (
    *("increment", "calibration", "prediction_sets", "abstention", "decision_curve"),
    *("subgroups", "confounding", "retest", "permutation", "audit"),
)
RESULTS = {"evaluate": evaluate_result, "crossval": crossval_result}


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return schema


def _refusal(content: Any) -> str:
    with pytest.raises(ResultError) as caught:
        check_metrics(content)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.message


def _reach(content: Any, path: str) -> tuple[Any, Any]:
    """Return what holds the last part of a dotted path, and that part."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in parents:
        content = content[part]
    return content, last


def test_the_schema_is_a_schema_and_names_its_version() -> None:
    Draft202012Validator.check_schema(_schema())
    assert _schema()["properties"]["schema"] == {"const": SCHEMA}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_of_either_kind_is_accepted_before_and_after_it_was_a_file(kind: str) -> None:
    result = RESULTS[kind]()
    check_metrics(result)
    check_metrics(json.loads(json.dumps(result, allow_nan=False)))


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("kind", RESULTS)
def test_every_section_may_be_null_or_unavailable(kind: str, section: str) -> None:
    for absent in (None, unavailable("too few people"), unavailable("few") | {"n_people": 3}):
        check_metrics(RESULTS[kind]() | {section: absent})


def test_the_schema_knows_every_metric() -> None:
    known = _schema()["$defs"]
    promised = set(known["metrics"]["required"])  # a metric added later is not among them
    assert len(promised) == 10
    assert promised <= set(METRICS)
    assert set(PER_CLASS) < set(known["class_score"]["required"])


def test_a_metric_added_later_is_accepted() -> None:
    result = evaluate_result()
    result["person"]["metrics"]["new"] = {"value": 1.0, "low": None, "high": None}
    check_metrics(result)


def test_tuples_are_what_json_makes_of_them() -> None:
    result = evaluate_result()
    check_metrics(result | {"classes": tuple(result["classes"])})


def _paths_of_required_fields() -> list[tuple[str, str]]:
    """Every field of the two examples that the schema should not let go."""
    top = [("evaluate", name) for name in _schema()["required"]]
    deep = {
        "evaluate": (
            *("person/n_people", "person/metrics", "person/metrics/log_loss", "person/confusion"),
            *("person/metrics/brier/low", "person/per_class/MildDemented/few_people"),
            *("person/majority/class", "image/notes", "rivals/0/metrics", "rivals/0/metrics/brier"),
            *("rivals/0/upper_reference", "rivals/3/reason", "increment/sentence"),
            *("increment/auc_both/value", "increment/likelihood_ratio/p", "calibration/before"),
            *("calibration/after/slope", "calibration/after/curve/0/n_people"),
            *("prediction_sets/levels", "prediction_sets/levels/0.90"),
            *("prediction_sets/levels/0.90/coverage",),
            *("prediction_sets/levels/0.90/per_class/MildDemented/reason",),
            *("prediction_sets/levels/0.90/per_class/NonDemented/coverage", "abstention/area"),
            *("abstention/curve/0/n_people", "decision_curve/thresholds", "decision_curve/useful"),
            *("subgroups/groups/0/n_people", "subgroups/groups/0/few_people", "subgroups/gaps"),
            *("confounding/at_least_60", "confounding/age_matched/n_pairs", "retest/limits"),
            *("confounding/all_ages/auc_demented", "permutation/p", "audit/verdict"),
            *("people/test",),
        ),
        "crossval": (
            *("crossval", "crossval/folds_hash", "crossval/per_fold/0/n_people", "people/all"),
            *("crossval/spread/accuracy/sd_seeds", "crossval/corrected/accuracy/high"),
        ),
    }
    return [*top, *((kind, path) for kind, paths in deep.items() for path in paths)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "path"), _paths_of_required_fields())
def test_a_missing_field_is_named_with_its_place(kind: str, path: str) -> None:
    result = RESULTS[kind]()
    holder, last = _reach(result, path)
    del holder[last]
    message = _refusal(result)
    if path == "schema":
        assert message == "the result has no schema; this version reads 'metrics/2'"
        return
    place = re.sub(r"/(\d+)(?=/|$)", r"[\1]", path.rpartition("/")[0]).replace("/", ".")
    assert message == f"{place or 'the result'} lacks {last!r}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "train", 'kind is "train", none of "evaluate", "crossval"'),
        ("split", "out-of-fold", 'split is "out-of-fold", not "test"'),
        ("crossval", {}, "crossval does not belong to this kind of result"),
        ("person", None, "person is null, not object"),
        ("stamps", "one", 'stamps is "one", not array'),
        ("classes", ["A", "A"], 'classes is ["A", "A"], which breaks uniqueItems true'),
        ("classes", ["A"], 'classes is ["A"], which breaks minItems 2'),
        ("seconds", -1, "seconds is -1, which breaks minimum 0"),
        ("colour", "red", 'the result has the unknown field "colour"'),
        ("people/trane", {}, 'people has the unknown field "trane"'),
        ("people/train/NonDemented", 1.5, "people.train.NonDemented is 1.5, not integer"),
        (
            "person/metrics/brier/low",
            "a",
            'person.metrics.brier.low is "a", not number or null',
        ),
        ("person/metrics/brier", 0.5, "person.metrics.brier is 0.5, not object"),
        ("rivals/0/metrics", None, "rivals[0].metrics is null, not object"),
        ("rivals/3/reason", "", 'rivals[3].reason is "", which breaks minLength 1'),
        ("calibration", 5, "calibration is 5, not object or null"),
        ("calibration", {"available": False}, "calibration lacks 'reason'"),
        ("calibration/colour", 1, 'calibration has the unknown field "colour"'),
        ("retest/limits", [1], "retest.limits is [1], which breaks minItems 2"),
        (
            "permutation/p/macro_auc",
            2,
            "permutation.p.macro_auc is 2, which breaks maximum 1",
        ),
        (
            "subgroups/groups/0/factor",
            "hand",
            'subgroups.groups[0].factor is "hand", none of "sex", "age", "site"',
        ),
        (
            "person/metrics/brier/value",
            float("nan"),
            "person.metrics.brier.value is not a finite number; undefined is null",
        ),
        (
            "decision_curve/high/2",
            float("inf"),
            "decision_curve.high[2] is not a finite number; undefined is null",
        ),
        (
            "person/confusion/0",
            [1, 2],
            "person.confusion is not 3 x 3, one row per class",
        ),
        ("person/confusion/0/0", 99, "person.confusion does not add up to n_rows"),
        ("person/majority/class", "Ill", "person.majority.class is none of the classes"),
        ("image/n_rows", 1, "image.confusion does not add up to n_rows"),
        (
            "classes",
            [*CLASSES[1:], CLASSES[0]],
            "person.per_class does not list the classes in order",
        ),
    ],
)
def test_a_wrong_field_is_named_in_one_sentence(path: str, value: Any, message: str) -> None:
    result = evaluate_result()
    holder, last = _reach(result, path)
    holder[last] = value
    assert _refusal(result) == message


@pytest.mark.parametrize("content", [None, [], "x", 3])
def test_what_is_no_object_is_no_result(content: Any) -> None:
    assert "not object" in _refusal(content)


def test_a_long_wrong_value_is_cut() -> None:
    result = evaluate_result() | {"kind": "x" * 10_000}
    assert len(_refusal(result)) < 200


def test_a_cross_validation_needs_its_own_people() -> None:
    result = crossval_result() | {"people": evaluate_result()["people"]}
    assert _refusal(result) == "people lacks 'all'"


def test_a_data_set_may_have_test_people_only() -> None:
    result = evaluate_result()
    check_metrics(result | {"people": {"test": result["people"]["test"]}})


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(evaluate_result()), encoding="utf-8")
    assert read_metrics(path) == evaluate_result()


def test_a_missing_file_comes_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"python main\.py --mode evaluate"):
        read_metrics(tmp_path / "metrics.json")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"schema": "metrics/2"} x']
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(ResultError, match="is damaged") as caught:
        read_metrics(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, MriError | ValueError)


@pytest.mark.parametrize(("found", "said"), [({}, "no schema"), ({"schema": "metrics/1"}, "/1")])
def test_another_version_is_refused_with_the_fix(
    tmp_path: Path, found: dict[str, Any], said: str
) -> None:
    result = evaluate_result()
    del result["schema"]
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(result | found), encoding="utf-8")
    with pytest.raises(ResultError, match=said) as caught:
        read_metrics(path)
    assert "this version reads 'metrics/2'" in caught.value.message
    assert "python main.py --mode evaluate" in caught.value.hint


def test_a_broken_file_is_named_with_the_field(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(evaluate_result() | {"seconds": None}), encoding="utf-8")
    with pytest.raises(ResultError) as caught:
        read_metrics(path)
    assert caught.value.message == f"{path}: seconds is null, not number"


def _fields(schema: Any) -> set[str]:
    """Every name of a property in a schema, at any depth."""
    if isinstance(schema, list):
        return {name for part in schema for name in _fields(part)}
    if not isinstance(schema, dict):
        return set()
    named = schema.get("properties", {})
    return {
        *named,
        *(name for part in [*schema.values(), *named.values()] for name in _fields(part)),
    }


def test_every_field_is_explained_for_people() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([\w.]+)`", text))
    assert _fields(_schema()) - explained == set()
    assert set(METRICS) - explained == set()


def test_the_statistics_return_what_the_schema_says() -> None:
    import pandas as pd

    from src.evaluation.analyses.abstention import abstention
    from src.evaluation.analyses.calibration import calibration_report
    from src.evaluation.analyses.decision_curve import decision_curve
    from src.evaluation.analyses.subgroups import confounding, subgroup_scores
    from src.models.calibration import fit_calibration

    rows, applied = answers((20, 14, 7)), fit_calibration(answers((20, 14, 7), seed=3))
    subjects = list(dict.fromkeys(rows.subjects))
    table = pd.DataFrame(
        {"age": [60.0 + i % 30 for i in range(41)], "sex": ["F", "M", "F"] * 13 + ["F", None]},
        index=subjects,
    )
    check_metrics(
        evaluate_result()
        | {
            "calibration": calibration_report(rows, applied.apply(rows), applied, n_bootstrap=100),
            "abstention": abstention(rows, 100),
            "decision_curve": decision_curve(rows, n_bootstrap=100),
            "subgroups": subgroup_scores(rows, table, CLASSES, 100),
            "confounding": confounding(rows, table, 100),
        }
    )
