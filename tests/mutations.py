"""What may happen to a file between two stages: edited, cut short, of another program."""

from __future__ import annotations

import copy
import csv
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

MANY_DIGITS = "9" * 5000
DEEP = b"[" * 100_000 + b"]" * 100_000
#: Whatever file stands in the place of another.
OTHER_FILES = {
    "empty": b"",
    "no text": b"\xff\xfe\x00\x81",
    "zeros": bytes(300),
    "nested deep": DEEP,
    "nested 900 deep": b"[" * 900 + b"]" * 900,
    "many digits": MANY_DIGITS.encode(),
    "a list": b"[1, 2]",
    "a number": b"5",
    "null": b"null",
    "NaN": b"NaN",
}
SHARE = 6
_CELLS = {"empty": "", "text": "x", "five": "5", "minus": "-1", "nan": "nan", "inf": "inf"}
_VALUES: dict[str, Any] = {
    **{"null": None, "five": 5, "text": "x", "list": [], "object": {}},
    **{"huge": 10**400, "nan": float("nan")},
}


def table_mutations(content: bytes) -> dict[str, bytes]:
    """Return damaged versions of a CSV file by what was done to it: `<what>` or `<column>: <what>`.

    Every column is removed once, and its first cell replaced.
    """
    head, *rows = csv.reader(io.StringIO(content.decode("utf-8")))
    made = {
        "half of the rows": _csv([head, *rows[: len(rows) // 2]]),
        "header alone": _csv([head]),
        "a row twice": _csv([head, rows[0], *rows]),
        "all rows twice": _csv([head, *rows, *rows]),
        "a row too long": _csv([head, [*rows[0], "x", "y"], *rows[1:]]),
        "all rows too long": _csv([head, *([*row, "x"] for row in rows)]),
        "a row cut short": _csv([head, *rows[:-1], rows[-1][:1]]),
        "cut in the middle": content[: len(content) // 2],
        **OTHER_FILES,
    }
    for place, name in enumerate(head):
        made[f"{name}: removed"] = _csv([row[:place] + row[place + 1 :] for row in [head, *rows]])
        for what, cell in {**_CELLS, "many digits": MANY_DIGITS}.items():
            first = [*rows[0][:place], cell, *rows[0][place + 1 :]]
            made[f"{name}: {what}"] = _csv([head, first, *rows[1:]])
    return made


def json_mutations(content: bytes, *leave: str) -> dict[str, bytes]:
    """Return damaged versions of a JSON file: `<what>` or `<path>: <what>`.

    Every field of every object, of lists the first and the last entry, is removed and replaced.

    Args:
        content: Of the file.
        leave: Fields whose parts nobody reads.
    """
    whole = json.loads(content)
    made = {"cut in the middle": content[: len(content) // 2], **OTHER_FILES}
    for path in _paths(whole, leave):
        name = "/".join(map(str, path))
        for what, value in _VALUES.items():
            made[f"{name}: {what}"] = json.dumps(_with(whole, path, value)).encode()
        made[f"{name}: removed"] = json.dumps(_without(whole, path)).encode()
    same = json.dumps(whole).encode()
    return {what: damaged for what, damaged in made.items() if damaged != same}


def some_of(damages: Iterable[str]) -> list[str]:
    """Return all damages of a whole file, and one in six of those of its fields.

    Which they are follows from their names, so that it is the same everywhere and every kind of
    damage is done to some field.
    """
    return [what for what in damages if ": " not in what or zlib.crc32(what.encode()) % SHARE == 0]


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _paths(value: Any, leave: tuple[str, ...], above: tuple[Any, ...] = ()) -> Iterator[Any]:
    if isinstance(value, dict):
        inside = list(value.items())
    else:
        inside = list({0: value[0], len(value) - 1: value[-1]}.items()) if value else []
    for key, one in inside:
        yield (*above, key)
        if isinstance(one, dict | list) and key not in leave:
            yield from _paths(one, leave, (*above, key))


def _with(whole: Any, path: tuple[Any, ...], value: Any) -> Any:
    made = copy.deepcopy(whole)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


def _without(whole: Any, path: tuple[Any, ...]) -> Any:
    made = copy.deepcopy(whole)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return made
