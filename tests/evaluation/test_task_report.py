"""What is told of age, MMSE and sex: errors by hand, rivals, the brain-age gap by stage."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from src.data.splits import Division
from src.evaluation.analyses.tasks import task_report
from src.evaluation.answers import Answers
from src.labels import class_scheme
from src.manifest import Manifest
from src.models.task_values import TaskValues
from src.predictions import Predictions

RNG = np.random.default_rng(3)
N, LEARNT = 40, 30
NAMES = np.array([f"S{i:03d}" for i in range(N + LEARNT)])
STAGE = np.arange(N + LEARNT) % 2
AGE = RNG.uniform(60, 90, N + LEARNT)
MALE = RNG.integers(0, 2, N + LEARNT)
#: The network says too little of the old; demented people look four years older.
SAID = 40 + 0.5 * AGE + 4 * STAGE + RNG.normal(0, 1, N + LEARNT)
LINE = (42.0, -0.5)  # of the gap, over both stages
MEASURED = pd.DataFrame({"dark_00": AGE / 100 + RNG.normal(0, 0.03, N + LEARNT)}, NAMES)


def answers(people=slice(N), repeats=1, **columns):
    """Return what was said of the first N people, by a network that learnt from the others."""
    table = pd.DataFrame(
        {
            "subject": NAMES, "session": "MR1", "path": NAMES, "fingerprint": NAMES, "age": AGE,
            "label": np.where(STAGE, "VeryMildDemented", "NonDemented"),
            "sex": np.where(MALE, "M", "F"), "mmse": 29 - 8 * STAGE,
        }
    ).assign(**columns)  # fmt: skip
    names, stage = np.tile(NAMES[:N], repeats), np.tile(STAGE[:N], repeats)
    said = np.stack([SAID[:N], 28 - 6.0 * STAGE[:N], 2 * MALE[:N] - 1 + RNG.normal(0, 1, N)], 1)
    values = TaskValues(
        ("age", "mmse", "sex"), np.tile(said, (repeats, 1)), np.tile(LINE, (N * repeats, 1))
    )
    rows = Predictions(stage, np.eye(2)[stage] * 1.0, names)
    division = Division(tuple(NAMES[N:]), tuple(NAMES[:N]))
    keys = table.loc[: N - 1, ["subject", "session"]].assign(slice=pd.array([pd.NA] * N, "Int64"))
    nothing = dict.fromkeys(("sets", "estimable", "calibration", "images", "cache", "keys"))
    return Answers(
        raw=rows, calibrated=rows, image_rows=keys, divisions=[division] * repeats,
        train_counts=[15, 15], manifest=Manifest(table, "."), scheme=class_scheme(2), name="x",
        split="test", tasks=values, **nothing,
    )  # fmt: skip


def report(given, measured=MEASURED):
    found = task_report(given, measured, n_bootstrap=200)
    assert found["available"]
    return {one["name"]: one for one in found["tasks"]}


def test_errors_are_those_of_the_formulas():
    age = report(answers())["age"]
    truth, said = AGE[:N], SAID[:N]
    expected = {
        "mae": np.abs(said - truth).mean(),
        "r2": r2_score(truth, said),
        "r": np.corrcoef(truth, said)[0, 1],
        "bias": np.polyfit(truth, said - truth, 1)[0],
        "mean_error": (said - truth).mean(),
    }
    for name, value in expected.items():
        found = age["metrics"][name]
        assert found["value"] == pytest.approx(value)
        assert found["low"] < value < found["high"]
    assert age["n_people"] == N
    np.testing.assert_allclose(age["points"], np.stack([truth, said], 1), atol=1e-3)
    assert age["classes"] == STAGE[:N].tolist()


def test_rivals_learn_from_development_people_alone():
    age = report(answers())["age"]
    mean, dark = age["rivals"]
    off = np.abs(AGE[N:].mean() - AGE[:N]).mean()
    assert mean["metrics"]["mae"]["value"] == pytest.approx(off)
    assert mean["metrics"]["bias"]["value"] == pytest.approx(-1)
    assert mean["metrics"]["r"]["value"] is None
    assert dark["metrics"]["r"]["value"] > 0.9
    assert dark["metrics"]["mae"]["value"] < 4
    apart = age["metrics"]["mae"]["value"] - off
    assert mean["difference"]["mae"]["value"] == pytest.approx(apart)
    assert age["sentence"].startswith("Age is off by ")


def test_the_gap_is_corrected_by_the_line_of_validation_people():
    gap = report(answers())["age"]["gap"]
    assert gap["corrected"]
    assert gap["line"] == {"intercept": 42.0, "slope": -0.5}
    healthy, ill = gap["groups"]
    assert (healthy["class"], healthy["n_people"], healthy["few_people"]) == (
        *("NonDemented", 20, False),
    )
    # -2 and +2 were planted around the line; the raw gaps have the age in them.
    assert healthy["corrected"]["value"] == pytest.approx(-2, abs=0.6)
    assert ill["corrected"]["value"] == pytest.approx(2, abs=0.6)
    raw = (SAID - AGE)[:N][STAGE[:N] == 1].mean()
    assert ill["raw"]["value"] == pytest.approx(raw)
    assert np.abs(np.corrcoef(AGE[:N], gap["points"])[0, 1]) < 0.5


def test_without_a_line_the_gap_is_told_as_it_is():
    given = answers()
    told = TaskValues(given.tasks.names, given.tasks.values, np.full((N, 2), np.nan))
    gap = report(replace(given, tasks=told))["age"]["gap"]
    assert not gap["corrected"]
    assert "validation people" in gap["reason"]
    assert all("corrected" not in group for group in gap["groups"])


def test_repeats_are_rows_of_one_person():
    once, twice = report(answers())["age"], report(answers(repeats=2))["age"]
    assert twice["n_people"] == N
    assert len(twice["points"]) == N
    for name, found in once["metrics"].items():
        assert twice["metrics"][name] == pytest.approx(found)


def test_who_has_no_known_age_is_left_out_and_counted():
    ages = pd.Series(AGE).mask(np.arange(N + LEARNT) < 5)
    age = report(answers(age=ages))["age"]
    assert (age["n_people"], age["left_out"]) == (N - 5, 5)
    off = np.abs(SAID - AGE)[5:N].mean()
    assert age["metrics"]["mae"]["value"] == pytest.approx(off)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"mmse": None}, "mmse is known of 0 scored people"),
        ({"mmse": 29}, "mmse is the same of 40"),
    ],
)
def test_what_nobody_answers_is_not_available(columns, says):
    mmse = report(answers(**columns))["mmse"]
    assert not mmse["available"]
    assert says in mmse["reason"]


def test_sex_is_told_by_the_area_under_its_curve():
    given = answers()
    sex = report(given)["sex"]
    expected = roc_auc_score(MALE[:N], given.tasks.column("sex"))
    assert sex["metrics"]["auc"]["value"] == pytest.approx(expected)
    (dark,) = sex["rivals"]
    assert dark["available"]
    assert dark["metrics"]["auc"]["value"] < sex["metrics"]["auc"]["value"]


def test_too_few_known_ages_to_learn_from_leave_rivals_out():
    ages = pd.Series(AGE).mask(np.arange(N + LEARNT) >= N + 5)
    age = report(answers(age=ages))["age"]
    assert [rival["available"] for rival in age["rivals"]] == [False, False]
    assert age["sentence"].endswith("no rival could be fitted.")
