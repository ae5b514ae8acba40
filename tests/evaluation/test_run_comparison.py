"""The stage ``compare`` on generated results: who is compared, on what, and what is said."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import image as picture
from sklearn.metrics import brier_score_loss, roc_auc_score

from src.config import RunConfig
from src.config.options import build_config
from src.data.splits import hash_of_table
from src.errors import ConfigError, DataNotFoundError
from src.evaluation import run_comparison
from src.evaluation.metrics.scores import METRICS, score
from src.evaluation.metrics.significance import (
    delong,
    mcnemar,
    nadeau_bengio,
    paired_bootstrap,
    people_needed,
)
from src.evaluation.run_comparison import compare_runs
from src.evaluation.scored_runs import read_run
from src.files import write_json
from src.labels import class_scheme
from src.manifest import SAME_PEOPLE
from src.predictions import Predictions, as_binary, per_person, take_rows
from src.report.comparison import log_table, markdown, sentence
from src.report.metrics_schema import ResultError
from src.stages import compare

SECTIONS = (
    *("rivals", "increment", "calibration", "prediction_sets", "abstention", "decision_curve"),
    *("subgroups", "confounding", "retest", "permutation", "audit"),
)


def _people(n: int = 44, k: int = 3, seed: int = 0) -> dict[str, int]:
    """Subject -> stage of `n` people: half at CDR 0, the last stages rarer."""
    rng = np.random.default_rng(seed)
    stages = rng.permutation(np.resize([0, 1, 0, 2, 0, 1, 0, 3, 1, 0], n))
    return {f"OAS1_{i:04d}": int(stage) for i, stage in enumerate(stages)}


def _answers(people: dict[str, int], k: int, skill: float, seed: int, per: int) -> Predictions:
    """Noisy logits; what is hard about a person is the same for every model."""
    scheme = class_scheme(k)
    labels = np.array([scheme.index_of_label[stage] for stage in people.values()])
    hard = np.random.default_rng(99).normal(size=(len(people), k))
    rng = np.random.default_rng(seed)
    logits = np.repeat(hard + skill * np.eye(k)[labels], per, axis=0)
    logits += 0.7 * rng.normal(size=logits.shape)
    return Predictions(np.repeat(labels, per), logits, np.repeat(list(people), per))


def write_run(
    folder: Path,
    people: dict[str, int] | None = None,
    *,
    k: int = 3,
    skill: float = 1.2,
    seed: int = 0,
    repeats: int = 0,
    scale: float = 1.0,
    shift: float = 0.0,
    folds_hash: str | None = None,
    **changes: Any,
) -> Predictions:
    """Write the results of a run; `repeats` makes it a cross-validation.

    Return its rows as calibrated: ``logits * scale + shift``, more for higher classes.
    """
    people = _people() if people is None else people
    raw = _answers(people, k, skill, seed, max(repeats, 1))
    rows = Predictions(raw.labels, raw.logits * scale + np.arange(k) * shift, raw.subjects)
    classes = class_scheme(k).classes
    table = pd.DataFrame({"subject": rows.subjects})
    if repeats:
        table["repeat"] = np.tile(np.arange(repeats), len(people))
        table["fold"] = np.repeat(np.arange(len(people)) % 5, repeats)
    table["class"] = [classes[label] for label in rows.labels]
    table["predicted"] = [classes[label] for label in rows.predicted]
    for c, name in enumerate(classes):
        table[f"p_{name}"], table[f"logit_{name}"] = rows.probabilities[:, c], raw.logits[:, c]
    counts = dict(
        zip(classes, np.bincount(rows.labels[:: max(repeats, 1)], minlength=k), strict=True)
    )
    counts = {name: int(count) for name, count in counts.items()}
    result: dict[str, Any] = {
        "schema": "metrics/2",
        "kind": "crossval" if repeats else "evaluate",
        "run": folder.name,
        "dataset": "oasis_2d",
        "split": "out-of-fold" if repeats else "test",
        "classes": list(classes),
        "stamps": [],
        "person": score(rows, classes, list(counts.values()), 2),
        "image": None,
        **dict.fromkeys(SECTIONS),
        "people": {"all": counts} if repeats else dict.fromkeys(("train", "val", "test"), counts),
        "settings": {},
        "versions": {},
        "seconds": 1.0,
    }
    if repeats:
        result["crossval"] = _folds(folder, rows, people, repeats, seed, folds_hash)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "people.csv", index=False)
    write_json(folder / "metrics.json", result | changes)
    return rows


def _folds(
    folder: Path,
    rows: Predictions,
    people: Sequence[str],
    repeats: int,
    seed: int,
    hashed: str | None,
) -> dict[str, Any]:
    """Write ``folds.csv`` of 5 folds and return the section ``crossval`` with two seeds."""
    names = list(people)
    sides = [
        {
            "repeat": repeat,
            "fold": fold,
            "subject": name,
            "side": "test" if i % 5 == fold else "val" if i % 5 == (fold + 1) % 5 else "train",
        }
        for repeat in range(repeats)
        for fold in range(5)
        for i, name in enumerate(names)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(sides)
    table.to_csv(folder / "folds.csv", index=False)
    rng = np.random.default_rng([7, seed])
    per_fold = [
        {
            "repeat": repeat,
            "fold": fold,
            "seed": s,
            "n_people": len(names) // 5,
            "metrics": {name: float(rng.uniform(0.3, 0.7)) for name in METRICS},
        }
        for repeat in range(repeats)
        for fold in range(5)
        for s in (0, 1)
    ]
    section = {
        "folds": 5,
        "repeats": repeats,
        "seeds": 2,
        "folds_hash": hashed or hash_of_table(table),
    }
    return section | {"per_fold": per_fold, "spread": {}, "corrected": {}}


def _compare(root: Path, *names: str, n_bootstrap: int = 1000) -> dict[str, Any]:
    """Compare runs of `root` without writing anything."""
    return run_comparison.compare([read_run(root / name, name) for name in names], n_bootstrap, 0)


def _written(root: Path, *names: str) -> dict[str, Any]:
    """Compare runs of `root` and return what ``run_comparison.json`` holds."""
    files = list(compare_runs([root / name for name in names], root / "out", 1000, 0))
    assert files == [root / "out" / f"compare.{kind}" for kind in ("json", "md", "png")]
    content: dict[str, Any] = json.loads(files[0].read_text(encoding="utf-8"))
    return content


def _by(result: dict[str, Any], pair: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["method"], row["metric"]): row for row in result["pairs"][pair]["comparisons"]}


def _sorted(rows: Predictions) -> Predictions:
    return take_rows(rows, rows.subjects.argsort(kind="stable"))


def test_two_runs_are_compared_as_the_statistics_say(tmp_path: Path) -> None:
    a = _sorted(write_run(tmp_path / "good", skill=2.0, seed=1))
    b = _sorted(write_run(tmp_path / "poor", skill=0.3, seed=2))
    found = _by(_compare(tmp_path, "good", "poor"))
    odds = [as_binary(rows).logits[:, 1] - as_binary(rows).logits[:, 0] for rows in (a, b)]
    expected = delong(a.labels > 0, *odds)
    auc = found["delong", "auc_demented"]
    assert auc["value_a"] == pytest.approx(roc_auc_score(a.labels > 0, odds[0]))
    assert auc["p"] == pytest.approx(expected["p"])
    assert auc["difference"] == pytest.approx(expected["difference"])
    labels = found["mcnemar", "accuracy"]
    only = mcnemar(a.predicted == a.labels, b.predicted == b.labels)
    assert {name: labels[name] for name in only} == pytest.approx(only)
    resampled = paired_bootstrap(a, b, METRICS, 1000, 0)
    for end in ("value", "low", "high"):
        assert labels["difference"][end] == pytest.approx(resampled["accuracy"][end])
    for name in ("balanced_accuracy", "macro_auc", "quadratic_kappa", "brier"):
        row = found["bootstrap", name]
        assert row["difference"] | {"p": row["p"]} == pytest.approx(resampled[name]), name
    assert len(found) == 6


def test_one_answer_a_person_needs_no_note(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, seed=seed)
    assert not any("log-odds" in note for note in _compare(tmp_path, "a", "b")["notes"])


def test_differences_are_of_the_first_run_minus_the_second(tmp_path: Path) -> None:
    write_run(tmp_path / "good", skill=2.5, seed=1)
    write_run(tmp_path / "poor", skill=0.0, seed=2)
    for names, better in ((("good", "poor"), "a"), (("poor", "good"), "b")):
        result = _compare(tmp_path, *names)
        row = _by(result)["delong", "auc_demented"]
        assert row["better"] == better
        assert (row["difference"]["value"] > 0) == (better == "a")
        assert row["sentence"].startswith("AUC of CDR 0 v > 0: good is better than poor by 0.")
        brier = _by(result)["bootstrap", "brier"]
        assert brier["better"] == better
        assert (brier["difference"]["value"] < 0) == (better == "a")
        low, high = sorted(abs(brier["difference"][end]) for end in ("low", "high"))
        assert f"({low:.3f} to {high:.3f}) (less is better)" in brier["sentence"]


def test_the_order_of_people_in_a_file_does_not_matter(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=1)
    write_run(tmp_path / "b", seed=2)
    before = _compare(tmp_path, "a", "b")["pairs"]
    table = pd.read_csv(tmp_path / "b" / "people.csv")
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "b" / "people.csv", index=False)
    after = _compare(tmp_path, "a", "b")["pairs"]
    for row, again in zip(before[0]["comparisons"], after[0]["comparisons"], strict=True):
        assert again["difference"] == pytest.approx(row["difference"])
        assert again["p"] == pytest.approx(row["p"])


def test_a_run_is_compared_by_the_scores_it_reports(tmp_path: Path) -> None:
    """Those of calibrated probabilities: here other labels and another AUC than the logits'."""
    for name, seed in (("a", 1), ("b", 2)):
        write_run(tmp_path / name, seed=seed, scale=0.4, shift=1.0 + seed)
    result = _compare(tmp_path, "a", "b")
    for (_, name), row in _by(result).items():
        if name in METRICS:
            for key, run in zip(("value_a", "value_b"), result["runs"], strict=True):
                assert row[key] == pytest.approx(run["metrics"][name]["value"]), name
        assert row["difference"]["value"] == pytest.approx(row["value_a"] - row["value_b"])


