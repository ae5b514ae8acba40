"""Results as ``metrics.json`` holds them, of both kinds, on random predictions and real scores."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np

from src.evaluation.metrics.scores import score
from src.predictions import Predictions

CLASSES = ("NonDemented", "VeryMildDemented", "MildDemented")
#: People of each class; the last has too few to estimate anything.
TEST_PEOPLE, TRAIN_PEOPLE, VAL_PEOPLE = (20, 14, 7), (60, 42, 17), (11, 8, 3)


def evaluate_result() -> dict[str, Any]:
    """Return the result of one split: 41 test people, images, a table of ages and every section."""
    return deepcopy(_evaluate_result())


def crossval_result(repeats: int = 2) -> dict[str, Any]:
    """Return the result of 5 folds x `repeats` x 2 seeds on 45 people, without a clinical table."""
    return deepcopy(_crossval_result(repeats))


def answers(
    counts: tuple[int, ...], rows_per_person: int = 1, seed: int = 0, signal: float = 1.2
) -> Predictions:
    """Return noisy answers about people, `counts` of each class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.repeat(np.arange(len(counts)), counts), rows_per_person)
    subjects = np.repeat([f"S{i:03d}" for i in range(sum(counts))], rows_per_person)
    logits = rng.normal(size=(len(labels), len(counts))) + signal * np.eye(len(counts))[labels]
    return Predictions(labels, logits, subjects)


def span(value: float, half: float = 0.08) -> dict[str, float]:
    """Return an interval dict around a value."""
    return {"value": value, "low": value - half, "high": value + half}


def unavailable(reason: str) -> dict[str, Any]:
    """Return a section that could not be estimated."""
    return {"available": False, "reason": reason}


@cache
def _evaluate_result() -> dict[str, Any]:
    return {
        "schema": "metrics/2",
        "kind": "evaluate",
        "run": "oasis_2d_resnet18",
        "dataset": "oasis_2d",
        "split": "test",
        "checkpoint": "checkpoints/oasis_2d_resnet18/best_model.pth",
        "classes": list(CLASSES),
        "stamps": [],
        "person": score(answers(TEST_PEOPLE), CLASSES, TRAIN_PEOPLE, 200),
        "image": score(answers(TEST_PEOPLE, 3), CLASSES, TRAIN_PEOPLE, 200),
        "rivals": _rivals(),
        "increment": _increment(),
        "calibration": _calibration(),
        "prediction_sets": _prediction_sets(),
        "abstention": _abstention(),
        "decision_curve": _decision_curve(),
        "subgroups": _subgroups(),
        "confounding": _confounding(),
        "retest": _retest(),
        "permutation": _permutation(),
        "audit": {"verdict": "PASS", "checks": [{"name": "people", "verdict": "PASS"}]},
        "people": {
            split: dict(zip(CLASSES, counts, strict=True))
            for split, counts in (
                ("train", TRAIN_PEOPLE),
                ("val", VAL_PEOPLE),
                ("test", TEST_PEOPLE),
            )
        },
        "settings": _settings(),
        "versions": {"python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6"},
        "seconds": 12.5,
    }


@cache
def _crossval_result(repeats: int) -> dict[str, Any]:
    result = evaluate_result()
    counts = (22, 15, 8)
    names = ("balanced_accuracy", "macro_auc", "accuracy")
    no_table = "the data set names neither age nor sex"
    del result["checkpoint"]
    return result | {
        "kind": "crossval",
        "run": "kaggle_2d_features",
        "dataset": "kaggle_2d",
        "split": "out-of-fold",
        "person": score(answers(counts, 2 * repeats), CLASSES, counts, 200),
        "image": None,
        "rivals": [_absent_rival(rival, no_table) for rival in result["rivals"]],
        "increment": unavailable(no_table),
        "subgroups": unavailable(no_table),
        "confounding": unavailable(no_table),
        "retest": unavailable("no person was scanned twice"),
        "permutation": None,
        "audit": None,
        "people": {"all": dict(zip(CLASSES, counts, strict=True))},
        "crossval": {
            "folds": 5,
            "repeats": repeats,
            "seeds": 2,
            "folds_hash": "0123456789abcdef",
            "per_fold": [
                {
                    "repeat": repeat,
                    "fold": fold,
                    "seed": seed,
                    "n_people": 9,
                    "metrics": {name: 0.4 + 0.02 * fold for name in names},
                }
                for repeat in range(repeats)
                for fold in range(5)
                for seed in range(2)
            ],
            "spread": {name: {"sd_repeats": 0.021, "sd_seeds": None} for name in names},
            "corrected": {name: span(0.52, 0.12) for name in names},
        },
    }


