"""The image cache: the same values as the files, made once, and made again when it is not whole."""

import dataclasses
import hashlib
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_processed

from src.data import image_cache, image_file
from src.data.dataset import make_loader
from src.data.image_cache import ImageCache
from src.data.loaders import open_dataset
from src.errors import ConfigError, DataNotFoundError, ImageError, ManifestError
from src.evaluation.analyses.image_measures import measure_images, stored_image_measures
from src.labels import class_scheme
from src.manifest import Manifest
from src.training.features import dataset_features
from src.training.logits import predict


def slices(root: Path, count: int = 7, shape=(9, 11), prints: bool = True) -> Manifest:
    """Write random PNG slices and return their manifest, whose rows are in no order."""
    rng, rows = np.random.default_rng(len(root.name)), []
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(root / f"s{number}.png"), rng.integers(0, 256, shape, dtype=np.uint8))
        content = (root / f"s{number}.png").read_bytes()
        known = hashlib.blake2b(content, digest_size=16).hexdigest() if prints else None
        rows.append({"subject": f"P{number}", "path": f"s{number}.png", "fingerprint": known})
    return Manifest(pd.DataFrame(rows).sample(frac=1, random_state=2), root)


def volumes(root: Path, count: int = 5, shape=(5, 6, 7)) -> Manifest:
    """Write random float16 volumes, one of them in Fortran's order, and return their manifest."""
    rng, rows = np.random.default_rng(1), []
    for number in range(count):
        volume = rng.random(shape).astype(np.float16)
        np.save(root / f"v{number}.npy", np.asfortranarray(volume) if number == 1 else volume)
        rows.append({"subject": f"P{number}", "path": f"v{number}.npy"})
    return Manifest(pd.DataFrame(rows), root)


def as_stored(manifest: Manifest) -> np.ndarray:
    """Read every file as other programs do, in the order of the rows."""
    files = [manifest.root / name for name in manifest.table["path"]]
    if files[0].suffix == ".npy":
        return np.stack([np.load(path) for path in files])
    return np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in files])


def read_all(manifest: Manifest, folder: Path | None = None) -> np.ndarray:
    cache = ImageCache(manifest, folder)
    return cache.read(cache.rows(manifest.table["path"]))


@pytest.mark.parametrize("make", [slices, volumes])
def test_values_are_those_of_the_files(tmp_path, make):
    manifest = make(tmp_path)
    cache = ImageCache(manifest)
    found = read_all(manifest)
    np.testing.assert_array_equal(found, as_stored(manifest))
    assert found.dtype == (np.uint8 if make is slices else np.float16)
    assert found.flags.writeable
    some = cache.rows(manifest.table["path"].iloc[[4, 0, 4, 2]])
    np.testing.assert_array_equal(cache.read(some), as_stored(manifest)[[4, 0, 4, 2]])
    np.testing.assert_array_equal(np.load(cache.path)[some], cache.read(some))  # plain NumPy
    assert cache.shape == found.shape[1:]
    assert cache.read([]).shape == (0, *found.shape[1:])


def test_nothing_is_read_until_an_image_is(tmp_path):
    manifest = slices(tmp_path)
    shutil.rmtree(tmp_path)
    ImageCache(manifest).rows(["s3.png"])
    with pytest.raises(DataNotFoundError, match="run --mode preprocess again"):
        read_all(manifest)


def test_one_file_in_two_rows_is_one_image(tmp_path):
    table = slices(tmp_path).table
    twice = pd.concat([table, table.iloc[[2]].assign(subject="Q")])
    manifest = Manifest(twice, tmp_path)
    found = read_all(manifest)
    np.testing.assert_array_equal(found[-1], found[2])
    assert np.load(ImageCache(manifest).path).shape[0] == len(table)


def test_a_path_of_another_manifest_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"t\.png is not in the manifest"):
        ImageCache(slices(tmp_path)).rows(["s1.png", "t.png"])


