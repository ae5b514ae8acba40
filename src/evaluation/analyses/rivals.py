"""What a network must beat: age and sex, the site, head measures, the images; and MMSE above it.

Every rival is scored on the same people in the same folds as the network: standardised columns and
a regularised multinomial logistic regression, whose strength is chosen inside the development
people, or fixed where it has one number of the image to go by. Classes weigh the same in the fit,
as they do in the balanced accuracy and in the loss of class-weighted networks. So a rival's
probabilities speak of equally frequent classes, and its Brier score and log-loss with them: compare
rivals by balanced accuracy, kappa and AUC.

Rows are people. ``K`` classes, mildest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ...data.splits import Division
from ...errors import counted
from ...manifest import Manifest
from ...models.combat import fit_combat
from ...predictions import Array, Integers, Predictions
from ..metrics.scores import score
from .dark_voxels import PREFIX
from .image_measures import CSF_GREY, MAPS
from .map_score import map_score

#: A column that more than this share of the people lack is not known.
MAX_MISSING = 0.1
#: Inverse strengths of the regularisation to choose from, weakest last.
GRID = tuple(10.0**power for power in range(-3, 3))
_INNER_FOLDS = 5
_FEW = 20  # development people under which choosing a strength would be a draw
_DEFAULT_C = 0.1
_OF_ONE_NUMBER = 1.0  # one column fits nothing by chance that a strength must hold back
#: What columns of `placed_features` start with.
PLACED = "placed_"
_ABSENT = np.log(1e-6)  # log-probability of a class that training has nobody of
_WIDE = (MAPS, PLACED)  # of thousands of columns, which a ridge makes one number of
_NOTE = "classes weigh the same in its fit, and so in its Brier score and log-loss"
_COMBAT = "; measures of the head harmonised by site (ComBat)"
_PLURALS = {
    **{"age": "ages", "sex": "sexes", "nwbv": "nWBV values", "etiv": "eTIV values"},
    **{"mmse": "MMSE scores", "site": "sites"},
    CSF_GREY: "ratios of CSF to grey matter",
}


@dataclass(frozen=True)
class Rival:
    """A model without a network.

    Attributes:
        name: Key in the result file.
        title: Name for people.
        columns: What it sees of the table; empty for a rival of the images.
        note: What the reader should know.
        measured: What its columns of `measure_images` start with; empty for one of the table.
        upper_reference: Whether it knows more than a rival of the image may.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    note: str
    measured: str = ""
    upper_reference: bool = False


RIVALS = (
    Rival("age_sex", "age, sex", ("age", "sex"), "what is known before any scan"),
    Rival("site", "site", ("site",), "where the scan was made; of a new site it says nothing"),
    Rival(
        "table",
        "age, sex, nWBV, eTIV",
        ("age", "sex", "nwbv", "etiv"),
        "nWBV is one number from a segmentation of the same scan",
    ),
    Rival(
        "dark_voxels",
        "dark voxels",
        (),
        "share of brain voxels under .45 of the slice's 90th percentile: the image, no network",
        PREFIX,
    ),
    Rival(
        "csf_grey",
        "log(CSF / grey)",
        (),
        "one number, by k-means of each person's own brain; its fit to development people only "
        "sets where classes begin",
        CSF_GREY,
    ),
    Rival(
        "tissue_maps",
        "tissue maps",
        (),
        "grey matter and CSF by k-means, smoothed by 12 mm where the image's longer edge is 192 "
        "mm, and a ridge: no network",
        MAPS,
    ),
    Rival(
        "placed_features",
        "features by place",
        (),
        "the frozen backbone's features, of groups of neighbouring slices side by side instead of "
        "their mean, and a ridge: the same network, another view of it",
        PLACED,
    ),
    Rival(
        "mmse",
        "age, sex, nWBV, eTIV, MMSE",
        ("age", "sex", "nwbv", "etiv", "mmse"),
        "CDR is itself assigned from an interview: an upper reference, no rival of the image",
        upper_reference=True,
    ),
)


