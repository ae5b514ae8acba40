"""Shares of a map in small regions, counted by hand."""

import numpy as np
import pytest

from src.errors import ImageError
from src.maps.regions.atlas import Atlas
from src.maps.regions.shares import OUTSIDE, REST, region_coverage, region_shares, row_names

SHAPE = (10, 6, 4)


def small() -> tuple[Atlas, np.ndarray]:
    """Return an atlas of two regions and a brain of 8 x 6 x 4 voxels."""
    labels = np.zeros(SHAPE, np.int16)
    labels[0:4], labels[4:6] = 1, 2  # 96 and 48 voxels
    brain = np.zeros(SHAPE, bool)
    brain[0:8] = True  # 48 of no region, 48 outside
    return Atlas(("front", "back"), labels, "made by hand"), brain


def shares(values, covered=None):
    atlas, brain = small()
    covered = np.ones(SHAPE, bool) if covered is None else covered
    found = region_shares(values, covered, atlas, brain)
    return [dict(zip(row_names(atlas), one, strict=True)) for one in found]


def test_even_map_has_the_share_of_its_volume():
    share, volume = shares(np.full(SHAPE, 7.0))
    expected = {"front": 96 / 192, "back": 48 / 192, REST: 48 / 192, OUTSIDE: 48 / 240}
    assert volume == pytest.approx(expected)
    assert share == pytest.approx(expected)


def test_attribution_is_shared_among_the_brain_and_the_outside_has_its_own():
    values = np.zeros(SHAPE)
    values[0, 0, 0], values[5, 1, 2], values[7, 3, 3], values[9, 5, 1] = 3, 1, 4, 8
    share, _ = shares(values)
    assert share == pytest.approx({"front": 3 / 8, "back": 1 / 8, REST: 4 / 8, OUTSIDE: 8 / 16})


def test_region_that_is_not_in_this_brain_counts_as_outside():
    atlas, brain = small()
    brain[0:2] = False
    values = np.zeros(SHAPE)
    values[1, 2, 3], values[3, 0, 0] = 5, 5
    share, volume = region_shares(values, np.ones(SHAPE, bool), atlas, brain)
    np.testing.assert_allclose(share, [1, 0, 0, 0.5])
    np.testing.assert_allclose(volume, [48 / 144, 48 / 144, 48 / 144, 96 / 240])


def test_only_the_field_of_view_counts():
    covered = np.zeros(SHAPE, bool)
    covered[3:9] = True
    values = np.ones(SHAPE)
    values[0:3] = 100  # not in the field of view
    share, volume = shares(values, covered)
    expected = {"front": 24 / 120, "back": 48 / 120, REST: 48 / 120, OUTSIDE: 24 / 144}
    assert share == pytest.approx(expected)
    assert volume == pytest.approx(expected)


def test_region_of_which_only_the_edge_is_seen_is_unknown():
    atlas, _ = small()
    covered = np.zeros(SHAPE, bool)
    covered[3:9] = True
    covered[3] = False
    covered[3, 0, :], covered[3, 1, :3] = True, True  # 7 of 96 voxels
    np.testing.assert_allclose(region_coverage(covered, atlas), [7 / 96, 1])
    share, volume = shares(np.ones(SHAPE), covered)
    assert np.isnan(share["front"])
    assert np.isnan(volume["front"])
    assert share["back"] == pytest.approx(48 / 103)  # the edge is brain all the same
    covered[3] = True
    assert shares(np.ones(SHAPE), covered)[0]["front"] == pytest.approx(24 / 120)


def test_empty_map_says_nothing_of_shares():
    share, volume = shares(np.zeros(SHAPE))
    assert np.isnan(list(share.values())).all()
    assert volume["front"] == pytest.approx(0.5)


def test_map_that_is_all_outside_has_no_shares_in_the_brain():
    values = np.zeros(SHAPE)
    values[9] = 1
    share, _ = shares(values)
    assert share[OUTSIDE] == 1
    assert np.isnan(share["back"])


def test_what_is_not_covered_may_hold_anything():
    covered = np.ones(SHAPE, bool)
    covered[:, :, 0] = False
    values = np.ones(SHAPE, np.float32)
    values[:, :, 0] = np.nan
    assert shares(values, covered)[0]["front"] == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_map_that_is_no_map_is_refused(bad):
    values = np.ones(SHAPE)
    values[4, 2, 1] = bad
    with pytest.raises(ImageError, match="finite and not negative"):
        shares(values)


def test_shapes_must_be_one_and_the_brain_seen():
    atlas, brain = small()
    with pytest.raises(ImageError, match="differ in shape"):
        region_shares(np.ones((6, 10, 4)), np.ones(SHAPE, bool), atlas, brain)
    with pytest.raises(ImageError, match="no brain"):
        region_shares(np.ones(SHAPE), ~brain, atlas, brain)