def test_a_manifest_without_images_is_refused(tmp_path):
    manifest = slices(tmp_path)
    with pytest.raises(ManifestError, match="lists no image"):
        ImageCache(manifest.where(manifest.table["subject"] == "nobody")).build()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no image", "is damaged"), (b"", "is damaged"), (None, "fingerprint is another")],
)
def test_a_file_that_is_not_the_one_listed_is_named(tmp_path, content, says):
    manifest = slices(tmp_path)
    other = cv2.imencode(".png", np.full((9, 11), 7, np.uint8))[1].tobytes()
    (tmp_path / "s5.png").write_bytes(other if content is None else content)
    with pytest.raises(ImageError, match=rf"s5\.png .*{says}(.|\n)*--mode preprocess"):
        read_all(manifest)
    assert not list((tmp_path / ".cache").iterdir())


def test_a_file_that_went_is_named(tmp_path):
    manifest = slices(tmp_path)
    (tmp_path / "s4.png").unlink()
    with pytest.raises(DataNotFoundError, match=r"s4\.png"):
        read_all(manifest)


def test_another_size_is_named(tmp_path):
    manifest = slices(tmp_path, prints=False)
    cv2.imwrite(str(tmp_path / "s2.png"), np.zeros((11, 9), np.uint8))
    with pytest.raises(ImageError, match=r"s2\.png is \[11, 9\], other images are \[9, 11\]"):
        read_all(manifest)


def _npy(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (_npy(np.zeros((9, 8, 7), np.float16))[:500], "is damaged"),
        (_npy(np.array([{"code": 1}], dtype=object), allow_pickle=True), "is damaged"),
        (_npy(np.zeros((4, 4))), "2D float64, not a float16 volume"),
        (b"", "is damaged"),
        (_npy(np.zeros((9, 8, 7), np.float16)).replace(b"(9, 8, 7)", b"(9,9**9)"), "is damaged"),
        (_npy(np.zeros((9, 8, 7), ">f2")), "not a float16 volume"),
    ],
)
def test_volumes_that_are_none(content, says):
    with pytest.raises(ImageError, match=says):
        image_file.decode(Path("v.npy"), content)


def test_a_header_that_claims_too_much_takes_no_memory():
    claim = _npy(np.zeros((9, 8, 7), np.float16)).replace(
        b"(9, 8, 7), }     ", b"(99999,9999,9)}  "
    )
    assert b"99999,9999,9" in claim
    with pytest.raises(ImageError, match="is damaged: buffer is smaller"):
        image_file.decode(Path("v.npy"), claim)


@pytest.mark.parametrize("left", [None, 0, 40, 300, -1, 1])
def test_a_cache_that_is_deleted_or_damaged_is_made_again(tmp_path, left, caplog):
    """`left`: bytes kept, the last one cut off, or one too many; None deletes the file."""
    manifest = slices(tmp_path)
    expected = read_all(manifest)
    opened = ImageCache(manifest)
    opened.read([0])
    path = opened.path
    content = path.read_bytes()
    if left is None:
        shutil.rmtree(path.parent)
    else:
        path.write_bytes(content + b"x" if left == 1 else content[:left])
    np.testing.assert_array_equal(read_all(manifest), expected)
    assert path.read_bytes() == content
    assert ("is damaged" in caplog.text) == (left is not None)
    # One that had it open goes on as well.
    path.write_bytes(content[:250])
    places = opened.rows(manifest.table["path"])
    np.testing.assert_array_equal(opened.read(places), expected)
    path.unlink()
    np.testing.assert_array_equal(opened.read(places), expected)


def test_a_cache_of_another_kind_is_made_again(tmp_path, caplog):
    manifest = slices(tmp_path)
    expected = read_all(manifest)
    for other in (np.zeros((7, 9, 11)), np.zeros((6, 9, 11), np.uint8), np.zeros(7, np.uint8)):
        np.save(ImageCache(manifest).path, other)
        np.testing.assert_array_equal(read_all(manifest), expected)
    assert caplog.text.count("is damaged") == 3


