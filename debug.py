#!/usr/bin/env python3
"""Check one component at a time, on generated data in a temporary folder that is removed.

Examples:
  python debug.py --step all      # preprocessing, datasets, models, training, evaluation, Grad-CAM
  python debug.py --step 4        # training alone; makes the data it needs
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from checks import steps
from checks.bench import Bench, Checks
from src.runtime import configure_logging, keep_memory

Step = Callable[[Bench, Checks], None]
STEPS: dict[str, tuple[str, Step]] = {
    "1": ("preprocessing", steps.check_preprocessing),
    "2": ("datasets", steps.check_datasets),
    "3": ("models", steps.check_models),
    "4": ("training", steps.check_training),
    "5": ("evaluation", steps.check_evaluation),
    "6": ("Grad-CAM", steps.check_gradcam),
}


def run_step(number: str, bench: Bench, *, tracebacks: bool = False) -> bool:
    """Run one step, print its checks and a last line; return whether all of them passed.

    Args:
        number: A key of `STEPS`.
        bench: Where it makes or finds its data.
        tracebacks: Also print where an error came from.
    """
    name, check = STEPS[number]
    checks, start = Checks(), time.perf_counter()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars; the log stays
            check(bench, checks)
    except Exception as error:  # noqa: BLE001 - whatever stops a step, the next ones still run
        found = f"{type(error).__name__}: {error}"
        checks.that(False, "the step runs to its end", expected="no error", found=found)
        if tracebacks:
            traceback.print_exc()
    passed = checks.done > 0 and not checks.failed
    result = "passed" if passed else f"FAILED, {checks.failed} of"
    comma = "," * passed
    seconds = time.perf_counter() - start
    print(
        f"step {number} {name}: {result}{comma} {checks.done} checks, {seconds:.1f} s", flush=True
    )
    return passed


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``--step`` and ``--debug``."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="debug.py", description=__doc__, formatter_class=raw)
    listed = ", ".join(f"{number} {name}" for number, (name, _) in STEPS.items())
    parser.add_argument(
        "--step", choices=[*STEPS, "all"], default="all", help=f"{listed} (default: %(default)s)"
    )
    parser.add_argument("--debug", action="store_true", help="print tracebacks")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps asked for. Exit status: 0 all passed, 1 one failed, 130 stopped by hand."""
    args = build_parser().parse_args(argv)
    configure_logging(logging.ERROR)
    keep_memory()
    try:
        with tempfile.TemporaryDirectory(prefix="alzheimers-mri-") as folder:
            bench = Bench(Path(folder))
            asked = STEPS if args.step == "all" else (args.step,)
            passed = [run_step(number, bench, tracebacks=args.debug) for number in asked]
    except KeyboardInterrupt:
        print("stopped by hand", file=sys.stderr)
        return 130
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
