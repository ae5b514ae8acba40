"""What is measured of a scan: good copies pass, damage and other contrasts are named."""

import json
from functools import cache

import numpy as np
import pytest
from damaged_heads import (
    brain,
    of_contrast,
    usual_head,
    whole_head,
    with_ghosts,
    with_lines_moved,
    zero_filled,
)
from scipy import ndimage

from src.cohorts.phantom import anatomy
from src.preprocessing.raw import contrast
from src.preprocessing.raw.artefacts import ghosts
from src.preprocessing.raw.brain import find_brain
from src.preprocessing.raw.convert import RawScan
from src.preprocessing.raw.quality import Quality, judge
from src.preprocessing.raw.register import Registration


def placed(data, affine, mask=None, correlation=0.9, place=None):
    mask = data > 0 if mask is None else mask
    there = Registration(np.eye(4) if place is None else place, correlation, False)
    alone = np.where(mask, data, np.float32(0))
    return judge(RawScan(data, affine), alone, mask, there)


def scaled(affine, times):
    return affine @ np.diag([1 / times, 1 / times, 1 / times, 1])


@pytest.mark.slow
def test_a_good_scan_has_no_flag_and_damage_is_named():
    data, affine = brain()
    good = placed(data, affine)
    assert good.failures == good.flags == ()
    volume = (data > 0).sum() * 8 / 1000
    assert good.values["brain_volume_ml"] == pytest.approx(volume, rel=1e-3)
    assert good.values["overlap"] > 0.99
    assert good.values["cut"] == 0
    low = data[:, :, 40:]
    there = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 40], [0, 0, 0, 1.0]])
    assert any("field of view" in why for why in placed(low, there).failures)
    assert any("correlates" in why for why in placed(data, affine, correlation=-0.3).failures)
    small = data * (np.indices(data.shape)[0] < 30)
    assert any("mL" in why for why in placed(small, affine).failures)
    alone = judge(RawScan(data, affine), data, data > 0, None)
    assert alone.values.keys() >= {"cut", "noise"}
    assert not alone.values.keys() & {"correlation", "grey_to_white", "in_template_space"}


def copies():
    """Yield what is done to good brains, and how many times more voxels that makes."""
    yield "linear", 1.25, lambda d: ndimage.zoom(d, 1.25, order=1)
    yield "cubic", 1.25, lambda d: ndimage.zoom(d, 1.25, order=3)
    yield "zero filled", 1.5, lambda d: zero_filled(d, 1.5)
    yield "zero filled twice", 2.0, lambda d: zero_filled(d, 2)
    yield "turned", 1.0, lambda d: ndimage.rotate(d, 8, axes=(0, 1), reshape=False, order=3)
    ways = ((0, 0, 0), (0.5, 0.3, 0.6), (-0.4, 0.5, -0.5), (0.3, -0.6, 0.4))
    yield "mean", 1.0, lambda d: np.mean([ndimage.shift(d, way, order=1) for way in ways], axis=0)


@pytest.mark.slow
@pytest.mark.parametrize(("times", "change"), [pytest.param(*c[1:], id=c[0]) for c in copies()])
def test_a_copy_that_was_resampled_is_as_good(times, change):
    data, affine = brain()
    head, mask = usual_head()
    for scan, inside in ((data, data > 0), (head, mask)):
        made = change(scan).clip(0).astype(np.float32)
        there = change(inside.astype(np.float32)) > 0.5
        seen = judge(RawScan(made, scaled(affine, times)), made * there, there, None)
        assert seen.flags == (), seen.values


@pytest.mark.slow
def test_movement_leaves_ghosts_in_the_air_of_a_head():
    _, affine = brain()
    head, mask = usual_head()
    n = head.shape[1]
    often = np.random.default_rng(2).random(n) < 0.3
    often[n // 2] = False
    late = np.arange(n) > 0.55 * n
    for bad in (
        with_ghosts(head, 0.05),
        with_lines_moved(head, often),
        with_lines_moved(head, late, voxels=4),
    ):
        seen = judge(RawScan(bad, affine), bad * mask, mask, None)
        assert any("ghosts in the air" in flag for flag in seen.flags), seen.values
    assert ghosts(head, mask, np.full(3, 2.0)) < 0.01


def test_ghosts_are_not_judged_where_the_air_was_emptied_or_is_not_there():
    data, _ = brain()
    head, mask = usual_head()
    size = np.full(3, 2.0)
    emptied = np.where(head > 0.1 * head.max(), head, 0)
    assert ghosts(emptied, mask, size) is None
    box = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(mask))
    assert ghosts(head[box], mask[box], size) is None
    assert ghosts(data, data > 0, size) is None


