"""Whether scans of one stage were set aside more often, in numbers and in words."""

import pandas as pd
import pytest
from scipy.stats import hypergeom

from src.evaluation.analyses.set_aside import set_aside_by_stage
from src.report.set_aside import shares_by_stage, warning_of


def rows(**people):
    """Return one row per scan: stage=(first person, one past the last)."""
    names = [(stage, f"{stage[:2]}{n}") for stage, ends in people.items() for n in range(*ends)]
    return pd.DataFrame(names, columns=["label", "subject"])


def test_people_are_counted_and_not_their_scans():
    kept = rows(NonDemented=(0, 20), MildDemented=(0, 10))
    aside = rows(NonDemented=(19, 21), MildDemented=(10, 12))
    found = set_aside_by_stage(kept, pd.concat([aside, aside]))["stages"]
    assert list(found) == ["NonDemented", "MildDemented"]  # no stage that has nobody
    assert (found["NonDemented"]["aside"], found["NonDemented"]["n"]) == (2, 21)
    assert (found["MildDemented"]["aside"], found["MildDemented"]["n"]) == (2, 12)
    assert found["MildDemented"]["low"] == pytest.approx(0.0470, abs=1e-4)  # Wilson


def test_p_is_that_of_fishers_exact_test():
    found = set_aside_by_stage(
        rows(NonDemented=(0, 30), MildDemented=(0, 4)), rows(MildDemented=(4, 8))
    )
    chance = hypergeom(38, 8, 4).pmf(4)  # all four among the eight: the only table as rare
    assert found["p"] == pytest.approx(chance, rel=1e-6)
    assert "MildDemented" in warning_of(found)
    assert "bias" in warning_of(found)
    assert "MildDemented 4 of 8 (50 %, 22 to 78)" in shares_by_stage(found)


def test_three_stages_that_differ_are_told_and_equal_ones_are_not():
    kept = rows(NonDemented=(0, 40), VeryMildDemented=(0, 40), MildDemented=(0, 20))
    worse = set_aside_by_stage(kept, rows(MildDemented=(20, 30)))
    assert worse["p"] < 0.001
    assert "under 0.001" in warning_of(worse)
    alike = set_aside_by_stage(
        kept, rows(NonDemented=(40, 44), VeryMildDemented=(40, 44), MildDemented=(20, 22))
    )
    assert alike["p"] > 0.5
    assert warning_of(alike) == ""


def test_where_nothing_can_be_compared_there_is_no_p():
    kept = rows(NonDemented=(0, 9), MildDemented=(0, 3))
    nobody = set_aside_by_stage(kept, kept.iloc[:0])
    assert nobody["p"] is None
    assert warning_of(nobody) == ""
    unrated = set_aside_by_stage(kept.assign(label=pd.NA), kept.iloc[:0])
    assert unrated == {"stages": {}, "p": None}
    assert shares_by_stage(unrated) == ""
