"""Stored scans opened, and images made of them again: the very ones, and changes where they lie."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import ellipsoid, save_analyze
from oasis_discs import config, make_oasis, speckled

from src.config import RunConfig
from src.config.options import build_config, config_to_dict
from src.data.run_data import open_run_data
from src.data.sessions import images_of
from src.errors import DataNotFoundError, ImageError
from src.manifest import PEOPLE_UNKNOWN
from src.stages import preprocess
from src.stressing import scans as module
from src.stressing.people import choose_people
from src.stressing.scans import opener_of

SHAPE = (22, 27, 19)
FOLDERS = ("NonDemented", "VeryMildDemented", "MildDemented")


def make_pictures(root):
    """Write 8-bit slices of nine people, named after sessions of OASIS-1; row 0 is the back."""
    for number in range(9):
        folder = root / FOLDERS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        head = ellipsoid((30, 34, 30), 0.1 + 0.03 * number)[:, :, 9:21]
        data = np.clip(speckled(head, number) / 4, 0, 255).astype(np.uint8)
        for plane in range(12):
            name = f"OAS1_{number + 1:04d}_MR1_mpr-1_{100 + plane}.png"
            cv2.imwrite(str(folder / name), data[:, :, plane].T)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Cohort -> folder with its raw files and its data sets in 2D and 3D."""
    found = {}
    for cohort, make in (("oasis", make_oasis), ("kaggle_orig", make_pictures)):
        root = tmp_path_factory.mktemp(cohort)
        make(root / "data" / cohort, **({"shape": SHAPE} if cohort == "oasis" else {}))
        for dim in ("2d", "3d"):
            list(preprocess.run(settings(root, cohort, dim)))
        found[cohort] = root
    return found


def settings(root, cohort, dim, **more):
    return config(root, dataset=cohort, dim=dim, **more)


def opened(root, cohort, dim, **more):
    """Return the opener of everyone, and their sessions."""
    given = settings(root, cohort, dim, **more)
    data = open_run_data(given).everyone("test")
    return opener_of(given, data), choose_people(data, 0)


EVERY = [(cohort, dim) for cohort in ("oasis", "kaggle_orig") for dim in ("2d", "3d")]


