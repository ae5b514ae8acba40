"""People who are in two studies: found by their ids, their images, or what was measured of them.

A test on another study is none for people who are in both. Ids are compared in their one spelling;
images by their fingerprints, and by what they show; and a person by sex, age, eTIV and nWBV, all
known and equal as printed. How many people are equal by chance is estimated beside that.

Source of the last: three people of OASIS-2 (Marcus et al. 2010, doi:10.1162/jocn.2009.21407) are so
equal to a session of OASIS-1 (Marcus et al. 2007, doi:10.1162/jocn.2007.19.9.1498).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import poisson

from ..cohorts.people_names import known_person, of_study
from ..cohorts.person_values import find_column, person_values
from ..cohorts.text_table import read_text_table
from ..errors import ManifestError, counted
from ..manifest import Manifest
from ..report.canvas import plain
from .before_training import ASKED
from .files import read_files, read_pictures
from .pairs import find_pairs, find_thresholds, nearest_across
from .search import LARGE, search_of
from .verdicts import FAIL, MAX_EXAMPLES, NOT_KNOWN, PASS, WARN, Check

COLUMNS = ["subject_a", "subject_b", "why"]
SAME_ID, SAME_FILE, SAME_HEAD = "the same id", "an identical image", "nearly the same image"
SAME_VALUES = "equal sex, age, eTIV and nWBV"
_MEASURED = ["age", "etiv", "nwbv"]
#: What a table calls its people, the most telling first; an id of a session names its person.
_IDS = ("subject", "subject id", "participant_id", "subject_id", "id")
_HINT = "columns subject (or ID), sex (or M/F), age, eTIV and nWBV"
_BY_CHANCE = 1e-3  # so rarely are as many people equal by chance: they are the same people
_DECIMALS = 4


def shared_people(a: Manifest, b: Manifest, *, images: bool = True, seed: int = 0) -> pd.DataFrame:
    """Return the people who are, or may be, in both studies.

    Args:
        a: Rows of one study.
        b: Rows of the other.
        images: Whether images are opened, to find those that are nearly the same. Both studies
            must then hold slices, or both volumes.
        seed: Of the images of `b` that are looked for, where it has more than `ASKED` sessions.

    Returns:
        ``subject_a, subject_b, why``: a row for two names that are one person's; several reasons
        are joined by semicolons. Equal values may be chance: `study_checks` tells how likely.
    """
    found = [_by_id(a, b), _by_fingerprint(a, b), _by_values(a, b)]
    if images and _why_not_opened(a, b) is None:
        found.append(_by_pixels(a, b, seed))
    return _joined(found)


def study_checks(a: Manifest, b: Manifest, *, seed: int = 0) -> tuple[list[Check], pd.DataFrame]:
    """Check that two studies share nobody.

    Returns:
        The checks ``people``, ``identical_files``, ``near_duplicates`` and ``values``; and what
        `shared_people` returns.
    """
    ids, files, values = _by_id(a, b), _by_fingerprint(a, b), _by_values(a, b)
    people = [one.table["subject"].nunique() for one in (a, b)]
    among = f"among {people[0]} and {people[1]} people,"
    prints = min(one.table["fingerprint"].notna().sum() for one in (a, b))
    why = _why_not_opened(a, b)
    pixels = pd.DataFrame(columns=COLUMNS) if why else _by_pixels(a, b, seed)
    checks = [
        _check_ids(a, b, ids, among),
        _check("identical_files", files, f"{among} {{}} an image that is identical, bit by bit")
        if prints
        else Check("identical_files", NOT_KNOWN, "a study has no fingerprints of images"),
        Check("near_duplicates", NOT_KNOWN, why)
        if why
        else _check("near_duplicates", pixels, f"{among} {{}} an image of the same head"),
        _check_values(a, b, values),
    ]
    return checks, _joined([ids, files, values, pixels])


def read_study(path: str | Path) -> Manifest:
    """Read a study's clinical table: who, and what was measured; no image.

    Raises:
        ManifestError: It is no table, or has no column that names people.
    """
    path = Path(path)
    table = read_text_table(path, hint=_HINT)
    column = next((found for name in _IDS if (found := find_column(table, name))), None)
    if column is None:
        found = ", ".join(str(name)[:40] for name in list(table)[:8])
        raise ManifestError(f"{path} has no column 'subject' or 'ID'; found: {found}", hint=_HINT)
    rows = table.dropna(subset=[column]).reset_index(drop=True)
    if rows.empty:
        raise ManifestError(f"{path} names nobody", hint=_HINT)
    values = person_values(rows, rows[column], path).drop(columns="label")
    return Manifest.from_columns(
        path.parent,
        cohort=path.stem,
        subject=rows[column].map(lambda name: known_person(name) or name),
        session=[f"row{number}" for number in range(len(rows))],
        path=[f"row{number}" for number in range(len(rows))],
        **values,
    )


def _by_id(a: Manifest, b: Manifest) -> pd.DataFrame:
    """Return who has one id; ids that any study may give, such as ``sub-01``, are nobody's own."""
    first, second = ({_one(name): name for name in one.table["subject"]} for one in (a, b))
    both = sorted(name for name in set(first) & set(second) if of_study(name))
    return _pairs([(first[name], second[name]) for name in both], SAME_ID)


