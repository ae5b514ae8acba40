"""Training people sent the way of new scans, and the grid and the mask that scans share."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from laid_people import VOLUME, head, laid_data

from src.cohorts.pictures import jpeg_quality
from src.data.sessions import images_of, make_session, rows_by_session
from src.errors import CheckpointError, ImageError
from src.training import arrival
from src.training.arrival import Arrival
from src.training.look import Picture
from src.training.shared_grid import TrainingFrame, training_frame

KINDS = {
    "pictures": {"cohort": "kaggle_orig", "quality": 75},
    "dense": {"num_slices": 60},
    "volumes": {"dim": "3d"},
    "volumes cut one by one": {"dim": "3d", "own_mask": True},
    "sparse": {"num_slices": 5},
}


def way_of(data):
    return Arrival.of(data, TrainingFrame.from_dict(training_frame(data)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return kind -> data set and the way of new scans to it, made when it is asked for."""
    kept = {}

    def give(kind):
        if kind not in kept:
            data = laid_data(tmp_path_factory.mktemp(kind), **KINDS[kind])
            kept[kind] = data, way_of(data)
        return kept[kind]

    return give


def alike(one, other):
    return np.corrcoef(one.numpy().ravel(), other.numpy().ravel())[0, 1]


class Drawn:
    """Draws what it is told: turns in degrees, logarithms of sizes, shifts in mm, a blur."""

    def __init__(self, turn=(0, 0, 0), size=(0, 0, 0), shift=(0, 0, 0), blur=0.0):
        self.next = [np.array(turn, float), np.array(size, float), np.array(shift, float)]
        self.blur = blur

    def uniform(self, low, high):
        return self.blur

    def normal(self, mean, sd, n):
        return self.next.pop(0)


def moved(made, kind, **drawn):
    data, way = made(kind)
    session = make_session(data, *next(iter(rows_by_session(data))))
    images = images_of(data, session)
    return images, way.images(images, session, Drawn(**drawn))


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_that_is_not_moved_comes_back(made, kind):
    images, back = moved(made, kind)
    assert back.shape == images.shape
    assert alike(images, back) > 0.99


@pytest.mark.parametrize("kind", ["pictures", "dense", "volumes"])
def test_a_brain_is_turned_and_scaled_about_its_own_middle(made, kind):
    frame = made(kind)[1].frame
    shape = np.array(frame.frame.shape)
    filled = np.argwhere(frame.mean > 0.1 * frame.mean.max()).mean(axis=0)
    middle = (np.linalg.inv(frame.frame.to_ras) @ frame.to_ras @ [*filled, 1])[:3]
    motion = arrival._motion(frame, np.array([20, -9, 14]), np.array([0.1, 0, 0.2]), np.zeros(3))
    np.testing.assert_allclose(motion @ [*middle, 1], [*middle, 1], atol=1e-6)
    corner = (motion @ [0, 0, 0, 1])[:3]
    assert np.linalg.norm(corner) > 0.05 * shape.max()
    shifted = arrival._motion(frame, np.zeros(3), np.zeros(3), np.array([4.0, -2, 1]))
    mm = (frame.frame.to_ras @ shifted @ np.linalg.inv(frame.frame.to_ras))[:3, 3]
    np.testing.assert_allclose(mm, [4, -2, 1], atol=1e-9)


def test_a_shift_is_in_millimetres_and_the_same_in_every_slice(made):
    images, back = moved(made, "dense", shift=(3.8, 0, 0))  # 2 voxels of 1.9 mm: 2.1 pixels
    inner = (slice(None), 0, slice(20, 44), slice(20, 44))
    found = []
    for pixels in range(-4, 5):
        rolled = np.roll(images.numpy(), pixels, axis=3)[inner]
        found.append(np.corrcoef(rolled.ravel(), back.numpy()[inner].ravel())[0, 1])
    assert abs(int(np.argmax(found)) - 4) == 2
    assert max(found) > 0.95


def test_sparse_slices_move_in_their_plane_only(made):
    data, way = made("sparse")
    session = make_session(data, *next(iter(rows_by_session(data))))
    images = images_of(data, session)
    alone = torch.zeros_like(images)
    alone[2] = images[2]
    drawn = {"turn": (4, 30, 30), "shift": (4.6, 0, 50)}
    back = way.images(alone, session, Drawn(**drawn))
    assert back.shape == images.shape
    assert back[2].any()
    assert not back[[0, 1, 3, 4]].any()
    assert 0.5 < alike(images[2], back[2]) < 0.98
    same = way.images(images, session, Drawn())
    assert alike(images, same) > 0.999


