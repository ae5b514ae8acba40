"""The sentence a report opens with: it claims a difference by the interval of the difference."""

from __future__ import annotations

from typing import Any

import pytest
from result_examples import evaluate_result

from src.report.answer import answer


def _result(
    difference: tuple[float, float, float] | None, own: tuple[float, float, float]
) -> dict[str, Any]:
    """Return a result of 100 people in three classes of enough people, and dark voxels at .47."""
    ends = ("value", "low", "high")
    result = evaluate_result()
    person = result["person"]
    person["n_people"] = 100
    for n, values in zip((50, 30, 20), person["per_class"].values(), strict=False):
        values["n_people"] = n
    for values in list(person["per_class"].values())[3:]:
        values["n_people"] = 0
    person["metrics"]["balanced_accuracy"] = dict(zip(ends, own, strict=True))
    person["majority"]["balanced_accuracy"] = dict.fromkeys(ends, 0.33)
    person["majority"]["class"] = "NonDemented"
    rival: dict[str, Any] = {"name": "dark_voxels", "available": True, "title": "dark voxels"}
    score = {"value": 0.47, "low": 0.4, "high": 0.5}
    rival["metrics"] = {"balanced_accuracy": score}
    if difference is not None:
        rival["difference"] = {"balanced_accuracy": dict(zip(ends, difference, strict=True))}
    result["rivals"] = [rival]
    return result


def test_better_and_not_told_apart() -> None:
    assert answer(_result((0.09, -0.1, 0.3), (0.56, 0.45, 0.66))) == (
        "On 100 people the network is better than always answering NonDemented: balanced accuracy "
        ".56 against .33, difference +.23 (+.12 to +.33); it is not told apart from counting dark "
        "voxels: .56 against .47, difference +.09 (-.10 to +.30)."
    )


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ((0.09, 0.01, 0.2), "it is better than counting dark voxels: .56 against .47"),
        ((-0.09, -0.2, -0.01), "it is worse than counting dark voxels"),
        ((-0.09, -0.2, 0.01), "it is not told apart from counting dark voxels"),
        ((0.09, 0.09, 0.09), ".56 against .47, a difference without an interval"),
        (
            None,
            "better than counting dark voxels was not tested: .56 (.45 to .66) against .47 (.40",
        ),
    ],
)
def test_a_claim_rests_on_the_interval_of_the_difference(difference: Any, said: str) -> None:
    assert said in answer(_result(difference, (0.56, 0.45, 0.66)))


def test_chance_is_said_to_be_chance() -> None:
    told = answer(_result((0.0, -0.1, 0.1), (0.36, 0.25, 0.47)))
    assert "the network is not told apart from always answering NonDemented" in told
    assert "difference +.03 (-.08 to +.14)" in told


def test_few_people_and_one_person_are_said() -> None:
    result = _result((0.09, -0.1, 0.3), (0.56, 0.45, 0.66))
    _, _, third, *_ = result["person"]["per_class"].values()
    third["n_people"] = 9
    name = list(result["person"]["per_class"])[2]
    assert answer(result).endswith(f"; with 9 people of {name}, this can be luck.")
    third["n_people"] = 1
    assert answer(result).startswith("On 100 people nothing can be told: balanced accuracy is .56")
    assert f"cannot rest on 1 person of {name}" in answer(result)


def test_without_dark_voxels_the_sentence_says_so() -> None:
    result = _result(None, (0.56, 0.45, 0.66))
    result["rivals"] = [{"name": "dark_voxels", "available": False, "reason": "x", "metrics": None}]
    assert answer(result).endswith("; counting dark voxels was not scored.")
    result["rivals"] = None
    assert answer(result).endswith("; counting dark voxels was not scored.")
    result["person"]["metrics"]["balanced_accuracy"]["value"] = None
    assert answer(result) == ""
