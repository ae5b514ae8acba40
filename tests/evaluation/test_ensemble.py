"""What a network adds to the rivals of the image, on people whose evidence is planted."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from src.data.splits import Division
from src.evaluation.analyses import ensemble as ensemble_module
from src.evaluation.analyses import rivals as rivals_module
from src.evaluation.analyses.ensemble import calibrated_rival, ensemble
from src.evaluation.analyses.placed_features import GROUPS, placed_features
from src.evaluation.analyses.rivals import PLACED, rival_predictions, rival_scores
from src.predictions import Predictions

CLASSES = ("NonDemented", "VeryMildDemented", "MildOrWorse")
COUNTS = (40, 30, 20)


@pytest.fixture(autouse=True)
def one_strength(monkeypatch):
    monkeypatch.setattr(rivals_module, "_choose_strength", lambda x, y: 0.1)


def study(folds=3, repeats=2, seed=0):
    """Return measures of people, their labels and the divisions."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(3), COUNTS))
    names = [f"S{number:03d}" for number in range(len(label))]
    labels = pd.Series(label, pd.Index(names, name="subject"))
    seen = label[:, None] + rng.normal(scale=2.0, size=(len(label), 4))
    cells = label[:, None] + rng.normal(scale=4.0, size=(len(label), 30))
    measured = pd.DataFrame(
        np.hstack([seen, cells]),
        labels.index,
        [f"dark_{c:02d}" for c in range(4)] + [f"tissue_{c:04d}" for c in range(30)],
    )
    divisions = []
    for repeat in range(repeats):
        order = labels.sample(frac=1, random_state=repeat).sort_values(kind="stable").index
        divisions += [
            Division(tuple(order.difference(order[k::folds])), tuple(order[k::folds]))
            for k in range(folds)
        ]
    return measured, labels, divisions


def network(labels, divisions, strength, seed=1):
    """Return answers in another order than the rivals', of evidence of its own."""
    rng = np.random.default_rng(seed)
    rows = [(name, fold) for fold, division in enumerate(divisions) for name in division.test]
    rows = [rows[place] for place in np.argsort([name for name, _ in rows], kind="stable")]
    truth = labels.loc[[name for name, _ in rows]].to_numpy()
    logits = strength * np.eye(3)[truth] + rng.normal(size=(len(rows), 3))
    return Predictions(truth, logits, np.array([name for name, _ in rows]))


def together(strength, **changes):
    measured, labels, divisions = study()
    sees = {
        "dark_voxels": measured.filter(like="dark_"),
        "tissue_maps": measured.filter(like="tissue_"),
    }
    rivals = {
        name: rival_predictions(columns, labels, divisions, 3) for name, columns in sees.items()
    }
    rivals |= changes.pop("rivals", {})
    given = network(labels, divisions, strength)
    return ensemble(
        given, rivals, sees, labels, divisions, CLASSES, COUNTS, n_bootstrap=200, **changes
    )


def test_evidence_of_its_own_is_found_and_noise_is_not():
    found, noise = together(2.0), together(0.0)
    assert found["members"] == ["dark_voxels", "tissue_maps"]
    assert found["n_people"] == sum(COUNTS)
    assert found["difference"]["macro_auc"]["low"] > 0
    assert "the network adds ." in found["sentence"]
    assert noise["difference"]["macro_auc"]["value"] < 0.01
    assert "adds ." not in noise["sentence"]
    assert found["without"] == noise["without"]
    json.dumps(found, allow_nan=False)


def test_the_mean_is_of_each_persons_own_answers(monkeypatch):
    """By hand, person by person and repeat by repeat; calibration is left out."""
    monkeypatch.setattr(ensemble_module, "calibrated_rival", lambda rows, *rest: rows)
    measured, labels, divisions = study()
    columns = measured.filter(like="dark_")
    rows = rival_predictions(columns, labels, divisions, 3)
    said = network(labels, divisions, 1.0)
    scored = []
    monkeypatch.setattr(
        ensemble_module, "score", lambda part, *_: scored.append(part) or {"metrics": DUMMY}
    )
    ensemble(said, {"dark_voxels": rows}, {"dark_voxels": columns}, labels, divisions, CLASSES,
             COUNTS, n_bootstrap=20)  # fmt: skip
    alone, both = scored
    assert np.allclose(alone.logits, log_softmax(rows.logits, axis=1))
    for name in labels.index[:7]:
        own = both.logits[both.subjects == name]
        theirs = log_softmax(said.logits[said.subjects == name], axis=1)
        mine = log_softmax(rows.logits[rows.subjects == name], axis=1)
        assert np.allclose(own, (theirs + mine) / 2)


DUMMY = {
    name: {"value": 0.5, "low": 0.4, "high": 0.6}
    for name in ("balanced_accuracy", "macro_auc", "auc_demented")
}


