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

from src import cam_figures, canvas
from src.cam_figures import cam_figure_2d, cam_figure_3d, peak, planes
from src.canvas import plain, wrapped
from src.figures import confusion_figure, roc_figure, training_figure
from src.labels import class_scheme
from src.metrics import score
from src.predictions import Predictions

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


def _rows_2d(n: int, title: str = "OAS1_0001") -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {"image": rng.random((31, 23)), "cam": rng.random((31, 23)), "title": title, "text": "AD"}
        for _ in range(n)
    ]


def _rows_3d(n: int, title: str = "OAS1_0001") -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {"volume": rng.normal(size=(7, 9, 8)), "cam": rng.random((7, 9, 8)), "title": title}
        for _ in range(n)
    ]


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


def test_roc_figure_of_an_absent_class(tmp_path, monkeypatch) -> None:
    texts, names, (rows, _) = _texts(monkeypatch), class_scheme(4).classes, _people(3)
    four = np.hstack([rows.logits, np.zeros((60, 1))])
    wide = Predictions(rows.labels, four, rows.subjects)
    per_class = score(wide, names, [1] * 4, 100, 0)["per_class"]
    _check(roc_figure(tmp_path / "r.png", rows.labels, wide.probabilities, names, per_class, "T"))
    assert "ModerateDemented: not estimable (n = 0)" in texts


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


@pytest.mark.parametrize("n", [1, 4, 6])
def test_maps_of_slices_are_four_people_wide(tmp_path, n: int) -> None:
    height, width, _ = _check(
        cam_figure_2d(tmp_path / "m.png", _rows_2d(n), "T", "side unknown")
    ).shape
    one = _check(cam_figure_2d(tmp_path / "one.png", _rows_2d(1), "T", "side unknown")).shape
    assert round((width - one[1]) / 570) == min(n, 4) - 1
    assert (height > 1.5 * one[0]) == (n > 4)


@pytest.mark.parametrize("n", [1, 3])
def test_maps_of_volumes(tmp_path, monkeypatch, n: int) -> None:
    texts = _texts(monkeypatch)
    _check(cam_figure_3d(tmp_path / "m.png", _rows_3d(n), "T", "side unknown"))
    assert "side unknown" in texts
    assert not {"L", "R"} & set(texts)  # a file may have them swapped


def test_a_map_leaves_anatomy_visible_where_it_is_low(tmp_path) -> None:
    """The overlay of an empty map is the image itself; that of a full map is not."""
    image = np.linspace(0, 1, 30 * 20).reshape(30, 20)
    both = {}
    for level in (0.0, 1.0):
        row = {"image": image, "cam": np.full_like(image, level), "title": "x"}
        pixels = _check(cam_figure_2d(tmp_path / f"{level}.png", [row], "T"))
        height, width = pixels.shape[:2]
        # Same rows, the middle of both panels: 1.75 inches each and .06 between, at 150 dpi
        left = 18 + np.arange(60, 200)
        middle = pixels[height // 2 : height // 2 + 60]
        both[level] = np.abs(middle[:, left] - middle[:, left + 271]).max()
        assert width > left.max() + 271
    assert both[0.0] < 0.05
    assert both[1.0] > 0.5


def test_the_brain_is_upright() -> None:
    """Anterior is up in the axial plane, superior in the others; a point stays on its voxel."""
    x, y, z = np.meshgrid(np.arange(7), np.arange(8), np.arange(9), indexing="ij")
    point = (2, 5, 6)
    for axis, names in ((y, ["axial"]), (z, ["sagittal", "coronal"])):
        for plane in planes(axis, point):
            if plane.name in names:
                assert (np.diff(plane.picture, axis=0) == -1).all(), plane.name
    sagittal, coronal, axial = planes(y, point)
    assert (np.diff(sagittal.picture, axis=1) == 1).all()  # anterior on the right
    coronal, axial = planes(x, point)[1:]
    assert (np.diff(coronal.picture, axis=1) == 1).all()
    assert (np.diff(axial.picture, axis=1) == 1).all()
    volume = np.zeros((7, 8, 9))
    volume[point] = 1
    for plane in planes(volume, point):
        assert plane.picture[plane.row, plane.column] == 1, plane.name
        assert plane.picture.sum() == 1


def test_planes_are_cut_through_the_peak_of_the_map(tmp_path, monkeypatch) -> None:
    points = []
    monkeypatch.setattr(
        cam_figures, "planes", lambda v, point: points.append(point) or planes(v, point)
    )
    row = _rows_3d(1)[0]
    row["cam"] = np.zeros((7, 9, 8))
    row["cam"][5, 1, 6] = 0.3
    cam_figure_3d(tmp_path / "m.png", [row], "T")
    assert points == [(5, 1, 6)] * 2
    assert peak(np.zeros((7, 9, 8))) == (3, 4, 4)


@pytest.mark.parametrize(
    "name", ["$a_{b$ and $x^2$", r"\$\frac{1}", "x" * 500, "two\nlines\ttab\x00", "word " * 100]
)
def test_names_from_files_are_drawn_as_they_are(tmp_path, name: str) -> None:
    stamps = (name,)
    _check(cam_figure_2d(tmp_path / "2.png", _rows_2d(2, name), name, name, stamps=stamps))
    _check(cam_figure_3d(tmp_path / "3.png", _rows_3d(1, name), name, name, stamps=stamps))
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
    pixels = picture.imread(cam_figure_2d(tmp_path / "m.png", _rows_2d(12), "T"))
    assert max(pixels.shape) < 550


def test_figures_can_be_drawn_in_threads_and_leave_pyplot_alone(tmp_path) -> None:
    before = pyplot.get_fignums()
    confusion = np.array([[12, 2], [3, 15]])

    def draw(i: int) -> Path:
        if i % 2:
            return confusion_figure(tmp_path / f"{i}.png", confusion, ("A", "B"), "T")
        return cam_figure_2d(tmp_path / f"{i}.png", _rows_2d(1), "T")

    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(draw, range(8)))
    contents = [path.read_bytes() for path in paths]
    assert len(set(contents[::2])) == len(set(contents[1::2])) == 1
    assert pyplot.get_fignums() == before
