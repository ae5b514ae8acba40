"""Figures of scores say their numbers, draw what they have, and leave out what they have not."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.text import Text

from src.labels import class_scheme
from src.report.score_figures import forest
from src.report.score_figures.calibration import decision_curve_figure, reliability_figure
from src.report.score_figures.coverage import abstention_figure, prediction_sets_figure
from src.report.score_figures.learning_curve import learning_curve_figure
from src.report.score_figures.resampling import crossval_figure, permutation_figure
from src.report.score_figures.rivals import rivals_figure
from src.report.score_figures.subgroups import retest_figure, subgroup_figure
from src.report.score_figures.write import FIGURES, write_score_figures

pytestmark = pytest.mark.filterwarnings("error")
FILES = tuple(figure.file for figure in FIGURES)
HOSTILE = {
    "long": "x" * 10_000,
    "words": "very long name " * 700,
    "formula": r"$a_{b$ and $x^2$ \$\frac{1}",
    "script": "<script>alert('x')</script>",
    "right-to-left": "\u202eאלצהיימר מחלת \u0645\u0631\u0636 $5",
    "hidden": "_hidden\n\ttab\x00",
}


def _interval(value: float | None, half: float = 0.07) -> dict[str, float | None]:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - half, "high": value + half * 0.9}


def _counts(k: int) -> list[int]:
    return {2: [100, 100], 3: [100, 70, 30], 4: [100, 70, 28, 2]}[k]


def _metrics(balanced: float, auc: float) -> dict[str, Any]:
    return {"balanced_accuracy": _interval(balanced), "macro_auc": _interval(auc, 0.05)}


def _person(k: int = 3) -> dict[str, Any]:
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
            "accuracy": _interval(0.5),
        },
    }


def _rivals() -> list[dict[str, Any]]:
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


def _absent(reason: str = "the manifest has no ages") -> dict[str, Any]:
    return {"available": False, "reason": reason}


def _curve(steepness: float, sizes: tuple[int, ...] = (20,) * 10) -> list[dict[str, Any]]:
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


def _calibration() -> dict[str, Any]:
    def state(ece: float, slope: float, steepness: float) -> dict[str, Any]:
        return {
            "ece": _interval(ece + 0.01, 0.03),
            "ece_demented": _interval(ece, 0.03),
            "slope": _interval(slope, 0.2),
            "curve": _curve(steepness),
        }

    return {
        "available": True,
        "applied": {"method": "temperature"},
        "before": state(0.14, 0.61, 1.1),
        "after": state(0.06, 0.97, 0.7),
        "sentence": "One temperature of 1.63, fitted on 40 validation people, lowers the log-loss.",
    }


def _decision_curve() -> dict[str, Any]:
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


def _abstention(n: int = 200) -> dict[str, Any]:
    shares = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    return {
        "available": True,
        "curve": [
            {
                "coverage": share,
                "n_people": round(share * n),
                "accuracy": _interval(0.58 + 0.3 * (1 - share)),
                "balanced_accuracy": _interval(0.53 + 0.2 * (1 - share), 0.08),
            }
            for share in shares
        ],
        "area": _interval(0.68, 0.05),
        "sentence": "Without the least certain fifth, accuracy rises by 6 points.",
    }


def _prediction_sets(k: int = 3) -> dict[str, Any]:
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
                middle = _interval(nominal - 0.04 + 0.03 * c, 0.05)
                per_class[name] = {"available": True, "n_people": n, "coverage": middle}
        levels[level] = {
            "coverage": _interval(nominal - 0.01, 0.045),
            "mean_size": _interval(1.3 + 0.25 * i, 0.1),
            "per_class": per_class,
            "empty": 3 - i,
            "singletons": _interval(0.6 - 0.2 * i),
        }
    return {"available": True, "levels": levels}


def _subgroups() -> dict[str, Any]:
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
                    "auc_demented": _interval(auc, 0.09 if n > 40 else 0.2),
                    "balanced_accuracy": _interval(balanced, 0.1 if n > 40 else 0.2),
                    "accuracy": _interval(0.6),
                },
            }
            for factor, group, n, demented, auc, balanced in rows
        ],
        "gaps": {
            "sex": {"auc_demented": {**_interval(0.05, 0.04), "gap_if_equal": 0.04}},
            "age": {"auc_demented": None},
        },
    }


def _confounding() -> dict[str, Any]:
    return {
        "all_ages": {
            "available": True,
            "n_people": 235,
            "few_people": False,
            "balanced_accuracy": _interval(0.56),
            "auc_demented": _interval(0.84, 0.05),
        },
        "at_least_60": {
            "available": True,
            "n_people": 198,
            "few_people": False,
            "balanced_accuracy": _interval(0.52),
            "auc_demented": _interval(0.75),
        },
        "age_matched": {
            "available": True,
            "n_pairs": 84,
            "caliper_years": 3.0,
            "age_difference": _interval(0.1, 0.3),
            "auc_demented": _interval(0.73, 0.08),
            "accuracy": _interval(0.55),
            "accuracy_demented": _interval(0.67),
        },
        "age_alone_auc": _interval(0.72, 0.06),
    }


def _retest(n: int = 20) -> dict[str, Any]:
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
        "agreement": _interval(0.9),
        "kappa": 0.71,
        "pairs": pairs.tolist(),
    }


def _permutation(n: int = 1000) -> dict[str, Any]:
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


def _crossval(repeats: int = 5, folds: int = 5) -> dict[str, Any]:
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
            "balanced_accuracy": _interval(0.525, 0.09),
            "macro_auc": _interval(0.735, 0.07),
        },
    }


def _learning_curve(gain: float = 0.03, *, few: bool = False) -> dict[str, Any]:
    """A curve of which the model gains `gain` per doubling, and the rival nothing."""

    def both(model: float, rival: float, half: float) -> dict[str, Any]:
        return {
            who: {name: _interval(value, half) for name in ("balanced_accuracy", "macro_auc")}
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


def _results(k: int = 3) -> dict[str, Any]:
    """What ``metrics.json`` holds, with every section that a figure is made of."""
    return {
        "classes": list(class_scheme(k).classes),
        "stamps": [],
        "person": _person(k),
        "rivals": _rivals(),
        "calibration": _calibration(),
        "decision_curve": _decision_curve(),
        "abstention": _abstention(),
        "prediction_sets": _prediction_sets(k),
        "subgroups": _subgroups(),
        "confounding": _confounding(),
        "retest": _retest(),
        "permutation": _permutation(),
        "learning_curve": _learning_curve(),
        "crossval": _crossval(),
    }


def _hostile(kinds: Iterator[str]) -> dict[str, Any]:
    """A result in which every text that comes from elsewhere is a name of `HOSTILE`."""
    results = _results(3)

    def name() -> str:
        return HOSTILE[next(kinds)]

    classes = [f"{i}{name()}" for i in range(3)]
    renamed = dict(zip(results["classes"], classes, strict=True))
    results |= {"classes": classes, "stamps": [name()]}
    results["person"]["majority"]["class"] = classes[0]
    results["person"]["notes"] = [name(), name()]
    for rival in results["rivals"]:
        rival["title"] = name()
    results["rivals"][0] |= _absent(name())
    for section in ("calibration", "decision_curve", "abstention"):
        results[section]["sentence"] = name()
    for level in results["prediction_sets"]["levels"].values():
        level["per_class"] = {renamed[old]: v for old, v in level["per_class"].items()}
        level["per_class"][classes[2]] |= _absent(name())
    for group in results["subgroups"]["groups"]:
        group |= {"group": name(), "factor": f"{group['factor']}{name()}"}
    results["subgroups"]["balanced_over"] = classes
    results["confounding"]["age_matched"] = _absent(name())
    results["permutation"]["kind"] = name()
    return results


class _Drawn:
    """The figures written while it watches; their pictures are drawn only if `render`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, render: bool) -> None:
        self.figures: list[Figure] = []
        self._boxes: list[tuple[str, Any]] = []
        draw, draw_all, save = Text.draw, Figure.draw, Figure.savefig

        def spy(text: Text, renderer: Any, *args: Any, **kwargs: Any) -> None:
            if text.get_visible() and text.get_text().strip():
                self._boxes.append((text.get_text(), text.get_window_extent(renderer)))
            draw(text, renderer, *args, **kwargs)

        def begin(figure: Figure, *args: Any, **kwargs: Any) -> None:
            self._boxes.clear()  # the first drawing only measures
            draw_all(figure, *args, **kwargs)

        def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
            self.figures.append(figure)
            if render:
                save(figure, *args, **kwargs)
                assert self.overlapping() == [], self.caption

        monkeypatch.setattr(Figure, "savefig", keep)
        if render:
            monkeypatch.setattr(Text, "draw", spy)
            monkeypatch.setattr(Figure, "draw", begin)

    @property
    def texts(self) -> list[str]:
        """Every text of the last figure, escapes taken away, its lines joined."""
        for axes in self.figures[-1].get_axes():
            axes.get_xticklabels(), axes.get_yticklabels()  # makes them
        found = [text for text in self.figures[-1].findobj(Text) if text.get_visible()]
        return [text.get_text().replace("\\$", "$").replace("\n", " ") for text in found]

    @property
    def caption(self) -> str:
        return self.figures[-1].texts[-1].get_text().replace("\n", " ")

    def overlapping(self) -> list[tuple[str, str]]:
        """Pairs of texts of the last picture that cover each other by more than a pixel."""
        return [
            (a, b)
            for (a, p), (b, q) in itertools.combinations(self._boxes, 2)
            if min(p.x1, q.x1) - max(p.x0, q.x0) > 1 and min(p.y1, q.y1) - max(p.y0, q.y0) > 1
        ]

    def lines(self, panel: int = 0) -> list[Any]:
        return list(self.figures[-1].get_axes()[panel].lines)

    def marks(self, panel: int = 0) -> list[Any]:
        """Estimates: single points with a marker."""
        return [line for line in self.lines(panel) if len(line.get_xdata()) == 1]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> _Drawn:
    """What is drawn, without the pictures."""
    return _Drawn(monkeypatch, render=False)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> _Drawn:
    """The pictures too; none may have a text that covers another."""
    return _Drawn(monkeypatch, render=True)


