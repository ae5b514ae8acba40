"""The report in a real browser: no error, no request, and what answers a click or a key."""

import json
import shutil

import pytest
from map_examples import PEAK, SHAPE, SIZE
from report_runs import CLASSES, HOSTILE, add_maps, add_predictions, scored_run

from src.stages.report import build_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = scored_run(tmp_path_factory.mktemp("report"), HOSTILE)
    add_maps(folder, ("S001", HOSTILE[0], "sub_with_a_long_name_" * 9))
    add_predictions(folder, HOSTILE)
    return build_report(folder)


@pytest.fixture
def page(browser, report):
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("#viewer-app:not([hidden])")
    page.wait_for_function("document.getElementById('v-out').textContent !== ''")
    yield page
    assert page.said == []
    assert page.evaluate("window.harmed") is None
    context.close()


def column(page, number):
    cells = f"#people-table tbody tr:not([hidden]) > :nth-child({number})"
    return page.eval_on_selector_all(cells, "cells => cells.map(cell => cell.textContent)")


def test_nothing_is_asked_of_the_network(page):
    elsewhere = [url for url in page.asked if not url.startswith("data:")]
    assert len(elsewhere) == 1  # the page itself
    blocked = page.evaluate("fetch('http://127.0.0.1:9/x').then(() => 'loaded', () => 'blocked')")
    assert blocked == "blocked"
    assert any("Content Security Policy" in text for text in page.said)
    page.said.clear()


def test_a_click_sorts_up_and_then_down(page):
    head = page.locator("#people-table thead th").nth(4)
    head.locator("button").click()
    up = [float(text) for text in column(page, 5)]
    assert up == sorted(up)
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").press("Enter")
    assert [float(text) for text in column(page, 5)] == up[::-1] or column(page, 5) == sorted(
        column(page, 5), reverse=True
    )
    assert head.get_attribute("aria-sort") == "descending"


def test_new_scans_sort_with_what_has_no_number_last(browser, tmp_path):
    folder = tmp_path / "results" / "new"
    path = add_predictions(folder, ("b10", "a9", "c", "out"))
    content = json.loads(path.read_text(encoding="utf-8"))
    for answer, p in zip(content["answers"], (0.05, 1.0, 0.3), strict=False):
        rest = dict.fromkeys(list(answer["probabilities"])[1:], 0.0)
        answer["probabilities"] |= rest | {CLASSES[1]: 1 - p, CLASSES[0]: p}
    path.write_text(json.dumps(content), encoding="utf-8")
    page = browser.new_page()
    page.goto(build_report(folder).as_uri())
    heads = page.locator("#scans table").first.locator("thead th button")

    def order():
        return page.locator("#scans table").first.locator("tbody th").all_inner_texts()

    assert order() == ["b10", "a9", "c", "out"]
    heads.nth(2).press("Enter")
    assert order() == ["b10", "c", "a9", "out"]
    heads.nth(2).press(" ")
    assert order() == ["a9", "c", "b10", "out"]
    page.close()


def test_people_are_filtered_and_counted(page):
    page.fill("#f-text", "s00")
    assert len(column(page, 1)) == 10
    page.check("#f-wrong")
    assert set(column(page, 4)) == {"no"}
    page.fill("#f-text", "")
    page.select_option("#f-class", "MildDemented")
    assert set(column(page, 2)) == {"MildDemented"}
    assert page.inner_text("#f-count") == f"{len(column(page, 1))} of 41 people"


def test_the_viewer_answers_pointer_keys_and_sliders(page):
    said = page.inner_text("#v-out")
    assert "map 1.00 of its maximum" in said  # it begins at the peak
    before = page.evaluate("document.getElementById('v-coronal').toDataURL()")
    page.locator("#v-axial").click(position={"x": 30, "y": 30})
    clicked = page.inner_text("#v-out")
    assert clicked != said
    assert page.evaluate("document.getElementById('v-coronal').toDataURL()") != before
    page.locator("#v-axial").press("ArrowRight")
    x = [float(text.split(",")[0].split()[1]) for text in (clicked, page.inner_text("#v-out"))]
    assert x[1] > x[0]
    page.locator("#v-z").fill("0")
    assert page.inner_text("#v-out").split("z ")[1].startswith(
        "-9 mm"
    ) or "z -10 mm" in page.inner_text("#v-out")