def test_other_content_is_another_cache_and_the_old_one_goes(tmp_path):
    manifest = slices(tmp_path)
    read_all(manifest)
    folder = tmp_path / ".cache"
    (old,) = folder.iterdir()
    kept = [folder / "notes.txt", folder / "images_mine.npy", tmp_path / "images_x.npy"]
    for path in kept:
        path.write_text("of somebody else", encoding="utf-8")
    stale, busy = (folder / f".images_{'0' * 24}.npy.{end}" for end in ("a1", "b2"))
    for path in (stale, busy):
        path.write_bytes(b"unfinished")
    os.utime(stale, (time.time() - 7200,) * 2)
    cv2.imwrite(str(tmp_path / "s1.png"), np.full((9, 11), 3, np.uint8))
    table = manifest.table
    changed = image_file.fingerprint((tmp_path / "s1.png").read_bytes())
    table.loc[table["path"] == "s1.png", "fingerprint"] = changed
    after = Manifest(table, tmp_path)
    np.testing.assert_array_equal(read_all(after), as_stored(after))
    assert not old.exists()
    assert not stale.exists()
    assert busy.exists()  # somebody may still be writing it
    assert all(path.exists() for path in kept)
    assert len(list(folder.glob("images_*.npy"))) == 2


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    manifest = slices(tmp_path)
    turned = dataclasses.replace(manifest, table=manifest.table[::-1])
    assert ImageCache(turned).path == ImageCache(manifest).path
    np.testing.assert_array_equal(read_all(turned)[::-1], read_all(manifest))


def test_fingerprints_that_are_not_listed_are_computed(tmp_path):
    bare = slices(tmp_path, prints=False)
    assert ImageCache(bare).path == ImageCache(slices(tmp_path)).path
    read_all(bare)
    before = ImageCache(bare).path
    cv2.imwrite(str(tmp_path / "s1.png"), np.full((9, 11), 3, np.uint8))
    assert ImageCache(bare).path != before
    np.testing.assert_array_equal(read_all(bare), as_stored(bare))


def test_data_sets_share_a_folder_without_meeting(tmp_path):
    sets = [slices(tmp_path / name, shape=(9, 8 + i)) for i, name in enumerate(("a", "bb"))]
    sets.append(slices(tmp_path / "c" / "a", count=4))
    for _ in range(2):
        for one in sets:
            np.testing.assert_array_equal(read_all(one, tmp_path / "fast"), as_stored(one))
    assert len(list((tmp_path / "fast").glob("*/images_*.npy"))) == 3
    assert not list(tmp_path.glob("**/.cache"))


def test_a_folder_that_cannot_be_written_names_the_flag(tmp_path, monkeypatch):
    manifest = slices(tmp_path)
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot be written to .*file(.|\n)*--cache_dir"):
        read_all(manifest, tmp_path / "file")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("src.files._temporary", refuse)
        with pytest.raises(ConfigError, match=r"written to .*no permission(.|\n)*--cache_dir"):
            read_all(manifest)
    read_all(manifest)
    monkeypatch.setattr("src.files._temporary", refuse)
    read_all(manifest)  # what is there needs no writing


def test_a_disk_that_is_full_is_told_before_and_while_writing(tmp_path, monkeypatch):
    manifest = slices(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(image_cache.shutil, "disk_usage", lambda _: usage._replace(free=692))
        with pytest.raises(ConfigError, match=r"takes 0\.0 GB(.|\n)*--cache_dir"):
            read_all(manifest)
        patch.setattr(image_cache.shutil, "disk_usage", lambda _: usage._replace(free=693))
        read_all(manifest)  # 7 x 9 x 11 bytes
    ImageCache(manifest).path.unlink()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache, "progress", full)
    with pytest.raises(ConfigError, match=r"the disk is full(.|\n)*--cache_dir"):
        read_all(manifest)
    assert not list((tmp_path / ".cache").iterdir())


def _read_in_child(cache: ImageCache, rows: list[int]) -> bytes:
    return cache.read(rows).tobytes()


@pytest.mark.parametrize("built", [False, True])
def test_other_processes_read_the_same(tmp_path, built):
    cache = ImageCache(slices(tmp_path))
    if built:
        cache.build()
    copied = pickle.loads(pickle.dumps(cache))
    assert copied.path == cache.path
    rows = [6, 2, 2]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap(_read_in_child, [(cache, rows)] * 4)
    assert set(found) == {copied.read(rows).tobytes()}


BUILD = """
import sys, time, numpy as np
from pathlib import Path
from src.data.image_cache import ImageCache
from src.manifest import Manifest
cache = ImageCache(Manifest.read(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
sys.stdout.write(str(int(cache.read(np.arange(60)).astype(np.int64).sum())))
"""


