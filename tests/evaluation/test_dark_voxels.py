"""Shares of dark voxels in pictures whose share is known, and the brain against scipy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from src.data.image_cache import ImageCache
from src.errors import DataNotFoundError, ImageError
from src.evaluation.analyses import dark_voxels
from src.evaluation.analyses.dark_voxels import dark_fractions
from src.evaluation.analyses.image_measures import measure_images
from src.manifest import Manifest


def measure_dark_voxels(manifest: Manifest, cache: ImageCache | None = None) -> pd.DataFrame:
    return measure_images(manifest, cache).filter(like="dark_")


def _disc(shape=(90, 70), radius: float = 30, inner: float = 0, level: int = 0) -> np.ndarray:
    """A bright disc with a darker one of radius `inner` in it."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(y - shape[0] // 2, x - shape[1] // 2)
    image = np.where(distance < radius, 200, 0)
    return np.where(distance < inner, level, image).astype(np.uint8)


def _share(inner: float, radius: float = 30) -> float:
    """The exact share of pixels: those of the inner disc over those of the whole one."""
    return float((_disc(radius=inner) > 0).sum() / (_disc(radius=radius) > 0).sum())


@pytest.mark.parametrize("level", [0, 5, 60, 89])
@pytest.mark.parametrize("inner", [5.0, 12.0])
def test_fluid_counts_as_brain_even_where_it_is_black(level: int, inner: float) -> None:
    found = dark_fractions(_disc(inner=inner, level=level))
    assert found.shape == (1,)
    assert found[0] == pytest.approx(_share(inner))


def test_dark_is_under_45_percent_of_bright_tissue() -> None:
    assert dark_fractions(_disc(inner=12, level=89))[0] > 0  # .445 of 200
    assert dark_fractions(_disc(inner=12, level=91))[0] == 0


def test_the_brightness_of_a_slice_does_not_count() -> None:
    image = _disc(inner=12, level=60)
    np.testing.assert_allclose(dark_fractions(image // 2), dark_fractions(image))


def test_bright_tissue_is_the_90th_percentile_and_not_the_brightest_voxel() -> None:
    image = _disc(inner=12, level=100)  # .5 of the tissue, .39 of the vessel
    image[45, 8:14] = 255
    assert dark_fractions(image)[0] == 0
    image[image == 200] = np.where(np.arange((image == 200).sum()) % 8, 200, 240)
    assert dark_fractions(image)[0] == pytest.approx(_share(12), abs=1e-3)  # 100 is .42 of 240


def test_a_narrow_cleft_is_brain_and_a_wide_notch_is_outside() -> None:
    cleft, notch = _disc((200, 150), 60), _disc((200, 150), 60)
    cleft[100:, 74:77] = 0
    notch[100:, 60:90] = 0
    assert dark_fractions(cleft)[0] == pytest.approx(180 / (cleft > 0).sum(), rel=0.2)
    assert dark_fractions(notch)[0] < 0.002


def test_a_brain_that_touches_the_edge_does_not_enclose_the_background() -> None:
    image = np.zeros((80, 60), np.uint8)
    image[:, 20:40] = 200  # from the upper edge to the lower one: air on both sides
    assert dark_fractions(image)[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_brain_agrees_with_scipy(seed: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(120, 95)), 4)
    image = np.where(noise > 0, 150, 0).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    wide = ndimage.binary_closing(np.pad(image > 0, 9), disc.astype(bool))
    expected = ndimage.binary_fill_holes(wide)[9:-9, 9:-9]
    np.testing.assert_array_equal(dark_voxels._brain(image), expected)


def _volume(heights: list[float]) -> np.ndarray:
    """(X, Y, Z): a disc in each slice, with a dark inner disc of that radius; two empty ends."""
    empty = np.zeros((90, 70))
    planes = [empty, *(_disc(inner=inner, level=40) / 255 for inner in heights), empty, empty]
    return np.stack(planes, axis=2).astype(np.float16)


def test_slabs_go_from_bottom_to_top_of_the_brain() -> None:
    found = dark_fractions(_volume([3, 3, 8, 8, 12, 12]), slabs=3)
    np.testing.assert_allclose(found, [_share(3), _share(8), _share(12)])


def test_a_slab_is_one_picture() -> None:
    found = dark_fractions(_volume([3, 12]), slabs=1)
    np.testing.assert_allclose(found, [(_share(3) + _share(12)) / 2])


def test_a_volume_has_16_slabs_unless_its_brain_has_fewer_slices() -> None:
    assert dark_fractions(_volume([3.0] * 20)).shape == (16,)
    assert dark_fractions(_volume([3.0] * 5)).shape == (5,)


def test_no_brain_is_unknown_and_not_bright() -> None:
    assert np.isnan(dark_fractions(np.zeros((20, 30), np.uint8))).all()
    assert np.isnan(dark_fractions(np.zeros((20, 30, 9), np.float16), slabs=4)).tolist() == [1] * 4


@pytest.mark.parametrize("image", [np.zeros((9, 8)), np.zeros((1, 9, 8, 7)), np.zeros(9, np.uint8)])
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="no slice"):
        dark_fractions(image)


def _data_set(root: Path, radii: dict[tuple[str, str], list[float]], shuffle: bool = True):
    """Write slices of dark discs and return their manifest, its rows in no order."""
    rows = []
    for (subject, session), inner in radii.items():
        for number, radius in enumerate(inner):
            name = f"{subject}_{session}_{number:02d}.png"
            cv2.imwrite(str(root / name), _disc(inner=radius, level=50))
            rows.append({"subject": subject, "session": session, "slice": number, "path": name})
    table = pd.DataFrame(rows)
    return Manifest(table.sample(frac=1, random_state=1) if shuffle else table, root)


def test_a_person_has_one_column_per_slice_in_order(tmp_path: Path) -> None:
    manifest = _data_set(tmp_path, {("b", "MR1"): [3, 6, 9], ("a", "MR1"): [12, 5, 8]})
    table = measure_dark_voxels(manifest)
    assert table.index.tolist() == ["a", "b"]
    assert table.index.name == "subject"
    assert table.columns.tolist() == ["dark_00", "dark_01", "dark_02"]
    np.testing.assert_allclose(table.loc["a"], [_share(r) for r in (12, 5, 8)])
    np.testing.assert_allclose(table.loc["b"], [_share(r) for r in (3, 6, 9)])


def test_sessions_are_averaged_each_counting_once(tmp_path: Path) -> None:
    radii = {("a", "MR1"): [3, 6, 9], ("a", "MR2"): [5, 8, 12], ("b", "MR1"): [4, 4, 4]}
    table = measure_dark_voxels(_data_set(tmp_path, radii))
    expected = [(_share(r) + _share(q)) / 2 for r, q in ((3, 5), (6, 8), (9, 12))]
    np.testing.assert_allclose(table.loc["a"], expected)


def test_other_numbers_of_slices_are_interpolated_to_the_median(tmp_path: Path) -> None:
    radii = {("a", "1"): [3, 9], ("b", "1"): [3, 6, 9], ("c", "1"): [3, 5, 6, 7, 9]}
    table = measure_dark_voxels(_data_set(tmp_path, radii))
    assert table.shape == (3, 3)
    np.testing.assert_allclose(table.loc["a"], [_share(3), (_share(3) + _share(9)) / 2, _share(9)])
    np.testing.assert_allclose(table.loc["c"], [_share(3), _share(6), _share(9)])


def test_a_slice_without_brain_is_bridged_by_its_neighbours(tmp_path: Path) -> None:
    manifest = _data_set(tmp_path, {("a", "1"): [3, 6, 9], ("b", "1"): [3, 6, 9]})
    cv2.imwrite(str(tmp_path / "a_1_01.png"), np.zeros((90, 70), np.uint8))
    cv2.imwrite(str(tmp_path / "b_1_00.png"), np.zeros((90, 70), np.uint8))
    table = measure_dark_voxels(manifest)
    np.testing.assert_allclose(table.loc["a"], [_share(3), (_share(3) + _share(9)) / 2, _share(9)])
    np.testing.assert_allclose(table.loc["b"], [_share(6), _share(6), _share(9)])


def test_a_person_without_any_brain_is_unknown(tmp_path: Path) -> None:
    manifest = _data_set(tmp_path, {("a", "1"): [3, 6], ("b", "1"): [3, 6]})
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"a_1_{number:02d}.png"), np.zeros((90, 70), np.uint8))
    table = measure_dark_voxels(manifest)
    assert table.loc["a"].isna().all()
    assert table.loc["b"].notna().all()


