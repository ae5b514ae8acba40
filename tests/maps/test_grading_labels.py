"""Heads fitted to true and to shuffled labels: maps that heed the head, and maps that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_processed
from grading_models import Maker, Net, brains, the_image, tiny_classifier
from scipy.stats import spearmanr

from src.data.loaders import open_dataset
from src.labels import class_scheme
from src.maps.grading import label_randomisation as module
from src.maps.grading.label_randomisation import (
    DRAWS,
    auc_demented,
    label_randomisation,
    training_people,
)
from src.maps.grading.similarity import brain_masks
from src.predictions import Predictions
from src.training.frozen_head import HeadFit, People, fit_head

CPU = torch.device("cpu")
BASIS = np.random.default_rng(5).normal(size=(6, 18, 22))


def crowd(n: int = 30, k: int = 3, per: int = 2) -> People:
    """Return people whose first feature is their class, and whose others are noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % k
    person = np.repeat(np.arange(n), per)
    images = rng.normal(size=(n * per, 6))
    images[:, 0] += 4 * labels[person]
    names = np.array([f"P{i:02d}" for i in range(n)])
    return People(images.astype(np.float32), person, labels, names, labels.copy())


def of_head(model: Any, images: np.ndarray, target: Any) -> np.ndarray:
    """A map that the head decides: a sum of fixed patterns by the weights of the last class."""
    weights = model.head.weight[-1].detach().double().numpy()
    return np.abs(np.tensordot(weights / np.abs(weights).max(), BASIS, 1)) * (images > 0)


def quick_fit(model: Any, people: People, *, loss: str, cap: float, seed: int) -> Any:
    """Stand in for `fit_head`: a head of class means, and answers of no meaning."""
    means = [people.means[people.labels == k].mean(0) for k in range(model.num_classes)]
    with torch.no_grad():
        if not model.ordinal:
            model.head.weight.copy_(torch.from_numpy(np.array(means)))
    logits = np.random.default_rng(seed).normal(size=(len(people.labels), model.num_classes))
    return HeadFit(1.0, [], Predictions(people.labels, logits, people.subjects))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit_head", quick_fit)


@pytest.mark.slow
def test_a_map_that_heeds_the_head_changes_with_the_labels() -> None:
    classifier, x = tiny_classifier(), brains()
    maker = Maker(classifier, of_head)
    fit_head(classifier, crowd(), loss="ce", cap=10, seed=0)  # trained: on the same people
    found = label_randomisation(maker, x, 1, crowd())
    assert min(found["refitted"]) > 0.999
    assert max(found["shuffled"]) < 0.7
    assert found["auc_true"] > 0.95
    assert np.mean(found["auc_shuffled"]) == pytest.approx(0.5, abs=0.2)
    assert (found["draws"], len(found["auc_shuffled"]), found["n_people"]) == (DRAWS, DRAWS, 30)
    json.dumps(found, allow_nan=False)


@pytest.mark.usefixtures("quick")
def test_a_map_that_does_not_heed_the_head_stays_the_same() -> None:
    found = label_randomisation(Maker(tiny_classifier(), the_image), brains(), 1, crowd())
    assert found["refitted"] == found["shuffled"] == pytest.approx([1, 1, 1])


@pytest.mark.usefixtures("quick")
def test_similarities_are_those_of_the_maps_that_were_made() -> None:
    made: list[np.ndarray] = []
    maker = Maker(tiny_classifier(), lambda *a: made.append(of_head(*a)) or made[-1])
    x = brains()
    found = label_randomisation(maker, x, 1, crowd(), seed=3)
    masks = brain_masks(x[:, 0].numpy())
    true, *shuffled, own = [one.astype(np.float32) for one in made]
    for i, mask in enumerate(masks):
        assert found["refitted"][i] == pytest.approx(spearmanr(own[i][mask], true[i][mask])[0])
        ranks = [spearmanr(true[i][mask], one[i][mask])[0] for one in shuffled]
        assert found["shuffled"][i] == pytest.approx(np.mean(ranks))