def test_people_needed_are_at_the_level_of_the_family(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, seed=seed)
    found = _by(_compare(tmp_path, "a", "b"))
    row = found["bootstrap", "brier"]
    assert row["better"] is None
    value, low, high = (row["difference"][end] for end in ("value", "low", "high"))
    expected = people_needed(value, (high - low) / 3.919928, 44, alpha=0.05 / 6)
    assert row["people_needed"] == pytest.approx(expected, rel=1e-5)


def test_odds_that_differ_by_rounding_are_ties(tmp_path: Path) -> None:
    """The same coarse odds, once with all probabilities of a row a little smaller."""
    for name, share in (("a", 1.0), ("b", 1 - 1e-6)):
        rows = write_run(tmp_path / name)
        path = tmp_path / name / "people.csv"
        table = pd.read_csv(path)
        columns = [column for column in table if column.startswith("p_")]
        odds = np.exp(rows.logits.round())
        odds /= odds.sum(axis=1, keepdims=True)
        table[columns] = odds * share ** np.arange(len(table))[:, None]
        table.to_csv(path, index=False)
    auc = _by(_compare(tmp_path, "a", "b"))["delong", "auc_demented"]
    assert auc["difference"]["value"] == 0
    assert auc["p"] == 1


def test_equal_runs_are_not_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "one")
    write_run(tmp_path / "two")
    result = _compare(tmp_path, "one", "two")
    for row in result["pairs"][0]["comparisons"]:
        assert row["difference"]["value"] == 0
        assert row["p"] == row["p_holm"] == 1
        assert row["better"] is row["people_needed"] is None
        assert "cannot tell one and two apart" in row["sentence"]
    assert result["warnings"] == []