def test_the_radiological_convention_turns_planes_and_letters(page):
    picture = "document.getElementById('v-{}').toDataURL()"
    shown = {name: page.evaluate(picture.format(name)) for name in ("axial", "sagittal")}
    page.locator("#v-axial").click(position={"x": 30, "y": 60})
    left = float(page.inner_text("#v-out").split(",")[0].split()[1])
    page.check("#v-radiological")
    assert page.evaluate(picture.format("axial")) != shown["axial"]
    page.locator("#v-axial").click(position={"x": 30, "y": 60})
    right = float(page.inner_text("#v-out").split(",")[0].split()[1])
    assert right > left  # the same place of the picture is on the person's other side
    page.locator("#v-axial").press("ArrowRight")
    assert float(page.inner_text("#v-out").split(",")[0].split()[1]) < right
    page.uncheck("#v-radiological")


WARMTH = """name => {
  const canvas = document.getElementById(name);
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  let best = -1, at = null;
  for (let k = 0; k < data.length; k += 4)
    if (data[k] - data[k + 2] > best) { best = data[k] - data[k + 2]; at = k / 4; }
  return [at % width / width, Math.floor(at / width) / height];
}"""


@pytest.mark.parametrize(
    ("plane", "across", "up"), [("axial", 0, 1), ("coronal", 0, 2), ("sagittal", 1, 2)]
)
def test_planes_stand_upright(page, plane, across, up):
    """The map is where it was put: to the right grows the first axis, upwards the second."""
    x, y = page.evaluate(WARMTH, f"v-{plane}")
    place = [(index + 0.5) / count for index, count in zip(PEAK, SHAPE, strict=True)]
    assert abs(x - place[across]) < 0.17
    assert abs(1 - y - place[up]) < 0.17


def test_voxels_keep_their_proportions(page):
    shape = "canvas => [canvas.width / canvas.height, canvas.clientWidth / canvas.clientHeight]"
    for plane in ("axial", "coronal", "sagittal"):
        drawn, shown = page.eval_on_selector(f"#v-{plane}", shape)
        assert abs(drawn / shown - 1) < 0.03
    width, height, depth = (n * edge for n, edge in zip(SHAPE, SIZE, strict=True))
    drawn, _ = page.eval_on_selector("#v-axial", shape)
    assert abs(drawn / (width / height) - 1) < 0.06
    drawn, _ = page.eval_on_selector("#v-sagittal", shape)
    assert abs(drawn / (height / depth) - 1) < 0.06


def test_the_map_can_be_taken_away_and_the_person_changed(page):
    with_map = page.evaluate("document.getElementById('v-axial').toDataURL()")
    page.locator("#v-map").fill("0")
    assert page.evaluate("document.getElementById('v-axial').toDataURL()") != with_map
    page.select_option("#v-who", "1")
    assert page.input_value("#v-who") == "1"


def test_a_link_leads_to_the_map_and_the_keyboard_reaches_the_main_part(page):
    page.locator("a[aria-label='map of S001']").click()
    assert page.evaluate("location.hash") == "#map-0"
    page.goto(page.url.partition("#")[0])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


@pytest.mark.parametrize("width", [390, 1100])
def test_nothing_is_wider_than_the_screen(browser, report, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(report.as_uri())
    page.wait_for_selector("#viewer-app:not([hidden])")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_dark_mode_and_paper_have_their_own_colours(browser, report):
    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) == "rgb(15, 20, 24)"
    page.emulate_media(media="print", color_scheme="light")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    page.close()


def test_without_scripts_all_words_and_pictures_are_there(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    text = page.inner_text("main")
    assert "Leakage audit of the split" in text
    assert "S030" in text
    assert "need JavaScript" in text
    context.close()
