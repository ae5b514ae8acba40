"""Scans of one person: together within a visit, apart between visits."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from src.inference.answer_records import GivenAnswer
from src.inference.answers import write_people
from src.inference.ensemble import Ensemble
from src.inference.inputs import Input
from src.inference.joined import has_several, join_people, person_in_words
from src.predictions import Predictions, per_person

CLASSES = ("Non", "VeryMild", "Mild")


def colder(by):
    """Return a model whose logits are divided by `by`."""
    return SimpleNamespace(calibrated=lambda p: Predictions(p.labels, p.logits / by, p.subjects))


@pytest.fixture
def ensemble():
    members = [SimpleNamespace(model=colder(by), content={"classes": CLASSES}) for by in (1.5, 3)]
    return Ensemble(members, None, Path("x"))


class Study:
    """Scans with random logits for each of their images, and what is said of them."""

    def __init__(self, ensemble):
        self.ensemble, self.rng = ensemble, np.random.default_rng(3)
        self.items, self.answers, self.given, self.images = [], {}, {}, {}

    def add(self, name, subject=None, session=None, n=4, held=CLASSES[:1], outside=False):
        item = Input(name, "scan", (Path(f"{name}.nii"),), subject, session)
        images = self.rng.normal(size=(2, n, 3))  # M n K
        logits = images.mean(axis=1)
        p = dict(zip(CLASSES, self.ensemble.probabilities(logits), strict=True))
        answer = {
            "name": name,
            "probabilities": None if outside else p,
            "prediction_set": None if outside else list(held),
            "n_images": n,
        }
        self.items.append(item)
        self.answers[name], self.images[name] = answer, images
        self.given[name] = GivenAnswer(answer, logits, was_raw=True)
        return self

    def people(self):
        return join_people(self.ensemble, self.items, self.answers, self.given)


@pytest.fixture
def study(ensemble):
    return Study(ensemble)


def test_scans_of_a_visit_are_joined_as_images_are_when_a_model_is_scored(study, ensemble):
    study.add("a", "P1", "MR1_mpr-1", n=3).add("b", "P1", "MR1_mpr-2", n=7)
    (session,) = study.people()[0]["sessions"]
    rows = np.concatenate([study.images["a"], study.images["b"]], axis=1)
    wanted = []
    for member, logits in zip(ensemble.members, rows, strict=True):
        images = Predictions(np.zeros(10, np.int64), logits, np.array(["P1"] * 10))
        wanted.append(member.model.calibrated(per_person(images)).probabilities[0])
    assert list(session["probabilities"].values()) == pytest.approx(
        np.mean(wanted, axis=0), abs=1e-4
    )
    assert session["scans"] == ["a", "b"]
    assert session["n_images"] == 10
    apart = [list(study.answers[name]["probabilities"].values()) for name in "ab"]
    spread = list(session["spread_between_scans"].values())
    assert spread == pytest.approx(np.std(apart, axis=0), abs=1e-4)
    assert max(spread) > 0.01


def test_visits_are_never_averaged(study):
    study.add("late", "P1", "ses-10").add("early", "P1", "ses-2_run-1")
    (person,) = study.people()
    assert [one["session"] for one in person["sessions"]] == ["ses-2", "ses-10"]
    for one, name in zip(person["sessions"], ("early", "late"), strict=True):
        assert one["probabilities"] == pytest.approx(study.answers[name]["probabilities"], abs=1e-4)
        assert one["spread_between_scans"] is None
    assert person_in_words(person).startswith("P1 (2 visits or days, not averaged): ses-2: ")


def test_scans_whose_visit_is_not_told_stand_alone(study):
    study.add("a", "P1").add("b", "P1").add("c", "P1", "ses-1")
    sessions = study.people()[0]["sessions"]
    assert [(one["session"], one["scans"]) for one in sessions] == [
        (None, ["a"]),
        (None, ["b"]),
        ("ses-1", ["c"]),
    ]
    assert "; b: " in person_in_words(study.people()[0])


def test_nobody_is_joined_without_a_name(study):
    study.add("a").add("b").add("c", "P2", "MR1")
    (person,) = study.people()
    assert person["subject"] == "P2"
    assert not has_several(person)


def test_what_is_outside_is_left_out_and_said(study):
    study.add("a", "P1", "MR1_mpr-1", outside=True).add("b", "P1", "MR1_mpr-2")
    study.add("c", "P1", "MR2", outside=True)
    (person,) = study.people()
    first, second = person["sessions"]
    assert (first["scans"], first["left_out"]) == (["b"], ["a"])
    assert first["probabilities"] == pytest.approx(study.answers["b"]["probabilities"], abs=1e-4)
    assert (second["stage"], second["probabilities"], second["left_out"]) == (None, None, ["c"])
    assert "MR1 (1 left out): " in person_in_words(person)
    assert person_in_words(person).endswith("MR2: outside what this model has seen")


def test_a_joined_set_holds_what_any_of_the_sets_holds(study):
    study.add("a", "P1", "MR1_mpr-1", held=("Mild",)).add("b", "P1", "MR1_mpr-2", held=("Non",))
    assert study.people()[0]["sessions"][0]["prediction_set"] == ["Non", "Mild"]


def test_the_table_has_a_row_for_each_visit(study, tmp_path):
    study.add("a", "=P1", "MR1").add("b", "=P1", "MR2", outside=True)
    table = pd.read_csv(write_people(tmp_path / "people.csv", study.people(), CLASSES))
    assert table["subject"].tolist() == ["'=P1", "'=P1"]
    assert table["session"].tolist() == ["MR1", "MR2"]
    assert table["p_Non"].notna().tolist() == [True, False]
    assert table["left_out"].fillna("").tolist() == ["", "b"]