def _check_ids(a: Manifest, b: Manifest, found: pd.DataFrame, among: str) -> Check:
    """Fail where an id of a known study is in both; warn of other ids that are alike."""
    alike = sorted(set(a.table["subject"]) & set(b.table["subject"]) - set(found["subject_a"]))
    if len(found) or not alike:
        return _check("people", found, f"{among} {{}} the same id")
    ids = counted(len(alike), "id stands", "ids stand")
    said = f"{among} {ids} in both, such as {plain(alike[0])}, and no known study gives such ids"
    return Check("people", WARN, said, {"people": 0, "ids_alike": len(alike)}, alike[:MAX_EXAMPLES])


def _one(name: str) -> str:
    return known_person(name) or name


def _by_fingerprint(a: Manifest, b: Manifest) -> pd.DataFrame:
    """Return who shares a file; one that several people of a study have is left out, as blank."""
    parts = []
    for one in (a, b):
        rows = one.table.dropna(subset=["fingerprint"])[["subject", "fingerprint"]]
        rows = rows.drop_duplicates()
        parts.append(rows[~rows.duplicated("fingerprint", keep=False)])
    both = parts[0].merge(parts[1], on="fingerprint")[["subject_x", "subject_y"]]
    return _pairs(both.drop_duplicates().itertuples(index=False), SAME_FILE)


def _by_values(a: Manifest, b: Manifest) -> pd.DataFrame:
    first, second = _as_printed(a, b)
    both = first.merge(second, on=["sex", *_MEASURED])[["subject_x", "subject_y"]]
    return _pairs(both.drop_duplicates().itertuples(index=False), SAME_VALUES)


def _as_printed(a: Manifest, b: Manifest) -> list[pd.DataFrame]:
    """Return the sessions of which all values are known, as the coarser of both tables prints."""
    names = ["subject", "sex", *_MEASURED]
    parts = [one.table.dropna(subset=names)[names].drop_duplicates() for one in (a, b)]
    for name in _MEASURED:
        digits = min(_decimals(part[name]) for part in parts)
        scale = 10**digits
        for part in parts:
            part[name] = (part[name].astype(float) * scale).round().astype(int)
    return [part.drop_duplicates() for part in parts]


def _decimals(values: pd.Series) -> int:
    """Return after how many decimals a column ends, at most `_DECIMALS`."""
    numbers = values.astype(float).to_numpy()
    ends = (np.allclose(numbers, numbers.round(n), atol=1e-9) for n in range(_DECIMALS))
    return next((n for n, same in enumerate(ends) if same), _DECIMALS)


def _expected_by_chance(a: Manifest, b: Manifest) -> float:
    """Return how many sessions of different people are equal, if values go together by sex only."""
    first, second = _as_printed(a, b)
    total = 0.0
    for sex in ("F", "M"):
        own = [part[part["sex"] == sex] for part in (first, second)]
        if min(map(len, own)):
            shares = [
                sum(own[0][name].value_counts(normalize=True).mul(
                    own[1][name].value_counts(normalize=True), fill_value=0
                ))
                for name in _MEASURED
            ]  # fmt: skip
            total += len(own[0]) * len(own[1]) * float(np.prod(shares))
    return total