def test_volumes_are_measured_by_slab(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", _volume([3] * 16 + [12] * 16))
    manifest = Manifest(
        pd.DataFrame({"subject": ["a"], "session": ["1"], "path": "a.npy"}), tmp_path
    )
    table = measure_dark_voxels(manifest)
    np.testing.assert_allclose(table.loc["a"], [_share(3)] * 8 + [_share(12)] * 8)


def test_images_come_from_the_cache_that_is_given(tmp_path: Path) -> None:
    whole = _data_set(tmp_path, {("a", "1"): [3, 6, 9], ("b", "1"): [3, 6, 8]})
    cache = ImageCache(whole)
    expected = measure_dark_voxels(whole, cache)
    for name in whole.table["path"]:
        (tmp_path / name).unlink()
    part = whole.where(whole.table["subject"] == "b")
    pd.testing.assert_frame_equal(measure_dark_voxels(part, cache), expected.loc[["b"]])


def test_more_disease_is_darker(processed_2d: Path, processed_3d: Path) -> None:
    for folder in (processed_2d, processed_3d):
        manifest = Manifest.read(folder)
        stage = manifest.people()["label"].map(lambda name: name[:2])
        mean = measure_dark_voxels(manifest).mean(axis=1).groupby(stage).mean()
        assert mean["No"] < mean["Ve"] < mean["Mi"] < mean["Mo"]


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    manifest = _data_set(tmp_path, {("a", "1"): [3]})
    (tmp_path / "a_1_00.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a_1_00\.png cannot be read: it is damaged"):
        measure_dark_voxels(manifest)
    (tmp_path / "a_1_00.png").unlink()
    with pytest.raises(DataNotFoundError, match=r"a_1_00\.png"):
        measure_dark_voxels(manifest)
    (tmp_path / "a.npy").write_bytes(b"no volume")
    damaged = Manifest(pd.DataFrame({"subject": ["a"], "path": ["a.npy"]}), tmp_path)
    with pytest.raises(ImageError, match=r"a\.npy is damaged"):
        measure_dark_voxels(damaged)
