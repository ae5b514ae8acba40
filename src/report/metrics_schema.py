"""The contract of ``metrics.json``: one written-down schema, and its check in sentences.

The shapes stand in ``metrics.schema.json`` beside this file (JSON Schema, draft 2020-12), so other
languages can check a result too; ``docs/metrics.md`` explains every field. What a schema cannot
say is checked here: numbers are finite, and the tables of a score fit its classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

from ..errors import DataNotFoundError, MriError
from ..files import read_json

SCHEMA = "metrics/2"
SCHEMA_FILE = Path(__file__).with_name("metrics.schema.json")
_AGAIN = "python main.py --mode evaluate writes it (--mode crossval for a cross-validation)"
_SHOWN = 80  # characters of a wrong value that a message repeats


class ResultError(MriError, ValueError):
    """A result file breaks the contract of `SCHEMA`."""


def check_metrics(content: Any) -> None:
    """Check what ``metrics.json`` holds, or is about to hold.

    Raises:
        ResultError: One sentence with the path of the first thing that is wrong.
    """
    content = json.loads(json.dumps(content))  # as a reader of the file will see it
    found = content.get("schema") if isinstance(content, dict) else None
    if isinstance(content, dict) and found != SCHEMA:
        named = f"schema {_short(found)}" if "schema" in content else "no schema"
        raise ResultError(f"the result has {named}; this version reads {SCHEMA!r}", hint=_AGAIN)
    for path in _not_finite(content):
        raise ResultError(f"{path} is not a finite number; undefined is null", hint=_AGAIN)
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise ResultError(_sentence(error), hint=_AGAIN)
    for part in ("person", "image"):
        if content[part] is not None:
            _check_score(content[part], content["classes"], part)


def read_metrics(path: str | Path) -> dict[str, Any]:
    """Read a ``metrics.json`` and check it.

    Raises:
        DataNotFoundError: There is no such file.
        ResultError: The file is damaged, of another schema version, or breaks the schema.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError(path, hint=_AGAIN)
    try:
        content = read_json(path)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or no UTF-8
        raise ResultError(f"{path} is damaged: {error}", hint=_AGAIN) from None
    try:
        check_metrics(content)
    except ResultError as error:
        raise ResultError(f"{path}: {error.message}", hint=error.hint) from None
    return dict(content)


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(read_json(SCHEMA_FILE))


def _sentence(error: ValidationError) -> str:
    """Say in one sentence where the content is wrong, and how."""
    path, found = _path(error.absolute_path), _short(error.instance)
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{path} lacks {missing[0]!r}"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        extra = next(key for key in error.instance if key not in known)
        return f"{path} has the unknown field {_short(extra)}"
    if error.validator == "type":
        kinds = error.validator_value
        wanted = " or ".join([kinds] if isinstance(kinds, str) else kinds)
        return f"{path} is {found}, not {wanted}"
    if error.validator == "const":
        return f"{path} is {found}, not {json.dumps(error.validator_value)}"
    if error.validator == "enum":
        return f"{path} is {found}, none of {', '.join(map(json.dumps, error.validator_value))}"
    if error.validator == "not":  # only used for a field that belongs to the other kind
        return f"{path} does not belong to this kind of result"
    return f"{path} is {found}, which breaks {error.validator} {_short(error.validator_value)}"


def _path(parts: Any) -> str:
    """``["rivals", 0, "metrics"]`` -> ``rivals[0].metrics``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or "the result"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _not_finite(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    if isinstance(content, float) and not math.isfinite(content):
        yield _path(path)
    parts: Any = ()
    if isinstance(content, dict):
        parts = content.items()
    elif isinstance(content, list | tuple):
        parts = enumerate(content)
    for key, value in parts:
        yield from _not_finite(value, (*path, key))


def _check_score(score: dict[str, Any], classes: list[str], part: str) -> None:
    k, confusion = len(classes), score["confusion"]
    if list(score["per_class"]) != classes:
        raise ResultError(f"{part}.per_class does not list the classes in order", hint=_AGAIN)
    if len(confusion) != k or any(len(row) != k for row in confusion):
        raise ResultError(f"{part}.confusion is not {k} x {k}, one row per class", hint=_AGAIN)
    if sum(map(sum, confusion)) != score["n_rows"]:
        raise ResultError(f"{part}.confusion does not add up to n_rows", hint=_AGAIN)
    if score["majority"]["class"] not in classes:
        raise ResultError(f"{part}.majority.class is none of the classes", hint=_AGAIN)
