"""Features once, and a head whose fit others compute alike."""

import shutil

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from src.data.loaders import open_dataset
from src.errors import ConfigError
from src.labels import class_scheme
from src.models.create import create_model
from src.predictions import per_person
from src.training import frozen_head as frozen
from src.training.features import dataset_features
from src.training.frozen_head import People, fit_head, gather_people, predict_features
from src.training.logits import predict

CPU = torch.device("cpu")


class Small(nn.Module):
    """What `fit_head` needs of a classifier: a head and a number of classes."""

    def __init__(self, width: int, k: int, ordinal: bool = False) -> None:
        super().__init__()
        self.num_classes = k
        self.head = frozen.OrdinalHead(width, k) if ordinal else nn.Linear(width, k)


def people(n: int = 60, width: int = 9, k: int = 3, seed: int = 0, scale: float = 5.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    rows = rng.normal(size=(n, width)) * scale + 30
    rows[:, 2] += 0.9 * scale * labels
    return rows, labels


def known(rows, labels, stages=None, images: int = 1) -> People:
    """Return people with `images` equal images each."""
    person = np.repeat(np.arange(len(labels)), images)
    names = np.array([f"P{i}" for i in range(len(labels))])
    stages = labels if stages is None else stages
    return People(rows[person].astype(np.float32), person, labels, names, np.minimum(stages, 2))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = create_model("2d", "resnet18", 4, pretrained=False, freeze_backbone=True)
    nn.init.normal_(made.head.weight)
    return made.eval()


@pytest.fixture
def data(processed_2d, tmp_path):
    folder = tmp_path / "phantom_2d"
    shutil.copytree(processed_2d, folder, ignore=shutil.ignore_patterns(".features"))
    return open_dataset(folder, "2d", class_scheme(4))


def test_the_head_is_the_penalised_maximum_that_scikit_learn_finds():
    rows, labels = people()
    small = Small(9, 3)
    fit = fit_head(small, known(rows, labels), loss="ce", cap=10, seed=0)
    centred = rows - rows.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=1).mean())
    oracle = LogisticRegression(C=1 / (fit.strength * len(rows)), tol=1e-9, max_iter=5000)
    oracle.fit(centred / length, labels)
    expected = oracle.predict_log_proba(centred / length)
    with torch.no_grad():
        said = torch.log_softmax(small.double().head(torch.tensor(rows)), dim=1)
    np.testing.assert_allclose(said, expected, atol=2e-3)


@pytest.mark.slow
def test_unequal_classes_are_weighted():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [50, 10])
    rows = rng.normal(size=(60, 4)) + labels[:, None]
    found = {}
    for cap in (1.0, 10.0):
        small = Small(4, 2)
        fit_head(small, known(rows, labels), loss="ce", cap=cap, seed=0)
        with torch.no_grad():
            found[cap] = small.double().head(torch.tensor(rows)).argmax(dim=1).numpy()
    assert (found[10.0] == 1).sum() > (found[1.0] == 1).sum()


@pytest.mark.parametrize("loss", ["ce", "focal", "ordinal"])
def test_people_are_validated_by_folds_that_left_them_out(loss):
    rng = np.random.default_rng(2)
    rows, labels = rng.normal(size=(80, 200)), rng.integers(0, 2, 80)  # nothing to learn
    small = Small(200, 2, loss == "ordinal")
    fit = fit_head(small, known(rows, labels), loss=loss, cap=10, seed=0)
    with torch.no_grad():
        own = small.double().head(torch.tensor(rows)).argmax(dim=1).numpy()
    left_out = fit.validation.predicted
    assert fit.strength in frozen.STRENGTHS
    assert fit.strength == frozen.STRENGTHS[int(np.argmin(fit.losses))]
    assert (own == labels).mean() > 0.65  # more dimensions than people
    assert (left_out == labels).mean() < 0.65


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ce", "focal", "ordinal"])
def test_what_can_be_learnt_is_learnt(loss):
    rows, labels = people(90, 300, 3, scale=1.0)
    rows[:, 2] += 3 * labels
    fit = fit_head(Small(300, 3, loss == "ordinal"), known(rows, labels), loss=loss, cap=10, seed=0)
    assert (fit.validation.predicted == labels).mean() > 0.7
    assert fit.strength < max(frozen.STRENGTHS)


