"""Mosaics: the right cuts under the right names, the peak marked, one colour scale."""

from __future__ import annotations

import numpy as np
import pytest
from map_examples import (
    PEAK,
    SHAPE,
    blob,
    brain,
    panels,
    person,
    place,
    read,
    saved_figures,  # noqa: F401 - the fixture `saved`
    words,
)
from nibabel.affines import apply_affine

from src.errors import ImageError, UnknownNameError
from src.report.map_figures.drawing import LETTERS
from src.report.map_figures.mosaic import mosaic
from src.report.map_figures.person import NOTHING, PersonMap

pytestmark = pytest.mark.filterwarnings("error")
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def _labels(figure) -> list[str]:
    """Return the name under each cut."""
    return [axes.texts[-1].get_text() for axes in panels(figure)[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("plane", AXES)
def test_slices_are_drawn_under_their_numbers_in_the_scan(tmp_path, saved, plane) -> None:
    axis = AXES[plane]
    first = 30 - PEAK[axis]  # so that the peak is on slice 30
    slices = [31, 28, 30, 33]
    path = mosaic(
        tmp_path / "m.png", person(), slices, "T", "C", side_known=True, plane=plane, first=first
    )
    read(path)
    names = [f"slice {number}" for number in sorted(slices)]
    names[names.index("slice 30")] += ": peak"
    assert _labels(saved[0]) == names
    for number, axes in zip(sorted(slices), panels(saved[0])[1:], strict=True):
        expected = np.take(blob(), number - first, axis).T[::-1]
        np.testing.assert_allclose(axes.images[1].get_array(), expected, atol=1e-6)
        assert axes.images[1].get_clim() == (0, 1)  # one scale, of the whole map
        framed = axes.spines["left"].get_visible()
        assert framed == (number == 30)


@pytest.mark.slow
@pytest.mark.parametrize("plane", AXES)
def test_a_volume_is_cut_where_the_brain_is_and_at_the_peak(tmp_path, saved, plane) -> None:
    shape, axis = (60, 70, 50), AXES[plane]
    image, values = place(brain(shape)), place(blob(shape, (40, 17, 22), width=6))
    one = PersonMap(image, values, "a", "b")
    mosaic(tmp_path / "m.png", one, None, "T", "C", side_known=True, plane=plane)
    labels = _labels(saved[0])
    assert 18 <= len(labels) <= 20
    mm = [float(label.split()[2]) for label in labels]
    assert mm == sorted(mm)
    index = np.zeros((shape[axis], 3))
    index[:, axis] = np.arange(shape[axis])
    every = apply_affine(image.affine, index)[:, axis]
    filled = np.flatnonzero(image.data.any(axis=tuple(a for a in range(3) if a != axis)))
    assert every[filled[0]] - 0.5 <= mm[0]
    assert mm[-1] <= every[filled[-1]] + 0.5
    (marked,) = (label for label in labels if label.endswith("peak"))
    at = (40, 17, 22)[axis]
    assert marked == f"{'xyz'[axis]} = {every[at]:.0f} mm: peak"


def test_the_scout_shows_where_the_cuts_are(tmp_path, saved) -> None:
    mosaic(tmp_path / "m.png", person(), [2, 7, 9], "T", "C", side_known=True)
    scout = panels(saved[0])[0]
    heights = {line.get_ydata()[0]: line.get_color() for line in scout.lines}
    assert sorted(heights) == pytest.approx([(index + 0.5) * 3.0 for index in (2, 7, 9)])
    assert heights[22.5] == LETTERS  # the peak's
    np.testing.assert_array_equal(scout.images[0].get_array(), brain()[7].T[::-1])


@pytest.mark.slow
def test_lines_of_the_scout_leave_the_brain_visible(tmp_path, saved) -> None:
    shape = (20, 22, 40)
    image, values = place(brain(shape), (5, 5, 1)), place(blob(shape, (9, 9, 21)), (5, 5, 1))
    one = PersonMap(image, values, "a", "b")
    mosaic(tmp_path / "m.png", one, range(40), "T", "C", side_known=True)
    heights = sorted(line.get_ydata()[0] for line in panels(saved[0])[0].lines)
    assert len(panels(saved[0])) == 41
    assert 21.5 in heights
    assert np.diff(heights).min() >= 3


@pytest.mark.slow
def test_sides(tmp_path, saved) -> None:
    for known in (True, False):
        mosaic(tmp_path / "m.png", person(), [6, 7], "T", "C", side_known=known)
        mosaic(tmp_path / "m.png", person(), [6], "T", "C", side_known=known, plane="sagittal")
    known, sagittal, unknown, sagittal_too = (words(figure) for figure in saved)
    assert known.count("L") == known.count("R") == 2
    assert "side unknown" not in known
    assert "side unknown" in unknown
    assert not {"L", "R"} & {*unknown, *sagittal, *sagittal_too}
    assert "side unknown" not in sagittal_too
    assert {"P", "A"} <= set(sagittal)


def test_weights_of_slices_are_bars_beside_the_cuts(tmp_path, saved) -> None:
    weights = np.array([0.1, 0.65, 0.25])
    path = tmp_path / "m.png"
    read(mosaic(path, person(), [9, 2, 7], "T", "C", side_known=True, weights=weights))
    (bars,) = (axes for axes in saved[0].axes if axes.patches)
    found = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in bars.patches}
    assert found == {9: pytest.approx(10), 2: pytest.approx(65), 7: pytest.approx(25)}
    assert (bars.get_xlabel(), bars.get_ylabel()) == ("weight (%)", "slice")
    mosaic(path, person(), [9, 2, 7], "T", "C", side_known=True)
    assert not any(axes.patches for axes in saved[1].axes)


def test_an_empty_map_is_called_empty(tmp_path, saved) -> None:
    empty = person(map=np.zeros(SHAPE, np.float32))
    read(mosaic(tmp_path / "m.png", empty, None, "T", "C", side_known=False))
    assert NOTHING in words(saved[0])
    assert not any(label.endswith("peak") for label in _labels(saved[0]))


@pytest.mark.parametrize("slices", [[], [4], [16], [5, 99]])
def test_slices_that_are_not_there_are_refused(tmp_path, slices) -> None:
    with pytest.raises(ImageError, match="5 to 15"):
        mosaic(tmp_path / "m.png", person(), slices, "T", "C", side_known=True, first=5)
    assert not (tmp_path / "m.png").exists()


def test_a_plane_that_is_none_is_refused(tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="axial"):
        mosaic(tmp_path / "m.png", person(), None, "T", "C", side_known=True, plane="axal")


@pytest.mark.parametrize("name", ["$x^2$", "y" * 400, "\u202e../<script>\x00"])
def test_names_from_files_are_drawn_as_they_are(tmp_path, name: str) -> None:
    path = tmp_path / "m.png"
    read(mosaic(path, person(name, name), [7], name, name, side_known=False, stamps=(name,)))
