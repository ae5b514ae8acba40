"""``--tasks`` and ``--task_weights``: any order, one sentence for each mistake."""

import pytest

from src.config import RunConfig, TrainConfig
from src.config.options import build_config
from src.errors import ConfigError, UnknownNameError


def test_any_order_of_the_names_is_one_setting():
    config = TrainConfig(tasks="sex, age,stage")
    assert (config.tasks, config.beside) == ("stage,age,sex", ("age", "sex"))
    assert TrainConfig().beside == ()
    alone = TrainConfig(tasks="mmse,age")
    assert (alone.tasks, alone.beside, alone.learns_stage) == ("age,mmse", ("age", "mmse"), False)


def test_weights_are_learnt_unless_they_are_set():
    assert TrainConfig(tasks="stage,age").weights_beside is None
    config = TrainConfig(tasks="stage,age,mmse", task_weights="mmse=0.25")
    assert config.weights_beside == {"age": 1.0, "mmse": 0.25}
    assert TrainConfig(tasks="age,sex").weights_beside is None
    assert TrainConfig(tasks="age").weights_beside == {"age": 1.0}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tasks": "age", "freeze_backbone": True}, "--freeze_backbone lets it learn nothing"),
        ({"tasks": "age", "search": 3}, "--search chooses by the stage"),
        ({"tasks": "age", "task_weights": "age=2"}, "--tasks names age alone"),
        ({"tasks": "stage,age,age"}, "names age twice"),
        ({"task_weights": "age=1"}, "weighs age, which --tasks does not name"),
        ({"tasks": "stage,age", "task_weights": "age=1,age=2"}, "names age twice"),
        ({"tasks": "stage,age", "task_weights": "age=0"}, "age=0 is no number above 0"),
        ({"tasks": "stage,age", "task_weights": "age=nan"}, "age=nan is no number"),
        ({"tasks": "stage,age", "task_weights": "age"}, r"age=\? is no number"),
        (
            {"tasks": "stage,age", "task_weights": "age=2", "freeze_backbone": True},
            "has no use with --freeze_backbone",
        ),
        (
            {"tasks": "stage,age", "harmonise": "combat", "freeze_backbone": True},
            "does not go with --harmonise combat",
        ),
    ],
)
def test_what_cannot_be_learnt_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says) as caught:
        build_config(RunConfig, settings)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"tasks": "stage,mms"}, "did you mean 'mmse'?"),
        ({"tasks": "stage,age", "task_weights": "aeg=1"}, "did you mean 'age'?"),
    ],
)
def test_an_unknown_task_is_answered_with_the_nearest(settings, hint):
    with pytest.raises(UnknownNameError, match="unknown task") as caught:
        build_config(RunConfig, settings)
    assert caught.value.hint == hint
