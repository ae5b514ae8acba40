"""Hostile machines: every command must do its work, or say in one sentence why it does not.

    python -m campaigns environment
    python -m campaigns environment --only full_disk,closed_streams

Full disks, missing rights, folders in the place of files, names too long, closed streams, a locale
that knows no accents, a working folder that is gone, two writers of one folder, pipes among scans.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from src.errors import ConfigError
from src.files import write_json

from .attempts import Ended, Surroundings, begin, faults_of, finish, small_disk, without_rights
from .commands import RESULTS, RUN, words
from .made_run import make_run
from .same_files import half_files, put_copy

NAME = "environment"
#: What one attempt of a kind is called, its words, and what it is started in.
Attempt = tuple[str, list[str], Surroundings]
_PLAIN = Surroundings()
_MODES = ("preprocess", "train", "evaluate", "gradcam", "predict", "report")


def _words(mode: str, root: Path, **other: object) -> list[str]:
    """Return a small command of a mode; `predict` gets scans and a checkpoint."""
    more: dict[str, object] = {"epochs": 1}
    if mode == "predict":
        best = root / "checkpoints" / RUN / "best_model.pth"
        more |= {"input": root / "scans", "checkpoint": best}
    return words(mode, root, **(more | other))


def _full_disk(root: Path) -> Iterator[Attempt]:
    with small_disk() as disk:
        if disk is None:
            return
        for mode in _MODES:
            for name in ("data", "checkpoints", "results"):
                shutil.rmtree(disk / name, ignore_errors=True)
            places: dict[str, object] = {"results_dir": disk / "results"}
            if mode in ("preprocess", "train"):
                places["checkpoint_dir"] = disk / "checkpoints"
            if mode == "preprocess":
                places["data_root"] = disk / "data"
            if mode == "report":
                (disk / "results" / RUN).mkdir(parents=True)
                for name in ("metrics.json", "people.csv"):
                    shutil.copyfile(root / "results" / RUN / name, disk / "results" / RUN / name)
                _fill(disk)
            yield mode, _words(mode, root, **places), _PLAIN


def _fill(disk: Path) -> None:
    """Leave no room on a small disk."""
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def _small_files(root: Path) -> Iterator[Attempt]:
    for mode in _MODES:
        for most in (0, 4096, 100_000):
            limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
            again = {"run": "other"} if mode in ("train", "predict") else {}
            yield f"{mode} {most}", _words(mode, root, **again), Surroundings(before=limit)


def _read_only_disk(root: Path) -> Iterator[Attempt]:
    with small_disk(read_only=True) as disk:
        if disk is None:
            return
        for mode in _MODES:
            places = dict.fromkeys(("results_dir", "checkpoint_dir"), disk)
            if mode in ("evaluate", "gradcam", "report"):
                del places["checkpoint_dir"]
            yield mode, _words(mode, root, **places), _PLAIN


def _no_rights(root: Path) -> Iterator[Attempt]:
    """Folders that may be read only, and files and folders that may not even be read."""
    around = Surroundings(before=without_rights, env={"HOME": "/nonexistent"})
    folders = [path for path in root.rglob("*") if path.is_dir()]
    for path in folders:
        path.chmod(0o555)
    for mode in _MODES:
        again = {"phantom_effect": 0.5} if mode == "preprocess" else {}
        yield f"{mode} nothing to write", _words(mode, root, **again), around
    for path in folders:
        path.chmod(0o755)
    for mode, name in (
        ("evaluate", "data/phantom_3d/manifest.csv"),
        ("evaluate", "data/phantom_3d/preprocessing.json"),
        ("evaluate", f"checkpoints/{RUN}/best_model.pth"),
        ("train", "data/phantom_3d"),
        ("train", "data/phantom_3d/.cache"),
        ("report", f"results/{RUN}/metrics.json"),
        ("predict", "scans/PHAN_0001_MR1.img"),
        ("predict", "scans"),
    ):
        path = root / name
        mode_before = path.stat().st_mode
        path.chmod(0)
        yield f"{mode} {name}", _words(mode, root), around
        path.chmod(mode_before)


def _things_in_the_way(root: Path) -> Iterator[Attempt]:
    for mode, name in (
        ("evaluate", f"results/{RUN}/metrics.json"),
        ("evaluate", f"results/{RUN}/people.csv"),
        ("evaluate", f"results/figures/{RUN}"),
        ("evaluate", f"checkpoints/{RUN}/best_model.pth"),
        ("evaluate", "data/phantom_3d/manifest.csv"),
        ("evaluate", "data/phantom_3d/preprocessing.json"),
        ("train", f"checkpoints/{RUN}/best_model.pth"),
        ("train", f"checkpoints/{RUN}/history.json"),
        ("train", f"results/{RUN}/config.json"),
        ("train", "data/phantom_3d/.cache"),
        ("gradcam", f"results/gradcam/{RUN}/explain.json"),
        ("predict", f"results/{RUN}/predict/predictions.csv"),
        ("predict", f"results/{RUN}/predict/answers"),
        ("report", f"results/{RUN}/report.html"),
        ("report", f"results/{RUN}/config.json"),
        ("preprocess", "data/phantom"),
        ("preprocess", "data/phantom_3d/.scans"),
        ("preprocess", "data/phantom_3d/manifest.csv"),
    ):
        kept = root.with_name("kept")
        put_copy(root, kept)
        path = root / name
        was_folder = path.is_dir()
        shutil.rmtree(path) if was_folder else path.unlink(missing_ok=True)
        if was_folder:
            path.write_bytes(b"in the way")
        else:
            (path / "inside").mkdir(parents=True)
        yield f"{mode} {name}", _words(mode, root), _PLAIN
        put_copy(kept, root)
    for name in ("results", "checkpoints", "data"):
        path = root / f"file_{name}"
        path.write_bytes(b"")
        flag = {"results": "results_dir", "checkpoints": "checkpoint_dir", "data": "data_root"}
        yield f"train {name} is a file", _words("train", root, **{flag[name]: path}), _PLAIN


def _long_names(root: Path) -> Iterator[Attempt]:
    long, deep = "x" * 300, root / "/".join(["y" * 200] * 30)
    for mode in ("train", "evaluate", "predict", "report"):
        yield f"{mode} run", _words(mode, root, run=long), _PLAIN
        yield f"{mode} results", _words(mode, root, results_dir=deep), _PLAIN
    for flag in ("data_dir", "input", "checkpoint", "config", "atlas", "cache_dir", "weights"):
        mode = "predict" if flag == "input" else "train"
        for kind, value in (("name", root / long), ("path", deep)):
            yield f"{mode} {flag} {kind}", _words(mode, root, **{flag: value}), _PLAIN
    yield "evaluate é", _words("evaluate", root, run="é" * 80), _PLAIN
    yield "evaluate line end", _words("evaluate", root, run="a\nb"), _PLAIN


def _close(*streams: int) -> None:
    for stream in streams:
        os.close(stream)


def _to_full(*streams: int) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    for stream in streams:
        os.dup2(full, stream)


def _to_nobody(*streams: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for stream in streams:
        os.dup2(writer, stream)


def _closed_streams(root: Path) -> Iterator[Attempt]:
    """Streams that are closed, full, or read by nobody: also of a refused command, and --help."""
    commands = {
        "evaluate": _words("evaluate", root),
        "refused": _words("evaluate", root, classes=7),
        "not there": _words("evaluate", root, dataset="oasis_2d"),
        "help": ["--help"],
    }
    for told, given in commands.items():
        for kind, change in (("closed", _close), ("full", _to_full), ("unread", _to_nobody)):
            for streams in ((1,), (2,), (1, 2)):
                around = Surroundings(before=partial(change, *streams), silent=True)
                yield f"{told} {kind} {streams}", given, around
    yield "no stdin", commands["evaluate"], Surroundings(before=partial(_close, 0))


def _locales(root: Path) -> Iterator[Attempt]:
    accents = root / "données é 日本"
    accents.mkdir()
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ascii_only = plain | {"PYTHONIOENCODING": "ascii:strict"}
    for kind, env in (("C", plain), ("strict", ascii_only)):
        around = Surroundings(env=env)
        for mode in ("train", "evaluate", "predict", "report"):
            yield f"{mode} {kind}", _words(mode, root), around
        for mode in ("evaluate", "predict"):
            given = _words(mode, root, results_dir=accents / kind)
            yield f"{mode} {kind} accents", given, around
        given = _words("evaluate", root, data_dir=accents / "not there")
        yield f"evaluate {kind} no data", given, around


def _no_working_folder(root: Path) -> Iterator[Attempt]:
    def leave() -> None:
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        Path(folder).rmdir()

    for mode in ("train", "evaluate", "predict", "report"):
        yield mode, _words(mode, root), Surroundings(before=leave)
    usual = _words("evaluate", root, results_dir=None, checkpoint_dir=None, data_root=None)
    yield "evaluate usual folders", usual, Surroundings(before=leave)
    yield "refused", _words("evaluate", root, classes=7), Surroundings(before=leave)


def _poor_machine(root: Path) -> Iterator[Attempt]:
    few = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (24, 24))
    for mode in ("train", "evaluate", "predict"):
        yield f"{mode} 24 open files", _words(mode, root), Surroundings(before=few)
        env = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "MPLCONFIGDIR": "/nonexistent"}
        yield f"{mode} no home", _words(mode, root), Surroundings(env=env)
    little = partial(resource.setrlimit, resource.RLIMIT_AS, (3 << 29, 3 << 29))
    around = Surroundings(before=little, statuses=(0, 1, 2))
    yield "evaluate 1.5 GiB", _words("evaluate", root), around


def _pipes(root: Path) -> Iterator[Attempt]:
    for name in ("pipe.nii.gz", "pipe.img", "pipe.dcm", "pipe", "pipe.mgz", "pipe.png"):
        folder = put_copy(root / "scans", root / f"pipe_in_{name}")
        os.mkfifo(folder / name)
        yield f"predict {name}", _words("predict", root, input=folder), _PLAIN
        yield f"predict only {name}", _words("predict", root, input=folder / name), _PLAIN
    endless = root / "endless.nii"
    endless.symlink_to("/dev/zero")
    yield "predict endless", _words("predict", root, input=endless), _PLAIN
    for name in ("checkpoint", "config", "atlas_labels"):
        pipe = root / f"pipe_{name}"
        os.mkfifo(pipe)
        more = {"atlas": endless} if name == "atlas_labels" else {}
        yield f"gradcam {name}", _words("gradcam", root, **{name: pipe, **more}), _PLAIN
    os.mkfifo(root / "data" / "phantom_3d" / "train" / "pipe.npy")
    audit = words("audit", root, data_dir=root / "data" / "phantom_3d")
    yield "audit", audit, replace(_PLAIN, statuses=(0, 2, 3))


KINDS: dict[str, Callable[[Path], Iterator[Attempt]]] = {
    "full_disk": _full_disk,
    "small_files": _small_files,
    "read_only_disk": _read_only_disk,
    "no_rights": _no_rights,
    "in_the_way": _things_in_the_way,
    "long_names": _long_names,
    "closed_streams": _closed_streams,
    "locales": _locales,
    "no_working_folder": _no_working_folder,
    "poor_machine": _poor_machine,
    "pipes": _pipes,
}
_TWICE = "two_writers"


def run(inputs: int, seed: int, only: Sequence[str] = ()) -> int:
    """Try every kind of surroundings, print one line per fault and a table, write them as JSON.

    Args:
        inputs: Not used: the attempts are listed, not drawn.
        seed: Not used either.
        only: Kinds; none means all.

    Returns:
        Faults found.
    """
    known = [*KINDS, _TWICE]
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise ConfigError(f"no kind {unknown[0]!r}", hint=f"one of {', '.join(known)}")
    started, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="campaign-env-") as work:
        made = Path(work) / "made"
        made.mkdir()
        make_run(made)
        for kind in only or known:
            for row in _attempts(kind, made, Path(work) / "run"):
                rows.append({"kind": kind, **row})
                content = {"seconds": round(time.monotonic() - started), "attempts": rows}
                write_json(RESULTS / NAME / "totals.json", content)
    _print_table(rows, only or known)
    print(f"wrote {RESULTS / NAME / 'totals.json'}")
    return sum(len(row["faults"]) for row in rows)


def _attempts(kind: str, made: Path, root: Path) -> Iterator[dict[str, Any]]:
    """Try one kind in a copy of the made run; yield a row of each attempt."""
    put_copy(made, root)
    if kind == _TWICE:
        yield from _two_writers(root)
        return
    for name, given, around in KINDS[kind](root):
        ended = finish(begin(given, around))
        yield _told(f"{kind} {name}", ended, faults_of(ended, around))


def _told(name: str, ended: Ended, faults: list[str]) -> dict[str, Any]:
    for fault in faults:
        print(f"{name}: {fault}", flush=True)
    last = (ended.said.strip().splitlines() or [""])[-2:]
    return {"name": name, "status": ended.status, "said": " ".join(last)[:300], "faults": faults}


def _two_writers(root: Path) -> Iterator[dict[str, Any]]:
    """Start each stage twice at once on one folder: both end well, and every file is whole."""
    for mode in _MODES:
        both = [begin(_words(mode, root), _PLAIN) for _ in range(2)]
        ends = [finish(process) for process in both]
        half = [f"half file {one}" for one in half_files(root)]
        half += [f"left {path.name}" for path in root.rglob("*.part")]
        for number, ended in enumerate(ends, 1):
            faults = faults_of(ended, _PLAIN) + (half if number == 2 else [])
            yield _told(f"{_TWICE} {mode} {number}", ended, faults)


def _print_table(rows: list[dict[str, Any]], kinds: Sequence[str]) -> None:
    print(f"{'kind':<20}{'attempts':>9}{'done':>7}{'refused':>9}{'faults':>8}")
    for kind in kinds:
        own = [row for row in rows if row["kind"] == kind]
        done, refused = (sum(row["status"] == status for row in own) for status in (0, 2))
        faults = sum(len(row["faults"]) for row in own)
        print(f"{kind:<20}{len(own):>9}{done:>7}{refused:>9}{faults:>8}")