def people_table(manifest: Manifest) -> pd.DataFrame:
    """Return what the manifest knows of each person, indexed by ``subject``.

    Returns:
        ``label`` (stage name), ``age`` [years], ``sex`` (0 F, 1 M), ``nwbv`` [fraction of eTIV],
        ``etiv`` [mL], ``mmse`` [0 to 30], ``site`` (a name): each the first one known over the
        sessions, else missing.
    """
    people = manifest.people()
    table = people[["label"]].copy()
    for name in ("age", "nwbv", "etiv", "mmse"):
        table[name] = people[name].to_numpy(dtype=np.float64, na_value=np.nan)
    table.insert(2, "sex", people["sex"].map({"F": 0.0, "M": 1.0}).astype(np.float64))
    return table.assign(site=people["site"])


def rival_predictions(
    covariates: pd.DataFrame,
    labels: pd.Series,
    divisions: Sequence[Division],
    num_classes: int,
    site: pd.Series | None = None,
) -> Predictions:
    """Fit on the development people of every division and answer for its test people.

    Args:
        covariates: Numbers and names, indexed by subject; missing numbers become the median of
            training. A name is a column for each one that training has, of ones and zeros; one that
            training has not, or a missing one, is zeros.
        labels: Class index, indexed by subject.
        divisions: Development and test subjects of each fold.
        num_classes: K.
        site: Names, indexed by subject: what is measured of the head (`_is_measured`) is harmonised
            by it, fitted to development people, and to the test people of a site that has none.

    Returns:
        Rows in the order of the divisions, then of their test subjects; logits are
        log-probabilities under equally frequent classes. A class that training lacks has 1e-6.
    """
    logits, truth, subjects = [], [], []
    for development, test in divisions:
        train, seen = list(development), list(test)
        known, asked = covariates.loc[train], covariates.loc[seen]
        if site is not None:
            known, asked = _harmonised(known, asked, site)
        x, x_test = _numbers(known, asked)
        y = labels.loc[train].to_numpy(dtype=np.int64)
        if any(str(name).startswith(_WIDE) for name in known):
            x, x_test = _scores_of_maps(x, y, x_test)
        one = all(str(name).startswith((CSF_GREY, *_WIDE)) for name in known)
        strength = _OF_ONE_NUMBER if one else None
        logits.append(_fit_predict(x, y, x_test, num_classes, strength))
        truth.append(labels.loc[seen].to_numpy(dtype=np.int64))
        subjects += seen
    return Predictions(np.concatenate(truth), np.concatenate(logits), np.array(subjects))


def rival_scores(
    table: pd.DataFrame,
    measured: pd.DataFrame | None,
    labels: pd.Series,
    divisions: Sequence[Division],
    classes: Sequence[str],
    train_counts: Sequence[int] | Integers,
    n_bootstrap: int = 2000,
    seed: int = 0,
    *,
    harmonised: bool = False,
) -> tuple[list[dict[str, Any]], dict[str, Predictions]]:
    """Score every rival on the people and folds of the network.

    Args:
        table: From `people_table`.
        measured: From `measure_images`; None where it was not measured.
        labels: Class index, indexed by subject.
        divisions: Development and test subjects of each fold.
        classes: K names, mildest first.
        train_counts: (K,) people of each class in training.
        n_bootstrap: Resamples of people.
        seed: Same seed, same intervals.
        harmonised: Whether measures of the head are harmonised by the table's ``site``.

    Returns:
        One entry per rival of `RIVALS`, available or not, and the predictions of those that are;
        none of `placed_features` where they were not given.
    """
    people = sorted({name for division in divisions for side in division for name in side})
    by_site = table["site"] if harmonised else None
    entries: list[dict[str, Any]] = []
    found: dict[str, Predictions] = {}
    for rival in RIVALS:
        known = measured if rival.measured else table
        columns = columns_of(rival, measured)
        if rival.measured == PLACED and not columns:
            continue  # of a frozen backbone only
        of_head = any(map(_is_measured, columns))
        entry = {
            "name": rival.name,
            "title": rival.title,
            "columns": _named(rival, columns),
            "upper_reference": rival.upper_reference,
            "note": f"{rival.note}; {_NOTE}{_COMBAT if harmonised and of_head else ''}",
        }
        reason = missing_reason(known, columns, people) or _one_site(known, columns, people)
        if known is None or reason:
            entries.append(entry | {"available": False, "reason": reason})
            continue
        covariates = known.reindex(people)[columns]
        rows = rival_predictions(covariates, labels, divisions, len(classes), by_site)
        found[rival.name] = rows
        if rival.name == CSF_GREY:
            tested = {name for division in divisions for name in division[1]}
            raw = _without_fit(covariates.loc[sorted(tested), CSF_GREY], labels)
            entry["note"] = f"{entry['note']}{raw}"
        scored = score(rows, classes, train_counts, n_bootstrap, seed)
        imputed = int(covariates.isna().any(axis=1).sum())
        entries.append(
            entry
            | {"available": True, "n_people": rows.n_people, "imputed": imputed}
            | {"metrics": scored["metrics"]}
        )
    return entries, found


