"""Whom two splits share, and who is in two studies."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import make_processed
from PIL import Image

from src.auditing.split_comparison import split_checks, split_of_checkpoint, split_of_manifest
from src.auditing.two_studies import (
    SAME_FILE,
    SAME_HEAD,
    SAME_ID,
    SAME_VALUES,
    read_study,
    shared_people,
    study_checks,
)
from src.auditing.verdicts import FAIL, NOT_KNOWN, PASS, WARN
from src.cohorts.people_names import hash_subjects
from src.config import RunConfig
from src.config.options import build_config
from src.data.split_files import read_split, write_split
from src.errors import AuditFailed, CheckpointError, ConfigError, DataNotFoundError, ManifestError
from src.manifest import Manifest
from src.stages import audit

NAMES = [f"OAS1_{number:04d}" for number in range(12)]
SIDES = ["train"] * 6 + ["val"] * 2 + ["test"] * 4


def split_table(path, names, sides):
    pd.DataFrame({"subject": names, "split": sides}).to_csv(path, index=False)
    return path


def verdicts(checks):
    return {one.name: one.verdict for one in checks}


@pytest.fixture
def first(tmp_path):
    return split_table(tmp_path / "first.csv", NAMES, SIDES)


def test_the_same_split_is_a_test_of_the_same_people(first):
    checks = split_checks(read_split(first), read_split(first))
    assert set(verdicts(checks).values()) == {PASS}
    assert checks[0].sentence == "12 people are in both: A has 12, B 12"
    assert checks[2].sentence == "both test the same 4 people"


def test_a_test_person_who_trained_or_chose_the_other_fails(first, tmp_path):
    sides = ["test"] * 1 + ["train"] * 7 + ["val"] * 1 + ["test"] * 3
    other = split_table(tmp_path / "b.csv", [f"sub-{n.replace('_', '')}" for n in NAMES], sides)
    found = split_checks(read_split(first), read_split(other))[1]
    assert found.verdict == FAIL
    # OAS1_0008 is tested by A and chooses by B; OAS1_0000 the other way round.
    assert found.numbers == {
        "A_test_in_B_training": ["OAS1_0008"],
        "B_test_in_A_training": ["OAS1_0000"],
    }
    assert "1 of 4 test people of A trained or chose a model by B" in found.sentence


def test_another_choice_of_test_people_alone_is_no_leak(first, tmp_path):
    other = split_table(
        tmp_path / "b.csv", NAMES[6:], ["val", "val", "test", "test", "test", "test"]
    )
    checks = split_checks(read_split(first), read_split(other))
    assert verdicts(checks)["test_in_training"] == PASS
    fewer = split_table(tmp_path / "c.csv", NAMES[:10], SIDES[:10])
    checks = split_checks(read_split(first), read_split(fewer))
    assert verdicts(checks) == {"people": PASS, "test_in_training": PASS, "same_test": WARN}
    assert checks[2].sentence == "2 people are tested by both: 4 by A, 2 by B"


def test_hashed_files_of_one_data_set_are_compared(tmp_path):
    rows = pd.DataFrame({"subject": NAMES, "split": SIDES})
    a = write_split(tmp_path / "a", rows, NAMES)
    b = write_split(tmp_path / "b", rows.assign(split=SIDES[::-1]), NAMES)
    found = split_checks(read_split(a), read_split(b))
    assert found[0].numbers == {"people": [12, 12], "in_both": 12}
    assert len(found[1].numbers["A_test_in_B_training"]) == 4
    assert not any("OAS1" in one for one in found[1].examples)


def test_hashes_of_two_salts_are_not_compared_but_names_with_hashes_are(tmp_path, first):
    rows = pd.DataFrame({"subject": NAMES, "split": SIDES})
    a = read_split(write_split(tmp_path / "a", rows, NAMES))
    b = read_split(write_split(tmp_path / "b", rows, [*NAMES, "X"]))
    with pytest.raises(ManifestError, match="by different salts") as caught:
        split_checks(a, b)
    assert "table with the ids" in caught.value.hint
    for one, other in ((a, read_split(first)), (read_split(first), b)):
        checks = split_checks(one, other)
        assert checks[0].numbers["in_both"] == 12
        assert set(verdicts(checks).values()) == {PASS}


def test_people_of_two_checkpoints_are_counted(tmp_path):
    a = split_of_checkpoint(tmp_path / "a.pth", hash_subjects(NAMES[:8]))
    b = split_of_checkpoint(tmp_path / "b.pth", hash_subjects(NAMES[5:]))
    checks = split_checks(a, b)
    assert checks[0].numbers == {"people": [8, 7], "in_both": 3}
    assert verdicts(checks)["test_in_training"] == NOT_KNOWN


def test_test_people_of_a_data_set_are_found_in_a_checkpoint(first):
    rows = pd.read_csv(first).assign(path=lambda t: t["subject"] + ".png", label="MildDemented")
    manifest = Manifest(rows, first.parent)
    trained = split_of_checkpoint(first, hash_subjects(NAMES[:9]))
    found = split_checks(split_of_manifest(manifest), trained)[1]
    assert found.numbers == {"A_test_in_B_training": ["OAS1_0008"]}


def test_folds_are_compared_fold_by_fold(tmp_path, first):
    def folds(path, last):
        rows = [(0, f, n, "test" if i % 3 == f else "train") for f in range(3) for i, n in last]
        pd.DataFrame(rows, columns=["repeat", "fold", "subject", "side"]).to_csv(path, index=False)
        return read_split(path)

    a = folds(tmp_path / "a.csv", list(enumerate(NAMES)))
    swapped = [*NAMES[:10], NAMES[11], NAMES[10]]
    b = folds(tmp_path / "b.csv", list(enumerate(swapped)))
    found = split_checks(a, b)[2]
    assert (found.verdict, found.numbers) == (WARN, {"same_folds": 1})
    assert split_checks(a, a)[2].verdict == PASS
    assert verdicts(split_checks(a, read_split(first)))["test_in_training"] == NOT_KNOWN


def people(count, seed, prefix):
    """A table of a study: everyone's values are their own."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "ID": [f"{prefix}_{number:04d}_MR1" for number in range(1, count + 1)],
            "M/F": rng.choice(["F", "M"], count),
            "Age": rng.integers(60, 96, count),
            "eTIV": rng.integers(1100, 1999, count),
            "nWBV": rng.integers(650, 840, count) / 1000,
        }
    )


