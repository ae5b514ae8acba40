"""Seconds and peak memory of every stage that meets a whole cohort, at 100,000 scans.

    python -m benchmarks cohort

Makes a cohort of sparse files in a temporary folder (`benchmarks.cohort_files`) and runs each stage
in a process of its own, so that its peak of memory is its own too, libraries included. Tables are
full size and pixels are not, so this measures tables, numbers of files and memory; what pixels cost
is in ``docs/scale.md``.

The cohort: `rows` sessions in the layout of OASIS-1 with a clinical table, one person in ten with
two of them, and a tenth more of sessions to leave out, unrated or too young; the same as NIfTI
files in class folders; volumes of 64^3 float16 made of them; and `rows` slices, 20 of a person.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from src.auditing.audit import audit_folder
from src.auditing.before_training import refuse_leaks
from src.auditing.table_checks import cheap_audit
from src.cohorts.kaggle_nifti import index_kaggle_nifti
from src.data.splits import folds_hash, folds_table, make_folds, with_fold
from src.errors import MriError
from src.labels import class_scheme
from src.manifest import Manifest, count_people
from src.preprocessing.processed import processed_table
from src.preprocessing.scan import is_done

from .cohort_files import (
    SETTINGS_3D,
    index_oasis_layout,
    make_cohort,
    rated_and_split,
    scans_of,
)

BATCHES, BATCH = 50, 16


def run(
    rows: int = 100_000,
    folder: Path | None = None,
    out: Path | None = None,
    stages: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Make the cohort, run every stage in a process of its own, print a table and write JSON.

    Args:
        rows: Scans of the cohort, and slices; at least 200.
        folder: Where the cohort is made, in a folder of its own that is removed at the end; the
            system's folder for temporary files if None.
        out: Folder of the JSON; where all benchmarks write it if None.
        stages: Names of stages; all if None.

    Raises:
        MriError: A stage failed; what it said is passed on.
    """
    with tempfile.TemporaryDirectory(prefix="cohort-", dir=folder) as name:
        root = Path(name)
        made = call("make", root, rows)
        print(f"{rows} scans: {made['files']} files of {made['apparent_gb']:.1f} GB, which take")
        print(f"{made['allocated_mb']:.0f} MB of the disk; made in {made['seconds']:.0f} s\n")
        print(f"{'stage':<44} {'seconds':>8} {'of CPU':>8} {'peak MB':>8}  found")
        found = {}
        for stage in STAGES_OF_COHORT if stages is None else stages:
            found[stage] = one = call(stage, root, rows)
            times = f"{one['seconds']:8.2f} {one['processor_s']:8.2f}"
            print(f"{stage:<44} {times} {one['peak_mb']:8.0f}  {one['found']}", flush=True)
    from .timing import RESULTS, machine, report  # here, as it imports torch: stages must not

    content = {"rows": rows, "machine": machine("pandas"), "made": made, "stages": found}
    report("cohort", content, out or RESULTS)
    return content


