"""The contract of ``metrics.json``: one written-down schema, and its check in sentences.

The shapes stand in ``metrics.schema.json`` beside this file (JSON Schema, draft 2020-12), so other
languages can check a result too; ``docs/metrics.md`` explains every field. What a schema cannot
say is checked here: numbers are finite, and the tables of a score fit its classes.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

from ..config.own_files import error_sentence, in_short, short, unsound
from ..errors import DataNotFoundError, MriError
from ..files import read_json

SCHEMA = "metrics/2"
SCHEMA_FILE = Path(__file__).with_name("metrics.schema.json")
_AGAIN = "python main.py --mode evaluate writes it (--mode crossval for a cross-validation)"


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
        named = f"schema {short(found)}" if "schema" in content else "no schema"
        raise ResultError(f"the result has {named}; this version reads {SCHEMA!r}", hint=_AGAIN)
    for path, why in unsound(content):
        raise ResultError(f"{path} {why}", hint=_AGAIN)
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise ResultError(error_sentence(error, "the result"), hint=_AGAIN)
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
        if isinstance(error, MriError):
            raise
        raise ResultError(f"{path} is damaged: {in_short(error)}", hint=_AGAIN) from None
    try:
        check_metrics(content)
    except ResultError as error:
        raise ResultError(f"{path}: {error.message}", hint=error.hint) from None
    except RecursionError:
        raise ResultError(f"{path} is damaged: it is nested too deep", hint=_AGAIN) from None
    return dict(content)


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(read_json(SCHEMA_FILE))


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