def _rivals() -> list[dict[str, Any]]:
    entries = (
        ("age_sex", "age, sex", ["age", "sex"], 0.5),
        ("table", "age, sex, nWBV, eTIV", ["age", "sex", "nwbv", "etiv"], 0.9),
        ("mmse", "age, sex, MMSE", ["age", "sex", "mmse"], 1.6),
    )
    rivals = [
        {
            "name": name,
            "title": title,
            "columns": columns,
            "upper_reference": name == "mmse",
            "available": True,
            "n_people": sum(TEST_PEOPLE),
            "metrics": score(
                answers(TEST_PEOPLE, seed=7, signal=signal), CLASSES, TRAIN_PEOPLE, 200
            )["metrics"],
            "imputed": 2 if name == "table" else 0,
            "note": "logistic regression",
        }
        for name, title, columns, signal in entries
    ]
    dark = {"name": "dark_voxels", "title": "dark voxels", "columns": ["dark_voxels"]}
    reason = "the processed images were not read"
    return [*rivals, dark | {"upper_reference": False} | unavailable(reason)]


def _absent_rival(rival: dict[str, Any], reason: str) -> dict[str, Any]:
    named = {key: rival[key] for key in ("name", "title", "columns", "upper_reference")}
    return named | unavailable(reason)


def _increment() -> dict[str, Any]:
    values = {"auc_table": 0.724, "auc_both": 0.781, "auc_difference": 0.057}
    values |= {"brier_table": 0.211, "brier_both": 0.190, "brier_difference": -0.021}
    return {
        "available": True,
        "columns": ["age", "sex", "nwbv", "etiv"],
        "n_people": 41,
        "left_out": 0,
        **{name: span(value) for name, value in values.items()},
        "likelihood_ratio": {"chi2": 5.1, "df": 1, "p": 0.024},
        "sentence": "Beside the table, the image raises the AUC by .057 in 41 people.",
    }


def ensemble_section() -> dict[str, Any]:
    """Return what ``--ensemble`` adds to a result."""
    values = {"without": 0.712, "with": 0.728, "difference": 0.016}
    names = ("balanced_accuracy", "macro_auc", "auc_demented")
    sides = {side: {name: span(value) for name in names} for side, value in values.items()}
    sides["difference"] = {name: one | {"p": 0.31} for name, one in sides["difference"].items()}
    return {
        "available": True,
        "members": ["dark_voxels", "tissue_maps"],
        "n_people": 41,
        **sides,
        "sentence": "Beside dark voxels and tissue maps the network adds nothing that is shown.",
    }


def _calibration() -> dict[str, Any]:
    def reliability(ece: float, slope: float) -> dict[str, Any]:
        values = {"ece": ece, "ece_demented": ece, "brier": 0.55, "log_loss": 0.93}
        bins = {"predicted": 0.3, "observed": 0.25, "low": 0.08, "high": 0.53, "n_people": 14}
        return {
            **{name: span(value, 0.04) for name, value in values.items()},
            "ece_if_perfect": 0.07,
            "slope": span(slope, 0.3),
            "intercept": span(-0.1, 0.3),
            "curve": [bins, bins | {"predicted": 0.7, "observed": 0.71, "low": 0.4, "high": 0.9}],
        }

    return {
        "available": True,
        "applied": {
            **{"method": "temperature", "scale": [0.6] * 3, "shift": [0.0] * 3},
            **{"n_people": 22, "reason": ""},
        },
        "before": reliability(0.18, 0.6),
        "after": reliability(0.09, 0.97),
        "sentence": "These 41 people show neither over- nor under-confidence.",
    }


def _prediction_sets() -> dict[str, Any]:
    def level(share: float) -> dict[str, Any]:
        known = {
            name: {"available": True, "n_people": n, "coverage": span(share, 0.05)}
            for name, n in zip(CLASSES[:2], TEST_PEOPLE, strict=False)
        }
        few = unavailable("3 validation people are too few for this level")
        return {
            "coverage": span(share, 0.05),
            "mean_size": span(1.4 + share, 0.2),
            "per_class": known | {CLASSES[2]: few},
            "empty": 0,
            "singletons": span(0.25, 0.1),
        }

    levels = {name: level(float(name)) for name in ("0.80", "0.90", "0.95")}
    return {"available": True, "levels": levels}


