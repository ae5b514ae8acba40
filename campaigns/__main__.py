"""Attacks on the program, which it must survive.

python -m campaigns fuzz          damaged files and wild flags
python -m campaigns kill          stages killed at random moments, and run again
python -m campaigns environment   full disks, missing rights, closed streams
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from src.errors import MriError

_ABOUT = "Attacks on the program, which it must survive. Totals go to results/campaigns."
#: Each is a module here whose `run` prints what it found and returns the number of faults.
CAMPAIGNS = {"fuzz": 20_000, "kill": 40, "environment": 0}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign. Exit status: 0 nothing was found, 1 a fault was, 2 it cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m campaigns", description=_ABOUT)
    parser.add_argument("name", choices=CAMPAIGNS)
    usual = ", ".join(f"{number:,} of {name}" for name, number in CAMPAIGNS.items() if number)
    parser.add_argument("--inputs", type=int, help=f"how many inputs or kills (default: {usual})")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default: 0)")
    what = "only these: names with commas between; fuzz also takes NAME:NUMBER"
    parser.add_argument("--only", default="", help=what)
    args = parser.parse_args(argv)
    only = [one for one in args.only.split(",") if one]
    inputs = args.inputs or CAMPAIGNS[args.name]
    try:
        faults = importlib.import_module(f".{args.name}", __package__).run(inputs, args.seed, only)
    except MriError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
