"""Inputs in a process of their own, which may die of them; the next goes on where it died."""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import traceback
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .cases import Cases
from .family import Family
from .verdicts import CRASH, HANG, PATIENCE, Verdict, resident

#: Inputs of one process: what a library keeps of them goes with it.
CHUNK = 2000
_ADDRESSES = 6 << 30  # more than a process has: what it may ask for before it is refused
_FORK = multiprocessing.get_context("fork")
Row = tuple[int, dict[str, Any], Verdict]


def run_inputs(family: Family, seed: int, numbers: list[int], kept: Path) -> Iterator[Row]:
    """Yield number, what was done, and the verdict of each input.

    Args:
        family: Of the inputs.
        seed: Of all.
        numbers: Of the inputs.
        kept: Folder for those that find a fault.
    """
    todo = list(numbers)
    while todo:
        chunk, todo = todo[:CHUNK], todo[CHUNK:]
        done = yield from _in_child(family, seed, chunk, kept)
        todo = chunk[done:] + todo


def _in_child(
    family: Family, seed: int, numbers: list[int], kept: Path
) -> Generator[Row, None, int]:
    """Yield as `run_inputs`; return how many of the numbers are done."""
    ours, theirs = _FORK.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="campaign-") as work:
        child = _FORK.Process(target=_child, args=(family, seed, numbers, kept, work, theirs))
        child.start()
        theirs.close()
        done = 0
        try:
            for message in _messages(ours):
                if isinstance(message, str):
                    raise RuntimeError(f"{family.name}: {message}")
                done += 1
                yield message
            if done < len(numbers):
                yield numbers[done], {}, _death(child)
                done += 1
        finally:
            child.kill()
            child.join()
    return done


def _messages(pipe: Connection) -> Iterator[Any]:
    """Yield what a child says, until it ends or says nothing for far longer than it may."""
    deadline = 60 * PATIENCE  # it makes and reads the valid files first
    while pipe.poll(deadline):
        try:
            yield pipe.recv()
        except EOFError:
            return
        deadline = 12 * PATIENCE


def _death(child: Any) -> Verdict:
    """Say how a child ended that owes an answer."""
    child.join(0.5)
    if child.exitcode is None:
        return Verdict(HANG, "not over, and deaf to the watchdog")
    return Verdict(CRASH, f"the process ended with {child.exitcode}")


def _child(
    family: Family, seed: int, numbers: list[int], kept: Path, work: str, pipe: Connection
) -> None:
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    try:
        cases = Cases(family, seed, Path(work), kept)
        _limit_memory()
    except Exception as error:  # noqa: BLE001 - without valid files there is no campaign
        pipe.send(f"no valid input: {type(error).__name__}: {error}")
        return
    for number in numbers:
        try:
            row = (number, *cases.run(number))
        except Exception:  # noqa: BLE001 - a fault of the campaign, not of the program
            pipe.send(f"input {number} cannot be made: {traceback.format_exc()}")
            return
        pipe.send(row)
    pipe.close()
    os._exit(0)  # what libraries do at the end is not asked


def _limit_memory() -> None:
    """Let a request for far too much memory fail instead of taking the machine."""
    if resident() < 0:
        return
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = size * resource.getpagesize() + _ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
