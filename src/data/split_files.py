"""Files that say who is on which side: read, laid over a data set, and written without names.

Read are ``subject, split``; ``repeat, fold, subject, side`` of a cross-validation; either with
``subject_hash`` and ``salt`` in place of ``subject``; and a folder of ClinicaDL. A manifest is such
a table, too. Written is ``split.csv``, which may be handed out where ids may not be: of a person it
holds a salted hash, by which whoever has the ids finds the people again. Ids are short and follow a
pattern, so whoever has a list of them can try them all: the hash hides ids from all others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..cohorts.people_names import hash_subject, known_person, spellings
from ..cohorts.person_values import find_column, key_column
from ..cohorts.table_ids import match_ids
from ..cohorts.text_table import read_text_table
from ..errors import DataNotFoundError, LeakageError, ManifestError, counted
from ..files import atomic_file
from ..manifest import SPLITS, Manifest
from .clinicadl_split import is_side_table, read_clinicadl

SPLIT = "split.csv"
_HINT = "a table with the columns subject and split, whose values are train, val and test"
_WHO = ("subject", "participant_id", "subject_hash")
_SIDES = {
    **{side: side for side in SPLITS},
    **{"training": "train", "valid": "val", "validation": "val", "testing": "test"},
}
#: A letter stands before every hash, or a spreadsheet program would take some for numbers.
_HASH = re.compile(r"h?([0-9a-f]{16})")
_MOST_SALT = hashlib.blake2b.SALT_SIZE


@dataclass(frozen=True)
class SplitFile:
    """Who is on which side, as a file says.

    Attributes:
        path: Of the file.
        rows: ``name, side``; of folds ``repeat, fold`` as well. A person stands in it once, or once
            in each fold.
        salt: That the names are hashed with; None where they are people's own.
    """

    path: Path
    rows: pd.DataFrame
    salt: str | None = None

    @property
    def of_folds(self) -> bool:
        """Whether it divides people many times, for a cross-validation."""
        return "fold" in self.rows

    def match(self, subjects: Iterable[str]) -> dict[str, str]:
        """Return whom each name of the file means, for the names that mean one of `subjects`.

        Raises:
            ManifestError: A name may mean two people.
        """
        people = sorted(set(subjects))
        names = list(dict.fromkeys(self.rows["name"]))
        if self.salt is None:
            called = {way: one for one in people for way in spellings(one)}
            return match_ids(names, called | {one: one for one in people}, self.path)
        salt = self.salt
        called = {hash_subject(way, salt): one for one in people for way in spellings(one)}
        return {name: called[name] for name in names if name in called}


def read_split(path: str | Path) -> SplitFile:
    """Read a file, or a folder of ClinicaDL, that says who is on which side.

    Raises:
        DataNotFoundError: There is no such file.
        ManifestError: It is no such table; the message names what is missing or wrong.
        LeakageError: It puts a person on two sides.
    """
    path = Path(path)
    if path.is_dir() or is_side_table(path):
        rows = read_clinicadl(path if path.is_dir() else path.parent)
        return SplitFile(path, once_each(rows, ["name"], path))
    if not path.is_file():
        raise DataNotFoundError(path, hint=_HINT)
    table = read_text_table(path, hint=_HINT)
    who = next((name for name in _WHO if find_column(table, name)), _WHO[0])
    names = table[key_column(table, who, path, hint=_HINT)]
    salt = _salt(table, path) if who == "subject_hash" else None
    rows = pd.DataFrame({"name": names if salt is None else _hashes(names, path)})
    key = ["name"]
    if find_column(table, "repeat") and find_column(table, "fold"):
        key = ["repeat", "fold", "name"]
        for name in key[:2]:
            rows[name] = _whole(table, name, path)
    side = "side" if find_column(table, "side") else "split"
    column = find_column(table, side)
    if column is None:
        key_column(table, side, path, hint=_HINT)  # raises, with the columns that are there
    rows["side"] = _sides(table[column], names, path)
    return SplitFile(path, once_each(rows, key, path), salt)


def is_split_table(path: Path) -> bool:
    """Return whether a file is a table that gives people a side."""
    columns = read_text_table(path, hint=_HINT)
    named = any(find_column(columns, name) for name in _WHO)
    return named and any(find_column(columns, name) for name in ("split", "side"))


def split_rows(manifest: Manifest) -> pd.DataFrame:
    """Return ``subject, split`` of everyone who is on a side."""
    rows = manifest.table.dropna(subset=["split"])[["subject", "split"]]
    return rows.drop_duplicates().reset_index(drop=True)


def write_split(folder: Path, rows: pd.DataFrame, everyone: Iterable[str]) -> Path:
    """Write ``split.csv``: who was on which side, by salted hashes.

    Args:
        folder: Of the run's results.
        rows: ``subject`` and ``split``, or ``repeat, fold, subject, side``.
        everyone: All people of the data set, from whom the salt follows: a run that is repeated
            writes the same file, and two splits of one data set can be compared.
    """
    names = rows["subject"].map(lambda name: known_person(name) or name)
    text = "\n".join(sorted({known_person(name) or name for name in everyone}))
    salt = "s" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()[: _MOST_SALT - 1]
    hashed = rows.assign(subject="h" + names.map(lambda name: hash_subject(name, salt)))
    hashed = hashed.rename(columns={"subject": "subject_hash"}).assign(salt=salt)
    folds = [name for name in ("repeat", "fold") if name in hashed]
    hashed = hashed.sort_values([*folds, "subject_hash"])  # the order of names would tell them
    with atomic_file(folder / SPLIT, "w") as file:
        hashed.to_csv(file, index=False, lineterminator="\n")
    return folder / SPLIT


def _salt(table: pd.DataFrame, path: Path) -> str:
    """Return the one salt of a table; hashes without a column for it have none."""
    column = find_column(table, "salt")
    salts = [""] if column is None else sorted(table[column].fillna("").unique())
    if len(salts) != 1 or len(salts[0].encode()) > _MOST_SALT:
        said = f"{len(salts)} salts" if len(salts) != 1 else f"a salt of over {_MOST_SALT} bytes"
        raise ManifestError(f"{path} has {said}", hint="take the file as it was written")
    return str(salts[0])


def _hashes(names: pd.Series, path: Path) -> list[str]:
    found = [_HASH.fullmatch(name.lower()) for name in names]
    if None in found:
        wrong = names.iloc[found.index(None)]
        raise ManifestError(
            f"{path}: the subject_hash {wrong[:40]!r} is not h and 16 hexadecimal digits",
            hint="take the file as it was written; a spreadsheet program may have changed it",
        )
    return [one[1] for one in found if one]


def _whole(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    cells = table[key_column(table, name, path, hint=_HINT)]
    wrong = cells[~cells.str.fullmatch(r"\d{1,4}(\.0+)?")]
    if len(wrong):
        raise ManifestError(
            f"{path}: the {name} {wrong.iloc[0][:40]!r} is no whole number",
            hint=f"number the {name}s 0, 1, 2, ...",
        )
    return cells.astype(float).astype(int)


def _sides(cells: pd.Series, names: pd.Series, path: Path) -> pd.Series:
    """Return train, val or test of each row; missing where the cell is empty."""
    sides = cells.str.strip().str.lower().map(_SIDES)
    wrong = sides.isna() & cells.notna()
    if wrong.any():
        raise ManifestError(
            f"{path}: the side of {names[wrong].iloc[0][:40]!r} is {cells[wrong].iloc[0][:40]!r}, "
            f"none of {', '.join(SPLITS)}",
            hint=_HINT,
        )
    return sides


def once_each(rows: pd.DataFrame, key: list[str], path: Path) -> pd.DataFrame:
    """Return each person once, or once in each fold; people without a side are left out.

    Raises:
        LeakageError: A person is on two sides.
        ManifestError: Nobody is on a side.
    """
    placed = rows.dropna(subset=["side"])
    sides = placed.groupby(key)["side"].nunique()
    both = sides.index[sides > 1]
    if len(both):
        wanted = both[0] if len(key) > 1 else (both[0],)
        one = placed[(placed[key] == list(wanted)).all(axis=1)].drop_duplicates("side")
        raise LeakageError(
            f"{path}: {counted(len(both), 'person stands', 'people stand')} on two sides"
            f"{' of one fold' if len(key) > 1 else ''}, such as {str(wanted[-1])[:40]!r} in "
            f"{' and '.join(one['side'])}",
            hint="leave each person on one side",
        )
    if placed.empty:
        raise ManifestError(f"{path} puts nobody on a side", hint=_HINT)
    return placed.drop_duplicates(key).reset_index(drop=True)
