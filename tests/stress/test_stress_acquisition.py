"""What scanners do to scans: air stays air, stronger is more, known voxels go where they should."""

from dataclasses import replace

import numpy as np
import pytest

from src.preprocessing.space.template import template
from src.stressing.acquisition import NUISANCES, brain_of, outline, region_replaced
from src.stressing.scans import OpenScan

EDGES = (2.0, 1.5, 1.0)
TOP = 100.0
#: Those that move what is air, or fill it.
MOVE = {"shift", "rotate", "size", "anatomy", "flip", "air", "slices"}
ALL = [name for name, one in NUISANCES.items() if not one.placed]


def open_scan(data, edges=EDGES, name="a_1"):
    return OpenScan(
        *(name, "a", 0, np.asarray(data, np.float32), np.diag([*edges, 1.0]), TOP, ()),
        make=lambda changed: (changed, ()),
    )


def head():
    """Return a scan of texture in an ellipsoid to one side, at most as bright as `TOP`."""
    shape = (33, 36, 38)
    at = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(((at[0] - 0.1) / 0.6) ** 2 + (at[1] / 0.7) ** 2 + ((at[2] + 0.1) / 0.7) ** 2)
    grain = np.random.default_rng(0).uniform(-15, 15, shape)
    texture = 60 + 20 * np.sin(5 * at[0] + 3 * at[1]) + grain
    return open_scan(np.where(radius < 1, texture, 0))


def block(hot, shape=(13, 15, 11), edges=(2.0, 1.0, 1.0)):
    """Return a scan of 10 everywhere, with one voxel of 90, counted from the middle."""
    data = np.full(shape, 10.0)
    data[place(hot, shape)] = 90
    return open_scan(data, edges)