@pytest.mark.slow
def test_processes_may_build_it_at_once(tmp_path):
    folder = make_processed(tmp_path / "phantom_2d")
    root = Path(__file__).resolve().parents[2]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", BUILD, str(folder)]
    running = [subprocess.Popen(command, cwd=root, encoding="utf-8", **pipes) for _ in range(3)]
    for one in running:
        assert one.stdout.readline() == "ready\n"
    for one in running:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = {one.communicate(timeout=60)[0] for one in running}
    assert said == {str(int(as_stored(Manifest.read(folder)).astype(np.int64).sum()))}
    assert [one.returncode for one in running] == [0, 0, 0]
    assert len(list((folder / ".cache").iterdir())) == 1


def test_little_waits_in_memory_to_be_written(tmp_path, monkeypatch):
    """Memory of a build does not grow with the number of images."""
    manifest = slices(tmp_path, count=40)
    monkeypatch.setattr(image_cache, "_BYTES_AT_ONCE", 5 * 99)
    decoded, most = [], 0
    decode = image_cache.decode
    monkeypatch.setattr(image_cache, "decode", lambda *a: decoded.append(1) or decode(*a))
    cache = ImageCache(manifest)
    for written, _ in enumerate(cache._others(cache._decoded(0)), start=1):
        most = max(most, len(decoded) - written)
    assert len(decoded) == 40
    assert most <= 6


def test_a_short_read_is_read_on(tmp_path, monkeypatch):
    manifest = slices(tmp_path)
    cache = ImageCache(manifest)
    cache.build()

    class Slow(io.FileIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:10])

    monkeypatch.setattr(Path, "open", lambda self, *_args, **_options: Slow(self))
    places = cache.rows(manifest.table["path"])
    found = cache.read(places)
    monkeypatch.undo()
    np.testing.assert_array_equal(found, as_stored(manifest))


def test_memory_does_not_grow_with_what_was_read(tmp_path):
    """A pass over 64 MB leaves nothing resident; a kept mapping would leave all of it."""
    rng = np.random.default_rng(0)
    content = cv2.imencode(".png", rng.integers(0, 2, (1024, 1024), dtype=np.uint8))[1].tobytes()
    rows = []
    for number in range(64):
        (tmp_path / f"{number}.png").write_bytes(content)
        rows.append({"subject": str(number), "path": f"{number}.png"})
    cache = ImageCache(Manifest(pd.DataFrame(rows), tmp_path))
    cache.read([0])
    before = _resident()
    for row in rng.permutation(64):
        cache.read([row])
    assert _resident() - before < 16e6


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Tiny(torch.nn.Module):
    """What `predict` and `dataset_features` need of a classifier: the mean grey value."""

    backbone, width, attention, pooling = "tiny", 1, None, "mean"

    def made_of(self):
        return ()

    def __init__(self, dim: str) -> None:
        super().__init__()
        self.dim, self.features = dim, torch.nn.Flatten()

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x).mean(dim=1, keepdim=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(x).repeat(1, 4)


@pytest.mark.parametrize("dim", ["2d", "3d"])
def test_no_image_is_decoded_twice(tmp_path, monkeypatch, dim):
    """Training, validation, test, everyone, a fold, features and dark voxels: one decoding."""
    folder, counted = make_processed(tmp_path / f"phantom_{dim}", dim, (4, 4, 1, 1), 2), []
    decode = image_cache.decode
    monkeypatch.setattr(image_cache, "decode", lambda *a: counted.append(a[0]) or decode(*a))
    for _ in range(2):  # a second run finds everything
        data = open_dataset(folder, dim, class_scheme(4), min_age=62)
        for epoch_of in (data, data.with_split("val")):
            assert sum(len(labels) for _, labels in make_loader(epoch_of, 8)) == len(epoch_of)
        predict(Tiny(dim), data.with_split("test"), torch.device("cpu"))
        everyone = data.everyone("train")
        dataset_features(Tiny(dim), everyone, torch.device("cpu"))
        stored_image_measures(everyone.manifest, everyone.cache)
        measure_images(everyone.manifest, everyone.cache)
        fold = everyone.with_manifest(everyone.manifest.where(everyone.rows["age"] > 70), "train")
        fold.read_rows(range(len(fold)))
    assert sorted(counted) == sorted(folder / name for name in Manifest.read(folder).table["path"])