def test_brains_cut_with_one_mask_are_cut_with_it_after_the_motion(made):
    data, way = made("dense")
    assert way.frame.mask is not None
    session = make_session(data, *next(iter(rows_by_session(data))))
    images, back = moved(made, "dense", shift=(11.4, 0, 0))
    own = replace(way, frame=replace(way.frame, mask=None))
    uncut = own.images(images, session, Drawn(shift=(11.4, 0, 0)))
    assert outside(images, back) < 0.06 < 0.12 < outside(images, uncut)


def outside(images, back):
    """Return the share of a moved brain that lies where there was none before."""
    return float((back[images == 0] > 0).sum() / (back > 0).sum())


@pytest.mark.parametrize(("size", "loses"), [(104, False), (32, True)])
def test_images_coarser_than_their_scan_lose_detail(tmp_path, size, loses):
    data = laid_data(tmp_path, num_slices=60, image_size=size)
    session = make_session(data, *next(iter(rows_by_session(data))))
    assert way_of(data).loses_detail(session) == loses


def test_one_more_interpolation_softens(made):
    sharp, soft = (moved(made, "dense", blur=blur)[1] for blur in (0.0, 0.5))
    detail = [of.strengths(of.bands(of.data)[0])[0] for of in map(Picture, (sharp, soft))]
    assert detail[1] < detail[0] - 0.03


def test_a_scan_of_which_nothing_is_left_is_an_error(made):
    data, way = made("dense")
    session = make_session(data, *next(iter(rows_by_session(data))))
    with pytest.raises(ImageError, match=r"\w"):
        way.images(torch.zeros_like(images_of(data, session)), session, Drawn())


def test_raw_cohorts_go_the_way_of_new_scans_already(made):
    data, way = made("dense")
    assert way.cohort.name == "kaggle_nifti"
    other = copy(data)
    other.settings = data.settings | {"cohort": "scans"}
    assert Arrival.of(other, way.frame) is None


def test_one_mask_for_all_is_kept_and_comes_back(made, tmp_path):
    data, way = made("dense")
    stored = training_frame(data)
    raw = head(0, VOLUME, False) > 0  # bottom and top slices show too little to be chosen
    shown = np.flatnonzero(way.frame.mask.any(axis=(0, 1)))
    mask, true = (one[..., shown[0] : shown[-1] + 1] for one in (way.frame.mask, raw))
    assert mask.shape == true.shape
    assert (mask & true).sum() > 0.9 * (mask | true).sum()
    assert stored["mask"].dtype == torch.uint8
    assert stored["mask"].numel() == -(-np.prod(VOLUME) // 8)
    assert way.frame.jpeg_quality is None
    assert way.frame.complete
    assert made("pictures")[1].frame.jpeg_quality == 75
    assert training_frame(laid_data(tmp_path, own_mask=True, dim="3d"))["mask"] is None


def test_an_older_checkpoint_knows_neither_mask_nor_quality(made):
    stored = training_frame(made("pictures")[0])
    older = {name: value for name, value in stored.items() if name not in ("mask", "jpeg_quality")}
    frame = TrainingFrame.from_dict(older)
    assert (frame.mask, frame.jpeg_quality, frame.complete) == (None, None, False)
    assert TrainingFrame.from_dict(stored | {"mask": None}).complete


@pytest.mark.parametrize(
    "damage",
    [
        {"mask": torch.zeros(3, dtype=torch.uint8)},
        {"mask": torch.zeros(42000)},
        {"mask": "x"},
        {"mask": [1, 2]},
        {"jpeg_quality": 0},
        {"jpeg_quality": 101},
        {"jpeg_quality": "fine"},
        {"jpeg_quality": [75]},
    ],
)
def test_a_damaged_mask_or_quality_is_refused(made, damage):
    stored = training_frame(made("pictures")[0])
    with pytest.raises(CheckpointError, match="damaged"):
        TrainingFrame.from_dict(stored | damage)


def test_a_training_frame_writes_scans_as_its_cohort_stores_them(made, tmp_path):
    frame = made("pictures")[1].frame
    laid = np.random.default_rng(0).random(frame.frame.shape)
    paths, numbers = frame.write(tmp_path, "P", laid, "slice")
    assert len(paths) == len(numbers) == laid.shape[2]
    assert jpeg_quality(paths[0].read_bytes()) == 75
    (path,), none = frame.write(tmp_path, "P", laid, "volume")
    assert path.name == "P.nii.gz"
    assert none == ()
