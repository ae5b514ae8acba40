"""Whether the record of a processed scan is one: it may be edited, cut short or of another program.

Written out here, not as a JSON schema, because a cohort has a record per scan, and a schema takes
twenty times as long. Where its images lie is checked by `space.grid`, which alone needs that.
"""

from __future__ import annotations

from typing import Any

from ..files import LARGEST_WHOLE
from ..manifest import stays_inside


def check_record(record: Any) -> None:
    """Check the parts of a record that tell which files a scan has, and what was noticed.

    Raises:
        ValueError: Or KeyError or TypeError: it is none.
    """
    if not isinstance(record, dict) or not isinstance(record["files"], list):
        raise TypeError("it is no record of a scan")
    if not isinstance(record["key"], str):
        raise TypeError("key is no text")
    notes = record.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise TypeError("notes is no list of texts")
    if record.get("side_known") not in (None, True, False):
        raise ValueError("side_known is neither true nor false")
    files = record["files"]
    for file in files:
        _check_file(file)
    if not files or len({file["path"] for file in files}) < len(files):
        raise ValueError("it names no file, or one twice")


def _check_file(file: Any) -> None:
    path, number, content = (file[name] for name in ("path", "slice", "fingerprint"))
    if not isinstance(path, str) or "\0" in path or not stays_inside(path):
        raise ValueError("the path of a file leaves the data set, or is none")
    if number is not None and (type(number) is not int or abs(number) > LARGEST_WHOLE):
        raise ValueError(f"the slice of {path} is no number")
    if not isinstance(content, str):
        raise ValueError(f"the fingerprint of {path} is no text")
