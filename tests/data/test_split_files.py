"""A split from a file: read, laid over a data set, and written so that ids are not told."""

import pandas as pd
import pytest
from conftest import make_processed

from src.cohorts.people_names import hash_subject
from src.data.given_split import folds_of, with_split
from src.data.loaders import open_dataset
from src.data.split_files import SPLIT, read_split, split_rows, write_split
from src.data.splits import folds_hash, folds_table, make_folds
from src.errors import DataNotFoundError, LeakageError, ManifestError
from src.labels import class_scheme
from src.manifest import SAME_PEOPLE, Manifest

PEOPLE = [f"OAS1_{number:04d}" for number in range(1, 13)]
SIDES = ["train", "test", "train", "val"] * 3


def manifest(people=tuple(PEOPLE), **columns):
    """Two rows a person, in two stages, without a split."""
    names = [one for one in people for _ in range(2)]
    stages = [("NonDemented", "MildDemented")[i // 2 % 2] for i in range(len(names))]
    values = {"subject": names, "session": ["MR1", "MR2"] * len(people), "label": stages}
    paths = [f"{i}.png" for i in range(len(names))]
    return Manifest.from_columns("x", path=paths, **(values | columns))


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def sides_of(found):
    rows = found.table.dropna(subset=["split"])
    return dict(zip(rows["subject"], rows["split"], strict=True))


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "mine.csv"
    pd.DataFrame({"subject": PEOPLE, "split": SIDES}).to_csv(path, index=False)
    return path


def test_people_are_put_where_the_file_says(plain):
    found = with_split(manifest(), read_split(plain))
    assert sides_of(found) == dict(zip(PEOPLE, SIDES, strict=True))
    assert found.table["split"].notna().all()  # both rows of everyone


def test_who_is_not_in_it_has_no_side_and_all_are_counted(tmp_path, caplog):
    path = table(tmp_path / "a.csv", "subject,split\nOAS1_0001,train\nOAS1_0002,val\nX9,test\n")
    with caplog.at_level("INFO"):
        found = with_split(manifest(), read_split(path))
    assert sides_of(found) == {"OAS1_0001": "train", "OAS1_0002": "val"}
    assert "2 of 12 people of x on its sides; 10 not named in it" in caplog.text
    assert "1 of its 3 names nobody's here" in caplog.text


def test_people_are_known_in_other_spellings(tmp_path):
    text = "participant_id\tsplit\nsub-OASIS10001\tTrain\noas1_0002\tvalidation\n"
    found = with_split(manifest(), read_split(table(tmp_path / "a.tsv", text)))
    assert sides_of(found) == {"OAS1_0001": "train", "OAS1_0002": "val"}


def test_a_row_without_a_label_is_on_no_side(plain):
    labels = [None, "NonDemented"] + ["MildDemented"] * 22
    found = with_split(manifest(label=labels), read_split(plain))
    assert found.table["split"].isna().tolist() == [True] + [False] * 23


def test_validation_people_are_cut_off_where_the_file_has_none(tmp_path, caplog):
    rows = pd.DataFrame({"subject": PEOPLE, "split": ["train"] * 10 + ["test"] * 2})
    rows.to_csv(tmp_path / "a.csv", index=False)
    with caplog.at_level("INFO"):
        found = with_split(manifest(), read_split(tmp_path / "a.csv"), seed=3)
    sides = pd.Series(sides_of(found))
    assert (sides == "val").sum() == 2
    assert sides[PEOPLE[10:]].eq("test").all()
    assert "2 people are cut from its training people by seed 3" in caplog.text


def test_hashes_tell_the_same_people_and_no_ids(plain, tmp_path):
    first = with_split(manifest(), read_split(plain))
    path = write_split(tmp_path / "run", split_rows(first), PEOPLE)
    assert path.name == SPLIT
    assert "OAS1" not in path.read_text(encoding="utf-8")
    written = pd.read_csv(path, dtype=str)
    assert list(written) == ["subject_hash", "split", "salt"]
    assert written["subject_hash"].is_monotonic_increasing  # the order of names would tell them
    assert written["salt"].nunique() == 1
    assert sides_of(with_split(manifest(), read_split(path))) == sides_of(first)


def test_a_hash_is_of_the_one_spelling_with_the_salt(plain, tmp_path):
    first = with_split(manifest(), read_split(plain))
    written = pd.read_csv(write_split(tmp_path, split_rows(first), PEOPLE), dtype=str)
    salt = written["salt"][0]
    assert "h" + hash_subject("OAS1_0001", salt) in set(written["subject_hash"])
    bids = manifest([f"sub-OASIS1{name[-4:]}" for name in PEOPLE])
    there = sides_of(with_split(bids, read_split(tmp_path / SPLIT)))
    assert there["sub-OASIS10002"] == "test"
    write_split(
        tmp_path / "bids", split_rows(bids.with_columns(split="train")), bids.table["subject"]
    )
    again = pd.read_csv(tmp_path / "bids" / SPLIT, dtype=str)
    assert set(again["subject_hash"]) == set(written["subject_hash"])


def test_the_same_people_give_the_same_file_and_others_another_salt(tmp_path):
    rows = pd.DataFrame({"subject": PEOPLE, "split": SIDES})
    first = write_split(tmp_path / "a", rows, PEOPLE).read_bytes()
    assert write_split(tmp_path / "b", rows.iloc[::-1], PEOPLE[::-1]).read_bytes() == first
    write_split(tmp_path / "b", rows.iloc[1:], PEOPLE)
    assert (tmp_path / "b" / SPLIT).read_bytes().count(b"\n") == first.count(b"\n") - 1
    salts = {pd.read_csv(tmp_path / name / SPLIT)["salt"][0] for name in "ab"}
    assert len(salts) == 1  # two splits of one data set
    write_split(tmp_path / "b", rows, PEOPLE[1:])
    salts = [pd.read_csv(tmp_path / name / SPLIT)["salt"][0] for name in "ab"]
    assert salts[0] != salts[1]


def test_a_spreadsheet_does_not_take_a_hash_for_a_number(tmp_path):
    names = [f"P{number}" for number in range(4000)]
    path = write_split(tmp_path, pd.DataFrame({"subject": names, "split": "train"}), names)
    cells = pd.read_csv(path)[["subject_hash", "salt"]]
    assert pd.to_numeric(cells.stack(), errors="coerce").isna().all()


def test_folds_come_back_as_they_were(tmp_path):
    data = manifest()
    folds = make_folds(data, folds=3, repeats=2, val_fraction=0.2, seed=5)
    folds_table(folds).to_csv(tmp_path / "folds.csv", index=False)
    assert folds_hash(folds_of(read_split(tmp_path / "folds.csv"), data)) == folds_hash(folds)
    hashed = read_split(write_split(tmp_path, folds_table(folds), PEOPLE))
    assert folds_hash(folds_of(hashed, data)) == folds_hash(folds)


def test_folds_of_fewer_people_are_told(tmp_path, caplog):
    folds = make_folds(manifest(), folds=3, repeats=1, val_fraction=0.2, seed=5)
    path = write_split(tmp_path, folds_table(folds), PEOPLE)
    with caplog.at_level("INFO"):
        found = folds_of(read_split(path), manifest([*PEOPLE, "OAS1_0099"]))
    assert folds_hash(found) == folds_hash(folds)
    assert "1 not named in it" in caplog.text


def test_folds_that_do_not_test_everyone_once_are_refused(tmp_path):
    folds = folds_table(make_folds(manifest(), folds=3, repeats=1, val_fraction=0.2, seed=5))
    tested = folds.index[(folds["fold"] == 1) & (folds["side"] == "test")]
    folds.loc[tested[:1], "side"] = "train"
    folds.to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(ManifestError, match="repeat 0 does not test each of its 12 people once"):
        folds_of(read_split(tmp_path / "folds.csv"), manifest())
    folds["fold"] += 1
    folds.loc[tested[:1], "side"] = "test"
    folds.to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(ManifestError, match="not 0, 1, 2"):
        folds_of(read_split(tmp_path / "folds.csv"), manifest())


def test_one_split_is_no_folds_and_folds_are_no_split(plain, tmp_path):
    with pytest.raises(ManifestError, match="divides people once") as caught:
        folds_of(read_split(plain), manifest())
    assert "folds.csv" in caught.value.hint
    folds = make_folds(manifest(), folds=3, repeats=1, val_fraction=0.2, seed=5)
    path = write_split(tmp_path, folds_table(folds), PEOPLE)
    with pytest.raises(ManifestError, match="holds the folds") as caught:
        with_split(manifest(), read_split(path))
    assert "--mode crossval" in caught.value.hint


def test_a_manifest_is_such_a_file(tmp_path, plain):
    first = with_split(manifest(), read_split(plain))
    path = first.write(tmp_path / "set")
    assert sides_of(with_split(manifest(), read_split(path))) == sides_of(first)


def sessions(path, people):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{name}\tses-M{month:02d}" for name in people for month in (0, 12)]
    path.write_text("\n".join(["participant_id\tsession_id", *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def clinicadl(tmp_path):
    """A folder as `tsvtools split` and `kfold` leave it: test people above, two folds below."""
    ids = [f"sub-OASIS1{name[-4:]}" for name in PEOPLE]
    root = tmp_path / "labels"
    sessions(root / "test_baseline.tsv", ids[:2])
    for number, val in enumerate((ids[2:7], ids[7:])):
        fold = root / "2_fold" / f"split-{number}"
        train = [name for name in ids[2:] if name not in val]
        sessions(fold / "train.tsv", train)
        sessions(fold / "train_baseline.tsv", train)
        sessions(fold / "validation_baseline.tsv", val)
    return root


def test_a_fold_of_clinicadl_is_a_split(clinicadl, caplog):
    with caplog.at_level("INFO"):
        given = read_split(clinicadl / "2_fold" / "split-0")
    sides = sides_of(with_split(manifest(), given))
    assert [sides[name] for name in PEOPLE] == ["test"] * 2 + ["val"] * 5 + ["train"] * 5
    assert f"test people by {clinicadl / 'test_baseline.tsv'}" in caplog.text
    by_name = read_split(clinicadl / "2_fold" / "split-0" / "train.tsv")
    assert by_name.rows.equals(given.rows)


def test_a_folder_of_several_folds_names_the_first(clinicadl):
    with pytest.raises(ManifestError, match="holds 2 folds of ClinicaDL") as caught:
        read_split(clinicadl / "2_fold")
    assert caught.value.hint == f"--split {clinicadl / '2_fold' / 'split-0'}"


def test_a_folder_without_tables_is_none(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"train\.tsv"):
        read_split(tmp_path)
    with pytest.raises(DataNotFoundError, match=r"not found: nobody\.csv"):
        read_split("nobody.csv")


GOOD = "h0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("subject,split\n", "nobody on a side"),
        ("name,split\nOAS1_0001,train\n", "no column 'subject'; found: name, split"),
        ("subject,stage\nOAS1_0001,train\n", "no column 'split'; found: subject, stage"),
        ("subject,split\nOAS1_0001,holdout\n", "'OAS1_0001' is 'holdout', none of train, val"),
        ("subject,split\n,train\n", "1 row has no subject"),
        ("subject,split\nOAS1_0001,\n", "nobody on a side"),
        (
            "subject,split\nA1,train\nA1,test\nA1,val\n",
            "1 person stands on two sides, such",
        ),
        ("subject_hash,split,salt\n1.23E+15,train,s\n", "'1.23E+15' is not h and 16"),
        (f"subject_hash,split,salt\n{GOOD},train,a\n{GOOD},val,b\n", "has 2 salts"),
        (f"subject_hash,split,salt\n{GOOD},train,{'a' * 17}\n", "a salt of over 16 bytes"),
        ("repeat,fold,subject,side\n0,x,A1,train\n", "the fold 'x' is no whole number"),
        ("repeat,fold,subject,side\n0,0,A1,train\n0,0,A1,val\n", "two sides of one fold, such as"),
    ],
)
def test_what_is_no_split_is_told_in_a_sentence(tmp_path, text, says):
    with pytest.raises(ManifestError, match=r"a\.csv") as caught:
        read_split(table(tmp_path / "a.csv", text))
    assert says in caught.value.message
    assert caught.value.hint


def test_two_spellings_on_two_sides_are_one_person(tmp_path):
    text = "subject,split\nOAS1_0001,train\nsub-OASIS10001,test\n"
    with pytest.raises(LeakageError, match="'OAS1_0001' in train and test"):
        with_split(manifest(), read_split(table(tmp_path / "a.csv", text)))


def test_nobody_in_common_shows_both_spellings(tmp_path, plain):
    path = table(tmp_path / "a.csv", "subject,split\n002_S_0295,train\n")
    with pytest.raises(ManifestError, match="names nobody of x: '002_S_0295' there, 'OAS1_0001'"):
        with_split(manifest(), read_split(path))
    path = write_split(tmp_path, pd.DataFrame({"subject": PEOPLE, "split": SIDES}), PEOPLE)
    text = path.read_text(encoding="utf-8")
    salt = text.splitlines()[1].split(",")[2]
    path.write_text(text.replace(salt, "s0"), encoding="utf-8")
    with pytest.raises(ManifestError, match="with its salt 's0'") as caught:
        with_split(manifest(), read_split(path))
    assert "with another salt" in caught.value.hint


def test_a_data_set_is_opened_with_the_sides_of_a_file(tmp_path):
    root = make_processed(tmp_path / "phantom_2d")
    before = open_dataset(root, "2d", class_scheme(4))
    rows = split_rows(before.manifest)
    turned = rows.assign(split=rows["split"].map({"train": "test", "val": "val", "test": "train"}))
    path = write_split(tmp_path, turned, turned["subject"])
    after = open_dataset(root, "2d", class_scheme(4), split_file=path)
    assert set(after.subjects) == set(before.with_split("test").subjects)
    assert set(after.with_split("test").subjects) == set(before.subjects)


def test_one_image_on_two_sides_is_refused_though_a_file_puts_it_there(tmp_path):
    root = make_processed(tmp_path / "phantom_2d")
    found = Manifest.read(root)
    table_ = found.table
    one, other = sorted(set(table_["subject"]))[:2]
    same = table_.loc[table_["subject"] == one, "fingerprint"].iloc[0]
    prints = table_["fingerprint"].mask(table_["subject"] == other, same)
    found.with_columns(fingerprint=prints, split="train").write(root)
    names = sorted(set(table_["subject"]))
    sides = ["train", "test"] + ["val"] * (len(names) - 2)
    path = write_split(tmp_path, pd.DataFrame({"subject": names, "split": sides}), names)
    open_dataset(root, "2d", class_scheme(4))
    with pytest.raises(LeakageError, match="identical file"):
        open_dataset(root, "2d", class_scheme(4), split_file=path)


def test_a_split_by_image_stays_by_image(plain):
    stamped = manifest().with_stamps(SAME_PEOPLE)
    with pytest.raises(LeakageError, match="same people on both sides") as caught:
        with_split(stamped, read_split(plain))
    assert "leave --split out" in caught.value.hint
