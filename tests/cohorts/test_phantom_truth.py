"""The truth made again from settings against the cohort's own files; grid of 4 mm, 44 x 52 x 44."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from src.cohorts.phantom.anatomy import deform
from src.cohorts.phantom.cohort import make_phantom
from src.cohorts.phantom.people import AMPLITUDE
from src.cohorts.phantom.truth import planted_change
from src.config import PhantomConfig
from src.errors import ConfigError, ManifestError

SEED = 3
STEP = 1024  # the files' rounding: 1 / 1024


def settings(effect: float = 1.0, cause: str = "disease", variety: float = 0.0) -> dict:
    phantom = {
        "phantom_subjects": 8,
        "phantom_voxel": 4.0,
        "phantom_effect": effect,
        "phantom_cause": cause,
        "phantom_variety": variety,
    }
    return {"cohort": "phantom", "split": {"seed": SEED, "val_fraction": 0.1}, "phantom": phantom}


def made(tmp_path_factory: pytest.TempPathFactory, **kind: object) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    config = PhantomConfig(**settings(**kind)["phantom"])
    make_phantom(root, config, seed=SEED, workers=1)
    return root


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return made(tmp_path_factory)


@pytest.fixture(scope="module")
def by_age(tmp_path_factory) -> Path:
    return made(tmp_path_factory, cause="age")


@pytest.fixture(scope="module")
def varied(tmp_path_factory) -> Path:
    return made(tmp_path_factory, variety=1.0)


def record(root: Path, subject: str) -> dict:
    return json.loads((root / "truth" / f"{subject}.json").read_text(encoding="utf-8"))


def people(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "truth").glob("*.json"))


def image(root: Path, subject: str, session: str = "MR1") -> np.ndarray:
    path = next(root.glob(f"disc*/{subject}_{session}/**/*.img"))
    return np.asarray(nib.load(path).dataobj)[..., 0]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "variety"), [("cohort", 0.0), ("varied", 1.0)])
def test_change_of_the_ill_is_that_of_the_file_up_to_its_rounding(kind, variety, request):
    root = request.getfixturevalue(kind)
    ill = [name for name in people(root) if record(root, name)["disease"] > 0]
    assert len(ill) >= 4
    for name in ill:
        file = nib.load(root / "truth" / f"{name}_change.nii.gz")
        truth = planted_change(settings(variety=variety), name)
        assert truth.planted
        assert truth.change.shape == file.shape == (44, 52, 44)
        rounded = np.round(truth.change * STEP) / STEP
        assert np.array_equal(rounded, file.get_fdata(dtype=np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cohort", "by_age"])
def test_brain_is_where_the_image_is_not_zero(kind, request):
    root = request.getfixturevalue(kind)
    given = settings(cause="age" if kind == "by_age" else "disease")
    for name in people(root):
        assert np.array_equal(planted_change(given, name).brain, image(root, name) > 0)


@pytest.mark.slow
def test_healthy_get_the_change_of_the_full_disease_in_their_own_anatomy(cohort):
    (healthy, *_) = [name for name in people(cohort) if record(cohort, name)["stage"] is None]
    assert record(cohort, healthy)["disease"] == 0
    truth = planted_change(settings(), healthy)
    assert not truth.planted
    assert truth.change.max() > 0.3
    assert not truth.change[~truth.brain].any()
    # By hand: the same anatomy with and without, from the person's own traits.
    index, ageing = int(healthy[-4:]), record(cohort, healthy)["ageing"]
    ill, well = (deform(4.0, d, ageing, stream(index)) for d in (AMPLITUDE, 0.0))
    both = truth.brain & (ill.intensity > 0)
    assert both.sum() > 0.95 * truth.brain.sum()
    assert truth.change[both] == pytest.approx(abs(ill.intensity - well.intensity)[both], abs=1e-6)


def stream(index: int) -> np.random.Generator:
    """Return the person's numbers after the traits were drawn (unrated: severity, age, ...)."""
    from src.cohorts.phantom.people import Person, draw_traits

    rng = np.random.default_rng([SEED, index])
    draw_traits(Person(index, None, 1), 1.0, rng)
    return rng


@pytest.mark.parametrize("given", [settings(effect=0.0), settings(cause="age")])
def test_nothing_is_planted_without_an_effect_or_with_labels_by_age(given):
    for name in ("PHAN_0001", "PHAN_0008"):
        truth = planted_change(given, name)
        assert not truth.planted
        assert truth.change.max() > 0.3


def test_same_person_is_healthy_in_one_cohort_and_ill_in_another(cohort):
    severe = max(people(cohort), key=lambda name: record(cohort, name)["disease"])
    ill = planted_change(settings(), severe)
    weak = planted_change(settings(effect=0.5), severe)
    assert ill.planted
    assert weak.planted
    assert 0.3 * ill.change.sum() < weak.change.sum() < 0.8 * ill.change.sum()


def test_person_of_another_cohort_is_refused():
    with pytest.raises(ManifestError, match="OAS1_0001 is none of the 9 people"):
        planted_change(settings(), "OAS1_0001")
    with pytest.raises(ManifestError, match="PHAN_0010"):
        planted_change(settings(), "PHAN_0010")


def without(name: str, part: str | None = None) -> dict:
    given = settings()
    del (given[part] if part else given)[name]
    return given


@pytest.mark.parametrize(
    "given",
    [
        {"cohort": "oasis"},
        without("phantom"),
        without("split"),
        without("seed", "split"),
        without("phantom_effect", "phantom"),  # no default stands in
        settings() | {"split": {"seed": "3"}},
        settings() | {"split": {"seed": -1}},
        settings() | {"phantom": [1]},
    ],
)
def test_settings_that_do_not_say_how_are_refused(given):
    with pytest.raises(ManifestError, match=r"phantoms were made|the seed"):
        planted_change(given, "PHAN_0001")


@pytest.mark.parametrize("change", [{"phantom_voxel": 0.01}, {"phantom_subjects": "8"}])
def test_settings_out_of_range_are_refused_before_memory_is_taken(change):
    given = settings()
    given["phantom"] |= change
    with pytest.raises(ConfigError):
        planted_change(given, "PHAN_0001")