def test_only_people_of_all_runs_are_compared(tmp_path: Path) -> None:
    people = _people(60)
    names = list(people)
    parts = {"a": names[:50], "b": names[5:], "c": names[2:40]}
    runs = {
        name: write_run(tmp_path / name, {s: people[s] for s in part}, seed=i, skill=1.0 + i)
        for i, (name, part) in enumerate(parts.items())
    }
    result = _compare(tmp_path, "a", "b", "c")
    assert result["n_people"] == 35
    assert [(pair["a"], pair["b"]) for pair in result["pairs"]] == [
        ("a", "b"), ("a", "c"), ("b", "c")
    ]  # fmt: skip
    b = runs["b"]
    kept = _sorted(take_rows(b, np.isin(b.subjects, names[5:40])))
    accuracy = float((kept.predicted == kept.labels).mean())
    assert _by(result, 2)["mcnemar", "accuracy"]["value_a"] == pytest.approx(accuracy)
    assert "20 of 55 people of b are not in all runs: left out" in result["notes"]
    assert any("not the same test people): a | b | c" in text for text in result["warnings"])


def test_holms_family_spans_all_pairs(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write_run(tmp_path / name, seed=seed, skill=0.5 + seed)
    result = _compare(tmp_path, "a", "b", "c", n_bootstrap=100)
    rows = [row for pair in result["pairs"] for row in pair["comparisons"]]
    assert result["settings"]["family"] == len(rows) == 18
    smallest = min(rows, key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, 18 * smallest["p"]))
    assert all(row["p_holm"] >= row["p"] for row in rows)
    assert any(row["p"] < 0.05 <= row["p_holm"] for row in rows)
    assert all((row["better"] is None) == (row["p_holm"] >= 0.05) for row in rows)
    assert any("100 resamples are few for 18 comparisons" in text for text in result["warnings"])


