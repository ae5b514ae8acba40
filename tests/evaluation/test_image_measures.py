"""Tissue and maps of pictures whose fluid is planted, and the rivals that are made of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from src.data.image_cache import ImageCache
from src.data.image_file import fingerprint, read_content
from src.evaluation.analyses.dark_voxels import brain_planes
from src.evaluation.analyses.image_measures import measure_images, stored_image_measures
from src.evaluation.analyses.map_score import map_score
from src.evaluation.analyses.rivals import missing_reason, rival_predictions
from src.evaluation.analyses.tissue import csf_to_grey, histogram, tissue_maps
from src.manifest import Manifest

LEVELS = (40, 110, 200)  # CSF, grey, white
SHAPE = (96, 72)


def _head(fluid: float, at=(48, 36), shape=SHAPE, bright: float = 1.0) -> np.ndarray:
    """An ellipse of white matter in a band of grey, with a disc of fluid of radius `fluid`."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    off = np.hypot((y - shape[0] / 2) / (0.45 * shape[0]), (x - shape[1] / 2) / (0.45 * shape[1]))
    image = np.select([off < 0.7, off < 1], [LEVELS[2], LEVELS[1]], 0).astype(np.uint8)
    image[np.hypot(y - at[0], x - at[1]) < fluid] = LEVELS[0]
    return (image * bright).astype(np.uint8)


def _ratio(*images: np.ndarray) -> float:
    """The exact log(CSF / grey) over pictures."""
    fluid, grey = (sum(int((one == level).sum()) for one in images) for level in LEVELS[:2])
    return float(np.log(fluid / grey))


def _volume(fluid: float, at=(48, 36)) -> np.ndarray:
    """(X, Y, Z) of 40 planes of which 24 show a head."""
    empty = np.zeros(SHAPE)
    planes = [empty] * 8 + [_head(fluid, at) / 255] * 24 + [empty] * 8
    return np.stack(planes, axis=2).astype(np.float16)


def _slices(root: Path, people: dict[tuple[str, str], list[float]], prints: bool = False):
    rows = []
    for (subject, session), radii in people.items():
        for number, radius in enumerate(radii):
            name = f"{subject}_{session}_{number}.png"
            cv2.imwrite(str(root / name), _head(radius))
            rows.append({"subject": subject, "session": session, "slice": number, "path": name})
    table = pd.DataFrame(rows).sample(frac=1, random_state=2)
    if prints:
        table["fingerprint"] = [fingerprint(read_content(root / name)) for name in table["path"]]
    return Manifest(table, root)


@pytest.mark.parametrize("bright", [1.0, 0.6])
@pytest.mark.parametrize("noise", [0, 9])
def test_fluid_over_grey_is_as_planted_whatever_the_brightness(bright: float, noise: int) -> None:
    image = _head(11, bright=bright)
    rough = image + np.random.default_rng(0).normal(0, noise * bright, SHAPE) * (image > 0)
    planes, brain = brain_planes(np.clip(rough, image > 0, 255).astype(np.uint8))
    assert csf_to_grey(histogram(planes, brain)) == pytest.approx(_ratio(_head(11)), abs=0.03)


def test_without_a_brain_or_without_three_levels_it_is_unknown() -> None:
    for image in (np.zeros(SHAPE, np.uint8), np.full(SHAPE, 90, np.uint8)):
        planes, brain = brain_planes(image)
        counts = histogram(planes, brain)
        assert np.isnan(csf_to_grey(counts))
    planes, brain = brain_planes(np.zeros(SHAPE, np.uint8))
    assert np.isnan(tissue_maps(planes, brain, histogram(planes, brain), 1)).all()


def test_slices_of_a_session_are_pooled_and_sessions_averaged(tmp_path: Path) -> None:
    people = {("b", "1"): [6, 9, 14], ("a", "1"): [6, 6, 8], ("a", "2"): [9, 6, 9]}
    table = measure_images(_slices(tmp_path, people))
    assert table.index.tolist() == ["a", "b"]
    first, second, third = (_ratio(*map(_head, radii)) for radii in people.values())
    assert table.loc["b", "csf_grey"] == pytest.approx(first)
    assert table.loc["a", "csf_grey"] == pytest.approx((second + third) / 2)


