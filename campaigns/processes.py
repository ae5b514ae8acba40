"""Processes of one command: started as a group, killed at a moment, and counted afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .commands import ROOT, environment

_GONE = 30.0  # seconds after which a killed command may have no process left


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in a group of its own, its output in a file."""
    with log.open("wb") as file:
        return subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )


def living(group: int) -> list[int]:
    """Return the processes of a group that are not ended, where /proc tells them."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in brackets, may hold blanks: what follows it is state, parent and group.
            state, _, its = (
                (place / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:3]
            )
        except (OSError, ValueError):
            continue
        if int(its) == group and state not in "ZX":
            found.append(int(place.name))
    return found


def children(group: int) -> list[int]:
    """Return the processes of a group but its first."""
    return [one for one in living(group) if one != group]


def send(number: int, name: str) -> bool:
    """Send a signal; return whether the process was there."""
    try:
        os.kill(number, getattr(signal, name))
    except ProcessLookupError:
        return False
    return True


def await_end(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit status; None, and all its group is killed, where it does not end."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def await_group(group: int) -> list[int]:
    """Wait until a group has no process left; return those that stay, which are killed."""
    deadline = time.monotonic() + _GONE
    while (left := living(group)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        os.killpg(group, signal.SIGKILL)
    return left