def test_several_answers_of_a_person_count_by_their_mean(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", repeats=3, seed=1)
    b = write_run(tmp_path / "b", seed=2)
    result = _compare(tmp_path, "a", "b")
    found = _by(result)
    mean = per_person(a)
    correct = float((mean.predicted == mean.labels).mean())
    assert found["mcnemar", "accuracy"]["value_a"] == pytest.approx(correct)
    odds = as_binary(mean).logits @ [-1, 1]
    assert found["delong", "auc_demented"]["value_a"] == pytest.approx(
        roc_auc_score(mean.labels > 0, odds)
    )
    own = paired_bootstrap(mean, per_person(b), {"accuracy": METRICS["accuracy"]}, 1000, 0)[
        "accuracy"
    ]
    for end in ("value", "low", "high"):
        assert found["mcnemar", "accuracy"]["difference"][end] == pytest.approx(own[end])
    expected = paired_bootstrap(a, b, {"kappa": METRICS["quadratic_kappa"]}, 1000, 0)["kappa"]
    assert found["bootstrap", "quadratic_kappa"]["difference"] == pytest.approx(
        {end: expected[end] for end in ("value", "low", "high")}
    )
    assert any("mean log-odds over the person's rows" in text for text in result["notes"])
    assert any("answers per person differ (a 3, b 1)" in text for text in result["warnings"])
    assert any("some are tested out of fold" in text for text in result["warnings"])


def test_other_classes_are_compared_as_two(tmp_path: Path) -> None:
    four = _sorted(write_run(tmp_path / "four", k=4, seed=1))
    two = _sorted(write_run(tmp_path / "two", k=2, seed=2))
    result = _compare(tmp_path, "four", "two")
    found = _by(result)
    assert result["classes"] == ["NonDemented", "Demented"]
    assert "the runs' classes differ: compared as CDR 0 against > 0 only" in result["notes"]
    merged = as_binary(four)
    accuracy = found["mcnemar", "accuracy"]
    assert accuracy["value_a"] == pytest.approx((merged.predicted == merged.labels).mean())
    assert accuracy["value_b"] == pytest.approx((two.predicted == two.labels).mean())
    brier = 2 * brier_score_loss(merged.labels, merged.probabilities[:, 1])
    assert found["bootstrap", "brier"]["value_a"] == pytest.approx(brier)
    assert ("bootstrap", "macro_auc") not in found  # of two classes it is the AUC


def test_folds_are_compared_where_they_are_the_same(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, seed=seed, repeats=2)
    result = _compare(tmp_path, "a", "b")
    per_fold = [
        pd.DataFrame(
            [
                fold["metrics"] | {key: fold[key] for key in ("repeat", "fold")}
                for fold in json.loads(
                    (tmp_path / name / "metrics.json").read_text(encoding="utf-8")
                )["crossval"]["per_fold"]
            ]
        )
        .groupby(["repeat", "fold"])
        .mean()
        for name in "ab"
    ]
    assert result["pairs"][0]["by_fold"] == {
        "available": True, "n_train": pytest.approx(35.2), "n_test": pytest.approx(8.8)
    }  # fmt: skip
    for name in ("balanced_accuracy", "macro_auc"):
        row = _by(result)["corrected_t", name]
        expected = nadeau_bengio((per_fold[0] - per_fold[1])[name], 35.2, 8.8)
        assert row["n_folds"] == 10
        assert row["p"] == pytest.approx(expected["p"])
        assert row["difference"]["low"] == pytest.approx(expected["low"])
        assert row["people_needed"] is None
    assert result["warnings"] == []


def test_a_fold_without_a_score_is_left_out(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, seed=seed, repeats=1)
    path = tmp_path / "a" / "metrics.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    for fold in result["crossval"]["per_fold"][:2]:  # both seeds of the first fold
        fold["metrics"]["macro_auc"] = None
    write_json(path, result)
    found = _by(_compare(tmp_path, "a", "b"))
    assert found["corrected_t", "macro_auc"]["n_folds"] == 4
    assert found["corrected_t", "balanced_accuracy"]["n_folds"] == 5


def test_folds_without_scores_are_not_compared(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, seed=seed, repeats=1)
        path = tmp_path / name / "metrics.json"
        result = json.loads(path.read_text(encoding="utf-8"))
        for fold in result["crossval"]["per_fold"]:
            del fold["metrics"]["macro_auc"]
        write_json(path, result)
    found = _by(_compare(tmp_path, "a", "b"))
    assert [metric for method, metric in found if method == "corrected_t"] == ["balanced_accuracy"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"folds_hash": "fedcba9876543210"}, "the folds are not the same"),
        ({"repeats": 0}, "only two cross-validations have folds to compare"),
        ({"k": 2}, "scores of folds are of different classes"),
    ],
)
def test_unlike_folds_are_not_compared(tmp_path: Path, changes: dict, reason: str) -> None:
    write_run(tmp_path / "a", repeats=2)
    write_run(tmp_path / "b", **{"seed": 1, "repeats": 2, **changes})
    result = _compare(tmp_path, "a", "b")
    assert result["pairs"][0]["by_fold"] == {"available": False, "reason": reason}
    assert not any(method == "corrected_t" for method, _ in _by(result))
    assert reason in markdown(result)
    if "folds_hash" in changes:
        assert any("(not the same folds): a | b" in text for text in result["warnings"])


