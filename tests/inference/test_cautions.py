"""Between answer and silence: who is told a stage, who a stage and a caution, and who none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from src.inference.answers import in_words, make_answer, write_table
from src.inference.inputs import Input
from src.inference.prepare import Prepared
from src.training.likeness import Changed, Likeness

CLASSES = ("Well", "Ill")


def likeness(*, far=False, unlike=False, like=()):
    """Return what one checkpoint says: 59 people compared, so p-values down to 1 / 60."""
    p_far, p_unlike = (1 / 60 if one else 0.4 for one in (far, unlike))
    return Likeness(0.31, p_far, 0.91, p_unlike, 0.025, 2 / 60, 59, frozenset(like))


def answered(unusual, *likes, n_changed=20):
    changed = Changed(np.linspace(0.2, 0.5, n_changed), np.array([0.9]), 13, (0.8, 0.5), 0.25)
    reference = SimpleNamespace(changed={"blurred": changed, "wider ventricles": changed})
    member = SimpleNamespace(reference=reference, content={"look": {}})
    ensemble = SimpleNamespace(
        classes=CLASSES, members=[member] * len(likes), trained_on=lambda name: False
    )
    item = Input("one", "scan", (Path("one.nii"),), "", "")
    prepared = Prepared(item, torch.zeros(3, 1, 8, 9), (), None, None, np.eye(4), True, unusual)
    said = SimpleNamespace(
        **{"likeness": list(likes), "probabilities": np.array([0.3, 0.7]), "tasks": None},
        **{"held": [False, True], "spread": None},
    )
    return make_answer(ensemble, prepared, said)


FURTHER = ("blurred", "wider ventricles")


@pytest.mark.parametrize("apart", [{"far": True}, {"unlike": True}, {"far": True, "unlike": True}])
@pytest.mark.parametrize(
    ("unusual", "like", "told"),
    [
        ({}, FURTHER, False),  # unusual in no known way
        ({"ventricles": 4.2}, FURTHER, True),
        ({"ventricles": -4.2}, FURTHER, False),  # narrow ventricles are no known way
        ({"ventricles": 4.2}, ("blurred",), False),  # stranger than people with wider ventricles
        ({"detail": -4.2}, FURTHER, True),
    ],
)
def test_what_is_strange_is_told_a_stage_only_where_people_changed_so_are_as_strange(
    apart, unusual, like, told
):
    answer = answered(unusual, likeness(like=like, **apart))
    assert (answer["stage"] is not None) is told
    assert bool(answer["caution"]) is bool(answer["differs"]) is told
    assert len(answer["reasons"]) == (0 if told else len(apart))
    assert answer["outside"] is not told


def test_a_caution_says_in_what_and_what_it_costs(tmp_path):
    answer = answered({"ventricles": 4.24, "detail": 0.3}, likeness(like=FURTHER))
    assert answer["differs"] == ["wider ventricles"]
    assert answer["caution"] == [
        "like the training people, but with wider ventricles (older, or of more atrophy): its "
        "fluid in the middle is 4.2 standard deviations from theirs. Of 20 validation people "
        "changed in this way, 7 get another stage, and balanced accuracy goes from 0.80 to 0.50"
    ]
    assert answer["caution"][0] in in_words(answer)
    assert "wider ventricles" in write_table(tmp_path / "t.csv", [answer], CLASSES).read_text(
        "utf-8"
    )


def test_checkpoints_vote_on_how_strange_a_scan_is():
    reach, not_reach = (likeness(far=True, like=one) for one in (FURTHER, ()))
    assert answered({"detail": -9.0}, reach, reach, not_reach)["stage"] == "Ill"
    assert answered({"detail": -9.0}, reach, not_reach, not_reach)["stage"] is None
    assert answered({"detail": -9.0}, reach, not_reach)["stage"] is None  # half are no majority