def _check_values(a: Manifest, b: Manifest, found: pd.DataFrame) -> Check:
    """Fail where more people are equal than chance explains; warn of any."""
    known = [part["subject"].nunique() for part in _as_printed(a, b)]
    if not min(known):
        return Check("values", NOT_KNOWN, "of nobody of a study are sex, age, eTIV, nWBV all known")
    expected = _expected_by_chance(a, b)
    among = f"among {known[0]} and {known[1]} people with known values,"
    said = f"{among} {{}} equal sex, age, eTIV and nWBV; by chance {expected:.2g} would"
    check = _check("values", found, said)
    rare = len(found) and poisson.sf(len(found) - 1, expected) < _BY_CHANCE
    verdict = FAIL if rare else WARN if len(found) else PASS
    numbers = check.numbers | {"expected_by_chance": expected}
    return Check("values", verdict, check.sentence, numbers, check.examples)


def _why_not_opened(a: Manifest, b: Manifest) -> str | None:
    """Return why images cannot be compared; None where they can."""
    kinds = []
    for one in (a, b):
        paths = one.table["path"].str.lower()
        if one.table["fingerprint"].isna().all():
            return "a study has no processed images"
        kinds.append(bool(paths.str.endswith(".npy").all()))
    return None if kinds[0] == kinds[1] else "one study holds slices, and the other volumes"


def _by_pixels(a: Manifest, b: Manifest, seed: int) -> pd.DataFrame:
    """Return who of `a` is most like somebody of `b`, as an audit finds one head on two sides."""
    sessions = sum(len(one.table.drop_duplicates(["subject", "session"])) for one in (a, b))
    most = max(1, LARGE // sessions)
    rows = pd.concat([_middle(a, most, "train"), _middle(b, most, "test")], ignore_index=True)
    files = read_files([Path(path) for path in rows["path"]], 1)
    people = rows["split"] + " " + rows["subject"]  # the same name is not yet the same person
    search = search_of(Path(), rows.assign(subject=people), files.thumbnails, read_pictures)
    sides = [(side, np.flatnonzero(rows["split"] == side)) for side in ("train", "test")]
    middle = np.flatnonzero((rows["split"] == "test") & (rows["place"] == 0))
    asked = np.sort(np.random.default_rng(seed).permutation(middle)[:ASKED])
    thresholds = find_thresholds(search, len(asked), seed)
    pairs = find_pairs(search, nearest_across(search, sides, {"test": asked}), thresholds)
    found = pairs[pairs["kind"] != ""].drop_duplicates(["partner", "query"])
    names = rows["subject"].to_numpy()
    both = {(names[pair.partner], names[pair.query]) for pair in found.itertuples()}
    return _pairs(sorted(both), SAME_HEAD)


def _middle(study: Manifest, most: int, side: str) -> pd.DataFrame:
    """Return each session's middle images, with ``place`` 0 for the one in the middle."""
    rows = study.table.sort_values(["subject", "session", "slice"])
    group = rows.groupby(["subject", "session"], dropna=False)["path"]
    place = (group.cumcount() - (group.transform("size") - 1) // 2).abs()
    rows = rows.assign(place=place, split=side, known=True)[place <= most // 2]
    paths = [str(study.root / path) for path in rows["path"]]
    return rows[["subject", "split", "place", "label", "known"]].assign(path=paths)


def _pairs(both: object, why: str) -> pd.DataFrame:
    rows = [(first, second, why) for first, second in both]  # type: ignore[attr-defined]
    return pd.DataFrame(rows, columns=COLUMNS)


def _joined(found: list[pd.DataFrame]) -> pd.DataFrame:
    every = pd.concat(found, ignore_index=True)
    joined = every.groupby(COLUMNS[:2], sort=True)["why"].agg("; ".join).reset_index()
    return joined[COLUMNS]


def _check(name: str, found: pd.DataFrame, sentence: str) -> Check:
    """Fail where people were found; `sentence` has a gap for how many have what it says."""
    count = len(found)
    said = sentence.format(counted(count, "person has", "people have") if count else "nobody has")
    examples = [
        f"{plain(str(one.subject_a))} = {plain(str(one.subject_b))}"
        for one in found.head(MAX_EXAMPLES).itertuples()
    ]
    return Check(name, FAIL if count else PASS, said, {"people": count}, examples)