def _check(path: Path | None) -> None:
    """A PNG of sane size."""
    assert path is not None
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert 300 < width < 3000
    assert 300 < height < 3000


@pytest.mark.slow
def test_every_figure_is_drawn_and_no_text_covers_another(tmp_path, rendered) -> None:
    written = write_score_figures(tmp_path, _results(4), "kaggle_2d, 200 people")
    assert [path.name for path in written] == list(FILES)
    for path, figure in zip(written, list(rendered.figures), strict=True):
        _check(path)
        rendered.figures.append(figure)
        assert any("n = " in text for text in rendered.texts), path.name
        assert any(text.endswith(": kaggle_2d, 200 people") for text in rendered.texts), path.name
    assert pyplot.get_fignums() == []


@pytest.mark.slow
def test_hostile_names_break_no_figure(tmp_path, rendered) -> None:
    names = itertools.cycle(HOSTILE)
    written = write_score_figures(tmp_path, _hostile(names), HOSTILE["words"])
    assert [path.name for path in written] == list(FILES)
    for path in written:
        _check(path)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_class_of_any_name_keeps_its_row(tmp_path, drawn, kind: str) -> None:
    results = _hostile(itertools.repeat(kind))
    sets, classes = results["prediction_sets"], results["classes"]
    assert prediction_sets_figure(tmp_path / "p.png", sets, classes, HOSTILE[kind])
    rows = [text for text in drawn.texts if text.endswith("n = 70 people")]
    assert len(rows) == 1
    assert rows[0].startswith("1")
    assert max(map(len, drawn.texts)) < 1100


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3])
def test_sets_of_fewer_classes(tmp_path, rendered, k: int) -> None:
    classes = class_scheme(k).classes
    _check(prediction_sets_figure(tmp_path / "p.png", _prediction_sets(k), classes, "T"))
    assert not any("not estimable" in text for text in rendered.texts)


