"""Figures are readable PNG files, with the brain upright and text drawn as it is."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as picture
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.text import Text

from src.evaluation.metrics.scores import score
from src.labels import class_scheme
from src.predictions import Predictions
from src.report import canvas
from src.report.canvas import plain, wrapped
from src.report.score_figures.classification import confusion_figure, roc_figure
from src.report.score_figures.training import training_figure

pytestmark = pytest.mark.filterwarnings("error")
RED = np.array([0xC1, 0x12, 0x1F]) / 255


def _check(path: Path) -> np.ndarray:
    """Return the picture, once it is a PNG of sane size that is not blank."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert 300 < width < 6000
    assert 300 < height < 6000
    pixels = picture.imread(path)[..., :3]
    assert pixels.std() > 0.05
    frame = np.concatenate([pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel()])
    assert frame.min() == 1  # a white margin: nothing is cut off
    return pixels


def _people(k: int, n: int = 60, few: int = 0) -> tuple[Predictions, dict]:
    """Predictions of `n` people and their scores; `few` is the size of the last class."""
    rng = np.random.default_rng(0)
    labels = np.resize(np.arange(k - 1), n)
    labels[: few or n // k] = k - 1
    rows = Predictions(labels, rng.normal(size=(n, k)) + np.eye(k)[labels], np.arange(n))
    return rows, score(rows, class_scheme(k).classes, [1] * k, 100, 0)


def _texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect every text of the figures that are saved from now on."""
    found: list[str] = []
    save = Figure.savefig

    def spy(self, *args, **kwargs):
        save(self, *args, **kwargs)
        found.extend(text.get_text() for text in self.findobj(Text))

    monkeypatch.setattr(Figure, "savefig", spy)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 4])
def test_confusion_figure_shows_counts_and_shares(tmp_path, monkeypatch, k: int) -> None:
    texts, (_, result) = _texts(monkeypatch), _people(k)
    path = confusion_figure(
        tmp_path / "new" / "c.png", result["confusion"], class_scheme(k).classes, "Test"
    )
    _check(path)
    count, total = result["confusion"][0][0], sum(result["confusion"][0])
    assert f"{count}\n{100 * count / total:.0f} %" in texts


def test_confusion_figure_of_few_people_has_counts_only(tmp_path, monkeypatch) -> None:
    texts = _texts(monkeypatch)
    confusion_figure(tmp_path / "c.png", np.array([[18, 2], [1, 1]]), ("A", "B"), "Test")
    assert {"18\n90 %", "2\n10 %", "1", "under 10 people: counts only"} <= set(texts)


def test_confusion_figure_of_images_counts_their_people(tmp_path, monkeypatch) -> None:
    """60 images of 2 people are no reason for a percentage."""
    texts = _texts(monkeypatch)
    path = tmp_path / "c.png"
    confusion_figure(path, np.array([[300, 0], [6, 54]]), ("A", "B"), "T", n_people=(10, 2))
    assert {"300\n100 %", "54"} <= set(texts)


def test_confusion_figure_of_an_absent_class(tmp_path) -> None:
    _check(confusion_figure(tmp_path / "c.png", np.array([[12, 2], [0, 0]]), ("A", "B"), "T"))


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 4])
def test_roc_figure_says_auc_interval_and_people(tmp_path, monkeypatch, k: int) -> None:
    texts, (rows, result), names = _texts(monkeypatch), _people(k), class_scheme(k).classes
    per_class = result["per_class"]
    _check(
        roc_figure(tmp_path / "r.png", rows.labels, rows.probabilities, names, per_class, "Test")
    )
    auc = per_class[names[1]]["auc"]
    wanted = f"{names[1]}: AUC {auc['value']:.2f} [{auc['low']:.2f}-{auc['high']:.2f}], n = "
    assert any(text.startswith(wanted) for text in texts)
    assert sum("AUC" in text for text in texts) == (1 if k == 2 else k)


def test_roc_figure_lists_a_class_of_few_people_as_not_estimable(tmp_path, monkeypatch) -> None:
    texts, (rows, result), names = _texts(monkeypatch), _people(3, few=2), class_scheme(3).classes
    roc_figure(
        tmp_path / "r.png", rows.labels, rows.probabilities, names, result["per_class"], "Test"
    )
    assert "MildOrWorse: not estimable (n = 2)" in texts


def test_roc_figure_of_few_people_of_every_class_is_not_drawn(tmp_path) -> None:
    names, (rows, _) = class_scheme(3).classes, _people(3)
    few = {name: {"n_people": 4, "auc": {"value": None}} for name in names}
    args = (rows.labels, rows.probabilities, names, few, "Test")
    assert roc_figure(tmp_path / "r.png", *args) is None
    assert not (tmp_path / "r.png").exists()


def test_curves_on_one_path_can_be_told_apart(tmp_path, monkeypatch) -> None:
    figures = []

    def keep(figure, path, *_):
        figures.append(figure)
        return path

    monkeypatch.setattr("src.report.score_figures.classification.write_figure", keep)
    monkeypatch.setattr("src.report.score_figures.training.write_figure", keep)
    (rows, result), names = _people(3), class_scheme(3).classes
    roc_figure(tmp_path / "r.png", rows.labels, rows.probabilities, names, result["per_class"], "T")
    same = [0.5, 1.0, 1.0]
    history = {"epoch": [1, 2, 3], "train_loss": same, "val_loss": same}
    history |= {"val_balanced_accuracy": same, "val_accuracy": same, "best_epoch": 2}
    training_figure(tmp_path / "t.png", history)
    for axes in [axes for figure in figures for axes in figure.get_axes()]:
        lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
        looks = {(line.get_linestyle(), str(line._dash_pattern)) for line in lines}
        assert len(looks) == len(lines) > 1
        whole = axes.get_ylim()[1] > 1.02 or not any(line.get_clip_on() for line in lines)
        assert whole  # a mark at 1.0 is not cut


def test_roc_figure_of_an_absent_class(tmp_path, monkeypatch) -> None:
    texts, names, (rows, _) = _texts(monkeypatch), class_scheme(4).classes, _people(3)
    four = np.hstack([rows.logits, np.zeros((60, 1))])
    wide = Predictions(rows.labels, four, rows.subjects)
    per_class = score(wide, names, [1] * 4, 100, 0)["per_class"]
    _check(roc_figure(tmp_path / "r.png", rows.labels, wide.probabilities, names, per_class, "T"))
    assert "ModerateDemented: not estimable (n = 0)" in texts


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 30])
def test_training_figure_marks_the_best_epoch(tmp_path, monkeypatch, n: int) -> None:
    texts, epoch = _texts(monkeypatch), list(range(1, n + 1))
    history = {
        "epoch": epoch,
        "train_loss": [1 / e for e in epoch],
        "val_loss": [2 / e for e in epoch],
        "val_balanced_accuracy": [1 - 1 / (e + 1) for e in epoch],
        "val_accuracy": [None, *epoch[1:]],
        "best_epoch": n,
    }
    _check(training_figure(tmp_path / "t.png", history))
    assert texts.count(f"best epoch: {n}") == 2


def test_training_figure_without_validation(tmp_path) -> None:
    history = {"epoch": [1, 2], "train_loss": [1.0, 0.5], "best_epoch": None}
    _check(training_figure(tmp_path / "t.png", history))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["$a_{b$ and $x^2$", r"\$\frac{1}", "x" * 500, "two\nlines\ttab\x00", "word " * 100]
)
def test_names_from_files_are_drawn_as_they_are(tmp_path, name: str) -> None:
    stamps = (name,)
    confusion = np.array([[12, 2], [3, 15]])
    _check(confusion_figure(tmp_path / "c.png", confusion, (name, name), name, stamps=stamps))


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    short = plain("subject_" + "x" * 500 + "_slice07", 40)
    assert len(short) == 40
    assert short.startswith("subject_")
    assert short.endswith("_slice07")


def test_lines_beyond_the_most_are_shortened() -> None:
    lines = wrapped("word " * 200, width=4, points=9, most=2)
    assert len(lines) == 2
    assert max(map(len, lines)) <= 4 * 72 / (9 * 0.6)


@pytest.mark.slow
def test_stamps_are_red(tmp_path) -> None:
    def red(name: str, stamps: tuple[str, ...]) -> int:
        pixels = _check(
            training_figure(tmp_path / name, {"epoch": [1], "train_loss": [1]}, stamps=stamps)
        )
        return int((np.abs(pixels - RED).max(axis=2) < 0.02).sum())

    assert red("without.png", ()) == 0
    assert red("with.png", ("same people in train and test",)) > 200


def test_a_very_tall_figure_is_drawn_with_fewer_pixels(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(canvas, "_MAX_PIXELS", 450)  # Agg itself refuses 65,536
    names = [f"class {i}" for i in range(12)]
    pixels = picture.imread(confusion_figure(tmp_path / "c.png", np.eye(12, dtype=int), names, "T"))
    assert max(pixels.shape) < 550


@pytest.mark.slow
def test_figures_can_be_drawn_in_threads_and_leave_pyplot_alone(tmp_path) -> None:
    before = pyplot.get_fignums()
    confusion = np.array([[12, 2], [3, 15]])

    def draw(i: int) -> Path:
        if i % 2:
            return confusion_figure(tmp_path / f"{i}.png", confusion, ("A", "B"), "T")
        return training_figure(tmp_path / f"{i}.png", {"epoch": [1, 2], "train_loss": [1, 0.5]})

    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(draw, range(8)))
    contents = [path.read_bytes() for path in paths]
    assert len(set(contents[::2])) == len(set(contents[1::2])) == 1
    assert pyplot.get_fignums() == before
