"""Person figures: planes through the peak, upright, in mm, with sides that are known or not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from map_examples import (
    PEAK,
    SHAPE,
    SIZE,
    blob,
    brain,
    panels,
    person,
    place,
    read,
    saved_figures,  # noqa: F401 - the fixture `saved`
    words,
)
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from src.errors import ImageError
from src.report.map_figures.drawing import (
    BRIGHTEST,
    MAP_COLOURS,
    Cut,
    Sheet,
    convention,
    grey_limits,
    mirrored,
    peak,
    plane_sizes,
    share_of_maximum,
    shown_affine,
)
from src.report.map_figures.person import (
    HEIGHT,
    NOTHING,
    PersonMap,
    person_figure,
    write_thumbnail,
)
from src.report.map_figures.planes import PLANE_ORDER, ThreePlanes

pytestmark = pytest.mark.filterwarnings("error")
RED = np.array([0xC1, 0x12, 0x1F]) / 255


def _mm(plane: str, point=PEAK, size=SIZE) -> tuple[float, float]:
    """Return where a voxel's centre is in a plane, mm to the right and up: by hand."""
    x, y, z = ((i + 0.5) * edge for i, edge in zip(point, size, strict=True))
    return {"sagittal": (y, z), "coronal": (x, z), "axial": (x, y)}[plane]


@pytest.mark.parametrize("plane", PLANE_ORDER)
def test_a_voxel_is_drawn_where_it_lies(plane: str) -> None:
    """Its pixels, as rendered, are to the right by X or Y and up by Z or Y, in mm."""
    box = plane_sizes(SHAPE, SIZE)[plane]
    sheet = Sheet(box[0] / 10, box[1] / 10)
    cut = Cut(
        sheet.axes(0, 0, *(edge / 10 for edge in box)), plane,
        PEAK[PLANE_ORDER.index(plane)], SIZE, box,
    )  # fmt: skip
    spot = np.zeros(SHAPE)
    spot[PEAK] = 1
    cut.anatomy(np.zeros(SHAPE), (0, 1))
    cut.overlay(spot, MAP_COLOURS, (0, 1))
    canvas = FigureCanvasAgg(sheet.figure)
    canvas.draw()
    light = np.asarray(canvas.buffer_rgba())[..., :3].sum(axis=2).astype(float)
    rows, columns = np.indices(light.shape) + 0.5
    right = (light * columns).sum() / light.sum() / light.shape[1] * box[0]
    up = (1 - (light * rows).sum() / light.sum() / light.shape[0]) * box[1]
    assert (right, up) == pytest.approx(_mm(plane), abs=0.4)


def test_planes_go_through_the_peak_and_the_crosshair_meets_there(tmp_path, saved) -> None:
    read(person_figure(tmp_path / "p.png", [person()], "T", "C", side_known=True))
    values = blob()
    cuts = {"sagittal": values[10], "coronal": values[:, 4], "axial": values[:, :, 7]}
    for plane, axes in zip(PLANE_ORDER, panels(saved[0]), strict=True):
        overlay = axes.images[1]
        np.testing.assert_allclose(overlay.get_array(), cuts[plane].T[::-1], atol=1e-6)
        assert overlay.get_clim() == (0, 1)
        across = [line for line in axes.lines if np.ptp(line.get_ydata()) == 0]
        down = [line for line in axes.lines if np.ptp(line.get_xdata()) == 0]
        at = (down[0].get_xdata()[0], across[0].get_ydata()[0])
        assert at == pytest.approx(_mm(plane)), plane
        ends = sorted(x for line in across for x in line.get_xdata())
        assert ends[1] < at[0] - 1 < at[0] + 1 < ends[2]  # the peak itself stays visible


def test_panels_have_the_form_of_the_head_in_mm(tmp_path, saved) -> None:
    person_figure(tmp_path / "p.png", [person()], "T", "C", side_known=True)
    for plane, axes in zip(PLANE_ORDER, panels(saved[0]), strict=True):
        width, height = plane_sizes(SHAPE, SIZE)[plane]
        place_ = axes.get_position()
        inches = saved[0].get_size_inches()
        form = (place_.width * inches[0]) / (place_.height * inches[1])
        assert form == pytest.approx(width / height)
        assert axes.get_xlim() == pytest.approx((0, width))
        assert axes.get_ylim() == pytest.approx((0, height))


def test_plane_sizes_are_extents_in_mm() -> None:
    assert plane_sizes((10, 20, 30), (1, 2, 3)) == {
        "sagittal": (40, 90), "coronal": (10, 90), "axial": (10, 40),
    }  # fmt: skip


def test_people_of_unequal_fields_of_view_are_drawn_at_one_scale(tmp_path, saved) -> None:
    small = PersonMap(place(brain((7, 9, 8))), place(blob((7, 9, 8), (3, 3, 3))), "a", "b")
    person_figure(tmp_path / "p.png", [small, person()], "T", "C", side_known=True)
    spans = [(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())) for axes in panels(saved[0])]
    np.testing.assert_allclose(spans[:3], spans[3:])
    low, high = panels(saved[0])[2].get_xlim()  # axial: 14 mm in the middle of 28
    assert (low, high) == pytest.approx((-7, 21))


