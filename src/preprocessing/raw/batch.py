"""Many raw scans to the standard, in parallel, with a table and a page of their quality."""

from __future__ import annotations

import base64
import html
import logging
from pathlib import Path

import pandas as pd

from ...config import ScanConfig
from ...errors import DataNotFoundError, ImageError, counted, in_one_line
from ...files import atomic_file, read_bytes
from ...parallel import run_parallel
from ..notes import tell_notes
from .laid import Grid
from .standard import StandardScan, read_standard, standardise

logger = logging.getLogger(__name__)

QUALITY = "quality.csv"
PAGE = "montage.html"
Job = tuple[str, Path, Path, ScanConfig, Grid | None]

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Standard scans</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 72rem;
  padding: 0 1rem }
figure { margin: 0 0 1.5rem } img { max-width: 100%; height: auto; background: #000 }
figcaption { overflow-wrap: anywhere }
.aside { border-left: .4rem solid #c33; padding-left: .6rem }
.flag { border-left: .4rem solid #c80; padding-left: .6rem } li { margin: .1rem 0 }
</style></head><body>
"""


def standardise_all(
    sources: dict[str, Path],
    folder: Path,
    settings: ScanConfig,
    *,
    workers: int,
    dask: str | None,
    grid: Grid | None = None,
) -> tuple[dict[str, StandardScan], dict[str, str]]:
    """Bring scans to the standard; what is done already is not done again.

    Args:
        sources: Name, safe as a file name -> raw scan.
        folder: Of the standard scans; `QUALITY` and `PAGE` are written into it.
        settings: Which steps are taken, and who is let in although set aside.
        workers: Scans at a time on this machine.
        dask: Address of a Dask scheduler, or None.
        grid: A grid that every scan is laid on as well.

    Returns:
        The standard scans that can be used, and the reason of every other one.
    """
    jobs = [
        (name, path, folder / f"{name}.nii.gz", settings, grid) for name, path in sources.items()
    ]
    failed: dict[str, str] = {}
    for name, reason in run_parallel(
        make_one, jobs, workers=workers, dask=dask, desc="scans", folder=folder,
        name=lambda job: job[0],
    ):  # fmt: skip
        if reason is not None:
            failed[name] = reason
    made = {name: read_standard(target) for name, _, target, *_ in jobs if name not in failed}
    aside = {
        name: "; ".join(scan.quality.failures)
        for name, scan in made.items()
        if scan.quality.failures and name not in settings.names_let_in
    }
    for name in sorted(set(settings.names_let_in) & made.keys()):
        if made[name].quality.failures:
            logger.warning("%s is let in although %s", name, "; ".join(made[name].quality.failures))
    reasons = failed | aside
    tell_notes({name: scan.notes for name, scan in made.items()}, len(jobs))
    if jobs:
        _write_table(folder, jobs, made, reasons)
        _write_page(folder, jobs, made, reasons)
    return {name: scan for name, scan in made.items() if name not in aside}, reasons


def make_one(job: Job) -> tuple[str, str | None]:
    """Bring one scan to the standard; return its name, and why that failed or None."""
    name, source, target, settings, grid = job
    try:
        standardise(source, target, settings, grid)
    except (ImageError, DataNotFoundError) as error:
        return name, in_one_line(error)
    return name, None


def _write_table(
    folder: Path, jobs: list[Job], made: dict[str, StandardScan], reasons: dict[str, str]
) -> None:
    rows = []
    for name, source, *_ in jobs:
        scan = made.get(name)
        rows.append(
            {
                "name": name,
                "file": source.name,
                "used": name not in reasons,
                "reason": reasons.get(name, ""),
                **(scan.quality.values if scan else {}),
                "flags": "; ".join(scan.quality.flags) if scan else "",
                "seconds": round(sum(scan.steps["seconds"].values()), 1) if scan else None,
            }
        )
    with atomic_file(folder / QUALITY, "w") as file:
        pd.DataFrame(rows).to_csv(file, index=False, lineterminator="\n")


def _write_page(
    folder: Path, jobs: list[Job], made: dict[str, StandardScan], reasons: dict[str, str]
) -> None:
    """Write the page: those set aside first, then those with flags, then the others."""

    def rank(job: Job) -> tuple[int, str]:
        scan = made.get(job[0])
        return (0 if job[0] in reasons else 1 if scan and scan.quality.flags else 2), job[0]

    used = len(jobs) - len(reasons)
    with atomic_file(folder / PAGE, "w") as file:
        file.write(_HEAD)
        file.write(
            f"<main><h1>{counted(len(jobs), 'scan')}: {used} used, {len(reasons)} set aside</h1>\n"
            "<p>Axial, coronal and sagittal planes of each standard scan, the person's right on "
            "the right. The line is the outline of the template's brain: a scan is laid well "
            "where the brain fills it. Scans that are set aside come first, then those with "
            "flags. <code>--let_in NAME</code> uses one all the same.</p>\n"
        )
        for job in sorted(jobs, key=rank):
            file.write(_entry(job, made.get(job[0]), reasons.get(job[0])))
        file.write("</main></body></html>\n")


def _entry(job: Job, scan: StandardScan | None, reason: str | None) -> str:
    name, source, target, *_ = job
    kind = "aside" if reason else "flag" if scan and scan.quality.flags else "good"
    said = [f"Set aside: {reason}."] if reason else []
    said += list(scan.quality.flags) if scan else []
    points = "".join(f"<li>{html.escape(one)}</li>" for one in said)
    numbers = ""
    picture = ""
    if scan is not None:
        pairs = [f"{k.replace('_', ' ')} {v:g}" for k, v in scan.quality.values.items()]
        numbers = f"<p>{html.escape(', '.join(pairs))}</p>"
        jpeg = target.with_name(f"{name}.jpg")
        if jpeg.is_file():
            code = base64.b64encode(read_bytes(jpeg)).decode()
            alt = f"six planes of {html.escape(name, quote=True)}"
            picture = f'<img alt="{alt}" src="data:image/jpeg;base64,{code}">'
    return (
        f'<figure class="{kind}">{picture}<figcaption><strong>{html.escape(name)}</strong> '
        f"({html.escape(source.name)}){numbers}<ul>{points}</ul></figcaption></figure>\n"
    )
