"""Logging, progress bars, signals and the environment: the only reader of ``os.environ``."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import _TqdmLoggingHandler

from .errors import ConfigError

T = TypeVar("T")
logger = logging.getLogger(__name__)
#: glibc's settings of memory: its variable, mallopt's number, and the values to try in turn. Blocks
#: under 1 GiB come from the heap (glibc before 2.35 takes 32 MiB at most), the heap never shrinks,
#: and it grows by 64 MiB at least.
_MALLOC = (
    ("MALLOC_MMAP_THRESHOLD_", -3, (2**30, 2**25)),
    ("MALLOC_TRIM_THRESHOLD_", -1, (-1,)),
    ("MALLOC_TOP_PAD_", -2, (2**26,)),
)
_LOOK = 1.0  # seconds between two looks for the process that started this one
_KEPT = "stays in this process and in those that it starts"
_kept: bool | None = None  # whether this process keeps memory; None before that is decided


class Terminated(KeyboardInterrupt):
    """SIGTERM: a batch system, ``kill`` or ``torchrun`` asks this process to end."""


@dataclass(frozen=True)
class Place:
    """Which process of a job this is, as ``torchrun`` tells it; alone without it.

    Attributes:
        index: Of this process in the whole job, from 0.
        count: Processes of the job, on all its machines.
        local_index: Of this process on its machine; its GPU.
        local_count: Processes of the job on this machine.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0
    local_count: int = 1


def configure_logging(level: int = logging.INFO, stream: Any = None) -> None:
    """Send records of this project to stderr, one plain line each, around progress bars.

    Args:
        level: Of the records that are shown.
        stream: Where they go instead.
    """
    handler = _TqdmLoggingHandler()
    handler.stream = stream or sys.stderr
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("main", "debug", __name__.partition(".")[0]):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def speak_in_notebook() -> None:
    """Show this project's records in a notebook, unless somebody decided where they go."""
    logger = logging.getLogger(__name__.partition(".")[0])
    if in_notebook() and not logger.handlers and logger.level == logging.NOTSET:
        configure_logging(stream=sys.stdout)  # what a notebook shows of stderr is red


def in_notebook() -> bool:
    """Return whether a notebook's kernel runs this process."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


@contextmanager
def said_once(*parts: Callable[..., Any]) -> Iterator[None]:
    """Let the modules that these functions or classes live in log a sentence once.

    However often they repeat it; warnings are not held back.
    """
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno > logging.INFO or text not in said:
            said.add(text)
            return True
        return False

    loggers = [logging.getLogger(part.__module__) for part in parts]
    for logger in loggers:
        logger.addFilter(is_new)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_new)


def progress(items: Iterable[T], *, total: int | None = None, desc: str = "") -> Iterable[T]:
    """Return `items` behind a progress bar on stderr that redraws at most once a second."""
    bar: Iterable[T] = _bar_kind()(
        *(items, desc, total),
        mininterval=1.0,
        dynamic_ncols=True,
        file=sys.stderr,
        disable=place_in_job().index > 0 or sys.stderr is None,  # None: it is closed
    )
    return bar


def _bar_kind() -> Any:
    """Return the bar of notebooks where it can be shown, else the one of terminals."""
    if in_notebook() and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as widget

        return widget
    return tqdm


class _Unheard:
    """A stream that perhaps nobody reads: what cannot be written is lost, and the work goes on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, if that is possible."""
        with suppress(OSError, ValueError):  # a full disk, a pipe without a reader; or closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def speak_to_anyone() -> None:
    """Let no message end the work: escape what the terminal cannot show, lose what none can read.

    Names that are no text are escaped. What goes to the standard output is a result: that it
    cannot be written is an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is not None and not isinstance(sys.stderr, _Unheard):
        sys.stderr = _Unheard(sys.stderr)  # type: ignore[assignment]


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that what is being written is finished or removed.

    Raises:
        Terminated: In the main thread, at the first SIGTERM. Later ones are ignored: this one is
            being obeyed, and whoever is in a hurry has SIGKILL.
    """

    def stop(number: int, frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with(parent: int) -> None:
    """Let this process end when the one that started it was killed: nobody waits for it.

    By itself a worker of joblib would wait five minutes for another call, and a process of a
    ``torchrun`` that was killed would train on, and keep the next one from its run.

    Args:
        parent: Number of the process that started this one.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    if os.name == "posix":  # elsewhere a process keeps the number of its dead parent
        threading.Thread(target=watch, daemon=True).start()


def usable_cores() -> int:
    """Return how many processor cores this process may use: its share of the job's on a machine."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, cores // place_in_job().local_count)


def place_in_job() -> Place:
    """Return which process of how many this is.

    Raises:
        ConfigError: The variables that ``torchrun`` sets are there in part, or are no numbers.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    values = [os.environ.get(name, "") for name in names]
    if not all(value.isdecimal() for value in values):
        told = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True))
        raise ConfigError(
            f"the environment speaks of a job of several processes, but not clearly: {told}",
            hint="start it with torchrun, or unset WORLD_SIZE",
        )
    return Place(*map(int, values))


def job_address() -> tuple[str, int]:
    """Return host and port of the store that the processes of a job share."""
    return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])


def weight_cache() -> Path:
    """Return the folder that torchvision's weight files are kept in (``TORCH_HOME``)."""
    home = os.environ.get("TORCH_HOME")
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return (Path(home) if home else Path(cache) / "torch") / "hub" / "checkpoints"


def keep_memory(asked: bool = True) -> bool:
    """Let this process and those that it starts keep the memory that they free.

    glibc gives freed tensors back to the system and takes them again page by page, each cleared by
    the kernel: on some machines half of the time of a training step. Elsewhere nothing is done.
    Processes that are started later are told by glibc's own variables; where the user has set one
    of these, all is left as it is. The first call decides, and logs what was done.

    Args:
        asked: False leaves memory as it is.

    Returns:
        Whether memory is kept.
    """
    global _kept
    if _kept is None:
        done = _set_malloc() if asked else "goes back to the system, as asked"
        logger.debug("freed memory %s", done)
        _kept = done == _KEPT
    return _kept


def _set_malloc() -> str:
    """Set glibc's memory to stay; return what became of it, in words."""
    if not _on_glibc():
        return "is left to the system: only on Linux with glibc can it be kept"
    own = [name for name, _, _ in _MALLOC if name in os.environ]
    own += ["GLIBC_TUNABLES"] if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") else []
    if own:
        return f"is handled as {own[0]} in the environment says"
    mallopt = ctypes.CDLL(None).mallopt
    for name, number, values in _MALLOC:
        taken = next((value for value in values if mallopt(number, value)), None)
        if taken is None:
            logger.warning("freed memory is not kept: glibc refuses %s", name)
            return f"goes back to the system: glibc refuses {name}"
        os.environ[name] = str(taken)
    return _KEPT


def _on_glibc() -> bool:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") is not None
    except (AttributeError, ValueError):  # Windows has no confstr; macOS and musl no such name
        return False


def give_memory_back() -> None:
    """Give memory that is free now back to the system, where `keep_memory` kept it."""
    if _on_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def stay_private() -> None:
    """Tell the tracking library not to report its use to its makers, unless the user decided."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
