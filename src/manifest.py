"""The table that every stage reads and writes: one row per scan, or per slice in 2D.

Columns: ``cohort, subject, session, slice, path, label, split, fold, age [years], sex [F|M],
mmse [0-30], etiv [mL], nwbv [fraction], day [days since the person's first visit], rating_days
[days from the scan to its rating], diagnosis, site, scanner, manufacturer, field_strength [T],
fingerprint``. An empty cell means "not known". An empty ``label`` means "not rated", which is not
the same as healthy. The labels of one table are of one kind (`labels.LABEL_KINDS`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import DataNotFoundError, LeakageError, ManifestError, counted
from .files import LARGEST_WHOLE, atomic_file, read_json, stream
from .labels import LABELS, labels_like

MANIFEST, SETTINGS, REJECTED = "manifest.csv", "preprocessing.json", "rejected.csv"
SPLITS = ("train", "val", "test")
KEY = ["cohort", "subject", "session", "slice"]
#: How and where a scan was made.
ORIGIN = ("site", "scanner", "manufacturer", "field_strength")
_TEXT = (
    *("cohort", "subject", "session", "path", "label", "split", "sex", "diagnosis"),
    *("site", "scanner", "manufacturer", "fingerprint"),
)
_NUMBER = ("age", "mmse", "etiv", "nwbv", "day", "rating_days", "field_strength")
_INTEGER = ("slice", "fold")
_KINDS = {
    **dict.fromkeys(_TEXT, "str"),
    **dict.fromkeys(_NUMBER, "Float64"),
    **dict.fromkeys(_INTEGER, "Int64"),
}
COLUMNS = (
    *("cohort", "subject", "session", "slice", "path", "label", "split", "fold"),
    *("age", "sex", "mmse", "etiv", "nwbv", "day", "rating_days", "diagnosis", *ORIGIN),
    "fingerprint",
)
#: Absolute, with ``..`` in it, with ``:`` in its first part (a drive), or naming no file.
_LEAVES_ROOT = re.compile(r"\A[/\\]|(?:\A|[/\\])\.\.(?:[/\\]|\Z)|\A(?:\.[/\\]+)*(?:[^/\\]*:|\.?\Z)")
_AGAIN = "correct the table, or preprocess again"
#: What the values of `SETTINGS` are, where they are there.
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("cohort", "dataset", "dim", "label"), str),
    **dict.fromkeys(("preprocess", "split", "phantom", "scan", "people"), dict),
    "set_aside": (dict, type(None)),
    "jpeg_quality": (int, type(None)),
    **dict.fromkeys(("rejected", "unrated_scans", "side_known"), int),
    "stamps": list,
}
#: Said of every result whose training people were also tested on.
SAME_PEOPLE = "same people in train and test"
#: Said of every result made from files that name no person.
PEOPLE_UNKNOWN = "people unknown"


@dataclass(frozen=True)
class Manifest:
    """A checked table and the folder its paths start from.

    Attributes:
        table: One row per scan or slice, with `COLUMNS`.
        root: Folder that ``path`` is relative to, and may not leave.
        stamps: Warnings that every result made from these rows must carry.
    """

    table: pd.DataFrame
    root: Path
    stamps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _typed(self.table))
        _check(self.table, COLUMNS)

    @classmethod
    def _of_checked(cls, table: pd.DataFrame, root: Path, stamps: tuple[str, ...]) -> Manifest:
        """Return a manifest of a table that keeps the contract: it is not checked once more."""
        manifest = object.__new__(cls)
        for name, value in (("table", table), ("root", root), ("stamps", stamps)):
            object.__setattr__(manifest, name, value)
        return manifest

    @classmethod
    def from_columns(
        cls, root: str | Path, *, stamps: tuple[str, ...] = (), **columns: Any
    ) -> Manifest:
        """Build a manifest from named columns; those not given are empty."""
        root = Path(root)
        return cls(pd.DataFrame(columns), root, stamps)

    @classmethod
    def read(cls, folder: str | Path) -> Manifest:
        """Read ``manifest.csv`` and the stamps that stand in ``preprocessing.json`` beside it.

        Raises:
            DataNotFoundError: The folder has no manifest.
            ManifestError: The table is not one.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            hint = "name a folder that --mode preprocess made, such as data/oasis_2d"
            if folder.name.endswith(("_2d", "_3d")):
                hint = f"python main.py --mode preprocess --dataset {folder.name}"
            raise DataNotFoundError(path, hint=hint)
        try:
            table = pd.read_csv(stream(path), dtype=str, keep_default_na=False, na_values=[""])
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise ManifestError(f"{path} is not a CSV table: {error}", hint=_AGAIN) from None
        settings = folder / SETTINGS
        stamps = read_settings(settings).get("stamps", []) if settings.is_file() else []
        try:
            if not isinstance(table.index, pd.RangeIndex):
                raise ManifestError("rows are longer than the first line")
            return cls(table, folder, tuple(stamps))
        except ManifestError as error:
            raise ManifestError(f"{path}: {error.message}", hint=error.hint or _AGAIN) from None

    def write(self, folder: str | Path) -> Path:
        """Write ``manifest.csv`` into `folder` and return its path."""
        folder = Path(folder)
        with atomic_file(folder / MANIFEST, "w") as file:
            self.table.to_csv(file, index=False)
        return folder / MANIFEST

    def __len__(self) -> int:
        return len(self.table)

    def _repr_html_(self) -> str:
        """Show people by stage and split, in a notebook."""
        stamps = "".join(f"<p><b>{escape(stamp)}</b></p>" for stamp in self.stamps)
        people = self.table["subject"].nunique()
        head = f"<p>{len(self)} rows of {people} people; with a stage and a split:</p>"
        return f"{head}{stamps}{count_people(self).to_html(border=0)}"

    def where(self, mask: pd.Series) -> Manifest:
        """Return the rows that `mask` marks."""
        rows = self.table[mask].reset_index(drop=True)  # some rows of a checked table are one
        return self._of_checked(rows, self.root, self.stamps)

    def with_columns(self, **columns: Any) -> Manifest:
        """Return the same rows with other values in the named columns, which alone are checked.

        Raises:
            ManifestError: A value breaks the contract, or a name is none of `COLUMNS`.
        """
        table = _typed(self.table.assign(**columns), tuple(columns))
        _check(table, tuple(columns))
        return self._of_checked(table, self.root, self.stamps)

    def with_rows_of(self, other: Manifest) -> Manifest:
        """Return these rows and then those of another manifest of the same folder.

        Raises:
            ManifestError: A row stands in both.
        """
        table = pd.concat([self.table, other.table], ignore_index=True)
        return Manifest(table, self.root, self.stamps)

    def with_stamps(self, *stamps: str) -> Manifest:
        """Return the same rows with more warnings."""
        return self._of_checked(self.table, self.root, (*self.stamps, *stamps))

    def in_split(self, split: str) -> Manifest:
        """Return the rows of ``"train"``, ``"val"`` or ``"test"``."""
        return self.where(self.table["split"] == split)

    def people(self) -> pd.DataFrame:
        """Return one row per person, indexed by subject: the first session's values.

        A person's ``label`` is the first one known over the sessions.
        """
        return self.table.sort_values(KEY[1:]).groupby("subject", sort=True).first()

    def partition(
        self, keep: pd.Series, reason: str | Callable[[pd.DataFrame], pd.Series]
    ) -> tuple[Manifest, pd.DataFrame]:
        """Split into the rows to keep and a table of the others with a ``reason`` column.

        Args:
            keep: True for each row that stays.
            reason: Why the others go: one text, or a function of their table that says it of each.
        """
        removed = self.table[~keep].reset_index(drop=True)
        reasons = pd.Series(reason, removed.index) if isinstance(reason, str) else reason(removed)
        return self.where(keep), removed.assign(reason=reasons.astype("str"))

    def at_least_age(self, years: float) -> tuple[Manifest, pd.DataFrame]:
        """Keep people of at least `years`; return also the rows removed, with the reason.

        Raises:
            ManifestError: No row has an age, so the filter would remove everything.
        """
        if years <= 0:
            return self, self.table.iloc[:0].assign(reason="")
        age = self.table["age"]
        if age.isna().all():
            raise ManifestError(
                f"--min_age {years:g}: no row of {self.root} has an age", hint="leave --min_age out"
            )

        def reasons(removed: pd.DataFrame) -> pd.Series:
            return removed["age"].map(
                lambda age: "age unknown" if pd.isna(age) else f"age {age:g} under {years:g}"
            )

        return self.partition((age >= years).fillna(False).astype(bool), reasons)

    def require_labels(self) -> None:
        """Refuse a row that has a split and no label: nobody can learn from it or be tested.

        Raises:
            ManifestError: It names the first such row.
        """
        wrong = self.table["split"].notna() & self.table["label"].isna()
        try:
            _refuse(self.table, wrong, "a row has a split and no label")
        except ManifestError as error:
            hint = "give it a label, or empty its split"
            raise ManifestError(f"{self.root / MANIFEST}: {error.message}", hint=hint) from None

    def check_disjoint(self) -> None:
        """Refuse a split that has one person, or one file's content, on two sides.

        A manifest that carries the stamp `SAME_PEOPLE` was split so on purpose and passes.

        Raises:
            LeakageError: With the number of people or files and three of them.
        """
        if SAME_PEOPLE in self.stamps:
            return
        placed = self.table.dropna(subset=["split"])
        for column, what in (("subject", "person"), ("fingerprint", "identical file")):
            sides = placed.dropna(subset=[column]).groupby(column)["split"].nunique()
            both = list(sides.index[sides > 1])
            if both:
                copies = placed.loc[placed[column] == both[0]].drop_duplicates("split")["path"]
                some = ", ".join(both[:3] if column == "subject" else copies)
                mend = "split by person, as --mode preprocess does"
                mend = mend if column == "subject" else "remove all but one of such files"
                raise LeakageError(
                    f"{counted(len(both), what)} on both sides of the split in {self.root}, "
                    f"such as {some}",
                    hint=mend,
                )


