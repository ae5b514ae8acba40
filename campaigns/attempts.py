"""One command in hostile surroundings, and whether it ended as it should.

It should do its work (exit status 0), or say in one sentence why it does not (2).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .commands import ROOT, environment

#: Linux's prctl that drops a capability, and those that override the rights of files.
_DROP, _OVER_FILES = 24, (1, 2, 3)
_LONGEST = 150.0


@dataclass(frozen=True)
class Surroundings:
    """What a command is started in.

    Attributes:
        env: Variables beside the usual ones.
        cwd: Working folder.
        before: Called in the process before the program starts.
        silent: Whether what it prints cannot be seen, so that only its status counts.
        statuses: Exit statuses that are right.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    before: Callable[[], None] | None = None
    silent: bool = False
    statuses: tuple[int, ...] = (0, 2)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status; None where it had to be killed.
        said: What it printed.
    """

    status: int | None
    said: str


def begin(given: Sequence[str], around: Surroundings) -> subprocess.Popen[str]:
    """Start ``main.py`` in some surroundings."""
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, str(ROOT / "main.py"), *given],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=around.cwd,
        env=environment(**around.env),
        preexec_fn=around.before,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a command to end, and kill it where it does not."""
    try:
        said, _ = process.communicate(timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return Ended(None, said)
    return Ended(process.returncode, said)


def faults_of(ended: Ended, around: Surroundings) -> list[str]:
    """Return what is wrong with how a command ended; empty where nothing is."""
    if ended.status is None:
        return ["hang"]
    found = []
    lines = ended.said.strip().splitlines()
    if "Traceback (most recent call last)" in ended.said:
        found.append(f"traceback: {lines[-1][:200]}")
    if ended.status not in around.statuses:
        last = lines[-1][:200] if lines else ""
        found.append(f"status {ended.status}: {last}")
    told = [line for line in lines if line.startswith("error: ") and line != "error: "]
    if ended.status == 2 and not around.silent and len(told) != 1:
        found.append(f"status 2 with {len(told)} sentences: {' '.join(lines[-2:])[:200]}")
    return found


def without_rights() -> None:
    """Let the rights of files hold for root too, in a process that is about to become the program.

    What root could override is taken from what any later program may have. Another user could not
    even start an interpreter that lies in root's own folder.
    """
    system = ctypes.CDLL(None, use_errno=True)
    for capability in _OVER_FILES if os.geteuid() == 0 else ():
        if system.prctl(_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "the rights of root cannot be given up")


@contextmanager
def small_disk(size: str = "256k", *, read_only: bool = False) -> Iterator[Path | None]:
    """Yield a folder on a disk of its own; None where this machine lets nobody mount one."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    folder = Path(tempfile.mkdtemp(prefix="campaign-disk-"))
    options = f"size={size},mode=777" + (",ro" if read_only else "")
    given = [mount or "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    there = mount and umount and not subprocess.run(given, capture_output=True).returncode  # noqa: S603
    try:
        yield folder if there else None
    finally:
        if there:
            subprocess.run([str(umount), "-l", str(folder)], capture_output=True, check=False)  # noqa: S603
        folder.rmdir()
