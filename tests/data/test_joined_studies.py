"""Several data sets as one: images, names of people, and what does not go together."""

import json

import numpy as np
import pytest
from conftest import make_processed

from src.config.data import made_with
from src.data.joined import JoinedCache, join_studies
from src.data.loaders import open_dataset
from src.errors import ConfigError
from src.files import read_json, write_json
from src.labels import class_scheme
from src.manifest import Manifest


def opened(root, people, **settings):
    make_processed(root, people=people, images=2, seed=len(str(root)))
    path = root / "preprocessing.json"
    write_json(path, {**read_json(path), "dataset": root.name, **settings})
    return open_dataset(root, "2d", class_scheme(2)).everyone("train")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    return {"a": opened(root / "a_2d", (3, 2, 0, 0)), "b": opened(root / "b_2d", (2, 4, 1, 0))}


def test_every_image_is_that_of_its_own_study(two):
    joined = join_studies(two)
    assert len(joined.data) == len(two["a"]) + len(two["b"])
    order = np.array([9, 20, 0, 11, 10, 23])
    images = joined.data.read_rows(order).numpy()
    for row, image in zip(order, images, strict=True):
        part, place = ("a", row) if row < len(two["a"]) else ("b", row - len(two["a"]))
        assert np.array_equal(image, two[part].read_rows([place]).numpy()[0])


def test_settings_that_came_later_were_as_ever_before():
    assert made_with({"image_size": 64}) == made_with({"image_size": 64, "field": "brain"})
    assert made_with({"field": "whole"})["field"] == "whole"


def test_one_name_in_two_studies_is_two_people(two):
    joined = join_studies(two)
    assert "a.PHAN_0000" in joined.people_of("a")
    assert set(joined.people_of("b")) & set(joined.people_of("a")) == set()
    assert joined.study_of["b.PHAN_0000"] == "b"
    assert "PHAN_1002" in joined.people_of("b")  # nobody else is called so
    assert len(joined.study_of) == 5 + 7
    assert len(set(joined.data.subjects)) == 12


def test_features_and_caches_stay_with_each_study(two):
    joined = join_studies(two)
    places = joined.data.cache.rows(joined.data.rows["path"])
    parts = joined.data.cache.parts(places[::-1])
    assert [cache.root.name for cache, *_ in parts] == ["a_2d", "b_2d"]
    assert sum(len(where) for _, where, _ in parts) == len(places)
    assert len(joined.data.cache.fingerprints) == len(places)


def test_joined_images_can_be_joined_again(two):
    joined = join_studies(two)
    inner, paths = joined.data.cache, joined.data.rows["path"]
    outer = JoinedCache(inner.root.parent, {inner.root.name: inner})
    places = outer.rows(f"{inner.root.name}/{path}" for path in paths)[::-1]
    assert np.array_equal(outer.read(places), inner.read(inner.rows(paths)[::-1]))
    for store, where, own in outer.parts(places):  # features are kept beside each data set
        assert store.root.name in ("a_2d", "b_2d")
        assert np.array_equal(store.read(own), outer.read(places[where]))


def test_images_made_otherwise_are_refused_with_the_flag(two, tmp_path):
    other = opened(tmp_path / "c_2d", (2, 2, 0, 0), preprocess={"slice_axis": "coronal"})
    with pytest.raises(ConfigError, match="slice_axis differ") as error:
        join_studies({**two, "c": other})
    assert error.value.hint == "preprocess c with --slice_axis axial"


def test_images_of_another_size_are_refused(two, tmp_path):
    import cv2

    root = make_processed(tmp_path / "c_2d", people=(2, 2, 0, 0), images=1)
    manifest = Manifest.read(root)
    for path in manifest.table["path"]:
        cv2.imwrite(str(root / path), np.zeros((20, 30), np.uint8))
    manifest.with_columns(fingerprint=None).write(root)
    settings = json.loads((root / "preprocessing.json").read_text("utf-8"))
    assert settings["preprocess"] == {"slice_axis": "axial"}
    other = open_dataset(root, "2d", class_scheme(2)).everyone("train")
    with pytest.raises(ConfigError, match=r"differ in size: .*\[40, 36\].*\[20, 30\]"):
        _ = join_studies({**two, "c": other}).data.image_shape