def test_what_is_not_available_is_not_drawn(tmp_path) -> None:
    path = tmp_path / "x.png"
    for gone in (None, {}, _absent()):
        assert reliability_figure(path, gone, "T") is None
        assert decision_curve_figure(path, gone, "T") is None
        assert abstention_figure(path, gone, "T") is None
        assert prediction_sets_figure(path, gone, ("A", "B"), "T") is None
        assert subgroup_figure(path, gone, gone, "T") is None
        assert retest_figure(path, gone, "T") is None
        assert permutation_figure(path, gone, "T") is None
        assert crossval_figure(path, gone, _person(), "T") is None
    assert rivals_figure(path, _person(), None, "T") is None
    assert rivals_figure(path, _person(), [_rivals()[0] | _absent()], "T") is None
    assert retest_figure(path, _retest() | {"pairs": [[None, 1.0]]}, "T") is None
    assert permutation_figure(path, _permutation() | {"null": {"macro_auc": [None]}}, "T") is None
    assert crossval_figure(path, _crossval() | {"per_fold": []}, _person(), "T") is None
    assert list(tmp_path.iterdir()) == []


def test_stale_figures_go_and_the_reason_is_logged(tmp_path, caplog) -> None:
    for name in (*FILES, "roc.png"):
        (tmp_path / name).write_bytes(b"of an earlier run")
    results = {"classes": ["A", "B"], "stamps": [], "person": _person(2), "permutation": None}
    results |= {"rivals": [_rivals()[0] | _absent("no ages " * 2000)], "retest": _absent("no MR2")}
    results |= {"abstention": _abstention()}
    with caplog.at_level(logging.INFO, logger="src.report.score_figures.write"):
        written = write_score_figures(tmp_path, results, "T")
    assert [path.name for path in written] == ["abstention.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["abstention.png", "roc.png"]
    assert len(caplog.messages) == 1  # one line, of what the result has a section for
    assert caplog.messages[0].startswith("not drawn: rivals.png (")
    assert "retest.png (no MR2)" in caplog.messages[0]
    assert not [text for text in caplog.messages if "not part of this result" in text]
    assert max(map(len, caplog.messages)) < 400


def test_groups_of_too_few_people_are_no_figure(tmp_path, drawn) -> None:
    nobody = {"auc_demented": _interval(None), "balanced_accuracy": _interval(None)}
    groups = _subgroups()
    for group in groups["groups"]:
        group["metrics"] = dict(nobody)
    path = tmp_path / "s.png"
    assert subgroup_figure(path, groups, None, "T") is None
    assert not path.exists()
    groups["groups"][0]["metrics"]["balanced_accuracy"] = _interval(0.5)
    assert subgroup_figure(path, groups, None, "T") == path
    assert len(drawn.figures[-1].get_axes()) == 1  # no panel without any estimate


def test_one_bin_is_no_calibration_curve(tmp_path, drawn) -> None:
    calibration = _calibration()
    for when in ("before", "after"):
        calibration[when]["curve"] = calibration[when]["curve"][:1]
    assert reliability_figure(tmp_path / "c.png", calibration, "T") is None
    calibration["after"]["curve"] = _calibration()["after"]["curve"][:2]
    assert reliability_figure(tmp_path / "c.png", calibration, "T")


@pytest.mark.slow
def test_stamps_are_on_every_figure_and_sections_stay_as_they_are(tmp_path, drawn) -> None:
    results = _results() | {"stamps": ["people unknown"]}
    before = copy.deepcopy(results)
    write_score_figures(tmp_path, results, "T")
    assert json.dumps(results) == json.dumps(before)
    assert len(drawn.figures) == len(FILES)
    for figure in list(drawn.figures):
        drawn.figures.append(figure)
        assert "people unknown" in drawn.texts


def test_rivals_stand_beside_the_model_and_the_majority(tmp_path, drawn) -> None:
    rivals = _rivals()
    rivals[0] |= _absent("the manifest has no ages.")
    rivals[2]["imputed"] = 12
    person = _person(4) | {"notes": ["ModerateDemented: 2 people in test"]}
    assert rivals_figure(tmp_path / "r.png", person, rivals, "T")
    assert {
        "this model n = 200 people",
        "0.53 [0.46-0.59]",
        "always NonDemented n = 200 people",
        "0.25 (by definition)",
        "0.50 (by definition)",
        "dark voxels n = 198 people, 12 imputed",
        "age, sex, nWBV, eTIV, MMSE upper reference, n = 198 people",
        "balanced accuracy (dotted: chance, 0.25)",
        "macro AUC (dotted: chance, 0.50)",
    } <= set(drawn.texts)
    assert drawn.caption == (
        "Bars: 95 % intervals of people. Hollow: a class has under 10 people. "
        "ModerateDemented: 2 people in test. "
        "Not available: age, sex (the manifest has no ages)."
    )
    model, majority, *others, upper = drawn.marks()
    assert model.get_xdata() == [0.53]
    assert majority.get_xdata() == [0.25]
    assert [float(mark.get_xdata()[0]) for mark in others] == [0.52, 0.57]
    assert upper.get_color() == forest.GREY
    assert upper.get_markerfacecolor() == "white"
    assert [mark.get_marker() for mark in (model, majority, *others, upper)] == list("oDss^")


def test_chance_is_over_the_classes_that_have_people(tmp_path, drawn) -> None:
    person = _person(4)
    person["confusion"][3] = [0, 0, 0, 0]
    rivals_figure(tmp_path / "r.png", person, _rivals(), "T")
    assert "balanced accuracy (dotted: chance, 0.33)" in drawn.texts


def test_calibration_says_error_and_slope_before_and_after(tmp_path, drawn) -> None:
    assert reliability_figure(tmp_path / "c.png", _calibration(), "T")
    assert {
        "before calibration ECE of p(demented) 0.14 [0.11-0.17] slope 0.61 [0.41 to 0.79]",
        "after calibration ECE of p(demented) 0.06 [0.03-0.09] slope 0.97 [0.77 to 1.15]",
    } <= set(drawn.texts)
    assert drawn.caption.startswith("n = 200 people, in bins of 20. Bars: 95 % Wilson intervals.")
    assert "One temperature of 1.63" in drawn.caption
    first = _calibration()["before"]["curve"][0]
    assert drawn.marks()[0].get_xydata().tolist() == [[first["predicted"], first["observed"]]]
    bar = next(line for line in drawn.lines() if line.get_marker() == "_")
    assert list(bar.get_ydata()) == [first["low"], first["high"]]
    heights = [patch.get_height() for patch in drawn.figures[-1].get_axes()[2].patches]
    assert heights == [20] * 10


def test_bins_of_few_people_are_hollow(tmp_path, drawn) -> None:
    calibration = _calibration()
    calibration["after"]["curve"] = _curve(0.5, (9, 10))
    reliability_figure(tmp_path / "c.png", calibration, "T", n_people=19)
    few, enough = drawn.marks(1)
    assert (few.get_markerfacecolor(), few.get_color()) == ("white", forest.GREY)
    assert enough.get_markerfacecolor() == enough.get_color() != forest.GREY
    assert "n = 19 people, in bins of 9 to 10." in drawn.caption
    assert "Hollow: under 10 people." in drawn.caption


@pytest.mark.slow
def test_decision_curve_has_three_lines_a_band_and_the_useful_range(tmp_path, drawn) -> None:
    section = _decision_curve()
    assert decision_curve_figure(tmp_path / "d.png", section, "T", n_people=200)
    assert {"treat all", "treat none", "treat by the model", "useful: 0.15 to 0.85"} <= set(
        drawn.texts
    )
    assert drawn.caption.startswith("n = 200 people. Between thresholds")
    treat_all, none, model = drawn.lines()
    assert model.get_ydata().tolist() == section["model"]
    assert treat_all.get_ydata().tolist() == section["all"]
    assert not none.get_ydata().any()
    assert len({line.get_linestyle() for line in (treat_all, none, model)}) == 3
    axes = drawn.figures[-1].get_axes()[0]
    assert axes.patches[0].get_extents().width > 0
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (min(section["low"]), max(section["high"]))
    assert axes.get_ylim()[0] > min(section["all"])  # "treat all" falls without end


def test_decision_curve_that_is_never_useful(tmp_path, drawn) -> None:
    section = _decision_curve() | {"useful": None, "sentence": "At no threshold."}
    section["low"][0] = section["high"][0] = None
    decision_curve_figure(tmp_path / "d.png", section, "T")
    assert not any("useful" in text for text in drawn.texts)
    assert drawn.figures[-1].get_axes()[0].patches[:] == []


def test_abstention_has_both_scores_by_people_answered(tmp_path, drawn) -> None:
    section = _abstention(18)
    section["curve"][-1]["balanced_accuracy"] = _interval(None)
    section["curve"][2]["few_people"] = True
    assert abstention_figure(tmp_path / "a.png", section, "T")
    assert {"50 % n = 9", "100 % n = 18", "accuracy", "balanced accuracy"} <= set(drawn.texts)
    assert "Area under accuracy against share answered: 0.68 [0.63-0.73]." in drawn.caption
    assert "Hollow: under 10 people, or of a class." in drawn.caption
    points = drawn.marks()
    assert len(points) == 11  # one balanced accuracy is undefined
    hollow = [mark.get_markerfacecolor() == "white" for mark in points]
    assert hollow == [True] + [False] * 5 + [False, False, True, False, False]
    assert points[0].get_ydata() == pytest.approx([0.73])  # the fewest people stand on the left


def test_prediction_sets_by_class_against_the_nominal_lines(tmp_path, drawn) -> None:
    section, classes = _prediction_sets(4), class_scheme(4).classes
    section["levels"]["0.95"]["per_class"]["MildDemented"] |= {"available": False, "reason": "no"}
    section["levels"]["0.80"]["per_class"]["MildDemented"]["n_people"] = 9
    assert prediction_sets_figure(tmp_path / "p.png", section, classes, "T")
    assert {"everyone n = 200 people", "ModerateDemented n = 2 people", "80 % sets"} <= set(
        drawn.texts
    )
    assert "1.30 [1.20-1.39] one class: 60 %" in drawn.texts
    assert drawn.texts.count("not estimable") == 3 + 1
    assert "Empty sets: 3 at 80 %, 2 at 90 %, 1 at 95 %." in drawn.caption
    assert "Not estimable: ModerateDemented: 2 validation people are too few for a" in drawn.caption
    assert "; MildDemented: no." in drawn.caption
    marks = drawn.marks()
    assert len(marks) == 5 * 3 - 4
    nominal = [
        (line.get_xdata()[0], line.get_color(), line.get_linestyle())
        for line in drawn.lines()
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
    ]
    assert [at for at, _, _ in nominal] == [0.8, 0.9, 0.95]
    assert [mark.get_color() for mark in marks[:3]] == [colour for _, colour, _ in nominal]
    assert len({style for _, _, style in nominal}) == len({m.get_marker() for m in marks}) == 3
    hollow = [mark for mark in marks if mark.get_markerfacecolor() == "white"]
    assert len(hollow) == 1
    assert hollow[0].get_xdata() == [_prediction_sets(4)["levels"]["0.80"]["per_class"][
        "MildDemented"]["coverage"]["value"]]  # fmt: skip


def test_subgroups_have_their_people_and_few_are_grey(tmp_path, drawn) -> None:
    subgroups, confounding = _subgroups(), _confounding()
    subgroups["groups"][3]["few_classes"] = ["MildDemented"]
    confounding["all_ages"]["few_people"] = True
    assert subgroup_figure(tmp_path / "s.png", subgroups, confounding, "T")
    assert {
        "sex",
        "F n = 118 people, 54 demented",
        "0.83 [0.74-0.91]",
        "unknown n = 7 people, 4 demented (few)",
        "not estimable",
        "confounding by age",
        "all ages n = 235 people",
        "60 years and older n = 198 people",
        "pairs matched by age n = 84 pairs",
    } <= set(drawn.texts)
    caption = drawn.caption
    assert "Largest gap in AUC: sex 0.05 [0.01-0.09] (by chance 0.04)." in caption
    assert "within 3 years, accuracy of CDR 0 against > 0 0.67 [0.60-0.73]." in caption
    assert "Hollow: a class of under 10 people weighs as much as the others." in caption
    hollow = [mark for mark in drawn.marks(1) if mark.get_markerfacecolor() == "white"]
    assert [float(mark.get_xdata()[0]) for mark in hollow] == [0.51, 0.4, 0.56]
    assert "Grey: under 10 people, too few to judge." in caption
    grey = [mark for mark in drawn.marks() if mark.get_color() == forest.GREY]
    assert [float(mark.get_xdata()[0]) for mark in grey] == [0.7]
    labels = drawn.figures[-1].get_axes()[0].get_yticklabels()
    assert [t.get_text()[:7] for t in labels if t.get_color() == forest.GREY] == ["unknown"]
    assert [t.get_text() for t in labels if t.get_fontweight() == "bold"] == [
        *("sex", "age", "confounding by age")
    ]


def test_age_rows_stand_without_groups_and_say_what_is_missing(tmp_path, drawn) -> None:
    confounding = _confounding() | {"at_least_60": _absent("9 people are 60 or older")}
    confounding |= {"age_matched": _absent("7 pairs within 3 years")}
    assert subgroup_figure(tmp_path / "s.png", _absent(), confounding, "T")
    assert drawn.texts.count("not available") == 4
    assert "60 years and older: 9 people are 60 or older." in drawn.caption
    assert "matched by age: 7 pairs within 3 years." in drawn.caption
    assert "sex" not in drawn.texts


def test_groups_stand_without_age_rows(tmp_path, drawn) -> None:
    assert subgroup_figure(tmp_path / "s.png", _subgroups(), None, "T")
    assert "confounding by age" not in drawn.texts


def test_retest_has_bias_limits_and_agreement(tmp_path, drawn) -> None:
    section = _retest()
    section["icc"] = _interval(0.93, 0.05)
    assert retest_figure(tmp_path / "b.png", section, "T")
    low, high = section["limits"]
    assert {f"bias {section['bias']:.2f}", f"lower limit {low:.2f}", f"upper limit {high:.2f}"} <= (
        set(drawn.texts)
    )
    assert any(text.startswith("ICC(2,1) 0.93 [0.88 to 0.9") for text in drawn.texts)
    assert drawn.caption.startswith("n = 20 people. Scores are log-odds of demented.")
    assert "Same class on both days: 0.90 [0.83-0.96], kappa 0.71." in drawn.caption
    points = next(line for line in drawn.lines(1) if len(line.get_xdata()) == 20)
    pairs = np.array(section["pairs"])
    np.testing.assert_allclose(points.get_ydata(), pairs[:, 1] - pairs[:, 0])
    np.testing.assert_allclose(points.get_xdata(), pairs.mean(axis=1))
    assert points.get_ydata().mean() == pytest.approx(section["bias"])


@pytest.mark.parametrize("n", [1, 4])
def test_retest_of_few_people_is_grey(tmp_path, drawn, n: int) -> None:
    section = _retest(n)
    if n == 1:
        section |= {"bias": None, "limits": None, "icc": None, "kappa": None}
    assert retest_figure(tmp_path / "b.png", section, "T")
    assert ": too few to judge." in drawn.caption
    points = next(line for line in drawn.lines() if line.get_marker() == "o")
    assert points.get_color() == forest.GREY


def test_permutation_shows_the_null_and_p(tmp_path, drawn) -> None:
    section = _permutation()
    section["p"]["macro_auc"] = 0.0312
    section["null"]["balanced_accuracy"][0] = None
    assert permutation_figure(tmp_path / "p.png", section, "T", n_people=200)
    assert {"balanced accuracy: 0.53, p = 0.001", "macro AUC: 0.74, p = 0.031"} <= set(drawn.texts)
    assert drawn.caption.startswith("n = 200 people. 1000 shuffles")
    axes = drawn.figures[-1].get_axes()
    assert len(axes) == 2
    assert sum(patch.get_height() for patch in axes[0].patches) == 999
    limit, observed = axes[1].lines
    null = np.array(section["null"]["macro_auc"])
    assert (null < limit.get_xdata()[0]).mean() == 0.95
    assert observed.get_xdata()[0] == 0.74


@pytest.mark.parametrize(
    ("curve", "ends"),
    [(_learning_curve(), 324), (_learning_curve(0.005), 162), (_learning_curve(few=True), 162)],
)
def test_a_learning_curve_goes_beyond_its_people_only_where_it_rises(tmp_path, drawn, curve, ends):
    assert learning_curve_figure(tmp_path / "l.png", curve, _person(3), "T")
    axes = drawn.figures[-1].get_axes()[1]
    lines = [line for line in axes.get_lines() if line.get_label() != "chance"]
    reached = max(float(np.max(line.get_xdata())) for line in lines)
    assert 2**reached == pytest.approx(ends, rel=0.02)
    beyond = [line for line in lines if "if it goes on so" in str(line.get_label())]
    assert [float(line.get_ydata()[-1]) for line in beyond] == ([0.73] if ends == 324 else [])
    words = [text.get_text() for text in axes.get_xticklabels()]
    assert words[:3] == ["32", "65", "97"]
    assert words[3] == ""  # it would touch the next
    assert ("324" in words) == (ends == 324)


def test_permutation_of_one_metric_and_few_shuffles(tmp_path, drawn) -> None:
    section = _permutation(3)
    section["null"] = {"macro_auc": section["null"]["macro_auc"]}
    section["p"] = {}
    assert permutation_figure(tmp_path / "p.png", section, "T")
    assert len(drawn.figures[-1].get_axes()) == 1
    assert "macro AUC: 0.74" in drawn.texts


def test_crossval_has_folds_means_and_two_intervals(tmp_path, drawn) -> None:
    section, person = _crossval(), _person()
    assert crossval_figure(tmp_path / "c.png", section, person, "T")
    assert {
        "balanced accuracy resampled people: 0.53 [0.46-0.59] corrected: 0.53 [0.44-0.61]",
        "one fold",
        "mean of a repeat's folds",
        "all answers, interval of resampled people",
        "mean of folds, corrected interval",
        "chance",
    } <= set(drawn.texts)
    assert drawn.caption.startswith("n = 200 people, 40 to 41 in a fold.")
    assert "between repeats: 0.012 (balanced accuracy)." in drawn.caption
    folds = [line.get_ydata() for line in drawn.lines(1) if line.get_label() == "one fold"]
    assert [len(values) for values in folds] == [4] * 5  # one fold of each repeat has no AUC
    means = [line.get_ydata() for line in drawn.lines(1) if "repeat's" in line.get_label()]
    assert [float(y[0]) for y in means] == pytest.approx([values.mean() for values in folds])
    whole, corrected = drawn.marks(0)
    assert (whole.get_ydata(), corrected.get_ydata()) == ([0.53], [0.525])
    assert whole.get_marker() != corrected.get_marker()


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 30])
def test_crossval_of_one_and_of_many_repeats(tmp_path, rendered, repeats: int) -> None:
    section = _crossval(repeats, 2) | {"spread": {}, "corrected": {}}
    for fold in section["per_fold"]:
        fold["metrics"]["macro_auc"] = None
    _check(crossval_figure(tmp_path / "c.png", section, _person(), "T"))
    assert any(text.endswith("corrected: not estimable") for text in rendered.texts)


def test_an_interval_need_not_hold_its_estimate(tmp_path, drawn) -> None:
    rivals = _rivals()
    rivals[0]["metrics"]["macro_auc"] = {"value": 0.7, "low": 0.71, "high": 0.8}
    rivals[1]["metrics"]["macro_auc"] = {"value": 0.7, "low": None, "high": None}
    rivals[2]["metrics"]["macro_auc"] = _interval(None)
    assert rivals_figure(tmp_path / "r.png", _person(), rivals, "T")
    assert {"0.70 [0.71-0.80]", "0.70 [no interval]", "not estimable"} <= set(drawn.texts)


def test_no_line_of_a_caption_breaks_within_a_number() -> None:
    caption = forest.caption_of(["n = 40 people", "", "AUC 0.74 [0.69-0.79], 95 %."])
    assert caption == "n\xa0=\xa040 people. AUC 0.74\xa0[0.69-0.79], 95\xa0%."
