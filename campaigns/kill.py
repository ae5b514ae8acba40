"""Stages killed at random moments and run again: the end must be that of an unbroken run.

    python -m campaigns kill --inputs 40 --seed 0
    python -m campaigns kill --only train,predict

Each kill: the state before the stage, the stage's command, a signal at a random moment, the same
command again to its end. Nothing temporary, no half file and no process may be left, and what is
there must be what an unbroken run leaves: the same bytes, but for what two unbroken runs differ in.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from src.errors import ConfigError, MriError
from src.files import write_json

from .commands import RESULTS, ROOT, RUN, words
from .made_run import copy_scans
from .processes import await_end, await_group, children, send, start
from .same_files import Expected, half_files, put_copy

NAME = "kill"
_LONGEST = 300.0
_BEST = ("checkpoints", RUN, "best_model.pth")


@dataclass(frozen=True)
class Stage:
    """A command that is killed.

    Attributes:
        name: On the command line.
        needs: Stages whose results it starts from.
        mode: Of the command.
        flags: In place of the usual ones.
        processes: Of a job that torchrun starts; 0 without it.
    """

    name: str
    needs: tuple[str, ...]
    mode: str
    flags: tuple[tuple[str, object], ...] = ()
    processes: int = 0

    def command(self, root: Path) -> list[str]:
        """Return the words of the command."""
        flags = {k: root.joinpath(*v) if isinstance(v, tuple) else v for k, v in self.flags}
        given = words(self.mode, root, report=False, **flags)
        if not self.processes:
            return [sys.executable, str(ROOT / "main.py"), *given]
        launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(self.processes)]
        return [sys.executable, *launch, "--standalone", "--", str(ROOT / "main.py"), *given]


_PREDICT = (("input", ("scans",)), ("checkpoint", _BEST))
_GRADED = (("graded", 1),)
_CROSSVAL = (("folds", 2), ("repeats", 1), ("run", f"{RUN}_crossval"))
STAGES = (
    Stage("preprocess", (), "preprocess"),
    Stage("preprocess_2_workers", (), "preprocess", (("workers", 2),)),
    Stage("train", ("preprocess",), "train", (("epochs", 4),)),
    Stage("evaluate", ("preprocess", "train"), "evaluate"),
    Stage("gradcam", ("preprocess", "train", "evaluate"), "gradcam", _GRADED),
    Stage("predict", ("preprocess", "train"), "predict", _PREDICT),
    Stage("crossval", ("preprocess",), "crossval", _CROSSVAL),
    Stage("report", ("preprocess", "train", "evaluate"), "report"),
    Stage("train_2_processes", ("preprocess",), "train", (("epochs", 4),), 2),
)


def run(inputs: int, seed: int, only: Sequence[str] = ()) -> int:
    """Kill stages, print one line per fault and a table, write them as JSON.

    Args:
        inputs: Kills, over all stages.
        seed: Of stages, signals and moments.
        only: Names of stages; none means all.

    Returns:
        Faults found.
    """
    unknown = sorted(set(only) - {stage.name for stage in STAGES})
    if unknown:
        known = ", ".join(stage.name for stage in STAGES)
        raise ConfigError(f"no stage {unknown[0]!r} is killed", hint=f"one of {known}")
    chosen = [stage for stage in STAGES if not only or stage.name in only]
    started, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="campaign-kill-") as work:
        place = Place(Path(work))
        for number in range(inputs):
            stage = chosen[number % len(chosen)]
            rng = Random(f"{seed} {stage.name} {number}")  # noqa: S311 - no secret
            rows.append(_one_kill(place, stage, rng, number))
            content = {"seed": seed, "kills": rows, "seconds": round(time.monotonic() - started)}
            write_json(RESULTS / NAME / "totals.json", content)
    _print_table(rows)
    print(f"wrote {RESULTS / NAME / 'totals.json'}")
    return sum(len(row["faults"]) for row in rows)


class Place:
    """One folder in which every stage runs, so that the paths in its files are alike.

    Attributes:
        root: The folder.
        log: Output of the last command.
    """

    def __init__(self, work: Path) -> None:
        self.root, self.log, self._work = work / "run", work / "log.txt", work
        self._known: dict[str, tuple[Expected, float]] = {}

    def before(self, stage: Stage) -> None:
        """Put the state before a stage into the folder.

        Raises:
            MriError: A stage before it fails.
        """
        kept = self._work / f"before_{'_'.join(stage.needs)}"
        if not kept.is_dir():
            put_copy(self._empty(), self.root)
            for name in stage.needs:
                self._run_whole(next(one for one in STAGES if one.name == name))
            if "preprocess" in stage.needs:
                copy_scans(self.root)
            put_copy(self.root, kept)
        put_copy(kept, self.root)

    def expected(self, stage: Stage) -> tuple[Expected, float]:
        """Return what the unbroken stage leaves, and how many seconds it takes."""
        if stage.name not in self._known:
            took, ends = 0.0, []
            for turn in range(2):
                self.before(stage)
                begun = time.monotonic()
                self._run_whole(stage)
                took = time.monotonic() - begun
                ends.append(put_copy(self.root, self._work / f"after_{stage.name}_{turn}"))
            self._known[stage.name] = (Expected(*ends), took)
        return self._known[stage.name]

    def _empty(self) -> Path:
        folder = self._work / "empty"
        folder.mkdir(exist_ok=True)
        return folder

    def _run_whole(self, stage: Stage) -> None:
        process = start(stage.command(self.root), self.log)
        if await_end(process, _LONGEST):
            raise MriError(f"{stage.name} fails unbroken: {self.said()[-600:]}")

    def said(self) -> str:
        """Return what the last command printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def _one_kill(place: Place, stage: Stage, rng: Random, number: int) -> dict[str, Any]:
    """Kill a stage once and run it again; return a row of the table."""
    expected, took = place.expected(stage)
    place.before(stage)
    name = rng.choice(("SIGKILL", "SIGKILL", "SIGTERM"))
    moment, one_child = rng.uniform(0.05, 1.0) * took, rng.random() < 0.3
    status, target, faults = _kill(place, stage, name, moment, one_child, rng)
    faults += [f"half file {one}" for one in half_files(place.root)]
    again = await_end(process := start(stage.command(place.root), place.log), _LONGEST)
    faults += [f"processes left: {len(left)}"] if (left := await_group(process.pid)) else []
    if again != 0 or "Traceback" in place.said():
        faults.append(f"run again: status {again}: {_last_line(place.said())}")
    else:
        faults += expected.wrong(place.root)
    row = {"number": number, "stage": stage.name, "signal": name, "target": target}
    row |= {"seconds": round(moment, 2), "status": status, "faults": faults}
    for fault in faults:
        print(f"{stage.name}:{number} {name} to {target} after {moment:.2f} s: {fault}", flush=True)
    return row