@pytest.mark.slow
def test_the_seed_deals_the_inner_folds():
    rows, labels = people(n=40)
    found = [
        fit_head(Small(9, 3), known(rows, labels), loss="ce", cap=10, seed=seed).validation.logits
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


@pytest.mark.slow
def test_a_class_of_one_person_does_not_stop_it():
    rows, labels = people(n=31)
    labels[:] = np.arange(31) % 2
    labels[5] = 2
    fit = fit_head(Small(9, 4, ordinal=True), known(rows, labels), loss="ordinal", cap=10, seed=0)
    assert np.isfinite(fit.validation.logits).all()


def test_one_class_is_refused():
    rows, labels = people(n=12)
    with pytest.raises(ConfigError, match="12 people of 1 class"):
        fit_head(Small(9, 3), known(rows, labels * 0), loss="ce", cap=10, seed=0)


def test_the_logits_of_features_are_those_of_images(model, data):
    features = dataset_features(model, data, CPU)
    expected = predict(model, data, CPU)
    found = predict_features(model, features, data)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    assert list(found.subjects) == list(expected.subjects)


def test_the_logit_of_mean_features_is_the_mean_logit(model, data):
    found = gather_people(model, [data, data.with_split("val")], CPU)
    both = [predict(model, part, CPU) for part in (data, data.with_split("val"))]
    expected = {
        name: (logits, label)
        for people in map(per_person, both)
        for name, logits, label in zip(people.subjects, people.logits, people.labels, strict=True)
    }
    assert set(found.subjects) == set(expected)
    with torch.no_grad():
        said = model.head(torch.tensor(found.means).float()).numpy()
    logits = np.stack([expected[name][0] for name in found.subjects])
    np.testing.assert_allclose(said, logits, atol=1e-4)
    assert found.labels.tolist() == [expected[name][1] for name in found.subjects]
    assert found.stages.tolist() == np.minimum(found.labels, 2).tolist()


def test_left_out_people_are_answered_as_anyone_is_later():
    """An ordinal head's mean over images is not its answer to their mean."""
    rng = np.random.default_rng(5)
    labels, person = np.arange(40) % 3, np.repeat(np.arange(40), 7)
    images = (rng.normal(size=(280, 6)) * 3 + labels[person, None]).astype(np.float32)
    people_ = People(images, person, labels, np.arange(40), labels)
    small = Small(6, 3, ordinal=True).double()
    nn.init.normal_(small.head.score.weight)
    chosen = np.array([31, 2, 17])
    with torch.no_grad():
        by_image = small.head(torch.from_numpy(images).double()).numpy()
    expected = np.stack([by_image[person == one].mean(axis=0) for one in chosen])
    np.testing.assert_allclose(people_.mean_logits(small.head, chosen), expected)
    with torch.no_grad():
        of_mean = small.head(torch.tensor(people_.means[chosen])).numpy()
    assert not np.allclose(of_mean, expected, atol=0.05)


@pytest.mark.slow
def test_two_classes_learn_from_finer_ones():
    rng = np.random.default_rng(4)
    finer = np.repeat([0, 1, 2], [40, 25, 15])
    rows, labels = rng.normal(size=(80, 30)), (finer > 0).astype(int)
    rows[:, 3] += 2.5 * finer
    told, bare = Small(30, 2, ordinal=True), Small(30, 2, ordinal=True)
    settings = {"loss": "ordinal", "cap": 10, "seed": 0}
    with_finer = fit_head(told, known(rows, labels, finer), **settings)
    without = fit_head(bare, known(rows, labels), **settings)
    assert told.head.gaps.numel() == 0
    assert with_finer.validation.num_classes == without.validation.num_classes == 2
    np.testing.assert_allclose(np.exp(with_finer.validation.logits).sum(axis=1), 1)
    right = [(fit.validation.predicted == labels).mean() for fit in (with_finer, without)]
    assert min(right) > 0.6
    sides = [(with_finer.validation.predicted == k)[labels == k].mean() for k in (0, 1)]
    assert abs(sides[0] - sides[1]) < 0.2  # the threshold lies between the two sides
    with torch.no_grad():
        said = told.double().head(torch.tensor(rows)).exp()
    assert said.shape == (80, 2)
    torch.testing.assert_close(said.sum(dim=1), torch.ones(80).double())
