"""Tables and JSON files between stages: what is taken, and how the rest is refused."""

import json

import pytest
from jsonschema import Draft202012Validator
from mutations import OTHER_FILES

from src.config.own_files import SCHEMA_FILE, Column, read_own, read_table
from src.errors import DataNotFoundError, ManifestError

COLUMNS = {
    "name": Column(),
    "side": Column(among=("left", "right"), empty=True),
    "share": Column("number", low=0, high=1),
    "count": Column("whole", low=0),
    "odds": Column("number", empty=True, needed=False),
}
GOOD = "name,side,share,count,odds\na,left,0.25,3,\nNA,,1,0,-2.5\n"


def table(path, text, **more):
    path.write_text(text, encoding="utf-8")
    return read_table(path, COLUMNS, hint="run it again", **more)


def test_a_table_is_typed(tmp_path):
    found = table(tmp_path / "t.csv", GOOD, key=("name",))
    assert found["name"].tolist() == ["a", "NA"]
    assert found["side"].tolist() == ["left", ""]
    assert found["share"].tolist() == [0.25, 1.0]
    assert found["count"].tolist() == [3, 0]
    assert found["count"].dtype == "int64"
    assert found["odds"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("name,side", "nome,side", "column 'name' is missing"),
        ("a,left", ",left", 'name in row 1 is "", not a text'),
        ("a,left", "a,up", 'side in row 1 is "up", not one of left, right'),
        ("0.25", "5", 'share in row 1 is "5", not a number from 0 to 1'),
        ("0.25", "nan", "share in row 1"),
        ("0.25", "inf", "share in row 1"),
        ("0.25", "", "share in row 1"),
        ("0.25,3", "0.25,1.5", 'count in row 1 is "1.5", not a whole number of 0 or more'),
        ("0.25,3", "0.25,-1", "count in row 1"),
        ("0.25,3", f"0.25,{'9' * 5000}", "count in row 1"),
        ("-2.5", "9" * 5000, "odds in row 2"),
        ("NA,", "a,", 'two rows have the same name: "a"'),
        ("3,\n", "3,,8\n", "Expected 5 fields|longer than its first line"),
        ("NA,,1,0,-2.5", "NA", "share in row 2"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, old, new, why):
    assert old in GOOD
    with pytest.raises(ManifestError, match=why) as error:
        table(tmp_path / "t.csv", GOOD.replace(old, new, 1), key=("name",))
    assert f"{tmp_path / 't.csv'} is damaged" in error.value.message
    assert "\n" not in error.value.message
    assert len(error.value.message) < 400
    assert error.value.hint == "run it again"


@pytest.mark.parametrize("what", OTHER_FILES)
def test_another_file_is_no_table_and_no_run(tmp_path, what):
    path = tmp_path / "file"
    path.write_bytes(OTHER_FILES[what])
    with pytest.raises(ManifestError, match="file is damaged"):
        read_table(path, COLUMNS, hint="")
    with pytest.raises(ManifestError, match="file is damaged"):
        read_own(path, "mlflow", hint="")


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(DataNotFoundError):
        read_table(tmp_path / "none", COLUMNS, hint="")
    with pytest.raises(DataNotFoundError):
        read_own(tmp_path / "none", "mlflow", hint="")


def test_the_schemas_are_schemas():
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert set(schema["$defs"]) > {"predictions", "explain", "kept_answer", "permutation"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"uri": 5, "run_id": "a"}, "uri is 5, not string"),
        ({"uri": "a"}, "its content lacks 'run_id'"),
        ({"uri": "a", "run_id": ""}, "run_id"),
        ({"uri": "a", "run_id": "b", "more": [float("nan")]}, r"more\[0\] is not a finite number"),
        ({"uri": "a", "run_id": "b", "more": {"n": 10**400}}, "more.n is too large a number"),
        ({"uri": "a", "run_id": "\ud800"}, "run_id is no text"),
    ],
)
def test_the_place_in_a_json_file_is_named(tmp_path, content, why):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ManifestError, match=why):
        read_own(path, "mlflow", hint="")
    path.write_text('{"uri": "a", "run_id": "b"}', encoding="utf-8")
    assert read_own(path, "mlflow", hint="")["run_id"] == "b"
