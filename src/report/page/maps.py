"""Maps on a page: the grade first, figures, a picture of each person, volumes for the viewer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import counted
from ..documents.markdown import estimate
from .gather import RunFiles, inside
from .pictures import Picture, picture, volume
from .text import shown

_NARROW = 420  # pixels of a person's three planes
_FIGURES = (
    ("groups.png", "Mean maps of each class in the template's space"),
    ("regions.png", "Share of the map in each region"),
)
_FOLDED = (
    ("grade.png", "Tests of the maps with their thresholds"),
    ("groups_correct_wrong.png", "Mean maps of people answered right and wrong"),
)


@dataclass
class Maps:
    """What a page shows of the maps.

    Attributes:
        verdict: Of the tests of maps, or why there is none.
        good: Whether every test was passed.
        checks: Title, value, verdict and sentence of each test.
        about: Method, layers, what is explained.
        figures: Of groups and regions.
        folded: Of the tests and the classes, shown when asked for.
        people: Anchor, caption and picture of each person.
        volumes: For the viewer.
        left_out: People whose picture did not fit into the page.
    """

    verdict: str
    good: bool
    checks: list[dict[str, str]]
    about: str
    figures: list[Picture] = field(default_factory=list)
    folded: list[Picture] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0


def maps_of(files: RunFiles, *, width: int, voxels: int, most: int) -> Maps | None:
    """Return the maps of a run, or None where none were made.

    Args:
        files: Of the run.
        width: Of figures, in pixels.
        voxels: Of a volume in the viewer.
        most: Pictures of people.

    Raises:
        ImageError: A file is damaged.
        ManifestError: ``maps.csv`` names a file outside the folder of maps.
    """
    content = files.explained
    if content is None or files.metrics is None:
        return None
    grade = content.get("grade")
    maps = Maps(
        verdict=shown(grade["verdict"]) if grade else "not tested",
        good=grade is not None and grade["verdict"] == "PASS",
        checks=[_check(check) for check in (grade or {}).get("checks", [])],
        about=(
            f"{shown(content['method'])} of {shown(' + '.join(content['layers']))}; explained: "
            f"{shown(content['target'])}; {counted(content['n_maps'], 'map')} of "
            f"{counted(content['n_people'], 'person')}."
        ),
    )
    if (models := content.get("n_models", 1)) > 1:
        maps.about += (
            f" Each person by the fold's model that never saw the person, of {models} models; "
            "tested: the first."
        )
    slices = (content.get("phantom") or {}).get("slices") or {}
    maps.about += f" {shown(slices['sentence'], 400)}" if "sentence" in slices else ""
    classes = files.metrics["classes"]
    each = ((f"{name}.png", f"Maps of people of {name}") for name in classes)
    maps.figures = _pictures(files.maps, _FIGURES, width)
    maps.folded = _pictures(files.maps, (*_FOLDED, *each), width)
    rows = [] if files.map_rows is None else files.map_rows.to_dict("records")
    for number, row in enumerate(rows):
        text = f"true {shown(row['class'])}, said {shown(row['predicted'])}"
        name, map = shown(row["subject"], 60), inside(files.maps, str(row["map"]))
        image = map.with_name(map.name.replace("_map.nii.gz", "_image.nii.gz"))
        if image.is_file() and map.is_file():
            known = bool(row.get("side_known", content.get("side_known")))
            maps.volumes.append(volume(image, map, name, text, side_known=known, voxels=voxels))
        small = str(row.get("picture") or "")
        path = inside(files.maps, small) if small else None
        if path is None or not path.is_file():
            continue
        if len(maps.people) >= most:
            maps.left_out += 1
            continue
        shows = picture(path, f"Map of {name}, three planes through its peak", _NARROW)
        maps.people.append(
            {
                "id": f"map-{number}",
                "subject": str(row["subject"]),
                "name": name,
                "session": shown(row["session"], 30),
                "truth": row["class"],
                "text": text,
                "picture": shows,
            }
        )
    return maps


def _pictures(folder: Path, wanted: Iterable[tuple[str, str]], width: int) -> list[Picture]:
    there = [(folder / file, alt) for file, alt in wanted if (folder / file).is_file()]
    return [picture(path, f"{shown(alt)}.", width) for path, alt in there]


def _check(check: dict[str, Any]) -> dict[str, str]:
    return {
        "title": shown(check["title"]),
        "value": estimate(check["value"]),
        "verdict": shown(check["verdict"]),
        "sentence": shown(check["sentence"], 600),
    }


def figure_of(folder: Path, name: str | None, alt: str, width: int) -> Picture | None:
    """Return the figure that an answer names, or None where it names none or it is gone."""
    if not name:
        return None
    path = inside(folder, name)
    return picture(path, alt, width) if path.is_file() else None
