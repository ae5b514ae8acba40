"""A split as ClinicaDL leaves it: one table of sessions for each side, in a folder.

``clinicadl tsvtools split`` and ``kfold`` write ``train.tsv``, ``train_baseline.tsv`` and
``validation_baseline.tsv`` (or ``test_baseline.tsv``) with ``participant_id`` and ``session_id``;
the folds lie in ``5_fold/split-0``, and the test people that were set aside first lie above them.

Source: github.com/aramis-lab/clinicadl, ``docs/TSVTools.md``; Thibeau-Sutre et al. (2022),
doi:10.1016/j.cmpb.2022.106818.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pandas as pd

from ..cohorts.person_values import key_column
from ..cohorts.text_table import read_text_table
from ..errors import DataNotFoundError, ManifestError, counted

logger = logging.getLogger(__name__)
_HINT = "tables of ClinicaDL have the columns participant_id and session_id"
#: What a table is called -> its side.
_TABLE = re.compile(r"(train|validation|test)(_baseline)?\.tsv")
_SIDE = {"train": "train", "validation": "val", "test": "test"}
_ABOVE = 2  # folders: split/test_baseline.tsv of split/5_fold/split-0


def is_side_table(path: Path) -> bool:
    """Return whether a file is called as ClinicaDL calls the table of one side."""
    return _TABLE.fullmatch(path.name) is not None


def read_clinicadl(folder: str | Path) -> pd.DataFrame:
    """Return ``name, side`` of every row of a folder's tables.

    Raises:
        DataNotFoundError: There is no table of training people.
        ManifestError: The folder holds several folds, or a table has no ``participant_id``.
    """
    folder = Path(folder)
    tables = _tables(folder)
    if "train" not in tables:
        folds = sorted(path for path in folder.glob("split[-_]*") if path.is_dir())
        if folds:
            raise ManifestError(
                f"{folder} holds {counted(len(folds), 'fold')} of ClinicaDL, and a split is one",
                hint=f"--split {folds[0]}",
            )
        raise DataNotFoundError(
            folder / "train.tsv",
            hint="name a table with columns subject and split, or a folder of ClinicaDL with "
            "train.tsv and validation_baseline.tsv",
        )
    if "test" not in tables:
        above = next(filter(None, map(_test_tables, list(folder.resolve().parents)[:_ABOVE])), [])
        tables |= {"test": above} if above else {}
    for side in _SIDE:
        names = ", ".join(map(str, tables.get(side, ["none"])))
        logger.info("%s: %s people by %s", folder, side, names)
    return pd.concat(
        [_read(path, _SIDE[side]) for side, paths in tables.items() for path in paths],
        ignore_index=True,
    )


def _tables(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.tsv")):
        named = _TABLE.fullmatch(path.name)
        if named:
            found.setdefault(named[1], []).append(path)
    return found


def _test_tables(folder: Path) -> list[Path]:
    return _tables(folder).get("test", [])


def _read(path: Path, side: str) -> pd.DataFrame:
    table = read_text_table(path, hint=_HINT)
    names = table[key_column(table, "participant_id", path, hint=_HINT)]
    return pd.DataFrame({"name": names, "side": side})
