"""Age, MMSE and sex of new scans: numbers, words, columns; nothing of a scan that is outside."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from src.config.own_files import check_own
from src.inference.answers import in_words, make_answer, no_answer, write_table
from src.inference.ensemble import Ensemble, Member
from src.inference.inputs import Input
from src.inference.prepare import Prepared
from src.models.classifier import Classifier
from src.models.create import backbone_entry
from src.models.task_values import TaskValues
from src.training.likeness import Likeness

CLASSES = ("Well", "Ill")
NAMES = ("age", "mmse", "sex")
FAR = Likeness(0.9, 1 / 60, 0.1, 1 / 60, 0.025, 2 / 60, 59, frozenset())


def told(line=(30.0, -0.5), names=NAMES):
    values = {"age": 71.26, "mmse": 33.0, "sex": np.log(4)}
    return TaskValues(names, np.array([[values[name] for name in names]]), np.array([line]))


def answered(tasks, age=None, likes=()):
    member = SimpleNamespace(reference=object(), content={"look": {}})
    ensemble = SimpleNamespace(classes=CLASSES, members=[member], trained_on=lambda name: False)
    item = Input("one", "processed", (Path("one.png"),), "P1", "MR1", age=age)
    prepared = Prepared(item, torch.zeros(3, 1, 8, 9), (), None, None, np.eye(4), True, {})
    said = SimpleNamespace(
        **{"likeness": list(likes), "probabilities": np.array([0.3, 0.7]), "tasks": tasks},
        **{"held": [False, True], "spread": None},
    )
    return make_answer(ensemble, prepared, said)


def test_every_task_is_told_with_its_unit():
    answer = answered(told())
    assert answer["tasks"] == {"age_predicted": 71.26, "mmse_predicted": 30.0, "p_sex_M": 0.8}
    assert in_words(answer).endswith("set: Ill; age 71.3 years; MMSE 30.0 points; sex M (p = 0.80)")


@pytest.mark.parametrize(
    ("line", "words", "corrected"),
    [
        ((30.0, -0.5), "(known: 68.0, gap +3.3, corrected +7.3)", 7.26),
        ((np.nan, np.nan), "(known: 68.0, gap +3.3)", None),
    ],
)
def test_a_known_age_has_its_gap_beside_it(line, words, corrected):
    answer = answered(told(line, ("age",)), age=68.0)
    assert (answer["tasks"]["age"], answer["tasks"]["age_gap"]) == (68.0, 3.26)
    assert answer["tasks"].get("age_gap_corrected") == corrected
    assert f"; age 71.3 years {words}" in in_words(answer)


def test_a_scan_outside_is_told_nothing_beside_its_stage_either():
    answer = answered(told(), age=68.0, likes=[FAR])
    assert answer["outside"]
    assert answer["tasks"] is None
    assert "years" not in in_words(answer)


def test_the_table_has_columns_of_what_is_said(tmp_path):
    other = no_answer(Input("two", "scan", (Path("two.nii"),)), "no brain", 1)
    answers = [answered(told(names=("age",)), age=68.0), other]
    table = pd.read_csv(write_table(tmp_path / "t.csv", answers, CLASSES))
    columns = ["age_predicted", "age", "age_gap", "age_gap_corrected"]
    assert table.loc[0, columns].tolist() == [71.26, 68.0, 3.26, 7.26]
    assert table.loc[1, columns].isna().all()
    assert "p_sex_M" not in table
    plain = pd.read_csv(write_table(tmp_path / "t.csv", [answered(None)], CLASSES))
    assert not set(columns) & set(plain)


def kept(**tasks):
    answer = answered(told()) | {"tasks": tasks}
    return {"key": "k", "answer": answer, "logits": [[0.0]], "was_raw": False, "files": []}


def test_the_files_that_keep_it_are_checked():
    check_own(kept(age_predicted=71.0, p_sex_M=0.2), "kept_answer")
    for wrong in ({"age_predicted": -1.0}, {"p_sex_M": 1.2}, {"iq": 100.0}, {}):
        with pytest.raises(ValueError, match="tasks"):
            check_own(kept(**wrong), "kept_answer")


class Net(Classifier):
    """Features of a pixel each, heads drawn from a seed."""

    def __init__(self, seed):
        super().__init__(backbone_entry("simple"), 2, dropout=0.0)
        torch.manual_seed(seed)
        self.features, self.pool = torch.nn.Identity(), torch.nn.Flatten()
        self.width = 12
        self.head = torch.nn.Linear(12, 2)
        heads = self.add_tasks(("age",))
        torch.nn.init.normal_(heads.heads["age"].weight)
        heads.centre.fill_(70)
        heads.keep_line((10.0 * seed, -0.1), 20)


def test_checkpoints_say_their_mean_over_images():
    models = [Net(seed).eval() for seed in (1, 2)]
    members = [Member(Path(f"{n}.pth"), model, {}, None) for n, model in enumerate(models)]
    images = torch.rand(3, 1, 2, 3, 2, generator=torch.Generator().manual_seed(0))
    said = Ensemble(members, torch.device("cpu"), Path("x")).answer(images).tasks
    with torch.no_grad():
        each = [model.answer_tasks(model.embed(images)).mean() for model in models]
    assert said.values.shape == (1, 1)
    assert said.values[0, 0] == pytest.approx(float(sum(each)) / 2, abs=1e-4)
    assert said.lines[0] == pytest.approx([15.0, -0.1])
