"""Figures of groups and regions: one scale for all groups, few people and gaps said, log ratios."""

from __future__ import annotations

import numpy as np
import pytest
from map_examples import (
    PEAK,
    SHAPE,
    SIZE,
    blob,
    brain,
    panels,
    read,
    saved_figures,  # noqa: F401 - the fixture `saved`
    words,
)
from matplotlib.lines import Line2D

from src.errors import ImageError
from src.report.map_figures.groups import GroupMap, group_figure
from src.report.map_figures.regions import region_figure

pytestmark = pytest.mark.filterwarnings("error")
MNI = np.array([[2, 0, 0, -12], [0, 1.5, 0, -20], [0, 0, 3, -9], [0, 0, 0, 1.0]])


def _group(name="AD", n=12, top=8.0, point=PEAK, sd=1.5) -> GroupMap:
    return GroupMap(name, n, top * blob(point=point), np.full(SHAPE, sd, np.float32))


def _draw(path, groups, *, known=True, **options):
    return group_figure(path, groups, brain(), SIZE, "T", "C", side_known=known, **options)


@pytest.mark.slow
def test_every_group_is_cut_at_its_own_peak_on_a_common_scale(tmp_path, saved) -> None:
    groups = [_group(), _group("CN", 20, 4.0, (3, 11, 5), sd=0.5)]
    read(_draw(tmp_path / "g.png", groups))
    cuts = panels(saved[0])
    assert len(cuts) == 12
    for group, first, point in zip(groups, (0, 6), (PEAK, (3, 11, 5)), strict=True):
        for axis in range(3):
            for half, values in ((0, group.mean), (3, group.sd)):
                shown = cuts[first + half + axis].images[1]
                expected = np.take(values, point[axis], axis).T[::-1]
                np.testing.assert_allclose(shown.get_array(), expected)
    # 1 is the brain's average: what is below it is not coloured.
    assert {cut.images[1].get_clim() for cut in cuts[:3] + cuts[6:9]} == {(1, 8)}
    assert {cut.images[1].get_clim() for cut in cuts[3:6] + cuts[9:]} == {(0, 1.5)}


@pytest.mark.slow
def test_groups_say_their_people_and_where_their_peak_is(tmp_path, saved) -> None:
    groups = [_group("AD, wrong", 9), _group("AD, correct", 10), _group("one", 1)]
    _draw(tmp_path / "g.png", groups, affine=MNI)
    _draw(tmp_path / "g.png", groups[:1], affine=MNI * [[-1], [1], [1], [1]], known=False)
    _draw(tmp_path / "g.png", groups[:1])
    known, unknown, nowhere = (" ".join(words(figure)).replace("\xa0", " ") for figure in saved)
    # By hand: voxel 10, 4, 7 of 2, 1.5 and 3 mm from -12, -20, -9
    place = "peak at x 8, y -14, z 12 mm, 8.0 times the brain's average"
    assert f"n = 9 people (few people); {place}" in known
    assert f"n = 10 people; {place}" in known
    assert "n = 1 person (few people); " in known
    assert "peak at x ±8, y -14" in unknown
    assert "mm" not in nowhere
    assert "side unknown" in unknown
    assert "side unknown" not in known


def test_what_no_one_was_imaged_in_is_dark_and_not_coloured(tmp_path, saved) -> None:
    mean = 8 * blob()
    mean[:, :, :5] = np.nan
    read(_draw(tmp_path / "g.png", [GroupMap("AD", 12, mean, mean * 0.1)]))
    image, overlay = panels(saved[0])[0].images[:2]  # sagittal: rows run down from Z = 10
    grey, tissue = np.asarray(image.get_array()), brain()[10].T[::-1]
    assert tissue[6:].sum() > 10
    np.testing.assert_allclose(grey[6:], 0.4 * tissue[6:])
    np.testing.assert_allclose(grey[:6], tissue[:6])
    assert overlay.to_rgba(overlay.get_array())[6:, :, 3].max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("sd", [None, np.full(SHAPE, np.nan)])
def test_a_single_map_has_no_spread(tmp_path, saved, sd) -> None:
    read(_draw(tmp_path / "g.png", [GroupMap("AD", 1, 3 * blob(), sd), _group()]))
    assert len(panels(saved[0])) == 9
    assert "none: a single map" in words(saved[0])


def test_a_flat_map_is_called_flat(tmp_path, saved) -> None:
    read(_draw(tmp_path / "g.png", [GroupMap("AD", 12, np.ones(SHAPE), np.zeros(SHAPE))]))
    assert any("its map is flat" in word for word in words(saved[0]))
    assert not any(cut.lines for cut in panels(saved[0]))


def test_both_colour_bars_say_their_unit(tmp_path, saved) -> None:
    _draw(tmp_path / "g.png", [_group(top=8.0)])
    mean, spread = saved[0].axes[-2:]
    assert mean.get_xlabel() == "mean, times the brain's average"
    assert spread.get_xlabel() == "standard deviation between people, same unit"
    assert mean.get_xlim() == (1, 8)
    assert mean.get_xticks()[0] == 1