def missing_reason(
    table: pd.DataFrame | None, columns: Sequence[str], people: Sequence[str]
) -> str | None:
    """Return why `columns` cannot be used for `people`, or None where at most 10 % are missing."""
    if table is None or not columns:
        return "the processed images were not measured"
    missing = table.reindex(index=people, columns=list(columns)).isna().sum()
    for name, count in missing.items():
        wide = {MAPS: "tissue maps", PLACED: "features"}
        known = (words for start, words in wide.items() if str(name).startswith(start))
        other = next(known, f"{name} values")
        plural = _PLURALS.get(str(name), other)
        if count == len(people):
            return f"the manifest has no {plural}"
        if count > MAX_MISSING * len(people):
            return f"{plural} are missing for {count} of {counted(len(people), 'person')}"
    return None


def _is_measured(name: str) -> bool:
    """Return whether a column is measured in the image, as site and scanner colour it."""
    return name in ("nwbv", "etiv") or name.startswith((PREFIX, CSF_GREY, *_WIDE))


def _harmonised(
    train: pd.DataFrame, test: pd.DataFrame, site: pd.Series
) -> tuple[pd.DataFrame, pd.DataFrame]:
    columns = [name for name in train if _is_measured(str(name))]
    if not columns:
        return train, test
    known, asked = (side[columns].to_numpy(dtype=np.float64) for side in (train, test))
    own, theirs = (site.loc[side.index].tolist() for side in (train, test))
    combat = fit_combat(known, own).with_new_sites(asked, theirs)
    made = dict(zip(columns, combat.apply(known, own).T, strict=True))
    answered = dict(zip(columns, combat.apply(asked, theirs).T, strict=True))
    return train.assign(**made), test.assign(**answered)


def _one_site(
    table: pd.DataFrame | None, columns: Sequence[str], people: Sequence[str]
) -> str | None:
    """Return why sites tell nothing, where all people are of one."""
    if table is None or "site" not in columns:
        return None
    known = table["site"].reindex(people).dropna().unique()
    return None if len(known) > 1 else f"there is one site only: {known[0]}"


def _numbers(train: pd.DataFrame, test: pd.DataFrame) -> tuple[Array, Array]:
    """Return training and test people as numbers, names by what training has of them."""
    if all(map(pd.api.types.is_numeric_dtype, train.dtypes)):
        x, x_test = (side.to_numpy(dtype=np.float64) for side in (train, test))
        return x, x_test
    parts: list[tuple[Array, Array]] = []
    for name in train:
        values, asked = train[name], test[name]
        if pd.api.types.is_numeric_dtype(values):
            both = (one.to_numpy(dtype=np.float64)[:, None] for one in (values, asked))
        else:
            levels = np.sort(values.dropna().unique())
            both = (
                (one.to_numpy(dtype=object)[:, None] == levels).astype(np.float64)
                for one in (values, asked)
            )
        parts.append((next(both), next(both)))
    x, x_test = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    return x, x_test


