"""Checks of an audit against scipy, scikit-learn and cases that can be counted by hand."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, gumbel_r, ks_2samp
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.naive_bayes import CategoricalNB

from src.auditing.composition import check_composition
from src.auditing.metadata import _balanced_accuracy, _folds, check_metadata
from src.auditing.pairs import _never_reached
from src.auditing.pose import agreement, flip, frames, thumbnails
from src.auditing.probe import check_probe
from src.auditing.table_checks import (
    cheap_audit,
    check_identical,
    check_people,
    check_sessions,
    manifest_rows,
    person_of,
)
from src.auditing.verdicts import FAIL, NOT_KNOWN, PASS, WARN, Check, verdict_of
from src.labels import STAGES
from src.manifest import PEOPLE_UNKNOWN, Manifest

NON, VERY_MILD, MILD, MODERATE = STAGES


def manifest(people: dict[str, str], per: int = 2, stamps=(), **columns) -> Manifest:
    """Return `per` rows of every person; ``people`` maps subject to side; stages alternate."""
    rows = [
        {
            "subject": subject,
            "session": "MR1",
            "slice": number,
            "path": f"{side}/{subject}_{number}.png",
            "label": STAGES[i % 2],
            "split": side,
            "fingerprint": f"{subject}{number}",
        }
        for i, (subject, side) in enumerate(people.items())
        for number in range(per)
    ]
    return Manifest(pd.DataFrame(rows).assign(**columns), Path("set"), stamps)


def sides(train: int, test: int, val: int = 0) -> dict[str, str]:
    """Return P000, P001, ... with their side."""
    names = ["train"] * train + ["val"] * val + ["test"] * test
    return {f"P{i:03d}": side for i, side in enumerate(names)}


def moved(made: Manifest, subject: str, number: int, side: str) -> pd.DataFrame:
    """Return the rows with one image of `subject` on another side."""
    rows = manifest_rows(made)
    rows.loc[(rows["subject"] == subject) & (rows["slice"] == number), "split"] = side
    return rows


def test_people_on_one_side_pass() -> None:
    check = check_people(manifest_rows(manifest(sides(6, 4, 2))))
    assert check.verdict == PASS
    assert check.numbers["on_side"] == {"train": 6, "val": 2, "test": 4}
    assert check.numbers["on_both"] == {"train_val": 0, "train_test": 0, "val_test": 0}


@pytest.mark.parametrize("side", ["val", "test"])
def test_one_image_on_another_side_fails_and_is_named(side: str) -> None:
    check = check_people(moved(manifest(sides(6, 4, 2)), "P001", 1, side))
    assert check.verdict == FAIL
    assert check.numbers["on_both"][f"train_{side}"] == 1
    assert check.examples == [f"P001: train 1, {side} 1 images"]


def test_val_and_test_are_compared_too() -> None:
    check = check_people(moved(manifest(sides(6, 4, 2)), "P006", 0, "test"))
    assert (check.verdict, check.numbers["on_both"]["val_test"]) == (FAIL, 1)


def test_unknown_people_are_not_known_and_never_pass() -> None:
    check = check_people(manifest_rows(manifest(sides(6, 4), stamps=(PEOPLE_UNKNOWN,))))
    assert check.verdict == NOT_KNOWN
    assert "name no person" in check.sentence


def test_people_known_in_part_fail_by_those_that_are() -> None:
    rows = moved(manifest(sides(6, 4)), "P001", 1, "test")
    rows["known"] = rows["subject"].isin(["P001", "P002"])
    assert check_people(rows).verdict == FAIL
    rows["known"] = rows["subject"] == "P002"
    assert check_people(rows).verdict == NOT_KNOWN


def test_examples_are_cut_and_safe_to_draw() -> None:
    people = {f"{'x' * 200}\n${i}": "train" for i in range(12)}
    rows = manifest_rows(manifest(people))
    rows.loc[rows["slice"] == 0, "split"] = "test"
    shown = check_people(rows).to_dict()["examples"]
    assert len(shown) == 10
    assert all(len(text) < 120 and "\n" not in text for text in shown)


def test_identical_files_across_sides_fail() -> None:
    rows = manifest_rows(manifest(sides(6, 4)))
    assert check_identical(rows).verdict == PASS
    rows.loc[rows.index[-1], "fingerprint"] = rows["fingerprint"][0]
    check = check_identical(rows)
    assert check.verdict == FAIL
    assert check.numbers["fingerprint_on_both_sides"] == 1
    assert check.examples == ["train/P000_0.png = test/P009_1.png"]


def test_identical_pixels_in_another_file_fail() -> None:
    rows = manifest_rows(manifest(sides(6, 4)))
    rows["pixels"] = rows["fingerprint"]
    rows.loc[rows.index[-1], "pixels"] = rows["pixels"][0]
    check = check_identical(rows)
    assert check.verdict == FAIL
    assert check.numbers["fingerprint_on_both_sides"] == 0
    assert check.numbers["pixels_on_both_sides"] == 1


def test_blank_images_are_alike_without_being_a_leak() -> None:
    rows = manifest_rows(manifest(sides(6, 4)))
    ends = [rows.index[0], rows.index[-1]]
    rows.loc[ends, "fingerprint"] = "black"
    assert check_identical(rows).verdict == FAIL
    rows.loc[ends, "blank"] = True
    assert check_identical(rows).verdict == PASS


def test_copies_on_one_side_are_warned_of_with_their_labels() -> None:
    rows = manifest_rows(manifest(sides(6, 4)))
    rows.loc[rows.index[2], "fingerprint"] = rows["fingerprint"][0]  # P001 has another class
    check = check_identical(rows)
    assert check.verdict == WARN
    assert (check.numbers["copies"], check.numbers["copies_with_another_label"]) == (1, 1)


def test_sessions_that_subjects_are_named_after_are_one_person() -> None:
    people = {"OAS1_0001_MR1": "train", "OAS1_0001_MR2": "test", "OAS1_0002_MR1": "test"}
    rows = manifest_rows(manifest(people))
    assert check_people(rows).verdict == PASS  # the subjects differ by name
    check = check_sessions(rows)
    assert check.verdict == FAIL
    assert check.numbers == {"people_with_several": 1, "people_divided": 1}
    assert check.examples == ["OAS1_0001_MR1 MR1 in train, OAS1_0001_MR2 MR1 in test"]


def test_sessions_of_one_side_pass() -> None:
    people = {"OAS1_0001_MR1": "train", "OAS1_0001_MR2": "train", "OAS1_0002_MR1": "test"}
    check = check_sessions(manifest_rows(manifest(people)))
    assert (check.verdict, check.numbers["people_with_several"]) == (PASS, 1)


def test_one_session_on_two_sides_is_a_matter_of_people() -> None:
    rows = moved(manifest(sides(6, 4)), "P001", 1, "test")
    assert check_sessions(rows).verdict == PASS


@pytest.mark.parametrize(
    ("subject", "person"),
    [
        ("OAS1_0028_MR1", "OAS1_0028"),
        ("OAS1_0028_MR2_mpr-3", "OAS1_0028"),
        ("OAS30001_MR_d0129", "OAS30001"),
        ("sub-07_ses-b", "sub-07"),
        ("002_S_0295_scan2", "002_S_0295"),
        ("sub-OAS30001_ses-d0129_T1w", "OAS30001"),
        ("ADNI_002_S_0295_MR_MPR_Br_2006_S13408_I40966", "002_S_0295"),
        ("MildDemented_019", "MildDemented_019"),
        ("case_scan_12", "case_scan_12"),  # no id is left without it
        ("subject_MR1", "subject_MR1"),
    ],
)
def test_person_of_a_subject(subject: str, person: str) -> None:
    assert person_of(subject) == person


def labelled(counts: dict[str, dict[str, int]], ages=None) -> pd.DataFrame:
    """Return rows of one image per person: side -> stage -> people."""
    rows = [
        {"subject": f"{side}{stage}{i}", "path": f"{side}{stage}{i}", "label": stage, "split": side}
        for side, stages in counts.items()
        for stage, count in stages.items()
        for i in range(count)
    ]
    table = pd.DataFrame(rows).assign(known=True, age=np.nan if ages is None else ages)
    return table.assign(unit=table["subject"])


def test_classes_agree_with_scipy() -> None:
    rows = labelled({"train": {NON: 40, MILD: 20}, "test": {NON: 9, MILD: 11}})
    check = check_composition(rows)
    found = check.numbers["compared"]["test"]["classes"]
    expected = chi2_contingency([[40, 9], [20, 11]])
    assert found["p"] == pytest.approx(expected.pvalue)
    assert found["chi2"] == pytest.approx(expected.statistic)
    assert found["largest_share_apart"] == pytest.approx(40 / 60 - 9 / 20)
    assert check.verdict == PASS  # far apart, but luck does so


def test_images_of_a_person_count_once() -> None:
    rows = labelled({"train": {NON: 40, MILD: 20}, "test": {NON: 9, MILD: 11}})
    many = pd.concat([rows] * 20, ignore_index=True)
    assert (
        check_composition(many).numbers["compared"] == check_composition(rows).numbers["compared"]
    )


def test_classes_far_apart_fail_and_slightly_apart_warn() -> None:
    far = labelled({"train": {NON: 90, MILD: 30}, "test": {NON: 10, MILD: 30}})
    assert check_composition(far).verdict == FAIL
    near = labelled({"train": {NON: 3000, MILD: 1000}, "test": {NON: 680, MILD: 320}})
    check = check_composition(near)
    assert check.numbers["compared"]["test"]["classes"]["p"] < 0.001
    assert check.verdict == WARN


def test_images_of_unknown_people_are_no_independent_draws() -> None:
    far = labelled({"train": {NON: 90, MILD: 30}, "test": {NON: 10, MILD: 30}})
    check = check_composition(far.assign(known=False))
    assert (check.verdict, check.numbers["unit"]) == (WARN, "images")


def test_a_tested_class_without_training_people_fails() -> None:
    check = check_composition(labelled({"train": {NON: 9}, "test": {NON: 4, MILD: 4}}))
    assert check.verdict == FAIL
    assert "MildDemented is not in train" in check.sentence


def test_a_trained_class_without_test_people_is_warned_of() -> None:
    check = check_composition(labelled({"train": {NON: 9, MILD: 4}, "test": {NON: 4}}))
    assert check.verdict == WARN


def test_a_class_of_two_people_cannot_be_on_three_sides() -> None:
    counts = {"train": {NON: 9, MILD: 1}, "val": {NON: 3}, "test": {NON: 4, MILD: 1}}
    assert check_composition(labelled(counts)).verdict == PASS


def test_ages_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    ages = np.concatenate([rng.normal(70, 5, 60), rng.normal(78, 5, 40)])
    check = check_composition(labelled({"train": {NON: 60}, "test": {NON: 40}}, ages))
    found, expected = check.numbers["compared"]["test"]["ages"], ks_2samp(ages[:60], ages[60:])
    assert found["p"] == pytest.approx(expected.pvalue)
    assert found["statistic"] == pytest.approx(expected.statistic)
    assert check.verdict == FAIL


@pytest.mark.parametrize(
    "check", [check_people, check_identical, check_sessions, check_composition]
)
def test_one_side_alone_is_not_judged(check) -> None:
    assert check(manifest_rows(manifest(sides(6, 0)))).verdict == NOT_KNOWN
    unplaced = manifest_rows(manifest(sides(6, 0))).assign(split=None)
    assert check(unplaced).verdict == NOT_KNOWN


def test_verdict_of_all() -> None:
    good, bad = Check("people", PASS, ""), Check("probe", FAIL, "")
    unknown = [Check("people", NOT_KNOWN, ""), Check("identical_files", NOT_KNOWN, "")]
    assert verdict_of([good, Check("metadata", WARN, "")]) == PASS
    assert verdict_of([good, bad]) == verdict_of([*unknown, bad]) == FAIL
    assert verdict_of(unknown) == NOT_KNOWN


def test_cheap_audit_is_json_and_opens_no_file() -> None:
    found = cheap_audit(manifest(sides(8, 4, 2), age=70.0))  # none of its paths exists
    assert found["verdict"] == PASS
    names = [check["name"] for check in found["checks"]]
    assert names[:4] == ["people", "identical_files", "sessions", "composition"]
    json.dumps(found, allow_nan=False)


def test_cheap_audit_fails_on_people() -> None:
    made = manifest(sides(8, 4))
    rows = moved(made, "P001", 1, "test").drop(columns=["known", "unit", "blank"])
    assert cheap_audit(Manifest(rows, Path("set")))["verdict"] == FAIL


def with_metadata(n: int = 40, per: int = 3, **columns) -> pd.DataFrame:
    """Return rows of `n` people of two classes whose files are all alike but for `columns`."""
    people = np.repeat([f"P{i:03d}" for i in range(n)], per)
    table = pd.DataFrame({"unit": people, "path": [f"{i}.png" for i in range(n * per)]})
    table["label"] = [STAGES[int(name[1:]) % 2] for name in people]
    alike = {"size": "4 x 5", "mode": "L", "format": "PNG", "header": "", "damaged": ""}
    rng = np.random.default_rng(0)
    light = {"background": 0.0, "file_size": rng.integers(900, 999, n * per)}
    light["brightness"] = rng.normal(60, 5, n * per)
    return table.assign(known=True, **alike, **light).assign(**columns)


def test_files_that_differ_by_chance_pass() -> None:
    check = check_metadata(with_metadata())
    assert check.verdict == PASS
    assert check.numbers["attributes"]["size"]["values"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attribute", "values", "verdict"),
    [
        ("size", ("176 x 208", "180 x 210"), FAIL),
        ("mode", ("L", "RGB"), FAIL),
        ("format", ("PNG", "JPEG"), FAIL),
        ("header", ("dpi", ""), FAIL),
        ("background", (0.0, 6.0), FAIL),
        ("brightness", (50.0, 70.0), WARN),
        ("file_size", (500, 900), WARN),
    ],
)
def test_an_attribute_that_is_the_class(attribute: str, values: tuple, verdict: str) -> None:
    rows = with_metadata()
    rows[attribute] = [values[STAGES.index(label)] for label in rows["label"]]
    check = check_metadata(rows)
    assert check.verdict == verdict
    found = check.numbers["attributes"][attribute]
    assert found["gives_away"]
    assert found["balanced_accuracy"] == 1
    assert found["p"] == pytest.approx(1 / 500)
    assert NON in check.examples[0]


def test_a_value_that_is_a_person_s_own_gives_no_class_away() -> None:
    rows = with_metadata()
    rows["header"] = rows["unit"]  # learnt by heart, it would be right every time
    assert check_metadata(rows).verdict == PASS


def test_metadata_of_damaged_files_do_not_count() -> None:
    rows = with_metadata()
    rows.loc[rows["label"] == NON, "size"] = "1 x 1"
    rows.loc[rows["label"] == NON, "damaged"] = "yes"
    assert check_metadata(rows).verdict == NOT_KNOWN  # one class is left


def test_guesses_by_an_attribute_agree_with_naive_bayes() -> None:
    """One value per unit is categorical naive Bayes with equal priors."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 60)
    value = np.where(rng.random(60) < 0.6, truth, rng.integers(0, 5, 60))
    fold = _folds(truth, 3, np.random.default_rng(7))
    bayes = CategoricalNB(alpha=1e-3, class_prior=[1 / 3] * 3, min_categories=5)
    guess = cross_val_predict(bayes, value[:, None], truth, cv=PredefinedSplit(fold))
    found = _balanced_accuracy(np.eye(5)[value], truth, 3, np.random.default_rng(7))
    assert found == pytest.approx(balanced_accuracy_score(truth, guess))


