"""What is claimed about speed, measured on this machine.

python -m benchmarks          every one that this machine can run in minutes
python -m benchmarks loader   one of them
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from src.errors import MriError

_ABOUT = "What is claimed about speed, measured on this machine."
#: Each is a module here whose `run` prints a table and writes results/benchmarks/<name>.json.
EVERYWHERE = (
    "start",
    "loader",
    "features",
    "epoch",
    "memory",
    "kept",
    "preprocessing",
    "inference",
    "maps",
)
#: A CUDA GPU; hours of reading and gigabytes of disk; a network, and ten minutes.
ON_REQUEST = ("cuda", "cohort", "peers")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named benchmark, or all. Exit status: 0 done, 2 when one cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_ABOUT)
    names = [*EVERYWHERE, *ON_REQUEST]
    default = f"default: all but {' and '.join(ON_REQUEST)}"
    parser.add_argument("name", nargs="?", choices=names, help=default)
    name = parser.parse_args(argv).name
    try:
        for one in [name] if name else EVERYWHERE:
            importlib.import_module(f".{one}", __package__).run()
    except MriError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
