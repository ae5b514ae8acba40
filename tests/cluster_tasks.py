"""What workers are asked to do in `test_dask` and `test_parallel`; imported by other processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    raise ValueError(f"{number} is odd")


def die(number: int) -> int:
    """Take the process with it, as running out of memory does."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class Noted:
    """Something large that notes in a file each time that it is unpacked."""

    def __init__(self, log: Path, content: Any) -> None:
        self.log, self.content = log, content

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")


def features(images: Any, network: Noted) -> tuple[float, int]:
    """Return the sum of a network's output, and who computed it."""
    import torch

    torch.set_num_threads(1)
    with torch.inference_mode():
        return float(network.content(torch.from_numpy(images)).sum()), os.getpid()


def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def scale(number: int, factor: Noted) -> tuple[int, int]:
    return int(number * factor.content), os.getpid()


def folder_of(item: int) -> str:
    """Return where a call runs."""
    return str(Path.cwd())
