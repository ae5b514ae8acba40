"""Heads beside the stage's, what they say of people, and the line of a brain-age gap."""

import numpy as np
import pytest
import torch

from src.errors import CheckpointError, ConfigError
from src.evaluation.open_checkpoint import load_trained
from src.models.checkpoint import load_checkpoint, save_checkpoint
from src.models.classifier import Classifier
from src.models.create import backbone_entry
from src.models.task_values import TaskValues, gap_line, joined_values
from src.models.weights import load_weight_file

NO_LINE = [np.nan, np.nan]


def small(classes=3) -> Classifier:
    torch.manual_seed(0)
    return Classifier(backbone_entry("simple"), classes).eval()


def values(rows, names=("age", "mmse"), line=(4.0, -0.5)):
    return TaskValues(names, np.array(rows, dtype=float), np.tile(line, (len(rows), 1)))


def test_fresh_heads_say_the_mean_of_training_people_and_leave_the_stage_alone():
    model, images = small(), torch.rand(2, 1, 20, 24, 18)
    before = model(images)
    torch.manual_seed(1)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    heads = model.add_tasks(("sex", "age"))
    assert torch.equal(torch.rand(3), drawn)  # adding heads draws nothing
    targets = torch.tensor([[60.0, 0.0], [80.0, 1.0], [float("nan"), 1.0]])
    heads.centre_on(targets)
    said = model.answer_tasks(model.embed(images))
    assert heads.names == ("age", "sex")
    torch.testing.assert_close(said, torch.tensor([[70.0, 0.0]] * 2))
    torch.testing.assert_close(heads.scale, torch.tensor([10.0, 1.0]))
    assert torch.equal(model(images), before)


def test_a_model_of_the_stage_alone_answers_nothing_else():
    with pytest.raises(ConfigError, match="knows the stage alone"):
        small().answer_tasks(torch.rand(1, 4))


def test_people_have_the_mean_of_their_images_within_what_can_be():
    rows = [[60, 31], [50, 40], [70, 20]]
    people = values(rows).per_person(["b", "a", "b"])
    np.testing.assert_allclose(people.values, [[65, 25.5], [50, 40]])
    np.testing.assert_allclose(people.column("mmse"), [25.5, 30])
    np.testing.assert_allclose(people.lines, [[4, -0.5]] * 2)
    sex = values([[0.0], [2.0]], ("sex",)).column("sex")
    np.testing.assert_allclose(sex, [0.5, 1 / (1 + np.exp(-2))])


def test_the_line_is_that_of_gaps_by_age_and_needs_ten_people():
    age = np.array([*np.linspace(60, 90, 12), np.nan])
    line = gap_line(age, age + 40 - 0.5 * age)
    np.testing.assert_allclose(line, (40, -0.5))
    assert gap_line(age[:9], age[:9]) is None
    assert gap_line(np.full(12, 70.0), np.arange(12.0)) is None


def test_values_come_back_from_json_and_damage_is_found():
    told = joined_values([values([[61.5, 20]]), values([[70, 28.25]])])
    content = told.to_dict()
    back = TaskValues.from_dict(content, 2)
    np.testing.assert_array_equal(back.values, told.values)
    np.testing.assert_array_equal(back.lines, told.lines)
    assert TaskValues.from_dict(None, 2) is None
    assert np.isnan(TaskValues.from_dict(content | {"line": None}, 2).lines).all()
    for damage in (
        {"values": [[1, 2]]},
        {"values": [["a", "b"], ["c", "d"]]},
        {"values": [[1], [2]]},
        {"names": ["mmse", "age"]},
        {"names": ["stage", "age"]},
        {"line": [1]},
        {"values": [[float("nan"), 1], [2, 3]]},
    ):
        with pytest.raises((ValueError, TypeError, KeyError)):
            TaskValues.from_dict(content | damage, 2)


def checkpoint(path, model, **changed):
    """Write a checkpoint of a model, as training does."""
    tasks = list(model.task_heads.names) if model.task_heads else []
    content = {
        **{"model": model.state_dict(), "config": {}, "preprocessing": {}, "epoch": 1},
        **{"calibration": {"method": "none", "scale": [1.0] * 3, "shift": [0.0] * 3}},
        **{"conformal": {"scores": [[]] * 3}, "validation": {"labels": [], "logits": []}},
        **{"classes": ["A", "B", "C"], "subjects": [], "train_counts": [1, 1, 1]},
        **{"ordinal": False, "backbone": "simple", "dim": "3d", "dataset": "phantom_3d"},
        "tasks": tasks,
    }
    content["calibration"] |= {"n_people": 0, "reason": ""}
    return save_checkpoint(path, content | changed)


def told_by(model, images):
    return model.answer_tasks(model.embed(images))


def test_a_checkpoint_keeps_the_heads_and_an_old_one_has_none(tmp_path):
    model, images = small(), torch.rand(1, 1, 20, 24, 18)
    heads = model.add_tasks(("age",))
    torch.nn.init.normal_(heads.heads["age"].weight)
    heads.keep_line((30.0, -0.5), 40)
    again, content = load_trained(checkpoint(tmp_path / "a.pth", model))
    assert content["tasks"] == ["age"]
    assert again.task_heads.gap_line == (30.0, -0.5)
    torch.testing.assert_close(told_by(again, images), told_by(model, images))
    stage = small()
    path = checkpoint(tmp_path / "b.pth", stage)
    old = load_checkpoint(path)
    del old["tasks"]
    assert load_trained(save_checkpoint(path, old))[0].task_heads is None


@pytest.mark.parametrize("tasks", ["age", ["stage"], ["sex", "age"], ["age", "age"], [1], {}])
def test_damaged_tasks_of_a_checkpoint_are_refused(tmp_path, tasks):
    model = small()
    model.add_tasks(("age",))
    with pytest.raises(CheckpointError, match="its tasks are none of age, mmse, sex"):
        load_trained(checkpoint(tmp_path / "a.pth", model, tasks=tasks))


def test_tasks_that_are_not_those_of_the_weights_are_refused(tmp_path):
    model = small()
    model.add_tasks(("age",))
    with pytest.raises(CheckpointError, match="fits another model"):
        load_trained(checkpoint(tmp_path / "a.pth", model, tasks=["mmse"]))


def test_weights_for_another_training_leave_the_other_heads_behind(tmp_path):
    model, fresh = small(), small()
    model.add_tasks(("age",))
    with torch.no_grad():
        next(model.features.parameters()).add_(1)
    load_weight_file(fresh, checkpoint(tmp_path / "a.pth", model), None)
    assert fresh.task_heads is None
    assert torch.equal(next(fresh.features.parameters()), next(model.features.parameters()))