@pytest.mark.parametrize("shape", [(64, 64, 64), (176, 208, 32), (112, 128, 24), (9, 200, 200)])
def test_planes_do_not_cover_each_other(shape) -> None:
    planes = ThreePlanes.holding([(shape, (1.0, 1.0, 1.0))], 2.0)
    boxes = []
    for plane in PLANE_ORDER:
        left, top = planes.places[plane]
        width, height = (edge * planes.scale for edge in planes.boxes[plane])
        assert 0 <= left <= left + width <= planes.width + 1e-9
        assert -1e-9 <= top <= top + height <= planes.height + 1e-9
        boxes.append((left, left + width, top, top + height))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[0] >= b[1] or b[0] >= a[1] or a[2] >= b[3] or b[2] >= a[3]
    one_column = planes.places["sagittal"][0] == planes.places["coronal"][0]
    assert one_column == (shape[2] < 50)  # the strips of a slab stand above each other


def test_known_sides_are_named_left_and_right(tmp_path, saved) -> None:
    person_figure(tmp_path / "p.png", [person()], "T", "C", side_known=True)
    for plane, axes in zip(PLANE_ORDER, panels(saved[0]), strict=True):
        x = {text.get_text(): text.get_position()[0] for text in axes.texts}
        y = {text.get_text(): text.get_position()[1] for text in axes.texts}
        if plane == "sagittal":
            assert x["P"] < 0.5 < x["A"]  # anterior on the right, as columns run along Y
            assert not {"L", "R"} & set(x)
        else:
            assert x["L"] < 0.5 < x["R"]
        assert y["A" if plane == "axial" else "S"] >= 1
        assert "side unknown" not in x


def test_the_radiological_convention_turns_planes_with_sides_and_their_letters(tmp_path, saved):
    for name in ("neurological", "radiological"):
        with convention(name):
            person_figure(tmp_path / f"{name}.png", [person()], "T", "C", side_known=True)
            write_thumbnail(tmp_path / f"{name}_small.png", person().image, person().map)
    plain, turned = (panels(figure) for figure in saved[:2])
    for plane, here, there in zip(PLANE_ORDER, plain, turned, strict=True):
        x = {text.get_text(): text.get_position()[0] for text in there.texts}
        if plane == "sagittal":
            assert there.get_xlim() == here.get_xlim()
            assert x["P"] < x["A"]
        else:
            assert there.get_xlim() == here.get_xlim()[::-1]
            assert x["R"] < 0.5 < x["L"]
        lines = [sorted(line.get_xydata().ravel().tolist()) for line in here.lines]
        assert [sorted(line.get_xydata().ravel().tolist()) for line in there.lines] == lines
    small = [
        np.asarray(Image.open(tmp_path / f"{n}_small.png"))
        for n in ("neurological", "radiological")
    ]
    wide = round(HEIGHT * 28 / 33)  # of the axial plane, whose edges are 28 and 27 of 33 mm
    np.testing.assert_array_equal(small[0][:, :wide], small[1][:, :wide][:, ::-1])
    assert not np.array_equal(small[0], small[1])
    with convention("neurological"):
        assert not mirrored("axial")


def test_unknown_sides_are_called_unknown(tmp_path, saved) -> None:
    person_figure(tmp_path / "p.png", [person()], "T", "C", side_known=False)
    said = [{text.get_text() for text in axes.texts} for axes in panels(saved[0])]
    assert ["side unknown" in texts for texts in said] == [False, True, True]
    assert not {"L", "R"} & set(words(saved[0]))


def test_the_colour_bar_has_numbers(tmp_path, saved) -> None:
    person_figure(tmp_path / "p.png", [person()], "T", "C", side_known=True)
    texts = words(saved[0])
    assert {"0", "0.25", "0.5", "0.75", "1", "share of the map's maximum"} <= set(texts)


def test_the_brain_has_an_outline_at_its_edge(tmp_path, saved) -> None:
    index = np.indices((41, 41, 41)) - 20
    ball = (np.sqrt((index**2).sum(axis=0)) < 14.5).astype(np.float32)
    ball[18:23, 18:23, 18:23] = 0  # a ventricle is no edge of the brain
    one = PersonMap(place(ball, (1, 1, 1)), place(ball * 0, (1, 1, 1)), "a", "b")
    person_figure(tmp_path / "p.png", [one], "T", "C", side_known=True)
    for axes in panels(saved[0]):
        points = np.concatenate([path.vertices for path in axes.collections[0].get_paths()])
        radius = np.linalg.norm(points - 20.5, axis=1)
        assert radius.min() > 13.5
        assert radius.max() < 15.5


def test_a_map_leaves_anatomy_visible_where_it_is_low() -> None:
    """Nothing is painted at 0; colours get stronger, and lighter, up to the maximum."""
    colours = MAP_COLOURS(np.linspace(0, 1, 20))
    assert colours[0, 3] == 0
    assert (np.diff(colours[:, 3]) >= 0).all()
    assert 0.5 < colours[-1, 3] < 0.9
    over_grey = colours[:, :3] * colours[:, 3:] + 0.4 * (1 - colours[:, 3:])
    luminance = over_grey @ [0.2126, 0.7152, 0.0722]
    assert luminance[-1] > luminance[10] > luminance[:6].max()