def probed(units: list[str], labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"unit": units, "label": labels, "known": True})


def test_chance_of_shuffled_labels_is_that_of_all_permutations() -> None:
    rows = probed(["a", "b", "c", "d"], [NON, NON, MILD, VERY_MILD])
    check = check_probe(rows, [2, 3], [0, 1])
    right = [
        np.mean([order[2] == order[0], order[3] == order[1]])
        for order in permutations([0, 0, 2, 1])
    ]
    assert check.numbers["chance"] == pytest.approx(np.mean(right))
    assert check.verdict == PASS
    assert check.numbers["accuracy_true_labels"] == 0


def test_a_neighbour_of_another_person_passes_and_of_the_same_fails() -> None:
    n = 40
    units = [f"P{i}" for i in range(n)] * 2
    rows = probed(units, [STAGES[i % 2] for i in range(n)] * 2)
    test = np.arange(n, 2 * n)
    honest = check_probe(rows, test, (test + 7) % n)
    assert honest.verdict == PASS
    assert honest.numbers["nearest_is_same_unit"] == 0
    leaky = check_probe(rows, test, np.where(test % 4 == 0, test - n, (test + 7) % n))
    assert leaky.verdict == FAIL
    same, chance = leaky.numbers["nearest_is_same_unit"], leaky.numbers["chance"]
    assert same == 0.25
    value = leaky.numbers["accuracy_shuffled"]["value"]
    assert value == pytest.approx(same + (1 - same) * chance, abs=0.03)


