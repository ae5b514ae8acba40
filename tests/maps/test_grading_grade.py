"""The whole grade of tiny models: what must fail fails for its reason, and the figure is drawn."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from conftest import make_processed
from grading_models import Maker, brains, the_image, tiny_classifier

from src.data.loaders import open_dataset
from src.errors import ImageError
from src.labels import class_scheme
from src.maps.attribution import Attribution
from src.maps.grading import figure as drawing
from src.maps.grading.figure import grade_figure
from src.maps.grading.grade import grade_maps
from src.maps.methods import CAM_METHODS
from src.predictions import Predictions
from src.training.frozen_head import gather_people

SECTIONS = ("model", "weights", "labels", "faithfulness", "stability", "outside", "agreement")


def answers(skill: float = 3.0) -> Predictions:
    labels = np.arange(48) % 3
    logits = np.random.default_rng(0).normal(size=(48, 3)) + skill * np.eye(3)[labels]
    return Predictions(labels, logits, np.arange(48))


@pytest.fixture(scope="module")
def of_the_image() -> dict[str, Any]:
    """Return the grade of maps that are the image itself."""
    other = Maker(tiny_classifier(), lambda m, images, t: np.sqrt(images), cell=1)
    return grade_maps(
        Maker(tiny_classifier(), the_image), brains(6), [0, 1, 2, 0, 1, 2],
        validation=answers(), others={"root": other}, n_bootstrap=50,
    )  # fmt: skip


def test_the_image_itself_is_no_map_of_a_model(of_the_image: dict[str, Any]) -> None:
    checks = {check["name"]: check for check in of_the_image["checks"]}
    assert of_the_image["verdict"] == checks["weights"]["verdict"] == "FAIL"
    assert checks["weights"]["value"]["value"] == pytest.approx(1)
    assert checks["shift"]["verdict"] == checks["outside"]["verdict"] == "PASS"
    assert checks["labels"]["verdict"] == "NOT KNOWN"
    assert checks["model"]["verdict"] == "PASS"
    assert checks["agreement"]["value"]["value"] > 0.9  # a root keeps the ranks of places
    assert "phantom" not in checks
    assert (of_the_image["n_people"], of_the_image["cell"]) == (6, [2.0, 2.0])
    assert (of_the_image["target"], of_the_image["method"]) == ([0, 1, 2, 0, 1, 2], "own")
    json.dumps(of_the_image, allow_nan=False)


@pytest.mark.slow
def test_a_real_attribution_of_a_processed_data_set(tmp_path: Path) -> None:
    data = open_dataset(make_processed(tmp_path), "2d", class_scheme(4))
    classifier = tiny_classifier(4).train()
    state = copy.deepcopy(classifier.state_dict())
    attribution = Attribution(classifier, "hirescam", "features.second")
    gradcam = Attribution(classifier, "gradcam", "features.second")
    phantom = {"available": False, "reason": "nothing was planted"}
    found = grade_maps(
        attribution, brains(2, (40, 36)), "demented", n_bootstrap=50,
        training=data, phantom=phantom, others={"gradcam": gradcam},
    )  # fmt: skip
    assert all(found[name]["available"] for name in SECTIONS[1:])
    assert found["model"]["available"] is False
    assert found["phantom"] == phantom
    assert found["target"] == "demented"
    people = gather_people(classifier, [data], torch.device("cpu"))
    count = len(people.labels)
    assert found["labels"]["note"] == f"Heads were fitted to {count} of {count} training people."
    assert found["agreement"]["methods"] == ["hirescam", "gradcam"]
    assert all(torch.equal(v, state[name]) for name, v in classifier.state_dict().items())
    assert classifier.training
    json.dumps(found, allow_nan=False)


def test_a_check_that_breaks_says_why_and_the_others_go_on() -> None:
    classifier = tiny_classifier()

    def of_the_trained_only(model: Any, images: np.ndarray, target: Any) -> np.ndarray:
        if model is not classifier:
            raise ImageError("the map is not finite")
        return images

    found = grade_maps(
        Maker(classifier, of_the_trained_only), brains(5), 0, others={}, n_bootstrap=9
    )
    assert found["weights"] == {"available": False, "reason": "the map is not finite"}
    assert found["stability"]["available"]
    assert found["agreement"]["available"] is False
    assert {c["name"]: c["verdict"] for c in found["checks"]}["weights"] == "NOT KNOWN"
    assert found["verdict"] in ("WARN", "FAIL")


def test_every_check_explains_the_target_that_was_asked_for() -> None:
    maker, x = Maker(tiny_classifier(), the_image), brains(3)
    with torch.no_grad():
        other = (int(maker.model(x).argmax(1)[0]) + 1) % 3  # not what the model predicts
    grade_maps(maker, x, other, others={}, n_bootstrap=9)
    assert len(maker.seen) > 10
    assert all(target == [other] * len(images) for _, images, target in maker.seen)


def test_what_is_no_fault_of_the_input_is_a_bug() -> None:
    def broken(model: Any, images: np.ndarray, target: Any) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        grade_maps(Maker(tiny_classifier(), broken), brains(2), 0)


def test_other_methods_are_the_class_activation_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def stand_in(model: Any, method: str) -> Maker:
        asked.append(method)
        return Maker(model, the_image, method=method)

    monkeypatch.setattr("src.maps.grading.grade.Attribution", stand_in)
    own = Maker(tiny_classifier(), the_image, method="gradcam")
    found = grade_maps(own, brains(2), 0, n_bootstrap=9)
    assert {"gradcam++", "layercam", "hirescam"} <= set(asked)
    assert asked == [name for name in CAM_METHODS if name != "gradcam"]
    assert found["agreement"]["methods"] == ["gradcam", *asked]


@pytest.mark.slow
def test_the_figure_shows_every_check(
    tmp_path: Path, of_the_image: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []
    draw = drawing.write_figure

    def spy(*asked: Any) -> Path:
        written.append((asked[0], asked[1:]))
        return draw(*asked)

    monkeypatch.setattr(drawing, "write_figure", spy)
    grade = copy.deepcopy(of_the_image)
    for stage in grade["weights"]["stages"]:
        stage["ssim"] = [0.5] * 6
    path = grade_figure(tmp_path / "grade.png", grade, "a_run", "caption", stamps=["STAMP"])
    figure, (_, title, caption, stamps) = written[0]
    assert (title, caption, stamps) == ("a_run: maps FAIL", "caption", ["STAMP"])
    axes = {one.get_title(loc="left"): one for one in figure.axes}
    words = [text.get_text() for text in axes.pop("").texts]
    for check in of_the_image["checks"]:
        assert check["verdict"] in words
        assert check["title"] in words
    means = axes["Weights made random, from the head down"].lines[6].get_ydata()
    assert means == pytest.approx([1, 1, 1])
    deletion = axes["Deletion"].lines[0].get_ydata()
    assert deletion == pytest.approx(np.mean(of_the_image["faithfulness"]["deletion"]["map"], 0))
    assert "are not at hand" in axes["Labels shuffled"].texts[0].get_text().replace("\n", " ")
    picture = matplotlib.image.imread(path)
    assert picture.shape[0] > 900
    assert picture.shape[1] > 1500


@pytest.mark.slow
def test_the_figure_bears_gaps_and_odd_names(tmp_path: Path, of_the_image: dict[str, Any]) -> None:
    grade = copy.deepcopy(of_the_image)
    reason = {"available": False, "reason": "costs $5 and $6 " * 30}
    grade |= {"faithfulness": reason, "agreement": reason, "labels": None}
    for stage in grade["weights"]["stages"]:
        stage["layer"] = "features.$a_{b$" * 9
        stage["similarity"] = [None] * 6
    grade["weights"]["between_people"] = [None] * 6
    grade["stability"]["shift"] = grade["outside"]["ratio"] = [None] * 6
    assert grade_figure(tmp_path / "grade.png", grade, "$run", "").is_file()
