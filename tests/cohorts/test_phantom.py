"""Phantom cohort: the same bytes from the same seed, disease only where and when it is planted."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from src.cohorts.phantom import anatomy as phantom_anatomy
from src.cohorts.phantom import cohort as phantom
from src.cohorts.phantom.cohort import index_phantom, make_phantom
from src.cohorts.phantom.people import COLUMNS, Person, draw_traits, plan_people
from src.config import PhantomConfig
from src.errors import DataNotFoundError, ManifestError

PEOPLE = 9  # 8 rated and 1 not


def config(effect: float = 1.0) -> PhantomConfig:
    return PhantomConfig(phantom_subjects=8, phantom_voxel=4.0, phantom_effect=effect)


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def records(root: Path) -> list[dict]:
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((root / "truth").glob("*.json"))
    ]


def truth(root: Path, kind: str) -> dict[str, nib.Nifti1Image]:
    paths = sorted((root / "truth").glob(f"*_{kind}.nii.gz"))
    return {path.name.partition(f"_{kind}")[0]: nib.load(path) for path in paths}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    assert make_phantom(root, config(), seed=3, workers=1)
    return root


@pytest.fixture(scope="module")
def harmless(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("effect0")
    make_phantom(root, config(effect=0.0), seed=3, workers=1)
    return root


@pytest.fixture
def copied(cohort, tmp_path) -> Path:
    """Return a copy that a test may damage."""
    for path in cohort.rglob("*"):
        if path.is_file():
            place = tmp_path / "phantom" / path.relative_to(cohort)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return tmp_path / "phantom"


# Making, keeping and continuing


@pytest.mark.slow
def test_same_seed_gives_same_bytes_with_two_workers(cohort, tmp_path):
    make_phantom(tmp_path, config(), seed=3, workers=2)
    assert digests(tmp_path) == digests(cohort)


@pytest.mark.slow
def test_other_seed_gives_other_people_and_images(cohort, tmp_path):
    make_phantom(tmp_path, config(), seed=4, workers=1)
    ours, others = digests(cohort), digests(tmp_path)
    images = {name: ours[name] for name in ours if name.endswith(".img")}
    renamed = {name.replace("PHAN4_", "PHAN3_"): one for name, one in others.items()}
    shared = images.keys() & renamed.keys()
    assert shared
    assert not images.keys() & others.keys()  # nobody of one seed is called as one of another
    assert all(images[name] != renamed[name] for name in shared)
    assert [r["asf"] for r in records(cohort)] != [r["asf"] for r in records(tmp_path)]


@pytest.mark.slow
def test_finished_cohort_is_left_alone(copied):
    assert not make_phantom(copied, config(), seed=3, workers=1)


@pytest.mark.parametrize("lost", ["disc*/*_MR1/**/*.img", "truth/*_change.nii.gz", "*.csv"])
def test_lost_file_is_made_again(cohort, copied, lost):
    next(copied.glob(lost)).unlink()
    assert make_phantom(copied, config(), seed=3, workers=1)
    assert digests(copied) == digests(cohort)


def test_stopped_run_makes_only_the_missing_person(cohort, copied, caplog):
    (copied / "cohort.json").unlink()
    (copied / "truth" / "PHAN3_0004.json").unlink()
    (copied / "truth" / ".PHAN3_0004.json.x1y2").touch()  # what a killed write leaves
    with caplog.at_level(logging.INFO, logger="src"):
        assert make_phantom(copied, config(), seed=3, workers=1)
    assert "continued, 1 person still to make" in caplog.text
    assert digests(copied) == digests(cohort)


@pytest.mark.slow
def test_other_settings_make_it_anew(copied, harmless, caplog):
    (copied / "notes.txt").write_text("mine", encoding="utf-8")
    with caplog.at_level(logging.INFO, logger="src"):
        assert make_phantom(copied, config(effect=0.0), seed=3, workers=1)
    assert "effect 1.0 -> 0.0" in caplog.text
    (copied / "notes.txt").unlink()  # a stranger's file was kept; all others are new
    assert digests(copied) == digests(harmless)


def test_half_made_cohort_of_other_settings_is_not_continued(copied, harmless):
    (copied / "cohort.json").unlink()
    make_phantom(copied, config(effect=0.0), seed=3, workers=1)
    assert digests(copied) == digests(harmless)


def test_folder_of_a_stranger_is_refused_and_kept(tmp_path):
    mine = tmp_path / "disc1" / "OAS1_0001_MR1.img"
    mine.parent.mkdir()
    mine.write_bytes(b"precious")
    with pytest.raises(ManifestError, match="OAS1_0001_MR1"):
        make_phantom(tmp_path, config(), seed=3, workers=1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_address_of_a_cluster_is_passed_on_and_a_person_is_made_once(cohort, copied, monkeypatch):
    given = {}

    def on_cluster(function, items, **settings):
        given.update(settings)
        return [function(item) for item in (*items, *items)]  # as when a worker is lost

    (copied / "truth" / "PHAN3_0004.json").unlink()
    monkeypatch.setattr(phantom, "run_parallel", on_cluster)
    scans = []
    scan = phantom.scan
    monkeypatch.setattr(phantom, "scan", lambda *given: (scans.append(1), scan(*given))[1])
    make_phantom(copied, config(), seed=3, workers=1, dask="tcp://there:1")
    assert given["dask"] == "tcp://there:1"
    assert given["folder"] == copied
    assert len(scans) == len(list(copied.glob("disc*/PHAN3_0004_MR*")))
    assert digests(copied) == digests(cohort)


def test_index_before_making_says_how_to_make_it(tmp_path):
    with pytest.raises(DataNotFoundError, match="--dataset phantom"):
        index_phantom(tmp_path)


# People and table


@pytest.mark.parametrize(
    ("rated", "counts"), [(80, [40, 20, 12, 8]), (8, [4, 2, 1, 1]), (11, [5, 3, 2, 1])]
)
def test_stages_are_shared_out(rated, counts):
    stages = [person.stage for person in plan_people(rated, seed=0)]
    assert [stages.count(stage) for stage in range(4)] == counts
    assert stages.count(None) == max(1, round(rated / 10))


def test_id_tells_nothing_of_the_stage():
    stages = [p.stage for p in plan_people(400, seed=0) if p.stage is not None]
    assert abs(np.corrcoef(np.arange(len(stages)), stages)[0, 1]) < 0.15


def test_table_has_the_columns_of_oasis(cohort):
    table = pd.read_csv(cohort / "phantom_cross-sectional.csv")
    expected = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
    assert ",".join(table.columns) == ",".join(COLUMNS) == expected


def test_index_lists_every_session(cohort):
    table = index_phantom(cohort).table
    assert len(table) == PEOPLE + 1
    assert table["label"].nunique() == 4
    assert table.loc[table["label"].isna(), "age"].between(18, 59).all()
    assert table.loc[table["label"].notna(), "age"].between(60, 96).all()


def test_traits_follow_the_stage_only_through_the_effect():
    def drawn(stage: int, effect: float) -> dict:
        traits = draw_traits(Person(1, stage, 1), effect, np.random.default_rng(5))
        return {name: traits[name] for name in ("disease", "age", "ageing", "mmse", "sex", "asf")}

    assert drawn(0, 0.0) == drawn(3, 0.0)
    assert drawn(0, 1.0)["mmse"] > drawn(3, 1.0)["mmse"]


def test_tissue_fraction_falls_with_severity():
    fractions = [
        phantom_anatomy.deform(4.0, disease, 0.1, np.random.default_rng(5)).tissue_fraction
        for disease in (0.0, 0.4, 0.7, 0.95)
    ]
    assert fractions == sorted(fractions, reverse=True)
    assert fractions[0] - fractions[3] > 0.005


def test_variety_widens_sulci_of_anybody_by_more_than_the_disease_takes():
    def tissue(disease: float, person: int, variety: float) -> float:
        rng = np.random.default_rng([11, person])
        return phantom_anatomy.deform(4.0, disease, 0.1, rng, variety).tissue_fraction

    alike, varied = ([tissue(0, person, v) for person in range(6)] for v in (0.0, 1.0))
    lost = np.mean(alike) - np.mean([tissue(0.95, person, 0.0) for person in range(6)])
    assert np.std(alike) < 0.5 * lost
    assert np.std(varied) > 3 * lost
    assert np.mean(varied) < np.mean(alike) - lost


def test_wider_sulci_are_dark_and_the_brain_stays_as_large():
    plain, wide = (
        phantom_anatomy.deform(4.0, 0.0, 0.1, np.random.default_rng(2), v) for v in (0.0, 1.0)
    )
    assert wide.volume == plain.volume
    inside = plain.intensity > 0
    darker = wide.intensity[inside] / plain.intensity[inside]
    assert darker.max() <= 1 + 1e-6
    assert darker.min() == pytest.approx(0.15, abs=1e-6)  # fluid
    assert 0.02 < (darker < 0.9).mean() < 0.7


def test_variety_lets_ventricles_of_healthy_people_differ_more():
    def spread(variety: float) -> float:
        rng = np.random.default_rng(4)
        drawn = (draw_traits(Person(1, 0, 1), 1.0, rng, variety=variety) for _ in range(200))
        return float(np.std([one["ageing"] - 0.008 * (one["age"] - 60) for one in drawn]))

    assert 0.03 < spread(0.0) < 0.07
    assert 0.1 < spread(1.0) < 0.2


def test_table_measures_the_tissue_fraction(cohort):
    for record in records(cohort):
        for row in record["rows"]:
            assert abs(row["nWBV"] - record["tissue_fraction"]) < 0.015


def test_size_in_the_table_is_the_brain_in_the_image(cohort):
    for record in records(cohort):
        path = next(cohort.glob(f"disc*/{record['rows'][0]['ID']}/**/*.img"))
        litres = (np.asarray(nib.load(path).dataobj) > 0).sum() * 4.0**3 / 1000
        assert record["rows"][0]["eTIV"] == round(litres / record["asf"])


# Images


def test_image_is_stored_as_oasis_stores_it(cohort):
    path = next(cohort.glob("disc*/PHAN3_*_MR1/PROCESSED/MPRAGE/T88_111/*_t88_masked_gfc.img"))
    header = nib.load(path).header
    assert header.endianness == ">"
    assert header.get_data_dtype() == np.dtype(">i2")
    assert header.get_data_shape() == (44, 52, 44, 1)
    assert header.get_zooms()[:3] == (4, 4, 4)


def test_image_runs_from_right_to_left_as_the_truth_says(cohort):
    affine = next(iter(truth(cohort, "change").values())).affine
    assert nib.aff2axcodes(affine) == ("L", "A", "S")
    centre = affine @ [21.5, 25.5, 21.5, 1]
    assert centre[:3].tolist() == [0, -17, 5]


def test_brain_is_where_the_affine_says():
    """The template's dark lateral ventricle and bright white matter, at their MNI places."""
    brain = phantom_anatomy.deform(4.0, 0.95, 0.2, np.random.default_rng(5))
    _, affine = phantom_anatomy.grid_affine(4.0)
    inverse = np.linalg.inv(affine)

    def at(*mni):
        i, j, k = np.rint(inverse @ [*mni, 1])[:3].astype(int)
        return brain.intensity[i, j, k]

    assert at(-12, -12, 22) < 0.65 < 0.75 < at(-28, -30, 34)
    assert at(0, 60, -50) == 0  # below the eyes there is no brain


