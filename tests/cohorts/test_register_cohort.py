"""A study that registers itself is one that ``--dataset`` and `preprocess` take."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import ellipsoid

from src import preprocess, register_cohort
from src.cohorts.registry import COHORT_REGISTRY
from src.config import DATASETS, DataConfig
from src.errors import ConfigError, UnknownNameError
from src.manifest import Manifest

FACTS = {"homepage": "", "axes": None, "side_known": True}


def index_clinic(root):
    people = pd.read_csv(root / "people.csv", dtype=str)
    return Manifest.from_columns(
        root, cohort="clinic", session="1", subject=people["id"],
        path=people["id"] + ".nii.gz", label=people["label"],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_registered_study_is_preprocessed(own_cohorts, tmp_path, workers):
    register_cohort("clinic", **FACTS)(index_clinic)
    folder = tmp_path / "clinic"
    folder.mkdir()
    rows, rng = [], np.random.default_rng(0)
    for number in range(12):
        head = ellipsoid((25, 29, 23), 0.3)
        head += (rng.integers(0, 60, head.shape) * (head > 0)).astype(head.dtype)
        nib.save(nib.Nifti1Image(head, np.diag([4.0, 4, 4, 1])), folder / f"c{number}.nii.gz")
        rows.append({"id": f"c{number}", "label": ("NonDemented", "MildDemented")[number % 2]})
    pd.DataFrame(rows).to_csv(folder / "people.csv", index=False)
    made = preprocess("clinic_2d", data_root=tmp_path, num_slices=2, image_size=32, workers=workers)
    assert made.root == tmp_path / "clinic_2d"
    assert len(made.table) == 24
    assert set(made.table["cohort"]) == {"clinic"}


def test_a_registered_study_is_named_like_those_that_are_built_in(own_cohorts):
    with pytest.raises(UnknownNameError):
        DataConfig(dataset="clinic_3d")
    register_cohort("clinic", **FACTS)(index_clinic)
    data = DataConfig(dataset="clinic_3d")
    assert (data.cohort, data.model_dim, data.name) == ("clinic", "3d", "clinic_3d")
    assert DataConfig(dataset="clinic").name == "clinic_2d"
    with pytest.raises(UnknownNameError, match="did you mean 'clinic_2d'"):
        DataConfig(dataset="clinics_2d")


def test_a_cell_may_be_run_again_and_another_function_may_not(own_cohorts):
    def index_it(root):
        return "first"

    register_cohort("clinic", **FACTS)(index_it)
    first = index_it

    def index_it(root):
        return "second"

    index_it.__qualname__ = first.__qualname__
    register_cohort("clinic", **FACTS)(index_it)
    assert COHORT_REGISTRY.get("clinic").index is index_it
    for name in ("clinic", "oasis"):
        with pytest.raises(KeyError, match="registered twice"):
            register_cohort(name, **FACTS)(index_clinic)


@pytest.mark.parametrize("name", ["", "my study", "a/b", "..", "mine_3d", "a_official_b", "kaggle"])
def test_a_name_that_data_sets_cannot_begin_with_is_refused(own_cohorts, name):
    before = dict(DATASETS)
    with pytest.raises(ConfigError) as caught:
        register_cohort(name, **FACTS)
    assert caught.value.hint
    assert before == DATASETS