def test_stripes_and_noise_of_a_stripped_brain_are_named():
    data, affine = brain()
    often = np.random.default_rng(2).random(data.shape[0]) < 0.3
    often[data.shape[0] // 2] = False
    moved = np.where(data > 0, with_lines_moved(data, often, axis=0).clip(1), 0)
    flags = judge(RawScan(moved, affine), moved, data > 0, None).flags
    assert any("stripes" in flag for flag in flags)
    noisy = data + np.random.default_rng(0).normal(0, 0.1 * data[data > 0].mean(), data.shape)
    noisy = np.where(data > 0, noisy.clip(1), 0).astype(np.float32)
    flags = judge(RawScan(noisy, affine), noisy, data > 0, None).flags
    assert any("noise of" in flag for flag in flags)


@pytest.mark.parametrize(
    ("fluid", "grey", "white", "looks"),
    [
        pytest.param(0.1, 0.75, 0.65, "FLAIR", id="FLAIR"),
        pytest.param(1.6, 0.8, 0.55, "T2", id="T2"),
        pytest.param(0.95, 1.0, 0.82, "proton density", id="PD"),
        pytest.param(0.3, 0.52, 0.46, "CT", id="CT"),
    ],
)
def test_another_contrast_is_set_aside_and_named(fluid, grey, white, looks):
    seen = placed(of_contrast(fluid, grey, white), brain()[1], correlation=0.6)
    assert any(looks in why and "not a T1" in why for why in seen.failures), seen.values


@pytest.mark.slow
@pytest.mark.parametrize("disease", [0.0, 0.9])
def test_a_t1_of_a_large_ventricle_is_one(disease):
    made = anatomy.deform(2.0, disease, 0.2, np.random.default_rng(3))
    _, affine = anatomy.grid_affine(2.0)
    seen = placed(made.intensity * 1000, affine)
    assert seen.failures == ()
    assert seen.values["grey_to_white"] < 0.85
    assert seen.values["fluid_to_white"] < 0.6


def test_a_contrast_agent_is_flagged():
    data, affine = brain()
    fluid = (data > 0) & (data < 0.5 * data.max())
    wave = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=data.shape), 1.5)
    vessels = fluid & (np.abs(wave) < np.quantile(np.abs(wave), 0.15))
    given = np.where(vessels, 1.6 * np.percentile(data[data > 0], 90), data).astype(np.float32)
    assert 0.01 < vessels.sum() / (data > 0).sum() < 0.03
    seen = placed(given, affine)
    assert any("contrast agent" in flag for flag in seen.flags), seen.values
    assert seen.failures == ()


@pytest.mark.slow
def test_uneven_brightness_is_no_contrast_agent():
    data, affine = brain()
    along = np.linspace(0.6, 1.6, data.shape[1])[None, :, None]
    assert placed((data * along).astype(np.float32), affine).values["bright"] < 0.001


def test_the_volume_of_a_brain_in_template_space_is_nobodys():
    data, affine = brain()
    large = affine.copy()
    large[:3, :3] *= 1.04  # 2,100 mL
    place = np.diag([1.04, 1.04, 1.04, 1])
    assert placed(data, large, place=place).flags == ()
    turn = np.array([[0.96, -0.28, 0, 0], [0.28, 0.96, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    flags = placed(data, turn @ large, place=turn @ place).flags
    assert [flag for flag in flags if "mL" in flag]


def test_quality_survives_its_file():
    quality = Quality({"cut": 0.25}, ("a flag",), ("a failure",))
    assert Quality.from_dict(json.loads(json.dumps(quality.to_dict()))) == quality


@cache
def wide(times):
    """Return a brain whose ventricles were opened so many times, 2 mm, and those ventricles."""
    data, affine = brain()
    points = affine[:3, :3] @ np.indices(data.shape).reshape(3, -1) + affine[:3, 3:]
    for _ in range(times):
        points = points + 0.6 * anatomy.radial(points, *anatomy.VENTRICLES)
    where = np.linalg.inv(affine[:3, :3]) @ (points - affine[:3, 3:])
    deep = ndimage.distance_transform_edt(data > 0, sampling=2) > 20
    parts, count = ndimage.label(deep & (data < 0.45 * data.max()))
    large = np.bincount(parts.ravel(), minlength=count + 1) > 40
    large[0] = False
    laid = [
        ndimage.map_coordinates(values.astype(np.float32), where, order=1).reshape(data.shape)
        for values in (data, data > 0, large[parts])
    ]
    return np.where(laid[1] > 0.5, laid[0].clip(1), 0), laid[2] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("times", "least"), [(0, 1.0), (5, 3.5)])
def test_the_brain_of_wide_ventricles_is_found_with_them(times, least):
    pytest.importorskip("deepbet")
    data, ventricles = wide(times)
    assert ventricles.sum() >= least * wide(0)[1].sum()
    head, truth = whole_head(data, 2.0, np.random.default_rng(1))
    found = find_brain(head)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) >= 0.93
    inside = np.pad(ventricles, 14)
    assert (found & inside).sum() >= 0.99 * inside.sum()


def test_what_lies_around_is_smoothed_as_by_the_filter():
    data = np.random.default_rng(0).random((31, 44, 27), np.float32)
    assert np.abs(contrast._smooth(data) - ndimage.gaussian_filter(data, 10)).max() < 1e-5