@pytest.mark.parametrize(("cohort", "dim"), EVERY)
def test_an_unchanged_scan_gives_the_very_images(roots, cohort, dim):
    opener, sessions = opened(roots[cohort], cohort, dim)
    assert opener.reason is None
    assert opener.changed == "stored scan"
    assert len(sessions) >= 9
    for session in sessions:
        scan = opener.open(session)
        images, slices = scan.make(scan.data)
        assert torch.equal(images, images_of(opener.data, session))
        assert tuple(slices) == session.slices
        assert scan.data.dtype == np.float32
        assert scan.top == pytest.approx(np.percentile(scan.data[scan.data > 0], 99))
    left, right = scan.data[: SHAPE[0] // 2], scan.data[-(SHAPE[0] // 2) :]
    if cohort == "oasis":  # stored from right to left, and brighter at the end
        assert scan.data.shape == SHAPE
        assert left[left > 0].mean() > 1.05 * right[right > 0].mean()


def hole_of(scan, session):
    """Return a box of 5 x 5 x 3 voxels inside the brain, off its middle, and its own middle."""
    x, y, z = (edge // 2 for edge in scan.data.shape)
    z = z if not session.slices else session.slices[1] - _first(scan, session)
    middle = np.array([x + 3, y - 4, z])
    return tuple(slice(at - n, at + n + 1) for at, n in zip(middle, (2, 2, 1), strict=True)), middle


def _first(scan, session):
    """Slices of a volume count from its lowest plane, pictures from their first number."""
    return 0 if scan.data.shape == SHAPE else min(session.slices)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(("cohort", "dim"), EVERY)
def test_a_change_lands_where_the_image_shows_it(roots, cohort, dim, stored):
    opener, sessions = opened(roots[cohort], cohort, dim)
    if not stored:
        opener = module.Opener(opener.data, {}, "they are lost")
    session = sessions[0]
    scan = opener.open(session)
    if stored:
        box, middle = hole_of(scan, session)
    else:
        middle = np.array(scan.data.shape) // 2 + [2, -3, 0]
        if session.slices:
            middle[2] = session.slices[2] - min(session.slices)
        box = tuple(slice(at - 2, at + 3) for at in middle)
    data = scan.data.copy()
    assert data[box].min() > 0
    data[box] = 0
    before, after = scan.make(scan.data)[0], scan.make(data)[0]
    lost = np.clip((before - after)[:, 0].numpy(), 0, None)
    lost = np.where(lost > 0.3, lost, 0)
    assert lost.max() > 0.5
    where = np.argwhere(lost)
    record = session.record
    if session.slices:
        pixels = []
        for number, row, column in where:
            index = np.array([row, column, session.slices[number], 1.0])
            matrix = next(
                record.matrices[path]
                for path, own in record.slices.items()
                if own == session.slices[number]
            )
            pixels.append(record.frame.to_ras @ matrix @ index)
    else:
        (matrix,) = record.matrices.values()
        index = np.c_[where[:, 1:], np.ones(len(where))]
        pixels = index @ (record.frame.to_ras @ matrix).T
    found = np.mean(pixels, axis=0)[:3]
    expected = (scan.to_ras @ [*middle, 1.0])[:3]
    assert np.abs(found - expected)[:2].max() < 0.75  # mm; a voxel has 1
    assert abs(found - expected)[2] < 1.01


@pytest.mark.parametrize(("cohort", "dim"), EVERY)
def test_without_raw_files_processed_images_are_changed_and_that_is_said(
    roots, tmp_path, cohort, dim
):
    root = roots[cohort]
    raw, moved = root / "data" / cohort, tmp_path / "moved"
    raw.rename(moved)
    try:
        opener, sessions = opened(root, cohort, dim)
        assert opener.changed == "processed image"
        assert opener.reason == f"{raw} is not there; --raw_dir names the raw files"
        for session in sessions[:3]:
            scan = opener.open(session)
            images, slices = scan.make(scan.data)
            assert torch.equal(images, images_of(opener.data, session))
            assert tuple(slices) == session.slices
        again, _ = opened(root, cohort, dim, raw_dir=moved)
        assert again.reason is None
        assert again.open(sessions[0]).name == sessions[0].name
    finally:
        moved.rename(raw)


def test_a_raw_folder_that_was_named_must_be_there(roots, tmp_path):
    with pytest.raises(DataNotFoundError) as refusal:
        opened(roots["oasis"], "oasis", "2d", raw_dir=tmp_path / "nowhere")
    assert "nowhere" in str(refusal.value)


def test_a_raw_file_that_was_changed_since_is_refused(tmp_path):
    make_oasis(tmp_path / "data" / "oasis")
    list(preprocess.run(settings(tmp_path, "oasis", "3d")))
    opener, sessions = opened(tmp_path, "oasis", "3d")
    (source,) = opener.scans[sessions[0].name].sources
    save_analyze(source, speckled(ellipsoid(hole=0.4), 99))
    with pytest.raises(ImageError, match="were not made of") as refusal:
        opener.open(sessions[0])
    assert "--mode preprocess" in refusal.value.hint
    opener.open(sessions[1])
    source = opener.scans[sessions[1].name].sources[0]
    for file in (source, source.with_suffix(".hdr")):
        file.unlink()
    gone, _ = opened(tmp_path, "oasis", "3d")
    with pytest.raises(ImageError, match="is not there any more"):
        gone.open(sessions[1])


def test_a_bare_folder_does_not_say_what_it_was_made_of(roots):
    opener, _ = opened(roots["oasis"], "oasis", "2d")
    bare = SimpleNamespace(settings={})
    assert "bare folder" in opener_of(settings(roots["oasis"], "oasis", "2d"), bare).reason
    assert opener.reason is None


def test_pictures_that_name_nobody_are_changed_as_they_are_processed(roots):
    given = settings(roots["kaggle_orig"], "kaggle_orig", "2d")
    manifest = SimpleNamespace(stamps=(PEOPLE_UNKNOWN,))
    data = SimpleNamespace(settings={"cohort": "kaggle_orig", "dim": "2d"}, manifest=manifest)
    opener = opener_of(given, data)
    assert opener.changed == "processed image"
    assert opener.reason == "pictures that name nobody make no scan"


def test_no_brain_is_an_error_of_the_image(roots):
    opener, sessions = opened(roots["oasis"], "oasis", "3d")
    scan = opener.open(sessions[0])
    with pytest.raises(ImageError, match="no brain"):
        scan.make(np.zeros_like(scan.data))


def test_raw_scans_are_standardised_as_the_data_set_says(tmp_path, monkeypatch):
    seen = []

    def stop(raw, own, workers):
        seen.append(own)
        raise DataNotFoundError(tmp_path)

    cohort = SimpleNamespace(index=lambda root: None, raw=True, name="scans", layout="volume")
    monkeypatch.setattr(module, "COHORT_REGISTRY", {"scans": cohort})
    monkeypatch.setattr(module, "standard_scans", stop)
    made = config_to_dict(build_config(RunConfig, {"n4": False, "crop": False}))["scan"]
    data = SimpleNamespace(settings={"cohort": "scans", "dim": "3d", "scan": made})
    given = build_config(RunConfig, {"dataset": "scans_3d", "raw_dir": tmp_path})
    opener_of(given, data)
    assert (seen[0].scan.n4, seen[0].scan.crop, seen[0].scan.register) == (False, False, True)
    assert seen[0].data.data_dir == tmp_path
    assert given.scan.n4
