"""The report: what stands in it, in which order, how large it is, and what it refuses."""

import base64
import io
import json
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from map_examples import PEAK, SHAPE, SIZE, blob, brain
from PIL import Image
from report_runs import AFFINE, HOSTILE, add_maps, add_neighbours, add_predictions, scored_run
from result_examples import CLASSES, crossval_result, evaluate_result, span

from src import cli as main
from src.config import RunConfig, config_from_args
from src.config.options import build_config
from src.errors import DataNotFoundError, ImageError, ManifestError
from src.preprocessing.io import write_nifti
from src.report.map_figures.person import three_planes
from src.report.page.commands import commands
from src.report.page.flow import flow
from src.report.page.gather import gather
from src.report.page.page import MAX_BYTES, Size, write_page
from src.report.page.pictures import volume
from src.stages import report
from src.stages.report import build_report


class Reader(HTMLParser):
    """Text, tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._silent -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._silent:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def test_the_score_stands_first_beside_rivals_and_the_audit(tmp_path):
    words = read(build_report(scored_run(tmp_path))).words
    order = ["On 41 people the network", "this model", "always NonDemented", "age, sex"]
    order += ["Who was in", "Leakage audit", "PASS"]
    places = [words.index(part, words.index("Result")) for part in order]
    assert places == sorted(places)
    assert "(upper reference)" in words
    assert words.index("Training") < words.index("Validation") < words.index("Scored")
    assert "60 NonDemented" in words


def test_what_is_not_available_is_one_line(tmp_path):
    absent = {"available": False, "reason": "8 demented people and 8 others; 10 are needed"}
    page = read(build_report(scored_run(tmp_path, decision_curve=absent, retest=absent)))
    assert sum(a.get("id") == "absent" for _, a in page.tags) == 1
    line = page.words[page.words.rindex("Not available: ") :]
    reason = "(8 demented people and 8 others; 10 are needed)"
    assert f"Decision curve {reason}" in line
    assert f"Test and retest {reason}" in line
    assert not {"decision", "retest"} & {a.get("id") for tag, a in page.tags if tag == "section"}


def test_few_people_are_in_italics_and_hollow_on_the_first_screen(tmp_path):
    page = read(build_report(scored_run(tmp_path)))  # seven people of MildDemented
    marks = [a["class"] for tag, a in page.tags if tag == "circle"]
    assert marks
    assert set(marks) == {"hollow"}
    assert "In italics, hollow: a class has under 10 people." in page.words
    result = evaluate_result()
    for values in result["person"]["per_class"].values():
        values["n_people"] = 20
    page = read(build_report(scored_run(tmp_path / "many", **result)))
    assert next(a["class"] for tag, a in page.tags if tag == "circle") == "dot"
    assert "In italics, hollow" not in page.words


def test_the_first_screen_shows_the_first_demented_person_by_name(tmp_path):
    folder = scored_run(tmp_path)
    maps = add_maps(folder, ("OAS1_0001", "OAS1_0002", "OAS1_0003"))
    rows = (maps / "maps.csv").read_text(encoding="utf-8").splitlines()
    rows[2:] = [row.replace(f",{CLASSES[0]},", f",{CLASSES[2]},") for row in rows[2:]]
    (maps / "maps.csv").write_text("\n".join(rows), encoding="utf-8")
    words = read(build_report(folder)).words
    first = words[: words.index("People ")]
    assert "Maps: FAIL 1 of 1 test failed OAS1_0002 : true MildDemented" in first
    assert "OAS1_0001" not in first
    assert "A map shows what this model used, not where disease is." in first


@pytest.mark.parametrize(
    ("own", "by", "said"),
    [
        (0.5, None, "without the network, age, sex, nWBV, eTIV scores as high or higher"),
        (0.7, (0.1, -0.1, 0.3), "by .100 (-.100 to .300): no gain is shown"),
        (0.7, (0.1, 0.1, 0.1), "by .100 (no interval): no gain is shown"),
        (0.8, (0.2, 0.1, 0.3), "is better than its best rival, age, sex, nWBV, eTIV, by .200"),
        (0.8, None, "whether by more than chance was not tested"),
    ],
)
def test_the_best_rival_is_named_for_each_metric(tmp_path, own, by, said):
    result = evaluate_result()
    for metric in ("balanced_accuracy", "macro_auc"):
        for rival, score in zip(result["rivals"], (0.4, 0.6, 0.95), strict=False):  # the last: MMSE
            rival["metrics"][metric] = span(score)
    ends = ("value", "low", "high")
    result["person"]["metrics"]["macro_auc"] = {"value": own, "low": own - 0.1, "high": own + 0.1}
    if by is not None:
        result["rivals"][1]["difference"] = {"macro_auc": dict(zip(ends, by, strict=True))}
    result["person"]["metrics"]["balanced_accuracy"] = span(0.3)
    words = read(build_report(scored_run(tmp_path, **result))).words
    first, _, second = words.partition("Macro AUC: ")
    assert "Balanced accuracy: without the network, age, sex, nWBV, eTIV" in first
    assert said in second.partition("Under 10 people of MildDemented")[0]


def test_every_table_of_the_documents_is_a_table_of_the_page(tmp_path):
    page = read(build_report(scored_run(tmp_path)))
    assert sum(tag == "table" for tag, _ in page.tags) >= 8
    assert "<table>" not in page.words  # no tag was escaped into text
    regions = [a for tag, a in page.tags if tag == "div" and a.get("role") == "region"]
    assert all(a["aria-label"] and a["tabindex"] == "0" for a in regions)


def test_a_page_needs_nothing_from_elsewhere(tmp_path):
    folder = scored_run(tmp_path)
    add_maps(folder, ("S001", "S002"))
    path = build_report(folder)
    assert path.stat().st_size < MAX_BYTES
    page = read(path)
    links = [a[k] for _, a in page.tags for k in ("src", "href") if k in a]
    assert links
    assert all(link.startswith(("#", "data:image/webp;base64,")) for link in links)
    anchors = {a["id"] for _, a in page.tags if "id" in a}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert not any("style" in a or any(k.startswith("on") for k in a) for _, a in page.tags)
    policy = next(a["content"] for t, a in page.tags if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")


def test_hostile_names_are_only_text(tmp_path):
    folder = scored_run(tmp_path, HOSTILE)
    add_maps(folder, HOSTILE[:2])
    add_predictions(folder, HOSTILE)
    page = read(build_report(folder))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 2  # the page's own, and its data
    assert "window.harmed" in page.words
    assert "\u202e" not in page.words
    assert "{{ 7 * 7 }}" in page.words
    assert len(page.words) < 60_000
    assert max(map(len, page.words.split())) < 400


def test_each_person_is_a_row_with_a_link_to_the_map(tmp_path):
    folder = scored_run(tmp_path)
    add_maps(folder, ("S003",))
    page = read(build_report(folder))
    assert sum(tag == "bdi" for tag, _ in page.tags) >= 41
    links = [a for tag, a in page.tags if tag == "a" and a.get("aria-label") == "map of S003"]
    assert [a["href"] for a in links] == ["#map-0"]
    for part in ("One picture per person", "Viewer"):  # a failed grade stands on every map
        assert f"{part} FAIL: these maps did not pass their tests." in page.words


def test_repeated_answers_are_one_row_with_their_mean(tmp_path):
    folder = scored_run(tmp_path)
    result = crossval_result(repeats=1)
    result["crossval"]["repeats"] = 2
    (folder / "metrics.json").write_text(json.dumps(result), encoding="utf-8")
    rows = ["subject,repeat,class,predicted,p_NonDemented,p_VeryMildDemented,p_MildDemented,set_90"]
    rows += [f"P1,0,{CLASSES[1]},{CLASSES[0]},0.6,0.3,0.1,{CLASSES[0]}"]
    rows += [f"P1,1,{CLASSES[1]},{CLASSES[1]},0.1,0.9,0.0,{CLASSES[1]}"]
    said = f"{CLASSES[1]},{CLASSES[1]},0.1,0.9,0.0,{CLASSES[1]}"
    rows += [f"Q{n},{repeat},{said}" for n in range(44) for repeat in (0, 1)]
    (folder / "people.csv").write_text("\n".join(rows), encoding="utf-8")
    words = read(build_report(folder)).words
    assert "P1 VeryMildDemented VeryMildDemented yes 0.350 0.600 0.050 2" in words
    assert "5 folds, 2 times" in words


def test_a_row_tells_the_training_people_most_alike(tmp_path):
    folder = scored_run(tmp_path, ("A",))
    add_neighbours(folder, predicted=CLASSES[1], neighbour_2=CLASSES[1], neighbour_2_decade="")
    page = read(build_report(folder))
    assert "Non, 70s .971 VeryMild .960 Non, 90+ -.250" in page.words
    about = "the 3 of 119 training people (60 Non, 42 VeryMild, 17 Mild) whose images the model"
    assert about in page.words
    assert "Two training people are .930 alike, in the median." in page.words
    chips = [a["class"] for tag, a in page.tags if tag == "span" and "chip" in a.get("class", "")]
    assert chips[:3] == ["chip other", "chip", "chip other"]  # truly Non, said VeryMild
    assert len(chips) == 3 * 41


@pytest.mark.parametrize(
    ("typical", "shown"), [(0.4, ".97 VeryMild"), (0.9996, ".97125 VeryMild"), (1, ".971250 V")]
)
def test_neighbours_have_as_many_digits_as_tell_them_apart(tmp_path, typical, shown):
    folder = scored_run(tmp_path, ("A",))
    add_neighbours(folder, typical, neighbour_2=CLASSES[1])
    assert f"Non, 70s {shown}" in read(build_report(folder)).words


def test_without_neighbours_the_table_has_no_such_column(tmp_path):
    folder = scored_run(tmp_path)
    words = read(build_report(folder)).words
    assert "most like" not in words.lower()
    assert "most alike" not in words
    add_neighbours(folder)
    table = (folder / "people.csv").read_text(encoding="utf-8").replace("neighbour_", "else_")
    (folder / "people.csv").write_text(table, encoding="utf-8")
    words = read(build_report(folder)).words
    assert "most alike: not available (people.csv does not have them)" in words
    assert "most like, in training" not in words
    hostile = {"available": False, "reason": "<script>window.harmed = 1</script>"}
    page = read(build_report(scored_run(tmp_path / "why", neighbours=hostile)))
    assert f"most alike: not available ({hostile['reason']})." in page.words


@pytest.mark.parametrize(
    "cell",
    [
        {"neighbour_1": "<b>Healthy</b>"},
        {"neighbour_1": ""},
        {"neighbour_2_decade": 100},
        {"neighbour_2_decade": "<b>"},
        {"neighbour_3_likeness": 1.5},
        {"neighbour_3_likeness": ""},
    ],
)
def test_a_neighbour_that_cannot_be_is_refused(tmp_path, cell):
    folder = scored_run(tmp_path)
    add_neighbours(folder, **cell)
    with pytest.raises(ValueError, match=f"{next(iter(cell))} in row 1 is "):
        build_report(folder)


def test_new_scans_get_their_answer_in_words(tmp_path):
    folder = tmp_path / "results" / "new"
    add_predictions(folder, ("scan_a", "scan_b"))
    words = read(build_report(folder)).words
    assert "It is no diagnosis." in words
    assert "1 of 2 scans are outside" in words
    assert "Outside what this model has seen. its features are far" in words
    assert "1521 mL" in words
    assert "The model's answer: NonDemented ; prediction set" in words


def test_people_with_several_scans_have_a_row_for_each_visit(tmp_path):
    folder = tmp_path / "results" / "new"
    add_predictions(folder, ("scan_a", "scan_b"))
    words = read(build_report(folder)).words
    assert "scan_a MR1 1 0 NonDemented 0.70 0.20 0.10 0.04 NonDemented, VeryMild" in words
    assert "scan_a MR2 0 1 outside what this model has seen" in words
    assert "alone" not in words  # one scan: all is said in the table of scans


def test_predictions_of_before_people_were_joined_are_shown(tmp_path):
    folder = tmp_path / "results" / "new"
    path = add_predictions(folder, ("scan_a", "scan_b"))
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["people"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "People with several scans" not in read(build_report(folder)).words


@pytest.mark.parametrize("bad", ["../../secret.png", "/etc/hostname.png"])
def test_a_path_out_of_the_folder_is_refused(tmp_path, bad):
    folder = scored_run(tmp_path)
    table = add_maps(folder, ("S003",)) / "maps.csv"
    table.write_text(
        table.read_text(encoding="utf-8").replace("maps/person0.png", bad), encoding="utf-8"
    )
    with pytest.raises(ManifestError, match="leads out"):
        build_report(folder)


def test_maps_of_other_classes_are_left_out_and_it_is_said(tmp_path):
    folder = scored_run(tmp_path)
    file = add_maps(folder, ("S003",)) / "explain.json"
    file.write_text(
        file.read_text(encoding="utf-8").replace('"classes": 3', '"classes": 4'), encoding="utf-8"
    )
    assert "Maps were left out: they are of 4 classes" in read(build_report(folder)).words


def test_maps_of_another_training_are_left_out_and_it_is_said(tmp_path):
    folder = scored_run(tmp_path)
    file = add_maps(folder, ("S003",)) / "explain.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    settings = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["settings"]
    for epochs, said in ((30, False), (31, True)):
        train = settings["train"] | {"epochs": epochs}
        file.write_text(json.dumps(content | {"trained": {"train": train}}), encoding="utf-8")
        words = read(build_report(folder)).words
        assert ("Maps were left out: they are of a model that was trained" in words) == said


def test_a_missing_run_names_those_that_are_there(tmp_path):
    scored_run(tmp_path)
    with pytest.raises(DataNotFoundError) as error:
        build_report(tmp_path / "results" / "run_b")
    assert "run_a" in str(error.value)


@pytest.mark.parametrize(
    ("there", "classes", "taken", "said"),
    [
        (["_3classes", ""], 3, "_3classes", ""),
        ([""], 3, "", "is of 3 classes, which its name does not tell"),
        ([""], 4, "", "is of 3 classes, not 4"),
    ],
)
def test_the_page_is_of_the_run_of_these_classes(tmp_path, caplog, there, classes, taken, said):
    caplog.set_level("INFO")
    folder, name = scored_run(tmp_path), "oasis_2d_resnet18"
    for ending in there:
        shutil.copytree(folder, folder.with_name(name + ending))
    asked = {"dataset": "oasis_2d", "backbone": "resnet18", "classes": classes}
    config = build_config(RunConfig, {**asked, "results_dir": folder.parent})
    assert list(report.run(config)) == [folder.with_name(name + taken) / "report.html"]
    told = [line.message for line in caplog.records if line.name == report.__name__]
    assert told == ([f"{folder.with_name(name)} {said}"] if said else [])


def test_a_run_of_other_classes_is_no_page_of_these(tmp_path):
    folder = scored_run(tmp_path)
    folder.rename(folder.with_name("oasis_2d_resnet18"))
    asked = {"dataset": "oasis_2d", "backbone": "resnet18", "classes": 2}
    config = build_config(RunConfig, {**asked, "results_dir": folder.parent})
    with pytest.raises(DataNotFoundError, match="oasis_2d_resnet18_2classes") as error:
        list(report.run(config))
    assert error.value.hint == "did you mean --run oasis_2d_resnet18?"


@pytest.mark.parametrize("name", ["metrics.json", "people.csv"])
def test_a_damaged_file_is_a_sentence(tmp_path, name):
    folder = scored_run(tmp_path)
    (folder / name).write_bytes(b"\xff\xfe{")
    with pytest.raises((ManifestError, ValueError), match=r"damaged|not a CSV"):
        build_report(folder)


def test_damaged_maps_name_the_stage_that_makes_them(tmp_path):
    folder = scored_run(tmp_path)
    (add_maps(folder, ("S003",)) / "explain.json").write_text("{", encoding="utf-8")
    with pytest.raises(ManifestError) as error:
        build_report(folder)
    assert "explain.json is damaged" in str(error.value)
    assert "--mode gradcam" in str(error.value)


def test_a_damaged_figure_is_named(tmp_path):
    folder = scored_run(tmp_path)
    figure = tmp_path / "results" / "figures" / "run_a" / "roc.png"
    figure.write_bytes(figure.read_bytes()[:300])
    with pytest.raises(ImageError, match=r"roc\.png"):
        build_report(folder)


@pytest.mark.slow
def test_the_largest_size_that_fits_is_taken(tmp_path, monkeypatch):
    folder = scored_run(tmp_path)
    add_maps(folder, ("S001", "S002"))
    target, files = tmp_path / "page.html", gather(folder)
    sizes = (Size(1300, 600_000, 300), Size(40, 300, 0))
    large = write_page(files, target, sizes[:1]).stat().st_size
    monkeypatch.setattr("src.report.page.page.MAX_BYTES", large)
    assert write_page(files, target, sizes).stat().st_size < large
    assert "2 more maps stand in the folder" in read(target).words
    monkeypatch.setattr("src.report.page.page.MAX_BYTES", 1000)
    with pytest.raises(ImageError, match="smallest size"):
        write_page(files, target, sizes)


def decoded(sheet: dict, shape: tuple[int, int, int]) -> np.ndarray:
    data = base64.b64decode(sheet["data"].partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    x, y, z = shape
    out = np.zeros(shape, np.uint8)
    for k in range(z):
        row, column = divmod(k, sheet["columns"])
        out[:, :, k] = pixels[row * y : (row + 1) * y, column * x : (column + 1) * x].T
    return out


def test_a_volume_in_a_page_is_the_file(tmp_path):
    image, map = tmp_path / "i.nii.gz", tmp_path / "m.nii.gz"
    write_nifti(image, 100 * brain(), AFFINE)
    write_nifti(map, blob(), AFFINE)
    entry = volume(image, map, "who", "what", side_known=True, voxels=10**6)
    shape, affine = tuple(entry["shape"]), np.array(entry["affine"])
    edge = min(SIZE)
    assert np.allclose(np.array(shape), np.array(SHAPE) * SIZE / edge, atol=1)
    values = decoded(entry["map"], shape)
    at = np.array(np.unravel_index(values.argmax(), shape))
    truth = AFFINE[:3, :3] @ np.array(PEAK) + AFFINE[:3, 3]
    assert np.abs(affine[:, :3] @ at + affine[:, 3] - truth).max() <= 1.6
    assert np.abs(np.array(entry["start"]) - at).max() <= 1
    grey = decoded(entry["image"], shape).astype(float)
    assert grey[0, 0, 0] < 20
    assert grey[tuple(np.array(shape) // 2)] > 150


def test_a_map_on_another_grid_is_refused(tmp_path):
    image, map = tmp_path / "i.nii.gz", tmp_path / "m.nii.gz"
    write_nifti(image, brain(), AFFINE)
    write_nifti(map, blob(), AFFINE @ np.diag([1, 1, 2, 1]))
    with pytest.raises(ImageError, match="grid"):
        volume(image, map, "", "", side_known=False, voxels=10**6)


def test_a_thumbnail_shows_the_peak_where_it_is():
    sizes = np.array(SIZE)
    picture = three_planes(np.zeros(SHAPE), blob(), sizes, 130).astype(int)
    assert picture.shape[0] == 130
    colourful = picture[..., 1]  # green grows to the top of the colours
    scale = 130 / max(SHAPE[1] * SIZE[1], SHAPE[2] * SIZE[2])
    wide = round(SHAPE[0] * SIZE[0] * scale)
    row, column = np.unravel_index(colourful[:, :wide].argmax(), (130, wide))
    x, y = (
        (column / scale) / SIZE[0],
        SHAPE[1] - (row - (130 - SHAPE[1] * SIZE[1] * scale) / 2) / scale / SIZE[1],
    )
    assert abs(x - PEAK[0] - 0.5) < 1.5
    assert abs(y - PEAK[1] - 0.5) < 2.5


def test_the_commands_give_the_settings_back():
    config = build_config(
        RunConfig,
        {
            "dataset": "oasis_3d",
            "epochs": 7,
            "augment": "scanner",
            "data_root": "a b",
            "classes": 2,
        },
    )
    lines = commands(config, "evaluate")
    modes = [re.search(r"--mode (\w+)", line)[1] for line in lines]
    assert modes == ["preprocess", "train", "evaluate", "gradcam"]
    words = shlex.split(lines[1].replace("\\\n", " "))[2:]
    assert config_from_args(main.build_parser().parse_args(words)) == config


def test_evaluate_ends_with_a_report_unless_told_not_to(tmp_path, monkeypatch, capsys):
    folder = scored_run(tmp_path)
    written = [folder / "metrics.json"]
    config = build_config(
        RunConfig, {"results_dir": str(tmp_path / "results"), "dataset": "oasis_2d"}
    )
    assert main.run_report(config, written) == [folder / "report.html"]
    quiet = build_config(RunConfig, {"results_dir": str(tmp_path / "results"), "report": False})
    assert main.run_report(quiet, written) == []
    assert main.run_report(config, [folder / "folds.csv"]) == []


def test_the_stage_writes_the_report_of_a_run_by_name(tmp_path):
    folder = scored_run(tmp_path)
    words = ["--mode", "report", "--run", "run_a", "--results_dir", str(tmp_path / "results")]
    assert main.main(words) == 0
    assert (folder / "report.html").is_file()
    assert main.main([*words[:3], "nothing", *words[4:]]) == 2


def test_who_was_set_aside_stands_by_stage_with_a_warning(tmp_path):
    run = scored_run(tmp_path)
    files = gather(run)
    folder = tmp_path / "oasis_2d"
    folder.mkdir()
    rows = "cohort,subject,session,slice,path,label,split\n"
    rows += "".join(f"oasis,S{n},MR1,0,S{n}.png,NonDemented,train\n" for n in range(30))
    (folder / "manifest.csv").write_text(rows, encoding="utf-8")
    gone = "subject,reason\n" + "".join(f"M{n},cut off\n" for n in range(4))
    (folder / "rejected.csv").write_text(gone, encoding="utf-8")
    share = {"aside": 4, "n": 8, "value": 0.5, "low": 0.22, "high": 0.78}
    none = {"aside": 0, "n": 30, "value": 0.0, "low": 0.0, "high": 0.11}
    stages = {"NonDemented": none, "MildDemented": share}
    settings = {"set_aside": {"stages": stages, "p": 0.0009}}
    (folder / "preprocessing.json").write_text(json.dumps(settings), encoding="utf-8")
    boxes, note = flow(replace(files, config=_with_folder(files.config, folder)))
    assert boxes[0].aside == ["4 scans: cut off"]
    assert "NonDemented 0 of 30 (0 %, 0 to 11), MildDemented 4 of 8" in boxes[0].note
    assert "MildDemented people were set aside more often" in note
    assert "is a bias" in note
    settings["set_aside"]["p"] = 0.4
    (folder / "preprocessing.json").write_text(json.dumps(settings), encoding="utf-8")
    boxes, note = flow(replace(files, config=_with_folder(files.config, folder)))
    assert note == ""
    assert boxes[0].note.endswith("An error that goes with the stage is a bias.")


def _with_folder(config, folder):
    return replace(config, data=replace(config.data, data_dir=folder))
