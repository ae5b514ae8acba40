"""Families of files that the stages write and read again: tables, JSON, checkpoints, caches."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from src.cli import build_parser
from src.config import RunConfig, config_from_args
from src.data.run_data import open_run_data
from src.evaluation.cross_validation import Study
from src.evaluation.out_of_fold import collect_units
from src.evaluation.scored_runs import read_run
from src.files import write_json
from src.inference.answer_records import AnswerRecords
from src.inference.ensemble import Ensemble, open_ensemble
from src.inference.inputs import find_inputs
from src.models.checkpoint import load_tensors
from src.preprocessing.raw.laid import LaidScan, read_laid, write_laid
from src.preprocessing.raw.standard import read_standard
from src.preprocessing.space.grid import read_named_record
from src.report.failures import failures_in, note_failure
from src.stages.predict import run as predict
from src.stages.report import build_report
from src.stages.train import run as train
from src.training.features import _read_cache

from .commands import RUN, words
from .family import Family
from .made_run import SCANS
from .mutations import flip_bits, number_in_text
from .shapes import change_branch, in_zip, json_branch, npy_header, table_cells

#: Names of `families`, which are known before there is a run.
NAMES = (
    *("scored_run", "failed_json", "scan_record", "laid_scan", "checkpoint_predicts"),
    *("report_json", "manifest", "fold_answers", "feature_cache", "resumed"),
    *("report_tables", "preprocessing_json", "scan_answers", "weights"),
    *("report_images", "processed_files", "standard_scan", "checkpoint"),
)
_CPU = torch.device("cpu")
_BEST = f"checkpoints/{RUN}/best_model.pth"
_CROSSVAL = f"{RUN}_crossval"


def config_in(root: Path, mode: str = "train", **other: object) -> RunConfig:
    """Return the settings of the small run in a folder."""
    return config_from_args(build_parser().parse_args(words(mode, root, **other)))


def _leaf(rng: Random, content: Any) -> Any:
    """Return a tensor in place of a tensor, or something else that a checkpoint may hold."""
    shapes = ((), (0,), (1,), (4,), (2, 3), (1, 1, 3, 3, 3))
    kinds = (torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64)
    plain: tuple[Any, ...] = (
        None,
        True,
        0,
        -1,
        1e308,
        float("nan"),
        "",
        "x",
        [],
        {},
        (),
        b"x",
        [None],
        10**30,
    )
    if rng.random() < 0.5:
        return rng.choice(plain)
    made = torch.ones(rng.choice(shapes)).to(rng.choice(kinds))
    return made * float("nan") if rng.random() < 0.3 and made.is_floating_point() else made


def other_types(rng: Random, data: bytes) -> bytes:
    """Pickle a checkpoint again with one value of another type, shape or name."""
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - it is damaged already
        return flip_bits(rng, data)
    for _ in range(rng.choice((1, 1, 2))):
        content = change_branch(rng, content, tuple(_leaf(rng, content) for _ in range(4)))
    target = io.BytesIO()
    torch.save(content, target)
    return target.getvalue()


def other_settings(rng: Random, data: bytes) -> bytes:
    """The same, of what a checkpoint holds beside weights."""
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        beside = sorted(set(content) - {"model"})
        name = rng.choice(beside)
        kept = {name: content[name]}
        changed = change_branch(rng, kept, tuple(_leaf(rng, content) for _ in range(4)))
        content = {**content, **changed} if isinstance(changed, dict) else content
    except Exception:  # noqa: BLE001 - it is damaged already
        return flip_bits(rng, data)
    target = io.BytesIO()
    torch.save(content, target)
    return target.getvalue()


def _predict(root: Path, name: str) -> object:
    config = config_in(root, "predict", input=root / "scans", checkpoint=root / name, maps=None)
    return list(predict(config))


def _open(root: Path, name: str) -> object:
    ensemble = open_ensemble(config_in(root, "predict", checkpoint=root / name), _CPU)
    ensemble.always_held()
    return ensemble.answer(torch.rand(1, 1, 32, 32, 32))


def _resume(root: Path, name: str) -> object:
    return list(train(config_in(root, resume=True)))


def _processed(root: Path, name: str) -> object:
    if "/.cache/" not in name:  # else the files themselves are not read
        shutil.rmtree(root / "data/phantom_3d/.cache", ignore_errors=True)
    data = open_run_data(config_in(root))
    for split in ("train", "val", "test"):
        part = data.with_split(split)
        part.read_rows(range(len(part)))
    return data


def _records(root: Path, name: str) -> object:
    return read_named_record(root, Path(name).stem)


def _folds(root: Path, name: str) -> object:
    study = Study(config_in(root, "crossval", folds=2, repeats=1, epochs=1, run=_CROSSVAL))
    folder = root / "results" / _CROSSVAL
    study.write_folds(folder)
    units = [study.read(folder, fold, seed) for fold, seed in study.jobs()]
    return collect_units([one for one in units if one is not None], study.folds, study.data)


@cache
def _ensemble(root: Path) -> Ensemble:
    return open_ensemble(config_in(root, "predict", checkpoint=root / _BEST), _CPU)


def _standard(folder: Path) -> None:
    (folder / "p1.nii.gz").write_bytes(b"")
    quality = {"values": {"brain_volume_ml": 1200.0}, "flags": ["a flag"], "failures": []}
    content = {
        "key": "k",
        "to_native": np.eye(4).tolist(),
        "quality": quality,
        "steps": {"brain": "deepbet", "n4": True, "seconds": {"brain": 1.5}},
        "registered": True,
        "side_known": True,
        "notes": ["a note"],
    }
    write_json(folder / "p1.json", content)
    write_laid(
        folder / "p1.laid.npz", LaidScan(np.ones((8, 9, 7), np.int16), np.ones((8, 9, 7), bool))
    )


def _read_standard(folder: Path, name: str) -> object:
    return read_standard(folder / "p1.nii.gz"), read_laid(folder / "p1.laid.npz", (8, 9, 7))


def _features(folder: Path) -> None:
    prints = np.array([f"{n:032x}" for n in range(5)])
    np.savez(folder / "features.npz", fingerprints=prints, features=np.ones((5, 8), np.float32))


def copies(made: Path, *names: str) -> Callable[[Path], None]:
    """Return what copies files and folders of the made run."""

    def make(folder: Path) -> None:
        for name in names:
            source, target = made / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copyfile(source, target)

    return make


def _one(made: Path, folder: str, pattern: str) -> str:
    """Return the first file of a folder of the made run, by its path in it."""
    found = sorted((made / folder).glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder}/{pattern}")
    return found[0].relative_to(made).as_posix()


def families(made: Path) -> tuple[Family, ...]:
    """Return the families of a made run's files.

    Args:
        made: Folder of the run.
    """
    processed, results = "data/phantom_3d", f"results/{RUN}"
    maps = f"results/gradcam/{RUN}"
    note_failure(made / results, "export", "a reason")
    tables = (table_cells, number_in_text)
    text = (json_branch, json_branch, json_branch, number_in_text)
    fold = _one(made, f"results/{_CROSSVAL}/folds", "*.json")
    answer = _one(made, f"{results}/predict/answers", "*.json")
    record = _one(made, f"{processed}/.scans", "*.json")
    return (
        Family(
            "scored_run",
            copies(made, results),
            lambda root, name: read_run(root / results, RUN),
            (f"{results}/metrics.json", f"{results}/people.csv"),
            (*text, table_cells),
        ),
        Family(
            "report_json",
            copies(made, results, maps, processed),
            lambda root, name: build_report(root / results),
            (
                *(f"{results}/metrics.json", f"{results}/predict/predictions.json"),
                *(f"{maps}/explain.json", f"{results}/failed.json"),
            ),
            text,
            share=0.06,
        ),
        Family(
            "report_tables",
            copies(made, results, maps, processed),
            lambda root, name: build_report(root / results),
            (
                *(f"{results}/people.csv", f"{maps}/maps.csv", f"{processed}/rejected.csv"),
                *(f"{results}/predictions.csv", f"{results}/predict/predictions.csv"),
            ),
            tables,
            share=0.06,
        ),
        Family(
            "report_images",
            copies(made, results, maps, processed),
            lambda root, name: build_report(root / results),
            (
                _one(made, f"{maps}/maps", "*.png"),
                _one(made, f"{maps}/maps", "*_map.nii.gz"),
            ),
            share=0.03,
        ),
        Family(
            "failed_json",
            copies(made, results),
            lambda root, name: failures_in(root / results),
            (f"{results}/failed.json",),
            text,
            share=0.5,
        ),
        Family(
            "manifest",
            copies(made, processed),
            _processed,
            (f"{processed}/manifest.csv", f"{processed}/manifest.csv"),
            tables,
            resumes=True,
        ),
        Family(
            "preprocessing_json",
            copies(made, processed),
            _processed,
            (f"{processed}/preprocessing.json",),
            text,
            resumes=True,
        ),
        Family(
            "processed_files",
            copies(made, processed),
            _processed,
            (
                _one(made, f"{processed}/train", "*/*.npy"),
                _one(made, f"{processed}/.cache", "*.npy"),
            ),
            (npy_header,),
            share=0.5,
            resumes=True,
        ),
        Family(
            "scan_record",
            lambda folder: copies(made / processed, record[len(processed) + 1 :])(folder),
            _records,
            (record[len(processed) + 1 :],),
            text,
        ),
        Family(
            "fold_answers",
            copies(made, processed, f"results/{_CROSSVAL}"),
            _folds,
            (fold, f"results/{_CROSSVAL}/folds.csv"),
            (*text, table_cells),
            share=0.3,
            resumes=True,
        ),
        Family(
            "scan_answers",
            copies(made, f"{results}/predict", "scans"),
            lambda root, name: AnswerRecords(
                root / results / "predict", _ensemble(made), config_in(root), {}
            ).read(find_inputs(root / "scans")),
            (answer, f"scans/{SCANS[0]}.hdr"),
            text,
        ),
        Family("standard_scan", _standard, _read_standard, ("p1.json",), text),
        Family(
            "laid_scan",
            _standard,
            _read_standard,
            ("p1.laid.npz",),
            (in_zip(npy_header),),
            share=0.5,
        ),
        Family(
            "feature_cache",
            _features,
            lambda folder, name: _read_cache(folder / name, 8),
            ("features.npz",),
            (in_zip(npy_header),),
            share=0.5,
        ),
        Family(
            "weights",
            copies(made, _BEST),
            lambda root, name: load_tensors(root / name),
            (_BEST,),
            (other_types,),
        ),
        Family(
            "checkpoint",
            copies(made, _BEST),
            _open,
            (_BEST,),
            (other_types, other_settings, other_settings, other_settings),
            share=1,
        ),
        Family(
            "checkpoint_predicts",
            copies(made, _BEST, "scans"),
            _predict,
            (_BEST,),
            (other_settings,),
            share=0.03,
            resumes=True,
        ),
        Family(
            "resumed",
            copies(made, f"checkpoints/{RUN}", processed, results),
            _resume,
            (f"checkpoints/{RUN}/last.pth", f"results/{RUN}/config.json"),
            (other_types, json_branch),
            share=0.05,
            resumes=True,
        ),
    )