def test_folds_of_unknown_size_are_not_compared(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, seed=seed, repeats=2)
    (tmp_path / "a" / "folds.csv").unlink()
    assert _compare(tmp_path, "a", "b")["pairs"][0]["by_fold"]["available"]  # of b's table
    (tmp_path / "b" / "folds.csv").unlink()
    by_fold = _compare(tmp_path, "a", "b")["pairs"][0]["by_fold"]
    assert by_fold["reason"].startswith("there is no folds.csv")


def test_a_stamp_and_a_failed_audit_are_said_everywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "a", stamps=[SAME_PEOPLE])
    write_run(tmp_path / "b", seed=1, audit={"verdict": "FAIL", "checks": []})
    with caplog.at_level(logging.INFO):
        result = _written(tmp_path, "a", "b")
    expected = [f"a carries the stamp: {SAME_PEOPLE}", "the audit of b failed"]
    assert result["warnings"] == expected
    text = (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
    for warning in expected:
        assert warning in caplog.text
        assert f"> **Warning:** {warning}" in text
    pixels = picture.imread(tmp_path / "out" / "compare.png")[..., :3]
    red = np.abs(pixels - np.array([0xC1, 0x12, 0x1F]) / 255).max(axis=-1) < 0.02
    assert red.any()


@pytest.mark.parametrize(
    "doubt", [{"stamps": [SAME_PEOPLE]}, {"audit": {"verdict": "FAIL", "checks": []}}]
)
def test_a_doubtful_run_is_not_simply_better(tmp_path: Path, doubt: dict[str, Any]) -> None:
    write_run(tmp_path / "a", skill=2.5, **doubt)
    write_run(tmp_path / "b", seed=1, skill=0.0)
    write_run(tmp_path / "c", seed=2, skill=2.5)
    result = _compare(tmp_path, "a", "b", "c")
    ends = {pair: _by(result, pair)["delong", "auc_demented"]["sentence"] for pair in (0, 2)}
    assert ends[0].endswith("; but see the warnings")
    assert "c is better than b" in ends[2]
    assert "warnings" not in ends[2]


def test_a_passed_audit_warns_of_nothing(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, seed=seed, audit={"verdict": "PASS", "checks": []})
    assert _compare(tmp_path, "a", "b")["warnings"] == []


def test_other_training_people_are_noticed(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, seed=seed)
    path = tmp_path / "b" / "metrics.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    result["people"]["train"]["NonDemented"] += 1
    write_json(path, result)
    warnings = _compare(tmp_path, "a", "b")["warnings"]
    assert any("not the same numbers of training people): a | b" in text for text in warnings)


def test_other_classes_alone_are_no_other_split(tmp_path: Path) -> None:
    write_run(tmp_path / "a", k=4)
    write_run(tmp_path / "b", k=2, seed=1)
    assert _compare(tmp_path, "a", "b")["warnings"] == []


def test_few_people_of_a_class_are_marked(tmp_path: Path) -> None:
    people = {f"S{i:02d}": stage for i, stage in enumerate([0] * 20 + [1] * 15 + [2] * 4)}
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, people, seed=seed)
    result = _compare(tmp_path, "a", "b")
    few = {row["metric"]: row["few_people"] for row in result["pairs"][0]["comparisons"]}
    assert few == {
        "auc_demented": False, "accuracy": False, "brier": False,
        "balanced_accuracy": True, "macro_auc": True, "quadratic_kappa": True,
    }  # fmt: skip
    assert "MildOrWorse: 4 of the people; averages over classes rest on few" in result["notes"]
    assert "balanced accuracy (few people)" in log_table(result)


