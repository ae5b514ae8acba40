"""Mean maps of groups against NumPy on the stacked maps; 3 x 4 x 5 voxels."""

from __future__ import annotations

import numpy as np
import pytest

from src.maps.groups import Collected, RunningMean, times_average
from src.maps.regions.atlas import coarse_atlas
from src.preprocessing.space.grid import Frame, PlacedVolume
from src.preprocessing.space.placement import Placement
from src.preprocessing.space.template import template

SHAPE = (3, 4, 5)


def test_mean_and_sd_equal_those_of_the_stack():
    maps = np.random.default_rng(0).random((7, *SHAPE)).astype(np.float32) + 100
    group = RunningMean("wrong", SHAPE)
    for number, one in enumerate(maps):
        group.add(f"p{number // 2}", one, np.ones(SHAPE, bool))
    assert group.n_people == 4
    assert group.mean == pytest.approx(maps.mean(axis=0), rel=1e-6)
    assert group.sd == pytest.approx(maps.std(axis=0, ddof=1), rel=1e-3)


def test_places_that_a_scan_does_not_cover_do_not_count():
    group, covered = RunningMean("all", SHAPE), np.ones(SHAPE, bool)
    covered[:, :, 0] = False
    for value in (2, 4, 6):
        group.add(str(value), np.full(SHAPE, value, np.float32), covered)
    group.add("whole", np.full(SHAPE, 8, np.float32), np.ones(SHAPE, bool))
    assert group.mean[0, 0, 1] == pytest.approx(5)
    assert np.isnan(group.mean[0, 0, 0])  # one of four is not half
    assert np.isnan(group.sd[0, 0, 0])
    assert group.sd[0, 0, 1] == pytest.approx(np.std([2, 4, 6, 8], ddof=1))


def test_one_map_has_no_spread():
    group = RunningMean("one", SHAPE)
    group.add("p", np.full(SHAPE, 3, np.float32), np.ones(SHAPE, bool))
    assert group.mean.min() == 3
    assert np.isnan(group.sd).all()


def test_a_map_is_told_in_times_its_brains_average():
    values, brain = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    brain[0] = True
    values[0, 0, 0], values[2] = 5, 100  # what lies outside does not change the unit
    found = times_average(values, brain)
    assert found[0, 0, 0] == pytest.approx(20)
    assert found[brain].mean() == pytest.approx(1)
    assert times_average(values * 0, brain) is None


@pytest.mark.slow
def test_a_person_of_two_sessions_counts_once_in_the_mean_maps():
    atlas = coarse_atlas()
    frame = Frame(template().t1.shape, template().affine, template().affine)
    collected = Collected(Placement(np.eye(4), 1.0, ""), atlas, ["well", "ill"])
    front, back = np.zeros(frame.shape, np.float32), np.zeros(frame.shape, np.float32)
    front[:, 60:], back[:, :60] = 1, 1
    image = PlacedVolume(template().t1.astype(np.float32), np.eye(4), frame)
    for subject, values in (("a", front), ("a", back), ("b", front)):
        collected.add(subject, 1, True, image, image.replaced(values))
    group = collected.groups["ill, correct"]
    assert group.n_people == 2
    alone = Collected(Placement(np.eye(4), 1.0, ""), atlas, ["well", "ill"])
    alone.add("b", 1, True, image, image.replaced(front))
    assert np.allclose(group.mean, alone.groups["ill"].mean)
    assert collected.subjects == ["a", "a", "b"]  # the region table weighs sessions itself