def read_settings(path: str | Path) -> dict[str, Any]:
    """Return the JSON object in `path`, ``preprocessing.json`` of a data set.

    Raises:
        ManifestError: The file is damaged.
    """
    path = Path(path)
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        for name, kind in _SETTINGS.items():
            if name in content and not isinstance(content[name], kind):
                raise ValueError(f"{name} is of another type")
        if not all(isinstance(stamp, str) for stamp in content.get("stamps", [])):
            raise ValueError("a stamp is no text")
    except ValueError as error:
        raise ManifestError(
            f"{path} is damaged: {error}", hint=f"remove {path.parent} and preprocess again"
        ) from None
    return content


def _typed(table: pd.DataFrame, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Return `table` with exactly `COLUMNS`, of which `columns` are typed; missing ones are empty.

    The table keeps its own columns unless they have to change.
    """
    missing = [name for name in ("subject", "path") if name not in table]
    if missing:
        raise ManifestError(
            f"column {missing[0]!r} is missing; found: {', '.join(map(str, table.columns))}"
        )
    unknown = [name for name in table if name not in COLUMNS]
    if unknown:
        raise ManifestError(f"unknown column {unknown[0]!r}; a manifest has: {', '.join(COLUMNS)}")
    table = table.reindex(columns=list(COLUMNS)).reset_index(drop=True)
    for name in columns:
        kind = _KINDS[name]
        try:
            values = table[name] if kind == "str" else pd.to_numeric(table[name])
            if kind != "str" and (values.abs() > LARGEST_WHOLE).any():
                raise ValueError("it is too large")
            table[name] = values.where(values.notna(), None).astype(kind)
        except (ValueError, TypeError, OverflowError) as error:
            reason = str(error)[:100]
            raise ManifestError(
                f"column {name!r} has a value that is no number: {reason}"
            ) from None
    return table


def _check(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check the contract of some columns, and name the first row that breaks it."""
    if {"subject", "path"} & set(columns):
        _refuse(table, table["subject"].isna() | table["path"].isna(), "subject or path is empty")
    if set(KEY) & set(columns):
        why = "two rows have the same cohort, subject, session and slice"
        _refuse(table, table.duplicated(KEY, keep=False), why)
    for name, (right, why) in _CONTRACT.items():
        if name in columns:
            _refuse(table, ~right(table[name]) & table[name].notna(), why)


def _known_labels(values: pd.Series) -> list[str]:
    """Return the first label that is one, which says of which kind the others must be."""
    return [str(value) for value in values.dropna().unique() if value in LABELS][:1]


def stays_inside(path: str) -> bool:
    """Return whether a path that a file names stays in the folder that it is relative to."""
    return _LEAVES_ROOT.search(path) is None


#: Column -> which of its values are right, where there is one, and what is said of others.
_CONTRACT: dict[str, tuple[Callable[[pd.Series], pd.Series], str]] = {
    "label": (
        lambda values: values.isin(labels_like(_known_labels(values))),
        f"label is none of {', '.join(LABELS)}, or of another kind than others of the table",
    ),
    "split": (lambda values: values.isin(SPLITS), f"split is none of {', '.join(SPLITS)}"),
    "sex": (lambda values: values.isin(["F", "M"]), "sex is neither F nor M"),
    "mmse": (lambda values: values.between(0, 30), "MMSE is not in 0 to 30"),
    **{
        name: (lambda values: values >= 0, f"{name} is under 0")
        for name in ("slice", "fold", "etiv", "nwbv", "rating_days")
    },
    "age": (lambda values: values.between(0, 125), "age is not in 0 to 125 years"),
    "field_strength": (lambda values: values.between(0.01, 30), "field strength is not in tesla"),
    "path": (
        # By Python's own re: pandas 3.0 hands the pattern to Arrow's, which does not know it.
        lambda values: values.map(stays_inside, na_action="ignore").astype(bool),
        "path leaves the manifest's folder",
    ),
}


def _refuse(table: pd.DataFrame, wrong: pd.Series, why: str) -> None:
    wrong = wrong.fillna(False).astype(bool)
    if wrong.any():
        row, count = table[wrong].iloc[0], int(wrong.sum())
        where = f"{row['subject']!r} {row['session']!r} {row['path']!r}"
        raise ManifestError(f"{why}: {where} ({count} row{'s' * (count > 1)})")


def count_people(manifest: Manifest) -> pd.DataFrame:
    """Return how many people each label (rows) has in train, val and test (columns)."""
    people = manifest.table.dropna(subset=["split", "label"]).drop_duplicates(["subject", "split"])
    counts = pd.crosstab(people["label"], people["split"])
    labels = list(labels_like(counts.index))
    return counts.reindex(index=labels, columns=list(SPLITS), fill_value=0)
