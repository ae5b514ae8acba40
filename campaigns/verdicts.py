"""What became of one input: read, refused in a sentence, or one of the ways that are faults.

Sizes are bytes, times seconds.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from src.errors import MriError
from src.runtime import give_memory_back

ACCEPTED, REFUSED = "accepted", "refused"
TRACEBACK, HANG, MEMORY, LEFTOVER, CRASH = "traceback", "hang", "memory", "leftover", "crash"
GOOD = (ACCEPTED, REFUSED)
BAD = (TRACEBACK, HANG, MEMORY, LEFTOVER, CRASH)
PATIENCE = 10.0
SPARE = 64 << 20
_ROOT = Path(__file__).resolve().parents[1]


class OutOfPatience(BaseException):
    """The watchdog's: no `Exception`, so that no reader takes it for damage of a file."""


@dataclass(frozen=True)
class Verdict:
    """What became of one input.

    Attributes:
        kind: One of `GOOD` or `BAD`.
        said: The sentence, or the last line of the traceback.
        where: ``file:line`` of the program that raised it; empty of what is good.
        grown: Bytes of memory that it took at its peak; -1 where that cannot be told.
    """

    kind: str
    said: str = ""
    where: str = ""
    grown: int = -1

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON takes."""
        return asdict(self)

    @property
    def signature(self) -> str:
        """What faults of one cause share."""
        return f"{self.kind} {self.where} {self.said.partition(':')[0][:60]}"


def judge(
    call: Callable[[], object],
    folder: Path,
    needed: int | None,
    *,
    resumes: bool = False,
    patience: float = PATIENCE,
) -> Verdict:
    """Call, and say what became of it.

    Args:
        call: Reads the input.
        folder: In which a refused input may leave no file.
        patience: Seconds after which it hangs.
        resumes: Whether whole files may stay all the same, for a next call to go on from.
        needed: Bytes that an honest input of this size takes; None asks for no limit.
    """
    before = set(_files(folder))
    forget_peak()
    start = resident()
    verdict = _outcome(call, patience)
    grown = peak() - start if start >= 0 else -1
    verdict = Verdict(verdict.kind, verdict.said, verdict.where, grown)
    if verdict.kind in GOOD and needed is not None and grown > 2 * needed + SPARE:
        said = f"{grown >> 20} MiB taken, {needed >> 20} MiB needed"
        return Verdict(MEMORY, f"{said}; {verdict.kind}: {verdict.said}", "", grown)
    left = sorted(set(_files(folder)) - before) if verdict.kind == REFUSED else []
    left = [name for name in left if not resumes or name.endswith(".part")]
    if left:
        return Verdict(LEFTOVER, f"left {', '.join(left[:3])}: {verdict.said}", "", grown)
    return verdict


def _outcome(call: Callable[[], object], patience: float) -> Verdict:
    try:
        with watchdog(patience):
            call()
    except MriError as error:
        said = " ".join(str(error).split())
        return Verdict(REFUSED, said) if said else Verdict(TRACEBACK, "no sentence", _where(error))
    except OSError as error:
        # The command line tells these as a sentence too, whatever raised them.
        return Verdict(REFUSED, str(error)) if error.errno else _trouble(TRACEBACK, error)
    except SystemExit as leaving:  # argparse's
        return Verdict(REFUSED, f"exit status {leaving.code}")
    except MemoryError as error:
        return _trouble(MEMORY, error)
    except OutOfPatience as error:
        return _trouble(HANG, error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - what escapes is what this looks for
        return _trouble(TRACEBACK, error)
    return Verdict(ACCEPTED)


def _trouble(kind: str, error: BaseException) -> Verdict:
    text = " ".join("".join(traceback.format_exception_only(error)).split())
    return Verdict(kind, text[:300], _where(error))


def _where(error: BaseException) -> str:
    """Return the last place in the program that an error passed."""
    own = [
        f"{Path(frame.filename).relative_to(_ROOT).as_posix()}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_ROOT / "src")
    ]
    return own[-1] if own else ""


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raise `OutOfPatience` in the block when it takes longer."""

    def bark(number: int, frame: FrameType | None) -> NoReturn:
        raise OutOfPatience(f"not over after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def forget_peak() -> None:
    """Let the peak of this process's memory start anew, where Linux can do that.

    What was freed goes back first: a call that takes it again would seem to take nothing.
    """
    give_memory_back()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def resident() -> int:
    """Return bytes of memory that this process has now; -1 where that is not told."""
    return _status("VmRSS")


def peak() -> int:
    """Return the most that it had since `forget_peak`; -1 where that is not told."""
    return _status("VmHWM")


def _status(name: str) -> int:
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return -1
    line = next(line for line in text.splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(place, name), folder)  # noqa: PTH118 - any bytes