def test_true_labels_alone_never_fail_the_probe() -> None:
    n = 40
    rows = probed([f"P{i}" for i in range(2 * n)], [STAGES[i % 2] for i in range(2 * n)])
    check = check_probe(rows, np.arange(n, 2 * n), np.arange(n))
    assert check.numbers["accuracy_true_labels"] == 1  # what a good classifier does
    assert check.verdict == PASS


def test_threshold_is_the_gumbel_quantile_of_the_largest() -> None:
    """Against scipy: of 400 maxima, the largest stays below in 99 of 100 sets."""
    z = gumbel_r(0.2, 0.03).ppf(np.linspace(0.0005, 0.9995, 4001))
    expected = gumbel_r(0.2, 0.03).ppf(0.99 ** (1 / 400))
    assert np.arctanh(_never_reached(np.tanh(z), 400)) == pytest.approx(expected, abs=1e-3)


def test_a_few_true_pairs_do_not_move_the_threshold() -> None:
    values = np.tanh(gumbel_r(0.2, 0.03).rvs(1000, random_state=0))
    leaky = np.where(np.arange(1000) < 20, 0.95, values)
    assert _never_reached(leaky, 400) == pytest.approx(_never_reached(values, 400), abs=0.05)


def picture(seed: int, shape=(104, 88)) -> np.ndarray:
    """Return a smooth random head: an upright ellipse of detail on black."""
    rng = np.random.default_rng(seed)
    detail = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 2.5)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    inside = (x / 0.7) ** 2 + (y / 0.8) ** 2 < 1
    return np.where(inside, np.clip(120 + 35 * detail / detail.std(), 20, 240), 0).astype(np.uint8)


