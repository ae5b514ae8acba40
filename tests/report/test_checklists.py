"""Checklists: every item once, in order, and honest about what was not done."""

from __future__ import annotations

import re
from typing import Any

import pytest
from result_examples import crossval_result, evaluate_result

from src.manifest import PEOPLE_UNKNOWN, SAME_PEOPLE
from src.report.documents.checklists import CLAIM, TRIPOD, claim_markdown, tripod_markdown
from src.report.documents.study_facts import facts

RESULTS = {"evaluate": evaluate_result, "crossval": crossval_result}
#: Main item of TRIPOD+AI -> its parts, as in Table 2 of doi:10.1136/bmj-2023-078378.
TRIPOD_PARTS = {
    **dict.fromkeys(range(1, 28), ""),
    **{3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef"},
    **{20: "abc", 23: "ab", 27: "abc"},
}


def _answers(text: str) -> dict[str, str]:
    """Return item -> answer."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    found: dict[str, str] = {}
    for row in rows[2:]:
        number, answer = row[-3], row[-1]
        assert number not in found
        found[number.split(" ")[0]] = answer
    return found


@pytest.mark.parametrize("kind", RESULTS)
def test_claim_has_44_items_in_order(kind: str) -> None:
    assert list(_answers(claim_markdown(RESULTS[kind]()))) == [str(i) for i in range(1, 45)]


@pytest.mark.parametrize("kind", RESULTS)
def test_tripod_has_27_items_in_52_parts_in_order(kind: str) -> None:
    expected = [f"{i}{part}" for i, parts in TRIPOD_PARTS.items() for part in parts or [""]]
    assert len(expected) == 52
    assert list(_answers(tripod_markdown(RESULTS[kind]()))) == expected


def test_items_say_whether_they_are_of_development_or_evaluation() -> None:
    labels = dict(number.split(" ") for items in TRIPOD.values() for number, _, _ in items)
    development = {"9a", "12a", "12b", "12c", "15", "22", "27a", "27b"}
    evaluation = {"12f", "12g", "20c", "24"}
    assert {number for number, label in labels.items() if label == "D"} == development
    assert {number for number, label in labels.items() if label == "E"} == evaluation
    assert set(labels.values()) == {"D", "E", "D;E"}


@pytest.mark.parametrize("items", [CLAIM, TRIPOD])
def test_topics_are_short_and_no_answer_is_empty(items: Any) -> None:
    for entries in items.values():
        for _, topic, answer in entries:
            assert 0 < len(topic) <= 70
            assert answer.strip()


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("document", [claim_markdown, tripod_markdown])
def test_every_answer_is_filled_and_the_numbering_is_to_be_checked(
    kind: str, document: Any
) -> None:
    text = document(RESULTS[kind]())
    assert all(answer.strip() for answer in _answers(text).values())
    assert "check both against the paper" in text
    assert "{" not in text


@pytest.mark.parametrize("kind", RESULTS)
def test_what_was_not_done_is_said(kind: str) -> None:
    claim, tripod = (make(RESULTS[kind]()) for make in (claim_markdown, tripod_markdown))
    for item in ("18", "21", "27", "33"):
        assert _answers(claim)[item].startswith("not done"), item
    for item in ("10", "12d", "12f", "14", "23b", "24"):
        assert _answers(tripod)[item].startswith("not done"), item
    assert "external testing: not done" in _answers(tripod)["27c"]


def test_what_only_an_author_knows_is_left_to_the_author() -> None:
    claim, tripod = _answers(claim_markdown(evaluate_result())), None
    assert claim["4"] == claim["44"] == "for the author"
    tripod = _answers(tripod_markdown(evaluate_result()))
    for item in ("1", "2", "3a", "3c", "5b", "8c", "18a", "18b", "18c", "18d", "19", "25"):
        assert tripod[item] == "for the author", item


def test_what_the_run_knows_is_filled_in() -> None:
    claim = _answers(claim_markdown(evaluate_result()))
    assert "OASIS-1" in claim["7"]
    assert "Clinical Dementia Rating" in claim["14"]
    assert "train 119 people (60 NonDemented" in claim["19"]
    assert claim["20"].startswith("person:")
    assert "torch 2.13.0" in claim["23"]
    assert "epochs 30" in claim["25"]
    assert "largest ratio 10.0" in claim["25"]
    assert "percentiles of 200 resamples of people" in claim["29"]
    assert "199 permutations" in claim["29"]
    assert "Nadeau" not in claim["29"]
    assert re.search(
        r"balanced accuracy \*?\.\d{3} \(\.\d{3} to \.\d{3}\).* in 41 people", claim["32"]
    )
    assert "sex F: 25 people" in claim["36"]
    result = evaluate_result()
    result["person"]["confusion"] = [[18, 2, 0], [5, 9, 0], [1, 3, 3]]
    assert "11 of 41 answers" in _answers(claim_markdown(result))["39"]


def test_a_cross_validation_says_its_folds() -> None:
    claim = _answers(claim_markdown(crossval_result()))
    assert "5 folds x 2 repeats x 2 seeds, folds 0123456789abcdef" in claim["19"]
    assert "Nadeau-Bengio" in claim["29"]
    assert "permutation: not done" in claim["29"]
    assert "Wilson" not in claim["29"]
    assert claim["36"].startswith("not done")
    assert "subgroups: not done: the data set names neither age nor sex" in claim["30"]


def test_stamps_undo_what_they_contradict() -> None:
    claim = _answers(claim_markdown(evaluate_result() | {"stamps": [SAME_PEOPLE]}))
    assert claim["20"].startswith("image: the same people are in train and test")
    assert "official split" in claim["19"]
    assert "at random" not in claim["19"]
    assert "test people had no part" not in claim["26"]
    claim = _answers(claim_markdown(evaluate_result() | {"stamps": [PEOPLE_UNKNOWN]}))
    assert claim["20"].startswith("not assured")
    assert "what stands for one" in claim["19"]
    stamp = "unrated people may be counted as NonDemented (no table)"
    claim = _answers(claim_markdown(evaluate_result() | {"stamps": [stamp]}))
    assert "never counted as healthy" not in claim["12"]


@pytest.mark.parametrize(
    ("dataset", "source", "reference"),
    [
        ("kaggle_nifti_3d", "NIfTI", "the Clinical Dementia Rating"),
        ("kaggle_2d_official", "JPG slices", "class folders"),
        ("phantom_3d", "synthetic", "planted severity"),
        ("my_scans", "for the author", "class folders"),
    ],
)
def test_every_cohort_has_its_own_source(dataset: str, source: str, reference: str) -> None:
    result = evaluate_result() | {"dataset": dataset}
    result["settings"]["data"]["dataset"] = dataset
    known = facts(result)
    assert source in known["source"]
    assert known["reference"].startswith(reference)
    assert ("no person is behind" in known["deidentification"]) == (source == "synthetic")


@pytest.mark.parametrize(("classes", "said"), [(2, "CDR 0 against"), (3, "1 or more"), (4, "2 or")])
def test_the_reference_names_the_merged_stages(classes: int, said: str) -> None:
    names = [f"C{k}" for k in range(classes)]
    assert said in facts(evaluate_result() | {"classes": names})["reference"]


def test_equal_class_weights_are_said_to_be_no_method() -> None:
    result = evaluate_result()
    result["settings"]["train"]["class_weight_cap"] = 1.0
    assert facts(result)["imbalance"].startswith("not done")


def test_unknown_settings_are_left_to_the_author() -> None:
    known = facts(evaluate_result() | {"settings": {}})
    assert known["training"] == "for the author"
    assert "weights: imagenet" in known["initialisation"]
    known = facts(evaluate_result() | {"settings": {}, "dataset": "oasis_3d"})
    assert "weights: random" in known["initialisation"]
    assert "simple" in known["model"]


@pytest.mark.parametrize("frozen", [False, True])
def test_what_was_trained_is_told(frozen: bool) -> None:
    results = crossval_result()
    results["settings"]["model"]["freeze_backbone"] = frozen
    results["settings"]["train"]["loss"] = None
    said = _answers(claim_markdown(results))
    assert ("L-BFGS" in said["25"]) == ("ordered thresholds" in said["22"]) == frozen
    assert ("loss ordinal" if frozen else "loss ce") in said["25"]
