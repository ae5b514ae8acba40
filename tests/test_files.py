"""Files are there whole, or not at all, and only regular ones are read."""

import errno
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from src import cli, files
from src.cohorts.text_table import read_text_table
from src.config import config_from_args
from src.data.image_file import read_content
from src.errors import ConfigError, DataNotFoundError, MriError
from src.files import (
    FileError,
    atomic_file,
    open_file,
    read_bytes,
    read_json,
    read_text,
    require_file,
    require_writable,
    shown,
    sole_writer,
    stream,
    write_json,
)
from src.preprocessing.io import read_slice
from src.runtime import Terminated


def test_text_is_utf8_with_plain_line_ends_in_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    with atomic_file(path, "w") as file:
        file.write("größe\n")
    assert path.read_bytes() == "größe\n".encode()


def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"old")

    def write_half():
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [file.name for file in tmp_path.iterdir()] == ["model.pth"]
    assert path.read_bytes() == b"old"


def test_the_place_is_empty_until_the_end(tmp_path):
    path = tmp_path / "model.pth"
    with atomic_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"


def test_a_group_can_read_the_file(tmp_path):
    with atomic_file(tmp_path / "x") as file:
        file.write(b"")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_json_comes_back(tmp_path):
    content = {"classes": ["a", "ä"], "n": None}
    path = write_json(tmp_path / "x.json", content)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert "ä" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [float("nan"), {"x": object()}])
def test_what_no_reader_could_parse_is_refused_and_the_old_file_stays(tmp_path, content):
    path = write_json(tmp_path / "x.json", 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(path, content)
    assert path.read_text(encoding="utf-8") == "1\n"
    assert len(list(tmp_path.iterdir())) == 1


WRITER = """
import os, sys, time
from src.files import atomic_file
with atomic_file(sys.argv[1]) as file:
    file.write(b"x" * 5000)
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def writer(path):
    """Start a process that writes `path`, and return it when it is in the middle of it."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="files there have no such locks")
def test_what_killed_writers_left_is_used_again_and_the_living_are_left_alone(tmp_path):
    path = tmp_path / "model.pth"
    for _ in range(3):
        process = writer(path)
        process.kill()
        process.wait()
    assert [one.name for one in tmp_path.iterdir()] == [".model.pth.0.part"]
    living = [writer(path), writer(path)]
    with atomic_file(path) as file:
        file.write(b"third")
    assert path.read_bytes() == b"third"
    assert len(list(tmp_path.glob(".*.part"))) == 2
    for process in living:
        process.kill()
        process.wait()
    with atomic_file(path) as file:
        file.write(b"last")
    assert [one.name for one in tmp_path.iterdir()] == ["model.pth"]
    assert path.read_bytes() == b"last"


def test_two_threads_write_one_file_and_one_of_them_is_there_whole(tmp_path):
    def write(letter: bytes) -> None:
        for _ in range(40):
            with atomic_file(tmp_path / "x") as file:
                file.write(letter * 3000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [b"a", b"b", b"c", b"d"]))
    content = (tmp_path / "x").read_bytes()
    assert len(content) == 3000
    assert len(set(content)) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


def test_a_name_as_long_as_a_file_system_takes_is_written(tmp_path):
    with atomic_file(tmp_path / ("ä" * 125 + ".csv")) as file:
        file.write(b"1")
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"1"]
    told = r"the name is too long(.|\n)*fix: give a shorter name"
    with pytest.raises(FileError, match=told), atomic_file(tmp_path / ("x" * 300)) as file:
        file.write(b"1")


@pytest.mark.parametrize("hidden", [False, True])
def test_a_full_disk_is_told_also_where_torch_hides_it(tmp_path, hidden):
    class Full(io.RawIOBase):
        def writable(self):
            return True

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    told = r"x\.pth cannot be written: the disk is full\n  fix: free"
    with pytest.raises(FileError, match=told), atomic_file(tmp_path / "x.pth"):
        torch.save({"a": torch.zeros(9)}, Full()) if hidden else Full().write(b"")
    assert not list(tmp_path.iterdir())