def place(hot, shape=(13, 15, 11)):
    return tuple(step + edge // 2 for step, edge in zip(hot, shape, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_each_changes_something_and_more_when_stronger_and_the_same_again(name):
    scan, one = head(), NUISANCES[name]
    before = scan.data.copy()
    made = [one.apply(scan, strength, None) for strength in one.strengths]
    off = [np.abs(found - before).mean() for found in made]
    assert off[0] > 0.01
    assert (np.diff(off) > 0).all()
    for found, strength in zip(made, one.strengths, strict=True):
        assert found.dtype == np.float32
        assert found.min() >= 0
        assert found.tobytes() == one.apply(head(), strength, None).tobytes()
        if name not in MOVE:
            assert (found[~scan.inside] == 0).all()
    np.testing.assert_array_equal(scan.data, before)  # the scan itself is not written to


@pytest.mark.parametrize("name", ["bias", "noise", "motion"])
def test_another_persons_noise_is_another(name):
    scan, one = head(), NUISANCES[name]
    other = replace(scan, name="b_1")
    first, second = (one.apply(each, one.strengths[1], None) for each in (scan, other))
    assert not np.array_equal(first, second)


def test_gain_and_gamma_are_of_every_voxel():
    scan = head()
    np.testing.assert_allclose(NUISANCES["gain"].apply(scan, 1.5, None), 1.5 * scan.data, rtol=1e-5)
    expected = TOP * (scan.data / TOP) ** np.exp(0.2)
    np.testing.assert_allclose(NUISANCES["gamma"].apply(scan, 0.2, None), expected, rtol=1e-4)


def test_a_bias_field_is_smooth_and_as_strong_as_told():
    scan = head()
    factor = NUISANCES["bias"].apply(scan, 20, None)[scan.inside] / scan.data[scan.inside]
    unclipped = NUISANCES["bias"].apply(scan, 20, None)[scan.inside] < TOP
    assert factor[unclipped].max() <= 1.2 + 1e-5
    assert factor.min() >= 1 / 1.2 - 1e-5
    assert np.ptp(factor) > 0.1


def test_noise_has_the_spread_that_it_is_told_in():
    scan = open_scan(np.full((30, 31, 32), 60.0))
    noise = NUISANCES["noise"].apply(scan, 3, None) - scan.data
    assert noise.std() == pytest.approx(3, rel=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("mm", [2.0, 6.0])
def test_a_shift_is_whole_voxels_to_the_left(mm):
    scan, steps = head(), int(mm / EDGES[0])
    found = NUISANCES["shift"].apply(scan, mm, None)
    np.testing.assert_allclose(found[:-steps], scan.data[steps:], atol=1e-4)
    assert (found[-steps:] == 0).all()


def test_a_turn_is_about_the_middle_in_millimetres():
    # 4 mm to the right and 6 to the front come to lie 6 to the right and 4 to the back.
    found = NUISANCES["rotate"].apply(block((2, 6, 1)), 90, None)
    assert found[place((3, -4, 1))] == pytest.approx(90, abs=0.01)
    assert (found > 60).sum() == 1


def test_a_head_of_twice_the_size_has_everything_twice_as_far_from_the_middle():
    found = NUISANCES["size"].apply(block((-2, 3, 1)), 100, None)
    assert found[place((-4, 6, 2))] == pytest.approx(90, abs=0.01)
    assert found[place((-2, 3, 1))] == pytest.approx(10, abs=0.01)
    at = found[place((-3, 6, 2))]  # half a voxel away
    assert at == pytest.approx(10 + 0.6 * 80, abs=0.1)  # the cardinal cubic spline at a half


def test_left_and_right_are_exchanged():
    scan = head()
    np.testing.assert_allclose(NUISANCES["flip"].apply(scan, 1, None), scan.data[::-1], rtol=1e-5)


def test_air_is_as_bright_as_told_and_the_head_as_it_was():
    scan = head()
    found = NUISANCES["air"].apply(scan, 5, None)
    np.testing.assert_allclose(found[~scan.inside], 5, rtol=1e-5)
    np.testing.assert_allclose(found[scan.inside], scan.data[scan.inside], rtol=1e-5)


def test_ghosts_are_copies_a_quarter_further_along_the_phase_axis():
    scan = head()
    found = NUISANCES["ghosts"].apply(scan, 10, None)
    x, y, z = np.argwhere(scan.inside & np.roll(scan.inside, 9, axis=1))[50]
    assert scan.data.shape[1] == 36
    expected = scan.data[x, y, z] + 0.1 * scan.data[x, y - 9, z]
    assert found[x, y, z] == pytest.approx(expected, rel=1e-4)


def test_slices_taken_lower_show_everything_higher():
    scan = open_scan(head().data, (2, 1.5, 2.0))
    found = NUISANCES["slices"].apply(scan, 4, None)  # two slices of 2 mm
    np.testing.assert_allclose(found[:, :, 2:], scan.data[:, :, :-2], rtol=1e-5)
    np.testing.assert_allclose(found[:, :, 0], scan.data[:, :, 0], rtol=1e-5)
    np.testing.assert_allclose(found[:, :, 1], scan.data[:, :, 0], rtol=1e-5)


def test_a_field_of_view_that_ends_early_loses_the_top_of_the_head():
    scan = open_scan(head().data, (2, 1.5, 2.0))
    top = np.flatnonzero(scan.inside.any(axis=(0, 1)))[-1]
    assert top < scan.data.shape[2] - 2  # there is air above it
    found = NUISANCES["crop"].apply(scan, 10, None)
    np.testing.assert_allclose(found[:, :, : top - 4], scan.data[:, :, : top - 4], rtol=1e-5)
    assert (found[:, :, top - 4 :] == 0).all()
    assert (NUISANCES["crop"].apply(scan, 500, None) == 0).all()


@pytest.mark.slow  # opens the template
def test_defacing_cuts_along_one_plane_in_front_and_below():
    brain = template().brain
    mm = np.argwhere(brain) @ template().affine[:3, :3].T + template().affine[:3, 3]
    ahead = (mm[:, 1] - mm[:, 2]) / np.sqrt(2)
    to_mni = np.diag([-3.0, 2.5, 2.0, 1])  # X to the left
    to_mni[:3, 3] = (90, -110, -70)
    scan = open_scan(np.full((60, 80, 75), 50.0), (3, 2.5, 2))
    cut = []
    for strength in (0, 5, 10):
        found = NUISANCES["deface"].apply(scan, strength, to_mni)
        _, y, z = np.indices(scan.data.shape)
        there = ((-110 + 2.5 * y) - (-70 + 2.0 * z)) / np.sqrt(2)
        edge = np.abs(there - (ahead.max() - strength)) < 1e-3
        expected = np.where(there > ahead.max() - strength, 0, 50.0)
        np.testing.assert_allclose(found[~edge], expected[~edge])
        cut.append(int((found[brain_of(scan, to_mni)] == 0).sum()))
    assert cut[0] < cut[1] < cut[2]


def test_a_region_is_replaced_where_it_lies_and_never_in_air():
    scan = head()
    mask, mean = np.zeros((2, *scan.data.shape), np.float32)
    mask[:20], mask[20] = 1, 0.5
    mean[:] = 0.4
    found = region_replaced(scan, mask, mean)
    assert (found[~scan.inside] == 0).all()
    np.testing.assert_allclose(found[:20][scan.inside[:20]], 0.4 * TOP, rtol=1e-5)
    np.testing.assert_allclose(found[21:], scan.data[21:], rtol=1e-5)
    half = scan.inside[20]
    np.testing.assert_allclose(found[20][half], scan.data[20][half] / 2 + 20, rtol=1e-5)


def test_an_outline_has_one_brightness():
    scan = head()
    found = outline(scan)
    assert (found[~scan.inside] == 0).all()
    np.testing.assert_allclose(found[scan.inside], scan.data[scan.inside].mean(), rtol=1e-5)
