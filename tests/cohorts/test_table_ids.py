"""Ids that a spreadsheet program changed are matched where both ways lead to one."""

from __future__ import annotations

import pytest

from src.cohorts.table_ids import match_ids
from src.errors import ManifestError


def matched(names, ids):
    return match_ids(names, {one: one for one in ids}, "t.csv")


@pytest.mark.parametrize(
    ("names", "ids", "found"),
    [
        (["sub-001", "x"], ["sub-001"], {"sub-001": "sub-001"}),
        (["1", "10", "100"], ["001", "010", "100"], {"1": "001", "10": "010", "100": "100"}),
        (["0"], ["000"], {"0": "000"}),
        (["1.0"], ["0001"], {"1.0": "0001"}),
        (["oas1_0061_mr1"], ["OAS1_0061_MR1"], {"oas1_0061_mr1": "OAS1_0061_MR1"}),
        (["OAS1_61_MR1"], ["OAS1_0061_MR1"], {"OAS1_61_MR1": "OAS1_0061_MR1"}),
        (["K\u00f6ln"], ["Ko\u0308ln"], {"K\u00f6ln": "Ko\u0308ln"}),
        (["01", "1"], ["01", "2"], {"01": "01"}),  # 1 is someone else, who is not here
        (["1", "1"], ["01"], {"1": "01"}),
        (["10"], ["1", "100"], {}),
        (["1.5"], ["1.50", "01.5"], {"1.5": "01.5"}),
    ],
)
def test_names_mean_ids(names, ids, found, caplog):
    assert matched(names, ids) == found
    changed = {name: one for name, one in found.items() if name != one}
    assert ("in leading zeros or letter case only" in caplog.text) == bool(changed)


@pytest.mark.parametrize(
    ("names", "ids", "count"),
    [
        (["1"], ["01", "001"], "2 ids differ"),
        (["1", "2"], ["01", "001", "02", "002"], "4 ids differ"),
        (["p1", "P01"], ["P1"], "1 id differs"),
    ],
)
def test_what_could_be_several_is_refused_with_the_count(names, ids, count):
    with pytest.raises(ManifestError, match=f"{count} by leading zeros or letter case only"):
        matched(names, ids)