def _abstention() -> dict[str, Any]:
    steps = ((1.0, 41), (0.9, 37), (0.8, 33), (0.7, 29), (0.6, 25), (0.5, 21))
    curve = [
        {
            "coverage": coverage,
            "n_people": n,
            "accuracy": span(0.9 - 0.3 * coverage),
            "balanced_accuracy": span(0.85 - 0.3 * coverage),
        }
        for coverage, n in steps
    ]
    sentence = "Answering for the surest half (21 of 41 people) raises the accuracy to .750."
    return {"available": True, "curve": curve, "area": span(0.7), "sentence": sentence} | {
        "gain": span(0.15)
    }


def _decision_curve() -> dict[str, Any]:
    thresholds = [0.1, 0.2, 0.3, 0.4, 0.5]
    model = [0.46, 0.42, 0.36, 0.3, 0.2]
    return {
        "available": True,
        "thresholds": thresholds,
        "model": model,
        "low": [value - 0.1 for value in model],
        "high": [value + 0.1 for value in model],
        "all": [0.46, 0.39, 0.3, 0.19, 0.02],
        "none": [0.0] * 5,
        "useful": [0.2, 0.5],
        "sentence": "In 41 people the model is of use at thresholds of .20 to .50.",
    }


def _subgroups() -> dict[str, Any]:
    def group(factor: str, name: str, n: int, demented: int) -> dict[str, Any]:
        few = n < 10
        undefined = {"value": None, "low": None, "high": None}
        values = {"balanced_accuracy": 0.55, "auc_demented": 0.74, "accuracy": 0.6}
        return {
            "factor": factor,
            "group": name,
            "n_people": n,
            "n_demented": demented,
            "few_people": few,
            "few_classes": [CLASSES[1]] if demented < 10 else [],
            "metrics": {key: undefined if few else span(v, 0.15) for key, v in values.items()},
        }

    groups = [group("sex", "F", 25, 12), group("sex", "M", 16, 9)]
    groups += [group("age", "60-74", 18, 8), group("age", "75+", 17, 13), group("age", "<60", 6, 0)]
    gap = span(0.1, 0.05) | {"gap_if_equal": 0.09}
    gaps = {"sex": {"accuracy": gap, "auc_demented": None}, "age": {"accuracy": None}}
    over = list(CLASSES[:2])
    return {"available": True, "balanced_over": over, "groups": groups, "gaps": gaps}


def _confounding() -> dict[str, Any]:
    scores = {"balanced_accuracy": span(0.55), "auc_demented": span(0.76)}
    scores |= {"available": True, "few_people": True}
    matched = {"auc_demented": span(0.7), "accuracy": span(0.62), "age_difference": span(0.2, 0.5)}
    return {
        "all_ages": {"n_people": 41, **scores},
        "at_least_60": {"n_people": 35, **scores},
        "age_matched": {"available": True, "n_pairs": 13, "caliper_years": 3.0, **matched}
        | {"accuracy_demented": span(0.6), "age_alone_auc": span(0.51)},
        "age_alone_auc": span(0.58),
    }


def _retest() -> dict[str, Any]:
    return {
        "available": True,
        "n_people": 12,
        "icc": span(0.91, 0.05),
        "within_sd": 0.31,
        "few_people": False,
        "bias": -0.04,
        "bias_interval": span(-0.04, 0.1),
        "limits": [-0.9, 0.82],
        "agreement": span(0.83, 0.1),
        "kappa": None,
        "pairs": [[0.1, 0.2]] * 12,
        "classes": [[CLASSES[0], CLASSES[1]]] * 12,
    }


def _permutation() -> dict[str, Any]:
    observed = {"balanced_accuracy": 0.55, "macro_auc": 0.74}
    rng = np.random.default_rng(0)
    null = {name: [round(v, 3) for v in rng.normal(0.4, 0.05, 20).tolist()] for name in observed}
    return {"kind": "labels of people", "n": 199, "observed": observed, "null": null} | {
        "p": {"balanced_accuracy": 0.005, "macro_auc": 0.005}
    }


def _settings() -> dict[str, Any]:
    return {
        "data": {
            "dataset": "oasis_2d",
            "classes": 3,
            "min_age": 0.0,
            "official_split": False,
            "val_fraction": 0.15,
            "test_fraction": 0.2,
            "seed": 0,
        },
        "preprocess": {"num_slices": 20, "slice_axis": "axial", "image_size": 224},
        "model": {
            "backbone": "resnet18",
            "weights": None,
            "freeze_backbone": False,
            "dropout": 0.2,
        },
        "train": {
            **{"epochs": 30, "batch_size": None, "lr": None, "weight_decay": 0.01, "patience": 10},
            **{"class_weight_cap": 10.0, "augment": "mild", "precision": "auto", "seed": 0},
        },
        "evaluate": {"bootstrap": 200},
        "run": None,
    }