def test_groups_on_another_grid_are_refused(tmp_path) -> None:
    with pytest.raises(ImageError, match=r"\[14, 18, 11\]"):
        _draw(tmp_path / "g.png", [GroupMap("AD", 2, np.ones((3, 4, 5)), None)])
    with pytest.raises(ImageError):
        _draw(tmp_path / "g.png", [])
    with pytest.raises(ImageError, match="AD"):
        GroupMap("AD", 2, np.ones((3, 4, 5)), np.ones((5, 4, 3)))


def _row(region="hippocampi", name="all", n=40, ratio=(2.0, 1.5, 2.5), few=False) -> dict:
    interval = dict(zip(("value", "low", "high"), ratio, strict=True))
    return {
        "region": region, "class": name, "n_people": n, "few_people": few, "ratio": interval,
    }  # fmt: skip


def _marks(axes) -> list[Line2D]:
    """Return the estimates that were drawn, and the arrows, but not the legend's."""
    return [
        line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata()) == 1
    ]


def test_ratios_stand_in_their_region_on_a_log_axis(tmp_path, saved) -> None:
    rows = [
        _row(), _row(name="CN", ratio=(0.5, 0.25, 1.0)), _row(name="AD", ratio=(4.0, 3.0, 6.0)),
        _row("outside the brain", ratio=(0.05, 0.04, 0.06)),
    ]  # fmt: skip
    read(region_figure(tmp_path / "r.png", rows, "T", "C"))
    axes = saved[0].axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "hippocampi", "outside the brain",
    ]  # fmt: skip
    found = [(line.get_xdata()[0], line.get_ydata()[0]) for line in _marks(axes)]
    assert [x for x, _ in found] == [2.0, 0.5, 4.0, 0.05]
    assert [round(y) for _, y in found] == [0, 0, 0, 1]
    assert len({y for _, y in found}) == 4
    spans = [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
    assert spans == [(1.5, 2.5), (0.25, 1.0), (3.0, 6.0), (0.04, 0.06)]
    assert any(list(line.get_xdata()) == [1, 1] for line in axes.lines)  # an even map
    low, high = axes.get_xlim()
    assert low < 0.04 < 6 < high
    assert {"2.00 [1.50-2.50]", "0.05 [0.04-0.06]"} <= set(words(saved[0]))


def test_few_people_are_grey_and_hollow(tmp_path, saved) -> None:
    rows = [_row(), _row(name="AD", n=4, few=True), _row(name="CN")]
    region_figure(tmp_path / "r.png", rows, "T", "C")
    _, few, many = _marks(saved[0].axes[0])
    assert few.get_color() == "0.4"
    assert few.get_markerfacecolor() == "white"
    assert many.get_color() != "0.4"
    assert many.get_markerfacecolor() == many.get_color()
    texts = [word.strip() for word in words(saved[0])]
    assert {"everyone (n = 40 people)", "AD (n = 4 people)", "grey, hollow: few people"} <= set(
        texts
    )


def test_a_ratio_beyond_the_axis_is_an_arrow(tmp_path, saved) -> None:
    rows = [
        _row("none", ratio=(0.0, 0.0, 0.0)), _row("tiny", ratio=(0.004, 0.003, 0.02)),
        _row("vast", ratio=(50.0, 20.0, 400.0)),
    ]  # fmt: skip
    read(region_figure(tmp_path / "r.png", rows, "T", "C"))
    axes = saved[0].axes[0]
    assert axes.get_xlim() == (0.01, 100)
    markers = [(round(line.get_ydata()[0]), line.get_marker()) for line in _marks(axes)]
    arrows = [mark for mark in markers if mark[1] in "<>" and mark[1]]
    assert arrows == [(0, "<"), (1, "<"), (2, ">")]
    assert (2, "o") in markers  # its estimate is on the axis
    assert (1, "o") not in markers
    assert {"0 [no interval]", "0.004 [0.003-0.02]"} <= set(words(saved[0]))


def test_what_is_not_estimable_is_said(tmp_path, saved) -> None:
    rows = [
        _row(), _row(name="AD", ratio=(None, None, None)), _row(name="CN", ratio=(2.0, None, None)),
    ]  # fmt: skip
    rows += [_row("insula", ratio=(None, None, None))]
    read(region_figure(tmp_path / "r.png", rows, "T", "C"))
    texts = [word.strip() for word in words(saved[0])]
    assert texts.count("not estimable") == 2
    assert len(_marks(saved[0].axes[0])) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["$x^2$", "_class", "y" * 300, "\u202e<script>\x00"])
def test_names_from_files_are_drawn_as_they_are(tmp_path, saved, name: str) -> None:
    rows = [_row(name), _row(name, name)]
    read(region_figure(tmp_path / "r.png", rows, name, name, stamps=(name,)))
    read(_draw(tmp_path / "g.png", [_group(name)], stamps=(name,)))
    legend = [text.get_text() for text in saved[0].legends[0].get_texts()]
    assert len(legend) == 2


def test_no_region_is_refused(tmp_path) -> None:
    with pytest.raises(ImageError, match="no region"):
        region_figure(tmp_path / "r.png", [], "T", "C")