def _kill(
    place: Place, stage: Stage, name: str, moment: float, one_child: bool, rng: Random
) -> tuple[int | None, str, list[str]]:
    """Start a stage and send a signal; return the exit status, who got it, and what was wrong."""
    process = start(stage.command(place.root), place.log)
    target = process.pid
    try:
        process.wait(moment)
    except Exception:  # noqa: BLE001 - it still runs, as it should
        others = children(process.pid) if one_child else []
        target = rng.choice(others) if others else process.pid
        send(target, name)
    whom = "the command" if target == process.pid else "a child"
    status = await_end(process, _LONGEST / 3)
    faults = list(_after(process.pid, status, place.said(), name))
    return status, whom, faults


def _after(group: int, status: int | None, said: str, name: str) -> Iterator[str]:
    """Yield what is wrong once a killed command has ended."""
    if status is None:
        yield f"deaf to {name}"
    left = await_group(group)
    if left:
        yield f"processes left: {len(left)}"
    if "Traceback" in said and "torch.distributed" not in said:
        yield f"traceback: {_last_line(said)}"


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or [""])[-1][:200]


def _print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'stage':<24}{'kills':>7}{'faults':>8}   ended with")
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        ended = Counter(str(row["status"]) for row in own)
        told = ", ".join(f"{status} x {n}" for status, n in sorted(ended.items()))
        print(f"{stage:<24}{len(own):>7}{sum(len(row['faults']) for row in own):>8}   {told}")