@pytest.fixture
def studies(tmp_path):
    """Tables of 60 and 40 people; three of the second are people of the first."""
    a, b = people(60, 0, "OAS1"), people(40, 1, "OAS2")
    for here, there in ((3, 30), (7, 5), (20, 39)):
        b.loc[there, ["M/F", "Age", "eTIV", "nWBV"]] = a.loc[here, ["M/F", "Age", "eTIV", "nWBV"]]
    b = b.rename(columns={"ID": "MRI ID"}).assign(**{"Subject ID": b["ID"].str[:9]})
    paths = tmp_path / "one.csv", tmp_path / "two.csv"
    a.to_csv(paths[0], index=False)
    b.to_csv(paths[1], index=False)
    return paths


PLANTED = [("OAS1_0004", "OAS2_0031"), ("OAS1_0008", "OAS2_0006"), ("OAS1_0021", "OAS2_0040")]


def test_people_with_equal_values_are_told(studies):
    found = shared_people(*map(read_study, studies))
    assert list(found) == ["subject_a", "subject_b", "why"]
    assert list(found[["subject_a", "subject_b"]].itertuples(index=False, name=None)) == PLANTED
    assert set(found["why"]) == {SAME_VALUES}
    checks, _ = study_checks(*map(read_study, studies))
    assert verdicts(checks) == {
        "people": PASS,
        "identical_files": NOT_KNOWN,
        "near_duplicates": NOT_KNOWN,
        "values": FAIL,
    }
    assert checks[3].numbers["expected_by_chance"] < 0.1


def test_values_are_compared_as_the_coarser_table_prints_them(studies):
    a, b = map(pd.read_csv, studies)
    b.assign(nWBV=b["nWBV"].astype(float) + 0.0004).to_csv(studies[1], index=False)
    a.to_csv(studies[0], index=False)
    assert len(shared_people(*map(read_study, studies))) == 3
    b.assign(nWBV=b["nWBV"].astype(float) + 0.001).to_csv(studies[1], index=False)
    assert len(shared_people(*map(read_study, studies))) == 0


def test_a_person_of_whom_a_value_is_not_known_is_not_equal(studies):
    b = pd.read_csv(studies[1])
    b.loc[30, "eTIV"] = np.nan
    b.to_csv(studies[1], index=False)
    found = shared_people(*map(read_study, studies))
    assert list(found["subject_b"]) == [second for _, second in PLANTED[1:]]


def test_few_who_are_equal_may_be_chance_and_are_a_warning(studies):
    a, b = (one.with_columns(etiv=1500.0, nwbv=0.75) for one in map(read_study, studies))
    check = study_checks(a, b)[0][3]
    assert check.verdict == WARN
    assert check.numbers["expected_by_chance"] > 10


def heads(root, names, seed, sizes=(80, 70)):
    """Write a data set of two slices a person, each of a head of its own."""
    rows = []
    for number, name in enumerate(names):
        rng = np.random.default_rng([seed, number])
        for index in range(2):
            coarse = Image.fromarray(rng.integers(0, 255, (14, 12)).astype(np.uint8))
            path = root / "train" / "NonDemented" / f"{name}_{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = np.asarray(coarse.resize((66, 78), Image.Resampling.BICUBIC))
            y, x = np.mgrid[-1:1:78j, -1:1:66j]
            Image.fromarray(np.where(x**2 + y**2 < 0.8, picture, 0).astype(np.uint8)).save(path)
            rows.append(
                {
                    "subject": name,
                    "session": "MR1",
                    "slice": index,
                    "path": path.relative_to(root).as_posix(),
                    "label": "NonDemented",
                    "split": "train",
                    "fingerprint": f"{seed}{number}{index}",
                }
            )
    return Manifest(pd.DataFrame(rows), root)


