"""Stage predict: raw and prepared scans, what is unlike training, files, and hostile input."""

from __future__ import annotations

import hashlib
import json
import logging

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from src.config import RunConfig
from src.config.options import build_config
from src.errors import CheckpointError, ConfigError, DataNotFoundError, ImageError
from src.inference import prepare
from src.inference.ensemble import Ensemble, combined
from src.inference.inputs import find_inputs
from src.preprocessing.raw import standard
from src.preprocessing.space.template import template
from src.stages import predict, preprocess, train

pytestmark = pytest.mark.slow

pytest.importorskip("SimpleITK")


def settings(root, dim, **more):
    small = {
        "dataset": f"phantom_{dim}", "phantom_subjects": 24, "phantom_voxel": 4.0, "num_slices": 6,
        "image_size": 48, "volume_size": 32, "epochs": 1, "weights": "none", "classes": 2,
        "device": "cpu", "data_root": root / "data", "checkpoint_dir": root / "checkpoints",
        "results_dir": root / "results", "backbone": "resnet18" if dim == "2d" else "simple",
        "freeze_backbone": True, "workers": 1,
    }  # fmt: skip
    return build_config(RunConfig, small | more)


def once(function, *parts):
    """Return a function that is computed once for the same arrays; `parts` names them."""
    kept = {}

    def known(*given):
        seen = hashlib.blake2b(digest_size=16)
        for one in parts:
            value = np.ascontiguousarray(one(*given))
            seen.update(f"{value.shape} {value.dtype}".encode() + value.tobytes())
        key = seen.digest()
        if key not in kept:
            kept[key] = function(*given)
        return kept[key]

    return known


