"""The page: one HTML file with its style, script and pictures inside, under 5 MB.

Its content policy lets run the page's own script and style only, by their hashes, and lets it load
nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...errors import ImageError
from ...files import atomic_file, read_text
from ..documents.run_facts import limits
from ..map_figures.drawing import RADIOLOGICAL
from .answers import answers_of
from .commands import commands
from .flow import flow
from .gather import RunFiles
from .maps import maps_of
from .opening import opening
from .people import people_of
from .pictures import colours
from .scores import score_sections, sentences
from .stressed import stress_sections
from .studies import study_sections
from .text import line_html, shown

MAX_BYTES = 5_000_000
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Size:
    """How much a page shows: pixels of a figure, voxels of a volume, pictures of people."""

    width: int
    voxels: int
    people: int


#: The first that fits is taken.
SIZES = (
    Size(1300, 600_000, 300),
    Size(1100, 300_000, 150),
    Size(900, 120_000, 60),
    Size(640, 60_000, 0),
)


def write_page(files: RunFiles, target: Path, sizes: Sequence[Size] = SIZES) -> Path:
    """Write the report of a run.

    Args:
        files: Of the run.
        target: HTML file.
        sizes: Largest first.

    Raises:
        ImageError: A picture is damaged, or the page is too large in every size.
    """
    for size in sizes:
        page = render(files, size).encode("utf-8")
        if len(page) < MAX_BYTES:
            break
    else:
        raise ImageError(f"the report of {files.name} has {len(page)} bytes in its smallest size")
    with atomic_file(target) as file:
        file.write(page)
    return target


def render(files: RunFiles, size: Size) -> str:
    """Return the page's text."""
    metrics = files.metrics
    mapped = maps_of(files, width=size.width, voxels=size.voxels, most=size.people)
    answered = answers_of(files, width=size.width, voxels=size.voxels)
    anchors: dict[str, str] = {}
    for one in mapped.people if mapped else []:
        anchors.setdefault(one["subject"], one["id"])
    volumes = [*(mapped.volumes if mapped else []), *(answered["volumes"] if answered else [])]
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    boxes, flow_note = flow(files) if metrics else ([], "")
    sections, absent = score_sections(files, size.width) if metrics else ([], [])
    sections += study_sections(files, size.width)
    sections += stress_sections(files, size.width)
    content: dict[str, Any] = metrics or files.predicted or files.crossed or {}
    kinds = [str(metrics["kind"])] if metrics else []
    kinds += ["predict"] * bool(files.predicted) + ["crossdata"] * bool(files.crossed)
    template = _environment().get_template("page.html.j2")
    return template.render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 (our own file)
        script=Markup(script),  # noqa: S704 (our own file)
        run=shown(files.name),
        dataset=shown(metrics["dataset"]) if metrics else None,
        stamps=[
            shown(stamp, 300) for stamp in (metrics or files.crossed or {}).get("stamps", [])
        ],
        failures={shown(stage): shown(reason, 400) for stage, reason in files.failed.items()},
        notes=[shown(note, 400) for note in files.notes],
        kind=metrics["kind"] if metrics else "crossdata" if files.crossed else None,
        opening=opening(metrics, boxes, mapped) if metrics else None,
        sentences=sentences(metrics) if metrics else [],
        boxes=boxes,
        flow_note=flow_note,
        sections=sections,
        absent=absent,
        maps=mapped,
        people=people_of(files, anchors),
        answered=answered,
        limits=[line_html(line) for line in limits(metrics)] if metrics else [],
        commands=[
            line for kind in kinds if files.config for line in commands(files.config, kind)
        ],
        versions={shown(k): shown(v) for k, v in (content.get("versions") or {}).items()},
        settings=json.dumps(content.get("settings") or {}, indent=1, ensure_ascii=True),
        volumes=_data(
            {"colours": colours(), "volumes": volumes, "radiological": _radiological(files)}
        ) if volumes else None,
    )  # fmt: skip


def _radiological(files: RunFiles) -> bool:
    """Return whether the figures of maps were drawn with the person's left on the right."""
    for content in (files.explained, files.predicted):
        settings = (content or {}).get("settings")
        part = settings.get("explain") if isinstance(settings, dict) else None
        if isinstance(part, dict) and "convention" in part:
            return bool(part["convention"] == RADIOLOGICAL)
    return False


def _environment() -> Environment:
    # Every value is escaped, and a name that the template does not know is an error.
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return read_text(_HERE / name)


def _policy(style: str, script: str) -> Markup:
    """Return the content policy of a page with this style and script."""
    parts = [
        *("default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'"),
        f"style-src '{_hash(style)}'",
        f"script-src '{_hash(script)}'",
    ]
    return Markup("; ".join(parts))  # noqa: S704 (nothing of it comes from a file)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _data(content: Any) -> Markup:
    """Return JSON that cannot end the element it stands in."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 (no sign of markup is left)