def test_images_and_ids_tell_who_is_in_both(tmp_path):
    a = heads(tmp_path / "a", [f"A{n:02d}" for n in range(24)] + ["OAS30010"], 1)
    b = heads(tmp_path / "b", [f"B{n:02d}" for n in range(21)] + ["A05", "sub-OAS30010"], 2)
    same = b.root / b.table["path"][0]
    for path in (a.table["path"][6], a.table["path"][7]):  # A03, brightened, is B00
        picture = np.asarray(Image.open(a.root / path)).astype(float)
        Image.fromarray(np.clip(picture * 1.1, 0, 255).astype(np.uint8)).save(same)
    prints = b.table["fingerprint"].mask(b.table.index == 9, a.table["fingerprint"][2])
    b = b.with_columns(fingerprint=prints)  # B04 has a file of A01
    found = shared_people(a, b)
    assert list(found.itertuples(index=False, name=None)) == [
        ("A01", "B04", SAME_FILE),
        ("A03", "B00", SAME_HEAD),
        ("OAS30010", "sub-OAS30010", SAME_ID),
    ]
    assert len(shared_people(a, b, images=False)) == 2
    checks = verdicts(study_checks(a, b)[0])
    assert checks == {
        "people": FAIL,
        "identical_files": FAIL,
        "near_duplicates": FAIL,
        "values": NOT_KNOWN,
    }


def test_ids_that_any_study_gives_are_a_warning(tmp_path):
    a, b = (
        Manifest.from_columns(tmp_path, subject=["sub-01", name], path=["1.png", "2.png"])
        for name in ("sub-02", "sub-03")
    )
    check = study_checks(a, b)[0][0]
    assert (check.verdict, check.examples) == (WARN, ["sub-01"])
    assert len(shared_people(a, b)) == 0


def test_studies_without_anyone_in_common_pass(tmp_path):
    a = heads(tmp_path / "a", [f"A{n:02d}" for n in range(24)], 1)
    b = heads(tmp_path / "b", [f"B{n:02d}" for n in range(24)], 2)
    checks, shared = study_checks(a, b)
    assert len(shared) == 0
    assert set(verdicts(checks[:3]).values()) == {PASS}


def run(tmp_path, **settings):
    config = build_config(RunConfig, {"results_dir": tmp_path / "results", **settings})
    return list(audit.run(config)), config


def test_the_stage_writes_who_is_in_both_and_fails(tmp_path, studies):
    with pytest.raises(AuditFailed, match="are no test of each other: values") as caught:
        run(tmp_path, data_dir=studies[0], against=studies[1])
    path = tmp_path / "results" / "one_vs_two" / "audit" / "audit.json"
    assert str(path) in caught.value.hint
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["verdict"] == FAIL
    assert [(one["subject_a"], one["subject_b"]) for one in found["shared"]] == PLANTED


def test_the_stage_compares_a_data_set_with_a_split(tmp_path, caplog):
    root = make_processed(tmp_path / "phantom_2d")
    rows = Manifest.read(root).table[["subject", "split"]].drop_duplicates()
    path = write_split(tmp_path / "mine", rows, rows["subject"])
    with caplog.at_level("INFO"):
        (written,), _ = run(tmp_path, data_dir=root, against=path)
    assert written.parts[-3:] == ("phantom_2d_vs_mine", "audit", "audit.json")
    assert "both test the same 4 people" in caplog.text
    assert json.loads(written.read_text(encoding="utf-8"))["verdict"] == PASS


def test_what_cannot_be_compared_is_told(tmp_path, studies, first):
    with pytest.raises(ManifestError, match="puts nobody on a side"):
        run(tmp_path, data_dir=studies[0], against=first)
    with pytest.raises(DataNotFoundError, match=r"nobody\.csv"):
        run(tmp_path, data_dir=first, against=tmp_path / "nobody.csv")
    bad = tmp_path / "bad.csv"
    bad.write_text("name,colour\na,blue\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="no column 'subject' or 'ID'; found: name, colour"):
        run(tmp_path, data_dir=first, against=bad)
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"PK no checkpoint")
    with pytest.raises(CheckpointError, match="truncated or no checkpoint"):
        run(tmp_path, data_dir=first, against=broken)
    with pytest.raises(ConfigError, match="beside those of another"):
        run(tmp_path, checkpoint=broken)
    with pytest.raises(ConfigError, match="name two already"):
        run(tmp_path, checkpoint=broken, data_dir=first, against=first)
    with pytest.raises(ConfigError, match="is a file") as caught:
        run(tmp_path, data_dir=first)
    assert "--against" in caught.value.hint
