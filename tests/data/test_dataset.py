"""Datasets, batches, loaders and folders without a manifest."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from conftest import VOLUME, ellipsoid, make_processed

from src.data.dataset import EvenBatches, make_loader, own_dataset
from src.data.loaders import create_data_loaders, open_dataset
from src.errors import ConfigError, DataNotFoundError, LeakageError, ManifestError
from src.labels import class_scheme
from src.manifest import PEOPLE_UNKNOWN, SAME_PEOPLE, Manifest


@pytest.mark.parametrize(("length", "size"), [(33, 32), (1, 8), (7, 1), (64, 32), (65, 32), (5, 4)])
def test_batches_are_even_and_complete(length, size):
    batches = list(EvenBatches(length, size, seed=3))
    sizes = [len(batch) for batch in batches]
    assert sorted(index for batch in batches for index in batch) == list(range(length))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_order_depends_on_seed_and_epoch_only():
    first, again, other = EvenBatches(20, 4, 1), EvenBatches(20, 4, 1), EvenBatches(20, 4, 2)
    assert list(first) == list(again) != list(other)
    again.epoch = 2
    assert list(first) != list(again)
    assert list(EvenBatches(5, 2)) == [[0, 1], [2, 3], [4]]


def test_items_are_grey_with_the_class_of_the_scheme(processed_2d, processed_3d):
    slices = open_dataset(processed_2d, "2d", class_scheme(3))
    image, label = slices[len(slices) - 1]
    assert image.shape == (1, 40, 36)
    assert image.dtype == torch.uint8
    assert label == 2  # the last row is ModerateDemented, class 2 of 3
    assert slices.rows["label"].iloc[-1] == "ModerateDemented"
    volume, _ = open_dataset(processed_3d, "3d", class_scheme(4))[0]
    assert volume.shape == (1, *VOLUME)
    assert volume.dtype == torch.float16
    assert slices.people_per_class().tolist() == [4, 4, 4]
    assert slices.class_counts().tolist() == [12, 12, 12]


def test_create_data_loaders(processed_2d):
    train, test = create_data_loaders(processed_2d, "phantom", "2d", batch_size=5)
    images, labels = next(iter(train))
    assert images.shape == (5, 1, 40, 36) or len(images) == 4
    assert labels.dtype == torch.int64
    assert not set(own_dataset(train).subjects) & set(own_dataset(test).subjects)
    (val,) = create_data_loaders(processed_2d, "phantom", splits=("val",))
    assert own_dataset(val).split == "val"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"dataset_type": "oasis"}, ConfigError, "made from phantom"),
        ({"dataset_type": "osais"}, ConfigError, "unknown"),
        ({"dataset_type": "phantom", "model_dim": "3d"}, ConfigError, "holds 2d images"),
        ({"dataset_type": "phantom", "num_classes": 5}, ConfigError, "5 classes"),
        ({"dataset_type": "phantom", "min_age": 120}, ManifestError, "no train people"),
    ],
)
def test_wrong_arguments(processed_2d, arguments, error, says):
    with pytest.raises(error, match=says):
        create_data_loaders(processed_2d, **arguments)


def test_missing_folder_names_the_command(tmp_path):
    with pytest.raises(DataNotFoundError, match="--mode preprocess --dataset oasis_2d"):
        create_data_loaders(tmp_path / "oasis_2d", "oasis")


def test_min_age_filters_people(processed_2d):
    everyone = open_dataset(processed_2d, "2d", class_scheme(4))
    older = open_dataset(processed_2d, "2d", class_scheme(4), min_age=70)
    assert len(older) < len(everyone)
    assert older.rows["age"].min() >= 70


def test_a_foreign_loader_is_refused():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(3, 1)))
    with pytest.raises(ConfigError, match="create_data_loaders"):
        own_dataset(loader)


def test_a_batch_is_the_items_in_its_order(processed_2d, processed_3d):
    for folder, dim in ((processed_2d, "2d"), (processed_3d, "3d")):
        data = open_dataset(folder, dim, class_scheme(4))
        rows = [5, 0, 3, 3]
        images, labels = data.__getitems__(rows)
        assert torch.equal(images, torch.stack([data[row][0] for row in rows]))
        assert labels.tolist() == [data[row][1] for row in rows]
        assert torch.equal(images, data.read_rows(np.array(rows)))
        assert images.shape[2:] == data.image_shape


def test_no_rows_are_an_empty_batch(processed_3d):
    images, labels = open_dataset(processed_3d, "3d", class_scheme(4)).__getitems__([])
    assert images.shape == (0, 1, *VOLUME)
    assert (images.dtype, labels.dtype) == (torch.float16, torch.int64)
    assert labels.shape == (0,)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_are_the_batches_divided(processed_2d, count):
    """33 images in batches of at most 4: with 5 processes, some have none of a batch."""
    whole = EvenBatches(33, 4, seed=3)
    parts = [EvenBatches(33, 4, seed=3, share=(index, count)) for index in range(count)]
    for one in (whole, *parts):
        one.epoch = 7
    assert {len(part) for part in parts} == {len(whole)}
    joined = [[i for share in shares for i in share] for shares in zip(*parts, strict=True)]
    assert joined == list(whole)
    sizes = [len(share) for shares in zip(*parts, strict=True) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    data = open_dataset(processed_2d, "2d", class_scheme(4)).with_split("val")
    loaders = [make_loader(data, 4, seed=1, share=(index, count)) for index in range(count)]
    shared = [torch.cat([images for images, _ in batch]) for batch in zip(*loaders, strict=True)]
    alone = [images for images, _ in make_loader(data, 4, seed=1)]
    assert all(torch.equal(a, b) for a, b in zip(shared, alone, strict=True))


def test_other_splits_and_people_share_one_cache(processed_2d):
    data = open_dataset(processed_2d, "2d", class_scheme(4), min_age=65)
    everyone = data.everyone("train")
    subset = everyone.with_manifest(everyone.manifest.where(everyone.rows["age"] > 75), "train")
    paths = {one.cache.path for one in (data, data.with_split("val"), everyone, subset)}
    assert paths == {open_dataset(processed_2d, "2d", class_scheme(2)).cache.path}
    row = int(np.flatnonzero(everyone.rows["path"] == subset.rows["path"][1])[0])
    assert torch.equal(subset[1][0], everyone[row][0])


def test_the_seed_of_validation_people_does_not_change_the_cache(tmp_path):
    names = [f"OAS1_{n:04d}_MR1_slice03.png" for n in range(12)]
    root = _class_folders(tmp_path, names, ["OAS1_0040_MR1_slice03.png"])
    one, other = (open_dataset(root, "2d", class_scheme(4), seed=seed) for seed in (0, 1))
    assert set(one.subjects) != set(other.subjects)
    assert one.cache.path == other.cache.path


def test_the_cache_can_be_elsewhere(processed_2d, tmp_path):
    (loader,) = create_data_loaders(
        processed_2d, "phantom", splits=("val",), cache_dir=tmp_path / "fast"
    )
    next(iter(loader))
    (cache,) = (tmp_path / "fast").glob("phantom_2d_*/images_*.npy")
    assert cache == own_dataset(loader).cache.path


def _class_folders(root, names, test_names):
    rng = np.random.default_rng(0)
    for split, files in (("train", names), ("test", test_names)):
        for number, name in enumerate(files):
            stage = ["Non Demented", "Very mild Dementia"][number % 2]
            path = root / split / stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = ellipsoid((26, 22, 3))[..., 1] // 4 + rng.integers(0, 20, (26, 22))
            cv2.imwrite(str(path), picture.astype(np.uint8))
    return root


def test_class_folders_without_a_manifest_get_validation_people(tmp_path):
    names = [f"OAS1_{n:04d}_MR1_slice{s:02d}.png" for s in (3, 4) for n in range(12)]
    held_out = [f"OAS1_{n:04d}_MR1_slice03.png" for n in range(12, 16)]
    data = open_dataset(_class_folders(tmp_path, names, held_out), "2d", class_scheme(4))
    people = {split: set(data.with_split(split).subjects) for split in ("train", "val", "test")}
    assert [len(people[split]) for split in people] == [10, 2, 4]
    assert not people["train"] & people["val"]
    assert data.manifest.stamps == ()


def test_one_person_on_both_sides_of_class_folders_is_refused(tmp_path):
    names = [f"OAS1_{n:04d}_MR1_slice03.png" for n in range(8)]
    with pytest.raises(LeakageError, match=r"1 person on both sides.*OAS1_0003"):
        open_dataset(
            _class_folders(tmp_path, names, ["OAS1_0003_MR1_slice09.png"]), "2d", class_scheme(4)
        )


def test_names_that_name_nobody_are_stamped_and_equal_files_refused(tmp_path):
    root = _class_folders(tmp_path, [f"a{n}.jpg" for n in range(8)], ["b0.jpg", "b1.jpg"])
    data = open_dataset(root, "2d", class_scheme(4))
    assert data.manifest.stamps == (PEOPLE_UNKNOWN,)
    source = root / "train" / "Non Demented" / "a0.jpg"
    shutil.copy(source, root / "test" / "Non Demented" / "copy.jpg")
    with pytest.raises(LeakageError, match="1 identical file"):
        open_dataset(root, "2d", class_scheme(4))


@pytest.mark.parametrize(
    ("name", "said", "fix"),
    [
        ("Healthyish", "no stage: train/Healthyish; expected NonDemented", "rename them"),
        ("AD", "no stage: train/AD; a diagnosis is no CDR stage", "sort the images by each"),
    ],
)
def test_an_unknown_class_folder(tmp_path, name, said, fix):
    path = tmp_path / "train" / name / "a.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), np.zeros((20, 20), np.uint8))
    with pytest.raises(ManifestError) as raised:
        open_dataset(tmp_path, "2d", class_scheme(4))
    assert said in raised.value.message
    assert raised.value.hint.startswith(fix)


def test_a_damaged_manifest_or_settings(processed_2d, tmp_path):
    folder = tmp_path / "phantom_2d"
    shutil.copytree(processed_2d, folder)
    table = Manifest.read(folder).table
    table.loc[0, "split"] = "test"  # the other slices of this person stay in train
    table.to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(LeakageError, match="1 person on both sides"):
        open_dataset(folder, "2d", class_scheme(4))
    (folder / "manifest.csv").unlink()
    with pytest.raises(DataNotFoundError, match=r"manifest\.csv"):
        open_dataset(folder, "2d", class_scheme(4))
    (folder / "preprocessing.json").write_text("{broken", encoding="utf-8")
    with pytest.raises(ManifestError, match="damaged"):
        open_dataset(folder, "2d", class_scheme(4))


def test_reader_processes_see_the_same_images(processed_2d):
    data = open_dataset(processed_2d, "2d", class_scheme(4))
    alone = torch.cat([images for images, _ in make_loader(data, 8)])
    read_ahead = torch.cat([images for images, _ in make_loader(data, 8, workers=2)])
    assert torch.equal(alone, read_ahead)


def test_counting_names_of_the_kaggle_set_tell_people_and_are_refused(tmp_path):
    """One person's 32 slices: running numbers 0 to 24 in train, slices 26 to 32 in test."""
    stems = [f"train/NonDemented/nonDem{number}" for number in range(25)]
    stems += [f"test/NonDemented/{number}" for number in range(26, 33)]
    for value, stem in enumerate(stems):
        path = tmp_path / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((36, 40), value, np.uint8))
    with pytest.raises(LeakageError, match=r"1 person on both sides .* such as NonDemented_001"):
        open_dataset(tmp_path, "2d", class_scheme(2))
    (tmp_path / "test/NonDemented/26.png").unlink()  # no longer complete: people are unknown
    data = open_dataset(tmp_path, "2d", class_scheme(2))
    assert data.manifest.stamps == ("people unknown",)


def test_a_leak_that_is_allowed_is_stamped(tmp_path):
    folder = make_processed(tmp_path / "phantom_2d")
    table = Manifest.read(folder).table
    table.loc[table["subject"] == table["subject"][0], "split"] = ["train", "test", "val"]
    Manifest(table, folder).write(folder)
    with pytest.raises(LeakageError, match="1 person on both sides") as error:
        open_dataset(folder, "2d", class_scheme(2))
    assert error.value.hint.endswith("does; --allow_leaks goes on and stamps the result")
    data = open_dataset(folder, "2d", class_scheme(2), allow_leaks=True)
    assert data.manifest.stamps == (SAME_PEOPLE,)
