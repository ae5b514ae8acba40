"""Maps of changed scans: do they follow a change that moves from side to side?"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from src.report.stress import maps_table
from src.report.stress_figure import maps_figure
from src.stressing import maps
from src.stressing.plan import HEALTHY, MAPS, Change, map_changes
from src.stressing.verdicts import FAIL, PASS, UNKNOWN, WARN

SHAPE = (24, 20, 16)
RIGHT, LEFT = np.s_[17:21, 8:12, 6:10], np.s_[3:7, 8:12, 6:10]
PLACES = {"right ventricle": RIGHT, "left ventricle": LEFT}


class Changer:
    """Darkens one side; a hippocampus is not in view."""

    def refused(self, change, scan):
        return "not in view" if "hippocampus" in change.name else None

    def changed(self, scan, change):
        data = scan.data.copy()
        data[PLACES[change.name]] -= 0.6 * change.strength
        return data


class Attribution:
    """Looks where it is told: at what is dark, or at one place whatever is shown.

    Attributes:
        model: Only its device is asked.
    """

    def __init__(self, stuck=None):
        self.model = torch.nn.Linear(1, 1)
        self.stuck = stuck

    def resolution(self, shape):
        return (1.0,) * len(shape)

    def raw_maps(self, x, target):
        assert target == "demented"
        if self.stuck is None:
            return (0.8 - x[:, 0]).clamp(min=0).numpy() * (x[:, 0] > 0).numpy()
        made = np.zeros((len(x), *SHAPE), np.float32)
        made[(slice(None), *self.stuck)] = 1
        return made


def scan_of(subject, seed):
    noise = np.random.default_rng(seed).random(SHAPE).astype(np.float32) * 0.1
    data = np.zeros(SHAPE, np.float32)
    data[2:22, 2:18, 2:14] = 0.7 + noise[2:22, 2:18, 2:14]
    made = SimpleNamespace(name=subject, subject=subject, label=0, data=data, slices=())
    made.make = lambda values: (torch.from_numpy(values)[None, None], ())
    return made


def followed(attribution, people=5):
    scans = {f"P{number}": scan_of(f"P{number}", number) for number in range(people)}
    sessions = [SimpleNamespace(name=name, subject=name, rows=(0,)) for name in scans]
    opener = SimpleNamespace(
        open=lambda session: scans[session.name], data=SimpleNamespace(labels=[0])
    )
    found, reasons = maps.follow(opener, sessions, map_changes(), Changer(), attribution)
    return found, maps.summed_up(found, reasons, 200, 0)


def test_a_map_that_follows_has_its_energy_in_the_change_and_not_on_the_other_side():
    found, rows = followed(Attribution())
    right, left, *hippocampi = rows
    assert [row["reason"] for row in hippocampi] == ["not in view", "not in view"]
    for row in (right, left):
        assert row["n"] == 5
        assert [dose["dose"] for dose in row["doses"]] == [0.5, 1.0]
        half, full = row["doses"]
        assert full["ratio"]["value"] > half["ratio"]["value"] > half["before"]["value"]
        assert full["gained"]["low"] > 0
        assert full["side"]["low"] > 0
    assert maps.verdict_of(rows)["verdict"] == PASS
    pictures = maps.pictures_of(found)
    assert [one["title"] for one in pictures] == list(PLACES)
    assert {one["subject"] for one in pictures} == {"P0"}
    width, height, _ = SHAPE
    assert pictures[0]["image"].shape == (height, width)
    dark = np.argwhere(pictures[0]["difference"] > 0.5)
    assert dark[:, 1].min() == 17  # columns run along X
    assert dark[:, 0].min() == height - 12  # row 0 is the front


def test_a_map_that_stays_where_it_is_does_not_follow():
    _, rows = followed(Attribution(stuck=LEFT))
    right, left, *_ = rows
    assert right["doses"][-1]["gained"]["value"] == pytest.approx(0)
    assert left["doses"][-1]["gained"]["value"] == pytest.approx(0)
    assert left["doses"][-1]["side"]["low"] > 0
    assert maps.verdict_of(rows)["verdict"] == FAIL


def test_some_structures_that_are_followed_are_a_warning_and_few_people_say_nothing():
    _, rows = followed(Attribution())
    _, stuck = followed(Attribution(stuck=LEFT))
    assert maps.verdict_of([rows[0], stuck[1]])["verdict"] == WARN
    _, few = followed(Attribution(), people=4)
    assert few[0]["reason"] == "4 healthy people are too few for an interval"
    assert maps.verdict_of(few)["verdict"] == UNKNOWN
    assert maps.verdict_of([]) is None


def test_what_is_asked_of_maps_may_be_left_out():
    assert map_changes(["disease"]) == []
    assert Change(MAPS, "left hippocampus", 0.5, HEALTHY) in map_changes([MAPS])
    assert Change(MAPS, "left hippocampus", 0.5, HEALTHY).structure == "hippocampi"
    assert Change(MAPS, "right ventricle", 1.0, HEALTHY).amplitudes == {"right ventricle": 0.8}


def test_the_figure_and_the_table_show_every_structure_in_view(tmp_path):
    found, rows = followed(Attribution())
    content = {"run": "r_1", "stamps": ["people unknown"], "maps": {"structures": rows}}
    path = maps_figure(tmp_path / "maps.png", maps.pictures_of(found), content)
    with Image.open(path) as image:
        assert image.width > 900  # two pictures beside each other, each 3.3 inches wide
    head, table = maps_table(content)
    assert len(head) == 6
    shown = [(row[0], row[2]) for row in table]
    assert shown == [
        *(("right ventricle", "0.5"), ("right ventricle", "1")),
        *(("left ventricle", "0.5"), ("left ventricle", "1")),
        *(("right hippocampus", "not in view"), ("left hippocampus", "not in view")),
    ]
    assert float(table[1][4].split()[0]) > float(table[1][3].split()[0])