def columns_of(rival: Rival, measured: pd.DataFrame | None) -> list[str]:
    """Return the columns that a rival sees, of the table or of what was measured in images."""
    if not rival.measured:
        return list(rival.columns)
    return [] if measured is None else [one for one in measured if one.startswith(rival.measured)]


def _named(rival: Rival, columns: list[str]) -> list[str]:
    """Return the columns as a result names them: not each of the thousands of cells of a map."""
    if rival.measured not in _WIDE or not columns:
        return columns
    return [f"{columns[0]} to {columns[-1]}"]


def _scores_of_maps(x: Array, y: Integers, x_test: Array) -> tuple[Array, Array]:
    fill = SimpleImputer(strategy="median", keep_empty_features=True).fit(x)
    return map_score(fill.transform(x), y, fill.transform(x_test), deal(y))


def _without_fit(values: pd.Series, labels: pd.Series) -> str:
    """Return the AUC of a number as it is: more of it is more demented."""
    known = values.dropna()
    truth = labels.loc[known.index].to_numpy(dtype=np.int64) > 0
    if truth.all() or not truth.any():
        return ""
    return f"; without any fit its AUC of demented is {roc_auc_score(truth, known):.3f}"


def _fit_predict(
    x: Array, y: Integers, x_test: Array, num_classes: int, strength: float | None = None
) -> Array:
    """Return the (n, K) log-probabilities of the test people; no strength: it is chosen."""
    strength = _choose_strength(x, y) if strength is None else strength
    x, x_test = _standardised(x, x_test)
    logits = np.full((len(x_test), num_classes), _ABSENT)
    logits[:, np.unique(y)] = _log_probabilities(x, y, x_test, strength)
    return logits


def _choose_strength(x: Array, y: Integers) -> float:
    """Return the inverse strength with the least log-loss in inner folds; classes weigh the same.

    The people of a class are dealt out over the folds, so a rare class does not limit their number.
    A person whose class the rest of the folds lack says nothing about any strength and is left out.
    """
    if len(y) < _FEW:
        return _DEFAULT_C
    part = deal(y)
    weight = 1 / np.bincount(y)[y]
    losses = np.zeros(len(GRID))
    for fold in range(_INNER_FOLDS):
        rest = part != fold
        held = ~rest & np.isin(y, y[rest])
        own = np.searchsorted(np.unique(y[rest]), y[held])[:, None]
        x_rest, x_held = _standardised(x[rest], x[held])
        for number, strength in enumerate(GRID):
            said = _log_probabilities(x_rest, y[rest], x_held, strength)
            losses[number] -= weight[held] @ np.take_along_axis(said, own, axis=1)[:, 0]
    return GRID[int(np.argmin(losses))]


def deal(y: Integers) -> Integers:
    """Return the inner fold, 0 to 4, of each person: the classes one after the other, shuffled."""
    order = np.random.default_rng(0).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    part = np.empty(len(y), dtype=np.int64)
    part[order] = np.arange(len(y)) % _INNER_FOLDS
    return part


def _standardised(x: Array, x_test: Array) -> tuple[Array, Array]:
    """Impute the median and scale to unit variance, both as the training people have them."""
    steps = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    ).fit(x)
    return steps.transform(x), steps.transform(x_test)


def _log_probabilities(x: Array, y: Integers, x_test: Array, strength: float) -> Array:
    """Fit; return the log-probabilities of the classes in `y`, finite however certain they are."""
    classes = len(np.unique(y))
    if classes < 2 or not x.any():  # nothing to tell apart, or nothing that varies
        return np.full((len(x_test), classes), -np.log(classes))
    # Few columns: Newton's method takes a third of the time of the default.
    model = LogisticRegression(
        C=strength, class_weight="balanced", solver="newton-cholesky", max_iter=200
    ).fit(x, y)
    scores = model.decision_function(x_test)
    if scores.ndim == 1:
        scores = np.stack([np.zeros(len(scores)), scores], axis=1)
    return np.asarray(log_softmax(scores, axis=1), dtype=np.float64)