def test_volumes_have_the_ratio_of_the_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", _volume(12))
    rows = pd.DataFrame({"subject": ["a"], "session": ["1"], "path": ["a.npy"]})
    table = measure_images(Manifest(rows, tmp_path))
    assert table.loc["a", "csf_grey"] == pytest.approx(_ratio(_head(12)))
    assert table.filter(like="dark_").shape == (1, 16)


def test_a_map_of_a_slice_is_bright_where_fluid_is() -> None:
    """96 x 72 pixels are 16 x 12 cells of 12 mm; fluid at (30, 54) is in cell (5, 9)."""
    planes, brain = brain_planes(_head(9, at=(30, 54)))
    grey, fluid = tissue_maps(planes, brain, histogram(planes, brain), 1).reshape(2, 16, 12)
    assert np.unravel_index(fluid.argmax(), fluid.shape) in {(4, 8), (4, 9), (5, 8), (5, 9)}
    assert fluid.max() > 0.95
    assert fluid[12, 2] < 0.01
    assert grey[8, 6] < 0.01 < grey[8, 0]
    assert ((grey >= 0) & (fluid >= 0) & (grey + fluid <= 1.01)).all()


def test_a_map_is_smoothed_by_12_of_192_millimetres() -> None:
    image = np.full((96, 72), LEVELS[1], np.uint8)
    image[:, 36:] = LEVELS[2]
    image[:12] = LEVELS[0]
    planes = image[None]
    found = tissue_maps(planes, planes > 0, histogram(planes, planes > 0), 1).reshape(2, 16, 12)
    # A step through a Gaussian of 12 mm, half a cell (6 mm) on either side of it.
    np.testing.assert_allclose(found[0, 8, 5:7], [0.8804, 0.1196], atol=0.01)


def test_a_map_of_a_volume_has_planes_from_bottom_to_top() -> None:
    volume = _volume(9, at=(30, 54))
    volume[..., 8:20] = (_head(0.1) / 255).astype(np.float16)[..., None]
    planes, brain = brain_planes(volume)
    fluid = tissue_maps(planes, brain, histogram(planes, brain)).reshape(2, 7, 16, 12)[1]
    place = np.unravel_index(fluid.argmax(), fluid.shape)
    assert place[0] in (4, 5)  # planes 20 to 32 of 40
    assert place[1:] in {(4, 8), (4, 9), (5, 8), (5, 9)}


def test_slices_are_averaged_in_four_parts_in_order(tmp_path: Path) -> None:
    radii = [0.1, 4, 6, 8, 10, 12, 14, 16]
    table = measure_images(_slices(tmp_path, {("a", "1"): radii, ("b", "1"): radii[::-1]}))
    seen = [brain_planes(_head(radius)) for radius in radii]
    planes, brain = (np.concatenate(s) for s in zip(*seen, strict=True))
    fluid = tissue_maps(planes, brain, histogram(planes, brain), 4).reshape(2, 4, 16, 12)[1]
    assert (np.diff(fluid.sum(axis=(1, 2))) > 1).all()
    other = measure_images(_slices(tmp_path, {("c", "1"): radii[:2], ("d", "1"): radii}))
    assert other.filter(like="tissue_").notna().all(axis=None)
    assert len(table.filter(like="tissue_").columns) > 300


def test_what_is_kept_is_read_again_with_the_same_numbers(tmp_path, caplog) -> None:
    people = {("a", "1"): [6, 9], ("a", "2"): [7, 8], ("b", "1"): [4, 12]}
    manifest = _slices(tmp_path, people, prints=True)
    cache = ImageCache(manifest)
    first = stored_image_measures(manifest, cache)
    cache.read = None  # type: ignore[assignment, method-assign]
    pd.testing.assert_frame_equal(stored_image_measures(manifest, cache), first)
    maps = next((tmp_path / ".features").glob("tissue_maps_*.npy"))
    for damage in (b"no array", maps.read_bytes()[:-8]):
        maps.write_bytes(damage)
        caplog.clear()
        again = stored_image_measures(manifest, ImageCache(manifest))
        pd.testing.assert_frame_equal(again, first)
        assert "is damaged" in caplog.text
    np.save(maps, np.full((2, 9), 7, np.float32))
    pd.testing.assert_frame_equal(stored_image_measures(manifest, ImageCache(manifest)), first)