def test_a_shared_person_of_two_classes_is_refused_by_name(tmp_path: Path) -> None:
    people = _people()
    write_run(tmp_path / "a", people)
    write_run(tmp_path / "b", people | {"OAS1_0007": 2 - people["OAS1_0007"] // 2 * 2}, seed=1)
    with pytest.raises(ResultError, match=r"a and b disagree on the class of 1 person.*OAS1_0007"):
        _compare(tmp_path, "a", "b")


def test_few_shared_people_are_refused(tmp_path: Path) -> None:
    people = _people()
    names = list(people)
    write_run(tmp_path / "a", {s: people[s] for s in names[:24]})
    write_run(tmp_path / "b", {s: people[s] for s in names[15:]})
    with pytest.raises(ConfigError, match="9 people are in all of a, b"):
        _compare(tmp_path, "a", "b")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.drop(columns="p_NonDemented"), "p_NonDemented"),
        (lambda t: t.drop(columns="subject"), "subject"),
        (
            lambda t: t.assign(p_NonDemented="high"),
            'p_NonDemented in row 1 is "high", not a number from 0 to 1, and 43 more',
        ),
        (lambda t: t.assign(p_NonDemented=np.nan), 'p_NonDemented in row 1 is "", not a number'),
        (
            lambda t: t.assign(subject=t["subject"].where(t.index > 2)),
            'subject in row 1 is "", not a text',
        ),
        (
            lambda t: t.assign(**{"class": "Sane"}),
            'class in row 1 is "Sane", not one of NonDemented',
        ),
        (lambda t: t.assign(subject="OAS1_0001"), "two rows have the same subject"),
        (
            lambda t: t.iloc[:0],
            "it has 0 rows of 0 people, and metrics.json scores 44 rows of 44 people",
        ),
    ],
)
def test_a_damaged_table_is_named_in_one_sentence(tmp_path: Path, damage, message: str) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1)
    path = tmp_path / "b" / "people.csv"
    damage(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(ResultError, match=r"people\.csv is damaged") as found:
        _compare(tmp_path, "a", "b")
    assert message in found.value.message
    assert "\n" not in found.value.message


def test_old_damaged_and_missing_results_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", schema="metrics/1")
    with pytest.raises(ResultError, match="metrics/1"):
        _compare(tmp_path, "a", "b")
    (tmp_path / "b" / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(ResultError, match="is damaged"):
        _compare(tmp_path, "a", "b")
    write_run(tmp_path / "b")
    (tmp_path / "b" / "people.csv").unlink()
    with pytest.raises(DataNotFoundError, match=r"people\.csv"):
        _compare(tmp_path, "a", "b")


def _config(root: Path, *runs: str) -> RunConfig:
    return replace(build_config(RunConfig, {"results_dir": root, "bootstrap": 100}), runs=runs)


def test_the_stage_takes_names_and_paths(tmp_path: Path) -> None:
    write_run(tmp_path / "results" / "oasis_2d_resnet18")
    write_run(tmp_path / "elsewhere" / "oasis_2d_densenet", seed=1)
    config = _config(
        tmp_path / "results", "oasis_2d_resnet18", str(tmp_path / "elsewhere" / "oasis_2d_densenet")
    )
    files = list(compare.run(config))
    folder = tmp_path / "results" / "compare" / "oasis_2d_resnet18_vs_oasis_2d_densenet"
    assert files == [folder / f"compare.{kind}" for kind in ("json", "md", "png")]
    assert all(path.is_file() for path in files)
    assert json.loads(files[0].read_text(encoding="utf-8"))["schema"] == "compare/1"


def test_runs_of_one_name_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    runs = [tmp_path / place / "run" for place in ("first", "second")]
    for seed, folder in enumerate(runs):
        write_run(folder, seed=seed)
    first = next(compare.run(_config(tmp_path, *map(str, runs))))
    assert first.parent.name == "first_run_vs_second_run"
    assert json.loads(first.read_text(encoding="utf-8"))["pairs"][0]["a"] == "first/run"


def test_many_long_names_make_a_short_folder(tmp_path: Path) -> None:
    names = [f"{'long' * 20}_{i}" for i in range(3)]
    for seed, name in enumerate(names):
        write_run(tmp_path / name, seed=seed)
    first = next(compare.run(_config(tmp_path, *names)))
    assert first.parent.name.startswith("3_runs_")


@pytest.mark.parametrize("runs", [(), ("oasis_2d_resnet18",)])
def test_one_run_is_not_compared(tmp_path: Path, runs: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="not two or more") as found:
        list(compare.run(_config(tmp_path, *runs)))
    assert found.value.hint == "python main.py --mode compare RUN RUN"


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    with pytest.raises(ConfigError, match="a is given twice"):
        list(compare.run(_config(tmp_path, "a", str(tmp_path / "a"))))


def test_an_unknown_run_names_the_near_ones(tmp_path: Path) -> None:
    write_run(tmp_path / "oasis_2d_resnet18")
    with pytest.raises(DataNotFoundError) as found:
        list(compare.run(_config(tmp_path, "oasis_2d_resnet18", "oasis_2d_resnet81")))
    assert "oasis_2d_resnet81" in found.value.message
    assert found.value.hint == "did you mean oasis_2d_resnet18?"
    with pytest.raises(DataNotFoundError) as found:
        list(compare.run(_config(tmp_path, "oasis_2d_resnet18", "xyz")))
    assert "oasis_2d_resnet18" in found.value.hint


def _row(**changes: Any) -> dict[str, Any]:
    row = {
        "metric": "balanced_accuracy", "method": "bootstrap", "p_holm": 0.2, "better": None,
        "difference": {"value": -0.04, "low": -0.1, "high": 0.02}, "people_needed": 1234,
    }  # fmt: skip
    return row | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "balanced accuracy: cannot tell x and y apart: difference -0.040 (-0.100 to 0.020), "
            "p (Holm) = 0.200; to see a true one of this size would take about 1,200 people",
        ),
        (
            {"better": "b", "p_holm": 0.0004},
            "balanced accuracy: y is better than x by 0.040 (-0.020 to 0.100), p (Holm) < 0.001",
        ),
        ({"people_needed": 60}, "would take a few more people"),
        ({"people_needed": None}, "p (Holm) = 0.200"),
        ({"p_holm": None, "people_needed": None}, "with no variance to judge it by"),
        ({"method": "corrected_t"}, "balanced accuracy, by fold: cannot tell"),
        (
            {"difference": dict.fromkeys(("value", "low", "high"))},
            "balanced accuracy: not defined on these people",
        ),
    ],
)
def test_sentences(changes: dict[str, Any], expected: str) -> None:
    text = sentence(_row(**changes), {"a": "x", "b": "y", "doubtful": False}, 80)
    assert expected in text
    assert text.endswith(expected) or "by fold" in expected