def test_second_session_has_the_same_anatomy(cohort):
    second = next(cohort.glob("disc*/*_MR2/**/*.img"))
    first = Path(str(second).replace("_MR2", "_MR1"))
    a, b = (np.asarray(nib.load(p).dataobj, float) for p in (first, second))
    assert ((a > 0) == (b > 0)).all()
    assert (a != b).any()
    assert np.corrcoef(a[a > 0], b[a > 0])[0, 1] > 0.8


def test_no_effect_leaves_no_trace(harmless):
    for kind in ("change", "displacement"):
        assert all(not np.asarray(image.dataobj).any() for image in truth(harmless, kind).values())


def test_healthy_people_do_not_depend_on_the_effect(cohort, harmless):
    young = {r["rows"][0]["ID"] for r in records(cohort) if r["stage"] is None}
    ours, others = digests(cohort), digests(harmless)
    images = [name for name in ours if name.endswith(".img") and name.split("/")[1] in young]
    assert images
    assert all(ours[name] == others[name] for name in images)


def test_change_is_where_it_was_planted(cohort):
    severe = max(records(cohort), key=lambda record: record["severity"])
    image = truth(cohort, "change")[severe["rows"][0]["ID"].partition("_MR")[0]]
    change = image.get_fdata()
    points = image.affine[:3, :3] @ np.indices(change.shape).reshape(3, -1) + image.affine[:3, 3:]
    points[0] = np.abs(points[0])  # the structures are named on the right
    near = np.zeros(points.shape[1], bool)
    for centre, widths in phantom_anatomy.STRUCTURES:
        offset = (points - np.array(centre)[:, None]) / np.array(widths)[:, None]
        near |= (offset**2).sum(axis=0) < 2.5**2
    change = change.ravel()
    assert near[change.argmax()]
    assert change[near].sum() / change.sum() > 2 * near.mean()


def test_displacement_grows_with_the_severity(cohort):
    longest = {
        name: image.get_fdata().max() for name, image in truth(cohort, "displacement").items()
    }
    planted = {r["rows"][0]["ID"].partition("_MR")[0]: r["disease"] for r in records(cohort)}
    names = sorted(planted, key=planted.__getitem__)
    assert longest[names[0]] < 1 < 8 < longest[names[-1]] < 25