def test_a_wish_to_end_while_torch_writes_is_that_wish(tmp_path):
    class Stopped(io.RawIOBase):
        def writable(self):
            return True

        def write(self, _):
            raise Terminated("kept")

    with pytest.raises(Terminated, match="kept"), atomic_file(tmp_path / "x.pth"):
        torch.save({"a": torch.zeros(9)}, Stopped())
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_file_is_not_told_of_the_written_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent") as caught, atomic_file(tmp_path / "x"):
        (tmp_path / "absent").read_bytes()
    assert not isinstance(caught.value, FileError)


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(FileError, match="x cannot be written: it is a folder"):
        write_json(tmp_path / "x", 1)
    (tmp_path / "z").write_bytes(b"")
    with pytest.raises(FileError, match=r"a part of the path is a file|is in the way"):
        write_json(tmp_path / "z" / "x", 1)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["x", "z"]


# Reading


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names there")
def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in (("pipe.nii.gz", "a pipe"), ("zero", "a device"), ("", "a folder")):
        for read in (read_bytes, read_text, read_json, open_file, require_file, stream):
            with pytest.raises(FileError, match=f"is {kind}, not a file"):
                read(tmp_path / name)


def test_what_is_not_there_and_what_is_too_large_are_told(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"not found: .*absent"):
        read_bytes(tmp_path / "absent")
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bytes(tmp_path / "x", most=5) == b"12345"
    with pytest.raises(FileError, match="x has 5 bytes, and 4 are the most"):
        read_bytes(tmp_path / "x", most=4)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{", b"\xff", b"1" * 5000])
def test_json_that_cannot_be_followed_is_a_value_error(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r".+"):
        read_json(tmp_path / "x.json")


def test_a_file_without_the_right_to_read_it_is_told_with_the_way(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"")

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)  # the administrator may read everything
    with pytest.raises(
        FileError, match=r"cannot be read: there is no permission(.|\n)*chmod u\+r "
    ):
        read_text(tmp_path / "x")


def test_a_name_that_is_no_text_is_shown_escaped(tmp_path):
    name = os.fsdecode(b"caf\xe9\n\x1b[31m.nii")
    assert shown(name) == r"caf\xe9\n\x1b[31m.nii"
    assert shown("größe.nii") == "größe.nii"
    with pytest.raises(DataNotFoundError, match=r"caf\\xe9"):
        read_bytes(tmp_path / name)


def test_the_command_line_tells_what_the_system_refuses(monkeypatch, capsys):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x.npy")

    monkeypatch.setattr(cli, "run_stage", refuse)
    assert cli.main(["--mode", "train"]) == 2
    assert capsys.readouterr().err.startswith("error: /data/x.npy cannot be used: the disk is full")

    def bug(*_, **__):
        raise OSError("no number: a fault of the program")

    monkeypatch.setattr(cli, "run_stage", bug)
    with pytest.raises(OSError, match="a fault"):
        cli.main(["--mode", "train"])


# One writer at a time

