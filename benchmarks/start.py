"""Time until a fresh interpreter is of use: `import src`, ``python main.py --help``.

    python -m benchmarks start

Each way is a process of its own, in turns with an interpreter that does nothing and with one that
imports torch, which is what a command pays that needs a network. Times are seconds of waiting.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from src.errors import MriError

from .timing import RESULTS, in_turns, machine, ratio, report, spread

ROOT = Path(__file__).resolve().parents[1]
NOTHING, TORCH = "python -c pass", "import torch"
WAYS: dict[str, tuple[str, ...]] = {
    NOTHING: ("-c", "pass"),
    "import src": ("-c", "import src"),
    "main.py --help": ("main.py", "--help"),
    "from src import Manifest": ("-c", "from src import Manifest"),
    TORCH: ("-c", "import torch"),
    "from src import create_model": ("-c", "from src import create_model"),
}
#: Seconds that a way may take.
WANTED = {"import src": 0.2, "main.py --help": 0.3}
ROUNDS = 7


def run(
    ways: Mapping[str, tuple[str, ...]] = WAYS, rounds: int = ROUNDS, folder: Path = RESULTS
) -> dict[str, Any]:
    """Measure, print the table and write it as JSON.

    Args:
        ways: Name -> arguments of the interpreter; `NOTHING` and `TORCH` are among them.
        rounds: How often each way is measured.
        folder: Where the JSON goes.

    Raises:
        MriError: A way fails.
    """
    here = machine("pandas", "scipy")
    calls = {name: partial(start, words) for name, words in ways.items()}
    in_turns(calls, 1)  # a first start reads files that stay in memory afterwards
    seconds = in_turns(calls, rounds)
    content = {
        "machine": here,
        "seconds": seconds,
        "times_nothing": {name: ratio(one, seconds[NOTHING]) for name, one in seconds.items()},
        "times_torch": {name: ratio(one, seconds[TORCH]) for name, one in seconds.items()},
        "wanted": WANTED,
    }
    print_table(content)
    report("start", content, folder)
    return content


def start(words: tuple[str, ...]) -> None:
    """Start an interpreter in the project's root and wait until it ends.

    Raises:
        MriError: It ends with another status than 0.
    """
    ended = subprocess.run(  # noqa: S603  this interpreter, our own words
        [sys.executable, *words], cwd=ROOT, check=False, capture_output=True, encoding="utf-8"
    )
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise MriError(f"python {' '.join(words)} fails: {said}")


def print_table(content: Mapping[str, Any]) -> None:
    """Print milliseconds, and how many times an empty interpreter and torch alone that is."""
    print(f"{'':<30}{'median':>9}   times `{NOTHING}`         times `{TORCH}`")
    for name, seconds in content["seconds"].items():
        median = statistics.median(seconds)
        line = f"{name:<30}{median * 1e3:6.0f} ms   {spread(content['times_nothing'][name]):<24}"
        line += f"  {spread(content['times_torch'][name])}"
        if name in content["wanted"]:
            wanted = content["wanted"][name]
            line += f"  {'under' if median < wanted else 'OVER'} the {wanted} s wanted"
        print(line)