@pytest.mark.parametrize("ordinal", [False, True])
def test_labels_go_from_person_to_person_with_their_stages(
    monkeypatch: pytest.MonkeyPatch, ordinal: bool
) -> None:
    seen: list[tuple[People, str]] = []

    def spy(model: Any, people: People, *, loss: str, cap: float, seed: int) -> Any:
        seen.append((people, loss))
        return quick_fit(model, people, loss=loss, cap=cap, seed=seed)

    monkeypatch.setattr(module, "fit_head", spy)
    people = crowd()
    people = People(
        people.images, people.person, people.labels, people.subjects, people.labels + 10
    )
    label_randomisation(Maker(tiny_classifier(ordinal=ordinal), the_image), brains(), 1, people)
    (first, loss), *others = seen
    assert loss == ("ordinal" if ordinal else "ce")
    assert first is people
    assert len(others) == DRAWS
    for dealt, _ in others:
        assert sorted(dealt.labels) == sorted(people.labels)
        assert (dealt.labels != people.labels).any()
        assert np.array_equal(dealt.stages, dealt.labels + 10)
        assert dealt.images is people.images


@pytest.mark.usefixtures("quick")
def test_the_model_is_left_alone_and_the_seed_decides() -> None:
    classifier = tiny_classifier()
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    maker = Maker(classifier, of_head)
    first = label_randomisation(maker, brains(), 1, crowd(), seed=1)
    assert all(torch.equal(v, state[name]) for name, v in classifier.state_dict().items())
    assert label_randomisation(maker, brains(), 1, crowd(), seed=1) == first
    assert label_randomisation(maker, brains(), 1, crowd(), seed=2) != first


@pytest.mark.usefixtures("quick")
def test_the_predicted_class_is_settled_before_the_head_changes() -> None:
    classifier, x = tiny_classifier(), brains()
    with torch.no_grad():
        wanted = classifier(x).argmax(1).tolist()
    maker = Maker(classifier, the_image)
    maker.function = lambda model, images, target: seen.append(target) or images
    seen: list[Any] = []
    label_randomisation(maker, x, None, crowd())
    assert seen == [wanted] * (DRAWS + 2)


def test_what_cannot_be_fitted_says_why() -> None:
    other = label_randomisation(Maker(Net(), the_image), brains(), 1, crowd())
    assert other == {
        "available": False,
        "reason": "the model has no head that could be fitted alone",
    }
    few = label_randomisation(Maker(tiny_classifier(), the_image), brains(), 1, crowd(3))
    assert few["available"] is False
    assert "3 people" in few["reason"]


def test_training_people_are_some_of_each_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_dataset(make_processed(tmp_path), "2d", class_scheme(4))
    everyone, note = training_people(tiny_classifier(), data, CPU)
    names = set(data.subjects)
    assert note == f"Heads were fitted to {len(names)} of {len(names)} training people."
    assert set(everyone.subjects) == names
    monkeypatch.setattr(module, "MOST_PEOPLE", 6)
    some, note = training_people(tiny_classifier(), data, CPU, seed=1)
    assert note.startswith(f"Heads were fitted to 6 of {len(names)}")
    assert len(some.images) == 6 * 3
    assert np.bincount(some.labels).max() - np.bincount(some.labels, minlength=4).min() <= 1
    others = {
        str(training_people(tiny_classifier(), data, CPU, seed=s)[0].subjects) for s in range(6)
    }
    assert len(others) > 1
    monkeypatch.setattr(module, "MOST_IMAGES", 13)  # three slices of each: four people
    assert len(training_people(tiny_classifier(), data, CPU)[0].labels) == 4


def test_auc_needs_both_kinds_of_people() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 3))
    assert auc_demented(Predictions(np.ones(6, dtype=int), logits, np.arange(6))) is None
    labels = np.array([0, 0, 1, 2, 1, 0])
    odds = np.logaddexp(logits[:, 1], logits[:, 2]) - logits[:, 0]
    pairs = [odds[i] > odds[j] for i in range(6) for j in range(6) if labels[i] and not labels[j]]
    assert auc_demented(Predictions(labels, logits, np.arange(6))) == pytest.approx(np.mean(pairs))
