"""Pages to click through: they load nothing, say what they are told, and show the right place."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from map_examples import PEAK, SHAPE, blob, brain, place
from matplotlib import image as picture
from nibabel.affines import apply_affine

from src.errors import ImageError
from src.report.map_figures import viewer as view
from src.report.map_figures.person import NOTHING
from src.report.map_figures.viewer import write_view

HOSTILE = (
    "<script>alert(1)</script></title></script><img src=http://x.org/a onerror=b> \"'../\u202e"
)


class _Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.seen: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("br", "img", "meta", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        for tag in self._open[-2:]:
            self.seen[tag] = self.seen.get(tag, "") + data


def _open(path) -> tuple[_Page, dict]:
    """Return the page and the viewer's settings."""
    text = path.read_text(encoding="utf-8")
    page = _Page(text)
    return page, json.loads(re.search(r"brainsprite\((\{.*\})\);", text)[1])


def _sprite(page: _Page, name: str) -> np.ndarray:
    """Return a picture of the page, (rows, columns, RGBA)."""
    (source,) = (a["src"] for tag, a in page.tags if tag == "img" and a["alt"] == name)
    content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    return picture.imread(io.BytesIO(content), format="png")


def _volume(sprite: np.ndarray, settings: dict) -> np.ndarray:
    """Undo the sprite: sagittal tiles from left to right and top to bottom, Z up."""
    x, y, z = (settings["nbSlice"][axis] for axis in "XYZ")
    columns = sprite.shape[1] // y
    tiles = [
        sprite[(i // columns) * z :, (i % columns) * y :][:z, :y][::-1].transpose(1, 0, 2)
        for i in range(x)
    ]
    return np.stack(tiles)


def _mm(settings: dict, index) -> np.ndarray:
    """Return the mm that the page says of a voxel: its script adds 1 to the index."""
    return apply_affine(np.array(settings["affine"]), np.asarray(index) + 1)


def _write(path, image=None, values=None, title="OAS1_0001", **options):
    image = place(brain()) if image is None else image
    return write_view(
        path, image, place(7 * blob()) if values is None else values, title, **options
    )


def test_the_page_loads_nothing(tmp_path) -> None:
    page, _ = _open(_write(tmp_path / "new" / "v.html", side_known=True))
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form"), tag
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
    rules = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(rules) == 1
    assert rules[0].startswith("default-src 'none';")
    assert "http" not in rules[0]
    assert not re.search(r"@import|url\(", (tmp_path / "new" / "v.html").read_text("utf-8"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["v.html"]


def test_names_from_files_are_text(tmp_path) -> None:
    plain, _ = _open(_write(tmp_path / "a.html", side_known=True, text="t", stamps=("s",)))
    page, settings = _open(
        _write(tmp_path / "b.html", title=HOSTILE, text=HOSTILE, stamps=(HOSTILE,), side_known=True)
    )
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    visible = HOSTILE.replace("\u202e", " ").strip()
    assert page.seen["title"].strip() == page.seen["bdi"].strip() == visible
    assert page.seen["p"].count(visible) == 2
    assert settings["title"] is None


def test_a_long_title_is_cut(tmp_path) -> None:
    page, _ = _open(_write(tmp_path / "v.html", title="x" * 10_000))
    assert len(page.seen["title"]) == 500


def test_the_page_opens_at_the_peak(tmp_path) -> None:
    """The sprite's strongest voxel, its index and its mm agree with the map's own."""
    page, settings = _open(_write(tmp_path / "v.html", side_known=True))
    opacity = _volume(_sprite(page, "overlay"), settings)
    colour = opacity[..., :3].sum(axis=-1) * opacity[..., 3]
    start = [settings["numSlice"][axis] for axis in "XYZ"]
    np.testing.assert_array_equal(np.unravel_index(colour.argmax(), colour.shape), start)
    wanted = apply_affine(place(brain()).affine, PEAK)
    np.testing.assert_allclose(_mm(settings, start), wanted, atol=0.8)  # half a cube of 1.5 mm


def test_voxels_become_cubes_of_the_same_anatomy(tmp_path) -> None:
    image = place(brain() * np.linspace(0.5, 1, SHAPE[0], dtype=np.float32)[:, None, None])
    page, settings = _open(_write(tmp_path / "v.html", image))
    shape = [settings["nbSlice"][axis] for axis in "XYZ"]
    assert shape == [19, 18, 22]  # 28, 27 and 33 mm in cubes of 1.5 mm
    affine = np.array(settings["affine"])
    np.testing.assert_array_equal(affine[:3, :3], 1.5 * np.eye(3))
    grey = _volume(_sprite(page, "background"), settings)[..., 0]
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    index = apply_affine(np.linalg.inv(image.affine), _mm(settings, centres)).round().astype(int)
    index = np.clip(index, 0, np.array(SHAPE) - 1)
    expected = image.data[tuple(np.moveaxis(index, -1, 0))]
    inside = (expected > 0) & (grey > 0.1)
    assert inside.sum() > 0.9 * (expected > 0).sum()
    assert np.corrcoef(grey.ravel(), expected.ravel())[0, 1] > 0.9
    assert grey[inside].max() < 0.85  # tissue is not white: white bleaches the colours over it


def test_the_grid_keeps_its_centre_and_its_cubes_are_exact(tmp_path) -> None:
    size = (2.6, 2.2, 5.4)  # 36.4, 39.6 and 59.4 mm
    image = place(brain(), size)
    _, settings = _open(_write(tmp_path / "v.html", image, place(blob(), size)))
    shape = np.array([settings["nbSlice"][axis] for axis in "XYZ"])
    assert shape.tolist() == [24, 26, 40]
    np.testing.assert_array_equal(np.array(settings["affine"])[:3, :3], 1.5 * np.eye(3))
    centre = apply_affine(image.affine, (np.array(SHAPE) - 1) / 2)
    np.testing.assert_allclose(_mm(settings, (shape - 1) / 2), centre, atol=1e-6)


def test_sides_are_named_only_where_they_are_known(tmp_path) -> None:
    for known in (True, False):
        page, settings = _open(_write(tmp_path / "v.html", side_known=known))
        assert settings["showLR"] is known
        assert settings["radiological"] is False  # the right of the page is the right of the head
        assert ("Side unknown" in page.seen["p"]) is not known


def test_the_lines_can_be_seen(tmp_path) -> None:
    _, settings = _open(_write(tmp_path / "v.html"))
    assert settings["crosshair"] is True
    assert settings["colorCrosshair"] == "#39d0d8"
    assert (settings["colorMap"]["min"], settings["colorMap"]["max"]) == (0, 1)


def test_mm_are_of_the_header_where_it_agrees_with_the_axes(tmp_path) -> None:
    image = place(brain())
    page, _ = _open(_write(tmp_path / "v.html", image))
    assert "mm of the scan's header" in page.seen["p"]
    header = image.affine[[1, 0, 2, 3]]  # X and Y are swapped: the brain would lie on its side
    sideways, values = place(brain(), header=header), place(blob(), header=header)
    page, settings = _open(_write(tmp_path / "v.html", sideways, values))
    assert "mm from the scan's left" in page.seen["p"]
    start = [settings["numSlice"][axis] for axis in "XYZ"]
    np.testing.assert_allclose(_mm(settings, start), np.array(PEAK) * (2, 1.5, 3), atol=0.8)


def test_a_scan_that_lies_obliquely_opens_at_its_peak(tmp_path) -> None:
    angle = np.radians(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    header = turn @ place(brain()).affine
    image, values = place(brain(), header=header), place(blob(), header=header)
    _, settings = _open(_write(tmp_path / "v.html", image, values))
    start = [settings["numSlice"][axis] for axis in "XYZ"]
    np.testing.assert_allclose(_mm(settings, start), apply_affine(header, PEAK), atol=1.6)


def test_a_map_that_is_empty_or_not_a_number(tmp_path) -> None:
    page, settings = _open(_write(tmp_path / "v.html", values=place(np.zeros(SHAPE))))
    assert NOTHING in page.seen["p"]
    assert [settings["numSlice"][a] == settings["nbSlice"][a] // 2 for a in "XYZ"] == [True] * 3
    broken = blob()
    broken[:3] = np.nan
    page, _ = _open(_write(tmp_path / "v.html", values=place(broken)))
    assert NOTHING not in page.seen["p"]


def test_a_page_that_would_be_large_gets_larger_voxels(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    noise = place(rng.random((70, 60, 50)).astype(np.float32), (1, 1, 1))
    whole = _write(tmp_path / "a.html", noise, noise).stat().st_size
    monkeypatch.setattr(view, "_MAX_BYTES", whole)
    monkeypatch.setattr(view, "_VOXELS", (10**6, 30_000, 10))
    path = _write(tmp_path / "b.html", noise, noise)
    assert path.stat().st_size < 0.5 * whole
    _, settings = _open(path)
    assert 20_000 < np.prod(list(settings["nbSlice"].values())) < 40_000


def test_an_image_and_a_map_of_two_grids_are_refused(tmp_path) -> None:
    with pytest.raises(ImageError, match="OAS1_0001"):
        _write(tmp_path / "v.html", values=place(np.zeros((3, 4, 5))))
    assert not (tmp_path / "v.html").exists()