@pytest.fixture(scope="module", autouse=True)
def brains_found_once():
    """Few brains are answered here, and often; each is evened out, laid and judged once."""
    scan = (lambda scan: scan.data, lambda scan: scan.affine)
    brain = (lambda brain, affine: brain, lambda brain, affine: affine)
    judged = (
        *(lambda scan, *_: scan.data, lambda scan, *_: scan.affine),
        *(lambda *given: given[1], lambda *given: given[2], lambda *given: given[3].to_native),
    )
    frame = (lambda frame: frame.mean, lambda frame: frame.to_ras, lambda frame: frame.covered)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standard, "even_out", once(standard.even_out, *scan))
        patch.setattr(standard, "register", once(standard.register, *brain))
        patch.setattr(standard, "judge", once(standard.judge, *judged))
        patch.setattr(prepare, "_place", once(prepare._place, *frame))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder whose phantoms both models learn from."""
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module", params=["2d", "3d"])
def trained(request, root):
    """Return a folder with a model trained on phantoms, and its dimension."""
    config = settings(root, request.param)
    list(preprocess.run(config))
    list(train.run(config))
    return root, request.param


def model_of(root, dim):
    (found,) = (root / "checkpoints").glob(f"phantom_{dim}_*/best_model.pth")
    return found


def answers(root, dim, path, **more):
    written = list(predict.run(settings(root, dim, input=path, **more)))
    content = json.loads(written[-1].read_text(encoding="utf-8"))
    assert all(file.is_file() for file in written)
    return content["answers"], written


def write_brain(path, angles=(10, -8, 12), shift=(12, 5, -9)):
    t1 = template()
    data = (t1.t1 * 700).astype(np.float32)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    motion[:3, 3] = shift
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, motion @ t1.affine), path)
    return path


def test_a_prepared_data_set_gets_the_models_own_probabilities(trained):
    root, dim = trained
    folder = root / f"data/phantom_{dim}"
    said, written = answers(root, dim, folder, maps=False)
    table = pd.read_csv(folder / "manifest.csv")
    assert len(said) == table.groupby(["subject", "session"]).ngroups
    known = set(table[table["split"] != "test"]["subject"])
    flagged = {a["subject"] for a in said if any("trained or chosen" in f for f in a["flags"])}
    assert flagged == known
    answered = [a for a in said if a["stage"]]
    assert len(answered) > 0.7 * len(said)
    assert all(abs(sum(a["probabilities"].values()) - 1) < 1e-3 for a in answered)
    assert len(pd.read_csv(written[-2])) == len(said)


def test_a_raw_scan_is_laid_on_the_training_grid(trained, tmp_path):
    root, dim = trained
    path = write_brain(tmp_path / "new.nii.gz")
    said, written = answers(root, dim, path)
    (answer,) = said
    again, _ = answers(root, dim, path)
    assert again == said
    assert json.loads(written[-1].read_text(encoding="utf-8"))["answered_before"] == 1
    quality = written[-1].parent / "standard/quality.csv"
    assert pd.read_csv(quality)["name"].tolist() == ["new"]  # it is told as before
    assert answer["similarity"] > 0.85  # a brain elsewhere, or upside down, has less than .6
    assert answer["quality"]["correlation"] > 0.9
    assert answer["n_images"] == (6 if dim == "2d" else 1)
    assert answer["stage"]
    assert answer["map"]
    native = nib.load(next(p for p in written if p.name.endswith("in_scan.nii.gz")))
    scan = nib.load(path)
    assert native.shape == scan.shape
    np.testing.assert_allclose(native.affine, scan.affine, atol=1e-4)
    heat = np.asarray(nib.as_closest_canonical(native).dataobj)
    head = np.asarray(nib.as_closest_canonical(scan).dataobj) > 0
    if heat.max() > 0:
        assert (heat > 0.5)[head].sum() > 0.4 * (heat > 0.5).sum()


def test_a_scan_without_orientation_names_no_side(trained, tmp_path):
    root, dim = trained
    path = write_brain(tmp_path / "new.nii", angles=(0, 0, 0))
    raw = bytearray(path.read_bytes())
    raw[252:256] = bytes(4)  # qform_code, sform_code
    path.write_bytes(raw)
    (answer,) = answers(root, dim, path, maps=False)[0]
    assert answer["side_known"] is False
    assert any("no orientation in the header" in flag for flag in answer["flags"])
    (known,) = answers(root, dim, write_brain(tmp_path / "b.nii"), maps=False)[0]
    assert known["side_known"] is True


def test_what_is_no_brain_gets_no_stage(trained, tmp_path):
    root, dim = trained
    rng = np.random.default_rng(0)
    write_brain(tmp_path / "in/good.nii.gz")
    block = np.zeros((60, 70, 64), np.float32)
    block[10:50, 10:60, 12:52] = rng.normal(100, 30, (40, 50, 40)).clip(1)
    nib.save(nib.Nifti1Image(block, np.diag([2.5, 2.5, 2.5, 1])), tmp_path / "in/block.nii.gz")
    (tmp_path / "in/broken.nii.gz").write_bytes(b"this is no scan")
    (tmp_path / "in/=cmd|calc.nii.gz").write_bytes(b"neither is this")
    said, written = answers(root, dim, tmp_path / "in", maps=False)
    by_name = {a["name"]: a for a in said}
    assert len(by_name) == 4
    for name in by_name.keys() - {"good"}:
        assert by_name[name]["stage"] is None
        assert by_name[name]["outside"]
        assert by_name[name]["reasons"]
    text = next(path for path in written if path.suffix == ".csv").read_text(encoding="utf-8")
    assert "\n=" not in text
    with pytest.raises(ImageError, match="of 1 scan, none"):
        answers(root, dim, tmp_path / "in/broken.nii.gz")


def test_folds_answer_together(trained, tmp_path):
    root, dim = trained
    one = model_of(root, dim)
    for fold in ("fold0", "fold1"):
        (tmp_path / "study" / fold).mkdir(parents=True)
        (tmp_path / "study" / fold / "best_model.pth").write_bytes(one.read_bytes())
    path = write_brain(tmp_path / "new.nii.gz")
    alone, _ = answers(root, dim, path, maps=False, checkpoint=one)
    both, written = answers(root, dim, path, maps=False, checkpoint=tmp_path / "study")
    assert written[-1].parent.parent.name == "study"
    assert both[0]["n_checkpoints"] == 2
    if alone[0]["stage"] and both[0]["stage"]:
        assert both[0]["probabilities"] == alone[0]["probabilities"]
        assert set(both[0]["spread"].values()) == {0}
    assert both[0]["p_distance"] == pytest.approx(min(1, 2 * alone[0]["p_distance"]), abs=1e-3)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        answers(root, dim, path, checkpoint=tmp_path)


def test_a_stopped_run_goes_on_where_it_stopped(trained, monkeypatch):
    root, dim = trained
    folder = root / f"data/phantom_{dim}"
    model = model_of(root, dim)
    asked, answer = [], Ensemble.answer

    def counted(self, images, *more):
        asked.append(images)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return answer(self, images, *more)

    def told(run):
        return answers(root, dim, folder, run=run, checkpoint=model, maps=False)

    monkeypatch.setattr(Ensemble, "answer", counted)
    with pytest.raises(KeyboardInterrupt):
        told("stopped")
    said, written = told("stopped")
    content = json.loads(written[-1].read_text(encoding="utf-8"))
    assert content["answered_before"] == 5
    assert len(asked) == len(said) + 1  # one was stopped, and each was answered once
    fresh, _ = told("fresh")
    assert said == fresh
    before = len(asked)
    assert told("fresh")[0] == fresh
    assert len(asked) == before


def test_pictures_are_slices(trained, tmp_path):
    root, dim = trained
    picture = np.zeros((60, 50), np.uint8)
    cv2.ellipse(picture, (25, 30), (18, 24), 0, 0, 360, 180, -1)
    cv2.imwrite(str(tmp_path / "slice.png"), picture)
    if dim == "3d":
        with pytest.raises(ImageError, match="one slice"):
            answers(root, dim, tmp_path / "slice.png")
    else:
        said, _ = answers(root, dim, tmp_path / "slice.png", maps=False)
        assert said[0]["n_images"] == 1
        assert any("one slice" in flag for flag in said[0]["flags"])


def test_inputs_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="--input"):
        list(predict.run(RunConfig()))
    with pytest.raises(DataNotFoundError):
        find_inputs(tmp_path / "none")
    with pytest.raises(DataNotFoundError):
        find_inputs(tmp_path)
    (tmp_path / "notes.txt").write_text("text", encoding="utf-8")
    with pytest.raises(ImageError, match="no scan"):
        find_inputs(tmp_path / "notes.txt")


def test_the_log_never_speaks_of_a_diagnosis(trained, tmp_path, caplog):
    root, dim = trained
    with caplog.at_level(logging.INFO):
        _, written = answers(root, dim, write_brain(tmp_path / "a.nii.gz"), maps=False)
    assert "diagnos" not in caplog.text.lower()
    told = json.loads(written[-1].read_text(encoding="utf-8"))
    assert "no diagnosis" in told["notice"]


def test_p_values_of_several_checkpoints():
    assert combined([0.2]) == 0.2
    assert combined([0.1, 0.3]) == pytest.approx(0.4)
    assert combined([0.9, 0.8]) == 1.0
