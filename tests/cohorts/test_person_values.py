"""Cells as people write them: read, or left empty with a line; only a rating stops the stage."""

from __future__ import annotations

import logging
import math
import re

import pandas as pd
import pytest

from src.cohorts.cells import known_cell
from src.cohorts.person_values import key_column, person_values
from src.errors import ManifestError

PATH = "people.tsv"


def values(**columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({name: list(map(known_cell, cells)) for name, cells in columns.items()})
    table = table.astype("str")
    who = pd.Series([f"p{number}" for number in range(len(table))])
    return person_values(table, who, PATH)


@pytest.mark.parametrize(
    ("cell", "age"),
    [
        ("71.5", 71.5),
        ("71,5", 71.5),
        ("072Y", 72),
        ("018M", 1.5),
        ("026W", 26 * 7 / 365.25),
        ("72 y", 72),
        ("72 years", 72),
        ("72yo", 72),
        ("89+", 89),
        ("90 +", 90),
        (">89", 89),
        (">= 90", 90),
        ("90 or older", 90),
        ("90 years or older", 90),
        ("89 and over", 89),
        ("0", 0),
        ("120", 120),
        ("60-70", None),
        ("121", None),
        ("999", None),
        ("-5", None),
        ("<18", None),
        ("old", None),
        ("1e999", None),
        ("inf", None),
        ("7_1", None),
        ("1.344,5", None),
        ("unknown", None),
        ("-9", None),
    ],
)
def test_ages_are_read_or_left_empty(cell, age):
    got = values(age=[cell, "50"])["age"]
    assert got[1] == 50
    assert math.isnan(got[0]) if age is None else got[0] == pytest.approx(age)


@pytest.mark.parametrize(
    ("column", "kept", "empty"),
    [
        ("MMSE", ["0", "30", "28,5"], ["31", "-9", "99", "28/30", "."]),
        ("eTIV", ["1344", "1344,7"], ["1,344", "1344000", "0"]),
        ("nWBV", ["0,743", "1"], ["74.3", "0", "?"]),
    ],
)
def test_measures_that_no_person_has_are_left_empty(column, kept, empty):
    got = values(**{column: [*kept, *empty]})[column.lower()]
    assert got.notna().tolist() == [True] * len(kept) + [False] * len(empty)
    assert got[0] == float(kept[0].replace(",", "."))


def test_a_line_tells_how_many_and_the_first(caplog):
    with caplog.at_level(logging.INFO, logger="src"):
        values(age=["70", "60-70", "999", "-"], sex=["F", "M", "2", "?"], ASF=["", "", "", ""])
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "people.tsv: column age: 2 cells are left empty, because they hold no number from 0 to "
        "120 years; the first is '60-70', of 'p1'",
        "people.tsv: 1 row has a sex that is neither F nor M ('2'): left empty",
        "people.tsv: of 4 rows, not known: age of 3, sex of 2",
        "people.tsv: no column is called CDR; its columns: age, sex, ASF",
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            ["Age at scan", "score"],
            "no column is called CDR or age; its columns: Age at scan, score",
        ),
        (["age_bl", "cdr_bl"], ""),
        (["Age", "stage"], ""),
    ],
)
def test_a_table_without_an_age_or_a_rating_says_so(caplog, columns, said):
    with caplog.at_level(logging.INFO, logger="src"):
        values(**{name: ["NonDemented" if name == "stage" else "1"] for name in columns})
    assert said in caplog.text
    assert ("no column is called" in caplog.text) == bool(said)


def test_least_ages_are_told(caplog):
    with caplog.at_level(logging.INFO, logger="src"):
        values(age=["70", ">89", "90+"])
    assert "2 cells name the least age that a person may have, which is taken: '>89', of 'p1'" in (
        caplog.text
    )


def test_codes_of_a_missing_rating_are_told_and_unrated(caplog):
    labels = values(CDR=["0,5", "-4", "9", "999", "3.0", "."])["label"]
    assert labels.fillna("").tolist() == ["VeryMildDemented", "", "", "", "ModerateDemented", ""]
    assert "2 cells are left empty, because they code a rating that is missing" in caplog.text


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"CDR": ["0", "0.7"]}, "'p1': CDR 0.7 is not on the scale"),
        ({"CDR": ["0", "mild"]}, "CDR is no number: 'p1' has 'mild'"),
        ({"CDR": ["0", "0-0.5"]}, "CDR is no number: 'p1' has '0-0.5'"),
        ({"stage": ["NonDemented", "bad"]}, "'p1': 'bad' is no stage"),
        ({"stage": ["NonDemented", "MCI"]}, "'MCI' is no stage (a diagnosis is no CDR stage"),
        ({"CDR": ["0", "1"], "stage": ["", "NonDemented"]}, "CDR and stage contradict each other"),
        ({"CDR": ["0", "1"], "cdr_global": ["0", "0.5"]}, "contradicts another column: 'p1'"),
    ],
)
def test_a_rating_that_cannot_be_read_stops(columns, why):
    with pytest.raises(ManifestError, match=re.escape(why)):
        values(**columns)


@pytest.mark.parametrize(
    ("table", "said", "fix"),
    [
        ({"Name": ["a"], "age": ["7"]}, "x.csv has no column 'id'; found: Name, age", "as before"),
        ({"ID": ["a", None, None], "age": ["7", "8", "9"]}, "x.csv: 2 rows have no id", "fill in"),
    ],
)
def test_a_table_says_of_whom_each_row_speaks(table, said, fix):
    with pytest.raises(ManifestError) as caught:
        key_column(pd.DataFrame(table), "id", "x.csv", hint="as before")
    assert caught.value.message == said
    assert fix in caught.value.hint
    assert key_column(pd.DataFrame({"Id": ["a"]}), "id", "x.csv", hint="") == "Id"


def test_two_columns_of_sex_may_not_contradict_each_other():
    table = pd.DataFrame({"sex": ["F", None, "1"], "gender": ["female", "M", "F"]})
    who = pd.Series(["a", "b", "c"])
    assert person_values(table, who, "x.csv")["sex"].tolist() == ["F", "M", "F"]
    table.loc[0, "gender"] = "M"
    with pytest.raises(ManifestError, match="gender contradicts another column: 'a' has 'M'"):
        person_values(table, who, "x.csv")
