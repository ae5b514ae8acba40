"""Are the sides alike: the same classes, the same ages? With people as units."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..labels import LABELS
from .verdicts import FAIL, NOT_KNOWN, ONE_SIDE, PASS, WARN, Check, people_known, sides_of

#: Two sides differ when chance would do so in one of 1,000 splits, and the difference is large.
P_DIFFERENT = 0.001
#: Large: the share of a class differs by 15 points, or the distributions of age are .3 apart.
SHARE_APART, AGE_APART = 0.15, 0.3


def check_composition(rows: pd.DataFrame) -> Check:
    """Compare classes and ages of train with those of val and test, counting units once a side.

    A class that is tested and not trained on fails; one that is trained on and not tested is
    warned of. Classes are compared by chi-squared, ages by Kolmogorov and Smirnov.
    """
    name, sides = "composition", sides_of(rows)
    if "train" not in sides or len(sides) < 2:
        return Check(name, NOT_KNOWN, ONE_SIDE)
    units = rows.dropna(subset=["split", "label"]).drop_duplicates(["unit", "split"])
    counts = pd.crosstab(units["label"], units["split"])
    counts = counts.reindex([s for s in LABELS if s in counts.index]).reindex(columns=sides)
    counts = counts.fillna(0).astype(int)
    if counts.empty:
        return Check(name, NOT_KNOWN, "no image has a class")
    found = _missing(counts)
    compared: dict[str, Any] = {}
    for side in sides[1:]:
        compared[side] = {
            "classes": _compare_classes(counts[["train", side]]),
            "ages": _compare_ages(units, side),
        }
        found += _differences(side, compared[side])
    unit = (
        "images" if not people_known(rows) and (units["unit"] == units["path"]).all() else "people"
    )
    if unit == "images":  # slices of one head are no independent draws
        found = [(WARN if text.startswith("the ") else worst, text) for worst, text in found]
    worst = next((v for v in (FAIL, WARN) if any(v == w for w, _ in found)), PASS)
    numbers = {"unit": unit, "counts": counts.to_dict(), "compared": compared}
    said = "; ".join(text for _, text in found) or "classes and ages of the sides are alike"
    return Check(name, worst, said, numbers, [text for _, text in found])


def _missing(counts: pd.DataFrame) -> list[tuple[str, str]]:
    found = []
    for label, row in counts.iterrows():
        for side in counts:
            others = int(row.sum())
            if row[side] or others < len(counts.columns):
                continue  # too few to stand on every side
            worst = FAIL if side == "train" else WARN
            found.append((worst, f"{label} is not in {side}, and {others} are elsewhere"))
    return found


def _differences(side: str, compared: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for what, apart, large in (
        ("classes", "largest_share_apart", SHARE_APART),
        ("ages", "statistic", AGE_APART),
    ):
        values = compared[what]
        if values["available"] and values["p"] < P_DIFFERENT:
            worst = FAIL if values[apart] >= large else WARN
            text = f"the {what} of {side} are not those of train (p {values['p']:.1g}, "
            found.append((worst, f"{text}{values[apart]:.2f} apart)"))
    return found


def _compare_classes(counts: pd.DataFrame) -> dict[str, Any]:
    """Chi-squared of classes x sides, and the largest difference between two shares."""
    from scipy.stats import chi2_contingency

    counts = counts[counts.sum(axis=1) > 0]
    if len(counts) < 2 or (counts.sum() == 0).any():
        return {"available": False, "reason": "there are no two classes to compare"}
    result = chi2_contingency(counts.to_numpy())
    shares = counts / counts.sum()
    apart = float((shares.iloc[:, 0] - shares.iloc[:, 1]).abs().max())
    return {
        "available": True,
        "chi2": float(result.statistic),
        "df": int(result.dof),
        "p": float(result.pvalue),
        "largest_share_apart": apart,
    }


def _compare_ages(units: pd.DataFrame, side: str) -> dict[str, Any]:
    """Largest distance between the two distributions of age, and its p."""
    from scipy.stats import ks_2samp

    ages = [units.loc[units["split"] == s, "age"].dropna().to_numpy(float) for s in ("train", side)]
    if min(map(len, ages)) < 2:
        return {"available": False, "reason": "ages are not known"}
    result = ks_2samp(*ages)
    return {"available": True, "statistic": float(result.statistic), "p": float(result.pvalue)}
