"""What ``metrics.json`` holds, made up for figures: every section, and names that are hostile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from src.labels import class_scheme
from src.report.score_figures.write import FIGURES

#: Those of tasks beside the stage have examples of their own, in test_task_figures.py.
FILES = tuple(figure.file for figure in FIGURES if figure.part != "tasks")

HOSTILE = {
    "long": "x" * 10_000,
    "words": "very long name " * 700,
    "formula": r"$a_{b$ and $x^2$ \$\frac{1}",
    "script": "<script>alert('x')</script>",
    "right-to-left": "\u202eאלצהיימר מחלת \u0645\u0631\u0636 $5",
    "hidden": "_hidden\n\ttab\x00",
}


def made_interval(value: float | None, half: float = 0.07) -> dict[str, float | None]:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - half, "high": value + half * 0.9}


def _counts(k: int) -> list[int]:
    return {2: [100, 100], 3: [100, 70, 30], 4: [100, 70, 28, 2]}[k]


def _metrics(balanced: float, auc: float) -> dict[str, Any]:
    return {"balanced_accuracy": made_interval(balanced), "macro_auc": made_interval(auc, 0.05)}


def made_person(k: int = 3) -> dict[str, Any]:
    counts = _counts(k)
    return {
        "n_people": sum(counts),
        "n_rows": sum(counts),
        "metrics": _metrics(0.53, 0.74),
        "confusion": np.diag(counts).tolist(),
        "per_class": {
            name: {"n_people": n} for name, n in zip(class_scheme(k).classes, counts, strict=True)
        },
        "majority": {
            "class": class_scheme(k).classes[0],
            "balanced_accuracy": {"value": 1 / k, "low": 1 / k, "high": 1 / k},
            "accuracy": made_interval(0.5),
        },
    }


def made_rivals() -> list[dict[str, Any]]:
    names = (
        ("age_sex", "age, sex", 0.44, 0.62),
        ("table", "age, sex, nWBV, eTIV", 0.52, 0.68),
        ("dark_voxels", "dark voxels", 0.57, 0.75),
        ("mmse", "age, sex, nWBV, eTIV, MMSE", 0.66, 0.84),
    )
    return [
        {
            "name": name,
            "title": title,
            "columns": title.split(", "),
            "upper_reference": name == "mmse",
            "available": True,
            "n_people": 198,
            "imputed": 0,
            "note": "",
            "metrics": _metrics(balanced, auc),
        }
        for name, title, balanced, auc in names
    ]


def made_absent(reason: str = "the manifest has no ages") -> dict[str, Any]:
    return {"available": False, "reason": reason}


def made_curve(steepness: float, sizes: tuple[int, ...] = (20,) * 10) -> list[dict[str, Any]]:
    bins = []
    for i, n in enumerate(sizes):
        predicted = float(np.clip(0.5 + steepness * ((i + 0.5) / len(sizes) - 0.5), 0.01, 0.99))
        observed = float(np.clip(0.2 + 0.6 * (i + 0.5) / len(sizes), 0, 1))
        bins.append(
            {
                "predicted": predicted,
                "observed": observed,
                "low": max(observed - 0.19, 0.0),
                "high": min(observed + 0.17, 1.0),
                "n_people": n,
            }
        )
    return bins


def made_calibration() -> dict[str, Any]:
    def state(ece: float, slope: float, steepness: float) -> dict[str, Any]:
        return {
            "ece": made_interval(ece + 0.01, 0.03),
            "ece_demented": made_interval(ece, 0.03),
            "slope": made_interval(slope, 0.2),
            "curve": made_curve(steepness),
        }

    return {
        "available": True,
        "applied": {"method": "temperature"},
        "before": state(0.14, 0.61, 1.1),
        "after": state(0.06, 0.97, 0.7),
        "sentence": "One temperature of 1.63, fitted on 40 validation people, lowers the log-loss.",
    }


def made_decision_curve() -> dict[str, Any]:
    threshold, prevalence = np.linspace(0.05, 0.9, 18), 0.5
    odds = threshold / (1 - threshold)
    treat_all = prevalence - (1 - prevalence) * odds
    model = np.maximum(treat_all, 0) + 0.09 * np.exp(-(((threshold - 0.5) / 0.2) ** 2)) - 0.004
    return {
        "available": True,
        "thresholds": threshold.tolist(),
        "model": model.tolist(),
        "low": (model - 0.06).tolist(),
        "high": (model + 0.06).tolist(),
        "all": treat_all.tolist(),
        "none": [0.0] * len(threshold),
        "useful": [0.15, 0.85],
        "sentence": "Between thresholds of 0.15 and 0.85 the model does better than treating "
        "everyone or no one.",
    }


def made_abstention(n: int = 200) -> dict[str, Any]:
    shares = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    return {
        "available": True,
        "curve": [
            {
                "coverage": share,
                "n_people": round(share * n),
                "accuracy": made_interval(0.58 + 0.3 * (1 - share)),
                "balanced_accuracy": made_interval(0.53 + 0.2 * (1 - share), 0.08),
            }
            for share in shares
        ],
        "area": made_interval(0.68, 0.05),
        "sentence": "Without the least certain fifth, accuracy rises by 6 points.",
    }


def made_prediction_sets(k: int = 3) -> dict[str, Any]:
    classes, counts = class_scheme(k).classes, _counts(k)
    levels = {}
    for i, level in enumerate(("0.80", "0.90", "0.95")):
        nominal = float(level)
        per_class: dict[str, Any] = {}
        for c, (name, n) in enumerate(zip(classes, counts, strict=True)):
            if n < 10:
                reason = f"{n} validation people are too few for a set of this level"
                per_class[name] = {"available": False, "reason": reason, "n_people": n}
            else:
                middle = made_interval(nominal - 0.04 + 0.03 * c, 0.05)
                per_class[name] = {"available": True, "n_people": n, "coverage": middle}
        levels[level] = {
            "coverage": made_interval(nominal - 0.01, 0.045),
            "mean_size": made_interval(1.3 + 0.25 * i, 0.1),
            "per_class": per_class,
            "empty": 3 - i,
            "singletons": made_interval(0.6 - 0.2 * i),
        }
    return {"available": True, "levels": levels}


def made_subgroups() -> dict[str, Any]:
    rows = (
        ("sex", "F", 118, 54, 0.83, 0.55),
        ("sex", "M", 80, 46, 0.78, 0.49),
        ("age", "under 60", 37, 0, None, None),
        ("age", "60-69", 45, 18, 0.81, 0.51),
        ("age", "70-79", 88, 49, 0.79, 0.52),
        ("age", "80 and over", 58, 33, 0.75, 0.47),
        ("age", "unknown", 7, 4, 0.7, 0.4),
    )
    return {
        "available": True,
        "balanced_over": ["NonDemented"],
        "groups": [
            {
                "factor": factor,
                "group": group,
                "n_people": n,
                "n_demented": demented,
                "few_people": n < 10,
                "metrics": {
                    "auc_demented": made_interval(auc, 0.09 if n > 40 else 0.2),
                    "balanced_accuracy": made_interval(balanced, 0.1 if n > 40 else 0.2),
                    "accuracy": made_interval(0.6),
                },
            }
            for factor, group, n, demented, auc, balanced in rows
        ],
        "gaps": {
            "sex": {"auc_demented": {**made_interval(0.05, 0.04), "gap_if_equal": 0.04}},
            "age": {"auc_demented": None},
        },
    }


def made_confounding() -> dict[str, Any]:
    return {
        "all_ages": {
            "available": True,
            "n_people": 235,
            "few_people": False,
            "balanced_accuracy": made_interval(0.56),
            "auc_demented": made_interval(0.84, 0.05),
        },
        "at_least_60": {
            "available": True,
            "n_people": 198,
            "few_people": False,
            "balanced_accuracy": made_interval(0.52),
            "auc_demented": made_interval(0.75),
        },
        "age_matched": {
            "available": True,
            "n_pairs": 84,
            "caliper_years": 3.0,
            "age_difference": made_interval(0.1, 0.3),
            "auc_demented": made_interval(0.73, 0.08),
            "accuracy": made_interval(0.55),
            "accuracy_demented": made_interval(0.67),
        },
        "age_alone_auc": made_interval(0.72, 0.06),
    }


def made_retest(n: int = 20) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    first = rng.normal(-1, 1.2, n)
    pairs = np.stack([first, first + rng.normal(0.1, 0.35, n)], axis=1)
    difference = pairs[:, 1] - pairs[:, 0]
    bias, sd = float(difference.mean()), float(difference.std(ddof=1)) if n > 1 else 0.3
    return {
        "available": True,
        "n_people": n,
        "icc": 0.93,
        "within_sd": 0.25,
        "bias": bias,
        "limits": [bias - 1.96 * sd, bias + 1.96 * sd],
        "agreement": made_interval(0.9),
        "kappa": 0.71,
        "pairs": pairs.tolist(),
    }


def made_permutation(n: int = 1000) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "kind": "labels",
        "n": n,
        "observed": {"balanced_accuracy": 0.53, "macro_auc": 0.74, "quadratic_kappa": 0.4},
        "null": {
            "balanced_accuracy": rng.normal(0.333, 0.035, n).tolist(),
            "macro_auc": rng.normal(0.5, 0.033, n).tolist(),
            "quadratic_kappa": rng.normal(0, 0.07, n).tolist(),
        },
        "p": {"balanced_accuracy": 1 / (n + 1), "macro_auc": 1 / (n + 1)},
    }


def made_crossval(repeats: int = 5, folds: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "folds": folds,
        "repeats": repeats,
        "seeds": [0],
        "folds_hash": "abc",
        "per_fold": [
            {
                "repeat": repeat,
                "fold": fold,
                "seed": 0,
                "n_people": 40 + (fold == 0),
                "metrics": {
                    "balanced_accuracy": float(rng.normal(0.53, 0.06)),
                    "macro_auc": float(rng.normal(0.74, 0.05)) if fold else None,
                },
            }
            for repeat in range(repeats)
            for fold in range(folds)
        ],
        "spread": {"balanced_accuracy": {"sd_repeats": 0.0123, "sd_seeds": None}},
        "corrected": {
            "balanced_accuracy": made_interval(0.525, 0.09),
            "macro_auc": made_interval(0.735, 0.07),
        },
    }


def made_learning_curve(gain: float = 0.03, *, few: bool = False) -> dict[str, Any]:
    """A curve of which the model gains `gain` per doubling, and the rival nothing."""

    def both(model: float, rival: float, half: float) -> dict[str, Any]:
        return {
            who: {name: made_interval(value, half) for name in ("balanced_accuracy", "macro_auc")}
            for who, value in (("model", model), ("dark_voxels", rival))
        }

    return {
        "available": True,
        "few_people": few,
        "n_people": 203,
        "repeats": 2,
        "late_share": 0.4,
        "points": [
            {"share": share, "n_people": 162 * share}
            | both(0.7 + gain * np.log2(share), 0.69, 0.06)
            for share in (0.2, 0.4, 0.6, 0.8, 1.0)
        ],
        "per_doubling": both(gain, 0.0, 0.01),
        "late_per_doubling": both(gain, 0.0, 0.01),
        "sd_repeats": {"balanced_accuracy": 0.01, "macro_auc": 0.004},
        "sentence": "Macro AUC grows",
    }


def made_results(k: int = 3) -> dict[str, Any]:
    """What ``metrics.json`` holds, with every section that a figure is made of."""
    return {
        "classes": list(class_scheme(k).classes),
        "stamps": [],
        "person": made_person(k),
        "rivals": made_rivals(),
        "calibration": made_calibration(),
        "decision_curve": made_decision_curve(),
        "abstention": made_abstention(),
        "prediction_sets": made_prediction_sets(k),
        "subgroups": made_subgroups(),
        "confounding": made_confounding(),
        "retest": made_retest(),
        "permutation": made_permutation(),
        "learning_curve": made_learning_curve(),
        "crossval": made_crossval(),
    }


def made_hostile(kinds: Iterator[str]) -> dict[str, Any]:
    """A result in which every text that comes from elsewhere is a name of `HOSTILE`."""
    results = made_results(3)

    def name() -> str:
        return HOSTILE[next(kinds)]

    classes = [f"{i}{name()}" for i in range(3)]
    renamed = dict(zip(results["classes"], classes, strict=True))
    results |= {"classes": classes, "stamps": [name()]}
    results["person"]["majority"]["class"] = classes[0]
    results["person"]["notes"] = [name(), name()]
    for rival in results["rivals"]:
        rival["title"] = name()
    results["rivals"][0] |= made_absent(name())
    for section in ("calibration", "decision_curve", "abstention"):
        results[section]["sentence"] = name()
    for level in results["prediction_sets"]["levels"].values():
        level["per_class"] = {renamed[old]: v for old, v in level["per_class"].items()}
        level["per_class"][classes[2]] |= made_absent(name())
    for group in results["subgroups"]["groups"]:
        group |= {"group": name(), "factor": f"{group['factor']}{name()}"}
    results["subgroups"]["balanced_over"] = classes
    results["confounding"]["age_matched"] = made_absent(name())
    results["permutation"]["kind"] = name()
    return results
