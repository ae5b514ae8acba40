"""Heads are smooth random stacks: neighbouring slices of one alike, two heads not."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from src.cohorts.near_duplicates import near_duplicate_clusters

SLICES = 8


def head(seed: int, slices: int = SLICES) -> np.ndarray:
    """Return 8-bit slices (slices, 60, 50) that all heads' shape and one head's detail share."""
    noise = np.random.default_rng(seed).normal(size=(slices + 4, 60, 50))
    detail = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in noise])
    detail = sum(detail[i : i + slices] for i in range(5))
    y, x = np.mgrid[-1:1:60j, -1:1:50j]
    shape = 120 * np.exp(-3 * (x**2 + y**2))
    return np.clip(60 + shape + 25 * detail / detail.std(), 0, 255).astype(np.uint8)


def save(folder: Path, heads: list[np.ndarray]) -> tuple[list[Path], np.ndarray]:
    """Write every slice as JPG, person by person; return the paths and whose they are."""
    folder.mkdir(exist_ok=True)
    paths, people = [], []
    for person, slices in enumerate(heads):
        for i, image in enumerate(slices):
            paths.append(folder / f"{person}_{i}.jpg")
            cv2.imwrite(str(paths[-1]), image)
            people.append(person)
    return paths, np.array(people)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return save(tmp_path_factory.mktemp("heads"), [head(seed) for seed in range(12)])


def test_one_cluster_per_head(heads):
    paths, people = heads
    assert near_duplicate_clusters(paths).tolist() == people.tolist()


def test_order_of_the_images_does_not_matter(heads):
    paths, people = heads
    order = np.random.default_rng(0).permutation(len(paths))
    clusters = near_duplicate_clusters([paths[i] for i in order])
    assert len(set(zip(clusters, people[order], strict=True))) == 12
    assert clusters[0] == 0


def test_memory_is_bounded_by_chunks_that_change_nothing(heads, monkeypatch):
    paths, people = heads
    monkeypatch.setattr("src.cohorts.near_duplicates._CHUNK", 7)
    assert near_duplicate_clusters(paths).tolist() == people.tolist()


def test_two_stages_never_share_a_cluster(heads):
    paths, _ = heads
    one_head = [*paths[:SLICES], *paths[:SLICES]]
    labels = ["NonDemented"] * SLICES + ["MildDemented"] * SLICES
    assert near_duplicate_clusters(one_head, labels).tolist() == [0] * SLICES + [1] * SLICES


def test_exact_copies_share_a_cluster_and_hide_no_neighbour(heads):
    paths, people = heads
    clusters = near_duplicate_clusters([*paths, *paths, *paths])
    assert clusters.tolist() == [*people, *people, *people]


def test_undecodable_images_are_alone(heads, tmp_path):
    paths, people = heads
    (tmp_path / "a.jpg").write_bytes(b"no image")
    (tmp_path / "b.jpg").write_bytes(b"")
    clusters = near_duplicate_clusters([*paths, tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert clusters.tolist() == [*people, 12, 13]


def test_images_smaller_than_the_thumbnail(tmp_path):
    small = [np.stack([cv2.resize(i, (22, 26)) for i in head(seed)]) for seed in range(12)]
    paths, people = save(tmp_path, small)
    assert near_duplicate_clusters(paths).tolist() == people.tolist()


def test_images_larger_than_the_thumbnail(tmp_path):
    large = [np.stack([cv2.resize(i, (176, 208)) for i in head(seed)]) for seed in range(12)]
    paths, people = save(tmp_path, large)
    assert near_duplicate_clusters(paths).tolist() == people.tolist()


def test_few_images(heads):
    paths, people = heads
    assert near_duplicate_clusters(paths[:20]).tolist() == people[:20].tolist()


def test_no_image_no_cluster():
    assert near_duplicate_clusters([]).shape == (0,)