def _folds(labels: pd.Series):
    return [(labels.index[np.arange(len(labels)) % 3 != f], labels.index[f::3]) for f in range(3)]


def _auc(table: pd.DataFrame, labels: pd.Series) -> float:
    rows = rival_predictions(table, labels, _folds(labels), 2)
    return float(roc_auc_score(rows.labels, rows.probabilities[:, 1]))


def test_growth_in_one_place_is_seen_by_maps_and_not_by_the_ratio(tmp_path: Path) -> None:
    """Fluid of the same amount, low in the healthy and high in the ill: only its place tells."""
    rng, rows = np.random.default_rng(5), []
    for person in range(36):
        place = (36, 36) if person % 2 else (60, 36)
        name = f"{person:02d}.png"
        cv2.imwrite(
            str(tmp_path / name), _head(rng.uniform(6, 10), np.add(place, rng.normal(0, 1, 2)))
        )
        rows.append({"subject": name[:2], "session": "1", "slice": 0, "path": name})
    table = measure_images(Manifest(pd.DataFrame(rows), tmp_path))
    labels = pd.Series(np.arange(36) % 2, table.index)
    assert _auc(table.filter(like="tissue_"), labels) > 0.95
    assert 0.2 < _auc(table[["csf_grey"]], labels) < 0.8


def test_more_fluid_is_seen_by_both(tmp_path: Path) -> None:
    rng, people = np.random.default_rng(5), {}
    for person in range(30):
        people[f"{person:02d}", "1"] = [*(rng.uniform(6, 9, 2) + 3 * (person % 2))]
    table = measure_images(_slices(tmp_path, people))
    labels = pd.Series(np.arange(30) % 2, table.index)
    assert _auc(table[["csf_grey"]], labels) > 0.9
    assert _auc(table.filter(like="tissue_"), labels) > 0.9


def test_maps_of_noise_tell_nothing_and_not_the_wrong_way_round() -> None:
    names = [f"tissue_{cell:04d}" for cell in range(200)]
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        labels = pd.Series(rng.permutation(60) % 4 // 3, [f"p{n}" for n in range(60)])
        found.append(_auc(pd.DataFrame(rng.normal(size=(60, 200)), labels.index, names), labels))
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_the_ridge_is_that_of_every_cell() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1, 2], (20, 12, 8))
    x = rng.normal(size=(40, 90)) + 0.2 * y[:, None]
    asked, part = rng.normal(size=(7, 90)), np.arange(40) % 5
    held, said = map_score(x, y, asked, part)
    weight = 40 / (3 * np.bincount(y))[y]
    fits = [
        Ridge(alpha).fit(x, y - 1.0, weight)
        for alpha in np.array([10.0**p for p in range(-3, 4)]) * ((x - x.mean(0)) ** 2).sum() / 40
    ]
    middle = weight @ x / weight.sum()
    assert any(np.allclose(said[:, 0], (asked - middle) @ fit.coef_) for fit in fits)
    assert np.isfinite(held).all()


def test_a_class_that_the_rest_lacks_has_no_score() -> None:
    y = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    x = np.random.default_rng(0).normal(size=(11, 30))
    held, _ = map_score(x, y, x[:2], np.arange(11) % 5)
    assert np.isnan(held[:, 0]).tolist() == [False] * 10 + [True]
    assert not map_score(x, np.zeros(11, int), x[:2], np.arange(11) % 5)[1].any()


def test_images_not_measured_and_maps_of_too_few_are_reasons() -> None:
    assert missing_reason(None, [], ["a"]) == "the processed images were not measured"
    table = pd.DataFrame({"csf_grey": [np.nan, 0.1], "tissue_0000": [np.nan, 0.2]}, ["a", "b"])
    said = [missing_reason(table, [name], ["a", "b"]) for name in table]
    assert said == [
        "ratios of CSF to grey matter are missing for 1 of 2 people",
        "tissue maps are missing for 1 of 2 people",
    ]
