"""The frozen network as a scikit-learn classifier: its contract, and its people."""

import cv2
import numpy as np
import pytest
from conftest import ellipsoid, make_processed
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_runs import run_config

from src import Manifest, StageClassifier, arrays
from src.errors import ConfigError, ImageError
from src.models.checkpoint import load_checkpoint
from src.models.engine import Pass
from src.notebook import estimator
from src.stages import train


@parametrize_with_checks([StageClassifier(loss="ce")])
def test_the_contract_of_scikit_learn(estimator, check):
    if "array_api" in check.func.__name__:
        pytest.skip("arrays of other libraries are not taken")
    check(estimator)


def heads(people=12, images=3):
    """Return ``(n, 33, 40)`` pictures of darker centres by stage, stages and people."""
    rng, shown, stages, names = np.random.default_rng(0), [], [], []
    for person in range(people):
        for _ in range(images):
            hole = 0.2 + 0.3 * (person % 2) + 0.02 * rng.standard_normal()
            data = ellipsoid((33, 40, 3), hole)[..., 1] / 900
            shown.append((np.clip(data, 0, 1) * 255).astype(np.uint8))
            stages.append(("NonDemented", "MildDemented")[person % 2])
            names.append(f"P{person}")
    return np.stack(shown), np.array(stages), np.array(names)


@pytest.mark.slow
def test_stages_are_ordered_and_people_are_what_is_fitted():
    X, y, people = heads()
    model = StageClassifier().fit(X, y, groups=people)
    assert model.classes_.tolist() == ["NonDemented", "MildDemented"]
    assert model.n_people_ == 12
    assert type(model.head_).__name__ == "OrdinalHead"
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert (model.predict(X) == y).mean() > 0.9
    assert model.predict_proba(X / np.float32(255)) == pytest.approx(
        model.predict_proba(X), abs=1e-4
    )


@pytest.mark.slow
def test_a_search_by_person_computes_every_image_once(monkeypatch):
    X, y, people = heads()
    seen = []
    embed = Pass.embed

    def counted(self, images):
        seen.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(Pass, "embed", counted)
    monkeypatch.setattr(estimator, "_features", type(estimator._features)())
    grid = {"loss": ["ce", "ordinal"], "class_weight_cap": [1.0, 10.0]}
    search = GridSearchCV(StageClassifier(), grid, cv=GroupKFold(3)).fit(X, y, groups=people)
    assert sum(seen) == len(np.unique(X, axis=0))
    assert set(search.best_params_) == set(grid)
    said = cross_val_predict(StageClassifier(), X, y, groups=people, cv=GroupKFold(3))
    assert (said == y).mean() > 0.8


def test_routing_tells_every_fit_of_a_search_whose_rows_they_are():
    images, y, people = heads()
    X = images[:, 10:20, 20] / np.float32(255)  # features: no network is needed
    grid = {"class_weight_cap": [1.0, 10.0]}
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(StageClassifier(), grid, cv=GroupKFold(3)).fit(X, y, groups=people)
        params = {"groups": people}
        made = cross_validate(
            StageClassifier(), X, y, cv=GroupKFold(3), params=params, return_estimator=True
        )
    assert search.best_estimator_.n_people_ == 12
    assert [model.n_people_ for model in made["estimator"]] == [8, 8, 8]


@pytest.mark.slow
def test_a_manifest_gives_the_head_that_the_stage_fits(tmp_path):
    data = make_processed(tmp_path / "phantom_2d", people=(8, 8, 8, 0))
    manifest = Manifest.read(data)
    config = run_config(
        data, tmp_path, backbone="efficientnet_lite0", freeze_backbone=True, classes=4,
        weights="imagenet",
    )  # fmt: skip
    (path, *_) = [one for one in train.run(config) if one.name == "best_model.pth"]
    known = manifest.where(manifest.table["split"].isin(["train", "val"]))
    model = StageClassifier(loss="ce").fit(known)
    assert model.n_people_ == known.table["subject"].nunique()
    stored = load_checkpoint(path)["model"]
    assert stored["head.score.weight"].shape[1] == model.head_.weight.shape[1]
    assert model.predict_proba(known).shape == (len(known), 3)


@pytest.mark.slow
def test_a_manifest_as_arrays_is_fitted_alike_and_leaves_unrated_people_out(tmp_path):
    data = make_processed(tmp_path / "phantom_2d", people=(8, 8, 0, 0))
    manifest = Manifest.read(data)
    table = manifest.table
    nobody = table["subject"].isin(table["subject"].unique()[:2])
    manifest = manifest.with_columns(label=table["label"].mask(nobody))
    X, y, people = arrays(manifest)
    assert X.shape == ((~nobody).sum(), 40, 36)
    assert y.tolist() == table["label"][~nobody].tolist()
    assert people.tolist() == table["subject"][~nobody].tolist()
    picture = cv2.imread(str(data / table["path"][~nobody].iloc[4]), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(X[4], picture)
    whole, parts = (
        StageClassifier().fit(*given[:2], groups=given[2]) if len(given) > 1 else
        StageClassifier().fit(*given)
        for given in ((manifest,), (X, y, people))
    )  # fmt: skip
    np.testing.assert_array_equal(whole.predict_proba(X), parts.predict_proba(X))
    (cache,) = (data / ".cache").glob("images_*.npy")
    assert len(np.load(cache)) == len(table)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"groups": [1, 2]}, ValueError, "groups names 2 people's rows, X has 36"),
        ({"groups": ["a"] * 36}, ValueError, "the person a has two labels"),
        ({"X": np.full((36, 33, 40), 7.5)}, ImageError, r"found float64 of 7.5 to 7.5"),
        ({"y": ["a"] * 36}, ValueError, "one class alone: a"),
        ({"y": ["a"] * 35}, ValueError, "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_fitted_is_told(change, kind, said):
    X, y, people = heads()
    given = {"X": X, "y": y, "groups": people} | change
    with pytest.raises(kind, match=said):
        StageClassifier().fit(**given)


def test_a_loss_that_is_none_is_told():
    X, y, _ = heads(4, 1)
    with pytest.raises(ConfigError, match="loss 'mse' is none"):
        StageClassifier(loss="mse").fit(X.reshape(4, -1)[:, :9] + 0.0, y)


@pytest.mark.slow
def test_slices_without_people_are_told(caplog):
    X, y, people = heads(8, 2)
    StageClassifier().fit(X, y, groups=people)
    assert "no groups" not in caplog.text
    StageClassifier().fit(X, y)
    assert "each of 16 slices counts as a person" in caplog.text


def test_a_network_of_random_weights_is_refused():
    with pytest.raises(ConfigError, match="volumes need a network that was trained"):
        StageClassifier().fit(np.zeros((8, 9, 8, 7), np.uint8), ["a", "b"] * 4)