def call(stage: str, root: Path, rows: int) -> dict[str, Any]:
    """Run one stage in a new process and return its ``seconds``, ``peak_mb`` and what it found."""
    command = [sys.executable, "-m", "benchmarks.cohort", stage, str(root), str(rows)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)  # noqa: S603 - own code
    if done.returncode:
        raise MriError(f"stage {stage!r} failed: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


class Clock:
    """Seconds of the part of a stage that counts, and those of the processor in it."""

    seconds = processor = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of the block."""
        start, busy = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - start
        self.processor += time.process_time() - busy


def peak_mb() -> float:
    """Return the most memory this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss also counts what the parent held when it started us
        line = next(
            x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM")
        )
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bytes_read() -> int:
    """Return how many bytes this process has read from files and pipes; 0 where nobody counts."""
    counted = Path("/proc/self/io")
    if not counted.is_file():
        return 0
    return int(counted.read_text(encoding="utf-8").split("rchar:")[1].split()[0])


def make(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Write the cohort."""
    with clock.running():
        return make_cohort(root, rows)


def libraries(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Nothing: what a process takes that has imported the tables' libraries."""
    return {"found": "pandas, scipy, cv2"}


def libraries_and_torch(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Import what a stage that loads images imports."""
    with clock.running():
        import src.data.loaders  # noqa: F401
    return {"found": "and torch"}


def index_tree(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """OASIS-1's layout: four folders and one image for each session."""
    with clock.running():
        manifest = index_oasis_layout(root / "raw")
    return {"found": f"{len(manifest)} sessions"}


def index_nifti(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """NIfTI files in class folders."""
    with clock.running():
        manifest = index_kaggle_nifti(root / "nifti")
    return {"found": f"{len(manifest)} volumes"}


def filter_and_split(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Partition by rating and age, divide people, count them."""
    raw = index_oasis_layout(root / "raw")
    with clock.running():
        manifest = rated_and_split(raw)
        people = count_people(manifest)
    return {"found": f"{int(people.to_numpy().sum())} people"}


def listed_scans(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Rows -> scans to process."""
    manifest = rated_and_split(index_oasis_layout(root / "raw"))
    with clock.running():
        scans = scans_of(manifest)
    return {"found": f"{len(scans)} scans"}


def done_scans(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Which scans are processed already: one record and three stats for each."""
    scans = scans_of(rated_and_split(index_oasis_layout(root / "raw")))
    with clock.running():
        done = sum(is_done(root / "scale_3d", scan, SETTINGS_3D) for scan in scans)
    return {"found": f"{done} of {len(scans)} are done"}


def records_to_table(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Records -> the processed data set's table."""
    manifest = rated_and_split(index_oasis_layout(root / "raw"))
    with clock.running():
        table = processed_table(root / "scale_3d", manifest)
    return {"found": f"{len(table)} rows"}


def read_manifest(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Read and check the table."""
    with clock.running():
        manifest = Manifest.read(root / "scale_2d")
    return {"found": f"{len(manifest)} rows"}


def write_manifest(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """Write the table."""
    manifest = Manifest.read(root / "scale_3d")
    with clock.running():
        path = manifest.write(root / "written")
    return {"found": f"{path.stat().st_size / 1e6:.0f} MB"}


def disjoint(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """No person and no file on two sides."""
    manifest = Manifest.read(root / "scale_3d")
    with clock.running():
        manifest.check_disjoint()
    return {"found": "no leak"}


def opened(dim: str) -> Stage:
    """Return the stage that opens train, val and test."""

    def stage(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
        from src.cohorts.people_names import hash_subjects
        from src.data.loaders import open_dataset

        with clock.running():
            train = open_dataset(root / f"scale_{dim}", dim, class_scheme(4))
            sides = [train, train.with_split("val"), train.with_split("test")]
            hash_subjects(train.subjects)
            train.people_per_class()
        return {"found": " + ".join(str(len(side)) for side in sides)}

    return stage


def folds(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """5 x 5 folds of the volumes, their table and hash."""
    manifest = Manifest.read(root / "scale_3d")
    with clock.running():
        made = make_folds(manifest, folds=5, repeats=5, val_fraction=0.15, seed=0)
        table = folds_table(made)
        name = folds_hash(made)
    return {"found": f"{len(table)} rows, hash {name}"}


def fold_opened(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """One fold's manifest and its three sides."""
    manifest = Manifest.read(root / "scale_3d")
    fold = make_folds(manifest, folds=5, repeats=1, val_fraction=0.15, seed=0)[0]
    with clock.running():
        divided = with_fold(manifest, fold)
        sides = [len(divided.in_split(side)) for side in ("train", "val", "test")]
    return {"found": " + ".join(map(str, sides))}


def leak_checks(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
    """What `train` checks before it starts."""
    manifest = Manifest.read(root / "scale_3d")
    with clock.running():
        refuse_leaks(manifest, allowed=False)
    return {"found": cheap_audit(manifest)["verdict"]}


def audited(dim: str) -> Stage:
    """Return the stage that audits a folder, reading every file."""

    def stage(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
        with clock.running():
            report = audit_folder(root / f"scale_{dim}", dim).report
        said = next(c["sentence"] for c in report["checks"] if c["name"] == "near_duplicates")
        return {"found": said, "looked_at": report["looked_at"]}

    return stage


def loaded(dim: str) -> Stage:
    """Return the stage that opens the image cache and loads batches in random order."""

    def stage(root: Path, rows: int, clock: Clock) -> dict[str, Any]:
        from src.data.dataset import make_loader
        from src.data.loaders import open_dataset

        data = open_dataset(root / f"scale_{dim}", dim, class_scheme(4))
        loader = make_loader(data, BATCH, seed=0)
        data.cache.build()
        before = bytes_read()
        with clock.running():
            taken = [(len(images), images.nbytes) for images, _ in islice(loader, BATCHES)]
        images, size = (sum(one) for one in zip(*taken, strict=True))
        about = {"bytes_read": bytes_read() - before, "bytes_of_images": size}
        return {"found": f"{images} images in {len(taken)} batches", **about}

    return stage


Stage = Callable[[Path, int, Clock], dict[str, Any]]
STAGES_OF_COHORT: dict[str, Stage] = {
    "libraries alone": libraries,
    "libraries alone, with torch": libraries_and_torch,
    "index, OASIS layout": index_tree,
    "index, NIfTI in class folders": index_nifti,
    "filter, split, count people": filter_and_split,
    "list scans": listed_scans,
    "which scans are done": done_scans,
    "processed table from records": records_to_table,
    "read manifest": read_manifest,
    "write manifest": write_manifest,
    "check that sides are disjoint": disjoint,
    "open train, val, test (3D)": opened("3d"),
    "open train, val, test (2D)": opened("2d"),
    "5 x 5 folds, table, hash": folds,
    "one fold's sides": fold_opened,
    "leak checks of train": leak_checks,
    f"cache, {BATCHES} batches (3D)": loaded("3d"),
    f"cache, {BATCHES} batches (2D)": loaded("2d"),
    "audit, every file read (2D)": audited("2d"),
    "audit, every file read (3D)": audited("3d"),
}


def main() -> None:
    """Run one stage in this process and print its result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cohort")
    parser.add_argument("stage", choices=["make", *STAGES_OF_COHORT])
    parser.add_argument("root", type=Path)
    parser.add_argument("rows", type=int)
    given, clock = parser.parse_args(), Clock()
    stage = make if given.stage == "make" else STAGES_OF_COHORT[given.stage]
    found = stage(given.root, given.rows, clock)
    print(
        json.dumps(
            found | {"seconds": clock.seconds, "processor_s": clock.processor, "peak_mb": peak_mb()}
        )
    )


if __name__ == "__main__":
    main()