def test_grey_limits_ignore_air_and_outliers() -> None:
    image = np.concatenate([np.zeros(5000), np.linspace(0.5, 1, 1000), [50.0]])
    low, high = grey_limits(image)
    assert low == 0
    assert high == pytest.approx(1 / BRIGHTEST, rel=0.01)
    assert grey_limits(np.zeros(9)) == (0, 1)


def test_the_share_of_the_maximum_takes_what_is_not_finite_or_negative_as_nothing() -> None:
    found = share_of_maximum(np.array([np.nan, -3, 2, 4, np.inf]))
    assert found.tolist() == [0, 0, 0.5, 1, 0]
    assert share_of_maximum(np.zeros(3)).tolist() == [0, 0, 0]


def test_the_peak_is_the_largest_value_that_is_a_number() -> None:
    values = blob()
    values[0, 0, 0] = np.nan
    assert peak(values) == PEAK
    assert peak(np.full((3, 4, 5), 0.2)) is None
    assert peak(np.full((3, 4, 5), np.nan)) is None


@pytest.mark.slow
def test_an_empty_map_is_called_empty_and_has_no_crosshair(tmp_path, saved) -> None:
    empty = person(map=np.zeros(SHAPE, np.float32))
    read(person_figure(tmp_path / "p.png", [empty], "T", "C", side_known=True))
    assert NOTHING in words(saved[0])
    assert not any(axes.lines for axes in panels(saved[0]))


def test_a_header_that_puts_the_brain_on_its_side_is_not_shown() -> None:
    image = place(brain())
    assert shown_affine(image)[1]
    np.testing.assert_array_equal(shown_affine(image)[0], image.affine)
    swapped = place(brain(), header=image.affine[[1, 0, 2, 3]])
    matrix, of_header = shown_affine(swapped)
    assert not of_header
    np.testing.assert_array_equal(matrix, swapped.to_ras)
    assert not shown_affine(place(brain(), header=image.to_ras))[1]  # slices have no header


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 3])
def test_people_stand_two_in_a_row(tmp_path, saved, n: int) -> None:
    people = [person(f"OAS1_{i}", f"true class {i}") for i in range(n)]
    read(person_figure(tmp_path / "p.png", people, "T", "C", side_known=True))
    assert len(panels(saved[0])) == 3 * n
    assert {f"OAS1_{i}" for i in range(n)} <= set(words(saved[0]))
    lefts = {round(axes.get_position().x0, 3) for axes in panels(saved[0])}
    assert len(lefts) == 3 * min(n, 2)


def test_a_failed_grade_is_stamped_in_red(tmp_path) -> None:
    def red(*stamps: str) -> int:
        pixels = read(
            person_figure(tmp_path / "p.png", [person()], "T", "", side_known=True, stamps=stamps)
        )
        return int((np.abs(pixels - RED).max(axis=2) < 0.02).sum())

    assert red() == 0
    assert red("FAIL: maps do not depend on the weights") > 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["$a_{b$ and $x^2$", "x" * 500, "two\nlines\t\x00", "\u202e../<b>_"],
)
def test_names_from_files_are_drawn_as_they_are(tmp_path, name: str) -> None:
    path = tmp_path / "p.png"
    people = [person(name, name)]
    read(person_figure(path, people, name, name, side_known=False, stamps=(name,)))


def test_text_does_not_reach_into_the_planes(tmp_path, saved) -> None:
    long = "true VeryMildDemented, predicted ModerateDemented (wrong), p = 0.35; " * 2
    people = [person("X$OAS1" * 30, long)] * 3
    person_figure(tmp_path / "p.png", people, "T", "C", side_known=True)
    figure = saved[0]
    renderer = figure.canvas.get_renderer()
    tops = {round(axes.get_position().y1, 4): axes for axes in panels(figure)}
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1, text.get_text()  # nor out of the sheet
        for axes in tops.values():
            assert not box.overlaps(axes.get_window_extent(renderer)), text.get_text()


def test_what_cannot_be_drawn_is_refused(tmp_path) -> None:
    with pytest.raises(ImageError, match="no map"):
        person_figure(tmp_path / "p.png", [], "T", "C", side_known=True)
    with pytest.raises(ImageError, match=r"\[14, 18, 11\].*\[3, 4, 5\]"):
        PersonMap(place(brain()), place(np.zeros((3, 4, 5))), "a", "b")
    assert not (tmp_path / "p.png").exists()


@pytest.mark.slow
def test_the_same_people_are_the_same_picture_also_in_threads(tmp_path) -> None:
    before = pyplot.get_fignums()
    with ThreadPoolExecutor(3) as pool:
        paths = list(
            pool.map(
                lambda i: person_figure(
                    tmp_path / f"{i}.png", [person()], "T", "", side_known=True
                ),
                range(3),
            )
        )
    assert len({path.read_bytes() for path in paths}) == 1
    assert pyplot.get_fignums() == before