def test_the_table_is_aligned_logged_and_pasted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "a|$x$")
    write_run(tmp_path / "b", seed=1, skill=0.4)
    with caplog.at_level(logging.INFO, logger="src.evaluation.run_comparison"):
        result = _written(tmp_path, "a|$x$", "b")
    assert log_table(result) in caplog.text
    lines = log_table(result).splitlines()
    table = lines[2:9]
    column = table[0].index("p (Holm)")
    assert all(line[column - 1] == " " and line[column] != " " for line in table)
    text = markdown(result)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7, 8}
    for row in result["pairs"][0]["comparisons"]:
        assert row["sentence"].replace("|", "\\|") in text


def test_a_comparison_without_any_interval_is_drawn(tmp_path: Path) -> None:
    people = {f"S{i:02d}": 0 for i in range(12)}
    for seed, name in enumerate("ab"):
        write_run(tmp_path / name, people, seed=seed)
    result = _written(tmp_path, "a", "b")
    auc = _by(result)["delong", "auc_demented"]
    assert auc["difference"] == {"value": None, "low": None, "high": None}
    assert (auc["p"], auc["p_holm"], auc["better"]) == (None, None, None)
    assert auc["sentence"] == "AUC of CDR 0 v > 0: not defined on these people"
    assert (tmp_path / "out" / "compare.png").stat().st_size > 10_000


def test_a_difference_without_variance_is_said_and_drawn(tmp_path: Path) -> None:
    """One run ranks everyone right, the other everyone wrong: DeLong's variance is 0."""
    for name, sign in (("right", 1), ("wrong", -1)):
        rows = write_run(tmp_path / name, k=2)
        path = tmp_path / name / "people.csv"
        odds = sign * (2 * rows.labels - 1) * np.linspace(1, 2, len(rows.labels))
        p = 1 / (1 + np.exp(-odds))
        table = pd.read_csv(path).assign(p_NonDemented=1 - p, p_Demented=p)
        table.to_csv(path, index=False)
    result = _written(tmp_path, "right", "wrong")
    auc = _by(result)["delong", "auc_demented"]
    assert auc["difference"] == {"value": 1.0, "low": None, "high": None}
    assert auc["p_holm"] is auc["better"] is None
    assert auc["sentence"].endswith("1.000 (no interval), with no variance to judge it by")
    assert result["settings"]["family"] == 4
