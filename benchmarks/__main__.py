"""What is claimed about speed, measured on this machine.

python -m benchmarks          every one
python -m benchmarks maps     one of them
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from src.errors import MriError

from . import inference, maps

_ABOUT = "What is claimed about speed, measured on this machine."
BENCHMARKS: dict[str, Callable[[], object]] = {"inference": inference.run, "maps": maps.run}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or all. Exit status: 0 done, 2 when one cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_ABOUT)
    parser.add_argument("name", nargs="?", choices=list(BENCHMARKS), help="default: all")
    name = parser.parse_args(argv).name
    try:
        for one in [name] if name else BENCHMARKS:
            BENCHMARKS[one]()
    except MriError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