def test_a_rival_that_is_too_sure_is_cooled_inside_the_folds():
    measured, labels, divisions = study()
    columns = measured.filter(like="dark_")
    rows = rival_predictions(columns, labels, divisions, 3)
    said = calibrated_rival(rows, columns, labels, divisions)
    ratio = said.logits / rows.logits
    start = 0
    for division in divisions:  # one temperature for each division
        own = ratio[start : start + len(division.test)]
        assert np.allclose(own, own[0, 0])
        start += len(division.test)
    assert len(np.unique(ratio.round(6))) == len(divisions)
    # It is fitted to development people alone: a test person's label does not move it.
    turned = labels.copy()
    turned.loc[list(divisions[0].test)] = 0
    again = calibrated_rival(rows, columns, turned, divisions[:1])
    first = len(divisions[0].test)
    assert np.array_equal(again.logits[:first], said.logits[:first])


def test_without_a_rival_of_the_image_it_says_so():
    found = ensemble(None, {}, {}, None, [], CLASSES, COUNTS)
    assert found == {"available": False, "reason": "no rival of the image could be fitted"}


def rows_of(slices, sessions=("MR1",)):
    return pd.DataFrame(
        [
            {"subject": name, "session": session, "slice": number}
            for name, count in slices.items()
            for session in sessions
            for number in range(count)
        ]
    )


def test_neighbouring_slices_stand_together_and_apart_from_others():
    rows = rows_of({"b": 16, "a": 21}).sample(frac=1, random_state=3)
    images = np.stack(
        [rows["slice"].to_numpy(float), (rows["subject"] == "a").to_numpy(float)], axis=1
    ).astype(np.float32)
    table = placed_features(images, rows)
    assert table.index.tolist() == ["a", "b"]
    assert all(name.startswith(PLACED) for name in table)
    grouped = table.loc["b"].to_numpy().reshape(GROUPS, 2)
    assert np.allclose(grouped[:, 0], np.arange(0.5, 16, 2))  # two of sixteen in each group
    assert np.allclose(table.loc["a"].to_numpy().reshape(GROUPS, 2)[0], [1.0, 1.0])  # 0, 1, 2


def test_sessions_are_averaged_and_few_slices_make_fewer_groups():
    rows = rows_of({"a": 3, "b": 5}, sessions=("MR1", "MR2"))
    images = (rows["slice"] + 10 * (rows["session"] == "MR2")).to_numpy(np.float32)[:, None]
    table = placed_features(images, rows)
    assert table.shape == (2, 3)
    assert table.loc["a"].tolist() == [5.0, 6.0, 7.0]
    assert placed_features(images[:2], rows_of({"a": 1, "b": 1})) is None


def test_where_in_the_head_a_sign_lies_is_kept():
    """The mean over slices is the same for everyone; only the place of the sign tells."""
    rng = np.random.default_rng(0)
    _, labels, divisions = study(repeats=1)
    rows = rows_of(dict.fromkeys(labels.index, 16))
    ill = rows["subject"].map(labels).to_numpy() > 0
    sign = np.where(ill, rows["slice"] < 8, rows["slice"] >= 8)
    images = (sign[:, None] + rng.normal(scale=2.0, size=(len(rows), 5))).astype(np.float32)
    table = placed_features(images, rows)
    entries, _ = rival_scores(
        labels.to_frame("age"), table, labels, divisions, CLASSES, COUNTS, n_bootstrap=50
    )
    named = {entry["name"]: entry for entry in entries if entry["available"]}
    assert named["placed_features"]["metrics"]["auc_demented"]["value"] > 0.95
    assert named["placed_features"]["columns"] == ["placed_00000 to placed_00039"]
    means = pd.DataFrame(images).groupby(rows["subject"].to_numpy()).mean().add_prefix("dark_")
    mean, _ = rival_scores(
        labels.to_frame("age"), means, labels, divisions, CLASSES, COUNTS, n_bootstrap=50
    )
    plain = next(entry for entry in mean if entry["name"] == "dark_voxels")
    assert plain["metrics"]["auc_demented"]["value"] < 0.7
    assert "placed_features" not in {entry["name"] for entry in mean}


@pytest.mark.parametrize("missing", ["dark_voxels", "tissue_maps"])
def test_one_rival_is_enough(missing):
    measured, labels, divisions = study(repeats=1)
    name, like = {
        "dark_voxels": ("tissue_maps", "tissue_"), "tissue_maps": ("dark_voxels", "dark_"),
    }[missing]  # fmt: skip
    columns = measured.filter(like=like)
    rows = rival_predictions(columns, labels, divisions, 3)
    said = network(labels, divisions, 1.0)
    found = ensemble(
        *(said, {name: rows}, {name: columns}, labels, divisions, CLASSES, COUNTS), n_bootstrap=50
    )
    assert found["members"] == [name]