def turned(image: np.ndarray, degrees: float, gain: float = 1.0) -> np.ndarray:
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.clip(cv2.warpAffine(image, turn, (width, height)) * gain, 0, 255).astype(np.uint8)


def test_posed_copies_agree_and_other_heads_do_not() -> None:
    first, other = picture(0), picture(1)
    posed = frames(first)[1]
    assert agreement(posed, frames(turned(first, 3, 1.2))[1]) > 0.95
    assert agreement(posed, frames(turned(first, 20))[1]) > 0.95
    assert agreement(posed, frames(np.roll(first, (5, -4), (0, 1)))[1]) > 0.95
    assert agreement(posed, frames(cv2.resize(first, None, fx=1.7, fy=1.7))[1]) > 0.95
    assert agreement(posed, frames(other)[1]) < 0.5


def test_detail_that_brightening_cut_off_is_left_out() -> None:
    first = picture(0)
    bright = np.clip(first * 1.9, 0, 255).astype(np.uint8)  # most of it is white
    assert (bright == 255).mean() > 0.15
    assert agreement(first, bright) > 0.9


@pytest.mark.parametrize("code", [1, 0, -1])
def test_flips_are_those_of_opencv(code: int) -> None:
    image = picture(0)
    np.testing.assert_array_equal(flip(image, code), cv2.flip(image, code))
    assert flip(image, None) is image


def test_frames_and_thumbnails_of_any_size() -> None:
    for shape in ((9, 300), (1200, 700), (26, 22)):
        framed = frames(picture(0, shape))
        assert framed.shape == (2, 104, 88)
        assert thumbnails(framed).shape == (2, 52, 44)
    assert not frames(np.zeros((30, 20), np.uint8)).any()
