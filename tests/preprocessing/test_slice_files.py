"""Slices in one ZIP per scan are the slices in PNGs: to the byte, for all who read them."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ellipsoid, make_processed, save_analyze
from tiny_runs import run_config, train_once

from src.auditing.audit import audit_folder
from src.config import PreprocessConfig
from src.data.image_cache import ImageCache
from src.data.image_file import read_content
from src.errors import DataNotFoundError, ImageError
from src.inference.inputs import find_inputs
from src.manifest import Manifest
from src.preprocessing.scan import Scan, is_done, make_scan, read_record, remove_scan
from src.preprocessing.slice_files import file_of, read_file, slice_path, write_files
from src.stages import evaluate

SETTINGS = PreprocessConfig(num_slices=5, image_size=40)
SHAPE = (30, 36, 26)


def scan_of(root, *, packed, folders=("train/MildDemented",)):
    source = root / "raw.img"
    if not source.is_file():
        save_analyze(source, ellipsoid(SHAPE, 0.3))
    return Scan("P01_a", (source,), (), folders, "LAS", "2d", packed=packed)


def files_in(folder):
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found)


def as_zips(source, target):
    """Copy a processed data set, with the slices of every scan in a ZIP."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.png", ".cache"))
    table = Manifest.read(source).table
    new = {}
    for row in table.itertuples():
        folder, name = row.path.rsplit("/", 1)
        new[row.path] = slice_path(folder, name.rpartition("_slice")[0], row.slice, packed=True)
    write_files((target / new[path], (source / path).read_bytes()) for path in new)
    Manifest(table.assign(path=table["path"].map(new)), target).write(target)
    for path in (target / ".scans").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        for file in record["files"]:
            file["path"] = new[file["path"]]
        path.write_text(json.dumps(record), encoding="utf-8")
    return target


def test_a_zip_holds_the_same_pictures(tmp_path):
    made = {}
    for packed in (False, True):
        out = tmp_path / str(packed)
        assert make_scan(out, scan_of(tmp_path, packed=packed), SETTINGS) is None
        made[packed] = read_record(out, "P01_a")["files"]
    for apart, together in zip(made[False], made[True], strict=True):
        same = ("slice", "fingerprint", "to_stored")
        assert [apart[name] for name in same] == [together[name] for name in same]
        content = read_file(tmp_path / "True" / together["path"])
        assert content == read_file(tmp_path / "False" / apart["path"])
    held = tmp_path / "True/train/MildDemented/P01_a.zip"
    assert files_in(tmp_path / "True") == [".scans/P01_a.json", "train/MildDemented/P01_a.zip"]
    with zipfile.ZipFile(held) as file:  # as any other program sees it
        names = [path["path"].rsplit("/", 1)[1] for path in made[False]]
        assert file.namelist() == names
        assert file.testzip() is None
    before = held.read_bytes()
    held.unlink()
    assert make_scan(tmp_path / "True", scan_of(tmp_path, packed=True), SETTINGS) is None
    assert held.read_bytes() == before


def test_one_way_replaces_the_other_and_nothing_stays(tmp_path):
    out = tmp_path / "out"
    apart, together = (scan_of(tmp_path, packed=packed) for packed in (False, True))
    for one, other in ((apart, together), (together, apart)):
        make_scan(out, one, SETTINGS)
        assert is_done(out, one, SETTINGS)
        assert not is_done(out, other, SETTINGS)
        assert len(files_in(out)) == (6 if one is apart else 2)
    make_scan(out, together, SETTINGS)
    (out / "train/MildDemented/P01_a.zip").unlink()
    assert not is_done(out, together, SETTINGS)
    make_scan(out, together, SETTINGS)
    remove_scan(out, "P01_a")
    assert files_in(out) == []


def test_slices_on_two_sides_lie_in_two_zips(tmp_path):
    paths = [slice_path(side, "P01_a", 7, packed=True) for side in ("train/A", "test/A")]
    write_files((tmp_path / path, path.encode()) for path in paths)
    assert files_in(tmp_path) == ["test/A/P01_a.zip", "train/A/P01_a.zip"]
    assert [read_file(tmp_path / path).decode() for path in paths] == paths


def test_what_is_stopped_half_way_leaves_no_zip(tmp_path):
    def stopped():
        yield tmp_path / "a/P01.zip/P01_slice00.png", b"one"
        yield tmp_path / "a/P01.zip/P01_slice01.png", b"two"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_files(stopped())
    assert files_in(tmp_path) == []


def test_a_damaged_zip_is_named(tmp_path):
    path = tmp_path / "a/P01.zip/P01_slice00.png"
    with pytest.raises(DataNotFoundError):
        read_content(path)
    write_files([(path, bytes(500))])
    with pytest.raises(DataNotFoundError):
        read_content(path.with_name("P01_slice01.png"))
    whole = path.parent.read_bytes()
    for damaged in (whole[:300], whole.replace(bytes(400), bytes(399) + b"x"), b""):
        path.parent.write_bytes(damaged)
        with pytest.raises(ImageError, match=r"P01\.zip is damaged") as caught:
            read_content(path)
        assert "remove P01.zip" in caught.value.hint
    with zipfile.ZipFile(path.parent, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(path.name, bytes(2**26 + 1))
    with pytest.raises(ImageError, match="claims 67108865 bytes"):
        read_content(path)


def test_a_folder_called_zip_is_a_folder(tmp_path):
    path = tmp_path / "a.zip" / "b.png"
    path.parent.mkdir()
    path.write_bytes(b"content")
    assert read_file(path) == b"content"


def test_training_scores_and_audit_are_the_same(tmp_path):
    apart = make_processed(tmp_path / "png" / "phantom_2d")
    together = as_zips(apart, tmp_path / "zip" / "phantom_2d")
    assert not list(together.rglob("*.png"))
    caches = [ImageCache(Manifest.read(folder)) for folder in (apart, together)]
    assert caches[0].path.name == caches[1].path.name
    weights, tables, metrics = [], [], []
    for folder in (apart, together):
        root = folder.parent
        best = train_once(folder, root, backbone="resnet18")
        weights.append(torch.load(best, weights_only=True)["model"])
        written = list(evaluate.run(run_config(folder, root, backbone="resnet18", report=False)))
        answers = next(path for path in written if path.name == "predictions.csv")
        tables.append(pd.read_csv(answers, dtype=str).drop(columns="path"))
        metrics.append(next(path for path in written if path.name == "metrics.json"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    pd.testing.assert_frame_equal(*tables)
    for part in ("person", "image", "calibration", "rivals"):
        scores = [json.loads(path.read_text(encoding="utf-8"))[part] for path in metrics]
        assert scores[0] == scores[1]
    np.testing.assert_array_equal(*(cache.read(range(9)) for cache in caches))
    audits = [audit_folder(folder, "2d").report["checks"] for folder in (apart, together)]
    told = [[(one["name"], one["verdict"], one["numbers"]) for one in checks] for checks in audits]
    assert told[0] == told[1]


def test_a_data_set_of_zips_can_be_asked_about(tmp_path):
    together = as_zips(make_processed(tmp_path / "png/phantom_2d"), tmp_path / "zip/phantom_2d")
    items = find_inputs(together)
    assert len(items) == 20
    assert all(len(item.sources) == 3 for item in items)
    held = {file_of(path) for item in items for path in item.sources}
    assert all(path.is_file() for path in held)
    assert len(held) == 20
    assert pd.Series([path.suffix for path in held]).eq(".zip").all()