HOLDER = """
import sys, time
from pathlib import Path
from src.files import sole_writer
with sole_writer(Path(sys.argv[1]), "results/a", "x"):
    print("holding", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files there have no such locks")
def test_a_second_writer_is_told_of_the_first_and_a_killed_one_does_not_count(tmp_path):
    lock = tmp_path / "results" / ".a.evaluate.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"holding\n"
    told = (
        rf"another process \({process.pid} on .+\) is writing results/a\n  fix: wait until .* or go"
    )
    with pytest.raises(FileError, match=told), sole_writer(lock, "results/a", "go"):
        pytest.fail("two writers")
    assert lock.exists()
    process.kill()
    process.wait()
    with sole_writer(lock, "results/a", "go"):
        assert lock.read_text(encoding="utf-8").startswith(f"{os.getpid()} on ")
    assert not lock.exists()


def test_who_is_patient_waits_for_the_other(tmp_path):
    order = []

    def hold():
        with sole_writer(tmp_path / "lock", "x", "go"):
            held.set()
            time.sleep(0.4)
            order.append("first")

    held = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(hold)
        held.wait()
        with sole_writer(tmp_path / "lock", "x", "go", patience=30):
            order.append("second")
        done.result()
    assert order == ["first", "second"]


def test_where_nothing_can_be_locked_work_goes_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with sole_writer(tmp_path / "lock", "x", "go"), atomic_file(tmp_path / "x") as file:
        file.write(b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_a_folder_is_proved_before_the_work(tmp_path, monkeypatch):
    require_writable(tmp_path / "not" / "yet")
    assert not list(tmp_path.iterdir())
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(FileError, match=r"x/y cannot be a folder: .*x is a file"):
        require_writable(tmp_path / "x" / "y")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=3_000_000))
    with pytest.raises(FileError, match=r"only 3 MB are free where .*(.|\n)*fix: free some space"):
        require_writable(tmp_path)


def test_every_stage_asks_first_and_leaves_no_lock(tmp_path, monkeypatch):
    words = ["--results_dir", str(tmp_path / "results"), "--run", "a"]
    lock = tmp_path / "results" / ".a.evaluate.lock"
    with sole_writer(lock, "x", "go"), pytest.raises(FileError, match=r"results/a \(evaluate\)"):
        cli.run_stage("evaluate", config_from(words))
    monkeypatch.setattr(cli.importlib, "import_module", lambda *_: SimpleNamespace(run=seen.append))
    seen = Seen()
    cli.run_stage("evaluate", config_from(words))
    assert seen.locks == [".a.evaluate.lock"]
    assert not (tmp_path / "results").exists()  # it was made for the lock, and nothing came of it


def test_two_makers_of_phantoms_are_told_of_each_other(tmp_path):
    words = ["--data_root", str(tmp_path), "--mode", "preprocess", "--dataset"]
    with sole_writer(tmp_path / ".phantom.preprocess.lock", "x", "go"):
        for name in ("phantom_2d", "phantom_3d"):
            with pytest.raises(FileError, match=r"phantom \(preprocess\)(.|\n)*--data_root"):
                cli.run_stage("preprocess", config_from([*words, name, "--phantom_subjects", "8"]))


def test_what_the_system_refuses_a_late_stage_is_a_sentence(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device", "x.png")

    monkeypatch.setattr(cli.importlib, "import_module", lambda *_: SimpleNamespace(run=refuse))
    with pytest.raises(FileError, match=r"x\.png cannot be used: the disk is full\n  fix: free"):
        cli.run_stage("evaluate", config_from(["--results_dir", str(tmp_path)]))


@pytest.mark.parametrize("name", ["a.png", "absent.png"])
def test_every_reader_says_why_a_file_cannot_be_read(tmp_path, name):
    os.mkfifo(tmp_path / "a.png")
    readers = (read_slice, read_content, lambda path: read_text_table(path, hint="x"))
    for read in readers:
        with pytest.raises(MriError, match=r"is a pipe, not a file|not found: ") as error:
            read(tmp_path / name)
        assert "None" not in str(error.value)


def config_from(words):
    return config_from_args(cli.build_parser().parse_args(words))


class Seen:
    """A stage that notes the locks that are there while it runs."""

    def append(self, config):
        self.locks = [path.name for path in config.results_dir.iterdir()]
        return []


@pytest.mark.parametrize("word", ["--mode=--", "--config=--"])
def test_two_hyphens_are_no_value(word, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([word])
    assert stop.value.code == 2
    assert "'--' is no value" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x" * 101, "a\x1b[31m", "a\nb", "\udcff"])
def test_names_of_runs_can_be_printed_and_written(name):
    with pytest.raises(ConfigError, match=r"--run .*(printed|bytes)"):
        config_from(["--run", name])
