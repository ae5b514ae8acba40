"""Damaged files and wild flags: every reader must read them, or refuse them in a sentence.

    python -m campaigns fuzz --inputs 20000 --seed 0
    python -m campaigns fuzz --only nifti1,flags
    python -m campaigns fuzz --only nifti1:17          one input again

Inputs follow from seed, family and number alone. What finds a fault is kept, with the file, below
results/campaigns/fuzz.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from src.errors import ConfigError, nearest
from src.files import shown, write_json

from .children import run_inputs
from .commands import RESULTS
from .family import Family
from .verdicts import BAD, GOOD, Verdict

NAME = "fuzz"


def run(inputs: int, seed: int, only: Sequence[str] = ()) -> int:
    """Attack every reader, print one line per fault and a table, write them as JSON.

    Args:
        inputs: Of all families together.
        seed: Of all inputs.
        only: Families, or single inputs as ``family:number``; none means all families.

    Returns:
        Faults found.
    """
    folder = RESULTS / NAME
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-run-") as made:
        known = every_family(Path(made), only)
        chosen = plan(known, inputs, only)
        rows: list[dict[str, Any]] = []
        for family, numbers in chosen:
            rows.append(_attack(family, seed, numbers, folder))
            content = {"seed": seed, "inputs": inputs, "seconds": round(time.monotonic() - started)}
            faults: int = sum(row["faults"] for row in rows)
            write_json(folder / "totals.json", content | {"faults": faults, "families": rows})
    _print_table(rows, content["seconds"])
    print(f"wrote {folder / 'totals.json'}")
    return faults


def every_family(made: Path, only: Sequence[str] = ()) -> list[Family]:
    """Return all families; the run whose files some of them damage is made where it is needed.

    Args:
        made: Empty folder for that run.
        only: As `run`; names of families without a run need none.

    Raises:
        ConfigError: A name in `only` is no family's.
    """
    from . import flags, scans, tables

    alone = [*scans.FAMILIES, *tables.FAMILIES, *flags.FAMILIES]
    asked = {one.partition(":")[0] for one in only}
    own = {family.name for family in alone}
    if asked and asked <= own:
        return alone
    from . import runs
    from .made_run import make_run

    _refuse_unknown(asked, own | set(runs.NAMES))  # a run takes a minute
    return [*alone, *runs.families(make_run(made))]


def _refuse_unknown(asked: set[str], known: set[str]) -> None:
    for name in sorted(asked - known):
        near = nearest(name, known)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(sorted(known))}"
        raise ConfigError(f"no family {name!r}", hint=hint)


def plan(
    known: Iterable[Family], inputs: int, only: Sequence[str] = ()
) -> list[tuple[Family, list[int]]]:
    """Return which inputs of which family are made."""
    by_name = {family.name: family for family in known}
    asked: dict[str, list[int] | None] = {}
    for one in only:
        name, _, number = one.partition(":")
        asked[name] = [int(number)] if number else None
    chosen = [by_name[name] for name in asked] if asked else list(by_name.values())
    total = sum(family.share for family in chosen)
    return [
        (family, asked.get(family.name) or [*range(max(1, round(inputs * family.share / total)))])
        for family in chosen
    ]


def _attack(family: Family, seed: int, numbers: list[int], folder: Path) -> dict[str, Any]:
    """Run a family's inputs; return its row of the table."""
    started, counts, causes = time.monotonic(), Counter[str](), Counter[str]()
    for number, about, verdict in run_inputs(family, seed, numbers, folder):
        counts[verdict.kind] += 1
        if verdict.kind in BAD:
            causes[verdict.signature] += 1
            print(_line(family, number, about, verdict), flush=True)
    faults = sum(counts[kind] for kind in BAD)
    row = {"family": family.name, "inputs": len(numbers), "faults": faults}
    row |= {kind: counts[kind] for kind in (*GOOD, *BAD)}
    return row | {"seconds": round(time.monotonic() - started, 1), "causes": dict(causes)}


def _line(family: Family, number: int, about: dict[str, Any], verdict: Verdict) -> str:
    done = "+".join(about.get("done", []))
    where = f" at {verdict.where}" if verdict.where else ""
    said = shown(verdict.said)
    return f"{verdict.kind}: {family.name}:{number} ({about.get('file')}, {done}){where}: {said}"


def _print_table(rows: list[dict[str, Any]], seconds: int) -> None:
    kinds = ("inputs", *GOOD, *BAD)
    print(f"{'family':<22}" + "".join(f"{kind:>11}" for kind in kinds) + f"{'seconds':>9}")
    for row in rows:
        line = "".join(f"{row[kind]:>11,}" for kind in kinds)
        print(f"{row['family']:<22}{line}{row['seconds']:>9.0f}")
    totals = "".join(f"{sum(row[kind] for row in rows):>11,}" for kind in kinds)
    print(f"{'all':<22}{totals}{seconds:>9}", flush=True)
